"""Billed money of closed UTC days: `GET /v1/organizations/cost_report`, all pages of it or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from budgetd import clock
from budgetd.http import BodyTooLargeError, Getter
from budgetd.model import CostDay, Failure, Report, SourceError
from budgetd.period import DAY, midnight
from budgetd.sources.cost_page import Bucket, Known, Page, decode
from budgetd.sources.strict_json import JsonError

PATH = "/v1/organizations/cost_report"

# Buckets a page, largest first: the API's maximum, and less where a page of that many is too large a body.
_LIMITS: tuple[int, ...] = (31, 15, 7, 3, 1)
_LAST_DAY_OF_RESTATEMENTS = 8
_MOST_KNOWN = 500_000

_Query = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Window:
    """The half-open range of UTC days to ask for. `today` is its last day, which the report does not serve yet."""

    start: date
    end: date

    @property
    def today(self) -> date:
        return self.end - DAY


def window(now: datetime, since: date | None) -> Window:
    """What may have changed by `now`: the current month, until the 8th (that UTC day included) the previous one too.

    It starts at `since` if that is earlier, and holds at least one closed day always: without one the API answers 400.
    """
    today = now.astimezone(UTC).date()
    first = today.replace(day=1)
    if today.day <= _LAST_DAY_OF_RESTATEMENTS:
        first = (first - DAY).replace(day=1)
    return Window(min(first, today - DAY, since or first), today + DAY)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a page was at the last good reading, without its money: enough when it comes again unchanged."""

    digest: bytes
    days: tuple[date, ...]
    next_page: str | None


_Memory = dict[str, _Seen]  # by the cursor that leads to the page; "" leads to the first


@dataclass(frozen=True, slots=True)
class _Reading:
    """Every page of one query: what to remember of them, and the content of those that are not as they were."""

    seen: _Memory
    pages: tuple[Page, ...]


class CostReport:
    """The cost report as a source of closed days; today's bucket, should it appear, is taken as incomplete.

    `Report.days` holds the days of the pages that are not byte for byte what they were at the last good reading of the
    same query. A reading that fails changes nothing of that memory; who could not keep what a good one returned
    calls `forget()`, and the next reading returns every day again.

    Whatever cannot be trusted is fetched afresh once (data may move between two pages), and then refused.
    A reading takes at most `fetch_seconds`. `through` is how far the report went when an earlier process read it:
    a report that ends before that lacks something.
    """

    def __init__(
        self,
        api: Getter,
        *,
        through: datetime | None = None,
        fetch_seconds: float = 300.0,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._api = api
        self._fetch_seconds = fetch_seconds
        self._monotonic = monotonic
        self._limits = _LIMITS
        self._known = Known()
        self._query: _Query = ()
        self._memory: _Memory = {}
        self._through = through
        self._remarked: set[str] = set()

    NAME = "cost_report"

    @property
    def name(self) -> str:
        """`cost_report`."""
        return self.NAME

    def forget(self) -> None:
        """Take every day for changed at the next reading, and say every remark again."""
        self._query = ()
        self._memory = {}
        self._remarked = set()
        self._known = Known()

    def read(self, now: datetime, since: date | None) -> Report:
        """All days that may have changed by `now`, and everything from `since` on. Raises SourceError."""
        asked = window(now, since)
        deadline = self._monotonic() + self._fetch_seconds
        if len(self._known) > _MOST_KNOWN:
            self._known = Known()
        while True:
            query = _query(asked, self._limits[0])
            try:
                return self._read(asked, query, deadline)
            except BodyTooLargeError:
                if len(self._limits) == 1:
                    raise
                self._limits = self._limits[1:]

    def _read(self, asked: Window, query: _Query, deadline: float) -> Report:
        try:
            return self._attempt(asked, query, deadline, self._memory if query == self._query else {})
        except BodyTooLargeError:
            raise
        except SourceError as error:
            if error.failure is not Failure.UNREADABLE:
                raise
        return self._attempt(asked, query, deadline, {})

    def _attempt(self, asked: Window, query: _Query, deadline: float, memory: _Memory) -> Report:
        reading = self._walk(asked, query, deadline, memory)
        try:
            remarks, departures = self._new_remarks(reading), tuple(sorted(self._known.departures - self._remarked))
            report = _report(self.name, asked, reading, remarks, departures)
            # A clock that was set back asks for less, and gets less.
            if self._through is not None and report.through < min(self._through, midnight(asked.today)):
                raise ValueError(f"it ends on {report.end}, and once went on to {self._through.date()}")
        except ValueError as error:
            raise _unreadable(str(error)) from None
        self._query, self._memory = query, reading.seen
        self._through = max(report.through, self._through or report.through)
        self._remarked.update(report.remarks, report.departures)
        return report

    def _walk(self, asked: Window, query: _Query, deadline: float, memory: _Memory) -> _Reading:
        """Follow the cursors to the last page. They belong to this query: with any other the API refuses them."""
        seen: _Memory = {}
        pages: list[Page] = []
        cursor: str | None = ""
        while cursor is not None:
            # A page holds a day at least, so an honest report has no more pages than days.
            if len(seen) >= (asked.end - asked.start).days:
                raise _unreadable(f"more pages than the {len(seen)} days that were asked for")
            body = self._api.get(PATH, [*query, ("page", cursor)] if cursor else query, deadline=deadline)
            digest = hashlib.blake2b(body, digest_size=16).digest()
            known = memory.get(cursor)
            if known is None or known.digest != digest:
                page = self._decoded(body, len(seen) + 1)
                pages.append(page)
                known = _Seen(digest, tuple(bucket.day for bucket in page.buckets), page.next_page)
            seen[cursor] = known
            cursor = known.next_page
            if cursor in seen:
                raise _unreadable(f"the cursor on page {len(seen)} leads back to an earlier page")
        return _Reading(seen, tuple(pages))

    def _decoded(self, body: bytes, number: int) -> Page:
        try:
            return decode(body, self._known)
        except JsonError as error:
            raise _unreadable(f"page {number}: {error}") from None

    def _new_remarks(self, reading: _Reading) -> tuple[str, ...]:
        remarks = self._known.odd.union(*(page.remarks for page in reading.pages))
        return tuple(sorted(remarks - self._remarked))


def _query(asked: Window, limit: int) -> _Query:
    """The parameters. Both ends are UTC midnights; the API itself cuts the end down to the days that it has."""
    return (
        ("starting_at", f"{asked.start}T00:00:00Z"),
        ("ending_at", f"{asked.end}T00:00:00Z"),
        ("group_by[]", "workspace_id"),
        ("group_by[]", "description"),
        ("bucket_width", "1d"),
        ("limit", str(limit)),
    )


def _report(
    name: str, asked: Window, reading: _Reading, remarks: tuple[str, ...], departures: tuple[str, ...]
) -> Report:
    """The pages as one. Raises ValueError when they do not fit together."""
    days = sorted(day for page in reading.seen.values() for day in page.days)
    buckets = _merged(days, reading)
    end = _end(asked, sorted(set(days)))
    return Report(
        source=name,
        start=asked.start,
        end=end,
        days=tuple(CostDay(day, bucket.lines, complete=day < asked.today) for day, bucket in sorted(buckets.items())),
        through=midnight(min(end, asked.today)),
        remarks=remarks,
        departures=departures,
    )


def _merged(days: list[date], reading: _Reading) -> dict[date, Bucket]:
    """The buckets by day. A day may come twice only with the same content."""
    buckets: dict[date, Bucket] = {}
    read = [bucket for page in reading.pages for bucket in page.buckets]
    if len(set(days)) < len(days) and len(read) < len(days):
        raise ValueError("a day comes twice, and one of the pages was not read again")
    for bucket in read:
        if buckets.setdefault(bucket.day, bucket) != bucket:
            raise ValueError(f"{bucket.day} comes twice, with different content")
    return buckets


def _end(asked: Window, days: list[date]) -> date:
    """The day after the last one. The days must go from the first that was asked for, without a gap.

    The last ones may be missing: yesterday appears some time after midnight. A day without cost is there, and empty.
    """
    if not days:
        raise ValueError(f"no day at all, not even {asked.start}; that is missing data, not $0")
    if days[0] < asked.start or days[-1] >= asked.end:
        raise ValueError(f"{days[0]} to {days[-1]} is beyond what was asked for, {asked.start} to {asked.today}")
    for expected, day in enumerate(days):
        if day != asked.start + DAY * expected:
            raise ValueError(f"{asked.start + DAY * expected} is missing, and {day} is there")
    return days[-1] + DAY


def _unreadable(complaint: str) -> SourceError:
    return SourceError(Failure.UNREADABLE, f"the cost report cannot be trusted: {complaint}", status=200)
