"""A channel's breaker: after failures in a row little is tried, and the first that is taken lets everything go. Pure.

A run of failures belongs to the channel, the backoff to each message: without the one a channel that is down for days
would be tried for each waiting message by itself. What was never tried may be the probe much sooner than what was: it
is news, and the channel may be well by now.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from budgetd import backoff
from budgetd.model import Delivery, Outcome, Receipt

# One refused connection is no outage.
OPENS_AFTER = 3
# Seconds from a failure until the channel is tried with a message that was never tried.
FRESH_WAIT, FRESH_PAGE_WAIT = 60.0, 15.0
# A channel that takes nothing for so long is told of elsewhere.
TOLD_AFTER, PAGER_TOLD_AFTER = timedelta(minutes=30), timedelta(minutes=5)

_BROKEN = (Outcome.UNAUTHORISED, Outcome.GONE)
# The service did not take it; what it says of the message itself, or of its own limits, is no failure of the channel.
_FAILURES = (Outcome.RETRY, Outcome.UNKNOWN, *_BROKEN)


@dataclass(frozen=True, slots=True)
class Breaker:
    """A run of failures of a channel; it ends with a message that is delivered.

    `since`: the first of them; `detail`: what was said last. `probe_at`: what was tried before waits until then, None
    while the run is too short for that. `fresh_at`: the same for what was never tried.
    """

    channel: str
    failures: int
    since: datetime
    outcome: Outcome
    detail: str
    probe_at: datetime | None = None
    fresh_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether messages wait for a probe."""
        return self.probe_at is not None

    def holds_until(self, delivery: Delivery) -> datetime | None:
        """When the delivery may be the probe, or go with the others if there was one; None: it need not wait."""
        return self.fresh_at if delivery.attempts == 0 else self.probe_at


def after(
    before: Breaker | None, delivery: Delivery, receipt: Receipt, now: datetime, jitter: Random
) -> Breaker | None:
    """The channel's breaker after an attempt; None: there is no run of failures."""
    if receipt.outcome is Outcome.DELIVERED:
        return None
    if receipt.outcome not in _FAILURES:
        return before
    failures = before.failures + 1 if before is not None else 1
    since = before.since if before is not None else now
    run = Breaker(delivery.channel, failures, since, receipt.outcome, receipt.detail)
    broken = receipt.outcome in _BROKEN
    if failures < OPENS_AFTER and not broken:
        return run
    outage = (now - since).total_seconds()
    own = backoff.broken_wait(jitter) if broken else backoff.wait_in_outage(outage, jitter, page=delivery.page)
    wait, asked = max(own, backoff.asked(receipt)), backoff.asked(receipt)
    fresh = max(asked, min(wait, FRESH_PAGE_WAIT if delivery.page else FRESH_WAIT))
    return replace(run, probe_at=now + timedelta(seconds=wait), fresh_at=now + timedelta(seconds=fresh))


def is_worth_telling(breaker: Breaker, now: datetime, *, pager: bool) -> bool:
    """Whether others should know that the channel takes nothing. Of a broken one they know from its messages."""
    silent_for = now - breaker.since
    return (
        breaker.is_open and breaker.outcome not in _BROKEN and silent_for >= (PAGER_TOLD_AFTER if pager else TOLD_AFTER)
    )
