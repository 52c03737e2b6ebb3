"""What every rule has: an identity, a scope, severities; and what it must be able to say."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from budgetd.fields import SeverityWord, Share, Words, mistake
from budgetd.model import MATCHABLE, Finding, Scope, Severity
from budgetd.period import Calendar, Period
from budgetd.scope import Selection, View, tag_dimension
from budgetd.spend import Spend

# Below every step that a file can name.
EVERY_STEP = Decimal(0)

_RULE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


def _rule_id(value: Any) -> str:
    if not isinstance(value, str) or _RULE_ID.fullmatch(value) is None:
        raise mistake("a rule's id is 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit")
    return value


def _severities(value: Any) -> Any:
    """One word becomes the severity of every step; a mapping is read step by step."""
    return {EVERY_STEP: value} if isinstance(value, str) else value


def _basis(value: Any) -> Any:
    choices = ("any", "billed")
    if value not in choices:
        raise mistake(f"expected any or billed, not {str(value)[:40]!r}", word=str(value), choices=choices)
    return value


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        raise mistake("the same dimension twice")
    return value


def _dimensions(value: tuple[str, ...]) -> tuple[str, ...]:
    for index, word in enumerate(value):
        if word not in MATCHABLE:
            message = f"{word[:40]!r} is not a dimension; they are {', '.join(MATCHABLE)}"
            raise mistake(message, at=index, word=word, choices=MATCHABLE)
    return _distinct(value)


class Matcher(BaseModel):
    """Which cost lines: every dimension named must match one of its patterns (`*` and `?` are wildcards)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workspace: Words | None = None
    group: Words | None = None
    model: Words | None = None
    cost_type: Words | None = None
    token_type: Words | None = None
    service_tier: Words | None = None
    context_window: Words | None = None
    inference_geo: Words | None = None
    speed: Words | None = None
    description: Words | None = None
    tags: Annotated[Mapping[str, Words], Field(min_length=1)] | None = Field(
        default=None, description="tags that the workspace carries, each with one of these values: {env: prod}"
    )

    def selection(self) -> Selection:
        """The matcher as plain values, in a fixed order, so that equal matchers are one view."""
        named = ((dimension, getattr(self, dimension)) for dimension in MATCHABLE)
        tagged = ((tag_dimension(tag), patterns) for tag, patterns in sorted((self.tags or {}).items()))
        return (*((dimension, patterns) for dimension, patterns in named if patterns is not None), *tagged)


SeverityBySteps = Annotated[
    Mapping[Share, SeverityWord],
    BeforeValidator(_severities),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [severity.value for severity in Severity]},
                {
                    "type": "object",
                    "patternProperties": {r"^[0-9]+(\.[0-9]+)? ?%$": {"enum": [s.value for s in Severity]}},
                    "additionalProperties": False,
                },
            ],
            "description": "one word, or a word from a step on: {50%: info, 100%: critical}",
        }
    ),
]


class Rule(BaseModel, ABC):
    """A type, a scope, a limit. The subclasses add the type and the limit."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    id: Annotated[str, BeforeValidator(_rule_id)] = Field(
        description="stable: it is part of the incident's identity",
        json_schema_extra={"pattern": f"^{_RULE_ID.pattern}$"},
    )
    match: Matcher = Matcher()
    excluded: Matcher | None = Field(default=None, alias="except")
    for_each: Annotated[Words, AfterValidator(_dimensions)] | None = Field(
        default=None, description="one incident for each value of these dimensions"
    )
    severity: SeverityBySteps | None = None
    notify: Words | None = Field(default=None, description="channels on top of the routes")
    basis: Annotated[Literal["any", "billed"], BeforeValidator(_basis)] = Field(
        default="any", description="billed: only days whose bill is there count; any: estimates of the others, too"
    )

    def view(self) -> View:
        """What the rule looks at; equal for all rules that look at the same."""
        return self._view

    # Asked for several times at each poll, of each of possibly thousands of rules, which never change.
    @cached_property
    def _view(self) -> View:
        excluded = self.excluded.selection() if self.excluded is not None else ()
        return View(self.match.selection(), excluded, self.for_each or ())

    def severity_at(self, step: Decimal, default: Severity) -> Severity:
        """The severity of a step: that of the highest entry at or below it."""
        at_or_below = [share for share in self.severity or {} if share <= step]
        return (self.severity or {})[max(at_or_below)] if at_or_below else default

    @property
    @abstractmethod
    def kind(self) -> str:
        """The rule's type, as it is written in the file."""

    @property
    @abstractmethod
    def calendar(self) -> Calendar:
        """The periods that the rule's incidents belong to."""

    @property
    @abstractmethod
    def history(self) -> int:
        """How many UTC days back, from the newest closed one, the rule must be able to see."""

    @cached_property
    def shape(self) -> str:
        """What the rule looks at and over which periods, as one text."""
        looked_at = (self.kind, self.view(), self.calendar)
        return str(looked_at if self.basis == "any" else (*looked_at, self.basis))

    @property
    @abstractmethod
    def stakes(self) -> str:
        """The figures that decide when the rule speaks, as one text; other edits leave it as it is."""

    def current(self, spend: Spend) -> Period | None:
        """The rule's period that holds the newest data; None when nothing is known."""
        latest = spend.latest()
        return self.calendar.holding(latest) if latest is not None else None

    def owns(self, scope: Scope, period: Period) -> bool:
        """Whether the rule, as it is now, could have an incident in that scope and period."""
        return self.splits(scope) and self.calendar.owns(period)

    def splits(self, scope: Scope) -> bool:
        """Whether the scope is a value of the dimensions that the rule, as it is now, is split by."""
        return tuple(dimension for dimension, _ in scope) == (self.for_each or ())

    @abstractmethod
    def findings(self, spend: Spend, period: Period, watched: Collection[Scope]) -> Iterator[Finding]:
        """What the rule says of the period: each scope that reached a step, and every watched scope."""
