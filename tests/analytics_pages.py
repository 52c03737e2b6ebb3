"""Pages of the cost analytics, and an API in memory that knows what each hour cost, for tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from budgetd.model import Dimensions, Failure, SourceError

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WIDTHS = {"1h": HOUR, "1d": DAY}
NOW = datetime(2026, 11, 18, 14, 31, 5, tzinfo=UTC)
TODAY = NOW.date()
REFRESHED = datetime(2026, 11, 18, 12, tzinfo=UTC)
DEFAULT_ID = "wrkspc_default"
GROUP: dict[str, Any] = {
    "product": None, "workspace_id": "wrkspc_a", "api_key_id": None, "actor": None, "actor_type": None,
    "model": "claude-opus-4-8", "service_tier": "standard", "context_window": "0-200k", "inference_geo": "global",
    "speed": None, "cost_type": "tokens", "token_type": "output_tokens", "agent_id": None,
    "claude_tag_category": None, "claude_tag_user_id": None, "deployment_id": None, "environment_id": None,
    "rbac_group_id": None, "session_id": None, "slack_channel_id": None, "user_profile_id": None,
}  # fmt: skip

# Cents by workspace.
Charges = Mapping[str | None, str | int]
Query = dict[str, list[str]]


def at(text: str) -> datetime:
    """The UTC instant that `18T14:31` names in November 2026."""
    return datetime.fromisoformat(f"2026-11-{text}").replace(tzinfo=UTC)


def stamp(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def line(workspace: str = "wrkspc_a", **more: str) -> Dimensions:
    """The cost line of `GROUP`."""
    about = Dimensions(
        workspace=workspace,
        model="claude-opus-4-8",
        service_tier="standard",
        context_window="0-200k",
        inference_geo="global",
        cost_type="tokens",
        token_type="output_tokens",
    )
    return about._replace(**more)


def row(start: datetime = REFRESHED - HOUR, amount: object = "12345.00", width: str = "1h", **group: object) -> Any:
    """One entry with all of its documented fields. `amount` is in cents."""
    cost = {"amount": amount, "list_amount": "20000.00", "currency": "USD", "requests": None}
    times = {"starting_at": stamp(start), "ending_at": stamp(start + WIDTHS[width])}
    return {**times, "group": {**GROUP, **group}, "cost": cost}


def page(rows: Sequence[object], next_page: str | None = None, **fields: object) -> dict[str, Any]:
    refreshed = {"data_refreshed_at": stamp(REFRESHED)}
    return {"data": list(rows), "has_more": next_page is not None, "next_page": next_page, **refreshed, **fields}


class Ledger:
    """An API that knows what every hour cost, as of its last refresh. `asked` are the queries.

    `change` may alter, drop or raise an answer: it gets the query and the page. `most` rows are on a page at most.
    """

    def __init__(
        self,
        charges: Callable[[datetime], Charges],
        *,
        refreshed: datetime = REFRESHED,
        most: int = 1000,
        change: Callable[[Query, dict[str, Any]], Any] | None = None,
    ) -> None:
        self.charges, self.refreshed, self.most, self.change = charges, refreshed, most, change
        self.asked: list[Query] = []

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, deadline: float | None = None) -> bytes:
        assert path == "/v1/organizations/analytics/cost"
        query: Query = {}
        for name, value in params:
            query.setdefault(name, []).append(value)
        self.asked.append(query)
        answer = self._page(query)
        changed = self.change(query, answer) if self.change else answer
        return changed if isinstance(changed, bytes) else json.dumps(changed).encode()

    def _page(self, query: Query) -> dict[str, Any]:
        place = 0
        if "page" in query:
            text, _, refreshed = query["page"][0].partition("@")
            if refreshed != stamp(self.refreshed):
                raise gone()
            place = int(text)
        rows, end = self._rows(query), place + min(self.most, int(query["limit"][0]))
        following = f"{end}@{stamp(self.refreshed)}" if end < len(rows) else None
        return page(rows[place:end], following, data_refreshed_at=stamp(self.refreshed))

    def _rows(self, query: Query) -> list[Any]:
        start, end = (datetime.fromisoformat(query[name][0]) for name in ("starting_at", "ending_at"))
        named = query["time_bucket_width"][0]
        width, rows = WIDTHS[named], []
        for number in range((end - start) // width):
            sums: dict[str | None, Decimal] = {}
            for hour in range(width // HOUR):
                moment = start + width * number + HOUR * hour
                for workspace, cents in self.charges(moment).items() if moment < self.refreshed else ():
                    sums[workspace] = sums.get(workspace, Decimal(0)) + Decimal(cents)
            found = sums.items()
            rows += [row(start + width * number, str(cents), named, workspace_id=key) for key, cents in found if cents]
        return rows


def gone() -> SourceError:
    return SourceError(Failure.REJECTED, "HTTP 410: the data was refreshed", status=410)
