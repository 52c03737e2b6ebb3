"""Files of an older, newer or half-migrated schema, and kills at system calls."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from budgetd.store import StoreError
from budgetd.stores import files
from budgetd.stores.database import Database, open_database
from budgetd.stores.migrations import MIGRATIONS, Migration, migrate
from budgetd.stores.reading import open_read_only
from budgetd.stores.sqlite import open_store
from tests.state_files import contents, fill, opened, run, schema
from tests.store_contract import NOW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "budgetd.db"


@pytest.fixture
def filled(path: Path) -> Path:
    """A database that was closed cleanly: one organisation, one delivery, one backup of both."""
    return fill(path)


@pytest.mark.parametrize("start", range(1, len(MIGRATIONS)))
def test_fault_78_an_older_file_is_backed_up_and_becomes_like_a_new_one(tmp_path: Path, start: int) -> None:
    old, new = tmp_path / "old" / "budgetd.db", tmp_path / "new" / "budgetd.db"
    old.parent.mkdir()
    files.make_database(old, MIGRATIONS[:start])
    was = schema(old)
    for path in (old, new):
        with opened(path) as store:
            assert store.recovered_from is None
            assert store._database.row("PRAGMA user_version")[0] == len(MIGRATIONS)
    assert schema(old) == schema(new) != was
    (backup,) = files.backups(old)
    assert backup.name == f"budgetd-20261122T100000Z-version-{start}.db"
    assert schema(backup) == was


def test_fault_78_a_newer_file_is_refused_with_both_numbers_and_not_touched(filled: Path) -> None:
    with contextlib.closing(sqlite3.connect(filled)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = contents(filled.parent)
    words = rf"version 99, this budgetd knows up to {len(MIGRATIONS)}"
    with pytest.raises(StoreError, match=words):
        open_store(filled, NOW)
    with pytest.raises(StoreError, match=words):
        open_read_only(filled)
    after = contents(filled.parent)
    assert {name for name in after if after[name] != before.get(name)} <= {"budgetd.db.lock"}
    assert after.keys() == before.keys()


def test_a_reader_of_an_older_file_says_that_the_daemon_upgrades_it(path: Path) -> None:
    path.parent.mkdir()
    files.make_database(path, MIGRATIONS[:1])
    with pytest.raises(StoreError, match=r"schema version 1.*start the daemon"):
        open_read_only(path)


class DyingDatabase(Database):
    """Raises instead of the COMMIT."""

    def commit(self) -> None:
        raise KeyboardInterrupt


def test_fault_76_a_migration_is_all_or_nothing(path: Path) -> None:
    path.parent.mkdir()
    files.make_database(path, MIGRATIONS[:1])
    before = schema(path)
    with pytest.raises(KeyboardInterrupt), opened(path, DyingDatabase):
        pass
    assert schema(path) == before
    with opened(path) as store:
        assert store._database.row("PRAGMA user_version")[0] == len(MIGRATIONS)


def test_a_migration_that_fails_or_leaves_dangling_references_changes_nothing(filled: Path) -> None:
    for statement, words in (
        ("DELETE FROM organisation", "dangling references"),
        ("CREATE TABLE source (x)", "already exists"),
    ):
        bad = Migration(
            "a mistake", ("CREATE TABLE extra (x)", "INSERT INTO workspace VALUES (1, 'w', 'W', NULL, '[]')", statement)
        )
        database = open_database(filled)
        with contextlib.closing(database), pytest.raises(StoreError, match=words):
            migrate(database, (*MIGRATIONS, bad))
        assert "extra" not in {row[1] for row in schema(filled)}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    "call", ["pwrite64:when=3", "pwrite64:when=20", "fdatasync:when=2", "unlink:when=2", "rename:when=1"]
)
def test_fault_133_killed_at_a_system_call_the_file_is_whole(filled: Path, call: str) -> None:
    name, when = call.split(":")
    code = (
        "s = open_store(path, NOW)\n"
        "for n in range(3):\n"
        "    s.commit(Changes(NOW, deliveries=(a_delivery(f'{n}'),)))\n"
        "    print(n, flush=True)\n"
        "s.back_up(NOW)\ns.close()\n"
    )
    done = run(code, filled, trace=("-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:{when}"))
    assert done.returncode == -signal.SIGKILL, done.stderr
    with opened(filled) as store:
        assert store.recovered_from is None
        kept = {delivery.id for delivery in store.recall().outbox}
        assert kept >= {"kept", *done.stdout.split()}, "what was acknowledged is there"
        assert all(files._is_good(backup) for backup in files.backups(filled))
