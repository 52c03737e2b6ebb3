"""What people ask of alerts: silence, acknowledge, resolve. The same answers in a running daemon and without one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from budgetd import mutes, notices
from budgetd.escaping import for_text, shorten
from budgetd.evaluation import Evaluator
from budgetd.lifecycle import is_of_rule
from budgetd.model import MATCHABLE, Act, Changes, Incident, Intervention, Match, Silence, SilenceEnd, State, identity
from budgetd.nearest import nearest
from budgetd.overview import naming
from budgetd.scope import Naming, tag_of
from budgetd.store import Memory, Store

# Keys that a silence can match by, beside the dimensions.
OWN_KEYS = ("incident", "rule", "type", "severity")
LONGEST_SILENCE = timedelta(days=366)
COMMENT_LIMIT, AUTHOR_LIMIT = 500, 60
MOST_PATTERNS = 50
# Prefixes shorter than this, beside the kind, would only be typing errors.
LEAST_PREFIX = 3


Kept = TypeVar("Kept")


class DeskError(Exception):
    """It cannot be done; the text says why, and what would."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody wants. `subject`: the start of an incident's or a silence's id.

    Of a silence: `match`, and either `lasts` or an `until` other than TIME.
    """

    act: Act
    author: str
    comment: str = ""
    subject: str = ""
    match: Match = ()
    until: SilenceEnd = SilenceEnd.TIME
    lasts: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """Does what is asked, in one transaction. Every method raises DeskError and StoreError."""

    store: Store
    evaluator: Evaluator

    def do(self, ask: Ask, now: datetime) -> str:
        """Do it, and say in a sentence or two what came of it."""
        ask = replace(
            ask, author=_line(ask.author, AUTHOR_LIMIT) or "somebody", comment=_line(ask.comment, COMMENT_LIMIT)
        )
        doing: Mapping[Act, Callable[[Ask, datetime], str]] = {
            Act.SILENCE: self._silence,
            Act.END_SILENCE: self._end_silence,
            Act.ACKNOWLEDGE: self._acknowledge,
            Act.UNACKNOWLEDGE: self._unacknowledge,
            Act.RESOLVE: self._resolve,
        }
        return doing[ask.act](ask, now)

    # --- silences --------------------------------------------------------------------------------

    def _silence(self, ask: Ask, now: datetime) -> str:
        memory = self.store.recall()
        names = naming(memory)
        match = self._checked(ask.match, memory)
        covered = self._open_ones(match, memory, names)
        silence = Silence(
            id=identity("sil", ask.author, now.isoformat(), *(f"{key}={patterns}" for key, patterns in match)),
            match=match,
            author=ask.author,
            comment=ask.comment,
            created_at=now,
            ends_at=_end(ask, covered, now),
            until=ask.until,
            covers={each.id: max(each.announced, default=Decimal(0)) for each in covered}
            if ask.until is not SilenceEnd.TIME
            else {},
        )
        self._keep(ask, silence.id, now, silence)
        return f"Silenced: {words(silence)}.\n{_open_now(covered)} End it with: budgetd silence end {silence.id[:12]}"

    def _end_silence(self, ask: Ask, now: datetime) -> str:
        found = find(ask.subject, {each.id: each for each in self.store.silences()}, "silence")
        if not mutes.is_active(found, now):
            raise DeskError(f"silence {found.id} is over already")
        self._keep(ask, found.id, now, replace(found, ended_at=now, ended_by=ask.author))
        return f"Ended: {words(found)}. What it kept back is sent now."

    def _checked(self, match: Match, memory: Memory) -> Match:
        """The match with whole incident ids; a word that names nothing is more often a typing error than meant."""
        if not match:
            raise DeskError(
                "say what to silence: --rule, --workspace, --severity, --incident ...; --rule '*' is all of it"
            )
        known = dict(match)
        unknown = [key for key in known if key not in OWN_KEYS and key not in MATCHABLE and tag_of(key) is None]
        if unknown:
            raise DeskError(f"{for_text(unknown[0])!r} is nothing to match by; there are {', '.join(_KEYS)}")
        if sum(map(len, known.values())) > MOST_PATTERNS:
            raise DeskError(f"a silence takes at most {MOST_PATTERNS} words to match by")
        self._require("rule", known.get("rule", ()), [*self.evaluator.rulebook.by_id, "budgetd:"])
        workspaces = {text for each in memory.workspaces.values() for text in (each.id, each.name)}
        self._require("workspace", known.get("workspace", ()), {*workspaces, "default", "Default"})
        self._require("severity", known.get("severity", ()), ["info", "warning", "critical"])
        if "incident" in known:
            incidents = {incident.id: incident for incident in self.store.incidents()}
            known["incident"] = tuple(find(each, incidents, "incident").id for each in known["incident"])
        return tuple(known.items())

    def _require(self, what: str, patterns: Collection[str], there_are: Collection[str]) -> None:
        for pattern in patterns:
            wild = not {"*", "?", "["}.isdisjoint(pattern) or pattern.startswith("budgetd:")
            if wild or pattern in there_are:
                continue
            near = nearest(pattern, there_are)
            hint = f"; did you mean {near!r}?" if near else ""
            raise DeskError(f"there is no {what} {for_text(pattern)!r}{hint}")

    def _open_ones(self, match: Match, memory: Memory, names: Naming) -> list[Incident]:
        rules = self.evaluator.rulebook.by_id
        return [
            incident
            for incident in memory.incidents.values()
            if incident.state is not State.RESOLVED
            and mutes.takes(match, notices.known_by(incident, rules.get(incident.rule), names))
        ]

    # --- incidents -------------------------------------------------------------------------------

    def _acknowledge(self, ask: Ask, now: datetime) -> str:
        incident = self._incident(ask.subject)
        if incident.acknowledged is not None and incident.acknowledged == max(incident.announced, default=None):
            raise DeskError(f"{incident.id} is acknowledged already; its next step will be told")
        changes = self._keep(ask, incident.id, now)
        return f"Acknowledged {incident.id}: no reminders; its next step is told again. {_told(changes)}"

    def _unacknowledge(self, ask: Ask, now: datetime) -> str:
        incident = self._incident(ask.subject)
        if incident.acknowledged is None:
            raise DeskError(f"nobody has acknowledged {incident.id}")
        self._keep(ask, incident.id, now)
        return f"{incident.id} is acknowledged by nobody now; reminders go on."

    def _resolve(self, ask: Ask, now: datetime) -> str:
        incident = self._incident(ask.subject)
        changes = self._keep(ask, incident.id, now)
        return f"Resolved {incident.id}: it speaks again at its next step. {_told(changes)}"

    def _incident(self, subject: str) -> Incident:
        incident = find(subject, {each.id: each for each in self.store.incidents()}, "incident")
        if not is_of_rule(incident):
            raise DeskError(f"{incident.id} is about budgetd itself; it ends by itself when that is mended")
        if incident.state is State.RESOLVED:
            raise DeskError(f"{incident.id} has ended already")
        return incident

    def _keep(self, ask: Ask, subject: str, now: datetime, silence: Silence | None = None) -> Changes:
        done = Intervention(now, ask.author, ask.act, subject, ask.comment)
        return self.evaluator.people(done, now, silence)


_KEYS = (*OWN_KEYS, *MATCHABLE, "tag NAME=VALUE")


def begins(id: str, prefix: str) -> bool:
    """Whether the id begins so, with its kind (`inc_3f2a`) or without (`3f2a`)."""
    return id.startswith(prefix) or id.partition("_")[2].startswith(prefix)


def is_too_short(prefix: str) -> bool:
    """Whether so little of an id would more likely be a typing error."""
    return len(prefix.rpartition("_")[2]) < LEAST_PREFIX


def find(prefix: str, kept: Mapping[str, Kept], what: str) -> Kept:
    """The one whose id begins so. Raises DeskError."""
    if is_too_short(prefix):
        raise DeskError(f"{for_text(prefix)!r} is too short; give at least {LEAST_PREFIX} characters of the id")
    found = [known for known in kept if begins(known, prefix)]
    if len(found) == 1:
        return kept[found[0]]
    if not found:
        raise DeskError(f"no {what} begins with {for_text(prefix)!r}")
    raise DeskError(f"{for_text(prefix)!r} means {len(found)} of them; give more of the id: {', '.join(found[:5])}")


def words(silence: Silence) -> str:
    """What is silenced, and until when: `rule=jumps severity=warning until 18 Nov 2026 14:00 UTC`."""
    what = " ".join(f"{key}={','.join(map(for_text, patterns))}" for key, patterns in silence.match)
    until = {
        SilenceEnd.TIME: f"until {silence.ends_at:%d %b %Y %H:%M} UTC",
        SilenceEnd.NEXT_STEP: "until the next step",
        SilenceEnd.PERIOD_END: "until the end of the period",
    }
    return f"{what} {until[silence.until]}"


def _end(ask: Ask, covered: Collection[Incident], now: datetime) -> datetime:
    if ask.until is SilenceEnd.TIME:
        if ask.lasts is None or not timedelta(0) < ask.lasts <= LONGEST_SILENCE:
            raise DeskError(
                f"a silence lasts from a moment to {LONGEST_SILENCE.days} days: --for 2h, or --until next_step"
            )
        return now + ask.lasts
    ends = [each.period.end for each in covered if each.period.end > now]
    if not ends:
        raise DeskError("nothing is firing that this matches, so it has no next step and no period: use --for 2h")
    return max(ends)


def _open_now(covered: Collection[Incident]) -> str:
    count = len(covered)
    return f"{count or 'No'} open incident{'' if count == 1 else 's'} match{'es' if count == 1 else ''} it now."


def _told(changes: Changes) -> str:
    channels = sorted({delivery.channel for delivery in changes.deliveries})
    return f"Told: {', '.join(channels)}." if channels else "No channel had been told of it, so none is told now."


def _line(text: Any, limit: int) -> str:
    return shorten(for_text(" ".join(str(text).split())), limit)
