"""The one way to the vendor's API: requests that end by a deadline, within a size, and show the key to nobody else."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import re
import secrets
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Protocol

from budgetd import __version__, clock, wire
from budgetd.escaping import for_text, shorten
from budgetd.model import Failure, SourceError
from budgetd.retry_after import http_date, retry_hint

# httpx loads its own command line (rich, click, pygments: 40 ms) wherever those are installed.
if "httpx" not in sys.modules:
    sys.modules["httpx._main"] = ModuleType("httpx._main")
import httpcore
import httpx

VENDOR_URL = "https://api.anthropic.com"
HOME_PAGE = "https://github.com/budgetd/budgetd"

_ERROR_BODY_BYTES = 64 * 1024
_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF = 30.0
_MESSAGE_LENGTH = 400
_RETRIED = frozenset({408, 409, 429})
_SALT = secrets.token_bytes(16)
_ANY_KEY = re.compile(r"sk-ant-[\w-]{8,}")

# Their INFO lines print addresses, their DEBUG lines headers; what matters of them is in SourceError.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)
    logging.getLogger(_name).propagate = False


class BodyTooLargeError(SourceError):
    """The answer is larger than the cap; asking for less of it may help."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long, how large, how often: seconds for one request, bytes of one body, requests for one answer."""

    request_seconds: float = 60.0
    body_bytes: int = 64 * 1024 * 1024
    attempts: int = 5


@dataclass(frozen=True, slots=True)
class _Failed:
    """One request that gave nothing. `again`: another one may; `hint`: not before that many seconds."""

    error: SourceError
    again: bool = False
    hint: float | None = None


class Getter(Protocol):
    """What a source needs of the API: one GET at a time."""

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, deadline: float | None = None) -> bytes:
        """The body of a 200 answer, by `deadline` (an instant of `clock.monotonic`). Raises SourceError."""
        ...


class Api:
    """The API as one key sees it, over one connection. Not for more than one thread at a time.

    `key` is asked before every request, so that a changed credential counts at once: it gives an API key
    (`sk-ant-...`, sent as x-api-key) or a bearer token (anything else, and `sk-ant-oat...`).
    The environment is not looked at: `proxy` (a URL) and `ca_file` (PEM, instead of the usual authorities)
    are what there is. The one thing without a deadline is the resolver of the C library, which has its own; run this
    in a daemon thread, and it delays no exit.

    Raises ValueError when the address is one that a key must not be sent to.
    """

    def __init__(
        self,
        base_url: str,
        key: Callable[[], str],
        *,
        version: str = "2023-06-01",
        betas: Sequence[str] = (),
        proxy: str | None = None,
        ca_file: Path | None = None,
        bounds: Bounds | None = None,
        now: Callable[[], datetime] = clock.now,
        monotonic: Callable[[], float] = clock.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        url = _checked(base_url)
        if proxy is not None and url.scheme != "https":
            raise ValueError("what goes through a proxy must be https")
        self.last_skew: float | None = None
        """Seconds that the service's clock was ahead of ours at the last answer; None: it did not say."""
        self._requests = 0
        self._bounds = bounds or Bounds()
        self._now, self._monotonic, self._sleep, self._uniform = now, monotonic, sleep, uniform
        self._key = _Key(key)
        self._deadline = wire.Deadline(monotonic)
        tls = wire.verifying(ca_file) if url.scheme == "https" else None
        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "anthropic-version": version,
            "user-agent": f"budgetd/{__version__} (+{HOME_PAGE})",
        }
        if betas:
            headers["anthropic-beta"] = ",".join(betas)
        self._client = httpx.Client(
            base_url=url,
            headers=headers,
            transport=_Transport(wire.pool(self._deadline, tls, _proxy(proxy))),
            trust_env=False,
            follow_redirects=False,
        )
        self._host = url.host
        self._closed = False

    def __repr__(self) -> str:
        return f"Api({self._host!r})"

    @property
    def requests(self) -> int:
        """How many requests were sent so far: each page and each repetition is one, and so is one without an answer."""
        return self._requests

    def close(self) -> None:
        """Close the connection; the object is of no use afterwards. A request under way in another thread fails."""
        self._closed = True
        self._client.close()

    def key_mark(self) -> str:
        """The same text as long as the key is the same, whichever Api of this process is asked. It cannot be used to
        find the key.
        """
        self._key.read()
        return hashlib.blake2b(self._key.sent.encode(), key=_SALT, digest_size=16).hexdigest()

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, deadline: float | None = None) -> bytes:
        """The body of a 200 answer, tried again with growing pauses while that may help.

        All of it, pauses included, is over by `deadline` (an instant of `clock.monotonic`). Raises SourceError; with
        `retry_after` (seconds) when the service named a time that is past the deadline.
        """
        until = float("inf") if deadline is None else deadline
        attempt = 0
        while True:
            attempt += 1
            answer = self._once(path, params, until)
            if isinstance(answer, bytes):
                return answer
            pause = self._pause(answer, attempt)
            if not answer.again or attempt >= self._bounds.attempts or self._monotonic() + pause >= until:
                raise answer.error
            self._sleep(pause)

    def _pause(self, failed: _Failed, attempt: int) -> float:
        """Seconds to wait after the attempt: the service's word and a little, or a random part of the backoff."""
        if failed.hint is not None:
            return failed.hint + self._uniform() * min(failed.hint, _LONGEST_BACKOFF) / 4
        ceiling = min(_BACKOFF_SECONDS * 2.0**attempt, _LONGEST_BACKOFF)
        return ceiling * (0.25 + 0.75 * self._uniform())

    def _once(self, path: str, params: Sequence[tuple[str, str]], until: float) -> bytes | _Failed:
        problem = self._key.read()
        if problem is not None:
            return _Failed(SourceError(Failure.REFUSED, problem))
        self._deadline.until = min(until, self._monotonic() + self._bounds.request_seconds)
        request = self._client.build_request("GET", path, params=list(params))
        self._requests += 1
        try:
            response = self._client.send(request, auth=self._key, stream=True)
            try:
                return self._answer(response)
            finally:
                response.close()
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
            message = f"{self._host}: {self._clean(wire.why(error))}"
            return _Failed(SourceError(Failure.UNREACHABLE, message), again=True)
        except RuntimeError:
            if not self._closed:
                raise
            return _Failed(SourceError(Failure.UNREACHABLE, "the connection was closed: budgetd is ending"))
        except httpx.HTTPError:  # the one thing that httpx looks at by itself is where a redirect leads
            return _Failed(SourceError(Failure.REJECTED, "redirect to an address that is none refused"))

    def _answer(self, response: httpx.Response) -> bytes | _Failed:
        self.last_skew = _skew(response.headers.get("date", ""), self._now())
        if 300 <= response.status_code < 400:
            return self._redirected(response)
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            detail = f"a body encoded as {encoding}, which was not asked for"
            return self._failed(response, detail)
        if response.status_code != 200:
            body, _ = _body(response, _ERROR_BODY_BYTES)
            return self._failed(response, self._explained(response, body))
        body, whole = _body(response, self._bounds.body_bytes)
        if not whole:
            message = f"an answer of more than {self._bounds.body_bytes:,} bytes"
            return _Failed(BodyTooLargeError(Failure.UNREADABLE, message, status=200))
        if not _is_json(response):
            return self._failed(response, self._explained(response, body))
        # Whatever the reason for an echo, what is read from here on may be kept and shown.
        if self._key.sent.encode() in body:
            return self._failed(response, "an answer that repeats the key")
        return body

    def _redirected(self, response: httpx.Response) -> _Failed:
        location = response.headers.get("location", "")
        try:
            host = httpx.URL(location).host or self._host
        except httpx.InvalidURL:
            host = "an address that is none"
        return self._failed(response, f"redirect to host {host} refused")

    def _failed(self, response: httpx.Response, detail: str) -> _Failed:
        status, headers = response.status_code, response.headers
        request_id = self._clean(headers.get("request-id", ""), 80) or None
        hint = retry_hint(headers, self._now())
        # A 429 that names no time may be the organisation's own spend limit, which lasts until the month ends.
        again = (status in _RETRIED or status >= 500) and (status != 429 or hint is not None)
        again = {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower(), again)
        suffix = f" (request {request_id})" if request_id else ""
        error = SourceError(
            _failure(status),
            f"HTTP {status}: {self._clean(detail)}{suffix}",
            status=status,
            request_id=request_id,
            retry_after=hint,
        )
        return _Failed(error, again, hint)

    def _explained(self, response: httpx.Response, body: bytes) -> str:
        """What the body says went wrong: the error's type and message, or how the body starts."""
        try:
            error = json.loads(body)["error"]
            return f"{error['type']}: {error['message']}"
        except (ValueError, LookupError, TypeError, RecursionError):
            kind: str = response.headers.get("content-type", "no content type")
            start = self._key.scrubbed(body.decode("utf-8", "replace"))[:80]
            return f'{kind}, not an error as the API writes it: "{start}"'

    def _clean(self, text: str, limit: int = _MESSAGE_LENGTH) -> str:
        """The text on one line, cut, and without the key."""
        return shorten(for_text(self._key.scrubbed(text)[: 4 * limit]), limit)


# --- the key -----------------------------------------------------------------------------------


class _Key(httpx.Auth):
    """Puts the key into a request at the last moment, so that it is in nothing that can be printed."""

    def __init__(self, provide: Callable[[], str]) -> None:
        self._provide = provide
        self.sent = ""

    def read(self) -> str | None:
        """Take the present key; what is wrong with it otherwise, in words that do not hold it."""
        try:
            key = self._provide().strip()
        except OSError as error:
            return f"the key could not be read: {error.strerror}"
        except ValueError:
            return "the key could not be read: it is not text"
        key = key.removeprefix("Bearer").strip()
        if not key:
            return "the key is empty"
        if re.fullmatch(r"[!-~]+", key) is None:
            return "the key holds characters that no key has"
        self.sent = key
        return None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self.sent.startswith("sk-ant-") and not self.sent.startswith("sk-ant-oat"):
            request.headers["x-api-key"] = self.sent
        else:
            request.headers["authorization"] = f"Bearer {self.sent}"
        yield request

    def scrubbed(self, text: str) -> str:
        """The text without the key, and without any other."""
        return _ANY_KEY.sub("[key]", text.replace(self.sent, "[key]") if self.sent else text)


# --- the way there -----------------------------------------------------------------------------


class _Transport(httpx.BaseTransport):
    """httpx over a connection pool of our own; httpx itself offers no place for the deadline."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer))

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


def _proxy(address: str | None) -> wire.Proxy | None:
    if address is None:
        return None
    try:
        proxy = httpx.Proxy(address)
    except (httpx.InvalidURL, ValueError):
        raise ValueError("the proxy must be an http:// or https:// address") from None
    if proxy.url.scheme not in ("http", "https"):
        raise ValueError("the proxy must be an http:// or https:// address")
    return wire.Proxy(str(proxy.url), proxy.raw_auth)


def _checked(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"the API's address is not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("the API's address must start with https:// and name a host")
    if url.scheme == "http" and not _is_loopback(url.host):
        raise ValueError(f"the API's address is plain http to {url.host}: a key goes over https, or to loopback")
    if url.userinfo or url.query or url.fragment:
        raise ValueError("the API's address must have no user, query or fragment")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# --- the answer --------------------------------------------------------------------------------


def _body(response: httpx.Response, cap: int) -> tuple[bytes, bool]:
    """At most `cap` bytes of the body, and whether that was all."""
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length[:19]) > cap and response.status_code == 200:
        return b"", False
    body = BytesIO()
    for chunk in response.iter_raw():
        if body.tell() + len(chunk) > cap:
            return body.getvalue(), False
        body.write(chunk)
    return body.getvalue(), True


def _is_json(response: httpx.Response) -> bool:
    kind: str = response.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _failure(status: int) -> Failure:
    if status < 300:
        return Failure.UNREADABLE
    if status in (401, 403):
        return Failure.REFUSED
    if status in _RETRIED or status >= 500:
        return Failure.UNAVAILABLE
    return Failure.REJECTED


def _skew(date: str, now: datetime) -> float | None:
    told = http_date(date)
    return None if told is None else (told - now).total_seconds()


# --- the heartbeat -------------------------------------------------------------------------------


def ping(url: str, seconds: float = 10.0) -> bool:
    """Say to the heartbeat's address that all is well; whether it was heard. Never raises: silence is the alarm."""
    headers = {"user-agent": f"budgetd/{__version__} (+{HOME_PAGE})"}
    try:
        with (
            httpx.Client(trust_env=False, follow_redirects=False, timeout=seconds, headers=headers) as client,
            client.stream("GET", url) as answer,
        ):
            return answer.is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
