"""What must survive: the port that the daemon keeps its state behind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

from budgetd.breaker import Breaker
from budgetd.model import (
    Attempt,
    Changes,
    CostDay,
    Delivery,
    DeliveryState,
    Destination,
    Drift,
    Face,
    Health,
    Incident,
    Intervention,
    Notice,
    Organisation,
    Planned,
    RateTexts,
    Receipt,
    RuleState,
    Said,
    Silence,
    Workspace,
)


class StoreError(Exception):
    """The state cannot be used; the message says what is wrong and what to do, in one line.

    `transient`: nothing was written, and the same call may succeed later in this process (locked, no space left).
    Otherwise the instance is of no use any more: end the process, and let a new one find out what can be saved.
    `locked`: transient, and it usually takes no more than a moment.
    """

    def __init__(self, message: str, *, transient: bool = False, locked: bool = False) -> None:
        super().__init__(message)
        self.transient = transient
        self.locked = locked


@dataclass(frozen=True, slots=True)
class Memory:
    """All that one evaluation needs to know of the past; cost lines are read apart.

    `told`: the channels that were sent, may have been sent, or are about to be sent, a trigger of the incident; what is
    kept back by a silence or quiet hours was told to nobody. `silences`: those that nobody ended, old ones included.
    `outbox`: the deliveries that are still pending, oldest first, without their superseded notices.
    `through`: how far the source reaches that reaches furthest; `throughs`: how far each does.
    `rates`: what was learned about prices.
    """

    organisation: Organisation | None
    workspaces: Mapping[str, Workspace]
    through: datetime | None
    incidents: Mapping[str, Incident]
    rules: Mapping[str, RuleState]
    health: Mapping[str, Health]
    outbox: tuple[Delivery, ...]
    told: Mapping[str, frozenset[str]]
    throughs: Mapping[str, datetime] = field(default_factory=dict)
    rates: tuple[RateTexts, ...] = ()
    silences: tuple[Silence, ...] = ()


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A delivery with all its attempts, for people to read."""

    delivery: Delivery
    attempts: tuple[Attempt, ...]


class StateReader(Protocol):
    """The part of the port that only reads; it is also served beside a running daemon, and without one.

    All reads are of the organisation that is pinned. Every method raises StoreError.
    """

    def recall(self) -> Memory:
        """Everything but the cost lines. Incidents: those not resolved, or resolved by hand, and those whose period
        ended in the last 70 days before `through` (the data's time: neither a stop nor a wrong clock makes it forget).
        """
        ...

    def silences(self) -> tuple[Silence, ...]:
        """Every kept silence, the newest first."""
        ...

    def interventions(self, subject: str | None = None) -> tuple[Intervention, ...]:
        """What people did by hand, oldest first: to that incident or silence, or (None) to anything."""
        ...

    def billed_days(self) -> frozenset[date]:
        """The UTC days whose bill is kept: closed, and not only estimated."""
        ...

    def drifts(self, limit: int = 31) -> tuple[Drift, ...]:
        """How far estimates were from bills, the newest days first."""
        ...

    def planned(self) -> Mapping[str, Planned]:
        """The next poll of each source, as the process that has the state planned it last."""
        ...

    def requests(self, since: date) -> Mapping[str, Mapping[date, int]]:
        """How many requests each source took on the UTC days from `since` on; days without any are left out."""
        ...

    def known_days(self) -> frozenset[date]:
        """The UTC days whose cost lines are kept."""
        ...

    def cost_days(self, start: date, end: date) -> Iterator[CostDay]:
        """The kept days in [start, end), oldest first."""
        ...

    def incidents(self) -> tuple[Incident, ...]:
        """Every kept incident, the last changed first."""
        ...

    def breakers(self) -> Mapping[str, Breaker]:
        """The breakers of the channels whose last attempts failed."""
        ...

    def destinations(self) -> tuple[Destination, ...]:
        """Where the channels of the rules file led when it was last read."""
        ...

    def notices(self, incident: str) -> tuple[Notice, ...]:
        """An incident's notices in the order of their sequence."""
        ...

    def said(self, channel: str, incidents: Collection[str]) -> Mapping[str, tuple[Said, ...]]:
        """The incidents' notices in the order of their sequence, as the channel knows them, at any of its addresses."""
        ...

    def umbrellas(self, channel: str, incidents: Collection[str]) -> tuple[str, ...]:
        """The deliveries tried on the channel that begin several incidents, one of these among them, and are all over.

        Oldest first.
        """
        ...

    def attempts(self, deliveries: Collection[str]) -> Mapping[str, tuple[Attempt, ...]]:
        """The attempts of each of these deliveries, the first first; of one that was never tried, none."""
        ...

    def deliveries(self, notice: str | None = None, limit: int = 100) -> tuple[DeliveryRecord, ...]:
        """The deliveries that carry the notice (None: all), the newest first."""
        ...

    def close(self) -> None:
        """End cleanly."""
        ...


class Store(StateReader, Protocol):
    """The state of one organisation. One process writes; every method is one transaction, usable from any thread.

    The first `commit` with an organisation pins it; from then on another one is refused. What was committed before
    belongs to the one that is pinned. Every method raises StoreError; see there for when to go on.
    """

    @property
    def recovered_from(self) -> str | None:
        """What happened to the state before this start, in one sentence; None when it is as it was left."""
        ...

    @property
    def refuge(self) -> str | None:
        """Why the state is kept in memory only, in one sentence; None while it is kept where it belongs."""
        ...

    def take_refuge(self, why: str) -> None:
        """Keep the state in memory from now on: all goes on as before, and a kill forgets what was written since.

        For a state that can be read and not be written. A store may begin like this. Nothing happens when it is so.
        """
        ...

    def go_home(self, now: datetime) -> None:
        """Leave the refuge: write all that happened there, in one transaction. Nothing happens outside a refuge.

        Raises StoreError; when that is transient the state is in the refuge still, and `refuge` says why.
        """
        ...

    def commit(self, changes: Changes) -> None:
        """Write one evaluation: cost days replaced whole, incidents, notices and deliveries together.

        Notices and deliveries never change once they are written: one with a known id is left as it is.
        Requests are added to those of their source and UTC day.
        """
        ...

    def due(self, now: datetime, busy: Iterable[str]) -> tuple[Delivery, ...]:
        """The oldest due delivery of each channel that is neither in `busy` nor held back; superseded notices left out.

        A delivery waits for an older pending one of its channel that shares an incident with it, while it is muted, and
        for its channel's breaker.
        """
        ...

    def next_due(self) -> datetime | None:
        """When the earliest pending delivery may be tried; None when there is none.

        Channels with an attempt under way do not count: they are looked at again when it is settled.
        """
        ...

    def begin_attempt(self, delivery: str, now: datetime) -> None:
        """Record, before anything is sent, that an attempt is under way. Only a pending delivery can be attempted."""
        ...

    def settle(
        self,
        delivery: str,
        receipt: Receipt,
        now: datetime,
        *,
        state: DeliveryState,
        next_attempt_at: datetime | None = None,
        hold_channel_until: datetime | None = None,
        face: Face | None = None,
        incident: str = "",
        breaker: Breaker | None = None,
    ) -> None:
        """Record what became of the attempt under way, and when the next one is, if there is one.

        `breaker` is the channel's from now on; when an open one is closed, all that waits in the channel may go.
        `incident`: the only one that the message was about; the receipt's memo becomes its `thread` in that channel,
        and a delivery without a memo ends the thread that there was.

        A delivery that was superseded meanwhile becomes DELIVERED if it was delivered and SUPERSEDED otherwise; one
        that is delivered stays so. Without an attempt under way (its channel is no more) only the state is recorded.
        """
        ...

    def thread(self, channel: str, incident: str) -> str:
        """The memo under which the channel's next message of the incident goes on; empty when there is none."""
        ...

    def interrupted(self, now: datetime) -> int:
        """At start: close the attempts that were under way when the last process ended, as UNKNOWN. How many.

        What it had planned to poll is forgotten: nobody will.
        """
        ...

    def prune(self, now: datetime) -> None:
        """Drop what nobody needs any more and give space back: cost lines, counts of requests, what people did,
        and resolved incidents with all that belongs to them, after 400 days; attempts after 90 days.
        """
        ...

    def back_up(self, now: datetime) -> None:
        """Make today's backup unless it is there already."""
        ...


__all__ = ["DeliveryRecord", "Memory", "StateReader", "Store", "StoreError"]
