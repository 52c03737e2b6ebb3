"""The face of a mail: what people see first, and no name that can do harm to a header, the HTML or a line."""

from __future__ import annotations

import email
import email.policy
import html
import re
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from budgetd import picture
from budgetd.channels.mail_url import Account
from budgetd.channels.mime import envelope
from budgetd.escaping import for_text
from budgetd.faces.mail import SUBJECT_LIMIT, Letter, letter
from budgetd.message import render_safely
from budgetd.model import Comparison, Contributor, Delivery, Face, Facts, Kind, Label, Notice, Reason, Severity
from budgetd.payload import COST_REPORT
from tests.chart_stories import story
from tests.pictures import BLIND, COMPARED
from tests.test_message import FACTS, HOSTILE, NOW, OVER, RATE, SAID, hostile, names, notice, read, unseen, workspace

RECIPIENTS = (("", "a@example.com"), ("Bo", "b@example.org"))
ACCOUNT = Account("mx.example.com", 25, "insecure", ("Wächter, Spend", "w@example.com"), RECIPIENTS)


def face(*notices: Notice, face: Face = Face.RICH, late: timedelta = timedelta()) -> Letter:
    return letter(read(*notices, face=face, now=NOW + late), NOW + late)


def sent(letter: Letter, account: Account = ACCOUNT) -> Any:
    return email.message_from_bytes(envelope(letter, account, NOW), policy=email.policy.default)


class Page(HTMLParser):
    """The tags with their attributes, and the text that a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open[-1:] and data.strip():
            self.texts.append(" ".join(data.split()))

    @property
    def bars(self) -> list[list[tuple[str, str]]]:
        """Of each bar its parts: what, and how wide."""
        rows: list[list[tuple[str, str]]] = []
        for tag, attributes in self.tags:
            if tag == "table":
                rows.append([])
            if tag == "td" and attributes.get("bgcolor"):
                rows[-1].append((attributes["class"] or "", attributes["width"] or ""))
        return [row for row in rows if row]


# --- what is seen ------------------------------------------------------------------------------


def test_the_money_comes_first_then_what_drives_it_then_what_it_rests_on() -> None:
    texts = Page(face(notice()).html).texts[2:]  # after title and preheader
    assert texts == [
        "Warning · rule each-workspace",
        "Research has used 80.2% of its November 2026 budget ($4,012.37 of $5,000)",
        "$4,012.37",
        "of $5,000.00 · 80.2%",
        "$987.63 of the $5,000.00 for November 2026 is left. The 80% step is reached (50% and 70% passed on the way).",
        *["Period", "November 2026 (UTC days)", "Account", "Acme"],
        "Where it went",
        *["claude-opus-4-8", "output tokens", "$2,610.22", "65%"],
        *["claude-opus-4-8", "uncached input tokens", "$640.05", "15.9%"],
        *["web search", "$402.90", "10%"],
        *["everything else", "$359.20", "8.9%"],
        "Data through 18 Nov 2026 14:00 UTC, billed. Priority Tier, credits and taxes are not included.",
        "Open the cost report",
        "Acknowledge: budgetd ack inc_1 · Silence: budgetd silence add --incident inc_1 --for 4h",
        "For good: edit or remove rule each-workspace in the rules file, or add an exception to it, "
        "except: {workspace: [Research]}, then reload.",
        "Incident inc_1 · alert dlv_1. Decided 18 Nov 2026 14:06 UTC, sent 18 Nov 2026 14:06 UTC.",
    ]


def test_bars_are_tables_that_say_the_share() -> None:
    assert Page(face(notice()).html).bars[:2] == [
        [("filled", "80%"), ("rest", "20%")],
        [("filled", "65%"), ("rest", "35%")],
    ]
    assert Page(face(notice(OVER)).html).bars[0] == [("filled", "96%"), ("over", "4%")]
    assert Page(face(notice(replace(FACTS, amount=Decimal("4999.99")))).html).bars[0][0] == ("filled", "99%")
    assert Page(face(notice(replace(FACTS, amount=Decimal("0.01"), contributors=()))).html).bars[0][0][1] == "1%"
    assert Page(face(notice(replace(FACTS, amount=Decimal(5000), contributors=()))).html).bars == [[("filled", "100%")]]


def test_a_spike_is_shown_beside_what_it_is_compared_with() -> None:
    page = Page(face(notice(COMPARED)).html)
    assert page.bars[:2] == [[("filled", "100%")], [("filled", "31%"), ("rest", "69%")]]
    for words in ("3.2x the mean of the last 4 Wednesdays ($120.00)", "the mean of the last 4 Wednesdays", "$120.00"):
        assert words in page.texts


def test_a_rate_says_what_it_comes_to() -> None:
    page = Page(face(notice(RATE)).html)
    assert "$412.50 an hour" in page.texts
    assert "$3,950.10 for the day, if it goes on" in page.texts
    assert "Where it goes, dollars an hour" in page.texts
    assert page.bars[0] == [("filled", "36%"), ("over", "64%")]


def test_what_has_no_figures_shows_no_empty_parts() -> None:
    page = Page(face(notice(BLIND, Reason.BLIND, severity=Severity.CRITICAL)).html)
    assert page.bars == []
    assert page.texts[2:5] == [
        "Critical",
        "budgetd cannot see spend since 18 Nov 2026 14:06 UTC",
        "The service answers 503. No alert is resolved and none can be raised until the figures are back. "
        "Blind does not mean zero.",
    ]
    assert not [text for text in page.texts if "silence" in text or "Period" in text]


def test_a_resolve_is_green_ordinary_and_cannot_be_silenced() -> None:
    resolved = face(notice(kind=Kind.RESOLVE, reason=Reason.LIMIT_RAISED, severity=Severity.CRITICAL))
    assert (resolved.importance, resolved.priority) == ("normal", "3")
    assert "Resolved · rule each-workspace" in resolved.html
    assert "budgetd silence" not in resolved.html
    assert "For good" not in resolved.html


@pytest.mark.parametrize(
    ("severity", "importance", "priority"),
    [(Severity.CRITICAL, "high", "1"), (Severity.WARNING, "normal", "3"), (Severity.INFO, "low", "5")],
)
def test_importance_follows_severity(severity: Severity, importance: str, priority: str) -> None:
    mail = sent(face(notice(severity=severity)))
    assert (mail["Importance"], mail["X-Priority"]) == (importance, priority)


def test_fault_126_a_late_mail_says_how_late() -> None:
    late = face(notice(), late=timedelta(hours=3))
    assert late.subject.startswith("Late (3 hours): Research has used")
    assert "Late: decided 3 hours ago, 18 Nov 2026 14:06 UTC." in late.html
    assert "Late: decided 3 hours ago" in late.plain


def test_the_text_is_made_for_people_who_read_text() -> None:
    assert face(notice()).plain.startswith(
        "Research has used 80.2% of its November 2026 budget ($4,012.37 of $5,000)\n\n"
        "[################################--------] 80.2%\n\n"
        "Warning: $987.63 of the $5,000.00 for November 2026 is left."
    )
    assert f"[{'#' * 40}] 104.1%" in face(notice(OVER)).plain


def test_a_list_of_mails_shows_the_money_beside_the_subject() -> None:
    shown = face(notice())
    assert shown.preheader == (
        "Warning: $987.63 of the $5,000.00 for November 2026 is left. Most of it: claude-opus-4-8 output tokens 65%."
    )
    assert Page(shown.html).texts[1] == shown.preheader


def test_several_are_one_mail_worst_first_ten_lines_and_a_count() -> None:
    many = face(*[workspace(n, 4000 + n) for n in range(46)], workspace(99, 4000, severity=Severity.CRITICAL))
    page = Page(many.html)
    assert many.subject.startswith("47 budget alerts, worst: Team 99 has used 80%")
    assert next(text for text in page.texts if text.startswith("Team ")).startswith("Team 99 has used")
    assert len([text for text in page.texts if text.startswith("Team ")]) == len(page.bars) == 10
    assert "and 37 more; budgetd alerts lists them all." in page.texts
    assert "Critical · 47 alerts" in page.texts
    assert many.importance == "high"


def test_simpler_faces_have_no_html_and_the_minimal_one_is_a_line_in_the_subject_too() -> None:
    plain, minimal = face(notice(), face=Face.PLAIN), face(notice(), face=Face.MINIMAL)
    assert plain.html == minimal.html == ""
    assert minimal.subject == minimal.plain
    assert minimal.subject.startswith("budgetd WARNING: Research has used 80.2%")
    assert plain.subject == face(notice()).subject


def test_the_page_needs_nothing_from_elsewhere_and_knows_the_dark() -> None:
    for page in (face(notice()).html, face(notice(), notice(OVER, id="n2")).html):
        assert {tag for tag, _ in Page(page).tags} <= {
            *("html", "head", "meta", "title", "style", "body", "div", "table", "tr", "td", "h1", "h2", "p", "span"),
            *("a", "br"),
        }
        assert re.findall(r"https?://[^\"<\s]*", page) == [COST_REPORT]
        assert not re.search(r"url\(|@import|src=|<img|<script|<link", page)
        assert '<meta name="color-scheme" content="light dark">' in page
        assert "@media (prefers-color-scheme:dark)" in page
        assert len(page.encode()) < 100_000  # Gmail cuts longer ones
        assert len(re.findall(r'class="card"', page)) == 1


# --- threads -----------------------------------------------------------------------------------


def test_mails_of_an_incident_answer_the_same_one_and_have_ids_of_their_own() -> None:
    first, second = sent(face(notice())), sent(replace(face(notice(OVER)), id="dlv_2"))
    assert first["References"] == second["References"] == first["In-Reply-To"] == "<story.inc_1@example.com>"
    assert (first["Message-ID"], second["Message-ID"]) == ("<dlv_1@example.com>", "<dlv_2@example.com>")
    several = sent(face(notice(), notice(OVER, id="n2")))
    assert several["References"] is several["In-Reply-To"] is several["X-Budgetd-Incident"] is None


def test_an_id_that_is_no_word_still_makes_a_message_id_and_always_the_same() -> None:
    odd = replace(face(notice()), id="a>\r\nBcc: x", story="ü @")
    assert sent(odd)["Message-ID"] == sent(odd)["Message-ID"]
    assert re.fullmatch(r"<msg_[0-9a-f]{20}@example\.com>", sent(odd)["Message-ID"])
    assert re.fullmatch(r"<story\.msg_[0-9a-f]{20}@example\.com>", sent(odd)["References"])


def test_what_the_url_adds_replaces_and_injects_nothing() -> None:
    headers = (
        ("X-Team", "a\r\nBcc: x"),
        ("Subject", "other"),
        ("BCC", "x@example.com"),
        ("X-Bad\r\nBcc", "y"),
        ("", "z"),
    )
    mail = sent(face(notice()), replace(ACCOUNT, headers=headers))
    assert mail["X-Team"] == r"a\u000d\u000aBcc: x"
    assert mail.get_all("Subject") == [face(notice()).subject]
    assert mail["Bcc"] is None


# --- hostile names -----------------------------------------------------------------------------

HEADERS = {
    *("subject", "date", "message-id", "in-reply-to", "references", "x-budgetd-incident", "x-budgetd-id"),
    *("auto-submitted", "x-auto-response-suppress", "list-id", "importance", "x-priority", "from", "to"),
    *("mime-version", "content-type", "content-transfer-encoding"),
}
SAFE_TAGS = {tag for tag, _ in Page(face(notice()).html).tags} | {"h2", "br", "img"}


@given(names, names, st.sampled_from(Face), st.sampled_from(SAID), st.integers(1, 13))
@example(HOSTILE[0], HOSTILE[0], Face.RICH, Reason.STEP_REACHED, 1)
@example(HOSTILE[5], HOSTILE[6], Face.RICH, Reason.STEP_REACHED, 1)
@example("🚀研" * 5000, "\u202e" * 10_000, Face.RICH, Reason.STEP_REACHED, 13)
@example("x", "000000\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f\ud7fc\ud7fc", Face.RICH, Reason.STEP_REACHED, 1)
@example("=?utf-8?q?=0d=0aBcc=3a_x?=", "x <a@b>, ", Face.RICH, Reason.STEP_REACHED, 1)
def test_faults_116_119_120_no_name_breaks_a_mail(
    first: str, second: str, shape: Face, reason: Reason, count: int
) -> None:
    made = face(*[notice(hostile(first, second), reason, id=f"n{n}") for n in range(count)], face=shape)
    octets = envelope(made, replace(ACCOUNT, sender=(second, "w@example.com"), to=((first, "a@example.com"),)), NOW)
    assert octets.isascii()
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert b"\n" not in octets.replace(b"\r\n", b"")
    mail = email.message_from_bytes(octets, policy=email.policy.default)
    assert {name.lower() for name in mail} <= HEADERS
    assert len(set(mail)) == len(list(mail))
    assert [each.addr_spec for each in mail["To"].addresses] == ["a@example.com"]
    assert mail["From"].addresses[0].addr_spec == "w@example.com"
    assert 0 < len(made.subject) <= SUBJECT_LIMIT
    assert not unseen(made.subject + made.preheader + made.plain + made.html)
    assert "".join(str(mail["Subject"]).split()) == "".join(made.subject.split())
    assert mail.get_body(("plain",)).get_content().splitlines() == made.plain.splitlines()  # type: ignore[union-attr]
    if made.html:
        shown = mail.get_body(("html",)).get_content().replace("\r\n", "\n")  # type: ignore[union-attr]
        assert shown == made.html
        nothing_injected(shown)


def nothing_injected(page: str) -> None:
    parsed = Page(page)
    assert parsed.open == []
    assert {tag for tag, _ in parsed.tags} <= SAFE_TAGS
    attributes = {name for _, attributes in parsed.tags for name in attributes}
    assert not {name for name in attributes if name.startswith("on")}
    assert [attributes["href"] for _, attributes in parsed.tags if "href" in attributes] == [COST_REPORT]
    pictures = [attributes for tag, attributes in parsed.tags if tag == "img"]
    assert all(re.fullmatch(r"cid:chart_[0-9a-f]+@budgetd\.invalid", each["src"] or "") for each in pictures)
    assert "style" not in parsed.open


@given(st.text(max_size=30))
def test_what_stands_in_the_html_is_what_the_name_is(text: str) -> None:
    facts = replace(FACTS, scope=(), rule="r", contributors=(Contributor(text or "x", None, Decimal(1)),))
    page = face(notice(facts)).html
    expected = for_text((text or "x").strip()) or "(no name)"
    assert html.escape(expected) in page or len(expected) > 40


def test_fault_121_a_broken_notice_is_a_mail_too() -> None:
    broken = replace(FACTS, contributors=(Contributor("m", "t", Decimal("NaN")),))
    for facts in (broken, replace(FACTS, amount="no money", scope=None)):  # type: ignore[arg-type]
        delivery = Delivery("dlv_1", "team", (notice(facts),), NOW, NOW)
        mail = sent(letter(render_safely(delivery, NOW), NOW))
        assert mail["X-Budgetd-Id"] == "dlv_1"
        assert mail.get_body(("plain",)).get_content().strip()


def test_html_that_cannot_be_made_is_left_out() -> None:
    message = read(notice())
    broken = replace(message, notices=(replace(notice(), facts=replace(FACTS, period=3)),))  # type: ignore[arg-type]
    made = letter(broken, NOW)
    assert (made.html, made.subject) == ("", message.title)
    assert message.body in made.plain


def test_an_unusual_comparison_without_a_baseline_is_shown() -> None:
    nothing = replace(COMPARED, comparison=Comparison("the day before", Decimal(0), Decimal(2)))
    assert [("rest", "100%")] in Page(face(notice(nothing)).html).bars
    assert face(notice(Facts("Acme", "", "", scope=(Label("a", "b", "c"),)), Reason.TEST, Kind.INFORM)).html


# --- the chart ---------------------------------------------------------------------------------


def charted(name: str) -> Letter:
    message = read(story(name))
    return letter(message, NOW, picture.of(message))


def test_the_chart_is_in_the_mail_beside_the_html_that_shows_it() -> None:
    mail = sent(charted("cap"))
    assert mail.get_content_type() == "multipart/alternative"
    plain, related = mail.iter_parts()
    assert (plain.get_content_type(), related.get_content_type()) == ("text/plain", "multipart/related")
    page, drawn = related.iter_parts()
    assert page.get_content_type() == "text/html"
    assert (drawn.get_content_type(), drawn.get_content_disposition()) == ("image/png", "inline")
    assert drawn.get_content() == charted("cap").picture
    (shown,) = [attributes for tag, attributes in Page(page.get_content()).tags if tag == "img"]
    assert f"<{(shown['src'] or '').removeprefix('cid:')}>" == drawn["Content-ID"]


def test_where_pictures_are_blocked_the_chart_is_read_in_words() -> None:
    (shown,) = [attributes for tag, attributes in Page(charted("cap").html).tags if tag == "img"]
    assert (shown["alt"] or "").startswith("Chart of the spend in November 2026, day by day. $3,567.46 of $4,000 spent")
    assert "Day by day" in charted("cap").html


def test_days_that_the_chart_shows_are_not_shown_twice() -> None:
    def days(mail: Letter) -> int:
        return mail.html.count("Highest $262 on 27 Oct")

    assert (days(charted("day")), days(letter(read(story("day")), NOW))) == (0, 1)


def test_a_mail_without_a_chart_is_as_it_was() -> None:
    assert [part.get_content_type() for part in sent(letter(read(story("cap")), NOW)).iter_parts()] == [
        "text/plain",
        "text/html",
    ]
