"""`budgetd alerts` as people read it: the list of incidents, and one incident's story."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from budgetd import money
from budgetd.commands.status_text import HELD, SEVERITY_COLOURS, percent, scope_words, short
from budgetd.commands.terminal import Terminal, cells, fit
from budgetd.escaping import for_text, name
from budgetd.lifecycle import is_of_rule
from budgetd.model import Attempt, Delivery, DeliveryState, Incident, Notice, Outcome, State
from budgetd.overview import Event, share_of, story
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
        yield from _entry(incident, names, incident.severity.value, since, short_id(incident.id, ids), screen)
    if ended:
        yield ""
        yield screen.paint("Ended", "bold")
    for incident in ended:
        when = f"{short(incident.changed_at)} ({ago(incident.changed_at, now)} ago)"
        why = incident.resolved.value.replace("_", " ") if incident.resolved is not None else "resolved"
        yield from _entry(incident, names, why, when, short_id(incident.id, ids), screen)
    if more:
        yield f"  and {more:,} older ones: budgetd alerts --all"
    if ids:
        yield ""
        yield f"The whole story of one: budgetd alerts show {short_id(ids[0], ids)}"


def _entry(incident: Incident, names: Naming, word: str, when: str, id: str, screen: Terminal) -> Iterator[str]:
    who = name(scope_words(names.labels(incident.scope), incident.rule), screen.columns // 2)
    colour = SEVERITY_COLOURS[incident.severity] if incident.state is not State.RESOLVED else "dim"
    yield screen.line(f"  {id}  {who}", when)
    figures = _figures(incident)
    rule = f"rule {incident.rule}" if is_of_rule(incident) else incident.rule
    said = ", ".join(part for part in (figures, rule) if part)
    first, *others = screen.wrapped(f"{word}: {said}", cells(id) + 4)
    yield first.replace(word, screen.paint(word, colour), 1)
    yield from others


def _figures(incident: Incident) -> str:
    if not is_of_rule(incident):
        return ""
    share = percent(share_of(incident.amount, incident.limit))
    used = f"{money.dollars(incident.amount)} of {money.round_dollars(incident.limit)}"
    return f"{used} ({share}) in {incident.period.name}"


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
    for event in story(notices, records):
        if event.at.date() != day:
            day = event.at.date()
            yield ""
            yield screen.paint(f"{event.at:%A} {day.day} {event.at:%B %Y} (UTC)", "bold")
        yield from _event(event, screen)
    if not notices:
        yield "  nobody was told anything yet"
    waiting = [r.delivery for of in records.values() for r in of if r.delivery.state is DeliveryState.PENDING]
    if waiting:
        yield ""
        yield screen.paint("Still to come", "bold")
    for delivery in {delivery.id: delivery for delivery in waiting}.values():
        yield from _waiting(delivery, screen, now)


def _standing(incident: Incident, names: Naming, screen: Terminal) -> Iterator[str]:
    who = name(scope_words(names.labels(incident.scope), incident.rule), screen.columns // 2)
    yield screen.line(screen.paint(who, "bold"), incident.id)
    if incident.state is State.RESOLVED:
        why = f" ({incident.resolved.value.replace('_', ' ')})" if incident.resolved is not None else ""
        state = f"Ended {instant(incident.changed_at)}{why}."
    else:
        state = f"{incident.severity.value.capitalize()}, open since {instant(incident.opened_at)}."
    announced = ", ".join(map(percent, incident.announced))
    parts = [state, f"{_figures(incident)}." if is_of_rule(incident) else "", f"Rule {name(incident.rule)}."]
    if announced and is_of_rule(incident):
        parts.append(f"Announced: {announced}.")
    if incident.held is not None and incident.held in HELD:
        parts.append(HELD[incident.held])
    yield from screen.wrapped(" ".join(part for part in parts if part), 0)


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
        yield from screen.wrapped(for_text(attempt.detail), 15)


def _waiting(delivery: Delivery, screen: Terminal, now: datetime) -> Iterator[str]:
    seconds = (delivery.next_attempt_at - now).total_seconds()
    due = "due now" if seconds <= 0 else f"next try {instant(delivery.next_attempt_at)}"
    yield f"  {fit(name(delivery.channel), 10)}  attempt {delivery.attempts + 1}, {due}"
