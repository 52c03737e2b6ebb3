"""Where it leads, what changed and how the last days were: in words that hold for every number, and harm nobody."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from importlib import resources

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd import trend
from budgetd.channels.pagerduty_event import Target, trigger
from budgetd.faces import mail, slack
from budgetd.message import Flavour, Message, render
from budgetd.model import Cause, Delivery, Face, Facts, Forecast, History, Increase, Mover
from budgetd.money import subtract
from budgetd.stores import records
from tests.test_message import FACTS, NOW, RATE, SPIKE, notice

FORECAST = Forecast(Decimal("6903.22"), Decimal("6540.10"), Decimal(7310), date(2026, 11, 22))
HISTORY = History(date(2026, 11, 8), tuple(map(Decimal, ("0", "40", "80", "20", "160", "100", "320", "10", "208.1"))))
INCREASE = Increase(
    against="1-17 Oct 2026",
    before=Decimal("2860.11"),
    after=Decimal("4012.37"),
    movers=(
        Mover("model", "claude-opus-4-8", Decimal(1500), Decimal("2600.22"), "output_tokens"),
        Mover("model", "claude-haiku-5-5", Decimal(0), Decimal(90)),
        Mover("cost_type", "web_search", Decimal(100), Decimal(40)),
        Mover("workspace", "Agents", Decimal(100), Decimal(900)),
    ),
    causes=(
        (Cause.VOLUME, Decimal("343.21")),
        (Cause.MODEL_MIX, Decimal("700.01")),
        (Cause.KIND_MIX, Decimal("140.04")),
        (Cause.TERMS, Decimal(-71)),
        (Cause.OTHER, Decimal(40)),
    ),
    tokens=Decimal("1.12"),
)
WHOLE = replace(FACTS, forecast=FORECAST, history=HISTORY, increase=INCREASE)
STATUS = "https://status.example.com/llm?a=1&b=2"
COURSE = "On course for about $6,900 by 30 Nov ($6,540 to $7,310), $1,900 over; the limit is reached about Sun 22 Nov."
CHANGE = (
    "Up $1,152 (40.2%) on 1-17 Oct 2026: claude-opus-4-8 +$1,100 (mostly output tokens), claude-haiku-5-5 +$90 (new), "
    "web search -$60; by workspace: Agents +$800."
)
CAUSES = (
    "Why: 12% more tokens +$343, dearer mix of models +$700, dearer mix of token types +$140, "
    "cheaper tiers and regions -$71, costs that are not by the token +$40."
)


def read(
    facts: Facts = WHOLE, face: Face = Face.RICH, flavour: Flavour = Flavour.TEXT, status: str = STATUS
) -> Message:
    return render(Delivery("dlv_1", "team", (notice(facts),), NOW, NOW, face=face), NOW, flavour, status)


# --- each face -------------------------------------------------------------------------------------


def test_a_text_says_it_in_sentences_before_the_figures() -> None:
    message = read()
    assert message.title.endswith("November 2026 budget ($4,012.37 of $5,000), on course for $6,900")
    before, figures = message.body.split("\n\n")[:2]
    assert before.splitlines()[1:] == [COURSE, CHANGE, CAUSES]
    assert figures.splitlines()[-2:] == [
        "Daily    8 Nov ▁▁▂▁▄▃█▁▅ 16 Nov",
        "         highest $320 on 14 Nov, last $208",
    ]
    assert f"Status page: {STATUS}\n" in message.body
    assert "Status page" not in read(status="").body


def test_the_plain_face_says_all_of_it_too() -> None:
    body = read(face=Face.PLAIN).body.splitlines()
    assert [*body[1:4], body[6]] == [
        *(COURSE, CHANGE, CAUSES),
        "Daily: 8 Nov ▁▁▂▁▄▃█▁▅ 16 Nov, highest $320 on 14 Nov, last $208",
    ]


def test_the_minimal_face_is_ascii_and_has_the_forecast() -> None:
    body = read(face=Face.MINIMAL).body
    assert body.isascii()
    assert len(body) <= 160
    assert body.endswith("($4,012.37 of $5,000), on course for $6,900 (billed, to 18 Nov 14:00 UTC)")


def test_slack_shows_the_forecast_under_the_bar_and_the_days_in_small() -> None:
    post = slack.post(read(flavour=Flavour.SLACK))
    texts = [each["text"] for block in post["blocks"] for each in block.get("elements", [block.get("text")]) if each]
    shown = [text if isinstance(text, str) else text["text"] for text in texts]
    assert shown[1] == f"`████████████████░░░░` *80.2%*  ·  *$4,012.37* of $5,000\n{COURSE}"
    assert shown[2].endswith(f"\n{CHANGE}\n{CAUSES}")
    assert shown[3].endswith(f"|Open the cost report>  ·  <{html.escape(STATUS)}|Status page>")
    assert shown[4] == "Daily: 8 Nov `▁▁▂▁▄▃█▁▅` 16 Nov, highest $320 on 14 Nov, last $208"
    bare = slack.post(read(face=Face.PLAIN, flavour=Flavour.SLACK))
    assert html.escape(STATUS) in bare["text"]  # and not made harmless, as other addresses are


def test_a_mail_draws_the_days_without_pictures_and_says_them() -> None:
    page = mail.letter(read(), NOW).html
    assert "Highest $320 on 14 Nov, last $208." in page
    heights = re.findall(r'<td height="(\d+)" bgcolor', page)
    assert [int(height) for height in heights] == [1, 5, 11, 2, 22, 13, 44, 1, 28]
    assert f'href="{html.escape(STATUS)}"' in page
    assert html.escape(COURSE) in page


def test_pagerduty_has_sentences_for_people_and_figures_for_programs() -> None:
    event = trigger(read(), Target("key"))
    details = event["payload"]["custom_details"]
    assert (details["outlook"], details["what_changed"]) == (COURSE, f"{CHANGE} {CAUSES}")
    assert (details["forecast_usd"], details["forecast_low_usd"]) == ("6903.22", "6540.10")
    assert details["limit_reached_on"] == "2026-11-22"
    assert event["links"][-1] == {"href": STATUS, "text": "Status page"}


def test_the_webhook_has_all_of_it_by_its_schema() -> None:
    data = read().data
    schema = json.loads((resources.files("budgetd") / "webhook.schema.json").read_text())
    jsonschema.validate(data, schema)
    inner = data["data"]
    assert inner["links"]["status"] == STATUS
    assert inner["history"]["amounts"][-1] == "208.10"
    parts = [Decimal(cause["amount"]) for cause in inner["increase"]["causes"]]
    assert sum(parts) == Decimal(inner["increase"]["after"]) - Decimal(inner["increase"]["before"])


def test_facts_are_kept_whole_and_those_of_older_versions_are_read() -> None:
    kept = records.facts_text(WHOLE)
    assert records.facts(kept) == WHOLE
    older = {key: text for key, text in json.loads(kept).items() if key not in ("forecast", "history", "increase")}
    assert records.facts(json.dumps(older)) == FACTS


# --- the words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "high", "spent", "reached", "ending"),
    [
        ("4400", "4600", "4000", None, "($4,200 to $4,600), within $5,000."),
        ("4900", "5200", "4000", None, "($4,200 to $5,200), within $5,000, if only just."),
        ("6100", "6300", "5205.50", None, "($4,200 to $6,300), $1,100 over."),
        ("5010", "5200", "4000", date(2026, 11, 30), "$10 over; the limit is reached about Mon 30 Nov."),
        ("4200", "4200", "4000", None, "by 30 Nov, within $5,000."),
    ],
)
def test_a_forecast_says_on_which_side_of_the_limit_it_ends(
    expected: str, high: str, spent: str, reached: date | None, ending: str
) -> None:
    found = Forecast(Decimal(expected), Decimal(4200), Decimal(high), reached)
    told = trend.foreseen(replace(FACTS, amount=Decimal(spent), forecast=found))
    assert told.startswith(f"On course for about ${int(expected):,} by 30 Nov")
    assert told.endswith(ending)


def test_a_spike_does_not_say_the_difference_twice() -> None:
    said = trend.changed(replace(SPIKE, increase=replace(INCREASE, against="the day before")))
    assert said[0].startswith("Most of the change: claude-opus-4-8 +$1,100")
    assert trend.changed(replace(SPIKE, increase=replace(INCREASE, before=Decimal(0), causes=()))) == ()


def test_what_a_change_is_called() -> None:
    def first(**more: object) -> str:
        return trend.changed(replace(FACTS, increase=replace(INCREASE, movers=(), causes=(), **more)))[0]  # type: ignore[arg-type]

    assert first(after=Decimal("2000.11")) == "Down $860 (30%) on 1-17 Oct 2026."
    assert first(closed=False) == "Already up $1,152 (40.2%) on 1-17 Oct 2026."
    assert first(before=Decimal(0)) == "Nothing was spent on 1-17 Oct 2026."
    assert first(after=Decimal("2860.113")) == "As much as on 1-17 Oct 2026."
    assert first(before=Decimal(-3), after=Decimal(5)) == "Up $8.00 on 1-17 Oct 2026."


def test_no_sentence_without_facts() -> None:
    for facts in (FACTS, RATE, Facts("Acme", "", "")):
        assert (trend.on_course(facts), trend.foreseen(facts), trend.changed(facts)) == ("", "", ())
        assert trend.last_days(facts.history) is None


# --- the row of blocks -----------------------------------------------------------------------------


def test_a_day_that_is_not_known_is_a_gap_and_counted() -> None:
    days = trend.last_days(History(date(2026, 11, 1), (None, Decimal(1), None, Decimal(0), Decimal(8), None)))
    assert days is not None
    assert days.line == "2 Nov ▁·▁█· 6 Nov"
    assert days.words == "highest $8.00 on 5 Nov, last not known, 2 days not known"


@pytest.mark.parametrize("amounts", [(), (None,) * 31, ("1", "2"), ("0", "0", "0"), ("-1", "-2", "-3")])
def test_days_that_show_nothing_are_not_shown(amounts: tuple[str | None, ...]) -> None:
    history = History(date(2026, 11, 1), tuple(None if each is None else Decimal(each) for each in amounts))
    assert trend.last_days(history) is None


AMOUNTS = st.decimals(-(10**9), 10**12, places=6)


@given(st.lists(st.none() | AMOUNTS, max_size=31))
def test_there_is_a_block_for_each_day_and_a_full_one_only_for_the_highest(amounts: list[Decimal | None]) -> None:
    days = trend.last_days(History(date(2026, 10, 18), tuple(amounts)))
    if days is not None:
        assert len(days.blocks) == len(days.amounts) <= trend.SHOWN_DAYS
        assert days.highest > 0
        full = {amount for amount, block in zip(days.amounts, days.blocks, strict=True) if block == "█"}
        assert full == {days.highest}
        assert "\n" not in days.line + days.words


NASTY = st.text(max_size=80) | st.sampled_from(["<!channel>", "a\r\nBcc: x", "`*_~", "<b>x</b>", "\x00", "‮", "\ud800"])


@given(NASTY, AMOUNTS, AMOUNTS, AMOUNTS)
def test_no_name_or_number_breaks_a_face(name: str, before: Decimal, after: Decimal, part: Decimal) -> None:
    movers = tuple(Mover(dimension, name, before, after, name) for dimension in ("model", "workspace", "token_type"))
    causes = ((Cause.VOLUME, part), (Cause.OTHER, subtract(subtract(after, before), part)))
    facts = replace(
        WHOLE,
        increase=Increase(name, before, after, True, movers, causes, Decimal("0.5")),
        forecast=Forecast(after, before, part),
        history=History(date(2026, 11, 1), (before, after, part)),
    )
    for face in Face:
        message = read(facts, face, Flavour.SLACK)
        assert json.dumps(slack.post(message)).isascii()
        assert "<!channel>" not in message.body
        shown = read(facts, face)
        assert not any(ord(letter) < 32 and letter != "\n" for letter in shown.body)
        assert shown.face is face
    page = mail.letter(read(facts), NOW).html
    assert "<b>x" not in page
    assert "Where it went" in page
