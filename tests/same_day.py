"""budgetd with both sources in this thread, on a clock of the test's own, against the simulated API in this process."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from budgetd import blind, money
from budgetd.daemon import Daemon, Equipment, Poller
from budgetd.delivery import InThisThread, Lanes
from budgetd.evaluation import Evaluator, Observation
from budgetd.inbox import Inbox, Read
from budgetd.message import Flavour, Message
from budgetd.model import CostDay, Failure, Incident, Notice, Outcome, Receipt, SourceError
from budgetd.outbox import Outbox
from budgetd.period import DAY, midnight
from budgetd.polling import SAME_DAY, WIDEST_SAME_DAY, PollingPlan
from budgetd.reader import OptionalReader, Reader
from budgetd.readers import readers
from budgetd.rulebook import parse
from budgetd.simulator import prices, worlds
from budgetd.simulator.api import ADMIN_KEY, AdminApi
from budgetd.simulator.organisation import Span, World
from budgetd.simulator.streams import Stream
from budgetd.simulator.wire import Request
from budgetd.sources.cost_report import CostReport
from budgetd.sources.usage_report import SPEED_BETA
from budgetd.stores.sqlite import SqliteStore, open_store
from budgetd.systemd import Supervisor
from budgetd.tick import Ticked, observe, tick

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RESEARCH, CHAT = worlds.identifier(1, "research"), worlds.identifier(1, "chat")
OPUS, SONNET = prices.model("claude-opus-4-8"), prices.model("claude-sonnet-4-6")
USAGE = "usage_report"
# What the usage report cannot know.
UNCOUNTED = ("code_execution", "session_usage")
_FAILURES = {
    429: Failure.UNAVAILABLE,
    500: Failure.UNAVAILABLE,
    503: Failure.UNAVAILABLE,
    401: Failure.REFUSED,
    403: Failure.REFUSED,
}
_HEADERS = {"x-api-key": ADMIN_KEY, "anthropic-version": "2023-06-01"}


def at(text: str) -> datetime:
    """The UTC instant that `11-18T13:37` names in 2026."""
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def small(*, research: int = 2_400, chat: int = 1_200, discount: str = "0.92", **more: Any) -> World:
    """An organisation of two workspaces and three streams; cents a day, about."""
    world = worlds.standard()
    streams = (Stream(RESEARCH, OPUS, research), Stream(CHAT, SONNET, chat), Stream(RESEARCH, SONNET, 100))
    return replace(world, streams=streams, meters=(), discount=Decimal(discount), **more)


@dataclass
class Api:
    """The simulated API as a Getter, at the time `now`. `failing`: the status to answer with, by a part of the path.

    `frozen`: the time at which it stopped to count, by a part of the path. `change`: what becomes of a path's answers.
    `skew`: the seconds by which its clock is ahead of ours; None: it does not say.
    `fast`: with the beta that shows the speed. `asked` counts requests by the last word of their path.
    """

    world: World
    now: datetime
    fast: bool = False
    failing: dict[str, int] = field(default_factory=dict)
    frozen: dict[str, datetime] = field(default_factory=dict)
    change: Callable[[str, bytes], bytes] = lambda _path, body: body
    skew: float | None = None
    asked: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.become(self.world)

    def become(self, world: World) -> None:
        """From now on it is that organisation."""
        self.world, self._api = world, AdminApi(world)

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, betas: Sequence[str] = ()) -> bytes:
        """The body of a 200 answer. Raises SourceError."""
        self.asked[path.removesuffix("/messages").rsplit("/", 1)[-1]] += 1
        for part, status in self.failing.items():
            if part in path:
                raise SourceError(_FAILURES.get(status, Failure.REJECTED), f"HTTP {status}", status=status)
        at = next((when for part, when in self.frozen.items() if part in path), self.now)
        answer = self._api.respond(Request("GET", path, tuple(params), self._headers(betas)), at)
        if answer.status != 200:
            raise SourceError(Failure.REJECTED, answer.body.decode(), status=answer.status)
        return self.change(path, answer.body)

    def _headers(self, betas: Sequence[str]) -> dict[str, str]:
        asked = (*betas, SPEED_BETA) if self.fast else betas
        return {**_HEADERS, "anthropic-beta": ",".join(asked)} if asked else _HEADERS


@dataclass
class Line:
    """One reader's own connection to it, and the betas that it asks for."""

    scene: Scene
    betas: tuple[str, ...] = ()
    requests: int = 0

    @property
    def last_skew(self) -> float | None:
        return self.scene.api.skew

    def key_mark(self) -> str:
        return str(self.scene.key)

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, deadline: float | None = None) -> bytes:
        """The body of a 200 answer. Raises SourceError."""
        self.requests += 1
        return self.scene.api.get(path, params, betas=self.betas)


@dataclass
class Recorder:
    """Implements `Sender`: takes every message, and keeps it."""

    messages: list[Message] = field(default_factory=list)

    def send(self, message: Message, deadline: float) -> Receipt:
        self.messages.append(message)
        return Receipt(Outcome.DELIVERED)


class Scene:
    """One installation: its state on the disk, its API, what it sent, and the process that runs now."""

    def __init__(
        self, folder: Path, world: World, now: datetime, *rules: str, fast: bool = False, source: str = "auto"
    ) -> None:
        self.api = Api(world, now, fast)
        self._source = source
        self.channel = Recorder()
        self.alerts: list[dict[str, Any]] = []
        self.notices: list[Notice] = []
        self.key = 1
        lines = ["version: 1", "channels:", '  team: "json://127.0.0.1/"', "routes:", "  - {notify: [team]}", "rules:"]
        self._rules = "\n".join([*lines, *(f"  - {rule}" for rule in rules), ""])
        self._folder = folder
        self._store: SqliteStore | None = None
        self.start(now)

    @property
    def store(self) -> SqliteStore:
        assert self._store is not None
        return self._store

    def start(self, now: datetime) -> None:
        """A new process; the one before ends. It is put together as `wiring.connected` does."""
        self.close()
        self._store = open_store(self._folder / "budgetd.db", now)
        rulebook = parse(self._rules, "rules.yaml", environment={})
        self.evaluator = Evaluator(self.store, rulebook)
        inbox: Inbox = queue.SimpleQueue()
        lanes = InThisThread({"team": self.channel}, inbox.put)
        self._outbox = Outbox(self.store, self.evaluator, lanes, {"team": Flavour.TEXT}, Random(1))
        self._inbox = inbox
        self.store.interrupted(now)
        betas = [SPEED_BETA] if self.api.fast else []
        made = readers(self._source, betas, self._connect, self.store.recall(), self.evaluator)
        self.bill_reader, *others = made
        self.priced_reader, self.usage_reader = others or made * 2
        if isinstance(self.priced_reader, OptionalReader):
            # Most tests do without them, and use is not kept waiting.
            self.priced_reader.asked = True

    def _connect(self, *betas: str) -> Line:
        return Line(self, betas)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    # --- polls ---------------------------------------------------------------------------------

    def bill(self, now: datetime) -> Ticked:
        """A poll of the cost report, and what follows from it."""
        return self._poll(self.bill_reader, now)

    def usage(self, now: datetime) -> Ticked:
        """A poll of the usage report, and what follows from it."""
        return self._poll(self.usage_reader, now)

    def priced(self, now: datetime) -> Ticked:
        """A poll of the analytics, and what follows from it."""
        return self._poll(self.priced_reader, now)

    def observed_usage(self, now: datetime) -> Observation:
        """What a poll of the usage report brings by our clock's time, whatever the API's is. Nothing follows yet."""
        return observe(self.usage_reader, now, self.evaluator.wanted_since(now))

    def both(self, now: datetime) -> None:
        """Both sources at once: use was read before the bill, and is taken after it."""
        self.api.now = now
        observed = self.observed_usage(now)
        self.bill(now)
        self.notices += self.evaluator.take(observed, now).notices

    def warm_up(self, now: datetime) -> None:
        """The first polls: the history, its lessons, and today with what they taught."""
        self.bill(now)
        for _ in range(3):
            self.usage(now)
        self.channel.messages.clear()
        self.alerts.clear()
        self.notices.clear()

    def _poll(self, reader: Reader, now: datetime) -> Ticked:
        self.api.now, before = now, len(self.channel.messages)
        ticked = tick(reader, self.evaluator, self._outbox, self._inbox, now)
        self.notices += ticked.changes.notices
        for message in self.channel.messages[before:]:
            data = message.data["data"]
            self.alerts += data.get("alerts", [data])
        return ticked

    @contextlib.contextmanager
    def daemon(self) -> Iterator[Turns]:
        """A daemon of the process that runs now; its polls come when the test says so."""
        plans = {self.bill_reader: PollingPlan(), self.usage_reader: PollingPlan(SAME_DAY, WIDEST_SAME_DAY)}
        lanes = Lanes({}, self._inbox.put)
        made = Daemon(
            store=self.store,
            pollers=tuple(Poller(reader, plan) for reader, plan in plans.items()),
            evaluator=self.evaluator,
            outbox=self._outbox,
            lanes=lanes,
            inbox=self._inbox,
            supervisor=Supervisor({}, 1),
            load=lambda: self.evaluator.rulebook,
            equip=lambda _rulebook: Equipment({}, {}),
            heartbeat=lambda: None,
            jitter=Steady(),
        )
        yield Turns(self, made)
        lanes.close()

    # --- what is so ------------------------------------------------------------------------------

    def is_well(self, now: datetime) -> bool:
        """Whether the heartbeat may be heard after the last poll."""
        known = self.store.recall()
        return blind.is_well(known.health, (CostReport.NAME, USAGE), known.outbox, now)

    def reasons(self, rule: str | None = None) -> list[str]:
        """Why people were told something, in order."""
        return [each.reason.value for each in self.notices if rule in (None, each.facts.rule)]

    def days(self, first: date, after: date) -> list[CostDay]:
        """The kept days."""
        return list(self.store.cost_days(first, after))

    def kept(self, first: date, after: date) -> Decimal:
        """The dollars that are kept of the days, estimated or billed."""
        return money.total(amount for day in self.days(first, after) for amount in day.lines.values())

    def requests(self, now: datetime) -> dict[str, int]:
        """The requests of that UTC day that the state knows, by source."""
        return {source: days[now.date()] for source, days in self.store.requests(now.date()).items()}

    def incident(self, rule: str, day: date) -> Incident:
        """The rule's one incident of the period that holds the day."""
        (found,) = [each for each in self.store.incidents() if each.rule == rule and each.period.holds(day)]
        return found


class Steady(Random):
    """No jitter."""

    def random(self) -> float:
        return 0.0


@dataclass
class Turns:
    """The loop's part of a poll, in this thread and on the test's time."""

    here: Scene
    daemon: Daemon

    def turn(self, reader: Reader, now: datetime) -> timedelta:
        """A poll at that time is read and taken: how long the daemon then waits for the next one."""
        self.here.api.now = now
        return self._taken(Read(observe(reader, now, self.here.evaluator.wanted_since(now))), now)

    def again(self, now: datetime) -> timedelta:
        """What could not be kept is taken again."""
        (item,) = self.daemon._unsaved
        self.daemon._unsaved.clear()
        assert isinstance(item, Read)
        return self._taken(item, now)

    def _taken(self, item: Read, now: datetime) -> timedelta:
        known = {each.id for incident in self.here.store.incidents() for each in self.here.store.notices(incident.id)}
        self.daemon._handle(item, now)
        for incident in self.here.store.incidents():
            self.here.notices += [each for each in self.here.store.notices(incident.id) if each.id not in known]
        moment = self.daemon._poller(item.observation).next_poll
        assert moment is not None
        return moment.wall - now

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Another program holds the state's file."""
        with contextlib.closing(sqlite3.connect(self.here.store._database.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield


@contextlib.contextmanager
def scene(
    folder: Path, world: World, now: datetime, *rules: str, fast: bool = False, source: str = "auto"
) -> Iterator[Scene]:
    """An installation that begins at that time. `source`: what BUDGETD_SOURCE says."""
    with contextlib.closing(Scene(folder, world, now, *rules, fast=fast, source=source)) as made:
        yield made


def truth(world: World, first: date, now: datetime, seen: datetime, billed: set[date]) -> Decimal:
    """The dollars since the day `first`: `billed` days as they are billed now, the others as they were used by `seen`.

    Code execution and sessions are only in the bill.
    """
    parts = []
    for number in range((now.date() - first).days + 1):
        day = first + DAY * number
        if day in billed:
            lines = world.bill(day, now)
        else:
            end = min(max(int((seen - midnight(day)).total_seconds()), 0), 86_400)
            lines = world.lines_between(day, Span(0, end), now)
            lines = tuple(line for line in lines if line.dimensions.cost_type not in UNCOUNTED)
        parts += [line.dollars for line in lines]
    return money.total(parts)


def counted(world: World, now: datetime) -> datetime:
    """The instant before which the usage report has counted everything by now."""
    return (now - world.manners.usage_delay).replace(second=0, microsecond=0)
