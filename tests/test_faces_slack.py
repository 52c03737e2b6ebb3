"""What a message looks like in Slack: the figures first, Slack's limits kept, and no name that can do harm there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from budgetd.faces import slack
from budgetd.message import Flavour, Message, render_safely
from budgetd.model import Comparison, Contributor, Delivery, Face, Facts, Kind, Label, Notice, Reason, Severity
from budgetd.payload import COST_REPORT
from tests.slack_server import problem, wrong_block
from tests.test_message import FACTS, NOW, OVER, RATE, RESEARCH, SAID, SPIKE, notice, read

BLIND = Facts(
    organisation="Acme",
    rule="budgetd:blind",
    rule_type="blind",
    scope=(Label("source", "cost_report", "cost report"),),
    data_through=NOW - timedelta(hours=3),
    text="The cost report could not be read: HTTP 503",
)
LINK = f"<{COST_REPORT}|Open the cost report>"


def slack_message(*notices: Notice, face: Face = Face.RICH, late: timedelta = timedelta(0)) -> Message:
    return read(*notices, face=face, flavour=Flavour.SLACK, now=NOW + late)


def post(*notices: Notice, **how: Any) -> dict[str, Any]:
    return slack.post(slack_message(*notices, **how))


def texts(payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every text object of the blocks."""
    for block in payload.get("blocks", []):
        yield from block.get("elements", [])
        yield from block.get("fields", [])
        yield from [block["text"]] if "text" in block else []


def lines(payload: dict[str, Any]) -> list[str]:
    return [text["text"] for text in texts(payload)]


# --- what people read --------------------------------------------------------------------------


def test_a_step_leads_with_the_figures() -> None:
    payload = post(notice())
    assert payload["text"] == (
        "🟠 Research has used 80.2% of its November 2026 budget ($4,012.37 of $5,000) "
        "· most of it: claude-opus-4-8 output tokens"
    )
    assert [block["type"] for block in payload["blocks"]] == ["header", *["section"] * 3, *["context"] * 3]
    assert lines(payload) == [
        "🟠 Research has used 80.2% of its November 2026 budget",
        "`████████████████░░░░` *80.2%*  ·  *$4,012.37* of $5,000",
        "Warning: $987.63 of the $5,000.00 for November 2026 is left. "
        "The 80% step is reached (50% and 70% passed on the way).",
        "*Top contributors*\n"
        "• *$2,610.22* (65%)  `claude-opus-4-8 output tokens`\n"
        "• *$640.05* (15.9%)  `claude-opus-4-8 uncached input tokens`\n"
        "• *$402.90* (10%)  `web search`\n"
        "• *$359.20* (8.9%)  everything else\n"
        f"{LINK}",
        "Data through 18 Nov 2026 14:00 UTC, billed. Priority Tier, credits and taxes are not included.",
        "Account `Acme` · rule `each-workspace` · incident `inc_1` · alert `dlv_1`",
        "Acknowledge: `budgetd ack inc_1`  ·  Silence: `budgetd silence add --incident inc_1 --for 4h`",
        "For good: edit or remove rule each-workspace in the rules file, or add an exception to it, "
        "except: {workspace: [Research]}, then reload.",
    ]


def test_a_rate_says_since_when_and_where_it_leads() -> None:
    payload = post(notice(RATE, severity=Severity.CRITICAL))
    assert payload["text"].startswith("🚨 Research is spending $412.50 an hour since 13:38 UTC, 2.7x its limit of $150")
    assert lines(payload)[:7] == [
        "🚨 Research is spending $412.50 an hour",
        "`████████████████████` *275%*  ·  *$412.50* an hour, limit $150",
        "Critical. The 200% step is reached (100% passed on the way).",
        "*Over its limit since*\n18 Nov 2026 13:38 UTC",
        "*If it goes on, today (UTC)*\n*$3,950.10*",
        "*If it goes on, November*\n*$61,000.00*",
        f"*Top contributors, dollars an hour*\n• *$400.10* (96.9%)  `claude-opus-4-8 output tokens`\n"
        f"• *$12.40* (3%)  everything else\n{LINK}",
    ]


def test_a_spike_shows_both_days() -> None:
    assert lines(post(notice(SPIKE)))[:4] == [
        "🟠 Research spent 3.2x the day before",
        "`████████████████████` *$384.00*  ·  18 Nov 2026\n`██████░░░░░░░░░░░░░░` $120.00  ·  the day before",
        "Warning: $264.00 more than the day before.",
        LINK,
    ]


def test_a_spike_from_nothing_has_an_empty_bar_below() -> None:
    from_nothing = replace(SPIKE, comparison=Comparison("the day before", Decimal(0), Decimal(2)))
    assert lines(post(notice(from_nothing)))[:2] == [
        "🟠 Research spent $384.00 on 18 Nov 2026, up from $0.00 (the day before)",
        "`████████████████████` *$384.00*  ·  18 Nov 2026\n`░░░░░░░░░░░░░░░░░░░░` $0.00  ·  the day before",
    ]


def test_a_resolve_looks_calm() -> None:
    payload = post(notice(reason=Reason.RESTATED, kind=Kind.RESOLVE, severity=Severity.CRITICAL))
    assert payload["text"] == (
        "✅ Resolved, figures corrected: Research has used 80.2% of its November 2026 budget ($4,012.37 of $5,000)"
    )
    assert lines(payload)[:4] == [
        "✅ Resolved, figures corrected: Research has used 80.2% of its November 2026 budget",
        "*80.2%*  ·  *$4,012.37* of $5,000",
        "Resolved: $987.63 of the $5,000.00 for November 2026 is left. "
        "Two complete readings in a row were lower: the figures were restated at the source.",
        LINK,
    ]
    assert not any("█" in line or "silence" in line or "🚨" in line for line in lines(payload))


def test_a_rate_that_slowed_down_and_a_spike_that_ended_look_calm_too() -> None:
    slower = replace(RATE, amount=Decimal("90.5"))
    assert lines(post(notice(slower, Reason.SLOWED_DOWN, Kind.RESOLVE)))[:3] == [
        "✅ Slowed down: Research is below its limit again",
        "*60.3%*  ·  *$90.50* an hour, limit $150",
        "It stayed below its limit for two windows in a row, in two readings.",
    ]
    ended = lines(post(notice(SPIKE, Reason.RESTATED, Kind.RESOLVE)))
    assert ended[1] == "*$384.00*, 3.2x the day before ($120.00)"


def test_blindness_says_since_when_and_that_it_is_not_zero() -> None:
    payload = post(notice(BLIND, Reason.BLIND, severity=Severity.CRITICAL))
    assert payload["text"] == "🚨 budgetd cannot see spend since 18 Nov 2026 11:06 UTC"
    assert lines(payload) == [
        "🚨 budgetd cannot see spend since 18 Nov 2026 11:06 UTC",
        "Critical: The cost report could not be read: HTTP 503. No alert is resolved and none can be raised until "
        "the figures are back. Blind does not mean zero.",
        LINK,
        "Account `Acme` · incident `inc_1` · alert `dlv_1`",
    ]


def test_a_late_message_says_so_first() -> None:
    payload = post(notice(), late=timedelta(hours=5))
    assert payload["text"].startswith("🟠 Late (5 hours): Research")
    assert lines(payload)[0] == "🟠 Late (5 hours): Research has used 80.2% of its November 2026 budget"
    assert lines(payload)[2].startswith("Late: decided 5 hours ago, 18 Nov 2026 14:06 UTC. Warning: $987.63")


def test_a_long_name_leaves_room_for_the_figure() -> None:
    labels = tuple(replace(RESEARCH, name=f"{word} " * 40) for word in ("research", "claude"))
    header = lines(post(notice(replace(FACTS, scope=labels))))[0]
    assert header.endswith(" has used 80.2% of its November 2026 budget")
    assert len(header) <= 150


def test_missing_days_make_a_lower_bound() -> None:
    shown = lines(post(notice(replace(FACTS, complete=False))))
    assert shown[1] == "`████████████████░░░░` *80.2%*  ·  at least *$4,012.37* of $5,000"
    assert "Some days are missing, so the true figure may be higher." in shown[4]


@pytest.mark.parametrize(
    ("amount", "full"), [("0", 0), ("0.01", 1), ("2500", 10), ("4999.99", 19), ("5000", 20), ("9e9", 20), ("-3", 0)]
)
def test_a_bar_is_full_only_at_the_limit_and_empty_only_at_nothing(amount: str, full: int) -> None:
    shown = lines(post(notice(replace(FACTS, amount=Decimal(amount)))))[1]
    assert shown.startswith(f"`{'█' * full}{'░' * (20 - full)}`")


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_without_a_limit_there_is_no_bar(limit: str) -> None:
    assert lines(post(notice(replace(FACTS, limit=Decimal(limit)))))[1] == "*$4,012.37* spent"


@pytest.mark.parametrize(
    ("kind", "severity", "mark"),
    [
        (Kind.TRIGGER, Severity.CRITICAL, "🚨"),
        (Kind.TRIGGER, Severity.WARNING, "🟠"),
        (Kind.INFORM, Severity.INFO, "🔵"),
        (Kind.RESOLVE, Severity.CRITICAL, "✅"),
    ],
)
def test_the_mark_says_how_bad_it_is(kind: Kind, severity: Severity, mark: str) -> None:
    told = notice(kind=kind, severity=severity)
    for face in (Face.RICH, Face.PLAIN):
        assert post(told, face=face)["text"].startswith(f"{mark} ")
    assert slack.mark(severity, kind) == mark


@pytest.mark.parametrize("reason", SAID)
@pytest.mark.parametrize("facts", [FACTS, RATE, SPIKE, BLIND])
def test_every_reason_and_every_kind_of_facts_is_a_post(reason: Reason, facts: Facts) -> None:
    for kind in Kind:
        payload = post(notice(facts, reason, kind))
        assert problem(payload) == ""
        assert [wrong_block(block) for block in payload["blocks"] if wrong_block(block)] == []
        assert payload["blocks"][0]["type"] == "header"


# --- several notices ---------------------------------------------------------------------------


def many(count: int, **fields: Any) -> list[Notice]:
    def facts(number: int) -> Facts:
        label = replace(RESEARCH, name=f"Team {number}")
        return replace(FACTS, scope=(label,), amount=Decimal(4000 + number * 130))

    severities = [Severity.CRITICAL if number % 9 == 0 else Severity.WARNING for number in range(count)]
    made = [notice(facts(n), severity=severities[n], id=f"ntc_{n:02}") for n in range(count)]
    return [replace(each, **fields) for each in made]


def test_forty_notices_are_one_readable_message_the_worst_first() -> None:
    payload = post(*many(40))
    assert payload["text"].startswith("🚨 40 budget alerts, worst: Team 36 is over its November 2026 budget")
    header, listed, link, data, ids = lines(payload)
    assert header == "🚨 40 budget alerts: 5 critical, 35 warnings"
    rows = listed.split("\n")
    assert len(rows) == 11
    assert rows[0] == "🚨 Team 36 is over its November 2026 budget: 173.6% used ($8,680.00 of $5,000)"
    assert rows[5] == "🟠 Team 39 is over its November 2026 budget: 181.4% used ($9,070.00 of $5,000)"
    assert rows[-1] == "and 30 more; budgetd alerts lists them all."
    assert link == LINK
    assert data.startswith("Data through 18 Nov 2026 14:00 UTC, billed.")
    assert ids == "alert `dlv_1`"


@pytest.mark.parametrize(
    ("fields", "header", "general"),
    [
        (
            {"kind": Kind.RESOLVE, "reason": Reason.LIMIT_RAISED},
            "✅ 3 budget alerts resolved",
            "The limit in the rules file was raised.",
        ),
        (
            {"kind": Kind.INFORM, "reason": Reason.BASELINE, "severity": Severity.INFO},
            "🔵 budgetd starts watching: 3 limits are already past a step",
            "It was so when budgetd began to watch this limit; it is told once, and nobody is paged.",
        ),
        (
            {"kind": Kind.INFORM, "reason": Reason.LATE, "severity": Severity.INFO},
            "🔵 Late report: 3 limits were reached while budgetd was not watching",
            "This period closed before budgetd saw it: it was down, or the figures came late.",
        ),
    ],
)
def test_a_batch_with_one_reason_says_it_once(fields: dict[str, Any], header: str, general: str) -> None:
    assert lines(post(*many(3, **fields)))[:2] == [header, general]


def test_a_batch_of_all_kinds_counts_them() -> None:
    mixed = [*many(2), replace(many(3)[2], kind=Kind.RESOLVE), notice(BLIND, Reason.BLIND, id="ntc_9")]
    assert lines(post(*mixed))[0] == "🚨 4 budget alerts: 1 critical, 2 warnings, 1 resolved"


def test_a_late_batch_says_how_late_the_oldest_is() -> None:
    assert lines(post(*many(2), late=timedelta(hours=26)))[1] == "Late: the oldest was decided 1 day ago."


# --- replies and simpler faces -----------------------------------------------------------------


def test_a_reply_says_what_happened_in_four_short_blocks() -> None:
    payload = slack.reply(slack_message(notice(OVER, severity=Severity.CRITICAL)))
    assert payload["text"] == post(notice(OVER, severity=Severity.CRITICAL))["text"]
    assert lines(payload) == [
        "🚨 Research is over its November 2026 budget: 104.1% used ($5,205.50 of $5,000)",
        "`████████████████████` *104.1%*  ·  *$5,205.50* of $5,000",
        "Critical: $205.50 over the $5,000.00 for November 2026. The 100% step is reached (80% passed on the way). "
        "Most of it: claude-opus-4-8 output tokens.",
        "Data through 18 Nov 2026 14:00 UTC, billed. Priority Tier, credits and taxes are not included.",
    ]


@pytest.mark.parametrize("face", [Face.PLAIN, Face.MINIMAL])
def test_the_simpler_faces_have_no_blocks(face: Face) -> None:
    for payload in (post(notice(), face=face), slack.reply(slack_message(notice(), face=face))):
        assert sorted(payload) == ["text", "unfurl_links", "unfurl_media"]
    assert "*" not in post(notice(), face=Face.MINIMAL)["text"]


def test_the_plain_face_is_the_whole_story_in_a_few_lines() -> None:
    assert post(notice(), face=Face.PLAIN)["text"].split("\n") == [
        "🟠 *Research has used 80.2% of its November 2026 budget ($4,012.37 of $5,000)*",
        "Warning: $987.63 of the $5,000.00 for November 2026 is left. "
        "The 80% step is reached (50% and 70% passed on the way).",
        "Spent $4,012.37 of $5,000.00 (80.2%)",
        "Most of it: claude-opus-4-8 output tokens $2,610.22 65%",
        "Data through 18 Nov 2026 14:00 UTC, billed. Priority Tier, credits and taxes are not included.",
        f"Rule each-workspace. {COST_REPORT}",
    ]


def test_blocks_that_break_leave_the_text() -> None:
    message = slack_message(notice())
    broken = replace(message, notices=(replace(message.notices[0], created_at=None),))  # type: ignore[arg-type]
    payload = slack.post(broken)
    assert "blocks" not in payload
    assert "Research has used 80.2%" in payload["text"]


# --- names from outside ------------------------------------------------------------------------

HOSTILE = [
    "<!channel>",
    "<!here|here>",
    "@channel @everyone",
    "<@U1>",
    "<#C1|general>",
    "<https://evil.example|Open the cost report>",
    "https://evil.example/login",
    "evil.example.com",
    "*bold* _it_ ~gone~ `code` ```block```",
    "`` ` *x*",
    ":skull: :rotating_light:",
    "R&D &lt;!channel&gt; &amp;",
    "a\r\nb\nc\x00d\x1b[31m",
    "‮gnp.exe‬ \u2066x\u2069 \u200b\u200d\ufeff",
    "\ud800 lone \udfff",
    "👩‍👩‍👧‍👦" * 40,
    "𝔘𝔫𝔦" * 200,
    "x" * 10_000,
    "&" * 10_000,
    "<" * 10_000,
    "`" * 10_000,
    "\n" * 10_000,
    " ",
    "",
]
NAMES = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=80),
    st.text(alphabet="<>!@#|&;`*_~:./ \n\r\x00‮\ud800aC1😀", max_size=60),
    st.lists(st.sampled_from(HOSTILE), max_size=4).map("".join),
)


def named(name: str, facts: Facts = FACTS) -> Facts:
    return replace(
        facts,
        organisation=name,
        rule=name,
        scope=tuple(replace(label, id=name, name=name) for label in (*facts.scope, *facts.scope)),
        contributors=tuple(Contributor(name, name, Decimal(number)) for number in range(1, 6)),
        text=name,
        comparison=facts.comparison and replace(facts.comparison, against=name),
    )


def harmless(payload: dict[str, Any]) -> None:
    """Nothing of it is more than text to Slack, apart from what is budgetd's own."""
    assert problem(payload) == ""
    assert [wrong_block(block) for block in payload.get("blocks", []) if wrong_block(block)] == []
    for text in [{"type": "mrkdwn", "text": payload["text"], "alone": True}, *texts(payload)]:
        shown = text["text"]
        shown.encode("utf-8")
        assert text.get("emoji", False) is False
        assert not any(ord(character) < 32 and character != "\n" for character in shown)
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufeff]", shown)
        assert not re.search(r"<[!@#]", shown)
        if text["type"] == "mrkdwn":
            safe_markup(shown, alone="alone" in text)


def safe_markup(text: str, *, alone: bool) -> None:
    """`alone`: it is shown without blocks, and there Slack makes links and emoji of what looks like them."""
    assert set(re.findall(r"<[^>]*>", text)) <= {LINK}
    assert re.search(r"&(?!(amp|lt|gt);)", text) is None
    prose = re.sub(r"`[^`\n]*`", "", text.replace(LINK, ""))
    assert "`" not in prose
    assert "<" not in prose
    assert "://" not in prose.replace(COST_REPORT, "")
    assert not re.search(r":[\w+'-]+:", prose)
    if alone:
        assert not re.search(r"\w\.[A-Za-z]{2}", prose.replace(COST_REPORT, ""))
    # budgetd's own bold is around a whole word, figure or title.
    assert not re.search(r"[~_](?=\s|$)|(?:^|\s)[~_]", prose)
    assert prose.count("*") % 2 == 0


@given(NAMES, st.sampled_from([FACTS, OVER, RATE, SPIKE, BLIND]), st.sampled_from(SAID), st.sampled_from(Kind))
@example("<!channel>", SPIKE, Reason.STEP_REACHED, Kind.TRIGGER)
@example("https://evil.example :skull: *x* `y", SPIKE, Reason.STEP_REACHED, Kind.TRIGGER)
@example("https://evil.example :skull: *x* `y", SPIKE, Reason.RESTATED, Kind.RESOLVE)
@example("https://evil.example", BLIND, Reason.BLIND, Kind.TRIGGER)
@example("🚨" * 10_000, FACTS, Reason.LATE, Kind.INFORM)
def test_fault_118_no_name_is_more_than_a_name(name: str, facts: Facts, reason: Reason, kind: Kind) -> None:
    told = notice(named(name, facts), reason, kind)
    for face in Face:
        delivery = Delivery("dlv_1", "team", (told,), NOW, NOW, face=face)
        message = render_safely(delivery, NOW + timedelta(days=3), Flavour.SLACK)
        harmless(slack.post(message))
        harmless(slack.reply(message))


@given(st.lists(NAMES, min_size=2, max_size=14), st.sampled_from(SAID))
@example(["x" * 10_000] * 14, Reason.STEP_REACHED)
@example(["&" * 10_000] * 14, Reason.LIMIT_RAISED)
@example(["𝔘" * 10_000] * 14, Reason.BASELINE)
def test_nor_is_one_of_many(names: list[str], reason: Reason) -> None:
    notices = [replace(notice(named(name), reason), id=f"ntc_{number}") for number, name in enumerate(names)]
    for face in Face:
        delivery = Delivery("dlv_1", "team", tuple(notices), NOW, NOW, face=face)
        harmless(slack.post(render_safely(delivery, NOW, Flavour.SLACK)))


@pytest.mark.parametrize(
    "name", ["R&D <beta>", "team_alpha_2", "a*b", "Größe 研究", "ops@example.com", 'the "new" one']
)
def test_an_honest_name_stays_readable(name: str) -> None:
    payload = post(notice(replace(FACTS, scope=(replace(RESEARCH, name=name),), rule=name)))
    assert lines(payload)[0] == f"🟠 {name} has used 80.2% of its November 2026 budget"
    escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f"rule `{escaped}`" in lines(payload)[5]


def test_a_name_that_would_call_everybody_is_shown_and_calls_nobody() -> None:
    payload = post(notice(replace(FACTS, scope=(replace(RESEARCH, name="<!channel>"),))))
    assert payload["text"].startswith("🟠 &lt;!channel&gt; has used")
    assert lines(payload)[0].startswith("🟠 < !channel> has used")
