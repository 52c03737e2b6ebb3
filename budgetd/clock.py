"""The one file that reads the clock; everywhere else time is an argument."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The present instant, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 (the one exception)


def monotonic() -> float:
    """Seconds on a clock that never steps back, for deadlines."""
    return time.monotonic()  # noqa: TID251 (the one exception)
