"""When something is said, told as tables: one line for each reading or edit, and what is said of it."""

from __future__ import annotations

import pytest

from budgetd.model import Reason, State
from budgetd.rules import Rule
from tests.builders import at, cap, spike
from tests.watch import EACH, Action, Watch, again, archived, by_hand, edited, quiet, spent

WEEKLY = cap("100", per={"last": "2d"}, steps=["100%"])

Story = list[tuple[Action, list[str]]]

STORIES: dict[str, tuple[Rule, Story]] = {
    "86, 96, 101 % in three polls are three notices": (
        cap(steps=["85%", "95%", "100%"]),
        [
            (quiet, []),
            (spent("2026-11-02", "860"), ["trigger step_reached 0.85"]),
            (spent("2026-11-02", "960"), ["trigger step_reached 0.95"]),
            (spent("2026-11-02", "1010"), ["trigger step_reached 1"]),
        ],
    ),
    "the same poll again says nothing": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "860"), ["trigger step_reached 0.8"]),
            (again, []),
            (spent("2026-11-02", "860.00"), []),
            (spent("2026-11-02", "960"), []),
            (again, []),
        ],
    ),
    "steps that were jumped over are named": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "1300"), ["trigger step_reached 1.2 skipping 0.8, 1"]),
            (spent("2026-11-02", "2600"), ["trigger step_reached 2.5 skipping 1.5, 2"]),
            (spent("2026-11-02", "3100"), ["trigger step_reached 3"]),
        ],
    ),
    "edits of severity and routes say nothing": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "860"), ["trigger step_reached 0.8"]),
            (edited(cap(severity="critical", notify=["finance"])), []),
            (edited(cap("$1,000.00")), []),
            (again, []),
        ],
    ),
    "a rule that looks at something else is a new one: what is over is its baseline": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "860"), ["trigger step_reached 0.8"]),
            (
                edited(cap(for_each=EACH)),
                ["inform baseline 0.8", "resolve rule_removed"],
            ),
            (spent("2026-11-02", "1010"), ["trigger step_reached 1"]),
        ],
    ),
    "an exception that takes the spend away ends the incident as the rule's edit, not as a restatement": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "860"), ["trigger step_reached 0.8"]),
            (edited(cap(**{"except": {"model": "claude-opus-*"}})), ["resolve rule_removed"]),
            (again, []),
        ],
    ),
    "two complete polls below resolve, and arm again": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "1010"), ["trigger step_reached 1 skipping 0.8"]),
            (spent("2026-11-02", "700"), []),
            (again, ["resolve restated"]),
            (again, []),
            (spent("2026-11-02", "810"), ["trigger step_reached 0.8"]),
        ],
    ),
    "one poll below, and back": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "860"), ["trigger step_reached 0.8"]),
            (spent("2026-11-02", "700"), []),
            (spent("2026-11-02", "860"), []),
            (spent("2026-11-02", "700"), []),
            (spent("2026-11-02", "790"), []),
            (spent("2026-11-02", "700"), []),
            (spent("2026-11-02", "1010"), ["trigger step_reached 1"]),
        ],
    ),
    "a lower step that is still reached is no correction": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "1010"), ["trigger step_reached 1 skipping 0.8"]),
            (spent("2026-11-02", "810"), []),
            (again, []),
            (spent("2026-11-02", "1010"), []),  # and the higher one is not told twice
        ],
    ),
    "within 2 % nothing is ever resolved": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "860"), ["trigger step_reached 0.8"]),
            (spent("2026-11-02", "784"), []),  # 2 % below 800, not more
            (again, []),
            (again, []),
            (spent("2026-11-02", "783.99"), []),
            (again, ["resolve restated"]),
        ],
    ),
    "incomplete data never resolves": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "860"), ["trigger step_reached 0.8"]),
            (spent("2026-11-02", "100", "2026-11-04", "0"), []),  # the 3rd is unknown
            (again, []),
            (again, []),
            (spent("2026-11-03", "0"), []),
            (again, ["resolve restated"]),
        ],
    ),
    "incomplete data may open": (
        cap(),
        [(quiet, []), (spent("2026-11-04", "1010"), ["trigger step_reached 1 skipping 0.8"])],
    ),
    "a reload is no poll": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "860"), ["trigger step_reached 0.8"]),
            (edited(cap(notify="team")), []),
            (spent("2026-11-02", "700"), []),
            (edited(cap(severity="info")), []),
            (edited(cap()), []),
            (again, ["resolve restated"]),
        ],
    ),
    "a raised limit clears at once": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "860"), ["trigger step_reached 0.8"]),
            (edited(cap("2000")), ["resolve limit_raised"]),
            (again, []),
            (spent("2026-11-02", "1600"), ["trigger step_reached 0.8"]),
        ],
    ),
    "raised, and still over: nothing is said, and the higher steps are armed again": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "1250"), ["trigger step_reached 1.2 skipping 0.8, 1"]),
            (edited(cap("1200")), []),
            (again, []),
            (spent("2026-11-02", "1440"), ["trigger step_reached 1.2"]),
        ],
    ),
    "a lowered limit opens": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "500"), []),
            (edited(cap("500")), ["trigger limit_lowered 1 skipping 0.8"]),
            (again, []),
        ],
    ),
    "a lowered limit reaches further steps": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "860"), ["trigger step_reached 0.8"]),
            (edited(cap("500")), ["trigger limit_lowered 1.5 skipping 1, 1.2"]),
        ],
    ),
    "a step that the file no longer has clears": (
        cap(steps=["50%", "80%"]),
        [
            (quiet, []),
            (spent("2026-11-02", "600"), ["trigger step_reached 0.5"]),
            (edited(cap(steps=["80%"])), ["resolve limit_raised"]),
        ],
    ),
    "an edit of another workspace's limit is no reason": (
        cap(for_each=EACH),
        [
            (quiet, []),
            (spent("2026-11-02", "1010"), ["trigger step_reached 1 skipping 0.8"]),
            (spent("2026-11-02", "990"), []),
            (edited(cap(for_each=EACH, limits={"Other": "5"})), []),
            (spent("2026-11-02", "1010"), []),  # the step is not armed again
            (spent("2026-11-02", "790"), []),  # within the margin
            (edited(cap(for_each=EACH, limits={"Other": "6"})), []),
            (again, []),
        ],
    ),
    "a removed rule": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-02", "860"), ["trigger step_reached 0.8"]),
            (edited(), ["resolve rule_removed"]),
            (edited(), []),
            (edited(cap()), ["inform baseline 0.8"]),
            (again, []),
        ],
    ),
    "an edited for_each ends the incidents of the old scopes": (
        cap(for_each=EACH),
        [
            (quiet, []),
            (spent("2026-11-02", "860"), ["trigger step_reached 0.8"]),
            (edited(cap("5000")), ["resolve rule_removed"]),
        ],
    ),
    "an archived workspace": (
        cap(for_each=EACH),
        [
            (quiet, []),
            (spent("2026-11-02", "860", in_workspace="wrkspc_1"), ["trigger step_reached 0.8"]),
            (archived("wrkspc_1", at("2026-11-19")), ["resolve workspace_archived"]),
            (again, []),
        ],
    ),
    "late costs of an archived workspace are told, once": (
        cap(for_each=EACH),
        [
            (quiet, []),
            (spent("2026-11-02", "860", in_workspace="wrkspc_1"), ["trigger step_reached 0.8"]),
            (archived("wrkspc_1", at("2026-11-18 14:30")), ["resolve workspace_archived"]),
            (spent("2026-11-02", "1010", in_workspace="wrkspc_1"), ["trigger step_reached 1"]),
            (again, []),
            (again, []),
        ],
    ),
    "a workspace that was archived before says what it has to say": (
        cap(for_each=EACH),
        [
            (quiet, []),
            (archived("wrkspc_1", at("2026-11-01")), []),
            (spent("2026-11-02", "860", in_workspace="wrkspc_1"), ["trigger step_reached 0.8"]),
            (again, []),
        ],
    ),
    "the period is over": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-30", "860"), ["trigger step_reached 0.8"]),
            (spent("2026-12-01", "10"), ["resolve period_over"]),
            (again, []),
            (spent("2026-12-02", "840"), ["trigger step_reached 0.8"]),
        ],
    ),
    "fault 42: a closed month is corrected, once, and not in the new one": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-30", "860"), ["trigger step_reached 0.8"]),
            (spent("2026-12-01", "10"), ["resolve period_over"]),
            (spent("2026-11-30", "1060"), ["inform late 1"]),
            (again, []),
            (spent("2026-11-30", "860"), []),
            (spent("2026-11-30", "1060"), []),
        ],
    ),
    "a closed month that was never over is corrected": (
        cap(),
        [
            (quiet, []),
            (spent("2026-12-01", "10"), []),
            (spent("2026-11-30", "860"), ["inform late 0.8"]),
            (again, []),
        ],
    ),
    "fault 54: closed days that were missed get one summary each": (
        cap(per="day"),
        [
            (quiet, []),
            (
                spent("2026-11-02", "900", "2026-11-03", "5", "2026-11-04", "2000", "2026-11-05", "1000"),
                [
                    "inform late 0.8",
                    "inform late 2 skipping 0.8, 1, 1.2, 1.5",
                    "trigger step_reached 1 skipping 0.8",
                ],
            ),
            (again, []),
        ],
    ),
    "down over the end of a month that was already over": (
        cap(),
        [
            (quiet, []),
            (spent("2026-11-20", "860"), ["trigger step_reached 0.8"]),
            (
                spent("2026-11-21", "500", "2026-12-01", "1010"),
                ["inform late 1.2 skipping 1", "trigger step_reached 1 skipping 0.8"],
            ),
            (again, ["resolve period_over"]),
            (again, []),
        ],
    ),
    "on a first run what is over is a baseline": (
        cap(),
        [
            (spent("2026-11-02", "1010"), ["inform baseline 1 skipping 0.8"]),
            (again, []),
            (spent("2026-11-02", "1210"), ["trigger step_reached 1.2"]),
        ],
    ),
    "what was over before the first run is no news": (
        cap(per="day"),
        [
            (spent("2026-11-01", "5000", "2026-11-02", "10"), []),
            (spent("2026-11-01", "9000"), []),
            (spent("2026-11-02", "900"), ["trigger step_reached 0.8"]),
        ],
    ),
    "fault 64: a spike, and the next day": (
        spike(),
        [
            (spent("2026-11-01", "100", "2026-11-02", "100"), []),
            (spent("2026-11-03", "250"), ["trigger step_reached 1"]),
            (again, []),
            (spent("2026-11-04", "250"), ["resolve period_over"]),
            (again, []),
        ],
    ),
    "a spike whose baseline is corrected": (
        spike(),
        [
            (spent("2026-11-01", "100", "2026-11-02", "100"), []),
            (spent("2026-11-03", "250"), ["trigger step_reached 1"]),
            (spent("2026-11-02", "180"), []),
            (again, ["resolve restated"]),
        ],
    ),
    "a rolling window has one incident while it is over": (
        WEEKLY,
        [
            (quiet, []),
            (spent("2026-11-02", "60"), []),
            (spent("2026-11-03", "60"), ["trigger step_reached 1"]),
            (spent("2026-11-04", "60"), []),
            (spent("2026-11-05", "60"), []),
            (again, []),
            (spent("2026-11-06", "0"), []),
            (again, ["resolve period_over"]),
            (again, []),
            (spent("2026-11-07", "100"), ["trigger step_reached 1"]),
            (again, []),
        ],
    ),
    "what was resolved by hand speaks at its next step, however far the window rolls": (
        cap("100", per={"last": "7d"}, steps=["100%", "200%"]),
        [
            (quiet, []),
            (spent("2026-11-02", "60", "2026-11-03", "60"), ["trigger step_reached 1"]),
            (by_hand, ["resolve by_hand"]),
            (spent("2026-11-04", "10"), []),
            (spent("2026-11-05", "10"), []),
            (spent("2026-11-06", "70"), ["trigger step_reached 2"]),
            (again, []),
        ],
    ),
    "and at its first step again once it was below": (
        cap("100", per={"last": "2d"}, steps=["100%"]),
        [
            (quiet, []),
            (spent("2026-11-02", "110"), ["trigger step_reached 1"]),
            (by_hand, ["resolve by_hand"]),
            (spent("2026-11-03", "5"), []),
            (spent("2026-11-04", "5"), []),
            (spent("2026-11-05", "110"), ["trigger step_reached 1"]),
            (spent("2026-11-06", "5"), []),
        ],
    ),
    "a rolling window of another length": (
        WEEKLY,
        [
            (quiet, []),
            (spent("2026-11-02", "100"), ["trigger step_reached 1"]),
            (edited(cap("1000", per={"last": "5d"})), ["resolve rule_removed"]),
            (again, []),
        ],
    ),
}


@pytest.mark.parametrize(("rule", "story"), STORIES.values(), ids=STORIES.keys())
def test_story(rule: Rule, story: Story) -> None:
    watch = Watch(rule)
    for number, (action, expected) in enumerate(story):
        assert action(watch) == expected, f"at line {number + 1}"


def test_a_new_rolling_incident_is_another_one() -> None:
    watch = Watch(WEEKLY)
    for action, _ in STORIES["a rolling window has one incident while it is over"][1]:
        action(watch)
    assert [each.state for each in watch.incidents.values()] == [State.RESOLVED, State.OPEN]


def test_resolving_keeps_the_reason_and_reopening_forgets_it() -> None:
    watch = Watch(cap())
    reasons = []
    for action, _ in STORIES["two complete polls below resolve, and arm again"][1]:
        action(watch)
        reasons += [each.resolved for each in watch.incidents.values()]
    assert reasons == [None, None, Reason.RESTATED, Reason.RESTATED, None]
