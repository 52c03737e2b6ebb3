"""Every way in which the cost API can fail, against the real client over real sockets; numbered as in the list of faults.

Each one ends in bounded time, in an error of the right kind that does not hold the key, or in the right figures.
There is no third way: nothing partial, nothing read as $0.
"""

from __future__ import annotations

import gzip
import json
import random
import ssl
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trustme

from budgetd.http import Api, Bounds
from budgetd.model import CostDay, Failure, Report, SourceError
from budgetd.sources.cost_report import CostReport
from tests.cost_pages import FIRST, NOW, TODAY, bucket, days, month, page, row
from tests.faulty_server import (
    Connection,
    FaultyServer,
    Request,
    Script,
    answer,
    closed_port,
    error,
    head,
    raw,
    unanswered_port,
)

pytestmark = pytest.mark.network

KEY = "sk-ant-admin01-CANARY-0123456789abcdefghijklmnopqrstuvwxyz"
GOOD = answer(page(month()))
JSON_HEAD = head(content_type="application/json")


class Client:
    """The real source over the real client, in a hurry; it notes the pauses instead of making them."""

    def __init__(self, url: str, *, seconds: float = 0.4, attempts: int = 2, body_bytes: int = 1_000_000, **more: Any):
        self.naps: list[float] = []
        bounds = Bounds(request_seconds=seconds, attempts=attempts, body_bytes=body_bytes)
        self.api = Api(url, lambda: KEY, bounds=bounds, sleep=self.naps.append, now=lambda: NOW, **more)
        self.source = CostReport(self.api, fetch_seconds=3)

    def read(self, now: datetime = NOW) -> Report:
        return self.source.read(now, None)

    def fails(self, expected: Failure, *words: str, within: float = 2.0) -> SourceError:
        """The error of a reading, after everything that holds for all of them."""
        started = time.monotonic()
        with pytest.raises(SourceError) as caught:
            self.read()
        assert time.monotonic() - started < within
        failed = caught.value
        told = traceback.TracebackException.from_exception(failed, capture_locals=True)
        for text in (failed.message, str(failed), repr(failed), repr(vars(failed)), *told.format()):
            assert "CANARY" not in text
        assert failed.failure is expected, failed.message
        assert failed.message.isprintable()
        assert len(failed.message) < 700
        for word in words:
            assert word in failed.message
        return failed

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.api.close()


def played(scripts: Sequence[Script], expected: Failure, *words: str, **settings: Any) -> list[Request]:
    """The requests of a reading that fails as expected, from a server that plays the scripts."""
    with FaultyServer(scripts) as server, Client(server.url, **settings) as client:
        client.fails(expected, *words)
    return server.requests


def read(*scripts: Script, **settings: Any) -> Report:
    """What is read from a server that plays the scripts."""
    with FaultyServer(scripts) as server, Client(server.url, **settings) as client:
        return client.read()


def totals(report: Report) -> dict[date, Decimal]:
    return {day.day: sum(day.lines.values(), Decimal(0)) for day in report.days}


def with_row(**fields: Any) -> dict[str, Any]:
    """An ordinary month whose 3rd has one more row, with these fields."""
    return page(month(rows=lambda day: [row("700"), row(**{"workspace": "wrkspc_b", **fields})]))


def with_literal(literal: str) -> bytes:
    """An ordinary month in which one amount is this JSON literal."""
    return json.dumps(page(month())).replace('"300.50"', literal).encode()


# --- no answer, half an answer -----------------------------------------------------------------


def test_fault_01_a_refused_connection_is_unreachable() -> None:
    with closed_port() as port, Client(f"http://127.0.0.1:{port}") as client:
        client.fails(Failure.UNREACHABLE, "refused")
        assert len(client.naps) == 1


def test_fault_02_a_dropped_syn_ends_with_the_time_allowed() -> None:
    with unanswered_port() as port, Client(f"http://127.0.0.1:{port}") as client:
        client.fails(Failure.UNREACHABLE, "no connection within the time allowed")


def test_fault_03_a_stall_within_the_body_ends_with_the_time_allowed() -> None:
    def stall(connection: Connection, request: Request) -> None:
        connection.send(head(content_type="application/json", content_length="1000") + b'{"data": [')
        connection.stall()

    played([stall], Failure.UNREACHABLE, "no whole answer within the time allowed")


@pytest.mark.parametrize("part", ["headers", "body"])
def test_fault_04_a_slow_drip_ends_with_the_time_allowed(part: str) -> None:
    def drip(connection: Connection, request: Request) -> None:
        if part == "body":
            connection.send(JSON_HEAD)
        connection.drip(JSON_HEAD + b" " * 1000, 0.05)

    played([drip], Failure.UNREACHABLE, "no whole answer within the time allowed")


def test_fault_04_a_whole_fetch_has_a_deadline_too() -> None:
    def slow(connection: Connection, request: Request) -> None:
        number = sum(name == "page" for name, _ in request.query) and int(dict(request.query)["page"])
        connection.stopping.wait(0.2)
        answer(page([bucket(days(FIRST, TODAY)[number])], str(number + 1)))(connection, request)

    with FaultyServer([slow]) as server, Client(server.url, seconds=2) as client:
        client.source = CostReport(client.api, fetch_seconds=0.7)
        client.fails(Failure.UNREACHABLE, within=1.2)


def test_fault_05_truncated_json_with_the_wrong_length_is_tried_again() -> None:
    body = json.dumps(page(month())).encode()
    cut = raw(head(content_type="application/json", content_length=str(len(body))) + body[:-20])
    played([cut], Failure.UNREACHABLE)
    assert len(read(cut, GOOD).days) == 17


@pytest.mark.parametrize("headers", [{}, {"content_length": "999"}])
def test_fault_05_truncated_json_that_looks_whole_is_not_used(headers: dict[str, str]) -> None:
    body = json.dumps(page(month())).encode()[:999]
    cut = raw(head(content_type="application/json", **headers) + body)
    assert len(played([cut], Failure.UNREADABLE, "not JSON at character")) == 2
    assert len(read(cut, GOOD).days) == 17


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_fault_06_a_body_in_another_encoding_is_refused(encoding: str) -> None:
    played([answer(json.dumps(page(month())).encode(encoding))], Failure.UNREADABLE)


def test_fault_06_invalid_utf_8_is_refused() -> None:
    body = json.dumps(page(month())).encode().replace(b"Opus", b"Op\xffs")
    played([answer(body)], Failure.UNREADABLE, "not UTF-8 at byte")


def test_fault_07_a_web_page_is_not_a_report() -> None:
    web = b"<html>\x1b[31m<title>Sign in</title>" + b"x" * 5000
    played([answer(web, content_type="text/html")], Failure.UNREADABLE, "text/html", "<html>\\u001b[31m<title>Sign in")
    played([answer(web)], Failure.UNREADABLE, "not JSON", "<html>\\u001b[31m<title>Sign in")
    played([answer(web, 502, content_type="text/html")], Failure.UNAVAILABLE, "HTTP 502", "<title>Sign in")


def test_fault_07_json_under_another_name_is_refused() -> None:
    played([answer(page(month()), content_type="text/plain")], Failure.UNREADABLE, "text/plain")


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b"0", b'""', b'{"data": null, "has_more": false}', b'{"data": []}']
)
def test_fault_08_an_empty_answer_is_not_zero_dollars(body: bytes) -> None:
    played([answer(body)], Failure.UNREADABLE)


def test_fault_08_an_error_in_a_200_is_not_zero_dollars() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    played([answer(body)], Failure.UNREADABLE, "an error instead of data", "overloaded_error")


def test_fault_09_no_data_for_a_range_that_must_have_some_is_refused() -> None:
    played([answer(page([]))], Failure.UNREADABLE, "no day at all")
    played([answer(page(month()[:5], "p2")), answer(page([], "p3")), answer(page([], "p3"))], Failure.UNREADABLE)


def test_fault_09_data_that_was_there_and_is_gone_is_refused() -> None:
    scripts = [GOOD, answer(page(month()[:10])), answer(page(month()[:10])), GOOD]
    with FaultyServer(scripts) as server, Client(server.url) as client:
        client.read()
        client.fails(Failure.UNREADABLE, "once went on to 2026-11-18")
        assert client.read().through == datetime(2026, 11, 18, tzinfo=UTC)


# --- refusals ----------------------------------------------------------------------------------


def test_fault_10_a_400_is_shown_and_not_tried_again() -> None:
    script = error(400, "invalid_request_error", "Invalid date range: ending date must be after starting date")
    requests = played([script], Failure.REJECTED, "invalid_request_error: Invalid date range", "(request req_123)")
    assert len(requests) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_fault_11_a_rejected_key_makes_no_storm_and_a_changed_one_is_taken_up(status: int) -> None:
    with FaultyServer([error(status, "authentication_error", "invalid x-api-key"), GOOD]) as server:
        with Client(server.url) as client:
            client.fails(Failure.REFUSED, f"HTTP {status}", "authentication_error: invalid x-api-key")
            assert len(server.requests) == 1
            assert len(client.read().days) == 17


def test_fault_12_a_404_is_a_refusal_and_not_an_empty_report() -> None:
    assert len(played([error(404, "not_found_error", "Not found")], Failure.REJECTED, "not_found_error")) == 1


def test_fault_13_retry_after_is_waited_for() -> None:
    with FaultyServer([error(429, "rate_limit_error", retry_after="2"), GOOD]) as server, Client(server.url) as client:
        client.source = CostReport(client.api, fetch_seconds=60)
        assert len(client.read().days) == 17
        (nap,) = client.naps
        assert 2 <= nap < 3


def test_fault_13_a_wait_beyond_the_deadline_is_handed_on() -> None:
    with FaultyServer([error(429, "rate_limit_error", retry_after="1800")]) as server, Client(server.url) as client:
        assert client.fails(Failure.UNAVAILABLE).retry_after == 1800
        assert client.naps == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 1),
        ("-30", 1),
        ("86400", 3600),
        ("Wed, 18 Nov 2026 12:00:30 GMT", 30),
        ("Wed, 18 Nov 2020 12:00:00 GMT", 1),
        ("Wed, 18 Nov 9999 12:00:00 GMT", 3600),
        ("soon", None),
        ("9" * 300, None),
    ],
)
def test_fault_14_a_strange_retry_after_neither_sleeps_for_ever_nor_loops(text: str, seconds: float | None) -> None:
    with FaultyServer([error(429, retry_after=text)]) as server, Client(server.url) as client:
        assert client.fails(Failure.UNAVAILABLE).retry_after == seconds
        assert all(nap >= 1 for nap in client.naps)
        assert len(server.requests) <= 2


def test_fault_15_a_spend_limit_is_told_in_its_own_words_and_not_hammered() -> None:
    script = error(429, "enforced_spend_limit_reached", "You have reached your spend limit until 2026-12-01")
    requests = played([script], Failure.UNAVAILABLE, "enforced_spend_limit_reached", "until 2026-12-01")
    assert len(requests) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
def test_fault_16_a_server_in_trouble_is_tried_again(status: int) -> None:
    assert len(played([error(status)], Failure.UNAVAILABLE, f"HTTP {status}")) == 2
    assert len(read(error(status), GOOD).days) == 17


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_fault_17_a_redirect_is_refused_and_its_host_is_named(status: int) -> None:
    requests = played(
        [answer(b"", status, location=f"https://evil.example.com/{KEY}")],
        Failure.REJECTED,
        "redirect to host evil.example.com refused",
    )
    assert len(requests) == 1


@pytest.mark.parametrize("location", ["", "/other", "http://[", "http://x:99999999/", "gopher://x", "//"])
def test_fault_17_a_redirect_to_anywhere_is_refused(location: str) -> None:
    assert len(played([answer(b"", 302, location=location)], Failure.REJECTED, "redirect", "refused")) == 1


def test_fault_18_a_redirect_to_another_host_never_brings_it_the_key() -> None:
    with FaultyServer([GOOD]) as canary:
        played([answer(b"", 307, location=f"{canary.url}/v1")], Failure.REJECTED)
    assert (canary.connections, canary.requests) == (0, [])


# --- pages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cursors", [["p2", "p2"], ["p2", "p3", "p2"]])
def test_fault_19_a_page_token_loop_is_refused(cursors: list[str]) -> None:
    scripts = [answer(page([bucket(FIRST)], cursor)) for cursor in cursors]
    requests = played([*scripts, *scripts], Failure.UNREADABLE, "leads back to an earlier page")
    assert len(requests) == 2 * len(cursors)


@pytest.mark.parametrize("cursor", [{"next_page": None}, {"next_page": ""}, {}])
def test_fault_20_more_pages_without_a_cursor_is_not_the_end(cursor: dict[str, Any]) -> None:
    body = {"data": month(), "has_more": True, **cursor}
    played([answer(body)], Failure.UNREADABLE, "$.next_page: more pages are announced, and no cursor is given")


def test_fault_22_endless_pages_end() -> None:
    def endless(connection: Connection, request: Request) -> None:
        answer(page([bucket(FIRST)], f"p{len(server.requests)}"))(connection, request)

    with FaultyServer([endless]) as server, Client(server.url) as client:
        client.fails(Failure.UNREADABLE, "more pages than the 18 days")
    assert len(server.requests) == 2 * 18


def test_fault_22_a_body_without_end_ends() -> None:
    def endless(connection: Connection, request: Request) -> None:
        connection.send(JSON_HEAD)
        for _ in range(10_000):
            connection.send(b" " * 65536)

    requests = played([endless], Failure.UNREADABLE, "more than 1,000,000 bytes", seconds=2)
    assert [dict(request.query)["limit"] for request in requests] == ["31", "15", "7", "3", "1"]


@pytest.mark.parametrize("script", [error(500), error(400), raw(b""), answer(b"{}"), raw(JSON_HEAD + b"{")])
def test_fault_23_a_failure_on_any_page_discards_the_whole_fetch(script: Script) -> None:
    buckets = month()
    first = answer(page(buckets[:7], "p2"))
    scripts = [first, script, script if script is not None else first]
    with FaultyServer([*scripts, script, script]) as server, Client(server.url) as client:
        with pytest.raises(SourceError):
            client.read()
        server.scripts = [answer(page(buckets[:7], "p2")), answer(page(buckets[7:]))]
        server.requests.clear()
        assert totals(client.read()) == {day: Decimal(f"{day.day}.005") for day in days(FIRST, date(2026, 11, 17))}


# --- the shape ---------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["amount", "currency"])
def test_fault_24_a_row_without_a_required_field_is_named_by_its_path(field: str) -> None:
    lacking = {name: value for name, value in row().items() if name != field}
    body = page(month(rows=lambda day: [row(), lacking]))
    played([answer(body)], Failure.UNREADABLE, f"page 1: $.data[0].results[1].{field}: missing")


@pytest.mark.parametrize("field", ["starting_at", "results"])
def test_fault_24_a_bucket_without_a_required_field_is_named_by_its_path(field: str) -> None:
    buckets = month()
    del buckets[4][field]
    played([answer(page(buckets))], Failure.UNREADABLE, f"$.data[4].{field}: missing")


def test_fault_24_a_renamed_field_is_not_an_empty_report() -> None:
    body = json.dumps(page(month())).replace('"results"', '"items"').encode()
    played([answer(body)], Failure.UNREADABLE, "$.data[0].results: missing")


def test_fault_25_a_new_field_is_ignored_and_remarked_on() -> None:
    report = read(answer(with_row(amount="300", colour={"deep": [1, None]}, weight=1.5)))
    assert [remark.partition(": ")[2] for remark in report.remarks] == ['"colour"', '"weight"']
    assert set(totals(report).values()) == {Decimal(10)}


@pytest.mark.parametrize("field", ["cost_type", "token_type", "service_tier", "context_window", "inference_geo"])
def test_fault_26_a_new_value_is_taken_as_it_is_and_counts(field: str) -> None:
    report = read(answer(with_row(amount="300", **{field: "never seen"})))
    assert report.remarks == (f'the report has a {field} that budgetd does not know: "never seen"',)
    assert set(totals(report).values()) == {Decimal(10)}


@pytest.mark.parametrize(
    ("literal", "dollars"), [("300.50", "3.005"), ("3.1e2", "3.1"), ("0.1", "0.001"), ("-7", "-0.07")]
)
def test_fault_27_an_amount_that_is_a_number_is_taken_exactly(literal: str, dollars: str) -> None:
    assert totals(read(answer(with_literal(literal))))[date(2026, 11, 3)] == Decimal(dollars)


@pytest.mark.parametrize("literal", ["true", "null", "[]", "{}", '["1"]', '{"value": "1"}'])
def test_fault_27_an_amount_of_another_type_is_refused(literal: str) -> None:
    played([answer(with_literal(literal))], Failure.UNREADABLE, "$.data[2].results[0].amount")


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-Infinity", "inf", "nan"])
def test_fault_28_an_amount_that_is_no_number_is_refused(text: str) -> None:
    played([answer(with_row(amount=text))], Failure.UNREADABLE, "$.data[0].results[1].amount", text)


@pytest.mark.parametrize("text", ["1e400", "1E+999999999", "1e-99", "1e15", "9" * 16])
def test_fault_29_an_amount_beyond_reason_is_refused(text: str) -> None:
    played([answer(with_row(amount=text))], Failure.UNREADABLE, "$.data[0].results[1].amount")


@pytest.mark.parametrize("text", ["1_000", " 12 ", "١٢٣", "+1", "1.", ".5", "1,5", "0x10", "", "$1", "1\n"])
def test_fault_30_an_amount_in_another_spelling_is_refused(text: str) -> None:
    played([answer(with_row(amount=text))], Failure.UNREADABLE, "$.data[0].results[1].amount")


def test_fault_31_a_negative_amount_counts_and_is_remarked_on() -> None:
    report = read(answer(with_row(amount="-200.50")))
    assert totals(report)[FIRST] == Decimal("4.995")
    assert "the report has negative amounts on 2026-11-01" in report.remarks


@pytest.mark.parametrize("literal", ['"' + "1" * 5000 + '"', "1" * 4301, "1" * 5000, "0." + "1" * 5000])
def test_fault_32_an_amount_of_thousands_of_digits_is_refused(literal: str) -> None:
    played([answer(with_literal(literal))], Failure.UNREADABLE)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("place", ["amount", "elsewhere"])
def test_fault_33_a_literal_that_is_not_json_is_refused_anywhere(literal: str, place: str) -> None:
    body = with_literal(literal)
    if place == "elsewhere":
        body = json.dumps(page(month(), extra="HERE")).replace('"HERE"', literal).encode()
    played([answer(body)], Failure.UNREADABLE)


@pytest.mark.parametrize(
    ("once", "twice"),
    [
        ('"amount": "300.50"', '"amount": "1", "amount": "300.50"'),
        ('"amount": "300.50"', '"amount": "300.50", "am\\u006funt": "1"'),
        ('"has_more": false', '"has_more": true, "has_more": false'),
        ('"data": [', '"data": [], "data": ['),
        ('"speed": "standard"', '"speed": "fast", "speed": "standard"'),
    ],
)
def test_fault_34_a_key_given_twice_is_refused_anywhere(once: str, twice: str) -> None:
    body = json.dumps(page(month()))
    assert once in body
    played([answer(body.replace(once, twice, 1).encode())], Failure.UNREADABLE, "is given twice in one object")


@pytest.mark.parametrize("bomb", [b"[" * 100_000, b'{"data":' * 100_000, b'{"data":' + b"[" * 100_000])
def test_fault_35_bottomless_nesting_is_refused(bomb: bytes) -> None:
    played([answer(bomb)], Failure.UNREADABLE, "nested too deeply")


# --- the days ----------------------------------------------------------------------------------


def test_fault_37_the_same_bucket_twice_counts_once() -> None:
    buckets = month()
    expected = totals(read(answer(page(buckets))))
    assert totals(read(answer(page([*buckets, buckets[3]])))) == expected
    assert totals(read(answer(page(buckets[:9], "p2")), answer(page(buckets[7:])))) == expected


def test_fault_38_a_bucket_twice_with_other_content_is_fetched_afresh_once() -> None:
    moved = answer(page([*month(), bucket(date(2026, 11, 3), row("1"))]))
    assert len(played([moved], Failure.UNREADABLE, "2026-11-03 comes twice, with different content")) == 2
    assert len(read(moved, GOOD).days) == 17


def test_fault_38_pages_that_overlap_an_unchanged_one_are_compared_all_the_same() -> None:
    buckets = month()
    first = answer(page(buckets[:9], "p2"))
    overlapping = answer(page([bucket(date(2026, 11, 9), row("1")), *buckets[9:]]))
    with FaultyServer([first, answer(page(buckets[9:])), first, overlapping]) as server, Client(server.url) as client:
        client.read()
        server.scripts = [*server.scripts, first, overlapping]
        client.fails(Failure.UNREADABLE, "2026-11-09 comes twice")


def test_fault_39_buckets_in_any_order_are_the_same_report() -> None:
    buckets = month()
    expected = read(answer(page(buckets)))
    for seed in range(5):
        random.Random(seed).shuffle(buckets)
        shuffled = read(answer(page(buckets[:6], "p2")), answer(page(buckets[6:])))
        assert (shuffled.days, shuffled.through) == (expected.days, expected.through)


def _without(index: int) -> list[Any]:
    return [each for number, each in enumerate(month()) if number != index]


@pytest.mark.parametrize(
    ("buckets", "words"),
    [
        ([bucket(date(2026, 10, 31)), *month()], "beyond what was asked for"),
        ([*month(until=TODAY), bucket(date(2026, 11, 19))], "beyond what was asked for"),
        (_without(5), "2026-11-06 is missing"),
        (_without(0), "2026-11-01 is missing"),
        ([*month(), bucket(TODAY, ending_at="2026-11-18T00:00:00Z")], "not one UTC day"),
        ([*month(), bucket(TODAY, ending_at="2026-11-17T00:00:00Z")], "not one UTC day"),
        ([*month(), bucket(TODAY, ending_at="2026-11-20T00:00:00Z")], "not one UTC day"),
        ([*month(), bucket(TODAY, starting_at="2026-11-18T01:00:00Z")], "start at a UTC midnight"),
        ([*month(), bucket(TODAY, starting_at="2026-11-18T00:00:00+01:00")], "start at a UTC midnight"),
        ([*month(), bucket(TODAY, starting_at="2026-11-18")], "not an RFC 3339 instant"),
        ([*month(), bucket(TODAY, starting_at="2026-13-45T00:00:00Z")], "$.data[17]"),
        ([*month(), bucket(TODAY, starting_at="0001-01-01T00:00:00+14:00")], "not an RFC 3339 instant"),
        ([*month(), bucket(TODAY, starting_at=1763424000)], "$.data[17].starting_at: expected a string"),
    ],
)
def test_fault_40_buckets_that_do_not_fit_what_was_asked_are_refused(buckets: list[Any], words: str) -> None:
    played([answer(page(buckets))], Failure.UNREADABLE, words)


def test_fault_41_a_restated_day_replaces_what_was_known_also_downwards_and_to_nothing() -> None:
    def lower(day: date) -> list[object]:
        return {3: [row("1")], 4: []}.get(day.day, [row(f"{day.day}00.50")])

    with FaultyServer([GOOD, answer(page(month(rows=lower)))]) as server, Client(server.url) as client:
        client.read()
        restated = totals(client.read())
    assert (restated[date(2026, 11, 3)], restated[date(2026, 11, 4)]) == (Decimal("0.01"), Decimal(0))


def test_fault_42_late_data_of_a_closed_month_stays_in_its_own_days() -> None:
    now = datetime(2026, 12, 8, 12, tzinfo=UTC)
    buckets = [bucket(day, row("100")) for day in days(FIRST, date(2026, 12, 7))]
    with FaultyServer([answer(page(buckets[:31], "p2")), answer(page(buckets[31:]))]) as server:
        with Client(server.url) as client:
            report = client.read(now)
    assert dict(server.requests[0].query)["starting_at"] == "2026-11-01T00:00:00Z"
    assert [day.day for day in report.days] == days(FIRST, date(2026, 12, 7))


@pytest.mark.parametrize("currency", ["EUR", "usd", "", None, 840])
def test_fault_43_another_currency_is_never_added_up(currency: object) -> None:
    words = ["$.data[0].results[1].currency"] + (["EUR", "only US dollars"] if currency == "EUR" else [])
    played([answer(with_row(amount="1", currency=currency))], Failure.UNREADABLE, *words)


def test_fault_44_amounts_are_cents() -> None:
    report = read(answer(page(month(rows=lambda day: [row("123.45"), row("41280.000000", model="m")]))))
    assert sorted(report.days[0].lines.values()) == [Decimal("1.2345"), Decimal("412.8")]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip"])
def test_fault_45_a_compressed_body_is_refused_unopened(encoding: str) -> None:
    bomb = gzip.compress(b" " * 20_000_000)
    requests = played([answer(bomb, content_encoding=encoding)], Failure.UNREADABLE, f"encoded as {encoding}")
    assert requests[0].headers["accept-encoding"] == "identity"


# --- TLS, names, the environment ---------------------------------------------------------------


def _tls(*, name: str = "localhost", expired: bool = False, oldest: bool = False) -> tuple[ssl.SSLContext, trustme.CA]:
    authority = trustme.CA()
    until = datetime(2020, 1, 1, tzinfo=UTC) if expired else None
    certificate = authority.issue_cert(name, not_after=until, not_before=until and until - timedelta(days=9))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if oldest:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    certificate.configure_cert(context)
    return context, authority


def _trusted(authority: trustme.CA, folder: Path) -> Path:
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return folder / "ca.pem"


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"expired": True}, "certificate has expired"),
        ({"name": "other.example.com"}, "Hostname mismatch"),
        ({"oldest": True}, "TLS:"),
    ],
)
def test_fault_47_a_host_that_cannot_prove_itself_gets_no_key(
    made: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    context, authority = _tls(**made)
    with FaultyServer([GOOD], tls=context) as server:
        with Client(server.url, ca_file=_trusted(authority, tmp_path)) as client:
            client.fails(Failure.UNREACHABLE, reason)
    assert server.requests == []


def test_fault_47_an_unknown_authority_is_refused() -> None:
    with FaultyServer([GOOD], tls=_tls()[0]) as server, Client(server.url) as client:
        client.fails(Failure.UNREACHABLE, "TLS: certificate refused: unable to get local issuer certificate")
    assert server.requests == []


@pytest.mark.parametrize("ending", ["closes", "stalls", "speaks http"])
def test_fault_47_a_broken_handshake_is_unreachable(ending: str, tmp_path: Path) -> None:
    def handshake(connection: Connection) -> None:
        connection.socket.recv(1)
        if ending == "stalls":
            connection.stall()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n" if ending == "speaks http" else b"\x16\x03\x03")

    with FaultyServer([GOOD], on_connect=handshake) as server:
        with Client(server.url.replace("http:", "https:")) as client:
            client.fails(Failure.UNREACHABLE)


def test_fault_48_a_name_that_does_not_exist_is_unreachable() -> None:
    with Client("https://api.budgetd.invalid") as client:
        client.fails(Failure.UNREACHABLE, "the name cannot be resolved", within=10)


@pytest.fixture
def hostile_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Everything in the environment that a client might listen to; a proxy's address is to be given."""

    def set_up(proxy: str) -> Path:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
            monkeypatch.setenv(name.lower(), proxy)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keylog"))
        (tmp_path / ".netrc").write_text("machine localhost login me password pw\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        return tmp_path

    return set_up


def test_fault_49_no_proxy_netrc_or_key_log_of_the_environment_is_used(
    hostile_environment: Callable[[str], Path],
) -> None:
    context, authority = _tls()
    with FaultyServer([GOOD]) as proxy, FaultyServer([GOOD], tls=context) as server, FaultyServer([GOOD]) as plain:
        folder = hostile_environment(proxy.url)
        with Client(server.url, seconds=2, ca_file=_trusted(authority, folder)) as client:
            client.read()
        with Client(plain.url) as client:
            client.read()
    assert proxy.connections == 0
    assert not (folder / "keylog").exists()
    assert "authorization" not in {**server.requests[0].headers, **plain.requests[0].headers}


def test_fault_49_no_authority_of_the_environment_is_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    context, authority = _tls()
    monkeypatch.setenv("SSL_CERT_FILE", str(_trusted(authority, tmp_path)))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with FaultyServer([GOOD], tls=context) as server, Client(server.url) as client:
        client.fails(Failure.UNREACHABLE, "certificate refused")


@pytest.mark.parametrize(
    "url", ["http://api.anthropic.com", "http://192.0.2.1", "http://0.0.0.0", "http://[2001:db8::1]"]
)
def test_fault_50_a_key_never_goes_over_plain_http_to_another_machine(url: str) -> None:
    with pytest.raises(ValueError, match="a key goes over https, or to loopback"):
        Client(url)


def test_fault_51_a_clock_that_is_far_off_is_seen() -> None:
    with FaultyServer([answer(page(month()), date="Wed, 18 Nov 2026 12:05:00 GMT")]) as server:
        with Client(server.url) as client:
            client.read()
            assert client.api.last_skew == 300


# --- the key -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        (error(401, "authentication_error", f"no such key: {KEY}"), Failure.REFUSED),
        (error(400, KEY, f"x{KEY}y{KEY}"), Failure.REJECTED),
        (answer(f"<p>{'x' * 50}{KEY}".encode(), 503, content_type="text/html"), Failure.UNAVAILABLE),
        (answer(KEY.encode(), 500, content_type=KEY), Failure.UNAVAILABLE),
        (raw(head(400, request_id=KEY, content_length="0"), close=False), Failure.REJECTED),
        (answer(b"", 302, location=f"https://{KEY}.example.com/"), Failure.REJECTED),
        (answer(b"", content_encoding=KEY), Failure.UNREADABLE),
        (answer(page(month(), extra=KEY)), Failure.UNREADABLE),
        (answer(KEY.encode()), Failure.UNREADABLE),
        (raw(f"HTTP/1.1 {KEY}\r\n\r\n".encode()), Failure.UNREACHABLE),
        (raw(KEY.encode()), Failure.UNREACHABLE),
    ],
)
def test_an_answer_that_repeats_the_key_leaks_it_nowhere(script: Script, failure: Failure) -> None:
    played([script], failure)


def test_a_report_is_all_or_nothing_and_of_exact_days() -> None:
    report = read(GOOD)
    assert all(isinstance(day, CostDay) and day.complete for day in report.days)
    assert sum(totals(report).values()) == Decimal("153.085")
