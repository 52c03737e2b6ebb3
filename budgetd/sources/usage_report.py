"""Same-day spend: `GET /v1/organizations/usage_report/messages`, tokens that are minutes old, priced.

Hours for the days that no bill is there for yet, minutes for the last hour and the running one. What is read here is
an estimate that the billed day replaces. Code execution and sessions are not in this report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from budgetd import clock
from budgetd.http import BodyTooLargeError, Getter
from budgetd.model import Basis, CostDay, CostSlice, Failure, Report, SourceError
from budgetd.period import DAY, midnight
from budgetd.pricing import Counts, Priced, RateTable, UsageDay, Used, price
from budgetd.sources.page_text import HOUR, MINUTE, floor
from budgetd.sources.strict_json import JsonError
from budgetd.sources.usage_page import Bucket, Known, decode

PATH = "/v1/organizations/usage_report/messages"
SPEED_BETA = "fast-mode-2026-02-01"

# By when a minute's use is taken to be counted ("typically within 5 minutes"): until then it is read again and again.
_SETTLED = timedelta(minutes=15)
_REREAD = timedelta(hours=6)
_MOST_DAYS = 7
_MOST_KNOWN = 500_000
_NAMES = {MINUTE: "1m", HOUR: "1h", DAY: "1d"}
# Buckets a page, largest first: the API's maximum, and less where a page of that many is too large a body.
_LIMITS = {MINUTE: (1440, 240, 60, 15, 5, 1), HOUR: (168, 48, 12, 3, 1), DAY: (31, 7, 3, 1)}
# The API takes five groupings, and six things set a price. Fast mode exists at the standard tier only, so a second
# question, for that tier alone, has the speed in the place of the tier.
_GROUPS = ("workspace_id", "model", "service_tier", "context_window", "inference_geo")
_SPEED_GROUPS = ("workspace_id", "model", "context_window", "inference_geo", "speed")
_STANDARD = "standard"

_Query = tuple[tuple[str, str], ...]
_Buckets = dict[datetime, Counts]
_NOTHING: Counts = {}


@dataclass(frozen=True, slots=True)
class _Memory:
    """What was counted, as of `read_at`: hours before `split` and minutes from there on, by their start.

    `hours` also has the later hours that the API showed, for where it has no minutes. Counts that did not change
    are the same object as before.
    """

    first: date
    split: datetime
    read_at: datetime
    hours: _Buckets
    minutes: _Buckets
    whole_days: Mapping[date, Counts]


@dataclass(slots=True)
class _Valued:
    """What was priced last, with what: kept as long as both are the same objects."""

    rates: RateTable
    slices: dict[datetime, tuple[Counts, CostSlice]] = field(default_factory=dict)
    days: dict[date, tuple[Counts, Priced]] = field(default_factory=dict)


@dataclass(slots=True)
class _Gaps:
    """What it means that the API shows no bucket for a time: no use, if it leaves out all buckets without use.

    Nobody has documented whether it does. Where one without use was ever shown, a gap is something that is lacking.
    """

    seen: bool = False
    empty_seen: bool = False

    @property
    def are_without_use(self) -> bool:
        return self.seen and not self.empty_seen

    def closed(self, found: _Buckets, width: timedelta, start: datetime, until: datetime) -> _Buckets:
        """The buckets from `start` on, with those that were left out before the last one, or had settled by `until`."""
        self.empty_seen = self.empty_seen or not all(found.values())
        self.seen = self.seen or any(later - earlier > width for earlier, later in pairwise(sorted(found)))
        if not self.are_without_use:
            return found
        last = max([floor(until, width), *(each + width for each in found)])
        whole = (start + width * number for number in range((last - start) // width))
        return {each: found.get(each, _NOTHING) for each in whole}


class UsageReport:
    """The usage report as a source of estimated days: today, and the days before it that have no bill yet.

    `rates` gives the present rates, the same object until they change; `billed_through` the instant up to which the
    bill is complete (None: not known); `skew` the seconds by which the service's clock is ahead of ours (None: it does
    not say).
    With the beta for fast mode in `betas` (the API must send it) the speed of each request is asked for, too.

    `Report.days` holds the days that changed since the last good reading; the running day is not complete, and a
    closed one only when every hour of it was served and had time to be counted. The last slice may be of a minute that
    is not over: then it ends after `Report.through`. A reading that fails changes nothing; who could not keep
    what a good one returned calls `forget()`.
    """

    def __init__(
        self,
        api: Getter,
        rates: Callable[[], RateTable],
        billed_through: Callable[[], datetime | None],
        *,
        betas: Sequence[str] = (),
        skew: Callable[[], float | None] = lambda: None,
        fetch_seconds: float = 120.0,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._api = api
        self._rates = rates
        self._billed_through = billed_through
        self._skew = skew
        self._fetch_seconds = fetch_seconds
        self._monotonic = monotonic
        self._asks_speed = SPEED_BETA in betas
        self._limits = dict(_LIMITS)
        self._known = Known()
        self._gaps = _Gaps()
        self._remarks: set[str] = set()
        self._remarked: set[str] = set()
        self._memory: _Memory | None = None
        self._valued = _Valued(RateTable())
        self._sent: dict[date, tuple[Priced, bool]] = {}
        self.newest_use: datetime | None = None
        """The end of the newest minute or hour that anything was counted in."""

    @property
    def name(self) -> str:
        """`usage_report`."""
        return "usage_report"

    def forget(self) -> None:
        """Read everything again, return every day at the next reading, and say every remark again."""
        self._memory = None
        self._sent = {}
        self._remarked = set()
        self._known = Known()

    def read(self, now: datetime, since: date | None) -> Report:
        """The estimate of every day without a bill, a week at most, whatever `since`. Raises SourceError."""
        now = now.astimezone(UTC)
        if len(self._known) > _MOST_KNOWN:
            self._known = Known()
        deadline, left_out = self._monotonic() + self._fetch_seconds, self._gaps.are_without_use
        memory = self._counted(now, deadline)
        if self._gaps.are_without_use is not left_out:
            memory = self._counted(now, deadline)
        through = _through(memory, now)
        report = self._report(memory, through, now)
        self._memory = memory
        self._sent.update({day.day: self._state(day) for day in report.days})
        self._sent = {day: state for day, state in self._sent.items() if day >= memory.first}
        self._remarked.update(report.remarks, report.departures)
        self._remarks = set()
        self.newest_use = _newest_use(memory) or self.newest_use
        return report

    def usage_days(self, start: date, end: date) -> tuple[UsageDay, ...]:
        """The closed UTC days from `start` to before `end` that the report has, for learning. Raises SourceError."""
        deadline = self._monotonic() + self._fetch_seconds
        found = self._fetch(DAY, midnight(start), midnight(end), deadline, settled_before=midnight(end))
        return tuple(UsageDay(day.date(), counts) for day, counts in sorted(found.items()))

    # --- what was used -------------------------------------------------------------------------

    def _counted(self, now: datetime, deadline: float) -> _Memory:
        """Everything that is known by now. Each new hour the last ones are read again, minutes until they settle."""
        first, split = first_unbilled(now.date(), self._billed_through()), floor(now, HOUR) - HOUR
        before, known = self._memory, self._memory.minutes if self._memory is not None else {}
        same = before is not None and (before.first, before.split) == (first, split) and before.read_at <= now
        # What stood still at the last reading was not told, however long ago it was used.
        until = _told_until(before) if before is not None else split
        since = max(split, floor(until - _SETTLED, MINUTE)) if same else split
        settled, ahead = floor(now - _SETTLED, MINUTE), floor(now, MINUTE) + MINUTE
        fresh = self._fetch(MINUTE, since, ahead, deadline, settled_before=settled)
        kept = {start: counts for start, counts in known.items() if midnight(first) <= start < since}
        minutes = kept | _reused(known, fresh)
        hours = before.hours if same and before is not None else {}
        if not hours or until < split or _lacks_minutes(minutes, split + HOUR, now):
            hours = self._hours(before, first, split, deadline, settled)
        told = [start for start, counts in hours.items() if start < split and _is_told(counts)]
        if len(told) < (split - midnight(first)) // HOUR:
            self._remarks.add(
                "the usage report leaves hours out: they are taken as without use, and the day as unclosed"
            )
        # An hour that is not told as a whole yet goes on by its minutes.
        minutes = {start: each for start, each in minutes.items() if start >= split or floor(start, HOUR) not in hours}
        return _Memory(first, split, now, hours, minutes, self._whole_days(before, hours, first, split))

    def _hours(
        self, before: _Memory | None, first: date, split: datetime, deadline: float, settled: datetime
    ) -> _Buckets:
        """The hours up to the running one; of those that were read before only the last few are read again."""
        start, kept = midnight(first), before.hours if before else {}
        if before is not None and before.hours and before.first <= first:
            start = max(start, min(before.split, split, floor(_told_until(before), HOUR)) - _REREAD)
        fresh = self._fetch(HOUR, start, split + 2 * HOUR, deadline, settled_before=settled)
        older = {each: counts for each, counts in kept.items() if midnight(first) <= each < start}
        return older | _reused(kept, fresh)

    def _whole_days(
        self, before: _Memory | None, hours: _Buckets, first: date, split: datetime
    ) -> Mapping[date, Counts]:
        """The sums of each day's hours before the split, the same objects as long as the hours are."""
        if before is not None and before.hours is hours:
            return before.whole_days
        sums: dict[date, Counts] = {}
        for number in range((split.date() - first).days + 1):
            day = first + number * DAY
            sums[day] = _summed(counts for start, counts in hours.items() if start.date() == day and start < split)
            old = before.whole_days.get(day) if before else None
            sums[day] = old if old == sums[day] and old is not None else sums[day]
        return sums

    # --- what was spent ------------------------------------------------------------------------

    def _report(self, memory: _Memory, through: datetime, now: datetime) -> Report:
        rates = self._rates()
        if self._valued.rates is not rates:
            self._valued = _Valued(rates)
        days = [self._day(memory, memory.first + number * DAY, now) for number in range(_span(memory, now))]
        self._valued.days = {day.day: self._valued.days[day.day] for day in days}
        valued = [self._valued.days[day.day][1] for day in days]
        remarks = self._remarks | self._known.odd | {remark for each in valued for remark in _said(each)}
        return Report(
            source=self.name,
            start=memory.first,
            end=now.date() + DAY,
            days=tuple(day for day in days if self._is_news(day)),
            through=through,
            remarks=tuple(sorted(remarks - self._remarked)),
            slices=self._slices(memory),
            unpriced=_unpriced(valued),
            departures=tuple(sorted((self._known.departures | _departures(valued)) - self._remarked)),
        )

    def _is_news(self, day: CostDay) -> bool:
        priced, complete = self._state(day)
        before = self._sent.get(day.day)
        return before is None or before[0] is not priced or before[1] != complete

    def _state(self, day: CostDay) -> tuple[Priced, bool]:
        return self._valued.days[day.day][1], day.complete

    def _day(self, memory: _Memory, day: date, now: datetime) -> CostDay:
        counts = self._day_counts(memory, day)
        known = self._valued.days.get(day)
        if known is None or known[0] is not counts:
            known = self._valued.days[day] = counts, price(counts, self._valued.rates, day)
        return CostDay(day, known[1].lines, Basis.ESTIMATED, _is_complete(memory, day, now))

    def _day_counts(self, memory: _Memory, day: date) -> Counts:
        whole = memory.whole_days.get(day, _NOTHING)
        recent = [counts for start, _, counts in _recent(memory) if start.date() == day]
        if not any(recent):
            return whole
        counts = _summed([whole, *recent])
        known = self._valued.days.get(day)
        return known[0] if known and known[0] == counts else counts

    def _slices(self, memory: _Memory) -> tuple[CostSlice, ...]:
        hours = [(start, start + HOUR, counts) for start, counts in memory.hours.items() if start < memory.split]
        before, kept = self._valued.slices, {}
        for start, end, counts in sorted([*hours, *_recent(memory)], key=lambda each: each[0]):
            known = before.get(start)
            if known is None or known[0] is not counts or known[1].end != end:
                lines = price(counts, self._valued.rates, start.date()).lines
                known = counts, CostSlice(start, end, lines)
            kept[start] = known
        self._valued.slices = kept
        return tuple(each for _, each in kept.values())

    # --- requests ------------------------------------------------------------------------------

    def _fetch(
        self, width: timedelta, start: datetime, end: datetime, deadline: float, *, settled_before: datetime
    ) -> _Buckets:
        """The buckets that start in [start, end), those that the API shows; all pages of them, or SourceError.

        What is older than `settled_before` has had time to be counted.
        """
        groups = self._walk(width, start, end, _GROUPS, deadline)
        if width != DAY:
            # By the earlier of the two clocks: ours may be ahead of all that was used.
            early = timedelta(seconds=min(self._skew() or 0.0, 0.0))
            groups = self._gaps.closed(groups, width, start, min(end, settled_before + MINUTE + early))
        if not self._asks_speed:
            return groups
        try:
            speeds = self._walk(width, start, end, _SPEED_GROUPS, deadline)
        except SourceError as error:
            if error.status != 400:
                raise
            self._asks_speed = False
            self._remarks.add(f"the usage report does not tell the speed: {error.message}")
            return groups
        return {
            each: self._with_speed(counts, speeds.get(each, _NOTHING), each + width <= settled_before)
            if _is_told(counts)
            else counts
            for each, counts in groups.items()
        }

    def _with_speed(self, counts: Counts, by_speed: Counts, settled: bool) -> Counts:
        """The counts, with those of the standard tier by their speed, if the second answer has all of them.

        What is still being counted may have grown between the two questions.
        """
        standard = {used: count for used, count in counts.items() if used.kind.service_tier == _STANDARD}
        first = sum(standard.values())
        second = sum(count for used, count in by_speed.items() if used.kind.model)
        if second < first or (settled and second > first):
            if settled:
                self._remarks.add("the usage report counts other tokens by speed than by tier: the speed is left out")
            return counts
        rest = {_of(used, "speed"): count for used, count in counts.items() if used not in standard}
        return rest | {_of(used, "service_tier"): count for used, count in by_speed.items() if used.kind.model}

    def _walk(
        self, width: timedelta, start: datetime, end: datetime, groups: tuple[str, ...], deadline: float
    ) -> _Buckets:
        while True:
            query = _query(width, start, end, groups, self._limits[width][0])
            try:
                return self._read_pages(query, width, start, end, deadline)
            except BodyTooLargeError:
                if len(self._limits[width]) == 1:
                    raise
                self._limits[width] = self._limits[width][1:]

    def _read_pages(self, query: _Query, width: timedelta, start: datetime, end: datetime, deadline: float) -> _Buckets:
        """The pages as one. What cannot be trusted is fetched afresh once: data may move between two pages."""
        try:
            return self._pages(query, width, start, end, deadline)
        except BodyTooLargeError:
            raise
        except SourceError as error:
            if error.failure is not Failure.UNREADABLE:
                raise
        return self._pages(query, width, start, end, deadline)

    def _pages(self, query: _Query, width: timedelta, start: datetime, end: datetime, deadline: float) -> _Buckets:
        found: _Buckets = {}
        seen: set[str] = set()
        cursor: str | None = ""
        while cursor is not None:
            if len(seen) > (end - start) // width + 1:  # a page holds a bucket at least
                raise _unreadable(f"more pages than the {len(seen) - 1} buckets that were asked for")
            seen.add(cursor)
            body = self._api.get(PATH, [*query, ("page", cursor)] if cursor else query, deadline=deadline)
            try:
                page = decode(body, self._known, width)
            except JsonError as error:
                raise _unreadable(f"page {len(seen)}: {error}") from None
            self._remarks |= page.remarks
            _take(found, page.buckets, start, end)
            cursor = page.next_page
            if cursor in seen:
                raise _unreadable(f"the cursor on page {len(seen)} leads back to an earlier page")
        return found


def first_unbilled(today: date, billed_through: datetime | None) -> date:
    """The first UTC day without a bill, at most a week with today; without any bill it is yesterday."""
    first = today - DAY if billed_through is None else billed_through.astimezone(UTC).date()
    return min(today, max(first, today - (_MOST_DAYS - 1) * DAY))


def _of(used: Used, about: str) -> Used:
    """The use with its speed or service tier named as standard; a web search has neither."""
    return used._replace(kind=used.kind._replace(**{about: _STANDARD})) if used.kind.model else used


def _query(width: timedelta, start: datetime, end: datetime, groups: tuple[str, ...], limit: int) -> _Query:
    """The parameters. The reference has buckets that end *before* `ending_at`, so one more is asked for than is used.

    Closed days are cut by the API itself.
    """
    ending = end if width == DAY else end + width
    return (
        ("starting_at", f"{start:%Y-%m-%dT%H:%M:%SZ}"),
        ("ending_at", f"{ending:%Y-%m-%dT%H:%M:%SZ}"),
        ("bucket_width", _NAMES[width]),
        *(("group_by[]", group) for group in groups),
        *((("service_tiers[]", _STANDARD),) if groups is _SPEED_GROUPS else ()),
        ("limit", str(limit)),
    )


def _take(found: _Buckets, buckets: Iterable[Bucket], start: datetime, end: datetime) -> None:
    """Add the buckets of a page. A bucket may come twice only with the same content; later ones are not wanted."""
    for bucket in buckets:
        if bucket.start < start:
            raise _unreadable(f"a bucket of {bucket.start:%Y-%m-%d %H:%M}, before the start that was asked for")
        if bucket.start < end and found.setdefault(bucket.start, bucket.counts) != bucket.counts:
            raise _unreadable(f"{bucket.start:%Y-%m-%d %H:%M} comes twice, with different content")


def _reused(before: _Buckets, fresh: _Buckets) -> _Buckets:
    """The fresh buckets; the very same counts as before where they did not change."""
    return {
        start: before[start] if start in before and before[start] == counts else counts
        for start, counts in fresh.items()
    }


def _recent(memory: _Memory) -> list[tuple[datetime, datetime, Counts]]:
    """Everything from the split on: minutes, or the hour as a whole where the API has no minutes of it."""
    recent = [(start, start + MINUTE, counts) for start, counts in memory.minutes.items()]
    served = {floor(start, HOUR) for start in memory.minutes}
    return recent + [
        (start, start + HOUR, counts)
        for start, counts in memory.hours.items()
        if start >= memory.split and start not in served
    ]


def _lacks_minutes(minutes: _Buckets, running: datetime, now: datetime) -> bool:
    """Whether the API should have shown minutes of the running hour by now, and shows none."""
    return now >= running + _SETTLED and not any(start >= running for start in minutes)


def _is_told(counts: Counts) -> bool:
    """Whether the API showed the bucket: one that it left out is taken as without use, and may be lacking after all."""
    return counts is not _NOTHING


def _summed(parts: Iterable[Counts]) -> dict[Used, int]:
    sums: dict[Used, int] = {}
    for part in parts:
        for used, count in part.items():
            sums[used] = sums.get(used, 0) + count
    return sums


def _span(memory: _Memory, now: datetime) -> int:
    return (now.date() - memory.first).days + 1


def _is_complete(memory: _Memory, day: date, now: datetime) -> bool:
    """Whether the day is over, had time to be counted, and each of its hours or minutes was told."""
    if now < midnight(day + DAY) + _SETTLED:
        return False
    parts = [(start, start + HOUR, counts) for start, counts in memory.hours.items() if start < memory.split]
    told = ((start, end) for start, end, counts in parts + _recent(memory) if _is_told(counts))
    inside = sum((end - start for start, end in told if start.date() == day), timedelta())
    return inside == DAY


def _through(memory: _Memory, now: datetime) -> datetime:
    """The end of the newest bucket that is over."""
    ends = [end for _, end, _ in _recent(memory) if end <= now]
    ends += [start + HOUR for start in memory.hours if start < memory.split]
    if not ends:
        raise _unreadable("no bucket that is over; that is missing data, not $0")
    return max(ends)


def _told_until(memory: _Memory) -> datetime:
    """Up to where the reading told of use: less than until it was made, when the report stood still."""
    return min(memory.read_at, _through(memory, memory.read_at))


def _newest_use(memory: _Memory) -> datetime | None:
    ends = [end for _, end, counts in _recent(memory) if counts]
    ends += [start + HOUR for start, counts in memory.hours.items() if counts and start < memory.split]
    return max(ends, default=None)


def _unpriced(parts: Iterable[Priced]) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = {}
    for part in parts:
        for about, count in part.unpriced.items():
            sums[about] = sums.get(about, 0) + count
    return sums


def _departures(parts: Iterable[Priced]) -> set[str]:
    nameless = any(not model for part in parts for model, _ in part.unpriced)
    return {"the usage report has tokens without a model, though it is grouped by it"} if nameless else set()


def _said(priced: Priced) -> list[str]:
    """What the operator should know of an estimate; no figures, so that each is said once."""
    return [
        *(
            f"no price is known for {unit} of {model or 'no model'}: not in any amount"
            for model, unit in priced.unpriced
        ),
        *(f"Priority Tier tokens of {model} are left out: their cost is in no report" for model in priced.priority),
        *(f"{model} is in no price list yet: priced like {like}" for model, like in priced.relatives),
    ]


def _unreadable(complaint: str) -> SourceError:
    return SourceError(Failure.UNREADABLE, f"the usage report cannot be trusted: {complaint}", status=200)
