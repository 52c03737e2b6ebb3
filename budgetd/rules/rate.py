"""`rate`: dollars an hour over the last minutes against a limit; for pages, from same-day spend."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from itertools import takewhile
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, WithJsonSchema

from budgetd.fields import mistake, stretch
from budgetd.model import Finding, Pace, Scope
from budgetd.money import ZERO, add, quotient, times
from budgetd.period import Calendar, Period
from budgetd.rules.limits import Limited, Steps
from budgetd.spend import Spend

RATE_STEPS = Steps((Decimal(1), Decimal(2)), every=Decimal(1))
# Below five minutes a single large request would be a runaway; half a day is no rate any more.
_MINUTE = timedelta(minutes=1)
_SHORTEST, _LONGEST = 5 * _MINUTE, timedelta(hours=12)
_HOUR = Decimal(3600)
_MONTH, _DAY = Calendar("month"), Calendar("day")


def _window(value: Any) -> timedelta:
    wanted = "a stretch of time from 5m to 12h, such as 15m or 1h"
    length = value if isinstance(value, timedelta) else stretch(value, wanted)
    if not _SHORTEST <= length <= _LONGEST or length % _MINUTE:
        raise mistake(f"expected {wanted}, not {value!r}")
    return length


def _per(value: Any) -> Any:
    if value != "hour":
        raise mistake("a rate is in dollars an hour: per: hour", word=str(value), choices=("hour",))
    return value


Window = Annotated[
    timedelta,
    BeforeValidator(_window),
    WithJsonSchema(
        {"type": "string", "pattern": "^[1-9][0-9]{0,2}[mh]$", "description": "over how long the rate is taken: 15m"}
    ),
]


class Rate(Limited):
    """Spend goes at so many dollars an hour, or more, for as long as the window."""

    usual_steps: ClassVar[Steps] = RATE_STEPS

    type: Literal["rate"]
    per: Annotated[Literal["hour"], BeforeValidator(_per)]
    window: Window = 15 * _MINUTE

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        if self.basis == "billed":
            raise mistake("a rate is taken over the last minutes, and no bill is that new", at="basis")

    @property
    def kind(self) -> str:
        return self.type

    @property
    def calendar(self) -> Calendar:
        return Calendar("window", length=self.window // _MINUTE)

    @property
    def history(self) -> int:
        return _MONTH.longest

    def current(self, spend: Spend) -> Period | None:
        """The window that ends with the newest part of a day; a whole hour where only hours are known."""
        return spend.recent.window(self.window)

    def owns(self, scope: Scope, period: Period) -> bool:
        """Every stretch of this length, or of the hour that stood in for it."""
        return self.splits(scope) and period.is_part_of_a_day

    def findings(self, spend: Spend, period: Period, watched: Collection[Scope]) -> Iterator[Finding]:
        """Says nothing of a window with a gap, nor of one that ends before the data does: after a start the sources
        have yet to tell the newest parts again. A watched scope is as fast as it was in the fastest window that ends
        within this one: a calm minute between two bursts is no end.
        """
        if not spend.recent.covers(period) or (spend.through is not None and period.end < spend.through):
            return
        rates = _hourly(spend.recent.totals(self.view(), period), period)
        for scope in sorted({*(scope for scope, rate in rates.items() if rate >= self.lowest), *watched}):
            rate, limit = rates.get(scope, ZERO), self.limit_of(scope, spend)
            reached = self.ladder.reached(rate, limit)
            if scope in watched and not reached:
                rate = self._fastest(spend, scope, period)
                reached = self.ladder.reached(rate, limit)[:1]
            if reached or scope in watched:
                yield Finding(
                    rule=self.id,
                    scope=scope,
                    period=period,
                    amount=rate,
                    limit=limit,
                    reached=reached,
                    basis=spend.recent.basis(period),
                    pace=self._pace(spend, scope, period, rate, limit),
                )

    def _stretches(self, spend: Spend, scope: Scope) -> Iterator[tuple[Period, Decimal]]:
        """The windows that end with each part, the newest first, and their dollars an hour."""
        for window, dollars in spend.recent.stretches(self.view(), scope, self.window):
            yield window, _an_hour(dollars, window)

    def _fastest(self, spend: Spend, scope: Scope, period: Period) -> Decimal:
        windows = takewhile(lambda each: each[0].end > period.start, self._stretches(spend, scope))
        return max(rate for _, rate in windows)

    def _pace(self, spend: Spend, scope: Scope, period: Period, rate: Decimal, limit: Decimal) -> Pace:
        lowest = times(limit, self.ladder.shares[0])
        above = takewhile(lambda each: each[1] >= lowest, self._stretches(spend, scope))
        return Pace(
            since=min((window.end for window, _ in above), default=period.end),
            by_midnight=self._going_on(spend, scope, rate, period, _DAY),
            by_month_end=self._going_on(spend, scope, rate, period, _MONTH),
        )

    def _going_on(self, spend: Spend, scope: Scope, rate: Decimal, window: Period, calendar: Calendar) -> Decimal:
        """What the scope's day or month will have cost at its end: what it cost so far, and the rate until then."""
        whole = calendar.holding((window.end - timedelta(microseconds=1)).date())
        spent = spend.totals(self.view(), whole).get(scope, ZERO)
        return add(spent, quotient(times(rate, _seconds(whole.end - window.end)), _HOUR))


def _hourly(dollars: Mapping[Scope, Decimal], period: Period) -> dict[Scope, Decimal]:
    return {scope: _an_hour(amount, period) for scope, amount in dollars.items()}


def _an_hour(dollars: Decimal, period: Period) -> Decimal:
    return quotient(times(dollars, _HOUR), _seconds(period.end - period.start))


def _seconds(length: timedelta) -> Decimal:
    return Decimal(length // timedelta(seconds=1))
