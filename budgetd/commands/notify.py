"""`budgetd notify`: a test message through each channel, at once, and in words what hinders it."""

from __future__ import annotations

import argparse
import queue
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from budgetd import channels, clock
from budgetd.advice import advice
from budgetd.backoff import DEADLINE
from budgetd.channels import Sender
from budgetd.commands import wiring
from budgetd.commands.terminal import Terminal, cells, fit, show, terminal
from budgetd.message import Flavour, render_safely
from budgetd.model import (
    UNKNOWN_ORGANISATION,
    Delivery,
    Label,
    Names,
    Notice,
    Outcome,
    Reason,
    Receipt,
    Severity,
    identity,
)
from budgetd.nearest import did_you_mean
from budgetd.notices import of_operation
from budgetd.scope import Naming

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_CONFIGURATION = 0, 1, 2, 78
# Apprise's plug-ins are loaded first, and that takes a while.
GRACE = 5.0

TEXT = "budgetd notify was run to see whether this channel works. It does: you need do nothing."


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a channel's test message, and how long it took (seconds).

    `hindered`: what the channel would add to a message and cannot, in words.
    """

    channel: str
    receipt: Receipt
    seconds: float
    hindered: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.description = (
        "Send a test message through each channel of the rules file, or the one that is named, and say what became of "
        "it. Needs no admin key and no database. Exit code 0: all were delivered; 1: not all; 78: rules or settings "
        "have mistakes."
    )
    parser.epilog = "example: budgetd notify pager"
    parser.add_argument("channel", nargs="?", metavar="CHANNEL", help="its name in the rules file; default: all")


def run(arguments: argparse.Namespace) -> int:
    """All were delivered: 0. Not all: 1. No such channel: 2. Rules or settings have mistakes: 78."""
    try:
        rulebook = wiring.rules_or_error(wiring.settings_or_error())
    except wiring.ConfigurationError as error:
        wiring.complain(error)
        return EXIT_CONFIGURATION
    wanted = arguments.channel
    if wanted is not None and wanted not in rulebook.channels:
        hint = did_you_mean(wanted, rulebook.channels)
        wiring.complain(f"the rules file has no channel {wanted!r}{hint}")
        return EXIT_USAGE
    equipment = wiring.equip(rulebook)
    senders = {name: sender for name, sender in equipment.senders.items() if wanted in (None, name)}
    results = try_out(senders, equipment.flavours, clock.now())
    screen = terminal()
    show(line for result in results for line in lines(result, senders, screen))
    return EXIT_DONE if all(result.receipt.outcome is Outcome.DELIVERED for result in results) else EXIT_FAILED


def try_out(
    senders: Mapping[str, Sender],
    flavours: Mapping[str, Flavour],
    now: datetime,
    *,
    deadline: float = DEADLINE,
    grace: float = GRACE,
) -> list[Result]:
    """Send a test message through all of them at the same time, each within `deadline` seconds; in their order.

    One that does not end by itself is not waited for longer than `grace` seconds more.
    """
    answers: queue.SimpleQueue[Result] = queue.SimpleQueue()
    notice = notice_of_test(now)

    def send(name: str, sender: Sender) -> None:
        delivery = Delivery(identity("dlv", name, notice.id), name, (notice,), now, now)
        message = render_safely(delivery, now, flavours.get(name, Flavour.TEXT))
        began = clock.monotonic()
        receipt = sender.send(message, deadline)
        seconds = clock.monotonic() - began
        answers.put(Result(name, receipt, seconds, channels.add(sender, message, receipt)))

    for name, sender in senders.items():
        threading.Thread(target=send, args=(name, sender), name=f"notify {name}", daemon=True).start()
    return _collected(answers, senders, deadline + grace)


def _collected(answers: queue.SimpleQueue[Result], names: Collection[str], seconds: float) -> list[Result]:
    until = clock.monotonic() + seconds
    found: dict[str, Result] = {}
    while len(found) < len(names):
        try:
            result = answers.get(timeout=max(0.0, until - clock.monotonic()))
        except queue.Empty:
            break
        found[result.channel] = result
    silent = Receipt(Outcome.UNKNOWN, f"no end within {seconds:g} s")
    return [found.get(name, Result(name, silent, seconds)) for name in names]


def notice_of_test(now: datetime) -> Notice:
    """The test's notice. Its id is made of the time: every run is another message, not a repetition."""
    about = Label("test", now.isoformat(), "a test")
    naming = Naming(Names(UNKNOWN_ORGANISATION))
    return of_operation(naming, about, Reason.TEST, Severity.INFO, TEXT, now)[1]


def lines(result: Result, names: Collection[str], screen: Terminal) -> list[str]:
    """One line for a channel; for a failure a second one, with what to do."""
    width = max(map(cells, names))
    receipt = result.receipt
    start = f"{fit(result.channel, width)}  "
    if receipt.outcome is Outcome.DELIVERED:
        said = f"{start}{screen.paint('delivered', 'green')} in {result.seconds * 1000:,.0f} ms"
        note = f"{result.hindered[:1].upper()}{result.hindered[1:]}." if result.hindered else ""
        return [said, *(screen.wrapped(note, width + 2) if note else [])]
    words = f"{start}FAILED: {receipt.detail or receipt.outcome.value}"
    first, *others = screen.wrapped(words, width + 2, first=0)
    todo = screen.wrapped(advice(receipt.outcome, receipt.detail), width + 2)
    return [first.replace("FAILED", screen.paint("FAILED", "red"), 1), *others, *todo]
