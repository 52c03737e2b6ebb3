"""Rules times scopes: what more rules cost over the same 24,000 scopes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal

from pydantic import TypeAdapter

from benchmarks.measuring import Figure, at_most, cpu, plain
from budgetd.model import UNKNOWN_ORGANISATION, CostDay, Dimensions, Names
from budgetd.period import DAY, midnight
from budgetd.rules import AnyRule, Indexes, Rule, evaluate
from budgetd.scope import Naming

FIRST = date(2026, 11, 1)
WORKSPACES, MODELS = 2_000, 12
_rule: TypeAdapter[Rule] = TypeAdapter(AnyRule)


def figures(sizes: Iterable[str]) -> Iterator[Figure]:
    """The cost is that of a changed day taken in and evaluated; the sizes do not matter here."""
    few = _changed_day(10, 1)
    yield plain("24,000 rows, as many scopes, 10 rules: take a day in and evaluate", few, "ms")
    for rules in (1_000, 10_000):
        many = _changed_day(rules, 1)
        figure = f"   {rules:,} rules, against 10"
        yield at_most(figure, many / few, 1.6, "x") if rules == 10_000 else plain(figure, many / few, "x")
        yield plain(f"   {rules:,} rules: a rule's share", (many - few) / rules * 1000, "µs")
    yield plain("   10,000 rules, eight rows a scope: evaluate only", _evaluation(10_000, 8, 1), "ms")
    yield plain("   10,000 rules, one row a scope: evaluate only", _evaluation(10_000, 1, 1), "ms")
    yield plain("   10,000 rules, one row a scope, 17 days: evaluate only", _evaluation(10_000, 1, 17), "ms")


def _rules(count: int) -> list[Rule]:
    """Caps of each workspace and model, all of the same look at spend; two of them speak."""
    each = {"type": "cap", "for_each": ["workspace", "model"], "per": "month"}
    return [
        _rule.validate_python({"id": f"r{n}", "limit": str(10**6 + n if n > 1 else 700), **each}) for n in range(count)
    ]


def _day(day: date, rows: int, more: int) -> CostDay:
    lines = {
        Dimensions(f"wrkspc_{workspace}", f"{part}", "tokens", f"model-{model}"): Decimal(
            (workspace * 31 + model * 7 + part + more) % 997
        ).scaleb(-2)
        for workspace in range(WORKSPACES)
        for model in range(MODELS)
        for part in range(rows)
    }
    lines[Dimensions("wrkspc_0", "0", "tokens", "model-0")] = Decimal(650 + more)
    return CostDay(day, lines)


def _indexes(rules: list[Rule], rows: int, days: int) -> Indexes:
    indexes = Indexes(rules, Naming(Names(UNKNOWN_ORGANISATION)))
    for number in range(days):
        indexes.replace(_day(FIRST + DAY * number, rows, 0))
    indexes.reach(midnight(FIRST + DAY * days))
    return indexes


def _changed_day(count: int, rows: int) -> float:
    rules = _rules(count)
    indexes = _indexes(rules, rows, 1)
    turns = [_day(FIRST, rows, more) for more in (1, 2)]

    def poll() -> None:
        turns.reverse()
        indexes.replace(turns[0])
        evaluate(rules, indexes, {}, (), {FIRST})

    return cpu(poll)


def _evaluation(count: int, rows: int, days: int) -> float:
    rules = _rules(count)
    indexes = _indexes(rules, rows, days)
    return cpu(lambda: evaluate(rules, indexes, {}, (), {FIRST}))
