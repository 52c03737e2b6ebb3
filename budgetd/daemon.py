"""The loop that waits, reads, reloads, sends and tells systemd.

Everything that can block runs in a daemon thread of its own (the reader; a lane for each channel) and answers through
one inbox. The loop's thread alone decides and touches the store, so nothing needs a lock, and nothing delays an exit.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from typing import TypeVar

from budgetd import blind, clock, moving
from budgetd.caretaker import Caretaker
from budgetd.channels import Sender
from budgetd.delivery import Answer, Outbound
from budgetd.desk import Ask, Desk, DeskError
from budgetd.digests import Digests
from budgetd.evaluation import Evaluator, Observation
from budgetd.inbox import Asked, Inbox, Item, Read, Reload, Stop
from budgetd.message import Flavour
from budgetd.model import Changes, Delivery, Failure, Label, Planned, Reason, Severity, identity
from budgetd.outbox import Outbox
from budgetd.polling import PollingPlan, Standing
from budgetd.reader import Reader
from budgetd.rulebook import Rulebook, RulebookError
from budgetd.store import Store, StoreError
from budgetd.systemd import Supervisor
from budgetd.tick import observe

log = logging.getLogger("budgetd")

# Never asleep for longer: a suspended machine or a stepped clock is noticed within this many seconds.
LONGEST_NAP = 30.0
# A poll that takes longer hangs where no deadline reaches (a resolver): better to be started anew.
LONGEST_POLL = 600.0
# A wall clock that moves by this much against the steady one was set, or the machine slept.
CLOCK_STEP = timedelta(seconds=60)
# The state could not be written (disk full, locked): the same thing is tried again after this many seconds.
STORE_RETRY = 15.0
# And nothing is asked of a troubled state more often than this.
STORE_PAUSE = 1.0
SHORTEST_NAP = 0.01
# At the end, the answers to what has left are waited for so many seconds: else the next start must send it again.
LAST_ANSWERS = 0.8
# Before an end for another organisation's key, people's word of it is given so many seconds to arrive.
LAST_WORDS = 30.0
# Seconds that a question of somebody's may wait for the loop.
LONGEST_QUESTION = 20.0

# A source that has no first report yet is asked for one so often.
FIRST_REPORT_AGAIN = timedelta(seconds=5)

EXIT_DONE, EXIT_FAILED, EXIT_STATE, EXIT_CONFIGURATION = 0, 1, 75, 78

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Equipment:
    """The way out to each channel of a rulebook."""

    senders: Mapping[str, Sender]
    flavours: Mapping[str, Flavour]


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment on both clocks: whichever comes first, so that neither a sleep nor a set clock delays it."""

    wall: datetime
    steady: float

    def left(self, now: datetime, steady: float) -> float:
        """Seconds until then; 0 when it has come."""
        return max(0.0, min((self.wall - now).total_seconds(), self.steady - steady))


@dataclass(slots=True)
class Poller:
    """One source's turn: who reads it, how often, and where it stands."""

    reader: Reader
    plan: PollingPlan
    next_poll: Moment | None = None
    reading_since: float | None = None
    standing: Standing = field(default_factory=Standing)

    def is_due(self, now: datetime, steady: float) -> bool:
        """Whether it is time, and no poll of it is under way."""
        return self.reading_since is None and self.left(now, steady) <= 0

    def hangs(self, steady: float) -> bool:
        """Whether a poll has been under way for longer than any may."""
        return self.reading_since is not None and steady - self.reading_since > LONGEST_POLL

    def left(self, now: datetime, steady: float) -> float:
        """Seconds until the next poll; 0 before the first."""
        return self.next_poll.left(now, steady) if self.next_poll is not None else 0.0


@dataclass(frozen=True, slots=True)
class Farewell:
    """The end that is due once these deliveries are made, or when the steady clock says `until`."""

    deliveries: frozenset[str]
    until: float


@dataclass(slots=True)
class Daemon:
    """The loop.

    `load` reads the rules file again (raises RulebookError), `equip` builds the ways out for it, `heartbeat` is called
    after each whole good pass and must not block.
    """

    store: Store
    pollers: tuple[Poller, ...]
    evaluator: Evaluator
    outbox: Outbox
    lanes: Outbound
    inbox: Inbox
    supervisor: Supervisor
    load: Callable[[], Rulebook]
    equip: Callable[[Rulebook], Equipment]
    heartbeat: Callable[[], None]
    jitter: random.Random = field(default_factory=random.SystemRandom)
    status: str = "starting"
    broken_rules: bool = False
    polls: int = 0
    farewell: Farewell | None = None
    _own_key: bool = False
    _reload_asked: bool = False
    _stop_asked: bool = False
    _troubled: bool = False
    _unsaved: list[Item] = field(default_factory=list)
    _kept_up: date | None = None
    caretaker: Caretaker = field(init=False)
    digests: Digests = field(init=False)

    def __post_init__(self) -> None:
        self.caretaker = Caretaker(self.store, self.evaluator)
        self.digests = Digests(self.store, self.evaluator)

    def ask_reload(self) -> None:
        """Read the rules again soon; a hundred requests at once are one. From any thread."""
        if not self._reload_asked:
            self._reload_asked = True
            self.inbox.put(Reload())

    def submit(self, ask: Ask) -> str:
        """Do what somebody asks, and say what came of it. For another thread, which waits. Raises DeskError."""
        answers: queue.SimpleQueue[str | DeskError] = queue.SimpleQueue()
        self.inbox.put(Asked(ask, answers.put))
        try:
            said = answers.get(timeout=LONGEST_QUESTION)
        except queue.Empty:
            raise DeskError("the daemon is busy and may do it yet; look before you ask again") from None
        if isinstance(said, DeskError):
            raise said
        return said

    def ask_stop(self) -> None:
        """End soon. From any thread."""
        self._stop_asked = True
        self.inbox.put(Stop())

    def run(self) -> int:
        """Run until told to stop; the exit code. Raises StoreError for a state that cannot be used any more.

        A key that is another organisation's from the start ends it too, with 78; `status` says why.
        """
        self.supervisor.tell("READY=1")
        rulebook = self.evaluator.rulebook
        log.info("watching: %d rules, %d channels", len(rulebook.rules), len(rulebook.channels))
        while True:
            now, steady = clock.now(), clock.monotonic()
            if any(each.hangs(steady) for each in self.pollers):
                log.critical("a poll hangs since %d s: ending, to be started anew", LONGEST_POLL)
                return EXIT_FAILED
            self._guarded(partial(self.caretaker.look_after, now, steady))
            self._begin_polls(now, steady)
            self._guarded(partial(self.digests.send_due, now))
            self._guarded(partial(self.outbox.send_due, now))
            self._guarded(partial(self.outbox.look_after, now))
            self._guarded(partial(self.outbox.resend, now))
            self._report()
            item = self._wait(now, steady)
            self.lanes.abandon_overdue()
            if self._stop_asked:
                # What else was asked for, a reload say, is not begun any more; an answer is kept.
                if isinstance(item, Answer):
                    self._handle(item, clock.now())
                return self._end(EXIT_DONE)
            if item is not None:
                self._handle(item, clock.now())
            if self._is_said():
                return self._end(EXIT_CONFIGURATION)

    def _end(self, code: int) -> int:
        self.supervisor.tell("STOPPING=1", "STATUS=ending")
        self._settle_last()
        self._guarded(lambda: self.caretaker.leave(clock.now()))
        return code

    def _is_said(self) -> bool:
        """Whether nothing is left to be done but to end."""
        if self.farewell is None:
            return False
        memory = self._guarded(self.store.recall)
        pending = {delivery.id for delivery in memory.outbox} if memory is not None else self.farewell.deliveries
        return clock.monotonic() >= self.farewell.until or not pending & self.farewell.deliveries

    def _settle_last(self) -> None:
        """Begin nothing more; keep what becomes of the messages under way, as far as it is known soon."""
        until = clock.monotonic() + LAST_ANSWERS
        while self.outbox.in_flight and clock.monotonic() < until:
            try:
                item = self.inbox.get(timeout=max(0.0, until - clock.monotonic()))
            except queue.Empty:
                return
            if isinstance(item, Answer):
                self._handle(item, clock.now())

    def _handle(self, item: Item, now: datetime) -> None:
        """Do what the inbox asks; what the state could not take now stays on the desk and is tried again."""
        done: object = True
        if isinstance(item, Read):
            self._poller(item.observation).reading_since = None
            done = self._guarded(lambda: self._take(item.observation, now))
        elif isinstance(item, Answer):
            done = self._guarded(lambda: self.outbox.settle(item, now))
        elif isinstance(item, Reload):
            done = self._guarded(lambda: self._reload(now))
        elif isinstance(item, Asked):
            self._answer(item, now)
        if done is None:
            self._unsaved.append(item)

    def _answer(self, asked: Asked, now: datetime) -> None:
        """Who asks is there and can ask again: nothing of it is kept for later."""
        try:
            said = self._guarded(lambda: Desk(self.store, self.evaluator).do(asked.ask, now))
        except DeskError as error:
            asked.answer(error)
        else:
            log.info("%s by %s: %s", asked.ask.act.value, asked.ask.author, said)
            asked.answer(said or DeskError("the state cannot be written for now; ask again in a minute"))

    def _guarded(self, act: Callable[[], Result]) -> Result | None:
        """Do it, in memory when the state cannot be written; None when it must wait (locked: that ends by itself)."""
        try:
            return act()
        except StoreError as error:
            if not error.transient:
                raise
            if self.caretaker.helps(error, clock.now(), clock.monotonic()):
                return self._guarded(act)
            log.error("the state cannot be written for now: %s", error)
            self.status = f"the state cannot be written: {error}"
            self._troubled = True
            return None

    # --- waiting ---------------------------------------------------------------------------------

    def _wait(self, now: datetime, steady: float) -> Item | None:
        try:
            item: Item | None = self.inbox.get(timeout=self._nap(now, steady))
        except queue.Empty:
            item = self._unsaved.pop(0) if self._unsaved else None
        drift = (clock.now() - now) - timedelta(seconds=clock.monotonic() - steady)
        if abs(drift) >= CLOCK_STEP:
            log.warning("the clock moved by %s against the steady one: polling at once", drift)
            for each in self.pollers:
                each.next_poll = None
        return item

    def _nap(self, now: datetime, steady: float) -> float:
        """Seconds until there is something to do, at most."""
        naps = [LONGEST_NAP if self.farewell is None else max(0.0, self.farewell.until - steady)]
        if self.supervisor.watchdog is not None:
            naps.append(self.supervisor.watchdog / 3)
        if self._unsaved:
            naps.append(STORE_RETRY)
        elif self.farewell is None:
            naps += [each.left(now, steady) for each in self.pollers if each.reading_since is None]
        overdue = self.lanes.next_deadline()
        if overdue is not None:
            naps.append(overdue)
        for due in (self._guarded(self.store.next_due), self.outbox.next_fallback, self.outbox.next_resend):
            if due is not None:
                naps.append((due - now).total_seconds())
        shortest, self._troubled = (STORE_PAUSE if self._troubled else SHORTEST_NAP), False
        return max(shortest, min(naps))

    def _report(self) -> None:
        rules = "; the rules file has mistakes, the old rules stay in force" if self.broken_rules else ""
        state = f"; {self.caretaker.status}" if self.caretaker.status else ""
        self.supervisor.tell("WATCHDOG=1", f"STATUS={self.status}{rules}{state}")

    # --- polling ---------------------------------------------------------------------------------

    def _begin_polls(self, now: datetime, steady: float) -> None:
        # A newer reading must not be kept before an older one that still waits to be.
        for each in () if self._unsaved or self.farewell else self.pollers:
            if each.is_due(now, steady):
                since = self._guarded(lambda: self.evaluator.wanted_since(now))
                each.reading_since = steady
                threading.Thread(target=self._poll, args=(each.reader, now, since), name="reader", daemon=True).start()

    def _poll(self, reader: Reader, now: datetime, since: date | None) -> None:
        """In the reader's own thread."""
        self.inbox.put(Read(observe(reader, now, since)))

    def _poller(self, observation: Observation) -> Poller:
        return next(each for each in self.pollers if each.reader.source.name == observation.source)

    def _take(self, observation: Observation, now: datetime) -> bool:
        self.polls += 1
        poller = self._poller(observation)
        plan = poller.plan
        reached = observation.report.through if observation.report is not None else None
        standing = plan.after(poller.standing, now, reached, observation.error)
        wait = plan.wait(standing, now, observation.error, self.jitter)
        if observation.is_only_the_start:
            wait = FIRST_REPORT_AGAIN
        _plan(poller, timedelta(seconds=STORE_RETRY), now)
        # With the evaluation: what `status` says of the next poll is what this process has planned.
        changes = self.evaluator.take(observation, now, planned(plan, standing, wait, now))
        # Only now: an evaluation that could not be kept is taken again, and is not one poll more.
        poller.standing = standing
        _plan(poller, wait, now)
        self._note(observation, changes)
        if observation.report is not None:
            # Not a reason to take the observation again: it is kept.
            self._guarded(partial(self._keep_up, now))
        memory, sources = self.store.recall(), [each.reader.source.name for each in self.pollers]
        if blind.is_well(memory.health, sources, memory.outbox, now):
            self.heartbeat()
        self._look_at_key(observation, memory.outbox)
        return True

    def _look_at_key(self, observation: Observation, outbox: Iterable[Delivery]) -> None:
        """To begin with another organisation's key is a mistake of the configuration: say so to people, and end."""
        self._own_key = self._own_key or observation.organisation is not None
        foreign = observation.error is not None and observation.error.failure is Failure.FOREIGN
        if foreign and not self._own_key and self.farewell is None:
            said = frozenset(each.id for each in outbox if any(blind.is_of_blindness(n) for n in each.notices))
            self.farewell = Farewell(said, clock.monotonic() + LAST_WORDS)

    def _note(self, observation: Observation, changes: Changes) -> None:
        if observation.error is not None and observation.optional:
            log.info("%s is not used: %s", observation.source, observation.error.message)
        elif observation.error is not None:
            self.status = f"cannot see spend: {observation.error.message}"
            log.warning("poll failed (%s): %s", observation.error.failure.value, observation.error.message)
        elif changes.through is not None:
            self.status = f"data through {changes.through:%d %b %H:%M} UTC"
        for health in changes.health if observation.error is None else ():
            if health.failure is not None:
                log.warning("%s: %s", health.source, health.message)
        for remark in observation.report.remarks if observation.report is not None else ():
            log.warning("%s: %s", observation.source, remark)
        for lesson in self.evaluator.lessons:
            log.warning("prices: %s", lesson)
        for notice in changes.notices:
            log.info("notice %s: %s %s (%s)", notice.id, notice.facts.rule, notice.reason.value, notice.severity.value)

    def _keep_up(self, now: datetime) -> None:
        """Once a day: a backup, then retention."""
        if self._kept_up != now.date():
            try:
                self.store.back_up(now)
            except StoreError as error:
                # It needs more space than the state itself, which may well be writable still.
                if not error.transient:
                    raise
                log.error("no backup could be made today: %s", error)
            self.store.prune(now)
            self._kept_up = now.date()

    # --- edits -----------------------------------------------------------------------------------

    def _reload(self, now: datetime) -> bool:
        self._reload_asked = False
        self.supervisor.tell("RELOADING=1", f"MONOTONIC_USEC={int(clock.monotonic() * 1_000_000)}")
        try:
            rulebook = self.load()
        except RulebookError as error:
            self._keep_old_rules(error, now)
        else:
            rulebook, moved = moving.change_over(self.store, self.evaluator.rulebook, rulebook, now)
            equipment = self.equip(rulebook)
            self.evaluator.reload(rulebook, now)
            self.outbox.use(equipment.senders, equipment.flavours, moved)
            self.broken_rules = False
            log.info("reloaded: %d rules, %d channels", len(rulebook.rules), len(rulebook.channels))
        self.supervisor.tell("READY=1")
        return True

    def _keep_old_rules(self, error: RulebookError, now: datetime) -> None:
        log.error("the rules file has mistakes, the old rules stay in force:\n%s", error)
        self.broken_rules = True
        about = Label("rules", identity("rules", now.date(), error), "the rules file")
        text = f"The rules file has mistakes; the old rules stay in force.\n{error}"
        self.evaluator.tell(about, Reason.RELOAD_FAILED, Severity.WARNING, text, now)


def planned(plan: PollingPlan, standing: Standing, wait: timedelta, now: datetime) -> Planned:
    """The next poll as it is kept for people to see."""
    return Planned(
        now + wait, plan.interval(standing, now), widened=standing.widening > 0, words=plan.words(standing, now)
    )


def _plan(poller: Poller, wait: timedelta, now: datetime) -> None:
    poller.next_poll = Moment(now + wait, clock.monotonic() + wait.total_seconds())
