"""The simulated organisation: what it uses, what that costs, and what its bill said at which time.

Everything is a pure function of the seed, the script and the arguments: usage gives tokens, tokens times the
price card give money, corrections change the money later. No report has numbers of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from budgetd import money
from budgetd.model import DEFAULT_WORKSPACE, Dimensions
from budgetd.period import DAY, midnight
from budgetd.simulator import prices
from budgetd.simulator.manners import Manners
from budgetd.simulator.pace import DAY_SECONDS
from budgetd.simulator.prices import Kind, Model
from budgetd.simulator.script import (
    Correction,
    Credit,
    Event,
    Late,
    Line,
    Restatement,
    Revision,
    Runaway,
    Vanishing,
    in_force,
)
from budgetd.simulator.streams import Flow, Meter, Reading, Stream, run_away

_REMEMBERED_ROWS = 2_000
_REMEMBERED_FLOWS = 3


@dataclass(frozen=True, slots=True)
class SimulatedWorkspace:
    """A workspace and its history. `names` are (first UTC day, name), oldest first."""

    id: str
    names: tuple[tuple[date, str], ...]
    archived_on: date | None = None
    tags: tuple[tuple[str, str], ...] = ()

    def name(self, as_of: datetime) -> str:
        """What it is called at that time."""
        return [name for since, name in self.names if midnight(since) <= as_of or since == self.names[0][0]][-1]

    def archived_at(self, as_of: datetime) -> datetime | None:
        """When it was archived, if that has happened by then."""
        if self.archived_on is None or as_of < midnight(self.archived_on):
            return None
        return midnight(self.archived_on)


class Usage(NamedTuple):
    """Tokens of one kind on one UTC day."""

    workspace: str
    model: Model
    kind: Kind
    tokens: int


class Span(NamedTuple):
    """A part of a UTC day, [start, end), in seconds."""

    start: int
    end: int


_WHOLE_DAY = Span(0, DAY_SECONDS)


@dataclass(frozen=True)
class World:
    """An organisation. A UTC day is on its bill `delay` after the day's end; `discount` multiplies token prices.

    `manners` are those of the reports of today.
    """

    seed: int
    id: str
    name: str
    founded: date
    default_workspace: str
    workspaces: tuple[SimulatedWorkspace, ...]
    streams: tuple[Stream, ...]
    meters: tuple[Meter, ...] = ()
    script: tuple[Event, ...] = ()
    delay: timedelta = timedelta(hours=5)
    discount: Decimal = Decimal(1)
    manners: Manners = field(default_factory=Manners)
    _remembered: dict[date, tuple[Line, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _remembered_flows: dict[date, tuple[Flow, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def with_events(self, *events: Event) -> World:
        """The same organisation, to which these happen too."""
        return replace(self, script=(*self.script, *events))

    def workspace_id(self, name: str, as_of: datetime) -> str:
        """The id of the one workspace that is called so and is not archived. Raises ValueError."""
        if name in (DEFAULT_WORKSPACE, "Default"):
            return DEFAULT_WORKSPACE
        open_ones = [known for known in self.workspaces if known.archived_at(as_of) is None]
        found = [known.id for known in open_ones if name in (known.id, known.name(as_of))]
        if len(found) != 1:
            names = ", ".join(sorted(known.name(as_of) for known in open_ones))
            raise ValueError(f"the simulator has {len(found)} workspaces called {name!r}; it has Default, {names}")
        return found[0]

    def flows(self, day: date, as_of: datetime | None = None) -> tuple[Flow, ...]:
        """The tokens of a UTC day and when they were used; with the revisions that have happened by `as_of`."""
        known = self._remembered_flows.get(day)
        if known is None:
            known = self._remembered_flows[day] = self._make_flows(day)
            for forgotten in list(self._remembered_flows)[:-_REMEMBERED_FLOWS]:
                self._remembered_flows.pop(forgotten, None)
        revisions = self.revisions(day, as_of) if as_of else ()
        return tuple(flow.revised(revisions) for flow in known) if revisions else known

    def readings(self, day: date) -> list[Reading]:
        """What the meters count on a UTC day."""
        return [meter.on(day, self.seed) for meter in self.meters] if day >= self.founded else []

    def usage(self, day: date) -> list[Usage]:
        """All tokens of a UTC day, before any revision."""
        return [Usage(flow.workspace, flow.model, *part) for flow in self._make_flows(day) for part in flow.parts]

    def lines(self, day: date) -> tuple[Line, ...]:
        """The priced rows of a UTC day before any change, one for each set of dimensions."""
        known = self._remembered.get(day)
        if known is None:
            known = self._priced(day, self._make_flows(day), _WHOLE_DAY, self.discount)
            if len(known) <= _REMEMBERED_ROWS:
                self._remembered[day] = known
        return known

    def lines_between(self, day: date, span: Span, as_of: datetime, *, discounted: bool = True) -> tuple[Line, ...]:
        """The priced rows of a part of a UTC day as they are `as_of`. The parts of a day add up to the day's bill.

        Credits are not in it. Without `discounted` it is what they would cost at list prices.
        """
        discount = self.discount if discounted else Decimal(1)
        flows = self.flows(day, as_of)
        corrections = [each for each in self.corrections(day, as_of) if not isinstance(each, Credit)]
        if not corrections:
            return self._priced(day, flows, span, discount)
        # A correction rounds: what is before the end less what is before the start, or the parts would not add up.
        before, through = (
            _corrected(self._priced(day, flows, Span(0, second), discount), corrections) for second in span
        )
        known = dict(before)
        return tuple(
            Line(about, money.subtract(dollars, known.get(about, money.ZERO)))
            for about, dollars in through
            if dollars != known.get(about, money.ZERO)
        )

    def served(self, day: date, as_of: datetime) -> bool:
        """Whether the reports show that UTC day by then."""
        delays = [event.delay for event in self.script if isinstance(event, Late) and event.day == day]
        return as_of >= midnight(day + DAY) + max(delays, default=self.delay)

    def corrections(self, day: date, as_of: datetime) -> tuple[Correction, ...]:
        """What has changed that UTC day by then, in the order of the script."""
        return tuple(
            event
            for event in self.script
            if isinstance(event, Restatement | Vanishing | Credit) and in_force(event, day, as_of)
        )

    def revisions(self, day: date, as_of: datetime) -> tuple[Revision, ...]:
        """How that UTC day's tokens have been counted again by then, in the order of the script."""
        return tuple(
            event for event in self.script if isinstance(event, Revision) and event.day == day and event.at <= as_of
        )

    def bill(self, day: date, as_of: datetime) -> tuple[Line, ...]:
        """The rows that the bill has for a UTC day when it is asked `as_of`; none while the day is not served."""
        if not self.served(day, as_of):
            return ()
        if self.revisions(day, as_of):
            lines = self._priced(day, self.flows(day, as_of), _WHOLE_DAY, self.discount)
        else:
            lines = self.lines(day)
        return _corrected(lines, self.corrections(day, as_of))

    def total(
        self, start: date, end: date, as_of: datetime, *, workspace: str | None = None, model: str | None = None
    ) -> Decimal:
        """The exact dollars of the UTC days from `start` to before `end`: what every figure is judged by."""
        return money.total(
            line.dollars
            for offset in range((end - start).days)
            for line in self.bill(start + DAY * offset, as_of)
            if workspace in (None, line.dimensions.workspace) and model in (None, line.dimensions.model)
        )

    def _make_flows(self, day: date) -> tuple[Flow, ...]:
        if day < self.founded:
            return ()
        flows = [flow for stream in self.streams if (flow := stream.on(day, self.seed, self.founded))]
        for event in self.script:
            if isinstance(event, Runaway) and event.covers(day):
                flows = run_away(flows, event, day, self.discount)
        return tuple(flows)

    def _priced(self, day: date, flows: Iterable[Flow], span: Span, discount: Decimal) -> tuple[Line, ...]:
        sums: dict[Dimensions, Decimal] = {}
        for flow in flows:
            for kind, tokens in flow.parts if span == _WHOLE_DAY else flow.between(*span):
                if kind.service_tier != "priority":  # committed capacity is on another bill
                    price = money.times(prices.dollars_per_token(flow.model, kind), discount)
                    _count(sums, flow.about(kind), money.times(price, Decimal(tokens)))
        for reading in self.readings(day):
            _count(sums, _meter_dimensions(reading.meter), reading.dollars(*span))
        return tuple(Line(about, dollars) for about, dollars in sums.items() if dollars)


def _corrected(lines: tuple[Line, ...], corrections: Iterable[Correction]) -> tuple[Line, ...]:
    for correction in corrections:
        lines = correction.apply(lines)
    return lines


def _meter_dimensions(meter: Meter) -> Dimensions:
    return Dimensions(meter.workspace, meter.description, meter.cost_type)


def _count(sums: dict[Dimensions, Decimal], about: Dimensions, dollars: Decimal) -> None:
    before = sums.get(about)
    sums[about] = dollars if before is None else money.add(before, dollars)
