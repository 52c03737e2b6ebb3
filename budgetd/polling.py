"""How long to wait between polls: hourly, sooner while yesterday's bill is due, with care after a failure, and less
often while the service says that it is too often.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from budgetd.model import Failure, SourceError
from budgetd.period import midnight

MINUTE = timedelta(minutes=1)
HOURLY = timedelta(hours=1)
# Yesterday's bill appears some time after midnight UTC; nobody has documented when.
WHILE_DUE = timedelta(minutes=5)
# One poll sends up to five requests when none is answered: at the last of these that is one a minute.
AFTER_FAILURE = (timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=5))
# A refused or rejected request does not mend itself, and must not look like an attack.
AFTER_REFUSAL = timedelta(minutes=5)
JITTER = 0.1
TOO_MANY_REQUESTS = 429

# At most one sustained request a minute and source is what the API's documentation calls fine.
SAME_DAY = MINUTE
# It is refreshed every few hours; a poll asks whether it was, and costs one small request.
PRICED_HOURS = timedelta(minutes=5)
# No 429 makes a plan wider than that: an alert that is later than this comes from no same-day source.
WIDEST_SAME_DAY = timedelta(minutes=15)
WIDEST_BILL = HOURLY

_UNITS = ((timedelta(hours=1), "hour"), (MINUTE, "minute"), (timedelta(seconds=1), "second"))


@dataclass(frozen=True, slots=True)
class Standing:
    """What the polls of a source came to so far.

    `through`: how far it reached when it was last good. `failures` counts the failed polls in a row. `widening`: how
    often the plan's interval is doubled at present.
    """

    through: datetime | None = None
    failures: int = 0
    widening: int = 0


@dataclass(frozen=True, slots=True)
class PollingPlan:
    """`every`: a fixed interval in place of the plan for the bill (hourly, sooner while yesterday is due).

    `widest`: the longest interval that a row of 429s leads to; an `every` that is longer still stays as it is.
    `after_refusal`: the least wait after an answer that does not mend itself.
    """

    every: timedelta | None = None
    widest: timedelta = WIDEST_BILL
    after_refusal: timedelta = AFTER_REFUSAL

    def after(self, standing: Standing, now: datetime, through: datetime | None, error: SourceError | None) -> Standing:
        """The standing after a poll that brought data through that instant, or the error.

        Each 429 in a row doubles the interval until it is the widest, each success halves it until it is the base.
        """
        if error is None:
            reached = Standing(through)
            return Standing(through, 0, max(0, min(standing.widening, self._most(reached, now)) - 1))
        more = int(error.status == TOO_MANY_REQUESTS)
        widening = max(standing.widening, min(standing.widening + more, self._most(standing, now)))
        return Standing(standing.through, standing.failures + 1, widening)

    def interval(self, standing: Standing, now: datetime) -> timedelta:
        """The time between polls that is sustained, without jitter and what a failure asks for."""
        base = self._base(standing, now)
        return max(base, min(base * (1 << standing.widening), self.widest))

    def wait(self, standing: Standing, now: datetime, error: SourceError | None, jitter: random.Random) -> timedelta:
        """The time until the next poll, after one that led to this standing. Never before the service's own word."""
        wait = self._after_failure(standing, now, error) if error is not None else self.interval(standing, now)
        return wait * (1 + JITTER * jitter.random())

    def words(self, standing: Standing, now: datetime) -> str:
        """The plan as people say it: `every minute`; `every 4 minutes since a 429`."""
        if standing.widening:
            return f"{every_words(self.interval(standing, now))} since a {TOO_MANY_REQUESTS}"
        if self.every is not None:
            return every_words(self.every)
        return f"{every_words(HOURLY)}, {every_words(WHILE_DUE)} while yesterday's bill is due"

    def _base(self, standing: Standing, now: datetime) -> timedelta:
        if self.every is not None:
            return self.every
        due = standing.through is None or standing.through < midnight(now.date())
        return WHILE_DUE if due else HOURLY

    def _most(self, standing: Standing, now: datetime) -> int:
        """How many doublings make a difference: what is above does not have to be narrowed again."""
        interval, doublings = self._base(standing, now), 0
        while interval < self.widest:
            interval, doublings = interval * 2, doublings + 1
        return doublings

    def _after_failure(self, standing: Standing, now: datetime, error: SourceError) -> timedelta:
        asked = timedelta(seconds=error.retry_after or 0)
        if standing.widening or error.status == TOO_MANY_REQUESTS:
            asked = max(self.interval(standing, now), asked)
        if error.failure in (Failure.REFUSED, Failure.REJECTED, Failure.FOREIGN):
            return max(self.after_refusal, asked)
        planned = AFTER_FAILURE[min(max(standing.failures, 1), len(AFTER_FAILURE)) - 1]
        # Less than a minute is an operator's own wish, and holds after failures as well.
        hurried = self.every if self.every is not None and self.every < MINUTE else planned
        return max(min(planned, hurried), asked)


def every_words(interval: timedelta) -> str:
    """`every minute`, `every 90 seconds`, `hourly`: in the largest unit that it is a whole number of."""
    if interval == HOURLY:
        return "hourly"
    for unit, word in _UNITS:
        if interval >= unit and interval % unit == timedelta(0):
            count = interval // unit
            return f"every {word}" if count == 1 else f"every {count} {word}s"
    return f"every {interval.total_seconds():g} seconds"
