"""What the SQLite store does when the disk is full, broken, read-only or locked; and its backups."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from budgetd.model import Changes
from budgetd.store import StoreError
from budgetd.stores import files
from tests.state_files import NOBODY, contents, fill, opened, outbox, read_only_copy, run
from tests.store_contract import NOW, a_delivery


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "budgetd.db"


@pytest.fixture
def filled(path: Path) -> Path:
    """A database that was closed cleanly: one organisation, one delivery, one backup of both."""
    return fill(path)


# --- disks -------------------------------------------------------------------------------------


def test_fault_65_a_full_disk_is_transient_and_nothing_is_half_written(filled: Path) -> None:
    with opened(filled) as store:
        (pages,) = store._database.row("PRAGMA page_count")
        store._database.pragma(f"max_page_count = {pages + 1}")
        many = tuple(a_delivery(f"new{number}") for number in range(500))
        with pytest.raises(StoreError, match="no space left") as caught:
            store.commit(Changes(at=NOW, deliveries=many))
        assert caught.value.transient
        assert [delivery.id for delivery in store.recall().outbox] == ["kept"]
        store._database.pragma("max_page_count = 1000000")
        store.commit(Changes(at=NOW, deliveries=many))
        assert len(store.recall().outbox) == 501


def test_fault_68_a_write_that_fails_is_fatal_for_the_instance(filled: Path) -> None:
    code = (
        "store = open_store(path, NOW)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))\n"
        "for attempt in range(2):\n"
        "    try:\n"
        "        store.commit(Changes(NOW, deliveries=tuple(a_delivery(str(n)) for n in range(50))))\n"
        "    except StoreError as error:\n"
        "        print(error.transient, 'the disk gave an error' in str(error))\n"
    )
    done = run(code, filled)
    assert done.stdout == "False True\nFalse True\n", done.stderr
    with opened(filled) as store:
        assert [delivery.id for delivery in store.recall().outbox] == ["kept"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_fault_68_an_fsync_that_fails_is_fatal_for_the_instance(filled: Path) -> None:
    code = (
        "store = open_store(path, NOW)\n"
        "try:\n    store.commit(Changes(NOW, deliveries=(a_delivery('new'),)))\n"
        "except StoreError as error:\n    print(error.transient, error)\n"
    )
    done = run(code, filled, trace=("-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"))
    assert done.stdout.startswith("False "), done.stderr
    assert "the disk gave an error" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_fault_67_in_a_folder_that_cannot_be_written_the_state_begins_in_memory(filled: Path) -> None:
    code = (
        "store = open_store(path, NOW)\n"
        "store.commit(Changes(NOW, deliveries=(a_delivery('new'),)))\n"
        "print(store.refuge, [delivery.id for delivery in store.recall().outbox])\n"
        "try:\n    store.go_home(NOW)\nexcept StoreError as error:\n    print(error.transient)\n"
    )
    with read_only_copy(filled.parent) as folder:
        done = run(NOBODY + code, folder / "budgetd.db")
        why = f"{folder}/budgetd.db.lock: Permission denied"
        assert done.stdout == f"{why} ['kept', 'new']\nTrue\n", done.stderr


def test_fault_67_a_connection_that_may_not_write_is_transient(filled: Path) -> None:
    with opened(filled) as store:
        store._database.pragma("query_only = ON")
        with pytest.raises(StoreError, match="cannot be written") as caught:
            store.commit(Changes(at=NOW, deliveries=(a_delivery("new"),)))
        assert caught.value.transient
        store._database.pragma("query_only = OFF")
        store.commit(Changes(at=NOW, deliveries=(a_delivery("new"),)))


def test_fault_71_a_lock_of_another_program_is_transient(filled: Path) -> None:
    with opened(filled) as store, contextlib.closing(sqlite3.connect(filled, isolation_level=None)) as other:
        store._database.pragma("busy_timeout = 10")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another program has locked it") as caught:
            store.commit(Changes(at=NOW, deliveries=(a_delivery("new"),)))
        assert caught.value.transient
        other.execute("ROLLBACK")
        store.commit(Changes(at=NOW, deliveries=(a_delivery("new"),)))


# --- backups -----------------------------------------------------------------------------------


def test_there_is_one_backup_a_day_and_the_last_seven_are_kept(filled: Path) -> None:
    with opened(filled) as store:
        for hours in range(0, 240, 6):
            store.back_up(NOW + timedelta(hours=hours))
    kept = [backup.name for backup in files.backups(filled)]
    days = ("20261126", "20261127", "20261128", "20261129", "20261130", "20261201", "20261202")
    assert [name[8:16] for name in kept] == list(days)
    assert outbox(files.backups(filled)[-1]) == ["kept"]
    assert sorted(file.name for file in (filled.parent / "backups").iterdir()) == kept


def test_fault_77_a_backup_that_fails_leaves_the_earlier_ones_and_no_rest(filled: Path) -> None:
    with opened(filled) as store:
        before = contents(filled.parent / "backups")
        with limited_file_size(8192), pytest.raises(StoreError):
            store.back_up(NOW)
        assert contents(filled.parent / "backups") == before


@contextlib.contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
