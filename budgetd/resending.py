"""What fires is told again to channels that forget, and so for a while is its end; nobody hears of it.

It is made anew of the state each time: nothing is queued, so nothing can be lost, doubled or told too late.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from budgetd.message import Message
from budgetd.model import Incident, Kind, Notice, Outcome, Receipt, Severity, State
from budgetd.store import Memory, StateReader

log = logging.getLogger("budgetd")

# As long as Prometheus repeats that an alert is resolved.
END_REPEATED = timedelta(minutes=15)
# Seconds that one repetition may take: a message that is due waits for it.
DEADLINE = 10.0
_PREFIX = "again/"


def standing(
    channel: str, memory: Memory, notices: Callable[[str], Sequence[Notice]], now: datetime
) -> tuple[Notice, ...]:
    """The notices that say how everything stands that the channel was told of. Pure, but for what `notices` reads.

    What is still on its way to the channel says the same, so it matters not which of the two comes first.
    """
    found: list[Notice] = []
    for incident in memory.incidents.values():
        # What has not changed for so long has not ended since either, and need not be looked up.
        if channel in memory.told.get(incident.id, ()) and (_is_open(incident) or _is_recent(incident.changed_at, now)):
            found += _of(incident, notices(incident.id), now)
    return tuple(found)


def _is_open(incident: Incident) -> bool:
    return incident.state is not State.RESOLVED


def _is_recent(when: datetime, now: datetime) -> bool:
    return now - when < END_REPEATED


def _of(incident: Incident, notices: Sequence[Notice], now: datetime) -> Iterable[Notice]:
    """What was triggered since it last opened; or how it ended, when that is not long ago."""
    if _is_open(incident):
        return [each for each in notices if each.kind is Kind.TRIGGER and each.created_at >= incident.opened_at]
    ends = [notice for notice in notices if notice.kind is Kind.RESOLVE]
    return [end for end in ends[-1:] if _is_recent(end.created_at, now)]


def message(channel: str, notices: Sequence[Notice]) -> Message:
    """The notices as a message without words of its own."""
    severity = max((notice.severity for notice in notices), key=lambda each: each.rank, default=Severity.INFO)
    return Message(f"{_PREFIX}{channel}", "", "", severity, Kind.INFORM, {}, notices=tuple(notices), again=True)


class Resending:
    """When each channel that forgets is told again, and what came of it.

    `every`: how often each of them is. `busy`: the channels that have something under way.
    """

    def __init__(self) -> None:
        self._next: dict[str, datetime] = {}
        self._failing: set[str] = set()
        self.under_way: set[str] = set()
        """The channels that are being told again."""

    def due(
        self, state: StateReader, every: Mapping[str, timedelta], busy: Collection[str], now: datetime
    ) -> list[tuple[str, Message]]:
        """What is to be said now, to channels that have nothing else to do. Raises StoreError."""
        channels = [name for name in every if name not in busy and self._is_due(name, every[name], now)]
        if not channels:
            return []
        memory = state.recall()
        said = {channel: standing(channel, memory, state.notices, now) for channel in channels}
        self._next.update((channel, now + every[channel]) for channel in channels)
        self.under_way |= {channel for channel, notices in said.items() if notices}
        return [(channel, message(channel, notices)) for channel, notices in said.items() if notices]

    def next_due(self, every: Collection[str], busy: Collection[str]) -> datetime | None:
        """When the next channel is told again; None when there is none, or all of them are busy."""
        return min((at for name, at in self._next.items() if name in every and name not in busy), default=None)

    def _is_due(self, channel: str, every: timedelta, now: datetime) -> bool:
        at = self._next.get(channel)
        # What lies further ahead was planned by a clock that has since been set back.
        return at is None or at <= now or at > now + every

    def settle(self, delivery: str, receipt: Receipt, *, late: bool = False) -> bool:
        """Take note of the answer, if it is to a repetition. A failure is only a line in the log: the next one comes.

        `late`: it was given up before, and another may be under way.
        """
        if not delivery.startswith(_PREFIX):
            return False
        if late:
            return True
        channel = delivery.removeprefix(_PREFIX)
        self.under_way.discard(channel)
        if receipt.outcome is Outcome.DELIVERED:
            if channel in self._failing:
                log.info("channel %s is told again what is firing", channel)
            self._failing.discard(channel)
        elif channel not in self._failing:
            log.warning("channel %s could not be told again what is firing: %s", channel, receipt.detail)
            self._failing.add(channel)
        return True
