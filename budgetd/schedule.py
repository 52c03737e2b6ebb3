"""When something is due by the clock on somebody's wall: a day and a time in an IANA zone, as instants in UTC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from budgetd.period import DAY, Calendar, Period, instant, midnight

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
EVERY = (*WEEKDAYS, "day", "month")
# Needs no time zone data, so it works on every machine.
ALWAYS_KNOWN = "UTC"


class ZoneError(ValueError):
    """There is no such zone, or no data about zones; the words say which."""


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo:
    """The zone of that IANA name, such as Europe/Berlin. Raises ZoneError."""
    if name == ALWAYS_KNOWN:
        return UTC
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # a folder of zones (`Europe`) is an OSError
        pass
    if not zones():
        raise ZoneError("this machine has no time zone data: install the package tzdata, or write UTC")
    raise ZoneError(f'there is no time zone "{name[:40]}"; write an IANA name such as Europe/Berlin, or UTC')


@lru_cache(maxsize=1)
def zones() -> frozenset[str]:
    """The names of all zones that this machine knows; empty without time zone data."""
    return frozenset(available_timezones())


@dataclass(frozen=True, slots=True)
class Schedule:
    """Every day, every week on one day, or every month on its first day; at a time in a zone.

    `every` is one of `EVERY`. `zone` is an IANA name; its methods raise ZoneError when this machine does not know it.
    """

    every: str
    at: time = time(8)
    zone: str = ALWAYS_KNOWN

    def last(self, now: datetime) -> datetime:
        """The newest instant that is not after `now`, in UTC."""
        where = zone(self.zone)
        days = self._days_back(now.astimezone(where).date() + DAY)
        return next(due for due in (instant(day, self.at, where) for day in days) if due <= now)

    def next(self, now: datetime) -> datetime:
        """The first instant after `now`, in UTC."""
        where = zone(self.zone)
        today = now.astimezone(where).date()
        days = (today + DAY * n for n in range(-1, 64))
        return next(due for due in (instant(d, self.at, where) for d in days if self._is_on(d)) if due > now)

    def covered(self, due: datetime) -> Period:
        """The whole UTC days that what is due then looks back on: the day, the seven days or the month before."""
        day = due.astimezone(zone(self.zone)).date()
        if self.every == "month":
            return Calendar("month").holding(day.replace(day=1) - DAY)
        length = 1 if self.every == "day" else 7
        return Period(midnight(day - DAY * length), midnight(day))

    def before(self, period: Period) -> Period:
        """What such a period is compared with: the one right before it."""
        if self.every == "month":
            return Calendar("month").holding(period.start.date() - DAY)
        return Period(period.start - (period.end - period.start), period.start)

    @property
    def words(self) -> str:
        """`every monday at 08:00 Europe/Berlin`; two schedules with the same words are one."""
        return f"every {self.every} at {self.at:%H:%M} {self.zone}"

    def _days_back(self, day: date) -> Iterator[date]:
        while True:
            if self._is_on(day):
                yield day
            day -= timedelta(days=1)

    def _is_on(self, day: date) -> bool:
        if self.every == "month":
            return day.day == 1
        return self.every == "day" or WEEKDAYS[day.weekday()] == self.every
