"""What a rule finds, and the story of a limit that it makes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from budgetd.model.spend import Basis
from budgetd.period import Period


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for critical."""
        return list(Severity).index(self)


# ((dimension, value), ...) in the order of the rule's `for_each`; () is everything that the rule matches.
Scope = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a spike was measured against: in words, and the baseline in dollars."""

    against: str
    baseline: Decimal
    factor: Decimal


@dataclass(frozen=True, slots=True)
class Pace:
    """What a rate means for people, when it goes on like this.

    `since`: from when on it has been at or above its limit. `by_midnight` and `by_month_end`: dollars that the scope
    will have cost by the end of the UTC day and month.
    """

    since: datetime
    by_midnight: Decimal
    by_month_end: Decimal


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule says: this much, of this limit, in this scope and period.

    `amount` is in dollars, `limit` is what 100 % means; both are dollars an hour where there is a `pace`. `reached` are
    the steps (shares of the limit) at or below the amount, lowest first. `complete`: every day of the period up to the
    data's end is known; without that the amount is a lower bound, good for opening an incident, not for ending one.
    """

    rule: str
    scope: Scope
    period: Period
    amount: Decimal
    limit: Decimal
    reached: tuple[Decimal, ...]
    complete: bool = True
    basis: Basis = Basis.BILLED
    comparison: Comparison | None = None
    pace: Pace | None = None


class State(StrEnum):
    """Of an incident. DOUBTFUL: one complete poll was below the margin, a second one resolves it."""

    OPEN = "open"
    DOUBTFUL = "doubtful"
    RESOLVED = "resolved"


class Reason(StrEnum):
    """Why people are told something, or are not."""

    # said
    STEP_REACHED = "step_reached"
    REMINDER = "reminder"
    ACKNOWLEDGED = "acknowledged"
    BASELINE = "baseline"
    LATE = "late"
    LIMIT_LOWERED = "limit_lowered"
    RESTATED = "restated"
    SLOWED_DOWN = "slowed_down"
    PERIOD_OVER = "period_over"
    LIMIT_RAISED = "limit_raised"
    RULE_REMOVED = "rule_removed"
    WORKSPACE_ARCHIVED = "workspace_archived"
    BY_HAND = "by_hand"
    BLIND = "blind"
    REFUSED = "refused"
    RECOVERED = "recovered"
    UNDELIVERABLE = "undeliverable"
    RELOAD_FAILED = "reload_failed"
    STATE_RESTORED = "state_restored"
    STATE_IN_MEMORY = "state_in_memory"
    STATE_WRITTEN_AGAIN = "state_written_again"
    TEST = "test"
    DRIFT = "drift"
    UNPRICED = "unpriced"
    CONTRACT_DRIFT = "contract_drift"
    DIGEST = "digest"
    TEMPLATE_FAILED = "template_failed"
    CHANNEL_MOVED = "channel_moved"
    # not said (OVER: the incident is resolved and stays so)
    ALREADY_ANNOUNCED = "already_announced"
    BELOW_FIRST_STEP = "below_first_step"
    WITHIN_MARGIN = "within_margin"
    SECOND_POLL_AWAITED = "second_poll_awaited"
    INCOMPLETE_DATA = "incomplete_data"
    LIMIT_RAISED_STILL_OVER = "limit_raised_still_over"
    OVER = "over"


class Kind(StrEnum):
    """What a notice does to those who get it."""

    TRIGGER = "trigger"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"
    INFORM = "inform"


@dataclass(frozen=True, slots=True)
class Incident:
    """A limit's story in one (organisation, rule, scope, period). The id is made of those four and nothing else.

    `announced` are the steps people were told of, lowest first, those skipped included; `severity` the highest that
    was told. `amount` and `limit` (dollars) are the last that were seen with complete data.
    `opened_at` is when it last became open. `sequence` counts its notices. `held` says why the last evaluation
    said nothing. `told_at`, `told_amount`: when people were last told what it comes to, and what; `reminders` counts
    how often since they were told something new. `acknowledged`: somebody has it, up to that step.
    """

    id: str
    rule: str
    scope: Scope
    period: Period
    state: State
    announced: tuple[Decimal, ...]
    severity: Severity
    amount: Decimal
    limit: Decimal
    opened_at: datetime
    changed_at: datetime
    sequence: int = 0
    resolved: Reason | None = None
    held: Reason | None = None
    told_at: datetime | None = None
    told_amount: Decimal | None = None
    reminders: int = 0
    acknowledged: Decimal | None = None
