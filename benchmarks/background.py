"""What comes with an alert: what a storm of a thousand costs, and how good forecasts are, against a plain run rate."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal

from pydantic import TypeAdapter

from benchmarks.measuring import Figure, cpu, plain
from budgetd import forecast
from budgetd.background import gather
from budgetd.lifecycle import Decision, Situation, step
from budgetd.model import UNKNOWN_ORGANISATION, CostDay, Dimensions, Names
from budgetd.period import DAY, Period, midnight
from budgetd.pricing import RateTable
from budgetd.rules import AnyRule, Indexes, Rule
from budgetd.scope import Naming
from budgetd.simulator import worlds
from budgetd.spend import contributors

TODAY = date(2026, 11, 18)
WORKSPACES, MODELS, DAYS = 1_000, 3, 91
KINDS = ("uncached_input_tokens", "output_tokens", "cache_read_input_tokens")
_rule: TypeAdapter[Rule] = TypeAdapter(AnyRule)
Told = tuple[Decimal, Decimal, Decimal]


def figures(sizes: Iterable[str]) -> Iterator[Figure]:
    """The sizes do not matter here."""
    yield from _storm()
    series = {"simulated workspaces": _simulated(), "noise that lasts": _lasting(), "levels that jump": _jumping()}
    for name, each in series.items():
        for ahead in (3, 12, 25):
            yield from _quality(name, each, ahead)


# --- a storm ---------------------------------------------------------------------------------------


def _storm() -> Iterator[Figure]:
    rule = _rule.validate_python({"id": "r", "type": "cap", "limit": "10", "per": "month", "for_each": ["workspace"]})
    days = {day.day: day for day in map(_day, range(DAYS))}
    indexes = Indexes([rule], Naming(Names(UNKNOWN_ORGANISATION)))
    for day in days.values():
        indexes.replace(day)
    indexes.reach(midnight(TODAY))
    decisions = _decisions(rule, indexes)

    def lines(wanted: Collection[date]) -> Iterator[CostDay]:
        return (days[day] for day in sorted(wanted) if day in days)

    def whole() -> None:
        gather(decisions, {rule.id: rule}, indexes, RateTable(), lines)

    def drivers() -> None:
        asked = [(rule.view(), each.finding.scope, each.finding.period) for each in decisions if each.finding]
        contributors(asked, indexes.every, lines(asked[0][2].days()))

    count = f"{len(decisions):,} alerts at once, {WORKSPACES * MODELS * len(KINDS):,} rows a day"
    yield plain(f"{count}: all that comes with them", cpu(whole, 3), "ms")
    yield plain("   of that what drives each (contributors alone)", cpu(drivers, 3), "ms")


def _day(number: int) -> CostDay:
    lines = {
        Dimensions(f"wrkspc_{n}", None, "tokens", f"claude-opus-4-{model + 6}", kind, "standard"): Decimal(
            (n * 31 + model * 7 + number) % 97 + 1
        ).scaleb(-1)
        for n in range(WORKSPACES)
        for model in range(MODELS)
        for kind in KINDS
    }
    return CostDay(TODAY - DAY * (DAYS - number), lines)


def _decisions(rule: Rule, indexes: Indexes) -> Sequence[Decision]:
    period = rule.calendar.holding(TODAY - DAY)
    found = list(rule.findings(indexes.every, period, ()))
    names = indexes.every.naming.names
    situation = Situation(names.organisation.id, {rule.id: rule}, names, {rule.id: period}, billed_before=None)
    return step(situation, {}, found, midnight(TODAY)).decisions


# --- forecasts -------------------------------------------------------------------------------------


def _quality(name: str, series: Sequence[Sequence[Decimal]], ahead: int) -> Iterator[Figure]:
    """How many actual sums were within the range, and the median error beside that of the mean of 14 days."""
    kept, errors, plainly = [], [], []
    for days in series:
        for at in range(forecast.MOST_DAYS, len(days) - ahead, 7):
            came = sum(days[at : at + ahead])
            found = _told(days[:at], ahead)
            if found is not None and came > 0:
                expected, low, high = found
                kept.append(low <= came <= high)
                errors.append(abs(expected - came) / came)
                plainly.append(abs(sum(days[at - 14 : at]) / 14 * ahead - came) / came)
    yield plain(f"{name}, {ahead} days ahead: in the range of 80 %", 100 * sum(kept) / len(kept), "%")
    yield plain("   median error", float(_median(errors) * 100), "%")
    yield plain("   the mean of 14 days, without weekdays", float(_median(plainly) * 100), "%")


def _told(days: Sequence[Decimal], ahead: int) -> Told | None:
    through: datetime = midnight(TODAY)
    found = forecast.forecast(days, Decimal(0), Decimal(1), through, Period(through, through + DAY * ahead))
    return None if found is None else (found.expected, found.low, found.high)


def _median(values: list[Decimal]) -> Decimal:
    return sorted(values)[len(values) // 2]


def _simulated() -> list[list[Decimal]]:
    found: dict[tuple[int, str], list[Decimal]] = {}
    for seed in (1, 2, 3):
        world = worlds.standard(seed)
        for number in range(200):
            for row in world.lines(worlds.AROUND - DAY * (200 - number)):
                key = (seed, row.dimensions.workspace or "")
                found.setdefault(key, [Decimal(0)] * 200)[number] += row.dollars
    return list(found.values())


def _noisy(level: Callable[[random.Random], Iterator[float]]) -> list[list[Decimal]]:
    made = []
    for seed in range(30):
        noise = random.Random(seed)
        made.append(
            [
                Decimal(f"{100 * 2.718**each * (0.3 if day % 7 >= 5 else 1):.4f}")
                for day, each in zip(range(200), level(noise), strict=False)
            ]
        )
    return made


def _lasting() -> list[list[Decimal]]:
    def level(noise: random.Random) -> Iterator[float]:
        each = 0.0
        while True:
            each = 0.6 * each + noise.gauss(0, 0.25)
            yield each

    return _noisy(level)


def _jumping() -> list[list[Decimal]]:
    def level(noise: random.Random) -> Iterator[float]:
        base = 0.0
        while True:
            base += noise.gauss(0, 0.4) if noise.random() < 1 / 30 else 0
            yield base + noise.gauss(0, 0.25)

    return _noisy(level)
