"""Cost lines into the SQLite file: a day is replaced whole, and only what differs is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import datetime

from budgetd.model import CostDay, Dimensions
from budgetd.money import canonical
from budgetd.stores.reading import HOME
from budgetd.stores.records import instant_text

# Dimensions as SQLite gives them: equal to them, and found in their place, without making a tuple of each.
Combination = tuple[str | None, ...]


def write_days(connection: sqlite3.Connection, days: Iterable[CostDay], observed_at: datetime) -> None:
    """Replace what is known of these days. A day that is as it was keeps its revision and its instant."""
    days = tuple(days)
    if not days:
        return
    numbers = _series_numbers(connection, {dimensions for day in days for dimensions in day.lines})
    for day in days:
        _write_day(connection, day, numbers, observed_at)


def _write_day(
    connection: sqlite3.Connection, day: CostDay, numbers: dict[Combination, int], observed_at: datetime
) -> None:
    key = (HOME, day.day.isoformat())
    kept = _amounts(connection, key)
    lines = {numbers[dimensions]: canonical(amount) for dimensions, amount in day.lines.items()}
    known = connection.execute(
        "SELECT basis, complete FROM cost_day WHERE organisation = ? AND day = ?", key
    ).fetchone()
    if known is not None and tuple(known) == (day.basis, day.complete) and kept == lines:
        return
    connection.execute(
        """INSERT INTO cost_day (organisation, day, basis, complete, revision, observed_at) VALUES (?, ?, ?, ?, 1, ?)
           ON CONFLICT DO UPDATE SET basis = excluded.basis, complete = excluded.complete,
               revision = revision + 1, observed_at = excluded.observed_at""",
        (*key, day.basis, day.complete, instant_text(observed_at)),
    )
    connection.executemany(
        "DELETE FROM cost_line WHERE organisation = ? AND day = ? AND series = ?",
        ((*key, number) for number in kept.keys() - lines.keys()),
    )
    # In the order of the key the tree grows at its end.
    changed = sorted(number for number, amount in lines.items() if kept.get(number) != amount)
    connection.executemany(
        """INSERT INTO cost_line (organisation, day, series, amount) VALUES (?, ?, ?, ?)
           ON CONFLICT DO UPDATE SET amount = excluded.amount""",
        ((*key, number, lines[number]) for number in changed),
    )


def _amounts(connection: sqlite3.Connection, key: tuple[int, str]) -> dict[int, str]:
    cursor = connection.cursor()
    cursor.row_factory = None
    return dict(cursor.execute("SELECT series, amount FROM cost_line WHERE organisation = ? AND day = ?", key))


def _series_numbers(connection: sqlite3.Connection, wanted: set[Dimensions]) -> dict[Combination, int]:
    """The numbers of these combinations, new ones included. One pass over all beats a look-up for each."""
    cursor = connection.cursor()
    cursor.row_factory = None
    numbers: dict[Combination, int] = {}
    for row in cursor.execute(
        """SELECT workspace, description, cost_type, model, token_type, service_tier, context_window, inference_geo,
                  speed, id
           FROM series WHERE organisation = ?""",
        (HOME,),
    ):
        combination = row[:-1]
        if combination in wanted:
            numbers[combination] = row[-1]
    missing = [dimensions for dimensions in wanted if dimensions not in numbers]
    (last,) = cursor.execute("SELECT coalesce(max(id), 0) FROM series").fetchone()
    new: dict[Combination, int] = dict(zip(missing, range(last + 1, last + 1 + len(missing)), strict=True))
    connection.executemany(
        """INSERT INTO series (id, organisation, workspace, description, cost_type, model, token_type, service_tier,
                               context_window, inference_geo, speed)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        ((number, HOME, *dimensions) for dimensions, number in new.items()),
    )
    return numbers | new
