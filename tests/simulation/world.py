"""One simulated history: the daemon's own parts, a world that fails around them, and the oracle that watches."""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from budgetd import moving
from budgetd.channels import Sender, registry
from budgetd.delivery import InThisThread
from budgetd.desk import Desk, DeskError
from budgetd.evaluation import Evaluator
from budgetd.inbox import Inbox
from budgetd.message import Flavour
from budgetd.model import Act, Receipt
from budgetd.outbox import Outbox
from budgetd.period import midnight
from budgetd.reader import Reader
from budgetd.routing import present_name
from budgetd.rulebook import Rulebook, parse
from budgetd.sources.account import AdminAccount
from budgetd.sources.cost_report import CostReport
from budgetd.store import Store
from budgetd.stores.sqlite import SqliteStore, open_store
from budgetd.tick import deliver, tick
from tests.simulation import people, rulefiles, wire
from tests.simulation.api import FAULTS, SimulatedApi
from tests.simulation.channels import MOODS, Clocks, OldAddress, Service
from tests.simulation.company import found
from tests.simulation.crashes import Crash, Crashes, database_kind
from tests.simulation.desks import AlertmanagerDesk, PagerDutyDesk
from tests.simulation.oracle import BrokenPromiseError, Oracle
from tests.simulation.people import Wish
from tests.simulation.promises import Expected

# Beginnings before month ends, year ends and the leap day of 2028.
STARTS = (
    date(2027, 12, 10),
    date(2028, 2, 3),
    date(2026, 11, 20),
    date(2028, 1, 25),
    date(2027, 3, 25),
    date(2028, 8, 1),
)
_STEPS = (1, 1, 2, 3, 6, 6, 12, 24)


@dataclass(frozen=True)
class Parts:
    """What the daemon is made of; a mutant replaces one of them."""

    evaluator: type[Evaluator] = Evaluator
    outbox: type[Outbox] = Outbox
    source: type[CostReport] = CostReport
    store: Callable[[SqliteStore], Store] = lambda store: store


@dataclass(frozen=True, slots=True)
class Plan:
    """How hard the world is. `only_crash`: die at that one point instead of by chance; `people`: how busy they are."""

    seed: int
    days: int
    crash_likelihood: float = 0.01
    only_crash: int | None = None
    faults: bool = True
    calm_days: int = 5
    people: float = 0.1


@dataclass(frozen=True, slots=True)
class History:
    """What happened: counts of everything that matters, and the digest of the whole trace."""

    days: int
    counts: Counter[str]
    points: int
    digest: str


class SimulationError(AssertionError):
    """A promise was broken: the seed, the virtual moment, what it was, and the last things that happened."""


@dataclass
class World:
    """A history in the making. `run()` once."""

    plan: Plan
    parts: Parts = field(default_factory=Parts)

    def __post_init__(self) -> None:
        seed = self.plan.seed
        self.chance = random.Random(f"{seed}/world")
        self.start = midnight(STARTS[seed % len(STARTS)]) + timedelta(hours=self.chance.randrange(24))
        self.end = self.start + timedelta(days=self.plan.days)
        self.clocks = Clocks(self.start)
        self.company = found(seed, self.start.date())
        spec = rulefiles.first_file(self.company, random.Random(f"{seed}/rules"))
        self.spec = replace(spec, way=seed)
        self.counts: Counter[str] = Counter()
        self.oracle = Oracle(self.spec)
        self.crashes = Crashes(random.Random(f"{seed}/crashes"), self.plan.crash_likelihood, self.plan.only_crash)
        self.api = SimulatedApi(self.company, random.Random(f"{seed}/api"), self.start, glitches=self.plan.faults)
        self.services = {name: self._service(name) for name in rulefiles.CHANNELS}
        self._settling: str | None = None
        self._awaiting: Callable[[], list[Expected]] | None = None
        self._trace: deque[str] = deque(maxlen=25)
        self._digest = hashlib.blake2b(digest_size=8)
        self._skew_ends = self.start
        self._outage_ends = self.start
        self._moods_end = dict.fromkeys(self.services, self.start)
        self._backed_up = self.start
        self._restarts = 0
        self._dropped_audit = False
        self._addresses: set[str] = set()
        self._forgotten: set[str] = set()

    def _service(self, name: str) -> Service:
        chance = random.Random(f"{self.plan.seed}/{name}")
        desk = wire.desk(self.spec.url(name))
        return Service(name, desk, self.clocks, self.oracle, self.crashes, chance, self.counts)

    def run(self) -> History:
        """Live through it all. Raises SimulationError."""
        with tempfile.TemporaryDirectory(prefix="simulation-") as folder:
            self._folder = Path(folder)
            try:
                with wire.network(lambda host: self.services[rulefiles.OWNERS[host]]):
                    self._survive(self._boot)
                    while self.clocks.true < self.end:
                        self._step()
                    self._calm_down()
            except BrokenPromiseError as broken:
                raise SimulationError(self._story(broken)) from None
            finally:
                self._store.close()
        self.counts.update(self.oracle.counts)
        self.counts.update(self.crashes.happened)
        self.counts.update(self.api.met)
        self.counts["crashes"] = sum(self.crashes.happened.values())
        self.counts["days restated"] = self.oracle.promises.restated
        return History(self.plan.days, self.counts, self.crashes.points, self._digest.hexdigest())

    # --- the process ---------------------------------------------------------------------------

    def _boot(self) -> None:
        """A process starts: whatever is not in the database is gone."""
        self._database = self._folder / f"life-{self._restarts}" / "budgetd.db"
        kind = database_kind(self.crashes, self._committed)
        self._store = open_store(self._database, self.clocks.wall, kind=kind)
        self._watch_settling()
        store = self.parts.store(self._store)
        rulebook = parse(self.spec.text(), "rules.yaml", environment={})
        # Of all addresses a new process knows only the present one.
        self._forgotten |= self._addresses - {_address(rulebook.channels["pager"].url)}
        self._inbox: Inbox = Inbox()
        self._desk_store = store
        self._evaluator = self.parts.evaluator(store, rulebook)
        lanes = InThisThread(self._senders(rulebook), self._inbox.put)
        jitter = random.Random(f"{self.plan.seed}/jitter/{self._restarts}")
        self._outbox = self.parts.outbox(store, self._evaluator, lanes, self._flavours(rulebook), jitter)
        memory = store.recall()
        source = self.parts.source(self.api, through=memory.through)
        self._reader = Reader(source, AdminAccount(self.api), memory.organisation, self.api)
        store.interrupted(self.clocks.wall)
        moving.take_up(store, self._evaluator, self.clocks.wall)

    def _watch_settling(self) -> None:
        """From the commit on in which an answer is kept, its message must not be sent again."""
        settle = self._store.settle

        def watched(delivery: str, receipt: Receipt, now: datetime, **how: Any) -> None:
            self._settling = delivery
            settle(delivery, receipt, now, **how)
            self._settling = None

        self._store.settle = watched  # type: ignore[method-assign]

    def _senders(self, rulebook: Rulebook) -> Mapping[str, Sender]:
        found: dict[str, Sender] = {}
        for name, channel in rulebook.channels.items():
            service = self.services[name]
            service.sender, service.address = self._sender(service, channel.url), _address(channel.url)
            found[name] = service
        self._addresses.add(self.services["pager"].address)
        for name, channel in rulebook.retired.items():
            service = self.services[present_name(name)]
            old = self._sender(service, channel.url)
            found[name] = OldAddress(service, old, _address(channel.url), self._forgotten)
        return found

    def _sender(self, service: Service, url: str) -> Sender:
        return wire.sender(url, lambda: self.clocks.wall, service)

    def _flavours(self, rulebook: Rulebook) -> Mapping[str, Flavour]:
        return {name: registry.flavour(channel.url) for name, channel in rulebook.destinations.items()}

    def _survive(self, act: Callable[[], None]) -> None:
        """Do it; when the process dies on the way, start another one from what is on the disk, and poll at once."""
        while True:
            try:
                act()
                self.oracle.pass_ended()
                return
            except Crash as crash:
                self._note(f"CRASH {crash}")
                self._bury()
                act = self._reborn

    def _reborn(self) -> None:
        self._boot()
        if self.plan.faults and self.chance.random() < 0.15:
            self.counts["people without a daemon"] += 1
            self._someone_acts(sending=False)
            self._store.close()
            self._boot()
        self._poll()

    def _bury(self) -> None:
        """What a killed process leaves: its files as they are, without the folding of the log that an end brings."""
        self._awaiting = self._settling = None
        self.oracle.crashed(self.clocks.true)
        for service in self.services.values():
            service.process_died()
        left = self._folder / f"life-{self._restarts + 1}"
        shutil.copytree(self._database.parent, left, ignore=shutil.ignore_patterns("*-shm"))
        self._store.close()
        shutil.rmtree(self._database.parent)
        self._restarts += 1
        image = left / "image"
        image.mkdir()
        for file in left.glob("budgetd.db*"):
            if not file.name.endswith(".lock"):
                shutil.copy(file, image)
        connection = sqlite3.connect(image / "budgetd.db")
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        connection.close()
        shutil.rmtree(image)
        if verdict != "ok":
            raise BrokenPromiseError(f"the database is damaged after a crash: {verdict}")

    def _restart(self) -> None:
        """A clean stop and start: nothing may be said because of it."""
        self.counts["clean restarts"] += 1
        self._note("restart")
        self._store.close()
        self._boot()
        self._poll()

    def _committed(self) -> None:
        if self._settling is not None:
            self.oracle.confirmed(self._settling, self.clocks.wall)
            for service in self.services.values():
                service.confirmed(self._settling)
        if self._awaiting is not None:
            kept, self._awaiting = self._awaiting, None
            for each in kept():
                self._note(f"due: {each.key} #{each.number} {each.kind} {each.reason} {each.step} {each.spent}")

    # --- what goes on --------------------------------------------------------------------------

    def _step(self) -> None:
        """Some hours: things change, what is due is sent meanwhile, and then a poll."""
        step = timedelta(hours=self.chance.choice(_STEPS), seconds=self.chance.randrange(300))
        target = self.clocks.true + step
        if self.plan.faults:
            self._change_moods()
            self._change_outage()
            self._move_clock()
            if self.chance.random() < self.plan.people:
                self._survive(self._someone_acts)
        self._edit_perhaps()
        for _ in range(self.chance.randrange(5)):
            due = min((d for d in (self._store.next_due(), self._outbox.next_fallback) if d is not None), default=None)
            wait = max(due - self.clocks.wall, timedelta(seconds=1)) if due is not None else timedelta.max
            if self.clocks.true + min(wait, timedelta(days=2)) >= target:
                break
            self._advance(self.clocks.true + wait)
            self._survive(self._deliver)
        self._advance(target)
        self._survive(self._restart if self.chance.random() < 0.03 else self._poll)
        self._keep_up()
        for service in self.services.values():
            if service.name in self.spec.channels and service.mood is None:
                self.oracle.nothing_is_late(service.name, service.taking_since, self.clocks.true, self.clocks.wall)

    def _advance(self, to: datetime) -> None:
        self.clocks.true = self.api.now = to.replace(microsecond=0)

    def _poll(self) -> None:
        self.api.begin_poll()
        at, wall = self.clocks.true, self.clocks.wall
        self._awaiting = lambda: self.oracle.kept_poll(self.api.served(), at, wall)
        ticked = tick(self._reader, self._evaluator, self._outbox, self._inbox, wall)
        if self._awaiting is not None:
            raise BrokenPromiseError("the outcome of a poll was not kept")
        what = ticked.observation.error or "read"
        self._note(f"poll: {what}; {ticked.delivered} sent, {ticked.undelivered} not")

    def _deliver(self) -> None:
        delivered, undelivered = deliver(self._outbox, self._inbox, self.clocks.wall)
        self._note(f"delivery: {delivered} sent, {undelivered} not")

    def _edit_perhaps(self) -> None:
        if self.chance.random() < 0.03:
            kind, self.spec = rulefiles.edited(self.spec, self.company, self.chance)
            self.counts[f"edit: {kind}"] += 1
            self.counts["edits"] += 1
            self._dropped_audit = self._dropped_audit or "audit" not in self.spec.channels
            self._note(f"edit: {kind}")
            self._survive(self._reload)

    def _reload(self) -> None:
        rulebook = parse(self.spec.text(), "rules.yaml", environment={})
        self.oracle.use(self.spec, self.clocks.true)
        at, wall = self.clocks.true, self.clocks.wall
        rulebook, moved = moving.change_over(self._desk_store, self._evaluator.rulebook, rulebook, wall)
        self._awaiting = lambda: self.oracle.kept_edit(at, wall)
        self._evaluator.reload(rulebook, wall)
        self._outbox.use(self._senders(rulebook), self._flavours(rulebook), moved)
        self._deliver()

    def _someone_acts(self, *, sending: bool = True) -> None:
        """Somebody asks something of the desk, which a daemon answers, or the command by itself."""
        at, wall = self.clocks.true, self.clocks.wall
        stories = self.oracle.promises.stories
        wish = people.wish(self.chance, self.spec, self.company, stories, self.oracle.people, wall)
        if wish is None or not stories:
            return
        self._note(f"somebody: {wish}")
        refused = self.oracle.refuses(wish, wall)
        self._awaiting = lambda: self.oracle.kept_act(wish, at, wall)
        try:
            Desk(self._desk_store, self._evaluator).do(wish.ask(self._subject(wish)), wall)
        except DeskError as error:
            self._awaiting = None
            if not refused:
                raise BrokenPromiseError(f"{wish} was refused: {error}") from None
            self.counts["people: refused"] += 1
        else:
            if refused:
                raise BrokenPromiseError(f"{wish} was done, and could not be")
        if sending:
            self._deliver()

    def _subject(self, wish: Wish) -> str:
        """The id as lists show it, of the incident or the silence."""
        key = wish.hush.incident if wish.hush is not None and wish.act is Act.SILENCE else wish.key
        for incident in self._store.incidents() if key is not None else ():
            span = (incident.period.start.date(), incident.period.end.date())
            if (incident.rule, incident.scope, span) == key:
                return incident.id
        found = (each.id for each in self._store.silences() if wish.hush and wish.hush.is_kept_as(each))
        return next(found, "")

    def _keep_up(self) -> None:
        if self.clocks.true - self._backed_up > timedelta(days=20):
            self._backed_up = self.clocks.true
            self._survive(lambda: self._store.prune(self.clocks.wall))

    # --- what goes wrong -----------------------------------------------------------------------

    def _change_moods(self) -> None:
        for name, service in self.services.items():
            if self.clocks.true < self._moods_end[name]:
                continue
            service.change(None)
            if self.chance.random() < 0.04:
                moods = MOODS if name != "audit" else (*MOODS, "gone")
                service.change(self.chance.choice(moods))
                hours = self.chance.choice((1, 3, 8, 30, 100))
                self._moods_end[name] = self.clocks.true + timedelta(hours=hours)
                self.counts[f"mood: {service.mood}"] += 1
                self._note(f"{name} is {service.mood} for {hours} h")

    def _change_outage(self) -> None:
        if self.clocks.true < self._outage_ends:
            return
        self.api.outage = None
        if self.chance.random() < 0.02:
            self.api.outage = self.chance.choice(FAULTS)
            self._outage_ends = self.clocks.true + timedelta(hours=self.chance.choice((1, 3, 12, 40)))
            self.counts["outages"] += 1
            self._note(f"the API answers with: {self.api.outage}")

    def _move_clock(self) -> None:
        if self.clocks.true < self._skew_ends:
            return
        skew = timedelta(0)
        if self.chance.random() < 0.006:
            skew = self.chance.choice((timedelta(days=-2), timedelta(days=40), timedelta(seconds=-30)))
            self._skew_ends = self.clocks.true + timedelta(hours=self.chance.choice((1, 6, 30)))
            self.counts["clock jumps"] += 1
        if skew != self.clocks.skew:
            self._note(f"the wall clock is wrong by {skew}")
            self.clocks.skew = skew
            self.oracle.clock_moved(self.clocks.true)
            for service in self.services.values():
                service.clock_moved()

    def _calm_down(self) -> None:
        """Every fault ends, and some days pass: whatever was decided must arrive now."""
        self.crashes.armed = self.api.glitches = False
        self.api.outage = None
        self.clocks.skew = timedelta(0)
        self.oracle.clock_moved(self.clocks.true)
        for service in self.services.values():
            service.change(None)
            service.clock_moved()
        self._end_silences()
        self.spec = replace(self.spec, quiet=())
        self._survive(self._reload)
        until = self.clocks.true + timedelta(days=self.plan.calm_days)
        while self.clocks.true < until:
            self._advance(self.clocks.true + timedelta(hours=2))
            self._survive(self._poll)
        for service in self.services.values():
            if service.name in self.spec.channels and service.mood is None:
                self.oracle.nothing_is_late(service.name, service.taking_since, self.clocks.true, self.clocks.wall)
        taking = {name: self.services[name].mood is None for name in self.spec.channels}
        self.oracle.at_the_end(taking, self.clocks.wall)
        desk = self.services["pager"].desk
        if isinstance(desk, PagerDutyDesk):
            self.oracle.check_pages("pager", desk.open, desk.about, self._forgotten)
        alerts = self.services["audit"].desk
        if isinstance(alerts, AlertmanagerDesk) and taking.get("audit") and not self._dropped_audit:
            self.oracle.check_alerts("audit", alerts.firing(self.clocks.wall))

    def _end_silences(self) -> None:
        """What they keep back leaves now; no quiet time lasts as long as the calm does."""
        for hush in self.oracle.people.silences:
            at, wall = self.clocks.true, self.clocks.wall
            if hush.is_active(wall):
                wish = Wish(Act.END_SILENCE, hush=hush)
                self._awaiting = partial(self.oracle.kept_act, wish, at, wall)
                Desk(self._desk_store, self._evaluator).do(wish.ask(self._subject(wish)), wall)

    # --- telling -------------------------------------------------------------------------------

    def _note(self, what: str) -> None:
        line = f"{self.clocks.true:%Y-%m-%d %H:%M} {what}"
        self._digest.update(line.encode())
        self._trace.append(line)

    def _story(self, broken: BrokenPromiseError) -> str:
        day = (self.clocks.true - self.start).days
        lines = [f"seed {self.plan.seed}, day {day}: {broken}", "what happened last:", *self._trace]
        return "\n  ".join(lines)


def _address(url: str) -> str:
    """What tells one address of the pager from another."""
    return url.partition("://")[2].partition("@")[0]


def live(plan: Plan, parts: Parts | None = None) -> History:
    """One history. Raises SimulationError."""
    return World(plan, parts or Parts()).run()
