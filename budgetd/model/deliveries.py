"""Notices on their way to a channel, and what became of them there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from budgetd.model.incidents import Kind
from budgetd.model.notices import Notice


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
class Superseded:
    """A notice that need not go out in that delivery any more: a newer one of its incident does."""

    delivery: str
    notice: str


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
class Said:
    """A notice as one channel knows it: whether a delivery to it was made, and whether one of those was ever tried.

    `instead`: it was made because another channel had not taken it.
    """

    notice: str
    sequence: int
    kind: Kind
    made: bool
    left: bool
    instead: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a delivery as it is kept. `outcome` None: it was under way when the process ended."""

    delivery: str
    number: int
    started_at: datetime
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    detail: str = ""


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
