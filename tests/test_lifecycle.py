"""When something is said: every cell of the transitions, what an id is made of, and an oracle of ten lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from budgetd.lifecycle import (
    TRANSITIONS,
    Event,
    Situation,
    Verdict,
    _ending,
    _event,
    incident_id,
    step,
)
from budgetd.model import Basis, Finding, Incident, Kind, Pace, Reason, Severity, State
from budgetd.period import Calendar, Period
from tests.builders import (
    NOVEMBER,
    OCTOBER,
    ORGANISATION,
    at,
    cap,
    finding,
    incident,
    rate,
    situation,
    spike,
    workspace,
)
from tests.watch import EACH, NOW, Action, Watch, again, archived, edited, quiet, spent


def test_late_and_baseline_are_information_whatever_the_rule_says() -> None:
    rule = cap(severity="critical")
    for known, period in ((situation(rule, unseen=["r"]), NOVEMBER), (situation(rule), OCTOBER)):
        (decision,) = step(known, {}, [finding("1010", "0.8", "1", period=period)], NOW).decisions
        assert (decision.kind, decision.severity) == (Kind.INFORM, Severity.INFO)


def test_a_notice_has_its_steps_severity_and_the_incident_the_highest_that_was_told() -> None:
    rule = cap(severity={"80%": "info", "100%": "critical", "120%": "warning"})
    known, told = situation(rule), []
    incidents: dict[str, Incident] = {}
    for amount, *reached in (("850", "0.8"), ("1010", "0.8", "1"), ("1210", "0.8", "1", "1.2")):
        (decision,) = step(known, incidents, [finding(amount, *reached)], NOW).decisions
        incidents = {decision.incident.id: decision.incident}
        told.append((decision.severity.value, decision.incident.severity.value))
    assert told == [("info", "info"), ("critical", "critical"), ("warning", "critical")]


def test_a_lower_bound_does_not_overwrite_what_is_known() -> None:
    known, before = situation(cap()), incident("0.8", amount="850")
    verdict = step(known, {before.id: before}, [finding("100", complete=False)], NOW)
    assert [each.amount for each in verdict.incidents] == [Decimal(850)]
    verdict = step(known, {before.id: before}, [finding("900", "0.8", complete=False)], NOW)
    assert [each.amount for each in verdict.incidents] == [Decimal(900)]


def test_without_a_finding_an_incident_stays_as_it_is() -> None:
    before = {each.id: each for each in (incident("0.8"), incident("0.8", state=State.DOUBTFUL, period=NOVEMBER))}
    assert step(situation(cap()), before, [], NOW) == Verdict()
    blind = replace(situation(cap()), current={})  # no data at all
    assert step(blind, before, [], NOW) == Verdict()


def test_budgetds_own_incidents_are_left_alone() -> None:
    own = incident("1", rule="budgetd:blind", scope=(("source", "cost_report"),))
    assert step(situation(), {own.id: own}, [], NOW) == Verdict()


# --- identity ----------------------------------------------------------------------------------

texts = st.text('ab|:",[]\\é', max_size=4)
scopes = st.lists(st.tuples(texts, texts), max_size=3).map(tuple)
identities = st.tuples(
    texts, texts, scopes, st.sampled_from([NOVEMBER, OCTOBER, Calendar("day").holding(date(2026, 11, 1))])
)


@given(identities, identities)
def test_an_incidents_id_is_its_organisation_rule_scope_and_period(
    one: tuple[str, str, tuple[tuple[str, str], ...], Period],
    other: tuple[str, str, tuple[tuple[str, str], ...], Period],
) -> None:
    assert (incident_id(*one) == incident_id(*other)) == (one == other)


@given(
    limit=st.integers(1, 700).map(str),
    severity=st.sampled_from(["info", "warning", "critical"]),
    steps=st.sampled_from([None, ["50%"], ["10%", "100%"]]),
    notify=st.sampled_from([None, ["finance"]]),
    amount=st.integers(701, 5000).map(str),
    name=st.sampled_from(["Research", "Renamed"]),
)
def test_amount_limit_severity_route_and_name_never_change_an_id(
    limit: str, severity: str, steps: list[str] | None, notify: list[str] | None, amount: str, name: str
) -> None:
    fields = {"steps": steps, "severity": severity, "notify": notify, "for_each": EACH}
    watch = Watch(cap(limit, **{key: value for key, value in fields.items() if value is not None}))
    watch.workspaces["wrkspc_1"] = workspace("wrkspc_1", name)
    spent("2026-11-02", amount, in_workspace="wrkspc_1")(watch)
    assert list(watch.incidents) == [incident_id(ORGANISATION.id, "r", ((EACH, "wrkspc_1"),), NOVEMBER)]


# --- the table ---------------------------------------------------------------------------------

NEWS = {Event.NEW_STEP, Event.BASELINE_STEP, Event.LATE_STEP, Event.LOWERED_STEP, Event.QUIET}
# Where there is no incident, or only one that has ended, nothing can end.
IMPOSSIBLE = {(state, event) for state in (None, State.RESOLVED) for event in Event if event not in NEWS} - {
    (State.RESOLVED, Event.PASSED)  # what was resolved by hand, in a window that rolls on
}
# Said by a person, not by an evaluation.
BY_HAND = {(state, Event.BY_HAND) for state in (State.OPEN, State.DOUBTFUL)}


def test_every_cell_of_the_table_is_filled_or_known_to_be_impossible() -> None:
    every = set(itertools.product((None, *State), Event))
    assert set(TRANSITIONS) == every - IMPOSSIBLE


ROLLING = cap(per={"last": "7d"})
WINDOW = Calendar("last", length=7).holding(date(2026, 11, 17))
MINUTES = Period(at("2026-11-18 12:00"), at("2026-11-18 12:15"))
PACE = Pace(MINUTES.end, Decimal(0), Decimal(0))
SCOPE = ((EACH, "wrkspc_1"),)


def _situations() -> Iterable[tuple[Situation, Period]]:
    gone = workspace("wrkspc_1", "Research", archived_at=at("2026-11-12"))
    here = workspace("wrkspc_1", "Research")
    for unseen, changed, polled, known in itertools.product(((), ("r",)), ((), ("r",)), (True, False), (here, gone)):
        facts: dict[str, Any] = {"unseen": unseen, "edited": changed, "polled": polled, "workspaces": [known]}
        yield situation(cap(for_each=EACH), **facts), NOVEMBER
        yield situation(cap(for_each=EACH), **facts), OCTOBER
        yield replace(situation(cap(for_each=EACH), **facts), read=Basis.ESTIMATED), NOVEMBER
        yield situation(ROLLING.model_copy(update={"for_each": (EACH,)}), current=WINDOW, **facts), WINDOW
        yield situation(rate("1000", for_each=EACH), current=MINUTES, **facts), MINUTES


def _findings(period: Period) -> Iterable[Finding]:
    ladder = [("500", ()), ("790", ()), ("850", ("0.8",)), ("1010", ("0.8", "1")), ("1210", ("0.8", "1", "1.2"))]
    for (amount, reached), complete, limit in itertools.product(ladder, (True, False), ("1000", "900")):
        found = finding(amount, *reached, scope=SCOPE, period=period, complete=complete, limit=limit)
        yield replace(found, pace=PACE) if period == MINUTES else found


def _incidents(period: Period) -> Iterable[Incident | None]:
    yield None
    earlier = Period(period.start - timedelta(days=1), period.end - timedelta(days=1))
    for state, announced in itertools.product(State, (("0.8",), ("0.8", "1"))):
        yield incident(*announced, state=state, scope=SCOPE, period=period, limit="900", amount="850")
        if period == WINDOW:
            yield incident(*announced, state=state, scope=SCOPE, period=earlier, limit="900", amount="850")
            by_hand = Reason.BY_HAND if state is State.RESOLVED else None
            yield incident(*announced, state=state, scope=SCOPE, period=earlier, limit="900", resolved=by_hand)
        told = incident(*announced, state=state, scope=SCOPE, period=period, limit="900", amount="850")
        yield replace(told, severity=Severity.WARNING, told_at=NOW - timedelta(days=1), told_amount=Decimal("800"))
    yield incident(state=State.RESOLVED, scope=SCOPE, period=period)


def test_every_cell_of_the_table_happens_and_nothing_outside_it() -> None:
    seen: set[tuple[State | None, Event]] = set()
    for known, period in _situations():
        for before, found in itertools.product(_incidents(period), _findings(period)):
            seen.add((before.state if before is not None else None, _event(known, before, found, NOW)))
        for before in _incidents(period):
            if before is not None and before.state is not State.RESOLVED:
                removed = _ending(replace(known, rules={}), before)
                assert removed is Event.RULE_REMOVED
                seen.add((before.state, removed))
    assert seen == set(TRANSITIONS) - BY_HAND


def test_what_is_said_and_what_is_not() -> None:
    for (state, _), transition in TRANSITIONS.items():
        ends = transition.to is State.RESOLVED and state not in (None, State.RESOLVED)
        assert (transition.kind is Kind.RESOLVE) == ends, "whoever was told of it is told of its end"
        if transition.kind is Kind.TRIGGER:
            assert transition.to is State.OPEN
    said = {transition.reason for transition in TRANSITIONS.values() if transition.kind is not None}
    unsaid = {transition.reason for transition in TRANSITIONS.values() if transition.kind is None}
    assert not said & unsaid


# --- properties --------------------------------------------------------------------------------

STEPS = [Decimal(text) for text in ("0.8", "1", "1.2", "1.5", "2")]


def _oracle(polls: list[tuple[int, bool]]) -> list[str]:
    """Of one month with a limit of $1,000: what must be said, in plain words."""
    told: set[Decimal] = set()
    strikes, said = 0, []
    for amount, complete in polls:
        reached = {share for share in STEPS if amount >= 1000 * share}
        if max(reached, default=Decimal(0)) > max(told, default=Decimal(0)):
            said.append(f"trigger {max(reached)}")
            told, strikes = told | reached, 0
        elif told and amount * 100 >= 1000 * min(told) * 98:
            strikes = 0
        elif told and complete:
            strikes += 1
            if strikes == 2:
                said.append("resolve")
                told, strikes = set(), 0
    return said


amounts = st.sampled_from([0, 500, 783, 784, 790, 800, 860, 999, 1000, 1010, 1200, 1499, 1500, 2000, 2400])


@given(st.lists(st.tuples(amounts, st.booleans()), max_size=25))
def test_random_readings_against_an_oracle(polls: list[tuple[int, bool]]) -> None:
    known = situation(cap())
    incidents: dict[str, Incident] = {}
    said = []
    for amount, complete in polls:
        reached = [str(share) for share in STEPS if amount >= 1000 * share]
        verdict = step(known, incidents, [finding(str(amount), *reached, complete=complete)], NOW)
        incidents.update((each.id, each) for each in verdict.incidents)
        said += [f"{d.kind} {d.step}" if d.step is not None else d.kind.value for d in verdict.decisions]
    assert said == _oracle(polls)


ACTIONS: list[Action] = [
    again,
    *(spent("2026-11-02", dollars) for dollars in ("0", "500", "790", "860", "1010", "1600")),
    *(spent("2026-11-05", dollars) for dollars in ("0", "300")),  # leaves a gap
    spent("2026-11-03", "0", "2026-11-04", "0"),
    spent("2026-12-01", "900"),
    spent("2026-12-02", "10", "2026-11-30", "400"),
    spent("2026-11-02", "860", in_workspace="wrkspc_1"),
    archived("wrkspc_1", at("2026-11-19")),
    edited(),
    *(edited(cap(limit, per=per)) for limit in ("500", "1000", "2000") for per in ("month", "day", {"last": "3d"})),
    edited(cap(for_each=EACH)),
    edited(cap(for_each=EACH, limits={"default": "100"})),
    edited(cap(severity="critical", steps=["50%", "100%"])),
    edited(spike()),
    edited(cap(), spike(id="other", for_each=EACH)),
]
REARMING = {Reason.RESTATED, Reason.LIMIT_RAISED, Reason.RULE_REMOVED}


@given(st.lists(st.sampled_from(ACTIONS), max_size=12))
def test_whatever_happens_the_promises_hold(actions: list[Action]) -> None:
    watch = Watch(cap())
    for action in [quiet, *actions]:
        before = dict(watch.incidents)
        action(watch)
        for after in watch.incidents.values():
            _check(before.get(after.id), after)
    for _ in range(3):
        watch.poll()
    settled = dict(watch.incidents)
    assert watch.poll() == [], "no news, and yet something is said"
    assert watch.incidents == settled
    doubtful = [each for each in watch.incidents.values() if each.state is State.DOUBTFUL]
    assert all(each.held is Reason.INCOMPLETE_DATA for each in doubtful), "only a gap in the data keeps a doubt"


def _check(before: Incident | None, after: Incident) -> None:
    assert after.id == incident_id(ORGANISATION.id, after.rule, after.scope, after.period)
    assert (after.resolved is None) == (after.state is not State.RESOLVED), "an end has a reason, and only an end"
    assert list(after.announced) == sorted(set(after.announced))
    if after.state is not State.RESOLVED:
        assert after.announced
    if before is None or before == after:
        return
    assert after.sequence - before.sequence in (0, 1)
    lost = set(before.announced) - set(after.announced)
    if lost:  # a step is armed again only by these
        assert after.resolved in REARMING or after.held is Reason.LIMIT_RAISED_STILL_OVER


@given(st.lists(st.sampled_from(ACTIONS), max_size=12))
def test_a_step_is_announced_once_until_it_is_armed_again(actions: list[Action]) -> None:
    watch = Watch(cap())
    told: dict[str, set[Decimal]] = {}
    for action in [quiet, *actions]:
        sequences = {each.id: each.sequence for each in watch.incidents.values()}
        action(watch)
        for after in watch.incidents.values():
            if after.resolved in REARMING or after.held is Reason.LIMIT_RAISED_STILL_OVER:
                told[after.id] = set(after.announced)
            elif after.sequence > sequences.get(after.id, 0):
                new = set(after.announced) - told.get(after.id, set())
                assert new or after.state is State.RESOLVED, "told again of what was told"
                told[after.id] = set(after.announced)


@given(st.lists(st.sampled_from(ACTIONS[:9]), max_size=12))
def test_incomplete_data_never_ends_an_incident(actions: list[Action]) -> None:
    """The 3rd stays unknown, so from the 5th on no reading of November is complete."""
    watch = Watch(cap())
    quiet(watch)
    spent("2026-11-02", "860", "2026-11-05", "0")(watch)
    for action in actions:
        for text in action(watch):
            assert not text.startswith("resolve")
    assert all(each.state is State.OPEN for each in watch.incidents.values())
