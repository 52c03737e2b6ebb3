"""Prices: what the list says, what is learned from bills, and that an estimate is the bill to the last decimal."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetd import money
from budgetd.learning import learn
from budgetd.model import Basis, CostDay, Dimensions
from budgetd.price_list import (
    AS_OF,
    CACHE_1H,
    CACHE_5M,
    CACHE_READ,
    INPUT,
    OUTPUT,
    WEB_SEARCH,
    Kind,
    listed,
    relative,
)
from budgetd.pricing import Origin, Rate, RateTable, Used, price
from tests.usage_pages import OPUS, TODAY, bill, billed_line, kind, usage, used

DAY = timedelta(days=1)
YESTERDAY = TODAY - DAY
DAYS = [TODAY - DAY * number for number in range(7, 0, -1)]
EVERYTHING = {
    used(OUTPUT): 1_234_567,
    used(INPUT): 7_654_321,
    used(CACHE_READ, "default"): 99_999_999,
    used(CACHE_5M): 31_337,
    used(CACHE_1H): 1,
    used(OUTPUT, service_tier="batch"): 77_777,
    used(INPUT, inference_geo="us"): 13,
    used(OUTPUT, speed="fast"): 4_321,
    used(INPUT, model="claude-opus-5", speed="standard"): 1_111,
    used(INPUT, model="claude-sonnet-4-5", context_window="200k-1M"): 654_321,
    used(OUTPUT, model="claude-sonnet-4-5-20250929", context_window="200k-1M"): 54_321,
    used(OUTPUT, model="claude-haiku-4-5-20251001"): 3,
    used(OUTPUT, "wrkspc_b", model="claude-haiku-4-5"): 1_000_003,
    used(WEB_SEARCH): 12,
    used(WEB_SEARCH, "default"): 5,
}


def learned(*days: tuple[date, dict[Used, int], str], known: RateTable | None = None) -> RateTable:
    """The table after days of use that were billed at a factor of the list."""
    bills = [bill(day, counts, factor) for day, counts, factor in days]
    table, _ = learn(bills, [usage(day, counts) for day, counts, _ in days], known or RateTable())
    return table


# --- the list --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("about", "dollars_a_million"),
    [
        (kind(INPUT), "5"),
        (kind(OUTPUT), "25"),
        (kind(CACHE_READ), "0.5"),
        (kind(CACHE_5M), "6.25"),
        (kind(CACHE_1H), "10"),
        (kind(OUTPUT, service_tier="batch"), "12.5"),
        (kind(INPUT, service_tier="batch"), "2.5"),
        (kind(OUTPUT, inference_geo="us"), "27.5"),
        (kind(CACHE_1H, inference_geo="us", service_tier="batch"), "5.5"),
        (kind(OUTPUT, speed="standard"), "25"),
        (kind(OUTPUT, speed="fast"), "50"),
        (kind(CACHE_READ, speed="fast"), "1"),
        (kind(OUTPUT, speed="fast", inference_geo="us", context_window="200k-1M"), "55"),
        (kind(OUTPUT, "claude-opus-4-6", speed="fast"), "150"),
        (kind(OUTPUT, context_window="200k-1M"), "25"),
        (kind(INPUT, "claude-sonnet-4-5", context_window="200k-1M"), "6"),
        (kind(CACHE_5M, "claude-sonnet-4-5", context_window="200k-1M"), "7.5"),
        (kind(OUTPUT, "claude-sonnet-4-5", context_window="200k-1M"), "22.5"),
        (kind(OUTPUT, "claude-opus-4-5", inference_geo="not_available"), "25"),
        (kind(OUTPUT, "claude-opus-4-1", inference_geo="us"), "75"),
        (kind(OUTPUT, "claude-opus-4-0"), "75"),
        (kind(OUTPUT, "claude-3-7-sonnet-latest"), "15"),
        (kind(INPUT, "claude-3-5-haiku"), "0.8"),
        (kind(CACHE_READ, "claude-sonnet-5-5"), "0.1"),
        (kind(WEB_SEARCH), "10000"),
        (Kind(OUTPUT, OPUS), "25"),
    ],
)
def test_the_list_and_its_documented_ratios(about: Kind, dollars_a_million: str) -> None:
    found = listed(about, TODAY)
    assert found is not None
    assert money.times(found, Decimal(10**6)) == Decimal(dollars_a_million)


@pytest.mark.parametrize(
    "about",
    [
        kind(OUTPUT, "claude-nobody-9"),
        kind(OUTPUT, None),
        kind("reasoning_tokens"),
        kind("cache_creation_input_tokens"),
        kind(OUTPUT, service_tier="flex"),
        kind(OUTPUT, context_window="1M-10M"),
        kind(OUTPUT, inference_geo="mars"),
        kind(OUTPUT, speed="ludicrous"),
        kind(OUTPUT, "claude-haiku-4-5", speed="fast"),
        kind(OUTPUT, speed="fast", service_tier="batch"),
    ],
)
def test_what_the_list_does_not_say_has_no_price(about: Kind) -> None:
    assert listed(about, TODAY) is None


def test_a_price_that_changed_counts_from_its_own_day() -> None:
    about = kind(CACHE_READ, "claude-sonnet-5-5")
    before, after = listed(about, date(2026, 10, 6)), listed(about, date(2026, 10, 7))
    assert before is not None
    assert after is not None
    assert before == 2 * after


@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("claude-opus-4-9", "claude-opus-4-8"),
        ("claude-opus-9", "claude-opus-5-5"),
        ("claude-haiku-6-20270101", "claude-haiku-5-5"),
        ("claude-fable-5-2", "claude-fable-5-1"),
        ("claude-3-9-sonnet", "claude-3-7-sonnet"),
        ("claude-opus-2", "claude-3-opus"),
        ("claude-limerick-1", None),
        ("gpt-4", None),
        ("", None),
    ],
)
def test_an_unlisted_model_is_priced_like_its_nearest_relative(model: str, like: str | None) -> None:
    assert relative(model) == like


# --- the estimate ------------------------------------------------------------------------------


def test_at_list_price_the_estimate_equals_the_bill_to_the_last_decimal_before_anything_is_learned() -> None:
    estimate = price(EVERYTHING, RateTable(), TODAY)
    expected = {line._replace(description=None): amount for line, amount in bill(TODAY, EVERYTHING).lines.items()}
    assert estimate.lines == expected
    assert (estimate.unpriced, estimate.priority, estimate.relatives) == ({}, frozenset(), frozenset())


def test_units_without_a_price_are_shown_and_cost_nothing() -> None:
    counts = {used("reasoning_tokens"): 7, used("reasoning_tokens", "default"): 5, used(OUTPUT, model="who-knows"): 3}
    estimate = price({**counts, used(OUTPUT): 0, used("nothing"): 0}, RateTable(), TODAY)
    assert estimate.lines == {}
    assert estimate.unpriced == {(OPUS, "reasoning_tokens"): 12, ("who-knows", OUTPUT): 3}


def test_a_model_that_nobody_lists_costs_what_its_family_does_and_says_so() -> None:
    estimate = price({used(OUTPUT, model="claude-opus-4-9-20261201"): 10**6}, RateTable(), TODAY)
    assert list(estimate.lines.values()) == [25]
    assert estimate.relatives == {("claude-opus-4-9-20261201", "claude-opus-4-8")}
    rate = RateTable().rate(kind(OUTPUT, "claude-opus-4-9"), TODAY)
    assert rate is not None
    assert (rate.origin, rate.evidence) == (Origin.FAMILY, AS_OF)


def test_priority_tier_is_left_out_and_flagged() -> None:
    counts = {used(OUTPUT, service_tier="priority"): 10**9, used(OUTPUT): 10**6}
    estimate = price(counts, RateTable(), TODAY)
    assert list(estimate.lines.values()) == [25]
    assert estimate.priority == {OPUS}
    assert estimate.unpriced == {}


# --- learning ------------------------------------------------------------------------------------

_UNITS = st.sampled_from([INPUT, OUTPUT, CACHE_READ, CACHE_5M, CACHE_1H])
_MODELS = st.sampled_from([OPUS, "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001"])
_USES = st.builds(
    lambda unit, workspace, model, tier, geo, speed: used(
        unit, workspace, model, service_tier=tier, inference_geo=geo if model == OPUS else "global", speed=speed
    ),
    _UNITS,
    st.sampled_from(["default", "wrkspc_a", "wrkspc_b"]),
    _MODELS,
    st.sampled_from(["standard", "batch"]),
    st.sampled_from(["global", "us"]),
    st.just("standard"),
) | st.sampled_from([used(WEB_SEARCH), used(OUTPUT, speed="fast")])
_COUNTS = st.dictionaries(_USES, st.integers(1, 10**12), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(counts=_COUNTS, factor=st.sampled_from(["1", "0.87", "0.995", "1.07", "0.333"]))
def test_on_matching_pages_learned_rates_give_the_bill_to_the_last_decimal(
    counts: dict[Used, int], factor: str
) -> None:
    table = learned(*((day, counts, factor) for day in DAYS[:2]))
    assert price(counts, table, TODAY).lines == bill(TODAY, counts, factor).lines


def test_a_discount_of_13_percent_is_learned_exactly_from_two_days() -> None:
    table = learned(*((day, EVERYTHING, "0.87") for day in DAYS[:2]))
    again = {use: count * 7 + 1 for use, count in EVERYTHING.items()}
    assert price(again, table, TODAY).lines == bill(TODAY, again, "0.87").lines
    assert {rate.origin for rate in table.learned.values()} == {Origin.LEARNED}
    assert {rate.evidence for rate in table.learned.values()} == {DAYS[1]}


def test_one_day_far_from_the_list_is_reported_and_not_used() -> None:
    counts = {used(OUTPUT): 10**6}
    table, remarks = learn([bill(DAYS[0], counts, "0.87")], [usage(DAYS[0], counts)], RateTable())
    assert list(price(counts, table, TODAY).lines.values()) == [25]
    assert remarks == (
        "claude-opus-4-8 output_tokens standard 0-200k global cost $21.75 per million, not $25 per million on "
        "2026-11-11; a second day is awaited",
    )
    assert learn([bill(DAYS[0], counts, "0.87")], [usage(DAYS[0], counts)], table) == (table, ())  # the same day again
    table = learned((DAYS[1], counts, "0.87"), known=RateTable.from_rows(table.rows()))
    assert list(price(counts, table, TODAY).lines.values()) == [Decimal("21.75")]


def test_a_change_of_one_percent_is_taken_and_a_larger_one_only_when_a_second_day_agrees() -> None:
    counts = {used(OUTPUT): 10**6}
    table = learned((DAYS[0], counts, "1"), (DAYS[1], counts, "1.01"))
    assert list(price(counts, table, TODAY).lines.values()) == [Decimal("25.25")]
    table = learned((DAYS[2], counts, "2"), known=table)
    assert list(price(counts, table, TODAY).lines.values()) == [Decimal("25.25")]
    assert [rate.evidence for rate in table.awaited.values()] == [DAYS[2]]
    table = learned((DAYS[3], counts, "1.01"), known=table)  # it was one odd day
    assert table.awaited == {}
    table = learned((DAYS[4], counts, "2"), known=table)
    days = [bill(DAYS[5], counts, "2")]
    table, remarks = learn(days, [usage(DAYS[5], counts)], table)
    assert list(price(counts, table, TODAY).lines.values()) == [50]
    assert "now costs $50 per million instead of $25.25 per million" in remarks[0]


def test_the_learned_discount_holds_for_models_that_were_never_billed() -> None:
    table = learned(*((day, EVERYTHING, "0.87") for day in DAYS[:2]))
    new = {used(OUTPUT, model="claude-sonnet-4-6"): 10**6, used(OUTPUT, model="claude-opus-4-9"): 10**6}
    assert sorted(price(new, table, TODAY).lines.values()) == [Decimal("13.05"), Decimal("21.75")]
    about = table.rate(kind(OUTPUT, "claude-sonnet-4-6"), TODAY)
    assert about is not None
    assert about.origin is Origin.LIST
    # Searches are no tokens: their price says nothing of a discount on these, nor the other way round.
    assert list(price({used(WEB_SEARCH): 1}, RateTable({kind(OUTPUT): _at("21.75")}), TODAY).lines.values()) == [
        Decimal("0.01")
    ]


def test_rates_that_do_not_share_a_ratio_prove_no_discount() -> None:
    table = RateTable({kind(OUTPUT): _at("20"), kind(OUTPUT, "claude-haiku-4-5"): _at("4.5")})
    assert list(price({used(OUTPUT, model="claude-sonnet-4-6"): 10**6}, table, TODAY).lines.values()) == [15]
    assert list(price({used(INPUT): 10**6}, table, TODAY).lines.values()) == [4]  # the model's own


def _at(dollars_a_million: str) -> Rate:
    return Rate(Decimal(dollars_a_million).scaleb(-6), Origin.LEARNED, YESTERDAY)


def test_a_new_kind_of_token_is_learned_from_the_bill_that_has_it() -> None:
    new = used("reasoning_tokens")
    day = CostDay(DAYS[0], {billed_line(new): Decimal("0.0035")})
    table, _ = learn([day], [usage(DAYS[0], {new: 1000})], RateTable())
    assert price({new: 3}, table, TODAY).lines == {billed_line(new): Decimal("0.0000105")}


def test_a_family_guess_gives_way_to_the_first_bill() -> None:
    new = used(OUTPUT, model="claude-opus-4-9")
    day = CostDay(DAYS[0], {billed_line(new): Decimal("37")})
    table, remarks = learn([day], [usage(DAYS[0], {new: 10**6})], RateTable())
    assert list(price({new: 10**6}, table, TODAY).lines.values()) == [37]
    assert remarks == ()


A, B = billed_line(used(OUTPUT)), billed_line(used(OUTPUT, speed="fast"))


@pytest.mark.parametrize(
    ("lines", "counts"),
    [
        pytest.param({A: "25"}, {used(INPUT): 10**6}, id="other tokens"),
        pytest.param({A: "0"}, {used(OUTPUT): 10**6}, id="nothing billed"),
        pytest.param({A: "-25"}, {used(OUTPUT): 10**6}, id="a credit"),
        pytest.param({}, {used(OUTPUT): 10**6}, id="not billed"),
        pytest.param({A: "25"}, {}, id="not counted"),
        pytest.param({A: "25"}, {used(OUTPUT): 0}, id="none counted"),
        pytest.param(
            {A: "25", A._replace(description="another"): "50"}, {used(OUTPUT): 10**6}, id="two lines that look alike"
        ),
        pytest.param(
            {A._replace(speed=None): "75"},
            {used(OUTPUT, speed="fast"): 10**6, used(OUTPUT, speed="standard"): 10**6},
            id="two speeds in one line",
        ),
        pytest.param(
            {A._replace(speed="standard"): "25", B: "50"}, {used(OUTPUT): 2 * 10**6}, id="two lines, one count"
        ),
        pytest.param({A: "25"}, {used(OUTPUT, service_tier="priority"): 10**6}, id="priority tokens"),
    ],
)
def test_what_does_not_match_one_to_one_is_no_evidence(lines: dict[Dimensions, str], counts: dict[Used, int]) -> None:
    day = CostDay(YESTERDAY, {line: Decimal(amount) for line, amount in lines.items()})
    table, _ = learn([day], [usage(YESTERDAY, counts)], RateTable())
    assert table == RateTable()


def test_what_does_not_match_is_said_once_a_day_and_the_rest_is_learned() -> None:
    counts = {used(OUTPUT): 10**6, used(INPUT): 10**6}
    day = CostDay(YESTERDAY, {A: Decimal(25)})
    table, remarks = learn([day], [usage(YESTERDAY, counts)], RateTable())
    assert list(table.learned) == [kind(OUTPUT)]
    assert len(remarks) == 1
    assert remarks[0].startswith("nothing is learned from 1 kinds of tokens on 2026-11-17")


def test_priority_tokens_are_not_missed_on_the_bill() -> None:
    counts = {used(OUTPUT): 10**6, used(OUTPUT, service_tier="priority"): 10**9}
    _, remarks = learn([CostDay(YESTERDAY, {A: Decimal(25)})], [usage(YESTERDAY, counts)], RateTable())
    assert remarks == ()


def test_a_day_that_taught_a_rate_is_not_a_second_day_when_it_is_restated() -> None:
    counts = {used(OUTPUT): 10**6}
    table = learned((DAYS[0], counts, "1"), (DAYS[1], counts, "1"))
    assert learned((DAYS[1], counts, "0.5"), known=table) == table


@pytest.mark.parametrize("lacking", ["speed", "inference_geo"])
def test_a_dimension_that_the_bill_lacks_does_not_stop_learning_and_stays_out_of_the_estimate(lacking: str) -> None:
    counts = {used(OUTPUT, speed="standard"): 10**6, used(INPUT, speed="standard"): 10**6}
    lines = {line._replace(**{lacking: None}): amount for line, amount in bill(DAYS[0], counts, "0.995").lines.items()}
    table, _ = learn([CostDay(DAYS[0], lines)], [usage(DAYS[0], counts)], RateTable())
    assert price(counts, table, TODAY).lines == lines


def test_a_dimension_that_the_usage_lacks_does_not_stop_learning() -> None:
    lines = {line._replace(speed="standard"): amount for line, amount in bill(DAYS[0], {used(OUTPUT): 3}).lines.items()}
    table, _ = learn([CostDay(DAYS[0], lines)], [usage(DAYS[0], {used(OUTPUT): 3})], RateTable())
    assert price({used(OUTPUT): 3}, table, TODAY).lines == lines


@pytest.mark.parametrize(
    "day",
    [
        CostDay(YESTERDAY, {A: Decimal(25)}, complete=False),
        CostDay(YESTERDAY, {A: Decimal(25)}, basis=Basis.ESTIMATED),
        CostDay(TODAY, {A: Decimal(25)}),
    ],
)
def test_only_closed_and_billed_days_that_were_counted_teach(day: CostDay) -> None:
    assert learn([day], [usage(YESTERDAY, {used(OUTPUT): 10**6})], RateTable())[0] == RateTable()


def test_a_bill_that_is_rounded_gives_the_rate_that_it_was_rounded_from() -> None:
    counts = {used(CACHE_READ, f"wrkspc_{number}"): 1_000_009 for number in range(20)}  # all are rounded the same way
    exact = bill(DAYS[0], counts, "0.995").lines
    rounded = {line: amount.quantize(Decimal("1e-8")) for line, amount in exact.items()}
    assert rounded != exact
    table, _ = learn([CostDay(DAYS[0], rounded)], [usage(DAYS[0], counts)], RateTable())
    assert [rate.per_unit for rate in table.learned.values()] == [Decimal("0.4975e-6")]


def test_days_that_never_agree_give_their_average_and_say_so() -> None:
    counts = {used(OUTPUT): 10**6}
    factors = ["1", "1.5", "1.2", "1.8"]
    bills = [bill(day, counts, factor) for day, factor in zip(DAYS, factors, strict=False)]
    table, remarks = learn(bills, [usage(day, counts) for day in DAYS], RateTable())
    assert list(price(counts, table, TODAY).lines.values()) == [Decimal("34.375")]
    assert [rate.origin for rate in table.learned.values()] == [Origin.AVERAGED]
    assert len(remarks) == 1
    assert "has no one price" in remarks[0]


@settings(max_examples=50, deadline=None)
@given(
    factors=st.lists(st.sampled_from(["1", "0.87", "2", "1.005"]), min_size=1, max_size=6),
    shuffle=st.randoms(use_true_random=False),
)
def test_the_order_of_days_does_not_matter_and_saying_them_twice_changes_nothing(
    factors: list[str], shuffle: Any
) -> None:
    counts = {used(OUTPUT): 10**6, used(INPUT, "default"): 12_345}
    bills = [bill(day, counts, factor) for day, factor in zip(DAYS, factors, strict=False)]
    days = [usage(day, counts) for day in DAYS]
    table, _ = learn(bills, days, RateTable())
    shuffle.shuffle(bills)
    shuffle.shuffle(days)
    assert learn(bills, days, RateTable())[0] == table
    assert learn(bills, days, table) == (table, ())


def test_rates_survive_as_rows_of_text() -> None:
    table = learned((DAYS[0], EVERYTHING, "1"), (DAYS[1], {used(OUTPUT): 10**6}, "3"))
    rows = table.rows()
    assert len({(row.key, row.origin) for row in rows}) == len(rows) == len(table.learned) + 1
    assert all(isinstance(text, str) for row in rows for text in row)
    again = RateTable.from_rows(tuple(row) for row in rows)
    assert again == table
    assert again.rows() == rows
    assert price(EVERYTHING, again, TODAY) == price(EVERYTHING, table, TODAY)


@pytest.mark.parametrize(
    "row",
    [
        ("[]", "1", "learned", "2026-11-17", ""),
        ('["x"]', "one", "learned", "2026-11-17", ""),
        ('["x"]', "1", "guessed", "2026-11-17", ""),
        ("x", "1", "learned", "2026-11-17", ""),
        ('["x"]', "1", "learned", "yesterday", ""),
    ],
)
def test_a_row_that_is_none_is_refused(row: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        RateTable.from_rows([row])
