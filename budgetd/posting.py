"""The one way to post to a channel's service: within a deadline, to where it was addressed and nowhere else.

HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE and SSL_CERT_FILE hold, as they do for the channels that Apprise serves.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

import httpcore

from budgetd import __version__, clock, wire
from budgetd.escaping import for_text
from budgetd.model import Outcome, Receipt
from budgetd.retry_after import http_date, retry_hint

ANSWER_BYTES = 64 * 1024
DETAIL_LIMIT = 500
_EXCERPT = 200
_NOT_NOW = frozenset({408, 409, 425})
# What a path and a query hold beside letters and digits; everything else goes out as %XX.
_IN_A_TARGET = "%/:?#[]@!$&'()*+,;=~-._"

Scrub = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered: at most 64 KiB of it; `whole`: that was all. Nothing is scrubbed yet.

    `text` is empty when the body is compressed. `after`: seconds that the service asks us to wait. `location`: the
    host that a redirect names.
    """

    status: int
    text: str = field(default="", repr=False)
    content_type: str = ""
    after: float | None = None
    location: str = field(default="", repr=False)
    whole: bool = True

    @property
    def accepted(self) -> bool:
        """Whether the status is a success."""
        return 200 <= self.status < 300


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    seconds: float,
    scrub: Scrub,
    environment: Mapping[str, str] = os.environ,
) -> Answer | Receipt:
    """POST the body and read the answer, all within `seconds`. A Receipt: there was none, and what that means.

    `scrub` takes the channel's secrets out of a text. Never raises for what the network or the service does.
    """
    sending = _Sending(seconds)
    try:
        return sending.send(_parts(url), body, headers, environment)
    except wire.ForbiddenAddressError as error:
        return _receipt(Outcome.GONE, str(error), scrub)
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProxyError, httpcore.ProtocolError) as error:
        return _receipt(*sending.meaning(error), scrub)
    except (ValueError, httpcore.UnsupportedProtocol) as error:
        return _receipt(Outcome.GONE, f"the channel cannot be reached as it is set up: {error}", scrub)


def receipt(answer: Answer, scrub: Scrub) -> Receipt:
    """What the answer's status means for the delivery, for services that say everything with it."""
    return _receipt(outcome(answer.status), said(answer, scrub), scrub, answer.after)


def said(answer: Answer, scrub: Scrub) -> str:
    """The start of the answer on one line. Scrubbed before it is cut: half a secret would not be known as one."""
    if 300 <= answer.status < 400:
        host = for_text(scrub(answer.location))[:_EXCERPT]
        return f"HTTP {answer.status}: redirect to host {host or '(the same)'} refused"
    start = for_text(" ".join(scrub(answer.text)[: 2 * _EXCERPT].split()))[:_EXCERPT]
    return f"HTTP {answer.status}: {start}" if start else f"HTTP {answer.status}"


def outcome(status: int) -> Outcome:
    """What a status means for the delivery.

    A redirect is GONE: it is the address that is wrong, and no simpler message would change that; following it could
    lead anywhere, with the message.
    """
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if status == 429:
        return Outcome.RATE_LIMITED
    if status in (401, 403):
        return Outcome.UNAUTHORISED
    if status in (404, 410) or 300 <= status < 400:
        return Outcome.GONE
    return Outcome.RETRY if status in _NOT_NOW or status >= 500 else Outcome.REJECTED


def _receipt(outcome: Outcome, detail: str, scrub: Scrub, after: float | None = None) -> Receipt:
    return Receipt(outcome, scrub(detail)[:DETAIL_LIMIT], after)


# --- one request -------------------------------------------------------------------------------


class _Sending:
    """One POST over a connection of its own, so that a send that was given up shares nothing with the next one."""

    def __init__(self, seconds: float) -> None:
        self._deadline = wire.Deadline(clock.monotonic)
        self._deadline.until = clock.monotonic() + seconds
        self._connecting = True  # CONNECT to a proxy is a request, too, but not ours
        self._left = False

    def send(self, url: SplitResult, body: bytes, headers: Mapping[str, str], environment: Mapping[str, str]) -> Answer:
        """The answer. Raises httpcore's errors, ValueError for what can never be sent."""
        host, port = _host(url), _port(url)
        if wire.is_link_local(host):
            raise wire.ForbiddenAddressError("nothing is sent to link-local addresses")
        secure = url.scheme == "https"
        proxy = _proxy(host, port, environment) if secure else None
        tls = _tls(environment) if secure else None
        request = httpcore.Request(
            b"POST",
            httpcore.URL(scheme=url.scheme.encode(), host=host.encode(), port=port, target=_target(url)),
            headers=list({**_headers(host, port), **headers, "Content-Length": str(len(body))}.items()),
            content=body,
            extensions={"trace": self._trace},
        )
        # The proxy is named by whoever runs this machine, and it looks up names itself.
        forbidden = wire.is_link_local if proxy is None else lambda _: False
        with wire.pool(self._deadline, tls, proxy, forbidden) as pool:
            answer = pool.handle_request(request)
            try:
                return _read(answer)
            finally:
                answer.close()

    def meaning(self, error: Exception) -> tuple[Outcome, str]:
        """Whether a request without an answer may have arrived; the words hold no address."""
        if isinstance(error, httpcore.ProxyError):
            return Outcome.RETRY, f"could not connect through the proxy: {error}"
        if isinstance(error, httpcore.LocalProtocolError):
            return Outcome.REJECTED, f"the request could not be made: {error}"
        if not self._left:
            return Outcome.RETRY, f"could not connect: {wire.why(error)}"
        if isinstance(error, httpcore.TimeoutException):
            return Outcome.UNKNOWN, "no answer in time after the request was sent"
        return Outcome.UNKNOWN, f"the connection broke after the request was sent: {wire.why(error)}"

    def _trace(self, event: str, info: Mapping[str, object]) -> None:
        # A request that was not written to its end cannot be acted upon.
        if event == "http11.send_request_body.started":
            asked = info["request"]
            self._connecting = isinstance(asked, httpcore.Request) and asked.method == b"CONNECT"
        elif event == "http11.send_request_body.complete":
            self._left = not self._connecting


def _headers(host: str, port: int | None) -> dict[str, str]:
    name = f"[{host}]" if ":" in host else host
    return {
        "Host": name if port is None else f"{name}:{port}",
        "User-Agent": f"budgetd/{__version__}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",  # a compressed answer may unfold to gigabytes
        "Connection": "close",
    }


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # it repeats what it could not read
        raise ValueError("its address is no URL") from None


def _port(url: SplitResult) -> int | None:
    try:
        return url.port
    except ValueError:
        raise ValueError("its port is no number up to 65535") from None


def _host(url: SplitResult) -> str:
    """The host as it stands in DNS. Raises ValueError."""
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("its address has no host")
    try:
        return url.hostname if url.hostname.isascii() else url.hostname.encode("idna").decode()
    except UnicodeError:
        raise ValueError("its host is no name") from None


def _target(url: SplitResult) -> bytes:
    query = f"?{url.query}" if url.query else ""
    return quote((url.path or "/") + query, safe=_IN_A_TARGET, errors="replace").encode()


def _read(answer: httpcore.Response) -> Answer:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
    body, whole = _body(answer)
    plain = headers.get("content-encoding", "identity").strip().lower() == "identity"
    # Measured against the service's own clock, so that ours need not be right.
    now = http_date(headers.get("date", "")) or clock.now()
    return Answer(
        answer.status,
        body.decode("utf-8", "replace") if plain else "",
        headers.get("content-type", "").partition(";")[0].strip().lower(),
        retry_hint(headers, now),
        _redirected_to(headers.get("location", "")),
        whole,
    )


def _body(answer: httpcore.Response) -> tuple[bytes, bool]:
    """At most 64 KiB, and whether that was all. What breaks off or drips for too long still had a status."""
    body = b""
    try:
        for piece in answer.iter_stream():
            body += piece[: ANSWER_BYTES + 1 - len(body)]
            if len(body) > ANSWER_BYTES:
                return body[:ANSWER_BYTES], False
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
        return body, False
    return body, True


def _redirected_to(location: str) -> str:
    try:
        host = urlsplit(location).netloc.rpartition("@")[2]
    except ValueError:
        host = "(unreadable)"
    return host


# --- the environment ---------------------------------------------------------------------------


def _proxy(host: str, port: int | None, environment: Mapping[str, str]) -> wire.Proxy | None:
    """What HTTPS_PROXY or ALL_PROXY name, unless NO_PROXY leaves the host out. Raises ValueError."""
    text = _named(environment, "https_proxy") or _named(environment, "all_proxy")
    if not text or _left_out(host, port, _named(environment, "no_proxy")):
        return None
    url = urlsplit(text if "://" in text else f"http://{text}")
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("the proxy must be an http:// or https:// address")
    auth = (unquote(url.username).encode(), unquote(url.password or "").encode()) if url.username else None
    address = f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
    return wire.Proxy(address, auth)


def _named(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.upper()) or ""


def _left_out(host: str, port: int | None, no_proxy: str) -> bool:
    return any(_matches(entry.strip().lower(), host.lower(), port) for entry in no_proxy.split(","))


def _matches(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY (`*`, host, .domain, host:port, network) means this host."""
    if not entry or entry == "*":
        return entry == "*"
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        name = entry.removeprefix("*").removeprefix(".").removesuffix(f":{port or 443}").strip("[]")
        return host == name or host.endswith(f".{name}")


def _tls(environment: Mapping[str, str]) -> ssl.SSLContext:
    """Trust in the authorities that the environment names, else in the usual ones. Raises ValueError."""
    named = environment.get("REQUESTS_CA_BUNDLE") or environment.get("SSL_CERT_FILE")
    try:
        changed = Path(named).stat().st_mtime_ns if named else 0
    except OSError as error:
        raise ValueError(f"the CA file {named} cannot be used: {error.strerror}") from None
    return _trusting(named, changed)


@lru_cache(maxsize=2)
def _trusting(named: str | None, changed: int) -> ssl.SSLContext:
    """Made once: it takes 20 ms and a megabyte. `changed`: a file that was written anew is read anew."""
    context = wire.verifying(Path(named) if named else None)
    if named is None:
        context.set_default_verify_paths()  # a company's own authority is usually among the system's
    return context
