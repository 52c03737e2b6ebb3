"""budgetd with the oldest mistake of alerting put in: marked as sent before it is sent. For `tests.kill_points`."""

from __future__ import annotations

import sys
from datetime import datetime

from budgetd.__main__ import main
from budgetd.backoff import deadline
from budgetd.delivery import Answer
from budgetd.message import Flavour, render_safely
from budgetd.model import Delivery, DeliveryState, Outcome, Receipt
from budgetd.outbox import Outbox


def _mark_then_send(self: Outbox, delivery: Delivery, now: datetime) -> None:
    self._store.begin_attempt(delivery.id, now)
    self._store.settle(delivery.id, Receipt(Outcome.DELIVERED), now, state=DeliveryState.DELIVERED)
    message = render_safely(delivery, now, self._flavours.get(delivery.channel, Flavour.TEXT))
    self._lanes.offer(delivery.channel, message, deadline(delivery))


def _settled_already(self: Outbox, answer: Answer, now: datetime) -> bool:
    return answer.receipt.outcome is Outcome.DELIVERED


if __name__ == "__main__":
    Outbox._send = _mark_then_send  # type: ignore[method-assign]
    Outbox.settle = _settled_already  # type: ignore[method-assign]
    sys.exit(main())
