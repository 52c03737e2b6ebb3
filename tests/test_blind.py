"""Blind is never zero: not seeing is itself an alert, told once, and taken back once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.blind import BLIND_RULE, not_seen, seen
from budgetd.lifecycle import is_of_rule
from budgetd.model import Failure, Health, SourceError, State
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
