"""A channel that is down is tried now and then, not for each message; the first that is taken lets all go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd import breaker
from budgetd.backoff import PAGE_WAITS, WAITS
from budgetd.breaker import FRESH_PAGE_WAIT, FRESH_WAIT, OPENS_AFTER, Breaker
from budgetd.channels import registry
from budgetd.faces import slack, teams
from budgetd.message import render
from budgetd.model import Delivery, Face, Kind, Outcome, Receipt, Severity
from budgetd.overview import channel_states
from budgetd.stores.sqlite import open_store
from tests.office import NOW, RULEBOOK, SECOND, Office
from tests.store_contract import a_delivery, a_notice, put
from tests.test_message import notice

DOWN = Receipt(Outcome.RETRY, "HTTP 503")
WELL = Receipt(Outcome.DELIVERED)
FAILURES = (Outcome.RETRY, Outcome.UNKNOWN, Outcome.UNAUTHORISED, Outcome.GONE)


def waiting(attempts: int = 0, *, page: bool = False) -> Delivery:
    return Delivery("dlv_1", "team", (), NOW, NOW, page=page, attempts=attempts)


def run_of(*outcomes: Outcome, page: bool = False) -> Breaker | None:
    run: Breaker | None = None
    for outcome in outcomes:
        run = breaker.after(run, waiting(page=page), Receipt(outcome, "why"), NOW, Random(1))
    return run


# --- the policy ----------------------------------------------------------------------------------


def test_one_refused_connection_is_no_outage() -> None:
    for failures in range(1, OPENS_AFTER):
        run = run_of(*[Outcome.RETRY] * failures)
        assert run is not None
        assert (run.failures, run.is_open) == (failures, False)
    run = run_of(*[Outcome.UNKNOWN] * OPENS_AFTER)
    assert run is not None
    assert run.is_open


@pytest.mark.parametrize("outcome", [Outcome.UNAUTHORISED, Outcome.GONE])
def test_a_broken_channel_opens_it_at_once_and_for_long(outcome: Outcome) -> None:
    run = run_of(outcome)
    assert run is not None
    assert run.probe_at is not None
    assert timedelta(minutes=30) <= run.probe_at - NOW <= timedelta(hours=1)
    assert run.fresh_at == NOW + timedelta(seconds=FRESH_WAIT), "what is new may find it mended"


@pytest.mark.parametrize("outcome", [Outcome.RATE_LIMITED, Outcome.REJECTED])
def test_an_answer_about_something_else_changes_nothing(outcome: Outcome) -> None:
    before = run_of(Outcome.RETRY, Outcome.RETRY)
    assert breaker.after(before, waiting(), Receipt(outcome), NOW, Random(1)) == before
    assert breaker.after(None, waiting(), Receipt(outcome), NOW, Random(1)) is None


def test_what_is_delivered_ends_it() -> None:
    assert run_of(*FAILURES, Outcome.DELIVERED) is None


def test_it_is_tried_after_about_as_long_as_it_has_lasted_and_not_by_the_count_of_messages() -> None:
    run: Breaker | None = None
    for second in range(0, 360, 10):
        run = breaker.after(run, waiting(), DOWN, NOW + second * SECOND, Random(second))
    assert run is not None
    assert run.probe_at is not None
    assert SECOND <= run.probe_at - (NOW + 350 * SECOND) <= 350 * SECOND


def test_it_asks_no_sooner_than_the_service_allows() -> None:
    before = run_of(*[Outcome.RETRY] * OPENS_AFTER)
    run = breaker.after(before, waiting(), Receipt(Outcome.RETRY, after=600.0), NOW, Random(1))
    assert run is not None
    assert run.probe_at is not None
    assert run.fresh_at is not None
    assert min(run.probe_at, run.fresh_at) >= NOW + timedelta(seconds=600)


@given(st.lists(st.sampled_from(FAILURES), min_size=OPENS_AFTER, max_size=40), st.booleans())
def test_however_long_it_lasts_it_is_tried_within_the_hour_and_with_news_within_a_minute(
    outcomes: list[Outcome], page: bool
) -> None:
    run = run_of(*outcomes, page=page)
    assert run is not None
    assert run.probe_at is not None
    assert run.fresh_at is not None
    assert run.since == NOW
    assert run.failures == len(outcomes)
    broken = outcomes[-1] in (Outcome.UNAUTHORISED, Outcome.GONE)
    longest = 3600 if broken else (PAGE_WAITS if page else WAITS)[-1]
    assert timedelta(seconds=1) <= run.probe_at - NOW <= timedelta(seconds=longest)
    assert run.fresh_at - NOW <= timedelta(seconds=FRESH_PAGE_WAIT if page else FRESH_WAIT)
    assert run.fresh_at <= run.probe_at


# --- in the outbox -------------------------------------------------------------------------------

CHANNELS = """\
version: 1
channels:
  pager: {url: "json://127.0.0.1/p", page: true}
  team: "json://127.0.0.1/t"
  finance: "webhook://127.0.0.1/f"
routes: [{notify: [team]}]
rules:
  - {id: all, type: cap, limit: 100, per: day}
"""


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with contextlib.closing(open_store(tmp_path / "budgetd.db", NOW)) as store:
        yield Office(store, CHANNELS)


def fail(office: Office, messages: int, *, seconds: int) -> None:
    """The channel is down for that while, and a message is decided each minute."""
    office.desks["team"].answer = DOWN
    for number in range(messages):
        office.tell(number, NOW + 60 * number * SECOND)
        office.pass_by(60 * number, 60 * number + 59, 3)
    office.pass_by(60 * messages, seconds, 20)


def test_many_messages_do_not_hammer_a_channel_that_is_down(office: Office) -> None:
    fail(office, 20, seconds=3600)
    # Each one once as news; what was tried before waits for probes, as if it were one message.
    assert 20 < len(office.desks["team"].seen) <= 20 + 12


def test_news_is_tried_though_the_breaker_is_open_and_lets_the_others_go(office: Office) -> None:
    fail(office, 5, seconds=4000)
    office.desks["team"].answer = WELL
    seen = len(office.desks["team"].seen)
    office.tell(99, NOW + 4001 * SECOND)
    office.go(4001)
    probe, digest = office.desks["team"].seen[seen:]
    assert probe.body.count("Nothing is wrong.") == 1
    assert probe.because == ""
    assert len(digest.notices) == 5, "one message for all that waited"
    assert digest.because == "The channel took nothing for a while; this is what waited for it."
    assert digest.because in digest.body
    assert "decided 1 hour ago" in digest.body
    assert digest.body.count("Test message from budgetd, decided 18 Nov 2026 12:0") == 5, (
        "each with when it was decided"
    )
    assert office.store.recall().outbox == ()
    assert office.store.breakers() == {}


def test_it_survives_a_restart_and_a_gathered_message_too(office: Office) -> None:
    fail(office, 5, seconds=4000)
    (run,) = office.store.breakers().values()
    office.start()
    office.go(4001)
    assert office.store.breakers() == {"team": run}, "nothing is tried because of a new start"
    assert run.probe_at is not None
    office.desks["team"].answer = WELL
    after_it = (run.probe_at - NOW).total_seconds()
    office.pass_by(after_it, after_it + 7200, 60)
    assert [len(message.notices) for message in office.desks["team"].taken] == [1, 4]


def test_fault_129_a_channel_that_is_back_after_three_days_gets_one_digest(office: Office) -> None:
    hours = 71
    office.desks["team"].answer = DOWN
    for hour in range(hours):
        office.tell(hour, NOW + 3600 * hour * SECOND)
        office.pass_by(3600 * hour, 3600 * hour + 2400, 1200)
        if hour % 20 == 19:
            office.start()
    assert office.desks["team"].taken == []
    office.desks["team"].answer = WELL
    office.pass_by(3600 * hours, 3600 * (hours + 2), 600)
    assert [len(message.notices) for message in office.desks["team"].taken] == [1, hours - 1]
    assert office.desks["team"].taken[-1].title.startswith("70 budget alerts")


def test_what_may_have_arrived_is_said_to_be_so(office: Office) -> None:
    fail(office, 3, seconds=200)
    office.desks["team"].answer = Receipt(Outcome.UNKNOWN, "no answer in time")
    office.tell(98, NOW + 4000 * SECOND)
    office.go(4000)
    office.desks["team"].answer = WELL
    office.pass_by(4001, 12_000, 60)
    digest = office.desks["team"].taken[-1]
    assert digest.because.endswith("Some of it may have arrived before.")


def test_a_message_that_is_not_accepted_spoils_no_other(office: Office) -> None:
    office.desks["team"].answer = Receipt(Outcome.REJECTED, "HTTP 400")
    office.tell(1)
    office.go(0)
    (bad,) = [each for each in office.store.recall().outbox if each.channel == "team"]
    assert bad.face is Face.MINIMAL
    office.desks["team"].answer = DOWN
    for number in (2, 3, 4):
        office.tell(number, NOW + SECOND)
    office.pass_by(1, 4000, 10)
    office.desks["team"].answer = WELL
    office.pass_by(4001, 12_000, 60)
    sizes = [(len(message.notices), message.face) for message in office.desks["team"].taken]
    assert sum(size for size, _ in sizes) == 4
    assert [size for size, face in sizes if face is Face.MINIMAL] == [1], "by itself"


def test_that_it_is_down_is_told_elsewhere_once(office: Office) -> None:
    office.desks["team"].answer = DOWN
    office.tell(1)
    office.pass_by(0, 40_000, 30)
    (told,) = office.desks["finance"].taken
    assert told.title == "An alert could not be delivered"
    assert "Channel team has taken nothing since 18 Nov 2026 12:00 UTC: HTTP 503. " in told.body
    assert "A message waits for it. The oldest says: Test message from budgetd" in told.body
    office.start()
    office.pass_by(40_030, 80_000, 30)
    assert len(office.desks["finance"].taken) == 1, "nor again after a restart"


def test_where_all_who_are_named_for_it_are_down_the_others_are_told(tmp_path: Path) -> None:
    """A seed of the simulation: the one channel for such complaints was gone for ever."""
    text = RULEBOOK.replace("notify: [pager]", "notify: [finance]").replace(", fallback: pager, after: 1m}", "}")
    with contextlib.closing(open_store(tmp_path / "budgetd.db", NOW)) as store:
        office = Office(store, text)
        office.desks["finance"].answer = Receipt(Outcome.GONE, "HTTP 410")
        office.tell(1)
        office.go(0)
        others = office.taken()
        put(store, a_delivery("dlv_team", channel="team", at=NOW))
        office.desks["team"].answer = Receipt(Outcome.UNAUTHORISED, "HTTP 401")
        office.go(10)
        office.desks["team"].answer = WELL
        assert office.taken()["pager"] == others["pager"] + 1
        told = office.desks["pager"].taken[-1].body
        assert "A message to channel team is not accepted and will be tried again: HTTP 401" in told


def test_what_wakes_nobody_is_told_to_others_where_only_a_pager_is_named_for_it(tmp_path: Path) -> None:
    news = replace(a_notice("ntc_1", kind=Kind.INFORM), severity=Severity.INFO)
    with contextlib.closing(open_store(tmp_path / "budgetd.db", NOW)) as store:
        office = Office(store)
        put(store, a_delivery("dlv_team", news, channel="team", at=NOW))
        office.desks["team"].answer = Receipt(Outcome.UNAUTHORISED, "HTTP 401")
        office.go(0)
        assert office.taken() == {"pager": 0, "finance": 1, "team": 0}


def test_status_says_that_it_is_open(office: Office, tmp_path: Path) -> None:
    fail(office, 4, seconds=1000)
    (run,) = office.store.breakers().values()
    memory = office.store.recall()
    states = channel_states(memory.outbox, office.store.deliveries(), ["team"], office.store.breakers())
    assert [(each.breaker, each.probing) for each in states] == [(run, False)]
    assert states[0].next_attempt_at is not None
    assert run.probe_at is not None
    assert states[0].next_attempt_at >= run.probe_at
    office.store.begin_attempt(memory.outbox[0].id, NOW)
    (state,) = channel_states(memory.outbox, office.store.deliveries(), ["team"], office.store.breakers())
    assert state.probing


# --- messages that may be repeats ----------------------------------------------------------------


def test_a_repeat_is_called_one_where_the_service_cannot_know(office: Office) -> None:
    for name in ("team", "finance"):
        office.desks[name].answer = Receipt(Outcome.UNKNOWN, "no answer in time")
    office.evaluator.rulebook = replace(office.evaluator.rulebook, routes=())
    office.tell(1)
    office.pass_by(0, 20)
    first, second = office.desks["team"].seen[:2]
    assert first.because == ""
    assert second.because == "This may be a repeat: it was sent before, and no answer came."
    assert second.because in second.body
    assert second.id == first.id
    for made in (slack.post(second), slack.reply(second), teams.body(second, NOW)):
        assert "This may be a repeat" in str(made), "every face"
    keyed = office.desks["finance"].seen
    assert len(keyed) > 1
    assert {message.because for message in keyed} == {""}, "a webhook's reader knows it by its id"


def test_the_plainest_face_says_it_too() -> None:
    delivery = replace(waiting(1), notices=(notice(),), face=Face.MINIMAL, in_doubt=1)
    body = render(delivery, NOW).body
    assert body.endswith("(maybe a repeat)")
    assert len(body) <= 160


def test_which_kinds_know_a_repeat() -> None:
    urls = {
        "pagerduty://0123456789abcdef0123456789abcdef@": True,
        "webhooks://hooks.example.com/x": True,
        "alertmanagers://am.example.com": True,
        "mailtos://user:pass@smtp.example.com?to=a@example.com": True,
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops": False,
        "console://": False,
        "json://example.com": False,
    }
    assert {url: registry.keyed(url) for url in urls} == urls
