"""`GET /v1/organizations/cost_report`: billed money of closed UTC days, with the manners of the real one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from budgetd import money
from budgetd.model import DEFAULT_WORKSPACE, Dimensions
from budgetd.period import DAY
from budgetd.simulator.organisation import World
from budgetd.simulator.script import Line
from budgetd.simulator.wire import Request, RequestError, Response, encoded, refuse_unknown, timestamp, whole_number

SPEED_BETA = "fast-mode-2026-02-01"

_PARAMETERS = frozenset({"starting_at", "ending_at", "bucket_width", "group_by[]", "limit", "page"})
_GROUPS = frozenset({"workspace_id", "description"})
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_CACHED_BYTES = 64_000_000
_LEAST_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class _Query:
    """UTC days from `start` to before `end`, cut into pages of `limit`."""

    start: date
    end: date
    groups: frozenset[str]
    limit: int
    speed: bool


class _Cursor(NamedTuple):
    """Where a page starts: its first day, its number (from 1), and a digest of the query that it belongs to."""

    day: date
    number: int
    digest: str

    def text(self) -> str:
        raw = f"{self.day.toordinal()}.{self.number}.{self.digest}"
        return "page_" + base64.urlsafe_b64encode(raw.encode()).decode()


class BucketCache:
    """Encoded buckets that were asked for lately: a clock that runs fast asks for the same month again and again."""

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


def respond(world: World, request: Request, now: datetime, cache: BucketCache) -> Response:
    """The page of the report that was asked for. Raises RequestError."""
    query = _parse(request, now)
    digest = _digest(world, request)
    cursor = _cursor(request, digest) or _Cursor(query.start, 1, digest)
    days = [day for day in _days(max(query.start, cursor.day), query.end) if world.served(day, now)]
    page, rest = days[: query.limit], days[query.limit :]
    buckets = (
        cache.get(
            (day, world.corrections(day, now), query.groups, query.speed),
            partial(_bucket, world, day, now, query),
        )
        for day in page
    )
    following = _Cursor(rest[0], cursor.number + 1, digest).text() if rest else None
    return _page(buckets, following)


def page_number(request: Request) -> int:
    """Which page of the report the request asks for, from 1."""
    texts = request.all("page")
    cursor = _read_cursor(texts[0]) if texts else None
    return cursor.number if cursor else 1


def day_page(world: World, day: date, as_of: datetime) -> bytes:
    """The body of a page that holds one UTC day by workspace and description."""
    query = _Query(day, day + DAY, _GROUPS, 1, speed=False)
    return _page([_bucket(world, day, as_of, query)], None).body


def cents_text(dollars: Decimal) -> str:
    """Dollars as the report writes them: a decimal string in cents."""
    digits = money.canonical(dollars.scaleb(2, money.EXACT))
    whole, _, decimals = digits.partition(".")
    return f"{whole}.{decimals.ljust(_LEAST_DECIMALS, '0')}"


def _parse(request: Request, now: datetime) -> _Query:
    refuse_unknown(request, _PARAMETERS)
    starting = _instant(request, "starting_at")
    if starting is None:
        raise RequestError(400, "starting_at: Field required")
    today = now.astimezone(UTC).date()
    ending = _instant(request, "ending_at")
    start, end = starting.date(), min(ending.date() if ending else today, today)
    if end <= start:
        message = "Invalid date range: ending date must be after starting date"
        raise RequestError(400, message, {"x-should-retry": "false"})
    if request.one("bucket_width") not in (None, "1d"):
        raise RequestError(400, "bucket_width: Input should be '1d'")
    groups = frozenset(request.all("group_by[]"))
    if groups - _GROUPS:
        raise RequestError(400, "group_by: Input should be 'workspace_id' or 'description'")
    betas = [beta.strip() for beta in request.headers.get("anthropic-beta", "").split(",")]
    return _Query(start, end, groups, whole_number(request, "limit", 7, 31), SPEED_BETA in betas)


def _instant(request: Request, name: str) -> datetime | None:
    text = request.one(name)
    if text is None:
        return None
    try:
        if _RFC_3339.fullmatch(text) is None:
            raise ValueError(text)
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise RequestError(400, f"{name}: Input should be a valid RFC 3339 datetime") from None


def _days(start: date, end: date) -> Iterable[date]:
    return (start + DAY * number for number in range((end - start).days))


def _digest(world: World, request: Request) -> str:
    asked = sorted(pair for pair in request.query if pair[0] != "page")
    return hashlib.blake2b(repr((world.seed, asked)).encode(), digest_size=8).hexdigest()


def _cursor(request: Request, digest: str) -> _Cursor | None:
    text = request.one("page")
    if text is None:
        return None
    cursor = _read_cursor(text)
    if cursor is None:
        raise RequestError(400, "page: Invalid page token")
    if cursor.digest != digest:
        raise RequestError(400, "page: The page token does not belong to these query parameters")
    return cursor


def _read_cursor(text: str) -> _Cursor | None:
    try:
        raw = base64.urlsafe_b64decode(text.removeprefix("page_")).decode("ascii")
        ordinal, number, digest = raw.split(".")
        return _Cursor(date.fromordinal(int(ordinal)), int(number), digest)
    except (ValueError, OverflowError, binascii.Error):
        return None


def _page(buckets: Iterable[bytes], following: str | None) -> Response:
    tail = encoded({"has_more": following is not None, "next_page": following})
    body = b'{"data":[' + b",".join(buckets) + b"]," + tail[1:]
    return Response(200, body, {"content-type": "application/json"})


def _bucket(world: World, day: date, as_of: datetime, query: _Query) -> bytes:
    rows = _rows(world.bill(day, as_of), query)
    return encoded({"starting_at": timestamp(day), "ending_at": timestamp(day + DAY), "results": rows})


def _rows(lines: Iterable[Line], query: _Query) -> list[dict[str, str | None]]:
    sums: dict[Dimensions, Decimal] = {}
    for about, dollars in lines:
        group = _grouped(about, query.groups)
        before = sums.get(group)
        sums[group] = dollars if before is None else money.add(before, dollars)
    return [_row(about, dollars, query.speed) for about, dollars in sums.items()]


def _grouped(about: Dimensions, groups: frozenset[str]) -> Dimensions:
    if groups == _GROUPS:
        return about
    if "description" in groups:
        return about._replace(workspace=None)
    return Dimensions(about.workspace) if groups else Dimensions()


def _row(about: Dimensions, dollars: Decimal, speed: bool) -> dict[str, str | None]:
    workspace = None if about.workspace == DEFAULT_WORKSPACE else about.workspace
    row = {
        "currency": "USD",
        "amount": cents_text(dollars),
        "workspace_id": workspace,
        "description": about.description,
        "cost_type": about.cost_type,
        "context_window": about.context_window,
        "model": about.model,
        "service_tier": about.service_tier,
        "token_type": about.token_type,
        "inference_geo": about.inference_geo,
    }
    if speed:
        row["speed"] = about.speed
    return row
