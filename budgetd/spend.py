"""What was spent: an index over the cost lines in which each rule is a look-up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal

from budgetd.model import Basis, Contributor, CostDay, Dimensions, Scope
from budgetd.money import EXACT, ZERO, quotient, times
from budgetd.period import DAY, Period, midnight
from budgetd.recent import Recent, by_scope
from budgetd.scope import Lens, Naming, View, undated

Ranking = tuple[tuple[Decimal, Scope], ...]


class Spend:
    """Exact dollars by view, UTC day and scope. Cost lines are added up on arrival and not kept.

    `through` is the instant up to which the data is complete. Every amount is the same for every order of arrival.
    `recent` has the newest days by hours and minutes.
    """

    def __init__(self, views: Iterable[View], naming: Naming) -> None:
        self.naming = naming
        self.through: datetime | None = None
        self._lenses = {view: Lens(view, naming) for view in views}
        self.recent = Recent(self._lenses)
        self._days: dict[date, dict[View, dict[Scope, Decimal]]] = {}
        self._latest: date | None = None
        self._kinds: dict[date, tuple[Basis, bool]] = {}
        self._rankings: dict[tuple[View, Period], Ranking] = {}
        self._totals: dict[tuple[View, Period], Mapping[Scope, Decimal]] = {}
        self._covered: dict[tuple[Period, datetime], bool] = {}
        self._bases: dict[Period, Basis] = {}

    def replace(self, day: CostDay) -> bool:
        """Take a day's cost lines in place of what was known of that day. Whether that changes anything."""
        amounts = {view: by_scope(lens, day.lines) for view, lens in self._lenses.items()}
        kind = (day.basis, day.complete)  # that a day has closed is news, also when nothing was spent since
        if amounts == self._days.get(day.day) and kind == self._kinds[day.day]:
            return False
        self._days[day.day] = amounts
        self._latest = max(day.day, self._latest or day.day)
        self._kinds[day.day] = kind
        for kept in (self._rankings, self._totals):
            for key in [key for key in kept if key[1].holds(day.day)]:
                del kept[key]
        self._covered.clear()
        self._bases.clear()
        return True

    def accepts(self, day: CostDay, through: datetime) -> bool:
        """Whether the day's cost lines, of a reading that goes up to `through`, may take the place of what is known.

        Nothing but a newer bill takes the place of a closed day's bill; nor does the part of a bill take that of
        estimates that reach further.
        """
        if day.basis is Basis.BILLED and day.complete:
            return True
        if self.is_billed(day.day):
            return False
        known, _ = self._kinds.get(day.day, (Basis.BILLED, False))
        gives_way = day.basis is Basis.BILLED and known is not Basis.BILLED
        return not gives_way or self.through is None or through > self.through

    def lens(self, view: View) -> Lens:
        """The view's lens, for looking at single cost lines."""
        return self._lenses[view]

    def latest(self) -> date | None:
        """The newest UTC day that anything is known of, also if it is not over."""
        return self._latest

    def is_billed(self, day: date) -> bool:
        """Whether the UTC day is closed and its bill is known."""
        return self._kinds.get(day) == (Basis.BILLED, True)

    def is_closed(self, day: date) -> bool:
        """Whether all of the UTC day is known, billed or estimated."""
        return self._kinds.get(day, (Basis.BILLED, False))[1]

    def billed_through(self) -> datetime | None:
        """The end of the newest UTC day whose bill is known; None without any."""
        billed = [day for day in self._kinds if self.is_billed(day)]
        return midnight(max(billed) + DAY) if billed else None

    def knows(self, days: Iterable[date]) -> bool:
        """Whether every one of the UTC days is known."""
        return all(day in self._days for day in days)

    def covers(self, period: Period) -> bool:
        """Whether every day of the period up to the end of the data is known, and there is such a day."""
        if self.through is None:
            return False
        key = (period, self.through)
        if key not in self._covered:
            past = [day for day in period.days() if Period(period.start, self.through).holds(day)]
            self._covered[key] = bool(past) and self.knows(past)
        return self._covered[key]

    def basis(self, period: Period) -> Basis:
        """Whether the period's amounts are billed, estimated, or both."""
        if period not in self._bases:
            self._bases[period] = self._basis(period)
        return self._bases[period]

    def _basis(self, period: Period) -> Basis:
        found = {self._kinds[day][0] for day in period.days() if day in self._kinds}
        return found.pop() if len(found) == 1 else (Basis.MIXED if found else Basis.BILLED)

    def on(self, view: View, day: date) -> Mapping[Scope, Decimal]:
        """One UTC day's dollars by scope; empty for a day without cost. Raises KeyError for a day that is not known."""
        return self._days[day][view]

    def totals(self, view: View, period: Period) -> Mapping[Scope, Decimal]:
        """The period's dollars by scope, over the days that are known."""
        key = (view, period)
        known = self._totals.get(key)
        if known is None:
            known = self._totals[key] = self._add_up(view, period)
        return known

    def ranking(self, view: View, period: Period) -> Ranking:
        """The period's (dollars, scope), the largest first."""
        key = (view, period)
        known = self._rankings.get(key)
        if known is None:
            amounts = ((amount, scope) for scope, amount in self.totals(view, period).items())
            known = self._rankings[key] = tuple(sorted(amounts, reverse=True))
        return known

    def _add_up(self, view: View, period: Period) -> Mapping[Scope, Decimal]:
        parts = [self._days[day][view] for day in period.days() if day in self._days]
        if len(parts) == 1:
            return parts[0]
        sums: dict[Scope, Decimal] = {}
        add = EXACT.add
        for part in parts:
            for scope, amount in part.items():
                sums[scope] = add(sums.get(scope, ZERO), amount)
        return sums


# What a contributors' question is about: the view, the scope in it, the period.
Question = tuple[View, Scope, Period]


def contributors(
    questions: Iterable[Question], spend: Spend, days: Iterable[CostDay]
) -> dict[Question, tuple[Contributor, ...]]:
    """What each question's amount is made of, by model and token type, the largest first.

    Reads the cost lines once for all questions; costs that have no model stand under their cost type. Of a period that
    is a part of a day it is dollars an hour, from the parts that lie wholly within it.
    """
    asked = tuple(questions)
    whole = [question for question in asked if not question[2].is_part_of_a_day]
    sums = _added_up(whole, spend, ((Period(midnight(day.day), midnight(day.day + DAY)), day.lines) for day in days))
    rates = [question for question in asked if question[2].is_part_of_a_day]
    parts = ((Period(part.start, part.end), part.lines) for part in spend.recent.parts)
    sums |= {question: _an_hour(question[2], dollars) for question, dollars in _added_up(rates, spend, parts).items()}
    return {question: _largest_first(parts) for question, parts in sums.items()}


_Sums = dict[tuple[str | None, str | None], Decimal]


def _added_up(
    questions: Iterable[Question], spend: Spend, parts: Iterable[tuple[Period, Mapping[Dimensions, Decimal]]]
) -> dict[Question, _Sums]:
    sums: dict[Question, _Sums] = {question: {} for question in questions}
    for period, lines in parts if sums else ():
        asked = _index(question for question in sums if _holds(question[2], period))
        for view, by_scope_of_view in asked.items():
            lens = spend.lens(view)
            for dimensions, amount in lines.items():
                for question in (q for scope in lens.scopes(dimensions) for q in by_scope_of_view.get(scope, ())):
                    model = undated(dimensions.model) if dimensions.model is not None else None
                    part = (model, dimensions.token_type or (dimensions.cost_type if model is None else None))
                    sums[question][part] = EXACT.add(sums[question].get(part, ZERO), amount)
    return sums


def _holds(outer: Period, inner: Period) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end


def _an_hour(period: Period, dollars: _Sums) -> _Sums:
    seconds = int((period.end - period.start).total_seconds())
    return {part: quotient(times(amount, Decimal(3600)), seconds) for part, amount in dollars.items()}


def _index(questions: Iterable[Question]) -> dict[View, dict[Scope, list[Question]]]:
    found: dict[View, dict[Scope, list[Question]]] = {}
    for question in questions:
        found.setdefault(question[0], {}).setdefault(question[1], []).append(question)
    return found


def _largest_first(parts: Mapping[tuple[str | None, str | None], Decimal]) -> tuple[Contributor, ...]:
    ordered = sorted(parts.items(), key=lambda item: (-item[1], str(item[0])))
    return tuple(Contributor(model, token_type, amount) for (model, token_type), amount in ordered)
