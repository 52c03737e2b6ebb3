"""What must survive: the port that the daemon keeps its state behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from budgetd.model import (
    Attempt,
    Changes,
    CostDay,
    Delivery,
    DeliveryState,
    Face,
    Health,
    Incident,
    Notice,
    Organisation,
    Outcome,
    Receipt,
    RuleState,
    Workspace,
)


class StoreError(Exception):
    """The state cannot be used; the message says what is wrong and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Memory:
    """All that one evaluation needs to know of the past; cost lines are read apart.

    `told`: the channels that were sent, or may have been sent, a trigger of the incident.
    `outbox`: the deliveries that are still pending.
    """

    organisation: Organisation | None
    workspaces: Mapping[str, Workspace]
    through: datetime | None
    incidents: Mapping[str, Incident]
    rules: Mapping[str, RuleState]
    health: Mapping[str, Health]
    outbox: tuple[Delivery, ...]
    told: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A delivery with all its attempts, for people to read."""

    delivery: Delivery
    attempts: tuple[Attempt, ...]


class Store(Protocol):
    """The state of one organisation. One process writes; every method is one transaction.

    All reads and writes are of the organisation that is pinned; before the first `commit` with an organisation
    there is none, and reads are empty. Raises StoreError, after which the instance must not be used again.
    """

    def recall(self) -> Memory:
        """Everything but the cost lines. Incidents: those not resolved, and those whose period ended in the last 70 days."""
        ...

    def known_days(self) -> frozenset[date]:
        """The UTC days whose cost lines are kept."""
        ...

    def cost_days(self, start: date, end: date) -> Iterator[CostDay]:
        """The kept days in [start, end), oldest first."""
        ...

    def commit(self, changes: Changes) -> None:
        """Write one evaluation: cost days replaced whole, incidents, notices and deliveries together."""
        ...

    def due(self, now: datetime, busy: Iterable[str]) -> tuple[Delivery, ...]:
        """The oldest due pending delivery of each channel that is neither in `busy` nor held back; superseded notices left out."""
        ...

    def next_due(self) -> datetime | None:
        """When the earliest pending delivery may be tried; None when the outbox is empty."""
        ...

    def begin_attempt(self, delivery: str, now: datetime) -> None:
        """Record, before anything is sent, that an attempt is under way."""
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
    ) -> None:
        """Record what became of the attempt under way, and when the next one is, if there is one.

        A delivery that was superseded meanwhile becomes DELIVERED if it was delivered and stays SUPERSEDED otherwise.
        """
        ...

    def interrupted(self, now: datetime) -> int:
        """At start: close the attempts that were under way when the last process ended, as UNKNOWN. How many there were."""
        ...

    def incidents(self) -> tuple[Incident, ...]:
        """Every kept incident, the last changed first."""
        ...

    def notices(self, incident: str) -> tuple[Notice, ...]:
        """An incident's notices in the order of their sequence."""
        ...

    def deliveries(self, notice: str | None = None, limit: int = 100) -> tuple[DeliveryRecord, ...]:
        """The deliveries that carry the notice (None: all), the newest first."""
        ...

    def prune(self, now: datetime) -> None:
        """Drop what nobody needs any more (retention) and give the space back."""
        ...

    def back_up(self, now: datetime) -> None:
        """Make today's backup unless it is there already."""
        ...

    def close(self) -> None:
        """End cleanly."""
        ...


__all__ = ["DeliveryRecord", "Memory", "Outcome", "Store", "StoreError"]
