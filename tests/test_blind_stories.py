"""Every way of being blind, as a story: a warning, critical, a recovery, each once, and nothing else moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from budgetd.blind import BLIND_RULE, CRITICAL_AFTER, MOST_LAG, WARN_AFTER
from budgetd.lifecycle import is_of_rule
from budgetd.model import Failure, Notice
from budgetd.simulator.organisation import World
from tests.same_day import MINUTE, USAGE, Scene, at, scene, small
from tests.test_same_day import DAY_CAP, MONTH_CAP, runaway

EACH = "{id: each, type: cap, limit: 1, per: month, for_each: workspace, steps: [100%]}"
START = at("11-18T14:10")
BILL = "cost_report"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Scene]:
    """An installation that sees, and has an incident."""
    world = small().with_events(runaway("11-18T13:00", "400"))
    with scene(tmp_path, world, at("11-18T12:00"), DAY_CAP, EACH) as made:
        made.warm_up(at("11-18T12:30"))
        made.usage(START - MINUTE)
        made.bill(START - MINUTE)
        assert made.reasons("day") == ["step_reached"]
        assert made.is_well(START)
        made.notices.clear()
        yield made


@dataclass(frozen=True)
class Way:
    """A way of being blind: how it begins (`at` an instant), how it ends, and how long it takes to be told."""

    begin: Callable[[Scene, datetime], None]
    end: Callable[[Scene], None]
    failure: Failure
    source: str
    unseen: timedelta = timedelta(0)
    at_once: bool = False


def _failing(status: int, *parts: str) -> Callable[[Scene, datetime], None]:
    return lambda here, _: here.api.failing.update(dict.fromkeys(parts, status))


def _seeing(here: Scene) -> None:
    here.api.failing, here.api.frozen = {}, {}
    here.api.change = lambda _path, body: body
    here.api.skew = 1.5 if here.api.skew is not None else None


def _cut(here: Scene, _now: datetime) -> None:
    """More pages are announced, and the way to them is missing."""

    def without_cursor(path: str, body: bytes) -> bytes:
        return json.dumps({**json.loads(body), "has_more": True, "next_page": None}).encode() if BILL in path else body

    here.api.change = without_cursor


def _frozen(part: str) -> Callable[[Scene, datetime], None]:
    return lambda here, now: here.api.frozen.update({part: now})


def _skewed(here: Scene, _now: datetime) -> None:
    here.api.skew = 301.0


WAYS = {
    "the bill is unreachable": Way(_failing(503, BILL), _seeing, Failure.UNAVAILABLE, BILL),
    "use is unreachable": Way(_failing(500, USAGE), _seeing, Failure.UNAVAILABLE, USAGE),
    "the key is refused": Way(_failing(401, BILL, USAGE), _seeing, Failure.REFUSED, USAGE, at_once=True),
    "pages are missing": Way(_cut, _seeing, Failure.UNREADABLE, BILL),
    "use stopped moving": Way(_frozen(USAGE), _seeing, Failure.STALLED, USAGE, MOST_LAG[USAGE] - 4 * MINUTE),
    "the clock is off": Way(_skewed, _seeing, Failure.SKEWED, "clock"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_each_way_of_being_blind_is_a_warning_then_critical_then_one_recovery(here: Scene, way: Way) -> None:
    now, heard, before = START, [], _incidents(here)
    way.begin(here, now)
    while now < START + way.unseen + CRITICAL_AFTER + 30 * MINUTE:
        now += 5 * MINUTE
        here.usage(now)
        here.bill(now)
        heard.append(here.is_well(now))
        if len(heard) == 15:
            here.start(now)
    told = _told(here)
    assert [each[:2] for each in told] == [("trigger", "warning"), ("trigger", "critical")]
    first = START + way.unseen + (0 if way.at_once else 1) * WARN_AFTER
    assert first <= told[0][2] <= first + 11 * MINUTE
    assert timedelta(0) <= told[1][2] - START - way.unseen - CRITICAL_AFTER <= 11 * MINUTE
    assert {notice.facts.scope[0].id for notice in here.notices} == {way.source}
    assert here.store.recall().health[way.source].failure is way.failure
    assert _incidents(here) == before
    assert True not in heard[int(way.unseen / (5 * MINUTE)) + 1 :], "the heartbeat has stopped"
    way.end(here)
    for _ in range(4):
        now += 5 * MINUTE
        here.usage(now)
        here.bill(now)
    assert [each[:2] for each in _told(here)[2:]] == [("resolve", "critical")]
    assert _incidents(here) == before
    assert here.is_well(now)


def _told(here: Scene) -> list[tuple[str, str, datetime]]:
    assert {notice.facts.rule for notice in here.notices} <= {BLIND_RULE}
    return [(each.kind.value, each.severity.value, each.created_at) for each in here.notices]


def _incidents(here: Scene) -> dict[str, object]:
    """What rules have found; spend that goes on is no other state."""
    found = [each for each in here.store.incidents() if is_of_rule(each)]
    assert len(found) == 3
    return {each.id: (each.state, each.announced, each.severity, each.sequence, each.opened_at) for each in found}


def test_a_whole_api_that_is_down_is_one_trouble(here: Scene) -> None:
    """It is told by the source that is read most often, and what is not seen is all there is."""
    here.api.failing = {"v1": 503}
    now = _poll(here, START, 35)
    assert [each.facts.scope[0].id for each in here.notices] == [USAGE, USAGE]
    assert {each.title for each in here.channel.messages[-2:]} == {
        "budgetd cannot see spend since 18 Nov 2026 14:09 UTC"
    }
    here.api.failing = {}
    _poll(here, now, 2)
    assert here.reasons() == ["blind", "blind", "recovered"]


def test_a_bill_that_stays_away_when_the_rest_is_back_speaks_for_itself(here: Scene) -> None:
    here.api.failing = {"v1": 503}
    now = _poll(here, START, 10)
    here.api.failing = {BILL: 503}
    now = _poll(here, now, 2)
    assert [each.facts.scope[0].id for each in here.notices] == [USAGE, USAGE, BILL]
    assert here.channel.messages[-1].title == "budgetd cannot read the bill since 18 Nov 2026 14:09 UTC"
    assert "Limits are still watched, by estimates" in here.channel.messages[-1].body
    here.api.failing = {}
    _poll(here, now, 2)
    assert here.reasons() == ["blind", "recovered", "blind", "recovered"]


def _poll(here: Scene, start: datetime, times: int) -> datetime:
    now = start
    for _ in range(times):
        now += 5 * MINUTE
        here.usage(now)
        here.bill(now)
    return now


# --- stopped moving --------------------------------------------------------------------------------


def test_a_bill_that_stopped_moving_is_told_when_the_day_before_yesterday_is_lacking(here: Scene) -> None:
    now, before = at("11-19T12:00"), {}
    here.api.frozen = {BILL: START}  # the 17th is there
    while now < at("11-20T03:30"):
        now += timedelta(minutes=20)
        here.usage(now)
        here.bill(now)
        assert here.reasons(BLIND_RULE) == [] or now > at("11-20T00:15")
        before = before or (_incidents(here) if now > at("11-20T00:15") else {})
    told = [each for each in here.notices if each.facts.rule == BLIND_RULE]
    assert [each.severity.value for each in told] == ["warning", "critical"]
    assert told[0].facts.data_through == at("11-18T00:00")
    assert told[0].facts.text == "the cost report answers, but has had nothing newer than 18 Nov 2026 00:00 UTC"
    assert _incidents(here) == before
    assert not here.is_well(now)
    here.api.frozen = {}
    here.bill(now := at("11-20T09:00"))
    here.usage(now)
    assert here.reasons(BLIND_RULE)[2:] == ["recovered"]
    assert here.is_well(now)


def test_the_data_of_a_source_that_stopped_moving_still_counts(tmp_path: Path) -> None:
    world = small().with_events(runaway("11-18T13:00", "400"))
    with scene(tmp_path, world, at("11-18T12:00"), DAY_CAP) as here:
        here.warm_up(at("11-18T12:30"))
        here.api.frozen = {USAGE: at("11-18T14:10")}
        here.usage(at("11-18T14:50"))
        assert here.reasons() == ["step_reached"]
        health = here.store.recall().health[USAGE]
        assert (health.failure, health.last_good) == (Failure.STALLED, at("11-18T14:06"))


def test_what_is_said_of_a_source_that_stopped_moving(here: Scene) -> None:
    here.api.frozen = {USAGE: START}
    _poll(here, START, 8)
    (message,) = here.channel.messages[-1:]
    assert message.title == "budgetd cannot see same-day spend since 18 Nov 2026 14:06 UTC"
    assert "the usage report answers, but has had nothing newer than 18 Nov 2026 14:06 UTC." in message.body


# --- the clock -------------------------------------------------------------------------------------


def test_what_is_said_of_the_clock(here: Scene) -> None:
    here.api.skew = 301.0
    now = _poll(here, START, 5)
    title = "budgetd cannot trust this machine's clock: it is 5 minutes behind the API's"
    assert here.channel.messages[-1].title == title
    here.api.skew = 0.0
    _poll(here, now, 2)
    assert here.channel.messages[-1].title == "budgetd trusts this machine's clock again"


def test_a_clock_that_is_ahead_is_not_blamed_on_the_sources(here: Scene) -> None:
    here.api.skew = -1800.0
    for number in range(1, 7):
        now = START + 5 * MINUTE * number
        here.api.now = now  # what the API has; our clock shows half an hour more
        observed = here.observed_usage(now + 30 * MINUTE)
        here.notices += here.evaluator.take(observed, now + 30 * MINUTE).notices
    assert {each.facts.scope[0].id for each in here.notices} == {"clock"}
    assert "30 minutes ahead of the API's" in here.notices[0].facts.text


# --- the contract ----------------------------------------------------------------------------------


def _rewritten(part: str, change: Callable[[dict[str, object]], object]) -> Callable[[str, bytes], bytes]:
    def rewrite(path: str, body: bytes) -> bytes:
        page = json.loads(body)
        for bucket in page["data"] if part in path else ():
            for row in bucket["results"]:
                change(row)
        return json.dumps(page, separators=(",", ":")).encode()

    return rewrite


def _drift(here: Scene) -> list[Notice]:
    return [each for each in here.notices if each.reason.value == "contract_drift"]


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        (BILL, lambda row: row.update(cost_type="gpu_time"), ['cost_type that budgetd does not know: "gpu_time"']),
        (BILL, lambda row: row.update(token_type="thoughts"), ['token_type that budgetd does not know: "thoughts"']),
        (BILL, lambda row: row.pop("workspace_id"), ["without a workspace_id"]),
        (BILL, lambda row: row.pop("cost_type"), ["without a cost_type"]),
        (BILL, lambda row: row.update(model=None), ["tokens without a model"]),
        (BILL, lambda row: row.pop("token_type"), ["tokens without a token_type"]),
        (USAGE, lambda row: row.pop("workspace_id"), ["the usage report has rows without a workspace_id"]),
        (USAGE, lambda row: row.update(model=None), ["the usage report has tokens without a model"]),
        (
            BILL,
            lambda row: (row.pop("workspace_id"), row.update(cost_type="gpu_time")),
            ["does not know", "without a workspace_id"],
        ),
    ],
)
def test_a_departure_from_the_contract_is_told_once_also_after_a_restart_and_counts(
    tmp_path: Path, part: str, change: Callable[[dict[str, object]], object], words: list[str]
) -> None:
    with scene(tmp_path, small(), at("11-18T12:00"), MONTH_CAP, EACH) as here:
        here.warm_up(at("11-18T12:30"))
        kept = here.kept(at("11-01T00:00").date(), at("11-18T00:00").date())
        here.api.change = _rewritten("usage_report" if part == USAGE else part, change)
        now = _poll(here, at("11-18T12:30"), 3)
        said = sorted(each.facts.text for each in _drift(here))
        assert len(said) == len(words)
        assert all(word in text for word, text in zip(words, said, strict=True))
        assert len({each.created_at for each in _drift(here)}) == 1, "one message"
        assert here.kept(at("11-01T00:00").date(), at("11-18T00:00").date()) == kept
        here.start(now)
        _poll(here, now, 2)
        assert len(_drift(here)) == len(words), "told once"


def test_a_workspace_that_is_not_told_is_not_the_default_one(tmp_path: Path) -> None:
    with scene(tmp_path, small(), at("11-18T12:00"), EACH) as here:
        here.api.change = _rewritten("report", lambda row: row.pop("workspace_id"))
        _poll(here, at("11-18T12:30"), 2)
        days = here.days(at("11-01T00:00").date(), at("11-19T00:00").date())
        assert {line.workspace for day in days for line in day.lines} == {None}
        assert {each.facts.scope[0].name for each in here.notices if each.facts.rule == "each"} == {"not grouped"}


# --- another organisation's key ----------------------------------------------------------------------


def other(world: World) -> World:
    """Another organisation, of the same spend and more."""
    return replace(world, id="11111111-2222-4333-8444-555555555555", name="Another Company")


def test_the_key_of_another_organisation_mixes_nothing_and_is_told_at_once(here: Scene) -> None:
    days = (at("11-01T00:00").date(), at("11-19T00:00").date())
    before, kept, own = _incidents(here), here.days(*days), here.api.world
    here.api.become(other(small(research=9_000)))
    here.key = 2
    now = _poll(here, START, 30)
    assert here.reasons() == ["refused", "refused"]
    assert "belongs to organisation Another Company" in here.notices[0].facts.text
    assert (_incidents(here), here.days(*days)) == (before, kept)
    assert here.store.recall().health[BILL].failure is Failure.FOREIGN
    here.api.become(own)
    here.key = 3
    now = _poll(here, now, 1)
    assert here.reasons() == ["refused", "refused", "recovered"]
    assert here.is_well(now)


def test_a_key_that_is_changed_while_it_is_in_use_brings_nothing(here: Scene) -> None:
    own, answers = here.api.world, 0

    def swapped(path: str, body: bytes) -> bytes:
        nonlocal answers
        if "report" in path and answers == 0:
            answers += 1
            here.api.become(other(own))
            here.key = 2
        return body

    here.api.change = swapped
    ticked = here.bill(START + MINUTE)
    assert ticked.observation.error is not None
    assert ticked.observation.error.failure is Failure.FOREIGN
    assert ticked.changes.cost_days == ()
