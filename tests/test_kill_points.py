"""A sample of the kill points in every run of the suite; all of them: `python -m tests.kill_points`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kill_points import AT_ONCE, MUTANT, Calls, Point, numbers, spread, try_point, why_not
from tests.kill_scene import SCENES, Arrival, Stage, Verdict, find_disordered, find_doubled, stage

STEP = SCENES["step"]
# Around the decision's commit, at a page of it, between the two channels, while the receiver's answer is read.
SAMPLE = (Point("fdatasync", 3), Point("pwrite64", 60), Point("connect", 3), Point("recvfrom", 8))


@pytest.fixture(scope="module")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with stage(tmp_path_factory.mktemp("points")) as ready:
        ready.prepare(STEP)
        yield ready


@pytest.mark.network
def test_fault_133_a_kill_at_any_system_call_loses_nothing_and_doubles_only_in_the_uncertain_window(
    set_up: Stage,
) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = list(pool.map(lambda point: try_point(set_up, STEP, point), SAMPLE))
    assert all(verdict is not None for verdict in verdicts), "a point was never reached"
    assert [verdict for verdict in verdicts if verdict is not None and not verdict.good] == []


@pytest.mark.network
def test_a_program_that_marks_before_it_sends_is_found_out(set_up: Stage) -> None:
    mutant = set_up.playing(MUTANT, "mutant")
    verdict = try_point(mutant, STEP, Point("connect", 3))
    assert verdict is not None
    assert verdict.lost


def test_points_begin_where_the_state_is_opened_and_leave_out_the_loading_of_the_program() -> None:
    trace = [
        '7 openat(AT_FDCWD</state>, "/usr/lib/python3.11/x.py", O_RDONLY) = 3</usr/lib/python3.11/x.py>',
        "7 close(3</usr/lib/python3.11/x.py>) = 0",
        '7 openat(AT_FDCWD</state>, "/state/budgetd.db.lock", O_RDWR) = 3</state/budgetd.db.lock>',
        '7 openat(AT_FDCWD</state>, "/usr/lib/python3.11/y.so", O_RDONLY) = 4</usr/lib/python3.11/y.so>',
        "8 close(4</state>) = 0",
        "7 close(5</state/budgetd.db> <unfinished ...>",
        "7 <... close resumed>) = 0",
    ]
    assert numbers(trace) == {"openat": Calls([2], 3), "close": Calls([1, 2], 2)}


def test_a_sample_of_points_holds_the_first_and_the_last() -> None:
    assert spread([3, 5, 7, 9, 11], 3) == [3, 7, 11]
    assert spread([3, 4], 5) == [3, 4]
    assert spread([3, 4, 5], 1) == [4]


def test_only_the_same_message_that_was_uncertain_at_the_kill_may_come_twice() -> None:
    told = ("inc_1", 2, "step_reached 0.8")
    first, again, other = (Arrival("team", name, (told,)) for name in ("dlv_1", "dlv_1", "dlv_2"))
    allowed, certain, renamed, thrice = (Verdict(name) for name in ("allowed", "certain", "renamed", "thrice"))
    find_doubled(allowed, [first, again], {"dlv_1"})
    find_doubled(certain, [first, again], set())
    find_doubled(renamed, [first, other], {"dlv_1", "dlv_2"})
    find_doubled(thrice, [first, again, again], {"dlv_1"})
    assert (len(allowed.doubled), allowed.good) == (1, True)
    assert not certain.good
    assert not renamed.good
    assert not thrice.good


def test_an_older_state_after_a_newer_one_is_out_of_order() -> None:
    verdict = Verdict("point")
    newer, older = Arrival("team", "d2", (("inc", 3, "x"),)), Arrival("team", "d1", (("inc", 2, "x"),))
    find_disordered(verdict, [newer, older])
    assert not verdict.good
