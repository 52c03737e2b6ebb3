"""Databases in folders for tests, and processes of their own that can be killed over them."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from budgetd.model import Changes
from budgetd.stores.database import Database
from budgetd.stores.reading import open_read_only
from budgetd.stores.sqlite import SqliteStore, open_store
from tests.store_contract import ACME, NOW, a_delivery

ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def opened(path: Path, kind: type[Database] = Database) -> Iterator[SqliteStore]:
    with contextlib.closing(open_store(path, NOW, kind=kind)) as store:
        yield store


def fill(path: Path) -> Path:
    """Make a database and close it cleanly: one organisation, one delivery, one backup of both from the day before."""
    with opened(path) as store:
        store.commit(Changes(at=NOW, organisation=ACME, deliveries=(a_delivery("kept"),)))
        store.back_up(NOW - timedelta(days=1))
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
from tests.store_contract import *
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


def schema(path: Path) -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
    return [(kind, name, " ".join((sql or "").split())) for kind, name, sql in rows]
