"""One connection to one SQLite file: pragmas, transactions, and its errors in plain words."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from budgetd.store import StoreError

# How long another program's lock is waited for; a tick can be tried again, so not for long.
BUSY_MILLISECONDS = 1_000
# After a large commit the log is cut back to this.
LOG_BYTES = 16 * 1024 * 1024

Parameters = Mapping[str, object] | Sequence[object]

_LOCKED = ("SQLITE_BUSY", "SQLITE_LOCKED")
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
# (how the name of SQLite's code starts, what it means, whether trying again in this process can help)
_MEANINGS = (
    ("SQLITE_READONLY_DBMOVED", "the file was moved or deleted under the running process; restart budgetd", False),
    ("SQLITE_BUSY", "another program has locked it; it is tried again", True),
    ("SQLITE_LOCKED", "another program has locked it; it is tried again", True),
    ("SQLITE_FULL", "there is no space left; free some", True),
    ("SQLITE_READONLY", "it cannot be written; check the permissions and whether the disk is mounted read-only", True),
    ("SQLITE_CANTOPEN", "it cannot be opened; check that it exists, and its permissions", True),
    ("SQLITE_CORRUPT", "it is damaged; at the next start the newest good backup is restored", False),
    ("SQLITE_NOTADB", "it is damaged; at the next start the newest good backup is restored", False),
    # The index of the log could not grow: it is the first to fail on a full disk or quota, and writes nothing lasting.
    ("SQLITE_IOERR_SHMSIZE", "there is no space left; free some", True),
    ("SQLITE_IOERR", "the disk gave an error; check the disk, then restart budgetd", False),
)


def beside(path: Path, suffix: str) -> Path:
    """The file of that name with something appended: `budgetd.db` and `-wal`."""
    return path.with_name(path.name + suffix)


def explained(error: sqlite3.Error, path: Path) -> StoreError:
    """What SQLite's error means for the operator."""
    name: str = getattr(error, "sqlite_errorname", "")
    for start, meaning, transient in _MEANINGS:
        if name.startswith(start):
            locked = name.startswith(_LOCKED)
            return StoreError(f"{path}: {meaning} ({error})", transient=transient, locked=locked)
    return StoreError(f"{path}: {error}", transient=False)


def damaged(error: StoreError) -> bool:
    """Whether the file's content is broken, as opposed to not being reachable now."""
    return getattr(error.__cause__, "sqlite_errorname", "").startswith(_DAMAGED)


class Database:
    """The one connection of a process. Safe to call from any thread; calls wait for each other.

    After a StoreError that is not transient every further call raises the same error.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, on_close: Callable[[], None] | None = None) -> None:
        self.path = path
        self._on_close = on_close
        self._connection = connection
        self._lock = threading.RLock()
        self._files: dict[Path, tuple[int, int]] = {}
        self._failed: StoreError | None = None
        connection.row_factory = sqlite3.Row

    def pragma(self, text: str) -> None:
        """Run a PRAGMA whose answer does not matter."""
        self.rows(f"PRAGMA {text}")

    def watch(self) -> None:
        """From now on notice when the file or its log is deleted or replaced under the process."""
        files = [self.path, beside(self.path, "-wal"), beside(self.path, "-shm")]
        self._files = {file: _inode(file) for file in files if file.exists()}

    def rows(self, sql: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
        """All rows of a query. Raises StoreError."""
        with self._guarded() as connection:
            return connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Parameters = ()) -> sqlite3.Row:
        """The row of a query that has exactly one. Raises StoreError."""
        (row,) = self.rows(sql, parameters)
        return row

    def each(self, sql: str, parameters: Parameters = ()) -> Iterator[tuple[object, ...]]:
        """The rows of a long query one by one, as plain tuples. To be read to its end at once: it holds the lock."""
        with self._guarded() as connection:
            cursor = connection.cursor()
            cursor.row_factory = None
            yield from cursor.execute(sql, parameters)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """All queries of the block see the same state, whatever another process commits meanwhile."""
        with self._guarded() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                self._roll_back()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing: committed at the end of the block, rolled back when it raises."""
        with self._guarded() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                self._still_there()
                self.commit()
            finally:
                self._roll_back()

    def commit(self) -> None:
        """The one COMMIT of the program; tests crash before and after it."""
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection; the last one to a file folds its log into it."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.close()
        if self._on_close is not None:
            self._on_close()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._failed is not None:
                raise self._failed
            try:
                yield self._connection
            except sqlite3.Error as error:
                failure = explained(error, self.path)
                failure.__cause__ = error
                self._note(failure)
                raise failure from error

    def _note(self, failure: StoreError) -> None:
        if not failure.transient:
            self._failed = failure
        if damaged(failure) and self._files:
            # A thorough check takes long on a large file; the next start makes it only when it has a reason to.
            with contextlib.suppress(OSError):
                beside(self.path, ".suspect").touch(mode=0o600)

    def _roll_back(self) -> None:
        # SQLite has often rolled back by itself when the disk is full or broken.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _still_there(self) -> None:
        for file, inode in self._files.items():
            if _inode(file) != inode:
                message = f"{file} was deleted or replaced under the running process; restart budgetd"
                self._failed = StoreError(message, transient=False)
                raise self._failed


def _inode(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return (0, 0)
    return status.st_dev, status.st_ino


def open_database(path: Path, kind: type[Database] = Database) -> Database:
    """The writing connection to an existing file. Raises StoreError."""
    connection = _connect(path, "mode=rw")
    database = kind(path, connection)
    try:
        for pragma in (
            f"busy_timeout = {BUSY_MILLISECONDS}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            f"journal_size_limit = {LOG_BYTES}",
        ):
            database.pragma(pragma)
    except StoreError:
        database.close()
        raise
    return database


def open_unchanging(path: Path) -> Database:
    """A reading connection to a file that nobody writes. It takes no lock and makes no file."""
    return Database(path, _connect(path, "mode=ro&immutable=1"))


def open_beside_writer(path: Path) -> Database:
    """A reading connection that shares the writer's log. It never checkpoints and makes no file."""
    return Database(path, _connect(path, "mode=ro&readonly_shm=1"))


def open_alone(path: Path) -> Database:
    """A reading connection that has the file for itself, so that the log's index needs no file that would have to grow.

    For the log of a dead writer on a full disk, where there is no space for a copy either.
    """
    database = Database(path, _connect(path, "mode=rw"))
    try:
        for pragma in ("locking_mode = EXCLUSIVE", "query_only = ON", "schema_version"):
            database.pragma(pragma)
    except StoreError:
        database.close()
        raise
    return database


def open_copy(path: Path) -> Database:
    """A reading connection to a copy: SQLite would have to write beside the file to read the log of a dead writer."""
    folder = tempfile.mkdtemp(prefix="budgetd-")
    try:
        for file in (path, beside(path, "-wal")):
            shutil.copy(file, folder)
        return Database(path, _connect(Path(folder) / path.name, "mode=ro"), lambda: shutil.rmtree(folder))
    except (OSError, StoreError) as error:
        shutil.rmtree(folder)
        raise StoreError(f"{path}: it cannot be read ({error})", transient=True) from error


def _connect(path: Path, options: str) -> sqlite3.Connection:
    try:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?{options}", uri=True, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise explained(error, path) from error
