"""When not seeing must be said, by a naive reading of the promises: a warning once, critical once, recovered once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from budgetd.model import Failure
from budgetd.period import DAY, midnight
from tests.simulation.promises import Expected

_SCOPE = (("source", "cost_report"),)


class Sight:
    """The naive judge's memory of the polls that failed in a row."""

    def __init__(self) -> None:
        self.since: datetime | None = None
        self.failures = 0
        self.announced: str | None = None
        self.said = 0

    def not_seen(self, failure: Failure, wall: datetime) -> list[Expected]:
        """After a failed poll that was kept."""
        self.since = self.since or wall
        self.failures += 1
        lasting = wall - self.since
        if self.failures >= 6 and lasting >= timedelta(hours=2):
            severity = "critical"
        elif failure in (Failure.REFUSED, Failure.REJECTED) or (
            self.failures >= 3 and lasting >= timedelta(minutes=15)
        ):
            severity = "warning"
        else:
            return []
        if self.announced in ("critical", severity):
            return []
        self.announced = severity
        reason = "refused" if failure is Failure.REFUSED else "blind"
        return [self._notice("firing", reason, severity)]

    def read(self, days: Iterable[date], wall: datetime) -> list[Expected]:
        """After a whole report that was kept: it counts unless the bill of the day before yesterday is not there."""
        ends = midnight(max(day for day in days if day < wall.date()) + DAY)
        return self.not_seen(Failure.STALLED, wall) if wall - ends > timedelta(hours=48) else self.seen()

    def seen(self) -> list[Expected]:
        """After a good poll that was kept."""
        made = [self._notice("resolved", "recovered", None, self.announced)] if self.announced is not None else []
        self.__init__()  # type: ignore[misc]
        return made

    def _notice(self, kind: str, reason: str, severity: str | None, weight: str = "") -> Expected:
        assert self.since is not None
        self.said += 1
        start = f"{self.since:%Y-%m-%dT%H:%M:%SZ}"
        key = ("budgetd:blind", _SCOPE, start)
        return Expected(key, self.said, kind, reason, start, severity, weight=severity or weight)
