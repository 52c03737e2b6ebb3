"""What people do to alerts: silence, acknowledge, resolve; reminders and quiet times. Through the real state."""

from __future__ import annotations

import json
import socket
import stat
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from budgetd.desk import Ask, Desk, DeskError
from budgetd.message import Message
from budgetd.model import Act, Match, Outcome, Receipt, SilenceEnd, State
from tests.cost_pages import NOW
from tests.living import Bill, Hook, Life, Place, here, living, running, until

pytestmark = pytest.mark.network

HOUR = timedelta(hours=1)
DAY = date(2026, 11, 10)
COMPANY = "{id: company, type: cap, limit: 1000, per: month, steps: [80%, 100%, 120%]}"
CRITICAL = "{id: company, type: cap, limit: 1000, per: month, steps: [80%, 100%, 120%], severity: critical}"


@pytest.fixture
def place(tmp_path: Path, bill: Bill, hook: Hook) -> Place:
    return installed(tmp_path, bill, hook, COMPANY)


def installed(tmp_path: Path, bill: Bill, hook: Hook, rule: str, *more: str) -> Place:
    """One cap, one web hook, and a first poll that found nothing to tell."""
    made = Place(tmp_path / "installed", bill.url)
    made.write({"audit": hook.url()}, [rule], *more)
    bill.spend(DAY, "10000.00")
    with living(made) as life:
        life.poll(NOW)
    assert hook.posts == []
    return made


def asked(life: Life, act: Act, now: datetime, subject: str = "", comment: str = "", **more: Any) -> str:
    return Desk(life.store, life.evaluator).do(Ask(act, "alice", comment, subject, **more), now)


def silence(life: Life, now: datetime, match: Match, hours: int = 2, comment: str = "load test") -> str:
    return asked(life, Act.SILENCE, now, comment=comment, match=match, lasts=HOUR * hours)


def said(hook: Hook) -> list[tuple[str, str]]:
    """The reason and the state of every alert that the hook was sent."""
    return [(each["reason"], each["state"]) for each in alerts(hook)]


def alerts(hook: Hook) -> list[dict[str, Any]]:
    every = [json.loads(post.body)["data"] for post in hook.posts]
    # The bill of these tests stands still, which is told, too.
    return [each for each in every if each.get("rule", {}).get("id") == "company"]


def the_incident(life: Life) -> str:
    (incident,) = life.store.incidents()
    return incident.id


EVERYTHING: Match = (("rule", ("*",)),)
REACHED = ("step_reached", "firing")


# --- silences ----------------------------------------------------------------------------------


def test_what_is_silenced_is_told_once_at_the_end_with_who_and_why(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        silence(life, NOW + HOUR, (("rule", ("comp*",)),))
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        bill.spend(DAY, "105000.00")
        life.poll(NOW + HOUR * 2)
        assert hook.posts == [], "kept back, and evaluated all the same"
    with living(place, NOW + HOUR * 2.5) as life:
        life.poll(NOW + HOUR * 2.5)
        assert hook.posts == []
        life.poll(NOW + HOUR * 3)
        life.poll(NOW + HOUR * 4)
    (told,) = alerts(hook)
    assert (told["reason"], told["money"]["spent"]) == ("step_reached", "1050.00")
    assert told["because"].startswith("Held back until ")
    assert "by a silence by alice (load test)" in told["because"]


def test_whoever_was_told_before_the_silence_is_told_the_end_in_it(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        silence(life, NOW + HOUR, EVERYTHING)
        bill.spend(DAY, "10000.00")
        life.poll(NOW + HOUR * 1.5)
        life.poll(NOW + HOUR * 2)
    assert said(hook) == [REACHED, ("restated", "resolved")]


def test_what_began_and_ended_in_a_silence_is_told_to_nobody(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        silence(life, NOW + HOUR, EVERYTHING)
        for hours, cents in ((1, "85000.00"), (1.4, "10000.00"), (1.6, "10000.00"), (3, "10000.00")):
            bill.spend(DAY, cents)
            life.poll(NOW + HOUR * hours)
        assert [each.state for each in life.store.incidents()] == [State.RESOLVED]
    assert hook.posts == []


def test_a_silence_that_is_ended_lets_go_at_once(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        silence(life, NOW + HOUR, EVERYTHING, hours=48)
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        (known,) = life.store.silences()
        assert asked(life, Act.END_SILENCE, NOW + HOUR * 2, known.id[:10]).startswith("Ended: rule=*")
        with pytest.raises(DeskError, match="over already"):
            asked(life, Act.END_SILENCE, NOW + HOUR * 2, known.id)
        life.poll(NOW + HOUR * 2)
    assert said(hook) == [REACHED]


def test_one_that_others_do_not_match_keeps_back_nothing(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        silence(life, NOW + HOUR, (("rule", ("company",)), ("severity", ("critical",))))
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
    assert said(hook) == [REACHED]


def test_one_until_the_next_step_ends_with_it(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        with pytest.raises(DeskError, match="nothing is firing that this matches"):
            asked(life, Act.SILENCE, NOW, match=EVERYTHING, until=SilenceEnd.NEXT_STEP)
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        asked(life, Act.SILENCE, NOW + HOUR, match=EVERYTHING, until=SilenceEnd.NEXT_STEP)
        bill.spend(DAY, "95000.00")
        life.poll(NOW + HOUR * 30)
        assert said(hook) == [REACHED], "no reminder"
        bill.spend(DAY, "101000.00")
        life.poll(NOW + HOUR * 31)
    assert said(hook) == [REACHED, REACHED]


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ((), "say what to silence"),
        ((("rule", ("compny",)),), r"there is no rule 'compny'; did you mean 'company'"),
        ((("workspace", ("Reserch",)),), r"no workspace 'Reserch'; did you mean 'Research'"),
        ((("severity", ("high",)),), "no severity 'high'"),
        ((("incident", ("inc_123456",)),), "no incident begins with"),
        ((("incident", ("inc_1",)),), "too short"),
        ((("shape", ("round",)),), "'shape' is nothing to match by"),
    ],
)
def test_a_silence_that_could_only_be_a_mistake_is_refused(place: Place, match: Match, message: str) -> None:
    with living(place) as life:
        with pytest.raises(DeskError, match=message):
            silence(life, NOW, match)
        assert life.store.silences() == ()


# --- acknowledged, resolved, reminded ----------------------------------------------------------


def test_who_has_it_is_told_and_the_next_step_breaks_through(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        assert "Told: audit." in asked(life, Act.ACKNOWLEDGE, NOW + HOUR, the_incident(life)[:9], "on it")
        with pytest.raises(DeskError, match="acknowledged already"):
            asked(life, Act.ACKNOWLEDGE, NOW + HOUR, the_incident(life))
        bill.spend(DAY, "95000.00")
        life.poll(NOW + HOUR * 30)
        assert said(hook) == [REACHED, ("acknowledged", "acknowledged")]
        assert alerts(hook)[1]["by_hand"] == {"author": "alice", "comment": "on it"}
        bill.spend(DAY, "105000.00")
        life.poll(NOW + HOUR * 31)
        (incident,) = life.store.incidents()
        assert incident.acknowledged is None
    assert said(hook)[2:] == [REACHED]


def test_a_warning_is_repeated_daily_while_it_moves_and_nobody_has_it(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        for hours in (13, 26, 49):
            life.poll(NOW + HOUR * hours)
        assert said(hook) == [REACHED], "nothing has moved"
        bill.spend(DAY, "88000.00")
        life.poll(NOW + HOUR * 50)
        life.poll(NOW + HOUR * 51)
        bill.spend(DAY, "91000.00")
        life.poll(NOW + HOUR * 60)
        life.poll(NOW + HOUR * 74)
    assert said(hook) == [REACHED, ("reminder", "firing"), ("reminder", "firing")]
    assert [each["money"]["spent"] for each in alerts(hook)] == ["850.00", "880.00", "910.00"]
    assert alerts(hook)[1]["title"].startswith("Still so: ")


def test_what_is_critical_is_repeated_after_4_then_12_hours(tmp_path: Path, bill: Bill, hook: Hook) -> None:
    place = installed(tmp_path, bill, hook, CRITICAL)
    with living(place) as life:
        for hours in range(1, 48):
            bill.spend(DAY, f"{85000 + hours * 300}.00")
            life.poll(NOW + HOUR * hours)
    told = [datetime.fromisoformat(each["sent_at"]) - NOW for each in alerts(hook)]
    assert [each // HOUR for each in told] == [1, 5, 17, 41]


def test_an_incident_that_is_resolved_by_hand_speaks_again_at_its_next_step(
    place: Place, bill: Bill, hook: Hook
) -> None:
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        asked(life, Act.RESOLVE, NOW + HOUR, the_incident(life), "raised with finance")
        with pytest.raises(DeskError, match="has ended already"):
            asked(life, Act.RESOLVE, NOW + HOUR, the_incident(life))
        bill.spend(DAY, "95000.00")
        life.poll(NOW + HOUR * 2)
        assert said(hook) == [REACHED, ("by_hand", "resolved")]
        bill.spend(DAY, "105000.00")
        life.poll(NOW + HOUR * 3)
        acts = [(each.act, each.author, each.comment) for each in life.store.interventions(the_incident(life))]
    assert said(hook)[2:] == [REACHED]
    assert acts == [(Act.RESOLVE, "alice", "raised with finance")]


class Recorder:
    """A channel that accepts everything and keeps it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def send(self, message: Message, deadline: float) -> Receipt:
        self.messages.append(message)
        return Receipt(Outcome.DELIVERED)


def test_an_umbrella_ends_with_the_last_incident_under_it(tmp_path: Path, bill: Bill) -> None:
    place = Place(tmp_path / "installed", bill.url)
    rules = [f"{{id: r{n}, type: cap, limit: {100 + n}, per: month}}" for n in range(6)]
    place.write({"pager": {"url": "json://127.0.0.1:9", "page": True}}, rules)
    pager = Recorder()
    with living(place) as life:
        life.poll(NOW)
        life.outbox.use({"pager": pager}, {})
        bill.spend(DAY, "50000.00")
        life.poll(NOW + HOUR)
        (umbrella,) = pager.messages
        assert len(umbrella.notices) == 6
        incidents = [incident.id for incident in life.store.incidents()]
        for incident in incidents:
            asked(life, Act.RESOLVE, NOW + HOUR * 2, incident)
            life.poll(NOW + HOUR * 2)
    ends = pager.messages[1:]
    assert [each.incident for each in ends] == incidents
    assert [each.umbrellas for each in ends] == [()] * 5 + [(umbrella.id,)]


# --- quiet times -------------------------------------------------------------------------------


def test_in_quiet_hours_a_warning_waits_and_what_is_critical_does_not(tmp_path: Path, bill: Bill, hook: Hook) -> None:
    rule = COMPANY.replace("}", ", severity: {80%: warning, 120%: critical}}")
    hours = f"{{id: nights, from: '{NOW:%H:%M}', to: '{NOW + HOUR * 9:%H:%M}'}}"
    place = installed(tmp_path, bill, hook, rule, f"quiet: [{hours}]")
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        assert hook.posts == []
        bill.spend(DAY, "125000.00")
        life.poll(NOW + HOUR * 2)
        assert [each["severity"] for each in alerts(hook)] == ["critical"], "and the older state need not be told"
        life.poll(NOW + HOUR * 10)
    assert len(hook.posts) == 1


def test_the_quiet_time_is_over_when_its_end_comes_or_an_edit_takes_it_away(
    tmp_path: Path, bill: Bill, hook: Hook
) -> None:
    event = f"start: '{NOW:%Y-%m-%d %H:%M}', end: '{NOW + HOUR * 48:%Y-%m-%d %H:%M}'"
    place = installed(tmp_path, bill, hook, COMPANY, f"quiet: [{{id: launch, {event}}}]")
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        assert hook.posts == []
        place.write({"audit": hook.url()}, [COMPANY])
        life.reload(NOW + HOUR * 2)
        life.poll(NOW + HOUR * 2)
    (told,) = alerts(hook)
    assert "by the quiet time launch" in told["because"]


def test_all_that_waited_is_one_message_at_the_end(tmp_path: Path, bill: Bill, hook: Hook) -> None:
    event = f"start: '{NOW:%Y-%m-%d %H:%M}', end: '{NOW + HOUR * 5:%Y-%m-%d %H:%M}'"
    each = "{id: each, type: cap, for_each: workspace, limit: 500, per: month}"
    place = Place(tmp_path / "installed", bill.url)
    place.write({"audit": hook.url()}, [COMPANY, each], f"quiet: [{{id: launch, {event}}}]")
    bill.spend(DAY, "10000.00")
    with living(place) as life:
        life.poll(NOW)
        bill.spend(DAY, "45000.00")
        life.poll(NOW + HOUR)
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR * 2)
        assert hook.posts == []
        life.poll(NOW + HOUR * 5)
        life.poll(NOW + HOUR * 6)
        waiting = life.store.recall().outbox
    (post,) = hook.posts
    told = json.loads(post.body)["data"]
    assert [alert["rule"]["id"] for alert in told["alerts"]] == ["each", "company"]
    assert [alert["money"]["spent"] for alert in told["alerts"]] == ["850.00", "850.00"]
    assert "by the quiet time launch" in told["because"]
    assert waiting == ()
    assert "takes its place" in place.run("alerts", "show", told["alerts"][0]["incident"]).out


# --- commands ----------------------------------------------------------------------------------


def test_the_commands_reach_a_running_daemon(place: Place, bill: Bill, hook: Hook) -> None:
    bill.spend(DAY, "85000.00")
    with running(place):
        until(lambda: hook.posts, 30)
        link = place.database.with_name("budgetd.db.sock")
        assert stat.S_IMODE(link.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(link))
            connection.sendall(b'{"act": "drop everything"}\n')
            assert b"not understood" in connection.recv(4096)
        with place.state() as state:
            (incident,) = (each.id for each in state.incidents())
        done = place.run("ack", incident[:10], "--comment", "on it", "--author", "bob")
        assert (done.code, done.err) == (0, ""), done
        assert f"Acknowledged {incident}" in done.out
        until(lambda: len(hook.posts) == 2, 10)
        added = place.run("silence", "add", "--rule", "company", "--for", "2h", "--comment", "load test")
        assert added.out.startswith("Silenced: rule=company until "), added
        refused = place.run("silence", "add", "--rule", "compny", "--for", "2h")
        assert (refused.code, refused.out) == (1, "")
        assert "did you mean 'company'" in refused.err
    assert not link.exists()
    assert "bob" in place.run("ack", "--list").out
    story = place.run("alerts", "show", incident).out
    assert "bob acknowledged it" in story
    assert "began a silence" in story
    assert "load test" in story
    (silenced,) = json.loads(place.run("silence", "list", "--json").out)
    assert (silenced["match"], silenced["comment"], silenced["active"]) == ({"rule": ["company"]}, "load test", True)


def test_the_commands_work_on_the_state_when_no_daemon_runs(
    place: Place, bill: Bill, hook: Hook, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        incident = the_incident(life)
    place.use(monkeypatch)
    done = here(capfd, "resolve", incident[:12], "--comment", "known")
    assert done.code == 0, done
    assert "No daemon is running" in done.out
    with living(place) as life:
        life.poll(NOW + HOUR * 2)
    assert said(hook) == [REACHED, ("by_hand", "resolved")]
    assert here(capfd, "resolve", incident).code == 1
    assert "nothing is silenced" in here(capfd, "silence", "list").out.lower()
    assert here(capfd, "ack").code == 2
    no_text = here(capfd, "ack", incident, "--comment", "\udcff")
    assert (no_text.code, "not text" in no_text.err) == (2, True)


def test_a_daemon_that_holds_the_state_without_a_socket_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    place.use(monkeypatch)
    with living(place):
        done = here(capfd, "silence", "add", "--rule", "*", "--for", "1h")
    assert (done.code, "is in use by another budgetd" in done.err) == (1, True)
