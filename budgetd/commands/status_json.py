"""`budgetd status --json`: the overview as one JSON object; its fields are described in `budgetd.commands.status`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from budgetd import money
from budgetd.model import Drift, Forecast, Health, Incident, Label
from budgetd.overview import Around, ChannelState, Firing, Overview, Polling, Reading, RuleReadings, share_of
from budgetd.period import Period


def document(seen: Overview, around: Around) -> dict[str, Any]:
    """The whole object; everything in it is JSON-able."""
    return {
        "at": instant(around.now),
        "daemon": {"running": around.running, "pid": around.pid},
        "organisation": {"id": seen.organisation.id, "name": seen.organisation.name},
        "data_through": instant(seen.through),
        "rules_error": around.rules_error or None,
        "firing": [_firing(each) for each in seen.firing],
        "rules": [_rule(each, seen.days) for each in seen.rules],
        "channels": [_channel(each) for each in seen.channels],
        "sources": [_source(each, seen.polling.get(each.source, Polling())) for each in seen.sources],
        "drifts": [_drift(each) for each in seen.drifts],
    }


def instant(when: datetime | None) -> str | None:
    """RFC 3339 in UTC; None stays None."""
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z") if when is not None else None


def scope(labels: Iterable[Label]) -> list[dict[str, str]]:
    """A scope as a list of dimension, id, name."""
    return [{"dimension": label.dimension, "id": label.id, "name": label.name} for label in labels]


def period(value: Period | None) -> dict[str, str | None] | None:
    """A period as start, end, name."""
    if value is None:
        return None
    return {"start": instant(value.start), "end": instant(value.end), "name": value.name}


def incident(value: Incident, labels: Iterable[Label]) -> dict[str, Any]:
    """An incident's own facts."""
    return {
        "incident": value.id,
        "rule": value.rule,
        "scope": scope(labels),
        "period": period(value.period),
        "state": value.state.value,
        "severity": value.severity.value,
        "amount": money.canonical(value.amount),
        "limit": money.canonical(value.limit),
        "share": money.canonical(share_of(value.amount, value.limit)),
        "announced": [money.canonical(step) for step in value.announced],
        "opened_at": instant(value.opened_at),
        "changed_at": instant(value.changed_at),
        "resolved": value.resolved.value if value.resolved is not None else None,
        "held": value.held.value if value.held is not None else None,
    }


def _firing(each: Firing) -> dict[str, Any]:
    return incident(each.incident, each.scope)


def _rule(each: RuleReadings, days: int) -> dict[str, Any]:
    first = each.readings[0].finding if each.readings else None
    return {
        "id": each.rule.id,
        "type": each.rule.kind,
        "period": period(each.period),
        "basis": first.basis.value if first is not None else None,
        "complete": first.complete if first is not None else None,
        "matched": each.matched,
        "days_looked_at": days,
        "readings": [_reading(reading) for reading in each.readings],
    }


def _reading(reading: Reading) -> dict[str, Any]:
    finding = reading.finding
    return {
        "scope": scope(reading.scope),
        "amount": money.canonical(finding.amount),
        "limit": money.canonical(finding.limit),
        "share": money.canonical(reading.share),
        "reached": [money.canonical(step) for step in finding.reached],
        "incident": reading.incident.id if reading.incident is not None else None,
        "against": finding.comparison.against if finding.comparison is not None else None,
        "baseline": money.canonical(finding.comparison.baseline) if finding.comparison is not None else None,
        "forecast": _forecast(reading.forecast),
    }


def _forecast(found: Forecast | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "expected": money.canonical(found.expected),
        "low": money.canonical(found.low),
        "high": money.canonical(found.high),
        "reached_on": found.reached_on.isoformat() if found.reached_on is not None else None,
    }


def _channel(each: ChannelState) -> dict[str, Any]:
    return {
        "name": each.name,
        "configured": each.configured,
        "pending": each.pending,
        "given_up": each.given_up,
        "last_delivered_at": instant(each.last_delivered),
        "failing_since": instant(each.failing_since),
        "next_attempt_at": instant(each.next_attempt_at),
        "last_outcome": each.last.outcome.value if each.last is not None and each.last.outcome is not None else None,
        "last_detail": each.last.detail if each.last is not None else None,
        "breaker": _breaker(each),
    }


def _breaker(each: ChannelState) -> dict[str, Any]:
    run = each.breaker
    state = "closed" if run is None or not run.is_open else "half_open" if each.probing else "open"
    return {
        "state": state,
        "failures": run.failures if run is not None else 0,
        "since": instant(run.since) if run is not None else None,
        "probe_at": instant(run.probe_at) if run is not None else None,
    }


def _source(health: Health, polling: Polling) -> dict[str, Any]:
    planned = polling.planned
    return {
        "name": health.source,
        "last_good_at": instant(health.last_good),
        "failing_since": instant(health.failing_since),
        "failures": health.failures,
        "failure": health.failure.value if health.failure is not None else None,
        "message": health.message or None,
        "next_poll_at": instant(planned.at) if planned is not None else None,
        "interval_seconds": round(planned.interval.total_seconds()) if planned is not None else None,
        "widened": planned.widened if planned is not None else None,
        "plan": planned.words if planned is not None else None,
        "requests_today": polling.requests_today,
        "requests_yesterday": polling.requests_yesterday,
    }


def _drift(each: Drift) -> dict[str, str]:
    return {
        "day": each.day.isoformat(),
        "estimated": money.canonical(each.estimated),
        "billed": money.canonical(each.billed),
    }
