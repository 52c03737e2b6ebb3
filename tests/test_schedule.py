"""When a digest is due: days and times on clocks in zones, with what summer time does to them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetd import schedule
from budgetd.period import DAY, Period
from budgetd.schedule import EVERY, Schedule, ZoneError, instant, zone
from tests.builders import at

BERLIN = "Europe/Berlin"
MONDAY = Schedule("monday", time(8), BERLIN)


@pytest.mark.parametrize(
    ("now", "last", "following"),
    [
        ("2026-11-23 06:59", "2026-11-16 07:00", "2026-11-23 07:00"),  # winter: an hour ahead of UTC
        ("2026-11-23 07:00", "2026-11-23 07:00", "2026-11-30 07:00"),
        ("2026-11-25 12:00", "2026-11-23 07:00", "2026-11-30 07:00"),
        ("2026-07-06 06:00", "2026-07-06 06:00", "2026-07-13 06:00"),  # summer: two
        ("2026-10-26 06:30", "2026-10-19 06:00", "2026-10-26 07:00"),  # over the end of summer
    ],
)
def test_a_weekly_time_is_that_of_the_clock_on_the_wall(now: str, last: str, following: str) -> None:
    assert MONDAY.last(at(now)) == at(last)
    assert MONDAY.next(at(now)) == at(following)


def test_a_time_that_is_skipped_comes_by_the_old_offset_and_one_that_comes_twice_the_first_time() -> None:
    assert instant(date(2026, 3, 29), time(2, 30), zone(BERLIN)) == at("2026-03-29 01:30")  # 03:30 in summer time
    assert instant(date(2026, 10, 25), time(2, 30), zone(BERLIN)) == at("2026-10-25 00:30")
    daily = Schedule("day", time(2, 30), BERLIN)
    due = [daily.last(at("2026-10-24 12:00") + timedelta(hours=n)) for n in range(48)]
    assert sorted(set(due)) == [at("2026-10-24 00:30"), at("2026-10-25 00:30"), at("2026-10-26 01:30")]


def test_a_day_that_a_zone_left_out_gives_no_second_instant() -> None:
    samoa = Schedule("day", time(8), "Pacific/Apia")  # 30 December 2011 was not there
    due = {samoa.last(at("2011-12-29 00:00") + timedelta(hours=n)) for n in range(120)}
    assert sorted(due) == [at("2011-12-28 18:00") + DAY * n for n in range(6)]


@pytest.mark.parametrize(
    ("plan", "due", "covered", "before"),
    [
        (MONDAY, "2026-11-23 07:00", ("2026-11-16", "2026-11-23"), ("2026-11-09", "2026-11-16")),
        (Schedule("day"), "2026-11-23 08:00", ("2026-11-22", "2026-11-23"), ("2026-11-21", "2026-11-22")),
        (Schedule("month"), "2026-12-01 08:00", ("2026-11-01", "2026-12-01"), ("2026-10-01", "2026-11-01")),
        # The 1st in Berlin is still the 30th in UTC: it is November that is looked back on.
        (Schedule("month", time(0, 30), BERLIN), "2026-11-30 23:30", ("2026-11-01", "2026-12-01"), None),
        (Schedule("month"), "2027-01-01 08:00", ("2026-12-01", "2027-01-01"), ("2026-11-01", "2026-12-01")),
    ],
)
def test_what_is_looked_back_on(
    plan: Schedule, due: str, covered: tuple[str, str], before: tuple[str, str] | None
) -> None:
    period = plan.covered(at(due))
    assert period == Period(*map(at, covered))
    assert before is None or plan.before(period) == Period(*map(at, before))


INSTANTS = st.integers(0, 37 * 366 * 1440).map(lambda minutes: at("2000-01-01") + timedelta(minutes=minutes))
ZONES = st.sampled_from(["UTC", BERLIN, "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "Australia/Lord_Howe"])


@given(INSTANTS, ZONES, st.sampled_from(EVERY), st.times().map(lambda each: each.replace(second=0, microsecond=0)))
@settings(max_examples=150, deadline=None)
def test_last_and_next_enclose_now_and_nothing_is_due_between(
    now: datetime, where: str, every: str, at_time: time
) -> None:
    plan = Schedule(every, at_time, where)
    last, following = plan.last(now), plan.next(now)
    assert last <= now < following
    assert plan.last(following) == following
    assert plan.last(following - timedelta(seconds=1)) == last
    assert plan.covered(following).end > plan.covered(last).start


def test_zones_are_told_apart_from_missing_data(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"Europe/Berlin", "UTC"} <= schedule.zones() <= available_timezones()
    with pytest.raises(ZoneError, match='no time zone "Mars/Olympus"'):
        zone("Mars/Olympus")
    for wrong in ("Europe", "", "../etc/passwd", "/etc/localtime", "a" * 5000, "Berlin\0"):
        with pytest.raises(ZoneError):
            zone(wrong)
    monkeypatch.setattr(schedule, "zones", frozenset)
    with pytest.raises(ZoneError, match="no time zone data: install the package tzdata"):
        zone("Nowhere/Else")
    assert zone("UTC") is UTC
