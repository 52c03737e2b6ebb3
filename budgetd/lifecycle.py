"""When something is said: (incidents, findings, now) -> (incidents', decisions with a named reason).

The transitions are the table below. `_event` says what happened to one incident, the table says what follows,
and nothing else decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from budgetd import reminders
from budgetd.model import Basis, Finding, Incident, Kind, Names, Reason, Scope, Severity, State, identity
from budgetd.money import times
from budgetd.period import Period
from budgetd.rules import Rule

# An incident ends by correction only when the amount is more than 2 % below its lowest announced step.
CORRECTION_MARGIN = Decimal("0.98")
# A period whose bill is still awaited when the data is so far beyond its end is history all the same.
BILL_AWAITED = timedelta(days=2)
WATCHED_UNTIL = timedelta(hours=6)


class Event(StrEnum):
    """What one evaluation means for one incident (or for a scope that has none yet)."""

    NEW_STEP = "new_step"  # a step higher than every announced one is reached
    BASELINE_STEP = "baseline_step"  # the same, at the first evaluation of the rule
    LATE_STEP = "late_step"  # the same, in a period that is not the current one any more
    LOWERED_STEP = "lowered_step"  # the same, at the first evaluation after its figures were edited
    QUIET = "quiet"  # nothing new is reached
    REMINDER = "reminder"  # the same, and people were told so long ago that they are told again
    NEAR = "near"  # below the lowest announced step, within the margin
    BELOW = "below"  # below the margin, in a complete poll
    PASSED = "passed"  # the same, because a rolling window has moved on; also from what was resolved by hand
    SLOWED = "slowed"  # the same, of a rate
    UNSURE = "unsure"  # below the margin, but not in a complete poll
    UNREAD = "unread"  # below the margin, but the poll was of another source: it proves nothing new
    RAISED_CLEAR = "raised_clear"  # an edited limit leaves no step reached
    RAISED_OVER = "raised_over"  # an edited limit leaves only lower steps reached
    PERIOD_OVER = "period_over"
    RULE_REMOVED = "rule_removed"
    ARCHIVED = "archived"
    BY_HAND = "by_hand"


@dataclass(frozen=True, slots=True)
class Transition:
    """The next state, what is said (None: nothing), and why or why not."""

    to: State | None
    reason: Reason
    kind: Kind | None = None


_OPEN, _DOUBTFUL, _RESOLVED = State.OPEN, State.DOUBTFUL, State.RESOLVED
_STAYS_RESOLVED = Transition(_RESOLVED, Reason.OVER)

TRANSITIONS: Mapping[tuple[State | None, Event], Transition] = {
    # No incident yet.
    (None, Event.NEW_STEP): Transition(_OPEN, Reason.STEP_REACHED, Kind.TRIGGER),
    (None, Event.BASELINE_STEP): Transition(_OPEN, Reason.BASELINE, Kind.INFORM),
    (None, Event.LATE_STEP): Transition(_RESOLVED, Reason.LATE, Kind.INFORM),
    (None, Event.LOWERED_STEP): Transition(_OPEN, Reason.LIMIT_LOWERED, Kind.TRIGGER),
    (None, Event.QUIET): Transition(None, Reason.BELOW_FIRST_STEP),
    # People know, and it is so.
    (_OPEN, Event.NEW_STEP): Transition(_OPEN, Reason.STEP_REACHED, Kind.TRIGGER),
    (_OPEN, Event.BASELINE_STEP): Transition(_OPEN, Reason.BASELINE, Kind.INFORM),
    (_OPEN, Event.LATE_STEP): Transition(_OPEN, Reason.LATE, Kind.INFORM),
    (_OPEN, Event.LOWERED_STEP): Transition(_OPEN, Reason.LIMIT_LOWERED, Kind.TRIGGER),
    (_OPEN, Event.QUIET): Transition(_OPEN, Reason.ALREADY_ANNOUNCED),
    (_OPEN, Event.REMINDER): Transition(_OPEN, Reason.REMINDER, Kind.TRIGGER),
    (_OPEN, Event.NEAR): Transition(_OPEN, Reason.WITHIN_MARGIN),
    (_OPEN, Event.BELOW): Transition(_DOUBTFUL, Reason.SECOND_POLL_AWAITED),
    (_OPEN, Event.PASSED): Transition(_DOUBTFUL, Reason.SECOND_POLL_AWAITED),
    (_OPEN, Event.SLOWED): Transition(_DOUBTFUL, Reason.SECOND_POLL_AWAITED),
    (_OPEN, Event.UNSURE): Transition(_OPEN, Reason.INCOMPLETE_DATA),
    (_OPEN, Event.UNREAD): Transition(_OPEN, Reason.INCOMPLETE_DATA),
    (_OPEN, Event.RAISED_CLEAR): Transition(_RESOLVED, Reason.LIMIT_RAISED, Kind.RESOLVE),
    (_OPEN, Event.RAISED_OVER): Transition(_OPEN, Reason.LIMIT_RAISED_STILL_OVER),
    (_OPEN, Event.PERIOD_OVER): Transition(_RESOLVED, Reason.PERIOD_OVER, Kind.RESOLVE),
    (_OPEN, Event.RULE_REMOVED): Transition(_RESOLVED, Reason.RULE_REMOVED, Kind.RESOLVE),
    (_OPEN, Event.ARCHIVED): Transition(_RESOLVED, Reason.WORKSPACE_ARCHIVED, Kind.RESOLVE),
    (_OPEN, Event.BY_HAND): Transition(_RESOLVED, Reason.BY_HAND, Kind.RESOLVE),
    # One complete poll was below the margin.
    (_DOUBTFUL, Event.NEW_STEP): Transition(_OPEN, Reason.STEP_REACHED, Kind.TRIGGER),
    (_DOUBTFUL, Event.BASELINE_STEP): Transition(_OPEN, Reason.BASELINE, Kind.INFORM),
    (_DOUBTFUL, Event.LATE_STEP): Transition(_OPEN, Reason.LATE, Kind.INFORM),
    (_DOUBTFUL, Event.LOWERED_STEP): Transition(_OPEN, Reason.LIMIT_LOWERED, Kind.TRIGGER),
    (_DOUBTFUL, Event.QUIET): Transition(_OPEN, Reason.ALREADY_ANNOUNCED),
    (_DOUBTFUL, Event.REMINDER): Transition(_OPEN, Reason.REMINDER, Kind.TRIGGER),
    (_DOUBTFUL, Event.NEAR): Transition(_OPEN, Reason.WITHIN_MARGIN),
    (_DOUBTFUL, Event.BELOW): Transition(_RESOLVED, Reason.RESTATED, Kind.RESOLVE),
    (_DOUBTFUL, Event.PASSED): Transition(_RESOLVED, Reason.PERIOD_OVER, Kind.RESOLVE),
    (_DOUBTFUL, Event.SLOWED): Transition(_RESOLVED, Reason.SLOWED_DOWN, Kind.RESOLVE),
    (_DOUBTFUL, Event.UNSURE): Transition(_DOUBTFUL, Reason.INCOMPLETE_DATA),
    (_DOUBTFUL, Event.UNREAD): Transition(_DOUBTFUL, Reason.SECOND_POLL_AWAITED),
    (_DOUBTFUL, Event.RAISED_CLEAR): Transition(_RESOLVED, Reason.LIMIT_RAISED, Kind.RESOLVE),
    (_DOUBTFUL, Event.RAISED_OVER): Transition(_OPEN, Reason.LIMIT_RAISED_STILL_OVER),
    (_DOUBTFUL, Event.PERIOD_OVER): Transition(_RESOLVED, Reason.PERIOD_OVER, Kind.RESOLVE),
    (_DOUBTFUL, Event.RULE_REMOVED): Transition(_RESOLVED, Reason.RULE_REMOVED, Kind.RESOLVE),
    (_DOUBTFUL, Event.ARCHIVED): Transition(_RESOLVED, Reason.WORKSPACE_ARCHIVED, Kind.RESOLVE),
    (_DOUBTFUL, Event.BY_HAND): Transition(_RESOLVED, Reason.BY_HAND, Kind.RESOLVE),
    # It ended; a step that was not announced since brings it back.
    (_RESOLVED, Event.NEW_STEP): Transition(_OPEN, Reason.STEP_REACHED, Kind.TRIGGER),
    (_RESOLVED, Event.BASELINE_STEP): Transition(_OPEN, Reason.BASELINE, Kind.INFORM),
    (_RESOLVED, Event.LATE_STEP): Transition(_RESOLVED, Reason.LATE, Kind.INFORM),
    (_RESOLVED, Event.LOWERED_STEP): Transition(_OPEN, Reason.LIMIT_LOWERED, Kind.TRIGGER),
    (_RESOLVED, Event.QUIET): _STAYS_RESOLVED,
    (_RESOLVED, Event.PASSED): Transition(_RESOLVED, Reason.BELOW_FIRST_STEP),
}

# A rolling window has moved on from what was announced.
_PASSED = frozenset({Event.PASSED, Event.SLOWED})

# After these the steps are armed again: a later crossing is news.
_REARMING = frozenset({Reason.RESTATED, Reason.LIMIT_RAISED, Reason.RULE_REMOVED})


@dataclass(frozen=True, slots=True)
class Situation:
    """What an evaluation knows beside the findings.

    `billed_before`, `seen_before`: how far the bill, and all that is known, reached before this evaluation. A period
    that was watched to its end and only estimated until now is live like the current one: what its bill brings is
    news, not history.

    `current`: each rule's period that holds the newest data. `unseen`: rules that were never evaluated with data.
    `edited`: rules whose figures changed since their last evaluation. `polled`: the findings come from a complete
    new reading, not only from an edit; `read` is what that reading was of: estimates, the bill, or the hours that stand
    between them (None: all there is).
    `first_look`: it is the first one of its source ever, so what is over may have been so for long. `silenced`: the
    incidents that nobody wants to be reminded of now.
    """

    organisation: str
    rules: Mapping[str, Rule]
    names: Names
    current: Mapping[str, Period]
    unseen: frozenset[str] = frozenset()
    edited: frozenset[str] = frozenset()
    polled: bool = True
    default_severity: Severity = Severity.WARNING
    billed_before: datetime | None = None
    seen_before: datetime | None = None
    read: Basis | None = None
    first_look: bool = False
    silenced: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """People are told something of an incident: `incident` is as it is afterwards."""

    incident: Incident
    kind: Kind
    reason: Reason
    severity: Severity
    step: Decimal | None = None
    skipped: tuple[Decimal, ...] = ()
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an evaluation comes to: incidents that are new or changed, and what is said."""

    incidents: tuple[Incident, ...] = ()
    decisions: tuple[Decision, ...] = ()


@dataclass(slots=True)
class _Ledger:
    """Collects the verdict while it is formed."""

    incidents: list[Incident] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)


def step(
    situation: Situation, incidents: Mapping[str, Incident], findings: Iterable[Finding], now: datetime
) -> Verdict:
    """One evaluation: what becomes of every incident, and what is said, at most once for each incident."""
    ledger = _Ledger()
    latest_last = sorted(incidents.values(), key=lambda each: (each.state is not State.RESOLVED, each.changed_at))
    rolling = {(each.rule, each.scope): each for each in latest_last if _rolls(situation, each)}
    heard: set[str] = set()
    for finding in findings:
        incident = rolling.get((finding.rule, finding.scope))
        if incident is None:
            incident = incidents.get(incident_id(situation.organisation, finding.rule, finding.scope, finding.period))
        if incident is not None:
            heard.add(incident.id)
        _apply(ledger, situation, incident, finding, _event(situation, incident, finding, now), now)
    for incident in incidents.values():
        if incident.id not in heard and incident.state is not State.RESOLVED and is_of_rule(incident):
            ending = _ending(situation, incident)
            if ending is not None:
                _apply(ledger, situation, incident, None, ending, now)
    return Verdict(tuple(ledger.incidents), tuple(ledger.decisions))


def acknowledged(incident: Incident, now: datetime) -> Verdict:
    """Somebody has it: no reminders up to its present step. Nothing for what is resolved, or was acknowledged so."""
    top = max(incident.announced, default=None)
    if incident.state is State.RESOLVED or top is None or incident.acknowledged == top:
        return Verdict()
    after = replace(incident, acknowledged=top, sequence=incident.sequence + 1, changed_at=now)
    return Verdict((after,), (Decision(after, Kind.ACKNOWLEDGE, Reason.ACKNOWLEDGED, after.severity, top),))


def not_acknowledged(incident: Incident, now: datetime) -> Verdict:
    """Nobody has it any more; that alone is no news."""
    if incident.acknowledged is None:
        return Verdict()
    return Verdict((replace(incident, acknowledged=None, changed_at=now),))


def resolved_by_hand(incident: Incident, now: datetime) -> Verdict:
    """It ends because somebody says so; its announced steps stay announced. Nothing for what is resolved."""
    transition = TRANSITIONS.get((incident.state, Event.BY_HAND))
    if transition is None or transition.kind is None:
        return Verdict()
    after = replace(
        incident,
        state=State.RESOLVED,
        resolved=transition.reason,
        held=None,
        sequence=incident.sequence + 1,
        changed_at=now,
    )
    return Verdict((after,), (Decision(after, transition.kind, transition.reason, after.severity),))


def incident_id(organisation: str, rule: str, scope: Scope, period: Period) -> str:
    """The incident's identity: nothing that an edit or a new amount could change is in it."""
    parts = [part for pair in scope for part in pair]
    return identity("inc", organisation, rule, *parts, period.start.isoformat(), period.end.isoformat())


def is_of_rule(incident: Incident) -> bool:
    """Whether the incident belongs to a rule of the file, not to budgetd's own watch over itself."""
    return ":" not in incident.rule


def _rolls(situation: Situation, incident: Incident) -> bool:
    """Whether the incident goes on in the next window: it is open, or somebody ended it while it was so."""
    rule = situation.rules.get(incident.rule)
    if rule is None or (incident.state is State.RESOLVED and incident.resolved is not Reason.BY_HAND):
        return False
    return rule.calendar.rolling and rule.owns(incident.scope, incident.period)


def _event(situation: Situation, incident: Incident | None, finding: Finding, now: datetime) -> Event:
    ending = _ending(situation, incident) if incident is not None and incident.state is not State.RESOLVED else None
    if ending is Event.PERIOD_OVER and _awaits_the_bill_again(situation, incident):
        ending = None
    highest = max(incident.announced, default=None) if incident is not None else None
    if finding.reached and (highest is None or finding.reached[-1] > highest):
        return _news(situation, finding) if ending in (None, Event.PERIOD_OVER) else ending or Event.QUIET
    if ending is not None:
        return ending
    if incident is None:
        return Event.QUIET
    if incident.state is State.RESOLVED:
        passed = _rolls(situation, incident) and _as_announced(situation, incident, finding) in _PASSED
        return Event.PASSED if passed else Event.QUIET
    event = _nothing_new(situation, incident, finding)
    return Event.REMINDER if event is Event.QUIET and _is_forgotten(situation, incident, finding, now) else event


def _is_forgotten(situation: Situation, incident: Incident, finding: Finding, now: datetime) -> bool:
    """Whether people should hear again of what they know; a lower bound, or a mere edit, is no occasion."""
    fit = situation.polled and finding.complete and finding.reached and incident.id not in situation.silenced
    return bool(fit) and reminders.is_due(incident, finding.amount, now)


def _news(situation: Situation, finding: Finding) -> Event:
    if finding.rule in situation.unseen or situation.first_look:
        return Event.BASELINE_STEP
    if not _is_live(situation, finding.rule, finding.period):
        return Event.LATE_STEP
    return Event.LOWERED_STEP if finding.rule in situation.edited else Event.NEW_STEP


def _nothing_new(situation: Situation, incident: Incident, finding: Finding) -> Event:
    """Of an incident that is not resolved, and has reached no step that people do not know of."""
    if finding.rule in situation.unseen and not finding.reached and finding.complete:
        return Event.RULE_REMOVED  # the rule that it was of looked at something else
    if finding.rule in situation.edited:
        lowest, highest = min(incident.announced), max(incident.announced)
        if not finding.reached and finding.complete and _eased(incident, finding, lowest):
            return Event.RAISED_CLEAR
        if finding.reached and finding.reached[-1] < highest and _eased(incident, finding, highest):
            return Event.RAISED_OVER
    return _as_announced(situation, incident, finding)


def _eased(incident: Incident, finding: Finding, share: Decimal) -> bool:
    """Whether the edit, and not a smaller amount, is why an announced step is not reached any more.

    The limit is higher, or the share of it is still spent but is no step now. Another scope's limit proves nothing.
    """
    return finding.limit > incident.limit or finding.amount >= times(finding.limit, share)


def _as_announced(situation: Situation, incident: Incident, finding: Finding) -> Event:
    """Whether what people were told is still so."""
    lowest = times(finding.limit, min(incident.announced))
    if finding.amount >= lowest:
        return Event.QUIET
    if finding.amount >= times(lowest, CORRECTION_MARGIN):
        return Event.NEAR
    if not finding.complete or not situation.polled:
        return Event.UNSURE
    if not _is_read(situation, finding):
        return Event.UNREAD
    if finding.pace is not None:
        return Event.SLOWED
    return Event.BELOW if finding.period == incident.period else Event.PASSED


def _is_read(situation: Situation, finding: Finding) -> bool:
    """Whether the reading could tell: the bill of what has a bill in it, estimates of what is only estimated.

    The hours that the vendor has priced are a part of neither's word.
    """
    needed = Basis.ESTIMATED if finding.basis is Basis.ESTIMATED else Basis.BILLED
    return situation.read in (None, needed)


def _is_live(situation: Situation, rule: str, period: Period) -> bool:
    """Whether what is found in the period is news: it is the current one, or its bill was still awaited."""
    if period == situation.current[rule]:
        return True
    billed, seen = situation.billed_before, situation.seen_before
    if billed is None or seen is None or period.end <= billed:
        return False
    # Watched until its end, or nearly: what was missed altogether is history.
    return period.end - WATCHED_UNTIL <= seen <= period.end + BILL_AWAITED


def _awaits_the_bill_again(situation: Situation, incident: Incident | None) -> bool:
    """Whether the bill of a day that was estimated is far lower, and a second reading of it says if that is so."""
    billed, seen = situation.billed_before, situation.seen_before
    doubtful = incident is not None and incident.state is State.DOUBTFUL
    return doubtful and billed is not None and seen is not None and seen > billed


def _ending(situation: Situation, incident: Incident) -> Event | None:
    """Why the incident ends whatever its amount is; None when it does not."""
    rule = situation.rules.get(incident.rule)
    if rule is None or not rule.owns(incident.scope, incident.period):
        return Event.RULE_REMOVED
    if _archived_since(situation.names, incident):
        return Event.ARCHIVED
    current = situation.current.get(incident.rule)
    if current is None or rule.calendar.rolling or incident.period.end > current.start:
        return None
    return None if _is_live(situation, incident.rule, incident.period) else Event.PERIOD_OVER


def _archived_since(names: Names, incident: Incident) -> bool:
    workspaces = (names.workspaces.get(value) for dimension, value in incident.scope if dimension == "workspace")
    return any(w is not None and w.archived_at is not None and w.archived_at > incident.opened_at for w in workspaces)


def _apply(
    ledger: _Ledger,
    situation: Situation,
    incident: Incident | None,
    finding: Finding | None,
    event: Event,
    now: datetime,
) -> None:
    transition = TRANSITIONS[(incident.state if incident is not None else None, event)]
    if transition.to is None:
        return
    if incident is None:
        if finding is None:
            raise AssertionError("an incident begins with a finding")
        incident = _begin(situation, finding, transition.to, now)
        before = None
    else:
        before = incident
    after = _follow(situation, incident, finding, transition, now)
    if after != before:
        ledger.incidents.append(after)
    if transition.kind is not None:
        ledger.decisions.append(_decide(situation, before, after, finding, transition))


def _begin(situation: Situation, finding: Finding, state: State, now: datetime) -> Incident:
    return Incident(
        id=incident_id(situation.organisation, finding.rule, finding.scope, finding.period),
        rule=finding.rule,
        scope=finding.scope,
        period=finding.period,
        state=state,
        announced=(),
        severity=Severity.INFO,
        amount=finding.amount,
        limit=finding.limit,
        opened_at=now,
        changed_at=now,
    )


def _follow(
    situation: Situation, incident: Incident, finding: Finding | None, transition: Transition, now: datetime
) -> Incident:
    """The incident after the transition."""
    says_step = transition.kind in (Kind.TRIGGER, Kind.INFORM)
    after = replace(
        incident,
        state=transition.to or incident.state,
        held=transition.reason if transition.kind is None else None,
        sequence=incident.sequence + (transition.kind is not None),
    )
    if finding is not None:
        after = replace(after, limit=finding.limit)
        if finding.complete or finding.amount > incident.amount:
            after = replace(after, amount=finding.amount)  # a lower bound says nothing against a larger amount
    if incident.state is State.RESOLVED and after.state is not State.RESOLVED:
        after = replace(after, opened_at=now, severity=Severity.INFO)
    if says_step and finding is not None:
        announced = tuple(sorted({*incident.announced, *finding.reached}))
        said = _severity(situation, finding, transition)
        after = replace(after, announced=announced, severity=max(after.severity, said, key=lambda s: s.rank))
        after = _told(incident, after, finding, transition.reason, now)
    if transition.reason is Reason.LIMIT_RAISED_STILL_OVER and finding is not None:
        after = replace(after, announced=finding.reached)
    if transition.reason in _REARMING:
        after = replace(after, announced=(), acknowledged=None)
    if transition.reason is Reason.BELOW_FIRST_STEP:
        after = replace(after, resolved=Reason.PERIOD_OVER)
    elif after.state is State.RESOLVED and incident.resolved is None:
        after = replace(after, resolved=transition.reason if not says_step else Reason.PERIOD_OVER)
    elif after.state is not State.RESOLVED:
        after = replace(after, resolved=None)
    return replace(after, changed_at=now) if after != incident else incident


def _told(before: Incident, after: Incident, finding: Finding, reason: Reason, now: datetime) -> Incident:
    """People are told what it comes to. A new step is news also to whoever has acknowledged the ones before."""
    again = reason is Reason.REMINDER
    return replace(
        after,
        told_at=now,
        told_amount=finding.amount,
        reminders=before.reminders + 1 if again else 0,
        acknowledged=before.acknowledged if again else None,
    )


def _severity(situation: Situation, finding: Finding, transition: Transition) -> Severity:
    if transition.kind is Kind.INFORM:
        return Severity.INFO
    return situation.rules[finding.rule].severity_at(finding.reached[-1], situation.default_severity)


def _decide(
    situation: Situation, before: Incident | None, after: Incident, finding: Finding | None, transition: Transition
) -> Decision:
    kind = transition.kind or Kind.INFORM
    if kind is Kind.RESOLVE or finding is None:
        return Decision(after, kind, transition.reason, after.severity, finding=finding)
    known = before.announced if before is not None else ()
    skipped = tuple(share for share in finding.reached[:-1] if not known or share > max(known))
    severity = _severity(situation, finding, transition)
    return Decision(after, kind, transition.reason, severity, finding.reached[-1], skipped, finding)
