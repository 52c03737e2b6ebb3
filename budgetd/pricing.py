"""What tokens cost: the rates that are known, where each comes from, and the estimate made with them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from budgetd import money, price_list
from budgetd.model import Dimensions
from budgetd.money import EXACT
from budgetd.price_list import WEB_SEARCH, Kind
from budgetd.scope import undated

_SHARED_BY = Decimal("0.75")
_COMMON_RATIO = Decimal("0.0001")


class Used(NamedTuple):
    """Whose use it is and of what. The model is as the usage report names it, its date included."""

    workspace: str | None
    kind: Kind


Counts = Mapping[Used, int]


@dataclass(frozen=True, slots=True)
class UsageDay:
    """Everything that was used on one UTC day: tokens (or web searches) by who and what."""

    day: date
    counts: Counts
    complete: bool = True


class Origin(StrEnum):
    """Where a rate comes from, the best first."""

    LEARNED = "learned"  # billed dollars / tokens, the same on every day that was looked at
    AVERAGED = "averaged"  # the same, of days that do not agree: something else moves the price
    LIST = "list"  # the shipped list, times the discount that learned rates show
    FAMILY = "family"  # the list, for another model of the same family
    AWAITED = "awaited"  # seen on one day and far from the present rate: not in use before a second day agrees


@dataclass(frozen=True, slots=True)
class Rate:
    """Dollars for one unit. `evidence` is the UTC day that it was last seen on a bill, or the list's date.

    `billed_as` are the dimensions that the bill gave it, workspace and model aside; None where no bill has it.
    """

    per_unit: Decimal
    origin: Origin
    evidence: date
    billed_as: Dimensions | None = None


class RateRow(NamedTuple):
    """A learned or awaited rate as plain texts, for keeping. `key` and `origin` together are unique."""

    key: str
    rate: str
    origin: str
    evidence: str
    billed_as: str


class Priced(NamedTuple):
    """Exact dollars by dimensions, and what is in none of them.

    `unpriced` are units by (model, token type) that no rate is known for; `priority` are models whose Priority Tier
    tokens were left out; `relatives` are (model, the listed model that it was priced like).
    """

    lines: dict[Dimensions, Decimal]
    unpriced: dict[tuple[str, str], int]
    priority: frozenset[str]
    relatives: frozenset[tuple[str, str]]


class RateTable:
    """Every rate that is known. Immutable; equal when the learned and awaited rates are.

    The rates of what was never billed come from the shipped list: it is asked for each kind once and UTC day.
    """

    def __init__(self, learned: Mapping[Kind, Rate] | None = None, awaited: Mapping[Kind, Rate] | None = None) -> None:
        self.learned = dict(learned or {})
        self.awaited = dict(awaited or {})
        self._discounts = _discounts(self.learned)
        self._tariffs: dict[date, Tariff] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RateTable) and (self.learned, self.awaited) == (other.learned, other.awaited)

    def rate(self, kind: Kind, on: date) -> Rate | None:
        """The rate of that kind (model with or without its date) on a UTC day; None where nobody knows one."""
        kind = undated_kind(kind)
        return self.learned.get(kind) or self._from_list(kind, kind.model, Origin.LIST, on) or self._of_family(kind, on)

    def tariff(self, on: date) -> Tariff:
        """What was found for each use on that UTC day, kept for the next time."""
        known = self._tariffs.get(on)
        if known is None:
            while len(self._tariffs) > 1:
                del self._tariffs[min(self._tariffs)]
            known = self._tariffs[on] = Tariff(self, on)
        return known

    def rows(self) -> tuple[RateRow, ...]:
        """What is worth keeping: learned and awaited rates, in a stable order."""
        found = [*self.learned.items(), *self.awaited.items()]
        return tuple(sorted(_row(kind, rate) for kind, rate in found))

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[str]]) -> RateTable:
        """The table whose `rows` these are. Raises ValueError."""
        groups: tuple[dict[Kind, Rate], dict[Kind, Rate]] = {}, {}
        for row in rows:
            kind, rate = _read(row)
            groups[rate.origin is Origin.AWAITED][kind] = rate
        return cls(*groups)

    def _from_list(self, kind: Kind, like: str | None, origin: Origin, on: date) -> Rate | None:
        price = price_list.listed(kind._replace(model=like), on)
        if price is None:
            return None
        discount = self._discounts.get(like) or self._discounts.get(None) if kind.unit != WEB_SEARCH else None
        return Rate(money.times(price, discount or Decimal(1)), origin, price_list.AS_OF)

    def _of_family(self, kind: Kind, on: date) -> Rate | None:
        like = price_list.relative(kind.model) if kind.model else None
        return None if like in (None, kind.model) else self._from_list(kind, like, Origin.FAMILY, on)


@dataclass(frozen=True, slots=True)
class _Charge:
    """What one use comes to: the line it stands in and the dollars of one unit; no rate: it is unpriced."""

    line: Dimensions
    per_unit: Decimal | None
    priority: bool = False
    like: str | None = None


class Tariff(dict[Used, _Charge]):
    """Charges of one UTC day by use, each found when it is first asked for."""

    def __init__(self, rates: RateTable, on: date) -> None:
        super().__init__()
        self._rates, self._on = rates, on

    def __missing__(self, used: Used) -> _Charge:
        kind = used.kind
        rate = self._rates.rate(kind, self._on)
        like = price_list.relative(undated(kind.model or "")) if rate and rate.origin is Origin.FAMILY else None
        charge = _Charge(_line(used, rate), rate.per_unit if rate else None, is_priority(kind), like)
        self[used] = charge
        return charge


def price(counts: Counts, rates: RateTable, on: date) -> Priced:
    """The exact cost of what was used on a UTC day, by the dimensions that the bill will have."""
    charges = rates.tariff(on)
    lines: dict[Dimensions, Decimal] = {}
    unpriced: dict[tuple[str, str], int] = {}
    odd: list[tuple[str, _Charge]] = []
    multiply, add = EXACT.multiply, EXACT.add
    for used, count in counts.items():
        charge = charges[used]
        if charge.priority or charge.like:
            odd.append((used.kind.model or "", charge))
        if charge.priority or not count:
            continue
        if charge.per_unit is None:
            key = (used.kind.model or "", used.kind.unit)
            unpriced[key] = unpriced.get(key, 0) + count
            continue
        amount = multiply(charge.per_unit, Decimal(count))
        before = lines.get(charge.line)
        lines[charge.line] = amount if before is None else add(before, amount)
    return Priced(
        lines,
        unpriced,
        frozenset(model for model, charge in odd if charge.priority),
        frozenset((model, charge.like) for model, charge in odd if charge.like and not charge.priority),
    )


def _discounts(learned: Mapping[Kind, Rate]) -> dict[str | None, Decimal]:
    """What learned rates are of the list's, by model, and for all of them under None; where most agree on one ratio."""
    ratios: dict[str | None, list[Decimal]] = {}
    for kind, rate in learned.items():
        price = price_list.listed(kind, rate.evidence)
        if price is not None and kind.unit != WEB_SEARCH and rate.origin is Origin.LEARNED:
            ratio = money.quotient(rate.per_unit, price)
            ratios.setdefault(kind.model, []).append(ratio)
            ratios.setdefault(None, []).append(ratio)
    found = {model: _shared(each) for model, each in ratios.items()}
    return {model: ratio for model, ratio in found.items() if ratio is not None}


def _shared(ratios: Sequence[Decimal]) -> Decimal | None:
    """The ratio that three quarters of them have."""
    counted = Counter(ratio.quantize(_COMMON_RATIO) for ratio in ratios)
    common, times = counted.most_common(1)[0]
    if Decimal(times) < _SHARED_BY * len(ratios):
        return None
    return Counter(ratio for ratio in ratios if ratio.quantize(_COMMON_RATIO) == common).most_common(1)[0][0]


# --- names -----------------------------------------------------------------------------------------


def undated_kind(kind: Kind) -> Kind:
    """The kind with the model's id without its date: both ids have one price."""
    return kind._replace(model=undated(kind.model)) if kind.model else kind


def is_priority(kind: Kind) -> bool:
    """Whether it is of the Priority Tier, whose cost is in no report."""
    return kind.service_tier is not None and kind.service_tier.startswith("priority")


def _line(used: Used, rate: Rate | None) -> Dimensions:
    """The line of the bill that a use will stand in, as far as that is known."""
    kind = used.kind
    if rate is not None and rate.billed_as is not None:
        return rate.billed_as._replace(workspace=used.workspace, model=kind.model)
    if kind.unit == WEB_SEARCH:
        return Dimensions(used.workspace, cost_type=WEB_SEARCH)
    return Dimensions(used.workspace, None, "tokens", kind.model, *kind[:1], *kind[2:])


def _row(kind: Kind, rate: Rate) -> RateRow:
    about = json.dumps(rate.billed_as) if rate.billed_as else ""
    return RateRow(
        json.dumps(kind), money.canonical(rate.per_unit), rate.origin.value, rate.evidence.isoformat(), about
    )


def _read(row: Sequence[str]) -> tuple[Kind, Rate]:
    key, per_unit, origin, evidence, billed_as = row
    try:
        about = Dimensions(*json.loads(billed_as)) if billed_as else None
        rate = Rate(Decimal(per_unit), Origin(origin), date.fromisoformat(evidence), about)
        return Kind(*json.loads(key)), rate
    except (TypeError, ArithmeticError) as error:
        raise ValueError(f"not a rate: {error}") from None
