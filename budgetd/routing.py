"""Who is told: notices -> deliveries, one message a channel and evaluation; and which older ones they replace."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from budgetd.model import Delivery, Kind, Notice, Reason, Severity, Superseded, identity

# More pages than this at once would be one page too many to read.
PAGES_AT_ONCE = 5


@dataclass(frozen=True, slots=True)
class Addressed:
    """A notice and the channels that the routes and its rule name for it."""

    notice: Notice
    channels: frozenset[str]


def recipients(
    item: Addressed,
    pagers: Collection[str],
    channels: Sequence[str],
    told: frozenset[str],
    lasting: Collection[str] = (),
) -> frozenset[str]:
    """The channels that the notice goes to.

    A resolve goes to whoever may have been sent its trigger, whatever the routes say by now, and the end of a period
    only to pagers, which would stay open, and to others where an alert lasts until it is ended. What only informs
    pages nobody. A trigger that nobody is named for goes to every channel: an alert without a reader is silence.
    """
    notice = item.notice
    if notice.kind is Kind.RESOLVE:
        known = told & frozenset(channels)
        return known & {*pagers, *lasting} if notice.reason is Reason.PERIOD_OVER else known
    named = item.channels & frozenset(channels) or frozenset(channels)
    if notice.kind is Kind.INFORM and notice.severity is Severity.INFO:
        return named - frozenset(pagers)
    return named


def deliveries(
    addressed: Iterable[Addressed],
    channels: Sequence[str],
    pagers: Collection[str],
    told: Mapping[str, frozenset[str]],
    now: datetime,
    lasting: Collection[str] = (),
) -> tuple[Delivery, ...]:
    """One delivery for each channel, with all its notices; for a pager one for each notice, or one umbrella."""
    for_channel: dict[str, list[Notice]] = {}
    for item in addressed:
        known = told.get(item.notice.incident, frozenset())
        for channel in sorted(recipients(item, pagers, channels, known, lasting)):
            for_channel.setdefault(channel, []).append(item.notice)
    made: list[Delivery] = []
    for channel, notices in for_channel.items():
        if channel in pagers:
            made += [_delivery(channel, part, now, page=True) for part in _pages(notices)]
        else:
            made.append(_delivery(channel, tuple(notices), now, page=False))
    return tuple(made)


def superseded(made: Iterable[Delivery], outbox: Iterable[Delivery]) -> tuple[Superseded, ...]:
    """The notices still in the outbox that a newer one of the same incident replaces in the same channel."""
    newer = {(delivery.channel, notice.incident) for delivery in made for notice in delivery.notices}
    return tuple(
        Superseded(delivery.id, notice.id)
        for delivery in outbox
        for notice in delivery.notices
        if (delivery.channel, notice.incident) in newer
    )


def _pages(notices: Sequence[Notice]) -> list[tuple[Notice, ...]]:
    triggers = tuple(notice for notice in notices if notice.kind is not Kind.RESOLVE)
    single = [(notice,) for notice in notices if notice.kind is Kind.RESOLVE]
    if len(triggers) > PAGES_AT_ONCE:
        return [triggers, *single]
    return [*((notice,) for notice in triggers), *single]


def _delivery(channel: str, notices: tuple[Notice, ...], now: datetime, *, page: bool) -> Delivery:
    return Delivery(
        id=identity("dlv", channel, *(notice.id for notice in notices)),
        channel=channel,
        notices=notices,
        created_at=now,
        next_attempt_at=now,
        page=page,
    )
