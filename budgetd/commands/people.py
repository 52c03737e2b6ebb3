"""What `silence`, `ack` and `resolve` share: who asks, and whom; the daemon where one runs, else the state itself."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from budgetd import clock, control
from budgetd.commands import wiring
from budgetd.commands.status import no_state
from budgetd.commands.terminal import show
from budgetd.control import NobodyThereError
from budgetd.desk import Ask, Desk, DeskError
from budgetd.evaluation import Evaluator
from budgetd.settings import Settings
from budgetd.store import StateReader, StoreError
from budgetd.stores.reading import open_read_only
from budgetd.stores.sqlite import open_store

EXIT_USAGE = 2
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def socket_link(database: Path) -> Path:
    """What leads to the socket of the daemon that has this database."""
    return database.with_name(database.name + ".sock")


def add_who_and_why(parser: argparse.ArgumentParser) -> None:
    """The arguments that every act has."""
    parser.add_argument("--comment", default="", metavar="TEXT", help="why; it is shown with the alert")
    parser.add_argument("--author", default=None, metavar="NAME", help="who; left out: who is logged in")


def author(given: str | None) -> str:
    """Who asks: the name given, else the person behind sudo, else the user."""
    if given:
        return given
    with contextlib.suppress(OSError, KeyError):
        return os.environ.get("SUDO_USER") or getpass.getuser()
    return f"user {os.getuid()}"


def stretch(text: str) -> timedelta:
    """`90m`, `2h`, `3d`, `1w`. Raises argparse.ArgumentTypeError."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not (number.isascii() and number.isdigit() and int(number[:6]) > 0 and len(number) <= 6):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90m, 2h, 3d or 1w")
    return timedelta(**{_UNITS[unit]: int(number)})


def act(command: str, ask: Ask) -> int:
    """Have it done: 0. It cannot be: 1. Usage: 2. Configuration with mistakes: 78."""
    if not _is_text(ask):
        print(f"budgetd {command}: what was given is not text in this terminal's encoding", file=sys.stderr)
        return EXIT_USAGE
    try:
        settings = wiring.settings_or_error()
        print(_answer(settings, ask))
    except wiring.ConfigurationError as error:
        wiring.complain(error)
        return wiring.EXIT_CONFIGURATION
    except (DeskError, StoreError, OSError) as error:
        print(f"budgetd {command}: {error}", file=sys.stderr)
        return wiring.EXIT_FAILED
    return wiring.EXIT_DONE


def _is_text(ask: Ask) -> bool:
    """Whether all words can be written down: bytes of a terminal that are no text come as lone surrogates."""
    words = (ask.author, ask.comment, ask.subject, *(each for key, patterns in ask.match for each in (key, *patterns)))
    return not any(0xD800 <= ord(character) < 0xE000 for word in words for character in word)


def _answer(settings: Settings, ask: Ask) -> str:
    if not settings.database.exists():
        raise DeskError(no_state(settings.database, None, StoreError("there is no database")))
    try:
        return control.ask(socket_link(settings.database), ask)
    except NobodyThereError:
        pass  # no daemon: the lock of the state will say so if there is one after all
    now = clock.now()
    rulebook = wiring.rules_or_error(settings)
    with contextlib.closing(open_store(settings.database, now)) as store:
        said = Desk(store, Evaluator(store, rulebook)).do(ask, now)
    return f"{said}\nNo daemon is running: what must be sent leaves when one does, or with budgetd once."


def look(command: str, told: Callable[[StateReader], tuple[list[Any], Iterable[str]]], *, as_json: bool) -> int:
    """Print what is known, as JSON or as lines: 0. No state: 1. Settings with mistakes: 78."""
    try:
        settings = wiring.settings_or_error()
        with contextlib.closing(open_read_only(settings.database)) as state:
            found, lines = told(state)
    except wiring.ConfigurationError as error:
        wiring.complain(error)
        return wiring.EXIT_CONFIGURATION
    except StoreError as error:
        print(f"budgetd {command}: {no_state(settings.database, None, error)}", file=sys.stderr)
        return wiring.EXIT_FAILED
    show([json.dumps(found, indent=2)] if as_json else list(lines))
    return wiring.EXIT_DONE
