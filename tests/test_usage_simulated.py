"""The estimate against the simulated organisation, whose usage and bill come from one stream of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlencode

import pytest

from budgetd.learning import learn
from budgetd.model import CostDay, Dimensions, Failure, Report, SourceError
from budgetd.period import midnight
from budgetd.pricing import Origin, RateTable
from budgetd.simulator import worlds
from budgetd.simulator.api import ADMIN_KEY, AdminApi
from budgetd.simulator.organisation import World
from budgetd.simulator.wire import Request
from budgetd.sources.cost_report import CostReport
from budgetd.sources.usage_report import SPEED_BETA, UsageReport

DAY = timedelta(days=1)
TODAY = date(2026, 11, 18)
UNCOUNTED = ("code_execution", "session_usage")


class Simulated:
    """The simulated API as a Getter, at a time of its own."""

    def __init__(self, world: World, now: datetime) -> None:
        self._api = AdminApi(world)
        self.now = now
        self.requests = 0

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, deadline: float | None = None) -> bytes:
        self.requests += 1
        headers = {"x-api-key": ADMIN_KEY, "anthropic-version": "2023-06-01", "anthropic-beta": SPEED_BETA}
        answer = self._api.respond(Request.of("GET", f"{path}?{urlencode(params)}", headers), self.now)
        if answer.status != 200:
            raise SourceError(Failure.REJECTED, answer.body.decode(), status=answer.status)
        return answer.body


def both(world: World, now: datetime, days: int = 5) -> tuple[Simulated, RateTable, tuple[str, ...]]:
    """The API, and what its closed days teach."""
    api = Simulated(world, now)
    counted = UsageReport(api, RateTable, lambda: None, betas=[SPEED_BETA]).usage_days(TODAY - days * DAY, TODAY)
    table, remarks = learn(CostReport(api).read(now, None).days, counted, RateTable())
    return api, table, remarks


def estimate(api: Simulated, table: RateTable, now: datetime) -> Report:
    return UsageReport(api, lambda: table, lambda: midnight(now.date() - DAY), betas=[SPEED_BETA]).read(now, None)


def counted_lines(day: CostDay) -> Mapping[Dimensions, Decimal]:
    return {line: amount for line, amount in day.lines.items() if line.cost_type not in UNCOUNTED}


def bill_of(api: Simulated, day: date) -> Mapping[Dimensions, Decimal]:
    api.now = midnight(day + 2 * DAY)
    found = {each.day: each for each in CostReport(api).read(api.now, None).days}
    return counted_lines(found[day])


@pytest.mark.parametrize("discount", ["0.92", "0.87"])
def test_a_day_is_estimated_to_the_last_decimal_of_its_bill(discount: str) -> None:
    now = datetime(2026, 11, 18, 14, 31, 5, tzinfo=UTC)
    world = replace(worlds.standard(seed=3), discount=Decimal(discount))
    api, table, remarks = both(world, now)
    assert {rate.origin for rate in table.learned.values()} == {Origin.LEARNED}
    assert not [remark for remark in remarks if "awaited" in remark]
    api.now = end = midnight(TODAY + DAY) + timedelta(minutes=30)
    report = estimate(api, table, end)
    assert report.days[0].complete
    assert report.days[0].lines == bill_of(api, TODAY)
    kinds = {(line.service_tier, line.speed, line.context_window, line.inference_geo) for line in report.days[0].lines}
    assert {("batch", "standard"), ("standard", "fast")} <= {kind[:2] for kind in kinds}
    assert {"200k-1M", "us"} <= {value for kind in kinds for value in kind}
    assert any(line.cost_type == "web_search" for line in report.days[0].lines)


def test_what_nobody_knows_is_unpriced_and_the_rest_is_right() -> None:
    now = datetime(2026, 11, 18, 14, 31, 5, tzinfo=UTC)
    api, _, _ = both(worlds.unfamiliar(), now)
    report = estimate(api, RateTable(), now)
    assert report.unpriced
    assert any("Priority Tier" in remark for remark in report.remarks)
    assert any("no price is known" in remark or "priced like" in remark for remark in report.remarks)


def test_new_kinds_on_the_bill_are_learned_like_any_other() -> None:
    now = datetime(2026, 11, 18, 14, 31, 5, tzinfo=UTC)
    api, table, _ = both(worlds.unfamiliar(), now)
    api.now = end = midnight(TODAY + DAY) + timedelta(minutes=30)
    report = estimate(api, table, end)
    assert report.unpriced == {}
    assert report.days[0].lines == bill_of(api, TODAY)
