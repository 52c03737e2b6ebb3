"""The message as an Adaptive Card for Microsoft Teams, within what Teams takes.

Everything is a run of plain text: in a RichTextBlock nothing is Markdown, so no name can link, mention or format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from budgetd import money, trend, wording
from budgetd.escaping import for_text, name, shorten, without_mentions
from budgetd.message import (
    BROKEN,
    MOST_CONTRIBUTORS,
    MOST_LINES,
    Message,
    can_be_silenced,
    driver,
    late_note,
)
from budgetd.model import Face, Facts, Kind, Notice, Reason, Severity
from budgetd.payload import COST_REPORT

Json = dict[str, Any]

# Teams: 28 KB for the whole message; some is left for what the workflow adds.
MOST_BYTES = 26 * 1024
SCHEMA = "http://adaptivecards.io/schemas/adaptive-card.json"
VERSION = "1.4"

_BAR = 20
_STYLES = {Severity.CRITICAL: "attention", Severity.WARNING: "warning", Severity.INFO: "accent"}
# {{DATE(...)}} and {{TIME(...)}} are written out by the card's reader.
_MACRO = re.compile(r"\{(?=\{)")


def body(message: Message, now: datetime) -> bytes:
    """What is posted: the card in the message's face, simpler where that is too large. `now` says how late. Pure."""
    if message.face is Face.RICH and message.notices:
        try:
            rich = _encoded(_batch(message, now) if len(message.notices) > 1 else _single(message, now))
        except BROKEN:
            rich = b""  # an alert goes out, if not as nicely
        if 0 < len(rich) <= MOST_BYTES:
            return rich
    return _encoded(_plain(message))


def _encoded(card: Json) -> bytes:
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    posted = {"type": "message", "attachments": [attachment]}
    return json.dumps(posted, ensure_ascii=False, separators=(",", ":")).encode()


def _card(message: Message, items: Sequence[Json], links: bool = True) -> Json:
    actions = [_link("Open the cost report", COST_REPORT)]
    actions += [_link("Status page", message.status_page)] if message.status_page else []
    return {
        "$schema": SCHEMA,
        "type": "AdaptiveCard",
        "version": VERSION,
        "msteams": {"width": "Full"},
        "fallbackText": _safe(message.title),
        "body": [item for item in items if item],
        **({"actions": actions} if links else {}),
    }


# --- faces -------------------------------------------------------------------------------------------


def _plain(message: Message) -> Json:
    """Title and body as text; of the simplest face one line."""
    if message.face is Face.MINIMAL:
        return _card(message, [_text(message.body)], links=False)
    lines = [_text(line) if line.strip() else {} for line in message.body.split("\n")]
    return _card(message, [_heading(message.title, message), *lines])


def _single(message: Message, now: datetime) -> Json:
    notice, facts = message.notices[0], message.notices[0].facts
    late = f"Late ({wording.ago(notice.created_at, now)}): " if wording.is_late(notice, now) else ""
    told = f"{wording.lead(notice)} {wording.why(notice)}".strip()
    days = trend.last_days(facts.history)
    return _card(
        message,
        [
            _heading(late + wording.headline(notice), message),
            _text(message.because),
            _text(late_note(notice, now)),
            _figures(notice),
            _text(told),
            _text(trend.foreseen(facts)),
            *map(_text, trend.changed(facts)),
            *_drivers(notice),
            *(_days(days) if days is not None else ()),
            _small(wording.data_line([facts])),
            *(map(_small, wording.how_to_silence(notice)) if can_be_silenced(notice) else ()),
            _small(_origin(message, notice)),
        ],
    )


def _batch(message: Message, now: datetime) -> Json:
    """The worst first, ten lines and how many more there are."""
    notices = message.notices
    oldest = min(notices, key=lambda notice: notice.created_at)
    same = len({notice.reason for notice in notices}) == 1 and notices[0].reason is not Reason.STEP_REACHED
    left_out = len(notices) - MOST_LINES
    return _card(
        message,
        [
            _heading(message.title, message),
            _text(message.because),
            _text(late_note(oldest, now)),
            _text(wording.why(notices[0]) if same else ""),
            *(_listed(notice, now) for notice in notices[:MOST_LINES]),
            _text(f"and {left_out:,} more; budgetd alerts lists them all." if left_out > 0 else ""),
            _small(wording.data_line(notice.facts for notice in notices)),
            _small(f"Alert {message.id}"),
        ],
    )


def _listed(notice: Notice, now: datetime) -> Json:
    word = _run(f"{wording.severity_word(notice)}: ", weight="Bolder", color=_colour(notice))
    return _block(word, _run(wording.listed(notice, now)))


def _colour(notice: Notice) -> str:
    style = "good" if notice.kind is Kind.RESOLVE else _STYLES[notice.severity]
    return style.capitalize()


def _figures(notice: Notice) -> Json:
    """Spent, limit, percent: what one looks for first."""
    facts = notice.facts
    if facts.amount is None:
        return {}
    unit = " an hour" if wording.is_rate(facts) else ""
    spent = _run(f"{wording.at_least(facts)}{money.dollars(facts.amount)}{unit}", weight="Bolder", size="Large")
    if facts.comparison is not None:
        return _block(spent, _run(f"  {wording.times_baseline(facts)}"))
    if facts.limit is None or facts.limit <= 0:
        return _block(spent, _run("  spent"))
    of = _run(f"  of {money.round_dollars(facts.limit)}  ·  {money.share(facts.amount, facts.limit)}  ")
    return _block(spent, of, _run(_bar(facts.amount, facts.limit), fontType="Monospace", color=_colour(notice)))


def _bar(amount: Decimal, whole: Decimal) -> str:
    """Full only when the whole is reached, and empty only when there is nothing."""
    filled = int(money.whole_times(money.times(amount, Decimal(_BAR)), whole))
    filled = min(max(filled, 1 if amount > 0 else 0), _BAR)
    return "█" * filled + "░" * (_BAR - filled)


def _drivers(notice: Notice) -> list[Json]:
    facts = notice.facts
    if facts.amount is None or not facts.contributors or notice.kind is Kind.RESOLVE:
        return []
    shown = facts.contributors[:MOST_CONTRIBUTORS]
    rows = [_driver(*driver(part.model, part.token_type, part.amount, facts)) for part in shown]
    rest = money.subtract(facts.amount, money.total(part.amount for part in shown))
    if money.cents_text(rest) not in ("0.00", "-0.00"):
        rows.append(_driver("everything else", "", money.dollars(rest), _share(rest, facts)))
    title = "Where it goes, dollars an hour" if wording.is_rate(facts) else "Where it went"
    return [{**_block(_run(title, weight="Bolder")), "spacing": "Medium"}, *rows]


def _share(amount: Decimal, facts: Facts) -> str:
    return money.share(amount, facts.amount) if facts.amount else ""


def _driver(model: str, tokens: str, amount: str, share: str) -> Json:
    """What on the left, how much on the right."""
    left = _block(_run(" ".join(word for word in (model, tokens) if word)))
    right = {**_block(_run(amount, weight="Bolder"), _run(f"  {share}", isSubtle=True)), "horizontalAlignment": "Right"}
    columns = [
        {"type": "Column", "width": "stretch", "items": [left]},
        {"type": "Column", "width": "auto", "items": [right]},
    ]
    return {"type": "ColumnSet", "spacing": "Small", "columns": columns}


def _days(days: trend.LastDays) -> tuple[Json, Json]:
    """Narrow enough for a phone; the words are below it."""
    blocks = _block(_run("Daily  ", weight="Bolder"), _run(days.blocks, fontType="Monospace"))
    return blocks, _small(f"{trend.short(days.start)} to {trend.short(days.end)}: {days.words}")


def _origin(message: Message, notice: Notice) -> str:
    facts = notice.facts
    account = f"Account {name(facts.organisation)} · " if facts.organisation else ""
    rule = f"rule {name(facts.rule)} · " if facts.amount is not None else ""
    return f"{account}{rule}incident {notice.incident} · alert {message.id}"


# --- elements ----------------------------------------------------------------------------------------


def _heading(text: str, message: Message) -> Json:
    style = "good" if message.kind is Kind.RESOLVE else _STYLES[message.severity]
    items = [_block(_run(shorten(text, wording.TITLE_LIMIT), size="Large", weight="Bolder"))]
    return {"type": "Container", "style": style, "bleed": True, "items": items}


def _text(text: str) -> Json:
    return _block(_run(text)) if text else {}


def _small(text: str) -> Json:
    return {**_block(_run(text, size="Small", isSubtle=True)), "spacing": "Small"} if text else {}


def _block(*runs: Json) -> Json:
    return {"type": "RichTextBlock", "inlines": list(runs)}


def _run(text: str, **look: Any) -> Json:
    return {"type": "TextRun", "text": _safe(text), **look}


def _safe(text: str) -> str:
    return _MACRO.sub("{ ", without_mentions(for_text(text)))


def _link(title: str, url: str) -> Json:
    return {"type": "Action.OpenUrl", "title": title, "url": url}
