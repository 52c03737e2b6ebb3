"""What happens to the simulated organisation on purpose: events as data, each one documented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import NamedTuple

from budgetd import money
from budgetd.model import Dimensions
from budgetd.period import DAY, day_before, midnight

# The bill shows at most 14 decimals of a cent.
_SMALLEST = Decimal("1e-16")
_SECOND = timedelta(seconds=1)
_ROUNDING = Context(prec=60, rounding=ROUND_HALF_EVEN)


class Line(NamedTuple):
    """One row of the bill: what it is about, and its exact dollars."""

    dimensions: Dimensions
    dollars: Decimal


@dataclass(frozen=True, slots=True)
class Runaway:
    """A loop that nobody stops: from `day` on, for `days` UTC days, a workspace's use of a model goes up.

    `factor` multiplies the tokens that there are; `dollars` (a day, as billed, up to the next whole token) are added as
    output tokens, also where that workspace never used that model. `hourly` dollars are added for each hour from
    `start` (an instant of `day`; without it the day's) to before `end` (without it the end of the last day), evenly.
    `workspace` is an id, or DEFAULT_WORKSPACE. Raises ValueError for a start or end that contradicts the days.
    """

    day: date
    workspace: str
    model: str
    factor: int = 1
    dollars: Decimal = money.ZERO
    days: int = 1
    start: datetime | None = None
    end: datetime | None = None
    hourly: Decimal = money.ZERO

    def __post_init__(self) -> None:
        if self.factor != 1 and (self.start or self.end):
            raise ValueError("a runaway by factor lasts whole days")
        if not midnight(self.day) <= self._start < self._end <= midnight(self.day + timedelta(days=self.days)):
            raise ValueError("a runaway starts on its day, and ends later and by the end of its last day")

    @classmethod
    def beginning(
        cls, start: datetime, workspace: str, model: str, hourly: Decimal, length: timedelta | None = None
    ) -> Runaway:
        """One that burns so many dollars an hour from that instant on, until midnight UTC or for that long."""
        day = start.astimezone(UTC).date()
        end = start + length if length else midnight(day + DAY)
        return cls(day, workspace, model, days=(day_before(end) - day).days + 1, start=start, end=end, hourly=hourly)

    def covers(self, day: date) -> bool:
        """Whether it runs on that UTC day."""
        return self.day <= day < self.day + timedelta(days=self.days)

    def seconds(self, day: date) -> tuple[int, int]:
        """From which to before which second of that UTC day it runs."""
        first, length = midnight(day), DAY // _SECOND
        start, end = ((moment - first) // _SECOND for moment in (self._start, self._end))
        return max(start, 0), min(end, length)

    @property
    def _start(self) -> datetime:
        return self.start or midnight(self.day)

    @property
    def _end(self) -> datetime:
        return self.end or midnight(self.day + timedelta(days=self.days))


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
    """A negative row of so many `dollars` (given as a positive amount), `after` days from the day's start.

    The reference has no `cost_type` for it, so that by default it is one that nobody knows.
    """

    day: date
    dollars: Decimal
    workspace: str
    after: int = 1
    cost_type: str = "credit"

    def apply(self, lines: Sequence[Line]) -> tuple[Line, ...]:
        """The rows and the credit."""
        about = Dimensions(self.workspace, "Credit Adjustment", self.cost_type)
        return (*lines, Line(about, money.subtract(money.ZERO, self.dollars)))


@dataclass(frozen=True, slots=True)
class Late:
    """A closed day appears only `delay` after its end."""

    day: date
    delay: timedelta


@dataclass(frozen=True, slots=True)
class Revision:
    """Tokens that were counted late or twice: from `at` on those of a UTC day are `percent` of what they were.

    The usage report, the analytics and the bill change alike. Without a workspace or model it is all of them.
    """

    day: date
    at: datetime
    percent: int
    workspace: str | None = None
    model: str | None = None

    def tokens(self, workspace: str, model: str, tokens: int) -> int:
        """So many tokens of that workspace and model as they are from then on."""
        about = self.workspace in (None, workspace) and self.model in (None, model)
        return tokens * self.percent // 100 if about else tokens


Correction = Restatement | Vanishing | Credit
Event = Runaway | Correction | Late | Revision


def in_force(correction: Correction, day: date, as_of: datetime) -> bool:
    """Whether the correction is about that UTC day and has happened by then."""
    return correction.day == day and as_of >= midnight(day) + timedelta(days=correction.after)


def _restated(dollars: Decimal, factor: Decimal) -> Decimal:
    return _ROUNDING.quantize(_ROUNDING.multiply(dollars, factor), _SMALLEST)


def _about(line: Line, workspace: str | None, model: str | None) -> bool:
    return workspace in (None, line.dimensions.workspace) and model in (None, line.dimensions.model)
