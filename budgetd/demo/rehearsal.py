"""The real daemon's parts through the days of the story, restarts included; only the clock is not the world's."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random

from budgetd.channels import Sender
from budgetd.delivery import InThisThread
from budgetd.demo import story
from budgetd.evaluation import Evaluator
from budgetd.http import Api
from budgetd.inbox import Inbox
from budgetd.message import Flavour
from budgetd.outbox import Outbox
from budgetd.reader import Reader
from budgetd.readers import readers
from budgetd.rulebook import Rulebook
from budgetd.simulator.api import ADMIN_KEY
from budgetd.simulator.clocks import FixedClock
from budgetd.store import Store
from budgetd.stores.sqlite import open_store
from budgetd.tick import Ticked, deliver, tick


@dataclass(frozen=True, slots=True)
class Stage:
    """What the daemon of the story stands on. `senders` makes the ways out anew, as a start does."""

    clock: FixedClock
    api_url: str
    database: Path
    rulebook: Rulebook
    senders: Callable[[], Mapping[str, Sender]]


@dataclass(frozen=True, slots=True)
class Step:
    """One poll and the deliveries until the next one. `retried`: channels that took theirs at a later attempt, when."""

    at: datetime
    ticked: Ticked
    first: bool
    restarted: bool
    retried: tuple[tuple[str, datetime], ...] = ()


@dataclass(frozen=True, slots=True)
class _Process:
    """What lives from a start to the next."""

    store: Store
    bill: Reader
    priced: Reader
    use: Reader
    evaluator: Evaluator
    outbox: Outbox
    inbox: Inbox


def play(stage: Stage) -> Iterator[Step]:
    """Each poll as it happens. Raises StoreError."""
    waiting = list(story.RESTARTS)
    with contextlib.ExitStack() as life:
        process = life.enter_context(_started(stage))
        for number, now in enumerate(story.polls()):
            restart = bool(waiting) and now.date() >= waiting[0]
            if restart:
                del waiting[0]
                life.close()
                process = life.enter_context(_started(stage))
            stage.clock.set(now)
            ticked = tick(process.bill, process.evaluator, process.outbox, process.inbox, now)
            retried = tuple(_retries(process, stage.clock, now + story.POLL_EVERY))
            yield Step(now, ticked, number == 0, restart, retried)
        yield from _minutes(stage, process)


def _minutes(stage: Stage, process: _Process) -> Iterator[Step]:
    """Today, until the agent that burns money was told of. Use is read once it is known if the vendor prices hours."""
    reader = process.priced
    for now in story.minutes():
        stage.clock.set(now)
        ticked = tick(reader, process.evaluator, process.outbox, process.inbox, now)
        reader = process.use
        retried = tuple(_retries(process, stage.clock, now + story.MINUTE))
        yield Step(now, ticked, first=False, restarted=False, retried=retried)
        if any(story.is_burning(notice) for notice in ticked.changes.notices):
            return


def _retries(process: _Process, clock: FixedClock, end: datetime) -> Iterator[tuple[str, datetime]]:
    """Try again what was not taken, as soon as it is due; which channel took it at last, and when."""
    while (due := process.store.next_due()) is not None and due < end:
        now = max(due, clock())
        clock.set(now)
        channels = [delivery.channel for delivery in process.store.due(now, ())]
        delivered, undelivered = deliver(process.outbox, process.inbox, now)
        yield from ((channel, now) for channel in channels if delivered and not undelivered)


@contextlib.contextmanager
def _started(stage: Stage) -> Iterator[_Process]:
    """A daemon that has just started: nothing in its memory but what the database holds."""
    now = stage.clock()
    inbox: Inbox = queue.SimpleQueue()
    with contextlib.ExitStack() as life:

        def connect(*betas: str) -> Api:
            # Waiting for the simulated API would not move its clock.
            api = Api(stage.api_url, lambda: ADMIN_KEY, betas=betas, now=stage.clock, sleep=lambda _seconds: None)
            return life.enter_context(contextlib.closing(api))

        store = life.enter_context(contextlib.closing(open_store(stage.database, now)))
        store.interrupted(now)
        evaluator = Evaluator(store, stage.rulebook)
        lanes = InThisThread(stage.senders(), inbox.put)
        flavours = {story.SLACK: Flavour.SLACK}
        outbox = Outbox(store, evaluator, lanes, flavours, Random(1))  # noqa: S311 (the same waits on every run)
        bill, priced, use = readers("auto", (), connect, store.recall(), evaluator)
        yield _Process(store, bill, priced, use, evaluator, outbox, inbox)
