"""`budgetd once`: one whole pass, delivery included; or what one would do."""

from __future__ import annotations

import argparse
import contextlib
import queue
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import TextIO

from budgetd import clock, logs
from budgetd.caretaker import Caretaker
from budgetd.channels import console
from budgetd.channels.urls import scheme
from budgetd.commands import wiring
from budgetd.commands.arguments import instant
from budgetd.delivery import InThisThread
from budgetd.digests import Digests
from budgetd.evaluation import Evaluator, Observation
from budgetd.inbox import Inbox
from budgetd.message import render_safely
from budgetd.model import Changes, Failure
from budgetd.outbox import Outbox
from budgetd.reader import Reader
from budgetd.rulebook import Rulebook
from budgetd.settings import Settings
from budgetd.store import Store, StoreError
from budgetd.stores.sqlite import open_rehearsal, open_store
from budgetd.tick import deliver, observe


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.description = "Read the bill, evaluate the rules, deliver what is due; then end."
    parser.epilog = "example: budgetd once --dry-run     (from cron: budgetd once || echo 'budgetd needs a look')"
    parser.add_argument("--at", type=instant, metavar="TIME", help="as of that time (RFC 3339, 2026-11-18T06:00:00Z)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent; keep and send nothing")


def run(arguments: argparse.Namespace) -> int:
    """0: everything was read and delivered. 1: something was not; the state holds what is still to be delivered.

    78: configuration with mistakes, the key of another organisation for one.
    """
    now = arguments.at or clock.now()
    try:
        settings = wiring.settings_or_error()
        logs.set_up(settings.log)
        rulebook = wiring.rules_or_error(settings)
        if arguments.dry_run:
            return _rehearse(settings, rulebook, now, by_clock=arguments.at is None)
        return _act(settings, rulebook, now, by_clock=arguments.at is None)
    except wiring.ConfigurationError as error:
        wiring.complain(error)
        return wiring.EXIT_CONFIGURATION
    except StoreError as error:
        wiring.complain(error)
        return wiring.EXIT_FAILED


def _act(settings: Settings, rulebook: Rulebook, now: datetime, *, by_clock: bool) -> int:
    """`by_clock`: `now` is what this machine's clock says, so that it matters whether that is right."""
    inbox: Inbox = queue.SimpleQueue()
    equipment = wiring.equip(rulebook)
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(open_store(settings.database, now)))
        evaluator = Evaluator(store, rulebook)
        readers = stack.enter_context(wiring.connected(settings, store.recall(), evaluator))
        caretaker, steady = Caretaker(store, evaluator), clock.monotonic()
        caretaker.doing(lambda: wiring.take_up(store, evaluator, now), now, steady)
        lanes = InThisThread(equipment.senders, inbox.put)
        outbox = Outbox(store, evaluator, lanes, equipment.flavours, SystemRandom(), settings.status_url or "")
        seen = [_read(reader, evaluator, caretaker, now, steady, by_clock) for reader in readers]
        # The sources have been read, so nothing more will come in this process.
        digests = Digests(store, evaluator, settle=timedelta(0))
        caretaker.doing(lambda: digests.send_due(now), now, steady)
        delivered, _ = caretaker.doing(lambda: deliver(outbox, inbox, now), now, steady)
        caretaker.doing(lambda: outbox.resend(now), now, steady)
        waiting = len(store.recall().outbox)
        written = _leave(caretaker, store, now)
        code = _summary(seen, delivered, waiting, _beside_messages(rulebook))
        return max(code, wiring.EXIT_DONE if written else wiring.EXIT_FAILED)


def _beside_messages(rulebook: Rulebook) -> TextIO:
    """Where the summary goes: standard output, unless that is where messages are printed."""
    printing = any(scheme(channel.url) in console.KIND.schemes for channel in rulebook.channels.values())
    return sys.stderr if printing else sys.stdout


def _read(
    reader: Reader, evaluator: Evaluator, caretaker: Caretaker, now: datetime, steady: float, by_clock: bool
) -> tuple[Observation, Changes]:
    """Read the source until it has a report, or fails; keep what it brings."""
    while True:
        # The reader does not give the same days twice: only what is done with them can be done again.
        observation = observe(reader, now, evaluator.wanted_since(now))
        observation = observation if by_clock else replace(observation, skew=None)
        changes = caretaker.doing(partial(evaluator.take, observation, now), now, steady)
        if not observation.is_only_the_start:
            return observation, changes


def _leave(caretaker: Caretaker, store: Store, now: datetime) -> bool:
    """Whether the state could be written all the time; if not, what that means."""
    trouble = store.refuge
    written = caretaker.leave(now)
    if trouble is None:
        return True
    outcome = "it is written now" if written else "the next run may send again what was sent"
    wiring.complain(f"the state could not be written, messages were sent from memory; {outcome} ({trouble})")
    return False


def _summary(seen: Sequence[tuple[Observation, Changes]], delivered: int, waiting: int, output: TextIO) -> int:
    blind = _complain(seen)
    reached = [changes.through for _, changes in seen if changes.through is not None]
    if reached:
        said = sum(len(changes.notices) for _, changes in seen)
        through = f"{max(reached):%d %b %Y %H:%M} UTC"
        done = f"{_count(said, 'notice')}, {_count(delivered, 'message')} delivered."
        print(f"Data through {through}. {done}", file=output)
    if waiting:
        wiring.complain(
            f"{_count(waiting, 'message')} could not be delivered yet and will be tried again; see budgetd alerts"
        )
    return max(_exit_code(blind), wiring.EXIT_FAILED if waiting else wiring.EXIT_DONE)


def _exit_code(blind: Collection[Failure]) -> int:
    if Failure.FOREIGN in blind:
        return wiring.EXIT_CONFIGURATION
    return wiring.EXIT_FAILED if blind else wiring.EXIT_DONE


def _rehearse(settings: Settings, rulebook: Rulebook, now: datetime, *, by_clock: bool) -> int:
    """The same on a state whose changes stay in memory; messages are shown instead of sent."""
    with _rehearsal(settings.database, now) as state:
        evaluator = Evaluator(state, rulebook)
        caretaker, steady = Caretaker(state, evaluator), clock.monotonic()
        with wiring.connected(settings, state.recall(), evaluator) as readers:
            seen = [_read(reader, evaluator, caretaker, now, steady, by_clock) for reader in readers]
        looks_back = Digests(state, evaluator, settle=timedelta(0)).send_due(now)
    deliveries = [*(delivery for _, changes in seen for delivery in changes.deliveries), *looks_back]
    for delivery in deliveries:
        message = render_safely(delivery, now, status_page=settings.status_url or "")
        print(f"--- to {delivery.channel} ---\n{message.title}\n\n{message.body}\n")
    blind = _complain(seen)
    if any(observation.report is not None for observation, _ in seen):
        print(f"{_count(len(deliveries), 'message')} would be sent. Nothing was kept or sent.")
    return _exit_code(blind)


def _complain(seen: Sequence[tuple[Observation, Changes]]) -> frozenset[Failure]:
    """Say what was odd, and what could not be seen or trusted, and why."""
    blind = {health.message: health.failure for _, changes in seen for health in changes.health if health.failure}
    for observation, _ in seen:
        _remark(observation)
    for message in blind:
        wiring.complain(message)
    return frozenset(failure for failure in blind.values() if failure is not None)


def _remark(observation: Observation) -> None:
    """Oddities that were taken all the same."""
    for remark in observation.report.remarks if observation.report is not None else ():
        wiring.complain(remark)


@contextlib.contextmanager
def _rehearsal(database: Path, now: datetime) -> Iterator[Store]:
    """The state as it is, beside a daemon that may be using it; an empty one where there is none yet."""
    if database.exists():
        with contextlib.closing(open_rehearsal(database)) as kept:
            yield kept
    else:
        with tempfile.TemporaryDirectory() as folder, contextlib.closing(open_store(Path(folder) / "s.db", now)) as new:
            yield new


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
