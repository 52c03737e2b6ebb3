"""Which cost lines a rule looks at, and whose alert they belong to."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.model import DEFAULT_WORKSPACE, Dimensions, Label, Scope
from budgetd.scope import Group, Lens, Selection, View, matches, undated
from tests.builders import line, naming, workspace

RESEARCH = workspace("wrkspc_1", "Research", team="research", stage="prod")
RESEARCH_EU = workspace("wrkspc_2", "Research EU")
PROD = workspace("wrkspc_3", "Prod-1", team="research")
ODD = workspace("wrkspc_4", "[prod] a*b?")

NAMING = naming(
    RESEARCH,
    RESEARCH_EU,
    PROD,
    ODD,
    groups=[
        Group("by-name", ("Prod-1",)),
        Group("by-id", ("wrkspc_2",)),
        Group("by-glob", ("Research*",)),
        Group("by-tag", tags=(("team", "research"),)),
        Group("by-both-tags", tags=(("team", "research"), ("stage", "prod"))),
        Group("default", ("Default",)),
    ],
)


def scopes(dimensions: Dimensions, *, match: Selection = (), excluded: Selection = ()) -> tuple[Scope, ...]:
    return Lens(View(match, excluded), NAMING).scopes(dimensions)


SELECTED = [
    # match, the line, whether it is taken
    ({"workspace": "Research"}, line("wrkspc_1"), True),
    ({"workspace": "wrkspc_1"}, line("wrkspc_1"), True),
    ({"workspace": "research"}, line("wrkspc_1"), False),  # case-sensitive
    ({"workspace": "Research"}, line("wrkspc_2"), False),  # the whole name
    ({"workspace": "Research*"}, line("wrkspc_2"), True),
    ({"workspace": "?esearch"}, line("wrkspc_1"), True),
    ({"workspace": "[prod] a*b?"}, line("wrkspc_4"), True),  # brackets are letters
    ({"workspace": "[prod]*"}, line("wrkspc_4"), True),
    ({"workspace": "[PR]*"}, line("wrkspc_3"), False),
    ({"workspace": "Prod.1"}, line("wrkspc_3"), False),  # never a regular expression
    ({"workspace": ".*"}, line("wrkspc_1"), False),
    ({"workspace": "*"}, line("wrkspc_unknown"), True),
    ({"workspace": "wrkspc_unknown"}, line("wrkspc_unknown"), True),
    ({"workspace": "Default"}, line(DEFAULT_WORKSPACE), True),
    ({"workspace": "default"}, line(DEFAULT_WORKSPACE), True),
    ({"workspace": "DEFAULT"}, line(DEFAULT_WORKSPACE), False),
    ({"workspace": "Default"}, line(None), False),  # not grouped is no workspace
    ({"workspace": "*"}, line(None), False),
    ({"workspace": "None"}, line(None), False),
    ({"model": "claude-opus-4-8"}, line(model="claude-opus-4-8-20260115"), True),
    ({"model": "claude-opus-*"}, line(model="claude-opus-4-8-20260115"), True),
    ({"model": "*-4-8"}, line(model="claude-opus-4-8-20260115"), True),
    ({"model": "claude-opus-4-8-20260115"}, line(model="claude-opus-4-8-20260115"), True),
    ({"model": "claude-opus-4-8-20260115"}, line(model="claude-opus-4-8-20260301"), False),
    ({"model": "claude-opus-4-8-20260115"}, line(model="claude-opus-4-8"), False),
    ({"model": "claude-opus-4"}, line(model="claude-opus-4-8"), False),
    ({"model": "*"}, line(model=None, cost_type="web_search"), False),
    ({"cost_type": "web_search"}, line(model=None, cost_type="web_search"), True),
    ({"group": "by-name"}, line("wrkspc_3"), True),
    ({"group": "by-id"}, line("wrkspc_2"), True),
    ({"group": "by-glob"}, line("wrkspc_1"), True),
    ({"group": "by-glob"}, line("wrkspc_3"), False),
    ({"group": "by-tag"}, line("wrkspc_3"), True),
    ({"group": "by-tag"}, line("wrkspc_2"), False),
    ({"group": "by-both-tags"}, line("wrkspc_3"), False),
    ({"group": "by-both-tags"}, line("wrkspc_1"), True),
    ({"group": "default"}, line(DEFAULT_WORKSPACE), True),
    ({"group": "default"}, line(None), False),
    ({"group": "*"}, line("wrkspc_4"), False),
    ({"tag:stage": "prod"}, line("wrkspc_1"), True),
    ({"tag:stage": "p*"}, line("wrkspc_1"), True),
    ({"tag:stage": "prod"}, line("wrkspc_3"), False),  # carries no such tag
    ({"tag:stage": "*"}, line("wrkspc_2"), False),
    ({"tag:team": "research"}, line("wrkspc_3"), True),
    ({"tag:team": "Research"}, line("wrkspc_3"), False),
    ({"tag:team": "*"}, line("wrkspc_unknown"), False),
    ({"tag:team": "*"}, line(None), False),
    ({"tag:team": "*"}, line(DEFAULT_WORKSPACE), False),
    ({"workspace": "Research", "model": "claude-opus-*"}, line("wrkspc_1"), True),
    ({"workspace": "Research", "model": "claude-haiku-*"}, line("wrkspc_1"), False),
    ({"workspace": "Prod-1 Research"}, line("wrkspc_1"), False),
]


@pytest.mark.parametrize(("match", "dimensions", "taken"), SELECTED)
def test_which_lines_a_match_takes(match: dict[str, str], dimensions: Dimensions, taken: bool) -> None:
    selection = tuple((dimension, (pattern,)) for dimension, pattern in match.items())
    assert scopes(dimensions, match=selection) == (((),) if taken else ())
    # What `except` leaves out is what the same `match` takes.
    assert scopes(dimensions, excluded=selection) == (() if taken else ((),))


def test_one_of_several_patterns_is_enough() -> None:
    assert scopes(line("wrkspc_3"), match=(("workspace", ("Research", "Prod-*")),)) == ((),)


SPLIT: list[tuple[tuple[str, ...], Dimensions, tuple[Scope, ...]]] = [
    ((), line("wrkspc_1"), ((),)),
    (("workspace",), line("wrkspc_1"), ((("workspace", "wrkspc_1"),),)),
    (("workspace",), line(DEFAULT_WORKSPACE), ((("workspace", "default"),),)),
    (("workspace",), line(None), ((("workspace", ""),),)),
    (("model",), line(model="claude-opus-4-8-20260115"), ((("model", "claude-opus-4-8"),),)),
    (("model",), line(model=None), ((("model", ""),),)),
    (("group",), line("wrkspc_1"), tuple((("group", name),) for name in ("by-glob", "by-tag", "by-both-tags"))),
    (("group",), line("wrkspc_4"), ()),
    (("group",), line(None), ()),
    (("workspace", "model"), line("wrkspc_1"), ((("workspace", "wrkspc_1"), ("model", "claude-opus-4-8")),)),
    (("model", "workspace"), line("wrkspc_1"), ((("model", "claude-opus-4-8"), ("workspace", "wrkspc_1")),)),
    (
        ("group", "model"),
        line("wrkspc_2"),
        tuple((("group", name), ("model", "claude-opus-4-8")) for name in ("by-id", "by-glob")),
    ),
]


@pytest.mark.parametrize(("for_each", "dimensions", "expected"), SPLIT)
def test_which_scopes_a_line_counts_towards(
    for_each: tuple[str, ...], dimensions: Dimensions, expected: tuple[Scope, ...]
) -> None:
    assert Lens(View(for_each=for_each), NAMING).scopes(dimensions) == expected


def test_two_workspaces_of_one_name_stay_two_scopes() -> None:
    twins = naming(workspace("wrkspc_a", "Twin"), workspace("wrkspc_b", "Twin"))
    lens = Lens(View(match=(("workspace", ("Twin",)),), for_each=("workspace",)), twins)
    assert lens.scopes(line("wrkspc_a")) == ((("workspace", "wrkspc_a"),),)
    assert lens.scopes(line("wrkspc_b")) == ((("workspace", "wrkspc_b"),),)


def test_a_workspace_that_took_the_default_ones_name_is_another_scope() -> None:
    lens = Lens(View(for_each=("workspace",)), naming(workspace("wrkspc_d", "Default")))
    assert lens.scopes(line("wrkspc_d")) != lens.scopes(line(DEFAULT_WORKSPACE))


LABELS = [
    (("workspace", "wrkspc_1"), "Research"),
    (("workspace", "wrkspc_gone"), "wrkspc_gone"),
    (("workspace", "default"), "Default"),
    (("workspace", ""), "not grouped"),
    (("model", "claude-opus-4-8"), "claude-opus-4-8"),
    (("model", ""), "no model"),
    (("token_type", ""), "no token_type"),
    (("group", "by-tag"), "by-tag"),
]


@pytest.mark.parametrize(("part", "name"), LABELS)
def test_a_scope_is_shown_by_its_present_name(part: tuple[str, str], name: str) -> None:
    assert NAMING.labels((part,)) == (Label(*part, name),)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("claude-opus-4-8-20260115", "claude-opus-4-8"),
        ("claude-opus-4-8", "claude-opus-4-8"),
        ("claude-opus-4-8-20260115-beta", "claude-opus-4-8-20260115-beta"),
        ("claude-opus-4-8-19990115", "claude-opus-4-8-19990115"),
        ("-20260115", "-20260115"),
    ],
)
def test_a_model_is_one_with_and_without_its_date(model: str, family: str) -> None:
    assert undated(model) == family


def _oracle(pattern: str, text: str) -> bool:
    """Wildcards the plain way: which ends of the text each prefix of the pattern can reach."""
    reachable = {0}
    for letter in pattern:
        if letter == "*":
            reachable = set(range(min(reachable), len(text) + 1)) if reachable else set()
        else:
            reachable = {n + 1 for n in reachable if n < len(text) and letter in ("?", text[n])}
    return len(text) in reachable


@given(st.text("ab*?[]!-.\\", max_size=8), st.text("ab[]!-.\\\n", max_size=8))
def test_only_stars_and_question_marks_are_wildcards(pattern: str, text: str) -> None:
    assert matches(pattern, text) == _oracle(pattern, text)


@pytest.mark.parametrize(
    "pattern", ["*a" * 100, "*a" * 100 + "c", "*?a" * 60 + "c", "a*" * 100 + "[", "?*" * 100 + "c"]
)
def test_no_pattern_makes_matching_slow(pattern: str) -> None:
    started = time.process_time()
    matches(pattern, "a" * 5000 + "b")
    assert time.process_time() - started < 1  # milliseconds; backtracking would take years
