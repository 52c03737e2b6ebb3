"""The simulated Admin API behaves as the real one is known to, and its books balance."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from budgetd.commands import simulate as command
from budgetd.model import DEFAULT_WORKSPACE
from budgetd.simulator import cost_report, faults, worlds
from budgetd.simulator.api import ADMIN_KEY, AdminApi
from budgetd.simulator.clocks import FixedClock, accelerated
from budgetd.simulator.faults import Fault, FaultScript
from budgetd.simulator.organisation import World
from budgetd.simulator.script import Credit, Late, Restatement, Runaway, Vanishing
from budgetd.simulator.server import SimulatedServer, serve
from budgetd.simulator.wire import Request, Response

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
DAY = date(2026, 11, 17)
RESEARCH = worlds.identifier(1, "research")
OPUS = "claude-opus-4-8"
HEADERS = {"X-Api-Key": ADMIN_KEY, "anthropic-version": "2023-06-01"}
COST = "/v1/organizations/cost_report"
WORKSPACES = "/v1/organizations/workspaces"
ME = "/v1/organizations/me"
BOTH = ("workspace_id", "description")
DATE_RANGE = "Invalid date range: ending date must be after starting date"


@pytest.fixture(scope="module")
def world() -> World:
    return worlds.standard()


@pytest.fixture(scope="module")
def api(world: World) -> AdminApi:
    return AdminApi(world)


def target(path: str, query: dict[str, Any]) -> str:
    pairs = [
        (name, item) for name, value in query.items() for item in (value if isinstance(value, tuple) else (value,))
    ]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def get(api: AdminApi, path: str, now: datetime = NOW, headers: dict[str, str] = HEADERS, **query: Any) -> Response:
    query = {name.replace("group_by", "group_by[]"): value for name, value in query.items()}
    return api.respond(Request.of("GET", target(path, query), headers), now)


def page(response: Response) -> dict[str, Any]:
    assert response.status == 200, response.body
    decoded: dict[str, Any] = json.loads(response.body)
    return decoded


def every_bucket(api: AdminApi, now: datetime = NOW, **query: Any) -> list[dict[str, Any]]:
    buckets: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        answer = page(get(api, COST, now, **query, **cursor))
        buckets += answer["data"]
        if not answer["has_more"]:
            assert answer["next_page"] is None
            return buckets
        cursor = {"page": answer["next_page"]}


def dollars(buckets: list[dict[str, Any]]) -> Decimal:
    return sum((Decimal(row["amount"]) for bucket in buckets for row in bucket["results"]), Decimal(0)) / 100


def days(buckets: list[dict[str, Any]]) -> list[str]:
    return [bucket["starting_at"][:10] for bucket in buckets]


def refusal(response: Response) -> tuple[int, str, str]:
    body = json.loads(response.body)
    assert body["type"] == "error"
    assert body["request_id"] == response.headers["request-id"]
    return response.status, body["error"]["type"], body["error"]["message"]


# --- the organisation ------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others() -> None:
    def body(seed: int) -> bytes:
        answer = get(AdminApi(worlds.standard(seed)), COST, starting_at="2026-10-20T00:00:00Z", group_by=BOTH, limit=31)
        return repr(sorted(answer.headers.items())).encode() + answer.body

    assert body(1) == body(1)
    assert body(1) != body(2)


def test_the_first_figures_never_change_unnoticed(world: World) -> None:
    assert world.total(DAY, date(2026, 11, 18), NOW) == Decimal("488.6646643120444443")


def test_the_rows_of_the_report_add_up_to_the_oracle(api: AdminApi, world: World) -> None:
    buckets = every_bucket(api, starting_at="2026-10-01T00:00:00Z", group_by=BOTH, limit=31)
    assert dollars(buckets) == world.total(date(2026, 10, 1), date(2026, 11, 18), NOW)
    rows = [row for bucket in buckets for row in bucket["results"]]
    opus = sum(
        (Decimal(row["amount"]) for row in rows if row["model"] == OPUS and row["workspace_id"] == RESEARCH), Decimal(0)
    )
    assert opus / 100 == world.total(date(2026, 10, 1), NOW.date(), NOW, workspace=RESEARCH, model=OPUS)
    default = sum((Decimal(row["amount"]) for row in rows if row["workspace_id"] is None), Decimal(0))
    assert default / 100 == world.total(date(2026, 10, 1), NOW.date(), NOW, workspace=DEFAULT_WORKSPACE) > 0


def test_amounts_have_at_least_six_and_up_to_fourteen_decimals(world: World) -> None:
    body = json.loads(cost_report.day_page(world, DAY, NOW))
    places = {len(row["amount"].partition(".")[2]) for row in body["data"][0]["results"]}
    assert min(places) == 6
    assert max(places) == 14


def test_a_bill_is_usage_times_price(world: World) -> None:
    tokens = [item for item in world.usage(DAY) if (item.workspace, item.model.id) == (RESEARCH, OPUS)]
    per_million = {
        "output_tokens": "25",
        "uncached_input_tokens": "5",
        "cache_read_input_tokens": "0.5",
        "cache_creation.ephemeral_5m_input_tokens": "6.25",
        "cache_creation.ephemeral_1h_input_tokens": "10",
    }
    billed = sum((item.tokens * Decimal(per_million[item.kind.token_type]) for item in tokens), Decimal(0))
    expected = billed / 1_000_000 * Decimal("0.92")
    assert expected == world.total(DAY, NOW.date(), NOW, workspace=RESEARCH, model=OPUS)


def test_weekends_are_quieter_and_the_company_grows(world: World) -> None:
    monday, saturday = date(2026, 11, 9), date(2026, 11, 14)
    one = timedelta(days=1)
    assert world.total(saturday, saturday + one, NOW) < world.total(monday, monday + one, NOW) * Decimal("0.85")
    now, earlier = date(2026, 10, 1), date(2025, 12, 1)
    assert world.total(now, now + one * 28, NOW) > world.total(earlier, earlier + one * 28, NOW)


def test_the_report_holds_every_kind_of_cost_and_both_forms_of_a_model(world: World) -> None:
    rows = [line.dimensions for n in range(1, 18) for line in world.bill(date(2026, 11, n), NOW)]
    assert {row.cost_type for row in rows} == {"tokens", "web_search", "code_execution", "session_usage"}
    assert {row.service_tier for row in rows} == {"standard", "batch", None}
    assert {row.context_window for row in rows} == {"0-200k", "200k-1M", None}
    assert {"claude-haiku-4-5", "claude-haiku-4-5-20251001"} <= {row.model for row in rows}
    assert all((row.model is None) == (row.cost_type != "tokens") for row in rows)


@pytest.mark.parametrize("workspace", [RESEARCH, worlds.identifier(1, "search")])
def test_a_runaway_of_dollars_costs_that_much_also_where_the_model_was_never_used(world: World, workspace: str) -> None:
    wild = world.with_events(Runaway(DAY, workspace, OPUS, dollars=Decimal("900.01")))
    more = wild.total(DAY, NOW.date(), NOW, workspace=workspace, model=OPUS) - world.total(
        DAY, NOW.date(), NOW, workspace=workspace, model=OPUS
    )
    assert Decimal("900.01") <= more < Decimal("900.02")
    assert wild.total(DAY, NOW.date(), NOW) - world.total(DAY, NOW.date(), NOW) == more
    before = date(2026, 11, 1)
    assert wild.total(before, DAY, NOW) == world.total(before, DAY, NOW)


def test_a_runaway_by_factor_multiplies_only_its_workspace_and_model_on_its_days(world: World) -> None:
    start = date(2026, 11, 15)
    wild = world.with_events(Runaway(start, RESEARCH, OPUS, factor=3, days=2))
    about: dict[str, Any] = {"as_of": NOW, "workspace": RESEARCH, "model": OPUS}
    assert wild.total(start, DAY, **about) == 3 * world.total(start, DAY, **about)
    assert wild.total(DAY, NOW.date(), **about) == world.total(DAY, NOW.date(), **about)


@pytest.mark.parametrize(
    ("event", "share"),
    [
        (Restatement(DAY, 3, Decimal("1.25"), RESEARCH, OPUS), Decimal("1.25")),
        (Restatement(DAY, 3, Decimal(0), RESEARCH, OPUS), Decimal(0)),
        (Vanishing(DAY, 3, RESEARCH, OPUS), Decimal(0)),
    ],
)
def test_a_closed_day_changes_only_when_its_correction_happens(
    world: World, event: Restatement, share: Decimal
) -> None:
    moved = world.with_events(event)
    before, after = datetime(2026, 11, 19, 23, 59, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)
    assert moved.bill(DAY, before) == world.bill(DAY, before)
    about: dict[str, Any] = {"workspace": RESEARCH, "model": OPUS}
    known = world.total(DAY, NOW.date(), after, **about)
    assert moved.total(DAY, NOW.date(), after, **about) == known * share
    assert moved.total(DAY, NOW.date(), after) == world.total(DAY, NOW.date(), after) - known + known * share


def test_a_zeroed_row_stays_and_a_vanished_row_goes(world: World) -> None:
    later = NOW + timedelta(days=5)
    rows = len(world.bill(DAY, later))
    assert len(world.with_events(Restatement(DAY, 2, Decimal(0), RESEARCH)).bill(DAY, later)) == rows
    assert len(world.with_events(Vanishing(DAY, 2, RESEARCH)).bill(DAY, later)) < rows


def test_the_server_sees_a_correction_although_it_remembers_the_day(world: World) -> None:
    api = AdminApi(world.with_events(Restatement(DAY, 3, Decimal(2)), Credit(DAY, Decimal("12.34"), RESEARCH, after=4)))
    asked: dict[str, Any] = {
        "starting_at": "2026-11-17T00:00:00Z",
        "ending_at": "2026-11-18T00:00:00Z",
        "group_by": BOTH,
    }
    first, second, third = (dollars(every_bucket(api, NOW + timedelta(days=n), **asked)) for n in (0, 2, 3))
    assert second == 2 * first
    assert third == second - Decimal("12.34")


def test_a_workspace_is_found_by_its_present_name_only(world: World) -> None:
    support = world.workspace_id("Support", NOW)
    assert world.workspace_id("Helpdesk", NOW - timedelta(days=30)) == support
    assert world.workspace_id("Default", NOW) == DEFAULT_WORKSPACE
    assert world.workspace_id("Sandbox", NOW) == worlds.identifier(1, "sandbox")
    for name, then in (("Helpdesk", NOW), ("Sandbox", NOW - timedelta(days=60))):
        with pytest.raises(ValueError, match="workspaces called"):
            world.workspace_id(name, then)


@pytest.mark.parametrize(
    ("size", "rows", "least", "most"), [("S", 250, 70_000, 90_000), ("M", 9_600, 2_800_000, 3_300_000)]
)
def test_a_size_for_benchmarks_has_the_rows_it_promises(size: str, rows: int, least: int, most: int) -> None:
    world = worlds.sized(size)
    body = cost_report.day_page(world, DAY, NOW)
    assert least < len(body) < most
    results = json.loads(body)["data"][0]["results"]
    assert len(results) == rows
    assert len({tuple(row.values())[2:] for row in results}) == rows


# --- the cost report -------------------------------------------------------------------------


def test_a_page_has_seven_buckets_unless_it_is_asked_for_more(api: AdminApi) -> None:
    answer = page(get(api, COST, starting_at="2026-11-01T00:00:00Z"))
    assert days(answer["data"]) == [f"2026-11-0{n}" for n in range(1, 8)]
    assert answer["has_more"] is True
    assert answer["data"][0]["ending_at"] == "2026-11-02T00:00:00Z"


def test_pages_of_any_size_give_the_same_rows(api: AdminApi) -> None:
    by_limit = [
        every_bucket(api, starting_at="2026-10-01T00:00:00Z", group_by=BOTH, limit=limit) for limit in (1, 7, 31)
    ]
    assert by_limit[0] == by_limit[1] == by_limit[2]
    assert len(by_limit[0]) == 48


@pytest.mark.parametrize(
    ("group_by", "present"),
    [((), set()), (("workspace_id",), {"workspace_id"}), (("description",), {"description", "cost_type"})],
)
def test_a_dimension_that_was_not_asked_for_is_null_and_its_rows_are_added(
    api: AdminApi, world: World, group_by: tuple[str, ...], present: set[str]
) -> None:
    asked: dict[str, Any] = {"group_by": group_by} if group_by else {}
    rows = page(get(api, COST, starting_at="2026-11-17T00:00:00Z", **asked))["data"][0]["results"]
    filled = {name for row in rows for name, value in row.items() if value is not None} - {"amount", "currency"}
    assert present <= filled
    assert ("workspace_id" in filled) == ("workspace_id" in group_by)
    assert ("model" in filled) == ("description" in group_by)
    assert dollars([{"results": rows}]) == world.total(DAY, NOW.date(), NOW)
    assert len(rows) == len({json.dumps({**row, "amount": ""}) for row in rows})


def test_a_day_without_cost_is_a_bucket_with_an_empty_list(api: AdminApi, world: World) -> None:
    eve = world.founded - timedelta(days=1)
    answer = page(get(api, COST, starting_at=f"{eve}T00:00:00Z", limit=2, group_by=BOTH))
    assert answer["data"][0]["results"] == []
    assert answer["data"][1]["results"]


@pytest.mark.parametrize(
    ("now", "query"),
    [
        ("2026-11-01T12:00", {"starting_at": "2026-11-01T00:00:00Z"}),  # month to date on the 1st
        ("2026-11-01T12:00", {"starting_at": "2026-11-01T00:00:00Z", "ending_at": "2026-12-01T00:00:00Z"}),
        ("2026-11-18T12:00", {"starting_at": "2026-11-18T00:00:00Z"}),
        ("2026-11-18T23:59", {"starting_at": "2026-11-18T00:00:00Z", "ending_at": "2026-11-18T23:59:59Z"}),
        ("2026-11-18T12:00", {"starting_at": "2026-11-10T00:00:00Z", "ending_at": "2026-11-10T23:59:59Z"}),
        ("2026-11-18T12:00", {"starting_at": "2026-11-10T00:00:00Z", "ending_at": "2026-11-10T00:00:00Z"}),
        ("2026-11-18T12:00", {"starting_at": "2026-11-10T00:00:00Z", "ending_at": "2026-11-01T00:00:00Z"}),
        ("2026-11-18T12:00", {"starting_at": "2027-01-01T00:00:00Z"}),
    ],
)
def test_a_range_without_a_closed_day_is_refused_for_good(api: AdminApi, now: str, query: dict[str, Any]) -> None:
    answer = get(api, COST, datetime.fromisoformat(now).replace(tzinfo=UTC), **query)
    assert refusal(answer) == (400, "invalid_request_error", DATE_RANGE)
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("starting", "ending", "expected"),
    [
        ("2026-11-15T00:00:00Z", "2026-11-17T23:59:59Z", ["2026-11-15", "2026-11-16"]),
        ("2026-11-15T18:30:00Z", "2026-11-17T00:00:00Z", ["2026-11-15", "2026-11-16"]),
        ("2026-11-16T00:00:00Z", "2026-12-31T00:00:00Z", ["2026-11-16", "2026-11-17"]),
        ("2026-11-16T01:00:00+02:00", "2026-11-17T00:00:00Z", ["2026-11-15", "2026-11-16"]),
    ],
)
def test_the_range_is_cut_to_closed_utc_days(api: AdminApi, starting: str, ending: str, expected: list[str]) -> None:
    assert days(every_bucket(api, starting_at=starting, ending_at=ending)) == expected


def test_yesterday_is_absent_until_it_is_known_and_today_always(api: AdminApi) -> None:
    early, known = datetime(2026, 11, 18, 4, 59, 59, tzinfo=UTC), datetime(2026, 11, 18, 5, tzinfo=UTC)
    assert days(every_bucket(api, early, starting_at="2026-11-16T00:00:00Z")) == ["2026-11-16"]
    assert days(every_bucket(api, known, starting_at="2026-11-16T00:00:00Z")) == ["2026-11-16", "2026-11-17"]
    assert page(get(api, COST, early, starting_at="2026-11-17T00:00:00Z"))["data"] == []


def test_a_late_day_is_absent_for_as_long_as_the_script_says(world: World) -> None:
    api = AdminApi(world.with_events(Late(DAY, timedelta(hours=30))))
    assert days(every_bucket(api, starting_at="2026-11-16T00:00:00Z")) == ["2026-11-16"]
    later = datetime(2026, 11, 19, 6, tzinfo=UTC)
    assert days(every_bucket(api, later, starting_at="2026-11-16T00:00:00Z"))[1] == "2026-11-17"


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({}, "starting_at"),
        ({"starting_at": "2026-11-01"}, "starting_at"),
        ({"starting_at": "2026-11-01T00:00:00"}, "starting_at"),
        ({"starting_at": "2026-13-01T00:00:00Z"}, "starting_at"),
        ({"starting_at": "0001-01-01T00:00:00+02:00"}, "starting_at"),
        ({"ending_at": "soon"}, "ending_at"),
        ({"starting_at": ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z")}, "starting_at"),
        ({"limit": "0"}, "limit"),
        ({"limit": "32"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"bucket_width": "1h"}, "bucket_width"),
        ({"group_by": "model"}, "group_by"),
        ({"workspace_ids[]": "x"}, "workspace_ids[]"),
        ({"page": "page_nonsense"}, "page"),
    ],
)
def test_a_query_that_is_not_documented_is_refused(api: AdminApi, query: dict[str, Any], word: str) -> None:
    usual = {"starting_at": "2026-11-01T00:00:00Z"} if query else {}
    status, kind, message = refusal(get(api, COST, **{**usual, **query}))
    assert (status, kind) == (400, "invalid_request_error")
    assert word in message


@pytest.mark.parametrize(
    "changed",
    [{"limit": 8}, {"starting_at": "2026-11-02T00:00:00Z"}, {"group_by": "description"}, {"bucket_width": "1d"}],
)
def test_a_cursor_belongs_to_its_query(api: AdminApi, changed: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"starting_at": "2026-11-01T00:00:00Z", "limit": 7, "group_by": BOTH}
    cursor = page(get(api, COST, **asked))["next_page"]
    assert days(page(get(api, COST, **asked, page=cursor))["data"])[0] == "2026-11-08"
    status, _, message = refusal(get(api, COST, **{**asked, **changed}, page=cursor))
    assert status == 400
    assert "page token" in message


@pytest.mark.parametrize(
    ("beta", "shown"), [("fast-mode-2026-02-01", True), ("x, fast-mode-2026-02-01", True), ("x", False)]
)
def test_speed_is_shown_only_with_its_beta_header(api: AdminApi, beta: str, shown: bool) -> None:
    headers = {**HEADERS, "anthropic-beta": beta}
    answer = page(get(api, COST, headers=headers, starting_at="2026-11-17T00:00:00Z", group_by=BOTH))
    assert {row.get("speed", "absent") for row in answer["data"][0]["results"]} == (
        {"standard", "fast", None} if shown else {"absent"}
    )


# --- everything around it --------------------------------------------------------------------


@pytest.mark.parametrize("path", [COST, WORKSPACES, ME, "/v1/elsewhere"])
@pytest.mark.parametrize("credential", [{}, {"x-api-key": "sk-ant-api03-x"}, {"authorization": "Bearer nobody"}])
def test_nothing_is_told_without_the_key(api: AdminApi, path: str, credential: dict[str, str]) -> None:
    answer = get(api, path, headers={"anthropic-version": "2023-06-01", **credential})
    assert refusal(answer)[:2] == (401, "authentication_error")


def test_a_bearer_token_is_a_key_too(api: AdminApi) -> None:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}", "anthropic-version": "2026-10-21"}
    assert get(api, ME, headers=headers).status == 200


@pytest.mark.parametrize("version", [{}, {"anthropic-version": "yesterday"}])
def test_the_version_header_is_required(api: AdminApi, version: dict[str, str]) -> None:
    assert refusal(get(api, ME, headers={"x-api-key": ADMIN_KEY, **version}))[:2] == (400, "invalid_request_error")


def test_a_path_or_method_that_does_not_exist_is_refused(api: AdminApi) -> None:
    assert refusal(get(api, "/v1/organizations/cost_reports"))[:2] == (404, "not_found_error")
    answer = api.respond(Request.of("POST", ME, HEADERS), NOW)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET"


def test_every_answer_carries_a_request_id_and_the_simulated_date(api: AdminApi) -> None:
    for answer in (get(api, ME), get(api, "/nowhere")):
        assert answer.headers["date"] == "Wed, 18 Nov 2026 12:00:00 GMT"
        assert answer.headers["request-id"].startswith("req_")


def test_the_organisation_says_who_it_is(api: AdminApi, world: World) -> None:
    assert page(get(api, ME)) == {"id": world.id, "type": "organization", "name": "Example Company"}


def names(api: AdminApi, now: datetime = NOW, **query: Any) -> list[str]:
    return [row["name"] for row in page(get(api, WORKSPACES, now, **query))["data"]]


def test_archived_workspaces_and_the_default_one_are_shown_when_asked_for(api: AdminApi, world: World) -> None:
    usual = ["Research", "Research-Evals", "Prod-Chat", "Prod-Search", "Support", "Agents", "Sandbox"]
    assert names(api) == usual
    assert names(api, include_archived="true") == [*usual, "Sandbox", "Legacy-Import"]
    assert names(api, include_default="true") == ["Default", *usual]
    first = page(get(api, WORKSPACES, include_default="true"))["data"][0]
    assert first["id"] == world.default_workspace
    assert page(get(api, WORKSPACES))["data"][0]["tags"] == {"team": "research"}


def test_a_workspace_is_renamed_and_archived_on_its_day(api: AdminApi) -> None:
    before = datetime(2026, 10, 1, tzinfo=UTC)
    assert "Helpdesk" in names(api, before)
    assert "Legacy-Import" in names(api, before)
    row = page(get(api, WORKSPACES, include_archived="true"))["data"][-1]
    assert row["archived_at"] == "2026-10-09T00:00:00Z"


@pytest.mark.parametrize("limit", [1, 2, 4, 9, 1000])
def test_workspaces_are_paged_by_id(api: AdminApi, limit: int) -> None:
    seen: list[str] = []
    query: dict[str, Any] = {}
    while True:
        answer = page(get(api, WORKSPACES, include_archived="true", limit=limit, **query))
        ids = [row["id"] for row in answer["data"]]
        assert (answer["first_id"], answer["last_id"]) == (ids[0], ids[-1])
        seen += ids
        if not answer["has_more"]:
            break
        query = {"after_id": answer["last_id"]}
    assert seen == [row["id"] for row in page(get(api, WORKSPACES, include_archived="true"))["data"]]
    back = page(get(api, WORKSPACES, include_archived="true", before_id=seen[3], limit=2))
    assert [row["id"] for row in back["data"]] == seen[1:3]


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 1001}, {"after_id": "x"}, {"include_archived": "yes"}, {"colour": "red"}]
)
def test_a_workspace_query_that_is_not_documented_is_refused(api: AdminApi, query: dict[str, Any]) -> None:
    assert get(api, WORKSPACES, **query).status == 400


# --- faults ----------------------------------------------------------------------------------


def struck(api: AdminApi, text: str, now: datetime = NOW, **query: Any) -> Response:
    asked = {"starting_at": "2026-11-14T00:00:00Z", "group_by[]": BOTH, **query}
    request = Request.of("GET", target(COST, asked), HEADERS)
    fault = FaultScript([faults.parse(text)]).take(request, now)
    assert fault is not None
    return fault.answer(request, now, api.respond)


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("429=30", {"retry-after": "30"}),
        ("429=date+90", {"retry-after": "Wed, 18 Nov 2026 12:01:30 GMT"}),
        ("429=date-90", {"retry-after": "Wed, 18 Nov 2026 11:58:30 GMT"}),
        ("429=ms1500", {"retry-after-ms": "1500"}),
        ("429=soon", {"retry-after": "soon"}),
        ("529", {}),
        ("503", {}),
    ],
)
def test_a_status_comes_in_the_documented_form(api: AdminApi, text: str, headers: dict[str, str]) -> None:
    answer = struck(api, text)
    assert refusal(answer)[0] == int(text[:3])
    assert {name: value for name, value in answer.headers.items() if name.startswith("retry")} == headers


@pytest.mark.parametrize(
    ("text", "start"),
    [("html", b"<!doctype"), ("empty", b""), ("null", b"null"), ("list", b"[]"), ("object", b"{}"), ("nested", b"[[[")],
)
def test_a_body_is_no_report(api: AdminApi, text: str, start: bytes) -> None:
    answer = struck(api, text)
    assert answer.status == 200
    assert answer.body.startswith(start)
    assert struck(api, f"{text}=502").status == 502


@pytest.mark.parametrize("text", ["cut_json", "not_utf8", "utf16"])
def test_a_damaged_body_does_not_decode(api: AdminApi, text: str) -> None:
    with pytest.raises((UnicodeDecodeError, json.JSONDecodeError)):
        json.loads(struck(api, text).body.decode())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("null_cursor", {"has_more": True, "next_page": None}),
        ("empty_cursor", {"has_more": True, "next_page": ""}),
        ("no_cursor", {"has_more": True}),
        ("page_loop", {"has_more": True, "next_page": "page_0"}),
    ],
)
def test_a_page_promises_more_and_does_not_say_where(api: AdminApi, text: str, expected: dict[str, Any]) -> None:
    answer = page(struck(api, text))
    assert answer.pop("data")
    assert answer == expected


@pytest.mark.parametrize(
    ("length", "cursors"), [(1, ["page_0"] * 4), (2, ["page_0", "page_1"] * 2), (99, [f"page_{n}" for n in range(4)])]
)
def test_a_page_loop_of_any_length_always_answers(api: AdminApi, length: int, cursors: list[str]) -> None:
    seen: list[str] = []
    for _ in range(4):
        cursor: dict[str, Any] = {"page": seen[-1]} if seen else {}
        answer = page(struck(api, f"page_loop={length}", **cursor))
        seen.append(answer["next_page"])
    assert seen == cursors


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no_data", []),
        ("duplicate", [14, 15, 16, 17, 14]),
        ("contradiction", [14, 15, 16, 17, 14]),
        ("shuffled", [17, 16, 15, 14]),
        ("outside", [14, 15, 16, 17, 2]),
        ("gap", [14, 15, 17]),
    ],
)
def test_buckets_are_wrong(api: AdminApi, text: str, expected: list[int]) -> None:
    buckets = page(struck(api, text))["data"]
    assert [int(day[8:]) if day.startswith("2026") else 2 for day in days(buckets)] == expected
    if text == "duplicate":
        assert buckets[0] == buckets[-1]
    if text == "contradiction":
        assert buckets[0] != buckets[-1]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("field=currency=EUR", "currency", "EUR"),
        ("field=amount=NaN", "amount", "NaN"),
        ("field=amount=-12.5", "amount", "-12.5"),
        ("field=new_field=x", "new_field", "x"),
        ("number=12.5", "amount", 12.5),
        ("without=currency", "currency", "gone"),
        ("without", "amount", "gone"),
    ],
)
def test_one_row_is_wrong_and_the_others_are_as_they_were(api: AdminApi, text: str, name: str, value: object) -> None:
    rows = [row for bucket in page(struck(api, text))["data"] for row in bucket["results"]]
    right = [row for b in every_bucket(api, starting_at="2026-11-14T00:00:00Z", group_by=BOTH) for row in b["results"]]
    assert rows[0].get(name, "gone") == value
    assert rows[1:] == right[1:]


def test_a_gzip_bomb_is_small_until_it_is_opened(api: AdminApi) -> None:
    answer = struck(api, "gzip_bomb")
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.body) < 1_000_000
    opened, fed = 0, answer.body
    inflater = zlib.decompressobj(wbits=31)
    while fed and opened < 300 * (1 << 20):
        opened += len(inflater.decompress(fed, 1 << 24))
        fed = inflater.unconsumed_tail
    assert opened >= 300 * (1 << 20)


def kinds_taken(script: FaultScript, requests: list[Request], now: datetime = NOW) -> list[str]:
    return [fault.kind if (fault := script.take(request, now)) else "-" for request in requests]


def test_faults_strike_one_after_the_other() -> None:
    requests = [Request("GET", COST)] * 6
    script = FaultScript([Fault("500", first=2, times=2), Fault("429", times=1), Fault("empty", first=3)])
    assert kinds_taken(script, requests) == ["429", "500", "500", "-", "-", "empty"]
    script.set(faults.parse("403"))
    assert kinds_taken(script, requests[:2]) == ["403", "403"]
    script.set()
    assert kinds_taken(script, requests[:2]) == ["-", "-"]


def test_a_fault_can_be_for_a_path_a_page_and_a_time(api: AdminApi) -> None:
    asked: dict[str, Any] = {"starting_at": "2026-11-01T00:00:00Z", "limit": 2}
    second = page(get(api, COST, **asked))["next_page"]
    third = page(get(api, COST, **asked, page=second))["next_page"]
    pages = [
        Request.of("GET", target(COST, {**asked, **more}), HEADERS) for more in ({}, {"page": second}, {"page": third})
    ]
    assert kinds_taken(FaultScript([Fault("500", page=2)]), pages) == ["-", "500", "-"]
    assert kinds_taken(FaultScript([Fault("500", path="workspaces")]), [pages[0], Request("GET", WORKSPACES)]) == [
        "-",
        "500",
    ]
    timed = FaultScript([Fault("500", since=NOW, until=NOW + timedelta(hours=1))])
    assert [kinds_taken(timed, pages[:1], NOW + timedelta(minutes=n)) for n in (-1, 0, 59, 60)] == [
        ["-"],
        ["500"],
        ["500"],
        ["-"],
    ]


def test_a_fault_reads_as_it_is_written() -> None:
    assert faults.parse("429=30:3@cost_report") == Fault("429", "30", "cost_report", times=3)
    assert faults.parse("hang") == Fault("hang")
    assert faults.parse("field=amount=1e400:1") == Fault("field", "amount=1e400", times=1)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("hung", "'hang'"), ("600", "429"), ("", "KIND"), ("drip=soon", "soon"), ("429=dates", "s"), ("page_loop=x", "x")],
)
def test_a_fault_that_makes_no_sense_is_refused_at_once(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        faults.parse(text)


# --- clocks and the server -------------------------------------------------------------------


def test_clocks_go_as_they_are_told() -> None:
    clock = FixedClock(NOW)
    assert clock.advance(timedelta(hours=2)) == clock() == NOW + timedelta(hours=2)
    clock.set(NOW)
    assert clock() == NOW
    seconds = iter([100.0, 100.0, 101.5])
    fast = accelerated(NOW, 3600, lambda: next(seconds))
    assert [fast(), fast()] == [NOW, NOW + timedelta(hours=1.5)]


@pytest.fixture
def server(world: World) -> Iterator[SimulatedServer]:
    with serve(world, clock=FixedClock(NOW)) as running:
        yield running


def connect(server: SimulatedServer, timeout: float = 5) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=timeout)


def fetch(connection: http.client.HTTPConnection, path: str = ME, method: str = "GET") -> tuple[int, bytes]:
    connection.request(method, path, headers=HEADERS)
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.network
def test_the_server_answers_what_the_function_answers(server: SimulatedServer, api: AdminApi) -> None:
    path = target(COST, {"starting_at": "2026-10-20T00:00:00Z", "group_by[]": BOTH, "limit": 31})
    connection = connect(server)
    local = None
    for _ in range(2):  # the connection is kept
        connection.request("GET", path, headers=HEADERS)
        local = local or connection.sock.getsockname()
        assert connection.sock.getsockname() == local
        answer = connection.getresponse()
        expected = api.respond(Request.of("GET", path, HEADERS), NOW)
        assert answer.read() == expected.body
        for name, value in expected.headers.items():
            assert answer.headers.get_all(name) == [value]
    connection.close()


@pytest.mark.network
def test_the_server_logs_requests_without_their_key(server: SimulatedServer) -> None:
    connection = connect(server)
    assert fetch(connection, f"{ME}?a=b")[0] == 400
    assert fetch(connection, ME, "DELETE")[0] == 405
    connection.close()
    first, second = server.exchanges
    assert (first.request.path, first.request.query, first.status, first.at) == (ME, (("a", "b"),), 400, NOW)
    assert first.request.headers["anthropic-version"] == "2023-06-01"
    assert second.request.method == "DELETE"
    assert ADMIN_KEY not in repr(server.exchanges)


@pytest.mark.network
def test_time_moves_when_the_test_moves_it(world: World) -> None:
    clock = FixedClock(datetime(2026, 11, 18, 4, tzinfo=UTC))
    path = target(COST, {"starting_at": "2026-11-17T00:00:00Z"})
    with serve(world, clock=clock) as server:
        connection = connect(server)
        assert json.loads(fetch(connection, path)[1])["data"] == []
        clock.advance(timedelta(hours=1))
        assert len(json.loads(fetch(connection, path)[1])["data"]) == 1
        connection.close()


@pytest.mark.network
@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("reset", ConnectionResetError),
        ("close", http.client.RemoteDisconnected),
        ("truncated", http.client.IncompleteRead),
        ("stall=0.05", http.client.IncompleteRead),
        ("hang=0.05", http.client.RemoteDisconnected),
        ("hang", TimeoutError),
        ("stall", TimeoutError),
    ],
)
def test_a_connection_fails_in_the_way_it_is_told(server: SimulatedServer, text: str, error: type[Exception]) -> None:
    server.faults.set(faults.parse(f"{text}:1"))
    connection = connect(server, timeout=0.2)
    with pytest.raises(error) as caught:
        fetch(connection)
    assert type(caught.value) is error
    connection.close()
    after = connect(server)
    assert fetch(after)[0] == 200
    after.close()


@pytest.mark.network
def test_a_drip_is_slow_and_whole(server: SimulatedServer) -> None:
    server.faults.set(faults.parse("drip=0.002"))
    connection = connect(server)
    started = time.perf_counter()
    status, body = fetch(connection)
    assert json.loads(body)["type"] == "organization"
    assert time.perf_counter() - started > 0.002 * len(body)
    assert status == 200
    connection.close()


@pytest.mark.network
@pytest.mark.parametrize("fault", ["hang", "drip=0.3", "stall", "slow=60"])
def test_closing_is_prompt_whatever_hangs(world: World, fault: str) -> None:
    with serve(world, clock=FixedClock(NOW), faults=FaultScript([faults.parse(fault)])) as server:
        busy, idle = connect(server), connect(server)
        idle.connect()
        busy.request("GET", ME, headers=HEADERS)
        while not server.exchanges:
            time.sleep(0.005)
        started = time.perf_counter()
    assert time.perf_counter() - started < 1
    busy.close()
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=1)


# --- budgetd simulate ------------------------------------------------------------------------

_COMMAND = """
import argparse, sys
from budgetd.commands import simulate
parser = argparse.ArgumentParser("budgetd simulate")
simulate.configure(parser)
sys.exit(simulate.run(parser.parse_args()))
"""


def simulate(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "120"},
    )


@pytest.mark.network
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_simulate_serves_until_it_is_asked_to_stop(ending: signal.Signals) -> None:
    runaway = f"2026-11-17:Research:{OPUS}:900"
    arguments = ("--port", "0", "--start", "2026-11-18", "--speed", "1000000", "--runaway", runaway, "--fault", "529:1")
    with simulate(*arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = ""
        while "Ctrl-C" not in said:
            said += process.stdout.readline()
        url = said.split("BUDGETD_API_URL=")[1].split()[0]
        assert f"BUDGETD_ADMIN_KEY={ADMIN_KEY}" in said
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
        path = target(COST, {"starting_at": "2026-11-17T00:00:00Z", "ending_at": "2026-11-18T00:00:00Z"})
        assert fetch(connection, path)[0] == 529
        body: dict[str, Any] = {}
        while not body.get("data"):  # yesterday appears within 18 ms on that clock
            body = json.loads(fetch(connection, path)[1])
        connection.close()
        process.send_signal(ending)
        assert process.wait(5) == 0
        assert process.stderr.read() == ""
    expected = worlds.standard().with_events(Runaway(DAY, RESEARCH, OPUS, dollars=Decimal(900)))
    assert dollars(body["data"]) == expected.total(DAY, NOW.date(), NOW)


@pytest.mark.network
def test_simulate_says_that_its_port_is_taken(server: SimulatedServer) -> None:
    with simulate("--port", server.url.rpartition(":")[2]) as process:
        said, complaint = process.communicate(timeout=10)
        assert (process.returncode, said) == (1, "")
    assert "in use" in complaint


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--fault", "hung"], "did you mean 'hang'"),
        (["--start", "tomorrow"], "not a date"),
        (["--speed", "0"], "above 0"),
        (["--speed", "fast"], "'fast' is not a number"),
        (["--runaway", "x"], "DATE:WORKSPACE:MODEL:DOLLARS"),
        (["--runaway", "2026-11-18:Reserch:claude-opus-4-8:1"], "it has Default, Agents"),
        (["--runaway", "2026-11-18:Research:gpt:1"], "no model 'gpt'"),
    ],
)
def test_simulate_refuses_arguments_that_make_no_sense(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser("budgetd simulate")
    command.configure(parser)
    try:
        code: object = command.run(parser.parse_args(arguments))
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert hint in capsys.readouterr().err
