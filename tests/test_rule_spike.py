"""`spike`: a closed day against earlier closed days."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from statistics import mean, median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from budgetd.model import Finding
from budgetd.period import DAY, Calendar
from budgetd.rules import Rule
from budgetd.spend import Spend
from tests.builders import at, cost_day, line, spend_of, spike

DAY_OF_INTEREST = date(2026, 11, 18)
PERIOD = Calendar("day").holding(DAY_OF_INTEREST)


def history(rule: Rule, amounts: list[str | None]) -> Spend:
    """The last amount is the day of interest's; None is a day that is not known."""
    first = DAY_OF_INTEREST - DAY * (len(amounts) - 1)
    days = [cost_day(first + DAY * n, amount) for n, amount in enumerate(amounts) if amount is not None]
    return spend_of([rule], days)


def said(rule: Rule, amounts: list[str | None], watched: frozenset[Any] = frozenset()) -> list[Finding]:
    return list(rule.findings(history(rule, amounts), PERIOD, watched))


WEEK_OF_TEN: list[str | None] = ["10"] * 7
TABLE: list[tuple[str, Any, dict[str, str], list[str | None], str | None]] = [
    # what, against, the rest of the rule, daily dollars, the baseline of what it finds (None: says nothing)
    ("an ordinary day", "yesterday", {}, ["100", "100"], None),
    ("exactly twice", "yesterday", {}, ["100", "200"], "100"),
    ("a cent below twice", "yesterday", {}, ["100", "199.99"], None),
    ("twice, but not $50 more", "yesterday", {}, ["20", "60"], None),
    ("$50 more, but not twice", "yesterday", {}, ["100", "160"], None),
    ("exactly $50 more", "yesterday", {}, ["20", "70"], "20"),
    ("another factor", "yesterday", {"factor": "1.5"}, ["100", "150"], "100"),
    ("another floor", "yesterday", {"at_least": "500"}, ["100", "599.99"], None),
    ("no floor", "yesterday", {"at_least": "0"}, ["0.01", "0.02"], "0.01"),
    ("from nothing", "yesterday", {}, ["0", "50"], "0"),
    ("from nothing, below the floor", "yesterday", {}, ["0", "49.99"], None),
    ("from nothing to nothing without a floor", "yesterday", {"at_least": "0"}, ["0", "0"], None),
    ("an unknown yesterday is not $0", "yesterday", {}, ["100", None, "900"], None),
    ("no yesterday at all", "yesterday", {}, ["900"], None),
    ("the day itself unknown", "yesterday", {}, ["100", None], None),
    ("a day of credits counts as $0", "yesterday", {}, ["-500", "60"], "0"),
    ("a drop", "yesterday", {}, ["900", "100"], None),
    ("a credit today", "yesterday", {}, ["100", "-900"], None),
    ("the same weekday", "same_weekday", {}, ["200", *["1"] * 6, "300"], None),
    ("the same weekday, doubled", "same_weekday", {}, ["200", *["900"] * 6, "400"], "200"),
    ("the same weekday is unknown", "same_weekday", {}, [*["1"] * 6, "400"], None),
    ("the mean of a week", {"mean": "7d"}, {}, [*WEEK_OF_TEN, "60"], "10"),
    ("the mean of a week, one day unknown", {"mean": "7d"}, {}, [*WEEK_OF_TEN[:3], None, *WEEK_OF_TEN[:3], "60"], None),
    ("a mean without an end", {"mean": "3d"}, {}, ["10", "10", "0", "100"], "6.666666666666666667"),
    ("a mean leaves out what is older", {"mean": "2d"}, {}, ["5000", "10", "10", "60"], "10"),
    ("the odd median", {"median": "3d"}, {}, ["900", "10", "30", "80"], "30"),
    ("the even median", {"median": "4d"}, {}, ["900", "10", "30", "40", "100"], "35"),
]


@pytest.mark.parametrize(
    ("against", "fields", "amounts", "baseline"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE]
)
def test_what_a_spike_finds(
    against: Any, fields: dict[str, str], amounts: list[str | None], baseline: str | None
) -> None:
    rule = spike(against, **fields)
    found = said(rule, amounts)
    if baseline is None:
        assert found == []
        return
    (only,) = found
    assert only.comparison is not None
    assert only.comparison.baseline == Decimal(baseline)
    assert only.amount == Decimal(amounts[-1] or "")
    assert only.reached == (Decimal(1),)
    assert only.limit <= only.amount
    assert (only.period, only.complete) == (PERIOD, True)


def test_a_running_day_counts_once_it_exceeds_what_a_whole_day_would_need() -> None:
    rule = spike()
    spend = history(rule, ["100", None])
    for spent, over in (("199.99", False), ("200", True)):
        spend.replace(cost_day(DAY_OF_INTEREST, spent, complete=False))
        spend.through = at("2026-11-18 09:30")
        assert len(list(rule.findings(spend, PERIOD, frozenset()))) == over


def test_a_running_day_never_ends_an_incident() -> None:
    rule = spike()
    spend = history(rule, ["100", None])
    spend.replace(cost_day(DAY_OF_INTEREST, "1", complete=False))
    spend.through = at("2026-11-18 00:10")
    (found,) = rule.findings(spend, PERIOD, frozenset({()}))
    assert (found.reached, found.complete) == ((), False)


def test_an_unknown_baseline_says_nothing_even_of_a_watched_scope() -> None:
    assert said(spike(), [None, "900"], frozenset({()})) == []


def test_a_watched_scope_is_heard_of_when_it_is_no_spike_any_more() -> None:
    (found,) = said(spike(), ["100", "120"], frozenset({()}))
    assert (found.amount, found.limit, found.reached) == (Decimal(120), Decimal(200), ())


def test_each_scope_is_compared_with_itself() -> None:
    rule = spike(for_each=["workspace", "model"])
    days = [
        cost_day("2026-11-17", {line("wrkspc_1", "claude-a"): "500", line("wrkspc_2", "claude-a"): "10"}),
        cost_day("2026-11-18", {line("wrkspc_1", "claude-a"): "510", line("wrkspc_2", "claude-b"): "70"}),
    ]
    (found,) = rule.findings(spend_of([rule], days), PERIOD, frozenset())
    assert found.scope == (("workspace", "wrkspc_2"), ("model", "claude-b"))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"against": "tomorrow"}, "yesterday"),
        ({"against": {"mean": "0d"}}, "number of days"),
        ({"against": {"mode": "7d"}}, "yesterday"),
        ({"factor": "1"}, "above 1"),
        ({"factor": "0.5"}, "above 1"),
        ({"at_least": "-1"}, "amount of dollars"),
    ],
)
def test_a_mistake_is_refused_in_words(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        spike(**fields)


def test_only_figures_are_stakes() -> None:
    assert spike().stakes == spike(notify="finance", severity="critical").stakes
    stakes = {
        spike(**fields).stakes for fields in ({}, {"factor": "3"}, {"at_least": "9"}, {"against": "same_weekday"})
    }
    assert len(stakes) == 4


daily = st.integers(-(10**6), 10**6).map(lambda n: Decimal(n).scaleb(-2))


@given(
    st.sampled_from(["mean", "median"]),
    st.lists(daily, min_size=2, max_size=9),
    st.integers(101, 500).map(lambda n: Decimal(n).scaleb(-2)),
    st.integers(0, 10**4).map(lambda n: Decimal(n).scaleb(-2)),
)
def test_a_spike_is_both_a_multiple_and_an_amount(
    word: str, amounts: list[Decimal], factor: Decimal, floor: Decimal
) -> None:
    *earlier, today = amounts
    at_least = "0" if floor == 0 else str(floor)
    rule = spike({word: f"{len(earlier)}d"}, factor=str(factor), at_least=at_least)
    found = said(rule, [str(amount) for amount in amounts])
    combine = mean if word == "mean" else median
    baseline = Fraction(combine([Fraction(max(amount, Decimal(0))) for amount in earlier]))
    margin = min(Fraction(today) - baseline * Fraction(factor), Fraction(today) - baseline - Fraction(floor))
    if abs(margin) > Fraction(1, 10**15):  # closer than that, the mean's rounding decides
        assert bool(found) == (margin > 0 and today > baseline)
