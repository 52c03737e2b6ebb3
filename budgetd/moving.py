"""Channels that are gone from the rules file, or lead elsewhere, while what they were told of is still open.

A reload keeps the old way out under a name of its own, for the ends that are owed there; what was not delivered yet
goes to the new one. Addresses hold secrets and are never written down: a new process only knows that one is another,
and has people told what may stay open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime

from budgetd.evaluation import Evaluator
from budgetd.model import Changes, Destination, Label, Moved, Reason, Severity, State, identity
from budgetd.routing import present_name, retired_name
from budgetd.rulebook import Channel, Rulebook
from budgetd.store import Memory, Store
from budgetd.wording import title

# So many titles are named to people.
MOST_NAMED = 5


def fingerprint(channel: Channel) -> str:
    """Tells one address from another, and says nearly nothing about either: 16 bits, in hexadecimal."""
    return hashlib.blake2b(channel.url.encode(), digest_size=2).hexdigest()


def destinations(rulebook: Rulebook) -> tuple[Destination, ...]:
    """Where the ways out lead, as it is kept."""
    return tuple(Destination(name, fingerprint(each), each.page) for name, each in rulebook.destinations.items())


# --- at a reload -------------------------------------------------------------------------------


def change_over(store: Store, old: Rulebook, new: Rulebook, now: datetime) -> tuple[Rulebook, tuple[Moved, ...]]:
    """`new` with the ways out that are still owed something, and what moved, which is kept. Raises StoreError.

    To be done before the new rules are evaluated: what ends by them must end where it was told.
    """
    rulebook, moved = _successor(old, new, store.recall(), now)
    store.commit(Changes(at=now, moved=moved, destinations=destinations(rulebook)))
    return rulebook, moved


def _successor(old: Rulebook, new: Rulebook, memory: Memory, now: datetime) -> tuple[Rulebook, tuple[Moved, ...]]:
    used, moved, retired = _in_use(memory), list[Moved](), dict[str, Channel]()
    names = {channel.url: name for name, channel in reversed(list(new.channels.items()))}
    for name, channel in old.destinations.items():
        present, twin = new.channels.get(name), names.get(channel.url)
        if present is not None and present.url == channel.url:
            continue
        if twin is not None:
            moved.append(Moved(name, twin, whole=present is None))
        elif name not in used:
            moved.append(Moved(name, name))
        elif name in old.retired:
            retired[name] = channel
        else:
            moved.append(Moved(name, retired_name(name, now)))
            retired[moved[-1].to] = replace(channel, name=moved[-1].to, fallback=())
    return replace(new, retired=retired), tuple(moved)


def _in_use(memory: Memory) -> frozenset[str]:
    """The channels with messages that wait, or that were told of what is open."""
    told = (channels for incident, channels in memory.told.items() if incident in _open(memory))
    return frozenset(delivery.channel for delivery in memory.outbox).union(*told)


def _open(memory: Memory) -> frozenset[str]:
    return frozenset(each.id for each in memory.incidents.values() if each.state is not State.RESOLVED)


# --- at a start --------------------------------------------------------------------------------


def take_up(store: Store, evaluator: Evaluator, now: datetime) -> None:
    """Note where the channels lead now. What is owed to an address that no channel has any more goes to the channel's
    present one, and people are told of pages that may stay open there. Raises StoreError.
    """
    before, present = store.destinations(), destinations(evaluator.rulebook)
    moved, lost = _since(before, present)
    if lost:
        _tell(store, evaluator, [each.channel for each in lost if each.page], now)
    if before != present:
        store.commit(Changes(at=now, moved=moved, destinations=present))


def _since(
    before: Iterable[Destination], present: Collection[Destination]
) -> tuple[tuple[Moved, ...], tuple[Destination, ...]]:
    """What moved, and which of the old addresses are known no more."""
    now, moved, lost = {each.channel: each for each in present}, list[Moved](), list[Destination]()
    names = {each.fingerprint: each.channel for each in reversed(list(present))}
    for each in before:
        own, twin, base = now.get(each.channel), names.get(each.fingerprint), present_name(each.channel)
        if own is not None and own.fingerprint == each.fingerprint:
            continue
        if twin is not None:
            moved.append(Moved(each.channel, twin, whole=own is None))
            continue
        lost.append(each)
        to = base if base in now else each.channel
        moved.append(Moved(each.channel, to, whole=to != each.channel))
    return tuple(moved), tuple(lost)


def _tell(store: Store, evaluator: Evaluator, pagers: Collection[str], now: datetime) -> None:
    """What may stay open at addresses that wake somebody: it would do so until somebody closes it there."""
    memory = store.recall()
    for channel in sorted({present_name(name) for name in pagers}):
        names = {name for name in pagers if present_name(name) == channel}
        left = sorted(each for each in _open(memory) if not names.isdisjoint(memory.told.get(each, ())))
        if left:
            about = Label("channel", identity("moved", channel, *left), channel)
            evaluator.tell(about, Reason.CHANNEL_MOVED, Severity.WARNING, _words(channel, _titles(store, left)), now)


def _titles(store: Store, incidents: Iterable[str]) -> list[str]:
    told = (store.notices(incident) for incident in incidents)
    return [title(notices[-1]) for notices in told if notices]


def _words(channel: str, titles: list[str]) -> str:
    more = f"\nand {len(titles) - MOST_NAMED:,} more" if len(titles) > MOST_NAMED else ""
    listed = "\n".join(f"- {each}" for each in titles[:MOST_NAMED])
    return f"Channel {channel} led elsewhere when these were sent, and budgetd cannot end them there:\n{listed}{more}"
