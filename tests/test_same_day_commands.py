"""Same-day spend as people meet it: `budgetd once` in a process of its own, `status`, the setting that turns it on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from budgetd import clock
from budgetd.commands.run import _plan as plan_of
from budgetd.model import Basis
from budgetd.polling import PollingPlan
from budgetd.settings import Settings
from budgetd.simulator import worlds
from budgetd.simulator.clocks import FixedClock
from budgetd.simulator.faults import Fault
from budgetd.simulator.manners import Manners
from budgetd.simulator.organisation import World
from budgetd.simulator.server import SimulatedServer, serve
from budgetd.store import StoreError
from tests.cost_client import KEY
from tests.living import Hook, Place, running, until
from tests.same_day import at, scene, small, truth

pytestmark = pytest.mark.network

NOON = at("11-18T12:00")
RULES = [
    "{id: month, type: cap, limit: 5000, per: month}",
    "{id: day, type: cap, limit: 10, per: day, match: {workspace: Research}, steps: [100%]}",
]


@pytest.fixture
def api() -> Iterator[SimulatedServer]:
    """Of an organisation that has no analytics."""
    with serve(small(manners=Manners(analytics=403)), clock=FixedClock(NOON), key=KEY) as server:
        yield server


def moved(api: SimulatedServer, minutes: int) -> str:
    """The API's clock, so many minutes after noon, as `--at` has it."""
    assert isinstance(api.clock, FixedClock)
    api.clock.set(NOON + timedelta(minutes=minutes))
    return f"{api.clock():%Y-%m-%dT%H:%M:%SZ}"


def test_once_estimates_today_and_status_says_so(api: SimulatedServer, tmp_path: Path) -> None:
    with Hook() as hook:
        place = Place(tmp_path / "place", api.url, more={"BUDGETD_SOURCE": "auto"})
        place.write({"audit": hook.url()}, RULES)
        for minutes in (0, 1, 2):
            ran = place.run("once", "--at", moved(api, minutes))
            assert (ran.code, ran.err) == (0, ""), minutes
        assert "Data through 18 Nov 2026 11:58 UTC." in ran.out
        ran = place.run("once", "--at", moved(api, 480))
        assert (ran.code, ran.err) == (0, "")
        reason, spent = hook.told[-1]
        alert = hook.accepted[-1].data
        assert (reason, alert["rule"]["id"], alert["money"]["basis"]) == ("step_reached", "day", "estimated")
        assert alert["data_through"] == "2026-11-18T19:56:00Z"
    with place.state() as state:
        days = {day.day: day for day in state.cost_days(NOON.date(), NOON.date() + timedelta(days=1))}
    now = NOON + timedelta(hours=8)
    seen = now - timedelta(minutes=4)
    assert sum(days[NOON.date()].lines.values()) == truth(small(), NOON.date(), now, seen, set())
    text = place.run("status").out
    assert "Data through 18 Nov 2026 19:56 UTC." in text
    assert "cap, November 2026, partly estimated" in text
    assert "cap, 18 Nov 2026, estimated" in text
    sources = " ".join(text.split("Sources\n")[1].split())
    assert all(f"{name} ok last read" in sources for name in ("cost_report", "usage_report"))
    assert "analytics not used HTTP 403: permission_error: Usage and cost analytics are not enabled" in sources
    assert "No next poll is planned." in sources
    document = json.loads(place.run("status", "--json").out)
    assert [rule["basis"] for rule in document["rules"]] == ["mixed", "estimated"]
    assert document["data_through"] == "2026-11-18T19:56:00Z"
    assert [(each["next_poll_at"], each["plan"], each["widened"]) for each in document["sources"]] == [(None,) * 3] * 3
    assert Decimal(spent) >= 10
    with place.state() as state:
        counted = state.requests(NOON.date())
    assert sum(count for days in counted.values() for count in days.values()) == len(api.exchanges)
    assert {source: set(days) for source, days in counted.items()} == {
        name: {NOON.date()} for name in ("analytics", "cost_report", "usage_report")
    }


def test_status_shows_the_estimate_of_a_closed_day_beside_its_bill(api: SimulatedServer, tmp_path: Path) -> None:
    with Hook() as hook:
        place = Place(tmp_path / "place", api.url, more={"BUDGETD_SOURCE": "auto"})
        place.write({"audit": hook.url()}, RULES)
        for minutes in (0, 1, 12 * 60 + 30):
            assert place.run("once", "--at", moved(api, minutes)).code == 0
        assert "Estimates" not in place.run("status").out, "the bill is not there yet"
        assert place.run("once", "--at", moved(api, 18 * 60)).code == 0
    (drift,) = json.loads(place.run("status", "--json").out)["drifts"]
    assert drift == {"day": "2026-11-18", "estimated": drift["billed"], "billed": drift["billed"]}
    shown = place.run("status").out.split("Estimates, and what was billed\n")[1]
    spent = f"${Decimal(drift['billed']):,.2f}"
    assert shown.split() == ["18", "Nov", "2026", spent, "estimated", spent, "billed", "exact"]


def test_a_daemon_says_when_it_polls_next_and_what_it_has_asked(tmp_path: Path) -> None:
    with serve(small(), clock=FixedClock(clock.now()), key=KEY) as api, Hook() as hook:
        place = Place(tmp_path / "place", api.url, more={"BUDGETD_SOURCE": "auto", "BUDGETD_LOG": "logfmt"})
        place.write({"audit": hook.url()}, RULES)
        with running(place):
            until(lambda: read_by(place) == {"analytics", "clock", "cost_report", "usage_report"}, 40)
            now = clock.now()
            page, document = place.run("status").out, json.loads(place.run("status", "--json").out)
            sent = Counter(last_word(each.request.path) for each in api.exchanges)
    known = {each["name"]: each for each in document["sources"]}
    bill, priced, use = (known[name] for name in ("cost_report", "analytics", "usage_report"))
    assert [use["plan"], use["interval_seconds"], use["widened"]] == ["every minute", 60, False]
    assert [priced["plan"], priced["interval_seconds"]] == ["every 5 minutes", 300]
    assert [bill["interval_seconds"] in (300, 3600), bill["widened"]] == [True, False]
    for each in (bill, priced, use):
        wait = datetime.fromisoformat(each["next_poll_at"]) - now
        assert (
            timedelta(seconds=each["interval_seconds"] - 30) < wait < timedelta(seconds=each["interval_seconds"] * 1.1)
        )
    asked = [each["requests_today"] + each["requests_yesterday"] for each in (bill, priced, use)]
    assert sum(asked) == sent.total()
    assert asked[2] >= sent["messages"] > 0
    assert asked[1] >= sent["cost"] > 0
    words = " ".join(page.split())
    assert "Hourly, every 5 minutes while yesterday's bill is due, next poll " in words
    assert "Every minute, next poll " in words
    assert f"{use['requests_today']} requests today, {use['requests_yesterday']} yesterday." in words
    after = " ".join(place.run("status").out.split())
    assert "Every minute, while a daemon runs. " in after


def read_by(place: Place) -> set[str]:
    """The sources that the state knows of by now."""
    if not place.database.exists():
        return set()
    with place.state() as state:
        return set(state.recall().health)


def last_word(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def test_each_source_has_a_plan_of_its_own_unless_the_operator_says_otherwise(tmp_path: Path) -> None:
    place = Place(tmp_path / "place", "http://127.0.0.1:1")
    usual = Settings.load(place.environment, place.folder)
    own = Settings.load({**place.environment, "BUDGETD_POLL_EVERY": "90s"}, place.folder)
    with scene(tmp_path / "state", small(), NOON, *RULES) as here:
        readers = (here.bill_reader, here.priced_reader, here.usage_reader)
        assert [plan_of(reader, usual) for reader in readers] == [
            PollingPlan(),
            PollingPlan(timedelta(minutes=5), after_refusal=timedelta(hours=1)),
            PollingPlan(timedelta(minutes=1), widest=timedelta(minutes=15)),
        ]
        assert [plan_of(reader, own).every for reader in readers] == [
            timedelta(seconds=90),
            timedelta(minutes=5),
            timedelta(seconds=90),
        ]


def planned(place: Place) -> dict[str, object]:
    """What the state holds of the next polls; nothing while it is being made."""
    try:
        with place.state() as state:
            return dict(state.planned())
    except StoreError:
        return {}


def test_where_the_analytics_answer_they_price_what_they_have(tmp_path: Path) -> None:
    with serve(worlds.standard(), clock=FixedClock(NOON), key=KEY) as api, Hook() as hook:
        place = Place(tmp_path / "place", api.url, more={"BUDGETD_SOURCE": "auto"})
        place.write({"audit": hook.url()}, RULES)
        for minutes in (0, 1, 30):
            ran = place.run("once", "--at", moved(api, minutes))
            assert (ran.code, ran.err) == (0, ""), minutes
        with place.state() as state:
            (day,) = state.cost_days(NOON.date(), NOON.date() + timedelta(days=1))
        assert (day.basis, day.complete) == (Basis.MIXED, False)
        assert {line.cost_type for line in day.lines} >= {"code_execution", "session_usage"}, "of the hours until noon"
        text = place.run("status").out
        assert "cap, 18 Nov 2026, partly estimated" in text
        assert "analytics  ok  last read 18 Nov" in text


def test_the_analytics_alone(tmp_path: Path) -> None:
    with serve(worlds.standard(), clock=FixedClock(NOON), key=KEY) as api, Hook() as hook:
        place = Place(tmp_path / "place", api.url, more={"BUDGETD_SOURCE": "analytics"})
        place.write({"audit": hook.url()}, RULES)
        for minutes in (0, 1, 245):
            ran = place.run("once", "--at", moved(api, minutes))
            assert (ran.code, ran.err) == (0, ""), minutes
        assert "Data through 18 Nov 2026 16:00 UTC." in ran.out
        asked = {last_word(each.request.path) for each in api.exchanges}
        assert asked == {"me", "workspaces", "cost"}
        document = json.loads(place.run("status", "--json").out)
        assert [rule["basis"] for rule in document["rules"]] == ["billed", "billed"]
        with place.state() as state:
            days = list(state.cost_days(NOON.date() - timedelta(days=17), NOON.date()))
        assert sum(sum(day.lines.values()) for day in days) == api_total(worlds.standard(), moved_by(245))


def moved_by(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


def api_total(world: World, now: datetime) -> Decimal:
    """What the closed days of the month are billed at."""
    return world.total(now.date().replace(day=1), now.date(), now)


def test_without_the_setting_nothing_asks_for_usage(api: SimulatedServer, tmp_path: Path) -> None:
    place = Place(tmp_path / "place", api.url)
    with Hook() as hook:
        place.write({"audit": hook.url()}, RULES)
        assert place.run("once", "--at", moved(api, 0)).code == 0
        place.more = {"BUDGETD_SOURCE": "cost_report"}
        assert place.run("once", "--at", moved(api, 1)).code == 0
        asked = {each.request.path.removeprefix("/v1/organizations/") for each in api.exchanges}
        assert asked == {"me", "workspaces", "cost_report"}
        with place.state() as state:
            assert set(state.recall().throughs) == {"cost_report"}
        place.more = {"BUDGETD_SOURCE": "auto"}
        assert place.run("once", "--at", moved(api, 2)).code == 0
    assert any("usage_report" in each.request.path for each in api.exchanges)


def test_status_says_what_is_blind_when_only_estimates_are(api: SimulatedServer, tmp_path: Path) -> None:
    with Hook() as hook:
        place = Place(tmp_path / "place", api.url, more={"BUDGETD_SOURCE": "auto"})
        place.write({"audit": hook.url()}, RULES)
        assert place.run("once", "--at", moved(api, 0)).code == 0
        api.faults.set(Fault("404", path="usage_report"))
        assert place.run("once", "--at", moved(api, 20)).code == 1
        api.faults.set()
    text = place.run("status").out
    assert "! CANNOT SEE SAME-DAY SPEND since 18 Nov 12:20 UTC" in text
    assert "Until then alerts wait for the bill." in " ".join(text.split())
