"""What is known of spend, kept in step with the state: the indexes, the parts of days, and which days are news."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from budgetd import estimates
from budgetd.model import Basis, CostDay, Drift, Report
from budgetd.period import DAY
from budgetd.recent import Parts
from budgetd.rules import Indexes, Rule, history_needed
from budgetd.scope import Naming
from budgetd.store import Memory, StateReader


@dataclass(frozen=True, slots=True)
class Intake:
    """What a reading brought: the `days` to keep, those on which it `changed` an amount, how far estimates were off.

    `billed_before`: how far the bill reached before it.
    """

    days: tuple[CostDay, ...] = ()
    changed: frozenset[date] = frozenset()
    drifts: tuple[Drift, ...] = ()
    billed_before: datetime | None = None


class Ledger:
    """Takes readings into the indexes. It reads the state and writes nothing.

    `parts` are of memory only: after a start the sources tell them again.
    """

    def __init__(self, state: StateReader) -> None:
        self._state = state
        self._indexes: Indexes | None = None
        self._billed_through: datetime | None = None
        self.parts = Parts()

    @property
    def billed_through(self) -> datetime | None:
        """How far the bill reaches, whichever source it comes from; None before anything was opened. For any thread."""
        return self._billed_through

    def open(self, rules: tuple[Rule, ...], naming: Naming, memory: Memory) -> Indexes:
        """The indexes under the present meaning of names; rebuilt from the state when that changed."""
        if self._indexes is None or self._indexes.every.naming != naming:
            self._indexes = Indexes(rules, naming)
            if memory.through is not None:
                last = memory.through.date()
                for day in self._state.cost_days(last - DAY * (history_needed(rules) + 31), last + DAY):
                    self._indexes.replace(day)
                self._reach(self._indexes, memory.through)
        return self._indexes

    def take(self, indexes: Indexes, report: Report | None) -> Intake:
        """Put what was read into the indexes; what is not to be kept of it is left out."""
        before = indexes.every.billed_through()
        if report is None:
            self._billed_through = before
            return Intake(billed_before=before)
        days = self._accepted(indexes, report)
        drifts = self._drifts(indexes, days)
        changed = frozenset(day.day for day in days if indexes.replace(day))
        self._reach(indexes, report.through)
        return Intake(days, changed, drifts, before)

    def close(self) -> None:
        """Begin anew from the state at the next opening: the rules are others, or what was taken was not kept."""
        self._indexes = None

    def _reach(self, indexes: Indexes, through: datetime) -> None:
        indexes.reach(through)
        self._billed_through = indexes.every.billed_through()
        indexes.every.recent.take(self.parts.joined(), indexes.every.through or through)

    def _accepted(self, indexes: Indexes, report: Report) -> tuple[CostDay, ...]:
        """The days that are to be kept; what the vendor has priced of a day without a bill is in place of estimates."""
        before, self.parts = self.parts, self.parts.after(report)
        days = self.parts.days(report, before)
        return tuple(day for day in days if indexes.every.accepts(day, report.through))

    def _drifts(self, indexes: Indexes, days: Iterable[CostDay]) -> tuple[Drift, ...]:
        """Of the days that now have their first bill, and were known as a whole before."""
        billed = [
            day for day in days if day.basis is Basis.BILLED and day.complete and not indexes.every.is_billed(day.day)
        ]
        kept = {day.day: day for bill in billed for day in self._state.cost_days(bill.day, bill.day + DAY)}
        whole = {day for day, known in kept.items() if known.basis is not Basis.BILLED and known.complete}
        return tuple(estimates.drift(kept[bill.day], bill) for bill in billed if bill.day in whole)
