"""A key of another organisation at a start: people are told, nothing is mixed, and the process ends with 78."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from budgetd import clock
from budgetd.period import DAY
from tests.living import Bill, Hook, Place

pytestmark = pytest.mark.network

ANOTHER = {"id": "org_2", "name": "Another Company", "type": "organization"}
RULE = "{id: company, type: cap, limit: 1000, per: month}"


@pytest.fixture
def bill() -> Iterator[Bill]:
    """Bills as of today, as the process reads the machine's clock."""
    with Bill(today=clock.now().date()) as server:
        server.spend(server.today - DAY, "10000")
        yield server


@pytest.fixture
def place(tmp_path: Path, bill: Bill, hook: Hook) -> Place:
    """An installation that has read its own bill once; then the key is another organisation's."""
    made = Place(tmp_path / "installed", bill.url, more={"BUDGETD_SOURCE": "cost_report"})
    made.write({"audit": hook.url()}, [RULE])
    ran = made.run("once")
    assert (ran.code, ran.err) == (0, "")
    bill.organisation = ANOTHER
    bill.spend(bill.today - DAY, "99000000")
    return made


def kept(place: Place, day: date) -> list[str]:
    with place.state() as state:
        return [str(amount) for each in state.cost_days(day, day + DAY) for amount in each.lines.values()]


def test_run_tells_people_and_ends_with_78(place: Place, bill: Bill, hook: Hook) -> None:
    before = kept(place, bill.today - DAY)
    ran = place.run("run")
    assert ran.code == 78, ran.err
    assert "budgetd: cannot see spend: the admin key belongs to organisation Another Company (org_2)" in ran.err
    assert [reason for reason, _ in hook.told] == ["refused"]
    assert "but the state is that of Example Company (org_1)" in hook.posts[0].data["text"]
    assert kept(place, bill.today - DAY) == before
    again = place.run("run")
    assert (again.code, len(hook.posts)) == (78, 1), "told once, however often it is started"


@pytest.mark.slow
def test_run_ends_though_nobody_can_be_told(place: Place, hook: Hook) -> None:
    hook.otherwise = 503
    began = clock.monotonic()
    ran = place.run("run")
    assert ran.code == 78
    assert 25 < clock.monotonic() - began < 40
    with place.state() as state:
        (left,) = state.recall().outbox
    assert [notice.reason.value for notice in left.notices] == ["refused"], "it is kept for the next start"


def test_once_tells_people_and_ends_with_78(place: Place, hook: Hook) -> None:
    rehearsed = place.run("once", "--dry-run")
    assert (rehearsed.code, hook.posts) == (78, [])
    ran = place.run("once")
    assert ran.code == 78
    assert "the admin key belongs to organisation Another Company (org_2)" in ran.err
    assert [reason for reason, _ in hook.told] == ["refused"]
