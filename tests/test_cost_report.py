"""The cost report as a source: what is asked for, what is believed, what is not read twice."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetd import money
from budgetd.http import BodyTooLargeError
from budgetd.model import DEFAULT_WORKSPACE, Dimensions, Failure, SourceError
from budgetd.sources import cost_page
from budgetd.sources.cost_page import Known, decode
from budgetd.sources.cost_report import CostReport, window
from budgetd.sources.strict_json import JsonError, Number, loads
from tests.cost_pages import FIRST, NOW, TODAY, Shelf, bucket, days, month, page, row

BIG = BodyTooLargeError(Failure.UNREADABLE, "too large")


def refused(shelf: Shelf, now: datetime = NOW) -> SourceError:
    with pytest.raises(SourceError) as caught:
        CostReport(shelf).read(now, None)
    return caught.value


# --- the window --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        ("2026-11-01T00:00:00", "2026-10-01", "2026-11-02"),
        ("2026-11-02T23:59:59", "2026-10-01", "2026-11-03"),
        ("2026-11-08T23:59:59", "2026-10-01", "2026-11-09"),
        ("2026-11-09T00:00:00", "2026-11-01", "2026-11-10"),
        ("2026-10-31T12:00:00", "2026-10-01", "2026-11-01"),
        ("2028-02-29T12:00:00", "2028-02-01", "2028-03-01"),
        ("2028-03-01T00:00:01", "2028-02-01", "2028-03-02"),
        ("2027-03-01T00:00:01", "2027-02-01", "2027-03-02"),
        ("2026-12-31T23:59:59", "2026-12-01", "2027-01-01"),
        ("2027-01-01T00:00:00", "2026-12-01", "2027-01-02"),
        ("2027-01-08T12:00:00", "2026-12-01", "2027-01-09"),
        ("2027-01-09T12:00:00", "2027-01-01", "2027-01-10"),
    ],
)
def test_the_window_is_this_month_and_until_the_8th_the_last_one(now: str, start: str, end: str) -> None:
    asked = window(datetime.fromisoformat(now).replace(tzinfo=UTC), None)
    assert (str(asked.start), str(asked.end)) == (start, end)


@pytest.mark.parametrize(
    ("since", "start"), [(None, FIRST), (date(2026, 11, 10), FIRST), (date(2026, 8, 3), date(2026, 8, 3))]
)
def test_an_earlier_day_widens_the_window_and_a_later_one_does_not_narrow_it(since: date | None, start: date) -> None:
    assert window(NOW, since).start == start


def test_the_window_is_of_utc_days_wherever_now_is_told() -> None:
    local = datetime.fromisoformat("2026-11-09T03:00:00+05:45")  # still the 8th in UTC
    assert window(local, None).start == date(2026, 10, 1)


@given(
    st.integers(0, 8 * 366 * 86400).map(lambda seconds: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))
)
def test_every_window_holds_a_closed_day_and_every_day_that_may_still_move(now: datetime) -> None:
    asked = window(now, None)
    assert asked.start < asked.today == now.date()
    assert asked.start.day == 1
    assert asked.start <= now.date().replace(day=1)


def test_the_query_asks_for_whole_utc_days_grouped_and_with_the_largest_page() -> None:
    shelf = Shelf(page(month()))
    CostReport(shelf).read(NOW, None)
    assert shelf.asked == [
        {
            "starting_at": ["2026-11-01T00:00:00Z"],
            "ending_at": ["2026-11-19T00:00:00Z"],
            "group_by[]": ["workspace_id", "description"],
            "bucket_width": ["1d"],
            "limit": ["31"],
        }
    ]


# --- a good reading ----------------------------------------------------------------------------


def test_cents_become_exact_dollars_by_day_and_dimensions() -> None:
    rows = [row("123.45"), row("41280.000000", workspace=None), row("0.00000000000001", model="other")]
    report = CostReport(Shelf(page(month(rows=lambda day: rows)))).read(NOW, None)
    assert report.source == "cost_report"
    assert (report.start, report.end, report.through) == (FIRST, TODAY, datetime(2026, 11, 18, tzinfo=UTC))
    assert [day.day for day in report.days] == days(FIRST, date(2026, 11, 17))
    assert all(day.complete for day in report.days)
    lines = report.days[0].lines
    assert sorted(lines.values()) == [Decimal("1E-16"), Decimal("1.2345"), Decimal("412.80")]
    assert {about.workspace: dollars for about, dollars in lines.items() if dollars > 100} == {
        DEFAULT_WORKSPACE: Decimal("412.80")
    }


def test_an_empty_day_is_a_real_day_without_cost() -> None:
    report = CostReport(Shelf(page(month(rows=lambda day: [])))).read(NOW, None)
    assert [dict(day.lines) for day in report.days] == [{}] * 17
    assert report.through == datetime(2026, 11, 18, tzinfo=UTC)


def test_yesterday_may_be_missing_and_through_says_so() -> None:
    report = CostReport(Shelf(page(month(until=date(2026, 11, 15))))).read(NOW, None)
    assert (report.end, report.through) == (date(2026, 11, 16), datetime(2026, 11, 16, tzinfo=UTC))


def test_todays_bucket_is_taken_as_incomplete_and_moves_nothing_forward() -> None:
    report = CostReport(Shelf(page(month(until=TODAY)))).read(NOW, None)
    assert [day.day for day in report.days if not day.complete] == [TODAY]
    assert (report.end, report.through) == (date(2026, 11, 19), datetime(2026, 11, 18, tzinfo=UTC))


def test_pages_are_followed_with_the_query_that_their_cursor_belongs_to() -> None:
    buckets = month()
    shelf = Shelf(page(buckets[:7], "p2"), page(buckets[7:14], "p3"), page(buckets[14:]))
    report = CostReport(shelf).read(NOW, None)
    assert len(report.days) == 17
    assert [query.pop("page", None) for query in shelf.asked] == [None, ["p2"], ["p3"]]
    assert shelf.asked[0] == shelf.asked[1] == shelf.asked[2]


@pytest.mark.parametrize("missing", [("speed",), ("speed", "inference_geo"), cost_page.FIELDS[1:]])
def test_fields_that_are_not_there_are_not_known(missing: tuple[str, ...]) -> None:
    lacking = {name: value for name, value in row("100").items() if name not in missing}
    report = CostReport(Shelf(page(month(rows=lambda day: [lacking])))).read(NOW, None)
    (about,) = report.days[0].lines
    known = dict(zip(cost_page.FIELDS, about, strict=True))
    assert [known[name] for name in missing] == [None] * len(missing)
    assert about.workspace == "wrkspc_a"


def test_rows_that_differ_only_in_what_is_unknown_are_one_line() -> None:
    rows = [row("100", shade="red"), row("250", shade="blue")]
    report = CostReport(Shelf(page(month(rows=lambda day: rows)))).read(NOW, None)
    assert list(report.days[0].lines.values()) == [Decimal("3.5")]


def test_equal_rows_are_added_up_by_the_fast_reader_too() -> None:
    report = CostReport(Shelf(page(month(rows=lambda day: [row("100"), row("250"), row("1")])))).read(NOW, None)
    assert list(report.days[0].lines.values()) == [Decimal("3.51")]


# --- remarks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "remark"),
    [
        ({"shade": 1}, 'the report has a field that budgetd does not know: "shade"'),
        ({"service_tier": "priority"}, 'the report has a service_tier that budgetd does not know: "priority"'),
        ({"token_type": "x\u202ey"}, 'the report has a token_type that budgetd does not know: "x\\u202ey"'),
        ({"amount": "-5.00"}, "the report has negative amounts on 2026-11-03"),
    ],
)
def test_an_oddity_is_taken_and_remarked_on_once(fields: dict[str, Any], remark: str) -> None:
    def rows(day: date) -> list[object]:
        return [row("700"), row(**{"amount": "100", "workspace": "wrkspc_b", **fields})] if day.day == 3 else [row()]

    source = CostReport(Shelf(page(month(rows=rows))))
    first, second = source.read(NOW, None), source.read(NOW, None)
    source.forget()
    assert (first.remarks, second.remarks, source.read(NOW, None).remarks) == ((remark,), (), (remark,))
    assert len(first.days[2].lines) == 2


def test_an_ordinary_page_has_no_remarks() -> None:
    assert CostReport(Shelf(page(month()))).read(NOW, None).remarks == ()


# --- not read twice ----------------------------------------------------------------------------


def test_an_unchanged_page_is_not_in_the_next_report() -> None:
    old, new = month(), month(rows=lambda day: [row("1")] if day.day > 14 else [row(f"{day.day}00.50")])
    shelf = Shelf(page(old[:14], "p2"), page(old[14:]), page(new[:14], "p2"), page(new[14:]))
    source = CostReport(shelf)
    assert len(source.read(NOW, None).days) == 17
    second = source.read(NOW + timedelta(hours=1), None)
    assert [day.day.day for day in second.days] == [15, 16, 17]
    assert (second.start, second.end, second.through.day) == (FIRST, TODAY, 18)


def test_another_query_reads_every_day_again() -> None:
    source = CostReport(Shelf(page(month()), page(month()), page(month(until=TODAY))))
    assert [len(source.read(NOW, None).days) for _ in range(2)] == [17, 0]
    assert len(source.read(NOW + timedelta(days=1), None).days) == 18


def test_who_forgets_gets_every_day_again() -> None:
    source = CostReport(Shelf(page(month())))
    source.read(NOW, None)
    source.forget()
    assert len(source.read(NOW, None).days) == 17


def test_a_failed_reading_leaves_the_memory_as_it_was() -> None:
    old, new = month(), month(rows=lambda day: [row("1")])
    down = SourceError(Failure.UNAVAILABLE, "HTTP 503", status=503)
    shelf = Shelf(page(old[:7], "p2"), page(old[7:]), page(new[:7], "p2"), down, page(new[:7], "p2"), page(old[7:]))
    source = CostReport(shelf)
    source.read(NOW, None)
    with pytest.raises(SourceError, match="503"):
        source.read(NOW, None)
    assert [day.day.day for day in source.read(NOW, None).days] == [1, 2, 3, 4, 5, 6, 7]


def test_a_page_too_large_is_asked_for_in_smaller_pieces_from_then_on() -> None:
    shelf = Shelf(BIG, BIG, page(month()))
    source = CostReport(shelf)
    source.read(NOW, None)
    source.read(NOW, None)
    assert [query["limit"] for query in shelf.asked] == [["31"], ["15"], ["7"], ["7"]]


def test_a_single_day_too_large_is_an_error() -> None:
    shelf = Shelf(BIG)
    with pytest.raises(BodyTooLargeError):
        CostReport(shelf).read(NOW, None)
    assert [query["limit"][0] for query in shelf.asked] == ["31", "15", "7", "3", "1"]


# --- refused -----------------------------------------------------------------------------------


def test_days_that_were_there_and_are_gone_are_refused() -> None:
    source = CostReport(Shelf(page(month()), page(month(until=date(2026, 11, 9)))))
    source.read(NOW, None)
    with pytest.raises(SourceError, match=r"ends on 2026-11-10, and once went on to 2026-11-18") as caught:
        source.read(NOW, None)
    assert caught.value.failure is Failure.UNREADABLE


def test_a_doubtful_reading_is_fetched_afresh_once() -> None:
    shelf = Shelf(b"{", page(month()))
    assert len(CostReport(shelf).read(NOW, None).days) == 17


def test_a_refusal_of_the_service_is_not_fetched_afresh() -> None:
    shelf = Shelf(SourceError(Failure.REJECTED, "HTTP 400", status=400))
    assert refused(shelf).status == 400
    assert len(shelf.asked) == 1


def test_the_deadline_reaches_every_request() -> None:
    class Watch(Shelf):
        def get(self, *args: Any, deadline: float | None = None) -> bytes:
            assert deadline == 130.0
            return super().get(*args)

    CostReport(Watch(page(month())), fetch_seconds=30, monotonic=lambda: 100.0).read(NOW, None)


# --- the two readers ---------------------------------------------------------------------------

_texts = st.sampled_from(["a", "model", "tokens", "x:y", ": ", "é", "😀", "\ud800", '"', "\\", ""])
_values = st.one_of(st.none(), _texts)
_amounts = st.one_of(
    st.decimals(-(10**9), 10**9, places=6, allow_nan=False).map(str),
    st.sampled_from(["0", "1.", ".5", "1e3", "1e400", "NaN", "1_000", " 1", "+1", 5, 1.25, None, "9" * 20, "1" * 5000]),
)
_rows = st.fixed_dictionaries(
    {"amount": _amounts, "currency": st.sampled_from(["USD", "USD", "USD", "EUR"])},
    optional={**dict.fromkeys(cost_page.FIELDS, _values), "new": _values},
)
_pages = st.builds(
    page,
    st.lists(st.builds(bucket, st.sampled_from(days(FIRST, TODAY)), _rows, _rows), max_size=3),
    st.sampled_from([None, "", "p2"]),
)


@settings(deadline=None, max_examples=300)
@given(_pages, st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\n")]), st.booleans())
def test_the_fast_reader_says_what_the_close_one_says_or_leaves_it_to_it(
    content: dict[str, Any], separators: tuple[str, str], ascii_only: bool
) -> None:
    body = json.dumps(content, separators=separators, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    fast = cost_page._fast(body, Known())
    if fast is not None:
        assert fast == cost_page._close(body, Known())


def test_an_ordinary_page_is_the_fast_readers() -> None:
    assert cost_page._fast(json.dumps(page(month(), "p2")).encode(), Known()) is not None


@given(st.data())
def test_no_key_given_twice_gets_past_the_fast_reader(data: st.DataObject) -> None:
    text = json.dumps(page(month(until=date(2026, 11, 2))))
    places = [at for at, letter in enumerate(text) if letter == "{" and text[at + 1] != "}"]
    at = data.draw(st.sampled_from(places)) + 1
    key, value = data.draw(
        st.sampled_from(
            [
                ("amount", '"1"'),
                ("currency", '"USD"'),
                ("model", "null"),
                ("speed", '"fast"'),
                ("has_more", "false"),
                ("results", "[]"),
                ("data", "[]"),
                ("next_page", "null"),
                ("starting_at", '"2026-11-01T00:00:00Z"'),
            ]
        )
    )
    text = f'{text[:at]}"{key}": {value}, {text[at:]}'
    escaped = data.draw(st.booleans())
    doubled = (text.replace("Opus 4", '\\"\\u004fpus\\" 4').replace('"mod', '"m\\u006fd') if escaped else text).encode()
    assert cost_page._fast(doubled, Known()) is None


@pytest.mark.parametrize(
    ("amount", "path"),
    [
        (None, "$.data[1].results[1].amount: expected a decimal string, found null"),
        (True, "$.data[1].results[1].amount: expected a decimal string, found a boolean"),
        ("12,00", "$.data[1].results[1].amount: not a decimal amount of cents"),
    ],
)
def test_a_malformed_row_is_named_by_its_json_path(amount: object, path: str) -> None:
    body = json.dumps(page([bucket(FIRST), bucket(FIRST, row(), row(amount))])).encode()
    with pytest.raises(JsonError) as caught:
        decode(body, Known())
    assert path in str(caught.value)


def test_dimensions_and_their_texts_are_kept_once() -> None:
    known = Known()
    first, second = (decode(json.dumps(page(month())).encode(), known).buckets[0].lines for _ in range(2))
    (one,), (other,) = first, second
    assert one is other
    assert isinstance(one, Dimensions)
    assert len(known) == 1


def test_bulk_conversion_of_cents_is_the_single_one_many_times() -> None:
    source = random.Random(3)
    texts = [f"{source.randrange(-(10**9), 10**9)}.{source.randrange(10**6):06d}" for _ in range(500)]
    assert money.dollars_from_plain_cents(texts) == [money.dollars_from_cents(text) for text in texts]
    assert money.dollars_from_plain_cents([]) == []


@pytest.mark.parametrize("text", ["", "1\n2", "1\n", "1.", ".5", "+1", "1_0", "1e3", "NaN", "٣", " 1", "1" * 16, "-"])
def test_bulk_conversion_takes_plain_amounts_only(text: str) -> None:
    with pytest.raises(ValueError, match="plain"):
        money.dollars_from_plain_cents(["1.5", text, "2"])


# --- strict JSON -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b'{"a": 1, "a": 1}', "given twice"),
        (b'{"a": {"b": [{"c": 1, "c": 2}]}}', "given twice"),
        (b"NaN", "NaN is not"),
        (b"[-Infinity]", "-Infinity is not"),
        (b"1e999", "beyond every bound"),
        (b"-1e999", "beyond every bound"),
        (b"1" * 5000, "5000 characters"),
        (b"[" * 100_000, "too deeply"),
        (b'{"a":' * 100_000, "too deeply"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        ("{}".encode("utf-16"), "not UTF-8"),
        ("{}".encode("utf-16-le"), "not JSON"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\uDFFF": 1}', "surrogate"),
        (b"", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"<html>\x1b[31m", "not JSON at character 0"),
    ],
)
def test_what_is_not_strictly_json_is_refused(body: bytes, complaint: str) -> None:
    with pytest.raises(JsonError, match=complaint) as caught:
        loads(body)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_numbers_keep_the_text_they_were_written_in() -> None:
    values = loads(b'[1.10, 12345678901234567890.123456789, 1E+2, -0, "\\ud83d\\ude00"]')
    assert values == ["1.10", "12345678901234567890.123456789", "1E+2", "-0", "😀"]
    assert isinstance(values, list)
    assert all(isinstance(value, Number) for value in values[:4])
