"""Only one daemon writes: the lock beside the database, and how others see whether it is held."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from budgetd.store import StoreError
from budgetd.stores.database import beside, explained

# What may pass while the process runs: no space, a disk mounted read-only, missing rights, too many open files.
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE)


@contextlib.contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Errors of files and of SQLite as StoreError."""
    try:
        yield
    except OSError as error:
        message = f"{error.filename or path}: {error.strerror or error}"
        raise StoreError(message, transient=error.errno in _PASSING) from error
    except sqlite3.Error as error:
        raise explained(error, path) from error


class Lock:
    """Only one daemon writes: a lock that the kernel frees when the process ends, however it ends.

    `used`: a database was opened under this lock before. `writable`: False where nothing can be written, not even who
    holds the lock. Raises StoreError naming the process that holds it.
    """

    def __init__(self, database: Path, *, writable: bool = True) -> None:
        self.path = beside(database, ".lock")
        with plain_errors(self.path):
            self._descriptor = self._open() if writable else self._open_as_it_is()
            try:
                self._take()
                self.used = "used" in self._read()
                if writable:
                    self._write("used" if self.used else "new")
            except BlockingIOError:
                holder = (self._read() or ["unknown"])[0]
                os.close(self._descriptor)
                message = f"{database} is in use by another budgetd, process {holder}; stop that one first"
                raise StoreError(message) from None
            except OSError:
                os.close(self._descriptor)
                raise

    def mark_used(self) -> None:
        """From now on a missing database is a lost one."""
        with plain_errors(self.path):
            self._write("used")

    def release(self) -> None:
        """Let the next process in. The file stays: deleting it would let two processes hold two locks of one name."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _open_as_it_is(self) -> int:
        """Any file will do for a lock; without one of our own it is the folder."""
        try:
            return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)

    def _take(self) -> None:
        # `is_held` has it for a moment: that is not another daemon.
        for _ in range(4):
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(0.02)
        return fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _read(self) -> list[str]:
        with contextlib.suppress(IsADirectoryError):
            return os.pread(self._descriptor, 64, 0).decode("ascii", "replace").split()
        return []

    def _write(self, use: str) -> None:
        text = f"{os.getpid()} {use}\n".encode()
        os.pwrite(self._descriptor, text, 0)
        os.ftruncate(self._descriptor, len(text))


def is_held(database: Path) -> bool:
    """Whether a daemon has the database open. When we may not ask, we suppose so."""
    try:
        descriptor = os.open(beside(database, ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return error.errno != errno.ENOENT
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
