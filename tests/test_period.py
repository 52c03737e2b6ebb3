"""Periods tile the time that limits count over: every UTC day in exactly one, for four centuries."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.period import DAY, Calendar, Period, day_before, midnight
from tests.builders import at

FIRST, LAST = date(1999, 11, 20), date(2400, 2, 10)  # more than the 400 years after which the calendar repeats

CALENDARS = [
    Calendar("day"),
    Calendar("week"),
    Calendar("month"),
    *(Calendar("month", start_day=day) for day in (2, 15, 28)),
    Calendar("quarter"),
    Calendar("year"),
]


def called(calendar: Calendar) -> str:
    return f"{calendar.kind}-{calendar.start_day}-{calendar.length}"


@pytest.mark.parametrize("calendar", CALENDARS, ids=called)
def test_fault_59_periods_tile_four_hundred_years(calendar: Calendar) -> None:
    period = calendar.holding(FIRST)
    lengths = set()
    while period.end < midnight(LAST):
        first, last = period.start.date(), day_before(period.end)
        middle = first + (last - first) // 2
        assert period.start < period.end
        assert calendar.holding(first) == calendar.holding(middle) == calendar.holding(last) == period
        assert calendar.owns(period)
        lengths.add((period.end - period.start).days)
        following = calendar.holding(last + DAY)
        assert following.start == period.end
        period = following
    assert max(lengths) == calendar.longest
    assert (
        lengths
        == {
            "day": {1},
            "week": {7},
            "month": {28, 29, 30, 31},
            "quarter": {90, 91, 92},
            "year": {365, 366},
        }[calendar.kind]
    )


days = st.dates(FIRST, LAST)


@given(st.sampled_from(CALENDARS), days)
def test_a_period_holds_exactly_its_own_days(calendar: Calendar, day: date) -> None:
    period = calendar.holding(day)
    assert period.holds(day)
    assert period.days()[0] == period.start.date()
    assert period.days()[-1] == day_before(period.end)
    assert len(period.days()) == (period.end - period.start).days
    assert not period.holds(period.days()[0] - DAY)
    assert not period.holds(period.end.date())
    assert all(period.holds(each) for each in period.days())


@given(st.integers(1, 366), days)
def test_a_rolling_window_ends_with_its_day(length: int, day: date) -> None:
    calendar = Calendar("last", length=length)
    period = calendar.holding(day)
    assert period.end == midnight(day + DAY)
    assert len(period.days()) == length == calendar.longest
    assert calendar.rolling
    assert calendar.owns(period)
    assert not Calendar("last", length=length + 1).owns(period)


@given(st.sampled_from(CALENDARS), st.sampled_from(CALENDARS), days)
def test_a_calendar_owns_its_own_periods_and_no_others(one: Calendar, other: Calendar, day: date) -> None:
    period = one.holding(day)
    assert other.owns(period) == (other.holding(day) == period)
    longer = Period(period.start, period.end + DAY)
    shifted = Period(period.start + timedelta(hours=1), period.end + timedelta(hours=1))
    assert not any(calendar.owns(shifted) for calendar in CALENDARS)
    assert not one.owns(longer)


BOUNDS = [
    (Calendar("day"), "2028-02-29", "2028-02-29", "2028-03-01"),
    (Calendar("day"), "2026-12-31", "2026-12-31", "2027-01-01"),
    (Calendar("week"), "2026-11-22", "2026-11-16", "2026-11-23"),  # a Sunday
    (Calendar("week"), "2026-11-23", "2026-11-23", "2026-11-30"),  # a Monday
    (Calendar("week"), "2027-01-01", "2026-12-28", "2027-01-04"),
    (Calendar("month"), "2028-02-29", "2028-02-01", "2028-03-01"),
    (Calendar("month"), "2100-02-28", "2100-02-01", "2100-03-01"),  # no leap year
    (Calendar("month"), "2000-02-29", "2000-02-01", "2000-03-01"),  # a leap year
    (Calendar("month"), "2026-12-31", "2026-12-01", "2027-01-01"),
    (Calendar("month", start_day=15), "2026-11-14", "2026-10-15", "2026-11-15"),
    (Calendar("month", start_day=15), "2026-11-15", "2026-11-15", "2026-12-15"),
    (Calendar("month", start_day=15), "2027-01-01", "2026-12-15", "2027-01-15"),
    (Calendar("month", start_day=28), "2027-03-01", "2027-02-28", "2027-03-28"),
    (Calendar("month", start_day=28), "2026-03-31", "2026-03-28", "2026-04-28"),
    (Calendar("quarter"), "2026-12-31", "2026-10-01", "2027-01-01"),
    (Calendar("quarter"), "2026-05-31", "2026-04-01", "2026-07-01"),
    (Calendar("year"), "2028-12-31", "2028-01-01", "2029-01-01"),
    (Calendar("last", length=7), "2026-11-18", "2026-11-12", "2026-11-19"),
    (Calendar("last", length=30), "2028-03-15", "2028-02-15", "2028-03-16"),
]


@pytest.mark.parametrize(("calendar", "day", "start", "end"), BOUNDS)
def test_where_a_period_begins_and_ends(calendar: Calendar, day: str, start: str, end: str) -> None:
    assert calendar.holding(date.fromisoformat(day)) == Period(at(start), at(end))


NAMES = [
    (Calendar("day"), "18 Nov 2026"),
    (Calendar("week"), "16-22 Nov 2026"),
    (Calendar("month"), "November 2026"),
    (Calendar("month", start_day=15), "15 Nov - 14 Dec 2026"),
    (Calendar("quarter"), "Q4 2026"),
    (Calendar("year"), "2026"),
    (Calendar("last", length=7), "12-18 Nov 2026"),
    (Calendar("last", length=30), "20 Oct - 18 Nov 2026"),
    (Calendar("last", length=365), "19 Nov 2025 - 18 Nov 2026"),
    (Calendar("last", length=1), "18 Nov 2026"),
]


@pytest.mark.parametrize(("calendar", "name"), NAMES, ids=lambda value: value if isinstance(value, str) else "")
def test_what_people_call_a_period(calendar: Calendar, name: str) -> None:
    assert calendar.holding(date(2026, 11, 18)).name == name


@pytest.mark.parametrize(
    ("instant", "day"),
    [("2026-11-18", "2026-11-17"), ("2026-11-18 00:01", "2026-11-18"), ("2026-01-01", "2025-12-31")],
)
def test_midnight_belongs_to_the_day_that_ends(instant: str, day: str) -> None:
    assert day_before(at(instant)) == date.fromisoformat(day)
