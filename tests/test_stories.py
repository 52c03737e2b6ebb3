"""An incident's story as dated lines: what was decided, sent, answered, replaced, and why nobody was told."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from budgetd.model import (
    Attempt,
    Delivery,
    DeliveryState,
    Facts,
    Kind,
    Notice,
    Outcome,
    Reason,
    Severity,
)
from budgetd.store import DeliveryRecord
from budgetd.stories import Line, in_order, story
from tests.builders import NOVEMBER, at

NOW = at("2026-11-18 06:00")
HOUR, TEN = timedelta(hours=1), timedelta(seconds=10)
FACTS = Facts("Acme", "r", "cap", period=NOVEMBER, amount=Decimal(850), limit=Decimal(1000))


def notice(
    sequence: int = 1, kind: Kind = Kind.TRIGGER, reason: Reason = Reason.STEP_REACHED, created: datetime | None = None
) -> Notice:
    when = created or NOW + HOUR * (sequence - 1)
    return Notice(f"evt_{sequence}", "inc_1", sequence, kind, reason, Severity.WARNING, when, FACTS)


def record(
    channel: str,
    *outcomes: Outcome | None,
    of: Notice | None = None,
    state: DeliveryState = DeliveryState.DELIVERED,
    because: str = "",
) -> DeliveryRecord:
    told = of or notice()
    delivery = Delivery(f"dlv_{channel}_{told.sequence}", channel, (told,), told.created_at, NOW, state=state)
    attempts = tuple(
        Attempt(
            delivery.id, n, told.created_at + n * timedelta(seconds=10), ended(told, n, outcome), outcome, "HTTP 503"
        )
        for n, outcome in enumerate(outcomes, 1)
    )
    return DeliveryRecord(Delivery(**{**_fields(delivery), "because": because}), attempts)


def _fields(delivery: Delivery) -> dict[str, object]:
    return {name: getattr(delivery, name) for name in delivery.__dataclass_fields__}


def ended(told: Notice, number: int, outcome: Outcome | None) -> datetime | None:
    return None if outcome is None else told.created_at + number * TEN + timedelta(seconds=2)


def whats(lines: tuple[Line, ...]) -> list[str]:
    return [f"{line.what} {line.channel}".strip() for line in lines]


def test_it_is_told_in_the_order_of_time_and_loses_no_attempt() -> None:
    later = notice(2)
    records = {
        "evt_1": [record("team", Outcome.RETRY, Outcome.DELIVERED), record("pager", Outcome.DELIVERED)],
        "evt_2": [record("team", Outcome.DELIVERED, of=later)],
    }
    lines = story([notice(), later], records)
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    assert whats(lines) == [
        "decided",
        "queued pager",
        "queued team",
        "tried pager",
        "tried team",
        "tried team",
        "decided",
        "queued team",
        "tried team",
    ]
    assert lines[4].words == "team, attempt 1: failed, to be tried again (2.0 s)"
    assert lines[4].details == ("HTTP 503",)


def test_attempts_that_fail_alike_in_a_row_are_one_line() -> None:
    lines = story([notice()], {"evt_1": [record("team", *[Outcome.RETRY] * 5, Outcome.UNKNOWN, Outcome.DELIVERED)]})
    assert whats(lines) == ["decided", "queued team", "tried team", "tried team", "tried team"]
    assert (lines[2].repeated, lines[2].last) == (4, NOW + timedelta(seconds=52))
    assert lines[3].words.startswith("team, attempt 6: nobody knows whether it arrived")


def test_an_attempt_under_way_is_told_by_its_begin() -> None:
    *_, line = story([notice()], {"evt_1": [record("team", None, state=DeliveryState.PENDING)]})
    assert line.at == NOW + timedelta(seconds=10)
    assert line.words == "team, attempt 1: under way, or the process ended meanwhile"
    assert line.details == ()


def test_what_a_newer_state_replaced_is_told_where_it_came() -> None:
    later = notice(2, Kind.RESOLVE, Reason.RESTATED)
    old = record("team", Outcome.RETRY, state=DeliveryState.SUPERSEDED)
    lines = story([notice(), later], {"evt_1": [old], "evt_2": [record("team", Outcome.DELIVERED, of=later)]})
    assert whats(lines)[2:] == ["tried team", "decided", "superseded team", "queued team", "tried team"]
    assert lines[4].at == later.created_at
    assert lines[4].words == "team: not sent any more, a newer state of the incident takes its place"


def test_a_fallback_says_instead_of_what() -> None:
    instead = record("ops", Outcome.DELIVERED, because="pager has not taken it: HTTP 401")
    lines = story([notice()], {"evt_1": [instead]})
    assert (lines[1].words, lines[1].details) == ("to ops", ("instead: pager has not taken it: HTTP 401",))


@pytest.mark.parametrize(
    ("outcomes", "words", "details"),
    [
        ((Outcome.RETRY, Outcome.GONE), "team: given up after 2 attempts", ()),
        ((), "team: given up without an attempt", ("the channel is no longer in the rules file",)),
    ],
)
def test_giving_up_is_told(outcomes: tuple[Outcome, ...], words: str, details: tuple[str, ...]) -> None:
    *_, line = story([notice()], {"evt_1": [record("team", *outcomes, state=DeliveryState.GIVEN_UP)]})
    assert (line.what, line.words, line.details) == ("given_up", words, details)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (notice(kind=Kind.RESOLVE, reason=Reason.PERIOD_OVER), "the end of a period is silent, except for pagers"),
        (notice(kind=Kind.RESOLVE, reason=Reason.RESTATED), "no channel of the rules file had been sent its trigger"),
        (notice(kind=Kind.INFORM, reason=Reason.LATE), "there was no channel for it"),
    ],
)
def test_why_nobody_was_told(told: Notice, why: str) -> None:
    (line,) = story([told], {})
    assert f"told to nobody: {why}" in line.details[-1]


def test_lines_of_others_find_their_place() -> None:
    lines = story([notice(), notice(2)], {})
    silenced = Line(NOW + timedelta(minutes=5), "silenced", "silenced by ann for 2 hours: known")
    assert whats(in_order([silenced, *lines])) == ["decided", "silenced", "decided"]
