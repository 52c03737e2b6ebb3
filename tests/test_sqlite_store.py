"""The SQLite store keeps the contract, whatever crashes when."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budgetd.model import (
    Changes,
    CostDay,
    DeliveryState,
    Dimensions,
    Facts,
    Incident,
    Outcome,
    Receipt,
    Superseded,
)
from budgetd.store import StateReader, Store
from budgetd.stores import records
from budgetd.stores.database import Database
from budgetd.stores.reading import open_read_only
from budgetd.stores.sqlite import open_store
from tests.store_contract import NOW, OPUS, StoreContract, a_delivery, an_incident


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "budgetd.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with contextlib.closing(open_store(path, NOW)) as opened:
        yield opened


class TestSqliteStore(StoreContract):
    """The whole contract."""


def test_the_reader_beside_the_daemon_reads_the_same(store: Store, path: Path) -> None:
    with contextlib.closing(open_read_only(path)) as reader:
        typed: StateReader = reader
        store.commit(Changes(at=NOW, incidents=(an_incident(),), deliveries=(a_delivery("dlv"),)))
        assert typed.recall() == store.recall()
        assert typed.incidents() == store.incidents()
        assert typed.deliveries() == store.deliveries()


def _revision(path: Path, day: date) -> tuple[int, str]:
    with contextlib.closing(open_read_only(path)) as reader:
        row = reader._database.row("SELECT revision, observed_at FROM cost_day WHERE day = ?", (day.isoformat(),))
        return row["revision"], row["observed_at"]


def test_a_day_with_the_same_content_is_not_written_again(store: Store, path: Path) -> None:
    day = CostDay(date(2026, 11, 20), {OPUS: Decimal("1.10")})
    store.commit(Changes(at=NOW, cost_days=(day,)))
    store.commit(Changes(at=NOW + timedelta(1), cost_days=(replace(day, lines={OPUS: Decimal("1.1000")}),)))
    assert _revision(path, day.day) == (1, "2026-11-22T10:00:00.000000Z")
    for number, changed in enumerate(
        (
            replace(day, lines={OPUS: Decimal("1.2")}),
            replace(day, complete=False),
            replace(day, lines={}),
            replace(day, lines={Dimensions(): Decimal("1.1")}),
        )
    ):
        store.commit(Changes(at=NOW + timedelta(2), cost_days=(changed,)))
        assert _revision(path, day.day) == (number + 2, "2026-11-24T10:00:00.000000Z")
        assert list(store.cost_days(day.day, date(2026, 11, 21))) == [changed]


@settings(max_examples=100)
@given(st.deferred(lambda: st.from_type(Facts)))
def test_facts_come_back_exactly(facts: Facts) -> None:
    again = records.facts(records.facts_text(facts))
    assert again == facts
    assert repr((again.amount, again.limit, again.skipped)) == repr((facts.amount, facts.limit, facts.skipped))


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
_INSTANTS = st.datetimes(timezones=st.just(UTC))
st.register_type_strategy(str, _TEXTS)
st.register_type_strategy(datetime, _INSTANTS)
st.register_type_strategy(Decimal, st.decimals(allow_nan=False, allow_infinity=False))


@given(_INSTANTS, _INSTANTS)
def test_texts_of_instants_sort_as_the_instants_do(one: datetime, other: datetime) -> None:
    first, second = records.instant_text(one), records.instant_text(other)
    assert records.instant(first) == one
    assert (first < second) == (one < other)


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="without a time zone"):
        records.instant_text(datetime(2026, 1, 1))  # noqa: DTZ001 (that is the point)


# --- crashes -----------------------------------------------------------------------------------


class KilledError(Exception):
    """The process is killed here."""


class CrashingDatabase(Database):
    """Dies before or after the COMMIT when it is told to."""

    crash: str | None = None

    def commit(self) -> None:
        if self.crash == "before":
            raise KilledError
        super().commit()
        if self.crash == "after":
            raise KilledError


class Model:
    """The same promises in the plainest words: what was decided, and what became of it."""

    def __init__(self) -> None:
        self.incidents: dict[str, Incident] = {}
        self.deliveries: dict[str, DeliveryState] = {}
        self.superseded: set[str] = set()
        self.under_way: set[str] = set()

    def commit(self, changes: Changes) -> None:
        self.incidents |= {incident.id: incident for incident in changes.incidents}
        for delivery in changes.deliveries:
            self.deliveries.setdefault(delivery.id, DeliveryState.PENDING)
        marked = {each.delivery for each in changes.superseded}
        self.superseded |= {name for name in marked if self.deliveries.get(name) is DeliveryState.PENDING}
        self._drop()

    def settle(self, name: str, state: DeliveryState) -> None:
        self.under_way.discard(name)
        undelivered = state is not DeliveryState.DELIVERED
        self.deliveries[name] = DeliveryState.SUPERSEDED if undelivered and name in self.superseded else state

    def interrupted(self) -> None:
        self.under_way.clear()
        self._drop()

    def pending(self) -> set[str]:
        return {name for name, state in self.deliveries.items() if state is DeliveryState.PENDING}

    def _drop(self) -> None:
        for name in (self.superseded - self.under_way) & self.pending():
            self.deliveries[name] = DeliveryState.SUPERSEDED


Step = tuple[str, int, list[int], DeliveryState, str | None]
# What is done to the store, and the same to the model.
Action = tuple[Callable[[], None], Callable[[], None]]

_STEPS: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(["commit", "send", "settle", "restart"]),
    st.integers(0, 5),
    st.lists(st.integers(0, 5), max_size=2),
    st.sampled_from([DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.GIVEN_UP]),
    st.sampled_from([None, None, "before", "after"]),
)


class Run:
    """A store that crashes, beside the model that does not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = Model()
        self.store = open_store(path, NOW, kind=CrashingDatabase)
        self.clock = NOW

    def step(self, step: Step) -> None:
        action, number, others, state, CrashingDatabase.crash = step
        self.clock += timedelta(seconds=1)
        act, expect = self._action(action, number, others, state)
        try:
            act()
            expect()
        except KilledError:
            if CrashingDatabase.crash == "after":
                expect()
            self._restart()
        self._compare()

    def _action(self, action: str, number: int, others: list[int], state: DeliveryState) -> Action:
        if action == "commit":
            return self._commit(number, others)
        if action == "send" and not self.model.under_way:
            return self._send()
        if action == "settle" and self.model.under_way:
            (name,) = self.model.under_way
            return self._settle(name, state)
        return self._restart, lambda: None

    def _commit(self, number: int, others: list[int]) -> Action:
        changes = Changes(
            self.clock,
            incidents=(replace(an_incident(f"inc_{number}"), changed_at=self.clock),),
            deliveries=(a_delivery(f"{number}", at=self.clock),),
            superseded=tuple(Superseded(f"{other}", f"ntc_{other}") for other in others),
        )
        return lambda: self.store.commit(changes), lambda: self.model.commit(changes)

    def _send(self) -> Action:
        due = [delivery.id for delivery in self.store.due(self.clock, ())]
        assert bool(due) == bool(self.model.pending())
        if not due:
            return lambda: None, lambda: None
        assert due[0] in self.model.pending(), "what is finished is never due again"
        return lambda: self.store.begin_attempt(due[0], self.clock), lambda: self.model.under_way.add(due[0])

    def _settle(self, name: str, state: DeliveryState) -> Action:
        receipt = Receipt(Outcome.RETRY)
        return (
            lambda: self.store.settle(name, receipt, self.clock, state=state, next_attempt_at=self.clock),
            lambda: self.model.settle(name, state),
        )

    def _restart(self) -> None:
        CrashingDatabase.crash = None
        self.store.close()
        self.store = open_store(self.path, NOW, kind=CrashingDatabase)
        assert self.store.recovered_from is None
        self.store.interrupted(self.clock)
        self.model.interrupted()

    def _compare(self) -> None:
        memory = self.store.recall()
        assert dict(memory.incidents) == self.model.incidents
        kept = {record.delivery.id: record.delivery.state for record in self.store.deliveries()}
        assert kept == self.model.deliveries
        assert {delivery.id for delivery in memory.outbox} == self.model.pending()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_STEPS, max_size=20))
def test_nothing_decided_is_lost_and_nothing_delivered_is_due_again_whatever_crashes(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        CrashingDatabase.crash = None
        run = Run(Path(folder) / "budgetd.db")
        try:
            for step in steps:
                run.step(step)
        finally:
            run.store.close()
