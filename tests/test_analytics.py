"""The cost analytics as a source: what is asked for, what is believed, what is not read twice."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from budgetd import money
from budgetd.http import BodyTooLargeError
from budgetd.model import DEFAULT_WORKSPACE, Basis, CostDay, Failure, Report, SourceError
from budgetd.sources.analytics import PATH, Analytics, TooManyPagesError
from budgetd.sources.cost_report import window
from tests.analytics_pages import (
    DAY,
    DEFAULT_ID,
    HOUR,
    NOW,
    REFRESHED,
    TODAY,
    Charges,
    Ledger,
    Query,
    at,
    gone,
    line,
    page,
    row,
    stamp,
)
from tests.cost_pages import Shelf

MIDNIGHT = at("18T00:00")
BILLED = at("17T00:00")


def each_hour(moment: datetime) -> Charges:
    """A hundred cents an hour and workspace, and the number of the hour on top."""
    return {"wrkspc_a": 100 + moment.hour, "wrkspc_b": 100}


def source(api: Any, *, history: bool = False, billed: datetime | None = BILLED, **more: Any) -> Analytics:
    return Analytics(api, lambda: DEFAULT_ID, billed_through=lambda: billed, history=history, **more)


def dollars(report: Report) -> list[Decimal]:
    return [sum(each.lines.values(), Decimal(0)) for each in report.slices]


def refused(api: Any, failure: Failure, words: str, **more: Any) -> SourceError:
    with pytest.raises(SourceError, match=words) as caught:
        source(api, **more).read(NOW, None)
    assert caught.value.failure is failure
    return caught.value


def is_probe(query: Query) -> bool:
    return query["limit"] == ["1"]


# --- what is asked for -------------------------------------------------------------------------


def test_one_small_question_and_then_the_hours_of_the_unbilled_days() -> None:
    api = Ledger(each_hour)
    source(api).read(NOW, None)
    assert api.asked == [
        {
            "starting_at": ["2026-11-17T00:00:00Z"],
            "ending_at": ["2026-11-18T15:00:00Z"],
            "time_bucket_width": ["1h"],
            "order_by": ["time"],
            "order": ["asc"],
            "limit": ["1"],
        },
        {
            "starting_at": ["2026-11-17T00:00:00Z"],
            "ending_at": ["2026-11-18T13:00:00Z"],
            "time_bucket_width": ["1h"],
            "group_by[]": [
                "workspace_id",
                "model",
                "service_tier",
                "context_window",
                "inference_geo",
                "cost_type",
                "token_type",
            ],
            "order_by": ["time"],
            "order": ["asc"],
            "limit": ["1000"],
        },
    ]


@pytest.mark.parametrize(
    ("billed", "first"),
    [
        (None, "2026-11-17"),
        (at("17T00:00"), "2026-11-17"),
        (at("18T00:00"), "2026-11-18"),
        (at("19T00:00"), "2026-11-18"),
        (at("15T00:00"), "2026-11-15"),
        (at("01T00:00"), "2026-11-12"),
    ],
)
def test_the_hours_begin_on_the_first_day_without_a_bill_a_week_ago_at_most(
    billed: datetime | None, first: str
) -> None:
    api = Ledger(each_hour)
    report = source(api, billed=billed).read(NOW, None)
    assert api.asked[1]["starting_at"] == [f"{first}T00:00:00Z"]
    # Just after midnight today may be nothing that the data reaches.
    assert api.asked[0]["starting_at"] == [f"{min(first, '2026-11-17')}T00:00:00Z"]
    assert str(report.slices[0].start.date()) == str(report.start) == first


def test_the_deadline_reaches_every_request() -> None:
    class Watch(Shelf):
        def get(self, *args: Any, deadline: float | None = None) -> bytes:
            assert deadline == 130.0
            return super().get(*args)

    source(Watch(page([])), fetch_seconds=30, monotonic=lambda: 100.0).read(NOW, None)


# --- slices ------------------------------------------------------------------------------------


def test_every_whole_hour_before_the_refresh_is_a_slice_of_billed_money() -> None:
    report = source(Ledger(each_hour)).read(NOW, None)
    assert [(each.start, each.end) for each in report.slices] == [
        (BILLED + HOUR * number, BILLED + HOUR * (number + 1)) for number in range(36)
    ]
    assert {each.basis for each in report.slices} == {Basis.BILLED}
    assert report.slices[11].lines == {line("wrkspc_a"): Decimal("1.11"), line("wrkspc_b"): Decimal("1")}
    assert (report.source, report.days, report.through, report.remarks) == ("analytics", (), REFRESHED, ())
    assert (report.start, report.end) == (date(2026, 11, 17), date(2026, 11, 19))


def test_an_hour_without_rows_is_an_empty_slice() -> None:
    api = Ledger(lambda moment: each_hour(moment) if moment.hour % 2 else {})
    assert [bool(each.lines) for each in source(api).read(NOW, None).slices] == [False, True] * 18


@pytest.mark.parametrize(
    ("refreshed", "through"),
    [
        ("18T12:00:00", "18T12:00"),
        ("18T12:00:01", "18T12:00"),
        ("18T12:59:59", "18T12:00"),
        ("18T14:31:05", "18T14:00"),
        ("18T14:31:09", "18T14:00"),  # their clock is ahead of ours
        ("18T15:00:01", "18T14:00"),
        ("18T00:00:00", "18T00:00"),
        ("17T23:59:59", "17T23:00"),
        ("17T00:59:59", "17T00:00"),
        ("16T20:00:00", "16T20:00"),
    ],
)
def test_the_hour_that_the_refresh_falls_into_is_left_out(refreshed: str, through: str) -> None:
    report = source(Ledger(each_hour, refreshed=at(refreshed))).read(NOW, None)
    assert report.through == at(through)
    assert len(report.slices) == max(0, (at(through) - BILLED) // HOUR)
    assert all(sum(each.lines.values()) == Decimal(200 + each.start.hour) / 100 for each in report.slices)


def test_an_hour_is_over_once_our_clock_says_so_too() -> None:
    analytics = source(Ledger(each_hour, refreshed=at("18T15:00:01")))
    assert analytics.read(at("18T14:59:59"), None).through == at("18T14:00")
    report = analytics.read(at("18T15:00:10"), None)
    assert report.through == at("18T15:00") == report.slices[-1].end


def test_pages_are_followed_with_the_query_that_their_cursor_belongs_to() -> None:
    whole, pages = Ledger(each_hour), Ledger(each_hour, most=7)
    assert source(pages).read(NOW, None) == source(whole).read(NOW, None)
    cursors = [query.pop("page", None) for query in pages.asked]
    assert cursors[:3] == [None, None, [f"7@{stamp(REFRESHED)}"]]
    assert len(cursors) == 1 + 11  # 26 hours of two rows
    assert all(query == pages.asked[1] for query in pages.asked[1:])


def test_the_bucket_after_the_last_is_asked_for_and_not_used() -> None:
    api = Ledger(each_hour, refreshed=at("18T13:45:00"))
    report = source(api).read(NOW, None)
    assert api.asked[1]["ending_at"] == ["2026-11-18T14:00:00Z"]
    assert report.slices[-1].end == report.through == at("18T13:00")


# --- not read twice ----------------------------------------------------------------------------


def test_while_nothing_was_refreshed_one_small_question_is_all() -> None:
    api = Ledger(each_hour)
    analytics = source(api)
    first = analytics.read(NOW, None)
    api.asked.clear()
    second = analytics.read(NOW + timedelta(minutes=40), None)
    assert [is_probe(query) for query in api.asked] == [True]
    assert second.slices is first.slices
    assert second == first


def test_a_refresh_is_read_and_what_did_not_change_is_the_same_object() -> None:
    restated: dict[datetime, Charges] = {}
    api = Ledger(lambda moment: restated.get(moment, each_hour(moment)))
    analytics = source(api)
    first = analytics.read(NOW, None)
    restated[at("17T05:00")] = {"wrkspc_a": 5}
    restated[at("17T06:00")] = {}
    api.refreshed = at("18T16:00")
    second = analytics.read(at("18T16:02"), None)
    assert analytics.refreshed_at == at("18T16:00")
    changed = [new.start for old, new in zip(first.slices, second.slices, strict=False) if old is not new]
    assert changed == list(restated)
    assert dollars(second)[5:7] == [Decimal("0.05"), 0]
    assert [each.start for each in second.slices[36:]] == [at(f"18T{hour}:00") for hour in range(12, 16)]
    assert second.through == at("18T16:00")


def test_a_refresh_that_changes_nothing_leaves_even_the_tuple() -> None:
    api = Ledger(each_hour)
    analytics = source(api)
    first = analytics.read(NOW, None)
    api.refreshed = REFRESHED + timedelta(minutes=20)
    second = analytics.read(NOW, None)
    assert len(api.asked) == 4
    assert second.slices is first.slices


def test_a_new_day_is_read_again_and_keeps_the_slices_of_the_old_ones() -> None:
    api, billed = Ledger(each_hour, refreshed=at("18T20:00")), [at("18T00:00")]
    analytics = Analytics(api, lambda: DEFAULT_ID, billed_through=lambda: billed[0], history=False)
    first = analytics.read(at("18T23:59"), None)
    second = analytics.read(at("19T00:01"), None)
    assert [each.start.day for each in second.slices] == [18] * 20
    assert all(old is new for old, new in zip(first.slices, second.slices, strict=True))
    api.refreshed = at("19T04:00")
    assert [each.start.day for each in analytics.read(at("19T04:01"), None).slices] == [18] * 24 + [19] * 4
    billed[0] = at("19T00:00")  # the bill of the 18th has come
    last = analytics.read(at("19T05:01"), None)
    assert [each.start.day for each in last.slices] == [19] * 4
    assert last.through == at("19T04:00")


def test_before_the_first_hour_of_the_first_day_there_are_no_slices() -> None:
    api = Ledger(each_hour, refreshed=at("17T20:00"))
    report = source(api, billed=at("18T00:00")).read(at("18T00:30"), None)
    assert (report.slices, report.through) == ((), at("17T20:00"))
    assert [is_probe(query) for query in api.asked] == [True]


def test_who_forgets_reads_again() -> None:
    api = Ledger(each_hour)
    analytics = source(api, history=True)
    first = analytics.read(NOW, None)
    analytics.forget()
    second = analytics.read(NOW, None)
    assert second == first
    assert second.days


# --- refreshes in the middle ---------------------------------------------------------------------


def refreshes(times: int, how: Callable[[Ledger], None]) -> Ledger:
    """An API that is refreshed before its second page, so many times."""
    left = [times]

    def change(query: Query, answer: Any) -> Any:
        if "page" in query and left[0]:
            left[0] -= 1
            how(api)
            return api._page(query)
        return answer

    api = Ledger(each_hour, most=50, change=change)
    return api


def outlived(api: Ledger) -> None:
    api.refreshed += timedelta(minutes=1)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_cursor_that_outlives_a_refresh_starts_from_the_first_page(times: int) -> None:
    api = refreshes(times, outlived)
    report = source(api).read(NOW, None)
    assert report == source(Ledger(each_hour)).read(NOW, None)
    assert [is_probe(query) for query in api.asked].count(True) == 1 + times


def test_refreshes_without_end_are_unavailable() -> None:
    api = refreshes(99, outlived)
    refused(api, Failure.UNAVAILABLE, "refreshed during each of 4 readings")
    assert [is_probe(query) for query in api.asked].count(True) == 4


def test_pages_of_two_refreshes_are_not_put_together() -> None:
    def change(query: Query, answer: Any) -> Any:
        late = "page" in query and len(api.asked) < 5
        return {**answer, "data_refreshed_at": "2026-11-18T12:05:00Z"} if late else answer

    api = Ledger(each_hour, most=50, change=change)
    assert source(api).read(NOW, None) == source(Ledger(each_hour)).read(NOW, None)
    assert [is_probe(query) for query in api.asked].count(True) == 2


def test_a_410_that_no_cursor_is_to_blame_for_is_the_services_word() -> None:
    shelf = Shelf(gone())
    assert refused(shelf, Failure.REJECTED, "410").status == 410
    assert len(shelf.asked) == 1


# --- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "status"),
    [(Failure.REFUSED, 403), (Failure.REJECTED, 404), (Failure.REJECTED, 400), (Failure.UNAVAILABLE, 503)],
)
def test_a_refusal_of_the_service_is_told_as_it_is(failure: Failure, status: int) -> None:
    shelf = Shelf(SourceError(failure, f"HTTP {status}", status=status))
    assert refused(shelf, failure, str(status)).status == status
    assert len(shelf.asked) == 1


@pytest.mark.parametrize(
    ("pages", "complaint"),
    [
        ([page([row()], "p2"), page([row(at("18T10:00"))], "p2")], "cursor on page 2 leads back"),
        ([page([row()], "p2"), page([row(at("18T10:00"))], "p3"), page([row(at("18T09:00"))], "p2")], "on page 3"),
        ([page([], "p2")], "without a row announces more"),
        ([page([row(), row()])], "two rows of 2026-11-18T11:00:00Z are about the same"),
        ([page([row(), row(amount="1")])], "two rows of 2026-11-18T11:00:00Z"),
        ([page([row()], "p2"), page([row()])], "two rows of 2026-11-18T11:00:00Z"),
        ([page([row(at("16T23:00"))])], "before the start that was asked for"),
        ([page([row(at("18T00:00"), width="1d")])], r"answer 2: \$\.data\[0\]: a bucket that is not one hour"),
        ([b"{}"], r"answer 2: \$\.data: missing"),
    ],
)
def test_what_cannot_be_trusted_is_refused_whole(pages: list[Any], complaint: str) -> None:
    error = refused(Shelf(*[page([]), *pages] * 2), Failure.UNREADABLE, f"analytics cannot be trusted: .*{complaint}")
    assert error.status == 200


def test_a_doubtful_reading_is_fetched_afresh_once() -> None:
    shelf = Shelf(page([]), b"{", page([]), page([row()]))
    assert len(source(shelf).read(NOW, None).slices) == 36
    assert len(shelf.asked) == 4


def test_rows_that_differ_in_a_dimension_that_is_new_are_one_line() -> None:
    rows = [row(amount="100", shade="red"), row(amount="250", shade="blue")]
    report = source(Shelf(page([]), page(rows))).read(NOW, None)
    assert report.slices[-1].lines == {line(): Decimal("3.5")}


def test_a_body_too_large_is_not_fetched_afresh() -> None:
    shelf = Shelf(BodyTooLargeError(Failure.UNREADABLE, "too large"))
    refused(shelf, Failure.UNREADABLE, "too large")
    assert len(shelf.asked) == 1


def test_an_organisation_of_too_many_pages_is_told_what_to_do() -> None:
    def crowd(moment: datetime) -> Charges:
        return {f"wrkspc_{number}": 1 for number in range(10)}

    api = Ledger(crowd, most=1)
    error = refused(api, Failure.REJECTED, "too large for the analytics: more than 300 pages of 1,000 rows")
    assert "Read the cost report and the usage report instead" in error.message
    assert len(api.asked) == 301


def test_too_many_pages_are_not_read_again_on_the_same_day() -> None:
    api = Ledger(lambda moment: {f"wrkspc_{number}": 1 for number in range(10)}, most=1)
    analytics = source(api)
    for now, asked in ((NOW, 301), (NOW + timedelta(minutes=5), 301), (NOW + timedelta(days=1), 602)):
        with pytest.raises(TooManyPagesError):
            analytics.read(now, None)
        assert len(api.asked) == asked


def test_data_that_was_there_and_is_gone_is_refused() -> None:
    api = Ledger(each_hour)
    analytics = source(api)
    analytics.read(NOW, None)
    analytics.forget()
    api.refreshed = at("18T08:00")
    with pytest.raises(SourceError, match=r"they are of 2026-11-18T08:00:00Z, and were of 2026-11-18T12:00:00Z"):
        analytics.read(NOW, None)
    # A clock that was set back asks of an earlier time.
    assert analytics.read(at("18T08:30"), None).through == at("18T08:00")


def test_a_failed_reading_changes_nothing() -> None:
    broken = [False]

    def change(query: Query, answer: Any) -> Any:
        if broken[0] and "page" in query:
            raise SourceError(Failure.UNAVAILABLE, "HTTP 503", status=503)
        return answer

    spent = [1]
    api = Ledger(lambda moment: {"wrkspc_a": spent[0], "wrkspc_b": 1, "wrkspc_c": 1}, most=20, change=change)
    analytics = source(api, history=True)
    first = analytics.read(NOW, None)
    broken[0], spent[0], api.refreshed = True, 2, at("18T14:00")
    for _ in range(2):
        with pytest.raises(SourceError, match="503"):
            analytics.read(NOW, None)
    assert analytics.refreshed_at == REFRESHED
    broken[0], spent[0] = False, 1
    report = analytics.read(NOW, None)
    assert [day.day for day in report.days] == [TODAY]
    assert all(old is new for old, new in zip(first.slices, report.slices, strict=False))


# --- the default workspace -----------------------------------------------------------------------


def in_default(moment: datetime) -> Charges:
    return {DEFAULT_ID: 1, "wrkspc_a": 10}


def workspaces(report: Report) -> set[str | None]:
    return {about.workspace for each in report.slices for about in each.lines}


def test_the_default_workspace_has_one_identity() -> None:
    report = source(Ledger(lambda moment: {DEFAULT_ID: 1, None: 2, "wrkspc_a": 10})).read(NOW, None)
    assert report.slices[0].lines == {line(DEFAULT_WORKSPACE): Decimal("0.03"), line("wrkspc_a"): Decimal("0.1")}


def test_nothing_is_read_while_nobody_knows_the_default_workspace() -> None:
    api = Ledger(in_default)
    with pytest.raises(SourceError, match="nobody knows which workspace is the default one") as caught:
        Analytics(api, lambda: None, history=False).read(NOW, None)
    assert caught.value.failure is Failure.UNAVAILABLE
    assert api.asked == []


class Listed:
    """The list of workspaces, which tells those that it lacks."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids
        self.asked: list[frozenset[str]] = []

    def __call__(self, ids: Collection[str]) -> frozenset[str]:
        self.asked.append(frozenset(ids))
        return frozenset(ids) - set(self.ids)


def test_the_one_workspace_that_no_list_has_is_the_default_one() -> None:
    listed = Listed("wrkspc_a", "wrkspc_b")
    analytics = Analytics(Ledger(in_default), lambda: None, unlisted=listed, history=True)
    report = analytics.read(NOW, None)
    assert workspaces(report) == {DEFAULT_WORKSPACE, "wrkspc_a"}
    assert {about.workspace for day in report.days for about in day.lines} == {DEFAULT_WORKSPACE, "wrkspc_a"}
    analytics.read(NOW, None)
    assert listed.asked == [{DEFAULT_ID, "wrkspc_a"}]


def test_the_default_workspace_may_have_been_in_use_long_ago_only() -> None:
    api = Ledger(lambda moment: in_default(moment) if moment.day == 3 else {"wrkspc_a": 1})
    report = Analytics(api, lambda: None, unlisted=Listed("wrkspc_a"), history=True).read(NOW, None)
    assert {about.workspace for about in report.days[2].lines} == {DEFAULT_WORKSPACE, "wrkspc_a"}


def test_where_every_workspace_is_listed_no_row_is_about_the_default_one() -> None:
    report = Analytics(Ledger(each_hour), lambda: None, unlisted=Listed("wrkspc_a", "wrkspc_b"), history=False).read(
        NOW, None
    )
    assert workspaces(report) == {"wrkspc_a", "wrkspc_b"}


def test_of_two_that_no_list_has_none_is_taken_for_the_default_one() -> None:
    analytics = Analytics(Ledger(in_default), lambda: None, unlisted=Listed(), history=False)
    with pytest.raises(SourceError, match="2 workspaces of the analytics are in no list") as caught:
        analytics.read(NOW, None)
    assert caught.value.failure is Failure.UNAVAILABLE


def test_a_known_default_workspace_needs_no_list() -> None:
    listed = Listed()
    Analytics(Ledger(in_default), lambda: DEFAULT_ID, unlisted=listed, history=False).read(NOW, None)
    assert listed.asked == []


def test_what_was_read_under_another_default_workspace_is_read_again() -> None:
    default = ["wrkspc_a"]
    analytics = Analytics(Ledger(in_default), lambda: default[0], history=True)
    assert workspaces(analytics.read(NOW, None)) == {DEFAULT_WORKSPACE, DEFAULT_ID}
    default[0] = DEFAULT_ID
    report = analytics.read(NOW, None)
    assert workspaces(report) == {DEFAULT_WORKSPACE, "wrkspc_a"}
    assert len(report.days) == 18


# --- history -----------------------------------------------------------------------------------


def by_day(report: Report) -> dict[date, CostDay]:
    return {day.day: day for day in report.days}


def test_with_history_there_are_the_days_of_the_cost_reports_window() -> None:
    api = Ledger(each_hour)
    report = source(api, history=True, billed=None).read(NOW, None)
    assert [day.day.day for day in report.days] == list(range(1, 19))
    assert all(day.basis is Basis.BILLED for day in report.days)
    assert [day.complete for day in report.days] == [True] * 17 + [False]
    closed = {line("wrkspc_a"): Decimal("26.76"), line("wrkspc_b"): Decimal(24)}
    assert all(day.lines == closed for day in report.days[:-1])
    assert report.days[-1].lines == {line("wrkspc_a"): Decimal("12.66"), line("wrkspc_b"): Decimal(12)}
    assert (report.start, report.end, report.through) == (window(NOW, None).start, TODAY + DAY, REFRESHED)
    assert api.asked[2]["time_bucket_width"] == ["1d"]
    assert api.asked[2]["starting_at"] + api.asked[2]["ending_at"] == ["2026-11-01T00:00:00Z", "2026-11-19T00:00:00Z"]


@pytest.mark.parametrize(
    ("now", "refreshed", "complete", "running"),
    [
        ("18T00:05", "18T00:00", 17, None),
        ("18T01:05", "18T00:45", 17, None),
        ("18T00:05", "17T20:00", 16, 17),
        ("18T09:00", "16T10:00", 15, 16),
        ("18T09:00", "12T10:00", 11, 12),
        ("18T09:00", "11T10:00", 10, None),  # older than a week: no hours of it are read
    ],
)
def test_a_day_is_closed_once_the_data_reaches_its_end(
    now: str, refreshed: str, complete: int, running: int | None
) -> None:
    report = source(Ledger(each_hour, refreshed=at(refreshed)), history=True, billed=None).read(at(now), None)
    assert [day.day.day for day in report.days if day.complete] == list(range(1, complete + 1))
    assert [day.day.day for day in report.days if not day.complete] == ([running] if running else [])
    assert report.end == report.days[-1].day + DAY or running is None


def test_a_closed_day_without_cost_is_an_empty_day() -> None:
    api = Ledger(lambda moment: {} if moment.day in (5, 17) else each_hour(moment))
    report = source(api, history=True).read(NOW, None)
    assert [day.day.day for day in report.days if not day.lines] == [5, 17]


def test_a_running_day_without_cost_is_an_empty_day() -> None:
    report = source(Ledger(lambda moment: {}), history=True).read(NOW, None)
    assert [day.complete for day in report.days if not day.lines] == [True] * 17 + [False]


def test_only_days_that_changed_are_in_the_next_report() -> None:
    restated: dict[date, Charges] = {}
    api = Ledger(lambda moment: restated.get(moment.date(), each_hour(moment)))
    analytics = source(api, history=True)
    assert len(analytics.read(NOW, None).days) == 18
    assert analytics.read(NOW, None).days == ()
    restated[date(2026, 11, 3)] = {}
    api.refreshed = at("18T14:00")
    assert [day.day.day for day in analytics.read(NOW, None).days] == [3, 18]
    restated.clear()
    api.refreshed = at("18T14:20")
    assert [day.day.day for day in analytics.read(NOW, None).days] == [3]


def test_a_day_that_closes_is_news_also_when_nothing_was_spent_since() -> None:
    api = Ledger(lambda moment: each_hour(moment) if moment < REFRESHED else {})
    analytics = source(api, history=True, billed=None)
    analytics.read(NOW, None)
    api.refreshed = at("19T00:00")
    days = analytics.read(at("19T00:05"), None).days
    assert [(day.day.day, day.complete) for day in days] == [(18, True)]


@pytest.mark.parametrize(
    ("since", "first"),
    [(date(2026, 8, 3), "2026-08-03"), (date(2020, 1, 1), "2025-11-19"), (date(2026, 11, 17), "2026-11-01")],
)
def test_older_days_are_read_in_ranges_of_a_month(since: date, first: str) -> None:
    api = Ledger(each_hour)
    report = source(api, history=True).read(NOW, since)
    start = date.fromisoformat(first)
    assert [day.day for day in report.days] == [start + DAY * number for number in range((TODAY - start).days + 1)]
    assert report.start == start
    assert {money.total(day.lines.values()) for day in report.days if day.complete} == {Decimal("50.76")}
    for query in api.asked:
        begin, end = (datetime.fromisoformat(query[name][0]) for name in ("starting_at", "ending_at"))
        assert end - begin <= timedelta(days=31)
        assert begin >= NOW - timedelta(days=365)


def test_days_that_were_not_asked_for_before_are_read_though_nothing_was_refreshed() -> None:
    api = Ledger(each_hour)
    analytics = source(api, history=True)
    analytics.read(NOW, None)
    older = analytics.read(NOW, date(2026, 10, 30))
    assert [day.day for day in older.days] == [date(2026, 10, 30), date(2026, 10, 31)]
    asked = len(api.asked)
    assert analytics.read(NOW, None).days == ()
    assert len(api.asked) == asked + 1


def test_a_refresh_between_the_hours_and_the_days_starts_again() -> None:
    def change(query: Query, answer: Any) -> Any:
        if query["time_bucket_width"] == ["1d"] and api.refreshed == REFRESHED:
            api.refreshed = at("18T14:00")
            return api._page(query)
        return answer

    api = Ledger(each_hour, change=change)
    report = source(api, history=True).read(NOW, None)
    assert report == source(Ledger(each_hour, refreshed=at("18T14:00")), history=True).read(NOW, None)


def test_now_may_be_told_in_any_zone() -> None:
    here = source(Ledger(each_hour), history=True).read(NOW, None)
    there = source(Ledger(each_hour), history=True).read(datetime.fromisoformat("2026-11-18T20:16:05+05:45"), None)
    assert there == here
    assert there.through.tzinfo is UTC


# --- remarks -----------------------------------------------------------------------------------


def test_an_oddity_is_remarked_on_once() -> None:
    again = {"data_refreshed_at": "2026-11-18T13:00:00Z"}
    odd = row(service_tier="solar")
    answers = [page([]), page([odd])]
    later = [page([], **again), page([odd], **again)]
    analytics = source(Shelf(*answers, *later, *later))
    said = [analytics.read(NOW, None).remarks for _ in range(2)]
    analytics.forget()
    said.append(analytics.read(NOW, None).remarks)
    remark = ('the analytics have a service_tier that budgetd does not know: "solar"',)
    assert said == [remark, (), remark]


def test_the_source_is_known_by_its_name() -> None:
    assert source(Ledger(each_hour)).name == Analytics.NAME == "analytics"
    assert PATH == "/v1/organizations/analytics/cost"
