"""A whole poll: the page decoded, evaluated by 1,000 rules, kept; when the page is new and when it is as it was."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from itertools import cycle
from pathlib import Path

from benchmarks.measuring import Figure, at_most, cpu, once, plain
from benchmarks.pages import NOW, Shelf, bill
from benchmarks.rulefiles import quiet
from budgetd.evaluation import Evaluator, Observation
from budgetd.model import Changes, Organisation
from budgetd.sources.cost_report import CostReport
from budgetd.stores.sqlite import SqliteStore, open_store

TARGETS = {"S": 1.0, "M": 25.0, "L": 450.0}  # milliseconds
RULES = 1_000


class Watch:
    """The daemon's thinking part over one page in memory, with a real state on disk."""

    def __init__(self, folder: Path, size: str, rules: int) -> None:
        self.store: SqliteStore = open_store(folder / "budgetd.db", NOW)
        self._pages = cycle([bill(size), bill(size, 1)])
        self._shelf = Shelf(next(self._pages))
        self._source = CostReport(self._shelf)
        self._evaluator = Evaluator(self.store, quiet(rules))

    def turn(self) -> None:
        """Other amounts in every row from now on."""
        self._shelf.page = next(self._pages)

    def read(self) -> Observation:
        report = self._source.read(NOW, None)
        return Observation(self._source.name, report, organisation=Organisation("org_1", "Example Company"))

    def poll(self) -> None:
        self._evaluator.wanted_since(NOW)
        self._evaluator.take(self.read(), NOW)

    def judge(self) -> Changes:
        """A poll that keeps nothing."""
        return self._evaluator.judge(self.read(), NOW)


def figures(sizes: Iterable[str]) -> Iterator[Figure]:
    """Turn by turn, so that the changed page is a changed one in every run."""
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            yield from _size(size, Watch(Path(folder), size, RULES))


def _size(size: str, watch: Watch) -> Iterator[Figure]:
    standard = cpu(lambda: json.loads(bill(size)), runs=3)
    first = once(watch.poll)
    watch.turn()
    second = once(watch.poll)
    runs = 3 if size == "L" else 7
    changed = min(_turned(watch, watch.poll) for _ in range(runs))
    unkept = min(_turned(watch, watch.judge) for _ in range(runs))
    watch.poll()
    unchanged = cpu(watch.poll, runs)
    watch.store.close()
    yield at_most(f"{size}: page changed, {RULES:,} rules, kept in SQLite", changed, TARGETS[size], "ms")
    yield at_most("   without the state", unkept, TARGETS[size], "ms")
    if size != "S":
        yield at_most("   without the state, against json.loads of the page", unkept / standard, 1.6, "x")
    yield at_most("   page unchanged, against changed", unchanged / changed, 0.1, "x")
    yield plain("   page unchanged", unchanged, "ms")
    yield plain("   the first poll of all", first, "ms")
    yield plain("   the second", second, "ms")


def _turned(watch: Watch, act: object) -> float:
    watch.turn()
    assert callable(act)
    return once(act)
