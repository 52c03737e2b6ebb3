"""`budgetd once`: one whole pass, delivery included; or what one would do."""

from __future__ import annotations

import argparse
import contextlib
import queue
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import SystemRandom

from budgetd import clock, logs
from budgetd.caretaker import Caretaker
from budgetd.commands import wiring
from budgetd.daemon import Inbox, deliver, observe
from budgetd.delivery import InThisThread
from budgetd.evaluation import Evaluator, Judge, Observation
from budgetd.message import render_safely
from budgetd.model import Changes, Failure
from budgetd.outbox import Outbox
from budgetd.rulebook import Rulebook
from budgetd.settings import Settings
from budgetd.store import StateReader, Store, StoreError
from budgetd.stores.reading import open_read_only
from budgetd.stores.sqlite import open_store

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.description = "Read the bill, evaluate the rules, deliver what is due; then end."
    parser.epilog = "example: budgetd once --dry-run     (from cron: budgetd once || echo 'budgetd needs a look')"
    parser.add_argument("--at", type=_instant, metavar="TIME", help="as of that time (RFC 3339, 2026-11-18T06:00:00Z)")
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
            return _rehearse(settings, rulebook, now)
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
        outbox = Outbox(store, evaluator, lanes, equipment.flavours, SystemRandom())
        # The reader does not give the same days twice: only what is done with them can be done again.
        seen = []
        for reader in readers:
            observation = observe(reader, now, evaluator.wanted_since(now))
            observation = observation if by_clock else replace(observation, skew=None)
            seen.append((observation, caretaker.doing(partial(evaluator.take, observation, now), now, steady)))
        delivered, _ = caretaker.doing(lambda: deliver(outbox, inbox, now), now, steady)
        waiting = len(store.recall().outbox)
        written = _leave(caretaker, store, now)
        return max(_summary(seen, delivered, waiting), wiring.EXIT_DONE if written else wiring.EXIT_FAILED)


def _leave(caretaker: Caretaker, store: Store, now: datetime) -> bool:
    """Whether the state could be written all the time; if not, what that means."""
    trouble = store.refuge
    written = caretaker.leave(now)
    if trouble is None:
        return True
    outcome = "it is written now" if written else "the next run may send again what was sent"
    wiring.complain(f"the state could not be written, messages were sent from memory; {outcome} ({trouble})")
    return False


def _summary(seen: Sequence[tuple[Observation, Changes]], delivered: int, waiting: int) -> int:
    blind = {health.message: health.failure for _, changes in seen for health in changes.health if health.failure}
    for observation, _ in seen:
        _remark(observation)
    for message in blind:
        wiring.complain(message)
    reached = [changes.through for _, changes in seen if changes.through is not None]
    if reached:
        said = sum(len(changes.notices) for _, changes in seen)
        through = f"{max(reached):%d %b %Y %H:%M} UTC"
        print(f"Data through {through}. {_count(said, 'notice')}, {_count(delivered, 'message')} delivered.")
    if waiting:
        wiring.complain(
            f"{_count(waiting, 'message')} could not be delivered yet and will be tried again; see budgetd alerts"
        )
    if Failure.FOREIGN in blind.values():
        return wiring.EXIT_CONFIGURATION
    return wiring.EXIT_FAILED if blind or waiting else wiring.EXIT_DONE


def _rehearse(settings: Settings, rulebook: Rulebook, now: datetime) -> int:
    with _state(settings.database, now) as state:
        judge = Judge(state, rulebook)
        with wiring.connected(settings, state.recall(), judge) as (bill, *estimates):
            observation = observe(bill, now, judge.wanted_since(now))
        if estimates:
            wiring.complain("a dry run reads the bill only; same-day estimates come with a real one")
        if observation.error is not None:
            wiring.complain(observation.error)
            foreign = observation.error.failure is Failure.FOREIGN
            return wiring.EXIT_CONFIGURATION if foreign else wiring.EXIT_FAILED
        _show(judge.judge(observation, now), observation, now)
    return wiring.EXIT_DONE


def _show(changes: Changes, observation: Observation, now: datetime) -> None:
    for delivery in changes.deliveries:
        message = render_safely(delivery, now)
        print(f"--- to {delivery.channel} ---\n{message.title}\n\n{message.body}\n")
    _remark(observation)
    print(f"{_count(len(changes.deliveries), 'message')} would be sent. Nothing was kept or sent.")


def _remark(observation: Observation) -> None:
    """Oddities that were taken all the same."""
    for remark in observation.report.remarks if observation.report is not None else ():
        wiring.complain(remark)


@contextlib.contextmanager
def _state(database: Path, now: datetime) -> Iterator[StateReader]:
    """The state as it is, beside a daemon that may be using it; an empty one where there is none yet."""
    if database.exists():
        with contextlib.closing(open_read_only(database)) as kept:
            yield kept
    else:
        with tempfile.TemporaryDirectory() as folder, contextlib.closing(open_store(Path(folder) / "s.db", now)) as new:
            yield new


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _instant(text: str) -> datetime:
    if _RFC_3339.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an RFC 3339 time such as 2026-11-18T06:00:00Z")
    try:
        return datetime.fromisoformat(text.upper().replace(" ", "T")).astimezone(UTC)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
