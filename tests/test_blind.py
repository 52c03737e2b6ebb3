"""Blind is never zero: not seeing is itself an alert, told once, and taken back once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.blind import BLIND_RULE, answered, compared, is_well, not_seen, seen, stalled
from budgetd.lifecycle import is_of_rule
from budgetd.model import Delivery, Failure, Health, Severity, SourceError, State
from budgetd.period import DAY
from budgetd.wording import instant
from tests.builders import at, incident

START = at("2026-11-18 12:00")
FINE = Health("cost_report", last_good=START)
DOWN, REFUSED, REJECTED = Failure.UNREACHABLE, Failure.REFUSED, Failure.REJECTED


def told(polls: list[tuple[float, Failure | None]], health: Health = FINE) -> list[str]:
    """Polls at minutes after the start, None for a good one: what is said of each, `-` for nothing."""
    said = []
    for minutes, failure in polls:
        now = START + timedelta(minutes=minutes)
        if failure is None:
            sight = seen(health, now)
        else:
            sight = not_seen(health, SourceError(failure, "in words"), now)
        health, decision = sight.health, sight.decision
        said.append(f"{decision.kind} {decision.reason} {decision.severity}" if decision is not None else "-")
    return said


def every(minutes: int, count: int, failure: Failure | None = DOWN) -> list[tuple[float, Failure | None]]:
    return [(minutes * n, failure) for n in range(1, count + 1)]


WARNING, CRITICAL = "trigger blind warning", "trigger blind critical"
TABLE: list[tuple[str, list[tuple[float, Failure | None]], list[str]]] = [
    ("good polls", every(1, 3, None), ["-", "-", "-"]),
    ("one bad poll", [(1, DOWN), (2, None)], ["-", "-"]),
    ("three bad polls within minutes", every(1, 5), ["-"] * 5),
    ("15 minutes in two polls", [(1, DOWN), (16, DOWN)], ["-", "-"]),
    ("15 minutes and three polls", [(1, DOWN), (8, DOWN), (16, DOWN)], ["-", "-", WARNING]),
    ("a second short of 15 minutes", [(1, DOWN), (8, DOWN), (15.98, DOWN)], ["-", "-", "-"]),
    ("a warning is told once", every(15, 5), ["-", "-", WARNING, "-", "-"]),
    ("two hours", every(20, 8), ["-", "-", WARNING, "-", "-", "-", CRITICAL, "-"]),
    ("two hours need six polls", every(60, 7), ["-", "-", WARNING, "-", "-", CRITICAL, "-"]),
    ("a refused key at once", [(1, REFUSED), (2, REFUSED)], ["trigger refused warning", "-"]),
    (
        "a refused key for two hours",
        every(24, 6, REFUSED),
        ["trigger refused warning", *["-"] * 4, "trigger refused critical"],
    ),
    (
        "another organisation's key at once",
        [(1, Failure.FOREIGN), (2, Failure.FOREIGN)],
        ["trigger refused warning", "-"],
    ),
    ("a wrong request at once", [(1, REJECTED)], [WARNING]),
    ("told already when it is refused", [*every(15, 3), (46, REFUSED)], ["-", "-", WARNING, "-"]),
    ("back before it was told", [*every(20, 2), (41, None), (42, None)], ["-", "-", "-", "-"]),
    (
        "back: one message, of the severity that was told",
        [*every(20, 7), (141, None), (142, None)],
        ["-", "-", WARNING, "-", "-", "-", CRITICAL, "resolve recovered critical", "-"],
    ),
    (
        "a flap counts from the start again",
        [(1, DOWN), (8, DOWN), (15, None), (16, DOWN), (24, DOWN), (31, DOWN)],
        ["-", "-", "-", "-", "-", WARNING],
    ),
    ("fault 56: the clock steps back", [(1, DOWN), (-3000, DOWN), (-2999, DOWN), (-2998, None)], ["-"] * 4),
]


@pytest.mark.parametrize(("polls", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_is_said_of_a_source(polls: list[tuple[float, Failure | None]], expected: list[str]) -> None:
    assert told(polls) == expected


def test_an_outage_is_one_incident_and_the_next_one_another() -> None:
    health, ids, states, sequences = FINE, [], [], []
    for minutes, failure in [*every(20, 7), (150, None), (160, REFUSED), (170, None)]:
        now = START + timedelta(minutes=minutes)
        error = SourceError(failure or DOWN, "in words")
        sight = not_seen(health, error, now) if failure is not None else seen(health, now)
        health = sight.health
        if sight.decision is not None:
            assert not is_of_rule(sight.decision.incident)
            ids.append(sight.decision.incident.id)
            states.append(sight.decision.incident.state)
            sequences.append(sight.decision.incident.sequence)
    assert [ids.index(each) for each in ids] == [0, 0, 0, 3, 3]
    assert states == [State.OPEN, State.OPEN, State.RESOLVED, State.OPEN, State.RESOLVED]
    assert sequences == [1, 2, 3, 1, 2], "each notice has an id of its own"


def test_the_last_good_time_survives_the_outage() -> None:
    health = not_seen(FINE, SourceError(DOWN, "no route"), START + timedelta(minutes=5)).health
    assert (health.last_good, health.failing_since, health.message) == (START, START + timedelta(minutes=5), "no route")
    assert seen(health, START + timedelta(minutes=6)).health == Health(
        "cost_report", last_good=START + timedelta(minutes=6)
    )


def test_a_rule_of_the_file_is_never_taken_for_this_one() -> None:
    assert not is_of_rule(incident("1", rule=BLIND_RULE))
    assert is_of_rule(incident("1"))


polls = st.lists(st.tuples(st.integers(0, 90), st.sampled_from([None, *Failure])), max_size=30)


@given(polls)
def test_each_outage_is_told_at_most_twice_and_taken_back_exactly_when_told(
    gaps: list[tuple[int, Failure | None]],
) -> None:
    minutes, timeline = 0, []
    for gap, failure in gaps:
        minutes += gap
        timeline.append((float(minutes), failure))
    outage: list[str] = []
    for (_, failure), text in zip(timeline, told(timeline), strict=True):
        if failure is None:
            assert text == (f"resolve recovered {outage[-1].split()[-1]}" if outage else "-")
            outage = []
        elif text != "-":
            outage.append(text)
        assert [entry.split()[-1] for entry in outage] in ([], ["warning"], ["critical"], ["warning", "critical"])


# --- a report that does not move ---------------------------------------------------------------------

LAGS: list[tuple[str, timedelta, bool]] = [
    ("usage_report", timedelta(minutes=15), False),
    ("usage_report", timedelta(minutes=15, seconds=1), True),
    ("usage_report", -timedelta(hours=1), False),
    ("analytics", timedelta(hours=12), False),
    ("analytics", timedelta(hours=12, seconds=1), True),
    ("cost_report", timedelta(hours=48), False),
    ("cost_report", timedelta(hours=48, seconds=1), True),
    ("another", timedelta(days=400), False),
]


@pytest.mark.parametrize(("source", "lag", "expected"), LAGS)
def test_how_far_a_report_may_lag_behind(source: str, lag: timedelta, expected: bool) -> None:
    found = stalled(source, START - lag, START)
    assert (found is not None) is expected
    if found is not None:
        assert found.failure is Failure.STALLED
        assert f"nothing newer than {instant(START - lag)}" in found.message


@pytest.mark.parametrize(
    ("skew", "lag", "expected"),
    [
        (None, 16, Failure.STALLED),
        (0.0, 14, None),
        (-300.0, 19, None),  # our clock is ahead: the data is 14 minutes old
        (-300.0, 21, Failure.STALLED),
        (300.0, 14, None),  # our clock is behind: nothing newer was asked for
        (300.0, 16, Failure.STALLED),
    ],
)
def test_the_lag_is_taken_by_the_earlier_clock(skew: float | None, lag: int, expected: Failure | None) -> None:
    sight = answered(Health("usage_report"), START - timedelta(minutes=lag), START, skew)
    assert sight.health.failure is expected


def test_the_last_good_time_of_a_report_that_stopped_is_the_end_of_its_data() -> None:
    through, health = START - timedelta(minutes=5), Health("usage_report", last_good=START)
    for minutes in (11, 20, 30):
        health = answered(health, through, START + timedelta(minutes=minutes)).health
    assert (health.last_good, health.failing_since) == (through, START + timedelta(minutes=11))
    later = answered(health, through + timedelta(minutes=2), START + timedelta(minutes=40)).health
    assert later.last_good == through


# --- the clock -----------------------------------------------------------------------------------------


def clock_told(skews: list[tuple[float, float]]) -> list[str]:
    """Polls at minutes after the start with the service's clock so many seconds ahead: what is said of each."""
    health, said = Health("clock"), []
    for minutes, skew in skews:
        sight = compared(health, skew, START + timedelta(minutes=minutes))
        health, decision = sight.health, sight.decision
        said.append(f"{decision.kind} {decision.reason} {decision.severity}" if decision is not None else "-")
    return said


OFF: list[tuple[float, float]] = [(20.0 * n, 300) for n in range(8)]
WARNED = ["-", "-", WARNING, "-", "-", "-", CRITICAL, "-"]
CLOCKS: list[tuple[str, list[tuple[float, float]], list[str]]] = [
    ("within bounds", [(n, 120) for n in range(5)], ["-"] * 5),
    ("behind by two hours of polls", OFF, WARNED),
    ("ahead", [(minutes, -skew) for minutes, skew in OFF], WARNED),
    ("two good ones in a row end it", [*OFF, (150, 1), (151, -1)], [*WARNED, "-", "resolve recovered critical"]),
    ("one good one, and another much later", [*OFF, (150, 1), (151, 300), (152, 1)], [*WARNED, "-", "-", "-"]),
    ("it does not flap", [(n, 300 if n % 2 else 0) for n in range(40)], ["-"] * 17 + [WARNING] + ["-"] * 22),
    ("a single odd answer", [(1, 300), (2, 0), (3, 0), (20, 300), (21, 0), (22, 0), (40, 300)], ["-"] * 7),
]


@pytest.mark.parametrize(("skews", "expected"), [row[1:] for row in CLOCKS], ids=[row[0] for row in CLOCKS])
def test_what_is_said_of_the_clock(skews: list[tuple[float, float]], expected: list[str]) -> None:
    assert clock_told(skews) == expected


@pytest.mark.parametrize(
    ("skew", "words"),
    [
        (301, "5 minutes behind the API's"),
        (-121, "2 minutes ahead of the API's"),
        (86_400, "1 day behind"),
        (-3456000, "40 days ahead of"),
    ],
)
def test_how_far_the_clock_is_off_in_words(skew: float, words: str) -> None:
    health = compared(Health("clock"), skew, START).health
    assert (health.failure, health.message.startswith(f"this machine's clock is {words}")) == (Failure.SKEWED, True)


# --- the key, of all sources -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "minutes", "said"),
    [
        (REFUSED, 0, False),
        (REFUSED, 90, False),
        (REFUSED, 91, True),  # what is left of a source that is not read any more must not silence this one
        (Failure.FOREIGN, 0, True),  # another trouble
        (REJECTED, 0, True),
    ],
)
def test_a_refused_key_is_said_by_the_source_that_found_it_first(failure: Failure, minutes: int, said: bool) -> None:
    first = not_seen(Health("usage_report"), SourceError(REFUSED, "401"), START).health
    later = START + timedelta(minutes=minutes)
    other = not_seen(FINE, SourceError(failure, "in words"), later, [first, FINE])
    assert (other.decision is not None) is said
    assert other.health.failure is failure
    back = seen(first, later + timedelta(minutes=1)).health
    again = not_seen(other.health, SourceError(failure, "in words"), later + timedelta(minutes=2), [back])
    assert (again.decision is not None) is not said, "it speaks for itself once the other one is well"


def test_a_source_that_is_not_read_any_more_silences_nobody_for_ever() -> None:
    """BUDGETD_SOURCE was changed in the middle of an outage: of the other source only its last word is left."""
    down = SourceError(DOWN, "503")
    left = replace(FAILING, source="usage_report", announced=Severity.WARNING)
    health, said = FINE, list[tuple[int, Severity]]()
    for minutes in range(0, 300, 10):
        sight = not_seen(health, down, START + timedelta(minutes=minutes), [left])
        health = sight.health
        said += [(minutes, sight.decision.severity)] if sight.decision else []
    assert said == [(160, Severity.CRITICAL)]


# --- the heartbeat -----------------------------------------------------------------------------------------

GOOD = {source: Health(source, last_good=START) for source in ("cost_report", "usage_report", "clock")}
FAILING = replace(FINE, failing_since=START, failures=1, failure=DOWN)
SOURCES = ("cost_report", "usage_report")
HEARTBEATS: list[tuple[str, dict[str, Health], timedelta | None, bool]] = [
    ("all is well", GOOD, None, True),
    ("the service does not tell its time", {source: GOOD[source] for source in SOURCES}, None, True),
    ("a source was never read", {"cost_report": FINE}, None, False),
    ("a source fails", {**GOOD, "cost_report": FAILING}, None, False),
    ("the other one does", {**GOOD, "usage_report": FAILING}, None, False),
    ("the clock is off", {**GOOD, "clock": compared(GOOD["clock"], 300, START).health}, None, False),
    ("a source that is not read any more fails", {**GOOD, "analytics": FAILING}, None, True),
    ("a report stopped", {**GOOD, "cost_report": answered(FINE, START - 3 * DAY, START).health}, None, False),
    ("a delivery waits", GOOD, timedelta(minutes=9), True),
    ("a delivery is overdue", GOOD, timedelta(minutes=10), False),
]


@pytest.mark.parametrize(("health", "waits", "expected"), [r[1:] for r in HEARTBEATS], ids=[r[0] for r in HEARTBEATS])
def test_when_the_heartbeat_is_heard(health: dict[str, Health], waits: timedelta | None, expected: bool) -> None:
    outbox = [] if waits is None else [Delivery("del_1", "team", (), START - waits, START)]
    assert is_well(health, SOURCES, outbox, START) is expected
