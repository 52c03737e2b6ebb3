"""The heartbeat of a running daemon: heard after a whole good pass, silent while budgetd is blind, heard again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from budgetd import clock
from budgetd.period import DAY
from tests.faulty_server import FaultyServer, answer, error
from tests.living import Bill, Hook, Place, until
from tests.test_refuge import running

pytestmark = pytest.mark.network


def test_the_heartbeat_stops_while_budgetd_is_blind_and_resumes(tmp_path: Path) -> None:
    with Bill(today=clock.now().date()) as bill, Hook() as hook, FaultyServer([answer({})]) as listening:
        bill.spend(bill.today - DAY, "10000")
        more = {
            "BUDGETD_SOURCE": "cost_report",
            "BUDGETD_POLL_EVERY": "1s",
            "BUDGETD_HEARTBEAT_URL": f"{listening.url}/ping",
        }
        place = Place(tmp_path / "installed", bill.url, more=more)
        place.write({"audit": hook.url()}, ["{id: company, type: cap, limit: 1000, per: month}"])
        with running(place):
            until(lambda: len(listening.requests) > 1, 20)
            bill.faults = [error(400, "invalid_request_error", "no")]
            until(lambda: hook.told, 20)
            heard = len(listening.requests)
            threading.Event().wait(2)
            assert len(listening.requests) == heard
        bill.faults = []
        with running(place):
            until(lambda: len(listening.requests) > heard, 20)
            until(lambda: len(hook.told) > 1, 20)
        assert [reason for reason, _ in hook.told] == ["blind", "recovered"]
