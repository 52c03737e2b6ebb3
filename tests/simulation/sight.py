"""When not seeing must be said, by a naive reading of the promises: a warning once, critical once, recovered once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from budgetd.model import Failure
from budgetd.period import DAY, midnight
from tests.simulation.promises import Expected


class Sight:
    """The naive judge's memory of the polls that failed in a row."""

    def __init__(self, source: str = "cost_report") -> None:
        self.source = source
        self.since: datetime | None = None
        self.failures = 0
        self.announced: str | None = None
        self.said = 0
        self.failure: Failure | None = None

    def not_seen(self, failure: Failure, wall: datetime, others: Iterable[Sight] = ()) -> list[Expected]:
        """After a failed poll that was kept. What is the trouble of all sources is said by one of the `others`, too."""
        self.since = self.since or wall
        self.failures += 1
        self.failure = failure
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
        if any(other.speaks_for(self, severity, wall) for other in others):
            return []
        self.announced = severity
        reason = "refused" if failure is Failure.REFUSED else "blind"
        return [self._notice("firing", reason, severity)]

    def speaks_for(self, other: Sight, severity: str, wall: datetime) -> bool:
        """Whether it said already what is the other's trouble as well: the key's, or of the bill that all is down.

        Who should have said by half an hour ago that it is critical does not speak any more.
        """
        if self.announced is None or self.since is None or other.since is None:
            return False
        down = {Failure.UNAVAILABLE, Failure.UNREACHABLE}
        one = {self.failure, other.failure} == {Failure.REFUSED}
        one |= other.source == "cost_report" and self.failure in down and other.failure in down
        says = self.announced in (severity, "critical") or wall - self.since <= timedelta(hours=2, minutes=30)
        return one and says and abs(other.since - self.since) <= timedelta(minutes=90)

    def read(self, days: Iterable[date], wall: datetime) -> list[Expected]:
        """After a whole report that was kept: it counts unless the bill of the day before yesterday is not there."""
        ends = midnight(max(day for day in days if day < wall.date()) + DAY)
        return self.not_seen(Failure.STALLED, wall) if wall - ends > timedelta(hours=48) else self.seen()

    def seen(self) -> list[Expected]:
        """After a good poll that was kept."""
        made = [self._notice("resolved", "recovered", None, self.announced)] if self.announced is not None else []
        self.__init__(self.source)  # type: ignore[misc]
        return made

    def _notice(self, kind: str, reason: str, severity: str | None, weight: str = "") -> Expected:
        assert self.since is not None
        self.said += 1
        start = f"{self.since:%Y-%m-%dT%H:%M:%SZ}"
        key = ("budgetd:blind", (("source", self.source),), start)
        return Expected(key, self.said, kind, reason, start, severity, weight=severity or weight)
