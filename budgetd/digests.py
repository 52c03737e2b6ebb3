"""The digests of the rules file: composed when they are due, and sent once for each time that they are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from budgetd import routing
from budgetd.background import Outlook
from budgetd.digest import Known, compose
from budgetd.evaluation import Evaluator, Judge
from budgetd.model import Changes, Delivery, Incident, Label, Notice, Reason, RuleState, Severity, identity
from budgetd.notices import of_operation
from budgetd.overview import rule_readings
from budgetd.period import Period
from budgetd.routing import Addressed
from budgetd.rulebook import DigestPart
from budgetd.schedule import Schedule
from budgetd.store import Memory, StateReader, Store
from budgetd.summary import DIGEST_RULE, Digest

# So long a digest waits for the figures of its last day; then it goes out and says what is missing.
PATIENCE = timedelta(hours=6)
# After a start the sources are given so long to tell what happened meanwhile.
AFTER_A_START = timedelta(minutes=10)
# The latest deliveries, of which those of the period are looked at.
DELIVERIES = 2_000


@dataclass(slots=True)
class Digests:
    """Sends what is due. `settle`: how long to wait for the sources after something was first seen to be due."""

    store: Store
    evaluator: Evaluator
    settle: timedelta = AFTER_A_START
    _done: set[tuple[str, Schedule, datetime]] = field(default_factory=set)
    _seen: dict[tuple[str, Schedule, datetime], datetime] = field(default_factory=dict)
    _rules: str = ""

    def send_due(self, now: datetime) -> tuple[Delivery, ...]:
        """Put every digest that is due into the outbox, once for each time. Raises StoreError.

        Only the newest time counts, however long nobody looked; none from before the digest was first in the rules.
        """
        rulebook = self.evaluator.rulebook
        if rulebook.digest != self._rules:
            # What an edit took away is forgotten by the state, too.
            self._done.clear()
            self._rules = rulebook.digest
        due = [(entry, entry.schedule.last(now)) for entry in rulebook.digests]
        waiting = [(entry, at) for entry, at in due if (entry.id, entry.schedule, at) not in self._done]
        if not waiting:
            return ()
        memory = self.store.recall()
        return tuple(made for entry, at in waiting for made in self._consider(entry, at, memory, now))

    def _consider(self, entry: DigestPart, due: datetime, memory: Memory, now: datetime) -> tuple[Delivery, ...]:
        key = (entry.id, entry.schedule, due)
        about = label(entry, due)
        if self._known_since(entry, memory, now) > due or self.store.notices(identity("inc", DIGEST_RULE, about.id)):
            self._done.add(key)
            return ()
        patient_until = max(due + PATIENCE, self._seen.setdefault(key, now) + self.settle)
        if now < patient_until and not is_whole(self.store, entry.schedule.covered(due), memory):
            return ()
        made = self._send(entry, due, memory, now)
        self._done.add(key)
        return made

    def _known_since(self, entry: DigestPart, memory: Memory, now: datetime) -> datetime:
        """Since when the digest has been in the rules with this schedule; what was due before nobody waits for."""
        state = memory.rules.get(entry.rule)
        if state is None or state.stakes != entry.schedule.words:
            state = RuleState(entry.rule, since=now, through=now, stakes=entry.schedule.words, shape="digest")
            self.store.commit(Changes(at=now, rules=(state,)))
        return state.since

    def _send(self, entry: DigestPart, due: datetime, memory: Memory, now: datetime) -> tuple[Delivery, ...]:
        incident, notice = noticed(entry, due, self.evaluator, self.store, memory, now)
        rulebook = self.evaluator.rulebook
        addressed = Addressed(notice, frozenset(entry.notify))
        made = routing.deliveries([addressed], tuple(rulebook.channels), rulebook.pagers, memory.told, now)
        self.store.commit(Changes(at=now, incidents=(incident,), notices=(notice,), deliveries=made))
        return made


def label(entry: DigestPart, due: datetime) -> Label:
    """What makes it one of a kind: the digest, and the instant at which it was due."""
    return Label("digest", f"{entry.id}/{due.isoformat()}", entry.id)


def is_whole(state: StateReader, period: Period, memory: Memory) -> bool:
    """Whether every UTC day of the period is known to its end."""
    if memory.through is None or memory.through < period.end:
        return False
    return state.known_days().issuperset(period.days())


def noticed(
    entry: DigestPart, due: datetime, judge: Judge, state: StateReader, memory: Memory, now: datetime
) -> tuple[Incident, Notice]:
    """The digest as a notice that informs, and pages nobody. Raises StoreError."""
    indexes = judge.known(memory)
    digest = composed(entry, due, judge, state, memory)
    naming = indexes.every.naming
    incident, notice = of_operation(naming, label(entry, due), Reason.DIGEST, Severity.INFO, "", now)
    facts = replace(
        notice.facts,
        period=digest.spent.period,
        period_kind=digest.every if digest.every in ("day", "month") else "week",
        complete=not digest.spent.missing,
        data_through=memory.through,
        digest=digest,
    )
    return incident, replace(notice, facts=facts)


def composed(entry: DigestPart, due: datetime, judge: Judge, state: StateReader, memory: Memory) -> Digest:
    """The content of the digest, by what is known now. Raises StoreError."""
    indexes = judge.known(memory)
    period = entry.schedule.covered(due)
    before = entry.schedule.before(period)
    days = state.known_days()
    told = [incident for incident in state.incidents() if incident.changed_at >= period.start]
    known = Known(
        days=state.cost_days(before.start.date(), period.end.date()),
        readings=[
            rule_readings(rule, indexes, Outlook(indexes.of(rule)), memory, days)
            for rule in judge.rulebook.rules
            if rule.kind == "cap"
        ],
        told=[(incident, state.notices(incident.id)) for incident in told if incident.rule != DIGEST_RULE],
        records=state.deliveries(limit=DELIVERIES),
        outbox=memory.outbox,
        channels=tuple(judge.rulebook.channels),
        naming=indexes.every.naming,
        forecast=lambda reading: reading.forecast.expected if reading.forecast is not None else None,
    )
    return compose(entry.id, entry.schedule, due, known)


__all__ = ["Digests", "composed", "noticed"]
