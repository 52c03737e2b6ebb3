"""One simulated history: a process with all three sources that is killed and started again, and what people got."""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from budgetd.delivery import InThisThread
from budgetd.evaluation import Evaluator, Observation
from budgetd.inbox import Inbox
from budgetd.message import Flavour, Message
from budgetd.model import Failure, Outcome, Receipt, SourceError
from budgetd.outbox import Outbox
from budgetd.reader import Reader
from budgetd.readers import readers
from budgetd.rulebook import parse
from budgetd.simulator.api import ADMIN_KEY, AdminApi
from budgetd.simulator.wire import Request
from budgetd.stores.sqlite import SqliteStore, open_store
from budgetd.tick import deliver, observe
from tests.sameday_simulation.books import ANALYTICS, BILL, USAGE, Books, Used
from tests.sameday_simulation.company import MINUTE, found
from tests.sameday_simulation.judge import Expected, Judge, Key, Rule
from tests.simulation.crashes import BrokenPromiseError, Crash, Crashes, database_kind
from tests.simulation.sight import Sight

SOURCES = (BILL, ANALYTICS, USAGE)
_WATCHED = (BILL, USAGE)
_HEADERS = {"x-api-key": ADMIN_KEY, "anthropic-version": "2023-06-01"}
_FAULTS = {
    "503": (Failure.UNAVAILABLE, 503),
    "429": (Failure.UNAVAILABLE, 429),
    "refused connection": (Failure.UNREACHABLE, None),
    "404": (Failure.REJECTED, 404),
    "401": (Failure.REFUSED, 401),
}
_GARBAGE, _FROZEN = "garbage", "frozen"
# A report that answers, and has nothing newer than that, is not seen.
_MOST_LAG = {USAGE: timedelta(minutes=15), BILL: timedelta(hours=48), ANALYTICS: timedelta(hours=12)}
_PATHS = {BILL: "cost_report", USAGE: "usage_report", ANALYTICS: "analytics"}
# How often each source is polled, and after how many minutes the next poll of any comes.
_TURNS = (USAGE, USAGE, USAGE, USAGE, USAGE, USAGE, ANALYTICS, ANALYTICS, BILL)
_GAPS = (1, 1, 1, 2, 3, 5, 10, 20, 45)


class SimulationError(AssertionError):
    """A promise was broken: the seed, the moment, what it was, and what happened last."""


@dataclass(frozen=True)
class Plan:
    """How hard the world is, and for how long."""

    seed: int
    days: int = 5
    crash_likelihood: float = 0.004


@dataclass(frozen=True)
class Lived:
    """What happened: counts of everything that matters, and the digest of the whole trace."""

    counts: Counter[str]
    digest: str


@dataclass
class Item:
    """What a channel must get. `lost`: so many answers to a message with it never reached the daemon."""

    expected: Expected
    notice: str = ""
    accepted: int = 0
    lost: int = 0


class Channel:
    """Implements `Sender`: takes every message, unless the process dies before or after it."""

    def __init__(self, name: str, crashes: Crashes, counts: Counter[str]) -> None:
        self.name = name
        self.items: list[Item] = []
        self.told: set[Key] = set()
        self._crashes, self._counts = crashes, counts
        self._unsettled: list[Item] = []

    def send(self, message: Message, deadline: float) -> Receipt:
        """The process may die before the service has it, or before it hears so."""
        self._crashes.point("before a service took a message")
        data = message.data["data"]
        taken = [self._take(alert) for alert in data.get("alerts", [data])]
        self._counts["messages"] += 1
        self._unsettled += taken
        self._crashes.point("after a service took a message")
        return Receipt(Outcome.DELIVERED)

    def settled(self) -> None:
        """It is kept what became of all that was sent."""
        self._unsettled = []

    def died(self) -> None:
        """The process died: what it did not keep, may come once more."""
        for item in self._unsettled:
            item.lost += 1
        self._unsettled = []

    def _take(self, alert: dict[str, Any]) -> Item:
        found = _about(alert)
        same = [item for item in self.items if _same(item.expected, alert)]
        if not same:
            raise BrokenPromiseError(f"{self.name} got what nobody expects: {found}")
        item = next((each for each in same if not each.accepted or each.lost), None)
        if item is None:
            raise BrokenPromiseError(f"{self.name} got twice: {found}")
        before = [each for each in self.items if each.expected.key == item.expected.key and each is not item]
        late = [each for each in before if each.expected.number < item.expected.number and not each.accepted]
        if late:
            raise BrokenPromiseError(f"{self.name} got {found} before {late[0].expected}")
        if item.accepted:
            item.lost -= 1
            self._counts["repeated after a lost answer"] += 1
        if item.notice and item.notice != alert["notice"]:
            raise BrokenPromiseError(f"{self.name} got another id with the same: {found}")
        item.notice = alert["notice"]
        item.accepted += 1
        expected = item.expected
        if expected.through is not None and alert["data_through"] != _time(expected.through):
            raise BrokenPromiseError(f"{self.name}: data through {alert['data_through']}, not {expected}")
        return item


def _same(expected: Expected, alert: dict[str, Any]) -> bool:
    return (_key(expected), expected.number, _fields(expected)) == _about(alert)


def _key(expected: Expected) -> tuple[str, str]:
    return expected.key.rule, expected.key.scope


def _fields(expected: Expected) -> tuple[object, ...]:
    money = (expected.spent, expected.budget, expected.basis) if expected.spent is not None else None
    return expected.state, expected.reason, expected.severity, expected.step, money


def _about(alert: dict[str, Any]) -> tuple[object, ...]:
    """What a channel can tell of an alert, in the words of `Expected`."""
    scope = next((part["id"] for part in alert["scope"]["dimensions"]), "")
    step, money = alert["step"], alert["money"]
    figures = (money["spent"], money["budget"], money["basis"]) if money is not None else None
    resolved = alert["state"] == "resolved"
    reached = None if step is None or resolved else step["reached"]
    fields = (alert["state"], alert["reason"], alert["severity"], reached, figures)
    return (alert["rule"]["id"], scope), alert["sequence"], fields


@dataclass
class Line:
    """A reader's own connection: a Getter and a Line."""

    history: History
    betas: tuple[str, ...] = ()
    requests: int = 0
    last_skew: float | None = None

    def key_mark(self) -> str:
        """It has one key for ever."""
        return ""

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, deadline: float | None = None) -> bytes:
        """The body of a 200 answer. Raises SourceError."""
        self.requests += 1
        return self.history.answer(path, params, self.betas)


@dataclass
class History:
    """A history in the making. `run()` once."""

    plan: Plan

    def __post_init__(self) -> None:
        seed = self.plan.seed
        self.chance = random.Random(f"{seed}/history")
        # In one of five histories the analytics are all there is.
        self.alone = seed % 5 == 0
        self.company, self.start = found(seed, self.plan.days, analytics=self.alone)
        self.now = self.start.replace(second=self.chance.randrange(60))
        self.rules = _rules(random.Random(f"{seed}/rules"))
        self.books = Books(self.company)
        self.judge = Judge(self.rules, self.books)
        self.sources = (ANALYTICS,) if self.alone else SOURCES
        self.judge.bill_source = ANALYTICS if self.alone else BILL
        self.sights = {source: Sight(source) for source in (self.sources if self.alone else _WATCHED)}
        self.counts: Counter[str] = Counter()
        self.crashes = Crashes(random.Random(f"{seed}/crashes"), self.plan.crash_likelihood)
        self.channels = {name: Channel(name, self.crashes, self.counts) for name in ("team", "pager")}
        self._api = AdminApi(self.company.world)
        self._outages: dict[str, tuple[str, datetime]] = {}
        self._frozen_at: datetime | None = None
        self._window: tuple[date, date] | None = None
        self._awaiting: Callable[[], list[Expected]] | None = None
        self._trace: deque[str] = deque(maxlen=400)
        self._digest = hashlib.blake2b(digest_size=8)
        self._lives = 0

    def run(self) -> Lived:
        """Live through it all. Raises SimulationError."""
        with tempfile.TemporaryDirectory(prefix="sameday-") as folder, contextlib.ExitStack() as stack:
            self._folder = Path(folder)
            stack.callback(lambda: self._store.close())
            try:
                self._survive(self._boot)
                while self.now < self.start + timedelta(days=self.plan.days):
                    self._step()
            except BrokenPromiseError as broken:
                raise SimulationError(self._story(broken)) from broken
            except Exception as error:
                raise SimulationError(self._story(error)) from error
        self.counts.update(self.crashes.happened)
        return Lived(self.counts, self._digest.hexdigest())

    # --- the process ---------------------------------------------------------------------------

    def _boot(self) -> None:
        path = self._folder / f"life-{self._lives}"
        path.mkdir(exist_ok=True)
        kind = database_kind(self.crashes, self._committed)
        self._store: SqliteStore = open_store(path / "budgetd.db", self.now, kind=kind)
        rulebook = parse(_file(self.rules), "rules.yaml", environment={})
        self._evaluator = Evaluator(self._store, rulebook)
        self._inbox: Inbox = Inbox()
        lanes = InThisThread(self.channels, self._inbox.put)
        flavours = dict.fromkeys(self.channels, Flavour.TEXT)
        self._outbox = Outbox(self._store, self._evaluator, lanes, flavours, random.Random(1))
        made = readers("analytics" if self.alone else "auto", (), self._connect, self._store.recall(), self._evaluator)
        self._readers: dict[str, Reader] = {reader.source.name: reader for reader in made}
        self._store.interrupted(self.now)
        self.books.restarted()
        # A daemon that starts polls everything at once.
        self._first = self.chance.sample(self.sources, len(self.sources))
        self._deliver()

    def _connect(self, *betas: str) -> Line:
        return Line(self, betas)

    def _survive(self, act: Callable[[], None]) -> None:
        """Do it; when the process dies on the way, start another one from what is on the disk."""
        while True:
            try:
                act()
                self._all_arrived()
                return
            except Crash as crash:
                self._note(f"CRASH {crash}")
                self._bury()
                act = self._boot

    def _bury(self) -> None:
        """The files as a killed process leaves them."""
        self._awaiting = None
        for channel in self.channels.values():
            channel.died()
        before = self._folder / f"life-{self._lives}"
        self._lives += 1
        after = self._folder / f"life-{self._lives}"
        shutil.copytree(before, after, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
        self._store.close()
        shutil.rmtree(before)

    def _restart(self) -> None:
        self._note("restart")
        self.counts["clean restarts"] += 1
        self._store.close()
        self._boot()

    def _committed(self) -> None:
        for channel in self.channels.values():
            channel.settled()
        if self._awaiting is not None:
            kept, self._awaiting = self._awaiting, None
            for each in kept():
                self._expect(each)

    def _expect(self, each: Expected) -> None:
        about = f"{each.key.rule} {each.key.scope[-4:]} {each.key.span[0]:%d %H:%M} #{each.number}"
        self._note(f"due: {about} {each.state} {each.reason} {each.step} {each.spent} {each.basis}")
        self.counts[f"{each.state} {each.reason}"] += 1
        for channel in self.channels.values():
            if self._is_for(channel, each):
                channel.items.append(Item(each))
                channel.told |= {each.key} if each.state == "firing" else set()

    def _is_for(self, channel: Channel, each: Expected) -> bool:
        """An end is for whoever was told of the beginning, that of a period only for pagers."""
        pager = channel.name == "pager"
        if each.state != "resolved":
            return not pager or each.severity == "critical"
        return each.key in channel.told and (pager or each.reason != "period_over")

    def _all_arrived(self) -> None:
        for channel in self.channels.values():
            missing = [item.expected for item in channel.items if not item.accepted]
            if missing:
                raise BrokenPromiseError(f"{channel.name} never got {missing[0]}")

    # --- what goes on --------------------------------------------------------------------------

    def _step(self) -> None:
        if self._first:
            self.now += timedelta(seconds=self.chance.randrange(5))
            source = self._first.pop()
            self._survive(lambda: self._poll(source))
            return
        gap = self.chance.choice(_GAPS) if self.chance.random() < 0.995 else self.chance.choice((300, 900, 2_000))
        self.now += MINUTE * gap + timedelta(seconds=self.chance.randrange(60))
        self._change_outages()
        if self.chance.random() < 0.01:
            self._survive(self._restart)
        if self.chance.random() < 0.01:
            self._survive(self._reload)
        source = self.chance.choice(_TURNS if not self.alone else self.sources)
        self._survive(lambda: self._poll(source))

    def _reload(self) -> None:
        """A rules file that is as it was: nothing may be said because of it."""
        self._note("reload")
        self.counts["reloads"] += 1
        self._awaiting = lambda: self.judge.edited(self.now)
        self._evaluator.reload(parse(_file(self.rules), "rules.yaml", environment={}), self.now)
        self._deliver()

    def _change_outages(self) -> None:
        for source, (fault, until) in list(self._outages.items()):
            if self.now >= until:
                del self._outages[source]
                self._frozen_at = self._frozen_at if fault != _FROZEN else None
                self._note(f"{source} has no {fault} any more")
        if not self._outages and self.chance.random() < 0.006:
            source = self.chance.choice(self.sources)
            faults = (*_FAULTS, _GARBAGE, *((_FROZEN,) * 8 if source == USAGE and self._can_freeze else ()))
            fault = self.chance.choice(faults)
            self._frozen_at = self.now if fault == _FROZEN else self._frozen_at
            until = self.now + timedelta(minutes=self.chance.choice((10, 40, 150, 400)))
            down = fault in ("401", "refused connection") or (fault == "503" and self.chance.random() < 0.5)
            for each in self.sources if down else (source,):
                self._outages[each] = fault, until
            self.counts[f"outage: {fault}"] += 1
            self._note(f"{source} answers with {fault} until {until:%d %H:%M}")

    @property
    def _can_freeze(self) -> bool:
        """Where the running hour is shown with what is counted of it, nobody can tell that it is not all."""
        manners = self.company.world.manners
        return not manners.running_hour and not manners.leaves_out_unused

    def answer(self, path: str, params: Sequence[tuple[str, str]], betas: Sequence[str]) -> bytes:
        """The body of a 200 answer of the simulated API. Raises SourceError."""
        at = self.now
        for source, (fault, _) in self._outages.items():
            if fault in _FAULTS and (_PATHS[source] in path or fault == "401"):
                failure, status = _FAULTS[fault]
                raise SourceError(failure, f"simulated: {fault}", status=status)
            if fault == _GARBAGE and _PATHS[source] in path:
                return b"<html>502 Bad Gateway</html>"
            at = self._frozen_at if fault == _FROZEN and _PATHS[USAGE] in path and self._frozen_at else at
        headers = {**_HEADERS, "anthropic-beta": ",".join(betas)} if betas else _HEADERS
        answer = self._api.respond(Request("GET", path, tuple(params), headers), at)
        if answer.status != 200:
            failure = Failure.REFUSED if answer.status in (401, 403) else Failure.REJECTED
            raise SourceError(failure, answer.body.decode(), status=answer.status)
        if path.endswith("cost_report"):
            asked = dict(params)
            start, end = (date.fromisoformat(asked[name][:10]) for name in ("starting_at", "ending_at"))
            self._window = start, end
        return answer.body

    def _poll(self, source: str) -> None:
        """A poll, and what follows from it. What use tells may be taken only after a bill that was read later."""
        seen, used = self._observe(source)
        if source == USAGE and self.chance.random() < 0.1:
            self.counts["use that is taken after a later bill"] += 1
            self.now += timedelta(seconds=self.chance.randrange(20))
            self._take(*self._observe(BILL))
        self._take(seen, used)

    def _observe(self, source: str) -> tuple[Observation, Used]:
        now = self.now
        seen = observe(self._readers[source], now, self._evaluator.wanted_since(now))
        self._note(f"poll {source}: {seen.error or ('read' if seen.report else 'only the start')}")
        absent = source == ANALYTICS and self.company.world.manners.analytics != 200
        fault = self._outages[source][0] if source in self._outages else ""
        # A report that stands still has nothing at all to show of the days that are asked for, after a while.
        surely = fault != _FROZEN and not seen.is_only_the_start
        if surely and (seen.error is not None) != (bool(fault) or absent):
            raise BrokenPromiseError(f"{source}: {seen.error}")
        return seen, self.books.look_at_usage(now, self._frozen_at or now)

    def _take(self, seen: Observation, used: Used) -> None:
        now = self.now
        self._awaiting = lambda: self._kept(seen, used, now)
        self._evaluator.take(seen, now)
        if self._awaiting is not None:
            raise BrokenPromiseError("the outcome of a poll was not kept")
        self._deliver()

    def _kept(self, seen: Observation, used: Used, now: datetime) -> list[Expected]:
        source, error, report = seen.source, seen.error, seen.report is not None
        made: list[Expected] = []
        if report and source == BILL:
            assert self._window is not None
            made = self.judge.bill(*self._window, now)
        elif report:
            analytics = self.judge.analytics_alone if self.alone else self.judge.analytics
            made = self.judge.usage(now, used) if source == USAGE else analytics(now)
        if source in self.sights and (report or error is not None):
            made += self._sight(source, now, error)
        return made

    def _sight(self, source: str, now: datetime, error: SourceError | None) -> list[Expected]:
        sight = self.sights[source]
        failure = error.failure if error is not None else None
        if failure is None and self._is_stalled(source, now):
            failure = Failure.STALLED
        others = [other for other in self.sights.values() if other is not sight]
        said = sight.not_seen(failure, now, others) if failure is not None else sight.seen()
        return [
            Expected(Key("budgetd:blind", source, _since(each.span)), each.number, each.kind, each.reason, each.weight)
            for each in said
        ]

    def _is_stalled(self, source: str, now: datetime) -> bool:
        """Whether what was just read ends too long ago."""
        ends = self.books.used.shown if source == USAGE and self.books.used else self.books.bill_ends
        return ends is not None and now - ends > _MOST_LAG[source]

    def _deliver(self) -> None:
        deliver(self._outbox, self._inbox, self.now)

    # --- telling -------------------------------------------------------------------------------

    def _note(self, what: str) -> None:
        line = f"{self.now:%Y-%m-%d %H:%M:%S} {what}"
        self._digest.update(line.encode())
        self._trace.append(line)

    def _story(self, broken: Exception) -> str:
        lines = [f"seed {self.plan.seed}: {broken}", "what happened last:", *self._trace]
        return "\n  ".join(lines)


def _rules(chance: random.Random) -> tuple[Rule, ...]:
    return (
        Rule("day", "cap", chance.choice((40, 80, 160)), "day", (100, 200, 400, 800)),
        Rule("month", "cap", chance.choice((300, 600, 1_500)), "month", tuple(range(50, 1_000, 50)), severity="info"),
        Rule("each", "cap", chance.choice((30, 60)), "day", (80, 100, 150), each=True, severity="critical"),
        Rule("billed", "cap", chance.choice((40, 100)), "day", (100, 200), billed=True),
        Rule("billed-month", "cap", 500, "month", tuple(range(50, 1_000, 50)), billed=True),
        Rule("jump", "spike", chance.choice((10, 20)), "day", each=True),
        Rule("runaway", "rate", chance.choice((30, 80)), "hour", (100, 200), 100, each=True, severity="critical",
             minutes=chance.choice((5, 15, 60))),
    )  # fmt: skip


def _file(rules: tuple[Rule, ...]) -> str:
    lines = [
        "version: 1",
        "channels:",
        '  team: "json://127.0.0.1/"',
        '  pager: "pagerduty://0123456789abcdef0123456789abcdef"',
        "routes:",
        "  - {match: {severity: critical}, notify: [pager]}",
        "  - {notify: [team]}",
        "rules:",
        *(f"  - {rule.text()}" for rule in rules),
    ]
    return "\n".join([*lines, ""])


def _since(text: object) -> tuple[datetime, datetime]:
    start = datetime.fromisoformat(str(text))
    return start, start


def _time(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"


def live(plan: Plan) -> Lived:
    """One history. Raises SimulationError."""
    return History(plan).run()
