"""Learning rates: what days that are both billed and counted prove about the price of a token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import NamedTuple

from budgetd import money
from budgetd.model import Basis, CostDay, Dimensions
from budgetd.money import EXACT
from budgetd.price_list import WEB_SEARCH, Kind
from budgetd.pricing import Origin, Rate, RateTable, UsageDay, is_priority, undated_kind
from budgetd.scope import undated

# What may change without a second day's word: one part in a hundred.
_LITTLE = Decimal("0.01")
_MOST_DIGITS = 30
_LEAST_DIGITS = 6
# The report shows six decimals of a cent at least, so that is how coarsely it may have rounded a row.
_COARSEST_EXPONENT = -8
_FEW_DAYS = 3
_MILLION = Decimal(10**6)
_MOST_NAMED = 5
_ROUNDING = Context(prec=60, rounding=ROUND_HALF_EVEN)


def learn(billed: Iterable[CostDay], used: Iterable[UsageDay], known: RateTable) -> tuple[RateTable, tuple[str, ...]]:
    """The rates that complete days which are both billed and counted prove, and remarks for the operator.

    A rate is the billed dollars over the units of a kind, where bill and usage have that kind one to one. It is taken
    when it is within 1 % of the present one, or when a second day says the same; until then it is awaited. Days that
    never agree with each other give their average. Days may be given again: what they prove is the same.
    """
    bills = {day.day: day for day in billed if day.complete and day.basis is Basis.BILLED}
    days = sorted((day for day in used if day.complete and day.day in bills), key=lambda day: day.day)
    pupil = _Pupil(known)
    for day in days:
        pupil.take(day.day, match(bills[day.day], day))
    return pupil.finished()


# --- one day's evidence ------------------------------------------------------------------------


class Evidence(NamedTuple):
    """What one day says of one kind: dollars, units, and how many billed rows the dollars were in."""

    dollars: Decimal
    units: int
    rows: int
    billed_as: Dimensions


@dataclass(slots=True)
class _Side:
    """All that the bill has under one key: dollars, rows, the kinds, and the descriptions of each model id."""

    dollars: Decimal = money.ZERO
    rows: int = 0
    lines: set[Dimensions] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Match:
    """The kinds that bill and usage have one to one, and those that they do not."""

    evidence: Mapping[Kind, Evidence]
    unmatched: frozenset[Kind]


_Shape = tuple[bool, ...]


def match(bill: CostDay, used: UsageDay) -> Match:
    """What a day proves. Dimensions that one of the two reports does not have are not looked at."""
    billed = {line: amount for line, amount in bill.lines.items() if amount and (line.token_type or _is_search(line))}
    counted = {each: count for each, count in used.counts.items() if count and not is_priority(each.kind)}
    shape = _shape(map(_kind_of, billed), (each.kind for each in counted))
    sides: dict[Kind, _Side] = {}
    for line, amount in billed.items():
        side = sides.setdefault(_shaped(_kind_of(line), shape), _Side())
        side.dollars, side.rows = money.add(side.dollars, amount), side.rows + 1
        side.lines.add(line._replace(workspace=None))
    units: dict[Kind, dict[Kind, int]] = {}
    for each, count in counted.items():
        kind = undated_kind(each.kind)
        group = units.setdefault(_shaped(kind, shape), {})
        group[kind] = group.get(kind, 0) + count
    found = {key: _one_to_one(sides.get(key), group) for key, group in units.items()}
    evidence = {next(iter(units[key])): proof for key, proof in found.items() if proof}
    lacking = {key for key, proof in found.items() if proof is None} | (sides.keys() - units.keys())
    return Match(evidence, frozenset(lacking))


def _one_to_one(side: _Side | None, group: Mapping[Kind, int]) -> Evidence | None:
    if side is None or side.dollars <= 0 or len(group) > 1:
        return None
    # One model may be billed under two ids; two lines of one id are two prices that cannot be told apart.
    if len({line.model for line in side.lines}) < len(side.lines) or len({_kind_of(line) for line in side.lines}) > 1:
        return None
    lines = [line._replace(model=None) for line in side.lines]
    about = lines[0] if len(set(lines)) == 1 else lines[0]._replace(description=None)
    return Evidence(side.dollars, sum(group.values()), side.rows, about)


def exact_rate(proof: Evidence) -> Decimal:
    """The dollars of one unit: the shortest decimal that gives the billed amount, as far as the bill may be rounded.

    The quotient itself need not have an end where the bill was rounded.
    """
    slack = _slack(proof)
    quotient = _ROUNDING.divide(proof.dollars, Decimal(proof.units))
    for digits in range(_LEAST_DIGITS, _MOST_DIGITS):
        candidate = _ROUNDING.quantize(quotient, Decimal(1).scaleb(-digits))
        if candidate and _gap(candidate, proof) <= slack:
            return candidate.normalize(EXACT)
    return money.quotient(proof.dollars, proof.units)


def _slack(proof: Evidence) -> Decimal:
    """How far the dollars may be from the exact product: half of the last decimal of every row."""
    exponent = proof.dollars.as_tuple().exponent
    finest = min(exponent if isinstance(exponent, int) else 0, _COARSEST_EXPONENT)
    return money.times(Decimal(proof.rows), Decimal(5).scaleb(finest - 1))


def _gap(rate: Decimal, proof: Evidence) -> Decimal:
    return abs(money.subtract(money.times(rate, Decimal(proof.units)), proof.dollars))


# --- what many days prove ------------------------------------------------------------------------


class _Pupil:
    """Takes the evidence of one day after another."""

    def __init__(self, known: RateTable) -> None:
        self._known = known
        self._learned = dict(known.learned)
        self._awaited = dict(known.awaited)
        self._proofs: dict[Kind, list[tuple[date, Evidence]]] = {}
        self._unmatched: dict[date, frozenset[Kind]] = {}

    def take(self, day: date, found: Match) -> None:
        if found.unmatched:
            self._unmatched[day] = found.unmatched
        for kind, proof in found.evidence.items():
            self._proofs.setdefault(kind, []).append((day, proof))
            self._weigh(kind, day, proof)

    def finished(self) -> tuple[RateTable, tuple[str, ...]]:
        for kind, proofs in self._proofs.items():
            average = _average(proofs)
            if average is not None:
                self._learned[kind] = average
                self._awaited.pop(kind, None)
        result = RateTable(self._learned, self._awaited)
        return result, (*_changes(self._known, result), *_mismatches(self._unmatched))

    def _weigh(self, kind: Kind, day: date, proof: Evidence) -> None:
        present = self._learned.get(kind)
        if present is not None and day <= present.evidence:
            return
        if present is not None and _gap(present.per_unit, proof) <= _slack(proof):
            self._learn(kind, replace(present, evidence=day, billed_as=proof.billed_as, origin=Origin.LEARNED))
            return
        seen = Rate(exact_rate(proof), Origin.LEARNED, day, proof.billed_as)
        if self._is_little(kind, seen, present) or self._is_second(kind, seen):
            self._learn(kind, seen)
        else:
            self._awaited[kind] = replace(seen, origin=Origin.AWAITED)

    def _learn(self, kind: Kind, rate: Rate) -> None:
        self._learned[kind] = rate
        self._awaited.pop(kind, None)

    def _is_little(self, kind: Kind, seen: Rate, present: Rate | None) -> bool:
        """A guess from the family is no rate that evidence would have to be weighed against."""
        before = present or self._known.rate(kind, seen.evidence)
        return before is None or before.origin is Origin.FAMILY or _alike(before.per_unit, seen.per_unit)

    def _is_second(self, kind: Kind, seen: Rate) -> bool:
        first = self._awaited.get(kind)
        return first is not None and first.evidence < seen.evidence and _alike(first.per_unit, seen.per_unit)


def _average(proofs: Sequence[tuple[date, Evidence]]) -> Rate | None:
    """Of days that do not agree, none with the next; None where they do, or are too few to say."""
    rates = [exact_rate(proof) for _, proof in proofs]
    if len(rates) < _FEW_DAYS or any(map(_alike, rates, rates[1:])):
        return None
    dollars = money.total(proof.dollars for _, proof in proofs)
    day, last = proofs[-1]
    per_unit = money.quotient(dollars, sum(proof.units for _, proof in proofs))
    return Rate(per_unit, Origin.AVERAGED, day, last.billed_as)


def _alike(one: Decimal, other: Decimal) -> bool:
    return abs(money.subtract(one, other)) <= money.times(one, _LITTLE)


# --- kinds ------------------------------------------------------------------------------------------


def _is_search(line: Dimensions) -> bool:
    return line.cost_type == WEB_SEARCH


def _kind_of(line: Dimensions) -> Kind:
    """The kind of a billed line, its model without a date."""
    if line.token_type is None:
        return Kind(WEB_SEARCH)
    model = undated(line.model) if line.model else None
    return Kind(line.token_type, model, line.service_tier, line.context_window, line.inference_geo, line.speed)


def _shape(*sides: Iterable[Kind]) -> _Shape:
    """Which of the fields after unit and model both reports have."""
    had = [[any(values) for values in zip(*side, strict=True)][2:] or [True] * 4 for side in sides]
    return tuple(all(each) for each in zip(*had, strict=True))


def _shaped(kind: Kind, shape: _Shape) -> Kind:
    """The kind as far as both reports can tell it. Where speeds are told, what has none is not fast."""
    kind = kind._replace(speed=kind.speed or "standard")
    kept = (value if known else None for value, known in zip(kind[2:], shape, strict=True))
    return Kind(kind.unit, kind.model, *kept)


# --- remarks -----------------------------------------------------------------------------------------


def _changes(before: RateTable, after: RateTable) -> list[str]:
    """What changed by more than a little, what waits to, and what has no one price."""
    remarks = []
    for kind, rate in sorted(after.learned.items(), key=str):
        present = before.learned.get(kind)
        if rate.origin is Origin.AVERAGED and (present is None or present.origin is not Origin.AVERAGED):
            remarks.append(f"{_named(kind)} has no one price: the average of the last days is used")
        elif present and rate.origin is Origin.LEARNED and not _alike(present.per_unit, rate.per_unit):
            remarks.append(f"{_named(kind)} now costs {_shown(rate)} instead of {_shown(present)}, see {rate.evidence}")
    for kind, rate in sorted(after.awaited.items(), key=str):
        if before.awaited.get(kind) != rate:
            used = after.rate(kind, rate.evidence)
            instead = f", not {_shown(used)}" if used else ""
            remarks.append(f"{_named(kind)} cost {_shown(rate)}{instead} on {rate.evidence}; a second day is awaited")
    return _shortened(remarks, "more prices changed or are waiting to")


def _mismatches(unmatched: Mapping[date, frozenset[Kind]]) -> list[str]:
    remarks = [
        f"nothing is learned from {len(kinds)} kinds of tokens on {day}: bill and usage do not have them one to one, "
        f"{_named(min(kinds, key=str))} for one"
        for day, kinds in sorted(unmatched.items(), reverse=True)
    ]
    return _shortened(remarks, "more days are like that")


def _shortened(remarks: list[str], more: str) -> list[str]:
    if len(remarks) <= _MOST_NAMED:
        return remarks
    return [*remarks[:_MOST_NAMED], f"{len(remarks) - _MOST_NAMED} {more}"]


def _named(kind: Kind) -> str:
    if kind.unit == WEB_SEARCH:
        return "web search"
    return " ".join(value for value in (kind.model, kind.unit, *kind[2:]) if value)


def _shown(rate: Rate) -> str:
    return f"${money.canonical(money.times(rate.per_unit, _MILLION))} per million"
