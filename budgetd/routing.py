"""Who is told: notices -> deliveries, one message a channel and evaluation; and which older ones they replace."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from budgetd.model import Delivery, Kind, Notice, Reason, Severity, Superseded, identity
from budgetd.mutes import Mute

# More pages than this at once would be one page too many to read.
PAGES_AT_ONCE = 5


@dataclass(frozen=True, slots=True)
class Addressed:
    """A notice and the channels that the routes and its rule name for it."""

    notice: Notice
    channels: frozenset[str]


def _never(_notice: Notice, _channel: str) -> Mute | None:
    return None


def recipients(
    item: Addressed,
    pagers: Collection[str],
    channels: Sequence[str],
    told: frozenset[str],
    lasting: Collection[str] = (),
) -> frozenset[str]:
    """The channels that the notice goes to.

    A resolve, or that somebody has it, goes to whoever may have been sent its trigger, whatever the routes say by now;
    the end of a period only to pagers, which would stay open, and to others where an alert lasts until it is ended.
    What only informs pages nobody. A trigger that nobody is named for goes to every channel: an alert without a reader
    is silence.
    """
    notice = item.notice
    if notice.kind in (Kind.RESOLVE, Kind.ACKNOWLEDGE):
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
    mute: Callable[[Notice, str], Mute | None] = _never,
) -> tuple[Delivery, ...]:
    """One delivery for each channel, with all its notices; for a pager one for each notice, or one umbrella.

    What `mute` keeps back in a channel is a message of its own there.
    """
    together: dict[tuple[str, Mute | None], list[Notice]] = {}
    for item in addressed:
        known = told.get(item.notice.incident, frozenset())
        for channel in sorted(recipients(item, pagers, channels, known, lasting)):
            together.setdefault((channel, mute(item.notice, channel)), []).append(item.notice)
    made: list[Delivery] = []
    for (channel, muted), notices in together.items():
        page = channel in pagers
        parts = _pages(notices) if page else [tuple(notices)]
        made += [_delivery(channel, part, now, muted, page=page) for part in parts]
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


def ended_unheard(made: Iterable[Notice], outbox: Iterable[Delivery]) -> tuple[Superseded, ...]:
    """What is kept back still, of incidents that end now: it was never told, and is not so any more.

    That a limit was reached in a period that is over stays worth telling, but nobody need be woken for it.
    """
    ended = {notice.incident: notice.reason for notice in made if notice.kind is Kind.RESOLVE}
    return tuple(
        Superseded(delivery.id, notice.id)
        for delivery in outbox
        if delivery.muted_by and not delivery.attempts
        for notice in delivery.notices
        if notice.incident in ended and (delivery.page or ended[notice.incident] is not Reason.PERIOD_OVER)
    )


def gathered(outbox: Iterable[Delivery], first: Delivery, now: datetime) -> tuple[Delivery, tuple[Superseded, ...]]:
    """`first`, which was kept back, in one message with all that was kept back in its channel and may go now.

    What is not sent by itself any more is superseded; nothing when it is the only one. A pager gets each by itself.
    """
    together = [each for each in outbox if each.channel == first.channel and _was_held(each, now)]
    if not _was_held(first, now) or len(together) < 2:
        return first, ()
    notices = {notice.id: notice for each in together for notice in each.notices}
    whole = Delivery(
        id=identity("dlv", first.channel, "held", *(each.id for each in together)),
        channel=first.channel,
        notices=tuple(notices.values()),
        created_at=min(each.created_at for each in together),
        next_attempt_at=now,
        muted_until=max(each.wanted_at for each in together),
        muted_by=" and ".join(dict.fromkeys(each.muted_by for each in together)),
    )
    return whole, tuple(Superseded(each.id, notice.id) for each in together for notice in each.notices)


def _was_held(delivery: Delivery, now: datetime) -> bool:
    untried = not (delivery.attempts or delivery.page or delivery.because)
    return bool(delivery.muted_by) and untried and delivery.wanted_at <= now


def _pages(notices: Sequence[Notice]) -> list[tuple[Notice, ...]]:
    ends = (Kind.RESOLVE, Kind.ACKNOWLEDGE)
    triggers = tuple(notice for notice in notices if notice.kind not in ends)
    single = [(notice,) for notice in notices if notice.kind in ends]
    if len(triggers) > PAGES_AT_ONCE:
        return [triggers, *single]
    return [*((notice,) for notice in triggers), *single]


def _delivery(channel: str, notices: tuple[Notice, ...], now: datetime, muted: Mute | None, *, page: bool) -> Delivery:
    return Delivery(
        id=identity("dlv", channel, *(notice.id for notice in notices)),
        channel=channel,
        notices=notices,
        created_at=now,
        next_attempt_at=now,
        page=page,
        muted_until=muted.until if muted is not None else None,
        muted_by=muted.by if muted is not None else "",
    )
