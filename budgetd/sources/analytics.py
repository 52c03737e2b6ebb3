"""Same-day money: `GET /v1/organizations/analytics/cost`, what the hours of today cost as of the last refresh.

Unlike the estimate from the usage report this is the bill's own money, code execution and sessions included, but only
as new as its last refresh. It has no description and no speed of a line.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from budgetd import clock, money
from budgetd.http import BodyTooLargeError, Getter
from budgetd.model import DEFAULT_WORKSPACE, Basis, CostDay, CostSlice, Dimensions, Failure, Report, SourceError
from budgetd.period import DAY, day_before, midnight
from budgetd.sources.analytics_page import GROUPS, Known, Page, Row, decode
from budgetd.sources.cost_report import window
from budgetd.sources.page_text import HOUR, floor
from budgetd.sources.strict_json import JsonError
from budgetd.sources.usage_report import first_unbilled

PATH = "/v1/organizations/analytics/cost"
BETA = "analytics-usage-cost-2026-08-24"

# What the API allows: rows a page, days of one question (one less, see `_Pages.rows`), days back.
_ROWS = 1000
_LONGEST = timedelta(days=30)
_HISTORY = timedelta(days=365)
_MOST_PAGES = 300
_MOST_STARTS = 4
_MOST_KNOWN = 500_000
_NAMES = {HOUR: "1h", DAY: "1d"}

_Query = tuple[tuple[str, str], ...]
_Lines = Mapping[Dimensions, Decimal]
_Part = TypeVar("_Part", CostDay, CostSlice, tuple[CostSlice, ...])


class TooManyPagesError(SourceError):
    """The organisation is too large to be read in this way."""

    def __init__(self) -> None:
        super().__init__(
            Failure.REJECTED,
            f"the organisation is too large for the analytics: more than {_MOST_PAGES} pages of {_ROWS:,} rows a "
            "reading. Read the cost report and the usage report instead: they tell the same money",
        )


class _RefreshedError(Exception):
    """The data was refreshed between two pages: what was read of it is of no use."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a reading is about. Readings about the same give the same.

    The data is that of the refresh at `refreshed_at`, of which whole hours up to `through` are used: those from the
    UTC day `first` on as slices; and the days from `since` on, when days are wanted.
    """

    refreshed_at: datetime
    through: datetime
    first: date
    today: date
    since: date | None
    default: str | None

    def holds(self, other: _Asked) -> bool:
        """Whether a reading about this one tells what the other asks for."""
        earlier = self.since is None or other.since is None or self.since <= other.since
        return earlier and replace(self, since=None) == replace(other, since=None)


@dataclass(frozen=True, slots=True)
class _Memory:
    """What the last good reading told."""

    asked: _Asked
    slices: tuple[CostSlice, ...]
    days: Mapping[date, CostDay]


class Analytics:
    """The cost analytics as a source: each whole hour of the days that have no bill yet, as a slice of billed money.

    `default_workspace` gives the real id that the default workspace has here, None while nobody knows it. Then
    `unlisted` (ids -> those that no list of workspaces has) may tell; an id is never guessed: as long as the default
    workspace cannot be told from others nothing is read. `billed_through` is the instant up to which another
    source's bill is complete (None: not known).

    With `history` the analytics are the only source, and `Report.days` has the days of the cost report's window
    that changed since the last good reading: closed ones, and the running one, which is not complete, up to
    `Report.through`. Without, it is empty. `through` is the last whole hour before the data's refresh.

    A poll first asks for one row only: as long as that tells of no refresh, nothing more is asked for, and the slices
    are those of the poll before. A slice that did not change is the same object always. A reading that fails
    changes nothing; who could not keep what a good one returned calls `forget()`.
    The API must send the beta header `BETA`; where the organisation has no analytics, SourceError says 403 or 404.
    """

    NAME = "analytics"

    def __init__(
        self,
        api: Getter,
        default_workspace: Callable[[], str | None],
        *,
        unlisted: Callable[[Collection[str]], Collection[str]] | None = None,
        billed_through: Callable[[], datetime | None] | None = None,
        history: bool,
        fetch_seconds: float = 120.0,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._api = api
        self._default_workspace = default_workspace
        self._unlisted = unlisted
        self._billed_through = billed_through or _not_known
        self._history = history
        self._fetch_seconds = fetch_seconds
        self._monotonic = monotonic
        self._known = Known()
        self._memory: _Memory | None = None
        self._remarked: set[str] = set()
        self._too_large_on: date | None = None
        self.refreshed_at: datetime | None = None
        """When the data was refreshed that the last good reading told of."""

    @property
    def name(self) -> str:
        """`analytics`."""
        return self.NAME

    def forget(self) -> None:
        """Read everything again, return every day at the next reading, and say every remark again."""
        self._memory = None
        self._remarked = set()
        self._known = Known()

    def read(self, now: datetime, since: date | None) -> Report:
        """What is known by `now`; with history all days that may have changed, and all from `since` on.

        Raises SourceError.
        """
        now = now.astimezone(UTC)
        if self._too_large_on == now.date():
            raise TooManyPagesError
        if len(self._known) > _MOST_KNOWN:
            self._known = Known()
        deadline = self._monotonic() + self._fetch_seconds
        try:
            return self._settled(now, since, deadline)
        except BodyTooLargeError:
            raise
        except TooManyPagesError:
            # The day only grows: to find that out again at each poll would cost hundreds of requests.
            self._too_large_on = now.date()
            raise
        except SourceError as error:
            if error.failure is not Failure.UNREADABLE:
                raise
        return self._settled(now, since, deadline)  # what cannot be trusted is fetched afresh once

    def _settled(self, now: datetime, since: date | None, deadline: float) -> Report:
        """A reading that no refresh came in between of."""
        for _ in range(_MOST_STARTS):
            try:
                return self._attempt(now, since, deadline)
            except _RefreshedError:
                continue
        message = f"the analytics were refreshed during each of {_MOST_STARTS} readings; the next poll tries again"
        raise SourceError(Failure.UNAVAILABLE, message)

    def _attempt(self, now: datetime, since: date | None, deadline: float) -> Report:
        default = self._default_workspace()
        if default is None and self._unlisted is None:
            raise _no_default("the list of workspaces does not tell")
        pages = _Pages(self._api, self._known, deadline)
        asked = self._asked(pages, now, since, default)
        before = self._memory
        if before is not None and before.asked.holds(asked):
            return self._report(before, asked, (), ())
        memory = self._read(pages, asked)
        news = tuple(day for day in memory.days.values() if before is None or before.days.get(day.day) != day)
        remarks = tuple(sorted((pages.remarks | self._known.odd) - self._remarked))
        self._memory, self.refreshed_at = memory, asked.refreshed_at
        self._remarked.update(remarks)
        return self._report(memory, asked, news, remarks)

    def _asked(self, pages: _Pages, now: datetime, since: date | None, default: str | None) -> _Asked:
        """What there is to ask for: one small question tells how far the data goes."""
        today, first = now.date(), first_unbilled(now.date(), self._billed_through())
        refreshed_at = pages.probe(midnight(min(first, today - DAY)), floor(now, HOUR) + HOUR)
        # A clock that was set back asks of an earlier time, and may be told of an earlier refresh.
        if self.refreshed_at is not None and refreshed_at < self.refreshed_at <= now:
            raise _unreadable(f"they are of {_stamp(refreshed_at)}, and were of {_stamp(self.refreshed_at)} before")
        through = floor(min(refreshed_at, now), HOUR)
        if not self._history:
            return _Asked(refreshed_at, through, first, today, None, default)
        # Without another bill a day that the data does not reach the end of is told by its hours.
        first = first_unbilled(today, min(midnight(first), through))
        oldest = (now - _HISTORY).date() + DAY
        return _Asked(refreshed_at, through, first, today, max(window(now, since).start, oldest), default)

    def _read(self, pages: _Pages, asked: _Asked) -> _Memory:
        """All the rows, as slices and days: the very same objects as before where nothing changed."""
        hours = pages.rows(HOUR, midnight(asked.first), asked.through)
        closed = [row for start, end in _spans(asked) for row in pages.rows(DAY, start, end)]
        default = asked.default or self._odd_one_out(hours + closed)
        slices = self._slices(asked, _by_start(hours, default))
        days = _days(asked, slices, _by_start(closed, default))
        before = self._memory.days if self._memory is not None else {}
        return _Memory(asked, slices, {day.day: _kept(day, before.get(day.day)) for day in days})

    def _odd_one_out(self, rows: Iterable[Row]) -> str | None:
        """The one workspace that no list has; None when there is none, and no row is about the default one."""
        if self._unlisted is None:
            return None
        seen = {row.about.workspace or DEFAULT_WORKSPACE for row in rows} - {DEFAULT_WORKSPACE}
        found = sorted(self._unlisted(seen))
        if len(found) > 1:
            raise _no_default(f"{len(found)} workspaces of the analytics are in no list")
        return found[0] if found else None

    def _slices(self, asked: _Asked, lines: Mapping[datetime, _Lines]) -> tuple[CostSlice, ...]:
        before = {each.start: each for each in self._memory.slices} if self._memory is not None else {}
        hours = max(0, (asked.through - midnight(asked.first)) // HOUR)
        starts = [midnight(asked.first) + HOUR * number for number in range(hours)]
        made = (CostSlice(start, start + HOUR, lines.get(start, {}), Basis.BILLED) for start in starts)
        slices = tuple(_kept(each, before.get(each.start)) for each in made)
        return _kept(slices, self._memory.slices if self._memory is not None else None)

    def _report(self, memory: _Memory, asked: _Asked, days: tuple[CostDay, ...], remarks: tuple[str, ...]) -> Report:
        start = asked.since or asked.first
        return Report(
            source=self.name,
            start=start,
            end=max(start, day_before(asked.through) + DAY),
            days=days,
            through=asked.through,
            remarks=remarks,
            slices=memory.slices,
        )


@dataclass(slots=True)
class _Pages:
    """The pages of one reading, all of one refresh of the data. `remarks` are on what was read."""

    api: Getter
    known: Known
    deadline: float
    refreshed_at: datetime | None = None
    count: int = 0
    remarks: set[str] = field(default_factory=set)

    def probe(self, start: datetime, end: datetime) -> datetime:
        """When the data was refreshed last, at the cost of a single row. Raises SourceError."""
        return self._page(_query(HOUR, start, end, (), 1), "", HOUR).refreshed_at

    def rows(self, width: timedelta, start: datetime, end: datetime) -> list[Row]:
        """What the buckets in [start, end) cost, all pages of it. Raises SourceError, _RefreshedError.

        The reference leaves open whether the bucket that ends at `ending_at` is in the answer, and one that is left
        out looks like one without cost: so one more is asked for than is used.
        """
        if end <= start:
            return []
        query = _query(width, start, end + width, GROUPS.values(), _ROWS)
        rows: dict[tuple[datetime, object], Row] = {}
        cursors: set[str] = set()
        cursor: str | None = ""
        while cursor is not None:
            cursors.add(cursor)
            page = self._page(query, cursor, width)
            _take(rows, page, start)
            cursor = page.next_page
            if cursor in cursors:
                raise _unreadable(f"the cursor on page {len(cursors)} leads back to an earlier page")
        return [row for row in rows.values() if row.start < end]

    def _page(self, query: _Query, cursor: str, width: timedelta) -> Page:
        """One page. Raises _RefreshedError when it is of other data than the ones before."""
        if self.count > _MOST_PAGES:
            raise TooManyPagesError
        self.count += 1
        page = self._decoded(self._body(query, cursor), width)
        self.remarks |= page.remarks
        if page.refreshed_at != (self.refreshed_at or page.refreshed_at):
            raise _RefreshedError
        self.refreshed_at = page.refreshed_at
        return page

    def _body(self, query: _Query, cursor: str) -> bytes:
        try:
            return self.api.get(PATH, [*query, ("page", cursor)] if cursor else query, deadline=self.deadline)
        except SourceError as error:
            if cursor and error.status == 410:  # the cursor outlived a refresh
                raise _RefreshedError from None
            raise

    def _decoded(self, body: bytes, width: timedelta) -> Page:
        try:
            return decode(body, self.known, width)
        except JsonError as error:
            raise _unreadable(f"answer {self.count}: {error}") from None


def _not_known() -> None:
    return None


def _query(width: timedelta, start: datetime, end: datetime, groups: Iterable[str], limit: int) -> _Query:
    return (
        ("starting_at", _stamp(start)),
        ("ending_at", _stamp(end)),
        ("time_bucket_width", _NAMES[width]),
        *(("group_by[]", group) for group in groups),
        ("order_by", "time"),
        ("order", "asc"),
        ("limit", str(limit)),
    )


def _take(rows: dict[tuple[datetime, object], Row], page: Page, start: datetime) -> None:
    """Add the rows of a page. What comes twice would count twice. Raises SourceError."""
    if page.next_page is not None and not page.rows:
        raise _unreadable("a page without a row announces more pages")
    for row in page.rows:
        if row.start < start:
            raise _unreadable(f"a row of {_stamp(row.start)}, before the start that was asked for")
        if rows.setdefault((row.start, row.group), row) is not row:
            raise _unreadable(f"two rows of {_stamp(row.start)} are about the same")


def _spans(asked: _Asked) -> list[tuple[datetime, datetime]]:
    """The closed days that the data has all of, in ranges that the API takes. The running day is none of them."""
    if asked.since is None:
        return []
    start, end = midnight(asked.since), floor(asked.through, DAY)
    count = -(-(end - start) // _LONGEST)
    return [(start + _LONGEST * number, min(start + _LONGEST * (number + 1), end)) for number in range(count)]


def _by_start(rows: Iterable[Row], default: str | None) -> dict[datetime, _Lines]:
    """Exact dollars by bucket and dimensions, the same for every order of the rows."""
    found: dict[datetime, dict[Dimensions, Decimal]] = {}
    renamed: dict[Dimensions, Dimensions] = {}
    for row in rows:
        about = row.about
        if about.workspace == default:
            about = renamed.setdefault(about, about._replace(workspace=DEFAULT_WORKSPACE))
        lines = found.setdefault(row.start, {})
        lines[about] = money.add(lines.get(about, money.ZERO), row.dollars)
    return dict(found)


def _days(asked: _Asked, slices: Iterable[CostSlice], closed: Mapping[datetime, _Lines]) -> list[CostDay]:
    """The closed days from `since` on, and as far as it is over, the running one."""
    if asked.since is None:
        return []
    end = floor(asked.through, DAY)
    count = (end - midnight(asked.since)) // DAY
    starts = [midnight(asked.since) + DAY * number for number in range(count)]
    days = [CostDay(start.date(), closed.get(start, {})) for start in starts]
    running = [each for each in slices if each.start >= end]
    return [*days, CostDay(end.date(), _summed(running), complete=False)] if running else days


def _summed(slices: Iterable[CostSlice]) -> _Lines:
    sums: dict[Dimensions, Decimal] = {}
    for each in slices:
        for about, dollars in each.lines.items():
            sums[about] = money.add(sums.get(about, money.ZERO), dollars)
    return sums


def _kept(new: _Part, before: _Part | None) -> _Part:
    """The one from before, if the new one is equal to it."""
    return before if before is not None and before == new else new


def _stamp(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def _no_default(why: str) -> SourceError:
    message = f"the analytics cannot be read: nobody knows which workspace is the default one there ({why})"
    return SourceError(Failure.UNAVAILABLE, message)


def _unreadable(complaint: str) -> SourceError:
    return SourceError(Failure.UNREADABLE, f"the analytics cannot be trusted: {complaint}", status=200)
