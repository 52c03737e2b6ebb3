"""What is so at present, gathered for people: spend against every limit, incidents and channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from budgetd import money
from budgetd.background import Outlook, foreseen
from budgetd.breaker import Breaker
from budgetd.forecast import MOST_DAYS
from budgetd.lifecycle import incident_id
from budgetd.model import (
    UNKNOWN_ORGANISATION,
    Attempt,
    CostDay,
    Delivery,
    DeliveryState,
    Drift,
    Finding,
    Forecast,
    Health,
    Incident,
    Label,
    Names,
    Organisation,
    Outcome,
    Planned,
    State,
)
from budgetd.period import DAY, Period, day_before
from budgetd.rules import Indexes, Rule
from budgetd.scope import Group, Naming
from budgetd.spend import Spend
from budgetd.store import DeliveryRecord, Memory
from budgetd.wording import CLOCK


@dataclass(frozen=True, slots=True)
class Reading:
    """One scope's spend against its limit. `share` is of the limit (1 is all of it); `incident` if there is one.

    `forecast`: what its period comes to, where that can be said.
    """

    scope: tuple[Label, ...]
    finding: Finding
    share: Decimal
    incident: Incident | None
    forecast: Forecast | None = None


@dataclass(frozen=True, slots=True)
class RuleReadings:
    """What a rule says now, the most used first. `period` None: it cannot say anything yet.

    `matched`: at least one cost line of the days that were looked at is the rule's.
    """

    rule: Rule
    period: Period | None
    readings: tuple[Reading, ...]
    matched: bool


@dataclass(frozen=True, slots=True)
class Firing:
    """An incident that is not resolved, and what its scope is called."""

    incident: Incident
    scope: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class ChannelState:
    """How a channel is doing. `configured`: the rules file names it (None: the file could not be read).

    `failing_since`: the first failed attempt after the last good one. `last` is the last attempt that has ended.
    `breaker`: its run of failures, if it is in one; `probing`: an attempt is under way.
    """

    name: str
    configured: bool | None
    pending: int
    given_up: int
    last_delivered: datetime | None = None
    failing_since: datetime | None = None
    next_attempt_at: datetime | None = None
    last: Attempt | None = None
    breaker: Breaker | None = None
    probing: bool = False


@dataclass(frozen=True, slots=True)
class Polling:
    """How a source is polled: its next poll (None: no daemon has planned one), and requests by UTC day."""

    planned: Planned | None = None
    requests_today: int = 0
    requests_yesterday: int = 0


@dataclass(frozen=True, slots=True)
class Around:
    """What is so around the state: when it was looked at, whether a daemon has it in use (None: cannot be told), its
    process, and why the rules file cannot be used, if it cannot.
    """

    now: datetime
    running: bool | None
    pid: int | None = None
    rules_error: str = ""


@dataclass(frozen=True, slots=True)
class Overview:
    """All that `status` shows. `days`: how many UTC days of cost were looked at.

    `drifts`: how far the estimates of the last days that were estimated were from their bills, the newest first.
    """

    organisation: Organisation
    through: datetime | None
    days: int
    rules: tuple[RuleReadings, ...]
    firing: tuple[Firing, ...]
    channels: tuple[ChannelState, ...]
    sources: tuple[Health, ...]
    polling: Mapping[str, Polling] = field(default_factory=dict)
    drifts: tuple[Drift, ...] = ()


def overview(
    memory: Memory,
    records: Sequence[DeliveryRecord],
    rules: Sequence[Rule],
    groups: Mapping[str, Group],
    channels: Iterable[str] | None,
    days: Iterable[CostDay],
    polling: Mapping[str, Polling] | None = None,
    drifts: tuple[Drift, ...] = (),
    breakers: Mapping[str, Breaker] | None = None,
) -> Overview:
    """The state as people want to see it. `records`: the latest deliveries; `channels`: those of the rules file.

    `days` are those from `first_day` on. `polling`: how each source is polled. `drifts`: of estimates from bills.
    `breakers`: of the channels whose last attempts failed.
    """
    names = naming(memory, groups)
    indexes = Indexes(rules, names)
    read = set()
    for day in days:
        indexes.replace(day)
        read.add(day.day)
    if memory.through is not None:
        indexes.reach(memory.through)
    return Overview(
        organisation=names.names.organisation,
        through=memory.through,
        days=len(read),
        rules=tuple(rule_readings(rule, indexes, Outlook(indexes.of(rule)), memory, read) for rule in rules),
        firing=firing(memory.incidents.values(), names),
        channels=channel_states(memory.outbox, records, channels, breakers),
        sources=tuple(sorted(memory.health.values(), key=lambda health: (health.source == CLOCK, health.source))),
        polling=polling or {},
        drifts=drifts,
    )


def polling_states(
    planned: Mapping[str, Planned], requests: Mapping[str, Mapping[date, int]], today: date
) -> dict[str, Polling]:
    """How each source is polled, on that UTC day."""
    return {
        source: Polling(
            planned.get(source), _on(requests.get(source, {}), today), _on(requests.get(source, {}), today - DAY)
        )
        for source in (*planned, *requests)
    }


def _on(counts: Mapping[date, int], day: date) -> int:
    return counts.get(day, 0)


def naming(memory: Memory, groups: Mapping[str, Group] | None = None) -> Naming:
    """What ids are called now."""
    return Naming(Names(memory.organisation or UNKNOWN_ORGANISATION, memory.workspaces), groups or {})


def first_day(rules: Iterable[Rule], through: datetime) -> date:
    """The first UTC day that the rules' present figures, baselines and forecasts need."""
    needed = (max(rule.history, MOST_DAYS if foreseen(rule) else 0) for rule in rules)
    return through.date() - DAY * (max(needed, default=0) + 1)


def firing(incidents: Iterable[Incident], names: Naming) -> tuple[Firing, ...]:
    """The incidents that are not resolved, the worst first."""
    open_ones = [incident for incident in incidents if incident.state is not State.RESOLVED]
    open_ones.sort(key=lambda each: (-each.severity.rank, -share_of(each.amount, each.limit), each.opened_at))
    return tuple(Firing(incident, names.labels(incident.scope)) for incident in open_ones)


def share_of(amount: Decimal, limit: Decimal) -> Decimal:
    """amount / limit; where the limit is zero, 1 for anything spent and 0 for nothing."""
    if limit > 0:
        return money.quotient(amount, limit)
    return Decimal(int(amount > 0))


# --- spend against limits ------------------------------------------------------------------------


def rule_readings(rule: Rule, indexes: Indexes, outlook: Outlook, memory: Memory, days: Iterable[date]) -> RuleReadings:
    """What the rule says now of every scope. `days`: those in which to look for lines that are the rule's."""
    spend = indexes.of(rule)
    period, findings = _current_findings(rule, spend, memory)
    labels, organisation = spend.naming.labels, spend.naming.names.organisation.id
    rolling = {i.scope: i for i in memory.incidents.values() if i.rule == rule.id and i.state is not State.RESOLVED}
    readings = [
        Reading(
            labels(finding.scope),
            finding,
            share_of(finding.amount, finding.limit),
            rolling.get(finding.scope)
            if rule.calendar.rolling
            else memory.incidents.get(incident_id(organisation, rule.id, finding.scope, finding.period)),
            outlook.forecast(rule, finding),
        )
        for finding in findings
    ]
    readings.sort(key=lambda each: (-each.share, -each.finding.amount, each.finding.scope))
    matched = any(indexes.every.on(rule.view(), day) for day in days)
    return RuleReadings(rule, period, tuple(readings), matched)


def _current_findings(rule: Rule, spend: Spend, memory: Memory) -> tuple[Period | None, list[Finding]]:
    """What the rule says of every scope in its newest period; of the newest closed one if it says nothing of that."""
    for period in _newest_periods(rule, spend):
        scopes = set(spend.totals(rule.view(), period))
        scopes |= {i.scope for i in memory.incidents.values() if i.rule == rule.id and rule.owns(i.scope, i.period)}
        if not rule.for_each:
            scopes.add(())
        findings = list(rule.findings(spend, period, scopes))
        if findings:
            return period, findings
    return None, []


def _newest_periods(rule: Rule, spend: Spend) -> list[Period]:
    current = rule.current(spend)
    if current is None or spend.through is None:
        return []
    if current.is_part_of_a_day:
        return [current]
    closed = rule.calendar.holding(day_before(spend.through))
    return [current] if closed == current else [current, closed]


# --- channels --------------------------------------------------------------------------------------


def channel_states(
    outbox: Iterable[Delivery],
    records: Sequence[DeliveryRecord],
    configured: Iterable[str] | None,
    breakers: Mapping[str, Breaker] | None = None,
) -> tuple[ChannelState, ...]:
    """Every channel of the rules file, and those that were removed from it with messages still waiting."""
    waiting: dict[str, list[Delivery]] = {}
    for delivery in outbox:
        waiting.setdefault(delivery.channel, []).append(delivery)
    seen = dict.fromkeys(record.delivery.channel for record in records)
    names = list(dict.fromkeys([*(configured if configured is not None else sorted(seen)), *sorted(waiting)]))
    known = None if configured is None else frozenset(names) & frozenset(configured)
    runs = breakers or {}
    return tuple(_channel_state(name, known, waiting.get(name, []), records, runs.get(name)) for name in names)


def _channel_state(
    name: str,
    configured: frozenset[str] | None,
    waiting: Sequence[Delivery],
    records: Iterable[DeliveryRecord],
    run: Breaker | None,
) -> ChannelState:
    own = [record for record in records if record.delivery.channel == name]
    attempts = sorted(
        (attempt for record in own for attempt in record.attempts if attempt.outcome is not None),
        key=lambda attempt: (attempt.ended_at or attempt.started_at, attempt.number),
    )
    good = [attempt for attempt in attempts if attempt.outcome is Outcome.DELIVERED]
    since_good = attempts[attempts.index(good[-1]) + 1 :] if good else attempts
    return ChannelState(
        name=name,
        configured=None if configured is None else name in configured,
        pending=len(waiting),
        given_up=sum(record.delivery.state is DeliveryState.GIVEN_UP for record in own),
        last_delivered=good[-1].ended_at if good else None,
        failing_since=since_good[0].started_at if since_good else None,
        next_attempt_at=min((_tried_at(each, run) for each in waiting), default=None),
        last=attempts[-1] if attempts else None,
        breaker=run,
        probing=any(attempt.outcome is None for record in own for attempt in record.attempts),
    )


def _tried_at(delivery: Delivery, run: Breaker | None) -> datetime:
    """When a waiting message may be tried, as far as the message and its channel's breaker have a say."""
    own = max(delivery.next_attempt_at, delivery.wanted_at)
    return own if run is None else max(own, run.holds_until(delivery) or own)
