"""The usage report as a source: what is asked for, what is believed, and that estimates add up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetd import money
from budgetd.http import BodyTooLargeError
from budgetd.learning import learn
from budgetd.model import DEFAULT_WORKSPACE, Basis, CostSlice, Dimensions, Failure, Report, SourceError
from budgetd.period import midnight
from budgetd.price_list import INPUT, OUTPUT, WEB_SEARCH
from budgetd.pricing import RateTable
from budgetd.sources.usage_report import HOUR, MINUTE, SPEED_BETA, UsageReport
from tests.cost_pages import Shelf
from tests.usage_pages import NOW, OPUS, REFUSED_SPEED, TODAY, Meter, bill, bucket, page, row, stamp, usage, used

DAY = timedelta(days=1)
YESTERDAY = TODAY - DAY
NOON = NOW.replace(minute=0, second=0)
RATES = RateTable()
Rows = Callable[[datetime], Iterable[dict[str, Any]]]


def steady(minute: datetime) -> list[dict[str, Any]]:
    """A million output tokens ($25) every minute."""
    return [row(10**6)]


def source(meter: Any, *, billed: datetime | None = None, rates: RateTable = RATES, **more: Any) -> UsageReport:
    return UsageReport(meter, lambda: rates, lambda: billed, **more)


def amounts(report: Report) -> dict[date, Decimal]:
    return {day.day: money.total(day.lines.values()) for day in report.days}


def spent(part: CostSlice) -> Decimal:
    return money.total(part.lines.values())


def next_read(reader: UsageReport, meter: Meter, now: datetime) -> tuple[Report, list[str]]:
    """The report of a later reading, and what was asked for it."""
    meter.now = now
    before = len(meter.asked)
    report = reader.read(now, None)
    return report, [
        f"{query['bucket_width'][0]} {query['starting_at'][0][8:16]} {query['ending_at'][0][8:16]}"
        for query in meter.asked[before:]
    ]


# --- a good reading ----------------------------------------------------------------------------


def test_today_and_yesterday_are_estimated_from_hours_and_minutes() -> None:
    report = source(Meter(steady)).read(NOW, None)
    assert (report.source, report.start, report.end) == ("usage_report", YESTERDAY, TODAY + DAY)
    assert [(day.day, day.basis, day.complete) for day in report.days] == [
        (YESTERDAY, Basis.ESTIMATED, True),
        (TODAY, Basis.ESTIMATED, False),
    ]
    # 12:30:20: the running minute is the 751st of the day
    assert amounts(report) == {YESTERDAY: 25 * 1440, TODAY: 25 * 751}
    assert report.through == NOW.replace(second=0)
    assert (report.remarks, report.unpriced) == ((), {})


def test_slices_are_hours_then_minutes_without_gap_or_overlap_and_add_up_to_the_days() -> None:
    report = source(Meter(steady)).read(NOW, None)
    assert report.slices[0].start == midnight(YESTERDAY)
    assert [each.end for each in report.slices[:-1]] == [each.start for each in report.slices[1:]]
    widths = [each.end - each.start for each in report.slices]
    assert widths == [HOUR] * 35 + [MINUTE] * 91  # until 11:00 yesterday's and today's hours, then minutes
    assert money.total(map(spent, report.slices)) == money.total(amounts(report).values())
    assert report.slices[-1].end > report.through == report.slices[-2].end  # the running minute is not over
    assert {each.basis for each in report.slices} == {Basis.ESTIMATED}


def test_the_query_has_five_groupings_whole_buckets_and_the_largest_page() -> None:
    meter = Meter(steady)
    source(meter, billed=midnight(TODAY)).read(NOW, None)
    groups = ["workspace_id", "model", "service_tier", "context_window", "inference_geo"]
    assert meter.asked == [
        {
            "starting_at": ["2026-11-18T11:00:00Z"],
            "ending_at": ["2026-11-18T12:32:00Z"],
            "bucket_width": ["1m"],
            "group_by[]": groups,
            "limit": ["1440"],
        },
        {
            "starting_at": ["2026-11-18T00:00:00Z"],
            "ending_at": ["2026-11-18T14:00:00Z"],
            "bucket_width": ["1h"],
            "group_by[]": groups,
            "limit": ["168"],
        },
    ]


def test_the_lines_are_those_that_the_bill_will_have() -> None:
    rows = [
        row(10**6, None),
        row(0, uncached_input_tokens=10**6, server_tool_use={"web_search_requests": 2}),
        row(0, "wrkspc_a", model="claude-haiku-4-5", server_tool_use={"web_search_requests": 3}),
    ]
    report = source(Meter(lambda minute: rows if minute == NOON else []), billed=midnight(TODAY)).read(NOW, None)
    kind = ("standard", "0-200k", "global", None)
    assert report.days[0].lines == {
        Dimensions(DEFAULT_WORKSPACE, None, "tokens", OPUS, OUTPUT, *kind): 25,
        Dimensions("wrkspc_a", None, "tokens", OPUS, INPUT, *kind): 5,
        Dimensions("wrkspc_a", None, WEB_SEARCH): Decimal("0.05"),
    }


def test_learned_rates_make_the_estimate_of_a_day_its_bill() -> None:
    rows = [row(4321), row(1234, None, service_tier="batch"), row(7, cache_creation={"ephemeral_1h_input_tokens": 9})]
    meter = Meter(lambda minute: rows)
    counted = source(meter).usage_days(YESTERDAY - 2 * DAY, TODAY)
    assert [day.day for day in counted] == [YESTERDAY - 2 * DAY, YESTERDAY - DAY, YESTERDAY]
    bills = [bill(day.day, day.counts, "0.87") for day in counted]
    rates, remarks = learn(bills[:2], counted, RateTable())
    assert remarks == ()
    report = source(meter, rates=rates).read(NOW, None)
    assert report.days[0].lines == bills[2].lines


def test_usage_days_are_closed_days_and_in_one_request() -> None:
    meter = Meter(steady)
    found = source(meter).usage_days(date(2026, 10, 20), TODAY + DAY)
    assert (found[0].day, found[-1].day, len(found), len(meter.asked)) == (date(2026, 10, 20), YESTERDAY, 29, 1)
    assert found[0] == usage(date(2026, 10, 20), {used(OUTPUT): 1440 * 10**6})


def test_what_has_no_price_is_said_once_and_counted_always() -> None:
    rows = [row(5, model="someone-else"), row(7, service_tier="priority"), row(1, model="claude-opus-4-9")]
    meter = Meter(lambda minute: rows if minute == NOON else [])
    reader = source(meter, billed=midnight(TODAY))
    report = reader.read(NOW, None)
    assert report.unpriced == {("someone-else", OUTPUT): 5}
    assert report.remarks == (
        "Priority Tier tokens of claude-opus-4-8 are left out: their cost is in no report",
        "claude-opus-4-9 is in no price list yet: priced like claude-opus-4-8",
        "no price is known for output_tokens of someone-else: not in any amount",
    )
    report, _ = next_read(reader, meter, NOW + MINUTE)
    assert (report.unpriced, report.remarks) == ({("someone-else", OUTPUT): 5}, ())


# --- which days --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("billed", "first"),
    [
        (None, YESTERDAY),
        (midnight(TODAY), TODAY),
        (midnight(TODAY + DAY), TODAY),
        (midnight(YESTERDAY), YESTERDAY),
        (midnight(TODAY - 3 * DAY), TODAY - 3 * DAY),
        (midnight(TODAY - 40 * DAY), TODAY - 6 * DAY),
    ],
)
def test_every_day_without_a_bill_is_estimated_for_a_week_at_most(billed: datetime | None, first: date) -> None:
    report = source(Meter(steady), billed=billed).read(NOW, date(2026, 1, 1))
    assert [day.day for day in report.days] == [first + DAY * n for n in range((TODAY - first).days + 1)]
    assert all(amount == 36_000 for day, amount in amounts(report).items() if day < TODAY)


def test_a_bill_that_arrives_takes_its_day_out_of_the_estimate() -> None:
    meter, billed = Meter(steady), [midnight(YESTERDAY)]
    reader = UsageReport(meter, lambda: RATES, lambda: billed[0])
    assert len(reader.read(NOW, None).days) == 2
    billed[0] = midnight(TODAY)
    report, _ = next_read(reader, meter, NOW + MINUTE)
    assert (report.start, list(amounts(report))) == (TODAY, [TODAY])
    assert report.slices[0].start == midnight(TODAY)


def test_a_bill_that_is_taken_back_brings_its_day_back() -> None:
    meter, billed = Meter(steady), [midnight(TODAY)]
    reader = UsageReport(meter, lambda: RATES, lambda: billed[0])
    reader.read(NOW, None)
    billed[0] = midnight(YESTERDAY)
    report, _ = next_read(reader, meter, NOW + MINUTE)
    assert amounts(report) == {YESTERDAY: 36_000, TODAY: 25 * 752}
    assert report.slices[0].start == midnight(YESTERDAY)


def test_that_yesterday_is_complete_is_news_by_itself() -> None:
    meter = Meter(steady, now=midnight(TODAY) + 14 * MINUTE)
    reader = source(meter)
    reader.read(meter.now, None)
    report, _ = next_read(reader, meter, midnight(TODAY) + 15 * MINUTE)
    assert [(day.day, day.complete) for day in report.days] == [(YESTERDAY, True), (TODAY, False)]


@pytest.mark.parametrize(
    ("at", "yesterday", "today", "complete"),
    [
        ("2026-12-01T00:00:00", 1440, 1, False),
        ("2026-12-01T00:00:30", 1440, 1, False),
        ("2026-12-01T00:14:59", 1440, 15, False),
        ("2026-12-01T00:15:00", 1440, 16, True),
        ("2026-12-01T01:00:00", 1440, 61, True),
        ("2027-01-01T23:59:59", 1440, 1440, True),
    ],
)
def test_midnight_and_the_first_of_the_month_leave_no_gap(at: str, yesterday: int, today: int, complete: bool) -> None:
    now = datetime.fromisoformat(at).replace(tzinfo=UTC)
    report = source(Meter(steady, now=now)).read(now, None)
    assert list(amounts(report).values()) == [25 * yesterday, 25 * today]
    assert [day.complete for day in report.days] == [complete, False]


def test_every_minute_across_midnight_is_counted_once() -> None:
    start = midnight(TODAY) - timedelta(minutes=70)
    meter = Meter(lambda minute: [row(minute.minute + 1)], now=start)
    reader = source(meter)
    for number in range(200):
        now = start + MINUTE * number
        report, _ = next_read(reader, meter, now)
        today = next(each for each in report.days if each.day == now.date())
        minutes = range((now - midnight(now.date())) // MINUTE + 1)
        assert money.total(today.lines.values()) == sum(minute % 60 + 1 for minute in minutes) * Decimal("25e-6")
        assert report.through == now


# --- reading again -----------------------------------------------------------------------------


def test_a_poll_is_one_request_for_the_minutes_that_may_still_change() -> None:
    meter = Meter(steady)
    reader = source(meter)
    reader.read(NOW, None)
    report, asked = next_read(reader, meter, NOW + MINUTE)
    assert asked == ["1m 18T12:15 18T12:33"]
    assert amounts(report) == {TODAY: 25 * 752}  # yesterday is as it was
    _, asked = next_read(reader, meter, NOW + 10 * MINUTE)
    assert asked == ["1m 18T12:16 18T12:42"]


def test_each_new_hour_reads_the_last_hours_again_and_the_minutes_of_the_last_one() -> None:
    late: list[dict[str, Any]] = []
    meter = Meter(lambda minute: [row(10**6), *(late if minute == NOON - 6 * HOUR else [])])
    reader = source(meter)
    reader.read(NOW, None)
    late.append(row(10**6))
    meter._minutes.clear()
    report, _ = next_read(reader, meter, NOW.replace(minute=59))
    assert amounts(report) == {TODAY: 25 * 780}
    report, asked = next_read(reader, meter, NOW + timedelta(minutes=30))
    assert asked == ["1m 18T12:00 18T13:02", "1h 18T05:00 18T15:00"]
    assert amounts(report) == {TODAY: 25 * 782}
    assert [each.end - each.start for each in report.slices] == [HOUR] * 36 + [MINUTE] * 61


def test_use_that_is_counted_late_within_a_quarter_of_an_hour_is_found() -> None:
    meter = Meter(steady, delay=timedelta(minutes=4))
    reader = source(meter)
    first = reader.read(NOW, None)
    assert amounts(first)[TODAY] == 25 * 747
    assert first.through == NOW.replace(minute=27, second=0)
    meter.delay = timedelta(0)
    assert amounts(next_read(reader, meter, NOW)[0]) == {TODAY: 25 * 751}


def test_missed_polls_leave_no_hole() -> None:
    meter = Meter(steady)
    reader = source(meter)
    reader.read(NOW, None)
    report, _ = next_read(reader, meter, NOW + timedelta(minutes=29))
    assert amounts(report) == {TODAY: 25 * 780}
    report, _ = next_read(reader, meter, NOW + timedelta(hours=30))
    assert list(amounts(report).values()) == [36_000, 25 * (18 * 60 + 31)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-90, 400), min_size=1, max_size=6), st.sampled_from([0, 3]))
def test_whenever_it_is_read_each_minute_counts_once(steps: list[int], delay: int) -> None:
    meter = Meter(lambda minute: [row(minute.hour * 60 + minute.minute + 1)], delay=MINUTE * delay)
    reader, now, known = source(meter), NOW, dict[date, Decimal]()
    for step in [0, *steps]:
        now += MINUTE * step
        report, _ = next_read(reader, meter, now)
        known |= amounts(report)
        counted = now - meter.delay
        for day in (now.date() - DAY, now.date()):
            minutes = min(max((counted - midnight(day)) // MINUTE + 1, 0), 1440)
            assert known[day] == minutes * (minutes + 1) // 2 * Decimal("25e-6")
        parts = [spent(each) for each in report.slices if each.start.date() == now.date()]
        assert money.total(parts) == known[now.date()]


def test_a_clock_that_was_set_back_reads_afresh() -> None:
    meter = Meter(steady)
    reader = source(meter)
    reader.read(NOW, None)
    report, _ = next_read(reader, meter, NOW - timedelta(minutes=50))
    assert amounts(report)[TODAY] == 25 * 701
    report, _ = next_read(reader, meter, NOW - timedelta(minutes=88))
    assert amounts(report)[TODAY] == 25 * 663
    assert report.through == NOW.replace(second=0) - timedelta(minutes=88)


def test_new_rates_price_every_day_again_and_forget_says_everything_again() -> None:
    meter, tables = Meter(steady), [RATES]
    reader = UsageReport(meter, lambda: tables[-1], lambda: None)
    reader.read(NOW, None)
    days = [usage(day, {used(OUTPUT): 10**6}) for day in (TODAY - 3 * DAY, TODAY - 2 * DAY)]
    table, _ = learn([bill(day.day, day.counts, "2") for day in days], days, RATES)
    tables.append(table)
    assert amounts(reader.read(NOW, None)) == {YESTERDAY: 72_000, TODAY: 50 * 751}
    assert list(amounts(reader.read(NOW, None))) == []
    reader.forget()
    assert list(amounts(reader.read(NOW, None))) == [YESTERDAY, TODAY]


def test_a_failure_changes_nothing() -> None:
    meter = Meter(steady)
    reader = source(meter)
    reader.read(NOW, None)
    meter.change = lambda query, page: SourceError(Failure.UNAVAILABLE, "not now", status=503)
    with pytest.raises(SourceError):
        next_read(reader, meter, NOW + MINUTE)
    meter.change = None
    assert amounts(next_read(reader, meter, NOW + 2 * MINUTE)[0]) == {TODAY: 25 * 753}


def test_idle_minutes_are_seen_and_the_newest_use_is_remembered() -> None:
    meter = Meter(lambda minute: [row(1)] if minute == NOON else [])
    reader = source(meter)
    report = reader.read(NOW, None)
    assert report.through == NOW.replace(second=0)
    assert reader.newest_use == NOON + MINUTE


# --- what the API may not show -------------------------------------------------------------------


def test_without_minutes_of_the_running_hour_its_hour_counts() -> None:
    def no_minutes(query: dict[str, list[str]], answer: dict[str, Any]) -> dict[str, Any]:
        shown = [each for each in answer["data"] if each["starting_at"] < stamp(NOON)]
        return {**answer, "data": shown} if query["bucket_width"] == ["1m"] else answer

    meter = Meter(steady, change=no_minutes)
    reader = source(meter)
    report = reader.read(NOW, None)
    assert amounts(report)[TODAY] == 25 * 751
    assert (report.through, report.slices[-1].end) == (NOON, NOON + HOUR)
    report, asked = next_read(reader, meter, NOW + MINUTE)
    assert amounts(report) == {TODAY: 25 * 752}
    assert len(asked) == 2


def test_hours_that_are_left_out_make_no_closed_day_and_are_remarked_on() -> None:
    def sparse(query: dict[str, list[str]], answer: dict[str, Any]) -> dict[str, Any]:
        return {**answer, "data": [each for each in answer["data"] if "T03:" not in each["starting_at"]]}

    report = source(Meter(steady, change=sparse)).read(NOW, None)
    assert amounts(report)[YESTERDAY] == 25 * 1380
    assert [day.complete for day in report.days] == [False, False]
    assert report.remarks == (
        "the usage report leaves hours out: they are taken as without use, and the day as unclosed",
    )


class Standing:
    """What becomes of the answers of a report that has counted nothing after `since`, until it goes on again."""

    def __init__(self, since: datetime) -> None:
        self.since = since

    def __call__(self, query: dict[str, list[str]], answer: dict[str, Any]) -> dict[str, Any]:
        shown = [each for each in answer["data"] if each["ending_at"] <= stamp(self.since)]
        return {**answer, "data": shown}


@pytest.mark.parametrize("hours", [0, 1, 2, 5, 9])
def test_a_report_that_stood_still_keeps_what_it_told_and_makes_up_for_all_of_it_at_once(hours: int) -> None:
    """No minute of the hour that it stopped in is lost meanwhile, and none of the time since when it goes on."""
    meter = Meter(steady, change=Standing(NOW))
    reader = source(meter, billed=midnight(TODAY))
    told = amounts(reader.read(NOW, None))[TODAY]
    for minutes in range(20, 60 * hours + 21, 20):
        meter.now = NOW + MINUTE * minutes
        report = reader.read(meter.now, None)
        assert amounts(report) in ({}, {TODAY: told})
        assert report.through == NOW.replace(second=0)
    meter.change, meter.now = None, NOW + MINUTE * (60 * hours + 21)
    report = reader.read(meter.now, None)
    assert amounts(report)[TODAY] == 25 * (751 + 60 * hours + 21)
    assert [each.end for each in report.slices[:-1]] == [each.start for each in report.slices[1:]]


def unused_left_out(query: dict[str, list[str]], answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "data": [each for each in answer["data"] if each["results"]]}


def now_and_then(minute: datetime) -> list[dict[str, Any]]:
    """Something every tenth minute until noon, and nothing since."""
    return [row(10**6)] if minute.minute % 10 == 0 and minute < NOON else []


def test_where_what_is_without_use_is_left_out_a_quiet_hour_is_no_standstill() -> None:
    """Nobody has documented whether it is; a warning in each quiet night would be the price of not thinking of it."""
    meter = Meter(now_and_then, change=unused_left_out)
    reader = source(meter)
    for minutes in range(0, 200, 7):
        meter.now = NOW + MINUTE * minutes
        report = reader.read(meter.now, None)
        assert meter.now - report.through <= 15 * MINUTE
        assert [each.end for each in report.slices[:-1]] == [each.start for each in report.slices[1:]]
    assert money.total(map(spent, report.slices)) == 25 * (144 + 72)


@pytest.mark.parametrize("betas", [(), (SPEED_BETA,)])
def test_a_day_with_an_hour_that_was_left_out_closes_with_its_bill(betas: tuple[str, ...]) -> None:
    def but_at_night(minute: datetime) -> list[dict[str, Any]]:
        return [row(10**6)] if minute.minute % 10 == 0 and minute.hour != 3 else []

    report = source(Meter(but_at_night, change=unused_left_out), betas=betas).read(NOW, None)
    assert [day.complete for day in report.days] == [False, False]
    assert amounts(report)[YESTERDAY] == 25 * 6 * 23
    assert [each.end for each in report.slices[:-1]] == [each.start for each in report.slices[1:]]


def test_a_clock_that_is_ahead_does_not_take_the_future_for_quiet() -> None:
    meter = Meter(now_and_then, change=unused_left_out)
    reader = source(meter, skew=lambda: -7200.0)
    report = reader.read(NOW + 2 * HOUR, None)
    assert report.through <= NOW
    assert money.total(map(spent, report.slices)) == 25 * (144 + 72)


def test_where_one_without_use_was_shown_a_gap_is_lacking() -> None:
    def stopped(query: dict[str, list[str]], answer: dict[str, Any]) -> dict[str, Any]:
        return {**answer, "data": [each for each in answer["data"] if each["starting_at"] <= stamp(NOON - MINUTE)]}

    report = source(Meter(now_and_then, change=stopped)).read(NOW, None)
    assert report.through == NOON


def test_no_bucket_at_all_is_missing_data() -> None:
    with pytest.raises(SourceError, match="missing data, not \\$0"):
        source(Shelf(page([]))).read(NOW, None)


@pytest.mark.parametrize("size", [1, 7, 24])
def test_pages_are_followed_to_the_end(size: int) -> None:
    def cut(query: dict[str, list[str]], answer: dict[str, Any]) -> dict[str, Any]:
        data = answer["data"]
        return page(data[:size], data[size]["starting_at"]) if len(data) > size else answer

    meter = Meter(steady, change=cut)
    assert amounts(source(meter).read(NOW, None)) == {YESTERDAY: 36_000, TODAY: 25 * 751}


def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones() -> None:
    def bounded(query: dict[str, list[str]], answer: dict[str, Any]) -> Any:
        return BodyTooLargeError(Failure.UNREADABLE, "too large") if len(answer["data"]) > 20 else answer

    meter = Meter(steady, change=bounded)
    assert amounts(source(meter).read(NOW, None)) == {YESTERDAY: 36_000, TODAY: 25 * 751}
    assert {query["limit"][0] for query in meter.asked} == {"1440", "240", "60", "15", "168", "48", "12"}


def _loop(query: dict[str, list[str]], answer: dict[str, Any]) -> dict[str, Any]:
    return page(answer["data"], query["starting_at"][0])


def _before(query: dict[str, list[str]], answer: dict[str, Any]) -> dict[str, Any]:
    return page([bucket(midnight(date(2026, 11, 1)), query["bucket_width"][0])])


def _twice(query: dict[str, list[str]], answer: dict[str, Any]) -> dict[str, Any]:
    return page([*answer["data"], bucket(NOON, query["bucket_width"][0], row(1))])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_loop, "leads back"),
        (_before, "before the start"),
        (_twice, "comes twice, with different content"),
        (lambda query, answer: {**answer, "has_more": True, "next_page": None}, "no cursor is given"),
        (lambda query, answer: {"type": "error", "error": {"message": "x"}}, "an error instead of data"),
        (lambda query, answer: {}, "missing"),
    ],
)
def test_what_cannot_be_trusted_is_asked_for_once_more_and_refused(change: Any, words: str) -> None:
    meter = Meter(steady, change=change)
    with pytest.raises(SourceError, match=words) as caught:
        source(meter).read(NOW, None)
    assert caught.value.failure is Failure.UNREADABLE
    assert len(meter.asked) == (4 if change is _loop else 2)


def test_a_moment_of_confusion_is_read_over() -> None:
    answers: list[int] = []

    def once(query: dict[str, list[str]], answer: dict[str, Any]) -> Any:
        answers.append(1)
        return b"{" if len(answers) == 1 else answer

    assert amounts(source(Meter(steady, change=once)).read(NOW, None))[TODAY] == 25 * 751


# --- speed -------------------------------------------------------------------------------------


def quick(minute: datetime) -> list[dict[str, Any]]:
    return [
        row(10**6, speed="standard"),
        row(10**6, speed="fast"),
        row(10**6, service_tier="batch", speed="standard"),
        row(0, speed="fast", server_tool_use={"web_search_requests": 1}),
    ]


def test_fast_mode_is_priced_with_a_second_question_in_five_groupings() -> None:
    meter = Meter(quick)
    report = source(meter, billed=midnight(TODAY), betas=[SPEED_BETA]).read(NOW, None)
    by_kind: dict[tuple[str | None, str | None], Decimal] = {}
    for line, amount in report.days[0].lines.items():
        by_kind[line.service_tier, line.speed] = amount
    assert by_kind == {
        ("standard", "standard"): 25 * 751,
        ("standard", "fast"): 50 * 751,
        ("batch", "standard"): Decimal("12.5") * 751,
        (None, None): Decimal("0.01") * 751,
    }
    assert {len(query["group_by[]"]) for query in meter.asked} == {5}
    assert [query.get("service_tiers[]") for query in meter.asked] == [None, ["standard"]] * 2


def test_without_the_beta_nobody_asks_for_speed() -> None:
    meter = Meter(quick)
    source(meter).read(NOW, None)
    assert all("speed" not in query["group_by[]"] for query in meter.asked)


def test_an_api_that_refuses_speed_is_asked_once_and_said_so() -> None:
    def refuse(query: dict[str, list[str]], answer: Any) -> Any:
        return REFUSED_SPEED if "speed" in query["group_by[]"] else answer

    meter = Meter(quick, change=refuse)
    report = source(meter, betas=[SPEED_BETA]).read(NOW, None)
    assert sum("speed" in query["group_by[]"] for query in meter.asked) == 1
    assert report.remarks == ("the usage report does not tell the speed: group_by: 'speed' requires a beta header",)
    assert amounts(report)[TODAY] == (25 * 2 + Decimal("12.51")) * 751


def test_speeds_that_do_not_add_up_are_not_believed() -> None:
    def unfiltered(query: dict[str, list[str]], answer: dict[str, Any]) -> dict[str, Any]:
        if "speed" in query["group_by[]"]:
            for each in answer["data"]:
                each["results"].append(row(10**6, speed="fast"))
        return answer

    report = source(Meter(quick, change=unfiltered), betas=[SPEED_BETA]).read(NOW, None)
    assert amounts(report)[YESTERDAY] == (25 * 2 + Decimal("12.51")) * 1440
    assert "counts other tokens by speed than by tier" in report.remarks[0]
