"""Whatever is told, gathered, handed over and refused: each story leaves in its order, and nothing waits for ever."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budgetd import fallback, routing
from budgetd.fallback import Fallback, Late
from budgetd.model import Changes, Delivery, DeliveryState, Kind, Muted, Notice, Outcome, Receipt
from budgetd.stores.sqlite import SqliteStore, open_store
from tests.store_contract import NOW, a_delivery, a_notice

CHANNELS = ("audit", "finance", "team")
INCIDENTS = ("inc_1", "inc_2", "inc_3")
HOUR = timedelta(hours=1)
LATER = NOW + 1_000 * HOUR

Step = Callable[["Channels"], None]


class Channels:
    """Three channels that fall back to one another, and an outbox that they share."""

    def __init__(self, store: SqliteStore) -> None:
        self.store, self.now = store, NOW
        self.sequences = dict.fromkeys(INCIDENTS, 0)
        self.told: dict[tuple[str, str], int] = {}

    @property
    def outbox(self) -> tuple[Delivery, ...]:
        return self.store.recall().outbox

    def _next(self, incident: str, kind: Kind) -> Notice:
        self.sequences[incident] += 1
        number = self.sequences[incident]
        return a_notice(f"ntc_{incident}_{number}", incident, kind, number)

    def say(self, incidents: frozenset[str], channels: frozenset[str], ahead: int, *, muted: bool) -> None:
        """What is new of some incidents, in one message a channel; by a clock that may be ahead."""
        notices = [self._next(incident, Kind.TRIGGER) for incident in sorted(incidents)]
        made = [
            a_delivery(f"dlv_{channel}_{notices[0].id}", *notices, channel=channel, at=self.now + ahead * HOUR)
            for channel in sorted(channels)
        ]
        if muted:
            made = [replace(each, muted_until=LATER, muted_by="a silence") for each in made]
        self._commit(made, routing.superseded(made, self.outbox))

    def acknowledge(self, incident: str) -> None:
        if self.sequences[incident]:
            who = self._next(incident, Kind.ACKNOWLEDGE)
            self._commit([a_delivery(f"dlv_{each}_{who.id}", who, channel=each, at=self.now) for each in CHANNELS])

    def hand_over(self, channel: str, to: str) -> None:
        """All that waits in a channel goes to another one."""
        outbox = self.outbox
        late = [Late(each, "HTTP 503") for each in outbox if each.channel == channel and not each.because]
        incidents = {notice.incident for each in late for notice in each.delivery.notices}
        kept_back = {notice.id for each in outbox if each.channel == to and each.muted_by for notice in each.notices}
        instead = Fallback(to, page=False, said=self.store.said(to, incidents), kept_back=kept_back)
        made = [] if channel == to else list(instead.deliveries(late, self.now))
        self._commit(made, fallback.overtaken(made, outbox))

    def try_one(self, channel: str, *, taken: bool) -> None:
        """The channel's next message, with all that waited beside it."""
        for first in self._due():
            if first.channel == channel:
                self._leave(first, taken=taken)

    def end(self) -> None:
        """Every silence ends, and every channel takes what it is sent."""
        self.now = LATER
        held = [Muted(each.id, self.now, each.muted_by) for each in self.outbox if each.muted_by]
        self.store.commit(Changes(self.now, muted=tuple(held)))
        while self.outbox:
            ready = self._due()
            assert ready, f"each waits for another one: {[(each.id, each.notices) for each in self.outbox]}"
            for first in ready:
                self._leave(first, taken=True)

    def _due(self) -> tuple[Delivery, ...]:
        return self.store.due(self.now, ())

    def _leave(self, first: Delivery, *, taken: bool) -> None:
        whole = first
        if routing.has_waited(first, self.now):
            whole, parts = routing.gathered(self.outbox, first, self.now)
            if parts:
                self._commit([whole], parts)
        self.store.begin_attempt(whole.id, self.now)
        if taken:
            self.store.settle(whole.id, Receipt(Outcome.DELIVERED), self.now, state=DeliveryState.DELIVERED)
            self._judge(whole)
        else:
            receipt = Receipt(Outcome.RETRY, "HTTP 503")
            self.store.settle(whole.id, receipt, self.now, state=DeliveryState.PENDING, next_attempt_at=self.now)

    def _judge(self, taken: Delivery) -> None:
        for notice in taken.notices:
            place = (taken.channel, notice.incident)
            before = self.told.get(place, 0)
            assert notice.sequence >= before, f"{notice.id} comes to {taken.channel} after number {before}"
            self.told[place] = notice.sequence

    def _commit(self, made: list[Delivery], superseded: tuple[fallback.Superseded, ...] = ()) -> None:
        self.store.commit(Changes(self.now, deliveries=tuple(made), superseded=superseded))
        self.now += HOUR


def some(values: tuple[str, ...]) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(values), min_size=1)


def saying(incidents: frozenset[str], channels: frozenset[str], ahead: int, muted: bool) -> Step:
    return lambda world: world.say(incidents, channels, ahead, muted=muted)


STEPS = st.one_of(
    st.builds(saying, some(INCIDENTS), some(CHANNELS), st.sampled_from((0, 0, 0, 900)), st.booleans()),
    st.sampled_from(INCIDENTS).map(lambda incident: lambda world: world.acknowledge(incident)),
    st.tuples(st.sampled_from(CHANNELS), st.sampled_from(CHANNELS)).map(
        lambda pair: lambda world: world.hand_over(*pair)
    ),
    st.tuples(st.sampled_from(CHANNELS), st.booleans()).map(
        lambda one: lambda world: world.try_one(one[0], taken=one[1])
    ),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=25))
def test_each_story_leaves_in_its_order_and_all_of_it(steps: list[Step]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(open_store(Path(folder) / "budgetd.db", NOW)) as store,
    ):
        world = Channels(store)
        for step in steps:
            step(world)
        world.end()
