"""What one evaluation changes of all that is kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from budgetd.model.deliveries import Delivery, Destination, Moved, Muted, Superseded
from budgetd.model.incidents import Incident, Severity
from budgetd.model.notices import Notice
from budgetd.model.people import Intervention, Silence
from budgetd.model.spend import CostDay, Failure, Organisation, Workspace


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
