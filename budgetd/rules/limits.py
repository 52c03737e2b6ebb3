"""What rules with an absolute limit share: the limit, whose own limit differs, and the steps that are announced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from budgetd.fields import Money, Share, mistake
from budgetd.model import Scope
from budgetd.money import add, canonical, subtract, times, whole_times
from budgetd.rules.base import Rule
from budgetd.scope import matches
from budgetd.spend import Spend


@dataclass(frozen=True, slots=True)
class Steps:
    """Shares of a limit that are announced, lowest first; `every` repeats beyond the last one."""

    shares: tuple[Decimal, ...]
    every: Decimal | None = None

    def reached(self, amount: Decimal, limit: Decimal) -> tuple[Decimal, ...]:
        """The steps at or below the amount; of those beyond the last share only the highest."""
        found = tuple(share for share in self.shares if amount >= times(limit, share))
        if self.every is None or len(found) < len(self.shares):
            return found
        last = self.shares[-1]
        beyond = whole_times(subtract(amount, times(limit, last)), times(limit, self.every))
        return (*found, add(last, times(beyond, self.every))) if beyond >= 1 else found


def _rising(value: tuple[Decimal, ...] | None) -> tuple[Decimal, ...] | None:
    if value is not None and any(later <= earlier for earlier, later in pairwise(value)):
        raise mistake("steps must rise: [50%, 80%, 100%]")
    return value


class Limited(Rule):
    """A rule that looks at an amount and an absolute limit."""

    usual_steps: ClassVar[Steps]

    limit: Money
    limits: Mapping[str, Money] = Field(
        default_factory=dict,
        description="where a value's own limit differs; names, ids or globs of the for_each dimension",
    )
    steps: Annotated[tuple[Share, ...], AfterValidator(_rising), Field(min_length=1)] | None = None

    def model_post_init(self, context: Any, /) -> None:
        if self.limits and not self.for_each:
            raise mistake(
                "limits needs for_each: without it there is only one value, and limit is its limit", at="limits"
            )

    @cached_property
    def stakes(self) -> str:
        own = sorted((name, canonical(limit)) for name, limit in self.limits.items())
        return str((canonical(self.limit), own, [canonical(share) for share in self.steps or ()]))

    @property
    def ladder(self) -> Steps:
        """The steps of the rule: its own, or those of its type, which go on for ever."""
        return Steps(self.steps) if self.steps is not None else self.usual_steps

    @cached_property
    def lowest(self) -> Decimal:
        """The amount below which no step of any scope is reached."""
        return times(min((self.limit, *self.limits.values())), self.ladder.shares[0])

    def limit_of(self, scope: Scope, spend: Spend) -> Decimal:
        """The scope's limit: the first entry of `limits` that names it, exact names before globs."""
        if not self.limits:
            return self.limit
        texts = [text for dimension, value in scope for text in spend.naming.called(dimension, value)]
        exact = (self.limits[text] for text in texts if text in self.limits)
        globs = (limit for glob, limit in self.limits.items() if any(matches(glob, text) for text in texts))
        return next(exact, None) or next(globs, self.limit)
