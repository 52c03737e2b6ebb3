"""The pages that are read: one day of each size as the simulated API serves it, and others made of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import cache

from budgetd.period import DAY
from budgetd.simulator import worlds
from budgetd.simulator.cost_report import day_page

DAY_ONE = date(2026, 11, 1)
NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)


@cache
def bill(size: str, number: int = 0) -> bytes:
    """A page of one UTC day. Each number has other amounts in the same rows; all of them are of 1 November."""
    day = date(2026, 11, 2) + DAY * number
    return dated(day_page(worlds.sized(size), day, NOW), day, DAY_ONE)


def dated(page: bytes, day: date, other: date) -> bytes:
    """The page of one day as that of another one."""
    return page.replace(str(day + DAY).encode(), str(other + DAY).encode()).replace(
        str(day).encode() + b"T", str(other).encode() + b"T", 1
    )


def month(size: str, days: int, first: date = DAY_ONE) -> bytes:
    """One page of so many days, with two kinds of days in turn."""
    pages = [dated(bill(size, number % 2), DAY_ONE, first + DAY * number) for number in range(days)]
    buckets = [page[len(b'{"data":[') : page.rindex(b'],"has_more"')] for page in pages]
    return b'{"data":[' + b",".join(buckets) + b'],"has_more":false,"next_page":null}'


class Shelf:
    """An API in memory: it serves the page that is put there."""

    def __init__(self, page: bytes) -> None:
        self.page = page

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, deadline: float | None = None) -> bytes:
        return self.page
