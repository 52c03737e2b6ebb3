"""What PagerDuty is told: an event of its Events API v2, made of a message alone. Pure.

Limits are the API's own: https://developer.pagerduty.com/docs/send-alert-event
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from budgetd import trend
from budgetd.escaping import for_text, name, shorten
from budgetd.message import Message
from budgetd.model import Face, Kind, identity
from budgetd.payload import COST_REPORT

SUMMARY_LIMIT = 1024
KEY_LIMIT = 255
BODY_BYTES = 512 * 1000
MOST_ALERTS = 50
_FIELD_LIMIT = 255


class Action(StrEnum):
    """What an event does to PagerDuty's incident of that key."""

    TRIGGER = "trigger"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"


_ENDINGS = {Kind.RESOLVE: Action.RESOLVE, Kind.ACKNOWLEDGE: Action.ACKNOWLEDGE}


@dataclass(frozen=True, slots=True)
class Target:
    """Whose service an event is for, and what its URL says of every event."""

    routing_key: str = field(repr=False)
    source: str = "budgetd"
    component: str = ""
    group: str = ""
    event_class: str = ""
    severity: str = ""
    link: str = ""


def events(message: Message, target: Target) -> list[dict[str, Any]]:
    """The events that a message comes to: one, or one for each incident when several are resolved at once.

    That somebody has it or that it is over needs no more than the key.
    """
    action = _ENDINGS.get(message.kind)
    if action is None:
        return [_bounded(trigger(message, target))]
    incidents = dict.fromkeys(notice.incident for notice in message.notices) or [message.incident or message.id]
    return [ending(action, key, target) for key in (*incidents, *message.umbrellas)]


def ending(action: Action, incident: str, target: Target) -> dict[str, Any]:
    """The event that resolves or acknowledges what was triggered of an incident."""
    return {"routing_key": target.routing_key, "event_action": action.value, "dedup_key": dedup_key(incident)}


def dedup_key(id: str) -> str:
    """PagerDuty's key for an incident: the incident's id, and for an umbrella over several the delivery's."""
    return id if len(id) <= KEY_LIMIT and id.isascii() and id.isprintable() else identity("inc", id)


def trigger(message: Message, target: Target) -> dict[str, Any]:
    """The event that opens or updates the message's incident; the plainer its face, the less is in it."""
    data = message.data.get("data", {})
    event: dict[str, Any] = {
        "routing_key": target.routing_key,
        "event_action": Action.TRIGGER.value,
        "dedup_key": dedup_key(message.incident or message.id),
        "client": "budgetd",
        "payload": {
            "summary": _summary(message, data),
            "source": _field(target.source) or "budgetd",
            "severity": target.severity or message.severity.value,
        },
    }
    if message.face is Face.MINIMAL:
        return event
    event["payload"] |= _classified(message, target, data)
    event["client_url"] = COST_REPORT
    if message.face is Face.RICH:
        event["payload"]["custom_details"] = _details(message, data)
        event["links"] = _links(target, message.status_page)
    return event


def _summary(message: Message, data: dict[str, Any]) -> str:
    if message.face is Face.MINIMAL:
        return shorten(for_text(message.body), SUMMARY_LIMIT) or "budgetd"
    top = _top(data)
    words = [str(top[key]).replace("_", " ") for key in ("model", "token_type") if top.get(key)]
    driver = f"; most of it: {name(' '.join(words), 120)}" if words else ""
    return shorten(for_text(message.title) + driver, SUMMARY_LIMIT)


def _classified(message: Message, target: Target, data: dict[str, Any]) -> dict[str, str]:
    """Where PagerDuty's rules sort by: what drives it, whose it is, what kind of alert."""
    top = _top(data)
    scope = data.get("scope") or {}
    found = {
        "timestamp": str(message.data.get("timestamp", "")),
        "component": _field(target.component or str(top.get("model") or "")),
        "group": _field(target.group or str(scope.get("name") or "")),
        "class": _field(target.event_class or str(message.data.get("type", ""))),
    }
    return {key: text for key, text in found.items() if text}


def _top(data: dict[str, Any]) -> dict[str, Any]:
    """The largest contributor."""
    contributors: list[dict[str, Any]] = data.get("contributors") or [{}]
    return contributors[0]


def _field(text: str) -> str:
    return name(text, _FIELD_LIMIT) if text else ""


def _details(message: Message, data: dict[str, Any]) -> dict[str, Any]:
    """The facts as a person on call wants them; amounts are decimal strings in dollars."""
    if "alerts" in data:
        alerts = data["alerts"][:MOST_ALERTS]
        more = int(data.get("count", len(alerts))) - len(alerts)
        return {
            "alerts": [_alert(alert) for alert in alerts],
            "more_alerts": more,
            "event_id": message.id,
            **_instead(message),
        }
    found = {
        **_alert(data),
        **_sentences(message),
        "text": data.get("text"),
        "period": _period(data),
        "top_contributors": [_contributor(part) for part in data.get("contributors") or ()],
        "data_through": data.get("data_through"),
        "comparison": data.get("comparison"),
        "pace": data.get("pace"),
        "increase": data.get("increase"),
        "event_id": message.id,
        **_instead(message),
    }
    return {key: value for key, value in found.items() if value not in (None, "", [])}


def _sentences(message: Message) -> dict[str, str]:
    """Where it leads, what changed and how the last days were, as people read it."""
    facts = message.notices[0].facts if message.notices else None
    if facts is None:
        return {}
    days = trend.last_days(facts.history)
    return {
        "outlook": trend.foreseen(facts),
        "what_changed": " ".join(trend.changed(facts)),
        "daily": f"{days.line} ({days.words})" if days is not None else "",
    }


def _instead(message: Message) -> dict[str, str]:
    return {"because": message.because} if message.because else {}


def _alert(data: dict[str, Any]) -> dict[str, Any]:
    money, rule, step = data.get("money") or {}, data.get("rule") or {}, data.get("step") or {}
    forecast = data.get("forecast") or {}
    found = {
        "title": data.get("title"),
        "incident": data.get("incident"),
        "reason": data.get("reason"),
        "rule": rule.get("id"),
        "budget_usd": money.get("budget"),
        "spent_usd": money.get("spent"),
        "remaining_usd": money.get("remaining"),
        "spent_ratio": money.get("spent_ratio"),
        "per": money.get("per"),
        "basis": money.get("basis"),
        "complete": money.get("complete"),
        "step_reached": step.get("reached"),
        "forecast_usd": forecast.get("expected"),
        "forecast_low_usd": forecast.get("low"),
        "forecast_high_usd": forecast.get("high"),
        "limit_reached_on": forecast.get("reached_on"),
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def _period(data: dict[str, Any]) -> str | None:
    period = data.get("period")
    return f"{period['start']}/{period['end']}" if period else None


def _contributor(part: dict[str, Any]) -> dict[str, Any]:
    named = {"model": part.get("model"), "token_type": part.get("token_type")}
    return {**named, "usd": part.get("amount"), "share": part.get("share")}


def _links(target: Target, status_page: str) -> list[dict[str, str]]:
    named = ((target.link, "Link"), (COST_REPORT, "Cost report"), (status_page, "Status page"))
    return [{"href": href, "text": text} for href, text in named if href]


def encoded(event: dict[str, Any]) -> bytes:
    """The event as it is sent: ASCII, so that no character can break it."""
    return json.dumps(event, separators=(",", ":")).encode()


def _bounded(event: dict[str, Any]) -> dict[str, Any]:
    """The event without its details where it would be too large for the API."""
    if len(encoded(event)) > BODY_BYTES:
        event["payload"].pop("custom_details", None)
    return event
