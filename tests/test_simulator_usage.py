"""The simulated usage report: tokens of minutes, hours and days that add up to the bill, and the real one's manners."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.model import DEFAULT_WORKSPACE
from budgetd.period import midnight
from budgetd.simulator import faults, worlds
from budgetd.simulator.api import AdminApi
from budgetd.simulator.faults import FaultScript
from budgetd.simulator.manners import Manners
from budgetd.simulator.organisation import Span, World
from budgetd.simulator.pace import Rhythm, Steady
from budgetd.simulator.script import Restatement, Revision, Runaway
from budgetd.simulator.streams import api_key
from budgetd.simulator.wire import Request
from tests.report_client import (
    DAY,
    FAST,
    HEADERS,
    NOW,
    OPUS,
    PRICED_BY,
    RESEARCH,
    USAGE,
    Row,
    at,
    get,
    of_day,
    page,
    priced,
    refused,
    rfc,
    tokens,
    usage,
)  # fmt: skip

ONE = timedelta(days=1)
TODAY: Row = {"starting_at": "2026-11-18T00:00:00Z", "bucket_width": "1h"}
THIS_HOUR: Row = {"starting_at": "2026-11-18T14:00:00Z", "bucket_width": "1m"}


@pytest.fixture(scope="module")
def world() -> World:
    return worlds.standard()


@pytest.fixture(scope="module")
def api(world: World) -> AdminApi:
    return AdminApi(world)


def mannered(**manners: Any) -> AdminApi:
    return AdminApi(replace(worlds.standard(), manners=Manners(**manners)))


def starts(buckets: list[Row]) -> list[str]:
    return [bucket["starting_at"][11:16] for bucket in buckets]


def tokens_billed(world: World, day: date, as_of: datetime = NOW) -> Decimal:
    """The bill of a day less what the usage report does not have: code execution and sessions."""
    lines = world.bill(day, as_of)
    unseen = ("code_execution", "session_usage")
    return sum((line.dollars for line in lines if line.dimensions.cost_type not in unseen), Decimal(0))


# --- the one stream --------------------------------------------------------------------------


@given(st.binary(min_size=48, max_size=48), st.integers(0, 10**12), st.sets(st.integers(0, 86_400), max_size=12))
def test_the_parts_of_a_day_add_up_to_it_however_it_is_cut(noise: bytes, amount: int, cuts: set[int]) -> None:
    edges = sorted({0, 86_400, *cuts})
    for pace in (Rhythm.of(noise), Steady(), Steady(49_020, 86_400)):
        parts = [sum(pace.between((amount,), *pair)) for pair in pairwise(edges)]
        assert sum(parts) == amount
        assert min(parts) >= 0


def test_work_has_busy_hours_and_minutes_without_any_use(world: World) -> None:
    by_hour = [sum(count for flow in world.flows(DAY) for _, count in flow.between(h * 3600, h * 3600 + 3600))
               for h in range(24)]  # fmt: skip
    assert sum(by_hour[9:18]) > sum(by_hour[0:9]) * 2
    chat = next(flow for flow in world.flows(DAY) if flow.workspace == worlds.identifier(1, "chat"))
    quiet = sum(not list(chat.between(minute * 60, minute * 60 + 60)) for minute in range(1440))
    assert 900 < quiet < 1250


@pytest.mark.parametrize("make", [worlds.standard, worlds.unfamiliar])
@pytest.mark.parametrize("day", [DAY, date(2026, 11, 14)])
def test_minutes_hours_and_the_day_are_the_same_tokens_and_cost_what_is_billed(make: Any, day: date) -> None:
    world = make()
    api = AdminApi(world)
    minutes, hours, days = (
        usage(api, headers=FAST, group_by=PRICED_BY, **of_day(width, day)) for width in ("1m", "1h", "1d")
    )
    assert (len(minutes), len(hours), len(days)) == (1440, 24, 1)
    # The standard organisation has one US model, whose geography is in its price.
    assert tokens(minutes) == tokens(hours) == tokens(days)
    assert priced(days, world.discount) == tokens_billed(world, day) > 100


@pytest.mark.parametrize("discount", ["1", "0.87"])
def test_a_discount_of_the_customer_is_in_the_bill_and_not_in_the_tokens(world: World, discount: str) -> None:
    other = replace(world, discount=Decimal(discount))
    buckets = usage(AdminApi(other), headers=FAST, group_by=PRICED_BY, **of_day("1h"))
    assert tokens(buckets) == tokens(usage(AdminApi(world), headers=FAST, group_by=PRICED_BY, **of_day("1h")))
    assert priced(buckets, Decimal(discount)) == tokens_billed(other, DAY)


def test_a_runaway_begins_at_its_minute_and_burns_so_much_an_hour(world: World) -> None:
    start = at("17T13:37")
    wild = world.with_events(Runaway.beginning(start, RESEARCH, OPUS, Decimal(400)))
    before, after = (usage(AdminApi(each), headers=FAST, group_by=PRICED_BY, **of_day("1m")) for each in (world, wild))
    extra = [priced([b], world.discount) - priced([a], world.discount) for a, b in zip(before, after, strict=True)]
    first = 13 * 60 + 37
    assert not any(extra[:first])
    assert all(abs(minute - Decimal(400) / 60) < Decimal("0.0001") for minute in extra[first:])
    hours = Decimal(1440 - first) / 60
    assert Decimal(400) * hours <= sum(extra) < Decimal(400) * hours + Decimal("0.0001")
    assert sum(extra) == wild.total(DAY, NOW.date(), NOW) - world.total(DAY, NOW.date(), NOW)


def test_a_runaway_may_end_by_the_second_also_after_midnight(world: World) -> None:
    event = Runaway.beginning(at("16T23:30"), RESEARCH, OPUS, Decimal(360), timedelta(minutes=75, seconds=30))
    assert (event.days, event.seconds(date(2026, 11, 16)), event.seconds(DAY)) == (2, (84_600, 86_400), (0, 2_730))
    wild = world.with_events(event)
    for day, dollars in ((date(2026, 11, 16), 180), (DAY, 273)):
        extra = wild.total(day, day + ONE, NOW) - world.total(day, day + ONE, NOW)
        assert dollars <= extra < dollars + Decimal("0.0001")
    assert Runaway.beginning(at("16T23:00"), RESEARCH, OPUS, Decimal(1), timedelta(hours=1)).days == 1


def test_dollars_a_day_are_spread_from_the_start_of_a_runaway(world: World) -> None:
    wild = world.with_events(Runaway(DAY, RESEARCH, OPUS, dollars=Decimal(90), start=at("17T21:00")))
    by_hour = [
        sum(line.dollars for line in wild.lines_between(DAY, Span(h * 3600, h * 3600 + 3600), NOW))
        - sum(line.dollars for line in world.lines_between(DAY, Span(h * 3600, h * 3600 + 3600), NOW))
        for h in range(24)
    ]
    assert [round(dollars, 3) for dollars in by_hour] == [0] * 21 + [30] * 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": at("18T00:00")},
        {"start": at("16T23:59")},
        {"start": at("17T12:00"), "end": at("17T12:00")},
        {"end": at("18T00:01")},
        {"factor": 2, "start": at("17T12:00")},
    ],
)
def test_a_runaway_that_contradicts_itself_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="runaway"):
        Runaway(DAY, RESEARCH, OPUS, **wrong)


def test_a_restatement_changes_the_bill_and_no_token(world: World) -> None:
    api = AdminApi(world.with_events(Restatement(DAY, 1, Decimal("0.5"))))
    asked: Row = {"group_by": PRICED_BY, "headers": FAST, **of_day("1h")}
    assert tokens(usage(api, **asked)) == tokens(usage(AdminApi(world), **asked))


def test_a_revised_day_changes_tokens_and_bill_alike_from_its_instant_on(world: World) -> None:
    revised = world.with_events(Revision(DAY, at("18T12:00"), 130, RESEARCH, OPUS))
    api = AdminApi(revised)
    asked: Row = {"group_by": PRICED_BY, "headers": FAST, **of_day("1h")}
    early, late = (usage(api, now, **asked) for now in (at("18T11:59"), NOW))
    assert tokens(early) == tokens(usage(AdminApi(world), **asked)) != tokens(late)
    for buckets, now in ((early, at("18T11:59")), (late, NOW)):
        assert priced(buckets, world.discount) == tokens_billed(revised, DAY, now)
    about = {"workspace": RESEARCH, "model": OPUS}
    grown = revised.total(DAY, NOW.date(), NOW, **about) / world.total(DAY, NOW.date(), NOW, **about)
    assert round(grown, 4) == Decimal("1.3")
    assert revised.total(DAY, NOW.date(), at("18T11:59")) == world.total(DAY, NOW.date(), NOW)


# --- rows ------------------------------------------------------------------------------------


def test_a_row_has_the_documented_form(api: AdminApi) -> None:
    row = usage(api, models=OPUS, workspace_ids=RESEARCH, group_by=("model",), **of_day("1d"))[0]["results"][0]
    assert list(row) == [
        "uncached_input_tokens", "cache_creation", "cache_read_input_tokens", "output_tokens", "server_tool_use",
        "api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo", "account_id",
        "service_account_id",
    ]  # fmt: skip
    assert list(row["cache_creation"]) == ["ephemeral_1h_input_tokens", "ephemeral_5m_input_tokens"]
    assert row["model"] == OPUS
    assert row["workspace_id"] is row["api_key_id"] is row["service_tier"] is None
    assert all(type(row[name]) is int for name in ("uncached_input_tokens", "cache_read_input_tokens", "output_tokens"))


def test_the_default_workspace_is_null_and_has_a_real_id_in_filters(api: AdminApi, world: World) -> None:
    rows = usage(api, group_by="workspace_id", **of_day("1d"))[0]["results"]
    by_workspace = {row["workspace_id"]: row["output_tokens"] for row in rows}
    assert set(by_workspace) == {
        None if item.workspace == DEFAULT_WORKSPACE else item.workspace for item in world.usage(DAY)
    }
    filtered = usage(api, group_by="workspace_id", workspace_ids=world.default_workspace, **of_day("1d"))
    assert [(row["workspace_id"], row["output_tokens"]) for row in filtered[0]["results"]] == [
        (None, by_workspace[None])
    ]


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({"models": OPUS}, lambda row: row["model"] == OPUS),
        ({"models": (OPUS, "claude-haiku-4-5")}, lambda row: row["model"] in (OPUS, "claude-haiku-4-5")),
        ({"workspace_ids": RESEARCH}, lambda row: row["workspace_id"] == RESEARCH),
        ({"service_tiers": "batch"}, lambda row: row["service_tier"] == "batch"),
        ({"context_window": "200k-1M"}, lambda row: row["context_window"] == "200k-1M"),
        ({"inference_geos": "us"}, lambda row: row["inference_geo"] == "us"),
        (
            {"models": OPUS, "workspace_ids": RESEARCH},
            lambda row: (row["model"], row["workspace_id"]) == (OPUS, RESEARCH),
        ),
        ({"models": "unheard-of"}, lambda row: False),
    ],
)
def test_a_filter_keeps_the_rows_it_names(api: AdminApi, filters: dict[str, Any], kept: Any) -> None:
    groups = ("workspace_id", "model", "service_tier", "context_window", "inference_geo")
    day = of_day("1d", date(2026, 11, 13))
    every = usage(api, group_by=groups, **day)[0]["results"]
    shown = usage(api, group_by=groups, **filters, **day)[0]["results"]
    assert shown == [row for row in every if kept(row)]
    assert bool(shown) == (filters != {"models": "unheard-of"})


def test_an_api_key_is_a_dimension_and_a_filter(api: AdminApi) -> None:
    rows = usage(api, group_by="api_key_id", **of_day("1d"))[0]["results"]
    key = api_key(RESEARCH, OPUS)
    assert len({row["api_key_id"] for row in rows}) == len(rows) > 8
    assert usage(api, group_by="api_key_id", api_key_ids=key, **of_day("1d"))[0]["results"] == [
        row for row in rows if row["api_key_id"] == key
    ]


def test_searches_are_there_and_execution_and_sessions_are_not(api: AdminApi, world: World) -> None:
    row = usage(api, workspace_ids=worlds.identifier(1, "search"), **of_day("1d"))[0]["results"][0]
    billed = next(line.dollars for line in world.bill(DAY, NOW) if line.dimensions.cost_type == "web_search")
    assert row["server_tool_use"] == {"web_search_requests": int(billed * 100)}
    assert "session" not in json.dumps(row)


def test_new_models_and_kinds_of_token_and_priority_are_shown(api: AdminApi) -> None:
    world = worlds.unfamiliar()
    buckets = usage(AdminApi(world), group_by=("model", "service_tier"), **of_day("1d"))
    rows = {(row["model"], row["service_tier"]): row for row in buckets[0]["results"]}
    assert rows["claude-aurora-6", "standard"]["output_tokens"] > 0
    assert rows["claude-haiku-4-5", "standard"]["audio_input_tokens"] > 0
    assert rows["claude-haiku-4-5", "standard"]["cache_creation"]["ephemeral_24h_input_tokens"] > 0
    assert rows[OPUS, "priority"]["output_tokens"] > 0
    assert "audio_input_tokens" not in rows[OPUS, "standard"]
    tiers = {line.dimensions.service_tier for line in world.bill(DAY, NOW)}
    assert tiers == {"standard", None}


def test_counts_of_zero_may_be_left_out(api: AdminApi) -> None:
    asked: Row = {"group_by": PRICED_BY, "headers": FAST, **of_day("1h")}
    sparse = usage(mannered(leaves_out_zeros=True), **asked)
    rows = [row for bucket in sparse for row in bucket["results"]]
    assert any("cache_creation" not in row for row in rows)
    assert any("server_tool_use" not in row for row in rows)
    assert tokens(sparse) == tokens(usage(api, **asked))


def test_speed_needs_its_beta_header(api: AdminApi) -> None:
    assert refused(get(api, USAGE, NOW, HEADERS, {"group_by": "speed", **of_day("1d")}))[0] == 400
    rows = usage(api, headers=FAST, group_by="speed", **of_day("1d"))[0]["results"]
    assert {row["speed"] for row in rows} == {"standard", "fast"}
    assert usage(api, headers=FAST, **of_day("1d"))[0]["results"][0]["speed"] is None


# --- time ------------------------------------------------------------------------------------


def test_today_is_there_by_the_hour_and_the_minute_after_the_delay(api: AdminApi) -> None:
    hours, minutes = usage(api, **TODAY), usage(api, **THIS_HOUR)
    assert starts(hours) == [f"{hour:02}:00" for hour in range(15)]
    assert starts(minutes) == [f"14:{minute:02}" for minute in range(27)]  # it is 14:31:05
    assert tokens(hours[-1:]) == tokens(minutes)
    assert usage(api, at("18T14:31:59"), **THIS_HOUR) == minutes
    assert starts(usage(api, at("18T14:32"), **THIS_HOUR))[-1] == "14:27"


def test_the_running_hour_may_be_hidden_until_all_of_it_is_counted() -> None:
    api = mannered(running_hour=False)
    assert starts(usage(api, **TODAY))[-1] == "13:00"
    assert starts(usage(api, at("18T14:03:59"), **TODAY))[-1] == "12:00"
    assert starts(usage(api, at("18T14:04"), **TODAY))[-1] == "13:00"


def test_the_running_minute_may_be_shown_with_what_is_counted_of_it() -> None:
    api = mannered(running_minute=True, usage_delay=timedelta(0))
    asked: Row = {**THIS_HOUR, "starting_at": "2026-11-18T14:31:00Z"}
    grown = [sum(tokens(usage(api, at(f"18T14:31:{second:02}"), **asked)).values()) for second in (0, 20, 40, 59)]
    assert grown[0] == 0 < grown[1] < grown[2] < grown[3]
    late = mannered(running_minute=True)
    buckets = usage(late, **THIS_HOUR)
    assert starts(buckets)[-1] == "14:31"
    assert [bool(bucket["results"]) for bucket in buckets[-5:]] == [True, False, False, False, False]
    full = usage(late, at("18T15:30"), **THIS_HOUR)[27]["results"]
    assert 0 < sum(tokens(buckets[27:28]).values()) < sum(tokens([{"results": full}]).values())


@pytest.mark.parametrize("minutes", [0, 3, 5])
def test_data_is_as_late_as_it_is_told_to_be(minutes: int) -> None:
    api = mannered(usage_delay=timedelta(minutes=minutes))
    assert starts(usage(api, **THIS_HOUR))[-1] == f"14:{30 - minutes}"


def test_an_hour_grows_and_nothing_counted_ever_changes(api: AdminApi) -> None:
    seen: dict[str, Row] = {}
    before = 0
    for minute in range(0, 75, 5):
        now = at("18T14:00") + timedelta(minutes=minute)
        total = sum(tokens(usage(api, now, group_by=PRICED_BY[:4], **TODAY)).values())
        assert total >= before
        before = total
        for bucket in usage(api, now, limit=1440, **THIS_HOUR):
            assert seen.setdefault(bucket["starting_at"], bucket) == bucket
    assert len(seen) == 66


def test_days_are_closed_days_of_which_the_last_minutes_may_be_missing(api: AdminApi, world: World) -> None:
    asked: Row = {"starting_at": "2026-11-16T00:00:00Z"}
    assert [b["starting_at"][8:10] for b in usage(api, **asked)] == ["16", "17"]
    early, later = (sum(tokens(usage(api, at(f"18T00:{m:02}"), **of_day("1d"))).values()) for m in (1, 4))
    assert early < later == sum(tokens(usage(api, **of_day("1d"))).values())


@pytest.mark.parametrize(
    "query",
    [
        {"starting_at": "2026-11-18T00:00:00Z"},  # today by the day
        {"starting_at": "2026-11-18T00:00:00Z", "ending_at": "2026-11-19T00:00:00Z"},
        {"starting_at": "2026-11-18T12:00:00Z", "ending_at": "2026-11-18T12:00:00Z", "bucket_width": "1h"},
        {"starting_at": "2026-11-18T12:00:00Z", "ending_at": "2026-11-18T12:59:59Z", "bucket_width": "1h"},
        {"starting_at": "2026-11-18T13:00:00Z", "ending_at": "2026-11-18T12:00:00Z", "bucket_width": "1m"},
        {"starting_at": "2026-11-19T13:00:00Z", "bucket_width": "1m"},
    ],
)
def test_a_range_that_holds_nothing_is_refused_for_good(api: AdminApi, query: dict[str, str]) -> None:
    answer = get(api, USAGE, NOW, HEADERS, query)
    assert refused(answer) == (400, "Invalid date range: ending date must be after starting date")
    assert answer.headers["x-should-retry"] == "false"


def test_times_are_cut_to_the_width(api: AdminApi) -> None:
    asked: Row = {"starting_at": "2026-11-18T10:59:59+01:00", "ending_at": "2026-11-18T12:30:00Z"}
    assert starts(usage(api, bucket_width="1h", **asked)) == ["09:00", "10:00", "11:00"]
    asked = {"starting_at": "2026-11-18T10:00:59Z", "ending_at": "2026-11-18T10:02:59Z"}
    assert starts(usage(api, bucket_width="1m", **asked)) == ["10:00", "10:01"]


def test_a_minute_that_is_not_counted_yet_is_an_empty_answer(api: AdminApi) -> None:
    answer = page(get(api, USAGE, NOW, HEADERS, {"starting_at": rfc(at("18T14:30")), "bucket_width": "1m"}))
    assert answer == {"data": [], "has_more": False, "next_page": None}


def test_before_it_was_founded_it_used_nothing(api: AdminApi, world: World) -> None:
    eve = midnight(world.founded - ONE)
    buckets = usage(api, starting_at=rfc(eve), ending_at=rfc(eve + ONE * 2))
    assert [bool(bucket["results"]) for bucket in buckets] == [False, True]


# --- pages and refusals ----------------------------------------------------------------------


@pytest.mark.parametrize(("width", "usual", "most"), [("1m", 60, 1440), ("1h", 24, 168), ("1d", 7, 31)])
def test_a_page_has_so_many_buckets_and_may_have_so_many(api: AdminApi, width: str, usual: int, most: int) -> None:
    asked: Row = {"starting_at": "2026-10-01T00:00:00Z", "bucket_width": width}
    first = page(get(api, USAGE, NOW, HEADERS, asked))
    assert len(first["data"]) == usual
    assert first["has_more"]
    largest = page(get(api, USAGE, NOW, HEADERS, {**asked, "limit": most}))
    assert len(largest["data"]) == most
    assert refused(get(api, USAGE, NOW, HEADERS, {**asked, "limit": most + 1}))[0] == 400


def test_pages_of_any_size_give_the_same_buckets(api: AdminApi) -> None:
    asked: Row = {**TODAY, "group_by": ("model", "workspace_id")}
    assert usage(api, limit=1, **asked) == usage(api, limit=4, **asked) == usage(api, **asked)


@pytest.mark.parametrize("changed", [{"limit": 3}, {"bucket_width": "1m"}, {"group_by": "model"}, {"models": OPUS}])
def test_a_cursor_belongs_to_its_query(api: AdminApi, changed: dict[str, Any]) -> None:
    asked: Row = {**TODAY, "limit": 2, "group_by": "workspace_id"}
    cursor = page(get(api, USAGE, NOW, HEADERS, asked))["next_page"]
    assert page(get(api, USAGE, NOW, HEADERS, {**asked, "page": cursor}))["data"][0]["starting_at"][11:13] == "02"
    status, message = refused(get(api, USAGE, NOW, HEADERS, {**asked, **changed, "page": cursor}))
    assert status == 400
    assert "page token" in message


def test_a_sixth_grouping_is_refused(api: AdminApi) -> None:
    six = ("workspace_id", "model", "service_tier", "context_window", "inference_geo", "api_key_id")
    assert usage(api, group_by=six[:5], **TODAY)
    answer = get(api, USAGE, NOW, HEADERS, {"group_by": six, **TODAY})
    assert refused(answer) == (400, "Cannot specify more than 5 group_by[] dimensions.")


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({}, "starting_at"),
        ({"starting_at": "2026-11-18"}, "starting_at"),
        ({"ending_at": "soon"}, "ending_at"),
        ({"bucket_width": "5m"}, "bucket_width"),
        ({"group_by": "description"}, "group_by"),
        ({"service_tiers": "gold"}, "service_tiers"),
        ({"context_window": "1M"}, "context_window"),
        ({"inference_geos": "eu"}, "inference_geos"),
        ({"limit": "0"}, "limit"),
        ({"page": "page_x"}, "page"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_query_that_is_not_documented_is_refused(api: AdminApi, query: dict[str, Any], word: str) -> None:
    usual = TODAY if query else {}
    status, message = refused(get(api, USAGE, NOW, HEADERS, {**usual, **query}))
    assert status == 400
    assert word in message


@pytest.mark.parametrize("kind", [kind for kind in faults.KINDS if kind not in ("gzip_bomb", "nested")])
def test_every_fault_works_on_this_report_too(api: AdminApi, kind: str) -> None:
    fault = faults.parse(f"{kind}@usage_report" if kind != "field" else "field=output_tokens=x@usage_report")
    request = Request("GET", USAGE, (*TODAY.items(), ("group_by[]", "model")), HEADERS)
    assert FaultScript([fault]).take(request, NOW) == fault
    honest = api.respond(request, NOW)
    struck = fault.answer(request, NOW, api.respond)
    untouched = kind in ("without", "duplicate_key")  # these are about amounts
    assert (struck == honest) == untouched


def test_the_same_question_gets_the_same_bytes_from_another_server(api: AdminApi) -> None:
    asked: Row = {**TODAY, "group_by": ("workspace_id", "model")}
    answer = get(api, USAGE, NOW, HEADERS, asked)
    assert get(AdminApi(worlds.standard()), USAGE, NOW, HEADERS, asked).body == answer.body
    assert get(AdminApi(worlds.standard(2)), USAGE, NOW, HEADERS, asked).body != answer.body
