"""Hours that the vendor has priced, between the bill and the estimates: no gap, nothing twice, whichever answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budgetd.model import Basis, State
from budgetd.money import total
from budgetd.period import DAY, midnight
from budgetd.simulator import worlds
from budgetd.simulator.organisation import Span, World
from budgetd.simulator.script import Late, Restatement, Runaway
from tests.same_day import HOUR, MINUTE, OPUS, RESEARCH, UNCOUNTED, USAGE, Scene, at, counted, scene, small

TODAY, TOMORROW = date(2026, 11, 18), date(2026, 11, 19)
DAY_CAP = "{id: day, type: cap, limit: 100, per: day, steps: [100%, 200%, 400%, 800%]}"
MONTH_CAP = "{id: month, type: cap, limit: 1, per: month, steps: [100%]}"


def refreshed(world: World, now: datetime) -> datetime:
    """The last refresh of the analytics, to the hour."""
    seconds = int(world.manners.analytics_refresh.total_seconds())
    return datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, now.tzinfo).replace(minute=0, second=0)


def spent(world: World, day: date, start: datetime, end: datetime, now: datetime, *, counted_only: bool) -> Decimal:
    """What [start, end) of the UTC day cost; `counted_only`: without what is in no usage report."""
    first, last = (min(max(int((each - midnight(day)).total_seconds()), 0), 86_400) for each in (start, end))
    lines = world.lines_between(day, Span(first, max(first, last)), now)
    return total(each.dollars for each in lines if not counted_only or each.dimensions.cost_type not in UNCOUNTED)


def expected(world: World, day: date, priced: datetime, seen: datetime, now: datetime) -> Decimal:
    """The vendor's figures up to `priced`, estimates from there to `seen`."""
    own = spent(world, day, midnight(day), priced, now, counted_only=False)
    return own + spent(world, day, max(priced, midnight(day)), seen, now, counted_only=True)


def without_analytics(world: World, status: int = 403) -> World:
    return replace(world, manners=replace(world.manners, analytics=status))


def poll(here: Scene, now: datetime) -> None:
    here.priced(now)
    here.usage(now)


def test_what_no_usage_report_has_is_there_within_hours(tmp_path: Path) -> None:
    world = worlds.standard()
    with scene(tmp_path, world, at("11-18T11:00"), MONTH_CAP, fast=True) as here:
        here.warm_up(now := at("11-18T11:30"))
        assert here.kept(TODAY, TOMORROW) == expected(world, TODAY, midnight(TODAY), counted(world, now), now)
        poll(here, now)
        (day,) = here.days(TODAY, TOMORROW)
        assert (day.basis, day.complete) == (Basis.MIXED, False)
        assert here.kept(TODAY, TOMORROW) == expected(world, TODAY, at("11-18T08:00"), counted(world, now), now)
        poll(here, now := at("11-18T12:10"))
        assert here.kept(TODAY, TOMORROW) == expected(world, TODAY, at("11-18T12:00"), counted(world, now), now)
        assert here.incident("month", TODAY).amount == here.kept(date(2026, 11, 1), TOMORROW)
        poll(here, now := at("11-19T00:30"))
        assert here.kept(TODAY, TOMORROW) == sum(line.dollars for line in world.lines(TODAY)), "the whole day is priced"
        here.bill(now := at("11-19T05:01"))
        (day,) = here.days(TODAY, TOMORROW)
        assert (day.basis, day.complete) == (Basis.BILLED, True)
        assert here.store.drifts()[0].estimated == here.store.drifts()[0].billed
        assert here.reasons() == []


@pytest.mark.parametrize("status", [403, pytest.param(500, marks=pytest.mark.slow)])
def test_switching_between_backends_in_the_middle_of_a_day_changes_nothing(tmp_path: Path, status: int) -> None:
    """The analytics come and go, or never come: the same incidents, the same totals, and nothing is said of it."""
    burst = Runaway.beginning(at("11-18T09:30"), RESEARCH, OPUS.id, Decimal(90), 6 * HOUR)
    with_them = small().with_events(burst)
    stories = {"never": [], "always": [(0, 24)], "now and then": [(5, 9), (13, 14), (17, 24)]}
    told, totals = {}, {}
    for name, hours in stories.items():
        (tmp_path / name).mkdir()
        with scene(tmp_path / name, without_analytics(with_them), at("11-18T02:00"), DAY_CAP) as here:
            here.warm_up(now := at("11-18T02:25"))
            while now < at("11-19T00:30"):
                now += 20 * MINUTE
                answers = any(first <= now.hour < last for first, last in hours)
                here.api.failing = {"analytics": status} if not answers and status == 500 else {}
                here.api.become(with_them if answers or status == 500 else without_analytics(with_them, status))
                poll(here, now)
                totals.setdefault(now, set()).add(here.kept(TODAY, TOMORROW))
            told[name] = [(each.reason, each.facts.step, each.created_at) for each in here.notices]
            (incident,) = here.store.incidents()
            assert incident.state is State.OPEN
            here.bill(at("11-19T05:01"))
            told[name].append(here.kept(TODAY, TOMORROW))
    assert told["never"] == told["always"] == told["now and then"]
    assert len(told["never"]) == 4, "three steps, and the bill"
    assert {len(found) for found in totals.values()} == {1}


def test_without_analytics_nobody_is_told_and_status_can_say_why(tmp_path: Path) -> None:
    with scene(tmp_path, without_analytics(small()), at("11-18T11:00"), DAY_CAP) as here:
        here.warm_up(now := at("11-18T12:00"))
        for _ in range(40):
            here.priced(now := now + 5 * MINUTE)
        assert here.reasons() == []
        assert here.is_well(now)
        health = here.store.recall().health["analytics"]
        assert (health.failing_since, health.last_good) == (None, None)
        assert "not enabled for your organization" in health.message
        here.api.become(small())
        here.priced(now)
        assert here.store.recall().health["analytics"].message == ""


def test_without_the_usage_report_the_priced_hours_still_alert(tmp_path: Path) -> None:
    burst = Runaway.beginning(at("11-18T13:10"), RESEARCH, OPUS.id, Decimal(150), HOUR)
    with scene(tmp_path, small().with_events(burst), at("11-18T11:00"), DAY_CAP) as here:
        here.warm_up(now := at("11-18T12:00"))
        here.priced(now)
        here.api.failing = {USAGE: 500}
        while now < at("11-18T16:30"):
            poll(here, now := now + 5 * MINUTE)
        assert here.reasons("day") == ["step_reached"]
        notice = next(each for each in here.notices if each.facts.rule == "day")
        assert notice.facts.data_through == at("11-18T16:00")
        assert here.kept(TODAY, TOMORROW) >= 100


def test_a_rate_is_taken_over_a_whole_hour_where_there_are_no_minutes(tmp_path: Path) -> None:
    burst = Runaway.beginning(at("11-18T13:00"), RESEARCH, OPUS.id, Decimal(400), 5 * HOUR)
    rule = "{id: runaway, type: rate, limit: 150, per: hour}"
    world = replace(small(), manners=replace(small().manners, analytics_refresh=HOUR)).with_events(burst)
    with scene(tmp_path, world, at("11-18T11:00"), rule, source="analytics") as here:
        now = at("11-18T12:05")
        while now < at("11-18T21:00"):
            here.bill(now := now + 10 * MINUTE)
        assert here.reasons() == ["step_reached", "slowed_down"]
        first = here.notices[0].facts
        assert (first.period.start, first.period.end) == (at("11-18T13:00"), at("11-18T14:00"))  # type: ignore[union-attr]
        assert first.basis is Basis.BILLED


@dataclass
class Known:
    """What one installation can know of today: how far the vendor has priced it, how far use was counted."""

    priced: datetime | None = None
    seen: datetime | None = None
    kept: Decimal | None = None


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["usage", "bill", "priced", "restart"]), st.integers(1, 400)), max_size=12))
def test_in_every_order_of_polls_each_hour_counts_once(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, int]]
) -> None:
    world = worlds.standard().with_events(Late(TODAY, 6 * HOUR))
    now, today = at("11-18T07:00"), TODAY
    with scene(tmp_path_factory.mktemp("story"), world, now, MONTH_CAP, fast=True) as here:
        here.warm_up(now)
        known = Known(None, counted(world, now), here.kept(TODAY, TOMORROW))
        for what, minutes in story:
            now += MINUTE * minutes
            if now >= midnight(TOMORROW):
                return
            if what == "usage":
                here.usage(now)
                known.seen = counted(world, now)
            elif what == "priced":
                here.priced(now)
                known.priced = refreshed(world, now)
            elif what == "bill":
                here.bill(now)
            else:
                here.start(now)
                known.priced = known.seen = None
            if known.seen is not None:
                known.kept = expected(world, today, known.priced or midnight(today), known.seen, now)
            elif known.priced is not None and known.priced > through(here):
                known.kept = expected(world, today, known.priced, known.priced, now)
            assert here.kept(TODAY, TOMORROW) == known.kept, what
            assert here.incident("month", today).amount == here.kept(date(2026, 11, 1), TOMORROW)


def through(here: Scene) -> datetime:
    """How far what is kept of the day reaches, by the estimates."""
    return here.store.recall().throughs[USAGE]


def test_priced_hours_do_not_confirm_a_lower_bill(tmp_path: Path) -> None:
    """They are read every few minutes and say nothing of a day that has a bill."""
    burst = Runaway.beginning(at("11-18T13:00"), RESEARCH, OPUS.id, Decimal(200), HOUR)
    world = small().with_events(burst, Restatement(TODAY, 1, Decimal("0.4")))
    with scene(tmp_path, world, at("11-18T11:00"), DAY_CAP) as here:
        here.warm_up(at("11-18T12:00"))
        here.usage(at("11-18T23:50"))
        here.usage(at("11-19T00:30"))
        here.bill(now := at("11-19T05:01"))
        for _ in range(6):
            poll(here, now := now + 5 * MINUTE)
        assert here.incident("day", TODAY).state is State.DOUBTFUL, here.reasons("day")
        here.bill(now + 30 * MINUTE)
        assert here.reasons("day") == ["step_reached", "restated"]


@pytest.mark.parametrize("status", [200, 500])
def test_a_start_does_not_put_an_estimate_in_the_place_of_priced_hours(tmp_path: Path, status: int) -> None:
    """What the vendor has priced is lower than the estimate: a page at each restart would be the price of haste."""
    world = small().with_events(Restatement(TODAY, 1, Decimal("0.6")), Late(TODAY, 20 * HOUR))
    with scene(tmp_path, world, at("11-18T11:00"), MONTH_CAP) as here:
        here.warm_up(at("11-18T12:00"))
        poll(here, now := at("11-19T04:30"))
        known = here.kept(TODAY, TOMORROW)
        assert known < expected(world, TODAY, midnight(TODAY), midnight(TOMORROW), midnight(TODAY))
        here.start(now := at("11-19T04:32"))
        here.priced_reader.asked = False  # type: ignore[attr-defined]
        here.api.failing = {"analytics": status} if status != 200 else {}
        assert here.usage(now).observation.is_only_the_start
        assert here.kept(TODAY, TOMORROW) == known
        here.priced(now := at("11-19T04:33"))
        assert not here.usage(now).observation.is_only_the_start
        estimated = expected(world, TODAY, midnight(TODAY), midnight(TOMORROW), midnight(TODAY))
        assert here.kept(TODAY, TOMORROW) == (known if status == 200 else estimated), "they fail, so it is estimated"


def test_a_refresh_in_the_middle_of_a_reading_is_no_trouble(tmp_path: Path) -> None:
    world = small()
    with scene(tmp_path, world, at("11-18T11:00"), DAY_CAP) as here:
        here.warm_up(now := at("11-18T11:58"))
        for _ in range(8):
            poll(here, now := now + MINUTE)
        assert here.kept(TODAY, TOMORROW) == expected(world, TODAY, at("11-18T12:00"), counted(world, now), now)
        asked = here.api.asked["cost"]
        for _ in range(5):
            here.priced(now := now + timedelta(minutes=5))
        assert here.api.asked["cost"] - asked == 5, "one small request each while nothing was refreshed"


@pytest.mark.slow
@pytest.mark.parametrize("first", ["11-18", "12-01"], ids=["a day", "a month"])
def test_midnight_with_all_three_sources_minute_by_minute(tmp_path: Path, first: str) -> None:
    """No gap, nothing twice, no phantom spike, while use, priced hours and bill come in their turns."""
    end = at(f"{first}T00:00")
    before, after = (end - DAY).date(), end.date()
    world = worlds.standard().with_events(Late(before, 2 * HOUR))
    jump = "{id: jump, type: spike, against: yesterday, at_least: 20, for_each: workspace}"
    runaway = "{id: runaway, type: rate, limit: 500, per: hour}"
    with scene(tmp_path, world, end - 3 * HOUR, MONTH_CAP, jump, runaway, fast=True) as here:
        here.warm_up(now := end - 2 * HOUR)
        priced, billed = midnight(before), False
        for minute in range(1, 60 * 4 + 30):
            now += MINUTE
            if minute % 5 == 0:
                here.priced(now)
                priced = refreshed(world, now)
            if minute % 7 == 0:
                here.bill(now)
                billed = now >= end + 2 * HOUR
            here.usage(now)
            seen = counted(world, now)
            old, new = (here.kept(day, day + DAY) for day in (before, after))
            as_billed = sum(line.dollars for line in world.lines(before))
            assert old == (as_billed if billed else expected(world, before, priced, seen, now)), now
            assert new == (expected(world, after, priced, seen, now) if now >= end else 0), now
        assert here.reasons("runaway") == []
        # On a Monday there were spikes before midnight: they end with their day.
        assert set(here.reasons("jump")) <= {"period_over"}
        assert {each.facts.rule for each in here.notices} <= {"month", "jump"}
