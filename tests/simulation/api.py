"""The simulated API in this process: the real answers, faults over them, and what was truly served."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from budgetd.model import Failure, SourceError
from budgetd.period import DAY
from budgetd.simulator.api import ADMIN_KEY, AdminApi
from budgetd.simulator.wire import Request
from tests.simulation.company import Company, Row

_HEADERS = {"x-api-key": ADMIN_KEY, "anthropic-version": "2023-06-01"}
_REFUSALS = {
    "refused connection": (Failure.UNREACHABLE, None),
    "503": (Failure.UNAVAILABLE, 503),
    "401": (Failure.REFUSED, 401),
}
_TAMPERINGS = ("garbage", "half a page", "page loop", "no data", "missing bucket", "more pages, no cursor", "empty")
FAULTS = (*_REFUSALS, *_TAMPERINGS)


@dataclass(frozen=True, slots=True)
class Served:
    """What a poll truly got: the days of a whole and clean report, or the failure that it met."""

    days: dict[date, tuple[Row, ...]] | None
    failure: Failure | None = None


@dataclass
class SimulatedApi:
    """Implements `Getter` and `Line`. `now` is the world's true time; `outage` a fault that lasts."""

    company: Company
    chance: random.Random
    now: datetime
    outage: str | None = None
    glitches: bool = True
    requests: int = 0
    last_skew: float | None = None
    met: Counter[str] = field(default_factory=Counter)
    _api: AdminApi = field(init=False)
    _chain: dict[date, tuple[Row, ...]] | None = None
    _whole: bool = False
    _failure: Failure | None = None

    def __post_init__(self) -> None:
        self._api = AdminApi(self.company)

    def begin_poll(self) -> None:
        """Forget what the last poll got."""
        self._chain, self._whole, self._failure = None, False, Failure.UNREADABLE

    def served(self) -> Served:
        """What the poll that just ended truly got."""
        if not self._whole or self._chain is None:
            return Served(None, self._failure)
        return Served(self._chain) if _without_gap(self._chain) else Served(None, Failure.UNREADABLE)

    def key_mark(self) -> str:
        """It has one key for ever."""
        return ""

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, deadline: float | None = None) -> bytes:
        """The body of an answer, or what took its place. Raises SourceError."""
        costs = path.endswith("cost_report")
        self._note_request(costs, params)
        fault = self._fault()
        if fault == "no data" and costs and "page" in dict(params):
            fault = "garbage"  # an empty last page may be no fault at all: the bill of its days is late
        if fault is not None:
            self.met[fault] += 1
        if fault in _REFUSALS:
            self._failure, status = _REFUSALS[fault]
            raise SourceError(self._failure, f"simulated: {fault}", status=status)
        answer = self._api.respond(Request("GET", path, tuple(params), _HEADERS), self.now)
        if answer.status != 200:
            self._failure = Failure.REJECTED
            raise SourceError(Failure.REJECTED, f"HTTP {answer.status}: {answer.body!r}", status=answer.status)
        if fault is not None:
            self._failure, self._chain = Failure.UNREADABLE, None
            return _tampered(answer.body, fault, self.chance)
        if costs and self._chain is not None:
            self._note_page(answer.body, params)
        return answer.body

    def _fault(self) -> str | None:
        if self.outage is not None:
            return self.outage
        if self.glitches and self.chance.random() < 0.03:
            return self.chance.choice(FAULTS)
        return None

    def _note_request(self, costs: bool, params: Sequence[tuple[str, str]]) -> None:
        if costs and "page" not in dict(params):
            self._chain, self._whole = {}, False

    def _note_page(self, body: bytes, params: Sequence[tuple[str, str]]) -> None:
        """A clean page of the chain: its days by the world's own truth, not by what the body says."""
        assert self._chain is not None
        if not body.endswith(b'"next_page":null}'):
            return
        asked = dict(params)
        start, end = (date.fromisoformat(asked[name][:10]) for name in ("starting_at", "ending_at"))
        for offset in range((min(end, self.now.date()) - start).days):
            day = start + DAY * offset
            if self.company.served(day, self.now):
                self._chain[day] = self.company.truth(day, self.now)
        self._whole = True


def _without_gap(days: dict[date, tuple[Row, ...]]) -> bool:
    return bool(days) and max(days) - min(days) == timedelta(days=len(days) - 1)


def _tampered(body: bytes, fault: str, chance: random.Random) -> bytes:
    """The answer of a service, or of something on the way to it, that is broken."""
    if fault == "garbage":
        return b"<html>502 Bad Gateway</html>"
    if fault == "half a page":
        return body[: len(body) // 2]
    if fault == "empty":
        return b"{}"
    page: dict[str, Any] = json.loads(body)
    if fault == "no data":
        page["data"] = []
    elif fault == "page loop":
        page.update(has_more=True, next_page="page_again", last_id="page_again")
    elif fault == "more pages, no cursor":
        page.update(has_more=True, next_page=None, last_id=None)
    elif len(page.get("data", ())) > 2 and "starting_at" in page["data"][0]:
        del page["data"][chance.randrange(1, len(page["data"]) - 1)]
    else:
        page["data"] = None
    return json.dumps(page).encode()
