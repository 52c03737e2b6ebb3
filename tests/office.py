"""A state, a few channels that answer what they are told to, and an outbox that sends in this thread."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from budgetd.delivery import InThisThread
from budgetd.evaluation import Evaluator
from budgetd.inbox import Inbox
from budgetd.message import Message
from budgetd.model import Label, Outcome, Reason, Receipt, Severity
from budgetd.outbox import Outbox
from budgetd.rulebook import parse
from budgetd.stores.sqlite import SqliteStore
from budgetd.tick import deliver
from tests.builders import at

NOW = at("2026-11-18 12:00")
SECOND = timedelta(seconds=1)
RULEBOOK = """\
version: 1
channels:
  pager: {url: "json://127.0.0.1/p", page: true, fallback: [finance, team], after: 2m}
  finance: {url: "json://127.0.0.1/f", fallback: pager, after: 1m}
  team: "json://127.0.0.1/t"
routes: [{notify: [pager]}]
rules:
  - {id: all, type: cap, limit: 100, per: day}
"""


@dataclass
class Desk:
    """Implements `Sender`: answers what it is told to, and keeps what it took."""

    answer: Receipt = field(default_factory=lambda: Receipt(Outcome.DELIVERED))
    seen: list[Message] = field(default_factory=list)
    taken: list[Message] = field(default_factory=list)

    def send(self, message: Message, deadline: float) -> Receipt:
        self.seen.append(message)
        if self.answer.outcome is Outcome.DELIVERED:
            self.taken.append(message)
        return self.answer


class Office:
    """A state, three channels, and an outbox that sends in this thread."""

    def __init__(self, store: SqliteStore, text: str = RULEBOOK) -> None:
        self.store = store
        self.desks: Mapping[str, Desk] = {name: Desk() for name in ("pager", "finance", "team")}
        self.evaluator = Evaluator(store, parse(text, "rules.yaml", environment={}))
        self.start()

    def start(self) -> None:
        """A new process on the same state."""
        self.inbox: Inbox = queue.SimpleQueue()
        lanes = InThisThread(self.desks, self.inbox.put)
        self.outbox = Outbox(self.store, self.evaluator, lanes, {}, Random(1))

    def tell(self, number: int = 1, now: datetime = NOW) -> None:
        about = Label("test", f"test/{number}", "a test")
        assert self.evaluator.tell(about, Reason.TEST, Severity.CRITICAL, "Nothing is wrong.", now)

    def go(self, seconds: float) -> None:
        """What happens by so many seconds after NOW."""
        deliver(self.outbox, self.inbox, NOW + seconds * SECOND)

    def pass_by(self, start: float, end: float, step: float = 1) -> None:
        """All seconds of that time after NOW, with a look at what is due at each step."""
        seconds = start
        while seconds <= end:
            self.go(seconds)
            seconds += step

    def taken(self) -> dict[str, int]:
        return {name: len(desk.taken) for name, desk in self.desks.items()}
