"""What was spent on what, who spent it, and why nothing is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

# The sources that tell what the vendor charges; the others only estimate it.
BILLS = frozenset({"cost_report", "analytics"})

# The report writes null for the default workspace when it is grouped by workspace.
# Inside budgetd it has an id of its own, so that it can never be taken for "not grouped" (None).
DEFAULT_WORKSPACE = "default"
DEFAULT_WORKSPACE_NAME = "Default"

# What the lines of a bill can be told apart by.
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


class Basis(StrEnum):
    """Where a figure comes from."""

    BILLED = "billed"
    ESTIMATED = "estimated"
    MIXED = "mixed"


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
