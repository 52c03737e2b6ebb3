"""When not seeing is itself an alert: (health, what a poll came to, now) -> (health', what is said)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from budgetd.lifecycle import Decision
from budgetd.model import Failure, Health, Incident, Kind, Reason, Severity, SourceError, State, identity
from budgetd.period import Period

# Not a name that a rule of the file can have.
BLIND_RULE = "budgetd:blind"

WARN_AFTER = timedelta(minutes=15)
WARN_AFTER_POLLS = 3
CRITICAL_AFTER = timedelta(hours=2)
CRITICAL_AFTER_POLLS = 6

# These do not mend themselves: waiting would only be silence.
_AT_ONCE = frozenset({Failure.REFUSED, Failure.REJECTED})
_STEP = {Severity.WARNING: Decimal(1), Severity.CRITICAL: Decimal(2)}


@dataclass(frozen=True, slots=True)
class Sight:
    """How the source is doing after a poll, and what is said of it, if anything."""

    health: Health
    decision: Decision | None = None


def seen(health: Health, now: datetime) -> Sight:
    """After a good reading: clears what was announced, once."""
    after = Health(source=health.source, last_good=now)
    if health.announced is None or health.failing_since is None:
        return Sight(after)
    incident = _incident(health, health.failing_since, now, State.RESOLVED)
    decision = Decision(incident, Kind.RESOLVE, Reason.RECOVERED, health.announced)
    return Sight(after, decision)


def not_seen(health: Health, error: SourceError, now: datetime) -> Sight:
    """After a failed reading: a warning after three polls and 15 minutes (at once where waiting mends nothing),
    critical after six polls and two hours. Each is said once."""
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
    after = replace(after, announced=severity, sequence=health.sequence + 1)
    incident = _incident(after, since, now, State.OPEN)
    reason = Reason.REFUSED if error.failure is Failure.REFUSED else Reason.BLIND
    return Sight(after, Decision(incident, Kind.TRIGGER, reason, severity, _STEP[severity]))


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
