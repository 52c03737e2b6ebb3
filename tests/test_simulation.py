"""Hundreds of simulated days of the whole daemon, thousands with `-m slow`; `python -m tests.simulation` lives through
as many as you like.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest

from tests.simulation.desks import Desk
from tests.simulation.world import History, Plan, SimulationError, live

SEEDS = range(1, 7)
DAYS = 60
MORE_SEEDS, MORE_DAYS = range(1, 61), 101
DESKS = [*Desk.__subclasses__(), *(kind for each in Desk.__subclasses__() for kind in each.__subclasses__())]
# A short and quiet history, in which the process is killed at each point in turn.
SHORT = Plan(seed=1, days=2, faults=False, crash_likelihood=0.0, calm_days=1)

# What must have happened at least, in three thousand days together; a world in which nothing happens proves nothing.
LEAST = {
    "crashes": 200,
    "before a commit": 50,
    "after a commit": 50,
    "before a service took a message": 10,
    "after a service took a message": 10,
    "answers lost in a crash": 10,
    "repeated after a lost answer": 20,
    "answered unknown": 50,
    "answered retry": 500,
    "answered rate_limited": 50,
    "answered rejected": 20,
    "answered unauthorised": 20,
    "answered gone": 20,
    "given up and reported": 3,
    "superseded": 30,
    "days restated": 200,
    "failed polls": 500,
    "page loop": 20,
    "missing bucket": 10,
    "half a page": 10,
    "401": 10,
    "clean restarts": 100,
    "clock jumps": 20,
    "edits": 100,
    "messages": 2_000,
    "firing step_reached": 500,
    "firing limit_lowered": 8,
    "firing blind": 30,
    "resolved recovered": 30,
    "resolved restated": 10,
    "resolved limit_raised": 3,
    "resolved rule_removed": 6,
    "resolved period_over": 500,
    "info baseline": 50,
    "info late": 10,
}


def lived(plan: Plan) -> History | str:
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
def histories(workers: ProcessPoolExecutor) -> list[History | str]:
    return list(workers.map(lived, [Plan(seed, DAYS) for seed in SEEDS]))


def test_no_promise_is_broken_in_hundreds_of_days(histories: list[History | str]) -> None:
    stories = [each for each in histories if isinstance(each, str)]
    assert not stories, "\n\n".join(stories)
    assert sum(each.days for each in histories if isinstance(each, History)) >= 360


@pytest.mark.slow
def test_nor_in_thousands(workers: ProcessPoolExecutor) -> None:
    stories = [
        each for each in workers.map(lived, [Plan(seed, MORE_DAYS) for seed in MORE_SEEDS]) if isinstance(each, str)
    ]
    assert not stories, "\n\n".join(stories)


def test_enough_happened_in_those_days_to_prove_something(histories: list[History | str]) -> None:
    counts: Counter[str] = Counter()
    for each in histories:
        if isinstance(each, History):
            counts.update(each.counts)
    share = {name: least * len(SEEDS) * DAYS // 3_030 for name, least in LEAST.items()}
    missing = {name: (counts[name], least) for name, least in share.items() if counts[name] < least}
    assert not missing, f"too little of (happened, wanted): {missing}"


def test_every_kind_of_channel_took_messages_in_them(histories: list[History | str]) -> None:
    counts = [each.counts for each in histories if isinstance(each, History)]
    taken = {kind.__name__: sum(each[f"taken by a {kind.__name__}"] for each in counts) for kind in DESKS}
    assert len(taken) == 9
    assert all(count >= 20 for count in taken.values()), taken


def test_i14_the_same_seed_gives_the_same_history(workers: ProcessPoolExecutor) -> None:
    """In another process too, where sets have another order."""
    plan = Plan(SEEDS[0], DAYS // 4)
    here = lived(plan)
    assert isinstance(here, History), here
    assert workers.submit(lived, plan).result() == here


def test_a_short_history_survives_a_crash_at_each_of_its_points(workers: ProcessPoolExecutor) -> None:
    whole = lived(SHORT)
    assert isinstance(whole, History), whole
    assert whole.points >= 40
    plans = [replace(SHORT, only_crash=point) for point in range(1, whole.points + 1)]
    results = list(workers.map(lived, plans, chunksize=8))
    stories = [each for each in results if isinstance(each, str)]
    assert not stories, stories[0]
    assert all(isinstance(each, History) and each.counts["crashes"] == 1 for each in results)
