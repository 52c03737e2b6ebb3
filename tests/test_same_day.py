"""Same-day spend from end to end: alerts within minutes, midnights, bills that replace estimates, prices, failures."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budgetd.daemon import FIRST_REPORT_AGAIN
from budgetd.model import Basis, State
from budgetd.period import DAY, midnight
from budgetd.simulator import prices, worlds
from budgetd.simulator.organisation import Span, World
from budgetd.simulator.script import Late, Restatement, Runaway
from budgetd.simulator.streams import Stream
from tests.same_day import (
    CHAT,
    HOUR,
    MINUTE,
    OPUS,
    RESEARCH,
    USAGE,
    Scene,
    at,
    counted,
    scene,
    small,
    truth,
)

TODAY, YESTERDAY = date(2026, 11, 18), date(2026, 11, 17)
DAY_CAP = "{id: day, type: cap, limit: 100, per: day, steps: [100%, 200%]}"
MONTH_CAP = "{id: month, type: cap, limit: 100000, per: month}"
# One that is over from the start: its incident shows the month's amount as the rules see it.
METER = "{id: month, type: cap, limit: 1, per: month, steps: [100%]}"
JUMP = "{id: jump, type: spike, against: yesterday, at_least: 20}"


def runaway(start: str, hourly: str = "400", length: timedelta | None = HOUR) -> Runaway:
    return Runaway.beginning(at(start), RESEARCH, OPUS.id, Decimal(hourly), length)


def crossing(world: World, day: date, limit: str) -> datetime:
    """The end of the first minute of the day by which so many dollars were spent."""
    for minute in range(1, 1441):
        lines = world.lines_between(day, Span(0, minute * 60), midnight(day))
        if sum(line.dollars for line in lines) >= Decimal(limit):
            return midnight(day) + MINUTE * minute
    raise AssertionError("it never comes to that")


# --- within minutes --------------------------------------------------------------------------------


def test_a_runaway_is_told_within_two_polls_of_when_the_data_shows_it(tmp_path: Path) -> None:
    world = small().with_events(runaway("11-18T13:37", length=None))
    crossed = crossing(world, TODAY, "100")
    assert at("11-18T13:40") < crossed < at("11-18T14:00")
    with scene(tmp_path, world, at("11-18T13:29"), DAY_CAP) as here:
        here.warm_up(now := at("11-18T13:30") + timedelta(seconds=20))
        while not here.alerts:
            assert now < at("11-18T14:30")
            here.usage(now := now + MINUTE)
        assert now <= crossed + world.manners.usage_delay + 2 * MINUTE
        (notice,), (alert,) = here.notices, here.alerts
        assert notice.facts.basis is Basis.ESTIMATED
        assert notice.facts.data_through == counted(world, now)
        assert (alert["reason"], alert["state"]) == ("step_reached", "firing")
        assert alert["money"]["basis"] == "estimated"
        assert alert["data_through"] == f"{counted(world, now):%Y-%m-%dT%H:%M:%SZ}"
        assert alert["contributors"][0]["model"] == OPUS.id
        assert here.kept(TODAY, TODAY + DAY) == truth(world, TODAY, now, counted(world, now), set())
        for _ in range(10):
            here.usage(now := now + MINUTE)
        assert here.reasons() == ["step_reached"], "the same step is told once"


# --- the first look --------------------------------------------------------------------------------


def test_with_a_discount_the_first_look_raises_no_false_alarm(tmp_path: Path) -> None:
    """At list prices today would be over its limit; it is not."""
    world, now = small(discount="0.5"), at("11-18T23:00")
    spent = truth(world, TODAY, now, counted(world, now), set())
    rule = f"{{id: day, type: cap, limit: {(spent * 3 / 2).quantize(Decimal('0.01'))}, per: day, steps: [100%]}}"
    for first in ("bill", "usage"):
        (tmp_path / first).mkdir()
        with scene(tmp_path / first, world, now, rule) as here:
            for turn in range(4):
                if first == "usage" or turn:
                    here.usage(now + turn * MINUTE)
                if turn != 2:
                    here.bill(now + turn * MINUTE)
            assert here.reasons() == []
            assert here.days(TODAY, TODAY + DAY)[0].basis is Basis.ESTIMATED


def test_what_is_already_over_at_the_first_look_is_a_baseline(tmp_path: Path) -> None:
    world = small().with_events(runaway("11-18T08:00", "120"))
    with scene(tmp_path, world, at("11-18T11:00"), DAY_CAP, MONTH_CAP) as here:
        here.bill(now := at("11-18T12:00"))
        for _ in range(3):
            here.usage(now := now + MINUTE)
        assert here.reasons() == ["baseline"]
        assert here.incident("day", TODAY).state is State.OPEN
        here.api.become(small().with_events(runaway("11-18T08:00", "120"), runaway("11-18T12:10", "900")))
        while len(here.notices) < 2:
            here.usage(now := now + MINUTE)
        assert here.reasons() == ["baseline", "step_reached"], "a further step is news"


def test_when_the_bill_cannot_be_read_the_list_has_to_do_after_a_while(tmp_path: Path) -> None:
    with scene(tmp_path, small(), at("11-18T11:00"), DAY_CAP) as here:
        now, here.api.failing = at("11-18T12:00"), {"cost_report": 503}
        for _ in range(70):
            here.usage(now := now + timedelta(seconds=5))
        assert here.days(TODAY, TODAY + DAY)[0].basis is Basis.ESTIMATED


# --- basis: billed -----------------------------------------------------------------------------------


def test_a_rule_that_wants_the_bill_waits_for_it(tmp_path: Path) -> None:
    world = small().with_events(runaway("11-18T13:00", "120"))
    rules = (DAY_CAP, DAY_CAP.replace("id: day", "id: billed-day").replace("per: day", "per: day, basis: billed"))
    with scene(tmp_path, world, at("11-18T11:00"), *rules) as here:
        here.warm_up(at("11-18T12:00"))
        here.usage(at("11-18T16:00"))
        assert (here.reasons("day"), here.reasons("billed-day")) == (["step_reached"], [])
        here.start(at("11-19T00:30"))
        here.usage(at("11-19T00:30"))
        assert here.reasons("billed-day") == []
        here.bill(at("11-19T05:01"))
        assert here.reasons("billed-day") == ["step_reached"]
        notice = here.notices[-1]
        assert (notice.facts.basis, notice.facts.period) == (Basis.BILLED, here.incident("billed-day", TODAY).period)
        here.bill(at("11-20T05:01"))
        assert here.reasons("billed-day") == ["step_reached", "period_over"]


# --- midnight --------------------------------------------------------------------------------------


@pytest.mark.parametrize("midnight_of", ["11-18", "12-01", "11-01"], ids=["a day", "a month", "a month of 31 days"])
def test_nothing_is_lost_doubled_or_imagined_around_midnight(tmp_path: Path, midnight_of: str) -> None:
    first = at(f"{midnight_of}T00:00")
    before = (first - DAY).date()
    world = small().with_events(
        Runaway.beginning(first - 5 * HOUR, RESEARCH, OPUS.id, Decimal(30), 4 * HOUR), Late(before, 3 * HOUR)
    )
    with scene(tmp_path, world, first - 8 * HOUR, DAY_CAP, JUMP, MONTH_CAP) as here:
        now = first - 7 * HOUR
        here.warm_up(now)
        since, month = before - DAY * 2, first.date().replace(day=1)
        while now < first - 40 * MINUTE:
            here.usage(now := now + 10 * MINUTE)
        assert sorted(here.reasons()) == ["step_reached", "step_reached"]
        assert {each.facts.rule for each in here.notices} == {"day", "jump"}
        here.notices.clear()
        steps = [MINUTE] * 80 + [10 * MINUTE] * 14
        for number, step in enumerate(steps):
            now += step
            here.usage(now)
            if number % 7 == 0 and now < first + 170 * MINUTE:
                here.bill(now)
            if number == 45:
                here.start(now)
            seen, billed = counted(world, now), {each.day for each in here.days(since, before)}
            assert here.kept(since, now.date() + DAY) == truth(world, since, now, seen, billed), now
            known = [each.day for each in here.days(since, now.date() + DAY)]
            assert known == [since + DAY * n for n in range((now.date() - since).days + 1)], "no gap"
            assert here.incident("day", before).state is State.OPEN
            assert here.reasons() == [], now
        assert now > first + 2 * HOUR
        assert month <= now.date()
        here.bill(now := first + 3 * HOUR + MINUTE)
        assert {each.day: each.basis for each in here.days(before, before + DAY)} == {before: Basis.BILLED}
        assert here.incident("day", before).state is State.OPEN
        for _ in range(5):
            here.usage(now := now + MINUTE)
        assert here.reasons("day") == ["period_over"]
        assert here.reasons("jump") == ["period_over"]
        assert here.incident("day", before).state is State.RESOLVED
        billed = {since, before - DAY, before}
        assert here.kept(since, now.date() + DAY) == truth(world, since, now, counted(world, now), billed)


# --- the bill has the last word -----------------------------------------------------------------------


def alerted(here: Scene) -> None:
    """The 18th is estimated over its limit, and over."""
    here.warm_up(at("11-18T12:00"))
    for now in (at("11-18T16:00"), at("11-18T23:30"), at("11-19T00:01"), at("11-19T00:30")):
        here.usage(now)
    assert here.reasons() == ["step_reached"]


def test_a_lower_bill_is_a_correction_after_two_readings_of_it(tmp_path: Path) -> None:
    world = small().with_events(runaway("11-18T13:00", "120"), Restatement(TODAY, 1, Decimal("0.6")))
    with scene(tmp_path, world, at("11-18T11:00"), DAY_CAP) as here:
        alerted(here)
        here.bill(at("11-19T05:01"))
        assert here.incident("day", TODAY).state is State.DOUBTFUL
        for minute in range(2, 60):
            here.usage(at(f"11-19T05:{minute:02}"))
        assert here.reasons("day") == ["step_reached"], "the usage report says nothing of the bill"
        assert here.incident("day", TODAY).state is State.DOUBTFUL
        here.start(at("11-19T06:00"))
        here.bill(at("11-19T06:01"))
        assert here.reasons("day") == ["step_reached", "restated"]
        for minute in (2, 3):
            here.usage(at(f"11-19T06:{minute:02}"))
        assert here.reasons("day") == ["step_reached", "restated"]
        assert here.incident("day", TODAY).state is State.RESOLVED


def test_a_bill_within_the_margin_is_no_correction(tmp_path: Path) -> None:
    world = small().with_events(runaway("11-18T13:00", "73.5"))
    spent = world.bill(TODAY, at("11-19T06:00"))
    factor = Decimal("98.5") / sum(line.dollars for line in spent)
    with scene(tmp_path, world.with_events(Restatement(TODAY, 1, factor)), at("11-18T11:00"), DAY_CAP) as here:
        alerted(here)
        here.bill(at("11-19T05:01"))
        assert here.incident("day", TODAY).state is State.OPEN
        here.usage(at("11-19T05:02"))
        here.bill(at("11-19T06:02"))
        assert here.reasons("day") == ["step_reached", "period_over"]


def test_a_lower_bill_that_is_taken_back_ends_with_its_period(tmp_path: Path) -> None:
    world = small().with_events(runaway("11-18T13:00", "120"), Restatement(TODAY, 1, Decimal("0.6")))
    with scene(tmp_path, world, at("11-18T11:00"), DAY_CAP) as here:
        alerted(here)
        here.bill(at("11-19T05:01"))
        here.usage(at("11-19T05:02"))
        here.api.become(small().with_events(runaway("11-18T13:00", "120")))
        here.bill(at("11-19T06:01"))
        assert here.incident("day", TODAY).state is State.OPEN
        here.usage(at("11-19T06:02"))
        assert here.reasons("day") == ["step_reached", "period_over"]


def test_a_higher_bill_escalates_once_as_news(tmp_path: Path) -> None:
    world = small().with_events(runaway("11-18T13:00", "120"), Restatement(TODAY, 1, Decimal("1.8")))
    with scene(tmp_path, world, at("11-18T11:00"), DAY_CAP) as here:
        alerted(here)
        here.bill(at("11-19T05:01"))
        assert here.reasons("day") == ["step_reached", "step_reached"]
        notice = [each for each in here.notices if each.facts.rule == "day"][-1]
        assert (notice.facts.step, notice.facts.basis) == (Decimal(2), Basis.BILLED)
        assert sum(part.amount for part in notice.facts.contributors) > Decimal("0.95") * (notice.facts.amount or 0)
        for minute in (2, 3, 4):
            here.usage(at(f"11-19T05:{minute:02}"))
        here.bill(at("11-19T06:01"))
        assert here.reasons("day") == ["step_reached", "step_reached", "period_over"]


# --- never twice ---------------------------------------------------------------------------------------


def test_an_estimate_that_was_read_before_the_bill_and_comes_after_it_changes_nothing(tmp_path: Path) -> None:
    world = small().with_events(runaway("11-18T13:00", "120"), Restatement(TODAY, 1, Decimal("1.8")))
    with scene(tmp_path, world, at("11-18T11:00"), DAY_CAP, METER) as here:
        alerted(here)
        here.both(at("11-19T05:01"))
        (day,) = here.days(TODAY, TODAY + DAY)
        assert day.basis is Basis.BILLED
        assert sum(day.lines.values()) == sum(line.dollars for line in world.bill(TODAY, at("11-19T05:01")))
        assert here.reasons("day") == ["step_reached", "step_reached", "period_over"]
        assert here.incident("month", TODAY).amount == here.kept(date(2026, 11, 1), date(2026, 12, 1))
        here.start(at("11-19T05:02"))
        here.usage(at("11-19T05:02"))
        assert here.days(TODAY, TODAY + DAY) == [day]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["usage", "bill", "both", "restart"]), st.integers(1, 600)), max_size=14))
def test_in_every_order_of_polls_a_day_counts_once(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, int]]
) -> None:
    world = small().with_events(Late(TODAY, 2 * HOUR))
    now, billed_until = at("11-18T15:00"), TODAY
    with scene(tmp_path_factory.mktemp("story"), world, now, METER) as here:
        here.warm_up(now)
        seen = counted(world, now)
        for what, minutes in story:
            now += MINUTE * minutes
            if what == "usage":
                here.usage(now)
            elif what == "both":
                here.both(now)
            elif what == "bill":
                here.bill(now)
            else:
                here.start(now)
            if what in ("usage", "both"):
                seen = counted(world, now)
            if what in ("bill", "both"):
                served = [billed_until + DAY * n for n in range(30) if world.served(billed_until + DAY * n, now)]
                billed_until = max([billed_until, *(day + DAY for day in served)])
            known = here.days(YESTERDAY, now.date() + DAY)
            assert len({each.day for each in known}) == len(known)
            assert {each.day for each in known if each.basis is Basis.BILLED} == {
                YESTERDAY + DAY * n for n in range((billed_until - YESTERDAY).days)
            }
            spent = here.incident("month", now.date()) if now.date() < date(2026, 12, 1) else None
            assert spent is None or spent.amount == here.kept(date(2026, 11, 1), date(2026, 12, 1))
            for each in known:
                as_of = truth(world, each.day, midnight(each.day), seen, set())
                bill = sum(line.dollars for line in world.lines(each.day))
                assert sum(each.lines.values()) == (bill if each.basis is Basis.BILLED else as_of)


# --- prices ------------------------------------------------------------------------------------------


def test_a_bill_far_from_its_estimate_is_told_once(tmp_path: Path) -> None:
    world = small().with_events(Restatement(TODAY, 1, Decimal("0.9")), Restatement(TODAY, 2, Decimal("0.8")))
    with scene(tmp_path, world, at("11-18T11:00"), MONTH_CAP) as here:
        here.warm_up(at("11-18T12:00"))
        here.usage(at("11-19T00:30"))
        here.bill(at("11-19T05:01"))
        assert here.reasons() == ["drift"]
        (found,) = here.store.drifts()
        assert (found.day, found.billed / found.estimated) == (TODAY, Decimal("0.9"))
        here.start(at("11-19T06:00"))
        for now in (at("11-19T06:01"), at("11-20T06:01")):
            here.usage(now)
            here.bill(now)
        assert [each for each in here.reasons() if each == "drift"] == ["drift"]


def test_the_estimate_of_half_a_day_is_no_drift(tmp_path: Path) -> None:
    with scene(tmp_path, small(), at("11-18T11:00"), MONTH_CAP) as here:
        here.warm_up(at("11-18T12:00"))
        here.start(at("11-19T07:00"))
        here.bill(at("11-19T07:00"))
        assert here.reasons() == []
        assert here.store.drifts() == ()


def test_tokens_without_a_price_are_told_once(tmp_path: Path) -> None:
    unknown = prices.Model("claude-cumulus-1", "Claude Cumulus 1", Decimal(3), Decimal(15))
    world = small()
    world = replace(world, streams=(*world.streams, Stream(CHAT, unknown, 500)), founded=TODAY)
    with scene(tmp_path, world, at("11-18T11:00"), MONTH_CAP) as here:
        here.bill(at("11-18T12:00"))
        for minute in range(3):
            here.usage(at(f"11-18T12:{minute:02}"))
        told = [each.facts.text for each in here.notices if each.reason.value == "unpriced"]
        assert len(told) == len(set(told)) > 0
        assert all(unknown.id in text and "no known price" in text for text in told)
        here.start(at("11-18T13:00"))
        here.usage(at("11-18T13:01"))
        assert len([each for each in here.reasons() if each == "unpriced"]) == len(told)


def test_learned_rates_survive_a_restart_and_give_exact_estimates(tmp_path: Path) -> None:
    world = small(discount="0.87")
    with scene(tmp_path, world, at("11-18T11:00"), DAY_CAP) as here:
        here.warm_up(at("11-18T12:00"))
        assert here.store.recall().rates
        here.start(now := at("11-18T20:00"))
        here.usage(now)
        assert here.kept(TODAY, TODAY + DAY) == truth(world, TODAY, now, counted(world, now), set()), "the first poll"
        here.usage(now := now + 4 * HOUR + 30 * MINUTE)
        (day,) = here.days(TODAY, TODAY + DAY)
        assert (day.basis, day.complete) == (Basis.ESTIMATED, True)
        assert day.lines == {line.dimensions._replace(speed=None): line.dollars for line in world.lines(TODAY)}
        here.bill(at("11-19T05:01"))
        assert here.store.drifts()[0].estimated == here.store.drifts()[0].billed
        assert here.reasons() == []


# --- when it fails -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 404])
def test_without_the_usage_report_the_bill_is_evaluated_as_ever(tmp_path: Path, status: int) -> None:
    world = small().with_events(runaway("11-18T13:00", "120"), runaway("11-19T13:00", "130"))
    with scene(tmp_path, world, at("11-18T11:00"), DAY_CAP, JUMP) as here:
        here.warm_up(at("11-18T12:00"))
        here.usage(at("11-18T16:00"))
        here.bill(at("11-18T16:00"))
        assert sorted(here.reasons()) == ["step_reached", "step_reached"]
        here.notices.clear()
        here.api.failing = {USAGE: status}
        now = at("11-18T16:01")
        while now < at("11-18T18:00"):
            here.usage(now)
            now += 5 * MINUTE
        assert here.reasons() == ["blind"]
        assert here.notices[0].facts.scope[0].id == "usage_report"
        assert here.alerts[-1]["title"] == "budgetd cannot see same-day spend since 18 Nov 2026 16:00 UTC"
        assert "wait for the bill" in here.channel.messages[-1].body
        assert here.incident("day", TODAY).state is State.OPEN
        here.bill(at("11-19T05:01"))
        assert here.incident("day", TODAY).state is State.OPEN, "the bill says the same"
        assert here.reasons() == ["blind"]
        here.bill(at("11-20T05:01"))
        told = sorted((each.facts.rule, each.reason.value) for each in here.notices[1:])
        assert ("day", "step_reached") in told
        assert ("day", "period_over") in told
        here.notices.clear()
        here.api.failing = {}
        for minute in range(10, 14):
            here.usage(at(f"11-20T05:{minute}"))
        assert here.reasons("budgetd:blind") == ["recovered"]


def test_a_bill_that_cannot_be_read_does_not_disturb_the_estimates(tmp_path: Path) -> None:
    world = small().with_events(runaway("11-18T13:00", "120"))
    with scene(tmp_path, world, at("11-18T11:00"), DAY_CAP) as here:
        here.warm_up(at("11-18T12:00"))
        here.api.failing = {"cost_report": 500}
        now = at("11-18T12:01")
        while now < at("11-18T13:56"):
            here.usage(now)
            here.bill(now)
            now += 5 * MINUTE
        assert sorted(here.reasons()) == ["blind", "step_reached"]


def test_what_the_estimate_cannot_have_is_in_the_bill(tmp_path: Path) -> None:
    world = worlds.standard()
    with scene(tmp_path, world, at("11-18T11:00"), MONTH_CAP, fast=True) as here:
        here.warm_up(at("11-18T12:00"))
        here.usage(at("11-19T00:30"))
        assert here.kept(TODAY, TODAY + DAY) == truth(world, TODAY, at("11-18T12:00"), at("11-19T00:00"), set())
        here.bill(at("11-19T05:01"))
        assert here.kept(TODAY, TODAY + DAY) == sum(line.dollars for line in world.lines(TODAY))
        assert here.reasons() == [], "code execution and sessions are no drift"


def test_an_hour_takes_a_request_a_minute_and_one_more(tmp_path: Path) -> None:
    """The hour's own request is for its lines; names come with the bill's reader."""
    with scene(tmp_path, small(), at("11-18T11:00"), DAY_CAP) as here:
        here.warm_up(now := at("11-18T12:30"))
        here.api.asked.clear()
        before = here.requests(now)
        for _ in range(60):
            here.usage(now := now + MINUTE)
        assert here.api.asked == {USAGE: 61}
        assert here.requests(now)[USAGE] - before[USAGE] == 61


def test_hours_of_both_sources_take_one_set_of_names_an_hour(tmp_path: Path) -> None:
    with scene(tmp_path, small(), at("11-18T11:00"), DAY_CAP) as here:
        here.warm_up(now := at("11-18T12:30"))
        here.api.asked.clear()
        before = here.requests(now)
        for minute in range(1, 241):
            if minute % 60 == 0:
                here.bill(now + MINUTE)
            here.usage(now := now + MINUTE)
        asked = here.api.asked
        assert (asked["me"], asked[USAGE]) == (4, 244)
        spent = {source: count - before[source] for source, count in here.requests(now).items()}
        bill = asked["cost_report"] + asked["me"] + asked["workspaces"]
        assert spent == {USAGE: 244, "cost_report": bill}, "with the source whose connection sent them"


# --- the plan ------------------------------------------------------------------------------------------


def test_a_429_from_the_usage_report_widens_its_plan_and_recovery_narrows_it(tmp_path: Path) -> None:
    with scene(tmp_path, small(), at("11-18T11:00"), DAY_CAP) as here, here.daemon() as running:
        running.turn(here.bill_reader, now := at("11-18T12:30"))
        waits = [running.turn(here.usage_reader, now) for _ in range(2)]
        assert waits == [FIRST_REPORT_AGAIN, MINUTE], "first what the bill teaches"
        here.api.failing = {USAGE: 429}
        wait, waits = MINUTE, []
        for number in range(11):
            if number == 6:
                here.api.failing = {}
            wait = running.turn(here.usage_reader, now := now + wait)
            waits.append(wait / MINUTE)
            planned = here.store.planned()[USAGE]
            assert (planned.at, planned.interval, planned.widened) == (now + wait, wait, wait > MINUTE)
        assert waits == [2, 4, 8, 15, 15, 15, 8, 4, 2, 1, 1]
        assert here.store.planned()["cost_report"].words.startswith("hourly"), "the bill goes on as ever"
        assert here.store.planned()[USAGE].words == "every minute"
        asked = here.api.asked
        assert here.requests(now)[USAGE] == asked[USAGE]
        assert here.reasons() == ["blind", "recovered"]


def test_a_reading_that_must_be_kept_again_widens_once(tmp_path: Path) -> None:
    with scene(tmp_path, small(), at("11-18T11:00"), DAY_CAP) as here, here.daemon() as running:
        here.warm_up(now := at("11-18T12:30"))
        here.api.failing = {USAGE: 429}
        before = here.requests(now)[USAGE]
        with running.locked():
            running.turn(here.usage_reader, now := now + MINUTE)
            assert here.requests(now)[USAGE] == before
        running.again(now)
        assert here.store.planned()[USAGE].words == "every 2 minutes since a 429"
        assert here.requests(now)[USAGE] == before + 1


def test_a_start_forgets_what_the_last_process_had_planned(tmp_path: Path) -> None:
    with scene(tmp_path, small(), at("11-18T11:00"), DAY_CAP) as here, here.daemon() as running:
        running.turn(here.usage_reader, now := at("11-18T12:30"))
        assert set(here.store.planned()) == {USAGE}
        here.start(now)
        assert here.store.planned() == {}
        here.usage(now + MINUTE)
        assert here.store.planned() == {}, "one pass without a daemon plans nothing"
        assert here.requests(now)[USAGE] > 0
