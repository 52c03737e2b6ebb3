"""The words of the model as rows of text, and back: exact decimals, instants that sort."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pydantic import TypeAdapter

from budgetd.breaker import Breaker
from budgetd.model import (
    Act,
    Attempt,
    Delivery,
    DeliveryState,
    Face,
    Facts,
    Failure,
    Health,
    Incident,
    Intervention,
    Kind,
    Notice,
    Outcome,
    Planned,
    Reason,
    RuleState,
    Said,
    Scope,
    Severity,
    Silence,
    SilenceEnd,
    State,
    Workspace,
)
from budgetd.money import canonical
from budgetd.period import Period

Values = dict[str, str | int | None]

_MILLISECOND = timedelta(milliseconds=1)

_FACTS: TypeAdapter[Facts] = TypeAdapter(Facts)


def instant_text(instant: datetime) -> str:
    """ISO 8601 in UTC with six decimals: texts sort as the instants do. Raises ValueError for a naive instant."""
    if instant.tzinfo is None:
        raise ValueError(f"an instant without a time zone: {instant}")
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def instant(text: str) -> datetime:
    """The instant that `instant_text` wrote."""
    return datetime.fromisoformat(text)


def _text_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else instant_text(moment)


def _instant_or_none(text: str | None) -> datetime | None:
    return None if text is None else instant(text)


def _decimal_text(number: Decimal | None) -> str | None:
    return None if number is None else canonical(number)


def _decimal_or_none(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def workspace_values(workspace: Workspace) -> Values:
    return {
        "id": workspace.id,
        "name": workspace.name,
        "archived_at": _text_or_none(workspace.archived_at),
        "tags": json.dumps(workspace.tags),
    }


def workspace(row: sqlite3.Row) -> Workspace:
    tags = tuple((str(key), str(value)) for key, value in json.loads(row["tags"]))
    return Workspace(row["id"], row["name"], _instant_or_none(row["archived_at"]), tags)


def rule_state_values(rule: RuleState) -> Values:
    return {
        "rule": rule.rule,
        "since": instant_text(rule.since),
        "through": instant_text(rule.through),
        "stakes": rule.stakes,
        "shape": rule.shape,
    }


def rule_state(row: sqlite3.Row) -> RuleState:
    return RuleState(row["rule"], instant(row["since"]), instant(row["through"]), row["stakes"], row["shape"])


def health_values(health: Health) -> Values:
    return {
        "source": health.source,
        "last_good": _text_or_none(health.last_good),
        "failing_since": _text_or_none(health.failing_since),
        "failures": health.failures,
        "failure": health.failure,
        "message": health.message,
        "announced": health.announced,
        "sequence": health.sequence,
    }


def health(row: sqlite3.Row) -> Health:
    return Health(
        source=row["source"],
        last_good=_instant_or_none(row["last_good"]),
        failing_since=_instant_or_none(row["failing_since"]),
        failures=row["failures"],
        failure=None if row["failure"] is None else Failure(row["failure"]),
        message=row["message"],
        announced=None if row["announced"] is None else Severity(row["announced"]),
        sequence=row["sequence"],
    )


def planned_values(planned: Planned) -> Values:
    return {
        "at": instant_text(planned.at),
        "interval_ms": planned.interval // _MILLISECOND,
        "widened": int(planned.widened),
        "words": planned.words,
    }


def planned(row: sqlite3.Row) -> Planned:
    return Planned(instant(row["at"]), row["interval_ms"] * _MILLISECOND, bool(row["widened"]), row["words"])


def incident_values(incident: Incident) -> Values:
    return {
        "id": incident.id,
        "rule": incident.rule,
        "scope": json.dumps(incident.scope),
        "period_start": instant_text(incident.period.start),
        "period_end": instant_text(incident.period.end),
        "state": incident.state,
        "announced": json.dumps([canonical(step) for step in incident.announced]),
        "severity": incident.severity,
        "amount": canonical(incident.amount),
        "limit_amount": canonical(incident.limit),
        "opened_at": instant_text(incident.opened_at),
        "changed_at": instant_text(incident.changed_at),
        "sequence": incident.sequence,
        "resolved": incident.resolved,
        "held": incident.held,
        "told_at": _text_or_none(incident.told_at),
        "told_amount": _decimal_text(incident.told_amount),
        "reminders": incident.reminders,
        "acknowledged": _decimal_text(incident.acknowledged),
    }


def incident(row: sqlite3.Row) -> Incident:
    scope: Scope = tuple((str(dimension), str(value)) for dimension, value in json.loads(row["scope"]))
    return Incident(
        id=row["id"],
        rule=row["rule"],
        scope=scope,
        period=Period(instant(row["period_start"]), instant(row["period_end"])),
        state=State(row["state"]),
        announced=tuple(Decimal(step) for step in json.loads(row["announced"])),
        severity=Severity(row["severity"]),
        amount=Decimal(row["amount"]),
        limit=Decimal(row["limit_amount"]),
        opened_at=instant(row["opened_at"]),
        changed_at=instant(row["changed_at"]),
        sequence=row["sequence"],
        resolved=None if row["resolved"] is None else Reason(row["resolved"]),
        held=None if row["held"] is None else Reason(row["held"]),
        told_at=_instant_or_none(row["told_at"]),
        told_amount=_decimal_or_none(row["told_amount"]),
        reminders=row["reminders"],
        acknowledged=_decimal_or_none(row["acknowledged"]),
    )


def facts_text(facts: Facts) -> str:
    """JSON of all fields; decimals and instants are strings."""
    return _FACTS.dump_json(facts).decode()


def facts(text: str) -> Facts:
    """The facts that `facts_text` wrote, by this or an earlier version."""
    return _FACTS.validate_json(text)


def notice_values(notice: Notice) -> Values:
    return {
        "id": notice.id,
        "incident": notice.incident,
        "sequence": notice.sequence,
        "kind": notice.kind,
        "reason": notice.reason,
        "severity": notice.severity,
        "created_at": instant_text(notice.created_at),
        "facts": facts_text(notice.facts),
    }


def notice(row: sqlite3.Row) -> Notice:
    return Notice(
        id=row["id"],
        incident=row["incident"],
        sequence=row["sequence"],
        kind=Kind(row["kind"]),
        reason=Reason(row["reason"]),
        severity=Severity(row["severity"]),
        created_at=instant(row["created_at"]),
        facts=facts(row["facts"]),
    )


def delivery_values(delivery: Delivery) -> Values:
    return {
        "id": delivery.id,
        "channel": delivery.channel,
        "created_at": instant_text(delivery.created_at),
        "next_attempt_at": instant_text(delivery.next_attempt_at),
        "page": delivery.page,
        "face": delivery.face,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "because": delivery.because,
        "muted_until": _text_or_none(delivery.muted_until),
        "muted_by": delivery.muted_by,
        "gathered": delivery.gathered,
    }


def delivery(row: sqlite3.Row, notices: tuple[Notice, ...]) -> Delivery:
    return Delivery(
        id=row["id"],
        channel=row["channel"],
        notices=notices,
        created_at=instant(row["created_at"]),
        next_attempt_at=instant(row["next_attempt_at"]),
        page=bool(row["page"]),
        face=Face(row["face"]),
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        because=row["because"],
        muted_until=_instant_or_none(row["muted_until"]),
        muted_by=row["muted_by"],
        gathered=row["gathered"],
        in_doubt=row["in_doubt"],
    )


def breaker_values(breaker: Breaker) -> Values:
    return {
        "channel": breaker.channel,
        "failures": breaker.failures,
        "since": instant_text(breaker.since),
        "outcome": breaker.outcome,
        "detail": breaker.detail,
        "probe_at": _text_or_none(breaker.probe_at),
        "fresh_at": _text_or_none(breaker.fresh_at),
    }


def breaker(row: sqlite3.Row) -> Breaker:
    return Breaker(
        channel=row["channel"],
        failures=row["failures"],
        since=instant(row["since"]),
        outcome=Outcome(row["outcome"]),
        detail=row["detail"],
        probe_at=_instant_or_none(row["probe_at"]),
        fresh_at=_instant_or_none(row["fresh_at"]),
    )


def silence_values(silence: Silence) -> Values:
    return {
        "id": silence.id,
        "match": json.dumps(silence.match),
        "author": silence.author,
        "comment": silence.comment,
        "created_at": instant_text(silence.created_at),
        "ends_at": instant_text(silence.ends_at),
        "until": silence.until,
        "covers": json.dumps({incident: canonical(step) for incident, step in silence.covers.items()}),
        "ended_at": _text_or_none(silence.ended_at),
        "ended_by": silence.ended_by,
    }


def silence(row: sqlite3.Row) -> Silence:
    return Silence(
        id=row["id"],
        match=tuple((str(key), tuple(map(str, patterns))) for key, patterns in json.loads(row["match"])),
        author=row["author"],
        comment=row["comment"],
        created_at=instant(row["created_at"]),
        ends_at=instant(row["ends_at"]),
        until=SilenceEnd(row["until"]),
        covers={incident: Decimal(step) for incident, step in json.loads(row["covers"]).items()},
        ended_at=_instant_or_none(row["ended_at"]),
        ended_by=row["ended_by"],
    )


def intervention_values(intervention: Intervention) -> Values:
    return {
        "at": instant_text(intervention.at),
        "author": intervention.author,
        "act": intervention.act,
        "subject": intervention.subject,
        "comment": intervention.comment,
    }


def intervention(row: sqlite3.Row) -> Intervention:
    return Intervention(instant(row["at"]), row["author"], Act(row["act"]), row["subject"], row["comment"])


def said(row: sqlite3.Row) -> Said:
    return Said(
        notice=row["id"],
        sequence=row["sequence"],
        kind=Kind(row["kind"]),
        made=bool(row["made"]),
        left=bool(row["left"]),
        instead=bool(row["instead"]),
    )


def attempt(row: sqlite3.Row) -> Attempt:
    return Attempt(
        delivery=row["delivery"],
        number=row["number"],
        started_at=instant(row["started_at"]),
        ended_at=_instant_or_none(row["ended_at"]),
        outcome=None if row["outcome"] is None else Outcome(row["outcome"]),
        detail=row["detail"],
    )
