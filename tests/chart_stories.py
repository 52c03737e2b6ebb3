"""Notices whose charts differ, for tests and for those who look at them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from budgetd.model import Facts, Forecast, History, Notice, Severity
from budgetd.period import Period
from tests.test_message import FACTS, NOW, RATE, SPIKE, TODAY, notice

THROUGH = datetime(2026, 11, 18, 14, tzinfo=UTC)


def history(*amounts: str | None, last: date = date(2026, 11, 17)) -> History:
    """The amounts of the days up to that one."""
    given = tuple(Decimal(amount) if amount is not None else None for amount in amounts)
    return History(last - timedelta(days=len(given) - 1), given)


WEEK = ("210.50", "240", "262.10", "231", "250.33", "91", "72.40")
MONTH = history(*(WEEK * 5)[:31])
BEFORE = sum((amount for amount in MONTH.amounts[-17:] if amount), Decimal(0))
CAP = replace(
    FACTS,
    amount=BEFORE + Decimal("140.20"),
    limit=Decimal(4000),
    data_through=THROUGH,
    history=MONTH,
    contributors=tuple(replace(part, amount=part.amount * Decimal("0.8")) for part in FACTS.contributors),
    forecast=Forecast(Decimal(5420), Decimal(5010), Decimal(6020), date(2026, 11, 23)),
)
OVER = replace(CAP, limit=Decimal(3000), step=Decimal(1))
CALM = replace(CAP, limit=Decimal(9000), forecast=Forecast(Decimal(5420), Decimal(5010), Decimal(6020)))
YEAR = replace(
    CAP,
    period=Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
    period_kind="year",
    amount=Decimal("71230.50"),
    limit=Decimal(80000),
    forecast=Forecast(Decimal(81000), Decimal(79000), Decimal(84000), date(2026, 12, 24)),
)
WILD = replace(CAP, forecast=Forecast(Decimal(30000), Decimal(4000), Decimal(900000), date(2026, 11, 19)))
GAPS = replace(CAP, history=History(MONTH.start, (*MONTH.amounts[:20], None, None, *MONTH.amounts[22:])))
DAY = replace(CAP, period=TODAY, period_kind="day", amount=Decimal("405.10"), limit=Decimal(400), forecast=None)
JUMP = replace(SPIKE, history=MONTH, data_through=THROUGH)
RUNAWAY = replace(RATE, history=MONTH, data_through=THROUGH)
WEEKLY = replace(
    CAP,
    period=Period(datetime(2026, 11, 12, tzinfo=UTC), datetime(2026, 11, 19, tzinfo=UTC)),
    period_kind="last",
    amount=sum((amount for amount in MONTH.amounts[-6:] if amount), Decimal(140)),
    limit=Decimal(1200),
    forecast=None,
)

STORIES: dict[str, Facts] = {
    "cap": CAP,
    "over": OVER,
    "calm": CALM,
    "year": YEAR,
    "wild": WILD,
    "gaps": GAPS,
    "day": DAY,
    "jump": JUMP,
    "runaway": RUNAWAY,
    "weekly": WEEKLY,
}


def story(name: str) -> Notice:
    """A notice with those facts."""
    severity = Severity.CRITICAL if name in ("over", "runaway") else Severity.WARNING
    return notice(STORIES[name], severity=severity, created_at=NOW)
