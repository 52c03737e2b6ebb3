"""A digest as Slack shows it: figures in lists that wrap on a phone, names from outside in code spans or plain text."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

from budgetd import digest_words, escaping, money
from budgetd.escaping import name
from budgetd.message import digest_data
from budgetd.model import Notice
from budgetd.payload import COST_REPORT
from budgetd.summary import Digest, Movers

Json = dict[str, Any]

# Slack's own limit, in characters; below it, so that those that count twice find room.
_LIMIT = 2900


def blocks(digest: Digest, notice: Notice, headline: str, because: str, message: str) -> list[Json]:
    """The digest in Block Kit. `message` is the message's id, `because` why this channel gets it, and if it is late."""
    made = [
        {"type": "header", "text": {"type": "plain_text", "text": escaping.for_text(f"📊 {headline}")[:150]}},
        _plain(because),
        _plain(digest_words.opening(digest)),
        _marked(_spent(digest)),
        _marked(_days(digest)),
        *(_marked(_moved(movers)) for movers in digest.movers),
        _marked(_limits(digest)),
        _plain(_listed("Alerts (UTC)", [*_alerts(digest), digest_words.more_stories(digest)])),
        _plain(_listed("Channels", digest_words.posts(digest))),
        _marked(f"<{COST_REPORT}|Open the cost report>"),
        _small(digest_data(notice, digest)),
        _small(f"Digest {name(digest.id)} · alert {message}"),
    ]
    return [block for block in made if block]


def _spent(digest: Digest) -> str:
    least = "at least " if digest.spent.missing else ""
    text = f"{least}*{money.dollars(digest.spent.amount)}*  ·  {digest.spent.period.name} (UTC days)"
    if digest.spent.missing or digest.before.missing:
        return text
    change = digest_words.change(digest.spent.amount, digest.before.amount)
    before = f"{money.dollars(digest.before.amount)} in {digest.before.period.name}"
    return f"{text}\n{change} against {before}"


def _days(digest: Digest) -> str:
    amounts = [amount for _, amount in digest.days]
    if len(amounts) < 2:
        return ""
    known = [(amount, day) for day, amount in digest_words.days_of(digest) if amount is not None]
    most = f"  most on {max(known)[1]}: {money.dollars(max(known)[0])}" if known else ""
    return f"`{digest_words.sparkline(amounts)}`{most}"


def _moved(movers: Movers) -> str:
    lines = [
        f"{'▲' if move.amount > move.before else '▼'} {digest_words.change(move.amount, move.before)}  "
        f"{_code(name(move.name, digest_words.NAME_LIMIT))} {money.dollars(move.amount)}"
        for move in (*movers.up, *reversed(movers.down))
    ]
    return "\n".join([f"*{digest_words.heading_of(movers)}*", *lines]) if lines else ""


def _limits(digest: Digest) -> str:
    lines = [
        f"• *{digest_words.standing_used(each)}*  {_code(digest_words.standing_name(each))} "
        f"{digest_words.standing_figures(each)}"
        for each in digest.standings
    ]
    more = digest_words.more_standings(digest)
    return "\n".join(["*Limits, so far*", *lines, *([more] if more else [])]) if lines else ""


def _alerts(digest: Digest) -> list[str]:
    return [digest_words.story_line(story) for story in digest.stories] or ["None."]


def _listed(heading: str, lines: Iterable[str]) -> str:
    said = [f"• {line}" for line in lines if line]
    return "\n".join([heading, *said]) if said else ""


def _plain(text: str) -> Json:
    if not text:
        return {}
    shown = "\n".join(escaping.without_mentions(escaping.for_text(line)) for line in text.split("\n"))
    return {"type": "section", "text": {"type": "plain_text", "text": _fit(shown), "emoji": False}}


def _marked(text: str) -> Json:
    """Figures and words of our own, in Slack's markup; a name from outside is in a code span."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": _fit(text), "verbatim": True}} if text else {}


def _small(text: str) -> Json:
    shown = {"type": "plain_text", "text": _fit(escaping.for_text(text)), "emoji": False}
    return {"type": "context", "elements": [shown]} if text else {}


def _code(text: str) -> str:
    return f"`{html.escape(escaping.for_text(text).replace('`', 'ˋ'), quote=False)}`"


def _fit(text: str) -> str:
    """Whole lines up to the limit: a code span that is cut open would let out what is in it."""
    kept: list[str] = []
    room = _LIMIT
    for line in text.split("\n"):
        room -= len(line.encode("utf-16-le")) // 2 + 1
        if room < 0:
            return "\n".join([*kept, "…"])
        kept.append(line)
    return "\n".join(kept)
