"""Pages of the usage report: what is read from their bytes, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetd.model import DEFAULT_WORKSPACE
from budgetd.price_list import CACHE_1H, CACHE_5M, INPUT, OUTPUT, WEB_SEARCH
from budgetd.pricing import Used
from budgetd.sources import usage_page
from budgetd.sources.strict_json import JsonError
from budgetd.sources.usage_page import Known, decode
from budgetd.sources.usage_report import MINUTE
from tests.usage_pages import NOW, OPUS, bucket, page, row, used

NOON = NOW.replace(minute=0, second=0)


def read(*rows: Any, **fields: Any) -> dict[Used, int]:
    """The counts of a page with one bucket; both readers must agree on what both can read."""
    body = json.dumps(page([bucket(NOON, "1m", *rows)], **fields), separators=(",", ":")).encode()
    close = usage_page._close(body, Known(), MINUTE)
    fast = usage_page._fast(body, Known(), MINUTE)
    assert fast is None or (fast.buckets, fast.next_page) == (close.buckets, close.next_page)
    return decode(body, Known(), MINUTE).buckets[0].counts


def test_a_row_has_a_count_for_each_kind_of_token() -> None:
    about = {
        "uncached_input_tokens": 1,
        "cache_creation": {"ephemeral_1h_input_tokens": 2, "ephemeral_5m_input_tokens": 3},
        "cache_read_input_tokens": 4,
        "server_tool_use": {"web_search_requests": 5},
    }
    assert read({**row(6), **about}) == {
        used(INPUT): 1,
        used(CACHE_1H): 2,
        used(CACHE_5M): 3,
        used("cache_read_input_tokens"): 4,
        Used("wrkspc_a", used(WEB_SEARCH).kind): 5,
        used(OUTPUT): 6,
    }


@pytest.mark.parametrize("name", sorted(row()))
@pytest.mark.parametrize("gone", [True, False])
def test_anything_may_be_missing_or_null(name: str, gone: bool) -> None:
    given = row(7)
    if gone:
        del given[name]
    else:
        given[name] = None
    counts = read(given)
    assert list(counts.values()) == ([] if name == "output_tokens" else [7])
    if name == "workspace_id":
        assert next(iter(counts)).workspace == (None if gone else DEFAULT_WORKSPACE)


def test_a_missing_cache_creation_is_no_cache_write() -> None:
    given = row(7)
    del given["cache_creation"]
    assert read(given) == {used(OUTPUT): 7}


def test_cache_writes_as_one_number_are_shown_without_a_price() -> None:
    given = row(0, cache_creation_input_tokens=9)
    assert read(given) == {used("cache_creation_input_tokens"): 9}
    given["cache_creation"] = {"ephemeral_1h_input_tokens": 4, "ephemeral_5m_input_tokens": 5}
    assert read(given) == {used(CACHE_1H): 4, used(CACHE_5M): 5}
    given["cache_creation_input_tokens"] = 8
    with pytest.raises(JsonError, match="8 cache writes, and 9"):
        read(given)


def test_new_counters_are_kept_under_their_names_and_other_new_fields_remarked_on() -> None:
    given: dict[str, Any] = row(
        1,
        reasoning_tokens=2,
        cache_creation={"ephemeral_24h_input_tokens": 3},
        server_tool_use={"web_fetch_requests": 4, "web_search_requests": 0, "note": "x"},
        region="mars",
    )
    assert read(given) == {
        used(OUTPUT): 1,
        used("reasoning_tokens"): 2,
        used("cache_creation.ephemeral_24h_input_tokens"): 3,
        used("server_tool_use.web_fetch_requests"): 4,
    }
    body = json.dumps(page([bucket(NOON, "1m", given)], extra=1)).encode()
    names = ["extra", "reasoning_tokens", "cache_creation.ephemeral_24h_input_tokens", "region"]
    names += ["server_tool_use.web_fetch_requests", "server_tool_use.note"]
    assert decode(body, Known(), MINUTE).remarks == {
        f'the usage report has a field that budgetd does not know: "{name}"' for name in names
    }


def test_values_that_the_reference_does_not_list_are_taken_and_remarked_on() -> None:
    known = Known()
    rows = [row(1, service_tier="solar", speed="warp", context_window="1M-9M", inference_geo="mars", model="new")]
    decode(json.dumps(page([bucket(NOON, "1m", *rows)])).encode(), known, MINUTE)
    assert len(known.odd) == 4


@pytest.mark.parametrize("count", [-1, 1.5, "7", True, 10**15, [], {}, 1e3], ids=lambda count: str(count)[:12])
@pytest.mark.parametrize("place", ["output_tokens", "cache_creation", "server_tool_use"])
def test_a_count_is_a_whole_number(count: object, place: str) -> None:
    inner = {"cache_creation": "ephemeral_5m_input_tokens", "server_tool_use": "web_search_requests"}
    value = {inner[place]: count} if place in inner else count
    with pytest.raises(JsonError, match=rf"\$\.data\[0\]\.results\[0\]\.{place}"):
        read({**row(), place: value})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"data":[],"has_more":false,"has_more":true}', "given twice"),
        ('{"data":[],"has_more":true,"next_page":""}', "no cursor"),
        ('{"data":[]}', "has_more"),
        ('{"has_more":false}', "data"),
        ("[]", "expected an object"),
        ("", "not JSON"),
    ],
)
def test_a_page_that_is_none_is_refused(text: str, words: str) -> None:
    with pytest.raises(JsonError, match=words):
        decode(text.encode(), Known(), MINUTE)


def test_a_key_given_twice_in_a_row_is_refused() -> None:
    text = json.dumps(page([bucket(NOON, "1m", row(7))]), separators=(",", ":"))
    for key in ('"output_tokens":7', '"model":"claude-opus-4-8"', '"web_search_requests":0', '"api_key_id":null'):
        assert key in text
        with pytest.raises(JsonError, match="given twice"):
            decode(text.replace(key, f"{key},{key}").encode(), Known(), MINUTE)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-11-18T12:00:01Z", "2026-11-18T12:01:01Z"),
        ("2026-11-18T12:00:00Z", "2026-11-18T13:00:00Z"),
        ("2026-11-18 12:00:00", None),
        ("yesterday", None),
        ("2026-11-18T12:00:00", None),
    ],
)
def test_a_bucket_is_a_whole_minute(start: str, end: str | None) -> None:
    given = {"starting_at": start, "results": [], **({"ending_at": end} if end else {})}
    with pytest.raises(JsonError, match=r"\$\.data\[0\]"):
        decode(json.dumps(page([given])).encode(), Known(), MINUTE)


def test_a_bucket_may_be_told_in_another_zone_and_without_its_end() -> None:
    given = {"starting_at": "2026-11-18T17:45:00+05:45", "results": []}
    assert decode(json.dumps(page([given])).encode(), Known(), MINUTE).buckets[0].start == NOON


_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "uncached_input_tokens": st.integers(0, 10**14),
        "output_tokens": st.integers(0, 10**14),
        "cache_creation": st.dictionaries(
            st.sampled_from(["ephemeral_1h_input_tokens", "ephemeral_5m_input_tokens", "x"]), st.integers(0, 9)
        ),
        "server_tool_use": st.dictionaries(st.sampled_from(["web_search_requests", "y"]), st.integers(0, 9)),
        "model": st.none() | st.sampled_from([OPUS, 'a"b', "ü\n"]),
        "workspace_id": st.none() | st.sampled_from(["wrkspc_a", "wrkspc_b"]),
        "speed": st.none() | st.just("fast"),
        "api_key_id": st.none() | st.just("apikey_1"),
        "new": st.integers(0, 3) | st.none() | st.text(max_size=3),
    },
)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(_FIELDS, max_size=6), ascii_only=st.booleans())
def test_both_readers_agree_and_no_token_is_lost(rows: list[dict[str, Any]], ascii_only: bool) -> None:
    body = json.dumps(page([bucket(NOON, "1m", *rows)]), ensure_ascii=ascii_only).encode()
    close = usage_page._close(body, Known(), MINUTE)
    fast = usage_page._fast(body, Known(), MINUTE)
    assert fast is None or fast == close
    assert sum(decode(body, Known(), MINUTE).buckets[0].counts.values()) == sum(map(_units, rows))


def _units(value: object) -> int:
    if isinstance(value, dict):
        return sum(map(_units, value.values()))
    return value if isinstance(value, int) else 0


def test_the_ordinary_page_takes_the_fast_way() -> None:
    body = json.dumps(page([bucket(NOON, "1m", row(7), row(8, None, speed="fast"))])).encode()
    assert usage_page._fast(body, Known(), MINUTE) is not None
