"""`spike`: a closed day against earlier closed days."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema

from budgetd.fields import Factor, MoneyOrNothing, days, mistake, single_entry
from budgetd.model import Comparison, Finding, Scope
from budgetd.money import ZERO, add, canonical, quotient, times, total
from budgetd.period import DAY, Calendar, Period
from budgetd.rules.base import Rule
from budgetd.scope import View
from budgetd.spend import Spend

ONE = Decimal(1)
DAILY = Calendar("day")


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a day is measured against: which earlier days (counted back from it), and how they become one amount."""

    words: str
    days_back: tuple[int, ...]
    combine: Callable[[list[Decimal]], Decimal]


def _mean(amounts: list[Decimal]) -> Decimal:
    return quotient(total(amounts), len(amounts))


def _median(amounts: list[Decimal]) -> Decimal:
    ordered = sorted(amounts)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return quotient(add(ordered[middle - 1], ordered[middle]), 2)


_WORDS = ("yesterday", "same_weekday")
_KEYS = ("mean", "median")


def _against(value: Any) -> Baseline:
    wanted = "yesterday, same_weekday, {mean: 7d} or {median: 28d}"
    if isinstance(value, Baseline):
        return value
    if value == "yesterday":
        return Baseline("the day before", (1,), _mean)
    if value == "same_weekday":
        return Baseline("the same weekday a week before", (7,), _mean)
    if value == "usual":
        raise mistake(f"usual is not in this version of budgetd; expected {wanted}")
    if isinstance(value, str):
        raise mistake(f"expected {wanted}, not {value[:40]!r}", word=value, choices=_WORDS)
    key, length = single_entry(value, wanted)
    if key not in _KEYS:
        raise mistake(f"expected {wanted}, not {key[:40]!r}", at=key, word=key, choices=_KEYS)
    count = days(length)
    back = tuple(range(1, count + 1))
    return Baseline(f"the {key} of the {count} days before", back, _mean if key == "mean" else _median)


_LENGTH = {"type": "string", "pattern": "^[1-9][0-9]{0,2}d$"}
Against = Annotated[
    Baseline,
    BeforeValidator(_against),
    WithJsonSchema(
        {
            "description": "what a day is compared with",
            "anyOf": [
                {"enum": list(_WORDS)},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "minProperties": 1,
                    "maxProperties": 1,
                    "properties": {"mean": _LENGTH, "median": _LENGTH},
                },
            ],
        }
    ),
]


class Spike(Rule):
    """A closed day's spend is a multiple of earlier days' and above them by an amount worth a message."""

    type: Literal["spike"]
    against: Against
    factor: Factor = Decimal(2)
    at_least: MoneyOrNothing = Decimal(50)

    @property
    def kind(self) -> str:
        return self.type

    @property
    def calendar(self) -> Calendar:
        return DAILY

    @property
    def history(self) -> int:
        return max(self.against.days_back) + 1

    @cached_property
    def stakes(self) -> str:
        return str((self.against.words, canonical(self.factor), canonical(self.at_least)))

    def findings(self, spend: Spend, period: Period, watched: Collection[Scope]) -> Iterator[Finding]:
        """Says nothing unless every day that it is compared with is known.

        A running day counts only once it exceeds what the whole day would need; it never ends an incident.
        """
        view, day = self.view(), period.start.date()
        candidates = self._candidates(spend, view, period, watched)
        if not candidates or spend.through is None:
            return
        closed = spend.through >= period.end
        earlier = [day - DAY * back for back in self.against.days_back]
        if not spend.covers(period) or not spend.knows(earlier):
            return
        for scope, amount in candidates.items():
            baseline = self._baseline(spend, view, earlier, scope)
            limit = max(times(baseline, self.factor), add(baseline, self.at_least))
            over = amount >= limit and amount > baseline
            if over or scope in watched:
                yield Finding(
                    rule=self.id,
                    scope=scope,
                    period=period,
                    amount=amount,
                    limit=limit,
                    reached=(ONE,) if over else (),
                    complete=closed,
                    basis=spend.basis(period),
                    comparison=Comparison(self.against.words, baseline, self.factor),
                )

    def compared_days(self, spend: Spend, day: date, scope: Scope) -> list[date]:
        """The UTC days that the scope's baseline of that day is the mean of; of a median those in the middle.

        Raises KeyError when one of the earlier days is not known.
        """
        earlier = [day - DAY * back for back in self.against.days_back]
        if self.against.combine is not _median:
            return earlier
        view = self.view()
        earlier.sort(key=lambda each: max(spend.on(view, each).get(scope, ZERO), ZERO))
        return earlier[(len(earlier) - 1) // 2 : len(earlier) // 2 + 1]

    def _candidates(
        self, spend: Spend, view: View, period: Period, watched: Collection[Scope]
    ) -> Mapping[Scope, Decimal]:
        """The scopes that could be over: no baseline is below zero, so none with less than `at_least` is."""
        found: dict[Scope, Decimal] = {}
        for amount, scope in spend.ranking(view, period):
            if amount < self.at_least:
                break
            found[scope] = amount
        totals = spend.totals(view, period)
        found.update((scope, totals.get(scope, ZERO)) for scope in watched)
        return found

    def _baseline(self, spend: Spend, view: View, earlier: list[date], scope: Scope) -> Decimal:
        """A day on which the scope cost nothing counts as $0; a day of credits does too."""
        return self.against.combine([max(spend.on(view, day).get(scope, ZERO), ZERO) for day in earlier])
