"""What happens to the simulated organisation on purpose: events as data, each one documented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import NamedTuple

from budgetd import money
from budgetd.model import Dimensions
from budgetd.period import midnight

# The bill shows at most 14 decimals of a cent.
_SMALLEST = Decimal("1e-16")
_ROUNDING = Context(prec=60, rounding=ROUND_HALF_EVEN)


class Line(NamedTuple):
    """One row of the bill: what it is about, and its exact dollars."""

    dimensions: Dimensions
    dollars: Decimal


@dataclass(frozen=True, slots=True)
class Runaway:
    """A loop that nobody stops: from `day` on, for `days` UTC days, a workspace's use of a model goes up.

    `factor` multiplies the tokens that there are; `dollars` (a day, as billed, up to the next whole token) are added as
    output tokens, also where that workspace never used that model. `workspace` is an id, or DEFAULT_WORKSPACE.
    """

    day: date
    workspace: str
    model: str
    factor: int = 1
    dollars: Decimal = money.ZERO
    days: int = 1

    def covers(self, day: date) -> bool:
        """Whether it runs on that UTC day."""
        return self.day <= day < self.day + timedelta(days=self.days)


@dataclass(frozen=True, slots=True)
class Restatement:
    """A closed day changes: `after` days from its start its rows become `factor` times what they were.

    A factor of zero leaves the rows with a zero. Without a workspace or model it is all of them.
    """

    day: date
    after: int
    factor: Decimal
    workspace: str | None = None
    model: str | None = None

    def apply(self, lines: Sequence[Line]) -> tuple[Line, ...]:
        """The rows as they are from then on."""
        return tuple(
            Line(line.dimensions, _restated(line.dollars, self.factor))
            if _about(line, self.workspace, self.model)
            else line
            for line in lines
        )


@dataclass(frozen=True, slots=True)
class Vanishing:
    """A closed day changes: `after` days from its start these rows are not in the report any more."""

    day: date
    after: int
    workspace: str | None = None
    model: str | None = None

    def apply(self, lines: Sequence[Line]) -> tuple[Line, ...]:
        """The rows that are left."""
        return tuple(line for line in lines if not _about(line, self.workspace, self.model))


@dataclass(frozen=True, slots=True)
class Credit:
    """A negative row of so many `dollars` (given as a positive amount), `after` days from the day's start."""

    day: date
    dollars: Decimal
    workspace: str
    after: int = 1

    def apply(self, lines: Sequence[Line]) -> tuple[Line, ...]:
        """The rows and the credit."""
        about = Dimensions(self.workspace, "Credit Adjustment", "credit")
        return (*lines, Line(about, money.subtract(money.ZERO, self.dollars)))


@dataclass(frozen=True, slots=True)
class Late:
    """A closed day appears only `delay` after its end."""

    day: date
    delay: timedelta


Correction = Restatement | Vanishing | Credit
Event = Runaway | Correction | Late


def in_force(correction: Correction, day: date, as_of: datetime) -> bool:
    """Whether the correction is about that UTC day and has happened by then."""
    return correction.day == day and as_of >= midnight(day) + timedelta(days=correction.after)


def _restated(dollars: Decimal, factor: Decimal) -> Decimal:
    return _ROUNDING.quantize(_ROUNDING.multiply(dollars, factor), _SMALLEST)


def _about(line: Line, workspace: str | None, model: str | None) -> bool:
    return workspace in (None, line.dimensions.workspace) and model in (None, line.dimensions.model)
