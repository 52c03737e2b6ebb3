"""`budgetd run`: the daemon."""

from __future__ import annotations

import argparse
import logging
import os
import queue
import signal
import threading
from pathlib import Path
from random import SystemRandom

from budgetd import clock, logs
from budgetd.commands import wiring
from budgetd.commands.people import socket_link
from budgetd.control import Control
from budgetd.daemon import EXIT_STATE, Daemon, Poller
from budgetd.delivery import Lanes
from budgetd.evaluation import Evaluator
from budgetd.inbox import Inbox
from budgetd.outbox import Outbox
from budgetd.polling import HOURLY, PRICED_HOURS, SAME_DAY, WIDEST_SAME_DAY, PollingPlan
from budgetd.reader import OptionalReader, Reader, UsageReader
from budgetd.rulebook import Rulebook
from budgetd.settings import Settings
from budgetd.store import StoreError
from budgetd.stores.sqlite import SqliteStore, open_store
from budgetd.systemd import Supervisor

log = logging.getLogger("budgetd")

# The second request to stop does not wait for the first to be done.
EXIT_FORCED = 1
_HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command: none; settings come from the environment."""
    parser.description = "Watch spend and alert, until told to stop. SIGHUP reads the rules file again."
    parser.epilog = "example: BUDGETD_ADMIN_KEY_FILE=/etc/budgetd/key BUDGETD_RULES=rules.yaml budgetd run"


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT: 0. Configuration with mistakes, another organisation's key: 78. State in use: 1;
    state that failed: 75.
    """
    # Every thread inherits it, so that none but the one that waits for them is given a signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
    try:
        settings = wiring.settings_or_error()
        logs.set_up(settings.log)
        rulebook = wiring.rules_or_error(settings)
    except wiring.ConfigurationError as error:
        wiring.complain(error)
        return wiring.EXIT_CONFIGURATION
    try:
        store = open_store(settings.database, clock.now())
    except StoreError as error:
        wiring.complain(error)
        return wiring.EXIT_FAILED
    try:
        return _watch(settings, rulebook, store)
    except wiring.ConfigurationError as error:
        wiring.complain(error)
        return wiring.EXIT_CONFIGURATION
    except StoreError as error:
        wiring.complain(error)
        return EXIT_STATE
    finally:
        store.close()


def _watch(settings: Settings, rulebook: Rulebook, store: SqliteStore) -> int:
    inbox: Inbox = queue.SimpleQueue()
    equipment = wiring.equip(rulebook)
    lanes = Lanes(equipment.senders, inbox.put)
    evaluator = Evaluator(store, rulebook)
    jitter = SystemRandom()
    with wiring.connected(settings, store.recall(), evaluator) as readers:
        daemon = Daemon(
            store=store,
            pollers=tuple(Poller(reader, _plan(reader, settings)) for reader in readers),
            evaluator=evaluator,
            outbox=Outbox(store, evaluator, lanes, equipment.flavours, jitter, settings.status_url or ""),
            lanes=lanes,
            inbox=inbox,
            supervisor=Supervisor(os.environ, os.getpid()),
            load=lambda: wiring.rules(settings),
            equip=wiring.equip,
            heartbeat=wiring.heartbeat(settings),
            jitter=jitter,
        )
        _heed_signals(daemon)
        now = clock.now()
        daemon.caretaker.doing(lambda: wiring.take_up(store, evaluator, now), now, clock.monotonic())
        control = _listen(settings, daemon)
        try:
            code = daemon.run()
            if code == wiring.EXIT_CONFIGURATION:
                wiring.complain(daemon.status)
            return code
        finally:
            lanes.close()
            if control is not None:
                control.close()


def _listen(settings: Settings, daemon: Daemon) -> Control | None:
    """The way in for people's commands. Without one alerts go on all the same."""
    # systemd may name several; the first is the unit's own.
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    try:
        return Control(socket_link(settings.database), Path(runtime) if runtime else None, daemon.submit)
    except OSError as error:
        log.error("budgetd silence, ack and resolve cannot reach this process: %s", error)
        return None


def _plan(reader: Reader, settings: Settings) -> PollingPlan:
    """The operator's interval for every source. Else the plan for the bill, and a minute for same-day use.

    What is refreshed every few hours is not asked more often for that.
    """
    if isinstance(reader, UsageReader):
        return PollingPlan(settings.poll_every or SAME_DAY, WIDEST_SAME_DAY)
    if isinstance(reader, OptionalReader):
        return PollingPlan(max(settings.poll_every or PRICED_HOURS, PRICED_HOURS), after_refusal=HOURLY)
    return PollingPlan(settings.poll_every)


def _heed_signals(daemon: Daemon) -> None:
    """From now on a thread of its own takes the signals that were kept waiting.

    Not a handler: that runs in the main thread, which sleeps on when the kernel gives the signal to another thread.
    """
    threading.Thread(target=_await_signals, args=(daemon,), name="signals", daemon=True).start()


def _await_signals(daemon: Daemon) -> None:
    asked = False
    while True:
        if signal.sigwait(_HEEDED) == signal.SIGHUP:
            daemon.ask_reload()
        elif asked:
            os._exit(EXIT_FORCED)
        else:
            asked = True
            daemon.ask_stop()
