"""What is kept back now, and until when: silences that people asked for, and the quiet times of the rules file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase

from budgetd.model import Incident, Kind, Match, Notice, Severity, Silence, SilenceEnd
from budgetd.quiet import Quiet

# One that begins where another ends is one long mute; more in a row than this nobody has written.
_MOST_IN_A_ROW = 100
# Rules with such names are budgetd's own watch over itself.
_OWN = "budgetd:"

Labels = Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class Mute:
    """Kept back until then; `by` says by what, for people."""

    until: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Item:
    """A notice and all that it can be known by. `incident` is None for budgetd's own matters."""

    notice: Notice
    labels: Labels
    incident: Incident | None = None


def takes(match: Match, labels: Labels) -> bool:
    """Whether every key has a pattern that matches one of the texts known for it."""
    return all(
        any(fnmatchcase(text, pattern) for pattern in patterns for text in labels.get(key, ()))
        for key, patterns in match
    )


@dataclass(frozen=True, slots=True)
class Mutes:
    """All that can keep a message back."""

    silences: tuple[Silence, ...] = ()
    quiet: tuple[Quiet, ...] = ()

    def of(self, item: Item, channel: str, *, page: bool, now: datetime) -> Mute | None:
        """Whether the notice waits on its way to that channel, and until when.

        Mutes that follow on each other are one. What tells of people's own doing never waits.
        """
        if item.notice.kind is Kind.ACKNOWLEDGE or not (self.silences or self.quiet):
            return None
        found: Mute | None = None
        for _ in range(_MOST_IN_A_ROW):
            at = now if found is None else found.until
            following = self._at(item, channel, page, at)
            if following is None:
                break
            found = following
        return found

    def of_all(self, items: Sequence[Item], channel: str, *, page: bool, now: datetime) -> Mute | None:
        """For several notices in one message: only when all of them wait; until the first need not any more."""
        found = [self.of(item, channel, page=page, now=now) for item in items]
        waiting = [mute for mute in found if mute is not None]
        return min(waiting, key=lambda mute: mute.until) if waiting and len(waiting) == len(found) else None

    def silenced(self, incident: Incident, labels: Labels, now: datetime) -> bool:
        """Whether a silence covers the incident as it is known by now."""
        top = max(incident.announced, default=None)
        return any(
            is_active(silence, now) and takes(silence.match, labels) and _covers(silence, incident, top)
            for silence in self.silences
        )

    def _at(self, item: Item, channel: str, page: bool, at: datetime) -> Mute | None:
        found = [*self._silences_at(item, at), *self._quiet_at(item, channel, page, at)]
        return max(found, key=lambda mute: mute.until, default=None)

    def _silences_at(self, item: Item, at: datetime) -> Iterable[Mute]:
        if item.notice.kind is Kind.RESOLVE:
            return  # whoever was told of the beginning is told of the end
        own = item.notice.facts.rule.startswith(_OWN)
        for silence in self.silences:
            if not is_active(silence, at) or (own and not _names_own(silence.match)):
                continue
            until = _until(silence, item)
            if until is not None and until > at and takes(silence.match, item.labels):
                yield Mute(until, silence_words(silence))

    def _quiet_at(self, item: Item, channel: str, page: bool, at: datetime) -> Iterable[Mute]:
        if page and item.notice.kind is Kind.RESOLVE:
            return  # nobody is woken by an end
        for quiet in self.quiet:
            if item.notice.severity is Severity.CRITICAL and not quiet.takes_critical:
                continue
            if quiet.channels and channel not in quiet.channels:
                continue
            until = quiet.when.until(at)
            if until is not None and takes(quiet.match, item.labels):
                yield Mute(until, f"the quiet time {quiet.id}")


def is_active(silence: Silence, now: datetime) -> bool:
    """Whether it has begun, was not ended by hand, and its time is not over."""
    return silence.ended_at is None and silence.created_at <= now < silence.ends_at


def silence_words(silence: Silence) -> str:
    """`a silence by alice (load test)`."""
    comment = f" ({silence.comment})" if silence.comment else ""
    return f"a silence by {silence.author}{comment}"


def _until(silence: Silence, item: Item) -> datetime | None:
    if silence.until is SilenceEnd.NEXT_STEP:
        covered = item.incident is not None and _covers(silence, item.incident, item.notice.facts.step)
        return silence.ends_at if covered else None
    if silence.until is SilenceEnd.PERIOD_END and item.incident is not None:
        return min(silence.ends_at, max(item.incident.period.end, silence.created_at))
    return silence.ends_at


def _covers(silence: Silence, incident: Incident, step: Decimal | None) -> bool:
    if silence.until is not SilenceEnd.NEXT_STEP:
        return True
    known = silence.covers.get(incident.id)
    return known is not None and (step is None or step <= known)


def _names_own(match: Match) -> bool:
    return any(key == "rule" and any(pattern.startswith(_OWN) for pattern in patterns) for key, patterns in match)
