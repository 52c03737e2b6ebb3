"""Every way in which the cost API can answer wrongly, over real sockets; numbered as the faults are.

Each one ends in bounded time, in an error of the right kind that does not hold the key, or in the right figures.
There is no third way: nothing partial, nothing read as $0.
"""

from __future__ import annotations

import gzip
import json
import random
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from budgetd.model import Failure, SourceError
from tests.cost_client import GOOD, JSON_HEAD, Client, played, read, totals
from tests.cost_pages import FIRST, TODAY, bucket, days, month, page, row
from tests.faulty_server import (
    Connection,
    FaultyServer,
    Request,
    Script,
    answer,
    error,
    raw,
)

pytestmark = pytest.mark.network


def with_row(**fields: Any) -> dict[str, Any]:
    """An ordinary month whose 3rd has one more row, with these fields."""
    return page(month(rows=lambda day: [row("700"), row(**{"workspace": "wrkspc_b", **fields})]))


def with_literal(literal: str) -> bytes:
    """An ordinary month in which one amount is this JSON literal."""
    return json.dumps(page(month())).replace('"300.50"', literal).encode()


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
    with FaultyServer([answer(page(buckets[:7], "p2")), script]) as server, Client(server.url) as client:
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
    def lower(day: date) -> list[dict[str, object]]:
        return {3: [row("1")], 4: []}.get(day.day, [row(f"{day.day}00.50")])

    with FaultyServer([GOOD, answer(page(month(rows=lower)))]) as server, Client(server.url) as client:
        client.read()
        restated = totals(client.read())
    assert (restated[date(2026, 11, 3)], restated[date(2026, 11, 4)]) == (Decimal("0.01"), Decimal(0))


def test_fault_42_late_data_of_a_closed_month_stays_in_its_own_days() -> None:
    now = datetime(2026, 12, 8, 12, tzinfo=UTC)
    buckets = [bucket(day, row("100")) for day in days(FIRST, date(2026, 12, 7))]
    with (
        FaultyServer([answer(page(buckets[:31], "p2")), answer(page(buckets[31:]))]) as server,
        Client(server.url) as client,
    ):
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
