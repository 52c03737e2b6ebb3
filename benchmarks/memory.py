"""Resident memory of reading a page, and of the history that rules look back on."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path

from benchmarks.measuring import Figure, apart, at_most, peak, plain, resident
from benchmarks.pages import DAY_ONE, NOW, Shelf, bill
from budgetd.model import UNKNOWN_ORGANISATION, Changes, CostDay, Names
from budgetd.period import DAY
from budgetd.scope import Naming, View
from budgetd.sources.cost_page import Known, decode
from budgetd.sources.cost_report import CostReport
from budgetd.spend import Spend
from budgetd.stores.sqlite import open_store

# What most rules look at.
VIEWS = (View(), View(for_each=("workspace",)), View(for_each=("workspace", "model")))


def figures(sizes: Iterable[str]) -> Iterator[Figure]:
    """Each figure is of a process of its own."""
    tops: dict[str, float] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / "one", Path(folder) / "two"]
            for number, path in enumerate(paths):
                path.write_bytes(bill(size, number))
            tops[size], idle = apart(read, paths)
            yield plain(f"{size}: the most while a day's page is read three times", tops[size], "MB")
            yield plain("   between the polls", idle, "MB")
            for days in (31, 62):
                grown = apart(history, paths[0], days)
                what = f"   {days} days of history over one day"
                yield at_most(what, grown, 25, "MB") if (size, days) == ("L", 62) else plain(what, grown, "MB")
    if {"S", "L"} <= tops.keys():
        yield at_most("L against S", tops["L"] / tops["S"], 1.6, "x")


class _File(Shelf):
    """An API that serves a file: the page is in memory only while somebody holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, deadline: float | None = None) -> bytes:
        return self.path.read_bytes()


def read(paths: Sequence[Path]) -> tuple[float, float]:
    """A page read, then other amounts of it, twice: the peak, and what stays."""
    shelf = _File(paths[0])
    source = CostReport(shelf)
    for path in (*paths, paths[0]):
        shelf.path = path
        source.read(NOW, None)
    gc.collect()
    return peak(), resident()


def history(path: Path, days: int) -> float:
    """What the index grows by from the first day to the last, each taken from the state as at a start."""
    (bucket,) = decode(path.read_bytes(), Known()).buckets
    spend = Spend(VIEWS, Naming(Names(UNKNOWN_ORGANISATION)))
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "budgetd.db", NOW)
        store.commit(Changes(at=NOW, cost_days=(CostDay(DAY_ONE, bucket.lines),)))
        before = 0.0
        for number in range(days):
            _take(spend, next(store.cost_days(DAY_ONE, DAY_ONE + DAY)), DAY_ONE + DAY * number)
            if number == 0:
                gc.collect()
                before = resident()
        gc.collect()
        grown = resident() - before
        store.close()
    return grown


def _take(spend: Spend, day: CostDay, on: date) -> None:
    spend.replace(CostDay(on, day.lines))
