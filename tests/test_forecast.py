"""Forecasts: right on what repeats, silent on what is not known, and as sure as they say."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.forecast import LEAST_DAYS, MOST_DAYS, forecast
from budgetd.model import Forecast
from budgetd.period import DAY, Period, midnight
from tests.builders import NOVEMBER, at

LIMIT = Decimal(5000)
THROUGH = at("2026-11-18")


def weekdays(count: int, last: date, busy: int = 100, calm: int = 30) -> list[Decimal]:
    """So many days up to the last one, calmer at weekends."""
    days = (last - DAY * back for back in range(count - 1, -1, -1))
    return [Decimal(calm if day.weekday() >= 5 else busy) for day in days]


def foretold(days: list[Decimal], spent: str = "0", limit: Decimal = LIMIT) -> Forecast | None:
    return forecast(days, Decimal(spent), limit, THROUGH, NOVEMBER)


def test_what_repeats_every_week_is_foretold_to_the_cent() -> None:
    found = foretold(weekdays(91, date(2026, 11, 17)), "1450")
    # 18 to 30 November: 9 weekdays and 4 days of weekends.
    assert found == Forecast(Decimal(2470), Decimal(2470), Decimal(2470))


def test_of_a_day_that_has_begun_only_the_rest_is_to_come() -> None:
    noon = THROUGH + timedelta(hours=12)
    found = forecast(weekdays(91, date(2026, 11, 17)), Decimal(1500), LIMIT, noon, NOVEMBER)
    assert found is not None
    assert found.expected == Decimal(2470)


@pytest.mark.parametrize(
    ("limit", "reached"),
    [("1550", date(2026, 11, 18)), ("1551", date(2026, 11, 19)), ("2470", date(2026, 11, 30)), ("2471", None)],
)
def test_the_limit_is_reached_on_the_day_that_brings_the_sum_to_it(limit: str, reached: date | None) -> None:
    found = foretold(weekdays(91, date(2026, 11, 17)), "1450", Decimal(limit))
    assert found is not None
    assert found.reached_on == reached


def test_a_limit_that_is_reached_already_has_no_such_day() -> None:
    found = foretold(weekdays(91, date(2026, 11, 17)), "5000")
    assert found is not None
    assert found.reached_on is None


def test_nothing_is_said_without_enough_days_and_none_before_the_first_cost_count() -> None:
    enough = weekdays(LEAST_DAYS, date(2026, 11, 17))
    assert foretold(enough) is not None
    assert foretold(enough[1:]) is None
    assert foretold([Decimal(0)] * 40 + enough[1:]) is None
    assert foretold([Decimal(0)] * 40 + enough) == foretold(enough)
    assert foretold([]) is None


def test_nothing_is_said_of_what_stands_still_or_is_over() -> None:
    assert foretold([Decimal(9)] * 30 + [Decimal(0)] * 28) is None
    assert forecast(weekdays(91, date(2026, 11, 30)), LIMIT, LIMIT, NOVEMBER.end, NOVEMBER) is None


def test_one_runaway_day_is_not_what_is_to_come_and_several_are() -> None:
    days = weekdays(91, date(2026, 11, 17))
    usual = foretold(days)
    once = foretold([*days[:-7], Decimal(9000), *days[-6:]])
    often = foretold([*days[:-3], *[Decimal(9000)] * 3])
    assert usual is not None
    assert once is not None
    assert often is not None
    assert once.expected < usual.expected * Decimal("1.1")
    assert often.expected > usual.expected * 4
    assert once.high > once.expected * 2  # and yet it has happened, and the range knows


def test_two_weeks_at_another_level_are_the_level() -> None:
    before, since = weekdays(77, date(2026, 11, 3)), weekdays(14, date(2026, 11, 17), 200, 60)
    found = foretold([*before, *since])
    assert found is not None
    assert found.expected == Decimal(2 * (9 * 100 + 4 * 30))


@given(st.lists(st.decimals(-50, 10**6, places=4), min_size=28, max_size=100), st.decimals(0, 10**6, places=2))
def test_the_range_holds_the_expectation_and_nothing_is_earned_back(days: list[Decimal], spent: Decimal) -> None:
    found = forecast(days, spent, LIMIT, THROUGH, NOVEMBER)
    if found is not None:
        assert spent <= found.low <= found.expected <= found.high
        assert found == forecast(days[-MOST_DAYS:], spent, LIMIT, THROUGH, NOVEMBER)


@pytest.mark.parametrize("ahead", [3, 12, 25])
def test_the_range_keeps_four_of_five(ahead: int) -> None:
    """Of noisy weeks whose noise lasts for days (the part that a range for independent days gets wrong)."""
    noise, kept, told = random.Random(ahead), 0, 0
    for _ in range(40):
        level, days = 0.0, []
        for day in range(MOST_DAYS + ahead):
            level = 0.6 * level + noise.gauss(0, 0.25)
            days.append(Decimal(f"{100 * 2.718**level * (0.3 if day % 7 >= 5 else 1):.2f}"))
        period = Period(midnight(THROUGH.date()), THROUGH + DAY * ahead)
        found = forecast(days[:MOST_DAYS], Decimal(0), LIMIT, THROUGH, period)
        assert found is not None
        told += 1
        kept += found.low <= sum(days[MOST_DAYS:]) <= found.high
    assert 0.65 <= kept / told <= 0.95
