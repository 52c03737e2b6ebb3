"""Clocks that a simulation can hold, move, or run faster than the world's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

Clock = Callable[[], datetime]


class FixedClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def __call__(self) -> datetime:
        """The instant that it shows."""
        return self._now

    def set(self, now: datetime) -> None:
        """Show that instant from now on, earlier ones too."""
        self._now = now

    def advance(self, by: timedelta) -> datetime:
        """Move it; returns the instant that it shows then."""
        self._now += by
        return self._now


def accelerated(start: datetime, speed: float, monotonic: Callable[[], float]) -> Clock:
    """A clock that shows `start` now and goes `speed` seconds for each second of `monotonic`."""
    origin = monotonic()
    return lambda: start + timedelta(seconds=(monotonic() - origin) * speed)
