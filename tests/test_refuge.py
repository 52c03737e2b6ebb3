"""While the state cannot be written alerts go on, people are told once, and it mends itself (faults 65-67, 71)."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from budgetd import clock
from budgetd.caretaker import HOME_CALM, HOME_RETRY, LOCK_PATIENCE, Caretaker
from budgetd.commands import wiring
from budgetd.daemon import Daemon, Poller
from budgetd.delivery import Lanes
from budgetd.evaluation import Observation
from budgetd.inbox import Read
from budgetd.polling import PollingPlan
from budgetd.store import StoreError
from budgetd.stores.sqlite import SqliteStore
from budgetd.systemd import Supervisor
from budgetd.tick import deliver, observe
from tests.cost_pages import NOW
from tests.living import Bill, Hook, Life, Place, here, living, running, until
from tests.small_disk import SmallDisk, small_disk

pytestmark = pytest.mark.network

DAY = date(2026, 11, 10)
MINUTE = timedelta(minutes=1)
AT = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
STEPS = "{id: company, type: cap, limit: 1000, per: month, steps: [80%, 90%, 100%]}"
IN_MEMORY, WRITTEN_AGAIN = ("state_in_memory", ""), ("state_written_again", "")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


@pytest.fixture
def place(tmp_path: Path, bill: Bill, hook: Hook) -> Place:
    """One cap in steps, one web hook, and a first poll that found nothing to tell."""
    made = Place(tmp_path / "installed", bill.url)
    made.write({"audit": hook.url()}, [STEPS])
    bill.spend(DAY, "10000")
    with living(made) as life:
        life.poll(NOW)
    assert hook.told == []
    return made


class Watched:
    """A life with a caretaker, and a steady clock that the test sets by minutes."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.caretaker = Caretaker(life.store, life.evaluator)
        self.minutes = 0.0
        self.unsaved: list[Observation] = []

    @property
    def store(self) -> SqliteStore:
        return self.life.store

    @property
    def now(self) -> datetime:
        return NOW + MINUTE * self.minutes

    def poll(self, minutes: float = 1) -> None:
        """That much later: one pass. What could not be kept is kept first, as the loop does it."""
        self.minutes += minutes
        life, now, steady = self.life, self.now, self.minutes * 60
        self.unsaved.append(observe(life.reader, now, life.evaluator.wanted_since(now)))
        while self.unsaved:
            self.caretaker.doing(lambda: life.evaluator.take(self.unsaved[0], now), now, steady)
            self.unsaved.pop(0)
        self.caretaker.doing(lambda: deliver(life.outbox, life.inbox, now), now, steady)

    def writable(self, yes: bool) -> None:
        self.store._home.database.pragma(f"query_only = {'OFF' if yes else 'ON'}")


@contextlib.contextmanager
def watched(place: Place, now: datetime = NOW) -> Iterator[Watched]:
    with living(place, now) as life:
        yield Watched(life)


def test_fault_67_alerts_go_on_and_each_is_told_once(place: Place, bill: Bill, hook: Hook) -> None:
    with watched(place) as life:
        life.writable(False)
        bill.spend(DAY, "85000")
        life.poll()
        assert sorted(hook.told) == [IN_MEMORY, ("step_reached", "850.00")]
        assert any("check the permissions" in post.body.decode() for post in hook.posts)
        for _ in range(3):
            life.poll()
        bill.spend(DAY, "95000")
        for _ in range(3):
            life.poll()
        assert hook.told[2:] == [("step_reached", "950.00")]
        assert "in memory only" in life.caretaker.status
        life.writable(True)
        life.poll()
        assert life.store.refuge is None
        assert life.caretaker.status == ""
        life.poll(HOME_CALM / 60)
        life.poll()
        assert hook.told[3:] == [WRITTEN_AGAIN]
    with watched(place, NOW + MINUTE * 60) as life:
        life.poll(60)
        bill.spend(DAY, "100000")
        life.poll()
    assert hook.told[4:] == [("step_reached", "1000.00")]
    assert len({post.data["id"] for post in hook.posts}) == len(hook.posts)


def test_fault_65_to_and_fro_on_the_brink_of_full_is_one_trouble(place: Place, bill: Bill, hook: Hook) -> None:
    with watched(place) as life:
        for number in range(4):
            life.writable(False)
            bill.spend(DAY, f"{10001 + number}")
            life.poll()
            assert life.store.refuge is not None
            life.writable(True)
            life.poll()
            assert life.store.refuge is None
        assert hook.told == [IN_MEMORY]
        life.poll(HOME_CALM / 60)
        life.poll(HOME_CALM / 60)
        assert hook.told == [IN_MEMORY, WRITTEN_AGAIN]
        life.writable(False)
        bill.spend(DAY, "10010")
        life.poll()
        assert hook.told == [IN_MEMORY, WRITTEN_AGAIN, IN_MEMORY]


def test_home_is_tried_every_half_minute(place: Place, bill: Bill) -> None:
    with watched(place) as life:
        life.writable(False)
        bill.spend(DAY, "10001")
        life.poll()
        life.writable(True)
        life.poll((HOME_RETRY - 1) / 60)
        assert life.store.refuge is not None
        life.poll(2 / 60)
        assert life.store.refuge is None


def test_fault_71_a_lock_is_waited_for_for_a_minute(place: Place, bill: Bill, hook: Hook) -> None:
    with watched(place) as life, contextlib.closing(sqlite3.connect(place.database, isolation_level=None)) as other:
        life.store._home.database.pragma("busy_timeout = 1")
        other.execute("BEGIN IMMEDIATE")
        bill.spend(DAY, "85000")
        for _ in range(4):
            with pytest.raises(StoreError, match="another program has locked it"):
                life.poll(LOCK_PATIENCE / 60 / 4)
        assert hook.told == []
        life.poll(LOCK_PATIENCE / 60 / 4)
        assert sorted(hook.told) == [IN_MEMORY, ("step_reached", "850.00")]
        life.poll()
        assert life.store.refuge is not None
        other.execute("ROLLBACK")
        life.poll()
        assert life.store.refuge is None
    with place.state() as state:
        assert [incident.state.value for incident in state.incidents() if incident.rule == "company"] == ["open"]


def test_fault_71_locks_that_pass_do_not_add_up(place: Place, bill: Bill) -> None:
    with watched(place) as life, contextlib.closing(sqlite3.connect(place.database, isolation_level=None)) as other:
        life.store._home.database.pragma("busy_timeout = 1")
        for number in range(4):
            other.execute("BEGIN IMMEDIATE")
            bill.spend(DAY, f"{10001 + number}")
            with pytest.raises(StoreError, match="another program has locked it"):
                life.poll()
            other.execute("ROLLBACK")
            life.poll()
        assert life.store.refuge is None


def test_fault_71_a_file_that_another_program_changed_is_left_alone_and_that_is_told(
    place: Place, bill: Bill, hook: Hook
) -> None:
    with watched(place) as life:
        life.writable(False)
        bill.spend(DAY, "85000")
        life.poll()
        with contextlib.closing(sqlite3.connect(place.database)) as other, other:
            other.execute("UPDATE organisation SET name = 'Renamed'")
        life.writable(True)
        for _ in range(3):
            life.poll()
        assert hook.told[2:] == [IN_MEMORY]
        assert "Restart budgetd" in hook.posts[-1].body.decode()
        bill.spend(DAY, "95000")
        life.poll()
        assert hook.told[3:] == [("step_reached", "950.00")]
        assert not life.caretaker.leave(life.now)


def test_an_end_in_the_refuge_goes_home_first(place: Place, bill: Bill, hook: Hook) -> None:
    with watched(place) as life:
        life.writable(False)
        bill.spend(DAY, "85000")
        life.poll()
        assert not life.caretaker.leave(life.now)
        life.writable(True)
        assert life.caretaker.leave(life.now)
    with watched(place, NOW + MINUTE * 60) as life:
        life.poll(60)
    assert hook.told[2:] == [WRITTEN_AGAIN]


def test_faults_66_67_once_tells_from_memory_and_says_so(
    disk: SmallDisk,
    place: Place,
    bill: Bill,
    hook: Hook,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.move(place.database.parent, disk.folder)
    place.more["BUDGETD_DATABASE"] = str(disk.folder / "state" / "budgetd.db")
    place.use(monkeypatch)
    disk.remount("ro")
    bill.spend(DAY, "85000")
    done = here(capfd, "once", "--at", AT)
    assert done.code == 1
    assert "messages were sent from memory; the next run may send again" in done.err
    assert sorted(hook.told) == [IN_MEMORY, ("step_reached", "850.00")]
    disk.remount("rw")
    assert here(capfd, "once", "--at", AT).code == 0
    assert hook.told[2:] == [("step_reached", "850.00")]


# --- the daemon --------------------------------------------------------------------------------


@contextlib.contextmanager
def manager(path: Path) -> Iterator[socket.socket]:
    """What the service manager is told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(5)
        yield listening


def test_a_backup_that_does_not_fit_is_no_reason_to_leave_the_file(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_space(_now: datetime) -> None:
        raise StoreError("there is no space left", transient=True)

    with living(place) as life:
        monkeypatch.setattr(life.store, "back_up", no_space)
        daemon = Daemon(
            store=life.store,
            pollers=(Poller(life.reader, PollingPlan()),),
            evaluator=life.evaluator,
            outbox=life.outbox,
            lanes=Lanes({}, life.inbox.put),
            inbox=life.inbox,
            supervisor=Supervisor({}, 1),
            load=lambda: life.evaluator.rulebook,
            equip=wiring.equip,
            heartbeat=lambda: None,
        )
        daemon._handle(Read(observe(life.reader, NOW, None)), NOW)
        assert life.store.refuge is None
        daemon.lanes.close()
    assert "no backup could be made today: there is no space left" in caplog.text


@pytest.mark.parametrize("full_at_start", [False, True])
def test_faults_65_66_a_full_disk_under_the_daemon(
    full_at_start: bool, tmp_path: Path, disk: SmallDisk, hook: Hook
) -> None:
    today = clock.now().date()
    with Bill(today=today) as bill:
        place = Place(tmp_path / "installed", bill.url, more={"BUDGETD_POLL_EVERY": "1s", "BUDGETD_LOG": "logfmt"})
        place.more["BUDGETD_DATABASE"] = str(disk.folder / "state" / "budgetd.db")
        place.write(
            {"audit": hook.url()}, ["{id: company, type: cap, limit: 1000, per: {last: 7d}, steps: [80%, 90%]}"]
        )
        day = today - timedelta(days=2)
        bill.spend(day, "10000")
        with running(place):
            until(lambda: len(bill.server.requests) > 6)
            if not full_at_start:
                disk.fill()
                cross(bill, hook, day)
                disk.free()
        if full_at_start:
            disk.fill()
            with manager(tmp_path / "notify") as told, running(place, {"NOTIFY_SOCKET": str(tmp_path / "notify")}):
                cross(bill, hook, day)
                until(lambda: "; the state is kept in memory only: " in told.recv(4096).decode())
                disk.free()
        with running(place):
            until(lambda: len(hook.told) > 3)
        assert hook.told[3:] == [WRITTEN_AGAIN]


def cross(bill: Bill, hook: Hook, day: date) -> None:
    bill.spend(day, "85000")
    until(lambda: len(hook.told) >= 2)
    bill.spend(day, "95000")
    until(lambda: len(hook.told) >= 3)
    assert sorted(hook.told) == [IN_MEMORY, ("step_reached", "850.00"), ("step_reached", "950.00")]
