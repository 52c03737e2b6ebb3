"""A message as Slack shows it: Block Kit within its limits, and a text that does alone on a locked phone.

Whatever comes from outside stands in `plain_text` or in a code span: Slack looks for mentions, links, emoji and
formatting in neither.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from budgetd import escaping, money, trend, wording
from budgetd.escaping import name
from budgetd.faces import digest_slack
from budgetd.message import BROKEN, MOST_CONTRIBUTORS, MOST_LINES, Message, can_be_silenced, late_note
from budgetd.model import Comparison, Contributor, Face, Facts, Kind, Notice, Reason, Severity
from budgetd.payload import COST_REPORT

Json = dict[str, Any]

# Slack's own limits, in characters as JavaScript counts them.
HEADER_LIMIT = 150
SECTION_LIMIT = 3000
FIELD_LIMIT = 2000
TEXT_LIMIT = 4000

_BAR = 20
_HEADER_NAME = 40  # of a longer name so much that what is said of it still finds room
_MARKS = {Severity.CRITICAL: "🚨", Severity.WARNING: "🟠", Severity.INFO: "🔵"}
_RESOLVED_MARK = "✅"

# In a text without blocks Slack makes links and emoji of what looks like them; these look the same, and are none.
_LINKED_DOT = re.compile(r"(?<=\w)\.(?=[A-Za-z]{2})")
_EMOJI = re.compile(r":(?=[\w+'-]+:)")
# Plain text knows no mentions; should it ever be shown as anything else, there are none in it either.
_SPECIAL = re.compile(r"<(?=[!#@])")


def post(message: Message) -> Json:
    """The message as a post of its own. Its blocks are left out in the faces without any, or when they break."""
    return _payload(message, _batch if len(message.notices) > 1 else _single)


def reply(message: Message) -> Json:
    """The same news in short, for the thread under an older post that now shows the latest state."""
    return _payload(message, _brief)


def loud(message: Message) -> bool:
    """Whether a reply must be seen in the channel too: a thread wakes nobody."""
    if message.kind is not Kind.TRIGGER:
        return False
    over = any(_is_over(notice.facts) for notice in message.notices)
    return message.severity is Severity.CRITICAL or (over and message.severity is not Severity.INFO)


def metadata(message: Message) -> Json:
    """What programs find with the post: the id is the same on every attempt."""
    about = {"id": message.id, "incident": message.incident, "severity": message.severity.value}
    return {"event_type": "budgetd_alert", "event_payload": about}


def mark(severity: Severity, kind: Kind) -> str:
    """The sign before a title: shapes differ as well as colours."""
    return _RESOLVED_MARK if kind is Kind.RESOLVE else _MARKS[severity]


def _payload(message: Message, layout: Callable[[Message], list[Json]]) -> Json:
    quiet = {"unfurl_links": False, "unfurl_media": False}
    if message.face is Face.RICH and message.notices:
        try:
            return {"text": _notification(message), "blocks": layout(message), **quiet}
        except BROKEN:
            pass  # an alert goes out, if not as nicely
    return {"text": _text_only(message), **quiet}


def _is_over(facts: Facts) -> bool:
    return facts.amount is not None and facts.limit is not None and facts.amount >= facts.limit


# --- text alone --------------------------------------------------------------------------------


def _notification(message: Message) -> str:
    """What a phone shows: all that matters in one line."""
    first = message.notices[0].facts
    one = len(message.notices) == 1 and message.kind is not Kind.RESOLVE
    top = f" · most of it: {_driver(first.contributors[0])}" if one and first.contributors else ""
    return _fit(f"{mark(message.severity, message.kind)} {words(message.title + top)}", TEXT_LIMIT)


def _text_only(message: Message) -> str:
    """Title and body; `body` is escaped for Slack already."""
    body = message.body
    if "body" not in message.own:
        links = [link for link in (COST_REPORT, html.escape(message.status_page, quote=False)) if link]
        parts = re.split(f"({'|'.join(map(re.escape, links))})", body)
        body = "".join(part if part in links else _unlinked(part) for part in parts)
    if message.face is Face.MINIMAL:
        return _fit(body, TEXT_LIMIT)
    return _fit(f"{mark(message.severity, message.kind)} *{words(message.title)}*\n{body}", TEXT_LIMIT)


def words(text: str) -> str:
    """Text from outside as it may stand among Slack's own markup."""
    return _unlinked(escaping.for_slack(escaping.without_mentions(text)))


def _unlinked(text: str) -> str:
    return _EMOJI.sub("∶", _LINKED_DOT.sub("․", text.replace("://", ":∕∕")))


# --- one notice --------------------------------------------------------------------------------


def _single(message: Message) -> list[Json]:
    notice = message.notices[0]
    late = _late(notice, message)
    digest = notice.facts.digest
    if digest is not None:
        told = " ".join(part for part in (message.because, late_note(notice, late) if late else "") if part)
        return digest_slack.blocks(digest, notice, message.title, told, message.id)
    blocks = [
        _header(f"{mark(notice.severity, notice.kind)} {_headline(message, notice, late)}"),
        _plain_section(message.because),
        _section("\n".join(part for part in (_figures(notice), trend.foreseen(notice.facts)) if part)),
        _plain_section("\n".join([_sentences(notice, late), *trend.changed(notice.facts)])),
        _fields(_outlook(notice)),
        _section("\n".join([*_drivers(notice), _links(message)])),
        *_origin(message, notice),
    ]
    return [block for block in blocks if block]


def _headline(message: Message, notice: Notice, late: datetime | None) -> str:
    if "title" in message.own:
        return message.title
    prefix = f"Late ({wording.ago(notice.created_at, late)}): " if late else ""
    return prefix + wording.headline(notice, _HEADER_NAME)


def _brief(message: Message) -> list[Json]:
    notice = message.notices[0]
    told = notice.facts.contributors[:1] if notice.kind is not Kind.RESOLVE else ()
    most = f"Most of it: {_driver(told[0])}." if told else ""
    sentences = f"{_sentences(notice, _late(notice, message))} {most} {trend.foreseen(notice.facts)}".strip()
    title = _plain_section(f"{mark(notice.severity, notice.kind)} {message.title}")
    because = _plain_section(message.because)
    data = _context(_plain(wording.data_line([notice.facts])))
    return [block for block in (title, because, _section(_figures(notice)), _plain_section(sentences), data) if block]


def _late(notice: Notice, message: Message) -> datetime | None:
    """When it is sent, if that is late."""
    sent = datetime.fromisoformat(message.data["data"]["sent_at"])
    return sent if wording.is_late(notice, sent) else None


def _figures(notice: Notice) -> str:
    """Spent, limit, percent: what one looks for first."""
    facts = notice.facts
    if facts.amount is None:
        return ""
    calm = notice.kind is Kind.RESOLVE
    rate = wording.is_rate(facts)
    spent = f"{wording.at_least(facts)}*{money.dollars(facts.amount)}*{' an hour' if rate else ''}"
    if facts.comparison is not None and not calm:
        return _two_bars(facts, facts.amount, facts.comparison)
    if facts.limit is None or facts.limit <= 0:
        return f"{spent} spent"
    if facts.comparison is not None:
        return f"{spent}, {words(wording.times_baseline(facts))}"
    of = ", limit" if rate else " of"
    text = f"*{money.share(facts.amount, facts.limit)}*  ·  {spent}{of} {money.round_dollars(facts.limit)}"
    return text if calm else f"{_bar(facts.amount, facts.limit)} {text}"


def _two_bars(facts: Facts, amount: Decimal, comparison: Comparison) -> str:
    """The day and what it is compared with, one above the other."""
    most, baseline = max(amount, comparison.baseline), comparison.baseline
    day = f"  ·  {facts.period.name}" if facts.period else ""
    usual = f"  ·  {words(name(comparison.against))}"
    spent = f"{wording.at_least(facts)}*{money.dollars(amount)}*"
    return f"{_bar(amount, most)} {spent}{day}\n{_bar(baseline, most)} {money.dollars(baseline)}{usual}"


def _bar(amount: Decimal, whole: Decimal) -> str:
    """Full only when the whole is reached, and empty only when there is nothing."""
    filled = int(money.whole_times(money.times(amount, Decimal(_BAR)), whole)) if whole > 0 else 0
    filled = min(max(filled, 1 if amount > 0 else 0), _BAR)
    return f"`{'█' * filled}{'░' * (_BAR - filled)}`"


def _sentences(notice: Notice, late: datetime | None) -> str:
    told = ""
    if late:
        decided = f"{wording.ago(notice.created_at, late)} ago, {wording.instant(notice.created_at)}"
        told = f"Late: decided {decided}."
    # What a rate comes to stands in fields of its own.
    lead = f"{wording.severity_word(notice)}." if _outlook(notice) else wording.lead(notice)
    return " ".join(part for part in (told, lead, wording.why(notice)) if part)


def _outlook(notice: Notice) -> list[tuple[str, str]]:
    """Since when, and where it leads: of a rate that is over its limit."""
    facts = notice.facts
    if facts.pace is None or facts.period is None or not _is_over(facts) or notice.kind is Kind.RESOLVE:
        return []
    month = f"{facts.period.start:%B}"
    return [
        ("Over its limit since", wording.instant(facts.pace.since)),
        ("If it goes on, today (UTC)", f"*{money.dollars(facts.pace.by_midnight)}*"),
        (f"If it goes on, {month}", f"*{money.dollars(facts.pace.by_month_end)}*"),
    ]


def _drivers(notice: Notice) -> list[str]:
    facts = notice.facts
    if facts.amount is None or not facts.contributors or notice.kind is Kind.RESOLVE:
        return []
    shown = facts.contributors[:MOST_CONTRIBUTORS]
    lines = [f"• {_amount(part.amount, facts)}  {_code(_driver(part))}" for part in shown]
    rest = money.subtract(facts.amount, money.total(part.amount for part in shown))
    if money.cents_text(rest) not in ("0.00", "-0.00"):
        lines.append(f"• {_amount(rest, facts)}  everything else")
    return [f"*Top contributors{', dollars an hour' if wording.is_rate(facts) else ''}*", *lines]


def _amount(amount: Decimal, facts: Facts) -> str:
    share = f" ({money.share(amount, facts.amount)})" if facts.amount else ""
    return f"*{money.dollars(amount)}*{share}"


def _driver(part: Contributor) -> str:
    what = (part.token_type or "").replace("_", " ").replace(".", " ")
    return " ".join(name(word, 40) for word in (part.model, what) if word) or "other"


def _origin(message: Message, notice: Notice) -> list[Json]:
    """How far the data reaches, what to do about it, and the names of everything: small, at the end."""
    facts = notice.facts
    rule = f"rule {_code(name(facts.rule))} · " if facts.amount is not None else ""
    ids = f"{rule}incident {_code(notice.incident)} · alert {_code(message.id)}"
    account = f"Account {_code(name(facts.organisation))} · " if facts.organisation else ""
    silence = can_be_silenced(notice)
    commands = "  ·  ".join(f"{what}: {_code(command)}" for what, command in wording.quieting(notice))
    return [
        _context(_mrkdwn(_daily(facts))),
        _context(_plain(wording.data_line([facts]))),
        _context(_mrkdwn(account + ids)),
        _context(*((_mrkdwn(commands), _plain(wording.for_good(facts))) if silence else ())),
    ]


def _daily(facts: Facts) -> str:
    """The last days as a row of blocks, and in words."""
    days = trend.last_days(facts.history)
    if days is None:
        return ""
    return f"Daily: {trend.short(days.start)} `{days.blocks}` {trend.short(days.end)}, {days.words}"


def _links(message: Message) -> str:
    status = f"  ·  <{html.escape(message.status_page)}|Status page>" if message.status_page else ""
    return f"<{COST_REPORT}|Open the cost report>{status}"


# --- several notices ---------------------------------------------------------------------------


def _batch(message: Message) -> list[Json]:
    """The worst first, ten lines and how many more there are."""
    notices = message.notices
    sent = datetime.fromisoformat(message.data["data"]["sent_at"])
    lines = [f"{mark(each.severity, each.kind)} {wording.listed(each, sent)}" for each in notices[:MOST_LINES]]
    if len(notices) > MOST_LINES:
        lines.append(f"and {len(notices) - MOST_LINES:,} more; budgetd alerts lists them all.")
    same = len({each.reason for each in notices}) == 1 and notices[0].reason is not Reason.STEP_REACHED
    oldest = min(notices, key=lambda each: each.created_at)
    late = _late(oldest, message)
    told = f"Late: the oldest was decided {wording.ago(oldest.created_at, late)} ago." if late else ""
    general = " ".join(part for part in (told, wording.why(notices[0]) if same else "") if part)
    blocks = [
        _header(f"{mark(message.severity, message.kind)} {_batch_headline(message)}"),
        _plain_section(message.because),
        _plain_section(general),
        _plain_section("\n".join(lines)),
        _section(_links(message)),
        _context(_plain(wording.data_line(each.facts for each in notices))),
        _context(_mrkdwn(f"alert {_code(message.id)}")),
    ]
    return [block for block in blocks if block]


def _batch_headline(message: Message) -> str:
    notices = message.notices
    if {notice.reason for notice in notices} in ({Reason.BASELINE}, {Reason.LATE}):
        return message.title
    if message.kind is Kind.RESOLVE:
        return f"{len(notices):,} budget alerts resolved"
    counts = Counter(wording.severity_word(notice).lower() for notice in notices)
    order = [*(severity.value for severity in reversed(Severity)), "resolved"]
    parts = [
        f"{counts[word]:,} {word}{'s' * (word == 'warning' and counts[word] > 1)}" for word in order if counts[word]
    ]
    return f"{len(notices):,} budget alerts: {', '.join(parts)}"


# --- blocks ------------------------------------------------------------------------------------


def _header(text: str) -> Json:
    return {"type": "header", "text": _plain(text, HEADER_LIMIT)}


def _section(text: str) -> Json:
    return {"type": "section", "text": _mrkdwn(text)} if text else {}


def _plain_section(text: str) -> Json:
    return {"type": "section", "text": _plain(text)} if text else {}


def _fields(rows: Sequence[tuple[str, str]]) -> Json:
    """Figures of our own beneath their titles, two in a row."""
    fields = [_mrkdwn(f"*{title}*\n{text}", FIELD_LIMIT) for title, text in rows]
    return {"type": "section", "fields": fields} if fields else {}


def _context(*elements: Json) -> Json:
    shown = [element for element in elements if element["text"]]
    return {"type": "context", "elements": shown} if shown else {}


def _plain(text: str, limit: int = SECTION_LIMIT) -> Json:
    lines = "\n".join(escaping.for_text(line) for line in text.split("\n"))
    return {"type": "plain_text", "text": _fit(_SPECIAL.sub("< ", lines), limit), "emoji": False}


def _mrkdwn(text: str, limit: int = SECTION_LIMIT) -> Json:
    return {"type": "mrkdwn", "text": _fit(text, limit), "verbatim": True}


def _code(text: str) -> str:
    """Text from outside in a code span: shown as it is, and nothing in it means anything."""
    return f"`{html.escape(escaping.for_text(text).replace('`', 'ˋ'), quote=False)}`"


def _fit(text: str, limit: int) -> str:
    """Cut at so many UTF-16 units; what is cut is so long only when many letters need two."""
    if len(text.encode("utf-16-le")) // 2 <= limit:
        return text
    kept = text.encode("utf-16-le")[: (limit - 1) * 2].decode("utf-16-le", "ignore")
    return f"{kept}…"
