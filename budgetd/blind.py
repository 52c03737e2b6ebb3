"""When not seeing is itself an alert: (health, what a poll came to, now) -> (health', what is said)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from budgetd.lifecycle import Decision
from budgetd.model import (
    Delivery,
    Failure,
    Health,
    Incident,
    Kind,
    Notice,
    Reason,
    Report,
    Severity,
    SourceError,
    State,
    identity,
)
from budgetd.period import Period
from budgetd.wording import CLOCK, SAME_DAY_SOURCE, ago, instant

# Not a name that a rule of the file can have.
BLIND_RULE = "budgetd:blind"

WARN_AFTER = timedelta(minutes=15)
WARN_AFTER_POLLS = 3
CRITICAL_AFTER = timedelta(hours=2)
CRITICAL_AFTER_POLLS = 6

# How far a report may lag behind the present before its source counts as not seen.
MOST_LAG = {
    "usage_report": timedelta(minutes=15),  # its tokens are typically five minutes old
    "analytics": timedelta(hours=12),  # it is refreshed every four hours or so
    "cost_report": timedelta(hours=48),  # the bill of the day before yesterday is not there
}
# Seconds that our clock may differ from the service's.
MOST_SKEW = 120.0
# A delivery that is still pending after this makes the heartbeat stop.
OVERDUE = timedelta(minutes=10)

# One key reads every source: that it does not do is said by the source that finds it first.
_OF_THE_KEY = frozenset({Failure.REFUSED, Failure.FOREIGN})
# One API serves them: that it is down is said by the source that is read most often, for the bill as well.
_OF_THE_API = frozenset({Failure.UNREACHABLE, Failure.UNAVAILABLE})
_BILL = "cost_report"
_BESIDES = {_BILL: SAME_DAY_SOURCE, SAME_DAY_SOURCE: _BILL}
# The bill is read hourly, give or take. What began further apart is two troubles.
_SAME_TROUBLE = timedelta(minutes=90)
# A source that is so late to say that it is critical is not read any more, and speaks for nobody.
_SPEAKS_UNTIL = CRITICAL_AFTER + timedelta(minutes=30)
# These do not mend themselves: waiting would only be silence.
_AT_ONCE = frozenset({*_OF_THE_KEY, Failure.REJECTED})
_STEP = {Severity.WARNING: Decimal(1), Severity.CRITICAL: Decimal(2)}


@dataclass(frozen=True, slots=True)
class Sight:
    """How the source is doing after a poll, and what is said of it, if anything."""

    health: Health
    decision: Decision | None = None


def answered(health: Health, through: datetime, now: datetime, skew: float | None = None) -> Sight:
    """After a report that is complete up to `through`: seen, unless it has stopped moving.

    `skew` as in `compared`. The lag is taken by the earlier of the two clocks: for ours the source is not to blame.
    """
    error = stalled(health.source, through, now + timedelta(seconds=min(skew or 0.0, 0.0)))
    if error is None:
        return seen(health, now)
    if health.failing_since is None:
        health = replace(health, last_good=through)  # what has been seen since was old
    return not_seen(health, error, now)


def good_to_have(health: Health, error: SourceError | None, report: Report | None, now: datetime) -> Sight:
    """After a poll of a source that others stand in for: nothing is said, and its health says why it is not used."""
    if error is None and report is not None:
        error = stalled(health.source, report.through, now)
    if error is None:
        return seen(health, now)
    return Sight(Health(health.source, health.last_good, message=error.message))


def stalled(source: str, through: datetime, now: datetime) -> SourceError | None:
    """Why a source that answers is not seen all the same: its data ends too long ago. None when it does not."""
    most = MOST_LAG.get(source)
    if most is None or now - through <= most:
        return None
    words = f"the {source.replace('_', ' ')} answers, but has had nothing newer than {instant(through)}"
    return SourceError(Failure.STALLED, words)


def compared(health: Health, skew: float, now: datetime) -> Sight:
    """After the service told its time, `skew` seconds ahead of ours: how this machine's clock is doing.

    While it is off, a first answer within bounds may be an old one; the second in a row is believed.
    """
    if abs(skew) > MOST_SKEW:
        by = ago(now - timedelta(seconds=abs(skew)), now)
        words = f"this machine's clock is {by} {'behind' if skew > 0 else 'ahead of'} the API's"
        return not_seen(health, SourceError(Failure.SKEWED, words), now)
    if health.failure is None:
        return seen(health, now)
    return Sight(replace(health, failure=None))


def is_well(health: Mapping[str, Health], sources: Iterable[str], outbox: Iterable[Delivery], now: datetime) -> bool:
    """Whether the heartbeat may be heard after a poll: the last poll of each of these sources was good, this machine's
    clock is trusted, and no delivery is overdue.
    """
    watched = [health.get(source) for source in sources] + [health.get(CLOCK, Health(CLOCK))]
    sees = all(each is not None and each.failing_since is None for each in watched)
    return sees and all(now - delivery.wanted_at < OVERDUE for delivery in outbox)


def is_seen_besides(health: Mapping[str, Health], source: str, now: datetime) -> bool:
    """Whether the bill is read while same-day use is not, or the other way round."""
    other = health.get(_BESIDES.get(source, ""))
    if other is None or other.failing_since is not None or other.last_good is None:
        return False
    return now - other.last_good <= _SAME_TROUBLE


def is_of_blindness(notice: Notice) -> bool:
    """Whether the notice says that something is not seen, or is again."""
    return notice.facts.rule == BLIND_RULE


def seen(health: Health, now: datetime) -> Sight:
    """After a good reading: clears what was announced, once."""
    after = Health(source=health.source, last_good=now)
    if health.announced is None or health.failing_since is None:
        return Sight(after)
    incident = _incident(health, health.failing_since, now, State.RESOLVED)
    decision = Decision(incident, Kind.RESOLVE, Reason.RECOVERED, health.announced)
    return Sight(after, decision)


def not_seen(health: Health, error: SourceError, now: datetime, others: Iterable[Health] = ()) -> Sight:
    """After a failed reading: a warning after three polls and 15 minutes (at once where waiting mends nothing),
    critical after six polls and two hours. Each is said once; what is not of this source alone, by one of them
    (`others`) for all."""
    since = health.failing_since or now
    after = replace(
        health,
        failing_since=since,
        failures=health.failures + 1,
        failure=error.failure,
        message=error.message,
    )
    severity = _severity(after, now - since)
    if severity is None or (health.announced is not None and severity.rank <= health.announced.rank):
        return Sight(after)
    if any(_is_said_by(other, after, severity, now) for other in others):
        return Sight(after)
    after = replace(after, announced=severity, sequence=health.sequence + 1)
    incident = _incident(after, since, now, State.OPEN)
    reason = Reason.REFUSED if error.failure in _OF_THE_KEY else Reason.BLIND
    return Sight(after, Decision(incident, Kind.TRIGGER, reason, severity, _STEP[severity]))


def _is_said_by(other: Health, health: Health, severity: Severity, now: datetime) -> bool:
    """Whether the other source already speaks of the same trouble, for both: it says as much, or still will."""
    if other.source == health.source or other.announced is None or not _are_one(other.failure, health):
        return False
    if other.failing_since is None or health.failing_since is None:
        return False
    still_will = now - other.failing_since <= _SPEAKS_UNTIL
    says = other.announced.rank >= severity.rank or still_will
    return says and abs(health.failing_since - other.failing_since) <= _SAME_TROUBLE


def _are_one(failure: Failure | None, health: Health) -> bool:
    """Whether what the other source met is the source's own trouble as well: the key's, or of the bill the API's."""
    if health.failure in _OF_THE_KEY:
        return failure is health.failure
    return health.source == _BILL and {failure, health.failure} <= _OF_THE_API


def _severity(health: Health, lasting: timedelta) -> Severity | None:
    if health.failures >= CRITICAL_AFTER_POLLS and lasting >= CRITICAL_AFTER:
        return Severity.CRITICAL
    if health.failure in _AT_ONCE or (health.failures >= WARN_AFTER_POLLS and lasting >= WARN_AFTER):
        return Severity.WARNING
    return None


def _incident(health: Health, since: datetime, now: datetime, state: State) -> Incident:
    announced = health.announced or Severity.WARNING
    return Incident(
        id=identity("inc", BLIND_RULE, health.source, since.isoformat()),
        rule=BLIND_RULE,
        scope=(("source", health.source),),
        period=Period(since, since),
        state=state,
        announced=tuple(step for severity, step in _STEP.items() if severity.rank <= announced.rank),
        severity=announced,
        amount=Decimal(0),
        limit=Decimal(0),
        opened_at=since,
        changed_at=now,
        sequence=health.sequence + (state is State.RESOLVED),
        resolved=Reason.RECOVERED if state is State.RESOLVED else None,
    )
