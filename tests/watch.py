"""Rules watched over time: what is said after each reading and edit, in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

from budgetd.lifecycle import Decision, Situation, Verdict, resolved_by_hand, step
from budgetd.model import CostDay, Incident, RuleState, Workspace
from budgetd.money import canonical
from budgetd.rules import Rule, evaluate
from tests.builders import ORGANISATION, at, cost_day, indexes_of, line, naming, workspace

NOW = at("2026-11-18 12:00")
EACH = "workspace"


class Watch:
    """Rules, what is known of the spend, and the incidents between one evaluation and the next."""

    def __init__(self, *rules: Rule) -> None:
        self.rules = {rule.id: rule for rule in rules}
        self.workspaces: dict[str, Workspace] = {}
        self.days: dict[date, CostDay] = {}
        self.incidents: dict[str, Incident] = {}
        self.states: dict[str, RuleState] = {}
        self.now = NOW

    def poll(self, *days: CostDay) -> list[str]:
        """A good reading that brings these days; what is said."""
        changed = {day.day for day in days if self.days.get(day.day) != day}
        self.days.update((day.day, day) for day in days)
        return self._evaluate(changed, polled=True)

    def edit(self, *rules: Rule) -> list[str]:
        self.rules = {rule.id: rule for rule in rules}
        return self._evaluate(set(), polled=False)

    def end_by_hand(self) -> list[str]:
        """Somebody resolves all that is open."""
        self.now += timedelta(hours=1)
        verdicts = [resolved_by_hand(incident, self.now) for incident in list(self.incidents.values())]
        for verdict in verdicts:
            self._keep(verdict)
        return sorted(words(decision) for verdict in verdicts for decision in verdict.decisions)

    def _evaluate(self, changed: set[date], *, polled: bool) -> list[str]:
        self.now += timedelta(hours=1)
        names = naming(*self.workspaces.values())
        before = {
            name: self.states[name]
            for name, rule in self.rules.items()
            if name in self.states and self.states[name].shape == rule.shape
        }
        indexes = indexes_of(self.rules.values(), self.days.values(), names)
        current = {name: rule.current(indexes.of(rule)) for name, rule in self.rules.items()}
        known = Situation(
            ORGANISATION.id,
            self.rules,
            names.names,
            {name: period for name, period in current.items() if period is not None},
            unseen=frozenset(self.rules.keys() - before.keys()),
            edited=frozenset(name for name, state in before.items() if state.stakes != self.rules[name].stakes),
            polled=polled,
        )
        findings = evaluate(self.rules.values(), indexes, before, self.incidents.values(), changed)
        verdict = step(known, self.incidents, findings, self.now)
        through = indexes.every.through
        assert through is not None
        self.states = {
            name: RuleState(name, before[name].since if name in before else through, through, rule.stakes, rule.shape)
            for name, rule in self.rules.items()
        }
        self._keep(verdict)
        return sorted(map(words, verdict.decisions))

    def _keep(self, verdict: Verdict) -> None:
        told = [decision.incident.id for decision in verdict.decisions]
        assert len(told) == len(set(told)), "more than one notice of an incident"
        for each in verdict.incidents:
            before = self.incidents.get(each.id)
            assert each != before, "unchanged, and yet kept again"
            self.incidents[each.id] = each


def words(decision: Decision) -> str:
    skipped = f" skipping {', '.join(map(canonical, decision.skipped))}" if decision.skipped else ""
    reached = f" {canonical(decision.step)}{skipped}" if decision.step is not None else ""
    return f"{decision.kind} {decision.reason}{reached}"


Action = Callable[[Watch], list[str]]


def spent(*pairs: str, in_workspace: str = "default") -> Action:
    """Day, dollars, day, dollars...: what the reading says of those days."""
    days = [cost_day(day, {line(in_workspace): dollars}) for day, dollars in zip(pairs[::2], pairs[1::2], strict=True)]
    return lambda watch: watch.poll(*days)


def edited(*rules: Rule) -> Action:
    return lambda watch: watch.edit(*rules)


def archived(id: str, when: datetime) -> Action:
    def action(watch: Watch) -> list[str]:
        watch.workspaces[id] = workspace(id, "Research", archived_at=when)
        return watch.poll()

    return action


again: Action = Watch.poll
by_hand: Action = Watch.end_by_hand
quiet: Action = spent("2026-11-01", "0")  # the first evaluation, with nothing over: no baseline
