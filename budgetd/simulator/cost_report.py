"""`GET /v1/organizations/cost_report`: billed money of closed UTC days, with the manners of the real one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial

from budgetd import money
from budgetd.model import DEFAULT_WORKSPACE, Dimensions
from budgetd.period import DAY
from budgetd.simulator import reports
from budgetd.simulator.organisation import World
from budgetd.simulator.reports import (
    SPEED_BETA,
    BucketCache,
    Cursor,
    betas,
    cents_text,
    choice,
    date_range_error,
    instant,
    page,
    required_instant,
    several,
)
from budgetd.simulator.script import Line
from budgetd.simulator.wire import Request, Response, encoded, refuse_unknown, timestamp, whole_number

_PARAMETERS = frozenset({"starting_at", "ending_at", "bucket_width", "group_by[]", "limit", "page"})
_GROUPS = ("workspace_id", "description")


@dataclass(frozen=True, slots=True)
class _Query:
    """UTC days from `start` to before `end`, cut into pages of `limit`."""

    start: date
    end: date
    groups: frozenset[str]
    limit: int
    speed: bool


def respond(world: World, request: Request, now: datetime, cache: BucketCache) -> Response:
    """The page of the report that was asked for. Raises RequestError."""
    query = _parse(request, now)
    digest = reports.digest(world.seed, request)
    cursor = reports.cursor(request, digest) or Cursor(query.start.toordinal(), 1, digest)
    start = max(query.start, date.fromordinal(cursor.place))
    days = [day for day in _days(start, query.end) if world.served(day, now)]
    shown, rest = days[: query.limit], days[query.limit :]
    buckets = (
        cache.get(
            (day, world.corrections(day, now), world.revisions(day, now), query.groups, query.speed),
            partial(_bucket, world, day, now, query),
        )
        for day in shown
    )
    return page(buckets, cursor.following(rest[0].toordinal()) if rest else None)


def day_page(world: World, day: date, as_of: datetime) -> bytes:
    """The body of a page that holds one UTC day by workspace and description."""
    query = _Query(day, day + DAY, frozenset(_GROUPS), 1, speed=False)
    return page([_bucket(world, day, as_of, query)], None).body


def _parse(request: Request, now: datetime) -> _Query:
    refuse_unknown(request, _PARAMETERS)
    starting, ending = required_instant(request, "starting_at"), instant(request, "ending_at")
    today = now.astimezone(UTC).date()
    start, end = starting.date(), min(ending.date() if ending else today, today)
    if end <= start:
        raise date_range_error()
    choice(request, "bucket_width", ("1d",), "1d")
    groups = several(request, "group_by[]", _GROUPS)
    return _Query(start, end, groups, whole_number(request, "limit", 7, 31), SPEED_BETA in betas(request))


def _days(start: date, end: date) -> Iterable[date]:
    return (start + DAY * number for number in range((end - start).days))


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
    if len(groups) == len(_GROUPS):
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
