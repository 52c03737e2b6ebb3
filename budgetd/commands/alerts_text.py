"""`budgetd alerts` as people read it: the list of incidents, and one incident's story."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from budgetd.advice import advice
from budgetd.commands.status_text import HELD, SEVERITY_COLOURS, figures, percent, short, what
from budgetd.commands.terminal import Terminal, cells, fit
from budgetd.escaping import name
from budgetd.lifecycle import is_of_rule
from budgetd.model import DeliveryState, Incident, Reason, State
from budgetd.overview import Firing
from budgetd.scope import Naming
from budgetd.store import DeliveryRecord
from budgetd.stories import BAD, GOOD, Line
from budgetd.wording import ago, instant

_COLOURS = {GOOD: "green", BAD: "red", **{each.value: colour for each, colour in SEVERITY_COLOURS.items()}}
# Why the last evaluation said nothing of it, beside what `status` says.
_QUIET = {
    Reason.ALREADY_ANNOUNCED: "Nothing is said at present: no step above those announced is reached.",
}
# How far the words of a line are in, by its depth, and how far what stands below it.
_INDENTS = (("", 12), ("  ", 14), ("     ", 19))


def listing(
    open_ones: Sequence[Incident], ended: Sequence[Incident], more: int, names: Naming, screen: Terminal, now: datetime
) -> Iterator[str]:
    """The incidents as a page; `more` ended ones are not shown."""
    ids = [incident.id for incident in (*open_ones, *ended)]
    yield screen.paint(f"Open ({len(open_ones)})", "bold")
    if not open_ones:
        yield "  nothing is firing"
    for incident in open_ones:
        since = f"since {short(incident.opened_at)} ({ago(incident.opened_at, now)})"
        each = Firing(incident, names.labels(incident.scope))
        yield from _entry(each, incident.severity.value, since, short_id(incident.id, ids), screen)
    if ended:
        yield ""
        yield screen.paint("Ended", "bold")
    for incident in ended:
        when = f"{short(incident.changed_at)} ({ago(incident.changed_at, now)} ago)"
        each = Firing(incident, names.labels(incident.scope))
        yield from _entry(each, _end(incident), when, short_id(incident.id, ids), screen)
    if more:
        yield f"  and {more:,} older ones: budgetd alerts --all"
    if ids:
        yield ""
        yield f"The whole story of one: budgetd alerts show {short_id(ids[0], ids)}"


def _entry(each: Firing, word: str, when: str, id: str, screen: Terminal) -> Iterator[str]:
    ended = each.incident.state is State.RESOLVED
    who = fit(what(each), screen.columns // 2 - 8).rstrip()
    yield screen.line(f"  {id}  {who}", when)
    said = f"{word}: {figures(each)}" if is_of_rule(each.incident) else word
    first, *others = screen.wrapped(said, cells(id) + 4)
    yield first.replace(word, screen.paint(word, "dim" if ended else SEVERITY_COLOURS[each.incident.severity]), 1)
    yield from others


def _end(incident: Incident) -> str:
    """Why it ended, in words."""
    if incident.resolved is None or (not is_of_rule(incident) and incident.resolved is not Reason.RECOVERED):
        return f"{incident.severity.value}, told once"
    return incident.resolved.value.replace("_", " ")


def short_id(id: str, others: Sequence[str]) -> str:
    """The shortest start of the id that no other one has, at least eight characters after its kind."""
    length = id.index("_") + 9
    while length < len(id) and sum(other.startswith(id[:length]) for other in others) > 1:
        length += 1
    return id[:length]


def telling(
    incident: Incident,
    lines: Sequence[Line],
    pending: Iterable[DeliveryRecord],
    names: Naming,
    screen: Terminal,
    now: datetime,
) -> Iterator[str]:
    """The story as a page: how it stands, then what happened, in the order of time, then what is `pending`."""
    yield from _standing(incident, names, screen)
    day = None
    for line in lines:
        if line.at.date() != day:
            day = line.at.date()
            yield ""
            yield screen.paint(f"{line.at:%A} {day.day} {line.at:%B %Y} (UTC)", "bold")
        yield from _line(line, screen)
    if not lines:
        yield "  nobody was told anything yet"
    waiting = {record.delivery.id: record for record in pending if record.delivery.state is DeliveryState.PENDING}
    if waiting:
        yield ""
        yield screen.paint("Still to come", "bold")
    for record in waiting.values():
        yield from _waiting(record, screen, now)


def _standing(incident: Incident, names: Naming, screen: Terminal) -> Iterator[str]:
    each = Firing(incident, names.labels(incident.scope))
    who = fit(what(each), screen.columns // 2).rstrip()
    yield screen.line(screen.paint(who, "bold"), incident.id)
    if incident.state is State.RESOLVED:
        parts = [f"Ended {instant(incident.changed_at)}: {_end(incident)}."]
    else:
        parts = [f"{incident.severity.value.capitalize()}, open since {instant(incident.opened_at)}."]
    if is_of_rule(incident):
        parts.append(f"{figures(each)}.")
        parts += [f"Announced: {', '.join(map(percent, incident.announced))}."] if incident.announced else []
    why = HELD.get(incident.held) or _QUIET.get(incident.held) if incident.held is not None else None
    if why is not None and incident.state is not State.RESOLVED:
        parts.append(why)
    yield from screen.wrapped(" ".join(parts), 0)


def _line(line: Line, screen: Terminal) -> Iterator[str]:
    """What happened, when; its id at the end where it is not that of a line above."""
    indent, below = _INDENTS[line.depth]
    first, *rest = screen.wrapped(line.words, below, first=12 + len(indent))
    words = f"  {line.at:%H:%M:%S}  {indent}{screen.paint(first.strip(), *filter(None, [_COLOURS.get(line.tone)]))}"
    yield screen.line(words, line.id) if line.depth < 2 and line.id else words
    yield from rest
    for detail in line.details:
        yield from screen.wrapped(detail, below)
    if line.repeated and line.last is not None:
        count = f"{line.repeated} more attempt{'s' if line.repeated > 1 else ''} alike"
        yield f"{'':{below}}and {count}, the last {short(line.last)}"


def _waiting(record: DeliveryRecord, screen: Terminal, now: datetime) -> Iterator[str]:
    delivery = record.delivery
    at = max(delivery.next_attempt_at, delivery.wanted_at)
    due = "due now" if at <= now else f"next try {instant(at)}"
    yield f"  {fit(name(delivery.channel), 10)}  attempt {delivery.attempts + 1}, {due}"
    last = record.attempts[-1] if record.attempts else None
    if last is not None and last.outcome is not None:
        yield from screen.wrapped(advice(last.outcome, last.detail), 14)
