"""The oracle is worth its name only if it finds what is broken on purpose: each of these daemons must be caught."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from budgetd.addressing import Addressing
from budgetd.backoff import deadline
from budgetd.delivery import Answer
from budgetd.evaluation import Evaluator, Observation
from budgetd.fallback import Fallback, Late
from budgetd.handover import Handover
from budgetd.http import Getter
from budgetd.message import Flavour, render_safely
from budgetd.model import (
    Act,
    Changes,
    CostDay,
    Delivery,
    DeliveryState,
    Intervention,
    Notice,
    Outcome,
    Receipt,
    Report,
    Silence,
    SourceError,
    State,
    Superseded,
    identity,
)
from budgetd.outbox import Outbox
from budgetd.period import DAY, midnight
from budgetd.quiet import Quiet
from budgetd.rulebook import Rulebook
from budgetd.scope import Naming
from budgetd.sources.cost_report import CostReport, window
from budgetd.store import Memory, Store
from budgetd.stores import reading
from budgetd.stores.records import instant_text
from budgetd.stores.sqlite import SqliteStore
from tests.simulation.world import Parts, Plan, SimulationError, live

SEEDS = range(1, 9)
DAYS = 60
_HIGHEST = Decimal(1_000_000)


class MarksBeforeItSends(Outbox):
    """healthchecks, elastalert2: delivered as soon as it is tried."""

    def _send(self, delivery: Delivery, now: datetime) -> None:
        self._store.begin_attempt(delivery.id, now)
        self._store.settle(delivery.id, Receipt(Outcome.DELIVERED), now, state=DeliveryState.DELIVERED)
        message = render_safely(delivery, now, self._flavours.get(delivery.channel, Flavour.TEXT))
        self._lanes.offer(delivery.channel, message, deadline(delivery))

    def settle(self, answer: Answer, now: datetime) -> bool:
        return answer.receipt.outcome is Outcome.DELIVERED


class OneSuccessHidesFailures(Outbox):
    """elastalert2: when one channel took it, it is told."""

    def settle(self, answer: Answer, now: datetime) -> bool:
        if answer.receipt.outcome is Outcome.RETRY:
            answer = replace(answer, receipt=Receipt(Outcome.DELIVERED))
        return super().settle(answer, now)


class NewIdOnEachAttempt(Outbox):
    """No idempotency: an attempt that is repeated is another message."""

    def _send(self, delivery: Delivery, now: datetime) -> None:
        self._store.begin_attempt(delivery.id, now)
        message = render_safely(delivery, now, self._flavours.get(delivery.channel, Flavour.TEXT))
        message = replace(message, id=identity("dlv", delivery.id, delivery.attempts))
        self._in_flight[message.id] = delivery
        self._lanes.offer(delivery.channel, message, deadline(delivery))


class NeverHandsOver(Handover):
    """What a channel does not take waits for it, whoever else is named."""

    def hand_over(self, late: Sequence[Late], now: datetime) -> None:
        pass


class TakesItAway(Handover):
    """Once a fallback has it, the channel that it was for never gets it."""

    def hand_over(self, late: Sequence[Late], now: datetime) -> None:
        super().hand_over(late, now)
        done = [each.delivery for each in late if each.delivery.id in self._handed_over]
        gone = tuple(Superseded(each.id, notice.id) for each in done for notice in each.notices)
        if gone:
            self._store.commit(Changes(now, superseded=gone))


class NeverOvertaken(Fallback):
    def _is_overtaken(self, notice: Notice) -> bool:
        return False


class TellsWhatIsOver(Handover):
    """What the fallback has heard the end of, it is told again as if it began."""

    def _fallback(self, name: str, late: Iterable[Late], outbox: Iterable[Delivery]) -> Fallback:
        known = super()._fallback(name, late, outbox)
        return NeverOvertaken(known.channel, known.page, known.said, known.kept_back)


def handing_over(kind: type[Handover]) -> type[Outbox]:
    """An outbox with another handover."""

    class Mutant(Outbox):
        def __init__(self, store: Store, evaluator: Evaluator, *others: Any) -> None:
            super().__init__(store, evaluator, *others)
            self._handover = kind(store, evaluator)

    return Mutant


class FallsBackTooSoon(Outbox):
    """The fallback gets what has met one error, whatever `after` says."""

    def settle(self, answer: Answer, now: datetime) -> bool:
        delivery = self._in_flight.get(answer.delivery)
        if delivery is not None and answer.receipt.outcome is Outcome.RETRY:
            self._handover.hand_over([Late(delivery, answer.receipt.detail)], now)
        return super().settle(answer, now)


class TwoTransactions(Evaluator):
    """The figures and incidents first, the messages afterwards; a kill in between, and nobody is told."""

    def take(self, observation: Observation, now: datetime) -> Changes:
        changes = self.judge(observation, now)
        outgoing = Changes(now, notices=changes.notices, deliveries=changes.deliveries, superseded=changes.superseded)
        self._store.commit(replace(changes, notices=(), deliveries=(), superseded=()))
        self._store.commit(outgoing)
        return changes


class MissingIsZero(CostReport):
    """Prometheus and its kin: no answer is no spend."""

    def read(self, now: datetime, since: date | None) -> Report:
        try:
            return super().read(now, since)
        except SourceError:
            asked = window(now, since)
            days = [asked.start + DAY * number for number in range((asked.end - asked.start).days - 1)]
            made = tuple(CostDay(day, {}) for day in days)
            return Report(self.name, asked.start, asked.today, made, midnight(asked.today))


class AmountInTheIdentity(Evaluator):
    """Prometheus #3694: a notice is another one when the amount is another one, so each poll says it again."""

    def judge(self, observation: Observation, now: datetime, *, edited: bool = False) -> Changes:
        changes = super().judge(observation, now, edited=edited)
        known = {(notice.incident, notice.facts.step) for notice in changes.notices}
        again = [
            incident
            for incident in self._state.recall().incidents.values()
            if incident.state is State.OPEN and ":" not in incident.rule and (incident.id, None) not in known
        ]
        made = [
            replace(told, id=identity("evt", told.incident, told.facts.step, incident.amount))
            for incident in again
            for told in self._state.notices(incident.id)[-1:]
            if observation.report is not None and told.facts.amount != incident.amount
        ]
        deliveries = [
            Delivery(identity("dlv", channel, notice.id), channel, (notice,), now, now)
            for notice in made
            for channel in self.rulebook.channels
        ]
        return replace(changes, notices=(*changes.notices, *made), deliveries=(*changes.deliveries, *deliveries))


class ForwardOnly(CostReport):
    """A watermark that only goes forward: what is restated is never looked at again."""

    def __init__(self, api: Getter, *, through: datetime | None = None) -> None:
        super().__init__(api, through=through)
        self._seen: set[date] = set()

    def read(self, now: datetime, since: date | None) -> Report:
        report = super().read(now, since)
        fresh = tuple(day for day in report.days if day.day not in self._seen)
        self._seen |= {day.day for day in fresh}
        return replace(report, days=fresh)


class TotalIsThePartSeen(CostReport):
    """A page that fails on the way is left out, and what was read counts as all."""

    def read(self, now: datetime, since: date | None) -> Report:
        report = super().read(now, since)
        return replace(
            report, days=tuple(replace(day, lines=dict(list(day.lines.items())[:-1])) for day in report.days)
        )


class NeverSupersedes(Evaluator):
    """Every state of an incident is sent, however old."""

    def judge(self, observation: Observation, now: datetime, *, edited: bool = False) -> Changes:
        return replace(super().judge(observation, now, edited=edited), superseded=())


def forgetting_rules(store: SqliteStore) -> SqliteStore:
    recall, first = store.recall, [True]

    def forgetful() -> Memory:
        memory = recall()
        if first[0] and memory.rules:
            memory = replace(memory, rules={})
        return memory

    def commit(changes: Changes) -> None:
        SqliteStore.commit(store, changes)
        first[0] = first[0] and not changes.rules

    store.recall = forgetful  # type: ignore[method-assign]
    store.commit = commit  # type: ignore[method-assign]
    return store


def forgetting_incidents(store: SqliteStore) -> SqliteStore:
    """LiteLLM #35814: what was announced is kept in memory, so that a restart repeats everything."""
    recall, told = store.recall, set[str]()

    def forgetful() -> Memory:
        memory = recall()
        return replace(memory, incidents={known: each for known, each in memory.incidents.items() if known in told})

    def commit(changes: Changes) -> None:
        SqliteStore.commit(store, changes)
        told.update(incident.id for incident in changes.incidents)

    store.recall = forgetful  # type: ignore[method-assign]
    store.commit = commit  # type: ignore[method-assign]
    return store


def resolving_at_once(store: SqliteStore) -> SqliteStore:
    """One poll below the limit is enough: a correction that is corrected pages twice."""
    recall = store.recall

    def hasty() -> Memory:
        memory = recall()
        doubtful = {
            known: replace(each, state=State.DOUBTFUL)
            for known, each in memory.incidents.items()
            if each.state is State.OPEN
        }
        return replace(memory, incidents={**memory.incidents, **doubtful})

    store.recall = hasty  # type: ignore[method-assign]
    return store


def blind_for_ever(store: SqliteStore) -> SqliteStore:
    """Each failed poll is the first one: nobody hears that nothing is seen."""
    recall = store.recall

    def unaware() -> Memory:
        return replace(recall(), health={})

    store.recall = unaware  # type: ignore[method-assign]
    return store


class ForgetsWhatWaits(Evaluator):
    """What a silence or quiet time keeps back is never told."""

    def judge(self, observation: Observation, now: datetime, *, edited: bool = False) -> Changes:
        changes = super().judge(observation, now, edited=edited)
        return replace(changes, deliveries=tuple(each for each in changes.deliveries if not each.muted_by))


class NobodyHearsOfHands(Evaluator):
    """What somebody resolves by hand is over, and nobody who was told of it hears so."""

    def people(self, done: Intervention, now: datetime, silence: Silence | None = None) -> Changes:
        self._told = done.act is not Act.RESOLVE
        try:
            return super().people(done, now, silence)
        finally:
            self._told = True

    _told = True

    def _addressing(self, memory: Memory, naming: Naming, now: datetime) -> Addressing:
        return super()._addressing(memory if self._told else replace(memory, told={}), naming, now)


class TellsWhatIsOverAfterwards(Evaluator):
    """What began and ended in a quiet time is told at its end as if it were so."""

    def judge(self, observation: Observation, now: datetime, *, edited: bool = False) -> Changes:
        changes = super().judge(observation, now, edited=edited)
        held = {each.id for each in self._state.recall().outbox if each.muted_by and not each.attempts}
        return replace(changes, superseded=tuple(each for each in changes.superseded if each.delivery not in held))


class ForgetsOldAddresses(Evaluator):
    """After an edit what is owed to a channel's old address goes nowhere."""

    def reload(self, rulebook: Rulebook, now: datetime) -> Changes:
        return super().reload(replace(rulebook, retired={}), now)


class EvenCritical(Quiet):
    """A quiet time that keeps everything back, whatever it names."""

    @property
    def takes_critical(self) -> bool:
        return True


class KeepsCriticalBack(Evaluator):
    """Nobody is woken in a quiet time, whatever happens."""

    def __init__(self, store: Store, rulebook: Rulebook) -> None:
        super().__init__(store, _all_quiet(rulebook))

    def reload(self, rulebook: Rulebook, now: datetime) -> Changes:
        return super().reload(_all_quiet(rulebook), now)


def _all_quiet(rulebook: Rulebook) -> Rulebook:
    quiet = tuple(EvenCritical(each.id, each.when, each.match, each.channels) for each in rulebook.quiet)
    return replace(rulebook, quiet=quiet)


class EachByItself(Outbox):
    """At the end of a quiet time everything that waited is a message of its own."""

    def _gathered(self, delivery: Delivery, now: datetime) -> Delivery:
        return delivery


def changing(change: Callable[[Memory], Memory]) -> Callable[[SqliteStore], Store]:
    """A state that is remembered in another way than it was kept."""

    def wrong(store: SqliteStore) -> Store:
        recall = store.recall
        store.recall = lambda: change(recall())  # type: ignore[method-assign]
        return store

    return wrong


def acknowledged_by_nobody(memory: Memory) -> Memory:
    """An acknowledgement stops no reminders."""
    known = {name: replace(each, acknowledged=None) for name, each in memory.incidents.items()}
    return replace(memory, incidents=known)


def silenced_past_its_next_step(memory: Memory) -> Memory:
    """What was to be silent until the next step is silent until the period ends."""
    silences = tuple(replace(each, covers=dict.fromkeys(each.covers, _HIGHEST)) for each in memory.silences)
    return replace(memory, silences=silences)


_TOLD_AS_ITS_OWN = reading._TOLD.replace("'trigger'", "'trigger' AND delivery.because = ''")


def forgetting_fallbacks(store: SqliteStore) -> SqliteStore:
    """Who was told through a fallback was not told: nobody there hears that it is over."""
    recall = store.recall

    def forgetful() -> Memory:
        memory = recall()
        since = "" if memory.through is None else instant_text(memory.through - reading.RECALLED)
        own = set(map(tuple, store._database.rows(_TOLD_AS_ITS_OWN, (reading.HOME, since))))
        told = {
            incident: frozenset(channel for channel in channels if (incident, channel) in own)
            for incident, channels in memory.told.items()
        }
        return replace(memory, told=told)

    store.recall = forgetful  # type: ignore[method-assign]
    return store


MUTANTS: Mapping[str, Parts] = {
    "mark before send": Parts(outbox=MarksBeforeItSends),
    "two transactions": Parts(evaluator=TwoTransactions),
    "resolve on missing data": Parts(source=MissingIsZero),
    "the amount in the identity": Parts(evaluator=AmountInTheIdentity),
    "one success hides another's failure": Parts(outbox=OneSuccessHidesFailures),
    "a new id on each attempt": Parts(outbox=NewIdOnEachAttempt),
    "a watermark that only goes forward": Parts(source=ForwardOnly),
    "a part is the total": Parts(source=TotalIsThePartSeen),
    "nothing is superseded": Parts(evaluator=NeverSupersedes),
    "a baseline at every start": Parts(store=forgetting_rules),
    "announced steps in memory": Parts(store=forgetting_incidents),
    "resolved by one poll": Parts(store=resolving_at_once),
    "blind and silent": Parts(store=blind_for_ever),
    "no fallback": Parts(outbox=handing_over(NeverHandsOver)),
    "a fallback at the first error": Parts(outbox=FallsBackTooSoon),
    "a fallback that takes it away": Parts(outbox=handing_over(TakesItAway)),
    "a fallback that hears of what is over": Parts(outbox=handing_over(TellsWhatIsOver)),
    "no resolve through a fallback": Parts(store=forgetting_fallbacks),
    "no silence": Parts(store=changing(lambda memory: replace(memory, silences=()))),
    "what waits is forgotten": Parts(evaluator=ForgetsWhatWaits),
    "a resolve by hand in secret": Parts(evaluator=NobodyHearsOfHands),
    "what is over is told after a quiet time": Parts(evaluator=TellsWhatIsOverAfterwards),
    "no message for all that waited": Parts(outbox=EachByItself),
    "no end at an old address": Parts(evaluator=ForgetsOldAddresses),
    "a quiet time that keeps critical back": Parts(evaluator=KeepsCriticalBack),
    "a silence past its next step": Parts(store=changing(silenced_past_its_next_step)),
    "reminders of what somebody has": Parts(store=changing(acknowledged_by_nobody)),
}


# The seeds that find a mutant soonest, where it is rare; and those for which people must do more than usual.
SOONEST: Mapping[str, int] = {
    "resolve on missing data": 2,
    "resolved by one poll": 12,
    "blind and silent": 2,
    "a fallback that hears of what is over": 12,
    "a silence past its next step": 19,
    "a quiet time that keeps critical back": 22,
    "a resolve by hand in secret": 2,
    "no silence": 2,
    "no end at an old address": 9,
}
BUSY = frozenset({"reminders of what somebody has"})


def histories(parts: Parts, first: int, people: float) -> Iterator[str]:
    """What the oracle says of each history, as far as it says anything."""
    for seed in (first, *SEEDS):
        try:
            live(Plan(seed, DAYS, people=people), parts)
        except SimulationError as broken:
            yield str(broken).splitlines()[0]


@pytest.mark.parametrize("name", MUTANTS)
def test_the_oracle_catches_a_daemon_that_has(name: str) -> None:
    assert next(histories(MUTANTS[name], SOONEST.get(name, 1), 0.5 if name in BUSY else 0.1), None) is not None, (
        f"{name}: nobody noticed in {len(SEEDS)} histories"
    )
