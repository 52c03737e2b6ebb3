"""`budgetd simulate`: the simulated Admin API as a server of its own, for trying rules without a key."""

from __future__ import annotations

import argparse
import errno
import re
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from types import FrameType

from budgetd import clock
from budgetd.period import midnight
from budgetd.simulator import faults, prices, worlds
from budgetd.simulator.api import ADMIN_KEY
from budgetd.simulator.clocks import Clock, accelerated
from budgetd.simulator.faults import Fault, FaultScript
from budgetd.simulator.organisation import World
from budgetd.simulator.script import Runaway
from budgetd.simulator.server import SimulatedServer, serve

DEFAULT_PORT = 9469

_RUNAWAY = re.compile(r"(\d{4}-\d\d-\d\d):([^:]+):([^:]+):([0-9]{1,9}(?:\.[0-9]{1,2})?)", re.ASCII)
_EXAMPLE = """\
examples:
  budgetd simulate
  budgetd simulate --start 2026-11-01 --speed 3600 --runaway 2026-11-03:Research:claude-opus-4-8:900
  budgetd simulate --fault 429=30:3 --fault hang:1@cost_report

A fault is KIND[=VALUE][:TIMES][@PATH]. KIND is a status such as 429 (VALUE: its Retry-After) or one of
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.description = "Serve a simulated organisation's Admin API on loopback until Ctrl-C."
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLE + textwrap.fill(f"{', '.join(faults.KINDS)}.", 100)
    add = parser.add_argument
    add("--port", type=int, default=DEFAULT_PORT, help="port on 127.0.0.1; 0 takes any free one (default %(default)s)")
    add("--seed", type=int, default=1, help="another seed is another organisation (default %(default)s)")
    add("--start", type=_day, metavar="DATE", help="the UTC day that it is at first (default: now)")
    add("--speed", type=_speed, default=1.0, metavar="N", help="simulated seconds a second (default 1; 3600: an hour)")
    add("--runaway", type=_runaway, action="append", default=[], metavar="DATE:WORKSPACE:MODEL:DOLLARS",
        help="on that UTC day this much more is spent; may be given again")  # fmt: skip
    add("--fault", type=_fault, action="append", default=[], metavar="FAULT", help="see below; may be given again")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM: 0. The port is taken: 1. A runaway names something that does not exist: 2."""
    start = midnight(arguments.start) if arguments.start else clock.now()
    script = FaultScript(arguments.fault)
    try:
        world = _world(arguments, start)
        with (
            _asked_to_stop() as stop,
            serve(world, clock=_clock(arguments, start), faults=script, port=arguments.port) as server,
        ):
            print(_welcome(server, world), flush=True)
            stop.wait()
    except (ValueError, OSError) as error:
        hint = f"; another port is {arguments.port + 1}: --port {arguments.port + 1}" if _taken(error) else ""
        print(f"budgetd simulate: {error}{hint}", file=sys.stderr)
        return 1 if isinstance(error, OSError) else 2
    return 0


def _taken(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EADDRINUSE


def _clock(arguments: argparse.Namespace, start: datetime) -> Clock:
    if arguments.start is None and arguments.speed == 1:
        return clock.now
    return accelerated(start, arguments.speed, clock.monotonic)


def _world(arguments: argparse.Namespace, start: datetime) -> World:
    world = worlds.standard(arguments.seed, start.date())
    runaways = [
        Runaway(day, world.workspace_id(workspace, start), prices.model(model).id, dollars=dollars)
        for day, workspace, model, dollars in arguments.runaway
    ]
    return world.with_events(*runaways)


def _welcome(server: SimulatedServer, world: World) -> str:
    now = server.clock()
    names = ", ".join(["Default", *(known.name(now) for known in world.workspaces if not known.archived_at(now))])
    settings = f"BUDGETD_API_URL={server.url} BUDGETD_ADMIN_KEY={ADMIN_KEY}"
    return f"""\
The simulated Admin API of "{world.name}" listens on {server.url}
It is {now:%A %d %B %Y, %H:%M} UTC there. A day's cost appears about {world.delay.seconds // 3600} h after the day ends.
Workspaces: {names}
Key (it opens nothing else): {ADMIN_KEY}

In another terminal:
  {settings} budgetd check
  {settings} budgetd once --dry-run
  {settings} budgetd run

Ctrl-C ends it."""


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set while the block runs."""
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-11-18") from None


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < speed <= 1_000_000:
        raise argparse.ArgumentTypeError("must be above 0 and at most 1000000")
    return speed


def _runaway(text: str) -> tuple[date, str, str, Decimal]:
    found = _RUNAWAY.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not DATE:WORKSPACE:MODEL:DOLLARS")
    return _day(found[1]), found[2], found[3], Decimal(found[4])


def _fault(text: str) -> Fault:
    try:
        return faults.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
