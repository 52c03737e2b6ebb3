"""The newest days by parts: joined without overlap, exact over every stretch, composed into days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.model import Basis, CostDay, CostSlice, Dimensions, Report
from budgetd.money import total
from budgetd.period import DAY, Period, midnight
from budgetd.recent import Parts, Recent
from budgetd.scope import Lens, View
from tests.builders import at, line, naming

TODAY = date(2026, 11, 18)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
VIEW, EACH = View(), View(for_each=("workspace",))
ALL = ()


def part(start: datetime, length: timedelta, dollars: str, basis: Basis = Basis.ESTIMATED) -> CostSlice:
    return CostSlice(start, start + length, {line("wrkspc_1"): Decimal(dollars)}, basis)


def hours(first: int, *dollars: str, basis: Basis = Basis.ESTIMATED) -> tuple[CostSlice, ...]:
    start = midnight(TODAY)
    return tuple(part(start + HOUR * (first + n), HOUR, amount, basis) for n, amount in enumerate(dollars))


def minutes(start: datetime, *dollars: str) -> tuple[CostSlice, ...]:
    return tuple(part(start + MINUTE * n, MINUTE, amount) for n, amount in enumerate(dollars))


def recent(*parts: CostSlice, through: datetime | None = None) -> Recent:
    made = Recent({view: Lens(view, naming()) for view in (VIEW, EACH)})
    made.take(parts, through or parts[-1].end)
    return made


def spent(parts: Sequence[CostSlice]) -> Decimal:
    return total(amount for each in parts for amount in each.lines.values())


# --- over a stretch of time ------------------------------------------------------------------------

NOON = at("2026-11-18 12:00")
QUIET_THEN_BUSY = (*hours(10, "6", "12"), *minutes(NOON, *["1"] * 10, *["5"] * 10))


@pytest.mark.parametrize(
    ("start", "end", "dollars", "covered"),
    [
        ("12:10", "12:20", "50", True),
        ("12:05", "12:15", "30", True),
        ("12:00", "12:20", "60", True),
        ("11:00", "12:20", "72", True),
        ("11:30", "12:20", "66", True),  # half of an hour that cost $12
        ("11:59", "12:01", "1.2", True),
        ("10:00", "12:20", "78", True),
        ("09:30", "12:20", "78", False),  # nothing is known of the first half hour
        ("12:10", "12:30", "50", False),
        ("13:00", "14:00", "0", False),
    ],
)
def test_dollars_over_a_stretch(start: str, end: str, dollars: str, covered: bool) -> None:
    period = Period(at(f"2026-11-18 {start}"), at(f"2026-11-18 {end}"))
    known = recent(*QUIET_THEN_BUSY)
    assert known.totals(VIEW, period) == ({ALL: Decimal(dollars)} if Decimal(dollars) else {})
    assert known.covers(period) is covered


def test_a_gap_covers_nothing() -> None:
    known = recent(*minutes(NOON, "1", "1"), *minutes(NOON + 3 * MINUTE, "1"))
    assert not known.covers(Period(NOON, NOON + 4 * MINUTE))
    assert known.covers(Period(NOON, NOON + 2 * MINUTE))


def test_the_window_is_the_last_minutes_or_the_last_hour() -> None:
    assert recent(*QUIET_THEN_BUSY).window(15 * MINUTE) == Period(NOON + 5 * MINUTE, NOON + 20 * MINUTE)
    assert recent(*hours(10, "6", "12")).window(15 * MINUTE) == Period(NOON - HOUR, NOON)
    assert Recent({}).window(15 * MINUTE) is None


def test_a_part_that_is_not_over_is_not_looked_at() -> None:
    known = recent(*QUIET_THEN_BUSY, through=NOON + 19 * MINUTE)
    assert known.window(5 * MINUTE) == Period(NOON + 14 * MINUTE, NOON + 19 * MINUTE)


@pytest.mark.parametrize(
    ("end", "dollars"),
    [
        ("12:20", "50"),
        ("12:14", "26"),
        ("12:10", "10"),
        ("12:07", "7.6"),
        ("12:01", "2.8"),
        ("12:00", "12"),
        ("11:00", "6"),
    ],
)
def test_the_stretch_that_ends_with_each_part(end: str, dollars: str) -> None:
    found = {period.end: amount for period, amount in recent(*QUIET_THEN_BUSY).stretches(VIEW, ALL, 10 * MINUTE)}
    assert list(found) == sorted((each.end for each in QUIET_THEN_BUSY), reverse=True)
    assert found[at(f"2026-11-18 {end}")] == Decimal(dollars)


def test_sums_follow_a_part_that_changed() -> None:
    known, first = recent(*QUIET_THEN_BUSY), QUIET_THEN_BUSY[-1]
    period = Period(first.start, first.end)
    assert known.totals(EACH, period) == {(("workspace", "wrkspc_1"),): Decimal(5)}
    known.take((*QUIET_THEN_BUSY[:-1], part(first.start, MINUTE, "9")), first.end)
    assert known.totals(EACH, period) == {(("workspace", "wrkspc_1"),): Decimal(9)}


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40), st.integers(0, 40 * 60), st.integers(1, 40 * 60))
def test_every_cut_of_the_time_adds_up(micros: list[int], first: int, length: int) -> None:
    parts = minutes(NOON, *(str(Decimal(n).scaleb(-6)) for n in micros))
    known, end = recent(*parts), parts[-1].end
    cut = Period(min(NOON + timedelta(seconds=first), end), min(NOON + timedelta(seconds=first + length), end))
    before, after = Period(NOON, cut.start), Period(cut.end, end)
    sums = [known.totals(VIEW, each).get(ALL, Decimal(0)) for each in (before, cut, after)]
    assert abs(Fraction(total(sums)) - Fraction(spent(parts))) < Fraction(1, 10**15)


# --- two sources -----------------------------------------------------------------------------------


def usage(*parts: CostSlice, days: Sequence[CostDay] = ()) -> Report:
    return Report("usage_report", TODAY, TODAY + DAY, tuple(days), parts[-1].end, slices=parts)


def priced(*parts: CostSlice) -> Report:
    return Report("analytics", TODAY, TODAY + DAY, (), parts[-1].end, slices=parts)


def estimate(*parts: CostSlice, complete: bool = False) -> CostDay:
    return CostDay(TODAY, {line("wrkspc_1"): spent(parts)}, Basis.ESTIMATED, complete)


ESTIMATED = (*hours(0, *["1"] * 12), *minutes(NOON, "1", "1", "1"))
PRICED = hours(0, *["1.5"] * 8, basis=Basis.BILLED)


def test_estimates_begin_where_the_vendors_own_figures_end() -> None:
    known = Parts().after(usage(*ESTIMATED)).after(priced(*PRICED))
    assert known.joined() == (*PRICED, *ESTIMATED[8:])
    assert Parts().after(priced(*PRICED)).joined() == PRICED
    assert Parts().after(usage(*ESTIMATED)).joined() == ESTIMATED


def test_what_was_estimated_before_the_first_priced_hour_stays() -> None:
    known = Parts().after(usage(*ESTIMATED)).after(priced(*PRICED[3:]))
    assert known.joined() == (*ESTIMATED[:3], *PRICED[3:], *ESTIMATED[8:])


@pytest.mark.parametrize("order", ["estimates first", "prices first"])
def test_a_day_is_composed_in_either_order(order: str) -> None:
    readings = [usage(*ESTIMATED, days=[estimate(*ESTIMATED)]), priced(*PRICED)]
    known, told = Parts(), ()
    for reading in readings if order == "estimates first" else reversed(readings):
        before, known = known, known.after(reading)
        told = known.days(reading, before)
    (day,) = told
    assert (day.day, day.basis, day.complete) == (TODAY, Basis.MIXED, False)
    assert total(day.lines.values()) == Decimal("1.5") * 8 + 4 + 3


def test_without_an_estimate_the_priced_hours_are_a_part_of_the_bill() -> None:
    reading = priced(*PRICED)
    (day,) = Parts().after(reading).days(reading, Parts())
    assert (day.basis, day.complete, total(day.lines.values())) == (Basis.BILLED, False, Decimal(12))


def test_prices_that_did_not_change_are_no_news() -> None:
    known = Parts().after(usage(*ESTIMATED, days=[estimate(*ESTIMATED)])).after(priced(*PRICED))
    again = priced(*PRICED)
    assert known.after(again).days(again, known) == ()


def test_a_source_without_parts_changes_nothing() -> None:
    known = Parts().after(usage(*ESTIMATED))
    day = CostDay(TODAY - DAY, {}, Basis.BILLED)
    bill = replace(priced(*PRICED), source="cost_report", days=(day,), slices=())
    assert known.after(bill) is known
    assert known.days(bill, known) == (day,)


@given(
    st.lists(st.integers(0, 999), min_size=24, max_size=24),
    st.lists(st.integers(0, 999), min_size=24, max_size=24),
    st.integers(0, 24),
)
def test_a_composed_day_counts_each_hour_once(estimated: list[int], billed: list[int], through: int) -> None:
    guesses = hours(0, *map(str, estimated))
    own = hours(0, *map(str, billed[:through]), basis=Basis.BILLED)
    reading = usage(*guesses, days=[estimate(*guesses, complete=True)])
    known = Parts().after(priced(*own)).after(reading) if own else Parts().after(reading)
    (day,) = known.days(reading, known)
    assert total(day.lines.values()) == sum(billed[:through]) + sum(estimated[through:])
    assert (day.basis, day.complete) == (Basis.MIXED if through else Basis.ESTIMATED, True)
    assert set(day.lines) <= {Dimensions("wrkspc_1", model="claude-opus-4-8")}
