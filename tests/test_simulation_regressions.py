"""What the simulation found, each as the smallest test that would have found it too."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from budgetd.channels import Sender
from budgetd.delivery import InThisThread
from budgetd.evaluation import Evaluator, Observation
from budgetd.fallback import Late
from budgetd.handover import Handover
from budgetd.inbox import Inbox
from budgetd.message import Flavour, Message
from budgetd.model import Changes, Delivery, DeliveryState, Face, Failure, Outcome, Reason, Receipt, Report, SourceError
from budgetd.outbox import Outbox
from budgetd.period import DAY, midnight
from budgetd.rulebook import parse
from budgetd.sources.cost_report import CostReport
from budgetd.stores.sqlite import SqliteStore, open_store
from budgetd.tick import deliver
from tests.builders import at, cost_day
from tests.simulation.api import SimulatedApi
from tests.simulation.company import found
from tests.simulation.crashes import Crash, Crashes, database_kind

NOW = at("2026-11-18 12:00")
RULES = """version: 1
channels: {first: "json://first.example.com/", second: "json://second.example.com/"}
routes: [{notify: [first]}]
rules: [{id: month, type: cap, limit: 100, per: month}]
"""


class Refusing:
    """A channel that refuses everything in one way."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def send(self, message: Message, deadline: float) -> Receipt:
        return Receipt(self.outcome, "simulated")


def outbox_of(store: SqliteStore, senders: dict[str, Sender]) -> tuple[Outbox, Evaluator, Inbox]:
    inbox: Inbox = Inbox()
    evaluator = Evaluator(store, parse(RULES, "rules.yaml", environment={}))
    flavours = dict.fromkeys(senders, Flavour.TEXT)
    lanes = InThisThread(senders, inbox.put)
    return Outbox(store, evaluator, lanes, flavours, random.Random(1)), evaluator, inbox


def refused_key(evaluator: Evaluator) -> Delivery:
    """Something that must be told to the first channel."""
    evaluator.take(Observation("cost_report", error=SourceError(Failure.REFUSED, "401")), NOW)
    return evaluator._store.recall().outbox[0]


@pytest.mark.parametrize("point", [1, 2, 3, 4, 5, 6])
def test_a_kill_while_a_message_is_given_up_does_not_lose_the_report_of_it(tmp_path: Path, point: int) -> None:
    """It was settled first and reported afterwards: a kill between the two, and nobody ever heard of it."""
    crashes = Crashes(random.Random(1), only=point)
    crashes.armed = False
    store = open_store(tmp_path / "a.db", NOW, kind=database_kind(crashes, lambda: None))
    senders: dict[str, Sender] = {"first": Refusing(Outcome.RETRY), "second": Refusing(Outcome.DELIVERED)}
    outbox, evaluator, inbox = outbox_of(store, senders)
    refused_key(evaluator)
    late = NOW + timedelta(hours=73)
    crashes.armed = True
    try:
        deliver(outbox, inbox, late)
    except Crash:
        store.interrupted(late)
        deliver(*_again(store, senders), late)
    told = [record for record in store.deliveries() if record.delivery.channel == "second"]
    store.close()
    assert [record.delivery.notices[0].reason for record in told] == [Reason.UNDELIVERABLE]
    assert told[0].delivery.state is DeliveryState.DELIVERED


def _again(store: SqliteStore, senders: dict[str, Sender]) -> tuple[Outbox, Inbox]:
    outbox, _, inbox = outbox_of(store, senders)
    return outbox, inbox


def test_a_channel_that_rejects_everything_for_an_hour_gets_the_alert_afterwards(tmp_path: Path) -> None:
    """All three faces were rejected within a second, and the alert was given up."""
    store = open_store(tmp_path / "a.db", NOW)
    channel = Refusing(Outcome.REJECTED)
    outbox, evaluator, inbox = outbox_of(store, {"first": channel, "second": Refusing(Outcome.DELIVERED)})
    alert = refused_key(evaluator)
    deliver(outbox, inbox, NOW)
    waiting = store.recall().outbox
    channel.outcome = Outcome.DELIVERED
    deliver(outbox, inbox, NOW + timedelta(hours=1, minutes=1))
    states = {record.delivery.id: record.delivery.state for record in store.deliveries()}
    store.close()
    assert [(delivery.id, delivery.face) for delivery in waiting] == [(alert.id, Face.MINIMAL)]
    assert states[alert.id] is DeliveryState.DELIVERED


def api_at(now: datetime) -> SimulatedApi:
    return SimulatedApi(found(1, now.date()), random.Random(1), now, glitches=False)


def test_a_wall_clock_that_is_set_back_does_not_make_the_report_unreadable() -> None:
    """The report ended where it was asked to end, and that was taken for missing data: a blind alert from a clock."""
    source = CostReport(api_at(NOW))
    whole = source.read(NOW, None)
    assert source.read(NOW - timedelta(days=2), None).through == whole.through - timedelta(days=2)
    assert source.read(NOW, None).through == whole.through


def test_after_a_restart_a_report_that_lacks_its_last_days_is_still_refused() -> None:
    """How far the report had gone was forgotten with the process: an empty last page passed for a late bill."""
    through = CostReport(api_at(NOW)).read(NOW, None).through
    with pytest.raises(SourceError, match="once went on to"):
        CostReport(api_at(NOW - timedelta(days=3)), through=through).read(NOW, None)


FALLING = """version: 1
channels:
  chat: {url: "json://chat.example.com/", fallback: pager, after: 24h}
  pager: {url: "json://pager.example.com/", page: true, fallback: chat, after: 1h}
routes: [{notify: [chat, pager]}]
rules: [{id: day, type: cap, limit: 100, per: day}]
"""


class Keeping(Refusing):
    """A channel that keeps what it took: the number of each notice in its incident."""

    def __init__(self) -> None:
        super().__init__(Outcome.DELIVERED)
        self.taken: list[int] = []

    def send(self, message: Message, deadline: float) -> Receipt:
        if self.outcome is Outcome.DELIVERED:
            self.taken += [notice.sequence for notice in message.notices]
        return super().send(message, deadline)


def fallen(store: SqliteStore, *down: str) -> dict[str, Keeping]:
    """Two channels, each the fallback of the other, some of them down while a day is over its limit, and ends."""
    channels = {name: Keeping() for name in ("chat", "pager")}
    evaluator = Evaluator(store, parse(FALLING, "rules.yaml", environment={}))
    inbox: Inbox = Inbox()
    senders: dict[str, Sender] = dict(channels)
    outbox = Outbox(store, evaluator, InThisThread(senders, inbox.put), {}, random.Random(1))
    for number, dollars in enumerate(("1", "200", "1")):
        now = NOW + number * DAY
        yesterday = now.date() - DAY
        report = Report("cost_report", yesterday, now.date(), (cost_day(yesterday, dollars),), midnight(now.date()))
        for name in down:
            channels[name].outcome = Outcome.RETRY
        evaluator.take(Observation("cost_report", report), now)
        deliver(outbox, inbox, now)
    for hours in range(1, 6):
        for channel in channels.values():
            channel.outcome = Outcome.DELIVERED
        deliver(outbox, inbox, NOW + 2 * DAY + timedelta(hours=hours))
    return channels


def test_a_fallback_that_was_told_of_the_end_is_not_told_of_the_beginning_afterwards(tmp_path: Path) -> None:
    """The pager had its end, got the beginning from a chat that was down, and its page stayed open for ever."""
    store = open_store(tmp_path / "a.db", NOW)
    channels = fallen(store, "chat")
    store.close()
    assert channels["pager"].taken == [1, 2]
    assert channels["chat"].taken == [1]


def test_what_waits_in_a_fallback_does_not_come_after_what_is_newer(tmp_path: Path) -> None:
    """The chat got the pager's end first, and its own beginning afterwards."""
    store = open_store(tmp_path / "a.db", NOW)
    channels = fallen(store, "chat", "pager")
    store.close()
    assert channels["pager"].taken == [2]
    assert channels["chat"].taken == sorted(channels["chat"].taken)
    assert channels["chat"].taken


def test_what_a_fallback_has_it_is_not_given_again_with_all_that_a_quiet_time_kept_back(tmp_path: Path) -> None:
    """What was gathered at the end of a quiet time had another id, and went to the fallback a second time."""
    store = open_store(tmp_path / "a.db", NOW)
    evaluator = Evaluator(store, parse(FALLING, "rules.yaml", environment={}))
    kept = replace(refused_key(evaluator), muted_until=NOW, muted_by="the quiet time nights")
    handover, whole = Handover(store, evaluator), replace(kept, id="dlv_whole")
    store.commit(Changes(NOW, deliveries=(whole,)))
    handover.hand_over([Late(kept, "HTTP 503")], NOW)
    handover.hand_over([Late(whole, "HTTP 503")], NOW)
    fallen = [each for each in store.recall().outbox if each.because]
    store.close()
    assert len(fallen) == 1


def test_what_only_informs_wakes_nobody_through_a_fallback_either(tmp_path: Path) -> None:
    """A page was opened for what was over its limit at the first look, and nothing ever closed it."""
    store = open_store(tmp_path / "a.db", NOW)
    evaluator = Evaluator(store, parse(FALLING, "rules.yaml", environment={}))
    yesterday = NOW.date() - DAY
    report = Report("cost_report", yesterday, NOW.date(), (cost_day(yesterday, "200"),), midnight(NOW.date()))
    evaluator.take(Observation("cost_report", report), NOW)
    (waiting,) = store.recall().outbox
    assert (waiting.channel, waiting.notices[0].reason) == ("chat", Reason.BASELINE)
    Handover(store, evaluator).hand_over([Late(waiting, "HTTP 503")], NOW)
    assert store.recall().outbox == (waiting,)
    store.close()
