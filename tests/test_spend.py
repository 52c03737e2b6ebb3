"""Spend: the same exact dollars for every order of arrival, checked against adding everything up by hand."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.model import Basis, Contributor, CostDay, Dimensions, Scope
from budgetd.period import DAY, Calendar, Period, midnight
from budgetd.scope import Group, View
from budgetd.spend import Spend, contributors
from tests.builders import NOVEMBER, at, cost_day, line, naming, workspace

FIRST = date(2026, 11, 1)
WEEK = Calendar("week").holding(date(2026, 11, 4))
NAMING = naming(
    workspace("wrkspc_1", "Research"),
    workspace("wrkspc_2", "Prod"),
    groups=[Group("a", ("Research", "Prod")), Group("b", ("Research",))],
)
VIEWS = [
    View(),
    View(for_each=("workspace",)),
    View(for_each=("group", "model")),
    View(match=(("model", ("claude-opus-*",)),), for_each=("workspace",)),
    View(excluded=(("workspace", ("Default",)),)),
]
MODELS = ["claude-opus-4-8", "claude-opus-4-8-20260115", "claude-haiku-4-5", None]

amounts = st.integers(-(10**15), 10**15).map(lambda n: Decimal(n).scaleb(-12))
dimensions = st.builds(
    line,
    st.sampled_from(["wrkspc_1", "wrkspc_2", "default", None]),
    st.sampled_from(MODELS),
    token_type=st.sampled_from(["output_tokens", "uncached_input_tokens"]),
)
cost_days = st.builds(
    CostDay, st.integers(0, 9).map(lambda n: FIRST + DAY * n), st.dictionaries(dimensions, amounts, max_size=8)
)
histories = st.lists(cost_days, max_size=12)


def index(days: Iterable[CostDay]) -> Spend:
    spend = Spend(VIEWS, NAMING)
    for day in days:
        spend.replace(day)
    return spend


def by_hand(days: Iterable[CostDay], spend: Spend, view: View, period: Period) -> dict[Scope, Fraction]:
    """The last word on each day, line by line."""
    last = {day.day: day for day in days}
    sums: dict[Scope, Fraction] = {}
    for day in last.values():
        for key, amount in day.lines.items() if period.holds(day.day) else ():
            for scope in spend.lens(view).scopes(key):
                sums[scope] = sums.get(scope, Fraction(0)) + Fraction(amount)
    return sums


@given(histories, st.sampled_from(VIEWS), st.sampled_from([NOVEMBER, WEEK]))
def test_totals_are_what_adding_up_by_hand_gives(days: list[CostDay], view: View, period: Period) -> None:
    spend = index(days)
    expected = by_hand(days, spend, view, period)
    assert {scope: Fraction(amount) for scope, amount in spend.totals(view, period).items()} == expected
    ranking = spend.ranking(view, period)
    assert {scope: Fraction(amount) for amount, scope in ranking} == expected
    assert [amount for amount, _ in ranking] == sorted((amount for amount, _ in ranking), reverse=True)


@given(histories, st.sampled_from(VIEWS), st.randoms(use_true_random=False))
def test_fault_39_any_order_of_days_and_lines_gives_the_same(days: list[CostDay], view: View, random: Random) -> None:
    last = list({day.day: day for day in days}.values())
    random.shuffle(last)
    shuffled = []
    for day in last:
        lines = list(day.lines.items())
        random.shuffle(lines)
        shuffled.append(CostDay(day.day, dict(lines), day.basis, day.complete))
    one, other = index(days), index(shuffled)
    assert dict(one.totals(view, NOVEMBER)) == dict(other.totals(view, NOVEMBER))
    assert one.ranking(view, NOVEMBER) == other.ranking(view, NOVEMBER)


@given(histories, histories, st.sampled_from(VIEWS))
def test_what_was_asked_before_is_not_answered_from_memory(
    days: list[CostDay], later: list[CostDay], view: View
) -> None:
    asked = index(days)
    for period in (NOVEMBER, WEEK):
        asked.ranking(view, period)
    for day in later:
        asked.replace(day)
        asked.totals(view, NOVEMBER)
    fresh = index([*days, *later])
    for period in (NOVEMBER, WEEK):
        assert asked.ranking(view, period) == fresh.ranking(view, period)


@given(histories, cost_days)
def test_replacing_says_whether_anything_changed(days: list[CostDay], day: CostDay) -> None:
    spend = index(days)
    known = {day.day for day in days}
    before = {view: dict(spend.on(view, day.day)) for view in VIEWS} if day.day in known else None
    changed = spend.replace(day)
    after = {view: dict(spend.on(view, day.day)) for view in VIEWS}
    assert changed == (before != after)
    assert not spend.replace(day)


def test_a_day_that_closes_is_news_though_nothing_was_spent_since() -> None:
    spend = index([])
    assert spend.replace(cost_day("2026-11-18", "5", complete=False))
    assert not spend.replace(cost_day("2026-11-18", "5", complete=False))
    assert spend.replace(cost_day("2026-11-18", "5"))
    assert not spend.replace(cost_day("2026-11-18", "5.00"))


def test_an_estimate_that_the_bill_confirms_is_news() -> None:
    spend = index([])
    assert spend.replace(cost_day("2026-11-18", "5", Basis.ESTIMATED))
    assert spend.replace(cost_day("2026-11-18", "5", Basis.BILLED))


def test_a_line_that_has_gone_and_a_zero_overwrite_too() -> None:
    spend = index([cost_day("2026-11-18", {line(): "5", line("wrkspc_1"): "7"})])
    spend.replace(cost_day("2026-11-18", {line(): "0"}))
    assert spend.totals(View(for_each=("workspace",)), NOVEMBER) == {(("workspace", "default"),): Decimal(0)}


COVERS = [
    # through, missing day, period, whether it is covered
    ("2026-11-05", None, NOVEMBER, True),
    ("2026-11-05", "2026-11-03", NOVEMBER, False),
    ("2026-11-05", "2026-11-05", NOVEMBER, True),  # after the end of the data
    ("2026-11-05 10:00", "2026-11-05", NOVEMBER, False),  # the running day has begun
    ("2026-11-05", None, WEEK, True),
    ("2026-11-01", None, NOVEMBER, False),  # nothing of it yet: unknown, not zero
    ("2026-10-20", None, NOVEMBER, False),
    (None, None, NOVEMBER, False),
]


@pytest.mark.parametrize(("through", "missing", "period", "covered"), COVERS)
def test_a_period_is_covered_when_every_day_up_to_the_datas_end_is_known(
    through: str | None, missing: str | None, period: Period, covered: bool
) -> None:
    days = [FIRST + DAY * n for n in range(-3, 6)]
    spend = index([cost_day(day, {}) for day in days if str(day) != missing])
    spend.through = at(through) if through is not None else None
    assert spend.covers(period) is covered


def test_whether_amounts_are_billed_or_estimated() -> None:
    spend = index([cost_day("2026-11-02")])
    assert spend.basis(NOVEMBER) is Basis.BILLED
    spend.replace(cost_day("2026-11-09", basis=Basis.ESTIMATED))
    assert spend.basis(NOVEMBER) is Basis.MIXED
    assert spend.basis(Calendar("day").holding(date(2026, 11, 9))) is Basis.ESTIMATED


def test_an_estimate_is_replaced_by_the_bill_and_never_replaces_it() -> None:
    spend = index([cost_day("2026-11-09", "90", basis=Basis.ESTIMATED)])
    assert spend.totals(View(), NOVEMBER) == {(): Decimal(90)}
    assert spend.replace(cost_day("2026-11-09", "80"))
    assert spend.totals(View(), NOVEMBER) == {(): Decimal(80)}
    assert spend.basis(NOVEMBER) is Basis.BILLED
    noon = at("2026-11-09 12:00")
    for basis in Basis:
        assert not spend.accepts(cost_day("2026-11-09", "95", basis, complete=False), noon)
    assert spend.accepts(cost_day("2026-11-09", "95"), noon)


@pytest.mark.parametrize("known", [Basis.ESTIMATED, Basis.MIXED])
def test_a_part_of_a_bill_replaces_estimates_only_where_it_reaches_further(known: Basis) -> None:
    spend = index([cost_day("2026-11-09", "90", known, complete=False)])
    spend.through = at("2026-11-09 12:07")
    part = cost_day("2026-11-09", "70", Basis.BILLED, complete=False)
    assert not spend.accepts(part, at("2026-11-09 12:00"))
    assert spend.accepts(part, at("2026-11-09 13:00"))
    assert spend.accepts(cost_day("2026-11-09", "91", Basis.ESTIMATED, complete=False), at("2026-11-09 12:00"))
    spend.replace(part)
    assert spend.accepts(part, at("2026-11-09 12:00")), "a part follows a part"


def test_a_day_without_cost_is_known_and_empty_and_another_is_not_known() -> None:
    spend = index([cost_day("2026-11-02", {})])
    assert spend.on(View(), date(2026, 11, 2)) == {}
    assert spend.knows([date(2026, 11, 2)])
    assert not spend.knows([date(2026, 11, 2), date(2026, 11, 3)])
    assert spend.latest() == date(2026, 11, 2)
    with pytest.raises(KeyError):
        spend.on(View(), date(2026, 11, 3))


@given(histories)
def test_contributors_sum_to_the_amount(days: list[CostDay]) -> None:
    spend = index(days)
    last = list({day.day: day for day in days}.values())
    questions = [
        (view, scope, period) for view in VIEWS for period in (NOVEMBER, WEEK) for scope in spend.totals(view, period)
    ]
    parts = contributors(questions, spend, last)
    assert set(parts) == set(questions)
    for (view, scope, period), found in parts.items():
        assert sum(Fraction(part.amount) for part in found) == Fraction(spend.totals(view, period)[scope])
        assert [part.amount for part in found] == sorted((part.amount for part in found), reverse=True)


def test_contributors_are_by_undated_model_and_token_type_or_by_cost_type() -> None:
    output, search = {"token_type": "output_tokens"}, {"cost_type": "web_search"}
    lines: dict[Dimensions, str] = {
        line("wrkspc_1", "claude-opus-4-8", **output): "3",
        line("wrkspc_1", "claude-opus-4-8-20260115", **output): "4",
        line("wrkspc_2", "claude-haiku-4-5", **output): "100",
        line("wrkspc_1", None, **search): "5",
    }
    day = cost_day("2026-11-02", lines)
    question = (VIEWS[1], (("workspace", "wrkspc_1"),), NOVEMBER)
    assert contributors([question], index([day]), [day])[question] == (
        Contributor("claude-opus-4-8", "output_tokens", Decimal(7)),
        Contributor(None, "web_search", Decimal(5)),
    )


def test_through_is_an_instant_not_a_day() -> None:
    spend = index([cost_day("2026-11-17")])
    spend.through = midnight(date(2026, 11, 18))
    assert spend.covers(Calendar("day").holding(date(2026, 11, 17)))
    assert not spend.covers(Calendar("day").holding(date(2026, 11, 18)))
