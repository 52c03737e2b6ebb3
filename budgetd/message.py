"""Notice -> what a person reads: title and body, in three faces and for three kinds of text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from budgetd import digest_words, escaping, money, trend, wording
from budgetd.digest_words import Section
from budgetd.escaping import name, shorten
from budgetd.model import Delivery, Face, Facts, Kind, Notice, Reason, Severity
from budgetd.payload import COST_REPORT, payload
from budgetd.summary import Digest

BODY_LIMIT = 3000
MINIMAL_LIMIT = 160
MOST_LINES = 10
MOST_CONTRIBUTORS = 5

# What rendering can raise when a notice from the database is not what it should be.
BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Flavour(StrEnum):
    """What kind of text a channel's body is. Titles are plain text in every flavour."""

    TEXT = "text"
    SLACK = "slack"
    HTML = "html"


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent to one channel. `id` is the delivery's, the same on every attempt; `data` is JSON-able.

    `title` is plain text on one line; `body` is in the flavour. `incident` is empty when it is about several.
    `notices` are what it is made of, the worst first, for a channel that has a face of its own for them; `because` says
    why this channel gets what was for another one, only gets it now, or perhaps gets it again. `thread` is the memo of
    the incident's last message in that channel, empty when there is none to go on under. `own`: those of title and body
    that are the operator's own words; markup in such a body is meant. `again`: all of it was told before, and is said
    again to a service that forgets; nobody need hear of it. `status_page` is a link to one, empty when there is none.
    `umbrellas`: ids of earlier messages about several incidents, all of which have ended by now.
    """

    id: str
    title: str
    body: str
    severity: Severity
    kind: Kind
    data: dict[str, Any]
    flavour: Flavour = Flavour.TEXT
    face: Face = Face.RICH
    incident: str = ""
    notices: tuple[Notice, ...] = ()
    because: str = ""
    thread: str = ""
    own: frozenset[str] = frozenset()
    again: bool = False
    status_page: str = ""
    umbrellas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines that belong together; `aligned` ones need a font of fixed width."""

    lines: tuple[str, ...]
    aligned: bool = False


def render(delivery: Delivery, now: datetime, flavour: Flavour = Flavour.TEXT, status_page: str = "") -> Message:
    """The delivery's notices as one message in its face. `now` only says how late it is. Pure.

    A delivery in doubt is called a possible repeat; where the service knows it by its id, it is not in doubt.
    `status_page`: a URL to name beside the cost report's.
    """
    notices = sorted(delivery.notices, key=_worst_first)
    several = len(notices) > 1
    title = _batch_title(notices) if several else late_prefix(notices[0], now) + wording.title(notices[0])
    title = shorten(escaping.without_mentions(title), wording.TITLE_LIMIT)
    held = wording.held_back(delivery.muted_by, delivery.muted_until, min(each.created_at for each in notices))
    past = (wording.repeated(delivery.in_doubt), wording.instead(delivery.because), held, delivery.gathered)
    because = " ".join(part for part in past if part)
    message = Message(
        id=delivery.id,
        title=title,
        body="",
        severity=max((notice.severity for notice in notices), key=lambda severity: severity.rank),
        kind=_kind(notices),
        data=payload(delivery.id, notices, now, title, because, status_page),
        flavour=flavour,
        face=delivery.face,
        incident="" if several else notices[0].incident,
        notices=tuple(notices),
        because=because,
        status_page=status_page,
    )
    if delivery.face is Face.MINIMAL:
        return replace(
            message, title="budgetd", body=_join([_Block((_minimal(notices, repeat=delivery.in_doubt > 0),))], flavour)
        )
    blocks = _batch(notices, now, status_page) if several else _single(delivery, notices[0], now, status_page)
    instead = [_Block((message.because,))] if message.because else []
    return replace(message, body=_join([*instead, *blocks], flavour))


def render_safely(delivery: Delivery, now: datetime, flavour: Flavour = Flavour.TEXT, status_page: str = "") -> Message:
    """`render`, one face simpler each time it breaks, and at last a plain line: an alert always goes out."""
    faces = list(Face)
    for face in faces[faces.index(delivery.face) :]:
        try:
            return render(replace(delivery, face=face), now, flavour, status_page)
        except BROKEN:
            continue
    return _last_resort(delivery, flavour)


def _last_resort(delivery: Delivery, flavour: Flavour) -> Message:
    body = f"An alert could not be put into words. Its id is {delivery.id}; budgetd alerts shows it."
    data = {"type": "budgetd.unreadable", "data": {"id": delivery.id, "title": body}}
    title = "budgetd: an alert that could not be put into words"
    text = _join([_Block((body,))], flavour)
    return Message(delivery.id, title, text, Severity.CRITICAL, Kind.TRIGGER, data, flavour, Face.MINIMAL)


def _worst_first(notice: Notice) -> tuple[int, Decimal, str]:
    facts = notice.facts
    over = money.ZERO if facts.amount is None or facts.limit is None else money.subtract(facts.amount, facts.limit)
    return -notice.severity.rank, -over, notice.id


def _kind(notices: Sequence[Notice]) -> Kind:
    kinds = {notice.kind for notice in notices}
    if len(kinds) == 1:
        return kinds.pop()
    return Kind.TRIGGER if Kind.TRIGGER in kinds else Kind.INFORM


# --- one notice --------------------------------------------------------------------------------


def late_prefix(notice: Notice, now: datetime) -> str:
    """How late the notice goes out, before its title; empty when it is in time."""
    return f"Late ({wording.ago(notice.created_at, now)}): " if wording.is_late(notice, now) else ""


def late_note(notice: Notice, now: datetime) -> str:
    """How late the notice goes out; empty when it is in time."""
    if not wording.is_late(notice, now):
        return ""
    decided = f"decided {wording.ago(notice.created_at, now)} ago, {wording.instant(notice.created_at)}"
    return f"Late: {decided}."


def _single(delivery: Delivery, notice: Notice, now: datetime, status_page: str) -> list[_Block]:
    facts = notice.facts
    if facts.digest is not None:
        return _digest(delivery, notice, facts.digest, now)
    opening = _some(late_note(notice, now), f"{wording.lead(notice)} {wording.why(notice)}".strip())
    opening = (*opening, *_some(trend.foreseen(facts)), *trend.changed(facts))
    if delivery.face is Face.PLAIN:
        return [_Block((*opening, *_key_lines(facts, status_page)))]
    ids = f"Rule {name(facts.rule)}, incident {notice.incident}, alert {delivery.id}."
    if facts.amount is None:
        ids = f"Incident {notice.incident}, alert {delivery.id}."
    times = f"Decided {wording.instant(notice.created_at)}, sent {wording.instant(now)}."
    footer = _some(*(wording.how_to_silence(notice) if can_be_silenced(notice) else ()), ids, times)
    blocks = [
        _Block(opening),
        _Block(_figures(facts), aligned=True),
        _Block(_drivers(facts), aligned=True),
        _Block(_some(wording.data_line([facts]), *_links(status_page))),
        _Block(footer),
    ]
    return [block for block in blocks if block.lines]


def _digest(delivery: Delivery, notice: Notice, digest: Digest, now: datetime) -> list[_Block]:
    """A look back: the figures in tables, or in the plain face only those of the whole."""
    opening = _some(late_note(notice, now), digest_words.opening(digest))
    data = digest_data(notice, digest)
    sections = digest_words.sections(digest)
    if delivery.face is Face.PLAIN:
        return [_Block(opening), _Block(_table(sections[0]), aligned=True), _Block(_some(data, COST_REPORT))]
    tables = [_Block(_table(section), aligned=any(len(row) > 1 for row in section.rows)) for section in sections]
    footer = f"Digest {name(digest.id)}, alert {delivery.id}."
    return [_Block(opening), *tables, _Block(_some(data, f"Cost report: {COST_REPORT}")), _Block((footer,))]


def _table(section: Section) -> tuple[str, ...]:
    rows = [row for row in section.rows if len(row) > 1]
    indent = "  " if section.heading and rows else "- " if section.heading else ""
    lines = [*(_columns(rows, section.right) if rows else ()), *(row[0] for row in section.rows if len(row) == 1)]
    return (*_some(section.heading), *(f"{indent}{line}" for line in lines))


def digest_data(notice: Notice, digest: Digest) -> str:
    """Through when a digest's figures are, and what they rest on."""
    through = notice.facts.data_through
    return digest_words.data_line(digest, wording.instant(through) if through else "")


def _links(status_page: str) -> tuple[str, ...]:
    return _some(f"Cost report: {COST_REPORT}", f"Status page: {status_page}" if status_page else "")


def can_be_silenced(notice: Notice) -> bool:
    """Whether it is an alert that commands and the rules file can quiet."""
    return notice.kind is Kind.TRIGGER and notice.facts.amount is not None


def _key_lines(facts: Facts, status_page: str) -> tuple[str, ...]:
    drivers = [driver(part.model, part.token_type, part.amount, facts) for part in facts.contributors[:1]]
    top = f"Most of it: {' '.join(' '.join(drivers[0]).split())}" if drivers else ""
    rule = f"Rule {name(facts.rule)}." if facts.amount is not None else ""
    days = trend.last_days(facts.history)
    daily = f"Daily: {days.line}, {days.words}" if days is not None else ""
    return _some(_spent(facts), top, daily, wording.data_line([facts]), f"{rule} {COST_REPORT}".strip(), status_page)


def _spent(facts: Facts) -> str:
    if facts.amount is None:
        return ""
    if wording.is_rate(facts) and facts.limit is not None:
        share = f" ({money.share(facts.amount, facts.limit)} of {money.dollars(facts.limit)})" if facts.limit else ""
        return f"Spent {money.dollars(facts.amount)} an hour{share}"
    spent = f"Spent {wording.at_least(facts)}{money.dollars(facts.amount)}"
    if facts.limit is None or facts.limit <= 0:
        return spent
    if facts.comparison is not None:
        return f"{spent}, {wording.times_baseline(facts)}"
    return f"{spent} of {money.dollars(facts.limit)} ({money.share(facts.amount, facts.limit)})"


def _figures(facts: Facts) -> tuple[str, ...]:
    if facts.amount is None:
        return ()
    rows = [("Rate" if wording.is_rate(facts) else "Spent", _spent(facts).removeprefix("Spent "))]
    if facts.comparison is not None and facts.limit is not None:
        rows.append(("Limit", f"told from {money.dollars(facts.limit)} on"))
    rows += _pace_rows(facts)
    if facts.period is not None:
        rows.append(("Period", f"{facts.period.name} ({'UTC' if facts.period.is_part_of_a_day else 'UTC days'})"))
    if facts.organisation:
        rows.append(("Account", name(facts.organisation)))
    days = trend.last_days(facts.history)
    if days is not None:
        rows += [("Daily", days.line), ("", days.words)]
    return _columns(rows)


def _pace_rows(facts: Facts) -> list[tuple[str, str]]:
    if facts.pace is None or facts.limit is None or facts.amount is None or facts.amount < facts.limit:
        return []
    return [
        ("Since", wording.instant(facts.pace.since)),
        ("Midnight", f"{money.dollars(facts.pace.by_midnight)} for the day, if it goes on"),
        ("Month end", f"{money.dollars(facts.pace.by_month_end)} for the month, if it goes on"),
    ]


def _drivers(facts: Facts) -> tuple[str, ...]:
    if facts.amount is None or not facts.contributors:
        return ()
    shown = facts.contributors[:MOST_CONTRIBUTORS]
    rows = [driver(part.model, part.token_type, part.amount, facts) for part in shown]
    rest = money.subtract(facts.amount, money.total(part.amount for part in shown))
    if money.cents_text(rest) not in ("0.00", "-0.00"):
        rows.append(("everything else", "", money.dollars(rest), money.share(rest, facts.amount)))
    title = "Top contributors, dollars an hour" if wording.is_rate(facts) else "Top contributors"
    return title, *(f"  {line}" for line in _columns(rows, right=(2, 3)))


def driver(model: str | None, token_type: str | None, amount: Decimal, facts: Facts) -> tuple[str, str, str, str]:
    """A contributor as model, kind of tokens, dollars and share; the first is what is known when only one is."""
    what = (token_type or "").replace("_", " ").replace(".", " ")
    share = money.share(amount, facts.amount) if facts.amount else ""
    words = [name(word, 40) for word in (model, what) if word]
    return words[0] if words else "other", words[1] if len(words) > 1 else "", money.dollars(amount), share


# --- several notices ---------------------------------------------------------------------------


def _batch_title(notices: Sequence[Notice]) -> str:
    count = len(notices)
    reasons = {notice.reason for notice in notices}
    if reasons == {Reason.BASELINE}:
        return f"budgetd starts watching: {count:,} limits are already {_how_far(notices)}"
    if reasons == {Reason.LATE}:
        return f"Late report: {count:,} limits were reached while budgetd was not watching"
    if _kind(notices) is Kind.RESOLVE:
        return f"{count:,} budget alerts resolved, first: {wording.title(notices[0])}"
    return f"{count:,} budget alerts, worst: {wording.title(notices[0])}"


def _how_far(notices: Iterable[Notice]) -> str:
    facts = [notice.facts for notice in notices]
    over = all(fact.amount is not None and fact.limit is not None and fact.amount >= fact.limit for fact in facts)
    return "over" if over else "past a step"


def _batch(notices: Sequence[Notice], now: datetime, status_page: str) -> list[_Block]:
    oldest = min(notices, key=lambda notice: notice.created_at)
    listed = [f"- {wording.severity_word(notice)}: {wording.listed(notice, now)}" for notice in notices[:MOST_LINES]]
    left_out = len(notices) - len(listed)
    if left_out:
        listed.append(f"and {left_out:,} more; budgetd alerts lists them all.")
    data = wording.data_line(notice.facts for notice in notices)
    same = wording.why(notices[0]) if len({notice.reason for notice in notices}) == 1 else ""
    general = same if notices[0].reason is not Reason.STEP_REACHED else ""
    blocks = [
        _Block(_some(late_note(oldest, now), general)),
        _Block(tuple(listed)),
        _Block(_some(data, *_links(status_page))),
    ]
    return [block for block in blocks if block.lines]


def _minimal(notices: Sequence[Notice], *, repeat: bool) -> str:
    """One line of printable ASCII, at most 160 characters; what its figures rest on is not cut off."""
    first = notices[0]
    line = f"budgetd {wording.severity_word(first).upper()}: {wording.title(first, name_limit=24)}"
    more = f" (+{len(notices) - 1:,} more)" if len(notices) > 1 else ""
    more += wording.short_data(notice.facts for notice in notices)
    more += " (maybe a repeat)" if repeat else ""
    line = escaping.without_mentions(escaping.for_ascii(line))
    room = MINIMAL_LIMIT - len(more)
    return (line if len(line) <= room else f"{line[: room - 3]}...") + more


# --- text --------------------------------------------------------------------------------------


def _some(*lines: str) -> tuple[str, ...]:
    return tuple(line for line in lines if line)


def _columns(rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> tuple[str, ...]:
    """The rows as lines with aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return tuple(
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _join(blocks: Sequence[_Block], flavour: Flavour) -> str:
    """The blocks as one body within the limit; whole lines are left out from the end, and counted."""
    escape = _ESCAPE[flavour]
    room = BODY_LIMIT - 80
    parts: list[str] = []
    left_out = 0
    for block in blocks:
        kept: list[str] = []
        for line in [escape(escaping.without_mentions(line)) for line in block.lines]:
            if left_out or len(line) + 1 > room:
                left_out += 1
                continue
            kept.append(line)
            room -= len(line) + len("<br>\n")
        if kept:
            parts.append(_wrap(kept, block.aligned, flavour))
            room -= len("<pre></pre>\n\n")
    if left_out:
        parts.append(_wrap([f"… and {left_out:,} more line{'s' if left_out > 1 else ''}"], False, flavour))
    return ("\n" if flavour is Flavour.HTML else "\n\n").join(parts)


_ESCAPE: dict[Flavour, Callable[[str], str]] = {
    Flavour.TEXT: escaping.for_text,
    Flavour.SLACK: escaping.for_slack,
    Flavour.HTML: escaping.for_html,
}


def escaped(text: str, flavour: Flavour) -> str:
    """A sentence of ours as it may stand in a body of that flavour."""
    return _ESCAPE[flavour](escaping.without_mentions(text))


def _wrap(lines: Sequence[str], aligned: bool, flavour: Flavour) -> str:
    if flavour is Flavour.SLACK and aligned:
        return "```\n" + "\n".join(lines) + "\n```"
    if flavour is Flavour.HTML:
        return "<pre>" + "\n".join(lines) + "</pre>" if aligned else "<p>" + "<br>\n".join(lines) + "</p>"
    return "\n".join(lines)
