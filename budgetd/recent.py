"""The newest days by parts: hours and minutes as each source tells them, joined, and dollars over a part of a day."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from budgetd.model import Basis, CostDay, CostSlice, Dimensions, Report, Scope
from budgetd.money import EXACT, ZERO, quotient, times
from budgetd.period import DAY, Period, midnight
from budgetd.scope import Lens, View

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Parts:
    """What is known of the parts of days without a bill: `priced` by the vendor, and `estimated` from tokens.

    Neither overlaps itself. `estimates` are those days as a whole, as they were last estimated.
    """

    priced: tuple[CostSlice, ...] = ()
    estimated: tuple[CostSlice, ...] = ()
    estimates: Mapping[date, CostDay] = field(default_factory=dict)

    def after(self, report: Report) -> Parts:
        """What is known after a reading. One that has no parts of days changes nothing."""
        if not report.slices:
            return self
        if report.slices[0].basis is Basis.BILLED:
            return replace(self, priced=report.slices)
        kept = {day: estimate for day, estimate in self.estimates.items() if day >= report.start}
        return replace(self, estimated=report.slices, estimates={**kept, **{day.day: day for day in report.days}})

    def joined(self) -> tuple[CostSlice, ...]:
        """One line of parts, the oldest first: what the vendor has priced, and estimates only beside that."""
        if not self.priced or not self.estimated:
            return self.priced or self.estimated
        start, end = self.priced[0].start, self.priced[-1].end
        before = tuple(part for part in self.estimated if part.end <= start)
        after = tuple(part for part in self.estimated if part.start >= end)
        return (*before, *self.priced, *after)

    def days(self, report: Report, before: Parts) -> tuple[CostDay, ...]:
        """The days that a reading has news of, `before` being what was known until then.

        Estimates give way to the hours that the vendor has priced, also when those come later.
        """
        if not report.slices or (report.days and report.slices[0].basis is Basis.BILLED):
            return report.days
        priced = {part.start.date() for part in self.priced} if self.priced != before.priced else set()
        news = {day.day: day for day in report.days}
        return tuple(
            self._composed(day, news.get(day) or self.estimates.get(day)) for day in sorted(priced | news.keys())
        )

    def _composed(self, day: date, estimate: CostDay | None) -> CostDay:
        """The day as far as the vendor has priced it, and the estimate of the rest. It is not the bill yet."""
        period = Period(midnight(day), midnight(day + DAY))
        inside = [part for part in self.joined() if _within(part, period)]
        if estimate is None:
            return CostDay(day, _summed(part.lines for part in inside), Basis.BILLED, complete=False)
        if all(part.basis is Basis.ESTIMATED for part in inside):
            return estimate
        return CostDay(day, _summed(part.lines for part in inside), Basis.MIXED, estimate.complete)


@dataclass(slots=True)
class _Sums:
    """Dollars by scope of each part, as long as the part is the same object."""

    lens: Lens
    known: dict[datetime, tuple[CostSlice, Mapping[Scope, Decimal]]] = field(default_factory=dict)

    def of(self, part: CostSlice) -> Mapping[Scope, Decimal]:
        found = self.known.get(part.start)
        if found is None or found[0] is not part:
            found = self.known[part.start] = part, by_scope(self.lens, part.lines)
        return found[1]


class Recent:
    """Exact dollars by view and scope over parts of the newest days. Only parts that are over are looked at.

    What is added up is kept until the part changes, so that a poll costs its new minutes only.
    """

    def __init__(self, lenses: Mapping[View, Lens]) -> None:
        self.parts: tuple[CostSlice, ...] = ()
        self._lenses = lenses
        self._sums: dict[View, _Sums] = {}

    def take(self, parts: Sequence[CostSlice], through: datetime) -> None:
        """These are all the parts now; what ends after `through` is not over."""
        self.parts = tuple(part for part in parts if part.end <= through)
        starts = {part.start for part in self.parts}
        for sums in self._sums.values():
            for start in sums.known.keys() - starts:
                del sums.known[start]

    def window(self, length: timedelta) -> Period | None:
        """The last stretch of that length, or the last part if that is longer; None when nothing is known."""
        if not self.parts:
            return None
        last = self.parts[-1]
        return Period(min(last.end - length, last.start), last.end)

    def covers(self, period: Period) -> bool:
        """Whether the parts leave no gap in the period."""
        inside = self._overlapping(period)
        if not inside or inside[0].start > period.start or inside[-1].end < period.end:
            return False
        return all(part.end == after.start for part, after in pairwise(inside))

    def basis(self, period: Period) -> Basis:
        """Whether the period's amounts are the vendor's own, estimated, or both."""
        found = {part.basis for part in self._overlapping(period)}
        return found.pop() if len(found) == 1 else Basis.MIXED

    def totals(self, view: View, period: Period) -> dict[Scope, Decimal]:
        """The period's dollars by scope. Of a part that lies only partly within, its share of the time counts."""
        sums: dict[Scope, Decimal] = {}
        add, kept = EXACT.add, self._kept(view)
        for part in self._overlapping(period):
            for scope, amount in kept.of(part).items():
                sums[scope] = add(sums.get(scope, ZERO), _share(amount, part, period))
        return sums

    def stretches(self, view: View, scope: Scope, length: timedelta) -> Iterator[tuple[Period, Decimal]]:
        """The dollars of the stretch of that length that ends with each part, the newest first.

        A part that is longer than that is a stretch of its own.
        """
        kept = self._kept(view)
        known = [(part, kept.of(part).get(scope, ZERO)) for part in self.parts]
        for last in range(len(known) - 1, -1, -1):
            part = known[last][0]
            period, dollars = Period(min(part.end - length, part.start), part.end), ZERO
            for earlier, amount in reversed(known[: last + 1]):
                if earlier.end <= period.start:
                    break
                dollars = EXACT.add(dollars, _share(amount, earlier, period))
            yield period, dollars

    def _kept(self, view: View) -> _Sums:
        found = self._sums.get(view)
        if found is None:
            found = self._sums[view] = _Sums(self._lenses[view])
        return found

    def _overlapping(self, period: Period) -> list[CostSlice]:
        return [part for part in self.parts if part.start < period.end and part.end > period.start]


def by_scope(lens: Lens, lines: Mapping[Dimensions, Decimal]) -> dict[Scope, Decimal]:
    """The lines' dollars by the scopes that they count towards."""
    sums: dict[Scope, Decimal] = {}
    add, scopes = EXACT.add, lens.scopes
    for dimensions, amount in lines.items():
        for scope in scopes(dimensions):
            sums[scope] = add(sums.get(scope, ZERO), amount)
    return sums


def _share(amount: Decimal, part: CostSlice, period: Period) -> Decimal:
    inside = min(part.end, period.end) - max(part.start, period.start)
    whole = part.end - part.start
    if inside == whole:
        return amount
    return quotient(times(amount, Decimal(inside // _SECOND)), whole // _SECOND)


def _within(part: CostSlice, period: Period) -> bool:
    return period.start <= part.start and part.end <= period.end


def _summed(lines: Iterable[Mapping[Dimensions, Decimal]]) -> dict[Dimensions, Decimal]:
    sums: dict[Dimensions, Decimal] = {}
    for each in lines:
        for about, amount in each.items():
            before = sums.get(about)
            sums[about] = amount if before is None else EXACT.add(before, amount)
    return sums
