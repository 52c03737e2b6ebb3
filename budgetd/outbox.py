"""due -> send -> settle: the deliveries that the store holds leave through the lanes, and what came of each is kept."""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

from budgetd import breaker, own_words, resending, routing
from budgetd.backoff import Settlement, after, deadline
from budgetd.breaker import Breaker
from budgetd.channels import Sender
from budgetd.delivery import Answer, Outbound
from budgetd.evaluation import Evaluator
from budgetd.fallback import Late
from budgetd.handover import Handover
from budgetd.message import Flavour, Message, render_safely
from budgetd.model import (
    Changes,
    Delivery,
    DeliveryState,
    Kind,
    Label,
    Moved,
    Outcome,
    Reason,
    Receipt,
    Severity,
    identity,
)
from budgetd.resending import Resending
from budgetd.store import Store
from budgetd.wording import instant

log = logging.getLogger("budgetd")

REMOVED = Receipt(Outcome.GONE, "the channel is no longer in the rules file")


class Outbox:
    """Sends what is due and settles what was sent. A message is marked as delivered only after it was.

    `status_page`: the URL that messages name, if there is one.
    """

    def __init__(
        self,
        store: Store,
        evaluator: Evaluator,
        lanes: Outbound,
        flavours: Mapping[str, Flavour],
        jitter: random.Random,
        status_page: str = "",
    ) -> None:
        self._store = store
        self._evaluator = evaluator
        self._lanes = lanes
        self._flavours = flavours
        self._jitter = jitter
        self._status_page = status_page
        self._in_flight: dict[str, Delivery] = {}
        self._left_before: dict[str, Moved] = {}
        self._handover = Handover(store, evaluator)
        self._again = Resending()

    @property
    def in_flight(self) -> int:
        """How many messages have left and were not yet settled."""
        return len(self._in_flight)

    @property
    def next_fallback(self) -> datetime | None:
        """When the next message goes to a fallback, if its channel has not taken it by then."""
        return self._handover.next_at

    @property
    def next_resend(self) -> datetime | None:
        """When a channel that forgets is told again what is firing; None when there is none to tell."""
        return self._again.next_due(self._evaluator.rulebook.resent, self._busy())

    def use(
        self, senders: Mapping[str, Sender], flavours: Mapping[str, Flavour], moved: Collection[Moved] = ()
    ) -> None:
        """After a reload: send through these channels; what is in flight is settled as before.

        `moved`: the channels that lead elsewhere by now. What is in flight is on its way to where they led before.
        """
        self._lanes.replace(senders)
        self._flavours = flavours
        away = {each.channel: each for each in moved if not each.whole}
        for delivery in self._in_flight.values():
            if delivery.channel in away:
                self._left_before[delivery.id] = replace(away[delivery.channel], delivery=delivery.id)

    def send_due(self, now: datetime, most: int | None = None) -> int:
        """Hand every due delivery of an idle channel to its lane, or so many of them. How many there were."""
        due = self._store.due(now, self._busy())[:most]
        for delivery in due:
            if delivery.channel in self._evaluator.rulebook.destinations:
                self._send(self._gathered(delivery, now), now)
            else:
                self._give_up(delivery, REMOVED, now)
        return len(due)

    def resend(self, now: datetime) -> None:
        """Tell the channels that forget, and have nothing else to do, what is firing. Raises StoreError."""
        for channel, message in self._again.due(self._store, self._evaluator.rulebook.resent, self._busy(), now):
            self._lanes.offer(channel, message, resending.DEADLINE)

    def _busy(self) -> frozenset[str]:
        return frozenset(delivery.channel for delivery in self._in_flight.values()) | self._again.under_way

    def look_after(self, now: datetime) -> None:
        """Let others have what channels do not take: their fallbacks, and who must know. Raises StoreError."""
        self._handover.look_after(self._in_flight, now)

    def settle(self, answer: Answer, now: datetime) -> bool:
        """Keep what became of a message that had left, and say whether it was delivered.

        Raises StoreError; the answer can be given again then.
        """
        if self._again.settle(answer.delivery, answer.receipt, late=answer.late):
            return False
        delivery = self._in_flight.get(answer.delivery)
        if delivery is None or answer.late:
            return False
        self._keep(delivery, answer.receipt, after(delivery, answer.receipt, now, self._jitter), now)
        del self._in_flight[answer.delivery]
        moved = self._left_before.pop(delivery.id, None)
        if moved is not None and answer.receipt.outcome is Outcome.DELIVERED:
            self._store.commit(Changes(at=now, moved=(moved,)))
        return answer.receipt.outcome is Outcome.DELIVERED

    def _gathered(self, delivery: Delivery, now: datetime) -> Delivery:
        """One message for all that waited with it: for a silence or quiet time to end, or for the channel."""
        if not routing.has_waited(delivery, now):
            return delivery
        run = self._store.breakers().get(delivery.channel)
        whole, parts = routing.gathered(self._store.recall().outbox, delivery, now, failing=run is not None)
        if parts:
            self._store.commit(Changes(at=now, deliveries=(whole,), superseded=parts))
        return whole

    def _send(self, delivery: Delivery, now: datetime) -> None:
        incident = _only_incident(delivery)
        thread = self._store.thread(delivery.channel, incident) if incident else ""
        message = replace(self._rendered(delivery, now), thread=thread, umbrellas=self._over_umbrellas(delivery))
        self._store.begin_attempt(delivery.id, now)
        self._in_flight[delivery.id] = delivery
        self._lanes.offer(delivery.channel, message, deadline(delivery))

    def _over_umbrellas(self, delivery: Delivery) -> tuple[str, ...]:
        """The pages about several incidents of which the last ends with this one: they are over, too."""
        if not delivery.page or any(notice.kind is not Kind.RESOLVE for notice in delivery.notices):
            return ()
        return self._store.umbrellas(delivery.channel, [notice.incident for notice in delivery.notices])

    def _rendered(self, delivery: Delivery, now: datetime) -> Message:
        """The message, in the operator's own words where there are any; those that fail are told once."""
        flavour = self._flavours.get(delivery.channel, Flavour.TEXT)
        if delivery.channel in self._evaluator.rulebook.keyed:
            delivery = replace(delivery, in_doubt=0)
        plain = render_safely(delivery, now, flavour, self._status_page)
        texts = self._evaluator.rulebook.destinations[delivery.channel].texts
        message, blots = own_words.put(plain, texts)
        for blot in blots:
            log.warning("the %s of channel %s could not be made: %s", blot.text, delivery.channel, blot.message)
            known = identity("template", delivery.channel, blot.text, texts[blot.text])
            about = Label("template", known, f"the {blot.text} of {delivery.channel}")
            text = f"The {blot.text} that the rules file has for channel {delivery.channel}: {blot.message}"
            self._evaluator.tell(about, Reason.TEMPLATE_FAILED, Severity.WARNING, text, now)
        return message

    def _give_up(self, delivery: Delivery, receipt: Receipt, now: datetime) -> None:
        self._keep(delivery, receipt, Settlement(DeliveryState.GIVEN_UP, escalate=True), now)

    def _keep(self, delivery: Delivery, receipt: Receipt, result: Settlement, now: datetime) -> None:
        present = routing.present_name(delivery.channel)
        if result.escalate and present != delivery.channel and present in self._evaluator.rulebook.channels:
            # The old address takes nothing any more, say because its key was changed: the present one is told.
            self._store.settle(delivery.id, receipt, now, state=DeliveryState.PENDING, next_attempt_at=now)
            self._store.commit(Changes(at=now, moved=(Moved(delivery.channel, present, delivery=delivery.id),)))
            return
        # Told before it is settled: a kill between the two tells nobody twice, and in the other order tells nobody.
        if result.escalate:
            self._handover.escalate(delivery, receipt, now, given_up=result.state is DeliveryState.GIVEN_UP)
            # A broken channel does not mend itself in that while.
            self._handover.hand_over([Late(delivery, receipt.detail)], now)
        before = self._store.breakers().get(delivery.channel)
        run = breaker.after(before, delivery, receipt, now, self._jitter) if receipt is not REMOVED else before
        self._store.settle(
            delivery.id,
            receipt,
            now,
            state=result.state,
            next_attempt_at=result.next_attempt_at,
            hold_channel_until=result.hold_channel_until,
            face=result.face,
            incident=_only_incident(delivery),
            breaker=run,
        )
        _note(before, run)


def _note(before: Breaker | None, after: Breaker | None) -> None:
    """A line in the log when a breaker opens or closes."""
    was_open = before is not None and before.is_open
    if after is not None and after.probe_at is not None and not was_open:
        log.warning(
            "channel %s takes nothing: %s; the breaker is open, next try %s",
            *(after.channel, after.detail, instant(after.probe_at)),
        )
    elif before is not None and after is None and was_open:
        log.info("channel %s takes messages again, after %d failures", before.channel, before.failures)


def _only_incident(delivery: Delivery) -> str:
    """The incident of a message about one; what tells of several belongs into no thread."""
    return delivery.notices[0].incident if len(delivery.notices) == 1 else ""
