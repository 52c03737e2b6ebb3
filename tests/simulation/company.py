"""The simulated organisation: what it spends, when its bill appears, and what the bill is corrected to."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from budgetd.model import DEFAULT_WORKSPACE, Dimensions
from budgetd.period import DAY, midnight
from budgetd.simulator.organisation import SimulatedWorkspace, World
from budgetd.simulator.script import Correction, Credit, Line, Restatement, Vanishing

# Money of the judge: whole numbers of 10^-16 dollars (the bill shows at most 14 decimals of a cent).
UNITS = 10**16
MODELS = ("claude-opus-4-8", "claude-sonnet-4-6", "claude-haiku-4-5-20251001")
_HISTORY = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the bill as the judge sees it. `units`: exact money, in 10^-16 dollars."""

    workspace: str
    model: str
    part: str
    units: int


@dataclass(frozen=True)
class Company(World):
    """An organisation with weekends, runaways, late bills and corrections; all of it decided by its seed."""

    streams_of: tuple[tuple[str, str, int], ...] = ()
    _corrections: dict[date, tuple[Correction, ...]] = field(default_factory=dict, compare=False)
    _delays: dict[date, timedelta] = field(default_factory=dict, compare=False)
    _truth: dict[tuple[date, tuple[Correction, ...]], tuple[Row, ...]] = field(default_factory=dict, compare=False)

    def lines(self, day: date) -> tuple[Line, ...]:
        """The rows of a UTC day before any correction."""
        known = self._remembered.get(day)
        if known is None:
            known = self._remembered[day] = self._make(day)
        return known

    def served(self, day: date, as_of: datetime) -> bool:
        """Whether the bill shows that day by then: 0 to 30 hours after its end."""
        delay = self._delays.get(day)
        if delay is None:
            delay = self._delays[day] = self._delay(day)
        return as_of >= midnight(day + DAY) + delay

    def corrections(self, day: date, as_of: datetime) -> tuple[Correction, ...]:
        """What has changed that day by then."""
        known = self._corrections.get(day)
        if known is None:
            known = self._corrections[day] = self._correct(day)
        return tuple(each for each in known if as_of >= midnight(day) + timedelta(days=each.after))

    def truth(self, day: date, as_of: datetime) -> tuple[Row, ...]:
        """The rows that the bill has for the day when it is asked `as_of`."""
        key = (day, self.corrections(day, as_of))
        known = self._truth.get(key)
        if known is None:
            known = self._truth[key] = tuple(map(_row, self.bill(day, as_of)))
        return known

    def _make(self, day: date) -> tuple[Line, ...]:
        if day < self.founded:
            return ()
        chance = random.Random(f"{self.seed}/spend/{day}")
        runaway = chance.randrange(len(self.streams_of)) if chance.random() < 0.05 else None
        made = []
        for number, (workspace, model, dollars) in enumerate(self.streams_of):
            noise = chance.randrange(50, 160) * (4 if number == runaway else 1)
            weekend = chance.choice((0, 20, 40)) if day.weekday() >= 5 else 100
            whole = dollars * UNITS * noise * weekend // 10_000 + chance.randrange(10**16)
            for part, share in (("output_tokens", 70), ("uncached_input_tokens", 30)):
                about = Dimensions(workspace, f"{model} {part}", "tokens", model, part, "standard", "0-200k", "global")
                if weekend:
                    made.append(Line(about, Decimal(whole * share // 100).scaleb(-16)))
        return tuple(made)

    def _delay(self, day: date) -> timedelta:
        chance = random.Random(f"{self.seed}/late/{day}")
        return timedelta(minutes=chance.randrange(30 * 60) if chance.random() < 0.15 else chance.randrange(6 * 60))

    def _correct(self, day: date) -> tuple[Correction, ...]:
        chance = random.Random(f"{self.seed}/corrections/{day}")
        if day < self.founded or chance.random() > 0.12:
            return ()
        workspace = chance.choice([None, *(workspace for workspace, _, _ in self.streams_of)])
        after = chance.randint(1, 6)
        kind = chance.choice(("down", "up", "zeroed", "vanishing", "credit", "down and up"))
        if kind == "vanishing":
            return (Vanishing(day, after, workspace),)
        if kind == "credit":
            dollars = Decimal(chance.randint(10, 900))
            return (Credit(day, dollars, workspace or DEFAULT_WORKSPACE, after, cost_type="session_usage"),)
        factor = {"up": "1.4", "zeroed": "0"}.get(kind, "0.4")
        first = Restatement(day, after, Decimal(factor), workspace)
        if kind == "down and up":
            return (first, Restatement(day, after + chance.randint(1, 2), Decimal("2.5"), workspace))
        return (first,)


def found(seed: int, start: date) -> Company:
    """The organisation of a seed; its history begins some 100 days before `start`."""
    chance = random.Random(f"{seed}/company")
    named = [f"wrkspc_{chance.randrange(10**9):09}" for _ in range(chance.randint(2, 3))]
    founded = start - DAY * _HISTORY
    streams = [
        (workspace, model, chance.randint(15, 120)) for workspace in (DEFAULT_WORKSPACE, *named) for model in MODELS
    ]
    renamed = start + DAY * chance.randint(10, 40)
    return Company(
        seed=seed,
        id=f"org-{seed}",
        name="Example Company",
        founded=founded,
        default_workspace="wrkspc_default",
        workspaces=tuple(
            SimulatedWorkspace(known, ((founded, f"Team {number}"), (renamed, f"Renamed {number}")))
            for number, known in enumerate(named)
        ),
        streams=(),
        streams_of=tuple(chance.sample(streams, chance.randint(4, 6))),
    )


def _row(line: Line) -> Row:
    about = line.dimensions
    units = int(line.dollars.scaleb(16))
    model = "-".join(part for part in (about.model or "").split("-") if not part.startswith("2025"))
    return Row(about.workspace or "", model, about.token_type or about.cost_type or "", units)
