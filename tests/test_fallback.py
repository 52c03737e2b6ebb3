"""A channel that does not take its messages: another one gets them, and is told why; it still gets its own."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from budgetd import clock
from budgetd.channels.pagerduty_event import Target, events
from budgetd.daemon import Inbox, deliver
from budgetd.delivery import InThisThread
from budgetd.evaluation import Evaluator
from budgetd.faces.mail import letter
from budgetd.faces.slack import post
from budgetd.message import Message
from budgetd.model import DeliveryState, Label, Outcome, Reason, Receipt, Severity
from budgetd.outbox import Outbox
from budgetd.rulebook import parse
from budgetd.stores.sqlite import SqliteStore, open_store
from tests.builders import at
from tests.living import Bill, Hook, Place, running, until
from tests.rules_text import HEAD, RULES, refused

NOW = at("2026-11-18 12:00")
SECOND = timedelta(seconds=1)
RULEBOOK = """\
version: 1
channels:
  pager: {url: "json://127.0.0.1/p", page: true, fallback: [finance, team], after: 2m}
  finance: {url: "json://127.0.0.1/f", fallback: pager, after: 1m}
  team: "json://127.0.0.1/t"
routes: [{notify: [pager]}]
rules:
  - {id: all, type: cap, limit: 100, per: day}
"""


@dataclass
class Desk:
    """Implements `Sender`: answers what it is told to, and keeps what it took."""

    answer: Receipt = field(default_factory=lambda: Receipt(Outcome.DELIVERED))
    seen: list[Message] = field(default_factory=list)
    taken: list[Message] = field(default_factory=list)

    def send(self, message: Message, deadline: float) -> Receipt:
        self.seen.append(message)
        if self.answer.outcome is Outcome.DELIVERED:
            self.taken.append(message)
        return self.answer


class Office:
    """A state, three channels, and an outbox that sends in this thread."""

    def __init__(self, store: SqliteStore, text: str = RULEBOOK) -> None:
        self.store = store
        self.desks: Mapping[str, Desk] = {name: Desk() for name in ("pager", "finance", "team")}
        self.evaluator = Evaluator(store, parse(text, "rules.yaml", environment={}))
        self.start()

    def start(self) -> None:
        """A new process on the same state."""
        self.inbox: Inbox = queue.SimpleQueue()
        lanes = InThisThread(self.desks, self.inbox.put)
        self.outbox = Outbox(self.store, self.evaluator, lanes, {}, Random(1))

    def tell(self, number: int = 1, now: datetime = NOW) -> None:
        about = Label("test", f"test/{number}", "a test")
        assert self.evaluator.tell(about, Reason.TEST, Severity.CRITICAL, "Nothing is wrong.", now)

    def go(self, seconds: float) -> None:
        """What happens by so many seconds after NOW."""
        deliver(self.outbox, self.inbox, NOW + seconds * SECOND)

    def taken(self) -> dict[str, int]:
        return {name: len(desk.taken) for name, desk in self.desks.items()}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with contextlib.closing(open_store(tmp_path / "budgetd.db", NOW)) as store:
        yield Office(store)


DOWN = Receipt(Outcome.RETRY, "HTTP 503")


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
    for seconds in (200, 400, 4000):
        office.go(seconds)
    assert office.taken() == {"pager": 0, "finance": 1, "team": 1}, "once"


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
    assert len({record.delivery.id for record in records}) == 3
    assert {record.delivery.channel for record in records if record.delivery.because} == {"finance", "team"}
    assert office.taken() == {"pager": 0, "finance": 0, "team": 1}


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
            assert 8 < clock.monotonic() - begun < 15.5
            said = finance.accepted[0].json
            assert "You get this because pager has not taken it: " in said["message"]
            assert "503" in said["message"]
            pager.otherwise = 200
            until(lambda: pager.accepted, 40)
            assert {post.json["id"] for post in pager.posts} == {pager.accepted[0].json["id"]}
            assert len(finance.accepted) == 1
