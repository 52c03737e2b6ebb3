"""The files around the database: made whole, backed up, and restored when they are lost or damaged."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from budgetd.store import StoreError
from budgetd.stores.database import Database, beside, damaged, open_database, open_unchanging
from budgetd.stores.migrations import MIGRATIONS, Migration, migrate, require_known, version

BACKUPS_KEPT = 7


def make_folder(folder: Path) -> None:
    """Make the folder, for this user only, unless it is there."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def make_database(path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Make an empty database under another name and move it into place: a file of that name is always whole."""
    new = beside(path, ".new")
    with _temporary(new):
        database = open_database(new)
        try:
            database.pragma("auto_vacuum = INCREMENTAL")
            database.rows("VACUUM")
            migrate(database, migrations)
        finally:
            database.close()
        _put_in_place(new, path)


def open_or_recover(path: Path, now: datetime, *, used: bool) -> str | None:
    """Make sure that there is a sound database at `path`; one sentence on what was lost if there was none.

    `used`: there was a database before, so a missing one is lost and not new. Raises StoreError, before anything is
    touched, for a file that is another program's or a newer budgetd's.
    """
    wrong = _what_is_wrong(path, used=used)
    if wrong is None:
        if not path.exists():
            make_database(path)
        beside(path, ".suspect").unlink(missing_ok=True)
        return None
    aside = _move_aside(path, now)
    kept = f"; what is left of it is kept as {aside.name}" if aside else ""
    for backup in reversed(backups(path)):
        if _is_good(backup):
            _restore(backup, path)
            return f"{wrong}{kept}; restored from the backup {backup.name}: what was decided since is forgotten"
    make_database(path)
    return f"{wrong}{kept}; no good backup was found, started anew: all earlier state is lost"


def _what_is_wrong(path: Path, *, used: bool) -> str | None:
    """Why the database cannot be used; None when it can be, or when there never was one."""
    if not path.exists():
        leftover = beside(path, "-wal").exists() or bool(backups(path))
        return f"the database {path} is gone" if used or leftover else None
    if path.stat().st_size == 0:
        return f"the database {path} is empty"
    # Reading all of it takes long when it is large: only after an unclean end, or when it was seen to be damaged.
    thorough = beside(path, ".suspect").exists() or beside(path, "-wal").exists()
    return None if _sound(path, "quick_check" if thorough else "schema_version") else f"the database {path} is damaged"


def _sound(path: Path, check: str) -> bool:
    """Whether the content can be read, by that PRAGMA. Raises StoreError if it is not for us."""
    try:
        # Only a writing connection can always make sense of the log of a process that was killed.
        database = open_database(path) if beside(path, "-wal").exists() else open_unchanging(path)
        try:
            require_known(version(database), database)
            answer = database.rows(f"PRAGMA {check}")
            database.rows("SELECT name FROM sqlite_schema")
        finally:
            database.close()
    except StoreError as error:
        if damaged(error):
            return False
        raise
    return check == "schema_version" or [tuple(row) for row in answer] == [("ok",)]


def _is_good(backup: Path) -> bool:
    try:
        return backup.stat().st_size > 0 and _sound(backup, "integrity_check")
    except StoreError:
        return False


def _move_aside(path: Path, now: datetime) -> Path | None:
    """Out of the way, log and all: somebody may still want to look. None when there was nothing."""
    aside = beside(path, f".damaged-{_stamp(now)}")
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            beside(path, suffix).replace(beside(aside, suffix))
    beside(path, ".suspect").unlink(missing_ok=True)
    return aside if aside.exists() else None


def _restore(backup: Path, path: Path) -> None:
    new = beside(path, ".new")
    with _temporary(new), backup.open("rb") as source, new.open("r+b") as target:
        shutil.copyfileobj(source, target)
        _put_in_place(new, path)


def backups(path: Path) -> list[Path]:
    """The backups of the database, oldest first."""
    name = re.compile(re.escape(path.stem) + r"-[0-9]{8}T[0-9]{6}Z(-version-[0-9]+)?\.db")
    return sorted(file for file in _folder(path).glob("*.db") if name.fullmatch(file.name))


def back_up(database: Database, now: datetime, mark: str = "") -> Path:
    """Write a backup that is whole, checked and on the disk, or none; keep the newest seven."""
    folder = _folder(database.path)
    make_folder(folder)
    target = folder / f"{database.path.stem}-{_stamp(now)}{mark}.db"
    new = beside(target, ".new")
    with _temporary(new):
        database.rows("VACUUM INTO ?", (str(new),))
        _require_whole(new)
        _put_in_place(new, target)
    for old in backups(database.path)[:-BACKUPS_KEPT]:
        old.unlink(missing_ok=True)
    return target


def backed_up(path: Path, now: datetime) -> bool:
    """Whether there is a backup of this UTC day."""
    return any(f"-{_stamp(now)[:8]}T" in backup.name for backup in backups(path))


def _require_whole(backup: Path) -> None:
    database = open_unchanging(backup)
    try:
        answer = [tuple(row) for row in database.rows("PRAGMA integrity_check")]
    finally:
        database.close()
    if answer != [("ok",)]:
        raise StoreError(f"the backup {backup} is not whole: {answer[0][0]}")


@contextlib.contextmanager
def _temporary(new: Path) -> Iterator[None]:
    """An empty file for this user only; gone at the end unless it was put in its place."""
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        yield
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            beside(new, suffix).unlink(missing_ok=True)


def _put_in_place(new: Path, target: Path) -> None:
    """Rename such that a power cut leaves either the old or all of the new (SQLite does not sync VACUUM INTO)."""
    _sync(new)
    new.replace(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folder(path: Path) -> Path:
    return path.parent / "backups"


def _stamp(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
