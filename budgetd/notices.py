"""Decisions become notices: the facts that a message will need, gathered once and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from budgetd.lifecycle import Decision
from budgetd.model import (
    Basis,
    Contributor,
    Facts,
    Forecast,
    Health,
    History,
    Incident,
    Increase,
    Kind,
    Label,
    Notice,
    Reason,
    Severity,
    State,
    identity,
)
from budgetd.money import ZERO
from budgetd.period import Period
from budgetd.rules import Rule
from budgetd.scope import Naming, tag_dimension, tag_of
from budgetd.spend import Question

# More would not be read; the message says how much the others come to.
TOP_CONTRIBUTORS = 5


def question(decision: Decision, rules: Mapping[str, Rule]) -> Question | None:
    """What must be known of the cost lines to say what drives the amount; None where nothing does."""
    finding, rule = decision.finding, rules.get(decision.incident.rule)
    if finding is None or rule is None or decision.kind is Kind.RESOLVE:
        return None
    return (rule.view(), finding.scope, finding.period)


def of_rule(
    decision: Decision,
    rule: Rule | None,
    naming: Naming,
    contributors: Sequence[Contributor],
    through: datetime | None,
    now: datetime,
    before: Facts | None = None,
    *,
    forecast: Forecast | None = None,
    history: History | None = None,
    increase: Increase | None = None,
) -> Notice:
    """The notice of a rule's incident. `rule` is None when the rule is gone.

    `before`: what was said of the incident last. Its end is told as the end of that, whatever became of the rule.
    """
    incident, finding = decision.incident, decision.finding
    if before is None:
        before = Facts("", "", rule.kind if rule is not None else "", _selected(rule), period_kind=_calendar(rule))
    facts = Facts(
        organisation=naming.names.organisation.name,
        rule=incident.rule,
        rule_type=before.rule_type,
        scope=naming.labels(incident.scope) or before.scope,
        period=finding.period if finding is not None else incident.period,
        period_kind=before.period_kind,
        amount=finding.amount if finding is not None else incident.amount,
        limit=incident.limit,
        step=decision.step,
        skipped=decision.skipped,
        complete=finding.complete if finding is not None else True,
        basis=finding.basis if finding is not None else Basis.BILLED,
        data_through=through,
        comparison=finding.comparison if finding is not None else None,
        pace=finding.pace if finding is not None else None,
        contributors=tuple(contributors[:TOP_CONTRIBUTORS]),
        forecast=forecast,
        history=history,
        increase=increase,
    )
    return _notice(decision, facts, now)


def of_person(
    decision: Decision,
    rule: Rule | None,
    naming: Naming,
    before: Facts | None,
    through: datetime | None,
    person: str,
    comment: str,
    now: datetime,
) -> Notice:
    """The notice that somebody did something by hand. `before`: the facts that people were told last."""
    notice = of_rule(decision, rule, naming, (), through, now, before)
    facts = replace(notice.facts, person=person, comment=comment)
    if before is not None:
        facts = replace(facts, basis=before.basis, comparison=before.comparison, pace=before.pace)
    return replace(notice, facts=facts)


def of_blindness(
    decision: Decision, health: Health, naming: Naming, now: datetime, *, seen_besides: bool = False
) -> Notice:
    """The notice that a source cannot be read, or can again. `health` is as it was when that was decided.

    `seen_besides`: another source still tells of spend.
    """
    label = Label("source", health.source, health.source.replace("_", " "))
    facts = Facts(
        organisation=naming.names.organisation.name,
        rule=decision.incident.rule,
        rule_type="blind",
        scope=(label,),
        period=Period(decision.incident.opened_at, now),
        data_through=health.last_good,
        text=health.message,
        seen_besides=seen_besides,
    )
    return _notice(decision, facts, now)


def of_operation(
    naming: Naming, about: Label, reason: Reason, severity: Severity, text: str, now: datetime
) -> tuple[Incident, Notice]:
    """A notice of budgetd's own doing: undeliverable, failed reload, test. The label's id makes it one of a kind."""
    rule = f"budgetd:{reason.value}"
    incident = Incident(
        id=identity("inc", rule, about.id),
        rule=rule,
        scope=((about.dimension, about.id),),
        period=Period(now, now),
        state=State.RESOLVED,
        announced=(),
        severity=severity,
        amount=ZERO,
        limit=ZERO,
        opened_at=now,
        changed_at=now,
        sequence=1,
        resolved=reason,
    )
    facts = Facts(naming.names.organisation.name, rule, reason.value, scope=(about,), text=text)
    return incident, _notice(Decision(incident, Kind.INFORM, reason, severity), facts, now)


def labels(notice: Notice, rule: Rule | None, naming: Naming, incident: Incident | None) -> dict[str, tuple[str, ...]]:
    """All the texts that a route or a silence may know the notice by: `incident`, `severity`, `rule`, `type` and each
    dimension.
    """
    known = known_by(incident, rule, naming) if incident is not None else dict(rule.match.selection() if rule else ())
    return {
        **known,
        "incident": (notice.incident,),
        "severity": (notice.severity.value,),
        "rule": (notice.facts.rule,),
        "type": (notice.facts.rule_type,),
    }


def known_by(incident: Incident, rule: Rule | None, naming: Naming) -> dict[str, tuple[str, ...]]:
    """The same of an incident as it stands."""
    known: dict[str, tuple[str, ...]] = {
        "incident": (incident.id,),
        "severity": (incident.severity.value,),
        "rule": (incident.rule,),
    }
    if rule is not None:
        known.update(rule.match.selection(), type=(rule.kind,))
    for dimension, value in incident.scope:
        known[dimension] = naming.called(dimension, value)
        if dimension == "workspace":
            known["group"] = (*known.get("group", ()), *naming.groups_of(value))
            known.update((tag_dimension(tag), (text,)) for tag, text in naming.tags_of(value).items())
    return known


def _calendar(rule: Rule | None) -> str:
    return rule.calendar.kind if rule is not None else ""


def _selected(rule: Rule | None) -> tuple[Label, ...]:
    """What an undivided rule is about, as its author wrote it."""
    selection = rule.match.selection() if rule is not None else ()
    named = ((dimension, tag_of(dimension), pattern) for dimension, patterns in selection for pattern in patterns)
    return tuple(
        Label(dimension, pattern, pattern) if tag is None else Label("tag", text := f"{tag}={pattern}", text)
        for dimension, tag, pattern in named
    )


def _notice(decision: Decision, facts: Facts, now: datetime) -> Notice:
    incident = decision.incident
    return Notice(
        id=identity("evt", incident.id, incident.sequence),
        incident=incident.id,
        sequence=incident.sequence,
        kind=decision.kind,
        reason=decision.reason,
        severity=decision.severity,
        created_at=now,
        facts=facts,
    )
