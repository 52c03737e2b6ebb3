"""The straight line: what was read -> spend -> findings -> incidents, notices, deliveries -> one commit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from budgetd import background, blind, estimates, lifecycle, notices
from budgetd.addressing import Addressing
from budgetd.ledger import Ledger
from budgetd.lifecycle import Decision, Situation, Verdict
from budgetd.model import (
    BILLS,
    UNKNOWN_ORGANISATION,
    Act,
    Basis,
    Changes,
    CostDay,
    Drift,
    Facts,
    Health,
    Incident,
    Intervention,
    Kind,
    Label,
    Names,
    Notice,
    Organisation,
    Planned,
    RateTexts,
    Reason,
    Report,
    RuleState,
    Severity,
    Silence,
    SourceError,
    Workspace,
)
from budgetd.period import DAY
from budgetd.pricing import RateTable, UsageDay
from budgetd.rulebook import Rulebook
from budgetd.rules import Indexes, evaluate, history_needed
from budgetd.scope import Naming
from budgetd.store import Memory, StateReader, Store
from budgetd.wording import CLOCK


@dataclass(frozen=True, slots=True)
class Observation:
    """What a poll brought: a report, or the error that took its place. Names are None when they were not read.

    `skew`: the seconds by which the service's clock is ahead of ours, when it said. `used`: closed days of use, to
    learn prices from. `requests`: how many it took, those for names and those that failed included. `optional`: the
    source is good to have, and nobody is blind without it.
    """

    source: str
    report: Report | None = None
    error: SourceError | None = None
    organisation: Organisation | None = None
    workspaces: tuple[Workspace, ...] | None = None
    skew: float | None = None
    used: tuple[UsageDay, ...] = ()
    requests: int = 0
    optional: bool = False

    @property
    def read(self) -> Basis:
        """What was read: the bill, estimates, or hours that the vendor has priced beside both."""
        if self.source not in BILLS:
            return Basis.ESTIMATED
        return Basis.MIXED if self.optional else Basis.BILLED

    @property
    def is_only_the_start(self) -> bool:
        """Whether the source has yet to give a first report: it waits for what it needs, or taught prices first."""
        return self.report is None and self.error is None and bool(self.source)


class Judge:
    """Knows what follows from an observation. It reads the state and writes nothing.

    `lessons` are remarks on what the last observation taught about prices.
    """

    def __init__(self, state: StateReader, rulebook: Rulebook) -> None:
        self.rulebook = rulebook
        self._state = state
        self._ledger = Ledger(state)
        self._rates: RateTable | None = None
        self.lessons: tuple[str, ...] = ()

    @property
    def rates(self) -> RateTable | None:
        """What is known of prices; None before anything was judged, and after a failed commit.

        Any thread may ask, as for `billed_through`: both are replaced, never changed.
        """
        return self._rates

    def wanted_since(self, now: datetime) -> date | None:
        """The first UTC day that the rules need and that is not known; None when the history is whole."""
        known = self._state.billed_days()
        newest = now.date() - DAY * 2  # yesterday may not be out yet
        oldest = newest - DAY * history_needed(self.rulebook.rules)
        missing = (oldest + DAY * n for n in range((newest - oldest).days + 1))
        return next((day for day in missing if day not in known), None)

    def judge(self, observation: Observation, now: datetime, *, edited: bool = False) -> Changes:
        """What follows from the observation: all that would change. Nothing is written.

        A failed poll changes nothing but how long we have not seen. `edited`: the rules are new; what is known is
        evaluated by them.
        """
        memory = self._state.recall()
        naming = self._naming(memory, observation)
        addressing = self._addressing(memory, naming, now)
        indexes = self._ledger.open(self.rulebook.rules, naming, memory)
        intake = self._ledger.take(indexes, observation.report)
        verdict, states = Verdict(), tuple[RuleState, ...]()
        judged = edited or observation.report is not None
        if judged:
            known = self._known_rules(memory)
            situation = self._situation(naming, indexes, memory, known, observation, intake.billed_before)
            situation = replace(situation, silenced=addressing.silenced())
            findings = evaluate(self.rulebook.rules, indexes, known, memory.incidents.values(), intake.changed)
            verdict = lifecycle.step(situation, memory.incidents, findings, now)
            states = self._rule_states(indexes, known)
        sights = self._look(observation, memory, now)
        own = self._own_matters(intake.drifts, observation.report, naming, now)
        for sight in sights:
            if sight.decision is not None:
                besides = blind.is_seen_besides(memory.health, sight.health.source, now)
                blindness = notices.of_blindness(sight.decision, sight.health, naming, now, seen_besides=besides)
                own.append((sight.decision.incident, blindness))
        incidents = (*verdict.incidents, *(incident for incident, _ in own))
        rates = self._table(memory)
        made = (*self._notices(verdict, indexes, naming, rates, intake.days, now), *(notice for _, notice in own))
        sent = addressing.deliveries(made, incidents)
        return Changes(
            at=now,
            organisation=observation.organisation,
            workspaces=observation.workspaces or (),
            source=observation.source,
            cost_days=intake.days,
            through=observation.report.through if observation.report is not None else None,
            incidents=incidents,
            notices=made,
            deliveries=sent,
            superseded=addressing.superseded(made, sent),
            muted=addressing.muted(),
            rules=states,
            forgotten_rules=self._forgotten(memory) if judged else (),
            health=tuple(sight.health for sight in sights),
            drifts=intake.drifts,
            rates=self._learn(observation, memory),
            requests=observation.requests,
        )

    @property
    def billed_through(self) -> datetime | None:
        """How far the bill reaches, whichever source it comes from; None before anything was judged."""
        return self._ledger.billed_through

    def known(self, memory: Memory) -> Indexes:
        """Spend as the rules see it at present, by what was read already."""
        naming = self._naming(memory, Observation(source=""))
        return self._ledger.open(self.rulebook.rules, naming, memory)

    def _addressing(self, memory: Memory, naming: Naming, now: datetime) -> Addressing:
        return Addressing(self.rulebook, memory, naming, now)

    def _forgotten(self, memory: Memory) -> tuple[str, ...]:
        """The rules that were evaluated before and are not in the rulebook any more; digests are kept among them."""
        rules = {*self.rulebook.by_id, *(each.rule for each in self.rulebook.digests)}
        return tuple(rule for rule in memory.rules if rule not in rules)

    def _learn(self, observation: Observation, memory: Memory) -> tuple[RateTexts, ...] | None:
        """The rates to keep, when the days of use teach something new."""
        before, self.lessons = self._table(memory), ()
        if not observation.used:
            return None
        days = [day.day for day in observation.used]
        billed = self._state.cost_days(min(days), max(days) + DAY)
        after, self.lessons = estimates.learned(before, observation.used, billed)
        if after is before:
            return None
        self._rates = after
        return tuple((row.key, row.rate, row.origin, row.evidence, row.billed_as) for row in after.rows())

    def _table(self, memory: Memory) -> RateTable:
        """What is known of prices, read from the state where it was not yet."""
        if self._rates is None:
            self._rates = RateTable.from_rows(memory.rates)
        return self._rates

    def _own_matters(
        self, drifts: Iterable[Drift], report: Report | None, naming: Naming, now: datetime
    ) -> list[tuple[Incident, Notice]]:
        """What the operator should know, once each: a bill far from its estimate, tokens without a price, drift."""
        found = [
            (Label("day", f"drift/{each.day}", str(each.day)), Reason.DRIFT, estimates.drift_told(each))
            for each in drifts
            if estimates.is_worth_telling(each)
        ]
        unpriced = report.unpriced if report is not None else {}
        found += [
            (
                Label("model", f"unpriced/{model}/{kind}", model),
                Reason.UNPRICED,
                estimates.unpriced_told(model, kind, count),
            )
            for (model, kind), count in unpriced.items()
        ]
        departures = report.departures if report is not None else ()
        found += [(Label("api", f"contract/{each}", "the API"), Reason.CONTRACT_DRIFT, each) for each in departures]
        told = [
            notices.of_operation(naming, about, reason, Severity.WARNING, text, now) for about, reason, text in found
        ]
        return [(incident, notice) for incident, notice in told if not self._state.notices(incident.id)]

    def _naming(self, memory: Memory, observation: Observation) -> Naming:
        organisation = observation.organisation or memory.organisation or UNKNOWN_ORGANISATION
        workspaces = dict(memory.workspaces)
        workspaces.update((workspace.id, workspace) for workspace in observation.workspaces or ())
        return Naming(Names(organisation, workspaces), self.rulebook.groups)

    def _known_rules(self, memory: Memory) -> dict[str, RuleState]:
        """The rules that were evaluated before, as they are now; one that looks at something else is a new rule."""
        before = ((rule, memory.rules.get(rule.id)) for rule in self.rulebook.rules)
        return {rule.id: state for rule, state in before if state is not None and state.shape == rule.shape}

    def _situation(
        self,
        naming: Naming,
        indexes: Indexes,
        memory: Memory,
        known: dict[str, RuleState],
        observation: Observation,
        billed_before: datetime | None,
    ) -> Situation:
        rules = self.rulebook.by_id
        current = {name: rule.current(indexes.of(rule)) for name, rule in rules.items()}
        return Situation(
            organisation=naming.names.organisation.id,
            rules=rules,
            names=naming.names,
            current={name: period for name, period in current.items() if period is not None},
            unseen=frozenset(name for name in rules if name not in known),
            billed_before=billed_before,
            seen_before=memory.through,
            edited=frozenset(name for name, state in known.items() if state.stakes != rules[name].stakes),
            polled=observation.report is not None,
            read=observation.read,
            default_severity=self.rulebook.default_severity,
            first_look=observation.report is not None and observation.source not in memory.throughs,
        )

    def _rule_states(self, indexes: Indexes, known: dict[str, RuleState]) -> tuple[RuleState, ...]:
        """The rules were evaluated, unless there was nothing to evaluate them on. Only those that changed."""
        made = []
        for rule in self.rulebook.rules:
            through = indexes.of(rule).through
            if through is None or indexes.of(rule).latest() is None:
                continue
            before = known.get(rule.id)
            since = before.since if before is not None else through
            after = RuleState(rule.id, since, through, rule.stakes, rule.shape)
            if after != before:
                made.append(after)
        return tuple(made)

    def _look(self, observation: Observation, memory: Memory, now: datetime) -> list[blind.Sight]:
        """How the source is doing after the poll, and this machine's clock if it could be compared."""
        health, skew, sights = memory.health, observation.skew, list[blind.Sight]()
        source = health.get(observation.source, Health(observation.source))
        if observation.optional:
            sights.append(blind.good_to_have(source, observation.error, observation.report, now))
        elif observation.error is not None:
            sights.append(blind.not_seen(source, observation.error, now, health.values()))
        elif observation.report is not None:
            sights.append(blind.answered(source, observation.report.through, now, skew))
        if skew is not None:
            sights.append(blind.compared(health.get(CLOCK, Health(CLOCK)), skew, now))
        return sights

    def _notices(
        self,
        verdict: Verdict,
        indexes: Indexes,
        naming: Naming,
        rates: RateTable,
        fresh: Iterable[CostDay],
        now: datetime,
    ) -> list[Notice]:
        rules = self.rulebook.by_id
        known = background.gather(verdict.decisions, rules, indexes, rates, lambda days: self._lines(days, fresh))
        return [
            notices.of_rule(
                decision,
                rules.get(decision.incident.rule),
                naming,
                found.contributors,
                indexes.every.through,
                now,
                self._said(decision),
                forecast=found.forecast,
                history=found.history,
                increase=found.increase,
            )
            for decision, found in zip(verdict.decisions, known, strict=True)
        ]

    def _said(self, decision: Decision) -> Facts | None:
        """What was said last of an incident that ends."""
        said = self._state.notices(decision.incident.id) if decision.kind is Kind.RESOLVE else ()
        return said[-1].facts if said else None

    def _lines(self, wanted: Collection[date], accepted: Iterable[CostDay]) -> Iterator[CostDay]:
        """The cost lines of these UTC days: the days that were just accepted, the store's for the others."""
        fresh = {day.day: day for day in accepted}
        yield from (day for day in fresh.values() if day.day in wanted)
        missing = sorted((self._state.known_days() & frozenset(wanted)) - fresh.keys())
        for days in _together(missing):
            yield from self._state.cost_days(days[0], days[-1] + DAY)


class Evaluator(Judge):
    """Turns observations and edits of the rules into commits: each is one transaction."""

    def __init__(self, store: Store, rulebook: Rulebook) -> None:
        super().__init__(store, rulebook)
        self._store = store

    def take(self, observation: Observation, now: datetime, planned: Planned | None = None) -> Changes:
        """Evaluate what a poll brought, and keep it, with when the next is planned. Raises StoreError; then nothing
        was kept.
        """
        return self._commit(observation, now, planned=planned)

    def reload(self, rulebook: Rulebook, now: datetime) -> Changes:
        """Take an edited rulebook and evaluate what is known by it, at once; nothing is fetched. Raises StoreError."""
        self.rulebook = rulebook
        self._ledger.close()
        return self._commit(Observation(source=""), now, edited=True)

    def tell(
        self,
        about: Label,
        reason: Reason,
        severity: Severity,
        text: str,
        now: datetime,
        *,
        everybody: bool = False,
    ) -> Changes | None:
        """Tell the operators of budgetd's own trouble, once for each label. None when that was told before.

        A label of a channel leaves that channel out: it is the one that does not take messages. Where none of those
        that the routes name can hear it, the others are told, too. `everybody`: whatever the routes say. Raises
        StoreError.
        """
        memory = self._store.recall()
        naming = self._naming(memory, Observation(source=""))
        incident, notice = notices.of_operation(naming, about, reason, severity, text, now)
        if self._store.notices(incident.id):
            return None
        channels = [name for name in self.rulebook.channels if name != about.name]
        deaf = frozenset(run.channel for run in self._store.breakers().values() if run.is_open)
        made = self._addressing(memory, naming, now).alone(notice, incident, channels, deaf, everybody=everybody)
        changes = Changes(at=now, incidents=(incident,), notices=(notice,), deliveries=made)
        self._store.commit(changes)
        return changes

    def people(self, done: Intervention, now: datetime, silence: Silence | None = None) -> Changes:
        """Keep what somebody did: to an incident, or with a silence that is new or ended. Raises StoreError."""
        memory = self._store.recall()
        if silence is not None:
            others = tuple(each for each in memory.silences if each.id != silence.id)
            memory = replace(memory, silences=(*others, *((silence,) if silence.ended_at is None else ())))
        naming = self._naming(memory, Observation(source=""))
        verdict = self._verdict_of(done, memory, naming, now)
        made = tuple(self._by_hand(decision, done, memory, naming, now) for decision in verdict.decisions)
        addressing = self._addressing(memory, naming, now)
        sent = addressing.deliveries(made, verdict.incidents)
        changes = Changes(
            at=now,
            incidents=verdict.incidents,
            notices=made,
            deliveries=sent,
            superseded=addressing.superseded(made, sent),
            muted=addressing.muted(),
            silences=(silence,) if silence is not None else (),
            interventions=(done,),
        )
        self._store.commit(changes)
        return changes

    def _verdict_of(self, done: Intervention, memory: Memory, naming: Naming, now: datetime) -> Verdict:
        incident = memory.incidents.get(done.subject)
        if incident is None:
            return Verdict()
        if done.act is Act.ACKNOWLEDGE:
            return lifecycle.acknowledged(incident, now)
        if done.act is Act.UNACKNOWLEDGE:
            return lifecycle.not_acknowledged(incident, now)
        return lifecycle.resolved_by_hand(incident, now)

    def _by_hand(self, decision: Decision, done: Intervention, memory: Memory, naming: Naming, now: datetime) -> Notice:
        rule = self.rulebook.by_id.get(decision.incident.rule)
        told = self._store.notices(decision.incident.id)
        before = told[-1].facts if told else None
        return notices.of_person(decision, rule, naming, before, memory.through, done.author, done.comment, now)

    def _commit(
        self, observation: Observation, now: datetime, *, edited: bool = False, planned: Planned | None = None
    ) -> Changes:
        parts = self._ledger.parts
        try:
            changes = replace(self.judge(observation, now, edited=edited), planned=planned)
            self._store.commit(changes)
        except BaseException:
            # What was added up may hold days that were not kept: begin anew from what is.
            self._ledger.close()
            self._ledger.parts, self._rates = parts, None
            raise
        return changes


def _together(days: Sequence[date]) -> Iterator[list[date]]:
    """The days, lowest first, in runs without a gap."""
    run: list[date] = []
    for day in days:
        if run and day - run[-1] > DAY:
            yield run
            run = []
        run.append(day)
    if run:
        yield run
