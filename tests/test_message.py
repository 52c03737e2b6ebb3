"""What people read: good words for every reason, and no name that can do harm."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from budgetd import escaping, wording
from budgetd.message import BODY_LIMIT, MINIMAL_LIMIT, Flavour, Message, render, render_safely
from budgetd.model import (
    DEFAULT_WORKSPACE,
    Basis,
    Comparison,
    Contributor,
    Delivery,
    Face,
    Facts,
    Kind,
    Label,
    Notice,
    Pace,
    Reason,
    Severity,
)
from budgetd.period import Period

NOW = datetime(2026, 11, 18, 14, 6, tzinfo=UTC)
NOVEMBER = Period(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
TODAY = Period(datetime(2026, 11, 18, tzinfo=UTC), datetime(2026, 11, 19, tzinfo=UTC))
RESEARCH = Label("workspace", "wrkspc_01AbCd", "Research")
FACTS = Facts(
    organisation="Acme",
    rule="each-workspace",
    rule_type="cap",
    scope=(RESEARCH,),
    period=NOVEMBER,
    period_kind="month",
    amount=Decimal("4012.37"),
    limit=Decimal(5000),
    step=Decimal("0.8"),
    skipped=(Decimal("0.5"), Decimal("0.7")),
    data_through=datetime(2026, 11, 18, 14, 0, tzinfo=UTC),
    contributors=(
        Contributor("claude-opus-4-8", "output_tokens", Decimal("2610.22")),
        Contributor("claude-opus-4-8", "uncached_input_tokens", Decimal("640.05")),
        Contributor(None, "web_search", Decimal("402.90")),
    ),
)
SPIKE = replace(
    FACTS,
    rule="jumps",
    rule_type="spike",
    period=TODAY,
    period_kind="day",
    amount=Decimal(384),
    limit=Decimal(240),
    step=Decimal(1),
    skipped=(),
    comparison=Comparison("the day before", Decimal(120), Decimal(2)),
    contributors=(),
)
RATE = replace(
    FACTS,
    rule="runaway",
    rule_type="rate",
    period=Period(datetime(2026, 11, 18, 13, 45, tzinfo=UTC), datetime(2026, 11, 18, 14, 0, tzinfo=UTC)),
    period_kind="window",
    amount=Decimal("412.50"),
    limit=Decimal(150),
    step=Decimal(2),
    skipped=(Decimal(1),),
    pace=Pace(datetime(2026, 11, 18, 13, 38, tzinfo=UTC), Decimal("3950.10"), Decimal(61000)),
    contributors=(Contributor("claude-opus-4-8", "output_tokens", Decimal("400.10")),),
)
OVER = replace(FACTS, amount=Decimal("5205.5"), step=Decimal(1), skipped=(Decimal("0.8"),))
SAID = [
    Reason.STEP_REACHED,
    Reason.REMINDER,
    Reason.ACKNOWLEDGED,
    Reason.BASELINE,
    Reason.LATE,
    Reason.LIMIT_LOWERED,
    Reason.RESTATED,
    Reason.SLOWED_DOWN,
    Reason.PERIOD_OVER,
    Reason.LIMIT_RAISED,
    Reason.RULE_REMOVED,
    Reason.WORKSPACE_ARCHIVED,
    Reason.BY_HAND,
    Reason.BLIND,
    Reason.REFUSED,
    Reason.RECOVERED,
    Reason.UNDELIVERABLE,
    Reason.RELOAD_FAILED,
    Reason.STATE_RESTORED,
    Reason.STATE_IN_MEMORY,
    Reason.STATE_WRITTEN_AGAIN,
    Reason.DRIFT,
    Reason.UNPRICED,
    Reason.CONTRACT_DRIFT,
    Reason.TEST,
    Reason.DIGEST,
    Reason.TEMPLATE_FAILED,
    Reason.CHANNEL_MOVED,
]
NOT_SAID = [
    Reason.ALREADY_ANNOUNCED,
    Reason.BELOW_FIRST_STEP,
    Reason.WITHIN_MARGIN,
    Reason.SECOND_POLL_AWAITED,
    Reason.INCOMPLETE_DATA,
    Reason.LIMIT_RAISED_STILL_OVER,
    Reason.OVER,
]


def notice(
    facts: Facts = FACTS,
    reason: Reason = Reason.STEP_REACHED,
    kind: Kind = Kind.TRIGGER,
    severity: Severity = Severity.WARNING,
    id: str = "ntc_1",
    created_at: datetime = NOW,
) -> Notice:
    return Notice(id, "inc_1", 1, kind, reason, severity, created_at, facts)


def read(*notices: Notice, face: Face = Face.RICH, flavour: Flavour = Flavour.TEXT, now: datetime = NOW) -> Message:
    return render(Delivery("dlv_1", "team", notices, NOW, NOW, face=face), now, flavour)


# --- one notice --------------------------------------------------------------------------------


def test_a_step_reads_well_from_the_first_word() -> None:
    message = read(notice())
    assert message.title == "Research has used 80.2% of its November 2026 budget ($4,012.37 of $5,000)"
    assert message.body == (
        "Warning: $987.63 of the $5,000.00 for November 2026 is left. "
        "The 80% step is reached (50% and 70% passed on the way).\n"
        "\n"
        "Spent    $4,012.37 of $5,000.00 (80.2%)\n"
        "Period   November 2026 (UTC days)\n"
        "Account  Acme\n"
        "\n"
        "Top contributors\n"
        "  claude-opus-4-8  output tokens          $2,610.22    65%\n"
        "  claude-opus-4-8  uncached input tokens    $640.05  15.9%\n"
        "  web search                                $402.90    10%\n"
        "  everything else                           $359.20   8.9%\n"
        "\n"
        "Data through 18 Nov 2026 14:00 UTC, billed. Priority Tier, credits and taxes are not included.\n"
        "Cost report: https://platform.claude.com/usage/cost\n"
        "\n"
        "Acknowledge: budgetd ack inc_1  ·  Silence: budgetd silence add --incident inc_1 --for 4h\n"
        "For good: edit or remove rule each-workspace in the rules file, or add an exception to it, "
        "except: {workspace: [Research]}, then reload.\n"
        "Rule each-workspace, incident inc_1, alert dlv_1.\n"
        "Decided 18 Nov 2026 14:06 UTC, sent 18 Nov 2026 14:06 UTC."
    )


@pytest.mark.parametrize(
    ("reason", "kind", "title"),
    [
        (Reason.BASELINE, Kind.INFORM, "From before budgetd watched: Research has used 80.2% of its November 2026"),
        (Reason.LATE, Kind.INFORM, "Late report: Research used 80.2% of its November 2026 budget ($4,012.37"),
        (Reason.LIMIT_LOWERED, Kind.TRIGGER, "Limit lowered: Research has used 80.2% of its November 2026 budget"),
        (Reason.RESTATED, Kind.RESOLVE, "Resolved, figures corrected: Research has used 80.2% of its"),
        (Reason.RESTATED, Kind.INFORM, "Figures corrected: Research has used 80.2% of its November 2026"),
        (Reason.PERIOD_OVER, Kind.RESOLVE, "Ended: Research used 80.2% of its November 2026 budget"),
        (Reason.LIMIT_RAISED, Kind.RESOLVE, "Resolved, limit raised: Research has used 80.2% of its"),
        (Reason.RULE_REMOVED, Kind.RESOLVE, "Resolved, rule removed: Research has used 80.2%"),
        (Reason.WORKSPACE_ARCHIVED, Kind.RESOLVE, "Resolved, workspace archived: Research has used 80.2%"),
        (Reason.BY_HAND, Kind.RESOLVE, "Resolved by hand: Research has used 80.2%"),
        (Reason.REMINDER, Kind.TRIGGER, "Still so: Research has used 80.2%"),
        (Reason.ACKNOWLEDGED, Kind.ACKNOWLEDGE, "Acknowledged: Research has used 80.2%"),
        (Reason.BLIND, Kind.TRIGGER, "budgetd cannot see spend since 18 Nov 2026 14:00 UTC"),
        (Reason.REFUSED, Kind.TRIGGER, "budgetd's admin key was refused: spend is not being watched"),
        (Reason.RECOVERED, Kind.RESOLVE, "budgetd sees spend again"),
        (Reason.UNDELIVERABLE, Kind.TRIGGER, "An alert could not be delivered"),
        (Reason.RELOAD_FAILED, Kind.TRIGGER, "The new rules file was refused: the old rules stay in force"),
        (Reason.STATE_RESTORED, Kind.INFORM, "budgetd's state was damaged and had to be restored"),
        (Reason.STATE_IN_MEMORY, Kind.INFORM, "budgetd's state cannot be written and is kept in memory"),
        (Reason.STATE_WRITTEN_AGAIN, Kind.INFORM, "budgetd's state is written to its file again"),
        (Reason.DRIFT, Kind.INFORM, "A day's bill is far from its estimate"),
        (Reason.UNPRICED, Kind.INFORM, "Some tokens have no known price"),
        (Reason.CONTRACT_DRIFT, Kind.INFORM, "The API's answers are not quite what budgetd knows"),
        (Reason.TEST, Kind.INFORM, "Test message from budgetd"),
        (Reason.DIGEST, Kind.INFORM, "A look back at spend"),
        (Reason.TEMPLATE_FAILED, Kind.INFORM, "A template of the rules file does not work"),
        (Reason.CHANNEL_MOVED, Kind.INFORM, "Alerts may stay open at an old address"),
    ],
)
def test_every_reason_has_its_own_title_and_says_why(reason: Reason, kind: Kind, title: str) -> None:
    message = read(notice(reason=reason, kind=kind))
    assert message.title.startswith(title)
    assert wording.why(notice(reason=reason)) in message.body
    assert wording.why(notice(reason=reason))
    first = {Kind.RESOLVE: "Resolved: ", Kind.ACKNOWLEDGE: "Acknowledged: "}.get(kind, "Warning: ")
    assert message.body.startswith(first)


def test_all_reasons_that_can_be_said_differ() -> None:
    assert {*SAID, *NOT_SAID} == set(Reason)
    assert len({wording.title(notice(reason=reason)) for reason in SAID}) == len(SAID)
    assert len({wording.why(notice(reason=reason)) for reason in SAID}) == len(SAID)


@pytest.mark.parametrize(
    ("facts", "title"),
    [
        (OVER, "Research is over its November 2026 budget: 104.1% used ($5,205.50 of $5,000)"),
        (replace(FACTS, amount=Decimal("4999.99")), "Research has used 99.9% of its November 2026 budget"),
        (replace(FACTS, complete=False), "Research has used at least 80.2% of its November 2026 budget"),
        (replace(FACTS, scope=()), "each-workspace has used 80.2% of its November 2026 budget"),
        (
            replace(FACTS, scope=(Label("workspace", DEFAULT_WORKSPACE, "Default"),)),
            "Default workspace has used 80.2% of its November 2026 budget",
        ),
        (
            replace(FACTS, scope=(RESEARCH, Label("model", "claude-opus-4-8", "claude-opus-4-8"))),
            "Research / claude-opus-4-8 has used 80.2% of its November 2026 budget",
        ),
        (
            replace(FACTS, period=Period(NOVEMBER.start, datetime(2026, 11, 8, tzinfo=UTC)), period_kind="last"),
            "Research has used 80.2% of its budget for 1-7 Nov 2026 ($4,012.37 of $5,000)",
        ),
        (RATE, "Research is spending $412.50 an hour since 13:38 UTC, 2.7x its limit of $150"),
        (
            replace(RATE, amount=Decimal("149.99"), limit=Decimal(150), step=Decimal("0.8")),
            "Research is spending $149.99 an hour, 99.9% of its limit of $150",
        ),
        (replace(RATE, pace=None), "Research is spending $412.50 an hour, 2.7x its limit of $150"),
        (SPIKE, "Research spent $384.00 on 18 Nov 2026, 3.2x the day before ($120.00)"),
        (
            replace(SPIKE, comparison=Comparison("the day before", Decimal(0), Decimal(2))),
            "Research spent $384.00 on 18 Nov 2026, up from $0.00 (the day before)",
        ),
        (replace(FACTS, limit=Decimal(0)), "Research spent $4,012.37 in November 2026"),
        (replace(FACTS, amount=None, limit=None), "Research, November 2026 budget"),
    ],
)
def test_titles_say_what_how_much_of_what(facts: Facts, title: str) -> None:
    assert read(notice(facts)).title.startswith(title)


@pytest.mark.parametrize(
    ("facts", "reason", "kind", "lead"),
    [
        (OVER, Reason.STEP_REACHED, Kind.TRIGGER, "Critical: $205.50 over the $5,000.00 for November 2026."),
        (
            replace(FACTS, amount=Decimal(5000)),
            Reason.STEP_REACHED,
            Kind.TRIGGER,
            "Critical: all of the $5,000.00 for November 2026 is spent.",
        ),
        (SPIKE, Reason.STEP_REACHED, Kind.TRIGGER, "Critical: $264.00 more than the day before."),
        (FACTS, Reason.PERIOD_OVER, Kind.RESOLVE, "Resolved: $987.63 of the $5,000.00 for November 2026 was left."),
        (
            Facts("Acme", "", "", text="no cost data: the service\nanswers 503"),
            Reason.BLIND,
            Kind.TRIGGER,
            "Critical: no cost data: the service answers 503. No alert is resolved",
        ),
    ],
)
def test_the_first_sentence_has_the_severity_and_the_money(facts: Facts, reason: Reason, kind: Kind, lead: str) -> None:
    assert read(notice(facts, reason, kind, Severity.CRITICAL)).body.startswith(lead)


def test_a_meta_notice_without_figures_shows_no_empty_parts() -> None:
    message = read(notice(Facts("Acme", "", ""), Reason.TEST, Kind.INFORM, Severity.INFO))
    assert message.body == (
        "Nothing is wrong: somebody asked for a test message.\n"
        "\n"
        "Cost report: https://platform.claude.com/usage/cost\n"
        "\n"
        "Incident inc_1, alert dlv_1.\n"
        "Decided 18 Nov 2026 14:06 UTC, sent 18 Nov 2026 14:06 UTC."
    )


def test_blindness_shows_no_budget() -> None:
    facts = Facts(
        "Acme", "budgetd:blind", "blind", (Label("source", "cost_report", "cost report"),), TODAY, text="HTTP 503"
    )
    body = read(notice(replace(facts, data_through=NOW), Reason.BLIND)).body
    assert body.startswith("Warning: HTTP 503. No alert is resolved")
    assert not [word for word in ("budgetd:blind", "Period", "Spent", "Data through") if word in body]


@pytest.mark.parametrize(
    ("basis", "words"),
    [(Basis.BILLED, ", billed."), (Basis.ESTIMATED, ", estimated."), (Basis.MIXED, ", billed and estimated.")],
)
def test_each_figure_says_what_it_rests_on(basis: Basis, words: str) -> None:
    for face in (Face.RICH, Face.PLAIN):
        body = read(notice(replace(FACTS, basis=basis)), face=face).body
        assert f"Data through 18 Nov 2026 14:00 UTC{words}" in body
        assert ("code execution and sessions come with the bill" in body) == (basis is not Basis.BILLED)


@pytest.mark.parametrize(
    ("late", "words"),
    [
        (timedelta(minutes=31), "31 minutes"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(hours=47), "1 day"),
        (timedelta(days=3), "3 days"),
    ],
)
def test_fault_126_a_late_message_says_how_late(late: timedelta, words: str) -> None:
    message = read(notice(), now=NOW + late)
    assert message.title.startswith(f"Late ({words}): Research has used")
    assert message.body.startswith(f"Late: decided {words} ago, 18 Nov 2026 14:06 UTC.\n")


def test_a_message_in_time_says_nothing_of_late() -> None:
    assert "Late" not in read(notice(), now=NOW + timedelta(minutes=30)).title


def test_what_is_left_of_the_contributors_is_one_line() -> None:
    many = tuple(Contributor(f"model-{n}", "output_tokens", Decimal(100)) for n in range(9))
    body = read(notice(replace(FACTS, amount=Decimal(1000), contributors=many))).body
    assert "model-4" in body
    assert "model-5" not in body
    assert re.search(r"everything else +\$500\.00 +50%", body)


def test_only_a_trigger_of_a_rule_says_how_to_silence_it() -> None:
    commands = "budgetd ack inc_1", "budgetd silence add --incident inc_1 --for 4h"
    assert all(command in read(notice()).body for command in commands)
    resolved = notice(kind=Kind.RESOLVE, reason=Reason.LIMIT_RAISED)
    for quiet in (resolved, notice(Facts("Acme", "", ""), Reason.BLIND)):
        assert not any(word in read(quiet).body for word in (*commands, "For good"))
    pattern = Label("model", "claude-opus-*", "claude-opus-*")
    assert "except" not in wording.for_good(replace(FACTS, scope=(pattern,)))
    assert 'except: {workspace: ["no: [x]"]}' in wording.for_good(
        replace(FACTS, scope=(Label("workspace", "wrkspc_1", "no: [x]"),))
    )


# --- faces -------------------------------------------------------------------------------------


def test_the_plain_face_is_a_sentence_and_the_key_lines() -> None:
    assert read(notice(), face=Face.PLAIN).body == (
        "Warning: $987.63 of the $5,000.00 for November 2026 is left. "
        "The 80% step is reached (50% and 70% passed on the way).\n"
        "Spent $4,012.37 of $5,000.00 (80.2%)\n"
        "Most of it: claude-opus-4-8 output tokens $2,610.22 65%\n"
        "Data through 18 Nov 2026 14:00 UTC, billed. Priority Tier, credits and taxes are not included.\n"
        "Rule each-workspace. https://platform.claude.com/usage/cost"
    )


def test_the_minimal_face_is_one_short_line() -> None:
    message = read(notice(), notice(id="ntc_2"), face=Face.MINIMAL)
    assert message.title == "budgetd"
    assert message.body == (
        "budgetd WARNING: Research has used 80.2% of its November 2026 budget ($4,012.37 of $5,000) (+1 more)"
        " (billed, to 18 Nov 14:00 UTC)"
    )


# --- several notices ---------------------------------------------------------------------------


def workspace(number: int, amount: int, **changes: object) -> Notice:
    facts = replace(FACTS, scope=(Label("workspace", f"w{number}", f"Team {number}"),), amount=Decimal(amount))
    return replace(notice(facts, id=f"ntc_{number:04}"), **changes)  # type: ignore[arg-type]


def test_several_notices_are_one_message_worst_first_ten_lines_and_a_count() -> None:
    notices = [workspace(n, 4000 + n) for n in range(46)] + [workspace(99, 4000, severity=Severity.CRITICAL)]
    message = read(*notices)
    assert message.title == (
        "47 budget alerts, worst: Team 99 has used 80% of its November 2026 budget ($4,000.00 of $5,000)"
    )
    lines = message.body.splitlines()
    assert lines[0] == "- Critical: Team 99 has used 80% of its November 2026 budget ($4,000.00 of $5,000)"
    assert lines[1].startswith("- Warning: Team 45 has used")
    assert lines[9].startswith("- Warning: Team 37 has used")
    assert lines[10] == "and 37 more; budgetd alerts lists them all."
    assert message.severity is Severity.CRITICAL


def test_a_first_run_is_one_summary() -> None:
    over = [workspace(n, 6000, reason=Reason.BASELINE, kind=Kind.INFORM) for n in range(3)]
    assert read(*over).title == "budgetd starts watching: 3 limits are already over"
    near = [workspace(n, 4100, reason=Reason.BASELINE, kind=Kind.INFORM) for n in range(3)]
    message = read(*near)
    assert message.title == "budgetd starts watching: 3 limits are already past a step"
    assert message.kind is Kind.INFORM


def test_missed_periods_are_one_line_for_each_incident() -> None:
    message = read(*[workspace(n, 6000, reason=Reason.LATE, kind=Kind.INFORM) for n in range(4)])
    assert message.title == "Late report: 4 limits were reached while budgetd was not watching"
    assert len([line for line in message.body.splitlines() if line.startswith("- ")]) == 4


def test_resolves_together_read_as_resolved() -> None:
    message = read(*[workspace(n, 6000, reason=Reason.LIMIT_RAISED, kind=Kind.RESOLVE) for n in range(2)])
    assert message.title.startswith("2 budget alerts resolved, first: Resolved, limit raised: Team 0")
    assert message.kind is Kind.RESOLVE
    assert "- Resolved: " in message.body


@pytest.mark.parametrize(
    ("kinds", "kind"),
    [
        ([Kind.RESOLVE, Kind.TRIGGER], Kind.TRIGGER),
        ([Kind.RESOLVE, Kind.INFORM], Kind.INFORM),
        ([Kind.RESOLVE, Kind.RESOLVE], Kind.RESOLVE),
    ],
)
def test_the_kind_of_several_is_the_one_that_matters_most(kinds: list[Kind], kind: Kind) -> None:
    assert read(*[workspace(n, 4000, kind=each) for n, each in enumerate(kinds)]).kind is kind


# --- the machine's form ------------------------------------------------------------------------


def test_the_data_has_the_webhooks_fields_with_decimal_strings() -> None:
    data = json.loads(json.dumps(read(notice()).data))
    assert data["type"] == "budget.cap.firing"
    assert data["timestamp"] == "2026-11-18T14:06:00Z"
    inner = data["data"]
    assert inner["id"] == "dlv_1"
    assert (inner["incident"], inner["state"], inner["reason"]) == ("inc_1", "firing", "step_reached")
    assert inner["scope"]["name"] == "Research"
    assert inner["period"] == {"kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z"}
    assert inner["step"] == {"reached": "0.8", "skipped": ["0.5", "0.7"]}
    assert inner["money"] == {
        "currency": "USD",
        "per": None,
        "budget": "5000.00",
        "spent": "4012.37",
        "remaining": "987.63",
        "spent_ratio": "0.8024",
        "basis": "billed",
        "complete": True,
    }
    assert inner["contributors"][0] == {
        "model": "claude-opus-4-8",
        "token_type": "output_tokens",
        "amount": "2610.22",
        "share": "0.6505",
    }
    assert inner["data_through"] == "2026-11-18T14:00:00Z"
    assert inner["links"] == {"report": "https://platform.claude.com/usage/cost", "status": None}
    assert (inner["forecast"], inner["increase"], inner["history"]) == (None, None, None)


def test_the_data_of_a_spike_and_of_a_meta_notice() -> None:
    assert read(notice(SPIKE)).data["data"]["comparison"] == {
        "against": "the day before",
        "baseline": "120.00",
        "factor": "2",
        "ratio": "3.2000",
    }
    blind = read(notice(Facts("Acme", "", "", text="no data"), Reason.BLIND)).data
    assert (blind["type"], blind["data"]["money"], blind["data"]["text"]) == ("budgetd.blind", None, "no data")


def test_the_data_of_a_rate() -> None:
    inner = read(notice(RATE)).data["data"]
    assert inner["pace"] == {"since": "2026-11-18T13:38:00Z", "by_midnight": "3950.10", "by_month_end": "61000.00"}
    assert (inner["money"]["per"], inner["money"]["spent"], inner["money"]["budget"]) == ("hour", "412.50", "150.00")
    assert read(notice()).data["data"]["pace"] is None


def test_the_data_of_several_counts_what_it_leaves_out() -> None:
    data = read(*[workspace(n, 4000) for n in range(130)]).data["data"]
    assert (data["id"], data["count"], len(data["alerts"]), data["omitted"]) == ("dlv_1", 130, 100, 30)


def test_the_id_does_not_change_with_time_face_or_flavour() -> None:
    messages = [
        read(notice(), face=face, flavour=flavour, now=NOW + timedelta(days=days))
        for face in Face
        for flavour in Flavour
        for days in (0, 2)
    ]
    assert {message.id for message in messages} == {message.data["data"]["id"] for message in messages} == {"dlv_1"}


# --- hostile names -----------------------------------------------------------------------------

HOSTILE = [
    "Re\r\nBcc: thief@example.com",
    "<!channel> <!here> <@U012AB3CD> <http://evil.example|click>",
    "*bold* _it_ ~no~ `code` ```",
    "<script>alert(1)</script> & \" '",
    "\u202egnp.exe \u200b\u2066\ufeff\x00\x1b[31m\x7f\x85\u2028",
    "\ud800 lone",
    "x" * 10_000,
    "&" * 10_000,
    "\u202e" * 10_000,
    "\u3164\u2800",
    "",
]
names = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(alphabet=st.characters(codec=None), max_size=80),
    st.text(alphabet="<>&*_~`@!|#\r\n\x00\u202e\ud800 a", max_size=300),
)


def hostile(name: str, second: str) -> Facts:
    return replace(
        FACTS,
        organisation=second,
        rule=name or "r",
        scope=(Label("workspace", name, name), Label("model", second, second)),
        contributors=tuple(Contributor(name, second, Decimal(n)) for n in range(1, 9)),
        text=name * 3,
        comparison=Comparison(second, Decimal(3), Decimal(2)) if len(name) % 2 else None,
    )


def unseen(text: str) -> list[str]:
    return [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@given(names, names, st.sampled_from(Face), st.sampled_from(Flavour), st.sampled_from(SAID), st.integers(1, 30))
@example(HOSTILE[7], HOSTILE[7], Face.RICH, Flavour.SLACK, Reason.STEP_REACHED, 1)
@example(HOSTILE[8], HOSTILE[8], Face.RICH, Flavour.HTML, Reason.STEP_REACHED, 30)
def test_faults_116_118_120_no_name_breaks_a_message(
    first: str, second: str, face: Face, flavour: Flavour, reason: Reason, count: int
) -> None:
    notices = [notice(hostile(first, second), reason, id=f"n{n}") for n in range(count)]
    message = read(*notices, face=face, flavour=flavour)
    assert 0 < len(message.title) <= wording.TITLE_LIMIT
    assert 0 < len(message.body) <= BODY_LIMIT
    assert not unseen(message.title) + unseen(message.body)
    assert "\n" not in message.title
    message.body.encode()
    json.dumps(message.data, ensure_ascii=False, allow_nan=False).encode()
    if flavour is Flavour.SLACK:
        assert not set("<>*~") & set(message.body)
        assert not re.search(r"&(?!amp;|lt;|gt;)", message.body)
        assert message.body.count("```") % 2 == 0
        assert message.body.count("`") == message.body.count("```") * 3
    if flavour is Flavour.HTML:
        assert set(re.findall(r"<[^>]*>", message.body)) <= {"<p>", "</p>", "<pre>", "</pre>", "<br>"}
    if face is Face.MINIMAL:
        plain = re.sub(r"</?p>", "", html.unescape(message.body))
        assert len(plain) <= MINIMAL_LIMIT
        assert plain.isascii() or flavour is Flavour.SLACK


@given(names)
def test_escaping_is_stable_and_harmless(name: str) -> None:
    safe = escaping.for_text(name)
    assert escaping.for_text(safe) == safe
    assert not unseen(safe)
    assert "\n" not in safe
    assert not set("<>*~`") & set(escaping.for_slack(name))
    assert not set("<>\"'") & set(escaping.for_html(name))
    assert escaping.for_ascii(name).isascii()
    assert 0 < len(escaping.name(name)) <= 60


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Research", "Research"),
        ("研究 Zürich 🚀", "研究 Zürich 🚀"),
        ("a\u202eb", r"a\u202eb"),
        ("a\x00\r\n", r"a\u0000\u000d\u000a"),
        ("\ud800", r"\ud800"),
        ("a\u3164\u2800\ufe0f", r"a\u3164\u2800\ufe0f"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_fault_120_what_cannot_be_seen_is_shown(text: str, shown: str) -> None:
    assert escaping.for_text(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<!channel>", "&lt;!channel&gt;"),
        ("<@U012> <http://e.example|x>", "&lt;@U012&gt; &lt;http://e.example|x&gt;"),
        ("*a* ~b~ `c`", "∗a∗ ∼b∼ ˋcˋ"),
        ("_x_ team_alpha", "＿x＿ team_alpha"),
        ("R&D", "R&amp;D"),
    ],
)
def test_fault_118_slack_finds_nothing_to_act_on(text: str, shown: str) -> None:
    assert escaping.for_slack(text) == shown


@pytest.mark.parametrize("name", ["@everyone", "<@123>", "<@&55>", "(@here)", "@all @channel"])
@pytest.mark.parametrize("flavour", list(Flavour))
def test_fault_118_a_name_mentions_nobody(name: str, flavour: Flavour) -> None:
    for face in Face:
        message = read(notice(replace(FACTS, scope=(Label("workspace", "w", name),))), face=face, flavour=flavour)
        assert not re.search(r"(?<!\w)@[\w!&]", message.title + html.unescape(message.body))
    assert escaping.without_mentions("finance@example.com") == "finance@example.com"


def test_a_cut_name_says_how_long_it_is() -> None:
    assert escaping.name("x" * 10_000) == "x" * 39 + "… (10,000 characters)"
    assert escaping.name("x" * 60) == "x" * 60


def test_fault_116_lines_that_do_not_fit_are_counted() -> None:
    notices = [workspace(n, 4000) for n in range(12)]
    long = [
        replace(each, facts=replace(each.facts, scope=(Label("workspace", "w", "&" * 60),) * 3)) for each in notices
    ]
    message = read(*long, flavour=Flavour.SLACK)
    assert len(message.body) <= BODY_LIMIT
    assert re.search(r"… and \d+ more lines?$", message.body)


# --- rendering that breaks ---------------------------------------------------------------------


def test_fault_121_a_broken_notice_still_goes_out_simpler_or_as_a_plain_line() -> None:
    broken_contributor = replace(FACTS, contributors=(Contributor("m", "t", Decimal("NaN")),))
    nothing_right = replace(FACTS, amount="not money", scope=None)  # type: ignore[arg-type]
    for facts in (broken_contributor, nothing_right):
        for flavour in Flavour:
            delivery = Delivery("dlv_1", "team", (notice(facts),), NOW, NOW)
            with pytest.raises((ArithmeticError, TypeError, ValueError)):
                render(delivery, NOW, flavour)
            message = render_safely(delivery, NOW, flavour)
            assert message.id == "dlv_1"
            assert message.body
            assert "dlv_1" in json.dumps(message.data)


def test_a_delivery_without_notices_is_still_something_to_read() -> None:
    assert "dlv_1" in render_safely(Delivery("dlv_1", "team", (), NOW, NOW), NOW).body


def test_what_can_be_rendered_is_rendered_in_its_own_face() -> None:
    for face in Face:
        delivery = Delivery("dlv_1", "team", (notice(),), NOW, NOW, face=face)
        assert render_safely(delivery, NOW) == render(delivery, NOW)
