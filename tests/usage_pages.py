"""Pages of the usage report, an API that serves usage as buckets, and the bill of the same usage, for tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from budgetd import money, price_list
from budgetd.model import CostDay, Dimensions, Failure, SourceError
from budgetd.price_list import Kind
from budgetd.pricing import UsageDay, Used
from budgetd.scope import undated

NOW = datetime(2026, 11, 18, 12, 30, 20, tzinfo=UTC)
TODAY = NOW.date()
WIDTHS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
OPUS = "claude-opus-4-8"


def kind(unit: str = price_list.OUTPUT, model: str | None = OPUS, **more: str) -> Kind:
    about = {"service_tier": "standard", "context_window": "0-200k", "inference_geo": "global", **more}
    return Kind(price_list.WEB_SEARCH) if unit == price_list.WEB_SEARCH else Kind(unit, model, **about)


def used(unit: str = price_list.OUTPUT, workspace: str = "wrkspc_a", model: str | None = OPUS, **more: str) -> Used:
    return Used(workspace, kind(unit, model, **more))


def billed_line(use: Used, description: str | None = "from the bill") -> Dimensions:
    """The line of the bill that the use is in."""
    kind = use.kind
    if kind.unit == price_list.WEB_SEARCH:
        return Dimensions(use.workspace, "Web Search Usage", price_list.WEB_SEARCH)
    return Dimensions(use.workspace, description, "tokens", kind.model, kind.unit, *kind[2:])


def list_dollars(use: Used, on: date = TODAY) -> Decimal:
    kind = use.kind
    price = price_list.listed(kind._replace(model=undated(kind.model)) if kind.model else kind, on)
    assert price is not None
    return price


def bill(day: date, counts: Mapping[Used, int], factor: str = "1") -> CostDay:
    """What the counts cost at list price times the factor."""
    lines: dict[Dimensions, Decimal] = {}
    for use, count in counts.items():
        amount = money.times(money.times(list_dollars(use, day), Decimal(factor)), Decimal(count))
        lines[billed_line(use)] = money.add(lines.get(billed_line(use), money.ZERO), amount)
    return CostDay(day, lines)


def usage(day: date, counts: Mapping[Used, int]) -> UsageDay:
    return UsageDay(day, counts)


# --- pages -----------------------------------------------------------------------------------


def row(output: int = 0, workspace: str | None = "wrkspc_a", **fields: object) -> dict[str, Any]:
    """One result with all of its documented fields."""
    return {
        "uncached_input_tokens": 0,
        "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0},
        "cache_read_input_tokens": 0,
        "output_tokens": output,
        "server_tool_use": {"web_search_requests": 0},
        "api_key_id": None,
        "workspace_id": workspace,
        "model": OPUS,
        "service_tier": "standard",
        "context_window": "0-200k",
        "inference_geo": "global",
        "account_id": None,
        "service_account_id": None,
        **fields,
    }


def stamp(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def bucket(start: datetime, width: str, *rows: object) -> dict[str, Any]:
    return {"starting_at": stamp(start), "ending_at": stamp(start + WIDTHS[width]), "results": list(rows)}


def page(buckets: Sequence[object], next_page: str | None = None, **fields: object) -> dict[str, Any]:
    return {"data": list(buckets), "has_more": next_page is not None, "next_page": next_page, **fields}


class Meter:
    """An API that knows what every minute used: `rows(minute)` are its rows, shown once `delay` has passed.

    `change` may alter, drop or raise an answer: it gets the query and the page. `asked` are the queries.
    """

    def __init__(
        self,
        rows: Callable[[datetime], Iterable[dict[str, Any]]],
        *,
        now: datetime = NOW,
        delay: timedelta = timedelta(0),
        change: Callable[[dict[str, list[str]], dict[str, Any]], Any] | None = None,
    ) -> None:
        self.rows, self.now, self.delay, self.change = rows, now, delay, change
        self.asked: list[dict[str, list[str]]] = []
        self._minutes: dict[datetime, list[dict[str, Any]]] = {}

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, deadline: float | None = None) -> bytes:
        query: dict[str, list[str]] = {}
        for name, value in params:
            query.setdefault(name, []).append(value)
        self.asked.append(query)
        answer: Any = self._page(query)
        if self.change is not None:
            answer = self.change(query, answer)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else json.dumps(answer, separators=(",", ":")).encode()

    def _page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        (name,), limit = query["bucket_width"], int(query["limit"][0])
        width, starts = WIDTHS[name], []
        at = datetime.fromisoformat(query.get("page", query["starting_at"])[0])
        shown = self.now - self.delay
        while at + width <= datetime.fromisoformat(query["ending_at"][0]) and at <= shown:
            starts.append(at)
            at += width
        if name == "1d":
            starts = [start for start in starts if start.date() < self.now.date()]
        buckets = [bucket(start, name, *self._rows(start, width, query)) for start in starts[:limit]]
        return page(buckets, stamp(starts[limit]) if len(starts) > limit else None)

    def _rows(self, start: datetime, width: timedelta, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        groups: dict[str, dict[str, Any]] = {}
        for number in range(width // timedelta(minutes=1)):
            minute = start + timedelta(minutes=number)
            if minute > self.now - self.delay:
                break
            for each in self._minute(minute):
                if each["service_tier"] in query.get("service_tiers[]", [each["service_tier"]]):
                    _count(groups, each, query["group_by[]"])
        return list(groups.values())

    def _minute(self, minute: datetime) -> list[dict[str, Any]]:
        if minute not in self._minutes:
            self._minutes[minute] = list(self.rows(minute))
        return self._minutes[minute]


_NAMES = ("workspace_id", "model", "service_tier", "context_window", "inference_geo", "speed")


def _count(groups: dict[str, dict[str, Any]], each: dict[str, Any], grouped: Sequence[str]) -> None:
    about = {name: each.get(name) if name in grouped else None for name in _NAMES}
    before = groups.get(str(about))
    groups[str(about)] = {**_added(before or {}, each), **about}


def _added(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(right)
    for name, value in left.items():
        if isinstance(value, dict):
            result[name] = _added(value, right.get(name, {}))
        elif isinstance(value, int):
            result[name] = value + right.get(name, 0)
    return result


REFUSED_SPEED = SourceError(Failure.REJECTED, "group_by: 'speed' requires a beta header", status=400)
