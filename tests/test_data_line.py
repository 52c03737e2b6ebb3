"""Every message with figures says what they rest on and through when they are, in every face of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from budgetd.faces import slack, teams
from budgetd.faces.mail import letter
from budgetd.message import Flavour, Message, render
from budgetd.model import Basis, Delivery, Face, Facts, Kind, Notice, Reason, Severity
from budgetd.wording import data_line
from tests.chart_stories import RUNAWAY
from tests.test_message import FACTS, NOW, SPIKE

RATE = replace(RUNAWAY, data_through=FACTS.data_through)
KINDS = {
    "cap": (FACTS, Kind.TRIGGER, Reason.STEP_REACHED),
    "spike": (replace(SPIKE, data_through=FACTS.data_through), Kind.TRIGGER, Reason.STEP_REACHED),
    "rate": (RATE, Kind.TRIGGER, Reason.STEP_REACHED),
    "resolved": (replace(FACTS, step=None), Kind.RESOLVE, Reason.LIMIT_RAISED),
}
WORDS = {Basis.BILLED: "billed", Basis.ESTIMATED: "estimated", Basis.MIXED: "billed and estimated"}
SHORT = {**WORDS, Basis.MIXED: "partly estimated"}
# What a channel of each kind is given.
SHOWN: dict[str, tuple[Flavour, Callable[[Message], str]]] = {
    "text": (Flavour.TEXT, lambda message: message.body),
    "html": (Flavour.HTML, lambda message: message.body),
    "slack": (Flavour.SLACK, lambda message: json.dumps(slack.post(message))),
    "slack thread": (Flavour.SLACK, lambda message: json.dumps(slack.reply(message))),
    "teams": (Flavour.TEXT, lambda message: teams.body(message, NOW).decode()),
    "mail": (Flavour.TEXT, lambda message: letter(message, NOW).plain),
    "html mail": (Flavour.TEXT, lambda message: letter(message, NOW).html or letter(message, NOW).plain),
}


def message(about: str, basis: Basis, face: Face, flavour: Flavour, count: int) -> Message:
    facts, kind, reason = KINDS[about]
    facts = replace(facts, basis=basis)
    notices = tuple(
        Notice(f"evt_{number}", f"inc_{number}", 1, kind, reason, Severity.WARNING, NOW, facts)
        for number in range(count)
    )
    return render(Delivery("dlv_1", "team", notices, NOW, NOW, face=face), NOW, flavour)


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("face", Face)
@pytest.mark.parametrize("basis", Basis)
@pytest.mark.parametrize("about", KINDS)
def test_it_says_what_its_figures_rest_on(about: str, basis: Basis, face: Face, shown: str) -> None:
    flavour, show = SHOWN[shown]
    for count in (1, 3):
        text = show(message(about, basis, face, flavour, count))
        through = "18 Nov 14:00 UTC" if face is Face.MINIMAL else "Data through 18 Nov 2026 14:00 UTC"
        assert through in text, count
        assert (WORDS if face is not Face.MINIMAL else SHORT)[basis] in text, count


def told(basis: Basis, hour: int, **more: object) -> Facts:
    return replace(FACTS, basis=basis, data_through=NOW.replace(hour=hour, minute=0), **more)  # type: ignore[arg-type]


def test_several_say_the_earliest_end_and_all_that_they_rest_on() -> None:
    billed, estimated = told(Basis.BILLED, 0), told(Basis.ESTIMATED, 14)
    assert data_line([billed]).startswith("Data through 18 Nov 2026 00:00 UTC, billed. ")
    assert data_line([billed, estimated]).startswith("Data through 18 Nov 2026 00:00 UTC, billed and estimated. ")
    assert data_line([estimated, told(Basis.ESTIMATED, 13)]).startswith(
        "Data through 18 Nov 2026 13:00 UTC, estimated."
    )
    assert "Some days are missing" in data_line([billed, told(Basis.BILLED, 1, complete=False)])


def test_what_has_no_figures_says_nothing_of_them() -> None:
    assert data_line([]) == ""
    assert data_line([told(Basis.BILLED, 1, amount=None)]) == ""
    assert "00:00" not in data_line([told(Basis.BILLED, 14), told(Basis.BILLED, 0, amount=None)])
