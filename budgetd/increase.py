"""What a change of spend is made of: which models and workspaces, and by which causes, adding up exactly. Pure.

Causes are found by replacing one thing after the other (price-volume-mix analysis; for two factors it is Laspeyres' and
Paasche's split, and the model's part Kitagawa's "components of a difference between two rates", JASA 50, 1955). With D
dollars and Q tokens, 0 before and 1 after, and P0 = D0 / Q0 the average price before:

    volume           Q1 P0  -  D0                                      as many tokens as now, all else as before
    model mix        sum over models Q1 P0  -  the above               ... and the models as now
    token type mix   sum over models and token types Q1 P0  -  the above
    tier             D1  -  the above                                  what is left: tiers, context windows, regions
    other            D1 - D0 of what has no price by the token

What was not there before comes in at its own price, so a new model is a change of the mix. The bill has no tokens: Q is
dollars by the price of each line. A change of that price itself therefore cannot be seen, and counts as volume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from typing import NamedTuple

from budgetd.model import Cause, Mover
from budgetd.money import ZERO, add, quotient, subtract, times, total

MOST_MOVERS = 3
# A mover with less than a twentieth of the change is not worth a word.
_WORTH_NAMING = Decimal("0.05")
_TOKEN = Decimal("0.000001")


class Cell(NamedTuple):
    """What cost lines with one price have in common. `terms`: service tier, context window, region, speed.

    Without a model it is the cost type that is the `kind`.
    """

    model: str | None
    kind: str | None
    terms: tuple[str | None, ...] = ()


Cells = Mapping[Cell, Decimal]
# Dollars of one token; None where nobody knows.
Price = Callable[[Cell], Decimal | None]
Causes = tuple[tuple[Cause, Decimal], ...]


class _Side(NamedTuple):
    """Dollars and tokens."""

    dollars: Decimal = ZERO
    tokens: Decimal = ZERO

    def plus(self, other: _Side) -> _Side:
        return _Side(add(self.dollars, other.dollars), add(self.tokens, other.tokens))


def causes(before: Cells, after: Cells, price: Price) -> tuple[Causes, Decimal | None]:
    """Why dollars changed, and after / before of the tokens; nothing where no priced tokens were used before.

    The causes add up to the change exactly, whatever the order of the cells. Cells with credits are among the others.
    """
    prices = {cell: found for cell in {*before, *after} if (found := _usable(cell, before, after, price)) is not None}
    then, now = _priced(before, prices), _priced(after, prices)
    whole_then, whole_now = (_grouped(side, lambda _: ()).get((), _Side()) for side in (then, now))
    if whole_then.tokens <= 0:
        return (), None
    stages = [whole_then.dollars, *(_replaced(then, now, key) for key in _STAGES), whole_now.dollars]
    named = [
        (cause, subtract(later, earlier)) for cause, (earlier, later) in zip(_CAUSES, pairwise(stages), strict=True)
    ]
    others = subtract(_rest(after, prices), _rest(before, prices))
    return (*named, (Cause.OTHER, others)), quotient(whole_now.tokens, whole_then.tokens)


_STAGES: tuple[Callable[[Cell], tuple[str | None, ...]], ...] = (
    lambda _: (),
    lambda cell: (cell.model,),
    lambda cell: (cell.model, cell.kind),
)
_CAUSES = (Cause.VOLUME, Cause.MODEL_MIX, Cause.KIND_MIX, Cause.TERMS)


def _usable(cell: Cell, before: Cells, after: Cells, price: Price) -> Decimal | None:
    """The cell's price, if there is one and tokens can be told from dollars with it."""
    if before.get(cell, ZERO) < 0 or after.get(cell, ZERO) < 0:
        return None
    found = price(cell)
    return found if found is not None and found > 0 else None


def _priced(cells: Cells, prices: Mapping[Cell, Decimal]) -> dict[Cell, _Side]:
    found = ((cell, dollars, prices.get(cell)) for cell, dollars in cells.items())
    return {cell: _Side(dollars, _tokens(dollars, per_token)) for cell, dollars, per_token in found if per_token}


def _tokens(dollars: Decimal, per_token: Decimal) -> Decimal:
    return quotient(dollars, per_token).quantize(_TOKEN, rounding=ROUND_HALF_EVEN)


def _rest(cells: Cells, prices: Mapping[Cell, Decimal]) -> Decimal:
    return total(dollars for cell, dollars in cells.items() if cell not in prices)


def _grouped(
    side: Mapping[Cell, _Side], key: Callable[[Cell], tuple[str | None, ...]]
) -> dict[tuple[str | None, ...], _Side]:
    found: dict[tuple[str | None, ...], _Side] = {}
    for cell, each in side.items():
        found[key(cell)] = found.get(key(cell), _Side()).plus(each)
    return found


def _replaced(
    before: Mapping[Cell, _Side], after: Mapping[Cell, _Side], key: Callable[[Cell], tuple[str | None, ...]]
) -> Decimal:
    """Dollars of the tokens of now at what each group's cost on average before; at their own where there were none."""
    then, now = _grouped(before, key), _grouped(after, key)
    return total(_at(then.get(group, _Side()), side) for group, side in now.items())


def _at(then: _Side, now: _Side) -> Decimal:
    if then.tokens <= 0:
        return now.dollars
    return quotient(times(quotient(then.dollars, 1), now.tokens), then.tokens)


# --- who -------------------------------------------------------------------------------------------


def movers(dimension: str, before: Mapping[str, Decimal], after: Mapping[str, Decimal]) -> tuple[Mover, ...]:
    """The values of a dimension that changed most, the largest part of the change first; `name` is the value."""
    found = [Mover(dimension, value, before.get(value, ZERO), after.get(value, ZERO)) for value in {*before, *after}]
    whole = subtract(total(after.values()), total(before.values()))
    least = max(times(abs(whole), _WORTH_NAMING), _TOKEN)
    worth = [mover for mover in found if abs(moved(mover)) >= least]
    direction = -1 if whole < 0 else 1
    worth.sort(key=lambda mover: (-direction * moved(mover), mover.name))
    return tuple(worth[:MOST_MOVERS])


def moved(mover: Mover) -> Decimal:
    """Its part of the change."""
    return subtract(mover.after, mover.before)


def by(key: Callable[[Cell], str | None], cells: Cells) -> dict[str, Decimal]:
    """Dollars by a value of the cells; those without one are left out."""
    found: dict[str, Decimal] = {}
    for cell, dollars in cells.items():
        value = key(cell)
        if value is not None:
            found[value] = add(found.get(value, ZERO), dollars)
    return found


def rounded(parts: Iterable[Decimal], unit: Decimal) -> list[Decimal]:
    """The parts as multiples of the unit that add up to their rounded sum: running sums are rounded, not parts."""
    running, shown, sums = ZERO, ZERO, []
    for part in parts:
        running = add(running, part)
        stand = times(quotient(running, unit).quantize(Decimal(1), rounding=ROUND_HALF_EVEN), unit)
        sums.append(subtract(stand, shown))
        shown = stand
    return sums
