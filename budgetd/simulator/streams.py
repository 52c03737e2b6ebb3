"""What is used, and when: the one stream of tokens and meters that every report of the organisation is made of.

Everything is a pure function of the seed and the arguments.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from budgetd import money
from budgetd.model import Dimensions
from budgetd.simulator import prices
from budgetd.simulator.pace import HOUR_SECONDS, Pace, Rhythm, Steady
from budgetd.simulator.prices import Kind, Model, Share
from budgetd.simulator.script import Revision, Runaway

_FIFTH_OFF_TO_FIFTH_ON = (800_000, 400_001)


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

    def on(self, day: date, seed: int, founded: date) -> Flow | None:
        """What it uses on a UTC day, if anything."""
        if self.until is not None and day >= self.until:
            return None
        names = (self.workspace, self.model.id, *self.shares[0].kind)
        noise = _noise(seed, day, *names)
        if noise[0] % 1000 >= self.active:
            return None
        season = self.weekend if day.weekday() >= 5 else 1000
        growth = 1000 + self.growth * (day - founded).days
        cents = self.cents * season * growth * (750 + noise[1] % 501) // 1000**3
        parts = tuple(
            (kind, tokens)
            for number, (kind, part) in enumerate(self.shares, 2)
            if (tokens := _tokens(self.model, kind, cents * part, noise[number]))
        )
        return Flow(self.workspace, self.model, parts, _rhythm(seed, day, *names))


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

    def on(self, day: date, seed: int) -> Reading:
        """What it counts on a UTC day."""
        names = (self.workspace, self.cost_type)
        noise = _noise(seed, day, *names)
        season = self.weekend if day.weekday() >= 5 else 1000
        units = self.units * season * (500_000 + noise[0] % 1_000_001) // 10**9
        return Reading(self, units, _rhythm(seed, day, *names))


class Flow(NamedTuple):
    """Tokens of one workspace and model on one UTC day, by kind, and the pace that they were used at."""

    workspace: str
    model: Model
    parts: tuple[tuple[Kind, int], ...]
    pace: Pace

    def between(self, start: int, end: int) -> Iterator[tuple[Kind, int]]:
        """The tokens of [start, end), seconds of the day."""
        used = self.pace.between([tokens for _, tokens in self.parts], start, end)
        return ((kind, tokens) for (kind, _), tokens in zip(self.parts, used, strict=False) if tokens)

    def about(self, kind: Kind) -> Dimensions:
        """What its tokens of that kind are about, as the bill says it."""
        model = self.model
        return Dimensions(
            self.workspace,
            prices.description(model, kind),
            "tokens",
            model.id,
            kind.token_type,
            kind.service_tier,
            kind.context_window,
            model.inference_geo,
            kind.speed,
        )

    def revised(self, revisions: tuple[Revision, ...]) -> Flow:
        """The same after its tokens were counted again."""
        parts = self.parts
        for revision in revisions:
            parts = tuple((kind, revision.tokens(self.workspace, self.model.id, tokens)) for kind, tokens in parts)
        return self._replace(parts=parts)


class Reading(NamedTuple):
    """Units of one meter on one UTC day, and the pace that they were used at."""

    meter: Meter
    units: int
    pace: Pace

    def between(self, start: int, end: int) -> int:
        """The units of [start, end), seconds of the day."""
        return sum(self.pace.between((self.units,), start, end))

    def dollars(self, start: int, end: int) -> Decimal:
        """What the units of [start, end) cost: parts of a day add up to what the day costs."""
        before = self.between(0, start)
        smallest = self._smallest(before + self.between(start, end)) - self._smallest(before)
        return Decimal(smallest).scaleb(-16)

    def _smallest(self, units: int) -> int:
        # The bill shows at most 14 decimals of a cent.
        return units * self.meter.cents * 10**14 // self.meter.per


def run_away(flows: list[Flow], event: Runaway, day: date, discount: Decimal) -> list[Flow]:
    """The flows of a UTC day, and what the runaway adds to them."""
    model, kind = prices.model(event.model), Kind(prices.OUTPUT)
    grown = [_multiplied(flow, event.factor) if _about(flow, event) else flow for flow in flows]
    price = Fraction(money.times(prices.dollars_per_token(model, kind), discount))
    start, end = event.seconds(day)
    for dollars in (Fraction(event.dollars), Fraction(event.hourly) * (end - start) / HOUR_SECONDS):
        if dollars:
            # The fewest tokens that cost at least so many dollars.
            grown.append(Flow(event.workspace, model, ((kind, math.ceil(dollars / price)),), Steady(start, end)))
    return grown


@lru_cache(maxsize=32_768)
def api_key(workspace: str, model: str | None) -> str:
    """The id of the API key that a workspace uses a model with: it has two."""
    model_part = hashlib.blake2b((model or "").encode(), digest_size=1).digest()[0] % 2
    return f"apikey_01{hashlib.blake2b(f'{workspace}/{model_part}'.encode(), digest_size=11).hexdigest()}"


def _about(flow: Flow, event: Runaway) -> bool:
    return (flow.workspace, flow.model.id) == (event.workspace, event.model)


def _multiplied(flow: Flow, factor: int) -> Flow:
    return flow._replace(parts=tuple((kind, tokens * factor) for kind, tokens in flow.parts))


def _rhythm(seed: int, day: date, *names: str) -> Rhythm:
    return Rhythm.of(_digest(seed, day, "rhythm", *names))


def _noise(seed: int, day: date, *names: str) -> list[int]:
    """Sixteen numbers of 32 bits that only these arguments decide, the same on every machine and Python."""
    digest = _digest(seed, day, *names)
    return [int.from_bytes(digest[at : at + 4]) for at in range(0, 64, 4)]


def _digest(seed: int, day: date, *names: str) -> bytes:
    text = "\x1f".join((str(seed), day.isoformat(), *names))
    return hashlib.blake2b(text.encode(), digest_size=64).digest()


def _tokens(model: Model, kind: Kind, thousandths_of_cents: int, noise: int) -> int:
    """How many tokens that money buys at list price, give or take a fifth."""
    low, width = _FIFTH_OFF_TO_FIFTH_ON
    numerator, denominator = prices.dollars_per_token(model, kind).as_integer_ratio()
    return thousandths_of_cents * (low + noise % width) * denominator // (numerator * 10**11)
