"""What the simulated reports have in common: instants, cursors that belong to their query, betas, remembered bodies."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from budgetd import money
from budgetd.simulator.wire import Request, RequestError, Response, encoded

SPEED_BETA = "fast-mode-2026-02-01"
DATE_RANGE = "Invalid date range: ending date must be after starting date"

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_CACHED_BYTES = 64_000_000
_LEAST_DECIMALS = 6
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
_SECOND = timedelta(seconds=1)


class Cursor(NamedTuple):
    """Where a page starts: its place in the report, its number (from 1), and a digest of the query it belongs to.

    `stamp` is what the report was made from, where that matters.
    """

    place: int
    number: int
    digest: str
    stamp: int = 0

    def text(self) -> str:
        """The cursor as clients see it."""
        raw = f"{self.place}.{self.number}.{self.stamp}.{self.digest}"
        return "page_" + base64.urlsafe_b64encode(raw.encode()).decode()

    def following(self, place: int) -> Cursor:
        """The cursor of the next page, which starts there."""
        return self._replace(place=place, number=self.number + 1)


class BucketCache:
    """Encoded parts of reports that were asked for lately: a clock that runs fast asks for the same again and again."""

    def __init__(self, most_bytes: int = _CACHED_BYTES) -> None:
        self._most = most_bytes
        self._size = 0
        self._bodies: OrderedDict[object, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object, make: Callable[[], bytes]) -> bytes:
        """The bucket known by that key, or a new one. The latest is kept however large it is."""
        with self._lock:
            if key in self._bodies:
                self._bodies.move_to_end(key)
                return self._bodies[key]
            body = self._bodies[key] = make()
            self._size += len(body)
            while self._size > self._most and len(self._bodies) > 1:
                self._size -= len(self._bodies.popitem(last=False)[1])
            return body


def instant(request: Request, name: str) -> datetime | None:
    """A query parameter that is an RFC 3339 time, in UTC. Raises RequestError."""
    text = request.one(name)
    if text is None:
        return None
    try:
        if _RFC_3339.fullmatch(text) is None:
            raise ValueError(text)
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise RequestError(400, f"{name}: Input should be a valid RFC 3339 datetime") from None


def required_instant(request: Request, name: str) -> datetime:
    """The same of a parameter that has to be there. Raises RequestError."""
    found = instant(request, name)
    if found is None:
        raise RequestError(400, f"{name}: Field required")
    return found


def choice(request: Request, name: str, choices: Iterable[str], default: str) -> str:
    """A query parameter that is one of some words. Raises RequestError."""
    text = request.one(name)
    if text is not None and text not in choices:
        raise RequestError(400, f"{name}: Input should be {_any_of(choices)}")
    return text or default


def several(request: Request, name: str, choices: Iterable[str]) -> frozenset[str]:
    """The values of a query parameter that may be given again, each one of some words. Raises RequestError."""
    found = frozenset(request.all(name))
    if found - frozenset(choices):
        raise RequestError(400, f"{name}: Input should be {_any_of(choices)}")
    return found


def betas(request: Request) -> frozenset[str]:
    """The beta features that the request asks for."""
    return frozenset(beta.strip() for beta in request.headers.get("anthropic-beta", "").split(","))


def date_range_error() -> RequestError:
    """The refusal of a range that holds nothing; trying again does not help."""
    return RequestError(400, DATE_RANGE, {"x-should-retry": "false"})


def digest(seed: int, request: Request) -> str:
    """What a cursor belongs to: the query without the cursor, of this organisation."""
    asked = sorted(pair for pair in request.query if pair[0] != "page")
    return hashlib.blake2b(repr((seed, request.path, asked)).encode(), digest_size=8).hexdigest()


def cursor(request: Request, expected: str) -> Cursor | None:
    """The cursor of the request, which belongs to the query of that digest. Raises RequestError."""
    text = request.one("page")
    if text is None:
        return None
    found = _read(text)
    if found is None:
        raise RequestError(400, "page: Invalid page token")
    if found.digest != expected:
        raise RequestError(400, "page: The page token does not belong to these query parameters")
    return found


def page_number(request: Request) -> int:
    """Which page of its report the request asks for, from 1."""
    texts = request.all("page")
    found = _read(texts[0]) if texts else None
    return found.number if found else 1


def page(buckets: Iterable[bytes], following: Cursor | None, **more: object) -> Response:
    """A page of encoded buckets or rows."""
    last = {"has_more": following is not None, "next_page": following and following.text(), **more}
    body = b"".join((b'{"data":[', b",".join(buckets), b"],", encoded(last)[1:]))
    return Response(200, body, {"content-type": "application/json"})


def cents_text(dollars: Decimal) -> str:
    """Dollars as the reports write them: a decimal string in cents."""
    digits = money.canonical(dollars.scaleb(2, money.EXACT))
    whole, _, decimals = digits.partition(".")
    return f"{whole}.{decimals.ljust(_LEAST_DECIMALS, '0')}"


def seconds(instant: datetime) -> int:
    """Whole seconds from 1 January 1970 UTC to that instant, rounded down."""
    return (instant - _EPOCH) // _SECOND


def moment(second: int) -> datetime:
    """The instant so many seconds after 1 January 1970 UTC."""
    return _EPOCH + _SECOND * second


def second_text(second: int) -> str:
    """That instant as the reports write it."""
    return f"{moment(second):%Y-%m-%dT%H:%M:%SZ}"


def day_of(second: int) -> date:
    """The UTC day that holds that second."""
    return date.fromordinal(_EPOCH_DAY + second // 86_400)


def _any_of(choices: Iterable[str]) -> str:
    return " or ".join(map(repr, choices))


def _read(text: str) -> Cursor | None:
    try:
        raw = base64.urlsafe_b64decode(text.removeprefix("page_")).decode("ascii")
        place, number, stamp, belongs = raw.split(".")
        return Cursor(int(place), int(number), belongs, int(stamp))
    except (ValueError, OverflowError, binascii.Error):
        return None
