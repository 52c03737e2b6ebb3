"""Periods: the half-open UTC ranges that limits count over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Literal

PeriodKind = Literal["day", "week", "month", "quarter", "year", "last", "window"]

DAY = timedelta(days=1)


def midnight(day: date) -> datetime:
    """The instant at which a UTC day starts."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def day_before(instant: datetime) -> date:
    """The UTC day that ends at, or holds the moment just before, `instant`."""
    return (instant.astimezone(UTC) - timedelta(microseconds=1)).date()


def instant(day: date, at: time, where: tzinfo) -> datetime:
    """The instant in UTC at which a clock in that zone shows that day and time.

    A time that is skipped when clocks go forward is the instant that it would have been without that; of a time that
    comes twice when they go back it is the first.
    """
    return datetime.combine(day, at.replace(fold=0), where).astimezone(UTC)


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A half-open range [start, end) of UTC instants."""

    start: datetime
    end: datetime

    def days(self) -> list[date]:
        """The UTC days that start within the period, oldest first."""
        first = self.start.date()
        return [first + DAY * n for n in range((self.end.date() - first).days)]

    def holds(self, day: date) -> bool:
        """Whether the UTC day starts within the period."""
        return self.start <= midnight(day) < self.end

    @property
    def is_part_of_a_day(self) -> bool:
        """Whether it is shorter than a day: what counts over it is a rate."""
        return self.end - self.start < DAY

    @property
    def name(self) -> str:
        """What people call it: `18 Nov 2026`, `November 2026`, `Q4 2026`, `2026`, `12-18 Nov 2026`.

        A part of a day: `18 Nov 2026 14:00-14:15`.
        """
        if self.is_part_of_a_day and self.start != self.end:
            return f"{self.start.day} {self.start:%b %Y %H:%M}-{self.end:%H:%M}"
        first, last = self.start.date(), day_before(self.end)
        if first == last:
            return f"{first.day} {first:%b %Y}"
        if first.day == 1 and self.end.day == 1:
            months = (self.end.year - first.year) * 12 + self.end.month - first.month
            if months == 1:
                return f"{first:%B %Y}"
            if months == 3 and first.month % 3 == 1:
                return f"Q{(first.month + 2) // 3} {first.year}"
            if months == 12 and first.month == 1:
                return f"{first.year}"
        if (first.year, first.month) == (last.year, last.month):
            return f"{first.day}-{last.day} {last:%b %Y}"
        return f"{first.day} {first:%b}{'' if first.year == last.year else f' {first.year}'} - {last.day} {last:%b %Y}"


@dataclass(frozen=True, slots=True)
class Calendar:
    """How time is cut into periods: `month`, a month that starts on another day, the last N days.

    `start_day` (1..28) applies to months; `length` to `last` (days) and to `window` (minutes): that is the time up to
    the newest data, and has no periods of its own.
    """

    kind: PeriodKind
    start_day: int = 1
    length: int = 0

    @property
    def rolling(self) -> bool:
        """Whether each day, or poll, has a period of its own that overlaps its neighbours'."""
        return self.kind in ("last", "window")

    @property
    def longest(self) -> int:
        """The most days that one of its periods can have: how much history a limit over it needs."""
        return {"day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366, "last": self.length, "window": 1}[
            self.kind
        ]

    def holding(self, day: date) -> Period:
        """The period that the UTC day belongs to; for `last` the one that ends with it."""
        return _holding(self, day)

    def owns(self, period: Period) -> bool:
        """Whether the period is one of this calendar's."""
        return self.holding(day_before(period.end)) == period

    def bounds(self, day: date) -> tuple[date, date]:
        """The first UTC day of the period that the day belongs to, and the first one after it."""
        if self.kind == "last":
            return day - DAY * (self.length - 1), day + DAY
        if self.kind == "day":
            return day, day + DAY
        if self.kind == "week":
            monday = day - DAY * day.weekday()
            return monday, monday + DAY * 7
        if self.kind == "month":
            first = day.replace(day=self.start_day)
            if day.day < self.start_day:
                first = _add_months(first, -1)
            return first, _add_months(first, 1)
        if self.kind == "quarter":
            first = date(day.year, day.month - (day.month - 1) % 3, 1)
            return first, _add_months(first, 3)
        return date(day.year, 1, 1), date(day.year + 1, 1, 1)


# Every rule asks for the same few periods at each poll, and there may be thousands of rules.
@lru_cache(maxsize=4_096)
def _holding(calendar: Calendar, day: date) -> Period:
    first, following = calendar.bounds(day)
    return Period(midnight(first), midnight(following))


def _add_months(first: date, months: int) -> date:
    """`first` moved by whole months; its day must exist in every month (1..28)."""
    index = first.year * 12 + first.month - 1 + months
    return date(index // 12, index % 12 + 1, first.day)
