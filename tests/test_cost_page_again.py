"""Rows recognised by their bytes: the same page as the close reader reads, or none; never another one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.sources import cost_page, cost_page_again
from budgetd.sources.cost_page import Known, Page
from budgetd.sources.strict_json import JsonError
from tests.cost_pages import FIRST, bucket, days, month, page, row

# Texts that look like what a page is cut at; those with quotation marks are the close reader's from the beginning.
PLAIN_TEXTS = ("plain", "a}]b", "},", "back\\slash", "\\", "{", "]},{", "Grüße ✓", "line\nbreak")
QUOTED_TEXTS = ('"results":[', '{"amount":"1', '{"currency":"USD","amount":"1', '","amount":"7","model":"x', '"')
AMOUNTS = ("1", "0", "12345.00", "-3.5", "41280.000000", "0.00000000000001", "999999999999999")
LAST = days(FIRST, FIRST.replace(day=4))[-1]


def pages_with(texts: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Pages of up to four days with up to five rows, whose descriptions are among the texts."""
    some_rows = st.builds(
        lambda amount, workspace, text: row(amount, workspace, description=text),
        st.sampled_from(AMOUNTS),
        st.sampled_from([None, "wrkspc_a", "wrkspc_b"]),
        st.sampled_from(texts),
    )
    return st.lists(st.lists(some_rows, max_size=5), min_size=1, max_size=4).map(
        lambda content: page([bucket(day, *some) for day, some in zip(days(FIRST, LAST), content, strict=False)])
    )


pages = pages_with(PLAIN_TEXTS)
odd_pages = pages_with(PLAIN_TEXTS + QUOTED_TEXTS)
FIRST_FIELDS = (("currency", "amount"), ("amount",), ("currency", "service_tier", "amount"), ("workspace_id", "amount"))
orders = st.sampled_from(FIRST_FIELDS)


def written(content: dict[str, Any], first: tuple[str, ...] = ("currency", "amount")) -> bytes:
    """The page as the API writes it, without blanks; each row's fields begin with these."""
    buckets = [
        {**each, "results": [{**{name: one[name] for name in first}, **one} for one in each["results"]]}
        for each in content["data"]
    ]
    return json.dumps({**content, "data": buckets}, separators=(",", ":"), ensure_ascii=False).encode()


def knowing(*bodies: bytes) -> Known:
    known = Known()
    for body in bodies:
        assert cost_page._fast(body, known) is not None
    return known


def closely(body: bytes) -> Page | JsonError:
    try:
        return cost_page._close(body, Known())
    except JsonError as error:
        return error


def with_amounts(content: dict[str, Any], amount: str) -> dict[str, Any]:
    buckets = [{**each, "results": [{**one, "amount": amount} for one in each["results"]]} for each in content["data"]]
    return {**content, "data": buckets}


@given(pages, orders, st.sampled_from(AMOUNTS))
def test_a_page_with_new_amounts_is_what_the_close_reader_says(
    content: dict[str, Any], first: tuple[str, ...], amount: str
) -> None:
    body = written(with_amounts(content, amount), first)
    again = cost_page._again(body, knowing(written(content, first)))
    assert again is None or again == closely(body)


@given(pages, st.one_of(pages, odd_pages), orders)
def test_rows_of_one_page_are_recognised_in_another_or_left_to_the_parser(
    learnt: dict[str, Any], content: dict[str, Any], first: tuple[str, ...]
) -> None:
    known = knowing(written(learnt, first))
    body = written(content, first)
    again = cost_page._again(body, known)
    assert again is None or again == closely(body)
    assert cost_page.decode(body, known) == closely(body)


@given(pages, orders, st.data())
def test_a_page_with_any_few_bytes_changed_is_read_rightly_or_left_to_the_parser(
    content: dict[str, Any], first: tuple[str, ...], data: st.DataObject
) -> None:
    body = written(content, first)
    known = knowing(body)
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 4)))
    instead = data.draw(st.sampled_from([b"", b'"', b"\\", b",", b"{", b"}", b"]", b"[", b"1", b" ", b"\n", b"\xff"]))
    changed = body[:start] + instead + body[end:]
    again = cost_page._again(changed, known)
    assert again is None or again == closely(changed)


@given(pages, orders, st.data())
def test_a_page_with_pieces_moved_about_is_read_rightly_or_left_to_the_parser(
    content: dict[str, Any], first: tuple[str, ...], data: st.DataObject
) -> None:
    body = written(content, first)
    known = knowing(body)
    marks = [place for place, byte in enumerate(body) if byte in b'"{}[],']
    a, b, c = sorted(data.draw(st.sampled_from(marks)) for _ in range(3))
    for changed in (body[:a] + body[b:c] + body[a:b] + body[c:], body[:a] + body[b:], body[:b] + body[a:]):
        again = cost_page._again(changed, known)
        assert again is None or again == closely(changed)


def test_every_byte_of_an_ordinary_page_counts() -> None:
    body = written(page(month(until=FIRST, rows=lambda day: [row("1.5", "wrkspc_a"), row("2", "wrkspc_b")])))
    known = knowing(body)
    for place in range(len(body)):
        for instead in (b"", b'"', b"\\", b"0", b"x", b"}"):
            changed = body[:place] + instead + body[place + 1 :]
            again = cost_page._again(changed, known)
            assert again is None or again == closely(changed), changed


def test_an_ordinary_page_is_recognised_whatever_its_amounts() -> None:
    content = page(month(rows=lambda day: [row("700", "wrkspc_a"), row("5", None), row("9", "wrkspc_b")]), "p2")
    known = knowing(written(content))
    body = written(with_amounts(content, "41280.000000"))
    assert cost_page._again(body, known) == closely(body)


@pytest.mark.parametrize("length", [1, 100, 1000, 5000])
def test_a_page_is_the_same_however_it_is_parted(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_page_again, "_PART", length)
    content = page(month(rows=lambda day: [row(str(day.day), "wrkspc_a"), row("5", None), row("9", f"wrkspc_{day}")]))
    known = knowing(written(content))
    body = written(with_amounts(content, "412.80"))
    assert cost_page._again(body, known) == closely(body)


def test_days_that_come_and_go_and_empty_ones_are_recognised() -> None:
    known = knowing(written(page(month(until=FIRST, rows=lambda day: [row("1"), row("2", None)]))))
    shapes: list[list[Any]] = [[], [row("3")], [row("4", None), row("5")], [], [row("6", None)], []]
    content = page([bucket(day, *some) for day, some in zip(days(FIRST, FIRST.replace(day=6)), shapes, strict=True)])
    body = written(content)
    assert cost_page._again(body, known) == closely(body)


def test_the_last_row_of_a_day_is_learnt_whole_though_its_text_looks_like_the_end() -> None:
    body = written(page(month(rows=lambda day: [row("1", description="a}]b")])))
    assert cost_page._again(body, knowing(body)) is None
    assert cost_page.decode(body, knowing(body)) == closely(body)


def test_equal_rows_are_added_up() -> None:
    content = page([bucket(FIRST, row("1"), row("2"), row("3"))])
    body = written(with_amounts(content, "10.25"))
    again = cost_page._again(body, knowing(written(content)))
    assert again is not None
    assert again == closely(body)


def test_a_negative_amount_is_remarked_on() -> None:
    content = page(month())
    again = cost_page._again(written(with_amounts(content, "-1")), knowing(written(content)))
    assert again is not None
    assert len(again.remarks) == len(content["data"])


@pytest.mark.parametrize("amount", ["1e3", "NaN", "1_0", " 1", "", "٣", "1\\n2"])
def test_an_amount_that_is_not_plain_is_left_to_the_parser(amount: str) -> None:
    content = page(month())
    body = written(content).replace(b'"amount":"500.50"', f'"amount":"{amount}"'.encode())
    assert cost_page._again(body, knowing(written(content))) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"currency":"USD","amount":"500.50"', '"currency":"EUR","amount":"500.50"'),
        ('"amount":"500.50"', '"amount":"1","amount":"500.50"'),
        ('"amount":"500.50"', '"new":1,"amount":"500.50"'),
        ('"has_more":false', '"has_more":false,"has_more":false'),
        ('"has_more":false', '"has_more":true'),
        ("2026-11-05T00:00:00Z", "2026-11-05T01:00:00Z"),
        ('"results":[', '"results" :['),
    ],
)
def test_what_the_parser_must_judge_is_left_to_it(old: str, new: str) -> None:
    content = page(month())
    changed = written(content).replace(old.encode(), new.encode(), 1)
    assert changed != written(content)
    assert cost_page._again(changed, knowing(written(content))) is None


def test_rows_that_start_otherwise_are_not_mixed_up() -> None:
    content = page(month())
    known = knowing(written(content, ("amount",)))
    body = written(content, ("currency", "amount"))
    assert cost_page._again(body, known) is None
    assert cost_page.decode(body, known) == closely(body)
    assert cost_page._again(body, known) == closely(body)
