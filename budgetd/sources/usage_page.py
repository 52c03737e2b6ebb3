"""One page of the usage report, from its bytes to exact counts by bucket, workspace and kind.

Two readers, as for the cost report: the fast one takes the ordinary page, the close one everything else, and says
at which JSON path a page is wrong. What is missing is a zero. A counter that nobody knows is kept under its
name, so that what it counts is shown without a price instead of being lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Annotated, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from budgetd import price_list
from budgetd.model import DEFAULT_WORKSPACE
from budgetd.price_list import WEB_SEARCH, Kind
from budgetd.pricing import Used
from budgetd.sources.strict_json import JsonError, Node, Number, excerpt, loads

DIMENSIONS = ("workspace_id", "model", "service_tier", "context_window", "inference_geo", "speed")
# Never asked for, so always null; who used it is not what this is about.
_IGNORED = frozenset({"api_key_id", "account_id", "service_account_id"})
_DOCUMENTED: dict[str, frozenset[str]] = {
    "service_tier": frozenset({"standard", "batch", "priority", "priority_on_demand", "flex", "flex_discount"}),
    "context_window": frozenset({"0-200k", "200k-1M"}),
    "inference_geo": frozenset({"global", "us", "not_available"}),
    "speed": frozenset({"standard", "fast"}),
}
_PLAIN = (price_list.INPUT, price_list.CACHE_READ, price_list.OUTPUT)
_WRITES = "cache_creation"
_TOOLS = "server_tool_use"
_SEARCHES = "web_search_requests"
# An older form of the row has both kinds of cache writes in one number.
FLAT_WRITES = "cache_creation_input_tokens"
_INSTANT = re.compile(r"[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,15}", re.ASCII)
_MOST = 10**15 - 1

_Text = str | UnsetType
_Value = str | None | UnsetType
_Number = Annotated[int, msgspec.Meta(ge=0, le=_MOST)] | UnsetType
_Raw = tuple[_Value, ...]


@dataclass(frozen=True, slots=True)
class Bucket:
    """What was used in [start, end)."""

    start: datetime
    end: datetime
    counts: dict[Used, int]


@dataclass(frozen=True, slots=True)
class Page:
    """What one page says. `next_page` None: it was the last. `remarks` are oddities that were taken all the same."""

    buckets: tuple[Bucket, ...]
    next_page: str | None
    remarks: frozenset[str] = field(default=frozenset())


class _Entry(NamedTuple):
    """The uses that the counters of a row are of, in the order of `_UNITS`, and the quotation marks of its fields."""

    uses: tuple[Used, ...]
    quotes: int
    about: Used


_UNITS = (*_PLAIN, price_list.CACHE_5M, price_list.CACHE_1H, WEB_SEARCH)


class Known(dict[_Raw, _Entry]):
    """Every combination of dimensions that was ever read. `odd` are values that the reference does not list,
    `departures` are what rows do not say although the report is grouped by it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.odd: set[str] = set()
        self.departures: set[str] = set()
        self._texts: dict[str, str] = {}

    def __missing__(self, raw: _Raw) -> _Entry:
        values = [self._texts.setdefault(value, value) if isinstance(value, str) else None for value in raw]
        for name, value in zip(DIMENSIONS, values, strict=True):
            if value is not None and value not in _DOCUMENTED.get(name, (value,)):
                self.odd.add(f"the usage report has a {name} that budgetd does not know: {excerpt(value)}")
        # The report is grouped by workspace: a row whose workspace is null is the default workspace's.
        # One that does not have the field says nothing of it.
        about = Used(None if raw[0] is UNSET else values[0] or DEFAULT_WORKSPACE, Kind("", *values[1:]))
        if about.workspace is None:
            self.departures.add("the usage report has rows without a workspace_id, though it is grouped by it")
        entry = _Entry(tuple(use(about, unit) for unit in _UNITS), sum(map(_quotes, raw)), about)
        self[raw] = entry
        return entry


def use(about: Used, unit: str) -> Used:
    """The use of that unit. A web search costs the same whatever model asked for it; the bill does not say which."""
    return about._replace(kind=Kind(WEB_SEARCH) if unit == WEB_SEARCH else about.kind._replace(unit=unit))


def decode(body: bytes, known: Known, width: timedelta) -> Page:
    """The page of buckets of that width; the same for both readers. Raises JsonError."""
    return _fast(body, known, width) or _close(body, known, width)


# --- the ordinary page -------------------------------------------------------------------------


class _Creation(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    ephemeral_5m_input_tokens: _Number = UNSET
    ephemeral_1h_input_tokens: _Number = UNSET


class _ToolUse(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    web_search_requests: _Number = UNSET


class _Row(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    uncached_input_tokens: _Number = UNSET
    cache_read_input_tokens: _Number = UNSET
    output_tokens: _Number = UNSET
    cache_creation: _Creation | UnsetType = UNSET
    server_tool_use: _ToolUse | UnsetType = UNSET
    workspace_id: _Value = UNSET
    model: _Value = UNSET
    service_tier: _Value = UNSET
    context_window: _Value = UNSET
    inference_geo: _Value = UNSET
    speed: _Value = UNSET
    api_key_id: _Value = UNSET
    account_id: _Value = UNSET
    service_account_id: _Value = UNSET


class _RowBucket(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    starting_at: str
    results: list[_Row]
    ending_at: _Text = UNSET


class _RowPage(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    data: list[_RowBucket]
    has_more: bool
    next_page: _Value = UNSET


_decode = msgspec.json.Decoder(_RowPage).decode
_raw = attrgetter(*DIMENSIONS)
_plain = attrgetter(*_PLAIN)
_others = attrgetter(*sorted(_IGNORED))


def _fast(body: bytes, known: Known, width: timedelta) -> Page | None:
    """The page, or None when it deserves a closer look."""
    try:
        page = _decode(body)
        read = [_fast_bucket(bucket, known, width) for bucket in page.data]
        next_page = _cursor(page.has_more, None if page.next_page is UNSET else page.next_page)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    # A key given twice leaves the text with more quotation marks than the fields account for.
    if 4 + _quotes(page.next_page) + sum(quotes for _, quotes in read) != body.count(b'"'):
        return None
    return Page(tuple(bucket for bucket, _ in read), next_page)


def _quotes(value: object) -> int:
    return 0 if value is UNSET else 4 if isinstance(value, str) else 2


def _fast_bucket(bucket: _RowBucket, known: Known, width: timedelta) -> tuple[Bucket, int]:
    """The bucket, and the number of quotation marks in its text. Raises ValueError."""
    start, end = _bounds(bucket.starting_at, None if bucket.ending_at is UNSET else bucket.ending_at, width)
    counts: dict[Used, int] = {}
    quotes = 6 + _quotes(bucket.ending_at)
    for row in bucket.results:
        entry = known[_raw(row)]
        quotes += entry.quotes + sum(map(_quotes, _others(row)))
        for used, count in zip(entry.uses, _numbers(row), strict=True):
            if count is UNSET:
                continue
            quotes += 2
            if count:
                counts[used] = counts.get(used, 0) + count
        quotes += 2 * ((row.cache_creation is not UNSET) + (row.server_tool_use is not UNSET))
    return Bucket(start, end, counts), quotes


_NO_WRITES = (UNSET, UNSET)


def _numbers(row: _Row) -> tuple[int | UnsetType, ...]:
    writes, tools = row.cache_creation, row.server_tool_use
    return (
        *_plain(row),
        *(
            _NO_WRITES
            if isinstance(writes, UnsetType)
            else (writes.ephemeral_5m_input_tokens, writes.ephemeral_1h_input_tokens)
        ),
        UNSET if isinstance(tools, UnsetType) else tools.web_search_requests,
    )


# --- the closer look ---------------------------------------------------------------------------


def _close(body: bytes, known: Known, width: timedelta) -> Page:
    root = Node(loads(body))
    if root.get("error") is not None and root.get("data") is None:
        root.refuse(f"an error instead of data: {excerpt(str(root.field('error').value))}")
    unknown: set[str] = set(root.fields()) - {"data", "has_more", "next_page"}
    buckets = tuple(_close_bucket(bucket, known, unknown, width) for bucket in root.field("data").items())
    following = root.get("next_page")
    try:
        next_page = _cursor(root.field("has_more").flag(), following.text_or_none() if following else None)
    except JsonError:
        raise
    except ValueError as error:
        raise JsonError(f"$.next_page: {error}") from None
    remarks = (f"the usage report has a field that budgetd does not know: {excerpt(name)}" for name in unknown)
    return Page(buckets, next_page, frozenset(remarks))


def _close_bucket(bucket: Node, known: Known, unknown: set[str], width: timedelta) -> Bucket:
    unknown |= set(bucket.fields()) - {"starting_at", "ending_at", "results"}
    start, end = bucket.field("starting_at"), bucket.get("ending_at")
    try:
        bounds = _bounds(start.text(), end.text() if end else None, width)
    except JsonError:
        raise
    except ValueError as error:
        bucket.refuse(str(error))
    counts: dict[Used, int] = {}
    for row in bucket.field("results").items():
        for used, count in _close_row(row, known, unknown).items():
            counts[used] = counts.get(used, 0) + count
    return Bucket(*bounds, counts)


def _close_row(row: Node, known: Known, unknown: set[str]) -> dict[Used, int]:
    found = [row.get(name) for name in DIMENSIONS]
    about = known[tuple(UNSET if node is None else node.text_or_none() for node in found)].about
    counted = {name: _count(row, name) for name in _PLAIN}
    counted |= _inner(row, _WRITES, unknown, {})
    counted |= _inner(row, _TOOLS, unknown, {_SEARCHES: WEB_SEARCH})
    counted |= _flat_writes(row, counted)
    for name in row.fields().keys() - {*DIMENSIONS, *_IGNORED, *_PLAIN, _WRITES, _TOOLS, FLAT_WRITES}:
        unknown.add(name)
        if isinstance(row.field(name).value, Number):
            counted[name] = _count(row, name)
    return {use(about, unit): count for unit, count in counted.items() if count}


def _inner(row: Node, name: str, unknown: set[str], units: Mapping[str, str]) -> dict[str, int]:
    """The counters of an object within a row, under the names that the bill has for them."""
    inner = row.get(name)
    if inner is None or inner.value is None:
        return {}
    expected = {"ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", _SEARCHES}
    odd = inner.fields().keys() - expected
    unknown |= {f"{name}.{each}" for each in odd}
    counters = [each for each, value in inner.fields().items() if each not in odd or isinstance(value, Number)]
    return {units.get(each, f"{name}.{each}"): _count(inner, each) for each in counters}


def _flat_writes(row: Node, counted: Mapping[str, int]) -> dict[str, int]:
    """Cache writes as one number cannot be priced: a write for an hour costs 1.6 times one for five minutes.

    Beside the two that it is made of it says nothing new.
    """
    flat = _count(row, FLAT_WRITES)
    split = sum(count for unit, count in counted.items() if unit.startswith(f"{_WRITES}."))
    if flat and split and flat != split:
        row.field(FLAT_WRITES).refuse(f"{flat} cache writes, and {split} by how long they last")
    return {FLAT_WRITES: flat} if flat and not split else {}


def _count(node: Node, name: str) -> int:
    found = node.get(name)
    if found is None or found.value is None:
        return 0
    if not isinstance(found.value, Number) or _COUNT.fullmatch(found.value) is None:
        found.refuse(f"expected a count, found {excerpt(str(found.value))}")
    return int(found.value)


# --- what both share ---------------------------------------------------------------------------


def _cursor(has_more: bool, next_page: str | None) -> str | None:
    if has_more and not next_page:
        raise ValueError("more pages are announced, and no cursor is given")
    return next_page if has_more else None


def _bounds(starting_at: str, ending_at: str | None, width: timedelta) -> tuple[datetime, datetime]:
    start = _instant(starting_at)
    if start != floor(start, width):
        raise ValueError(f"a bucket that does not start at a whole {_called(width)}: {excerpt(starting_at)}")
    if ending_at is not None and _instant(ending_at) != start + width:
        raise ValueError(f"a bucket that is not one {_called(width)}: {excerpt(starting_at)} to {excerpt(ending_at)}")
    return start, start + width


def floor(instant: datetime, width: timedelta) -> datetime:
    """The start of the minute, hour or UTC day that holds the instant."""
    midnight = datetime(instant.year, instant.month, instant.day, tzinfo=UTC)
    return midnight + (instant - midnight) // width * width


def _called(width: timedelta) -> str:
    return {60: "minute", 3600: "hour"}.get(int(width.total_seconds()), "UTC day")


def _instant(text: str) -> datetime:
    if _INSTANT.fullmatch(text) is None:
        raise ValueError(f"not an RFC 3339 instant: {excerpt(text)}")
    return datetime.fromisoformat(text).astimezone(UTC)
