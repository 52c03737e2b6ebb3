"""What the SQLite store does when its files are held, read by others, lost or damaged."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from time import sleep

import pytest

from budgetd.model import Changes
from budgetd.store import StoreError
from budgetd.stores import reading
from budgetd.stores.database import open_database
from budgetd.stores.lock import Lock
from budgetd.stores.migrations import APPLICATION_ID, MIGRATIONS
from budgetd.stores.reading import open_read_only
from budgetd.stores.sqlite import open_store
from tests.state_files import NOBODY, ROOT, command, contents, fill, opened, outbox, read_only_copy, run
from tests.store_contract import ACME, NOW, a_delivery


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "budgetd.db"


@pytest.fixture
def filled(path: Path) -> Path:
    """A database that was closed cleanly: one organisation, one delivery, one backup of both."""
    return fill(path)


# --- permissions -------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0, 0o22, 0o77])
def test_fault_158_files_are_for_this_user_only_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with opened(path) as store:
            store.commit(Changes(at=NOW, organisation=ACME))
            store.back_up(NOW)
            found = {file: stat.S_IMODE(file.stat().st_mode) for file in [path.parent, *path.parent.rglob("*")]}
    finally:
        os.umask(before)
    assert len(found) == 7, "folder, database, log, index, lock, backups, backup"
    assert {mode for file, mode in found.items() if file.is_dir()} == {0o700}
    assert {mode for file, mode in found.items() if file.is_file()} == {0o600}


def test_the_connection_is_set_for_power_cuts(path: Path) -> None:
    with opened(path) as store:
        values = {
            name: store._database.row(f"PRAGMA {name}")[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "application_id", "auto_vacuum", "user_version")
        }
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "application_id": APPLICATION_ID,
        "auto_vacuum": 2,
        "user_version": len(MIGRATIONS),
    }


# --- one daemon --------------------------------------------------------------------------------


def test_fault_72_a_second_process_is_refused_with_the_pid_and_kill_9_frees_the_lock(path: Path) -> None:
    code = "store = open_store(path, NOW)\nprint('open', flush=True)\nsignal.pause()\n"
    with subprocess.Popen(command(code, path), cwd=ROOT, stdout=subprocess.PIPE) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == b"open\n"
            with pytest.raises(StoreError, match=f"in use by another budgetd, process {first.pid}; stop") as caught:
                open_store(path, NOW).close()
            assert not caught.value.transient
        finally:
            first.kill()
            first.wait()
        with opened(path) as store:
            assert store.recovered_from is None


# --- reading beside the daemon -----------------------------------------------------------------


def _clean(path: Path) -> None:
    """Nobody has it open."""


def _killed(path: Path) -> None:
    """Killed with commits that are only in the log."""
    code = (
        "s = open_store(path, NOW)\ns.commit(Changes(NOW, deliveries=(a_delivery('logged'),)))\nos.kill(os.getpid(), 9)"
    )
    assert run(code, path).returncode == -signal.SIGKILL


def _killed_without_index(path: Path) -> None:
    _killed(path)
    path.with_name("budgetd.db-shm").unlink()


@pytest.mark.parametrize("end", [_clean, _killed, _killed_without_index])
def test_reading_without_the_daemon_writes_nothing_and_sees_everything(
    filled: Path, end: Callable[[Path], None]
) -> None:
    end(filled)
    before = contents(filled.parent)
    assert outbox(filled) == (["kept"] if end is _clean else ["kept", "logged"])
    assert contents(filled.parent) == before


def test_reading_beside_the_daemon_writes_and_checkpoints_nothing(filled: Path) -> None:
    with opened(filled) as store:
        store.commit(Changes(at=NOW, deliveries=(a_delivery("new"),)))
        before = contents(filled.parent)
        assert outbox(filled) == ["kept", "new"]
        after = contents(filled.parent)
        assert {name for name in before if before[name] != after[name]} <= {"budgetd.db-shm"}
        assert after.keys() == before.keys()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_reader_without_the_right_to_write_can_read(filled: Path) -> None:
    _killed(filled)
    with read_only_copy(filled.parent) as folder:
        done = run(NOBODY + "print(len(open_read_only(path).recall().outbox))", folder / "budgetd.db")
        assert (done.stdout, done.stderr) == ("2\n", "")


def test_a_reader_waits_for_a_daemon_that_has_the_lock_and_not_yet_the_file(filled: Path) -> None:
    assert not filled.with_name("budgetd.db-wal").exists()
    lock = Lock(filled)

    def start() -> None:
        sleep(0.2)
        database = open_database(filled)
        database.rows("SELECT * FROM organisation")
        done.wait()
        database.close()

    done, daemon = Event(), Thread(target=start)
    daemon.start()
    try:
        assert outbox(filled) == ["kept"]
    finally:
        done.set()
        daemon.join()
        lock.release()


def test_a_reader_does_not_wait_for_ever(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_LOOKS", 3)
    lock = Lock(filled)
    try:
        with pytest.raises(StoreError, match="cannot be opened"):
            open_read_only(filled)
    finally:
        lock.release()


def test_reading_what_is_not_there_says_so_and_makes_nothing(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        open_read_only(path)
    assert not path.parent.exists()


# --- lost and damaged --------------------------------------------------------------------------


def test_a_new_database_is_not_a_lost_one(path: Path) -> None:
    with opened(path) as store:
        assert store.recovered_from is None
    with opened(path) as store:
        assert store.recovered_from is None


def test_a_first_start_that_was_killed_half_way_is_still_a_first_start(path: Path) -> None:
    path.parent.mkdir()
    for suffix in (".new", ".new-wal"):
        path.with_name(path.name + suffix).write_bytes(b"half")
    Lock(path).release()
    with opened(path) as store:
        assert store.recovered_from is None
    assert {file.name for file in path.parent.iterdir()} == {"budgetd.db", "budgetd.db.lock"}


def _scribble(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 1000)


def _truncate(path: Path) -> None:
    os.truncate(path, 4096 + 100)


def _break_a_page(path: Path) -> None:
    """A page in the middle: only a thorough check finds it, which a suspicion asks for."""
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    path.with_name("budgetd.db.suspect").touch()


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _delete(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_scribble, "is damaged"),
        (_truncate, "is damaged"),
        (_break_a_page, "is damaged"),
        (_empty, "is empty"),
        (_delete, "is gone"),
    ],
)
@pytest.mark.parametrize("backup", [True, False], ids=["with a backup", "without a backup"])
def test_fault_69_a_lost_state_is_restored_or_at_least_said(
    filled: Path, harm: Callable[[Path], None], words: str, backup: bool
) -> None:
    if not backup:
        shutil.rmtree(filled.parent / "backups")
    harm(filled)
    harmed = filled.read_bytes() if filled.exists() else None
    with opened(filled) as store:
        assert store.recovered_from is not None
        assert words in store.recovered_from
        assert ("restored from the backup budgetd-20261121T100000Z.db" in store.recovered_from) is backup
        assert ("all earlier state is lost" in store.recovered_from) is not backup
        assert [delivery.id for delivery in store.recall().outbox] == (["kept"] if backup else [])
        store.commit(Changes(at=NOW, organisation=ACME))
    aside = filled.with_name("budgetd.db.damaged-20261122T100000Z")
    assert (aside.read_bytes() if aside.exists() else None) == harmed
    with opened(filled) as store:
        assert store.recovered_from is None


def test_a_damaged_backup_is_passed_over_for_an_older_good_one(filled: Path) -> None:
    newer = filled.parent / "backups" / "budgetd-20261122T090000Z.db"
    newer.write_bytes(b"\0" * 8192)
    (filled.parent / "backups" / "budgetd-other-20261122T093000Z.db").write_bytes(newer.read_bytes())
    _scribble(filled)
    with opened(filled) as store:
        assert "budgetd-20261121T100000Z.db" in (store.recovered_from or "")


def test_damage_that_is_met_while_running_is_repaired_at_the_next_start(filled: Path) -> None:
    with opened(filled) as store:
        store._database.pragma("cache_size = 0")
        content = filled.read_bytes()
        with filled.open("r+b") as file:
            file.seek(8192)
            file.write(b"\xff" * (len(content) - 8192))
        with pytest.raises(StoreError, match="damaged") as caught:
            store.recall()
        assert not caught.value.transient
        with pytest.raises(StoreError, match="damaged"):
            store.commit(Changes(at=NOW))
    with opened(filled) as store:
        assert "is damaged" in (store.recovered_from or "")
        assert [delivery.id for delivery in store.recall().outbox] == ["kept"]


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_fault_81_a_file_that_vanishes_under_the_process_is_noticed_at_the_next_commit(
    filled: Path, suffix: str, replaced: bool
) -> None:
    with opened(filled) as store:
        file = filled.with_name(filled.name + suffix)
        file.rename(filled.parent / "elsewhere")
        if replaced:
            shutil.copy(filled.parent / "elsewhere", file)
        for _ in range(2):
            with pytest.raises(StoreError, match=r"deleted or replaced.*restart") as caught:
                store.commit(Changes(at=NOW, deliveries=(a_delivery("new"),)))
            assert not caught.value.transient


def test_another_programs_database_is_not_touched(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE photo (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's database"):
        open_store(path, NOW)
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} == {"budgetd.db", "budgetd.db.lock"}
