"""Short ways to say the words of the model in tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter

from budgetd.lifecycle import Situation, incident_id
from budgetd.model import (
    DEFAULT_WORKSPACE,
    Basis,
    CostDay,
    Dimensions,
    Finding,
    Incident,
    Names,
    Organisation,
    Reason,
    Scope,
    Severity,
    State,
    Workspace,
)
from budgetd.period import DAY, Calendar, Period, midnight
from budgetd.rules import AnyRule, Indexes, Rule
from budgetd.scope import Group, Naming
from budgetd.spend import Spend

_RULE: TypeAdapter[Rule] = TypeAdapter(AnyRule)

ORGANISATION = Organisation("org_1", "Example Ltd")
NOVEMBER = Calendar("month").holding(date(2026, 11, 1))
OCTOBER = Calendar("month").holding(date(2026, 10, 1))


def at(text: str) -> datetime:
    """A UTC instant: `2026-11-18` or `2026-11-18 09:30`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def rule(**fields: Any) -> Rule:
    """A rule as the rules file has it: scalars are texts; `id` may be left out."""
    return _RULE.validate_python({"id": "r", **fields})


def cap(limit: str = "1000", per: Any = "month", **fields: Any) -> Rule:
    return rule(type="cap", limit=limit, per=per, **fields)


def spike(against: Any = "yesterday", **fields: Any) -> Rule:
    return rule(type="spike", against=against, **fields)


def workspace(id: str, name: str, archived_at: datetime | None = None, **tags: str) -> Workspace:
    return Workspace(id, name, archived_at, tuple(tags.items()))


def naming(*workspaces: Workspace, groups: Iterable[Group] = ()) -> Naming:
    names = Names(ORGANISATION, {workspace.id: workspace for workspace in workspaces})
    return Naming(names, {group.name: group for group in groups})


def line(workspace: str | None = DEFAULT_WORKSPACE, model: str | None = "claude-opus-4-8", **more: str) -> Dimensions:
    return Dimensions(workspace=workspace, model=model, **more)


def cost_day(
    day: date | str,
    lines: Mapping[Dimensions, str] | str = "0",
    basis: Basis = Basis.BILLED,
    complete: bool = True,
) -> CostDay:
    """A day's cost lines; one text is the dollars of one line of the default workspace."""
    day = date.fromisoformat(day) if isinstance(day, str) else day
    given = {line(): lines} if isinstance(lines, str) else lines
    return CostDay(day, {key: Decimal(amount) for key, amount in given.items()}, basis, complete)


def spend_of(rules: Iterable[Rule], days: Iterable[CostDay], names: Naming | None = None) -> Spend:
    """An index of the days, complete to the end of the last complete one."""
    spend = Spend({rule.view() for rule in rules}, names or naming())
    for day in days:
        spend.replace(day)
        if day.complete:
            spend.through = max(midnight(day.day + DAY), spend.through or midnight(day.day + DAY))
    return spend


def indexes_of(rules: Iterable[Rule], days: Iterable[CostDay], names: Naming | None = None) -> Indexes:
    """The indexes of the days, complete to the end of the last complete one."""
    indexes = Indexes(rules, names or naming())
    for day in days:
        indexes.replace(day)
        if day.complete:
            indexes.reach(midnight(day.day + DAY))
    return indexes


def rate(limit: str = "150", **fields: Any) -> Rule:
    return rule(type="rate", limit=limit, per="hour", **fields)


def finding(
    amount: str,
    *reached: str,
    rule: str = "r",
    scope: Scope = (),
    period: Period = NOVEMBER,
    limit: str = "1000",
    complete: bool = True,
) -> Finding:
    """What a rule says; `reached` are shares such as `0.8`."""
    return Finding(rule, scope, period, Decimal(amount), Decimal(limit), tuple(map(Decimal, reached)), complete)


def incident(
    *announced: str,
    state: State = State.OPEN,
    rule: str = "r",
    scope: Scope = (),
    period: Period = NOVEMBER,
    amount: str = "850",
    limit: str = "1000",
    opened_at: datetime = datetime(2026, 11, 10, tzinfo=UTC),
    resolved: Reason | None = None,
    severity: Severity = Severity.WARNING,
) -> Incident:
    return Incident(
        id=incident_id(ORGANISATION.id, rule, scope, period),
        rule=rule,
        scope=scope,
        period=period,
        state=state,
        announced=tuple(map(Decimal, announced)),
        severity=severity,
        amount=Decimal(amount),
        limit=Decimal(limit),
        opened_at=opened_at,
        changed_at=opened_at,
        sequence=1,
        resolved=resolved,
    )


def situation(
    *rules: Rule,
    current: Period = NOVEMBER,
    unseen: Iterable[str] = (),
    edited: Iterable[str] = (),
    polled: bool = True,
    workspaces: Iterable[Workspace] = (),
) -> Situation:
    return Situation(
        organisation=ORGANISATION.id,
        rules={rule.id: rule for rule in rules},
        names=naming(*workspaces).names,
        current={rule.id: current for rule in rules},
        unseen=frozenset(unseen),
        edited=frozenset(edited),
        polled=polled,
    )
