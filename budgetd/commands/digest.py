"""`budgetd digest`: a digest as it would be now, on the screen; nothing is sent and nothing is kept."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from datetime import datetime
from pathlib import Path

from budgetd import clock
from budgetd.commands.arguments import instant
from budgetd.commands.status import no_state, rules_as_written
from budgetd.commands.terminal import show
from budgetd.digests import noticed
from budgetd.evaluation import Judge
from budgetd.message import Message, render
from budgetd.model import Delivery
from budgetd.nearest import did_you_mean
from budgetd.rulebook import DigestPart, Rulebook
from budgetd.settings import Settings, SettingsError
from budgetd.store import StateReader, StoreError
from budgetd.stores.reading import open_read_only

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_CONFIGURATION = 0, 1, 2, 78
# What is shown where the rules file has no digest.
USUAL = DigestPart(id="weekly", every="monday", notify="nobody")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.description = (
        "Print a digest of the rules file as it would be now; nothing is sent. It only reads, beside a running daemon "
        "or without one, and needs no key. Without any in the rules file: the last seven days."
    )
    parser.epilog = "example: budgetd digest weekly --at 2026-11-23T08:00:00+01:00"
    parser.add_argument("id", nargs="?", metavar="ID", help="its id in the rules file; default: the first one")
    parser.add_argument("--at", type=instant, metavar="TIME", help="as if it were due at that time (RFC 3339)")


def run(arguments: argparse.Namespace) -> int:
    """Printed: 0. There is no state that can be read: 1. No such digest: 2. Settings or rules have mistakes: 78."""
    try:
        settings = Settings.load(os.environ, Path.cwd())
    except SettingsError as error:
        return _complain(str(error), EXIT_CONFIGURATION)
    rulebook, wrong = rules_as_written(settings.rules)
    if rulebook is None:
        return _complain(wrong, EXIT_CONFIGURATION)
    entry = wanted(rulebook, arguments.id)
    if entry is None:
        hint = did_you_mean(arguments.id, [each.id for each in rulebook.digests])
        return _complain(f"the rules file has no digest {arguments.id!r}{hint}", EXIT_USAGE)
    try:
        with contextlib.closing(open_read_only(settings.database)) as state:
            message = drawn(state, rulebook, entry, arguments.at or clock.now())
    except StoreError as error:
        return _complain(no_state(settings.database, None, error), EXIT_FAILED)
    show([message.title, "", *message.body.split("\n")])
    return EXIT_DONE


def wanted(rulebook: Rulebook, id: str | None) -> DigestPart | None:
    """The digest of that id; without one the first of the file, or the usual one."""
    if id is None:
        return rulebook.digests[0] if rulebook.digests else USUAL
    return next((each for each in rulebook.digests if each.id == id), None)


def drawn(state: StateReader, rulebook: Rulebook, entry: DigestPart, now: datetime) -> Message:
    """The digest as a message of plain text, as if it were due now. Raises StoreError."""
    _, notice = noticed(entry, now, Judge(state, rulebook), state, state.recall(), now)
    return render(Delivery("not sent", "screen", (notice,), now, now), now)


def _complain(text: str, code: int) -> int:
    print(f"budgetd digest: {text}", file=sys.stderr)
    return code
