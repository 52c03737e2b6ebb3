"""`cap`: spend in a period against an absolute limit."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from budgetd.model import Scope, Severity
from budgetd.period import Calendar
from budgetd.rules.cap import DEFAULT_STEPS, Cap
from budgetd.rules.limits import Steps
from tests.builders import NOVEMBER, OCTOBER, cap, cost_day, finding, line, naming, spend_of, workspace

NAMING = naming(workspace("wrkspc_1", "Research"), workspace("wrkspc_2", "Prod-1"), workspace("wrkspc_3", "Prod-2"))


def in_workspace(id: str) -> Scope:
    return (("workspace", id),)


def research(amount: str, *reached: str, limit: str = "1000") -> dict[str, Any]:
    return {"amount": amount, "reached": reached, "scope": in_workspace("wrkspc_1"), "limit": limit}


EACH: dict[str, Any] = {"for_each": "workspace"}
TABLE: list[tuple[str, dict[str, Any], dict[str, str], list[dict[str, Any]]]] = [
    # what, the rule, dollars by workspace on one day, what it finds
    ("nothing spent", {}, {}, []),
    ("79.99 %", {}, {"wrkspc_1": "799.99"}, []),
    ("exactly the first step", {}, {"wrkspc_1": "800"}, [{"amount": "800", "reached": ("0.8",)}]),
    ("86 %", {}, {"wrkspc_1": "860"}, [{"amount": "860", "reached": ("0.8",)}]),
    ("96 %", {}, {"wrkspc_1": "960"}, [{"amount": "960", "reached": ("0.8",)}]),
    ("101 %", {}, {"wrkspc_1": "1010"}, [{"amount": "1010", "reached": ("0.8", "1")}]),
    (
        "a hair below",
        {},
        {"wrkspc_1": "999.9999999999999999"},
        [{"amount": "999.9999999999999999", "reached": ("0.8",)}],
    ),
    ("all default steps", {}, {"wrkspc_1": "2000"}, [{"amount": "2000", "reached": ("0.8", "1", "1.2", "1.5", "2")}]),
    ("+50 %", {}, {"wrkspc_1": "2500"}, [{"amount": "2500", "reached": ("0.8", "1", "1.2", "1.5", "2", "2.5")}]),
    (
        "of the further steps only the highest",
        {},
        {"wrkspc_1": "51200"},
        [{"amount": "51200", "reached": ("0.8", "1", "1.2", "1.5", "2", "51")}],
    ),
    (
        "its own steps end",
        {"steps": ["50%", "100%"]},
        {"wrkspc_1": "9000"},
        [{"amount": "9000", "reached": ("0.5", "1")}],
    ),
    (
        "workspaces are added up",
        {},
        {"wrkspc_1": "400", "wrkspc_2": "450", "default": "-10"},
        [{"amount": "840", "reached": ("0.8",)}],
    ),
    ("one alert for each workspace", EACH, {"wrkspc_1": "900", "wrkspc_2": "700"}, [research("900", "0.8")]),
    ("a workspace left out", {**EACH, "except": {"workspace": "Research"}}, {"wrkspc_1": "900"}, []),
    ("only what matches", {"match": {"workspace": "Prod-*"}}, {"wrkspc_1": "9000", "wrkspc_2": "1"}, []),
    (
        "its own limit, by name",
        {**EACH, "limits": {"Research": "8000"}},
        {"wrkspc_1": "900", "wrkspc_2": "900"},
        [{"amount": "900", "reached": ("0.8",), "scope": in_workspace("wrkspc_2")}],
    ),
    (
        "its own lower limit, by id",
        {**EACH, "limits": {"wrkspc_1": "100"}},
        {"wrkspc_1": "90", "wrkspc_2": "90"},
        [research("90", "0.8", limit="100")],
    ),
    (
        "an exact name before an earlier glob",
        {**EACH, "limits": {"Res*": "10", "Research": "100"}},
        {"wrkspc_1": "90"},
        [research("90", "0.8", limit="100")],
    ),
    (
        "the first glob of two",
        {**EACH, "limits": {"R*": "100", "Res*": "10"}},
        {"wrkspc_1": "90"},
        [research("90", "0.8", limit="100")],
    ),
    ("a negative day", {}, {"wrkspc_1": "-5000"}, []),
]


@pytest.mark.parametrize(("fields", "dollars", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_a_cap_finds(fields: dict[str, Any], dollars: dict[str, str], expected: list[dict[str, Any]]) -> None:
    rule = cap(**fields)
    days = [cost_day(date(2026, 11, n), {}) for n in range(1, 4)]
    days[1] = cost_day("2026-11-02", {line(workspace): amount for workspace, amount in dollars.items()})
    spend = spend_of([rule], days, NAMING)
    found = list(rule.findings(spend, NOVEMBER, frozenset()))
    assert found == [
        finding(row["amount"], *row["reached"], scope=row.get("scope", ()), limit=row.get("limit", "1000"))
        for row in expected
    ]


@pytest.mark.parametrize("amount", ["0", "100", "-20"])
def test_a_watched_scope_is_heard_of_whatever_it_spent(amount: str) -> None:
    rule = cap(**EACH)
    spend = spend_of([rule], [cost_day(date(2026, 11, 1), {line("wrkspc_1"): amount})], NAMING)
    watched = {in_workspace("wrkspc_1"), in_workspace("wrkspc_3")}
    found = {each.scope: each.amount for each in rule.findings(spend, NOVEMBER, watched)}
    assert found == {in_workspace("wrkspc_1"): Decimal(amount), in_workspace("wrkspc_3"): Decimal(0)}


def test_a_gap_in_the_data_makes_the_finding_a_lower_bound() -> None:
    rule = cap()
    days = [cost_day(date(2026, 11, n), "500") for n in (1, 2, 4)]
    (found,) = rule.findings(spend_of([rule], days), NOVEMBER, frozenset())
    assert (found.amount, found.complete) == (Decimal(1500), False)
    (found,) = rule.findings(spend_of([rule], [*days, cost_day("2026-11-03", "0")]), NOVEMBER, frozenset())
    assert found.complete


def test_a_day_counts_in_its_own_period_only() -> None:
    rule = cap()
    spend = spend_of([rule], [cost_day("2026-10-31", "900"), cost_day("2026-11-01", "10")])
    assert list(rule.findings(spend, NOVEMBER, frozenset())) == []
    assert [each.amount for each in rule.findings(spend, OCTOBER, frozenset())] == [Decimal(900)]


PERIODS = [
    ("day", Calendar("day"), 1),
    ({"last": "7d"}, Calendar("last", length=7), 7),
    ({"month": "15"}, Calendar("month", start_day=15), 31),
    ("year", Calendar("year"), 366),
]


@pytest.mark.parametrize(("per", "calendar", "history"), PERIODS)
def test_the_periods_that_a_cap_counts_over(per: Any, calendar: Calendar, history: int) -> None:
    rule = cap(per=per)
    assert (rule.calendar, rule.history) == (calendar, history)


def test_severity_is_one_word_or_a_word_from_a_step_on() -> None:
    shares = [Decimal(share) for share in ("0.3", "0.5", "0.8", "1", "7.5")]
    default = Severity.WARNING
    assert {cap(severity="critical").severity_at(share, default) for share in shares} == {Severity.CRITICAL}
    assert {cap().severity_at(share, default) for share in shares} == {default}
    stepped = cap(severity={"50%": "info", "100%": "critical"})
    assert [stepped.severity_at(share, default).value for share in shares] == [
        "warning",
        "info",
        "info",
        "critical",
        "critical",
    ]


def test_only_figures_are_stakes() -> None:
    plain = cap(**EACH)
    for same in ({"severity": "critical"}, {"notify": "finance"}, {"id": "other"}):
        assert cap(**EACH, **same).stakes == plain.stakes
    for other in ({"limit": "1001"}, {"steps": ["80%"]}, {"limits": {"Research": "1"}}):
        assert cap(**{**EACH, **other}).stakes != plain.stakes
    assert cap("1000.00").stakes == cap("$1,000").stakes == cap().stakes


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"steps": ["80%", "80%"]}, "steps must rise"),
        ({"steps": ["100%", "80%"]}, "steps must rise"),
        ({"steps": []}, "at least 1"),
        ({"steps": ["80"]}, "did you mean 80%"),
        ({"limits": {"Research": "5"}}, "limits needs for_each"),
        ({"limit": "0"}, "more than"),
        ({"limit": "-5"}, "amount of dollars"),
        ({"limit": "1e3"}, "amount of dollars"),
        ({"limit": "5_000"}, "amount of dollars"),
        ({"per": "fortnight"}, "day, week, month"),
        ({"per": {"month": "31"}}, "28"),
        ({"per": {"last": "0d"}}, "number of days"),
        ({"treshold": "5"}, "Extra inputs"),
        ({"for_each": ["workspace", "workspace"]}, "twice"),
        ({"for_each": "team"}, "not a dimension"),
        ({"id": "budgetd:blind"}, "rule's id"),
        ({"severity": "urgent"}, "info, warning or critical"),
    ],
)
def test_a_mistake_is_refused_in_words(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        cap(**fields)


amounts = st.integers(-(10**12), 10**15).map(lambda n: Decimal(n).scaleb(-10))
limits = st.integers(1, 10**10).map(lambda n: Decimal(n).scaleb(-4))
ladders = st.one_of(
    st.just(DEFAULT_STEPS),
    st.sets(st.integers(1, 10**6), min_size=1, max_size=6).map(
        lambda shares: Steps(tuple(Decimal(share).scaleb(-4) for share in sorted(shares)))
    ),
)


@given(ladders, amounts, limits)
def test_reached_steps_are_those_at_or_below_the_amount(ladder: Steps, amount: Decimal, limit: Decimal) -> None:
    share = Fraction(amount) / Fraction(limit)
    expected = [step for step in ladder.shares if share >= Fraction(step)]
    further = ladder.every is not None and share >= Fraction(ladder.shares[-1]) + Fraction(ladder.every)
    found = ladder.reached(amount, limit)
    assert list(found[: len(expected)]) == expected
    assert len(found) == len(expected) + further
    if further:
        assert 0 <= share - Fraction(found[-1]) < Fraction(1, 2)
        assert found[-1] % Decimal("0.5") == 0
    assert list(found) == sorted(found)


@given(ladders, limits, amounts, amounts)
def test_more_spend_never_reaches_less(ladder: Steps, limit: Decimal, one: Decimal, other: Decimal) -> None:
    less, more = sorted((one, other))
    assert max(ladder.reached(less, limit), default=Decimal(0)) <= max(ladder.reached(more, limit), default=Decimal(0))


@given(
    st.dictionaries(st.sampled_from(["wrkspc_1", "wrkspc_2", "wrkspc_3", "default"]), st.integers(-50, 3000)),
    st.dictionaries(st.sampled_from(["Research", "Prod-*", "wrkspc_3", "*"]), st.integers(1, 2000)),
)
def test_looking_from_the_top_down_misses_nobody(dollars: dict[str, int], own: dict[str, int]) -> None:
    rule = cap(**EACH, limits={name: str(limit) for name, limit in own.items()})
    assert isinstance(rule, Cap)
    day = cost_day("2026-11-01", {line(workspace): str(amount) for workspace, amount in dollars.items()})
    spend = spend_of([rule], [day], NAMING)
    everybody = {
        in_workspace(each): rule.ladder.reached(Decimal(amount), rule.limit_of(in_workspace(each), spend))
        for each, amount in dollars.items()
    }
    found = {each.scope: each.reached for each in rule.findings(spend, NOVEMBER, frozenset())}
    assert found == {scope: reached for scope, reached in everybody.items() if reached}
