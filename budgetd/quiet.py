"""Quiet hours and planned events: when the rules file wants no messages, by the clock of a time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

from budgetd.model import Match
from budgetd.period import instant

_DAY = timedelta(days=1)
EVERY_DAY = frozenset(range(7))


@dataclass(frozen=True, slots=True)
class Nightly:
    """From one time of the day until another one, on the days of the week (0 is Monday) on which it begins.

    An end that is not after the start is on the next day.
    """

    start: time
    end: time
    zone: tzinfo
    days: frozenset[int] = EVERY_DAY

    def until(self, now: datetime) -> datetime | None:
        """The instant at which it is over, when it lasts now; else None."""
        today = now.astimezone(self.zone).date()
        for day in (today - _DAY, today):
            if day.weekday() in self.days:
                start, end = self._on(day)
                if start <= now < end:
                    return end
        return None

    def _on(self, day: date) -> tuple[datetime, datetime]:
        last = day if self.end > self.start else day + _DAY
        return instant(day, self.start, self.zone), instant(last, self.end, self.zone)


@dataclass(frozen=True, slots=True)
class Event:
    """Once, from one instant until another one."""

    start: datetime
    end: datetime

    def until(self, now: datetime) -> datetime | None:
        """The instant at which it is over, when it lasts now; else None."""
        return self.end if self.start <= now < self.end else None


@dataclass(frozen=True, slots=True)
class Quiet:
    """When messages that match wait for its end; `channels`: only there, or everywhere when it is empty.

    What is critical goes out all the same, unless `match` names that severity.
    """

    id: str
    when: Nightly | Event
    match: Match = ()
    channels: tuple[str, ...] = ()

    @property
    def takes_critical(self) -> bool:
        """Whether it keeps back even what is critical."""
        return any(key == "severity" and "critical" in patterns for key, patterns in self.match)
