"""Whom notices go to and when: the routes of the rules file, who was told before, and what is kept back now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from budgetd import notices, routing
from budgetd.model import Delivery, Incident, Muted, Notice, State, Superseded
from budgetd.mutes import Item, Mute, Mutes
from budgetd.routing import Addressed, present_name
from budgetd.rulebook import Rulebook
from budgetd.scope import Naming
from budgetd.store import Memory


@dataclass(frozen=True, slots=True)
class Addressing:
    """What is known of the rules, the past, and names, at one instant."""

    rulebook: Rulebook
    memory: Memory
    naming: Naming
    now: datetime

    def deliveries(self, made: Iterable[Notice], incidents: Iterable[Incident] = ()) -> tuple[Delivery, ...]:
        """The notices on their way. `incidents`: those that are new or changed with them."""
        items = self._items(made, incidents)
        addressed = [Addressed(item.notice, self._routed(item)) for item in items]
        return self._sent(addressed, items, tuple(self.rulebook.channels))

    def alone(
        self, notice: Notice, incident: Incident, channels: Sequence[str], deaf: frozenset[str], *, everybody: bool
    ) -> tuple[Delivery, ...]:
        """The same of one notice that may go to some channels only.

        `deaf`: the channels that take nothing now; where it would only go to those, it goes to all others, too.
        `everybody`: to all channels, whatever is routed.
        """
        (item,) = self._items([notice], [incident])
        routed = self._routed(item) & frozenset(channels)
        deaf |= self.rulebook.pagers if routing.only_informs(notice) else frozenset()
        if everybody:
            routed = frozenset(channels)
        elif routed <= deaf:
            routed |= frozenset(channels) - deaf
        return self._sent([Addressed(notice, routed)], [item], channels) if channels else ()

    def superseded(self, made: Iterable[Notice], sent: Iterable[Delivery]) -> tuple[Superseded, ...]:
        """What need not leave the outbox any more, now that these were made and are on their way."""
        outbox = self.memory.outbox
        return (*routing.superseded(sent, outbox), *routing.ended_unheard(made, outbox))

    def muted(self) -> tuple[Muted, ...]:
        """How long what is in the outbox waits by now, where that changed: silences end, quiet times are edited."""
        mutes, found = self._mutes, list[Muted]()
        if not (mutes.silences or mutes.quiet or any(delivery.muted_until for delivery in self.memory.outbox)):
            return ()
        for delivery in self.memory.outbox:
            items = self._items(delivery.notices)
            mute = mutes.of_all(items, present_name(delivery.channel), page=delivery.page, now=self.now)
            waits = delivery.muted_until is not None and delivery.muted_until > self.now
            if mute is not None and (mute.until, mute.by) != (delivery.muted_until, delivery.muted_by):
                found.append(Muted(delivery.id, mute.until, mute.by))
            elif mute is None and waits:
                found.append(Muted(delivery.id, self.now, delivery.muted_by))
        return tuple(found)

    def silenced(self) -> frozenset[str]:
        """The open incidents that a silence covers, so that nobody is reminded of them."""
        mutes, rules = self._mutes, self.rulebook.by_id
        if not mutes.silences:
            return frozenset()
        return frozenset(
            incident.id
            for incident in self.memory.incidents.values()
            if incident.state is not State.RESOLVED
            and mutes.silenced(incident, notices.known_by(incident, rules.get(incident.rule), self.naming), self.now)
        )

    @property
    def _mutes(self) -> Mutes:
        return Mutes(self.memory.silences, self.rulebook.quiet)

    def _items(self, made: Iterable[Notice], incidents: Iterable[Incident] = ()) -> list[Item]:
        fresh = {incident.id: incident for incident in incidents}
        known, rules, items = self.memory.incidents, self.rulebook.by_id, list[Item]()
        for notice in made:
            incident = fresh.get(notice.incident) or known.get(notice.incident)
            labels = notices.labels(notice, rules.get(notice.facts.rule), self.naming, incident)
            items.append(Item(notice, labels, incident))
        return items

    def _routed(self, item: Item) -> frozenset[str]:
        """The channels that the routes name for the notice, and those that its rule adds."""
        named = {name for route in self.rulebook.routes if route.takes(item.labels) for name in route.notify}
        rule = self.rulebook.by_id.get(item.notice.facts.rule)
        return frozenset(named) | frozenset(rule.notify or () if rule is not None else ())

    def _sent(
        self, addressed: Iterable[Addressed], items: Iterable[Item], channels: Sequence[str]
    ) -> tuple[Delivery, ...]:
        by_notice, mutes, pagers = {item.notice.id: item for item in items}, self._mutes, self.rulebook.pagers

        def mute(notice: Notice, channel: str) -> Mute | None:
            return mutes.of(by_notice[notice.id], present_name(channel), page=channel in pagers, now=self.now)

        told, lasting, retired = self.memory.told, self.rulebook.resent, self.rulebook.retired
        return routing.deliveries(addressed, channels, pagers, told, self.now, lasting, retired, mute)
