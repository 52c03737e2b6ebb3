"""What people are told of an incident, with all that a message can say of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from budgetd.model.incidents import Comparison, Kind, Pace, Reason, Severity
from budgetd.model.spend import Basis
from budgetd.period import Period
from budgetd.summary import Digest


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
    by hand, and why. `seen_besides`: of a source that cannot be read; another one still tells of spend.
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
    seen_besides: bool = False


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
