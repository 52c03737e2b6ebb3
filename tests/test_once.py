"""`budgetd once` under every fault of the cost API: exit code 1, one line that says what is wrong, nothing lost."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from budgetd.commands import wiring
from budgetd.http import Api, Bounds
from budgetd.lifecycle import is_of_rule
from budgetd.model import Reason, State
from budgetd.simulator import worlds
from budgetd.simulator.clocks import FixedClock
from budgetd.simulator.faults import Fault, FaultScript
from budgetd.simulator.server import SimulatedServer, serve
from tests.api_faults import AT, NOW, REFUSED, TAKEN, Played
from tests.certificates import certified, trusted
from tests.cost_client import ECHOES, KEY
from tests.cost_pages import TODAY
from tests.faulty_server import FaultyServer, closed_port, unanswered_port
from tests.living import Bill, Hook, Place, Ran, here

pytestmark = pytest.mark.network

RULES = [
    "{id: company, type: cap, limit: 500, per: month}",
    "{id: each, type: cap, limit: 100, per: month, for_each: workspace}",
]


@dataclass
class Scene:
    """An installation with a state, the simulated API that it reads, and the hook that it tells."""

    place: Place
    api: SimulatedServer
    hook: Hook
    capfd: pytest.CaptureFixture[str]

    def once(self, *words: str) -> Ran:
        return here(self.capfd, "once", "--at", AT, *words)


@pytest.fixture(scope="module")
def api() -> Iterator[SimulatedServer]:
    with serve(worlds.standard(around=NOW.date()), clock=FixedClock(NOW), faults=FaultScript(), key=KEY) as server:
        yield server


@pytest.fixture(scope="module")
def installed(api: SimulatedServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which one good pass was made, and the address that its messages go to."""
    place = Place(tmp_path_factory.mktemp("once") / "installed", api.url)
    with Hook() as hook:
        place.write({"audit": hook.url()}, RULES)
        ran = place.run("once", "--at", AT)
        assert (ran.code, ran.err) == (0, "")
        assert {reason for reason, _ in hook.told} == {"baseline"}
    return place.folder, hook.url()


@pytest.fixture
def scene(
    installed: tuple[Path, str],
    api: SimulatedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Scene]:
    """A copy of it, in this process and in a hurry: pauses are not made, and a request may take 0.4 s."""
    hurried = partial(Api, bounds=Bounds(request_seconds=0.4, attempts=2), sleep=lambda _: None)
    monkeypatch.setattr(wiring, "Api", hurried)
    folder, address = installed
    place = Place(Path(shutil.copytree(folder, tmp_path / "installed")), api.url)
    with Hook() as hook:
        place.rules.write_text(place.rules.read_text().replace(address, hook.url()))
        place.use(monkeypatch)
        yield Scene(place, api, hook, capfd)
    api.faults.set()


def facts(place: Place) -> dict[str, Any]:
    """All that is known of spend and decided about it; not how the source is doing."""
    with place.state() as state:
        memory = state.recall()
        days = sorted(state.known_days())
        incidents = [incident for incident in state.incidents() if is_of_rule(incident)]
        return {
            "days": list(state.cost_days(days[0], days[-1] + timedelta(days=1))) if days else [],
            "through": memory.through,
            "rules": memory.rules,
            "organisation": memory.organisation,
            "workspaces": memory.workspaces,
            "incidents": incidents,
            "notices": [notice for incident in incidents for notice in state.notices(incident.id)],
            "told": {incident.id: memory.told.get(incident.id) for incident in incidents},
        }


def fails(scene: Scene, words: str, once: Callable[[], Ran]) -> Ran:
    """The failed pass, after everything that holds for all of them."""
    before = facts(scene.place)
    assert before["days"]
    assert before["incidents"]
    ran = once()
    assert ran.code == 1, ran
    (line,) = ran.err.splitlines()
    assert line.startswith("budgetd: ")
    assert words in line
    assert line.isprintable()
    assert len(line) < 700
    assert ran.out == ""
    assert facts(scene.place) == before
    assert {reason for reason, _ in scene.hook.told} <= {"blind", "refused"}
    with scene.place.state() as state:
        (health,) = state.recall().health.values()
    assert (health.failures, health.last_good) == (1, NOW)
    return ran


# --- faults in the answer ----------------------------------------------------------------------


@pytest.mark.parametrize("played", REFUSED, ids=[played.name for played in REFUSED])
def test_once_says_what_is_wrong_with_the_answer_and_keeps_what_is_known(played: Played, scene: Scene) -> None:
    scene.api.faults.set(played.fault)
    fails(scene, played.words, scene.once)


@pytest.mark.parametrize("played", TAKEN, ids=[played.name for played in TAKEN])
def test_once_takes_an_odd_answer_that_can_be_used(played: Played, scene: Scene) -> None:
    scene.api.faults.set(played.fault)
    ran = scene.once()
    assert ran.code == 0
    assert (played.words in ran.err) if played.words else (ran.err == "")
    assert [reason for reason, _ in scene.hook.told] == ["contract_drift"] * ("cost_type" in played.name)


@pytest.mark.parametrize("played", [played for played in TAKEN if played.words], ids=lambda played: played.name)
def test_once_remarks_on_an_odd_answer_in_a_rehearsal(played: Played, scene: Scene) -> None:
    scene.api.faults.set(played.fault)
    ran = scene.once("--dry-run")
    assert ran.code == 0
    assert played.words in ran.err


_NAMES = ["fault 10: 400", "fault 11: 401", "fault 12: 404", "fault 24: without=amount", "fault 40: gap"]
REAL = [played for played in REFUSED if played.name in _NAMES]


@pytest.mark.parametrize("played", REAL, ids=[played.name for played in REAL])
def test_once_as_a_process_of_its_own_ends_in_one_line_and_no_traceback(played: Played, scene: Scene) -> None:
    scene.api.faults.set(played.fault)
    fails(scene, played.words, lambda: scene.place.run("once", "--at", AT))


@pytest.mark.parametrize("number", range(len(ECHOES)))
def test_once_shows_the_key_to_nobody_when_the_answer_repeats_it(
    number: int, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Bill() as bill:
        with scene.place.state() as state:
            pinned = state.recall().organisation
        assert pinned is not None
        bill.organisation = {"id": pinned.id, "name": pinned.name}
        bill.faults = [ECHOES[number][0]]
        monkeypatch.setenv("BUDGETD_API_URL", bill.url)
        ran = scene.once()
    assert ran.code == 1
    assert "CANARY" not in ran.out + ran.err


def test_a_rehearsal_that_fails_says_so_and_leaves_no_trace(scene: Scene) -> None:
    scene.api.faults.set(REFUSED[-1].fault)
    before = scene.place.database.read_bytes()
    ran = scene.once("--dry-run")
    assert (ran.code, ran.out) == (1, "")
    assert "encoded as gzip" in ran.err
    assert scene.place.database.read_bytes() == before


def test_faults_10_and_11_are_told_at_once_and_once(scene: Scene) -> None:
    for number, text in ((10, "400"), (11, "401")):
        (played,) = (played for played in REFUSED if played.name == f"fault {number}: {text}")
        scene.api.faults.set(played.fault)
        assert scene.once().code == 1
    assert [reason for reason, _ in scene.hook.told] == ["blind"]
    scene.api.faults.set()
    assert scene.once().code == 0
    assert [reason for reason, _ in scene.hook.told] == ["blind", "recovered"]


# --- faults on the way ---------------------------------------------------------------------------


def elsewhere(scene: Scene, monkeypatch: pytest.MonkeyPatch, url: str, words: str) -> None:
    monkeypatch.setenv("BUDGETD_API_URL", url)
    fails(scene, words, scene.once)


def test_fault_01_once_with_a_refused_connection(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_port() as port:
        elsewhere(scene, monkeypatch, f"http://127.0.0.1:{port}", "refused")


def test_fault_02_once_with_a_dropped_syn(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with unanswered_port() as port:
        elsewhere(scene, monkeypatch, f"http://127.0.0.1:{port}", "no connection within the time allowed")


def test_fault_18_once_with_a_redirect_to_a_host_that_waits_for_the_key(scene: Scene) -> None:
    with FaultyServer([]) as canary:
        scene.api.faults.set(Fault("redirect", f"{canary.url}/v1", path="cost_report"))
        fails(scene, "redirect to host localhost refused", scene.once)
    assert canary.connections == 0


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"expired": True}, "certificate has expired"),
        ({"name": "other.example.com"}, "Hostname mismatch"),
        ({"oldest": True}, "TLS:"),
    ],
)
def test_fault_47_once_with_a_host_that_cannot_prove_itself(
    made: dict[str, Any], words: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = certified(**made)
    monkeypatch.setenv("BUDGETD_CA_FILE", str(trusted(authority, scene.place.folder)))
    with FaultyServer([], tls=context) as server:
        elsewhere(scene, monkeypatch, server.url, words)


def test_fault_48_once_with_a_name_that_does_not_exist(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(scene, monkeypatch, "https://api.budgetd.invalid", "the name cannot be resolved")


def test_fault_49_once_uses_no_proxy_of_the_environment(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY")
    with FaultyServer([]) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert scene.once().code == 0
    assert proxy.connections == 0


@pytest.mark.parametrize("url", ["http://api.example.com", "http://192.0.2.1"])
def test_fault_50_once_sends_no_key_over_plain_http_to_another_machine(
    url: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = facts(scene.place)
    monkeypatch.setenv("BUDGETD_API_URL", url)
    ran = scene.once()
    assert (ran.code, len(ran.err.splitlines())) == (78, 1)
    assert "plain http" in ran.err
    assert facts(scene.place) == before


# --- figures that move ---------------------------------------------------------------------------


@contextlib.contextmanager
def billed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: Hook) -> Iterator[tuple[Bill, Place]]:
    with Bill(today=TODAY) as bill:
        place = Place(tmp_path / "installed", bill.url)
        place.write({"audit": hook.url()}, ["{id: company, type: cap, limit: 1000, per: month}"])
        place.use(monkeypatch)
        yield bill, place


def test_fault_41_once_keeps_a_restated_day_and_neither_resolves_at_once_nor_tells_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    day = date(2026, 11, 10)
    with Hook() as hook, billed(tmp_path, monkeypatch, hook) as (bill, place):
        for hour, cents in enumerate(["1000", "90000", "30000", "90000"], 10):
            bill.spend(day, cents)
            assert here(capfd, "once", "--at", f"2026-11-18T{hour}:00:00Z").code == 0
            with place.state() as state:
                (kept,) = state.cost_days(day, day + timedelta(days=1))
            assert sum(kept.lines.values()) == Decimal(cents) / 100
    assert hook.told == [("step_reached", "900.00")]


def test_fault_42_once_tells_late_data_of_a_closed_month_as_late_and_of_that_month(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Hook() as hook, billed(tmp_path, monkeypatch, hook) as (bill, place):
        assert here(capfd, "once", "--at", "2026-11-18T10:00:00Z").code == 0
        bill.today = date(2026, 12, 2)
        bill.spend(date(2026, 11, 30), "70000")
        assert here(capfd, "once", "--at", "2026-12-02T10:00:00Z").code == 0
        bill.spend(date(2026, 11, 30), "110000")
        assert here(capfd, "once", "--at", "2026-12-02T11:00:00Z").code == 0
        assert here(capfd, "once", "--at", "2026-12-02T12:00:00Z").code == 0
        with place.state() as state:
            assert [incident.state for incident in state.incidents()] == [State.RESOLVED]
    (post,) = hook.posts
    assert post.data["reason"] == Reason.LATE.value
    assert post.data["period"]["start"] == "2026-11-01T00:00:00Z"
    assert post.data["money"]["spent"] == "1100.00"


def test_fault_44_once_reads_cents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Hook() as hook, billed(tmp_path, monkeypatch, hook) as (bill, _):
        bill.spend(date(2026, 11, 10), "123456.00")
        assert here(capfd, "once", "--at", "2026-11-18T10:00:00Z").code == 0
    assert hook.told == [("baseline", "1234.56")]


def test_once_exits_1_while_a_message_waits_and_0_when_it_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Hook() as hook, billed(tmp_path, monkeypatch, hook) as (bill, _):
        hook.statuses = [500]
        bill.spend(date(2026, 11, 10), "123456.00")
        waiting = here(capfd, "once", "--at", "2026-11-18T10:00:00Z")
        taken = here(capfd, "once", "--at", "2026-11-18T11:00:00Z")
    assert (waiting.code, taken.code) == (1, 0)
    assert "1 message could not be delivered yet" in waiting.err
    assert hook.told == [("baseline", "1234.56")]
