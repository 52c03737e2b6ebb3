"""`GET /v1/organizations/usage_report/messages`: tokens by minute, hour or closed UTC day, minutes after their use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import NamedTuple

from budgetd.model import DEFAULT_WORKSPACE
from budgetd.simulator import prices, reports
from budgetd.simulator.organisation import World
from budgetd.simulator.pace import DAY_SECONDS, HOUR_SECONDS, Pace
from budgetd.simulator.prices import Kind
from budgetd.simulator.reports import SPEED_BETA, BucketCache, Cursor, date_range_error, several
from budgetd.simulator.streams import Flow, api_key
from budgetd.simulator.wire import Request, RequestError, Response, encoded, refuse_unknown, whole_number


class _Width(NamedTuple):
    """A width of buckets: its seconds, and how many buckets a page has by default and at most."""

    seconds: int
    usual: int
    most: int


_WIDTHS = {"1m": _Width(60, 60, 1440), "1h": _Width(HOUR_SECONDS, 24, 168), "1d": _Width(DAY_SECONDS, 7, 31)}
# What a row can be about, in the order of its fields. Nobody here signs in with an account: those two are null.
_DIMENSIONS = (
    "api_key_id",
    "workspace_id",
    "model",
    "service_tier",
    "context_window",
    "inference_geo",
    "account_id",
    "service_account_id",
    "speed",
)
_MOST_GROUPS = 5
# Filter -> the dimension that it is about, and its documented values if they are fixed.
_FILTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "api_key_ids[]": ("api_key_id", ()),
    "workspace_ids[]": ("workspace_id", ()),
    "models[]": ("model", ()),
    "service_tiers[]": ("service_tier", ("standard", "batch", "priority")),
    "context_window[]": ("context_window", ("0-200k", "200k-1M")),
    "inference_geos[]": ("inference_geo", ("global", "us", "not_available")),
}
_PARAMETERS = frozenset({"starting_at", "ending_at", "bucket_width", "group_by[]", "limit", "page", *_FILTERS})
_WEB_SEARCHES = "web_search_requests"
_COLUMNS = (prices.INPUT, prices.CACHE_1H, prices.CACHE_5M, prices.CACHE_READ, prices.OUTPUT, _WEB_SEARCHES)
_NESTED = "cache_creation."
_KEPT_TABLES = 6
_UNUSED = b'"results":[]}'

_About = dict[str, str | None]
_Row = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class _Query:
    """Buckets from second `start` to before second `end` since 1970. `wanted`: dimension -> the values to show."""

    start: int
    end: int
    width: str
    limit: int
    groups: frozenset[str]
    wanted: tuple[tuple[str, frozenset[str | None]], ...]
    speed: bool

    @property
    def shape(self) -> object:
        """What decides the content of a bucket besides its time."""
        return self.width, self.groups, self.wanted, self.speed


class _Entry(NamedTuple):
    """Amounts of one pace, and the cell of the table that each of them is counted in."""

    pace: Pace
    amounts: tuple[int, ...]
    cells: tuple[int, ...]


class _Table(NamedTuple):
    """A UTC day as a query groups it: the rows there can be, their columns, and what is counted in which cell."""

    rows: tuple[_About, ...]
    columns: tuple[str, ...]
    entries: tuple[_Entry, ...]


class UsageReport:
    """The report of one organisation; remembers what it was asked lately."""

    def __init__(self, world: World, cache: BucketCache) -> None:
        self._world = world
        self._cache = cache
        self._tables: OrderedDict[object, _Table] = OrderedDict()

    def respond(self, request: Request, now: datetime) -> Response:
        """The page of the report that was asked for. Raises RequestError."""
        query = _parse(self._world, request, now)
        width = _WIDTHS[query.width].seconds
        digest = reports.digest(self._world.seed, request)
        cursor = reports.cursor(request, digest) or Cursor(query.start, 1, digest)
        end = min(query.end, self._shown_before(query.width, now))
        starts = range(cursor.place, end, width)
        following = cursor.following(starts[query.limit]) if len(starts) > query.limit else None
        buckets = [self._bucket(start, query, now) for start in starts[: query.limit]]
        if self._world.manners.leaves_out_unused and query.width != "1d":
            buckets = [bucket for bucket in buckets if not bucket.endswith(_UNUSED)]
        return reports.page(buckets, following)

    def _counted(self, now: datetime) -> int:
        """The second before which all use is counted by now."""
        counted = reports.seconds(now - self._world.manners.usage_delay)
        return counted if self._world.manners.running_minute else counted // 60 * 60

    def _shown_before(self, width: str, now: datetime) -> int:
        """The second that no shown bucket starts at or after."""
        manners, length, present = self._world.manners, _WIDTHS[width].seconds, reports.seconds(now)
        if width == "1d":
            return present // length * length
        if manners.running_minute if width == "1m" else manners.running_hour:
            return present + 1
        return self._counted(now) // length * length

    def _bucket(self, start: int, query: _Query, now: datetime) -> bytes:
        end, counted = start + _WIDTHS[query.width].seconds, self._counted(now)
        make = partial(self._make_bucket, start, end, min(end, counted), query, now)
        if end > counted:
            return make()
        revisions = self._world.revisions(reports.day_of(start), now)
        return self._cache.get(("usage", start, revisions, query.shape), make)

    def _make_bucket(self, start: int, end: int, counted: int, query: _Query, now: datetime) -> bytes:
        rows: list[dict[str, object]] = []
        if start < counted:
            table = self._table(start, query, now)
            midnight = start // DAY_SECONDS * DAY_SECONDS
            rows = list(_rows(table, start - midnight, counted - midnight, self._world.manners.leaves_out_zeros))
        times = {"starting_at": reports.second_text(start), "ending_at": reports.second_text(end)}
        return encoded({**times, "results": rows})

    def _table(self, start: int, query: _Query, now: datetime) -> _Table:
        day = reports.day_of(start)
        key = (day, self._world.revisions(day, now), query.groups, query.wanted, query.speed)
        known = self._tables.get(key)
        if known is None:
            known = self._tables[key] = _tabulate(self._world, query, day, now)
            for forgotten in list(self._tables)[:-_KEPT_TABLES]:
                self._tables.pop(forgotten, None)
        return known


def _parse(world: World, request: Request, now: datetime) -> _Query:
    refuse_unknown(request, _PARAMETERS)
    width = reports.choice(request, "bucket_width", _WIDTHS, "1d")
    start = reports.seconds(reports.required_instant(request, "starting_at"))
    ending = reports.instant(request, "ending_at")
    length, usual, most = _WIDTHS[width]
    start, end = (second // length * length for second in (start, reports.seconds(ending or now)))
    if ending is None and width != "1d":
        end += length
    if width == "1d":
        end = min(end, reports.seconds(now) // length * length)
    if end <= start:
        raise date_range_error()
    groups, speed = several(request, "group_by[]", _DIMENSIONS), SPEED_BETA in reports.betas(request)
    if len(groups) > _MOST_GROUPS:
        raise RequestError(400, f"Cannot specify more than {_MOST_GROUPS} group_by[] dimensions.")
    if "speed" in groups and not speed:
        raise RequestError(400, f"group_by: 'speed' requires the {SPEED_BETA} beta header")
    limit = whole_number(request, "limit", usual, most)
    return _Query(start, end, width, limit, groups, tuple(_filters(world, request)), speed)


def _filters(world: World, request: Request) -> Iterator[tuple[str, frozenset[str | None]]]:
    for name, (dimension, choices) in _FILTERS.items():
        values = several(request, name, choices or request.all(name))
        if values:
            # Rows have null for the default workspace; a filter names it by its real id.
            yield dimension, frozenset(None if value == world.default_workspace else value for value in values)


def _tabulate(world: World, query: _Query, day: date, now: datetime) -> _Table:
    """The table of a UTC day: which part of which flow belongs into which row and column."""
    flows = world.flows(day, now)
    extra = {kind.token_type: None for flow in flows for kind, _ in flow.parts if kind.token_type not in _COLUMNS}
    columns = {name: number for number, name in enumerate((*_COLUMNS, *extra))}
    rows: dict[_Row, int] = {}
    entries = []
    for flow, counts in (*((flow, flow.parts) for flow in flows), *_web_searches(world, day)):
        cells, amounts = [], []
        for kind, amount in counts:
            about = _about(flow, kind)
            if all(about[dimension] in values for dimension, values in query.wanted):
                group = tuple(about[dimension] if dimension in query.groups else None for dimension in _DIMENSIONS)
                row = rows.setdefault(group, len(rows))
                cells.append(row * len(columns) + columns[kind.token_type])
                amounts.append(amount)
        entries.append(_Entry(flow.pace, tuple(amounts), tuple(cells)))
    shown = _DIMENSIONS if query.speed else _DIMENSIONS[:-1]
    return _Table(tuple(dict(zip(shown, row, strict=False)) for row in rows), tuple(columns), tuple(entries))


def _web_searches(world: World, day: date) -> Iterator[tuple[Flow, tuple[tuple[Kind, int], ...]]]:
    """The searches of each meter, as part of what its workspace's first stream does."""
    for meter, units, pace in world.readings(day):
        if meter.cost_type == "web_search":
            host = next(stream for stream in world.streams if stream.workspace == meter.workspace)
            kind = host.shares[0].kind._replace(token_type=_WEB_SEARCHES)
            yield Flow(host.workspace, host.model, (), pace), ((kind, units),)


def _about(flow: Flow, kind: Kind) -> _About:
    return {
        "api_key_id": api_key(flow.workspace, flow.model.id),
        "workspace_id": None if flow.workspace == DEFAULT_WORKSPACE else flow.workspace,
        "model": flow.model.id,
        "service_tier": kind.service_tier,
        "context_window": kind.context_window,
        "inference_geo": flow.model.inference_geo,
        "account_id": None,
        "service_account_id": None,
        "speed": kind.speed,
    }


def _rows(table: _Table, start: int, end: int, sparse: bool) -> Iterator[dict[str, object]]:
    """The rows of a part of the day, [start, end) in seconds, that have any use."""
    width = len(table.columns)
    counts = [0] * (len(table.rows) * width)
    for pace, amounts, cells in table.entries:
        for cell, amount in zip(cells, pace.between(amounts, start, end), strict=False):
            counts[cell] += amount
    for number, about in enumerate(table.rows):
        found = counts[number * width : (number + 1) * width]
        if any(found):
            used = _used(table.columns, found)
            yield {**_without_zeros(used), **about} if sparse else {**used, **about}


def _used(columns: tuple[str, ...], counts: list[int]) -> dict[str, object]:
    """What was used as a row shows it: writes to the cache in an object of their own, kinds nobody knows at the end."""
    inputs, hour, five_minutes, read, output, searches = counts[: len(_COLUMNS)]
    writes = {"ephemeral_1h_input_tokens": hour, "ephemeral_5m_input_tokens": five_minutes}
    used: dict[str, object] = {
        "uncached_input_tokens": inputs,
        "cache_creation": writes,
        "cache_read_input_tokens": read,
        "output_tokens": output,
        "server_tool_use": {_WEB_SEARCHES: searches},
    }
    for name, count in zip(columns[len(_COLUMNS) :], counts[len(_COLUMNS) :], strict=True):
        if count and name.startswith(_NESTED):
            writes[name.removeprefix(_NESTED)] = count
        elif count:
            used[name] = count
    return used


def _without_zeros(used: dict[str, object]) -> dict[str, object]:
    inner = {name: _without_zeros(value) if isinstance(value, dict) else value for name, value in used.items()}
    return {name: value for name, value in inner.items() if value}
