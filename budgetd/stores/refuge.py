"""A place in memory for the state while its file cannot be written, and the way back into the file.

Everything but the cost lines is copied: that is small, whatever the history comes to. Cost lines are read from the
file, except for the days that changed since.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import date, datetime

from budgetd.model import CostDay
from budgetd.period import DAY
from budgetd.store import StoreError
from budgetd.stores import costs
from budgetd.stores.database import Database
from budgetd.stores.migrations import migrate
from budgetd.stores.reading import SqliteReader

# They stay in the file.
_COSTS = ("cost_day", "cost_line", "series")


class DisplacedError(StoreError):
    """The file is not as it was left: writing it would undo what somebody else wrote."""


class Refuge:
    """The state in memory. `home`: a connection that can still read the file. Raises StoreError when it cannot."""

    def __init__(self, home: Database) -> None:
        self.database = Database(home.path, sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
        self._pruned_before = date.min
        try:
            migrate(self.database)
            with _without_references(self.database), home.snapshot() as theirs, self.database.transaction() as mine:
                self._left_as = _fingerprint(theirs)
                for table in _tables(mine):
                    _make_same(theirs, mine, table)
        except BaseException:
            self.database.close()
            raise

    def known_days(self, home: Database) -> frozenset[date]:
        """The UTC days whose cost lines are kept, in the file or here."""
        days = SqliteReader(home).known_days() | self._own_days()
        return frozenset(day for day in days if day >= self._pruned_before)

    def billed_days(self, home: Database) -> frozenset[date]:
        """The days whose bill is kept, there or here."""
        return SqliteReader(home).billed_days() | SqliteReader(self.database).billed_days()

    def cost_days(self, home: Database, start: date, end: date) -> Iterator[CostDay]:
        """The kept days in [start, end), oldest first."""
        start = max(start, self._pruned_before)
        for first, last in _runs(day for day in self._own_days() if start <= day < end):
            yield from SqliteReader(home).cost_days(start, first)
            yield from SqliteReader(self.database).cost_days(first, last + DAY)
            start = last + DAY
        yield from SqliteReader(home).cost_days(start, end)

    def prune(self, before: date) -> None:
        """Days of the file before that are as good as gone: the next pruning at home drops them."""
        self._pruned_before = max(self._pruned_before, before)

    def go_home(self, home: Database, now: datetime) -> None:
        """Write into the file what changed since it was left: all in one transaction, or nothing.

        Raises DisplacedError, and StoreError when the file still cannot be written.
        """
        with _without_references(home), self.database.snapshot() as mine, home.transaction() as theirs:
            if _fingerprint(theirs) != self._left_as:
                raise DisplacedError(
                    f"{home.path}: another program changed it while the state was kept in memory; it is left alone. "
                    "Restart budgetd to go on from the file",
                    transient=True,
                )
            for table in _tables(mine):
                _make_same(mine, theirs, table)
            for day in self._own_days():
                costs.write_days(theirs, SqliteReader(self.database).cost_days(day, day + DAY), now)

    def _own_days(self) -> frozenset[date]:
        return SqliteReader(self.database).known_days()


@contextlib.contextmanager
def _without_references(database: Database) -> Iterator[None]:
    """Rows that refer to each other are replaced one by one; they are a whole again at the end."""
    database.pragma("foreign_keys = OFF")
    try:
        yield
    finally:
        database.pragma("foreign_keys = ON")


def _runs(days: Iterable[date]) -> list[tuple[date, date]]:
    """Days that follow each other, as first and last."""
    runs: list[tuple[date, date]] = []
    for day in sorted(days):
        if runs and runs[-1][1] + DAY == day:
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs


def _tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    return [name for (name,) in rows if name not in _COSTS]


def _key(connection: sqlite3.Connection, table: str) -> list[str]:
    rows = connection.execute("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", (table,))
    return [name for (name,) in rows]


def _rows(connection: sqlite3.Connection, sql: str) -> Iterator[tuple[object, ...]]:
    cursor = connection.cursor()
    cursor.row_factory = None
    yield from cursor.execute(sql)


def _make_same(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> None:
    """Give the target's table the rows of the source's; only what differs is written: space may be short."""
    key = _key(source, table)
    columns = [name for (name,) in source.execute("SELECT name FROM pragma_table_info(?)", (table,))]
    every = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 (names of our own schema)
    wanted, found = set(_rows(source, every)), set(_rows(target, every))
    places = [columns.index(name) for name in key]
    target.executemany(
        f"DELETE FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in key)}",  # noqa: S608
        ([row[place] for place in places] for row in found - wanted),
    )
    target.executemany(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",  # noqa: S608
        wanted - found,
    )


def _fingerprint(connection: sqlite3.Connection) -> bytes:
    """What the file holds, as a digest; of the cost lines, which days were changed how often."""
    digest = hashlib.sha256()
    for table in _tables(connection):
        ordered = f"SELECT * FROM {table} ORDER BY {', '.join(_key(connection, table))}"  # noqa: S608
        for row in _rows(connection, ordered):
            digest.update(repr(row).encode())
    for row in _rows(connection, "SELECT day, revision FROM cost_day ORDER BY organisation, day"):
        digest.update(repr(row).encode())
    return digest.digest()
