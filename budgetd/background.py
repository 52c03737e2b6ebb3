"""What people want to know beside the figure: what drives it, what changed, where it leads, how the last days were."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from itertools import takewhile

from budgetd import forecast, notices
from budgetd.contrast import Contrast, Contrasts, contrast
from budgetd.lifecycle import Decision
from budgetd.model import Contributor, CostDay, Finding, Forecast, History, Increase, Scope
from budgetd.money import ZERO
from budgetd.period import DAY, Period
from budgetd.pricing import RateTable
from budgetd.rules import Indexes, Rule
from budgetd.scope import View
from budgetd.spend import Question, Spend, contributors

# A whole month's days, so that a month can be drawn from its first day on.
HISTORY_DAYS = 31
# Periods that are long enough to be foreseen, and end.
_FORESEEN = frozenset({"week", "month", "quarter", "year"})


@dataclass(frozen=True, slots=True)
class Background:
    """All that is known beside a decision's own figures."""

    contributors: tuple[Contributor, ...] = ()
    forecast: Forecast | None = None
    history: History | None = None
    increase: Increase | None = None


def foreseen(rule: Rule) -> bool:
    """Whether the rule's periods can be foreseen."""
    return rule.kind == "cap" and rule.calendar.kind in _FORESEEN


# Reads the cost lines of these UTC days, each day once.
Lines = Callable[[Collection[date]], Iterable[CostDay]]


def gather(
    decisions: Sequence[Decision], rules: Mapping[str, Rule], indexes: Indexes, rates: RateTable, lines: Lines
) -> list[Background]:
    """The background of each decision. However many there are, the cost lines are read once."""
    recent = {id(spend): Outlook(spend) for spend in (indexes.every, indexes.billed)}
    asked = [notices.question(decision, rules) for decision in decisions]
    contrasts = [_contrast(*each, rules, indexes) for each in zip(decisions, asked, strict=True)]
    parts, sums = _read(asked, contrasts, indexes.every, lines)
    made = []
    for decision, question, found in zip(decisions, asked, contrasts, strict=True):
        rule, finding = rules.get(decision.incident.rule), decision.finding
        if rule is None:
            made.append(Background())
            continue
        outlook = recent[id(indexes.of(rule))]
        made.append(
            Background(
                contributors=parts.get(question, ()) if question is not None else (),
                forecast=outlook.forecast(rule, finding) if question is not None and finding is not None else None,
                history=outlook.history(rule.view(), decision.incident.scope, decision.incident.period),
                increase=sums.increase(found, rates) if found is not None else None,
            )
        )
    return made


def _contrast(
    decision: Decision, question: Question | None, rules: Mapping[str, Rule], indexes: Indexes
) -> Contrast | None:
    if question is None or decision.finding is None:
        return None
    rule = rules[decision.incident.rule]
    return contrast(rule, decision.finding, indexes.of(rule))


def _read(
    asked: Iterable[Question | None], contrasts: Iterable[Contrast | None], spend: Spend, lines: Lines
) -> tuple[dict[Question, tuple[Contributor, ...]], Contrasts]:
    questions = {question for question in asked if question is not None}
    sums = Contrasts((each for each in contrasts if each is not None), spend)
    wanted = {day for question in questions if not question[2].is_part_of_a_day for day in question[2].days()}
    if not questions:
        return {}, sums
    return contributors(questions, spend, sums.watch(lines(wanted | sums.days))), sums


class Outlook:
    """The closed days of an index, looked back on and ahead of."""

    def __init__(self, spend: Spend) -> None:
        self._spend = spend

    @cached_property
    def _known(self) -> list[date]:
        """The closed UTC days up to the last one, the newest first, as far back as there is no gap."""
        if self._spend.through is None:
            return []
        last = self._spend.through.date() - DAY
        back = (last - DAY * n for n in range(forecast.MOST_DAYS))
        return list(takewhile(self._spend.is_closed, back))

    def forecast(self, rule: Rule, finding: Finding) -> Forecast | None:
        """What the finding's period comes to; None where nothing can be said, or the period is too short."""
        through, period = self._spend.through, finding.period
        if not foreseen(rule) or not finding.complete or through is None or not period.start <= through < period.end:
            return None
        days = [self._on(rule.view(), finding.scope, day) for day in reversed(self._known)]
        return forecast.forecast(days, finding.amount, finding.limit, through, period)

    def history(self, view: View, scope: Scope, period: Period) -> History | None:
        """The scope's last closed days, none after the period."""
        through = self._spend.through
        if through is None:
            return None
        last = min(through, max(period.end, period.start + DAY)).date() - DAY
        days = [last - DAY * n for n in range(HISTORY_DAYS - 1, -1, -1)]
        amounts = tuple(self._on(view, scope, day) if self._spend.is_closed(day) else None for day in days)
        return History(days[0], amounts) if any(amount is not None for amount in amounts) else None

    def _on(self, view: View, scope: Scope, day: date) -> Decimal:
        return self._spend.on(view, day).get(scope, ZERO)
