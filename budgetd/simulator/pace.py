"""When within a UTC day something is used: parts of an amount that add up to it exactly, however the day is cut."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import NamedTuple, Protocol

DAY_SECONDS = 86_400
HOUR_SECONDS = 3_600

# How busy the hours of a UTC day are at a company whose people work in Europe and America.
_HOURS = (30, 25, 22, 20, 20, 22, 28, 40, 60, 80, 95, 100, 95, 98, 100, 98, 92, 85, 72, 60, 52, 45, 40, 35)
# Of the minutes of an hour a quarter have any use.
_QUIET = 192


class Pace(Protocol):
    """How an amount is spread over a UTC day."""

    def between(self, amounts: Sequence[int], start: int, end: int) -> tuple[int, ...]:
        """What of each amount falls in [start, end), seconds of the day; empty when that is nothing of all of them."""
        ...


class _Point(NamedTuple):
    """A moment: `low` of the day's weight before its hour, `high` after it, and `part` of the hour's `whole`."""

    low: int
    high: int
    part: int
    whole: int


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The pace of people: busy and quiet hours, minutes without any use. `hours` are sums of weights, from zero."""

    hours: tuple[int, ...]
    minutes: bytes

    @classmethod
    def of(cls, noise: bytes) -> Rhythm:
        """The one that 48 bytes of noise decide."""
        weights = (hour * (64 + byte) for hour, byte in zip(_HOURS, noise, strict=False))
        return cls((0, *accumulate(weights)), noise[24:48])

    def between(self, amounts: Sequence[int], start: int, end: int) -> tuple[int, ...]:
        """What of each amount falls in [start, end)."""
        first, last = self._at(start), self._at(end)
        if first == last:
            return ()
        return tuple(self._through(amount, last) - self._through(amount, first) for amount in amounts)

    def _at(self, second: int) -> _Point:
        hour, rest = divmod(second, HOUR_SECONDS)
        if not rest:
            return _Point(self.hours[hour], self.hours[hour], 0, 1)
        minute, seconds = divmod(rest, 60)
        sums = _hour_shapes()[self.minutes[hour]]
        part = sums[minute] * 60
        if seconds:
            part += (sums[minute + 1] - sums[minute]) * seconds
        return _Point(self.hours[hour], self.hours[hour + 1], part, sums[60] * 60)

    def _through(self, amount: int, point: _Point) -> int:
        low, high, part, whole = point
        total = self.hours[24]
        before = amount * low // total
        return before + (amount * high // total - before) * part // whole if part else before


@dataclass(frozen=True, slots=True)
class Steady:
    """The pace of a machine: even from second `start` of the day to before second `end`."""

    start: int = 0
    end: int = DAY_SECONDS

    def between(self, amounts: Sequence[int], start: int, end: int) -> tuple[int, ...]:
        """What of each amount falls in [start, end)."""
        length = self.end - self.start
        first, last = (min(max(second - self.start, 0), length) for second in (start, end))
        if first == last:
            return ()
        return tuple(amount * last // length - amount * first // length for amount in amounts)


@cache
def _hour_shapes() -> tuple[tuple[int, ...], ...]:
    """256 ways to spread an hour over its minutes, as sums of weights from zero."""
    return tuple(_hour_shape(number) for number in range(256))


def _hour_shape(number: int) -> tuple[int, ...]:
    noise = hashlib.blake2b(f"hour shape {number}".encode(), digest_size=60).digest()
    return (0, *accumulate(max(0, byte - _QUIET) for byte in noise))
