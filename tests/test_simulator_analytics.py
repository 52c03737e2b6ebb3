"""The simulated analytics: money of any width of time that adds up to the bill, pages of rows, refreshes, refusals."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from budgetd.model import DEFAULT_WORKSPACE
from budgetd.simulator import faults, worlds
from budgetd.simulator.analytics import ANALYTICS_BETA
from budgetd.simulator.api import AdminApi
from budgetd.simulator.faults import FaultScript
from budgetd.simulator.manners import Manners
from budgetd.simulator.organisation import World
from budgetd.simulator.script import Credit, Restatement, Revision, Runaway, Vanishing
from budgetd.simulator.wire import Request
from tests.report_client import DAY, HEADERS, NOW, OPUS, RESEARCH, Row, all_data, at, get, page, refused, rfc

COST = "/v1/organizations/analytics/cost"
BETA = {**HEADERS, "anthropic-beta": f"other, {ANALYTICS_BETA}"}
YESTERDAY: Row = {"starting_at": "2026-11-17T00:00:00Z", "ending_at": "2026-11-18T00:00:00Z", "limit": 1000}
TODAY: Row = {"starting_at": "2026-11-18T00:00:00Z", "time_bucket_width": "1h", "limit": 1000}
IN_TIME: Row = {"order_by": "time", "order": "asc"}
FIVE = ("workspace_id", "model", "service_tier", "context_window", "speed")
COMPONENTS = ("cost_type", "token_type")


@pytest.fixture(scope="module")
def world() -> World:
    return worlds.standard()


@pytest.fixture(scope="module")
def api(world: World) -> AdminApi:
    return AdminApi(world)


def refreshed_every(**interval: int) -> AdminApi:
    return AdminApi(replace(worlds.standard(), manners=Manners(analytics_refresh=timedelta(**interval))))


def rows_of(api: AdminApi, now: datetime = NOW, **query: Any) -> list[Row]:
    return all_data(api, COST, now, BETA, query)


def dollars(rows: Iterable[Row], name: str = "amount") -> Decimal:
    return sum((Decimal(row["cost"][name]) for row in rows), Decimal(0)) / 100


def by_group(rows: Iterable[Row]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[json.dumps(row["group"])] += Decimal(row["cost"]["amount"])
    return dict(sums)


def first_page(api: AdminApi, now: datetime = NOW, **query: Any) -> Row:
    return page(get(api, COST, now, BETA, query))


# --- money -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "day"),
    [
        (worlds.unfamiliar, DAY),
        pytest.param(worlds.standard, DAY, marks=pytest.mark.slow),
        pytest.param(worlds.standard, date(2026, 11, 14), marks=pytest.mark.slow),
        pytest.param(worlds.unfamiliar, date(2026, 11, 14), marks=pytest.mark.slow),
    ],
)
def test_minutes_hours_and_the_day_add_up_to_the_bill(make: Any, day: date) -> None:
    world = make()
    api = AdminApi(world)
    start = datetime(day.year, day.month, day.day, tzinfo=NOW.tzinfo)
    asked: Row = {"starting_at": rfc(start), "ending_at": rfc(start + timedelta(days=1)), "limit": 1000, **IN_TIME}
    groups = (*FIVE, *COMPONENTS)
    by_width = [by_group(rows_of(api, group_by=groups, time_bucket_width=w, **asked)) for w in ("1m", "1h", "1d")]
    assert by_width[0] == by_width[1] == by_width[2]
    assert sum(by_width[0].values()) / 100 == world.total(day, day + timedelta(days=1), NOW)
    assert len(by_width[0]) == len(world.bill(day, NOW))


def test_a_month_is_the_bill_of_its_days(api: AdminApi, world: World) -> None:
    asked: Row = {"starting_at": "2026-10-18T00:00:00Z", "ending_at": "2026-11-18T00:00:00Z", "limit": 1000}
    start, end = date(2026, 10, 18), date(2026, 11, 18)
    assert dollars(rows_of(api, **asked)) == world.total(start, end, NOW)
    days = rows_of(api, time_bucket_width="1d", group_by="workspace_id", **asked, **IN_TIME)
    assert dollars(days) == world.total(start, end, NOW)
    research = [row for row in days if row["group"]["workspace_id"] == RESEARCH]
    assert dollars(research) == world.total(start, end, NOW, workspace=RESEARCH)
    assert len(research) == 31


def test_without_a_width_each_combination_is_one_row_of_the_whole_range(api: AdminApi, world: World) -> None:
    rows = rows_of(api, group_by="model", **YESTERDAY)
    assert {(row["starting_at"], row["ending_at"]) for row in rows} == {
        ("2026-11-17T00:00:00Z", "2026-11-18T00:00:00Z")
    }
    opus = next(row for row in rows if row["group"]["model"] == OPUS)
    assert dollars([opus]) == world.total(DAY, NOW.date(), NOW, model=OPUS)


def test_the_default_workspace_has_its_real_id(api: AdminApi, world: World) -> None:
    rows = rows_of(api, group_by="workspace_id", **YESTERDAY)
    default = [row for row in rows if row["group"]["workspace_id"] == world.default_workspace]
    assert dollars(default) == world.total(DAY, NOW.date(), NOW, workspace=DEFAULT_WORKSPACE) > 0
    assert None not in {row["group"]["workspace_id"] for row in rows}


@pytest.mark.parametrize("discount", ["1", "0.87"])
def test_the_list_amount_is_without_the_discount(world: World, discount: str) -> None:
    api = AdminApi(replace(world, discount=Decimal(discount)))
    rows = rows_of(api, group_by=COMPONENTS, **YESTERDAY)
    tokens = [row for row in rows if row["group"]["cost_type"] == "tokens"]
    others = [row for row in rows if row["group"]["cost_type"] != "tokens"]
    assert dollars(tokens) == dollars(tokens, "list_amount") * Decimal(discount)
    assert dollars(others) == dollars(others, "list_amount") > 0


@pytest.mark.parametrize(
    "event",
    [
        Restatement(DAY, 1, Decimal("0.333333"), RESEARCH),
        Restatement(DAY, 1, Decimal(0), RESEARCH),
        Vanishing(DAY, 1, RESEARCH, OPUS),
        Revision(DAY, at("18T01:00"), 77),
        Runaway.beginning(at("17T13:37"), RESEARCH, OPUS, Decimal(400)),
    ],
)
def test_whatever_changes_the_bill_changes_its_parts_to_the_last_decimal(world: World, event: Any) -> None:
    changed = world.with_events(event)
    api = AdminApi(changed)
    expected = changed.total(DAY, NOW.date(), NOW)
    assert expected != world.total(DAY, NOW.date(), NOW)
    asked: Row = {**YESTERDAY, "group_by": ("model", "workspace_id"), "limit": 1000}
    hours, days = (rows_of(api, time_bucket_width=width, **asked, **IN_TIME) for width in ("1h", "1d"))
    assert dollars(hours) == dollars(days) == expected
    hour: Row = {**asked, "starting_at": "2026-11-17T13:00:00Z", "ending_at": "2026-11-17T14:00:00Z"}
    minutes = rows_of(api, time_bucket_width="1m", **hour, **IN_TIME)
    assert by_group(minutes) == by_group(row for row in hours if row["starting_at"] == "2026-11-17T13:00:00Z")


def test_credits_are_not_in_it(world: World) -> None:
    api = AdminApi(world.with_events(Credit(DAY, Decimal(50), RESEARCH)))
    assert dollars(rows_of(api, **YESTERDAY)) == world.total(DAY, NOW.date(), NOW)


def test_a_runaway_is_seen_in_its_minute(world: World) -> None:
    manners = Manners(analytics_refresh=timedelta(minutes=1))
    wild = replace(world, manners=manners).with_events(
        Runaway.beginning(at("18T13:37"), RESEARCH, OPUS, Decimal(60_000))
    )
    asked: Row = {"starting_at": "2026-11-18T13:35:00Z", "time_bucket_width": "1m", "limit": 1000, **IN_TIME}
    rows = rows_of(AdminApi(wild), at("18T13:40"), **asked)
    assert [dollars([row]) > 900 for row in rows if row["starting_at"] >= "2026-11-18T13:37"] == [True] * 3
    assert all(dollars([row]) < 900 for row in rows if row["starting_at"] < "2026-11-18T13:37")


# --- rows ------------------------------------------------------------------------------------


def test_a_row_has_the_documented_form(api: AdminApi) -> None:
    row = first_page(api, group_by="model", time_bucket_width="1h", **YESTERDAY)["data"][0]
    assert list(row) == ["starting_at", "ending_at", "group", "cost"]
    assert list(row["cost"]) == ["amount", "list_amount", "currency", "requests"]
    assert row["cost"]["currency"] == "USD"
    assert isinstance(row["cost"]["amount"], str)
    assert len(row["group"]) == 21
    assert {name for name, value in row["group"].items() if value is not None} == {"model"}


@pytest.mark.parametrize(
    "dimension",
    ["product", "workspace_id", "api_key_id", "actor", "actor_type", "model", "service_tier", "context_window",
     "inference_geo", "speed", *COMPONENTS],
)  # fmt: skip
def test_a_dimension_splits_the_same_money(api: AdminApi, world: World, dimension: str) -> None:
    rows = rows_of(api, group_by=dimension, **YESTERDAY)
    assert any(row["group"][dimension] for row in rows)
    assert dollars(rows) == world.total(DAY, NOW.date(), NOW)


def test_a_dimension_that_nobody_uses_is_null(api: AdminApi, world: World) -> None:
    rows = rows_of(api, group_by="slack_channel_id", **YESTERDAY)
    assert [row["group"]["slack_channel_id"] for row in rows] == [None]
    assert dollars(rows) == world.total(DAY, NOW.date(), NOW)


def test_requests_are_counted_unless_their_parts_are_asked_for(api: AdminApi) -> None:
    assert first_page(api, group_by="model", **YESTERDAY)["data"][0]["cost"]["requests"] > 0
    for component in COMPONENTS:
        rows = first_page(api, group_by=("model", component), **YESTERDAY)["data"]
        assert {row["cost"]["requests"] for row in rows} == {None}


def test_only_what_costs_appears(api: AdminApi, world: World) -> None:
    rows = rows_of(api, group_by=("workspace_id", "model"), time_bucket_width="1m", **YESTERDAY)
    assert all(Decimal(row["cost"]["amount"]) > 0 for row in rows)
    streams = len({(item.workspace, item.model.id) for item in world.usage(DAY)})
    assert len(rows) < 1440 * streams / 2


# --- order and pages -------------------------------------------------------------------------


def test_the_dearest_comes_first_unless_time_is_asked_for(api: AdminApi) -> None:
    asked: Row = {"group_by": "model", "time_bucket_width": "1h", **YESTERDAY}
    amounts = [Decimal(row["cost"]["amount"]) for row in rows_of(api, **asked)]
    assert amounts == sorted(amounts, reverse=True)
    assert [Decimal(row["cost"]["amount"]) for row in rows_of(api, order="asc", **asked)] == sorted(amounts)
    times = [row["starting_at"] for row in rows_of(api, **asked, **IN_TIME)]
    assert times == sorted(times)
    assert [row["starting_at"] for row in rows_of(api, order_by="time", **asked)] == times[::-1]


def test_a_page_has_twenty_rows_unless_it_is_asked_for_more(api: AdminApi) -> None:
    asked: Row = {**TODAY, "group_by": FIVE}
    del asked["limit"]
    first = first_page(api, **asked)
    assert len(first["data"]) == 20
    assert first["has_more"]
    every = [rows_of(api, limit=limit, **asked, **IN_TIME) for limit in (7, 100, 1000)]
    assert every[0] == every[1] == every[2]
    assert len(every[0]) > 100


@pytest.mark.parametrize("changed", [{"limit": 3}, {"group_by": "model"}, {"order": "asc"}])
def test_a_cursor_belongs_to_its_query(api: AdminApi, changed: dict[str, Any]) -> None:
    asked: Row = {**YESTERDAY, "limit": 2, "group_by": "workspace_id"}
    cursor = first_page(api, **asked)["next_page"]
    assert len(first_page(api, page=cursor, **asked)["data"]) == 2
    assert refused(get(api, COST, NOW, BETA, {**asked, **changed, "page": cursor}))[0] == 400


# --- refreshes -------------------------------------------------------------------------------


def test_the_data_is_that_of_the_last_refresh() -> None:
    api = refreshed_every(hours=4)
    answer = first_page(api, **TODAY)
    assert answer["data_refreshed_at"] == "2026-11-18T12:00:00Z"
    assert max(row["ending_at"] for row in answer["data"]) == "2026-11-18T12:00:00Z"
    assert first_page(api, at("18T15:59:59"), **TODAY)["data"] == answer["data"]
    later = first_page(api, at("18T16:00"), **TODAY)
    assert later["data_refreshed_at"] == "2026-11-18T16:00:00Z"
    assert dollars(later["data"]) > dollars(answer["data"])


def test_a_bucket_in_which_the_refresh_falls_holds_what_was_counted() -> None:
    often, rarely = refreshed_every(minutes=5), refreshed_every(hours=1)
    partial, closed = (first_page(api, **TODAY, **IN_TIME)["data"] for api in (often, rarely))
    assert [row["starting_at"][11:13] for row in partial] == [f"{hour:02}" for hour in range(15)]
    assert partial[:-1] == closed
    whole = first_page(often, at("18T15:00"), **TODAY, **IN_TIME)["data"][14]
    assert partial[-1]["ending_at"] == "2026-11-18T15:00:00Z"
    assert 0 < dollars(partial[-1:]) < dollars([whole])


def test_a_cursor_that_outlives_a_refresh_is_gone() -> None:
    api = refreshed_every(minutes=10)
    asked: Row = {**TODAY, "group_by": FIVE, "limit": 10}
    cursor = first_page(api, **asked)["next_page"]  # at 14:31:05
    assert first_page(api, at("18T14:39:59"), page=cursor, **asked)["data"]
    status, message = refused(get(api, COST, at("18T14:40"), BETA, {**asked, "page": cursor}))
    assert status == 410
    assert "start again" in message


def test_days_and_hours_that_have_not_begun_are_no_rows() -> None:
    api = refreshed_every(hours=4)
    asked: Row = {"starting_at": "2026-11-18T13:00:00Z", "time_bucket_width": "1h"}
    answer = first_page(api, **asked)
    assert (answer["data"], answer["has_more"], answer["next_page"]) == ([], False, None)


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [HEADERS, {**HEADERS, "anthropic-beta": "fast-mode-2026-02-01"}])
def test_without_its_beta_header_it_does_not_exist(api: AdminApi, headers: dict[str, str]) -> None:
    assert refused(get(api, COST, NOW, headers, YESTERDAY))[0] == 404


@pytest.mark.parametrize("status", [403, 404])
def test_an_organisation_may_not_have_it(world: World, status: int) -> None:
    api = AdminApi(replace(world, manners=Manners(analytics=status)))
    assert refused(get(api, COST, NOW, BETA, YESTERDAY))[0] == status
    assert get(api, "/v1/organizations/me", NOW, BETA, {}).status == 200


def test_a_sixth_grouping_is_refused_and_components_do_not_count(api: AdminApi) -> None:
    assert first_page(api, group_by=(*FIVE, *COMPONENTS), **YESTERDAY)["data"]
    answer = get(api, COST, NOW, BETA, {**YESTERDAY, "group_by": (*FIVE, "api_key_id")})
    assert refused(answer) == (400, "Cannot specify more than 5 group_by[] dimensions.")


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"starting_at": "2025-11-18T14:31:04Z"}, "365 days"),
        ({"ending_at": "2026-12-18T00:00:01Z"}, "31 days"),
        ({"time_bucket_width": "1m", "ending_at": "2026-11-18T00:00:01Z"}, "24 hours"),
        ({"ending_at": "2026-11-17T00:00:00Z"}, "Invalid date range"),
        ({"ending_at": "2026-11-17T00:59:59Z"}, "Invalid date range"),
        ({"starting_at": "yesterday"}, "starting_at"),
        ({"time_bucket_width": "5m"}, "time_bucket_width"),
        ({"group_by": "description"}, "group_by"),
        ({"order_by": "colour"}, "order_by"),
        ({"order_by": "time"}, "time_bucket_width"),
        ({"order": "up"}, "order"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"page": "page_x"}, "page"),
        ({"bucket_width": "1d"}, "bucket_width"),
    ],
)
def test_a_query_that_is_not_documented_is_refused(api: AdminApi, query: Row, word: str) -> None:
    asked = {"starting_at": "2026-11-17T00:00:00Z", **query}
    if query.get("starting_at", "").startswith("2025"):
        asked["ending_at"] = "2025-11-20T00:00:00Z"
    status, message = refused(get(api, COST, NOW, BETA, asked))
    assert status == 400
    assert word in message


def test_the_start_is_required(api: AdminApi) -> None:
    assert refused(get(api, COST, NOW, BETA, {})) == (400, "starting_at: Field required")


@pytest.mark.parametrize("kind", [kind for kind in faults.KINDS if kind not in ("gzip_bomb", "nested")])
def test_every_fault_works_on_this_report_too(api: AdminApi, kind: str) -> None:
    fault = faults.parse(f"{kind}@analytics" if kind != "field" else "field=amount=x@analytics")
    query = tuple((name, str(value)) for name, value in {**TODAY, **IN_TIME}.items())
    request = Request("GET", COST, query, BETA)
    assert FaultScript([fault]).take(request, NOW) == fault
    assert fault.answer(request, NOW, api.respond) != api.respond(request, NOW)
