"""What can be known of spend, by a naive reading: what each poll was served, and what follows from all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction

from budgetd.period import DAY, midnight
from tests.sameday_simulation.company import HOUR, MINUTE, SETTLED, Amounts, Company

BILL, USAGE, ANALYTICS = "cost_report", "usage_report", "analytics"
WEEK = timedelta(days=6)


@dataclass(frozen=True)
class Day:
    """What is known of a UTC day. `counted`: dollars of it that the usage report can know."""

    amounts: Amounts
    basis: str
    complete: bool
    counted: Fraction = Fraction(0)


@dataclass(frozen=True)
class Used:
    """A reading of the usage report, of the days from `first` on: hours until `split`, minutes until `shown`."""

    at: datetime
    first: date
    split: datetime
    counted: datetime
    shown: datetime

    @property
    def last(self) -> date:
        return self.at.date()


@dataclass(frozen=True)
class Priced:
    """A reading of the analytics: the hours from `first` to `through`, as they were at `as_of`."""

    first: date
    through: datetime
    as_of: datetime


@dataclass(frozen=True)
class Part:
    """A part of a UTC day."""

    start: datetime
    end: datetime
    basis: str
    amounts: Amounts
    counted: Fraction = Fraction(0)


@dataclass
class Books:
    """The days, billed and not, and the parts of the newest ones; `through`: how far the data reaches.

    `used` and `priced` are what this process has read last; the days are kept from one process to the next.
    """

    company: Company
    days: dict[date, Day] = field(default_factory=dict)
    through: datetime | None = None
    used: Used | None = None
    priced: Priced | None = None
    complete: dict[date, bool] = field(default_factory=dict)
    bill_ends: datetime | None = None
    _parts: dict[tuple[datetime, datetime, datetime, datetime | None], Part] = field(default_factory=dict)
    _joined: tuple[tuple[Used | None, Priced | None], list[Part]] | None = None

    def restarted(self) -> None:
        """A new process: of parts of days nothing is known until they are read again."""
        self.used = self.priced = None

    @property
    def billed_through(self) -> datetime | None:
        """The end of the newest day with a bill."""
        billed = [day for day, known in self.days.items() if known.basis == "billed" and known.complete]
        return midnight(max(billed) + DAY) if billed else None

    def first_unbilled(self, today: date) -> date:
        """The first day that same-day sources are asked for."""
        billed = self.billed_through
        return min(today, max(billed.date() if billed else today - DAY, today - WEEK))

    # --- readings ------------------------------------------------------------------------------

    def read_bill(self, start: date, end: date, now: datetime) -> set[date]:
        """The bill of the days from `start` to before `end`. What changed."""
        served = [start + DAY * n for n in range((end - start).days)]
        served = [day for day in served if day < now.date() and self.company.world.served(day, now)]
        changed = {day for day in served if self._take(day, self._bill(day, now))}
        self.bill_ends = midnight(max(served) + DAY)
        self._reach(self.bill_ends)
        return changed

    def _bill(self, day: date, now: datetime) -> Day:
        return Day(self.company.bill(day, now), "billed", True, self.company.counted_of(day, now))

    def look_at_usage(self, now: datetime, served: datetime) -> Used:
        """What a reading of the usage report finds, which has what there was at the time `served`."""
        shown, counted = self.company.shown(now, served), self.company.counted(served)
        split = min(now - HOUR, counted).replace(minute=0, second=0)
        return Used(now, self.first_unbilled(now.date()), split, counted, shown)

    def read_usage(self, used: Used) -> set[date]:
        """That reading is kept. What changed."""
        self.used = used
        self._reach(used.shown)
        for number in range((used.last - used.first).days + 1):
            day = used.first + DAY * number
            self.complete[day] = used.at >= midnight(day + DAY) + SETTLED and self._is_told(day)
        return {day for day in self._unbilled(used.first, used.last) if self._compose(day)}

    def _is_told(self, day: date) -> bool:
        """Whether every hour or minute of the day is shown."""
        left_out = self.company.world.manners.leaves_out_unused
        parts = (part for part in self._guessed() if part.start.date() == day and (part.amounts or not left_out))
        return sum((part.end - part.start for part in parts), timedelta()) == DAY

    def read_analytics(self, now: datetime) -> set[date]:
        """The analytics. What changed."""
        as_of = self.company.refreshed(now)
        first, through = self.first_unbilled(now.date()), min(as_of, now).replace(minute=0, second=0)
        further = self.through is None or through > self.through
        if through > midnight(first):
            self.priced = Priced(first, through, as_of)
        changed = set()
        if self.priced is not None:
            last = self.priced.through - timedelta(seconds=1)
            for day in self._unbilled(self.priced.first, last.date()):
                changed |= {day} if self._compose(day, further=further) else set()
        self._reach(through)
        return changed

    def read_analytics_alone(self, now: datetime) -> set[date]:
        """The analytics, where they are all there is: closed days are billed, and the priced hours of today."""
        as_of = self.company.refreshed(now)
        through, today = as_of.replace(minute=0, second=0), now.date()
        start = today.replace(day=1) if today.day > 8 else (today.replace(day=1) - DAY).replace(day=1)
        start = min(start, today - DAY) if self.days else self.company.world.founded
        closed = [start + DAY * n for n in range((through.date() - start).days)]
        changed = {day for day in closed if self._take(day, self._whole(day, as_of))}
        first = self.first_priced(today, through)
        if through > midnight(first):
            self.priced = Priced(first, through, as_of)
        if through > midnight(through.date()):
            amounts = self.company.spent(through.date(), midnight(through.date()), through, as_of)
            changed |= {through.date()} if self._take(through.date(), Day(amounts, "billed", False)) else set()
        self.bill_ends = through
        self._reach(through)
        return changed

    def first_priced(self, today: date, through: datetime) -> date:
        """The first day whose hours are asked for: yesterday, or the one that the data ends in."""
        return min(today, max(min(today - DAY, through.date()), today - WEEK))

    def _whole(self, day: date, as_of: datetime) -> Day:
        return Day(self.company.spent(day, midnight(day), midnight(day + DAY), as_of), "billed", True)

    def _unbilled(self, first: date, last: date) -> Iterator[date]:
        for number in range((last - first).days + 1):
            day = first + DAY * number
            known = self.days.get(day)
            if known is None or not (known.basis == "billed" and known.complete):
                yield day

    def _compose(self, day: date, *, further: bool = False) -> bool:
        """The day by what is known of its parts. Whether it changed."""
        parts = [part for part in self.parts(upto=None) if midnight(day) <= part.start < midnight(day + DAY)]
        own = any(part.basis == "billed" for part in parts)
        known, used = self.days.get(day), self.used
        if used is not None and used.first <= day <= used.last:
            basis = "mixed" if own else "estimated"
            counted = sum((part.counted for part in parts), Fraction(0))
            return self._take(day, Day(_sum(parts), basis, self.complete.get(day, False), counted))
        # The vendor's hours alone take the place of estimates only where they reach further.
        if own and (known is None or known.basis == "billed" or further):
            return self._take(day, Day(_sum(parts), "billed", False))
        return False

    def _take(self, day: date, new: Day) -> bool:
        before, self.days[day] = self.days.get(day), new
        return before is None or _told(before) != _told(new)

    def _reach(self, through: datetime) -> None:
        self.through = max(through, self.through or through)

    # --- parts of days -------------------------------------------------------------------------

    def parts(self, upto: datetime | None) -> list[Part]:
        """The hours and minutes that are known, the vendor's own first; those that are over by `upto`."""
        if self._joined is None or self._joined[0] != (self.used, self.priced):
            own, guessed = list(self._own()), list(self._guessed())
            if own and guessed:
                guessed = [part for part in guessed if part.end <= own[0].start or part.start >= own[-1].end]
            self._joined = (self.used, self.priced), sorted([*own, *guessed], key=lambda part: part.start)
        return [part for part in self._joined[1] if upto is None or part.end <= upto]

    def _own(self) -> Iterator[Part]:
        if self.priced is None:
            return
        start = midnight(self.priced.first)
        while start < self.priced.through:
            yield self._part(start, start + HOUR, start + HOUR, self.priced.as_of)
            start += HOUR

    def _guessed(self) -> Iterator[Part]:
        if self.used is None:
            return
        start, used = midnight(self.used.first), self.used
        end = used.shown + (MINUTE if self.company.world.manners.running_minute else timedelta(0))
        while start < end:
            length = HOUR if start < used.split else MINUTE
            yield self._part(start, start + length, min(start + length, used.counted), None)
            start += length

    def _part(self, start: datetime, end: datetime, counted: datetime, as_of: datetime | None) -> Part:
        key = (start, end, counted, as_of)
        if key not in self._parts:
            amounts = self.company.spent(start.date(), start, counted, as_of)
            known = self.company.counted_between(start, end, as_of) if as_of else sum(amounts.values(), Fraction(0))
            self._parts[key] = Part(start, end, "billed" if as_of else "estimated", amounts, known)
        return self._parts[key]


def _sum(parts: list[Part]) -> Amounts:
    sums: Amounts = {}
    for part in parts:
        for workspace, amount in part.amounts.items():
            sums[workspace] = sums.get(workspace, Fraction(0)) + amount
    return sums


def _told(day: Day) -> tuple[object, ...]:
    return {key: value for key, value in day.amounts.items() if value}, day.basis, day.complete
