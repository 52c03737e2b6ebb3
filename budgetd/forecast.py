"""What a period will come to if it goes on as lately, and how far such forecasts were off lately. Pure.

The level is that of the last two closed weeks, the weekdays' shape that of the last four (seasonal indices as ratios to
the average); one day of them that is far above all others is cut back. The range holds the middle four fifths of what
the same forecast would have missed by on each day of the last 13 weeks, over the time that is left or over one week,
whichever is shorter (empirical prediction limits: Williams and Goodman, JASA 66, 1971). It assumes no distribution and
no independence of the days; it is as good as the next weeks are like the last 13.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import dropwhile

from budgetd.model import Forecast
from budgetd.money import ZERO, add, quotient, times
from budgetd.period import DAY, Period, midnight

# Of fewer closed days nothing is said: the range of such a forecast would be too narrow to stand by.
LEAST_DAYS = 28
MOST_DAYS = 91
_WEEK = 7
_SHAPE_WEEKS, _LEVEL_WEEKS = 4, 2
# Forecasts are tried on at least so many weeks, also if that leaves them less to go by.
_TRIED_WEEKS = 6
# Days are counted in millionths of a dollar here: integers are exact, and quick in a storm of alerts.
_UNIT = Decimal("0.000001")
_WHOLE = 1_000_000
_SECOND = timedelta(seconds=1)


def forecast(
    days: Sequence[Decimal], spent: Decimal, limit: Decimal, through: datetime, period: Period
) -> Forecast | None:
    """What the period comes to; None when too little is known, or nothing of it is left.

    `days`: dollars of the closed UTC days up to the last one before `through`, the oldest first, without a gap; days
    before the first cost do not count, and a day of credits is one of $0. `spent`: dollars of the period up to
    `through`.
    """
    if through >= period.end:
        return None
    known = _in_units(days)
    pace = _Pace.of(known) if len(known) >= LEAST_DAYS else None
    if pace is None:
        return None
    ahead = _Ahead.of(pace, through, period.end)
    rest = sum(ahead.days)
    low, high = _middle(_misses(known, min(_WEEK, len(ahead.days))))
    return Forecast(
        expected=add(spent, _dollars(rest)),
        low=add(spent, _dollars(rest * min(low, _WHOLE) // _WHOLE)),
        high=add(spent, _dollars(rest * max(high, _WHOLE) // _WHOLE)),
        reached_on=_reached_on(ahead, spent, limit),
    )


def _in_units(days: Sequence[Decimal]) -> list[int]:
    """The last days, from the first one that cost anything."""
    costs = [int(max(day, ZERO) / _UNIT) for day in days[-MOST_DAYS:]]
    return list(dropwhile(lambda cost: cost == 0, costs))


@dataclass(frozen=True, slots=True)
class _Pace:
    """What the days after a moment will cost: `shape` by weekday, times `level` / `base`."""

    shape: tuple[int, ...]
    level: int
    base: int

    @classmethod
    def of(cls, known: Sequence[int]) -> _Pace | None:
        """The pace after these days; None where they cost nothing."""
        weeks = min(_SHAPE_WEEKS, len(known) // _WEEK)
        last = _without_outlier(known[len(known) - weeks * _WEEK :])
        recent = min(_LEVEL_WEEKS, weeks)
        level, base = sum(last[len(last) - recent * _WEEK :]), recent * sum(last)
        # Whole weeks: the first of them is the weekday of the day to come.
        return cls(tuple(sum(last[day::_WEEK]) for day in range(_WEEK)), level, base) if level else None

    def day(self, ahead: int) -> int:
        """What a day costs, so many days ahead."""
        return self.shape[ahead % _WEEK] * self.level // self.base

    def first(self, count: int) -> int:
        """What the next days cost together, at most a week of them."""
        return sum(self.shape[:count]) * self.level // self.base


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What each UTC day that is left will cost; of the first one only what is left of it."""

    start: date
    days: tuple[int, ...]

    @classmethod
    def of(cls, pace: _Pace, through: datetime, end: datetime) -> _Ahead:
        today = through.date()
        days = [pace.day(ahead) for ahead in range((end.date() - today).days)]
        days[0] = days[0] * ((midnight(today) + DAY - through) // _SECOND) // (DAY // _SECOND)
        return cls(today, tuple(days))


def _without_outlier(days: Sequence[int]) -> list[int]:
    """One day that is more than twice the next counts as that one does: what happened once need not go on."""
    highest, following = sorted(days)[:-3:-1]
    return [min(day, following) for day in days] if highest > 2 * following > 0 else list(days)


def _misses(known: Sequence[int], length: int) -> list[int]:
    """What came, in millionths of what would have been forecast, for each stretch of so many days, lowest first."""
    first = min(_SHAPE_WEEKS * _WEEK, max(_WEEK, len(known) - _TRIED_WEEKS * _WEEK))
    return sorted(_missed(known, at, length) for at in range(first, len(known) - length + 1))


def _missed(known: Sequence[int], at: int, length: int) -> int:
    pace = _Pace.of(known[:at])
    expected = pace.first(length) if pace is not None else 0
    # Where nothing was expected and something came the forecast was as wrong as can be: it counts as twice as much.
    came = sum(known[at : at + length])
    return came * _WHOLE // expected if expected else (2 * _WHOLE if came else _WHOLE)


def _middle(misses: Sequence[int]) -> tuple[int, int]:
    """The tenth and the ninetieth percentile."""
    count = len(misses) + 1
    return misses[max(0, count // 10 - 1)], misses[min(len(misses) - 1, -(-9 * count // 10) - 1)]


def _reached_on(ahead: _Ahead, spent: Decimal, limit: Decimal) -> date | None:
    if spent >= limit:
        return None
    return next((day for day, amount in _running(ahead, spent) if amount >= limit), None)


def _running(ahead: _Ahead, spent: Decimal) -> Iterator[tuple[date, Decimal]]:
    """What is spent by the end of each day to come."""
    for number, cost in enumerate(ahead.days):
        spent = add(spent, _dollars(cost))
        yield ahead.start + DAY * number, spent


def _dollars(units: int) -> Decimal:
    return quotient(times(Decimal(units), _UNIT), 1)
