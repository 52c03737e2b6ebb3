"""The simulated organisation: what it uses, what that costs, and what its bill said at which time.

Everything is a pure function of the seed, the script and the arguments: usage gives tokens, tokens times the
price card give money, corrections change the money later. No report has numbers of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from budgetd import money
from budgetd.model import DEFAULT_WORKSPACE, Dimensions
from budgetd.period import DAY, midnight
from budgetd.simulator import prices
from budgetd.simulator.prices import Kind, Model, Share
from budgetd.simulator.script import Correction, Event, Late, Line, Runaway, in_force

_REMEMBERED_ROWS = 2_000
_FIFTH_OFF_TO_FIFTH_ON = (800_000, 400_001)


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


@dataclass(frozen=True, slots=True)
class Stream:
    """What one workspace does with one model.

    `cents` a weekday at list price when the organisation was founded, split over `shares`; `weekend` and `active`
    are thousandths (how much is left of it on a weekend; on how many days there is any); `growth` is thousandths a
    day. It stops before `until`.
    """

    workspace: str
    model: Model
    cents: int
    shares: tuple[Share, ...] = prices.STANDARD
    weekend: int = 1000
    active: int = 1000
    growth: int = 0
    until: date | None = None


@dataclass(frozen=True, slots=True)
class Meter:
    """Something that is not priced by tokens: `units` a weekday, at `cents` for each `per` of them."""

    workspace: str
    cost_type: str
    description: str
    units: int
    cents: int
    per: int
    weekend: int = 1000


class Usage(NamedTuple):
    """Tokens of one UTC day. The usage report and the bill are both made of these."""

    workspace: str
    model: Model
    kind: Kind
    tokens: int


@dataclass(frozen=True)
class World:
    """An organisation. A UTC day appears in its reports `delay` after the day's end; `discount` multiplies prices."""

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
    _remembered: dict[date, tuple[Line, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

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

    def usage(self, day: date) -> list[Usage]:
        """All tokens of a UTC day."""
        if day < self.founded:
            return []
        used = [item for stream in self.streams for item in self._stream_usage(stream, day)]
        for event in self.script:
            if isinstance(event, Runaway) and event.covers(day):
                used = _run_away(used, event, self.discount)
        return used

    def lines(self, day: date) -> tuple[Line, ...]:
        """The priced rows of a UTC day before any correction, one for each set of dimensions."""
        known = self._remembered.get(day)
        if known is None:
            known = self._priced(day)
            if len(known) <= _REMEMBERED_ROWS:
                self._remembered[day] = known
        return known

    def served(self, day: date, as_of: datetime) -> bool:
        """Whether the reports show that UTC day by then."""
        delays = [event.delay for event in self.script if isinstance(event, Late) and event.day == day]
        return as_of >= midnight(day + DAY) + max(delays, default=self.delay)

    def corrections(self, day: date, as_of: datetime) -> tuple[Correction, ...]:
        """What has changed that UTC day by then, in the order of the script."""
        return tuple(
            event for event in self.script if not isinstance(event, Runaway | Late) and in_force(event, day, as_of)
        )

    def bill(self, day: date, as_of: datetime) -> tuple[Line, ...]:
        """The rows that the bill has for a UTC day when it is asked `as_of`; none while the day is not served."""
        if not self.served(day, as_of):
            return ()
        lines = self.lines(day)
        for correction in self.corrections(day, as_of):
            lines = correction.apply(lines)
        return lines

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

    def _priced(self, day: date) -> tuple[Line, ...]:
        sums: dict[Dimensions, Decimal] = {}
        for item in self.usage(day):
            price = money.times(prices.dollars_per_token(item.model, item.kind), self.discount)
            _count(sums, _token_dimensions(item), money.times(price, Decimal(item.tokens)))
        if day >= self.founded:
            for meter in self.meters:
                _count(sums, _meter_dimensions(meter), self._metered(meter, day))
        return tuple(Line(about, dollars) for about, dollars in sums.items() if dollars)

    def _stream_usage(self, stream: Stream, day: date) -> list[Usage]:
        if stream.until is not None and day >= stream.until:
            return []
        noise = _noise(self.seed, day, stream.workspace, stream.model.id, *stream.shares[0].kind)
        if noise[0] % 1000 >= stream.active:
            return []
        age = (day - self.founded).days
        season = stream.weekend if day.weekday() >= 5 else 1000
        cents = stream.cents * season * (1000 + stream.growth * age) * (750 + noise[1] % 501) // 1000**3
        return [
            Usage(stream.workspace, stream.model, kind, tokens)
            for number, (kind, part) in enumerate(stream.shares, 2)
            if (tokens := _tokens(stream.model, kind, cents * part, noise[number]))
        ]

    def _metered(self, meter: Meter, day: date) -> Decimal:
        noise = _noise(self.seed, day, meter.workspace, meter.cost_type)
        units = meter.units * (meter.weekend if day.weekday() >= 5 else 1000) * (500_000 + noise[0] % 1_000_001)
        # The bill shows at most 14 decimals of a cent.
        return Decimal(units // 10**9 * meter.cents * 10**14 // meter.per).scaleb(-16)


def _noise(seed: int, day: date, *names: str) -> list[int]:
    """Sixteen numbers of 32 bits that only these arguments decide, the same on every machine and Python."""
    text = "\x1f".join((str(seed), day.isoformat(), *names))
    digest = hashlib.blake2b(text.encode(), digest_size=64).digest()
    return [int.from_bytes(digest[at : at + 4]) for at in range(0, 64, 4)]


def _tokens(model: Model, kind: Kind, thousandths_of_cents: int, noise: int) -> int:
    """How many tokens that money buys at list price, give or take a fifth."""
    low, width = _FIFTH_OFF_TO_FIFTH_ON
    numerator, denominator = prices.dollars_per_token(model, kind).as_integer_ratio()
    return thousandths_of_cents * (low + noise % width) * denominator // (numerator * 10**11)


def _run_away(used: list[Usage], event: Runaway, discount: Decimal) -> list[Usage]:
    model = prices.model(event.model)
    about = (event.workspace, model)
    grown = [
        item._replace(tokens=item.tokens * event.factor) if (item.workspace, item.model) == about else item
        for item in used
    ]
    kind = Kind(prices.OUTPUT)
    extra = _tokens_for(event.dollars, money.times(prices.dollars_per_token(model, kind), discount))
    return [*grown, Usage(event.workspace, model, kind, extra)] if extra else grown


def _tokens_for(dollars: Decimal, price: Decimal) -> int:
    """The fewest tokens that cost at least so many dollars."""
    numerator, denominator = dollars.as_integer_ratio()
    price_numerator, price_denominator = price.as_integer_ratio()
    return -(-numerator * price_denominator // (denominator * price_numerator))


def _token_dimensions(item: Usage) -> Dimensions:
    model, kind = item.model, item.kind
    return Dimensions(
        item.workspace,
        prices.description(model, kind),
        "tokens",
        model.id,
        kind.token_type,
        kind.service_tier,
        kind.context_window,
        model.inference_geo,
        kind.speed,
    )


def _meter_dimensions(meter: Meter) -> Dimensions:
    return Dimensions(meter.workspace, meter.description, meter.cost_type)


def _count(sums: dict[Dimensions, Decimal], about: Dimensions, dollars: Decimal) -> None:
    before = sums.get(about)
    sums[about] = dollars if before is None else money.add(before, dollars)
