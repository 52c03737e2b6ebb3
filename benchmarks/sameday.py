"""Same-day spend: from a runaway's first token to the bytes at a web hook, and the requests that a day takes.

Time is the simulated API's: a poll comes when its plan says so, and takes none of it. What budgetd itself needs is in
`crossing` and `polls`.
"""

from __future__ import annotations

import contextlib
import queue
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

from benchmarks.measuring import Figure, at_most, plain
from benchmarks.running import Hook
from budgetd.commands import wiring
from budgetd.daemon import FIRST_REPORT_AGAIN
from budgetd.delivery import InThisThread
from budgetd.evaluation import Evaluator
from budgetd.http import Api
from budgetd.inbox import Inbox
from budgetd.outbox import Outbox
from budgetd.period import DAY, midnight
from budgetd.polling import HOURLY, PRICED_HOURS, SAME_DAY, WIDEST_SAME_DAY, PollingPlan, Standing
from budgetd.reader import OptionalReader, Reader, UsageReader
from budgetd.readers import readers
from budgetd.rulebook import parse
from budgetd.simulator import prices, worlds
from budgetd.simulator.api import ADMIN_KEY
from budgetd.simulator.clocks import FixedClock
from budgetd.simulator.organisation import SimulatedWorkspace, World
from budgetd.simulator.script import Runaway
from budgetd.simulator.server import serve
from budgetd.simulator.streams import Stream
from budgetd.stores.sqlite import open_store
from budgetd.tick import tick

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RUNAWAYS, EVERY, LENGTH = 100, 3 * HOUR, 10 * MINUTE
START = midnight(worlds.AROUND)
# Dollars an hour: the first minute alone is above the limit, so that what is measured is the way and not the money.
SPEED = Decimal(20_000)
RULE = "{id: runaway, type: rate, limit: 150, per: hour, window: 15m, for_each: workspace}"
# What the simulated usage report takes to count a token, and the minute that it belongs to.
DATA = worlds.standard().manners.usage_delay + MINUTE
WORKSPACES = (10, 2_000)


def figures(sizes: Iterable[str]) -> Iterator[Figure]:
    """Minutes of the simulated time; requests of a UTC day."""
    found = sorted(_delays())
    yield plain(f"first token to bytes, p50 of {len(found)} runaways at random minutes", _minutes(found[50]), "min")
    yield plain("   p95", _minutes(found[94]), "min")
    yield at_most(
        "   the longest; the data's own delay and two polls", _minutes(found[-1]), _minutes(DATA + 2 * MINUTE), "min"
    )
    for workspaces in WORKSPACES:
        if workspaces > 100 and "L" not in sizes:
            continue
        spent, seconds = _requests_of_a_day(workspaces)
        yield plain(f"requests a day at {workspaces:,} workspaces", sum(spent.values()), "requests")
        for name, count in sorted(spent.items()):
            yield plain(f"   {name}", count, "requests")
        yield plain("   taken in", seconds, "s")


def _minutes(length: timedelta) -> float:
    return length / MINUTE


# --- an installation on the time of its API ----------------------------------------------------------


@dataclass
class _Turn:
    """One reader and when it comes next."""

    reader: Reader
    plan: PollingPlan
    at: datetime
    standing: Standing = field(default_factory=Standing)


class _Installation:
    """budgetd with every source, in this thread; `run` takes it from poll to poll."""

    def __init__(self, world: World, now: datetime, stack: contextlib.ExitStack, *rules: str) -> None:
        self.clock = FixedClock(now)
        server = stack.enter_context(serve(world, clock=self.clock))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.hook = stack.enter_context(contextlib.closing(Hook()))
        self._store = stack.enter_context(contextlib.closing(open_store(folder / "budgetd.db", now)))
        lines = [
            "version: 1",
            "channels:",
            f"  hook: {self.hook.channel}",
            "rules:",
            *(f"  - {rule}" for rule in rules),
        ]
        rulebook = parse("\n".join([*lines, ""]), "rules.yaml", environment={})
        self._evaluator = Evaluator(self._store, rulebook)
        self._inbox: Inbox = queue.SimpleQueue()
        equipment = wiring.equip(rulebook)
        self._lanes = InThisThread(equipment.senders, self._inbox.put)
        self._outbox = Outbox(self._store, self._evaluator, self._lanes, equipment.flavours, Random(1))

        def connect(*betas: str) -> Api:
            api = Api(server.url, lambda: ADMIN_KEY, betas=betas, now=self.clock, sleep=lambda _seconds: None)
            stack.callback(api.close)
            return api

        made = readers("auto", (), connect, self._store.recall(), self._evaluator)
        self.turns = [_Turn(reader, _plan(reader), now) for reader in made]
        self._jitter = Random(2)
        self.spent: Counter[str] = Counter()

    def poll(self, turn: _Turn) -> None:
        """The reader's turn, at its time; then it has another one."""
        now = turn.at
        self.clock.set(now)
        seen = tick(turn.reader, self._evaluator, self._outbox, self._inbox, now).observation
        self.spent[seen.source] += seen.requests
        reached = seen.report.through if seen.report is not None else None
        turn.standing = turn.plan.after(turn.standing, now, reached, seen.error)
        wait = turn.plan.wait(turn.standing, now, seen.error, self._jitter)
        turn.at = now + (FIRST_REPORT_AGAIN if seen.is_only_the_start else wait)

    def run(self, until: datetime) -> None:
        """Every poll before that time."""
        while (turn := min(self.turns, key=lambda each: each.at)).at < until:
            self.poll(turn)

    def skip(self, to: datetime) -> None:
        """Nothing is polled before that time."""
        for turn in self.turns:
            turn.at = max(turn.at, to)


def _plan(reader: Reader) -> PollingPlan:
    if isinstance(reader, UsageReader):
        return PollingPlan(SAME_DAY, WIDEST_SAME_DAY)
    if isinstance(reader, OptionalReader):
        return PollingPlan(PRICED_HOURS, after_refusal=HOURLY)
    return PollingPlan()


# --- how late ------------------------------------------------------------------------------------------


def _delays() -> list[timedelta]:
    """From the first token to the poll whose alert came in at the web hook, for each runaway."""
    chance, found = Random(3), []
    quiet = worlds.standard()
    ids = [known.id for known in quiet.workspaces if known.archived_on is None]
    starts = [START + EVERY * n + timedelta(seconds=chance.randrange(5_400)) for n in range(RUNAWAYS)]
    models = [model.id for model in prices.MODELS[:5]]
    runaways = [Runaway.beginning(start, chance.choice(ids), chance.choice(models), SPEED, LENGTH) for start in starts]
    with contextlib.ExitStack() as stack:
        here = _Installation(quiet.with_events(*runaways), START - HOUR, stack, RULE)
        here.run(START - HOUR + 2 * MINUTE)
        for start in starts:
            here.skip(start - timedelta(minutes=20, seconds=chance.randrange(66)))
            here.run(start)
            posts = len(here.hook.posts)
            while len(here.hook.posts) == posts:
                turn = min(here.turns, key=lambda each: each.at)
                now = turn.at
                here.poll(turn)
                if now > start + HOUR:
                    raise LookupError(f"the runaway of {start} was not told")
            found.append(now - start)
            # Long enough for its end to be told, too.
            here.run(start + 45 * MINUTE)
    return found


# --- how many requests -------------------------------------------------------------------------------


def _requests_of_a_day(workspaces: int) -> tuple[Counter[str], float]:
    """The requests of the second UTC day of an installation, by source, and how long that took (seconds)."""
    begun = time.perf_counter()
    with contextlib.ExitStack() as stack:
        here = _Installation(_world(workspaces), START + 22 * HOUR, stack, RULE)
        here.run(START + DAY)
        before = Counter(here.spent)
        here.run(START + 2 * DAY)
        return here.spent - before, time.perf_counter() - begun


def _world(workspaces: int) -> World:
    """So many workspaces; on a day a fifth of them work, each with one model."""
    standard = worlds.standard()
    ids = [worlds.identifier(1, f"workspace-{number}") for number in range(workspaces)]
    return World(
        seed=1,
        id=standard.id,
        name=standard.name,
        founded=worlds.AROUND - DAY * 3,
        default_workspace=standard.default_workspace,
        workspaces=tuple(SimulatedWorkspace(known, ((standard.founded, f"Team {n}"),)) for n, known in enumerate(ids)),
        streams=tuple(Stream(known, prices.MODELS[number % 3], 800, active=200) for number, known in enumerate(ids)),
        discount=standard.discount,
    )
