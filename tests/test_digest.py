"""What a digest says, and how it looks: exact sums, what is missing, who moved, and no markup of names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from slack_sdk.models.blocks import Block

from budgetd import digest_words, money
from budgetd.background import Outlook
from budgetd.digest import Known, compose
from budgetd.faces.mail import letter
from budgetd.faces.slack import post
from budgetd.message import BODY_LIMIT, Flavour, render
from budgetd.model import (
    Attempt,
    Basis,
    CostDay,
    Delivery,
    DeliveryState,
    Face,
    Facts,
    Incident,
    Kind,
    Label,
    Notice,
    Outcome,
    Reason,
    Severity,
    State,
)
from budgetd.overview import RuleReadings, rule_readings
from budgetd.period import DAY
from budgetd.rules import Indexes, Rule
from budgetd.schedule import Schedule
from budgetd.schema import webhook_schema
from budgetd.store import DeliveryRecord, Memory
from budgetd.stores.records import facts, facts_text
from budgetd.summary import DIGEST_RULE, Digest, Move
from tests.builders import at, cap, cost_day, incident, indexes_of, line, naming, workspace

DUE = at("2026-11-23 08:00")
WEEKLY = Schedule("monday")
NAMES = naming(workspace("a", "Research"), workspace("b", "Support"), workspace("c", "Support"))
FIRST = date(2026, 11, 9)


def days(count: int = 14, first: date = FIRST) -> list[CostDay]:
    """Two weeks: Research grows by a dollar and a tenth of a cent a day, Support is gone in the second week."""
    made = []
    for n in range(count):
        lines = {line("a"): f"{100 + n}.{n:03}"}
        lines |= {line("b", "claude-haiku-4-5-20251001"): "10"} if n < 7 else {line("c", None): "2.5"}
        made.append(cost_day(first + DAY * n, lines))
    return made


def memory(*incidents: Incident) -> Memory:
    return Memory(NAMES.names.organisation, {}, DUE, {each.id: each for each in incidents}, {}, {}, (), {})


def known(found: Sequence[CostDay] | None = None, **more: Any) -> Known:
    found = days() if found is None else found
    given: dict[str, Any] = {"readings": (), "told": (), "records": (), "outbox": (), "channels": (), "naming": NAMES}
    return Known(days=found, **{**given, **more})


def digest(found: Sequence[CostDay] | None = None, plan: Schedule = WEEKLY, **more: Any) -> Digest:
    return compose("weekly", plan, DUE, known(found, **more))


def notice(content: Digest) -> Notice:
    told = Facts("Acme", DIGEST_RULE, "digest", (Label("digest", "weekly/x", "weekly"),), data_through=DUE)
    told = replace(told, period=content.spent.period, period_kind="week", digest=content)
    return Notice("evt_1", "inc_1", 1, Kind.INFORM, Reason.DIGEST, Severity.INFO, DUE, told)


def delivery(content: Digest, face: Face = Face.RICH) -> Delivery:
    return Delivery("dlv_1", "team", (notice(content),), DUE, DUE, face=face)


def test_sums_are_exact_and_of_whole_utc_days() -> None:
    made = digest()
    assert made.spent.amount == sum(Decimal(f"{100 + n}.{n:03}") for n in range(7, 14)) + Decimal("17.5")
    assert made.before.amount == sum(Decimal(f"{100 + n}.{n:03}") for n in range(7)) + 70
    assert [day for day, _ in made.days] == [FIRST + DAY * n for n in range(7, 14)]
    assert made.days[0][1] == Decimal("109.507")
    assert made.basis == "billed"
    assert made.spent.missing == made.before.missing == ()


def test_movers_are_by_the_dollars_and_those_of_one_name_bring_their_id() -> None:
    workspaces, models = digest().movers
    assert workspaces.up == (
        Move("Research", Decimal("770.070"), Decimal("721.021")),
        Move("Support (c)", Decimal("17.5"), Decimal(0)),
    )
    assert workspaces.down == (Move("Support (b)", Decimal(0), Decimal(70)),)
    assert [move.name for move in models.up] == ["claude-opus-4-8", "no model"]
    assert [move.name for move in models.down] == ["claude-haiku-4-5"]


def test_only_the_five_largest_moves_each_way_are_told() -> None:
    lines = [{line(f"w{n}"): str(100 + (n if n < 10 else -n) * week) for n in range(20)} for week in (0, 1)]
    found = [cost_day(FIRST + DAY * n, lines[n // 7]) for n in range(14)]
    workspaces = digest(found).movers[0]
    assert [move.name for move in workspaces.up] == ["w9", "w8", "w7", "w6", "w5"]
    assert [move.name for move in workspaces.down] == ["w19", "w18", "w17", "w16", "w15"]


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        (13, "No whole figures for Sun 22 Nov"),
        (2, "Of the week before, Wed 11 Nov is not known whole."),
    ],
)
def test_with_a_day_missing_nothing_is_compared_and_it_is_said(gone: int, words: str) -> None:
    found = [day for n, day in enumerate(days()) if n != gone]
    made = digest(found)
    body = render(delivery(made), DUE).body
    assert made.movers == ()
    assert words in body
    assert "So nothing is compared." in body
    assert "Change" not in body
    assert ("at least" in render(delivery(made), DUE).title) == (gone == 13)


def test_a_day_that_is_not_over_counts_as_missing() -> None:
    made = digest([*days(13), cost_day("2026-11-22", "5", Basis.ESTIMATED, complete=False)])
    assert made.spent.missing == (date(2026, 11, 22),)
    assert made.days[-1][1] == 5
    assert made.basis == "billed and estimated"


def test_an_empty_state_is_said_and_is_not_zero() -> None:
    made = digest([])
    message = render(delivery(made), DUE)
    assert len(made.spent.missing) == 7
    assert "No whole figures for Mon 16 Nov, Tue 17 Nov, Wed 18 Nov, Thu 19 Nov and 3 more days" in message.body
    assert "not known" in message.body
    assert "Nothing is known" in message.body
    assert message.title.startswith("16-22 Nov 2026: at least $0.00")


def test_limits_over_more_than_a_day_the_most_used_first_with_their_forecast() -> None:
    rules = [cap("1000", id="all"), cap("900", for_each=["workspace"], id="each"), cap("1", per="day", id="day")]
    indexes = indexes_of(rules, days(), NAMES)
    readings = [reading_of(rule, indexes) for rule in rules]
    made = digest(readings=readings, forecast=lambda reading: reading.finding.amount * 2)
    assert [(each.rule, each.subject) for each in made.standings[:2]] == [("each", "Research"), ("all", "")]
    assert made.standings[0].amount == Decimal("1491.091")
    body = render(delivery(made), DUE).body
    assert "Research" in body
    assert "$1,491.09 of $900, November 2026; forecast $2,982.18" in body
    assert "all " in body


def told(*reasons: tuple[Kind, Reason, str], state: State = State.OPEN) -> tuple[Incident, list[Notice]]:
    about = replace(incident("0.8"), state=state)
    spent = Facts("Acme", "r", "cap", amount=Decimal(850), limit=Decimal(1000), period=about.period)
    made = [
        Notice(f"evt_{n}", about.id, n, kind, reason, Severity.WARNING, at(f"2026-11-{when}"), spent)
        for n, (kind, reason, when) in enumerate(reasons, 1)
    ]
    return about, made


STEP = (Kind.TRIGGER, Reason.STEP_REACHED)


@pytest.mark.parametrize(
    ("happened", "line_"),
    [
        ([(*STEP, "17 14:05")], "Tue 17 Nov 14:05, warning: r has used 85% of its November 2026 budget"),
        ([(*STEP, "17 14:05")], "; still open"),
        (
            [(*STEP, "17 14:05"), (Kind.RESOLVE, Reason.RESTATED, "18 09:00")],
            "; ended Wed 18 Nov 09:00, restated",
        ),
        ([(*STEP, "10 14:05"), (Kind.RESOLVE, Reason.LIMIT_RAISED, "18 09:00")], "Tue 10 Nov 14:05"),
        ([(*STEP, "10 14:05")], "No alert in this week."),  # of the week before
        ([(*STEP, "23 01:00")], "No alert in this week."),  # of the next one
        ([(*STEP, "10 14:05"), (Kind.RESOLVE, Reason.PERIOD_OVER, "18 09:00")], "No alert in this week."),
    ],
)
def test_what_fired_and_what_ended(happened: list[tuple[Kind, Reason, str]], line_: str) -> None:
    body = render(delivery(digest(told=[told(*happened)])), DUE).body
    assert line_ in body


def test_channels_are_well_or_say_what_hinders_them() -> None:
    good = Delivery("dlv_g", "team", (), at("2026-11-17 10:00"), DUE, state=DeliveryState.DELIVERED)
    bad = Delivery("dlv_b", "pager", (), at("2026-11-18 10:00"), DUE, state=DeliveryState.GIVEN_UP)
    old = Delivery("dlv_o", "team", (), at("2026-11-02 10:00"), DUE, state=DeliveryState.GIVEN_UP)
    tried = Attempt("dlv_b", 1, at("2026-11-18 10:00"), at("2026-11-18 10:00"), Outcome.RETRY, "connection refused")
    sent = Attempt("dlv_g", 1, at("2026-11-17 10:00"), at("2026-11-17 10:00"), Outcome.DELIVERED)
    records = [DeliveryRecord(bad, (tried,)), DeliveryRecord(good, (sent,)), DeliveryRecord(old, ())]
    made = digest(records=records, outbox=(), channels=("team", "pager", "new"))
    assert digest_words.posts(made) == [
        "pager: 0 delivered, 1 attempts failed, 1 given up. It fails at present: connection refused",
        "team, new: well, 1 message delivered.",
    ]


def test_a_month_is_one_line_of_days() -> None:
    found = [*days(61, date(2026, 10, 1))]
    made = compose("m", Schedule("month"), at("2026-12-01 08:00"), known(found))
    body = render(delivery(made), DUE).body
    assert "Days" in body
    assert "Day by day" not in body
    assert render(delivery(made), DUE).title.endswith("more than the month before")


def test_a_share_is_never_rounded_up_and_nothing_before_is_new() -> None:
    assert digest_words.change(Decimal("199.99"), Decimal(100)) == "+$99.99 (+99.9%)"
    assert digest_words.change(Decimal(50), Decimal(100)) == "-$50.00 (-50%)"
    assert digest_words.change(Decimal(5), money.ZERO) == "+$5.00 (new)"
    assert digest_words.change(Decimal("100.01"), Decimal(100)) == "+$0.01"
    assert digest_words.sparkline([Decimal(0), None, Decimal(5), Decimal(10)]) == "▁·▄█"


def reading_of(rule: Rule, indexes: Indexes) -> RuleReadings:
    return rule_readings(rule, indexes, Outlook(indexes.of(rule)), memory(), ())


EVIL = "<!channel> *x* @everyone </td><script>`\u202e\r\nBcc: a@b " + "n" * 10_000


def test_names_bring_no_markup_mention_or_header_into_any_face() -> None:
    names = naming(workspace("a", EVIL), workspace("b", EVIL))
    rules = [cap("100", for_each=["workspace"], id="each")]
    readings = [reading_of(rule, indexes_of(rules, days(), names)) for rule in rules]
    made = digest(naming=names, readings=readings, channels=("x" * 64,))
    for face in Face:
        message = render(delivery(made, face), DUE, Flavour.SLACK)
        sent = post(message)
        [block.validate_json() for block in Block.parse_all(sent.get("blocks", []))]
        assert "<!channel>" not in json.dumps([b for b in sent.get("blocks", []) if "mrkdwn" in json.dumps(b)])
        assert "<!channel>" not in sent["text"]
        mail = letter(render(delivery(made, face), DUE), DUE)
        assert "\n" not in mail.subject
        assert "<script" not in mail.html
        assert "@everyone" not in mail.plain
        assert "\u202e" not in mail.html + mail.plain
        assert len(mail.plain) < BODY_LIMIT + 400


def test_every_face_says_the_sum_and_where_it_stands() -> None:
    made = digest()
    sum_ = money.dollars(made.spent.amount)
    for face in Face:
        message = render(delivery(made, face), DUE)
        assert sum_ in message.title + message.body
    assert sum_ in letter(render(delivery(made), DUE), DUE).html
    assert sum_ in json.dumps(post(render(delivery(made), DUE, Flavour.SLACK)))


def test_webhooks_get_it_all_by_the_published_schema_and_it_survives_the_store() -> None:
    made = digest(told=[told((*STEP, "17 14:05"))], channels=("team",))
    data = render(delivery(made), DUE).data
    jsonschema.validate(data, webhook_schema())
    assert data["type"] == "budgetd.digest"
    assert data["data"]["digest"]["spent"]["amount"] == money.cents_text(made.spent.amount)
    kept = notice(made).facts
    assert facts(facts_text(kept)) == kept


def test_a_late_digest_says_so() -> None:
    message = render(delivery(digest()), DUE + timedelta(hours=2), Flavour.SLACK)
    assert "Late: decided 2 hours ago" in message.body
    assert "Late: decided 2 hours ago" in json.dumps(post(message)["blocks"])
