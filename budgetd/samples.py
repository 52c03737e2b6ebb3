"""Messages as they could come, one of each kind that has figures: what a template is tried on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from budgetd.message import render
from budgetd.model import (
    Comparison,
    Contributor,
    Delivery,
    Facts,
    Kind,
    Label,
    Notice,
    Pace,
    Reason,
    Severity,
)
from budgetd.period import Calendar, Period

_NOW = datetime(2026, 11, 18, 14, 6, tzinfo=UTC)
_THROUGH = datetime(2026, 11, 18, 14, tzinfo=UTC)
_MONTH = Calendar("month").holding(_NOW.date())
_DAY = Calendar("day").holding(_NOW.date())

_CAP = Facts(
    organisation="Example Ltd",
    rule="each-workspace",
    rule_type="cap",
    scope=(Label("workspace", "wrkspc_01", "Research"),),
    period=_MONTH,
    period_kind="month",
    amount=Decimal("4012.37"),
    limit=Decimal(5000),
    step=Decimal("0.8"),
    skipped=(Decimal("0.5"),),
    data_through=_THROUGH,
    contributors=(
        Contributor("claude-opus-4-8", "output_tokens", Decimal("2610.22")),
        Contributor(None, "web_search", Decimal("402.90")),
    ),
)
_WHOLE = replace(_CAP, rule="company", scope=(), amount=Decimal("5205.5"), step=Decimal(1), contributors=())
_SPIKE = replace(
    _CAP,
    rule="jumps",
    rule_type="spike",
    period=_DAY,
    period_kind="day",
    amount=Decimal(384),
    limit=Decimal(240),
    step=Decimal(1),
    skipped=(),
    comparison=Comparison("the day before", Decimal(120), Decimal(2)),
)
_RATE = replace(
    _CAP,
    rule="runaway",
    rule_type="rate",
    period=Period(_THROUGH - timedelta(minutes=15), _THROUGH),
    period_kind="window",
    amount=Decimal("412.50"),
    limit=Decimal(150),
    step=Decimal(2),
    pace=Pace(_THROUGH - timedelta(minutes=22), Decimal("3950.10"), Decimal(61000)),
)

# What it is -> its facts, what it does, why it is said.
_KINDS: dict[str, tuple[Facts, Kind, Reason]] = {
    "a step of a cap": (_CAP, Kind.TRIGGER, Reason.STEP_REACHED),
    "a cap on everything": (_WHOLE, Kind.TRIGGER, Reason.STEP_REACHED),
    "a spike": (_SPIKE, Kind.TRIGGER, Reason.STEP_REACHED),
    "a rate": (_RATE, Kind.TRIGGER, Reason.STEP_REACHED),
    "a resolved alert": (replace(_CAP, step=None, skipped=(), contributors=()), Kind.RESOLVE, Reason.LIMIT_RAISED),
}


def samples() -> dict[str, dict[str, Any]]:
    """The data of each kind of message, as webhooks get it, by what it is."""
    return {words: _data(*each) for words, each in _KINDS.items()}


def _data(facts: Facts, kind: Kind, reason: Reason) -> dict[str, Any]:
    notice = Notice("evt_sample", "inc_sample", 1, kind, reason, Severity.WARNING, _NOW, facts)
    found: dict[str, Any] = render(Delivery("dlv_sample", "sample", (notice,), _NOW, _NOW), _NOW).data["data"]
    return found
