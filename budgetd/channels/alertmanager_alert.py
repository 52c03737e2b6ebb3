"""What Alertmanager is told: the alerts of its API v2, made of a message alone. Pure.

An alert is known by its labels and by nothing else, so only what never changes while an incident lives is a label.
Each severity that an incident has reached is an alert of its own; all of them end with the incident.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from budgetd.escaping import for_text, name
from budgetd.message import Message, render_safely
from budgetd.model import Delivery, Face, Facts, Kind, Label, Notice, Severity
from budgetd.payload import COST_REPORT

Alert = dict[str, Any]

# What fires is believed for so long at least, when nobody says it again. A period's end comes usually later.
HELD = timedelta(hours=4)
# What only informs has no end: long enough for any group_interval, so that it is told before it is over.
TOLD_FOR = timedelta(hours=1)
RESERVED = frozenset({"alertname", "job", "rule_type", "severity", "incident"})
_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Extras:
    """What the channel's URL adds to every alert: labels, and an address of what to do."""

    labels: Mapping[str, str]
    runbook: str = ""


def alerts(message: Message, extras: Extras, now: datetime) -> list[Alert]:
    """The message's incidents as alerts, each label set once; what only informs is one alert together."""
    if not message.notices:
        return [_unreadable(message, extras, now)]
    informing = [notice for notice in message.notices if notice.kind is Kind.INFORM]
    return [
        *_firing(message, extras, now),
        *(
            alert
            for notice in message.notices
            if notice.kind is Kind.RESOLVE
            for alert in _over(message, notice, extras)
        ),
        *([_informing(message, informing, extras, now)] if informing else []),
    ]


def encoded(some: Sequence[Alert]) -> bytes:
    """The alerts as they are sent: ASCII, so that no character can break them."""
    return json.dumps(some, separators=(",", ":")).encode()


def _firing(message: Message, extras: Extras, now: datetime) -> Iterator[Alert]:
    """The alerts that fire: since the first notice of each incident and severity, with the figures of the last."""
    triggers: dict[tuple[str, Severity], list[Notice]] = {}
    for notice in message.notices:
        if notice.kind is Kind.TRIGGER:
            triggers.setdefault((notice.incident, notice.severity), []).append(notice)
    for notices in triggers.values():
        newest = max(notices, key=lambda notice: notice.sequence)
        yield {
            "labels": _labels(newest, newest.severity, extras),
            "annotations": _annotations(message, [newest], extras, now),
            "startsAt": _time(min(notice.created_at for notice in notices)),
            "endsAt": _time(_held_until(newest.facts, now)),
            "generatorURL": COST_REPORT,
        }


def _held_until(facts: Facts, now: datetime) -> datetime:
    """The period's end. What has none ahead, or only soon, is held: a stop of budgetd must not look like an end."""
    ends = facts.period.end if facts.period is not None else now
    return max(ends, now + HELD)


def _over(message: Message, notice: Notice, extras: Extras) -> Iterator[Alert]:
    """The end of every alert that the incident may have had; what Alertmanager does not know it does not tell."""
    said = render_safely(_only(message, [notice]), notice.created_at)
    annotations = {"summary": for_text(said.body)}
    if message.face is not Face.MINIMAL:
        annotations = {"summary": said.title, "description": said.body, "reason": notice.reason.value}
    for severity in Severity:
        if severity.rank <= notice.severity.rank:
            yield {
                "labels": _labels(notice, severity, extras),
                "annotations": annotations,
                "endsAt": _time(notice.created_at),
                "generatorURL": COST_REPORT,
            }


def _informing(message: Message, notices: Sequence[Notice], extras: Extras, now: datetime) -> Alert:
    if len(notices) == 1:
        labels = _labels(notices[0], notices[0].severity, extras)
    else:
        severity = max((notice.severity for notice in notices), key=lambda severity: severity.rank)
        labels = {**extras.labels, **_own("budgetd", "summary", severity, message.id)}
    return {
        "labels": labels,
        "annotations": _annotations(message, notices, extras, now),
        "startsAt": _time(min(now, *(notice.created_at for notice in notices))),
        "endsAt": _time(now + TOLD_FOR),
        "generatorURL": COST_REPORT,
    }


def _unreadable(message: Message, extras: Extras, now: datetime) -> Alert:
    return {
        "labels": {**extras.labels, **_own("budgetd", "unreadable", message.severity, message.id)},
        "annotations": {"summary": message.title, "description": message.body},
        "endsAt": _time(now + TOLD_FOR),
        "generatorURL": COST_REPORT,
    }


# --- labels and annotations --------------------------------------------------------------------


def _labels(notice: Notice, severity: Severity, extras: Extras) -> dict[str, str]:
    """What the alert is known by. The scope goes by ids, as names may change while it fires."""
    facts = notice.facts
    return {
        **extras.labels,
        **_by_dimension(facts, lambda label: label.id),
        **_own(facts.rule, facts.rule_type, severity, notice.incident),
    }


def _own(alertname: str, kind: str, severity: Severity, incident: str) -> dict[str, str]:
    found = {"job": "budgetd", "rule_type": kind, "severity": severity.value, "incident": incident}
    return {"alertname": name(alertname, _LIMIT), **{key: text for key, text in found.items() if text}}


def _by_dimension(facts: Facts, what: Callable[[Label], str]) -> dict[str, str]:
    """The scope's values by dimension, several of one joined. What is about no time, and so no spend, has none."""
    found: dict[str, list[str]] = {}
    for label in facts.scope if facts.period is not None else ():
        found.setdefault(label.dimension, []).append(name(what(label), _LIMIT))
    return {dimension: ",".join(sorted(values)) for dimension, values in found.items()}


def _annotations(message: Message, notices: Sequence[Notice], extras: Extras, now: datetime) -> dict[str, str]:
    """All that may change: sentences, figures (decimal strings in dollars), links."""
    first = notices[0]
    said = render_safely(_only(message, notices), first.created_at if message.again else now)
    if message.face is Face.MINIMAL:
        return {"summary": for_text(said.body)}
    found = {"summary": said.title, "description": said.body, "because": message.because}
    if extras.runbook:
        found["runbook_url"] = extras.runbook
    if message.face is Face.RICH and len(notices) == 1:
        found |= _figures(first, said.data.get("data") or {})
    return {key: text for key, text in found.items() if text}


def _figures(notice: Notice, data: Mapping[str, Any]) -> dict[str, str]:
    money, step = data.get("money") or {}, data.get("step") or {}
    found = {
        "organisation": name(notice.facts.organisation, _LIMIT),
        **{f"{key}_name": text for key, text in _by_dimension(notice.facts, lambda label: label.name).items()},
        "spent_usd": money.get("spent"),
        "budget_usd": money.get("budget"),
        "spent_ratio": money.get("spent_ratio"),
        "per": money.get("per"),
        "basis": money.get("basis"),
        "step": step.get("reached"),
        "period": _period(data.get("period")),
        "data_through": data.get("data_through"),
        "reason": notice.reason.value,
        "notice": notice.id,
    }
    return {key: str(value) for key, value in found.items() if value}


def _period(period: Mapping[str, str] | None) -> str:
    return f"{period['start']}/{period['end']}" if period else ""


def _only(message: Message, notices: Sequence[Notice]) -> Delivery:
    """A part of the message, to be put into words of its own."""
    first = notices[0]
    known_as = first.id if message.again else message.id
    return Delivery(known_as, "", tuple(notices), first.created_at, first.created_at, face=message.face)


def _time(when: datetime) -> str:
    """RFC 3339 with milliseconds: two alerts a moment apart must not look like one."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def batches(some: Sequence[Alert], size: int) -> Iterable[Sequence[Alert]]:
    """The alerts in parts of at most `size`."""
    return (some[start : start + size] for start in range(0, len(some), size))
