"""The SQLite store in its refuge keeps the contract, and finds the way home."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from budgetd.model import Changes, CostDay, DeliveryState, Organisation
from budgetd.store import Store, StoreError
from budgetd.stores.reading import open_read_only
from budgetd.stores.sqlite import open_store
from tests.small_disk import SmallDisk, small_disk
from tests.state_files import fill, opened, outbox, run
from tests.store_contract import ACME, DELIVERED, NOW, OPUS, SEARCH, StoreContract, a_delivery, a_notice, an_incident

FULL = "the disk is full"
FIRST = date(2026, 11, 1)
DAYS = tuple(CostDay(FIRST + timedelta(n), {OPUS: Decimal(n), SEARCH: Decimal("0.10")}) for n in range(10))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "budgetd.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with opened(path) as made:
        made.take_refuge(FULL)
        yield made


@pytest.fixture
def filled(path: Path) -> Path:
    """A file with an organisation, a pending delivery and ten days."""
    fill(path)
    with opened(path) as made:
        made.commit(Changes(at=NOW, incidents=(an_incident(),), cost_days=DAYS))
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


class TestSqliteStoreInRefuge(StoreContract):
    """The whole contract."""


def days_of(store: Store) -> list[CostDay]:
    return list(store.cost_days(date.min, date.max))


def live_on(store: Store) -> None:
    """A bit of everything: a step is told, a delivery settled, a day restated, another one new."""
    story = replace(an_incident(), sequence=2)
    told = a_delivery("told", a_notice("evt_2", sequence=2))
    store.commit(
        Changes(
            at=NOW,
            incidents=(story,),
            notices=told.notices,
            deliveries=(told,),
            cost_days=(*DAYS[:4], replace(DAYS[4], lines={OPUS: Decimal("44.1")}), CostDay(date(2026, 11, 11), {})),
        )
    )
    store.begin_attempt("kept", NOW)
    store.settle("kept", replace(DELIVERED, memo="C1:1.5"), NOW, state=DeliveryState.DELIVERED, incident="inc_1")
    store.begin_attempt("told", NOW)


def test_what_happened_in_the_refuge_is_in_the_file_afterwards(filled: Path) -> None:
    inode = filled.stat().st_ino
    with opened(filled) as store:
        store.take_refuge(FULL)
        assert store.refuge == FULL
        live_on(store)
        assert outbox_and_days(filled) == (["kept"], list(DAYS))
        known = (store.recall(), store.deliveries(), store.incidents(), store.known_days(), days_of(store))
        store.go_home(NOW)
        assert store.refuge is None
        assert (store.recall(), store.deliveries(), store.incidents(), store.known_days(), days_of(store)) == known
        assert store.thread("team", "inc_1") == "C1:1.5"
        store.settle("told", DELIVERED, NOW, state=DeliveryState.DELIVERED)
    assert outbox_and_days(filled) == ([], known[-1])
    assert filled.stat().st_ino == inode
    with contextlib.closing(sqlite3.connect(filled)) as file:
        pragmas = ("integrity_check", "foreign_key_check", "journal_mode", "user_version", "application_id")
        answers = [file.execute(f"PRAGMA {pragma}").fetchall() for pragma in pragmas]
        revisions = dict(file.execute("SELECT day, revision FROM cost_day"))
    assert answers[:3] == [[("ok",)], [], [("wal",)]]
    assert answers[3][0][0] > 0
    assert answers[4] == [(0x62646774,)]
    assert {day for day, revision in revisions.items() if revision > 1} == {"2026-11-05"}


def outbox_and_days(path: Path) -> tuple[list[str], list[CostDay]]:
    with contextlib.closing(open_read_only(path)) as reader:
        return [delivery.id for delivery in reader.recall().outbox], list(reader.cost_days(date.min, date.max))


def test_only_what_differs_from_the_file_is_held_in_memory(filled: Path) -> None:
    with opened(filled) as store:
        store.take_refuge(FULL)
        live_on(store)
        rows = store._database.rows("SELECT day FROM cost_day ORDER BY day")
    assert [row["day"] for row in rows] == ["2026-11-05", "2026-11-11"]


def test_memory_does_not_grow_with_the_time_in_the_refuge(filled: Path) -> None:
    with opened(filled) as store:
        store.take_refuge(FULL)
        sizes = []
        for number in range(400):
            day = CostDay(date(2026, 11, 10), {OPUS: Decimal(number)})
            store.commit(Changes(at=NOW, incidents=(replace(an_incident(), amount=Decimal(number)),), cost_days=(day,)))
            sizes.append(store._database.row("PRAGMA page_count")[0])
    assert sizes[-1] <= sizes[10]


def test_days_in_file_and_memory_are_read_in_their_order(filled: Path) -> None:
    changed = {1, 2, 5, 9}
    with opened(filled) as store:
        store.take_refuge(FULL)
        new = [replace(day, lines={}) if n in changed else day for n, day in enumerate(DAYS)]
        store.commit(Changes(at=NOW, cost_days=tuple(new)))
        assert days_of(store) == new
        assert list(store.cost_days(FIRST + timedelta(2), FIRST + timedelta(6))) == new[2:6]


def test_what_was_pruned_in_the_refuge_does_not_come_back(filled: Path) -> None:
    with opened(filled) as store:
        store.take_refuge(FULL)
        later = NOW + timedelta(days=405)
        store.commit(Changes(at=later, source="cost_report", through=later, cost_days=(CostDay(later.date(), {}),)))
        store.prune(later)
        kept = store.known_days()
        assert DAYS[0].day not in kept
        assert days_of(store)[0].day == min(kept)


@pytest.mark.parametrize("room", [0, 1, 3])
def test_fault_65_going_home_to_a_disk_that_is_still_full_changes_nothing(filled: Path, room: int) -> None:
    with opened(filled) as store:
        store.take_refuge(FULL)
        live_on(store)
        store.commit(Changes(at=NOW, deliveries=tuple(a_delivery(f"more{n}") for n in range(200))))
        known = (store.recall(), days_of(store))
        home = store._home.database
        home.pragma(f"max_page_count = {home.row('PRAGMA page_count')[0] + room}")
        with pytest.raises(StoreError, match="no space left") as caught:
            store.go_home(NOW)
        assert caught.value.transient
        assert store.refuge == FULL
        assert (store.recall(), days_of(store)) == known
        assert outbox_and_days(filled) == (["kept"], list(DAYS))
        home.pragma("max_page_count = 1000000")
        store.go_home(NOW)
        assert (store.recall(), days_of(store)) == known


def test_fault_71_what_another_program_wrote_meanwhile_is_not_overwritten(filled: Path) -> None:
    with opened(filled) as store:
        store.take_refuge("another program has locked it")
        live_on(store)
        with contextlib.closing(sqlite3.connect(filled)) as other, other:
            other.execute("UPDATE organisation SET name = 'Renamed'")
        for _ in range(2):
            with pytest.raises(StoreError, match="another program changed it") as caught:
                store.go_home(NOW)
            assert caught.value.transient
        assert "Restart budgetd" in str(store.refuge)
        store.commit(Changes(at=NOW, deliveries=(a_delivery("on"),)))
    with opened(filled) as store:
        assert store.recall().organisation == Organisation(ACME.id, "Renamed")
        assert [delivery.id for delivery in store.recall().outbox] == ["kept"]


def test_another_programs_lock_and_checkpoint_alone_do_not_keep_it_away(filled: Path) -> None:
    with opened(filled) as store:
        store.commit(Changes(at=NOW, deliveries=(a_delivery("logged"),)))
        store.take_refuge("another program has locked it")
        live_on(store)
        with contextlib.closing(sqlite3.connect(filled, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked it"):
                store.go_home(NOW)
            other.execute("ROLLBACK")
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.go_home(NOW)
        assert store.refuge is None


def test_fault_81_a_file_that_was_replaced_meanwhile_ends_the_process(filled: Path, tmp_path: Path) -> None:
    with opened(filled) as store:
        store.take_refuge(FULL)
        shutil.copy(filled, tmp_path / "copy")
        (tmp_path / "copy").replace(filled)
        with pytest.raises(StoreError, match="deleted or replaced") as caught:
            store.go_home(NOW)
        assert not caught.value.transient


# --- a start -----------------------------------------------------------------------------------


def on(disk: SmallDisk) -> Path:
    return fill(disk.folder / "state" / "budgetd.db")


def test_fault_66_a_start_on_a_full_disk_begins_in_the_refuge(disk: SmallDisk) -> None:
    path = on(disk)
    disk.fill()
    with opened(path) as store:
        assert "no space left" in str(store.refuge)
        assert store.recall().organisation == ACME
        store.commit(Changes(at=NOW, deliveries=(a_delivery("new"),)))
        with pytest.raises(StoreError) as caught:
            store.go_home(NOW)
        assert caught.value.transient
        assert [delivery.id for delivery in store.recall().outbox] == ["kept", "new"]
        disk.free()
        store.go_home(NOW)
        assert store.refuge is None
        assert [delivery.id for delivery in store.recall().outbox] == ["kept", "new"]
    assert outbox(path) == ["kept", "new"]


def test_fault_66_the_log_of_a_process_that_was_killed_is_read_on_a_full_disk(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = on(disk)
    code = "store = open_store(path, NOW)\nstore.commit(Changes(NOW, deliveries=(a_delivery('late'),)))\nos._exit(9)\n"
    assert run(code, path).returncode == 9
    path.with_name("budgetd.db-shm").unlink()
    monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))  # most machines have one disk for everything
    disk.fill()
    with opened(path) as store:
        assert store.refuge is not None
        assert [delivery.id for delivery in store.recall().outbox] == ["kept", "late"]
        disk.free()
        store.go_home(NOW)
    assert outbox(path) == ["kept", "late"]


@pytest.mark.parametrize("end", ["store.close()", "os._exit(9)"])
def test_fault_67_a_start_on_a_read_only_disk_begins_in_the_refuge(disk: SmallDisk, end: str) -> None:
    path = disk.folder / "budgetd.db"
    run(f"store = open_store(path, NOW)\nstore.commit(Changes(NOW, deliveries=(a_delivery('kept'),)))\n{end}\n", path)
    disk.remount("ro")
    with opened(path) as store:
        assert "Read-only file system" in str(store.refuge)
        store.commit(Changes(at=NOW, deliveries=(a_delivery("new"),)))
        with pytest.raises(StoreError):
            store.go_home(NOW)
        disk.remount("rw")
        store.go_home(NOW)
    assert outbox(path) == ["kept", "new"]


@pytest.mark.parametrize("option", ["ro", "rw"])
def test_fault_72_a_store_in_its_refuge_still_keeps_others_out(disk: SmallDisk, option: str) -> None:
    path = on(disk)
    disk.remount("ro")
    with opened(path):
        disk.remount(option)
        done = run(
            "try:\n    open_store(path, NOW)\nexcept StoreError as error:\n    print(error.transient, error)\n", path
        )
    assert done.stdout.startswith("False "), done
    assert "in use by another budgetd" in done.stdout


def test_without_a_file_a_full_disk_is_a_failed_start(disk: SmallDisk) -> None:
    disk.fill()
    with pytest.raises(StoreError, match="space"):
        open_store(disk.folder / "new.db", NOW)
