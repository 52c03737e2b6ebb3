"""Requests and responses as values, and the documented form of an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from email.utils import format_datetime
from enum import StrEnum
from urllib.parse import parse_qsl, urlsplit

from budgetd.period import midnight

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    410: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Manner(StrEnum):
    """How a response is put on the wire."""

    WHOLE = "whole"
    DRIP = "drip"  # one byte at a time, a pause before each
    STALL = "stall"  # half of the body, then nothing for the pause
    HANG = "hang"  # nothing at all for the pause
    TRUNCATED = "truncated"  # half of the body, then the connection ends
    CLOSE = "close"  # the connection ends without an answer
    RESET = "reset"  # the connection is reset without an answer


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names are in lower case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, method: str, target: str, headers: Mapping[str, str]) -> Request:
        """The request for a target such as `/v1/organizations/me?x=1`."""
        parts = urlsplit(target)
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        return cls(method, parts.path, query, {name.lower(): value for name, value in headers.items()})

    def one(self, name: str) -> str | None:
        """The value of a query parameter that may be given once. Raises RequestError."""
        values = self.all(name)
        if len(values) > 1:
            raise RequestError(400, f"{name}: may be given once")
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Every value of a query parameter."""
        return [value for key, value in self.query if key == name]


@dataclass(frozen=True, slots=True)
class Response:
    """One response. `pause` (seconds) belongs to its manner; for a whole one it is the wait before it."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    manner: Manner = Manner.WHOLE
    pause: float = 0.0

    def with_headers(self, **headers: str) -> Response:
        """With these headers besides (an underscore stands for a hyphen)."""
        added = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **added})


class RequestError(Exception):
    """The request is not answered with data."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


def encoded(payload: object) -> bytes:
    """The payload as compact JSON."""
    return json.dumps(payload, separators=(",", ":")).encode()


def answer(payload: object) -> Response:
    """A response of 200 with that payload."""
    return Response(200, encoded(payload), {"content-type": "application/json"})


def error(status: int, message: str, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """A response in the documented form of an error."""
    kind = _TYPES.get(status, "api_error")
    payload = {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    return Response(status, encoded(payload), {"content-type": "application/json", **(headers or {})})


def refuse_unknown(request: Request, known: frozenset[str]) -> None:
    """Raises RequestError when the query holds a parameter that is not known."""
    for name, _ in request.query:
        if name not in known:
            raise RequestError(400, f"{name}: Extra inputs are not permitted")


def whole_number(request: Request, name: str, default: int, most: int) -> int:
    """A query parameter of 1 to `most`. Raises RequestError."""
    text = request.one(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise RequestError(400, f"{name}: Input should be a valid integer")
    if not 1 <= int(text) <= most:
        raise RequestError(400, f"{name}: Input should be between 1 and {most}")
    return int(text)


def truth(request: Request, name: str) -> bool:
    """A query parameter of true or false, by default false. Raises RequestError."""
    text = request.one(name) or "false"
    if text not in ("true", "false"):
        raise RequestError(400, f"{name}: Input should be a valid boolean")
    return text == "true"


def timestamp(day: date) -> str:
    """The start of a UTC day as the reports write it."""
    return f"{midnight(day):%Y-%m-%dT%H:%M:%SZ}"


def http_date(instant: datetime) -> str:
    """An instant as headers write it."""
    return format_datetime(instant.astimezone(UTC).replace(microsecond=0), usegmt=True)
