"""Exact money, from the text of the report to the text of the message."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd import money

CENTS = {
    "41280.000000": "412.80",  # the reference's own example
    "123.45": "1.2345",  # not $123.45: cents taken for dollars is the costliest mistake there is
    "0": "0",
    "1": "0.01",
    "-250": "-2.50",
    "0.00000000000001": "0.0000000000000001",
    "12345.67890123456789": "123.4567890123456789",
    "999999999999999": "9999999999999.99",
    "1e2": "1",
    "1.5E+3": "15",
    "25e-1": "0.025",
}


@pytest.mark.parametrize(("cents", "dollars"), CENTS.items())
def test_cents_become_dollars_exactly(cents: str, dollars: str) -> None:
    assert money.dollars_from_cents(cents) == Decimal(dollars)


REFUSED = {
    "fault 28": ["NaN", "sNaN", "Infinity", "-Infinity", "inf"],
    "fault 29": ["1e400", "1E+999999999", "1e99", "1e-99", "1e16"],
    "fault 30": [
        "1_000",
        " 12 ",
        "12\n",
        "\u0661\u0662\u0663",
        "+1",
        "\uff11",
        "1,000",
        "0x10",
        "1.",
        ".5",
        "$1",
        "--1",
    ],
    "fault 32": ["9" * 5000, "0." + "1" * 5000, "9" * 16, "1000000000000000", "1" * 4301],
    "nothing": ["", "-", "e", "e5", "null"],
}


@pytest.mark.parametrize("text", [text for texts in REFUSED.values() for text in texts])
def test_faults_28_to_32_an_amount_that_is_no_plain_ascii_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cents") as caught:
        money.dollars_from_cents(text)
    assert len(str(caught.value)) < 120
    with pytest.raises(ValueError, match="cents"):
        money.dollars_from_plain_cents(["1", text])


plain_cents = st.builds(
    lambda sign, whole, decimals: f"{sign}{whole}{decimals}",
    st.sampled_from(["", "-"]),
    st.integers(0, 10**15 - 1).map(str),
    st.just("") | st.text("0123456789", min_size=1, max_size=20).map(lambda digits: f".{digits}"),
)


@given(plain_cents)
def test_dollars_are_a_hundredth_of_the_cents_to_the_last_digit(text: str) -> None:
    assert Fraction(money.dollars_from_cents(text)) == Fraction(text) / 100


@given(st.lists(plain_cents, max_size=20))
def test_many_plain_amounts_are_read_like_one(texts: list[str]) -> None:
    assert money.dollars_from_plain_cents(texts) == [money.dollars_from_cents(text) for text in texts]


def test_many_plain_amounts_are_refused_with_an_exponent_or_a_line_break_among_them() -> None:
    for texts in (["1", "1e2"], ["1\n2"], ["1\n", "2"], ["1", ""]):
        with pytest.raises(ValueError, match="plain"):
            money.dollars_from_plain_cents(texts)
    assert money.dollars_from_plain_cents([]) == []


@given(st.lists(plain_cents.map(money.dollars_from_cents), max_size=40), st.randoms(use_true_random=False))
def test_a_total_is_exact_for_every_order(amounts: list[Decimal], random: Random) -> None:
    shuffled = list(amounts)
    random.shuffle(shuffled)
    oracle = sum(map(Fraction, amounts), Fraction(0))
    assert Fraction(money.total(amounts)) == Fraction(money.total(shuffled)) == oracle


@given(plain_cents.map(money.dollars_from_cents), plain_cents.map(money.dollars_from_cents))
def test_sums_and_differences_are_exact(left: Decimal, right: Decimal) -> None:
    assert Fraction(money.add(left, right)) == Fraction(left) + Fraction(right)
    assert Fraction(money.subtract(left, right)) == Fraction(left) - Fraction(right)
    factor = right.quantize(Decimal("0.01"))
    assert Fraction(money.times(left, factor)) == Fraction(left) * Fraction(factor)


def test_what_would_be_rounded_is_refused() -> None:
    with pytest.raises(ArithmeticError):
        money.add(Decimal(10) ** 40, Decimal("1e-40"))


@given(plain_cents.map(money.dollars_from_cents), st.integers(1, 400))
def test_a_quotient_is_rounded_to_eighteen_decimals(amount: Decimal, divisor: int) -> None:
    error = Fraction(money.quotient(amount, divisor)) - Fraction(amount) / divisor
    assert abs(error) <= Fraction(1, 2 * 10**18)


@given(plain_cents.map(money.dollars_from_cents), st.integers(1, 10**9).map(lambda n: Decimal(n).scaleb(-3)))
def test_whole_times_never_rounds_up(amount: Decimal, part: Decimal) -> None:
    exact = Fraction(amount) / Fraction(part)
    assert money.whole_times(amount, part) == int(exact)  # int() goes towards zero


@given(plain_cents.map(money.dollars_from_cents))
def test_the_canonical_text_is_one_for_each_value(amount: Decimal) -> None:
    text = money.canonical(amount)
    assert Decimal(text) == amount
    assert text == money.canonical(Decimal(text + (".000" if "." not in text else "000")))
    assert "E" not in text
    assert text != "-0"


DOLLARS = {
    "0": "$0.00",
    "1234.5": "$1,234.50",
    "-3.1": "-$3.10",
    "0.005": "$0.00",  # half to even
    "0.015": "$0.02",
    "5.005": "$5.00",
    "5.0050000000000001": "$5.01",
    "-0.001": "$0.00",
    "9999999999999.99": "$9,999,999,999,999.99",
    "1000000": "$1,000,000.00",
}


@pytest.mark.parametrize(("amount", "text"), DOLLARS.items())
def test_dollars_as_people_read_them(amount: str, text: str) -> None:
    assert money.dollars(Decimal(amount)) == text


def test_cents_are_left_out_only_where_there_are_none() -> None:
    assert money.round_dollars(Decimal(5000)) == "$5,000"
    assert money.round_dollars(Decimal("0.10")) == "$0.10"
    assert money.cents_text(Decimal("1234.5")) == "1234.50"
    assert money.cents_text(Decimal("-0.014")) == "-0.01"


SHARES = [
    ("4012.37", "5000", "80.2%"),
    ("4998", "5000", "99.9%"),
    ("4999.99", "5000", "99.9%"),
    ("5000", "5000", "100%"),
    ("999999999999.9999999999999999999999", "1000000000000", "99.9%"),
    ("125000", "1000", "12,500%"),
    ("0", "5000", "0%"),
    ("-0.01", "5000", "0%"),
    ("-50", "5000", "-1%"),
    ("1", "0", "-"),
]


@pytest.mark.parametrize(("amount", "whole", "text"), SHARES)
def test_a_share_is_rounded_down(amount: str, whole: str, text: str) -> None:
    assert money.share(Decimal(amount), Decimal(whole)) == text


@given(plain_cents.map(money.dollars_from_cents).filter(lambda amount: amount >= 0), st.integers(1, 10**12))
def test_a_share_never_says_more_than_there_is(amount: Decimal, whole: int) -> None:
    said = Fraction(money.share(amount, Decimal(whole)).rstrip("%").replace(",", "")) / 100
    exact = Fraction(amount) / whole
    assert said <= exact < said + Fraction(1, 1000)
