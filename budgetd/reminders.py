"""When people are told again of what they know: nobody has taken it, and it has moved."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from budgetd.model import Incident, Severity
from budgetd.money import subtract, times

DAILY = timedelta(days=1)
# Since people were last told, for what nobody has acknowledged; the last one repeats.
CRITICAL_WAITS = (timedelta(hours=4), timedelta(hours=12), DAILY)
# The same figures again are no news.
LEAST_MOVE = Decimal("0.01")


def is_due(incident: Incident, amount: Decimal, now: datetime) -> bool:
    """Whether people must be told again that it is so, and what it comes to by now (dollars).

    Counted from when they were last told: a warning daily, what is critical after 4 h, 12 h more, then daily. Nothing
    for info, for what somebody acknowledged, and unless the amount moved by more than 1 % since.
    """
    if incident.told_at is None or incident.told_amount is None or incident.acknowledged is not None:
        return False
    wait = _wait(incident)
    if wait is None or now - incident.told_at < wait:
        return False
    return abs(subtract(amount, incident.told_amount)) > times(abs(incident.told_amount), LEAST_MOVE)


def _wait(incident: Incident) -> timedelta | None:
    if incident.severity is Severity.INFO:
        return None
    if incident.severity is Severity.WARNING:
        return DAILY
    return CRITICAL_WAITS[min(incident.reminders, len(CRITICAL_WAITS) - 1)]
