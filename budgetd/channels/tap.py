"""Sees and bounds what Apprise's plug-ins do on the network, as they only say yes or no.

Plug-ins speak HTTP through `requests` and mail through `smtplib`. Both get a subclass that does nothing unless a
`watch` is active in its thread; then it enforces the deadline, refuses redirects, caps what is read, and remembers
what the other side said.
"""

from __future__ import annotations

import logging
import re
import smtplib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters
import requests.sessions
import urllib3.exceptions

from budgetd import clock
from budgetd.channels.smtp import own_name
from budgetd.escaping import for_text
from budgetd.model import Outcome, Receipt

BODY_LIMIT = 64 * 1024
EXCERPT = 200
CONNECT_TIMEOUT = 10.0  # seconds
LONGEST_RETRY_AFTER = 3600.0
_LEAST_TIMEOUT = 0.05
TOO_MANY = 429

# Words in an answer that say more than its status: Slack's names of errors.
_SPOKEN = re.compile(r'"error"\s*:\s*"([a-z_]{1,60})"')
_SPOKEN_OUTCOMES = {
    **dict.fromkeys(["invalid_auth", "not_authed", "token_revoked", "token_expired"], Outcome.UNAUTHORISED),
    **dict.fromkeys(["account_inactive", "missing_scope", "no_permission"], Outcome.UNAUTHORISED),
    **dict.fromkeys(["channel_not_found", "is_archived", "not_in_channel", "no_service", "no_team"], Outcome.GONE),
    **dict.fromkeys(["msg_too_long", "no_text", "invalid_blocks", "invalid_attachments"], Outcome.REJECTED),
    **dict.fromkeys(["ratelimited", "rate_limited"], Outcome.RATE_LIMITED),
}


class Watch:
    """One send: until when it may last, and what was seen of it. `scrub` takes the channel's secrets out of a text."""

    def __init__(self, deadline: float, message_id: str, scrub: Callable[[str], str]) -> None:
        self.message_id = message_id
        self.scrub = scrub
        self.failures: list[Receipt] = []
        self.doubts: list[Receipt] = []  # answered 2xx; what the answer says, should the plug-in not take it for a yes
        self.remarks: list[str] = []
        self.redirected = False
        self.put_off: list[object] = []  # the requests that were answered with 429
        self._ends = clock.monotonic() + deadline

    def remaining(self) -> float:
        """Seconds until the deadline; at least a few hundredths, as 0 means "for ever" to sockets."""
        return max(_LEAST_TIMEOUT, self._ends - clock.monotonic())

    @property
    def over(self) -> bool:
        """Whether the deadline has passed."""
        return clock.monotonic() >= self._ends

    def failed(self, outcome: Outcome, detail: str, after: float | None = None) -> None:
        """Remember why a step failed."""
        self.failures.append(Receipt(outcome, detail, after))


class _Active(threading.local):
    watch: Watch | None = None


_active = _Active()
_installing = threading.Lock()
_installed = threading.Event()


@contextmanager
def watch(deadline: float, scrub: Callable[[str], str], message_id: str = "") -> Iterator[Watch]:
    """Watch what this thread sends, for at most `deadline` seconds."""
    seen = Watch(deadline, message_id, scrub)
    _active.watch = seen
    try:
        yield seen
    finally:
        _active.watch = None


def install() -> None:
    """Put the watched classes in place and silence the loggers that would tell secrets; once per process."""
    with _installing:
        if _installed.is_set():
            return
        for module, replacements in _REPLACEMENTS.items():
            for name, replacement in replacements.items():
                setattr(module, name, replacement)
        _silence()
        _installed.set()


def _silence() -> None:
    # These write URLs with tokens at DEBUG and WARNING; their words reach people scrubbed, in receipts.
    for name in ("apprise", "requests", "urllib3"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.WARNING)
        logger.addHandler(_Remarks(logging.WARNING))


class _Remarks(logging.Handler):
    """Keeps what a plug-in complains of for the receipt of the send in its thread, and shows it nowhere else."""

    def emit(self, record: logging.LogRecord) -> None:
        seen = _active.watch
        if seen is not None and len(seen.remarks) < 5:
            seen.remarks.append(excerpt(record.getMessage()))


def excerpt(text: str) -> str:
    """The start of a text from outside, on one line. Scrubbed before it is cut: half a secret is not known as one."""
    seen = _active.watch
    text = seen.scrub(text) if seen is not None else text
    return for_text(" ".join(text[: EXCERPT * 2].split()))[:EXCERPT]


# --- HTTP --------------------------------------------------------------------------------------


class WatchedAdapter(requests.adapters.HTTPAdapter):
    """requests' way out. Under a watch: within the deadline, without redirects, with at most 64 KiB of answer."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        seen = _active.watch
        if seen is None:
            return super().send(request, *args, **kwargs)
        if seen.over:
            seen.failed(Outcome.RETRY, "no time was left to connect")
            raise requests.ConnectTimeout("the deadline has passed", request=request)
        asked = (request.method, request.url, request.body)
        if asked in seen.put_off:
            # Some plug-ins ask again at once; when it is time is the schedule's to say.
            raise requests.ConnectionError("the service takes no more for now", request=request)
        request.headers["Accept-Encoding"] = "identity"  # a compressed answer may unfold to gigabytes
        kwargs["stream"] = True
        kwargs["timeout"] = (min(CONNECT_TIMEOUT, seen.remaining()), seen.remaining())
        try:
            response = super().send(request, *args, **kwargs)
        except requests.RequestException as error:
            seen.failed(*_http_failure(error))
            raise
        _take(response, seen)
        if response.status_code == TOO_MANY:
            seen.put_off.append(asked)
        return response


def _take(response: requests.Response, seen: Watch) -> None:
    """Read the answer within bounds and remember what it means."""
    body, whole = _bounded_body(response, seen)
    response.__dict__.update(_content=body, _content_consumed=True)
    location = response.headers.pop("Location", "")  # without it nobody can follow
    _judge(response.status_code, response.headers, body, whole, location, seen)


def _judge(status: int, headers: Mapping[str, str], body: bytes, whole: bool, location: str, seen: Watch) -> None:
    text = body.decode("utf-8", "replace")
    said = f"HTTP {status}" + (f": {excerpt(text)}" if text.strip() else "")
    after = retry_after(headers.get("Retry-After", ""), headers.get("Date", ""))
    spoken = _SPOKEN.search(text[:2000])
    if 300 <= status < 400:
        seen.redirected = True
        # The address is wrong, and no simpler message would change that.
        seen.failed(Outcome.GONE, f"HTTP {status}: redirect to host {_host(location)} refused")
    elif status >= 300 or status < 200:
        outcome = _SPOKEN_OUTCOMES.get(spoken.group(1)) if spoken else None
        seen.failed(outcome or outcome_of_status(status), said, after)
    elif not whole:
        seen.doubts.append(Receipt(Outcome.UNKNOWN, f"{said} (the answer was cut off)"))
    else:
        outcome = _SPOKEN_OUTCOMES.get(spoken.group(1), Outcome.RETRY) if spoken else Outcome.RETRY
        seen.doubts.append(Receipt(outcome, f"{said} (not the answer of a success)", after))


def _host(location: str) -> str:
    try:
        host = urlsplit(location).netloc.rpartition("@")[2]
    except ValueError:
        host = "(unreadable)"
    return excerpt(host) or "(the same)"


def outcome_of_status(status: int) -> Outcome:
    """What an HTTP status that is no success means for the delivery."""
    if status == TOO_MANY:
        return Outcome.RATE_LIMITED
    if status in (401, 403):
        return Outcome.UNAUTHORISED
    if status in (404, 410):
        return Outcome.GONE
    if status in (408, 409, 425) or status >= 500:
        return Outcome.RETRY
    return Outcome.REJECTED


def retry_after(text: str, date: str = "") -> float | None:
    """Seconds, from 1 to 3,600, of a Retry-After header; None when it says nothing that can be understood.

    A date is measured against the answer's own Date header, so that no clock needs to be right.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", text, re.ASCII):
        seconds = float(text)
    else:
        try:
            seconds = (parsedate_to_datetime(text) - parsedate_to_datetime(date)).total_seconds()
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(seconds, 1.0), LONGEST_RETRY_AFTER)


def _bounded_body(response: requests.Response, seen: Watch) -> tuple[bytes, bool]:
    """At most 64 KiB of the answer, and whether it came to its end in time."""
    raw = response.raw
    read: Callable[..., bytes] = getattr(raw, "read1", raw.read)  # one packet at a time: a drip cannot stall it
    body = b""
    ended = False
    try:
        while not ended and len(body) < BODY_LIMIT and not seen.over:
            piece = read(BODY_LIMIT - len(body), decode_content=False)
            ended = not piece
            body += piece
    except (urllib3.exceptions.HTTPError, OSError, ValueError):
        ended = False
    finally:
        raw.close()
    return body, ended


def _http_failure(error: requests.RequestException) -> tuple[Outcome, str]:
    """What an exchange without an answer means: RETRY when the request cannot have left, else UNKNOWN."""
    reason = _root(error)
    words = excerpt(f"{type(reason).__name__}: {_without_address(str(reason))}")
    if isinstance(error, requests.ReadTimeout):
        return Outcome.UNKNOWN, "no answer in time after the request was sent"
    if isinstance(error, requests.ConnectTimeout):
        return Outcome.RETRY, "could not connect in time"
    if isinstance(error, requests.exceptions.ProxyError):
        return Outcome.RETRY, "could not connect through the proxy"
    if isinstance(error, requests.exceptions.SSLError):
        return Outcome.RETRY, f"could not connect: {words}"
    if isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.LocationValueError):
        return Outcome.RETRY, f"could not connect: {words}"
    if isinstance(error, requests.ConnectionError):
        return Outcome.UNKNOWN, f"the connection broke after the request was sent: {words}"
    if isinstance(error, ValueError):
        return Outcome.REJECTED, f"the request could not be made: {words}"
    return Outcome.UNKNOWN, words


def _without_address(text: str) -> str:
    # "<urllib3.connection.HTTPConnection object at 0x7f...>: " tells nobody anything
    return re.sub(r"<[^>]*>:?\s*|^\w+\(host=[^)]*\):\s*", "", text)


def _root(error: BaseException) -> BaseException:
    """The urllib3 error inside a requests error."""
    inner: Any = error.args[0] if error.args else error
    inner = getattr(inner, "reason", None) or inner
    return inner if isinstance(inner, BaseException) else error


# --- mail --------------------------------------------------------------------------------------


class WatchedSMTP(smtplib.SMTP):
    """smtplib's client: under a watch with each step bounded by the deadline, and its failure remembered."""

    _data_sent = False

    def __init__(
        self, host: str = "", port: int = 0, local_hostname: str | None = None, *args: Any, **kwargs: Any
    ) -> None:
        # smtplib would ask the resolver for each connection, outside of every deadline.
        super().__init__(host, port, local_hostname or own_name(), *args, **kwargs)

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        with _mail_step("the mail server could not be reached"):
            code, text = super().connect(*args, **kwargs)
            if code != 220:  # smtplib raises for it only after this method
                raise smtplib.SMTPConnectError(code, text)
            return code, text

    def starttls(self, *args: Any, **kwargs: Any) -> Any:
        with _mail_step("no encrypted connection"):
            return super().starttls(*args, **kwargs)

    def login(self, *args: Any, **kwargs: Any) -> Any:
        with _mail_step("login"):
            return super().login(*args, **kwargs)

    def getreply(self) -> Any:
        seen = _active.watch
        sock = getattr(self, "sock", None)
        if seen is not None and sock is not None:
            sock.settimeout(seen.remaining())
        return super().getreply()

    def send(self, s: Any) -> Any:
        result = super().send(s)
        # The text of a mail is the only thing that ends like this.
        self._data_sent = self._data_sent or s[-5:] in (b"\r\n.\r\n", "\r\n.\r\n")
        return result

    def sendmail(self, from_addr: Any, to_addrs: Any, msg: Any, *args: Any, **kwargs: Any) -> Any:
        seen = _active.watch
        if seen is None:
            return super().sendmail(from_addr, to_addrs, msg, *args, **kwargs)
        self._data_sent = False
        msg = stable_message_id(msg, seen.message_id)
        with _mail_step("sending the mail", lost=lambda: self._data_sent):
            refused = super().sendmail(from_addr, to_addrs, msg, *args, **kwargs)
            if refused:
                raise smtplib.SMTPRecipientsRefused(refused)
            return refused


class WatchedSMTPOverTLS(WatchedSMTP, smtplib.SMTP_SSL):
    """The same for connections that are encrypted from the first byte."""


@contextmanager
def _mail_step(words: str, lost: Callable[[], bool] = lambda: False) -> Iterator[None]:
    try:
        yield
    except (OSError, smtplib.SMTPException) as error:  # SMTPException is an OSError by accident of history
        seen = _active.watch
        if seen is not None:
            outcome, said = mail_failure(error, lost())
            seen.failed(outcome, f"{words}: {said}")
        raise


def mail_failure(error: OSError, data_sent: bool) -> tuple[Outcome, str]:
    """What a failed step means. `data_sent`: the whole mail was sent, only the server's word is missing."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, text = max(error.recipients.values(), key=lambda reply: reply[0] < 500)
        return _outcome_of_code(code), f"{code} {_words(text)}"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        outcome = Outcome.RETRY if 400 <= error.smtp_code < 500 else Outcome.UNAUTHORISED
        return outcome, f"{error.smtp_code} {_words(error.smtp_error)}"
    if isinstance(error, smtplib.SMTPResponseException) and error.smtp_code > 0:
        return _outcome_of_code(error.smtp_code), f"{error.smtp_code} {_words(error.smtp_error)}"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return Outcome.UNAUTHORISED, excerpt(str(error))  # no password goes out without encryption
    if data_sent:
        return Outcome.UNKNOWN, "the connection broke before the server said that it has the mail"
    return Outcome.RETRY, excerpt(f"{type(error).__name__}: {error}")


def _outcome_of_code(code: int) -> Outcome:
    if code in (530, 534, 535, 538):
        return Outcome.UNAUTHORISED
    return Outcome.REJECTED if 500 <= code < 600 else Outcome.RETRY


def _words(text: bytes | str) -> str:
    return excerpt(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)


def stable_message_id(message: Any, id: str) -> Any:
    """The mail with a Message-ID made of `id`, so that a repeated mail is known as one. Keeps the domain."""
    if not isinstance(message, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", id):
        return message
    head, blank, body = message.partition("\n\n")
    head = re.sub(r"(?mi)^Message-ID:.*?@([^>\s]*)>[^\n]*$", rf"Message-ID: <{id}@\1>", head, count=1)
    return head + blank + body


_REPLACEMENTS: dict[Any, dict[str, type]] = {
    requests.sessions: {"HTTPAdapter": WatchedAdapter},
    smtplib: {"SMTP": WatchedSMTP, "SMTP_SSL": WatchedSMTPOverTLS},
}
