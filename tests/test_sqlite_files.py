"""What the SQLite store does when files, disks, locks and schemas are not as they should be."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from store_contract import ACME, NOW, a_delivery

from budgetd.model import Changes
from budgetd.store import StoreError
from budgetd.stores import files
from budgetd.stores.database import Database, open_database
from budgetd.stores.lock import Lock
from budgetd.stores.migrations import APPLICATION_ID, MIGRATIONS, Migration, migrate
from budgetd.stores.reading import open_read_only
from budgetd.stores.sqlite import SqliteStore, open_store

DAY = timedelta(days=1)
ROOT = Path(__file__).parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "budgetd.db"


@contextlib.contextmanager
def opened(path: Path, kind: type[Database] = Database) -> Iterator[SqliteStore]:
    with contextlib.closing(open_store(path, NOW, kind=kind)) as store:
        yield store


@pytest.fixture
def filled(path: Path) -> Path:
    """A database that was closed cleanly: one organisation, one delivery, one backup of both."""
    with opened(path) as store:
        store.commit(Changes(at=NOW, organisation=ACME, deliveries=(a_delivery("kept"),)))
        store.back_up(NOW - DAY)
    return path


def outbox(path: Path) -> list[str]:
    with contextlib.closing(open_read_only(path)) as reader:
        return [delivery.id for delivery in reader.recall().outbox]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


PRELUDE = """
import os, resource, signal, sys
from pathlib import Path
sys.path[:0] = ["tests", "."]
from store_contract import *
from budgetd.stores.sqlite import open_store
from budgetd.stores.reading import open_read_only
path = Path(sys.argv[1])
"""


def command(code: str, path: Path) -> list[str]:
    """Python in a process of its own, with `path` and the store's names at hand."""
    return [sys.executable, "-c", PRELUDE + code, str(path)]


def run(code: str, path: Path, *, trace: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run it; `trace` is what strace does to its system calls."""
    tracer = ["strace", "-f", "-qq", "-o", "/dev/null", *trace] if trace else []
    done = subprocess.run(
        [*tracer, *command(code, path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if "ptrace" in done.stderr.lower():
        pytest.skip("this place does not let processes be traced")
    return done


NOBODY = "os.setuid(65534)\n"


@contextlib.contextmanager
def read_only_copy(folder: Path) -> Iterator[Path]:
    """A copy that others may read and nobody but root may write."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        copy = Path(shutil.copytree(folder, Path(parent) / "state"))
        for file in (copy, *copy.rglob("*")):
            file.chmod(0o555 if file.is_dir() else 0o444)
        yield copy


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
        assert first.stdout is not None
        assert first.stdout.readline() == b"open\n"
        with pytest.raises(StoreError, match=f"in use by another budgetd, process {first.pid}; stop") as caught:
            open_store(path, NOW)
        assert not caught.value.transient
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


# --- the schema --------------------------------------------------------------------------------


def schema(path: Path) -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
    return [(kind, name, " ".join((sql or "").split())) for kind, name, sql in rows]


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
    for refused in (lambda: open_store(filled, NOW), lambda: open_read_only(filled)):
        with pytest.raises(StoreError, match=rf"version 99, this budgetd knows up to {len(MIGRATIONS)}"):
            refused()
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
def test_fault_67_a_folder_that_cannot_be_written_says_so(filled: Path) -> None:
    code = "try:\n    open_store(path, NOW)\nexcept StoreError as error:\n    print(error.transient, error)\n"
    with read_only_copy(filled.parent) as folder:
        done = run(NOBODY + code, folder / "budgetd.db")
        assert done.stdout == f"True {folder}/budgetd.db.lock: Permission denied\n", done.stderr


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
