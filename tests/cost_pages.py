"""Pages of the cost report, and an API that serves given ones, for the tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

NOW = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
TODAY = NOW.date()
FIRST = date(2026, 11, 1)
PARTS = {
    "cost_type": "tokens",
    "model": "claude-opus-4-8",
    "token_type": "output_tokens",
    "service_tier": "standard",
    "context_window": "0-200k",
    "inference_geo": "global",
    "speed": "standard",
}


def row(amount: object = "12345.00", workspace: str | None = "wrkspc_a", **fields: object) -> dict[str, object]:
    """One result, in the longer of the two known shapes. `amount` is in cents."""
    return {
        "amount": amount,
        "currency": "USD",
        "workspace_id": workspace,
        "description": "Claude Opus 4.8 Usage",
        **PARTS,
        **fields,
    }


def bucket(day: date, *rows: object, **fields: object) -> dict[str, Any]:
    start, end = f"{day}T00:00:00Z", f"{day + timedelta(days=1)}T00:00:00Z"
    return {"starting_at": start, "ending_at": end, "results": list(rows), **fields}


def days(first: date, last: date) -> list[date]:
    """Both included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def page(buckets: Sequence[object], next_page: str | None = None, **fields: object) -> dict[str, Any]:
    return {"data": list(buckets), "has_more": next_page is not None, "next_page": next_page, **fields}


def month(*, until: date = date(2026, 11, 17), rows: Callable[[date], Sequence[object]] | None = None) -> list[Any]:
    """The buckets of November 2026 up to a day, each with one row unless told otherwise."""
    return [bucket(day, *(rows(day) if rows else [row(f"{day.day}00.50")])) for day in days(FIRST, until)]


class Shelf:
    """An API in memory: one body for each request, in order; the last one again and again."""

    def __init__(self, *bodies: object) -> None:
        self.bodies = list(bodies)
        self.asked: list[dict[str, list[str]]] = []

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, deadline: float | None = None) -> bytes:
        query: dict[str, list[str]] = {}
        for name, value in params:
            query.setdefault(name, []).append(value)
        self.asked.append(query)
        body = self.bodies[min(len(self.asked), len(self.bodies)) - 1]
        if isinstance(body, Exception):
            raise body
        return body if isinstance(body, bytes) else json.dumps(body).encode()
