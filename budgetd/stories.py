"""An incident's story: what was decided, to whom it went, what each service answered, as dated lines.

Whoever knows of more that happened (a silence, an acknowledgement) merges lines of their own: `in_order` sorts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from budgetd import wording
from budgetd.escaping import for_text, name
from budgetd.model import Act, Attempt, Delivery, DeliveryState, Intervention, Kind, Notice, Outcome, Reason, Silence
from budgetd.store import DeliveryRecord

Records = Mapping[str, Sequence[DeliveryRecord]]

GOOD, BAD = "good", "bad"

_ANSWERS = {
    Outcome.DELIVERED: "delivered",
    Outcome.RETRY: "failed, to be tried again",
    Outcome.RATE_LIMITED: "told to wait",
    Outcome.REJECTED: "message refused, to be sent again in a simpler form",
    Outcome.UNAUTHORISED: "login refused",
    Outcome.GONE: "destination gone",
    Outcome.UNKNOWN: "nobody knows whether it arrived",
}
_DEEDS = {
    Act.ACKNOWLEDGE: "acknowledged it",
    Act.UNACKNOWLEDGE: "took the acknowledgement back",
    Act.RESOLVE: "resolved it by hand",
}
# Of the same instant: what was decided, then what that put an end to, then the rest.
_FIRST = {"decided": 0, "superseded": 1}
# What nobody was sent, and why not.
_TOLD_TO_NOBODY = {
    Reason.PERIOD_OVER: "told to nobody: the end of a period is silent, except for pagers that are open",
}
_WITHOUT_TRIGGER = "told to nobody: no channel of the rules file had been sent its trigger"
_WITHOUT_CHANNEL = "told to nobody: there was no channel for it"


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened at an instant.

    `what` is the word for it in `--json`: decided, by_hand, queued, tried, superseded, given_up. `depth` is 0 for the
    incident's own, 1 for a message's, 2 for an attempt's. `tone` is a severity, GOOD or BAD. `repeated` counts those
    alike right after it, the last one at `last`.
    """

    at: datetime
    what: str
    words: str
    id: str = ""
    details: tuple[str, ...] = ()
    channel: str = ""
    depth: int = 0
    tone: str = ""
    repeated: int = 0
    last: datetime | None = None


def story(notices: Sequence[Notice], records: Records) -> tuple[Line, ...]:
    """All that happened to the notices, in the order of time. `records`: each notice's deliveries, by its id."""
    after = {notice.id: following for notice, following in pairwise(notices)}
    lines = [
        line for notice in notices for line in _of_notice(notice, after.get(notice.id), records.get(notice.id, ()))
    ]
    return in_order(lines)


def in_order(lines: Iterable[Line]) -> tuple[Line, ...]:
    """By time; of the same instant what was decided first. Attempts of a message that fail alike in a row are one."""
    merged: list[Line] = []
    for line in sorted(lines, key=lambda each: (each.at, _FIRST.get(each.what, 2))):
        before = merged[-1] if merged else None
        if before is not None and _alike(before, line):
            merged[-1] = replace(before, repeated=before.repeated + 1, last=line.at)
        else:
            merged.append(line)
    return tuple(merged)


def _alike(one: Line, other: Line) -> bool:
    same = (one.what, one.id, one.details, one.tone) == (other.what, other.id, other.details, other.tone)
    return same and one.what == "tried" and one.tone == BAD and _answer(one) == _answer(other)


def _answer(line: Line) -> str:
    """The words of an attempt without its number and time."""
    return line.words.partition(": ")[2].partition(" (")[0]


# --- by hand -----------------------------------------------------------------------------------


def done(intervention: Intervention) -> Line:
    """What somebody did to the incident, and why."""
    words = f"{name(intervention.author)} {_DEEDS[intervention.act]}"
    details = (for_text(intervention.comment),) if intervention.comment else ()
    return Line(intervention.at, "by_hand", words, details=details)


def silenced(silence: Silence, what: str) -> Line:
    """Somebody wanted to hear nothing of it. `what` says of what, and until when."""
    details = (what, *([for_text(silence.comment)] if silence.comment else []))
    return Line(silence.created_at, "by_hand", f"{name(silence.author)} began a silence", silence.id, details)


# --- a notice ----------------------------------------------------------------------------------


def _of_notice(notice: Notice, following: Notice | None, records: Sequence[DeliveryRecord]) -> Iterator[Line]:
    yield _decided(notice, silent=not records)
    # Those that came into being together are told together, by channel.
    for record in sorted(records, key=lambda each: (each.delivery.created_at, each.delivery.channel)):
        yield _queued(record.delivery)
        yield from (_tried(attempt, record.delivery) for attempt in record.attempts)
        yield from _ended(record, following)


def _decided(notice: Notice, *, silent: bool) -> Line:
    details = [wording.title(notice)]
    if notice.facts.text:
        details.append(name(notice.facts.text, 1200))
    if silent:
        details.append(_why_nobody(notice))
    words = f"{notice.reason.value.replace('_', ' ')}, {notice.severity.value}"
    return Line(notice.created_at, "decided", words, notice.id, tuple(details), tone=notice.severity.value)


def _why_nobody(notice: Notice) -> str:
    usual = _WITHOUT_TRIGGER if notice.kind is Kind.RESOLVE else _WITHOUT_CHANNEL
    return _TOLD_TO_NOBODY.get(notice.reason, usual)


# --- its messages ------------------------------------------------------------------------------


def _queued(delivery: Delivery) -> Line:
    others = len(delivery.notices) - 1
    page = " (a page)" if delivery.page else ""
    together = f", with {others} other notice{'s' if others > 1 else ''}" if others > 0 else ""
    details = [f"instead: {name(delivery.because, 600)}"] if delivery.because else []
    if delivery.muted_until is not None:
        details.append(f"held back until {wording.instant(delivery.muted_until)} by {name(delivery.muted_by, 600)}")
    words = f"to {wording.channel(name(delivery.channel))}{page}{together}"
    return Line(delivery.created_at, "queued", words, delivery.id, tuple(details), delivery.channel, depth=1)


def _tried(attempt: Attempt, delivery: Delivery) -> Line:
    outcome = attempt.outcome
    answer = _ANSWERS[outcome] if outcome is not None else "under way, or the process ended meanwhile"
    took = ""
    if attempt.ended_at is not None:
        took = f" ({(attempt.ended_at - attempt.started_at).total_seconds():.1f} s)"
    good = outcome is Outcome.DELIVERED
    return Line(
        at=attempt.ended_at or attempt.started_at,
        what="tried",
        words=f"{wording.channel(name(delivery.channel))}, attempt {attempt.number}: {answer}{took}",
        id=delivery.id,
        details=(for_text(attempt.detail),) if attempt.detail and not good and outcome is not None else (),
        channel=delivery.channel,
        depth=2,
        tone=GOOD if good else BAD,
    )


def _ended(record: DeliveryRecord, following: Notice | None) -> Iterator[Line]:
    """How a message ended that was not delivered."""
    delivery, attempts = record.delivery, record.attempts
    last = attempts[-1].ended_at if attempts and attempts[-1].ended_at is not None else delivery.created_at
    channel = wording.channel(name(delivery.channel))
    if delivery.state is DeliveryState.SUPERSEDED:
        at = max(last, following.created_at) if following is not None else last
        gathered = ", or one message for all that was held back," if delivery.muted_by else ""
        words = f"{channel}: not sent any more, a newer state of the incident{gathered} takes its place"
        yield Line(at, "superseded", words, delivery.id, (), delivery.channel, depth=2)
    elif delivery.state is DeliveryState.GIVEN_UP:
        tries = f"after {len(attempts)} attempt{'s' if len(attempts) > 1 else ''}" if attempts else "without an attempt"
        why = () if attempts else ("the channel is no longer in the rules file",)
        yield Line(last, "given_up", f"{channel}: given up {tries}", delivery.id, why, delivery.channel, 2, BAD)
