"""The organisation of a seed: what it spends by the minute, how its reports behave, and what its bill is changed to."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from budgetd.model import DEFAULT_WORKSPACE
from budgetd.period import DAY, midnight
from budgetd.simulator import prices, worlds
from budgetd.simulator.manners import Manners
from budgetd.simulator.organisation import Span, World
from budgetd.simulator.script import Event, Late, Line, Restatement, Runaway
from budgetd.simulator.streams import Meter, Stream

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
# A minute had time to be counted when it is so old.
SETTLED = timedelta(minutes=15)
# Dollars by workspace.
Amounts = dict[str, Fraction]

RESEARCH, CHAT = worlds.identifier(1, "research"), worlds.identifier(1, "chat")
# Each workspace has a model of its own: where one's bill is corrected, it teaches no price that another's has.
OPUS, SONNET, HAIKU = (prices.model(f"claude-{name}") for name in ("opus-4-8", "sonnet-4-6", "haiku-4-5"))
USERS = ((RESEARCH, OPUS), (CHAT, SONNET), (DEFAULT_WORKSPACE, HAIKU))
# What a day's bill can be of its estimate. No two days have the same, or they would teach a price.
FACTORS = ("0.31", "0.47", "0.62", "0.78", "0.93", "0.985", "1.03", "1.17", "1.38", "1.66", "2.4", "0")
# What no usage report counts.
UNCOUNTED = ("code_execution", "session_usage")
METERS = (
    Meter(CHAT, "web_search", "Web Search Usage", units=900, cents=1, per=1),
    Meter(RESEARCH, "code_execution", "Code Execution Usage", units=400_000, cents=5, per=3_600),
    Meter(RESEARCH, "session_usage", "Session Runtime Usage", units=210_000_000, cents=8, per=3_600_000),
)
STARTS = (date(2026, 11, 28), date(2026, 11, 17), date(2026, 12, 30), date(2027, 2, 26), date(2028, 2, 27))


@dataclass(frozen=True)
class Company:
    """The simulated organisation, and the truth of it in exact fractions of dollars."""

    world: World
    _known: dict[tuple[object, ...], Amounts] = field(default_factory=dict, repr=False, compare=False)

    def spent(self, day: date, start: datetime, end: datetime, as_of: datetime | None = None) -> Amounts:
        """What was used of the UTC day in [start, end): as the vendor has priced it by `as_of`, or as it is counted."""
        first, last = (min(max(int((each - midnight(day)).total_seconds()), 0), 86_400) for each in (start, end))
        when = as_of or midnight(day)
        key = (day, first, last, as_of is None, self.world.corrections(day, when))
        if key not in self._known:
            span = Span(first, max(first, last))
            lines = self.world.lines_between(day, span, when) if last > first else ()
            self._known[key] = _by_workspace(line for line in lines if as_of or _is_counted(line))
        return self._known[key]

    def counted_between(self, start: datetime, end: datetime, as_of: datetime) -> Fraction:
        """What the usage report can know of what the vendor has priced of [start, end), a part of a UTC day."""
        day = start.date()
        key = (day, start, end, "counted", self.world.corrections(day, as_of))
        if key not in self._known:
            first = int((start - midnight(day)).total_seconds())
            lines = self.world.lines_between(day, Span(first, first + int((end - start).total_seconds())), as_of)
            self._known[key] = _by_workspace(filter(_is_counted, lines))
        return sum(self._known[key].values(), Fraction(0))

    def counted_of(self, bill: date, as_of: datetime) -> Fraction:
        """What of the UTC day's bill the usage report can know."""
        lines = self.world.bill(bill, as_of)
        return sum((Fraction(line.dollars) for line in lines if _is_counted(line)), Fraction(0))

    def bill(self, day: date, as_of: datetime) -> Amounts:
        """What the UTC day's bill says when it is asked `as_of`."""
        key = (day, self.world.corrections(day, as_of), "bill")
        if key not in self._known:
            self._known[key] = _by_workspace(self.world.bill(day, as_of))
        return self._known[key]

    def counted(self, now: datetime) -> datetime:
        """The instant before which all use is counted by now."""
        counted = now - self.world.manners.usage_delay
        return counted if self.world.manners.running_minute else counted.replace(second=0)

    def shown(self, now: datetime, served: datetime) -> datetime:
        """The end of the last minute that is known, of what there was at the time `served`, and over by now."""
        running = self.world.manners.running_minute
        last = min(now, served + MINUTE).replace(second=0) if running else self.counted(served)
        if not self.world.manners.leaves_out_unused:
            return last
        # Where nothing is shown of a minute without use, one that had a quarter of an hour to be counted had none.
        settled = (now - SETTLED).replace(second=0) + MINUTE
        while last > settled and not self.spent(last.date(), last - MINUTE, min(last, self.counted(served))):
            last -= MINUTE
        return max(last, settled)

    def refreshed(self, now: datetime) -> datetime:
        """The last refresh of the analytics."""
        seconds = int(self.world.manners.analytics_refresh.total_seconds())
        return datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, UTC)


def found(seed: int, days: int, *, analytics: bool = False) -> tuple[Company, datetime]:
    """The organisation of a seed, and when its history begins. `analytics`: it has them for certain."""
    chance = random.Random(f"{seed}/company")
    start = midnight(STARTS[seed % len(STARTS)]) + timedelta(minutes=chance.randrange(24 * 60))
    streams = [
        Stream(RESEARCH, OPUS, chance.randrange(800, 4_000)),
        Stream(CHAT, SONNET, chance.randrange(400, 2_000), weekend=chance.choice((300, 1_000))),
        Stream(DEFAULT_WORKSPACE, HAIKU, chance.randrange(100, 900)),
    ]
    manners = Manners(
        usage_delay=MINUTE * chance.choice((2, 4, 7)),
        running_minute=chance.random() < 0.3,
        running_hour=chance.random() < 0.5,
        leaves_out_zeros=chance.random() < 0.3,
        leaves_out_unused=chance.random() < 0.2,
        analytics=chance.choice((200, 200, 403)) if not analytics else 200,
        analytics_refresh=HOUR * chance.choice((1, 4, 4)),
    )
    world = replace(
        worlds.standard(),
        seed=seed,
        founded=start.date() - DAY * 40,
        streams=tuple(streams),
        meters=tuple(chance.sample(METERS, chance.choice((0, 0, 2, 3)))),
        discount=Decimal(chance.choice(("1", "0.92", "0.87"))),
        manners=manners,
    )
    return Company(world.with_events(*_events(chance, start.date(), days))), start


def _events(chance: random.Random, first: date, days: int) -> list[Event]:
    made: list[Event] = []
    factors = chance.sample(FACTORS, len(FACTORS))
    for number in range(days + 1):
        day = first + DAY * number
        if chance.random() < 0.5:
            begins = midnight(day) + timedelta(minutes=chance.randrange(24 * 60), seconds=chance.randrange(60))
            length = min(MINUTE * chance.choice((6, 20, 90, 300)), midnight(day + DAY) - begins)
            dollars = Decimal(chance.choice((40, 90, 150, 400)))
            workspace, model = chance.choice(USERS)
            made.append(Runaway.beginning(begins, workspace, model.id, dollars, length))
        if chance.random() < 0.45 and factors:
            workspace = chance.choice((None, RESEARCH, CHAT))
            made.append(Restatement(day, chance.choice((1, 1, 1, 2, 3)), Decimal(factors.pop()), workspace))
        if chance.random() < 0.4:
            made.append(Late(day, timedelta(minutes=chance.randrange(60, 26 * 60))))
    return made


def _is_counted(line: Line) -> bool:
    return line.dimensions.cost_type not in UNCOUNTED


def _by_workspace(lines: Iterable[Line]) -> Amounts:
    sums: Amounts = {}
    for about, dollars in lines:
        sums[about.workspace] = sums.get(about.workspace, Fraction(0)) + Fraction(dollars)
    return sums
