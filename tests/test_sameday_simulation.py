"""Simulated days of all three sources together; `python -m tests.sameday_simulation` lives through as many as you like.

The judge is worth its name only if it finds what is broken on purpose: each of the mutants must be caught.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest

from budgetd import blind, lifecycle
from budgetd.evaluation import Observation
from budgetd.lifecycle import Situation
from budgetd.model import Basis, CostSlice, Finding, Health
from budgetd.period import Period
from budgetd.recent import Parts
from budgetd.rules import Indexes, Rule
from budgetd.rules.rate import Rate
from budgetd.sources import usage_report
from budgetd.spend import Spend
from tests.sameday_simulation.history import Lived, Plan, SimulationError, live
from tests.simulation.crashes import BrokenPromiseError

SEEDS = range(1, 9)
MORE_SEEDS = range(9, 81)
DAYS = 3

# What must have happened at least in those histories; a world in which nothing happens proves nothing.
LEAST = {
    "after a commit": 5,
    "before a commit": 5,
    "clean restarts": 5,
    "reloads": 5,
    "messages": 100,
    "firing step_reached": 50,
    "firing reminder": 8,
    "firing blind": 4,
    "resolved recovered": 3,
    "resolved period_over": 20,
    "resolved restated": 1,
    "resolved slowed_down": 3,
    "info baseline": 8,
    "info drift": 2,
    "info late": 2,
    "use that is taken after a later bill": 50,
}


def lived(plan: Plan) -> Lived | str:
    """The history, or the story of the promise that was broken in it."""
    try:
        return live(plan)
    except SimulationError as broken:
        return str(broken)


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def histories(workers: ProcessPoolExecutor) -> list[Lived | str]:
    return list(workers.map(lived, [Plan(seed, DAYS) for seed in SEEDS]))


def test_every_day_is_told_as_it_was(histories: list[Lived | str]) -> None:
    stories = [each for each in histories if isinstance(each, str)]
    assert not stories, "\n\n".join(stories)


def test_enough_happened_to_prove_something(histories: list[Lived | str]) -> None:
    counts: Counter[str] = Counter()
    for each in histories:
        counts.update(each.counts if isinstance(each, Lived) else {})
    missing = {name: (counts[name], least) for name, least in LEAST.items() if counts[name] < least}
    assert not missing, f"too little of (happened, wanted): {missing}"


def test_the_same_seed_gives_the_same_history(workers: ProcessPoolExecutor) -> None:
    """In another process too, where sets have another order."""
    plan = Plan(2, 1)
    here = lived(plan)
    assert isinstance(here, Lived), here
    assert workers.submit(lived, plan).result() == here


@pytest.mark.slow
def test_nor_is_it_otherwise_in_hundreds(workers: ProcessPoolExecutor) -> None:
    stories = [each for each in workers.map(lived, [Plan(seed, 5) for seed in MORE_SEEDS]) if isinstance(each, str)]
    assert not stories, "\n\n".join(stories)


# --- mutants -----------------------------------------------------------------------------------------


def anything(*_args: object, **_more: object) -> bool:
    return True


def any_reading(_observation: Observation) -> Basis:
    """Priced hours, read every few minutes, pass for the bill."""
    return Basis.BILLED if _observation.source != "usage_report" else Basis.ESTIMATED


def only_the_current_one(situation: Situation, rule: str, period: Period) -> bool:
    return period == situation.current[rule]


def every_index(indexes: Indexes, _rule: Rule) -> Spend:
    return indexes.every


def of_any_hour(rule: Rate, spend: Spend, period: Period, watched: Any) -> Iterator[Finding]:
    """Hours that are told again after a start, long ago as they may be, are the present."""
    through, spend.through = spend.through, period.end
    try:
        found = list(_of_the_present(rule, spend, period, watched))
    finally:
        spend.through = through
    yield from found


def estimates_first(parts: Parts) -> tuple[CostSlice, ...]:
    """Hours that the vendor has priced are not looked at."""
    return parts.estimated or parts.priced


def both(parts: Parts) -> tuple[CostSlice, ...]:
    """Priced hours and estimates of the same time are added up."""
    return tuple(sorted((*parts.priced, *parts.estimated), key=lambda part: part.start))


def at_the_first_failure(health: Health, error: Any, now: datetime, others: Any = ()) -> blind.Sight:
    return _not_seen(replace(health, failures=9), error, now, others)


def from_tomorrow(today: date, billed_through: datetime | None) -> date:
    """The day whose bill is awaited is not estimated any more."""
    return today


_not_seen, _of_the_present = blind.not_seen, Rate.findings


MUTANTS: dict[str, tuple[int, object, str, Callable[..., Any]]] = {
    "a bill that is lost": (1, Spend, "accepts", lambda self, day, through: day.basis is not Basis.BILLED),
    "priced hours as a reading of the bill": (11, Observation, "read", property(any_reading)),
    "estimates that correct a bill": (1, lifecycle, "_is_read", anything),
    "a period that ends before its bill": (1, lifecycle, "_is_live", only_the_current_one),
    "rules for billed days that see estimates": (1, Indexes, "of", every_index),
    "a rate of long ago": (11, Rate, "findings", of_any_hour),
    "no priced hours": (3, Parts, "joined", estimates_first),
    "hours that count twice": (3, Parts, "joined", both),
    "blindness at the first failure": (3, blind, "not_seen", at_the_first_failure),
    "a day without an estimate while its bill is awaited": (1, usage_report, "first_unbilled", from_tomorrow),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_judge_catches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seed, owner, attribute, instead = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, instead)
    with pytest.raises(SimulationError) as caught:
        live(Plan(seed, DAYS))
    assert isinstance(caught.value.__cause__, BrokenPromiseError), "it fell over, which no judge had to see"
