"""Pages of the cost analytics: what is read from their bytes, and what is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.model import DEFAULT_WORKSPACE, Dimensions
from budgetd.sources.analytics import Analytics
from budgetd.sources.analytics_page import Known, Page, decode
from budgetd.sources.page_text import HOUR
from budgetd.sources.strict_json import JsonError
from tests.analytics_pages import DAY, DEFAULT_ID, GROUP, NOW, REFRESHED, at, line, page, row
from tests.cost_pages import Shelf


def read(content: Any, known: Known | None = None, width: Any = HOUR) -> Page:
    return decode(json.dumps(content).encode(), Known() if known is None else known, width)


def with_cost(**fields: Any) -> Any:
    entry = row()
    entry["cost"] |= fields
    return entry


# --- good pages --------------------------------------------------------------------------------


def test_a_row_is_exact_dollars_of_an_hour_by_dimensions() -> None:
    answer = read(page([row(amount="137.946180")], "p2"))
    assert (answer.next_page, answer.refreshed_at, answer.remarks) == ("p2", REFRESHED, frozenset())
    (only,) = answer.rows
    assert (only.start, only.about, only.dollars) == (at("18T11:00"), line(), Decimal("1.379461800"))


def test_an_empty_page_is_one() -> None:
    assert read(page([])).rows == ()


def test_days_are_read_by_the_same_reader() -> None:
    (only,) = read(page([row(at("17T00:00"), width="1d")]), width=DAY).rows
    assert only.start == at("17T00:00")


@pytest.mark.parametrize(
    ("group", "about"),
    [
        ({"workspace_id": None}, line(DEFAULT_WORKSPACE)),
        ({"workspace_id": "wrkspc_b"}, line("wrkspc_b")),
        ({"model": None, "token_type": None, "cost_type": "code_execution", "service_tier": None},
         Dimensions("wrkspc_a", cost_type="code_execution", context_window="0-200k", inference_geo="global")),
        ({"speed": "fast", "product": "api"}, line()),  # not asked for, and not taken
    ],
)  # fmt: skip
def test_the_dimensions_are_those_that_were_asked_for(group: dict[str, Any], about: Dimensions) -> None:
    assert read(page([row(**group)])).rows[0].about == about


@pytest.mark.parametrize("name", sorted(GROUP))
def test_a_dimension_may_be_missing(name: str) -> None:
    entry, empty = row(), row(**{name: None})
    del entry["group"][name]
    assert read(page([entry])).rows == read(page([empty])).rows


@pytest.mark.parametrize("name", ["list_amount", "requests"])
@pytest.mark.parametrize("value", [None, 12, "x", {}])
def test_what_is_not_used_may_be_anything(name: str, value: object) -> None:
    assert read(page([with_cost(**{name: value})])).rows == read(page([row()])).rows


@pytest.mark.parametrize(("amount", "dollars"), [("0", "0"), ("-5.00", "-0.05"), ("1e2", "1"), (12.5, "0.125")])
def test_an_amount_may_be_written_in_other_ways(amount: object, dollars: str) -> None:
    assert read(page([row(amount=amount)])).rows[0].dollars == Decimal(dollars)


def test_an_end_may_be_missing_and_an_instant_told_in_another_zone() -> None:
    entry = row()
    del entry["ending_at"]
    entry["starting_at"] = "2026-11-18T16:45:00+05:45"
    assert read(page([entry])).rows[0].start == at("18T11:00")


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        (page([row(service_tier="priority")]), 'the analytics have a service_tier that budgetd does not know: "prior'),
        (page([row(token_type="x\u202ey")]), 'the analytics have a token_type that budgetd does not know: "x\\u202ey"'),
        (page([row(amount="-5.00")]), "the analytics have negative amounts on 2026-11-18"),
        (page([row()], shade=1), 'the analytics have a field that budgetd does not know: "shade"'),
        (page([{**row(), "shade": 1}]), 'the analytics have a field that budgetd does not know: "shade"'),
        (page([row(shade=[1])]), 'the analytics have a field that budgetd does not know: "group.shade"'),
        (page([with_cost(shade=1)]), 'the analytics have a field that budgetd does not know: "cost.shade"'),
    ],
)
def test_an_oddity_is_taken_and_remarked_on(content: Any, remark: str) -> None:
    known = Known()
    answer = read(content, known)
    assert len(answer.rows) == 1
    (said,) = answer.remarks | known.odd
    assert said.startswith(remark)


def test_a_combination_is_kept_once() -> None:
    known = Known()
    first, second = (read(page([row()]), known).rows[0] for _ in range(2))
    assert first.about is second.about
    assert first.group is second.group


# --- refused pages -----------------------------------------------------------------------------


def without(name: str, content: Any = None) -> Any:
    content = page([row()]) if content is None else content
    return {key: value for key, value in content.items() if key != name}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([], r"\$: expected an object, found a list"),
        ({}, r"\$\.data: missing"),
        ({"type": "error", "error": {"type": "api_error"}}, r"\$: an error instead of data: .*api_error"),
        (without("data"), r"\$\.data: missing"),
        (without("has_more"), r"\$\.has_more: missing"),
        (without("data_refreshed_at"), r"\$\.data_refreshed_at: missing"),
        (page([], data_refreshed_at=None), r"\$\.data_refreshed_at: expected a string, found null"),
        (page([], data_refreshed_at="noon"), r"\$\.data_refreshed_at: not an RFC 3339 instant"),
        (page([], has_more="no"), r"\$\.has_more: expected true or false"),
        (page([], has_more=True), r"\$\.next_page: more pages are announced, and no cursor"),
        (page([], ""), r"\$\.next_page: more pages are announced, and no cursor"),
        (without("next_page", page([], "p2")), r"\$\.next_page: more pages are announced"),
        (page([], 5), r"\$\.next_page: expected a string, found a number"),
        (page([], data=None), r"\$\.data: expected a list, found null"),
        (page([row(), 5]), r"\$\.data\[1\]: expected an object, found a number"),
        (page([without("starting_at", row())]), r"\$\.data\[0\]\.starting_at: missing"),
        (page([without("group", row())]), r"\$\.data\[0\]\.group: missing"),
        (page([without("cost", row())]), r"\$\.data\[0\]\.cost: missing"),
        (page([{**row(), "group": None}]), r"\$\.data\[0\]\.group: expected an object, found null"),
        (page([{**row(), "starting_at": 5}]), r"\$\.data\[0\]\.starting_at: expected a string"),
        (page([{**row(), "starting_at": "2026-11-18T11:30:00Z"}]), r"\$\.data\[0\]: .* start at a whole hour"),
        (page([{**row(), "ending_at": "2026-11-18T13:00:00Z"}]), r"\$\.data\[0\]: .* not one hour"),
        (page([{**row(), "ending_at": "2026-11-19T11:00:00Z"}]), r"\$\.data\[0\]: .* not one hour"),
        (page([{**row(), "starting_at": "2026-11-18 11:00:00"}]), r"\$\.data\[0\]: not an RFC 3339 instant"),
        (page([row(model=4)]), r"\$\.data\[0\]\.group\.model: expected a string, found a number"),
        (page([row(product=[])]), r"\$\.data\[0\]\.group\.product: expected a string, found a list"),
        (page([with_cost(currency="EUR")]), r'\$\.data\[0\]\.cost\.currency: "EUR"'),
        (page([with_cost(currency=None)]), r"\$\.data\[0\]\.cost\.currency: expected a string, found null"),
        (page([with_cost(amount=None)]), r"\$\.data\[0\]\.cost\.amount: expected a decimal string, found null"),
        (page([with_cost(amount="12,00")]), r"\$\.data\[0\]\.cost\.amount: not a decimal amount"),
        (page([with_cost(amount="NaN")]), r"\$\.data\[0\]\.cost\.amount: not a decimal amount"),
        (page([with_cost(amount="1e99")]), r"\$\.data\[0\]\.cost\.amount: amount of cents out of range"),
        (page([{**row(), "cost": {"currency": "USD"}}]), r"\$\.data\[0\]\.cost\.amount: missing"),
        (page([with_cost(amount=float("nan"))]), "NaN is not a JSON number"),
    ],
)
def test_a_page_that_is_not_what_was_agreed_is_refused_with_its_place(content: Any, complaint: str) -> None:
    with pytest.raises(JsonError, match=complaint):
        read(content)


@pytest.mark.parametrize(
    "key", ['"amount":"12345.00"', '"model":"claude-opus-4-8"', '"has_more":false', '"starting_at":"2026-11-18T11']
)
def test_a_key_given_twice_is_refused(key: str) -> None:
    text = json.dumps(page([row()]), separators=(",", ":"))
    assert key in text
    name = key.partition(":")[0]
    with pytest.raises(JsonError, match="given twice"):
        decode(text.replace(key, f"{name}:0,{key}").encode(), Known(), HOUR)


@pytest.mark.parametrize("body", [b"", b"null", b"<html>", b"[" * 100_000, b'"\xff"'])
def test_a_body_that_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(JsonError):
        decode(body, Known(), HOUR)


# --- order -------------------------------------------------------------------------------------

_ENTRIES = st.lists(
    st.tuples(
        st.integers(0, 35),
        st.sampled_from([None, DEFAULT_ID, "wrkspc_a", "wrkspc_b"]),
        st.sampled_from(["claude-opus-4-8", None]),
        st.sampled_from([None, "api", "other"]),  # a dimension that is not ours: such rows are one line
        st.decimals(-1000, 10**9, places=8),
    ),
    max_size=12,
    unique_by=lambda entry: entry[:4],
)


@given(_ENTRIES, st.data())
def test_any_order_of_the_rows_gives_the_same_report(entries: list[Any], data: st.DataObject) -> None:
    rows = [
        row(at("17T00:00") + HOUR * hour, str(cents), workspace_id=workspace, model=model, product=product)
        for hour, workspace, model, product, cents in entries
    ]
    shuffled = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    pages = [page(shuffled)]
    if 0 < cut < len(rows):
        pages = [page(shuffled[:cut], "p2"), page(shuffled[cut:])]
    reports = [
        Analytics(Shelf(page([]), *answers), lambda: DEFAULT_ID, history=False).read(NOW, None)
        for answers in ([page(rows)], pages)
    ]
    assert reports[0] == reports[1]
    total = sum((amount for each in reports[0].slices for amount in each.lines.values()), Decimal(0))
    assert total == sum((entry[4] for entry in entries), Decimal(0)) / 100
