"""A channel that does not take its messages: another one gets them, and is told why; it still gets its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from budgetd import clock
from budgetd.channels.pagerduty_event import Target, events
from budgetd.faces.mail import letter
from budgetd.faces.slack import post
from budgetd.model import DeliveryState, Kind, Outcome, Reason, Receipt
from budgetd.stores.sqlite import open_store
from tests.living import Bill, Hook, Place, running, until
from tests.office import NOW, RULEBOOK, SECOND, Office
from tests.rules_text import HEAD, RULES, refused
from tests.store_contract import a_delivery, a_notice, put

DOWN = Receipt(Outcome.RETRY, "HTTP 503")


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with contextlib.closing(open_store(tmp_path / "budgetd.db", NOW)) as store:
        yield Office(store)


def test_what_is_taken_in_time_goes_nowhere_else(office: Office) -> None:
    office.tell()
    office.go(0)
    office.go(600)
    assert office.taken() == {"pager": 1, "finance": 0, "team": 0}
    assert office.outbox.next_fallback is None


def test_after_a_while_the_fallbacks_get_it_and_say_why(office: Office) -> None:
    office.desks["pager"].answer = DOWN
    office.tell()
    office.go(0)
    office.go(119)
    assert office.outbox.next_fallback == NOW + timedelta(minutes=2)
    assert office.taken() == {"pager": 0, "finance": 0, "team": 0}
    office.go(120)
    assert office.taken() == {"pager": 0, "finance": 1, "team": 1}
    told = office.desks["finance"].taken[0]
    assert told.because == "You get this because pager has not taken it: HTTP 503."
    assert told.body.startswith(told.because)
    assert told.data["data"]["notice"] == office.desks["pager"].seen[0].data["data"]["notice"]
    for seconds in (200, 290):
        office.go(seconds)
    assert office.taken() == {"pager": 0, "finance": 1, "team": 1}, "once"
    office.pass_by(400, 4000, 100)
    last = office.desks["finance"].taken[1:]
    assert ["pager has taken nothing since" in message.body for message in last] == [True], "that it is down, once"


def test_every_face_says_why(office: Office) -> None:
    office.desks["pager"].answer = DOWN
    office.tell()
    office.go(0)
    office.go(130)
    told, why = office.desks["finance"].taken[0], "pager has not taken it: HTTP 503"
    assert why in letter(told, NOW).html
    assert why in letter(told, NOW).plain
    assert why in told.data["data"]["because"]
    assert why in str(post(told)["blocks"])
    (event,) = events(told, Target("key"))
    assert why in event["payload"]["custom_details"]["because"]


def test_when_it_recovers_it_gets_its_own_with_the_same_id(office: Office) -> None:
    office.desks["pager"].answer = DOWN
    office.tell()
    office.go(0)
    office.go(130)
    first = office.desks["pager"].seen[0].id
    office.desks["pager"].answer = Receipt(Outcome.DELIVERED)
    office.go(1000)
    assert [message.id for message in office.desks["pager"].taken] == [first]
    assert office.desks["finance"].taken[0].id != first


def test_a_restart_hands_nothing_over_twice(office: Office) -> None:
    office.desks["pager"].answer = DOWN
    office.tell()
    office.go(0)
    office.go(130)
    office.start()
    office.go(140)
    assert office.taken() == {"pager": 0, "finance": 1, "team": 1}


def test_a_broken_channel_is_not_waited_for(office: Office) -> None:
    office.desks["pager"].answer = Receipt(Outcome.UNAUTHORISED, "HTTP 401")
    office.tell()
    office.go(0)
    whys = [message.because for message in office.desks["finance"].taken]
    assert "You get this because pager has not taken it: HTTP 401." in whys


def test_a_fallback_has_no_fallback(office: Office) -> None:
    """finance falls back to pager, which fell back to finance: that ends here."""
    for name in ("pager", "finance"):
        office.desks[name].answer = DOWN
    office.tell()
    for seconds in (0, 130, 300, 1000):
        office.go(seconds)
    records = office.store.deliveries()
    about_it = [record for record in records if record.delivery.notices[0].reason is Reason.TEST]
    assert len(about_it) == 3
    assert {record.delivery.channel for record in about_it if record.delivery.because} == {"finance", "team"}
    assert office.desks["team"].taken[0].incident == about_it[0].delivery.notices[0].incident


def test_a_fallback_of_two_channels_hears_of_it_once(tmp_path: Path) -> None:
    """A seed of the simulation: it was told for each channel that did not take it, and once more in their digest."""
    text = RULEBOOK.replace('"json://127.0.0.1/t"', '{url: "json://127.0.0.1/t", fallback: finance, after: 1m}')
    text = text.replace("fallback: pager, after: 1m}", "}").replace("notify: [pager]", "notify: [pager, team]")
    with contextlib.closing(open_store(tmp_path / "budgetd.db", NOW)) as store:
        office = Office(store, text)
        for name in ("pager", "team", "finance"):
            office.desks[name].answer = DOWN
        office.tell()
        office.pass_by(0, 300, 10)
        office.start()
        office.desks["finance"].answer = Receipt(Outcome.DELIVERED)
        office.pass_by(310, 4000, 60)
        told = [message for message in office.desks["finance"].taken if message.incident.startswith("inc_")]
        about = office.desks["pager"].seen[0].incident
        assert [message.because for message in told if message.incident == about] == [
            "You get this because pager has not taken it: HTTP 503."
        ]
        bodies = [message.body for message in office.desks["finance"].taken]
        for name in ("pager", "team"):
            assert sum(f"{name} has taken nothing since" in body for body in bodies) == 1, "that each of them is down"


def test_who_has_it_replaces_nothing_in_a_fallback(tmp_path: Path) -> None:
    """A seed of the simulation: the fallback was told who has it, and never what."""
    trigger, who = a_notice("ntc_1"), a_notice("ntc_2", kind=Kind.ACKNOWLEDGE, sequence=2)
    with contextlib.closing(open_store(tmp_path / "budgetd.db", NOW)) as store:
        office = Office(store, RULEBOOK.replace("fallback: pager, after: 1m}", "}"))
        for name in ("pager", "finance"):
            office.desks[name].answer = DOWN
            for number, notice in enumerate((trigger, who)):
                put(store, a_delivery(f"dlv_{name}_{number}", notice, channel=name, at=NOW))
        office.pass_by(0, 400, 10)
        office.desks["finance"].answer = Receipt(Outcome.DELIVERED)
        office.pass_by(400, 4000, 60)
        told = [
            (alert["notice"], bool(message.because))
            for message in office.desks["finance"].taken
            for alert in message.data["data"].get("alerts", [message.data["data"]])
            if alert["incident"] == trigger.incident
        ]
        assert sorted(told) == [("ntc_1", False), ("ntc_1", True), ("ntc_2", False), ("ntc_2", True)]
        assert [notice for notice, _ in told] == ["ntc_1", "ntc_1", "ntc_2", "ntc_2"]


def test_what_falls_to_it_at_once_is_one_message(office: Office) -> None:
    """A pager that is down while a storm ends: each end is a page of its own there, and would have been a mail."""
    office.desks["pager"].answer = DOWN
    ends = [a_notice(f"ntc_{number}", f"inc_{number}", kind=Kind.RESOLVE, sequence=2) for number in range(7)]
    put(
        office.store,
        *(replace(a_delivery(f"dlv_{each.id}", each, channel="pager", at=NOW), page=True) for each in ends),
    )
    office.pass_by(0, 130, 10)
    for name in ("finance", "team"):
        told = [message for message in office.desks[name].taken if message.kind is Kind.RESOLVE]
        assert [len(message.notices) for message in told] == [7], name


def test_who_has_it_waits_for_what_a_silence_keeps_back(office: Office) -> None:
    """A seed of the simulation: it stood behind the alert, and went to the fallback as what the pager had not taken."""
    alert = a_delivery("dlv_1", a_notice("ntc_1"), channel="pager", at=NOW)
    who = a_delivery("dlv_2", a_notice("ntc_2", kind=Kind.ACKNOWLEDGE, sequence=2), channel="pager", at=NOW)
    put(office.store, replace(alert, muted_until=NOW + 3600 * SECOND, muted_by="silence sil_1"), who)
    office.pass_by(0, 3500, 100)
    assert office.taken() == {"pager": 0, "finance": 0, "team": 0}
    office.pass_by(3600, 4000, 100)
    assert [message.kind for message in office.desks["pager"].taken] == [Kind.TRIGGER, Kind.ACKNOWLEDGE]
    assert office.taken() == {"pager": 2, "finance": 0, "team": 0}


def test_what_a_clock_far_ahead_had_made_keeps_nothing_from_the_fallbacks(office: Office) -> None:
    """A seed of the simulation: they got neither for a month, as it was wanted only then."""
    office.desks["pager"].answer = DOWN
    alert = a_delivery("dlv_1", a_notice("ntc_1"), channel="pager", at=NOW + 2_592_000 * SECOND)
    who = a_delivery("dlv_2", a_notice("ntc_2", kind=Kind.ACKNOWLEDGE, sequence=2), channel="pager", at=NOW)
    put(office.store, alert, who)
    office.pass_by(0, 150, 10)
    assert [message.kind for message in office.desks["finance"].taken] == [Kind.TRIGGER, Kind.ACKNOWLEDGE]


def test_what_was_handed_over_is_kept_as_it_was(office: Office) -> None:
    office.desks["pager"].answer = office.desks["finance"].answer = DOWN
    office.tell()
    office.go(0)
    office.go(130)
    kept = {each.channel: each for each in office.store.recall().outbox}
    assert (kept["finance"].because, kept["pager"].because) == ("pager has not taken it: HTTP 503", "")
    assert kept["finance"].state is DeliveryState.PENDING
    assert kept["pager"].page
    assert not kept["finance"].page


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ("{url: 'slack://a/b/c', fallback: nobody}", 'there is no channel "nobody"'),
        ("{url: 'slack://a/b/c', fallback: team}", "a channel cannot be its own fallback"),
        ("{url: 'slack://a/b/c', fallback: []}", "not an empty list"),
        ("{url: 'slack://a/b/c', after: 2m}", "there is no fallback"),
        ("{url: 'slack://a/b/c', fallback: pager, after: 2}", "from 10s to 24h, such as 2m"),
        ("{url: 'slack://a/b/c', fallback: pager, after: 5s}", "from 10s to 24h"),
        ("{url: 'slack://a/b/c', fallback: pager, after: 25h}", "from 10s to 24h"),
    ],
)
def test_mistakes(channel: str, message: str) -> None:
    assert message in refused(HEAD.replace('"slack://a/b/c"', channel) + RULES)


@pytest.mark.network
def test_a_daemon_whose_pager_is_down_tells_the_fallback_in_time(tmp_path: Path) -> None:
    """Within `after` and five seconds, and why; the pager gets it with the same key when it is back."""
    with Bill() as bill, Hook() as pager, Hook() as finance:
        pager.otherwise = 503
        place = Place(tmp_path / "place", bill.url)
        place.write({"finance": finance.url()}, ["{id: all, type: cap, limit: 100, per: day}"])
        text = place.rules.read_text().replace(
            "channels:\n",
            f'channels:\n  pager: {{url: "{pager.url()}", page: true, fallback: finance, after: 10s}}\n',
        )
        place.rules.write_text(text + "routes: [{notify: pager}]\n")
        day = bill.today - timedelta(days=1)
        bill.spend(day, "5000")
        assert place.run("once", "--at", f"{bill.today}T12:00:00Z").code == 0
        bill.spend(day, "25000")
        bill.today = bill.today
        with running(place, {"BUDGETD_POLL_EVERY": "1s"}):
            until(lambda: pager.posts, 20)
            begun = clock.monotonic()
            until(lambda: finance.accepted, 20)
            # Sooner where three attempts have failed by then: its breaker is open.
            assert clock.monotonic() - begun < 15.5
            said = finance.accepted[0].json
            assert "You get this because pager has not taken it: " in said["message"]
            assert "503" in said["message"]
            pager.otherwise = 200
            until(lambda: pager.accepted, 40)
            assert {post.json["id"] for post in pager.posts} == {pager.accepted[0].json["id"]}
            assert len(finance.accepted) == 1
