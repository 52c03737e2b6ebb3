"""`budgetd alerts` as people read it: the list of incidents, and one incident's story."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from budgetd.commands.status_text import HELD, SEVERITY_COLOURS, figures, percent, short, what
from budgetd.commands.terminal import Terminal, cells, fit
from budgetd.escaping import for_text, name
from budgetd.lifecycle import is_of_rule
from budgetd.model import Attempt, Delivery, DeliveryState, Incident, Notice, Outcome, Reason, State
from budgetd.overview import Event, Firing, story
from budgetd.scope import Naming
from budgetd.store import DeliveryRecord
from budgetd.wording import ago, instant, title

_OUTCOME_WORDS = {
    Outcome.DELIVERED: "delivered",
    Outcome.RETRY: "failed, to be tried again",
    Outcome.RATE_LIMITED: "told to wait",
    Outcome.REJECTED: "message refused",
    Outcome.UNAUTHORISED: "login refused",
    Outcome.GONE: "destination gone",
    Outcome.UNKNOWN: "nobody knows whether it arrived",
}

Records = Mapping[str, Sequence[DeliveryRecord]]


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
    notices: Sequence[Notice],
    records: Records,
    names: Naming,
    screen: Terminal,
    now: datetime,
) -> Iterator[str]:
    """The story as a page: how it stands, then what happened, in the order of time."""
    yield from _standing(incident, names, screen)
    day = None
    for event, repeated in grouped(story(notices, records)):
        if event.at.date() != day:
            day = event.at.date()
            yield ""
            yield screen.paint(f"{event.at:%A} {day.day} {event.at:%B %Y} (UTC)", "bold")
        yield from _event(event, screen)
        if repeated:
            last = repeated[-1]
            count = f"{len(repeated)} more attempt{'s' if len(repeated) > 1 else ''} alike"
            yield f"{'':19}and {count}, the last {short(last.at)}"
    if not notices:
        yield "  nobody was told anything yet"
    waiting = [r.delivery for of in records.values() for r in of if r.delivery.state is DeliveryState.PENDING]
    if waiting:
        yield ""
        yield screen.paint("Still to come", "bold")
    for delivery in {delivery.id: delivery for delivery in waiting}.values():
        yield from _waiting(delivery, screen, now)


def grouped(events: Iterable[Event]) -> Iterator[tuple[Event, list[Event]]]:
    """Each event, and the attempts right after it that failed just as it did."""
    kept: Event | None = None
    alike: list[Event] = []
    for event in events:
        if kept is not None and _alike(kept, event):
            alike.append(event)
            continue
        if kept is not None:
            yield kept, alike
        kept, alike = event, []
    if kept is not None:
        yield kept, alike


def _alike(one: Event, other: Event) -> bool:
    if one.attempt is None or other.attempt is None or one.delivery != other.delivery:
        return False
    return (one.attempt.outcome, one.attempt.detail) == (other.attempt.outcome, other.attempt.detail)


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
    if incident.held is not None and incident.held in HELD:
        parts.append(HELD[incident.held])
    yield from screen.wrapped(" ".join(parts), 0)


def _event(event: Event, screen: Terminal) -> Iterator[str]:
    clock_time = f"  {event.at:%H:%M:%S}  "
    if event.delivery is None:
        notice = event.notice
        word = f"{notice.reason.value.replace('_', ' ')}, {notice.severity.value}"
        yield screen.line(clock_time + screen.paint(word, SEVERITY_COLOURS[notice.severity]), notice.id)
        yield from screen.wrapped(title(notice), 12)
        if notice.facts.text:
            yield from screen.wrapped(name(notice.facts.text, 1200), 12)
    elif event.attempt is None:
        others = len(event.delivery.notices) - 1
        together = f", with {others} other notice{'s' if others > 1 else ''}" if others else ""
        page = " (a page)" if event.delivery.page else ""
        yield screen.line(f"{clock_time}  to {name(event.delivery.channel)}{page}{together}", event.delivery.id)
    else:
        yield from _attempt(event.attempt, event.delivery, clock_time, screen)


def _attempt(attempt: Attempt, delivery: Delivery, clock_time: str, screen: Terminal) -> Iterator[str]:
    outcome = attempt.outcome
    colour = "green" if outcome is Outcome.DELIVERED else "red"
    word = _OUTCOME_WORDS[outcome] if outcome is not None else "under way, or the process ended meanwhile"
    took = ""
    if attempt.ended_at is not None:
        took = f" after {(attempt.ended_at - attempt.started_at).total_seconds():.1f} s"
    yield f"{clock_time}     {name(delivery.channel)}, attempt {attempt.number}: {screen.paint(word, colour)}{took}"
    if outcome not in (None, Outcome.DELIVERED) and attempt.detail:
        yield from screen.wrapped(for_text(attempt.detail), 19)


def _waiting(delivery: Delivery, screen: Terminal, now: datetime) -> Iterator[str]:
    seconds = (delivery.next_attempt_at - now).total_seconds()
    due = "due now" if seconds <= 0 else f"next try {instant(delivery.next_attempt_at)}"
    yield f"  {fit(name(delivery.channel), 10)}  attempt {delivery.attempts + 1}, {due}"
