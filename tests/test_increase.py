"""What a change is made of: parts that add up exactly, whatever the numbers, and say what they are called."""

from __future__ import annotations

import random
from collections.abc import Mapping
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.increase import Cell, causes, movers, rounded
from budgetd.model import Cause, Mover
from budgetd.money import total

OPUS, HAIKU = "claude-opus-4-8", "claude-haiku-4-5"
IN, OUT = "uncached_input_tokens", "output_tokens"
STANDARD, BATCH = ("standard",), ("batch",)
PRICES = {(OPUS, IN): "5", (OPUS, OUT): "25", (HAIKU, IN): "1", (HAIKU, OUT): "5"}


def price(cell: Cell) -> Decimal | None:
    """Dollars for a million tokens, as if it were one; half of it in batches."""
    found = PRICES.get((cell.model or "", cell.kind or ""))
    return None if found is None else Decimal(found) / (2 if cell.terms == BATCH else 1)


def cells(**tokens: int) -> dict[Cell, Decimal]:
    """`oi=3`: three million input tokens of Opus; `hob`: output of Haiku in a batch."""
    found = {}
    for name, count in tokens.items():
        cell = Cell({"o": OPUS, "h": HAIKU}[name[0]], {"i": IN, "o": OUT}[name[1]], BATCH if name[2:] else STANDARD)
        per_unit = price(cell)
        assert per_unit is not None
        found[cell] = count * per_unit
    return found


def split(before: Mapping[Cell, Decimal], after: Mapping[Cell, Decimal]) -> dict[Cause, Decimal]:
    return {cause: amount for cause, amount in causes(before, after, price)[0] if amount}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (cells(oi=10, oo=2), cells(oi=20, oo=4), {Cause.VOLUME: "100"}),
        (cells(oi=10), cells(hi=10), {Cause.MODEL_MIX: "-40"}),
        (cells(hi=10, oi=10), cells(hi=5, oi=15), {Cause.MODEL_MIX: "20"}),
        (cells(oi=10), cells(oi=5, oo=5), {Cause.KIND_MIX: "100"}),
        (cells(oo=10), cells(oo=5, oob=5), {Cause.TERMS: "-62.5"}),
        (cells(oo=10), cells(oo=10), {}),
        # A model that was not there before: as many more tokens at the old average price, the rest is the mix.
        (cells(hi=10), cells(hi=10, oi=10), {Cause.VOLUME: "10", Cause.MODEL_MIX: "40"}),
        (cells(oi=10), {}, {Cause.VOLUME: "-50"}),
    ],
)
def test_each_cause_is_told_from_the_others(
    before: Mapping[Cell, Decimal], after: Mapping[Cell, Decimal], expected: Mapping[Cause, str]
) -> None:
    assert split(before, after) == {cause: Decimal(amount) for cause, amount in expected.items()}


def test_the_tokens_are_counted_by_their_price() -> None:
    assert causes(cells(oi=10, oo=2), cells(oi=15, oo=3), price)[1] == Decimal("1.5")


def test_what_has_no_price_and_credits_stand_apart() -> None:
    search, credit = Cell(None, "web_search"), Cell(OPUS, OUT, STANDARD)
    before = {**cells(hi=10), search: Decimal(5)}
    after = {**cells(hi=10), search: Decimal(8), credit: Decimal(-2)}
    assert split(before, after) == {Cause.OTHER: Decimal(1)}


def test_where_nothing_was_before_nothing_is_split() -> None:
    assert causes({}, cells(oi=10), price) == ((), None)
    assert causes({Cell(None, "web_search"): Decimal(5)}, cells(oi=10), price) == ((), None)


AMOUNTS = st.decimals(-(10**6), 10**9, places=14)
CELLS = st.builds(
    Cell,
    st.sampled_from([OPUS, HAIKU, "claude-unknown", None]),
    st.sampled_from([IN, OUT, None]),
    st.sampled_from([STANDARD, BATCH]),
)
SIDES = st.dictionaries(CELLS, AMOUNTS, max_size=8)


@given(SIDES, SIDES, st.randoms(use_true_random=False))
def test_the_causes_add_up_exactly_in_every_order(
    before: dict[Cell, Decimal], after: dict[Cell, Decimal], shuffled: random.Random
) -> None:
    found, tokens = causes(before, after, price)
    if found:
        assert total(amount for _, amount in found) == total(after.values()) - total(before.values())
        assert tokens is not None
    others = [list(side.items()) for side in (before, after)]
    for side in others:
        shuffled.shuffle(side)
    assert causes(dict(others[0]), dict(others[1]), price) == (found, tokens)


@given(st.lists(AMOUNTS, max_size=9), st.sampled_from([Decimal(1), Decimal("0.01")]))
def test_rounded_parts_add_up_to_the_rounded_sum_and_none_is_off_by_more_than_a_unit(
    parts: list[Decimal], unit: Decimal
) -> None:
    shown = rounded(parts, unit)
    assert abs(total(shown) - total(parts)) <= unit / 2
    assert all(abs(is_ - was) <= unit for is_, was in zip(shown, parts, strict=True))
    assert all(is_ % unit == 0 for is_ in shown)


# --- who -------------------------------------------------------------------------------------------


def dollars(**amounts: str) -> dict[str, Decimal]:
    return {name: Decimal(amount) for name, amount in amounts.items()}


def test_who_moved_most_in_the_direction_of_the_change_comes_first() -> None:
    found = movers("model", dollars(a="10", b="50", c="7"), dollars(a="110", b="30", d="3"))
    assert found == (
        Mover("model", "a", Decimal(10), Decimal(110)),
        Mover("model", "c", Decimal(7), Decimal(0)),
        Mover("model", "b", Decimal(50), Decimal(30)),
    )
    fell = movers("model", dollars(a="110"), dollars(a="10", b="20"))
    assert [mover.name for mover in fell] == ["a", "b"]


def test_what_hardly_moved_is_not_named() -> None:
    found = movers("model", dollars(a="0", b="50", c="5"), dollars(a="1000", b="60", c="5"))
    assert [mover.name for mover in found] == ["a"]
    assert movers("model", dollars(a="5"), dollars(a="5")) == ()
