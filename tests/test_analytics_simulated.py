"""The cost analytics of the simulated organisation: hours and days that are the bill's own, to the last decimal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from budgetd import money
from budgetd.http import Api, Bounds
from budgetd.model import CostDay, Dimensions, Failure, Report, SourceError
from budgetd.period import midnight
from budgetd.simulator import faults, worlds
from budgetd.simulator.api import ADMIN_KEY, AdminApi
from budgetd.simulator.clocks import FixedClock
from budgetd.simulator.faults import FaultScript
from budgetd.simulator.manners import Manners
from budgetd.simulator.organisation import Span, World
from budgetd.simulator.script import Restatement, Runaway, Vanishing
from budgetd.simulator.server import serve
from budgetd.simulator.wire import Request
from budgetd.sources.account import AdminAccount
from budgetd.sources.analytics import BETA, PATH, Analytics
from budgetd.sources.cost_report import CostReport
from tests.same_day import OPUS, RESEARCH, at, small

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = at("11-18T14:31:05")
TODAY = date(2026, 11, 18)
WORLDS = pytest.mark.parametrize("make", [worlds.standard, worlds.unfamiliar, small], ids=lambda make: make.__name__)

Line = tuple[Dimensions, Decimal]
Lines = Mapping[Dimensions, Decimal]


class Simulated:
    """The simulated API as a Getter, at a time of its own, with the analytics' beta header."""

    def __init__(self, world: World, now: datetime) -> None:
        self.now = now
        self.requests: list[str] = []
        self.become(world)

    def become(self, world: World) -> None:
        self._api = AdminApi(world)

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, deadline: float | None = None) -> bytes:
        self.requests.append(path)
        headers = {"x-api-key": ADMIN_KEY, "anthropic-version": "2023-06-01", "anthropic-beta": BETA}
        answer = self._api.respond(Request.of("GET", f"{path}?{urlencode(params)}", headers), self.now)
        if answer.status != 200:
            failure = Failure.REFUSED if answer.status in (401, 403) else Failure.REJECTED
            raise SourceError(failure, answer.body.decode(), status=answer.status)
        return answer.body


def analytics(api: Any, **more: Any) -> Analytics:
    """The source as it is put together, with an account that has been read."""
    account = AdminAccount(api)
    account.workspaces()
    return Analytics(api, lambda: account.default_workspace, unlisted=account.unlisted, **{"history": False, **more})


def read(api: Simulated, now: datetime, since: date | None = None, **more: Any) -> Report:
    api.now = now
    return analytics(api, **more).read(now, since)


def plain(lines: Iterable[Line]) -> dict[Dimensions, Decimal]:
    """The lines without what the analytics do not tell."""
    sums: dict[Dimensions, Decimal] = {}
    for about, dollars in lines:
        known = about._replace(description=None, speed=None)
        sums[known] = money.add(sums.get(known, money.ZERO), dollars)
    return sums


def summed(report: Report, day: date) -> dict[Dimensions, Decimal]:
    """What the slices of a UTC day come to."""
    return plain(line for each in report.slices if each.start.date() == day for line in each.lines.items())


# --- hours -------------------------------------------------------------------------------------


@WORLDS
def test_every_hour_is_what_was_spent_in_it(make: Any) -> None:
    world = make()
    report = read(Simulated(world, NOW), NOW)
    assert report.through == at("11-18T12:00")
    assert len(report.slices) == 36
    for each in report.slices:
        start = each.start.hour * 3600
        spent = world.lines_between(each.start.date(), Span(start, start + 3600), report.through)
        assert each.lines == plain(spent), each.start
    kinds = {about.cost_type for each in report.slices for about in each.lines}
    if make is not small:
        assert kinds == {"tokens", "web_search", "code_execution", "session_usage"}


@WORLDS
def test_the_hours_of_a_day_are_its_bill(make: Any) -> None:
    world = make()
    report = read(Simulated(world, NOW), at("11-19T04:10"))
    assert summed(report, TODAY) == plain(world.bill(TODAY, at("11-20T00:00")))


@pytest.mark.parametrize("refresh", [timedelta(minutes=1), timedelta(minutes=45), timedelta(hours=4)])
def test_the_hour_of_the_refresh_is_left_out(refresh: timedelta) -> None:
    world = replace(worlds.standard(), manners=Manners(analytics_refresh=refresh))
    report = read(Simulated(world, NOW), NOW)
    spent = [
        line
        for hour in range(report.through.hour)
        for line in world.lines_between(TODAY, Span(hour * 3600, hour * 3600 + 3600), NOW)
    ]
    assert summed(report, TODAY) == plain(spent)
    assert report.through.hour == (12 if refresh == timedelta(hours=4) else 14)


def test_a_week_without_a_bill_is_read_hour_by_hour() -> None:
    world = worlds.standard()
    api = Simulated(world, NOW)
    report = read(api, NOW, billed_through=lambda: at("11-12T00:00"))
    assert len(report.slices) == 6 * 24 + 12
    for number in range(6):
        day = date(2026, 11, 12) + DAY * number
        assert summed(report, day) == plain(world.bill(day, NOW))
    assert api.requests.count(PATH) > 4


# --- days --------------------------------------------------------------------------------------


@WORLDS
def test_the_days_are_those_of_the_cost_report(make: Any) -> None:
    api = Simulated(make(), NOW)
    days = {day.day: day for day in read(api, NOW, date(2026, 9, 25), history=True).days}
    bill = CostReport(api).read(NOW, date(2026, 9, 25)).days
    assert len(bill) == 54
    for day in bill:
        assert days.pop(day.day) == CostDay(day.day, plain(day.lines.items()))
    (running,) = days.values()
    assert (running.day, running.complete) == (TODAY, False)


def test_the_running_day_is_its_hours_until_it_is_closed() -> None:
    world = worlds.standard()
    api = Simulated(world, NOW)
    source = analytics(api, history=True)
    running = source.read(NOW, None)
    assert running.days[-1] == CostDay(TODAY, summed(running, TODAY), complete=False)
    api.now = at("11-19T00:10")
    closed = source.read(api.now, None)
    assert closed.days == (CostDay(TODAY, plain(world.bill(TODAY, at("11-20T00:00")))),)


@pytest.mark.parametrize(
    "event",
    [
        Restatement(date(2026, 11, 5), 13, Decimal("0.333333"), RESEARCH),
        Restatement(date(2026, 11, 5), 13, Decimal(0), RESEARCH),
        Vanishing(date(2026, 11, 5), 13, RESEARCH, OPUS.id),
    ],
)
def test_a_restated_day_arrives_with_the_refresh_after_it(event: Any) -> None:
    world = worlds.standard().with_events(event)
    api = Simulated(world, at("11-17T23:00"))
    source = analytics(api, history=True)
    before = {day.day: day for day in source.read(api.now, None).days}
    api.now = at("11-19T00:01")
    after = {day.day: day for day in source.read(api.now, None).days}
    day = date(2026, 11, 5)
    assert sorted(after) == [day, date(2026, 11, 17), TODAY]
    assert after[day].lines != before[day].lines
    assert after[day].lines == plain(line for line in world.bill(day, api.now) if line.dollars)  # no row for a zero


def test_a_runaway_is_in_the_hour_that_it_began_in() -> None:
    world = worlds.standard().with_events(Runaway.beginning(at("11-18T09:30"), RESEARCH, OPUS.id, Decimal(1000)))
    api = Simulated(worlds.standard(), at("11-18T09:00"))
    source = analytics(api)
    calm = source.read(api.now, None)
    api.become(world)
    api.now = at("11-18T12:00")
    wild = source.read(api.now, None)
    assert all(old is new for old, new in zip(calm.slices, wild.slices, strict=False))
    spent = {each.start.hour: money.total(each.lines.values()) for each in wild.slices if each.start.date() == TODAY}
    assert [hour for hour, dollars in spent.items() if dollars > 300] == [9, 10, 11]


# --- polls -------------------------------------------------------------------------------------


def test_a_day_of_polls_reads_six_times() -> None:
    api = Simulated(worlds.standard(), NOW)
    source = analytics(api)
    last = at("11-18T00:00")
    api.requests.clear()
    for number in range(24 * 12):
        api.now = at("11-18T00:00") + timedelta(minutes=5) * number
        report = source.read(api.now, None)
        assert last <= report.through <= api.now
        last = report.through
    assert len(api.requests) < 24 * 12 + 6 * 4


def test_an_api_without_include_default_does_not_hide_the_default_workspace() -> None:
    class Older(Simulated):
        def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, deadline: float | None = None) -> bytes:
            if ("include_default", "true") in params:
                raise SourceError(Failure.REJECTED, "HTTP 400: Extra inputs are not permitted", status=400)
            return super().get(path, params, deadline=deadline)

    world = worlds.standard()
    assert read(Older(world, NOW), NOW) == read(Simulated(world, NOW), NOW)


@pytest.mark.parametrize(("status", "failure"), [(403, Failure.REFUSED), (404, Failure.REJECTED)])
def test_an_organisation_may_not_have_it(status: int, failure: Failure) -> None:
    world = replace(worlds.standard(), manners=Manners(analytics=status))
    with pytest.raises(SourceError) as caught:
        read(Simulated(world, NOW), NOW)
    assert (caught.value.status, caught.value.failure) == (status, failure)


# --- over a socket -------------------------------------------------------------------------------


def over_a_socket(world: World, *betas: str, fault: str | None = None) -> Report:
    """A reading of the real client from the simulated server."""
    script = FaultScript([faults.parse(fault)] if fault else [])
    with serve(world, clock=FixedClock(NOW), faults=script) as server:
        api = Api(
            server.url,
            lambda: ADMIN_KEY,
            betas=betas,
            bounds=Bounds(request_seconds=5, attempts=2, body_bytes=2_000_000),
            sleep=lambda seconds: None,
        )
        try:
            return analytics(api, fetch_seconds=20).read(NOW, None)
        finally:
            api.close()


@pytest.mark.network
@pytest.mark.parametrize("betas", [[BETA], ["fast-mode-2026-02-01", BETA]])
def test_it_is_read_over_a_real_connection(betas: list[str]) -> None:
    assert over_a_socket(worlds.standard(), *betas) == read(Simulated(worlds.standard(), NOW), NOW)


@pytest.mark.network
@pytest.mark.parametrize("betas", [[], ["fast-mode-2026-02-01"]])
def test_without_its_beta_header_it_does_not_exist(betas: list[str]) -> None:
    with pytest.raises(SourceError, match="Not found") as caught:
        over_a_socket(worlds.standard(), *betas)
    assert (caught.value.status, caught.value.failure) == (404, Failure.REJECTED)


@pytest.mark.network
@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_keeps_its_status_over_a_real_connection(status: int) -> None:
    with pytest.raises(SourceError) as caught:
        over_a_socket(replace(worlds.standard(), manners=Manners(analytics=status)), BETA)
    assert caught.value.status == status


@pytest.mark.network
@pytest.mark.parametrize(
    "fault",
    ["html", "empty", "null", "list", "object", "envelope", "nested", "cut_json", "not_utf8", "utf16", "duplicate_key",
     "redirect", "truncated", "close", "page_loop=1", "page_loop=3", "page_loop=100000", "null_cursor", "empty_cursor",
     "no_cursor", "duplicate", "contradiction", "outside", "unaligned", "field=currency=EUR", "field=amount=1,5",
     "number=amount=true", "without", "without=currency", "500", "429", "401"],
)  # fmt: skip
def test_no_fault_becomes_a_figure(fault: str) -> None:
    with pytest.raises(SourceError):
        over_a_socket(small(), BETA, fault=f"{fault}@analytics")


@pytest.mark.network
@pytest.mark.parametrize("fault", ["shuffled", "html:1", "cut_json:1", "reset:1", "number=amount=137.5:1"])
def test_what_is_harmless_or_passes_is_no_failure(fault: str) -> None:
    assert over_a_socket(small(), BETA, fault=f"{fault}@analytics") == over_a_socket(small(), BETA)


def test_the_day_before_the_organisation_was_founded_is_empty() -> None:
    world = replace(small(), founded=TODAY - DAY)
    report = read(Simulated(world, NOW), NOW, history=True)
    spent = [day.day for day in report.days if day.lines]
    assert spent == [TODAY - DAY, TODAY]
    assert midnight(report.start) == at("11-01T00:00")
