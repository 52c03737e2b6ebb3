"""Asks the simulated reports of today as a client does: queries, all pages, tokens and money from rows."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from budgetd.simulator import prices, worlds
from budgetd.simulator.api import ADMIN_KEY, AdminApi
from budgetd.simulator.prices import Kind
from budgetd.simulator.wire import Request, Response

NOW = datetime(2026, 11, 18, 14, 31, 5, tzinfo=UTC)
DAY = date(2026, 11, 17)
RESEARCH = worlds.identifier(1, "research")
OPUS = "claude-opus-4-8"
HEADERS = {"x-api-key": ADMIN_KEY, "anthropic-version": "2023-06-01"}
FAST = {**HEADERS, "anthropic-beta": "fast-mode-2026-02-01"}
USAGE = "/v1/organizations/usage_report/messages"
PRICED_BY = ("workspace_id", "model", "service_tier", "context_window", "speed")

Row = dict[str, Any]


def at(text: str) -> datetime:
    """The instant that `18T14:31` names in November 2026."""
    return datetime.fromisoformat(f"2026-11-{text}").replace(tzinfo=UTC)


def rfc(instant: datetime) -> str:
    """An instant as queries have it."""
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def get(api: AdminApi, path: str, now: datetime, headers: dict[str, str], query: dict[str, Any]) -> Response:
    """The answer to a query, in which `group_by` stands for `group_by[]` and so on."""
    lists = ("group_by", "models", "workspace_ids", "api_key_ids", "service_tiers", "context_window", "inference_geos")
    pairs = {f"{name}[]" if name in lists else name: value for name, value in query.items()}
    return api.respond(Request.of("GET", f"{path}?{urlencode(pairs, doseq=True)}", headers), now)


def page(response: Response) -> Row:
    """A page that was answered with 200."""
    assert response.status == 200, response.body
    decoded: Row = json.loads(response.body)
    return decoded


def refused(response: Response) -> tuple[int, str]:
    """The status and message of an error in its documented form."""
    body = json.loads(response.body)
    assert body["type"] == "error"
    return response.status, body["error"]["message"]


def all_data(api: AdminApi, path: str, now: datetime, headers: dict[str, str], query: dict[str, Any]) -> list[Row]:
    """The data of all pages."""
    data: list[Row] = []
    cursor: dict[str, str] = {}
    while True:
        answer = page(get(api, path, now, headers, {**query, **cursor}))
        data += answer["data"]
        if not answer["has_more"]:
            assert answer["next_page"] is None
            return data
        cursor = {"page": answer["next_page"]}


def usage(api: AdminApi, now: datetime = NOW, headers: dict[str, str] = HEADERS, **query: Any) -> list[Row]:
    """All buckets of the usage report."""
    return all_data(api, USAGE, now, headers, query)


def of_day(width: str, day: date = DAY) -> Row:
    """The query for one UTC day, in the largest pages."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    limit = {"1m": 1440, "1h": 168, "1d": 31}[width]
    return {
        "starting_at": rfc(start),
        "ending_at": rfc(start + timedelta(days=1)),
        "bucket_width": width,
        "limit": limit,
    }


def tokens(buckets: list[Row]) -> Counter[tuple[str | None, ...]]:
    """Tokens and searches by what they are about and their type."""
    counts: Counter[tuple[str | None, ...]] = Counter()
    for row in (row for bucket in buckets for row in bucket["results"]):
        about = tuple(row.get(name) for name in PRICED_BY)
        writes = {f"cache_creation.{name}": count for name, count in row.get("cache_creation", {}).items()}
        flat = {name: count for name, count in row.items() if isinstance(count, int)}
        for name, count in {**flat, **writes, **row.get("server_tool_use", {})}.items():
            counts[*about, name] += count
    return +counts


def priced(buckets: list[Row], discount: Decimal) -> Decimal:
    """What the tokens and searches of buckets by PRICED_BY cost in dollars; Priority Tier is on no bill."""
    total = Decimal(0)
    for (_, model, tier, window, speed, name), count in tokens(buckets).items():
        if name == "web_search_requests":
            total += count * Decimal("0.01")
        elif tier != "priority":
            kind = Kind(str(name), str(tier), str(window), str(speed))
            total += count * prices.dollars_per_token(prices.model(str(model)), kind) * discount
    return total
