"""Like with like: which earlier days a finding's days are compared with, and what became of what, between the two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from budgetd import increase
from budgetd.increase import Cell
from budgetd.model import CostDay, Dimensions, Finding, Increase, Mover, Scope
from budgetd.money import EXACT, ZERO, add, quotient, total
from budgetd.period import DAY, Period, day_before, midnight
from budgetd.price_list import Kind
from budgetd.pricing import RateTable
from budgetd.rules import Rule
from budgetd.rules.spike import Spike
from budgetd.scope import Naming, View, undated
from budgetd.spend import Spend

# Of longer stretches nothing is said: two of them are more cost lines than an alert may take time to read.
MOST_DAYS = 92


@dataclass(frozen=True, slots=True)
class Contrast:
    """A scope's UTC days, and the earlier ones that they are compared with.

    `mean`: with the mean of the earlier days, otherwise day by day and so with their sum. `against` says in words which
    they are; `closed` whether the later ones are over.
    """

    view: View
    scope: Scope
    before: tuple[date, ...]
    after: tuple[date, ...]
    against: str
    mean: bool = False
    closed: bool = True


def contrast(rule: Rule, finding: Finding, spend: Spend) -> Contrast | None:
    """What the finding can be compared with; None where that is nothing, or not all of it is known.

    A day with the days of its rule's baseline, or the same weekday; the closed days of a longer period with the same
    days of the one before. A day that still runs only once it is above what it is compared with.
    """
    if finding.period.is_part_of_a_day or spend.through is None:
        return None
    one_day = finding.period.end - finding.period.start == DAY
    found = _of_day(rule, finding, spend) if one_day else _of_period(rule, finding, spend)
    if found is None or len(found.after) > MOST_DAYS:
        return None
    needed = (*found.before, *(found.after if found.closed else ()))
    return found if all(spend.is_closed(day) for day in needed) else None


def _of_day(rule: Rule, finding: Finding, spend: Spend) -> Contrast | None:
    day, scope, view = finding.period.start.date(), finding.scope, rule.view()
    closed = spend.through is not None and spend.through >= finding.period.end
    if isinstance(rule, Spike):
        if not spend.knows(day - DAY * back for back in rule.against.days_back):
            return None
        before, against = rule.compared_days(spend, day, scope), rule.against.words
    else:
        before, against = [day - DAY * 7], f"the {day:%A} before"
    if not closed and (not spend.knows(before) or finding.amount <= _mean(spend, view, before, scope)):
        return None
    return Contrast(view, scope, tuple(before), (day,), against, mean=True, closed=closed)


def _mean(spend: Spend, view: View, days: list[date], scope: Scope) -> Decimal:
    return quotient(total(spend.on(view, day).get(scope, ZERO) for day in days), len(days))


def _of_period(rule: Rule, finding: Finding, spend: Spend) -> Contrast | None:
    through, period = spend.through, finding.period
    over = [day for day in period.days() if through is not None and midnight(day + DAY) <= through]
    earlier = rule.calendar.holding(day_before(period.start))
    before = earlier.days()[: len(over)]
    after = over[: len(before)]
    if not after:
        return None
    against = Period(midnight(before[0]), midnight(before[-1] + DAY)).name
    words = f"as many days of {against}" if len(after) < len(over) else against
    return Contrast(rule.view(), finding.scope, tuple(before), tuple(after), words)


# --- what became of what ---------------------------------------------------------------------------


_Lines = dict[Dimensions, Decimal]


@dataclass(frozen=True, slots=True)
class _Sums:
    """Dollars of one side of a contrast, by what sets the price and by workspace."""

    cells: Mapping[Cell, Decimal]
    workspaces: Mapping[str, Decimal]

    @classmethod
    def of(cls, lines: _Lines, days: int) -> _Sums:
        """The sums of the lines; their means over so many days."""
        cells: dict[Cell, Decimal] = {}
        workspaces: dict[str, Decimal] = {}
        for about, dollars in lines.items():
            amount = quotient(dollars, days) if days > 1 else dollars
            cell = _cell(about)
            cells[cell] = add(cells.get(cell, ZERO), amount)
            if about.workspace is not None:
                workspaces[about.workspace] = add(workspaces.get(about.workspace, ZERO), amount)
        return cls(cells, workspaces)


class Contrasts:
    """Adds up the cost lines of many contrasts in one pass over the days."""

    def __init__(self, contrasts: Iterable[Contrast], spend: Spend) -> None:
        self._spend = spend
        self._sides: dict[Contrast, tuple[_Lines, _Lines]] = {}
        self._asked: dict[date, dict[View, dict[Scope, list[_Lines]]]] = {}
        for each in dict.fromkeys(contrasts):
            sides: tuple[_Lines, _Lines] = ({}, {})
            self._sides[each] = sides
            for days, side in zip((each.before, each.after), sides, strict=True):
                for day in days:
                    self._asked.setdefault(day, {}).setdefault(each.view, {}).setdefault(each.scope, []).append(side)

    @property
    def days(self) -> frozenset[date]:
        """The UTC days whose cost lines are needed."""
        return frozenset(self._asked)

    def watch(self, days: Iterable[CostDay]) -> Iterator[CostDay]:
        """The days as they come, each one added up on its way."""
        for day in days:
            for view, by_scope in self._asked.get(day.day, {}).items():
                self._take(day.lines, view, by_scope)
            yield day

    def _take(self, lines: Mapping[Dimensions, Decimal], view: View, by_scope: dict[Scope, list[_Lines]]) -> None:
        scopes, plus = self._spend.lens(view).scopes, EXACT.add
        for about, amount in lines.items():
            for scope in scopes(about):
                for side in by_scope.get(scope, ()):
                    before = side.get(about)
                    side[about] = amount if before is None else plus(before, amount)

    def increase(self, about: Contrast, rates: RateTable) -> Increase:
        """What the contrast comes to, once all its days were watched."""
        then, now = self._sides[about]
        before, after = _Sums.of(then, len(about.before) if about.mean else 1), _Sums.of(now, 1)
        prices = _Prices(rates, about.after[-1])
        why, tokens = increase.causes(before.cells, after.cells, prices.of) if about.closed else ((), None)
        return Increase(
            against=about.against,
            before=total(before.cells.values()),
            after=total(after.cells.values()),
            closed=about.closed,
            movers=_movers(about, before, after, self._spend.naming),
            causes=why,
            tokens=tokens,
        )


@dataclass(frozen=True, slots=True)
class _Prices:
    """Dollars of one token, on a UTC day."""

    rates: RateTable
    day: date

    def of(self, cell: Cell) -> Decimal | None:
        if cell.model is None or cell.kind is None:
            return None
        found = self.rates.rate(Kind(cell.kind, cell.model, *cell.terms), self.day)
        return found.per_unit if found is not None else None


def _cell(about: Dimensions) -> Cell:
    terms = (about.service_tier, about.context_window, about.inference_geo, about.speed)
    if about.model is None:
        return Cell(None, about.token_type or about.cost_type, terms)
    return Cell(undated(about.model), about.token_type, terms)


def _movers(about: Contrast, before: _Sums, after: _Sums, naming: Naming) -> tuple[Mover, ...]:
    fixed = {dimension for dimension, _ in about.scope}
    found = () if "model" in fixed else _models(before, after)
    if not found and "token_type" not in fixed:
        found = increase.movers("token_type", *(increase.by(_kind, side.cells) for side in (before, after)))
    if "workspace" in fixed or len({*before.workspaces, *after.workspaces}) < 2:
        return found
    moved = increase.movers("workspace", before.workspaces, after.workspaces)
    return (*found, *(_renamed(mover, naming) for mover in moved))


def _kind(cell: Cell) -> str | None:
    return cell.kind


def _models(before: _Sums, after: _Sums) -> tuple[Mover, ...]:
    """The models, each with the kind of tokens that most of its change is."""
    found = increase.movers("model", *(increase.by(_model, side.cells) for side in (before, after)))
    return tuple(_with_kind(mover, before, after) for mover in found)


def _model(cell: Cell) -> str | None:
    """What has no model stands under its cost type."""
    return cell.model or cell.kind


def _with_kind(mover: Mover, before: _Sums, after: _Sums) -> Mover:
    then, now = (
        increase.by(_kind, {cell: amount for cell, amount in side.cells.items() if cell.model == mover.name})
        for side in (before, after)
    )
    if not then and not now:
        return replace(mover, dimension="cost_type")
    kinds = increase.movers("token_type", then, now)
    return replace(mover, token_type=kinds[0].name) if kinds else mover


def _renamed(mover: Mover, naming: Naming) -> Mover:
    return replace(mover, name=naming.called("workspace", mover.name)[-1])
