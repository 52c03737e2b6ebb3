"""Who is told: notices -> deliveries, one message a channel and evaluation; and which older ones they replace."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from budgetd.model import Delivery, Face, Kind, Notice, Reason, Severity, Superseded, identity
from budgetd.mutes import Mute

# More pages than this at once would be one page too many to read.
PAGES_AT_ONCE = 5
# More would not be told to machines: a webhook's body lists so many.
MOST_TOGETHER = 100
# What is later than this is told with what waited beside it.
OVERDUE_AFTER = timedelta(minutes=30)
_DOUBT = "Some of it may have arrived before."
_ENDS = (Kind.RESOLVE, Kind.ACKNOWLEDGE)


# What no channel's name in a rules file can hold.
_RETIRED = "~"


def retired_name(channel: str, now: datetime) -> str:
    """What a channel's way out is called that is not in the rules file any more, from now on."""
    return f"{retired_prefix(channel)}{now:%Y%m%dT%H%M%SZ}"


def retired_prefix(channel: str) -> str:
    """What the names of a channel's old addresses begin with."""
    return f"{channel}{_RETIRED}"


def present_name(channel: str) -> str:
    """The name of a channel in the rules file, also of a retired one."""
    return channel.partition(_RETIRED)[0]


def retired_at(channel: str) -> datetime | None:
    """Since when the channel is retired; None: it is not."""
    _, _, when = channel.partition(_RETIRED)
    return datetime.strptime(when, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) if when else None


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
    retired: Collection[str] = (),
) -> frozenset[str]:
    """The channels that the notice goes to.

    A resolve, or that somebody has it, goes to whoever may have been sent its trigger, whatever the routes say by now,
    also to what is `retired`;
    the end of a period only to pagers, which would stay open, and to others where an alert lasts until it is ended.
    What only informs pages nobody. A trigger that nobody is named for goes to every channel: an alert without a reader
    is silence.
    """
    notice = item.notice
    if notice.kind in _ENDS:
        known = told & frozenset((*channels, *retired))
        return known & {*pagers, *lasting} if notice.reason is Reason.PERIOD_OVER else known
    named = item.channels & frozenset(channels) or frozenset(channels)
    return named - frozenset(pagers) if only_informs(notice) else named


def only_informs(notice: Notice) -> bool:
    """Whether nobody is woken for it."""
    return notice.kind is Kind.INFORM and notice.severity is Severity.INFO


def deliveries(
    addressed: Iterable[Addressed],
    channels: Sequence[str],
    pagers: Collection[str],
    told: Mapping[str, frozenset[str]],
    now: datetime,
    lasting: Collection[str] = (),
    retired: Collection[str] = (),
    mute: Callable[[Notice, str], Mute | None] = _never,
) -> tuple[Delivery, ...]:
    """One delivery for each channel, with all its notices; for a pager one for each notice, or one umbrella.

    What `mute` keeps back in a channel is a message of its own there.
    """
    together: dict[tuple[str, Mute | None], list[Notice]] = {}
    for item in addressed:
        known = told.get(item.notice.incident, frozenset())
        for channel in sorted(recipients(item, pagers, channels, known, lasting, retired)):
            together.setdefault((channel, mute(item.notice, channel)), []).append(item.notice)
    made: list[Delivery] = []
    for (channel, muted), notices in together.items():
        page = channel in pagers
        parts = pages(notices) if page else [tuple(notices)]
        made += [_delivery(channel, part, now, muted, page=page) for part in parts]
    return tuple(made)


def superseded(made: Iterable[Delivery], outbox: Iterable[Delivery]) -> tuple[Superseded, ...]:
    """The notices still in the outbox that a newer one of the same incident replaces in the same channel.

    That somebody has it replaces nothing: who does not know what it is about would hear of nothing else.
    """
    newer = {
        (delivery.channel, notice.incident)
        for delivery in made
        for notice in delivery.notices
        if notice.kind is not Kind.ACKNOWLEDGE
    }
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


def has_waited(delivery: Delivery, now: datetime) -> bool:
    """Whether it was kept back, or could not be delivered for long, and may go now."""
    looks_back = any(notice.facts.digest is not None for notice in delivery.notices)
    return delivery.wanted_at <= now and not looks_back and (_was_held(delivery) or _is_overdue(delivery, now))


def _was_held(delivery: Delivery) -> bool:
    return bool(delivery.muted_by) and not delivery.attempts and not delivery.page


def _is_overdue(delivery: Delivery, now: datetime) -> bool:
    # What was not accepted as it was would spoil it for the others.
    return now - delivery.wanted_at >= OVERDUE_AFTER and delivery.face is Face.RICH


def gathered(
    outbox: Iterable[Delivery], first: Delivery, now: datetime, *, failing: bool = False
) -> tuple[Delivery, tuple[Superseded, ...]]:
    """`first` in one message with all that waited in its channel as it did; what is not sent by itself any more.

    A channel that is `failing` gets what is overdue one by one, until one is taken: that tells sooner that it is back.
    A pager gets each by itself, unless they are too many to read.
    """
    held = _was_held(first)
    if failing and not held:
        return first, ()
    outbox = tuple(outbox)
    together = [each for each in outbox if has_waited(each, now) and _is_like(each, first, held=held)]
    # One is added at a time, so that a machine is told of all of them.
    together = _in_order(_up_to(together, MOST_TOGETHER), outbox)
    if len(together) < 2 or first not in together or (first.page and len(together) <= PAGES_AT_ONCE):
        return first, ()
    notices = _by_story({notice.id: notice for each in together for notice in each.notices}.values())
    whole = Delivery(
        id=identity("dlv", first.channel, "held" if held else "overdue", *(each.id for each in together)),
        channel=first.channel,
        notices=notices,
        # Of the newest: what is old already is not given up for it.
        created_at=max(each.created_at for each in together),
        next_attempt_at=now,
        page=first.page,
        because=" and ".join(dict.fromkeys(each.because for each in together if each.because)),
        muted_until=max(each.wanted_at for each in together) if held else None,
        muted_by=" and ".join(dict.fromkeys(each.muted_by for each in together)) if held else "",
        gathered="" if held else _why_together(together),
    )
    return whole, tuple(Superseded(each.id, notice.id) for each in together for notice in each.notices)


def _why_together(together: Iterable[Delivery]) -> str:
    doubt = f" {_DOUBT}" if any(each.in_doubt or _DOUBT in each.gathered for each in together) else ""
    return f"The channel took nothing for a while; this is what waited for it.{doubt}"


def _is_like(delivery: Delivery, first: Delivery, *, held: bool) -> bool:
    """Whether the two waited in the same way. A page that may have arrived keeps its own key; so does an end."""
    if (delivery.channel, delivery.page, bool(delivery.because)) != (first.channel, first.page, bool(first.because)):
        return False
    if delivery.page and (delivery.in_doubt or any(notice.kind in _ENDS for notice in delivery.notices)):
        return False
    return _was_held(delivery) if held else not _was_held(delivery)


def bundles(deliveries: Sequence[Delivery]) -> Iterator[list[Delivery]]:
    """The deliveries in as few messages as machines can be told of all of them in."""
    rest = deliveries
    while rest:
        bundle = _up_to(rest, MOST_TOGETHER)
        yield bundle
        rest = rest[len(bundle) :]


def _up_to(deliveries: Sequence[Delivery], most: int) -> list[Delivery]:
    """The first of them, with so many notices at most."""
    kept, count = list[Delivery](), 0
    for delivery in deliveries:
        count += len(delivery.notices)
        if kept and count > most:
            break
        kept.append(delivery)
    return kept


def _in_order(together: list[Delivery], outbox: Sequence[Delivery]) -> list[Delivery]:
    """Without what comes after something of the same incident that waits there for longer still."""
    channels, known = {each.channel for each in together}, {each.id for each in together}
    others = (each for each in outbox if each.channel in channels and each.id not in known)
    waits: dict[str, int] = {}
    for notice in (notice for each in others for notice in each.notices):
        waits[notice.incident] = min(notice.sequence, waits.get(notice.incident, notice.sequence))
    free = [
        each
        for each in together
        if all(notice.sequence <= waits.get(notice.incident, notice.sequence) for notice in each.notices)
    ]
    return free if len(free) == len(together) else _in_order(free, outbox)


def _by_story(notices: Collection[Notice]) -> tuple[Notice, ...]:
    """Incident by incident, as they came, each in the order of its story."""
    place: dict[str, int] = {}
    for notice in notices:
        place.setdefault(notice.incident, len(place))
    return tuple(sorted(notices, key=lambda notice: (place[notice.incident], notice.sequence)))


def pages(notices: Sequence[Notice]) -> list[tuple[Notice, ...]]:
    """The notices as a pager gets them: each by itself, or an umbrella over too many; an end is always its own."""
    triggers = tuple(notice for notice in notices if notice.kind not in _ENDS)
    single = [(notice,) for notice in notices if notice.kind in _ENDS]
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
