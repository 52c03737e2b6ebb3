"""What a storm costs the loop that sends: a thousand incidents told, handed over to fallbacks, and ended."""

from __future__ import annotations

import contextlib
import queue
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

from benchmarks.measuring import Figure, at_most, once, plain
from budgetd.delivery import InThisThread
from budgetd.evaluation import Evaluator
from budgetd.inbox import Inbox
from budgetd.message import Message
from budgetd.model import Changes, Delivery, Facts, Incident, Kind, Notice, Outcome, Reason, Receipt, Severity, State
from budgetd.outbox import Outbox
from budgetd.period import Period
from budgetd.rulebook import parse
from budgetd.stores.sqlite import SqliteStore, open_store
from budgetd.tick import deliver

MANY, FEW = 1_000, 10
NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOVEMBER = Period(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
RULEBOOK = """\
version: 1
channels:
  pager: {url: "json://127.0.0.1/p", page: true, fallback: [finance, team], after: 2m}
  finance: "json://127.0.0.1/f"
  team: "json://127.0.0.1/t"
routes: [{notify: [pager]}]
rules:
  - {id: all, type: cap, limit: 100, per: day}
"""


def figures(sizes: Iterable[str]) -> Iterator[Figure]:
    """The sizes do not matter here."""
    told, handed_over = _begin(MANY, pager=True), _begin(MANY, pager=False)
    yield plain(f"{MANY:,} incidents in one message to a pager, which takes it", told, "ms")
    yield plain("   the pager takes nothing: two fallbacks get them, in one message each", handed_over, "ms")
    few, many = _end(FEW), _end(MANY)
    yield plain(f"an end of {FEW} incidents that were one page: each a page of its own", few, "ms")
    yield plain(f"   of {MANY:,}", many, "ms")
    yield at_most("   against one of few", many / few, 5, "x")


@dataclass
class _Desk:
    takes: bool = True
    taken: list[Message] = field(default_factory=list)

    def send(self, message: Message, deadline: float) -> Receipt:
        if self.takes:
            self.taken.append(message)
        return Receipt(Outcome.DELIVERED) if self.takes else Receipt(Outcome.RETRY, "HTTP 503")


class _Office:
    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.desks = {name: _Desk() for name in ("pager", "finance", "team")}
        self._inbox: Inbox = queue.SimpleQueue()
        evaluator = Evaluator(store, parse(RULEBOOK, "rules.yaml", environment={}))
        self._outbox = Outbox(store, evaluator, InThisThread(self.desks, self._inbox.put), {}, Random(1))

    def put(self, state: State, deliveries: Iterable[Delivery], notices: Iterable[Notice]) -> None:
        incidents = tuple(_incident(notice.incident, state) for notice in notices)
        self.store.commit(Changes(at=NOW, incidents=incidents, deliveries=tuple(deliveries)))

    def send(self, minutes: int) -> None:
        deliver(self._outbox, self._inbox, NOW + minutes * MINUTE)


@contextlib.contextmanager
def _office() -> Iterator[_Office]:
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(open_store(Path(folder) / "budgetd.db", NOW)) as store,
    ):
        yield _Office(store)


def _begin(count: int, *, pager: bool) -> float:
    """Milliseconds of CPU until everybody who is to be told has been."""
    with _office() as office:
        office.desks["pager"].takes = pager
        notices = _notices(count, Kind.TRIGGER)
        office.put(State.OPEN, [_page("all", *notices)], notices)
        if pager:
            return once(lambda: office.send(0))
        office.send(0)
        spent = once(lambda: office.send(3))
        assert [len(office.desks[name].taken) for name in ("finance", "team")] == [1, 1]
        return spent


def _end(count: int) -> float:
    """Milliseconds of CPU for each."""
    with _office() as office:
        begun, ended = _notices(count, Kind.TRIGGER), _notices(count, Kind.RESOLVE)
        office.put(State.OPEN, [_page("all", *begun)], begun)
        office.send(0)
        office.put(State.RESOLVED, [_page(notice.id, notice) for notice in ended], ended)
        spent = once(lambda: office.send(1))
        assert len(office.desks["pager"].taken) == count + 1
        return spent / count


def _page(name: str, *notices: Notice) -> Delivery:
    return replace(Delivery(f"dlv_{name}", "pager", notices, NOW, NOW), page=True)


def _notices(count: int, kind: Kind) -> list[Notice]:
    reason = Reason.STEP_REACHED if kind is Kind.TRIGGER else Reason.LIMIT_RAISED
    number = 1 if kind is Kind.TRIGGER else 2
    facts = Facts(organisation="Acme", rule="all", rule_type="cap", period=NOVEMBER, amount=Decimal("412.80"))
    return [
        Notice(f"ntc_{each}_{number}", f"inc_{each}", number, kind, reason, Severity.CRITICAL, NOW, facts)
        for each in range(count)
    ]


def _incident(name: str, state: State) -> Incident:
    return Incident(
        id=name,
        rule="all",
        scope=(("workspace", name),),
        period=NOVEMBER,
        state=state,
        announced=(Decimal(1),),
        severity=Severity.CRITICAL,
        amount=Decimal("412.80"),
        limit=Decimal(100),
        opened_at=NOW,
        changed_at=NOW,
        sequence=1 if state is State.OPEN else 2,
        resolved=Reason.LIMIT_RAISED if state is State.RESOLVED else None,
        held=None,
    )
