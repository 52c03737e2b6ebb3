"""The message as machines read it: the JSON object that webhooks carry."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from typing import Any

from budgetd import money
from budgetd.digest_data import digest_data
from budgetd.escaping import name
from budgetd.increase import rounded
from budgetd.model import Contributor, Facts, Forecast, History, Increase, Kind, Label, Mover, Notice
from budgetd.wording import ABOUT_BUDGETD, is_rate, title

COST_REPORT = "https://platform.claude.com/usage/cost"
SCHEMA_VERSION = 1
MOST_ALERTS = 100


def payload(
    id: str, notices: Sequence[Notice], now: datetime, headline: str, because: str = "", status_page: str = ""
) -> dict[str, Any]:
    """`type`, `timestamp` (when it was decided) and `data`; `data.id` is the same on every attempt.

    Several notices become one event `budget.batch` with the first 100 in `alerts` and the number of the others.
    Amounts are decimal strings in dollars. `because`: why this channel gets what was for another one, or gets it now.
    `status_page`: a URL, if there is one.
    """
    first, links = notices[0], {"report": COST_REPORT, "status": status_page or None}
    frame = {"schema_version": SCHEMA_VERSION, "id": id, "sent_at": _time(now), "because": because or None}
    if len(notices) == 1:
        return {
            "type": event_type(first),
            "timestamp": _time(first.created_at),
            "data": {**frame, **_alert(first, links)},
        }
    return {
        "type": "budget.batch",
        "timestamp": _time(max(notice.created_at for notice in notices)),
        "data": {
            **frame,
            "severity": first.severity.value,
            "title": headline,
            "count": len(notices),
            "alerts": [{"type": event_type(notice), **_alert(notice, links)} for notice in notices[:MOST_ALERTS]],
            "omitted": max(0, len(notices) - MOST_ALERTS),
            "links": links,
        },
    }


def event_type(notice: Notice) -> str:
    """`budget.cap.firing`, `budget.cap.resolved`, `budgetd.blind`."""
    if notice.reason in ABOUT_BUDGETD:
        return f"budgetd.{notice.reason.value}"
    return f"budget.{name(notice.facts.rule_type or 'rule', 30)}.{_state(notice)}"


_STATES = {
    Kind.TRIGGER: "firing",
    Kind.ACKNOWLEDGE: "acknowledged",
    Kind.RESOLVE: "resolved",
    Kind.INFORM: "info",
}


def _state(notice: Notice) -> str:
    return _STATES[notice.kind]


def _alert(notice: Notice, links: dict[str, str | None]) -> dict[str, Any]:
    facts = notice.facts
    return {
        "notice": notice.id,
        "incident": notice.incident,
        "sequence": notice.sequence,
        "state": _state(notice),
        "reason": notice.reason.value,
        "severity": notice.severity.value,
        "title": title(notice),
        "text": name(facts.text, 1200) if facts.text else "",
        "by_hand": {"author": name(facts.person, 60), "comment": name(facts.comment, 500)} if facts.person else None,
        "rule": {"id": name(facts.rule, 200), "type": facts.rule_type},
        "scope": _scope(facts),
        "period": _period(facts),
        "step": _step(facts),
        "money": _money(facts),
        "comparison": _comparison(facts),
        "pace": _pace(facts),
        "contributors": [_contributor(part, facts.amount) for part in facts.contributors[:20]],
        "forecast": _forecast(facts.forecast),
        "increase": _increase(facts.increase),
        "history": _history(facts.history),
        "data_through": _time(facts.data_through) if facts.data_through else None,
        "digest": digest_data(facts.digest) if facts.digest is not None else None,
        "links": links,
    }


def _scope(facts: Facts) -> dict[str, Any]:
    labels = [_label(label) for label in facts.scope]
    whole = {"type": "organisation", "id": name(facts.organisation, 200), "name": name(facts.organisation, 200)}
    return {**(labels[0] if labels else whole), "dimensions": labels}


def _label(label: Label) -> dict[str, str]:
    return {"type": label.dimension, "id": name(label.id, 200), "name": name(label.name, 200)}


def _period(facts: Facts) -> dict[str, str] | None:
    if facts.period is None:
        return None
    return {"kind": facts.period_kind, "start": _time(facts.period.start), "end": _time(facts.period.end)}


def _step(facts: Facts) -> dict[str, Any] | None:
    if facts.step is None:
        return None
    return {
        "reached": money.canonical(facts.step),
        "skipped": [money.canonical(step) for step in facts.skipped],
    }


def _money(facts: Facts) -> dict[str, Any] | None:
    if facts.amount is None or facts.limit is None:
        return None
    return {
        "currency": "USD",
        "per": "hour" if is_rate(facts) else None,
        "budget": money.cents_text(facts.limit),
        "spent": money.cents_text(facts.amount),
        "remaining": money.cents_text(money.subtract(facts.limit, facts.amount)),
        "spent_ratio": _ratio(facts.amount, facts.limit),
        "basis": facts.basis.value,
        "complete": facts.complete,
    }


def _pace(facts: Facts) -> dict[str, str] | None:
    if facts.pace is None:
        return None
    return {
        "since": _time(facts.pace.since),
        "by_midnight": money.cents_text(facts.pace.by_midnight),
        "by_month_end": money.cents_text(facts.pace.by_month_end),
    }


def _comparison(facts: Facts) -> dict[str, Any] | None:
    if facts.comparison is None or facts.amount is None:
        return None
    return {
        "against": name(facts.comparison.against, 200),
        "baseline": money.cents_text(facts.comparison.baseline),
        "factor": money.canonical(facts.comparison.factor),
        "ratio": _ratio(facts.amount, facts.comparison.baseline),
    }


def _contributor(part: Contributor, whole: Decimal | None) -> dict[str, Any]:
    return {
        "model": name(part.model, 200) if part.model else None,
        "token_type": name(part.token_type, 200) if part.token_type else None,
        "amount": money.cents_text(part.amount),
        "share": _ratio(part.amount, whole) if whole else None,
    }


def _forecast(found: Forecast | None) -> dict[str, str | None] | None:
    if found is None:
        return None
    return {
        "expected": money.cents_text(found.expected),
        "low": money.cents_text(found.low),
        "high": money.cents_text(found.high),
        "reached_on": found.reached_on.isoformat() if found.reached_on else None,
    }


def _increase(found: Increase | None) -> dict[str, Any] | None:
    """The causes in cents, so that they add up to `after` - `before` as they stand here."""
    if found is None:
        return None
    before, after = (_cents(amount) for amount in (found.before, found.after))
    causes = rounded((amount for _, amount in found.causes), money.CENT)
    if causes:  # the two totals are rounded each by itself; a cent between them and the causes is the last cause's
        causes[-1] = money.add(causes[-1], money.subtract(money.subtract(after, before), money.total(causes)))
    return {
        "against": name(found.against, 200),
        "before": money.cents_text(before),
        "after": money.cents_text(after),
        "closed": found.closed,
        "movers": [_mover(mover) for mover in found.movers],
        "causes": [
            {"cause": cause.value, "amount": money.cents_text(amount)}
            for (cause, _), amount in zip(found.causes, causes, strict=True)
        ],
        "tokens_ratio": _ratio(found.tokens, Decimal(1)) if found.tokens is not None else None,
    }


def _mover(mover: Mover) -> dict[str, str | None]:
    return {
        "dimension": mover.dimension,
        "name": name(mover.name, 200),
        "token_type": name(mover.token_type, 200) if mover.token_type else None,
        "before": money.cents_text(mover.before),
        "after": money.cents_text(mover.after),
    }


def _history(found: History | None) -> dict[str, Any] | None:
    if found is None:
        return None
    amounts = [None if amount is None else money.cents_text(amount) for amount in found.amounts]
    return {"start": found.start.isoformat(), "amounts": amounts}


def _cents(amount: Decimal) -> Decimal:
    return Decimal(money.cents_text(amount))


def _ratio(amount: Decimal, whole: Decimal) -> str | None:
    """amount / whole with four decimals, rounded down: a ratio below 1 is never shown as 1."""
    if whole == 0:
        return None
    return format(money.quotient(amount, whole).quantize(Decimal("0.0001"), rounding=ROUND_DOWN), "f")


def _time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
