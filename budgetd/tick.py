"""tick(now): one whole pass, from the reading to the settled answers. The way of a cost line, in ten lines of code."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date, datetime

from budgetd.delivery import Answer
from budgetd.evaluation import Evaluator, Observation
from budgetd.inbox import Inbox
from budgetd.model import Changes, Failure, SourceError
from budgetd.outbox import Outbox
from budgetd.reader import Reader
from budgetd.store import StoreError

log = logging.getLogger("budgetd")


@dataclass(frozen=True, slots=True)
class Ticked:
    """What one whole pass came to; `delivered` and `undelivered` count its attempts."""

    observation: Observation
    changes: Changes
    delivered: int
    undelivered: int


def observe(reader: Reader, now: datetime, since: date | None) -> Observation:
    """A poll that ends in an observation, whatever happens: a reader that died in silence would look like no spend."""
    try:
        return reader.observe(now, since)
    except Exception as error:  # the one broad except of the program
        log.critical("the reader failed in an unforeseen way", exc_info=error)
        what = SourceError(Failure.UNREADABLE, f"unforeseen {type(error).__name__} while reading (see the log)")
        return Observation(reader.source.name, error=what)


def tick(reader: Reader, evaluator: Evaluator, outbox: Outbox, inbox: Inbox, now: datetime) -> Ticked:
    """One whole pass in this thread: read, evaluate, commit; then send and settle all that is due at `now`.

    The outbox's lanes must answer in this thread, into `inbox`. Raises StoreError.
    """
    observation = observe(reader, now, evaluator.wanted_since(now))
    changes = evaluator.take(observation, now)
    delivered, undelivered = deliver(outbox, inbox, now)
    return Ticked(observation, changes, delivered, undelivered)


def deliver(outbox: Outbox, inbox: Inbox, now: datetime) -> tuple[int, int]:
    """Send and settle all that is due at `now`, in this thread: how many attempts delivered, how many did not."""
    results = _send_all(outbox, inbox, now)
    outbox.look_after(now)
    results += _send_all(outbox, inbox, now)
    return sum(results), len(results) - sum(results)


def _send_all(outbox: Outbox, inbox: Inbox, now: datetime) -> list[bool]:
    """Whether each attempt delivered."""
    results: list[bool] = []
    # One by one: a kill can then leave one message in doubt, not one for each channel.
    while outbox.send_due(now, most=1) or not inbox.empty():
        while not inbox.empty():
            item = inbox.get()
            if isinstance(item, Answer):
                results.append(_settle(outbox, inbox, item, now))
    return results


def _settle(outbox: Outbox, inbox: Inbox, answer: Answer, now: datetime) -> bool:
    try:
        return outbox.settle(answer, now)
    except StoreError:
        # It is sent: whoever tries again must find the answer, not send again.
        inbox.put(answer)
        raise
