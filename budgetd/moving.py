"""Channels that are gone from the rules file, or lead elsewhere, while what they were told of is still open.

A reload keeps the old way out under a name of its own, for the ends that are owed there; what was not delivered yet
goes to the new one. Addresses hold secrets and are never written down: a new process only knows that one is another,
and has people told what may stay open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
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
    return hashlib.blake2b(channel.url.encode(), key=channel.name.encode()[:64], digest_size=2).hexdigest()


def destinations(rulebook: Rulebook) -> tuple[Destination, ...]:
    """Where the channels of the rules file lead, as it is kept."""
    return tuple(Destination(name, fingerprint(each), each.page) for name, each in rulebook.channels.items())


# --- at a reload -------------------------------------------------------------------------------


def change_over(store: Store, old: Rulebook, new: Rulebook, now: datetime) -> tuple[Rulebook, tuple[Moved, ...]]:
    """`new` with the ways out that are still owed something, and what moved, which is kept. Raises StoreError.

    To be done before the new rules are evaluated: what ends by them must end where it was told.
    """
    rulebook, moved = _successor(old, new, store.recall(), now)
    store.commit(Changes(at=now, moved=moved, destinations=destinations(rulebook)))
    return rulebook, moved


def _successor(old: Rulebook, new: Rulebook, memory: Memory, now: datetime) -> tuple[Rulebook, tuple[Moved, ...]]:
    moved = [name for name, channel in old.channels.items() if _leads_elsewhere(channel, new)]
    used = _in_use(memory)
    renamed = [Moved(name, retired_name(name, now) if name in used else name) for name in moved]
    retired = {
        move.to: replace(old.channels[move.channel], name=move.to, fallback=())
        for move in renamed
        if move.to != move.channel
    }
    back: list[Moved] = []
    for name, channel in old.retired.items():
        present = new.channels.get(present_name(name))
        if present is not None and present.url == channel.url:
            back.append(Moved(name, present.name, whole=True))
        elif name in used:
            retired[name] = channel
    return replace(new, retired=retired), (*renamed, *back)


def _leads_elsewhere(channel: Channel, new: Rulebook) -> bool:
    present = new.channels.get(channel.name)
    return present is None or present.url != channel.url


def _in_use(memory: Memory) -> frozenset[str]:
    """The channels with messages that wait, or that were told of what is open."""
    told = (channels for incident, channels in memory.told.items() if incident in _open(memory))
    return frozenset(delivery.channel for delivery in memory.outbox).union(*told)


def _open(memory: Memory) -> frozenset[str]:
    return frozenset(each.id for each in memory.incidents.values() if each.state is not State.RESOLVED)


# --- at a start --------------------------------------------------------------------------------


def take_up(store: Store, evaluator: Evaluator, now: datetime) -> None:
    """Note where the channels lead now. What the last process kept for old addresses goes to the present ones, and
    people are told of pages that were sent to an address that is not there any more. Raises StoreError.
    """
    rulebook, memory = evaluator.rulebook, store.recall()
    before = {each.channel: each for each in store.destinations()}
    present = destinations(rulebook)
    changed = before.keys() - {each.channel for each in present if before.get(each.channel) == each}
    kept = {name for name in _in_use(memory) if present_name(name) != name}
    _tell(store, evaluator, memory, before, {*changed, *kept}, now)
    again = [Moved(name, name) for name in sorted(changed) if name in rulebook.channels]
    moves = [Moved(name, present_name(name), whole=True) for name in sorted(kept)]
    if again or moves or tuple(before.values()) != present:
        store.commit(Changes(at=now, moved=(*again, *moves), destinations=present))


def _tell(
    store: Store,
    evaluator: Evaluator,
    memory: Memory,
    before: Mapping[str, Destination],
    gone: Collection[str],
    now: datetime,
) -> None:
    """What may stay open at addresses that wake somebody: it would do so until somebody closes it there."""
    pagers = {name for name in gone if (known := before.get(present_name(name))) is not None and known.page}
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
