"""What a fallback is told of what its channels have not taken: each notice once, and nothing overtaken. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from budgetd import routing
from budgetd.model import Delivery, Kind, Notice, Reason, Said, Superseded, identity


@dataclass(frozen=True, slots=True)
class Late:
    """A delivery that its channel has not taken, and what the channel said last."""

    delivery: Delivery
    why: str

    @property
    def because(self) -> str:
        """Why the fallback gets it."""
        return f"{self.delivery.channel} has not taken it: {self.why}"


@dataclass(frozen=True)
class Fallback:
    """A channel that others fall back to, and what it knows of the incidents in question.

    `said`: each one's notices in the order of their sequence. `kept_back`: the notices that wait there for a silence or
    quiet time to end.
    """

    channel: str
    page: bool
    said: Mapping[str, Sequence[Said]]
    kept_back: Collection[str]

    def deliveries(self, late: Iterable[Late], now: datetime) -> Iterator[Delivery]:
        """What it needs to be told of, in one message for all that it gets for one reason; a pager as ever.

        No two of these can wait for one another, as each waits for nothing: what is older of its incidents is overtaken
        there, and who has one of them, which replaces nothing and so may have to wait, goes by itself.
        """
        together: dict[tuple[str, ...], dict[str, tuple[Delivery, list[Notice]]]] = {}
        for notice, each in self._lacking(late):
            alone = (notice.id,) if notice.kind is Kind.ACKNOWLEDGE else ()
            same = together.setdefault((each.because, *alone), {})
            same.setdefault(each.delivery.id, (each.delivery, []))[1].append(notice)
        for (because, *_), same in together.items():
            lacking = [replace(delivery, notices=tuple(notices)) for delivery, notices in same.values()]
            for bundle in routing.bundles(lacking):
                yield from self._told(bundle, because, now)

    def _told(self, bundle: Sequence[Delivery], because: str, now: datetime) -> Iterator[Delivery]:
        notices = [notice for delivery in bundle for notice in delivery.notices]
        for part in routing.pages(notices) if self.page else [tuple(notices)]:
            known_by = (*(each.id for each in bundle), "instead", self.channel, *(notice.id for notice in part))
            yield Delivery(identity("dlv", *known_by), self.channel, part, now, now, page=self.page, because=because)

    def _lacking(self, late: Iterable[Late]) -> list[tuple[Notice, Late]]:
        """What it was not told of before, without what something newer among it replaces."""
        found: dict[str, tuple[Notice, Late]] = {}
        for each in late:
            for notice in each.delivery.notices:
                if self._lacks(notice):
                    found.setdefault(notice.id, (notice, each))
        newest = _newest(notice for notice, _ in found.values())
        return [(notice, each) for notice, each in found.values() if notice.sequence >= newest.get(notice.incident, 0)]

    def _lacks(self, notice: Notice) -> bool:
        """Whether it needs to be told of it. What only informs pages nobody, here as anywhere.

        What is kept back there waits, but what came with it does not wait for that, too. Of its own alerts it hears
        twice, as others should have known of them; but not that a channel takes nothing.
        """
        if (self.page and routing.only_informs(notice)) or notice.id in self.kept_back:
            return False
        before = [each for each in self.said.get(notice.incident, ()) if each.notice == notice.id]
        had = any(each.instead or (each.made and notice.reason is Reason.UNDELIVERABLE) for each in before)
        return not had and not self._is_overtaken(notice)

    def _is_overtaken(self, notice: Notice) -> bool:
        """Whether it was to be told something newer of the incident, or would be woken for what is over.

        An end that has gone to a pager already, or goes to none any more, would leave that page open for ever. Who has
        it is nothing newer before it has left.
        """
        later = [each for each in self.said.get(notice.incident, ()) if each.sequence > notice.sequence]
        over = bool(later) and later[-1].kind is Kind.RESOLVE
        wakes = notice.kind is Kind.TRIGGER and self.page
        return (over and wakes) or any(each.left or (each.made and each.kind is not Kind.ACKNOWLEDGE) for each in later)


def overtaken(made: Iterable[Delivery], outbox: Iterable[Delivery]) -> tuple[Superseded, ...]:
    """What waits in the fallbacks already, and would come after what is newer of the same incident."""
    newest = {
        channel: _newest(notice for each in made if each.channel == channel for notice in each.notices)
        for channel in {each.channel for each in made}
    }
    return tuple(
        Superseded(each.id, notice.id)
        for each in outbox
        for notice in each.notices
        if notice.sequence < newest.get(each.channel, {}).get(notice.incident, 0)
    )


def _newest(notices: Iterable[Notice]) -> dict[str, int]:
    """Each incident's newest sequence. That somebody has it replaces nothing, here as anywhere."""
    newest: dict[str, int] = {}
    for notice in notices:
        if notice.kind is not Kind.ACKNOWLEDGE:
            newest[notice.incident] = max(notice.sequence, newest.get(notice.incident, 0))
    return newest
