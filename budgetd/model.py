"""The words that every other file speaks in: frozen values, no behaviour beyond what they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from budgetd.period import Period
from budgetd.summary import Digest

# The sources that tell what the vendor charges; the others only estimate it.
BILLS = frozenset({"cost_report", "analytics"})

# The report writes null for the default workspace when it is grouped by workspace.
# Inside budgetd it has an id of its own, so that it can never be taken for "not grouped" (None).
DEFAULT_WORKSPACE = "default"
DEFAULT_WORKSPACE_NAME = "Default"

MATCHABLE = (
    "workspace",
    "group",
    "model",
    "cost_type",
    "token_type",
    "service_tier",
    "context_window",
    "inference_geo",
    "speed",
    "description",
)


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for critical."""
        return list(Severity).index(self)


class Basis(StrEnum):
    """Where a figure comes from."""

    BILLED = "billed"
    ESTIMATED = "estimated"
    MIXED = "mixed"


# --- spend -----------------------------------------------------------------------------------


class Dimensions(NamedTuple):
    """What a cost line is about. None: the report did not say; `DEFAULT_WORKSPACE`: the default workspace."""

    workspace: str | None = None
    description: str | None = None
    cost_type: str | None = None
    model: str | None = None
    token_type: str | None = None
    service_tier: str | None = None
    context_window: str | None = None
    inference_geo: str | None = None
    speed: str | None = None


@dataclass(frozen=True, slots=True)
class CostDay:
    """All cost lines of one UTC day: exact dollars by dimensions. It replaces what was known of that day."""

    day: date
    lines: Mapping[Dimensions, Decimal]
    basis: Basis = Basis.BILLED
    complete: bool = True


@dataclass(frozen=True, slots=True)
class CostSlice:
    """The cost lines of a part of a UTC day, [start, end): an hour or a minute. Kept in memory only."""

    start: datetime
    end: datetime
    lines: Mapping[Dimensions, Decimal]
    basis: Basis = Basis.ESTIMATED


@dataclass(frozen=True, slots=True)
class Report:
    """One whole, consistent reading of a source: all pages, or it does not exist.

    `start` and `end` are the half-open range of UTC days that it covers; `days` holds those whose content may have
    changed since the last reading, the other days of the range are as they were.
    `through` is the instant up to which the source is complete. `remarks` are oddities for the operator.
    `slices` are the parts of the newest days that the source knows, without gap or overlap, the oldest first.
    `unpriced` are tokens that no rate is known for, by (model, token type): they are in no amount.
    `departures` are the ways in which the answers are not what is known of the API, a sentence for each, said once:
    what departs counts in totals, but rules may look for it in vain.
    """

    source: str
    start: date
    end: date
    days: tuple[CostDay, ...]
    through: datetime
    remarks: tuple[str, ...] = ()
    slices: tuple[CostSlice, ...] = ()
    unpriced: Mapping[tuple[str, str], int] = field(default_factory=dict)
    departures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Organisation:
    """The organisation that the admin key belongs to."""

    id: str
    name: str


# Before the first answer nobody knows whose key it is; what must be said meanwhile is kept under this name.
UNKNOWN_ORGANISATION = Organisation("unknown", "the organisation")


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace: the id is its identity, the name may change and need not be unique."""

    id: str
    name: str
    archived_at: datetime | None = None
    tags: tuple[tuple[str, str], ...] = ()


class Failure(StrEnum):
    """Why a source gave nothing."""

    UNREACHABLE = "unreachable"  # no connection, TLS, DNS, timeout
    UNAVAILABLE = "unavailable"  # the service answered that it cannot now (429, 5xx)
    REFUSED = "refused"  # the key is wrong, expired or without the right (401, 403)
    REJECTED = "rejected"  # the request is wrong (400, 404, redirect)
    UNREADABLE = "unreadable"  # an answer that cannot be trusted
    FOREIGN = "foreign"  # the key is another organisation's
    STALLED = "stalled"  # it answers, and has nothing new
    SKEWED = "skewed"  # this machine's clock is not the service's


class SourceError(Exception):
    """A source could not be read; nothing that was known changes.

    `retry_after` is in seconds, from the service's own word.
    """

    def __init__(
        self,
        failure: Failure,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


# --- findings --------------------------------------------------------------------------------

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


# --- incidents and notices -------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class Contributor:
    """A part of the amount: dollars by model and token type (or cost type where there is no model)."""

    model: str | None
    token_type: str | None
    amount: Decimal


class Cause(StrEnum):
    """Why a sum of dollars changed. They are taken in this order, each with what comes after it as it was before."""

    VOLUME = "volume"  # more or fewer tokens, everything else as before
    MODEL_MIX = "model_mix"  # a larger part of them on dearer or cheaper models, new ones included
    KIND_MIX = "token_type_mix"  # within each model other kinds of tokens
    TERMS = "tier"  # within those other service tiers, context windows, regions, speeds
    OTHER = "other"  # what has no price by the token: searches, code execution, credits


@dataclass(frozen=True, slots=True)
class Mover:
    """One value's part of a change: dollars before and after. `name` is the value as people know it.

    `token_type`: of a model, the kind of tokens that most of the change is.
    """

    dimension: str
    name: str
    before: Decimal
    after: Decimal
    token_type: str = ""


@dataclass(frozen=True, slots=True)
class Increase:
    """How a range of UTC days differs from an earlier one of as many days, in dollars, and what the difference is.

    `against`: the earlier range in words (`1-17 Oct 2026`, `the day before`). `closed`: the later range is over; a day
    that still runs is only compared once it is above the earlier one. `movers`: the models that changed most, and the
    workspaces where the scope has several; each dimension by itself. `causes` add up to after - before exactly, and are
    empty where prices are not known. `tokens`: after / before of the priced tokens.
    """

    against: str
    before: Decimal
    after: Decimal
    closed: bool = True
    movers: tuple[Mover, ...] = ()
    causes: tuple[tuple[Cause, Decimal], ...] = ()
    tokens: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a period will come to if it goes on as lately: dollars, with a range that 4 of 5 such periods stay in.

    `reached_on`: the UTC day on which the limit is reached at that pace; None: not within the period.
    """

    expected: Decimal
    low: Decimal
    high: Decimal
    reached_on: date | None = None


@dataclass(frozen=True, slots=True)
class History:
    """Dollars of each closed UTC day of the scope, oldest first; None: nothing complete is known of that day."""

    start: date
    amounts: tuple[Decimal | None, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """One value of a scope as people know it: dimension `workspace`, id `wrkspc_...`, name `Research`."""

    dimension: str
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a message can say of a notice; kept with it, so that a late or repeated message says the same.

    Amounts are dollars; dollars an hour where there is a `pace`. `text` carries what has no figures (blind,
    undeliverable, a test message); then `period`, `amount` and `limit` are None. `person` and `comment`: who did it
    by hand, and why.
    """

    organisation: str
    rule: str
    rule_type: str
    scope: tuple[Label, ...] = ()
    period: Period | None = None
    period_kind: str = ""
    amount: Decimal | None = None
    limit: Decimal | None = None
    step: Decimal | None = None
    skipped: tuple[Decimal, ...] = ()
    complete: bool = True
    basis: Basis = Basis.BILLED
    data_through: datetime | None = None
    comparison: Comparison | None = None
    pace: Pace | None = None
    contributors: tuple[Contributor, ...] = ()
    text: str = ""
    person: str = ""
    comment: str = ""
    digest: Digest | None = None
    forecast: Forecast | None = None
    history: History | None = None
    increase: Increase | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something people must be told of an incident, with a reason. `id` is the idempotency key of every attempt."""

    id: str
    incident: str
    sequence: int
    kind: Kind
    reason: Reason
    severity: Severity
    created_at: datetime
    facts: Facts


# --- deliveries ------------------------------------------------------------------------------


class Outcome(StrEnum):
    """What became of one attempt to send."""

    DELIVERED = "delivered"
    RETRY = "retry"  # not now: refused connection, 5xx, timeout before the request left
    RATE_LIMITED = "rate_limited"  # not before `after`
    REJECTED = "rejected"  # this message is not acceptable (400, too long)
    UNAUTHORISED = "unauthorised"  # the credential is wrong (401, 403)
    GONE = "gone"  # the destination is no more (404, 410)
    UNKNOWN = "unknown"  # it may have arrived: a timeout or a crash after the request left


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    GIVEN_UP = "given_up"


class Face(StrEnum):
    """How richly a delivery is rendered; a rejected one is tried again one level simpler."""

    RICH = "rich"
    PLAIN = "plain"
    MINIMAL = "minimal"


@dataclass(frozen=True, slots=True)
class Delivery:
    """Notices on their way to one channel as one message; `id` is the same on every attempt.

    `page`: it wakes somebody, so it is retried faster and has a shorter deadline. `because`: why this channel gets what
    was for another one; empty for what is its own. `muted_until`: a silence or quiet hours keep it back until then, and
    `muted_by` says which; both stay when that is over. `gathered`: why it tells together what would have been told one
    by one; empty for what is not so. `in_doubt`: how many of its attempts may have arrived.
    """

    id: str
    channel: str
    notices: tuple[Notice, ...]
    created_at: datetime
    next_attempt_at: datetime
    page: bool = False
    face: Face = Face.RICH
    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    because: str = ""
    muted_until: datetime | None = None
    muted_by: str = ""
    gathered: str = ""
    in_doubt: int = 0

    @property
    def wanted_at(self) -> datetime:
        """When it should have been delivered: once it was decided, or was muted no more."""
        return self.created_at if self.muted_until is None else max(self.created_at, self.muted_until)


@dataclass(frozen=True, slots=True)
class Muted:
    """How long a pending delivery is kept back, and by what; None: it is not, any more."""

    delivery: str
    until: datetime | None
    by: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result of one attempt. `after` (seconds) is the service's own word on when to come back.

    `memo` is what the service calls the message, for those that can go on under it; the channel gets it back as
    `Message.thread`. Empty after a delivery: the next message of the incident begins anew.
    """

    outcome: Outcome
    detail: str = ""
    after: float | None = None
    memo: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a delivery as it is kept. `outcome` None: it was under way when the process ended."""

    delivery: str
    number: int
    started_at: datetime
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    detail: str = ""


# --- people ------------------------------------------------------------------------------------

# ((key, patterns), ...): every key must have a pattern that matches; () matches everything.
Match = tuple[tuple[str, tuple[str, ...]], ...]


class SilenceEnd(StrEnum):
    """What a silence lasts until."""

    TIME = "time"
    NEXT_STEP = "next_step"
    PERIOD_END = "period_end"


@dataclass(frozen=True, slots=True)
class Silence:
    """Somebody wants to hear nothing of what matches until `ends_at`, or until each incident's next step or period end.

    `covers`: for the latter two, the incidents that were open, with the highest step that people knew of.
    """

    id: str
    match: Match
    author: str
    comment: str
    created_at: datetime
    ends_at: datetime
    until: SilenceEnd = SilenceEnd.TIME
    covers: Mapping[str, Decimal] = field(default_factory=dict)
    ended_at: datetime | None = None
    ended_by: str = ""


class Act(StrEnum):
    """What people do to alerts."""

    SILENCE = "silence"
    END_SILENCE = "end_silence"
    ACKNOWLEDGE = "acknowledge"
    UNACKNOWLEDGE = "unacknowledge"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True)
class Intervention:
    """What somebody did to an incident or a silence (`subject` is its id), and why."""

    at: datetime
    author: str
    act: Act
    subject: str
    comment: str = ""


# --- what survives beside incidents ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RuleState:
    """What is remembered of a rule between evaluations.

    `since`: how far the data reached when it was first evaluated (its baseline); what was over before is not news.
    `through`: how far the data reached at its last evaluation. `stakes`: the figures it was evaluated with.
    `shape`: what it looked at; a rule that looks at something else is a new one.
    """

    rule: str
    since: datetime
    through: datetime
    stakes: str = ""
    shape: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """How a source is doing. `failing_since` None: the last reading was good."""

    source: str
    last_good: datetime | None = None
    failing_since: datetime | None = None
    failures: int = 0
    failure: Failure | None = None
    message: str = ""
    announced: Severity | None = None
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the estimate of a closed day was from its bill, in dollars, over what both can have."""

    day: date
    estimated: Decimal
    billed: Decimal


@dataclass(frozen=True, slots=True)
class Planned:
    """When a source is polled next, and the plan behind it.

    `interval` is what is sustained, to the millisecond, without the jitter and the waits that a failure asks for.
    `widened`: it is longer than usual since the service said "too many requests". `words` say the plan.
    """

    at: datetime
    interval: timedelta
    widened: bool
    words: str


# A learned rate as plain texts: key, rate, origin, evidence, billed as.
RateTexts = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Superseded:
    """A notice that need not go out in that delivery any more: a newer one of its incident does."""

    delivery: str
    notice: str


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a channel led when it was last looked at: a fingerprint of its address. `page`: it wakes somebody."""

    channel: str
    fingerprint: str
    page: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """The deliveries of a channel that are `to` have another one from now on, and its breaker is closed.

    They are those that open incidents were told by, and the ends that wait; with `whole` all of them; with `delivery`
    only that one, and the ends of its incidents that wait. A channel that moves to itself only leads elsewhere.
    """

    channel: str
    to: str
    whole: bool = False
    delivery: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """All that one evaluation changes; it is committed whole or not at all.

    `through`: how far `source` reaches. `rates` replace all that were kept; None: they stay.
    `destinations` likewise.
    `requests`: how many the poll of `source` took; they count for the UTC day of `at`. `planned`: its next poll.
    """

    at: datetime
    organisation: Organisation | None = None
    workspaces: tuple[Workspace, ...] = ()
    source: str = ""
    cost_days: tuple[CostDay, ...] = ()
    through: datetime | None = None
    incidents: tuple[Incident, ...] = ()
    notices: tuple[Notice, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    superseded: tuple[Superseded, ...] = ()
    muted: tuple[Muted, ...] = ()
    silences: tuple[Silence, ...] = ()
    interventions: tuple[Intervention, ...] = ()
    rules: tuple[RuleState, ...] = ()
    forgotten_rules: tuple[str, ...] = ()
    health: tuple[Health, ...] = ()
    drifts: tuple[Drift, ...] = ()
    rates: tuple[RateTexts, ...] | None = None
    requests: int = 0
    planned: Planned | None = None
    moved: tuple[Moved, ...] = ()
    destinations: tuple[Destination, ...] | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """What ids are called now."""

    organisation: Organisation
    workspaces: Mapping[str, Workspace] = field(default_factory=dict)

    def workspace(self, id: str) -> str:
        """The workspace's current name, or its id when nobody told us."""
        known = self.workspaces.get(id)
        if known is not None:
            return known.name
        return DEFAULT_WORKSPACE_NAME if id == DEFAULT_WORKSPACE else id


def identity(prefix: str, *parts: object) -> str:
    """A stable id made of the parts. They are joined as JSON, so that no two lists of parts read alike."""
    text = json.dumps([str(part) for part in parts], ensure_ascii=True, separators=(",", ":"))
    return f"{prefix}_{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}"
