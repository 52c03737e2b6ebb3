"""`GET /v1/organizations/analytics/cost`: money by any dimension and width of time, as of the last refresh."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from budgetd import money
from budgetd.model import DEFAULT_WORKSPACE, Dimensions
from budgetd.simulator import prices, reports
from budgetd.simulator.organisation import Span, World
from budgetd.simulator.pace import DAY_SECONDS, HOUR_SECONDS
from budgetd.simulator.reports import Cursor, cents_text, choice, date_range_error, second_text, several
from budgetd.simulator.script import Line
from budgetd.simulator.streams import api_key
from budgetd.simulator.wire import Request, RequestError, Response, encoded, refuse_unknown, whole_number

ANALYTICS_BETA = "analytics-usage-cost-2026-08-24"

_WIDTHS = {"1m": 60, "1h": HOUR_SECONDS, "1d": DAY_SECONDS}
_PARAMETERS = frozenset(
    {"starting_at", "ending_at", "time_bucket_width", "group_by[]", "limit", "order_by", "order", "page"}
)
_COMPONENTS = ("cost_type", "token_type")
# Dimensions that this organisation has a value for; of the others every row says null.
_KNOWN = ("product", "workspace_id", "api_key_id", "actor", "actor_type", "model", "service_tier", "context_window",
    "inference_geo", "speed")  # fmt: skip
_DIMENSIONS = (
    *_KNOWN, *_COMPONENTS, "agent_id", "claude_tag_category", "claude_tag_user_id", "deployment_id", "environment_id",
    "rbac_group_id", "session_id", "slack_channel_id", "user_profile_id",
)  # fmt: skip
_MOST_GROUPS = 5
_LONGEST = timedelta(days=31)
_LONGEST_BY_MINUTE = timedelta(days=1)
_HISTORY = timedelta(days=365)
# What one request writes, for the number of requests.
_TOKENS_A_REQUEST = 700
_KEPT_ANSWERS = 4

_Group = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class _Query:
    """Buckets of `width` seconds (0: one for the whole range) from `start` to before `end`, in seconds since 1970."""

    start: int
    end: int
    width: int
    groups: frozenset[str]
    limit: int
    by_time: bool
    ascending: bool


class _Row(NamedTuple):
    """What one combination of dimensions costs in one bucket."""

    start: int
    end: int
    group: _Group
    dollars: Decimal
    list_dollars: Decimal
    requests: int


@dataclass(slots=True)
class _Sums:
    """Dollars, dollars at list price and requests by group."""

    dollars: dict[_Group, Decimal] = field(default_factory=dict)
    list_dollars: dict[_Group, Decimal] = field(default_factory=dict)
    requests: dict[_Group, int] = field(default_factory=dict)


class CostAnalytics:
    """The analytics of one organisation; remembers what it was asked lately."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._answers: OrderedDict[tuple[str, int], list[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def respond(self, request: Request, now: datetime) -> Response:
        """The page of rows that was asked for. Raises RequestError."""
        self._admit(request)
        query = _parse(request, now)
        digest, refreshed = reports.digest(self._world.seed, request), self._refreshed(now)
        cursor = reports.cursor(request, digest) or Cursor(0, 1, digest, refreshed)
        if cursor.stamp != refreshed:
            raise RequestError(410, "page: The data was refreshed since this page token was issued; start again")
        rows = self._rows(query, digest, refreshed)
        end = cursor.place + query.limit
        following = cursor.following(end) if len(rows) > end else None
        return reports.page(rows[cursor.place : end], following, data_refreshed_at=second_text(refreshed))

    def _admit(self, request: Request) -> None:
        if ANALYTICS_BETA not in reports.betas(request) or self._world.manners.analytics == 404:
            raise RequestError(404, f"Not found: {request.path}")
        if self._world.manners.analytics != 200:
            message = "Usage and cost analytics are not enabled for your organization"
            raise RequestError(self._world.manners.analytics, message)

    def _refreshed(self, now: datetime) -> int:
        """The second of the last refresh; all use before it is counted."""
        every = self._world.manners.analytics_refresh // timedelta(seconds=1)
        return reports.seconds(now) // every * every

    def _rows(self, query: _Query, digest: str, refreshed: int) -> list[bytes]:
        with self._lock:
            known = self._answers.get((digest, refreshed))
            if known is None:
                rows = sorted(_Reckoning(self._world, query, refreshed).rows(), key=_order(query))
                known = self._answers[digest, refreshed] = [_encoded(row, query) for row in rows]
                while len(self._answers) > _KEPT_ANSWERS:
                    self._answers.popitem(last=False)
            return known


def _parse(request: Request, now: datetime) -> _Query:
    refuse_unknown(request, _PARAMETERS)
    starting = reports.required_instant(request, "starting_at")
    ending = reports.instant(request, "ending_at") or min(now, starting + _LONGEST)
    named = choice(request, "time_bucket_width", _WIDTHS, "")
    _check_range(starting, ending, named, now)
    groups = several(request, "group_by[]", _DIMENSIONS)
    if len(groups.difference(_COMPONENTS)) > _MOST_GROUPS:
        raise RequestError(400, f"Cannot specify more than {_MOST_GROUPS} group_by[] dimensions.")
    by_time = choice(request, "order_by", ("amount", "time"), "amount") == "time"
    if by_time and not named:
        raise RequestError(400, "order_by: 'time' requires time_bucket_width")
    ascending = choice(request, "order", ("asc", "desc"), "desc") == "asc"
    # Without a width the report covers whole hours that are over; with one the bucket that holds the end is in it.
    step = _WIDTHS.get(named, HOUR_SECONDS)
    start, end = reports.seconds(starting) // step * step, reports.seconds(ending) // step * step
    if named and end < reports.seconds(ending):
        end += step
    if end <= start:
        raise date_range_error()
    limit = whole_number(request, "limit", 20, 1000)
    return _Query(start, end, _WIDTHS.get(named, 0), groups, limit, by_time, ascending)


def _check_range(starting: datetime, ending: datetime, width: str, now: datetime) -> None:
    if starting < now.astimezone(UTC) - _HISTORY:
        raise RequestError(400, "starting_at: must be within the last 365 days")
    if ending <= starting:
        raise date_range_error()
    if ending - starting > _LONGEST:
        raise RequestError(400, "ending_at: the range may not be longer than 31 days")
    if width == "1m" and ending - starting > _LONGEST_BY_MINUTE:
        raise RequestError(400, "time_bucket_width: '1m' allows a range of at most 24 hours")


class _Reckoning:
    """Makes the rows of one query as of one refresh."""

    def __init__(self, world: World, query: _Query, refreshed: int) -> None:
        self._world = world
        self._query = query
        self._refreshed = refreshed
        self._known: dict[Dimensions, _Group] = {}

    def rows(self) -> Iterator[_Row]:
        """The rows, the oldest first."""
        query = self._query
        width = query.width or query.end - query.start
        for start in range(query.start, min(query.end, self._refreshed), width):
            end, sums = start + width, _Sums()
            last = min(end, self._refreshed)
            for midnight in range(start // DAY_SECONDS * DAY_SECONDS, last, DAY_SECONDS):
                span = Span(max(start - midnight, 0), min(last - midnight, DAY_SECONDS))
                self._count(reports.day_of(midnight), span, sums)
            for group, dollars in sums.dollars.items():
                list_dollars = sums.list_dollars.get(group, money.ZERO)
                yield _Row(start, end, group, dollars, list_dollars, sums.requests.get(group, 0))

    def _count(self, day: date, span: Span, sums: _Sums) -> None:
        """Add what a part of a UTC day costs."""
        as_of = reports.moment(self._refreshed)
        self._add(sums.dollars, self._world.lines_between(day, span, as_of))
        self._add(sums.list_dollars, self._world.lines_between(day, span, as_of, discounted=False))
        if self._query.groups.intersection(_COMPONENTS):
            return  # a request has all of them: there is no number for one
        for flow in self._world.flows(day, as_of):
            for kind, tokens in flow.between(*span):
                if kind.token_type == prices.OUTPUT:
                    group = self._group(flow.about(kind))
                    sums.requests[group] = sums.requests.get(group, 0) + -(-tokens // _TOKENS_A_REQUEST)

    def _add(self, sums: dict[_Group, Decimal], lines: tuple[Line, ...]) -> None:
        for about, dollars in lines:
            group = self._group(about)
            before = sums.get(group)
            sums[group] = dollars if before is None else money.add(before, dollars)

    def _group(self, about: Dimensions) -> _Group:
        known = self._known.get(about)
        if known is None:
            values = _values(self._world, about)
            known = tuple(values.get(name) if name in self._query.groups else None for name in _DIMENSIONS)
            self._known[about] = known
        return known


def _values(world: World, about: Dimensions) -> Mapping[str, str | None]:
    workspace = about.workspace or DEFAULT_WORKSPACE
    key = api_key(workspace, about.model)
    return {
        # Work in a sandbox belongs to no product.
        "product": None if about.cost_type == "code_execution" else "api",
        # Unlike in the cost report, the default workspace has its real id.
        "workspace_id": world.default_workspace if workspace == DEFAULT_WORKSPACE else workspace,
        "api_key_id": key,
        "actor": key,
        "actor_type": "api_key",
        "model": about.model,
        "service_tier": about.service_tier,
        "context_window": about.context_window,
        "inference_geo": about.inference_geo,
        "speed": about.speed,
        "cost_type": about.cost_type,
        "token_type": about.token_type,
    }


def _order(query: _Query) -> Callable[[_Row], tuple[Decimal | int, ...]]:
    sign = 1 if query.ascending else -1
    if query.by_time:
        return lambda row: (sign * row.start, -row.dollars)
    return lambda row: (sign * row.dollars, row.start)


def _encoded(row: _Row, query: _Query) -> bytes:
    cost = {
        "amount": cents_text(row.dollars),
        "list_amount": cents_text(row.list_dollars),
        "currency": "USD",
        "requests": None if query.groups.intersection(_COMPONENTS) else row.requests,
    }
    times = {"starting_at": second_text(row.start), "ending_at": second_text(row.end)}
    return encoded({**times, "group": dict(zip(_DIMENSIONS, row.group, strict=True)), "cost": cost})
