"""When what was not delivered is tried again: how long each wait is, and when it is given up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from budgetd.model import Delivery, DeliveryState, Face, Outcome, Receipt

PAGE_DEADLINE = 15.0  # seconds
DEADLINE = 30.0
# Seconds between the attempts; the last one repeats. The first attempt is at once.
PAGE_WAITS = (5, 15, 30, 60, 120, 300)
WAITS = (5, 30, 120, 600, 1800, 3600)
GIVE_UP_AFTER = timedelta(hours=72)
LEAST_WAIT = 1.0
LEAST_RATE_LIMIT = 30.0  # when a service says "too many" but not for how long
LONGEST_RETRY_AFTER = 3600.0
# Somebody must mend it, outside or in the rules file: no hammering, but no restart needed either.
BROKEN_CHANNEL_WAIT = (1800.0, 3600.0)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of a delivery after an attempt.

    `escalate`: another channel should be told. It is set on every attempt that meets a broken channel, so the notice
    that comes of it needs an id made of the channel and the delivery.
    """

    state: DeliveryState
    next_attempt_at: datetime | None = None
    hold_channel_until: datetime | None = None
    face: Face | None = None
    escalate: bool = False


def deadline(delivery: Delivery) -> float:
    """Seconds that one attempt may take."""
    return PAGE_DEADLINE if delivery.page else DEADLINE


def after(delivery: Delivery, receipt: Receipt, now: datetime, jitter: Random) -> Settlement:
    """What follows from the receipt. `delivery.attempts` counts the attempts before this one."""
    outcome = receipt.outcome
    if outcome is Outcome.DELIVERED:
        return Settlement(DeliveryState.DELIVERED)
    if outcome is Outcome.REJECTED:
        return _simpler(delivery, now, jitter)
    if outcome is Outcome.RATE_LIMITED:
        until = now + timedelta(seconds=_rate_limit(delivery, receipt, jitter))
        return _again(delivery, until, hold_channel_until=until)
    if outcome in (Outcome.UNAUTHORISED, Outcome.GONE):
        seconds = max(broken_wait(jitter), asked(receipt))
        return _again(delivery, now + timedelta(seconds=seconds), escalate=True)
    seconds = max(wait(delivery.attempts, jitter, page=delivery.page), asked(receipt))
    return _again(delivery, now + timedelta(seconds=seconds))


def _simpler(delivery: Delivery, now: datetime, jitter: Random) -> Settlement:
    """The next face; when even the simplest is rejected, it is the channel that takes nothing, for now."""
    faces = list(Face)
    following = faces.index(delivery.face) + 1
    if following == len(faces):
        return _again(delivery, now + timedelta(seconds=broken_wait(jitter)), escalate=True)
    if now - delivery.wanted_at >= GIVE_UP_AFTER:
        return Settlement(DeliveryState.GIVEN_UP, escalate=True)
    return Settlement(DeliveryState.PENDING, next_attempt_at=now, face=faces[following])


def _again(
    delivery: Delivery, at: datetime, *, hold_channel_until: datetime | None = None, escalate: bool = False
) -> Settlement:
    if at - delivery.wanted_at > GIVE_UP_AFTER:
        return Settlement(DeliveryState.GIVEN_UP, hold_channel_until=hold_channel_until, escalate=True)
    return Settlement(DeliveryState.PENDING, at, hold_channel_until, escalate=escalate)


def wait(failures: int, jitter: Random, *, page: bool) -> float:
    """Seconds until the next attempt after so many failures before this one.

    Full jitter above a small floor: what failed together does not come back together.
    """
    waits = PAGE_WAITS if page else WAITS
    return _spread(waits[min(max(failures, 0), len(waits) - 1)], jitter)


def wait_in_outage(seconds: float, jitter: Random, *, page: bool) -> float:
    """Seconds until the next attempt on a channel that has been down for so many: about as long again.

    The waits of a single message grow just so. Counting failures would not do: there is one for each new message.
    """
    waits = PAGE_WAITS if page else WAITS
    return _spread(min(max(seconds, waits[0]), waits[-1]), jitter)


def _spread(longest: float, jitter: Random) -> float:
    return jitter.uniform(max(LEAST_WAIT, longest / 10), longest)


def broken_wait(jitter: Random) -> float:
    """Seconds until a channel is tried again that somebody must mend."""
    return jitter.uniform(*BROKEN_CHANNEL_WAIT)


def _rate_limit(delivery: Delivery, receipt: Receipt, jitter: Random) -> float:
    seconds = asked(receipt) or max(LEAST_RATE_LIMIT, wait(delivery.attempts, jitter, page=delivery.page))
    return max(LEAST_WAIT, seconds) + jitter.uniform(0, min(5.0, seconds / 10))


def asked(receipt: Receipt) -> float:
    """Seconds that the service wants us to wait; 0 when it did not say."""
    return min(max(receipt.after, 0.0), LONGEST_RETRY_AFTER) if receipt.after is not None else 0.0
