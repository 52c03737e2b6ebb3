"""One page of the usage report, from its bytes to exact counts by bucket, workspace and kind.

Two readers, as for the cost report: the fast one takes the ordinary page, the close one everything else, and says
at which JSON path a page is wrong. What is missing is a zero. A counter that nobody knows is kept under its
name, so that what it counts is shown without a price instead of being lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Annotated, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from budgetd import price_list
from budgetd.model import DEFAULT_WORKSPACE
from budgetd.price_list import WEB_SEARCH, Kind
from budgetd.pricing import Used
from budgetd.sources.page_text import (
    DOCUMENTED,
    bounds,
    bounds_of,
    cursor,
    cursor_of,
    odd_fields,
    odd_value,
    quotes,
    refuse_error,
)
from budgetd.sources.strict_json import Node, Number, excerpt, loads

DIMENSIONS = ("workspace_id", "model", "service_tier", "context_window", "inference_geo", "speed")
# Never asked for, so always null; who used it is not what this is about.
_IGNORED = frozenset({"api_key_id", "account_id", "service_account_id"})
_DOCUMENTED = DOCUMENTED | {
    "service_tier": frozenset({"standard", "batch", "priority", "priority_on_demand", "flex", "flex_discount"}),
}
_SUBJECT = "the usage report has"
_PLAIN = (price_list.INPUT, price_list.CACHE_READ, price_list.OUTPUT)
_WRITES = "cache_creation"
_TOOLS = "server_tool_use"
_SEARCHES = "web_search_requests"
# An older form of the row has both kinds of cache writes in one number.
FLAT_WRITES = "cache_creation_input_tokens"
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
                self.odd.add(odd_value(_SUBJECT, name, value))
        # The report is grouped by workspace: a row whose workspace is null is the default workspace's.
        # One that does not have the field says nothing of it.
        about = Used(None if raw[0] is UNSET else values[0] or DEFAULT_WORKSPACE, Kind("", *values[1:]))
        if about.workspace is None:
            self.departures.add("the usage report has rows without a workspace_id, though it is grouped by it")
        entry = _Entry(tuple(use(about, unit) for unit in _UNITS), sum(map(quotes, raw)), about)
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
        next_page = cursor(page.has_more, None if page.next_page is UNSET else page.next_page)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    # A key given twice leaves the text with more quotation marks than the fields account for.
    if 4 + quotes(page.next_page) + sum(marks for _, marks in read) != body.count(b'"'):
        return None
    return Page(tuple(bucket for bucket, _ in read), next_page)


def _fast_bucket(bucket: _RowBucket, known: Known, width: timedelta) -> tuple[Bucket, int]:
    """The bucket, and the number of quotation marks in its text. Raises ValueError."""
    start, end = bounds(bucket.starting_at, None if bucket.ending_at is UNSET else bucket.ending_at, width)
    counts: dict[Used, int] = {}
    marks = 6 + quotes(bucket.ending_at)
    for row in bucket.results:
        entry = known[_raw(row)]
        marks += entry.quotes + sum(map(quotes, _others(row)))
        for used, count in zip(entry.uses, _numbers(row), strict=True):
            if count is UNSET:
                continue
            marks += 2
            if count:
                counts[used] = counts.get(used, 0) + count
        marks += 2 * ((row.cache_creation is not UNSET) + (row.server_tool_use is not UNSET))
    return Bucket(start, end, counts), marks


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
    refuse_error(root)
    unknown: set[str] = set(root.fields()) - {"data", "has_more", "next_page"}
    buckets = tuple(_close_bucket(bucket, known, unknown, width) for bucket in root.field("data").items())
    return Page(buckets, cursor_of(root), odd_fields(_SUBJECT, unknown))


def _close_bucket(bucket: Node, known: Known, unknown: set[str], width: timedelta) -> Bucket:
    unknown |= set(bucket.fields()) - {"starting_at", "ending_at", "results"}
    counts: dict[Used, int] = {}
    for row in bucket.field("results").items():
        for used, count in _close_row(row, known, unknown).items():
            counts[used] = counts.get(used, 0) + count
    return Bucket(*bounds_of(bucket, width), counts)


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
