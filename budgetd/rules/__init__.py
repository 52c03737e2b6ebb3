"""The rule types, one file each, and what they say together of a period of spend."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated

from pydantic import Field

from budgetd.model import Basis, CostDay, Finding, Incident, Reason, RuleState, Scope, State
from budgetd.period import Period
from budgetd.rules.base import Rule
from budgetd.rules.cap import Cap
from budgetd.rules.rate import Rate
from budgetd.rules.spike import Spike
from budgetd.scope import Naming
from budgetd.spend import Spend

# What a first run asks for: enough for every baseline that people usually write.
LEAST_HISTORY = 90

AnyRule = Annotated[Cap | Spike | Rate, Field(discriminator="type")]

__all__ = ["AnyRule", "Indexes", "Rule", "evaluate", "history_needed"]


class Indexes:
    """Spend as rules see it: `every` day that is known, and for rules with `basis: billed` only days with a bill."""

    def __init__(self, rules: Iterable[Rule], naming: Naming) -> None:
        rules = tuple(rules)
        self.every = Spend({rule.view() for rule in rules}, naming)
        self.billed = Spend({rule.view() for rule in rules if rule.basis == "billed"}, naming)

    def of(self, rule: Rule) -> Spend:
        """The one that the rule looks into."""
        return self.billed if rule.basis == "billed" else self.every

    def replace(self, day: CostDay) -> bool:
        """Take a day's cost lines in place of what was known of it. Whether that changes anything."""
        if day.basis is Basis.BILLED and day.complete:
            self.billed.replace(day)
        return self.every.replace(day)

    def reach(self, through: datetime) -> None:
        """The data goes up to there; a source that forgets what it had served takes nothing back."""
        self.every.through = max(through, self.every.through or through)
        self.billed.through = self.every.billed_through()


def evaluate(
    rules: Iterable[Rule],
    indexes: Indexes,
    states: Mapping[str, RuleState],
    incidents: Iterable[Incident],
    changed: Collection[date],
) -> list[Finding]:
    """What the rules say of every period that may have news.

    That is the current period; for a rule that was evaluated before also the periods of days that are new or were
    changed, back to its own beginning; and the periods of its unresolved incidents.
    """
    known: dict[str, list[Incident]] = {}
    for incident in incidents:
        if incident.state is not State.RESOLVED or incident.resolved is Reason.BY_HAND:
            known.setdefault(incident.rule, []).append(incident)
    findings: list[Finding] = []
    for rule in rules:
        # What somebody ended may still be so in a window that rolls on: when it is not, its steps are news again.
        rolling = rule.calendar.rolling
        open_ones = [each for each in known.get(rule.id, ()) if rolling or each.state is not State.RESOLVED]
        spend = indexes.of(rule)
        for period in _periods(rule, spend, states.get(rule.id), open_ones, changed):
            findings.extend(rule.findings(spend, period, _watched(rule, period, open_ones)))
    return findings


def _periods(
    rule: Rule, spend: Spend, state: RuleState | None, open_ones: Sequence[Incident], changed: Collection[date]
) -> list[Period]:
    current = rule.current(spend)
    if current is None:
        return []
    if rule.calendar.rolling or state is None:
        return [current]
    news = {rule.calendar.holding(day) for day in changed}
    news |= {incident.period for incident in open_ones if rule.owns(incident.scope, incident.period)}
    return sorted({period for period in news if period.end >= state.since and period <= current} | {current})


def _watched(rule: Rule, period: Period, open_ones: Iterable[Incident]) -> frozenset[Scope]:
    """The scopes whose incidents must hear of the period: a rolling one moves on with its rule's window."""
    return frozenset(incident.scope for incident in open_ones if rule.calendar.rolling or incident.period == period)


def history_needed(rules: Iterable[Rule]) -> int:
    """How many UTC days of history the rules and their baselines need: `LEAST_HISTORY`, or more."""
    return max([LEAST_HISTORY, *(rule.history for rule in rules)])
