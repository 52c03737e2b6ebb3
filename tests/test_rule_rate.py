"""`rate`: dollars an hour over the last minutes, since when, and what it comes to."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from budgetd.message import render
from budgetd.model import (
    Basis,
    CostDay,
    CostSlice,
    Delivery,
    Finding,
    Reason,
    Scope,
    State,
)
from budgetd.period import Period, midnight
from budgetd.rules import Indexes, Rule
from budgetd.simulator.script import Runaway
from tests.builders import at, cap, line, naming, rate, workspace
from tests.rules_text import refused, rule
from tests.same_day import CHAT, HOUR, MINUTE, OPUS, RESEARCH, SONNET, scene, small
from tests.same_day import at as instant

NOON, TODAY = at("2026-11-18 12:00"), date(2026, 11, 18)
NAMING = naming(workspace("wrkspc_1", "Research"), workspace("wrkspc_2", "Prod"))
EACH: dict[str, Any] = {"for_each": "workspace"}


def minute(number: int, **dollars: str) -> CostSlice:
    """A minute from noon on; `wrkspc_1="2.5"` is what the workspace spent in it."""
    start = NOON + MINUTE * number
    return CostSlice(start, start + MINUTE, {line(name): Decimal(amount) for name, amount in dollars.items()})


def steadily(count: int, start: int = 0, **dollars: str) -> list[CostSlice]:
    return [minute(start + number, **dollars) for number in range(count)]


def findings(
    made: Rule, parts: list[CostSlice], watched: frozenset[Scope] = frozenset(), *days: CostDay
) -> list[Finding]:
    indexes = Indexes([made], NAMING)
    for day in days:
        indexes.replace(day)
    indexes.reach(parts[-1].end)
    indexes.every.recent.take(parts, parts[-1].end)
    period = made.current(indexes.every)
    assert period is not None
    return list(made.findings(indexes.every, period, watched))


def of(workspace: str) -> Scope:
    return (("workspace", workspace),)


@pytest.mark.parametrize(
    ("a_minute", "reached"),
    [("2.49", ()), ("2.5", ("1",)), ("4.99", ("1",)), ("5", ("1", "2")), ("25", ("1", "2", "10"))],
)
def test_the_steps_of_a_rate(a_minute: str, reached: tuple[str, ...]) -> None:
    found = findings(rate("150"), steadily(30, wrkspc_1=a_minute))
    assert [each.reached for each in found] == ([tuple(map(Decimal, reached))] if reached else [])
    for each in found:
        assert (each.amount, each.limit, each.complete) == (Decimal(a_minute) * 60, Decimal(150), True)
        assert each.period == Period(NOON + 15 * MINUTE, NOON + 30 * MINUTE)


def test_each_scope_has_its_own_rate_and_limit() -> None:
    made = rate("150", **EACH, limits={"Prod": "600"})
    found = findings(made, steadily(20, wrkspc_1="3", wrkspc_2="9"))
    assert [(each.scope, each.amount, each.limit) for each in found] == [(of("wrkspc_1"), Decimal(180), Decimal(150))]


def test_a_window_that_is_not_wholly_known_says_nothing() -> None:
    assert findings(rate("150"), steadily(14, wrkspc_1="9")) == []
    gap = [each for each in steadily(30, wrkspc_1="9") if each.start != NOON + 20 * MINUTE]
    assert findings(rate("150"), gap) == []
    assert len(findings(rate("150"), steadily(15, wrkspc_1="9"))) == 1


def test_hours_stand_in_where_there_are_no_minutes() -> None:
    hour = CostSlice(NOON, NOON + HOUR, {line("wrkspc_1"): Decimal(160)}, Basis.BILLED)
    (found,) = findings(rate("150"), [hour])
    assert (found.period, found.amount, found.basis) == (Period(NOON, NOON + HOUR), Decimal(160), Basis.BILLED)


def test_a_watched_scope_is_heard_of_and_ends_only_after_two_windows() -> None:
    made, watched = rate("150", **EACH), frozenset([of("wrkspc_1")])
    busy, calm = steadily(20, wrkspc_1="3"), steadily(40, 20, wrkspc_1="0.5")
    amounts = {}
    for more in range(41):
        (found,) = findings(made, busy + calm[:more], watched)
        amounts[more] = found.amount
        assert found.reached == ((Decimal(1),) if found.amount >= 150 else ())
    assert amounts[0] == 180
    assert [more for more, amount in amounts.items() if amount >= 150] == list(range(18)), "15 minutes after the last"
    assert amounts[40] == 30


def test_since_and_what_it_comes_to() -> None:
    """$0.50 a minute, then $5 a minute from 12:20 on: 15 minutes hold $37.50 (150 an hour) from 12:27 on."""
    day = CostDay(TODAY, {line("wrkspc_1"): Decimal(60)}, Basis.ESTIMATED, complete=False)
    month = [CostDay(date(2026, 11, number), {line("wrkspc_1"): Decimal(10)}) for number in range(1, 18)]
    (found,) = findings(
        rate("150"), [*steadily(20, wrkspc_1="0.5"), *steadily(20, 20, wrkspc_1="5")], frozenset(), day, *month
    )
    assert found.pace is not None
    assert found.pace.since == NOON + 27 * MINUTE
    left = Decimal(300) * Decimal(11 * 60 + 20) / 60
    assert found.pace.by_midnight == 60 + left
    assert found.pace.by_month_end == 170 + 60 + left + 300 * 24 * 12


def test_the_last_minute_of_a_month_belongs_to_it() -> None:
    end = at("2026-12-01")
    five = {line("wrkspc_1"): Decimal(5)}
    parts = [CostSlice(end - MINUTE * n, end - MINUTE * (n - 1), five) for n in range(20, 0, -1)]
    (found,) = findings(rate("150"), parts)
    assert found.pace is not None
    assert (found.pace.by_midnight, found.pace.by_month_end) == (0, 0), "nothing is left of either"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("window: 4m", "from 5m to 12h"),
        ("window: 13h", "from 5m to 12h"),
        ("window: 15", "from 5m to 12h"),
        ("window: 1d", "from 5m to 12h"),
        ("basis: billed", "no bill is that new"),
        ("basis: estimated", "expected any or billed"),
        ("limits: {a: 3}", "limits needs for_each"),
    ],
)
def test_what_a_rate_cannot_be(fields: str, message: str) -> None:
    assert message in refused(rule(f"id: a\ntype: rate\nlimit: 5\nper: hour\n{fields}"))
    assert "per: hour" in refused(rule("id: a\ntype: rate\nlimit: 5\nper: day"))
    with pytest.raises(ValidationError):
        rate("0")


def test_owning() -> None:
    made = rate("150", window="15m", **EACH)
    window = Period(NOON, NOON + 15 * MINUTE)
    assert made.owns(of("wrkspc_1"), window)
    assert not made.owns((), window)
    assert not made.owns(of("wrkspc_1"), Period(midnight(TODAY), midnight(date(2026, 11, 19)))), "a day is a cap's"
    assert not cap(per="day", **EACH).owns(of("wrkspc_1"), window)
    assert rate("1", window="15m").shape != rate("1", window="30m").shape
    assert rate("1").shape == rate("2").shape


# --- the whole path ----------------------------------------------------------------------------------

RULE = "{id: runaway, type: rate, limit: 150, per: hour, for_each: workspace, severity: critical}"


def minutes(here: Any, now: datetime, until: datetime) -> datetime:
    while now < until:
        here.usage(now := now + MINUTE)
    return now


def test_a_runaway_is_one_incident_that_escalates_and_ends(tmp_path: Path) -> None:
    burst = Runaway.beginning(instant("11-18T13:37"), RESEARCH, OPUS.id, Decimal(400), 2 * HOUR)
    with scene(tmp_path, small().with_events(burst), instant("11-18T12:00"), RULE) as here:
        here.warm_up(now := instant("11-18T12:30"))
        now = minutes(here, now, instant("11-18T14:30"))
        assert here.reasons() == ["step_reached", "step_reached"]
        first = here.notices[0]
        assert first.created_at <= instant("11-18T13:37") + 12 * MINUTE
        assert first.facts.pace is not None
        assert instant("11-18T13:37") < first.facts.pace.since <= first.created_at
        here.start(now)
        now = minutes(here, now, instant("11-18T15:30"))
        assert len(here.notices) == 2, "a restart tells nothing again"
        minutes(here, now, instant("11-18T16:30"))
        assert here.reasons() == ["step_reached", "step_reached", "slowed_down"]
        assert len({each.incident for each in here.notices}) == 1
        (incident,) = here.store.incidents()
        assert (incident.state, incident.resolved) == (State.RESOLVED, Reason.SLOWED_DOWN)
        alert = here.alerts[0]
        assert (alert["money"]["per"], alert["rule"]["type"]) == ("hour", "rate")
        assert Decimal(alert["pace"]["by_month_end"]) > Decimal(alert["pace"]["by_midnight"]) > 1000
        drivers = sum(part.amount for part in first.facts.contributors)
        assert first.facts.amount is not None
        assert Decimal("0.99") * first.facts.amount < drivers <= first.facts.amount


def test_midnight_is_no_end_of_a_runaway(tmp_path: Path) -> None:
    burst = [
        Runaway.beginning(instant("11-30T23:00"), RESEARCH, OPUS.id, Decimal(400)),
        Runaway.beginning(instant("12-01T00:00"), RESEARCH, OPUS.id, Decimal(400), HOUR),
    ]
    with scene(tmp_path, small().with_events(*burst), instant("11-30T22:00"), RULE) as here:
        here.warm_up(now := instant("11-30T22:30"))
        now = minutes(here, now, instant("12-01T00:58"))
        assert here.reasons() == ["step_reached", "step_reached"]
        minutes(here, now, instant("12-01T02:30"))
        assert here.reasons() == ["step_reached", "step_reached", "slowed_down"]


def test_hours_that_are_told_again_after_a_start_are_not_the_present(tmp_path: Path) -> None:
    """The vendor's hours end before the runaway began: they are no sign that it slowed down."""
    burst = Runaway.beginning(instant("11-18T13:00"), RESEARCH, OPUS.id, Decimal(400), 5 * HOUR)
    with scene(tmp_path, small().with_events(burst), instant("11-18T12:00"), RULE) as here:
        here.warm_up(now := instant("11-18T12:30"))
        now = minutes(here, now, instant("11-18T14:00"))
        assert here.reasons() == ["step_reached", "step_reached"]
        here.start(now)
        here.api.failing = {"usage_report": 503}
        for _ in range(10):
            here.priced(now := now + 5 * MINUTE)
            here.bill(now)
        (incident,) = here.store.incidents()
        assert (incident.state, len(here.notices)) == (State.OPEN, 2)
        here.api.failing = {}
        minutes(here, now, now + 10 * MINUTE)
        assert len(here.notices) == 2


def test_bursts_close_to_each_other_are_one_incident(tmp_path: Path) -> None:
    bursts = [
        Runaway.beginning(instant(f"11-18T13:{start:02}"), CHAT, SONNET.id, Decimal(400), 8 * MINUTE)
        for start in (0, 15, 30, 45)
    ]
    with scene(tmp_path, small().with_events(*bursts), instant("11-18T12:00"), RULE) as here:
        here.warm_up(now := instant("11-18T12:30"))
        minutes(here, now, instant("11-18T15:00"))
        assert here.reasons() == ["step_reached", "slowed_down"]


def test_what_already_runs_at_the_first_look_pages_nobody(tmp_path: Path) -> None:
    burst = Runaway.beginning(instant("11-18T09:00"), RESEARCH, OPUS.id, Decimal(400))
    with scene(tmp_path, small().with_events(burst), instant("11-18T12:00"), RULE) as here:
        here.bill(now := instant("11-18T12:30"))
        minutes(here, now, instant("11-18T12:35"))
        assert here.reasons() == ["baseline"]


def test_a_message_that_wakes_somebody_says_how_fast_since_when_and_where_it_leads(tmp_path: Path) -> None:
    burst = Runaway.beginning(instant("11-18T13:37"), RESEARCH, OPUS.id, Decimal(4000))
    with scene(tmp_path, small().with_events(burst), instant("11-18T12:00"), RULE) as here:
        here.warm_up(now := instant("11-18T12:30"))
        while not here.notices:
            now = minutes(here, now, now + MINUTE)
        (notice,) = here.notices
        message = render(Delivery("dlv_1", "pager", (notice,), now, now), notice.created_at)
        assert message.title == "Research is spending $268.42 an hour since 13:38 UTC, 178.9% of its limit of $150"
        assert "if it goes on, it costs $" in message.body.splitlines()[0]
        assert " in November (UTC)" in message.body.splitlines()[0]
        assert "Since      18 Nov 2026 13:38 UTC" in message.body
        assert "Top contributors, dollars an hour" in message.body
        assert timedelta(0) < notice.created_at - instant("11-18T13:37") <= 6 * MINUTE
