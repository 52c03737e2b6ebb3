"""How long to wait between polls: hourly, sooner while yesterday's bill is due, and with care after a failure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from budgetd.model import Failure, SourceError
from budgetd.period import midnight

HOURLY = timedelta(hours=1)
# Yesterday's bill appears some time after midnight UTC; nobody has documented when.
WHILE_DUE = timedelta(minutes=5)
AFTER_FAILURE = (timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=5))
# A refused or rejected request does not mend itself, and must not look like an attack.
AFTER_REFUSAL = timedelta(minutes=5)
JITTER = 0.1


# At most one sustained request a minute and source is what the API's documentation calls fine.
SAME_DAY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class PollingPlan:
    """`every`: a fixed interval in place of the plan for the bill (hourly, sooner while yesterday is due)."""

    every: timedelta | None = None

    def wait(
        self,
        now: datetime,
        through: datetime | None,
        error: SourceError | None,
        failures: int,
        jitter: random.Random,
    ) -> timedelta:
        """The time until the next poll. `failures` counts the failed polls in a row, this one included."""
        wait = self._after_failure(error, failures) if error is not None else self._after_success(now, through)
        return wait * (1 + JITTER * jitter.random())

    def _after_success(self, now: datetime, through: datetime | None) -> timedelta:
        if self.every is not None:
            return self.every
        due = through is None or through < midnight(now.date())
        return WHILE_DUE if due else HOURLY

    def _after_failure(self, error: SourceError, failures: int) -> timedelta:
        asked = timedelta(seconds=error.retry_after or 0)
        if error.failure in (Failure.REFUSED, Failure.REJECTED, Failure.FOREIGN):
            return max(AFTER_REFUSAL, asked)
        planned = AFTER_FAILURE[min(max(failures, 1), len(AFTER_FAILURE)) - 1]
        return max(min(planned, self.every or planned), asked)
