"""Estimates and bills of the same days: how far off the estimate was, and what the bill teaches about prices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from budgetd.learning import learn
from budgetd.model import CostDay, Dimensions, Drift
from budgetd.money import dollars, subtract, times, total
from budgetd.pricing import RateTable, UsageDay

# An estimate that was further off than this is told to the operator.
DRIFT_TOLD = Decimal("0.05")
# Less than this in a day is noise, however large its share is.
DRIFT_LEAST = Decimal(1)
# What the usage report counts; the bill also has code execution and sessions.
_COUNTED = frozenset({"tokens", "web_search"})


def drift(estimate: CostDay, bill: CostDay) -> Drift:
    """How far the estimate of a day was from its bill, over what the usage report counts."""
    return Drift(bill.day, _counted(estimate.lines), _counted(bill.lines))


def is_worth_telling(found: Drift) -> bool:
    """Whether the operator should know: more than 5 % and a dollar off."""
    gap = abs(subtract(found.estimated, found.billed))
    return gap >= DRIFT_LEAST and gap > times(abs(found.billed), DRIFT_TOLD)


def drift_told(found: Drift) -> str:
    """The drift in a sentence."""
    return (
        f"{found.day:%d %b %Y} was estimated at {dollars(found.estimated)} and is billed at {dollars(found.billed)}. "
        "The bill counts from now on"
    )


def unpriced_told(model: str, kind: str, count: int) -> str:
    """The tokens that are in no amount, in a sentence."""
    what = f"{kind.replace('_', ' ')} of {model or 'no model'}"
    return f"{count:,} {what} have no known price and are in no figure until a bill has them"


def learned(
    rates: RateTable, used: tuple[UsageDay, ...], billed: Iterable[CostDay]
) -> tuple[RateTable, tuple[str, ...]]:
    """The rates after these days, and remarks; the same table when they teach nothing new."""
    after, remarks = learn(billed, used, rates)
    return (rates if after == rates else after), remarks


def _counted(lines: Mapping[Dimensions, Decimal]) -> Decimal:
    return total(amount for about, amount in lines.items() if about.cost_type in _COUNTED or about.token_type)
