"""`cap`: spend in a period against an absolute limit, announced step by step."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from decimal import Decimal
from typing import ClassVar, Literal

from budgetd.fields import Per
from budgetd.model import Finding, Scope
from budgetd.money import ZERO
from budgetd.period import Calendar, Period
from budgetd.rules.limits import Limited, Steps
from budgetd.spend import Spend

DEFAULT_STEPS = Steps(tuple(Decimal(share) for share in ("0.8", "1", "1.2", "1.5", "2")), every=Decimal("0.5"))


class Cap(Limited):
    """Spend in a period reaches shares of an absolute limit."""

    usual_steps: ClassVar[Steps] = DEFAULT_STEPS

    type: Literal["cap"]
    per: Per

    @property
    def kind(self) -> str:
        return self.type

    @property
    def calendar(self) -> Calendar:
        return self.per

    @property
    def history(self) -> int:
        return self.per.longest

    def findings(self, spend: Spend, period: Period, watched: Collection[Scope]) -> Iterator[Finding]:
        """Walks the scopes from the largest amount down and stops below the lowest step of the lowest limit."""
        amounts: dict[Scope, Decimal] = {}
        for amount, scope in spend.ranking(self.view(), period):
            if amount < self.lowest:
                break
            amounts[scope] = amount
        if watched:
            totals = spend.totals(self.view(), period)
            amounts.update((scope, totals.get(scope, ZERO)) for scope in watched)
        if not amounts:
            return
        complete, basis = spend.covers(period), spend.basis(period)
        for scope, amount in amounts.items():
            limit = self.limit_of(scope, spend)
            reached = self.ladder.reached(amount, limit)
            if reached or scope in watched:
                yield Finding(
                    rule=self.id,
                    scope=scope,
                    period=period,
                    amount=amount,
                    limit=limit,
                    reached=reached,
                    complete=complete,
                    basis=basis,
                )
