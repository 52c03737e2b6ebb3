"""The retry policy by tables, and the lanes with senders that are slow, stuck or broken."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.backoff import DEADLINE, GIVE_UP_AFTER, PAGE_DEADLINE, PAGE_WAITS, WAITS, after, deadline
from budgetd.delivery import Answer, InThisThread, Lanes, Outbound
from budgetd.message import Message
from budgetd.model import Delivery, DeliveryState, Face, Kind, Outcome, Receipt, Severity

NOW = datetime(2026, 11, 18, 14, 6, tzinfo=UTC)


def delivery(
    attempts: int = 0, page: bool = False, face: Face = Face.RICH, age: timedelta = timedelta(0), id: str = "dlv_1"
) -> Delivery:
    return Delivery(id, "team", (), NOW - age, NOW, page=page, face=face, attempts=attempts)


class HighestJitter(Random):
    def uniform(self, a: float, b: float) -> float:
        return b


class LowestJitter(Random):
    def uniform(self, a: float, b: float) -> float:
        return a


def seconds(at: datetime | None) -> float:
    assert at is not None
    return (at - NOW).total_seconds()


# --- policy ------------------------------------------------------------------------------------


def test_delivered_is_the_end() -> None:
    settled = after(delivery(), Receipt(Outcome.DELIVERED), NOW, Random(1))
    assert (settled.state, settled.next_attempt_at, settled.escalate) == (DeliveryState.DELIVERED, None, False)


@pytest.mark.parametrize("outcome", [Outcome.RETRY, Outcome.UNKNOWN])
@pytest.mark.parametrize(
    ("page", "waits"),
    [(True, [5, 15, 30, 60, 120, 300, 300, 300]), (False, [5, 30, 120, 600, 1800, 3600, 3600, 3600])],
)
def test_fault_127_pages_are_retried_faster_than_the_rest(outcome: Outcome, page: bool, waits: list[float]) -> None:
    got = [
        seconds(after(delivery(number, page), Receipt(outcome), NOW, HighestJitter()).next_attempt_at)
        for number in range(8)
    ]
    assert got == waits


@given(st.integers(0, 200), st.booleans(), st.integers(), st.floats(0, 1e6), st.sampled_from(Outcome))
def test_a_wait_is_never_under_the_floor_nor_before_the_service_allows(
    attempts: int, page: bool, seed: int, asked: float, outcome: Outcome
) -> None:
    settled = after(delivery(attempts, page), Receipt(outcome, "", asked), NOW, Random(seed))
    if outcome in (Outcome.DELIVERED, Outcome.REJECTED):
        return
    wait = seconds(settled.next_attempt_at)
    assert wait >= max(1.0, min(asked, 3600.0)) - 1e-5
    assert wait <= 3605


def test_jitter_spreads_what_failed_together() -> None:
    waits = {after(delivery(4), Receipt(Outcome.RETRY), NOW, Random(seed)).next_attempt_at for seed in range(50)}
    assert len(waits) == 50


@pytest.mark.parametrize(("asked", "least"), [(7.0, 7.0), (None, 30.0), (0.0, 30.0), (1e9, 3600.0)])
def test_fault_103_a_rate_limit_holds_the_whole_channel(asked: float | None, least: float) -> None:
    settled = after(delivery(), Receipt(Outcome.RATE_LIMITED, "", asked), NOW, LowestJitter())
    assert settled.state is DeliveryState.PENDING
    assert settled.hold_channel_until == settled.next_attempt_at
    assert seconds(settled.hold_channel_until) == least
    assert not settled.escalate


@pytest.mark.parametrize(("face", "simpler"), [(Face.RICH, Face.PLAIN), (Face.PLAIN, Face.MINIMAL)])
def test_a_rejected_message_goes_out_one_level_simpler_at_once(face: Face, simpler: Face) -> None:
    settled = after(delivery(face=face), Receipt(Outcome.REJECTED), NOW, Random(1))
    assert (settled.state, settled.face, settled.next_attempt_at) == (DeliveryState.PENDING, simpler, NOW)
    assert not settled.escalate


def test_a_rejected_minimal_message_is_told_elsewhere_and_tried_again_for_72_hours() -> None:
    """The simulation: a service that answers 400 to everything for an hour made the alert vanish within a second."""
    settled = after(delivery(face=Face.MINIMAL), Receipt(Outcome.REJECTED), NOW, Random(1))
    assert (settled.state, settled.escalate, settled.face) == (DeliveryState.PENDING, True, None)
    assert 1800 <= seconds(settled.next_attempt_at) <= 3600
    old = after(delivery(face=Face.MINIMAL), Receipt(Outcome.REJECTED), NOW + timedelta(hours=72), Random(1))
    assert (old.state, old.escalate) == (DeliveryState.GIVEN_UP, True)


@pytest.mark.parametrize("outcome", [Outcome.UNAUTHORISED, Outcome.GONE])
@pytest.mark.parametrize("page", [True, False])
def test_fault_104_a_broken_channel_is_told_elsewhere_and_not_hammered(outcome: Outcome, page: bool) -> None:
    for seed in range(20):
        settled = after(delivery(page=page), Receipt(outcome), NOW, Random(seed))
        assert (settled.state, settled.escalate) == (DeliveryState.PENDING, True)
        assert 1800 <= seconds(settled.next_attempt_at) <= 3600


@pytest.mark.parametrize("outcome", [Outcome.RETRY, Outcome.UNKNOWN, Outcome.GONE, Outcome.RATE_LIMITED])
def test_after_72_hours_it_is_given_up_and_told_elsewhere(outcome: Outcome) -> None:
    last = delivery(90, age=GIVE_UP_AFTER)
    assert after(last, Receipt(outcome), NOW, Random(1)).state is DeliveryState.GIVEN_UP
    assert after(last, Receipt(outcome), NOW, Random(1)).escalate
    before = delivery(90, age=GIVE_UP_AFTER - timedelta(hours=2))
    assert after(before, Receipt(outcome), NOW, Random(1)).state is DeliveryState.PENDING


def test_a_rejected_message_after_72_hours_is_given_up_too() -> None:
    assert after(delivery(age=GIVE_UP_AFTER), Receipt(Outcome.REJECTED), NOW, Random(1)).escalate


@pytest.mark.parametrize("page", [True, False])
def test_a_channel_that_stays_down_is_tried_to_the_end_and_not_beyond(page: bool) -> None:
    now, attempts, state = NOW, 0, DeliveryState.PENDING
    while state is DeliveryState.PENDING:
        item = Delivery("dlv_1", "team", (), NOW, now, page=page, attempts=attempts)
        settled = after(item, Receipt(Outcome.RETRY), now, HighestJitter())
        state, attempts = settled.state, attempts + 1
        now = settled.next_attempt_at or now
    assert GIVE_UP_AFTER - timedelta(hours=1) <= now - NOW <= GIVE_UP_AFTER
    waits = PAGE_WAITS if page else WAITS
    assert attempts >= GIVE_UP_AFTER.total_seconds() / waits[-1]


def test_a_page_has_a_shorter_deadline() -> None:
    assert (deadline(delivery(page=True)), deadline(delivery())) == (PAGE_DEADLINE, DEADLINE) == (15.0, 30.0)


# --- lanes -------------------------------------------------------------------------------------


def message(id: str) -> Message:
    return Message(id, "title", "body", Severity.WARNING, Kind.TRIGGER, {})


class Prompt:
    """Delivers at once and remembers in which thread."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, float, threading.Thread]] = []

    def send(self, message: Message, deadline: float) -> Receipt:
        self.sent.append((message.id, deadline, threading.current_thread()))
        return Receipt(Outcome.DELIVERED)


class Stuck:
    """Does not come back until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.entered = threading.Semaphore(0)

    def send(self, message: Message, deadline: float) -> Receipt:
        self.entered.release()
        self.let_go.wait(20)
        return Receipt(Outcome.DELIVERED)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    sender = Stuck()
    yield sender
    sender.let_go.set()


def test_a_message_is_sent_in_its_own_thread_and_answered_in_the_inbox() -> None:
    inbox: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    prompt = Prompt()
    lanes: Outbound = Lanes({"team": prompt}, inbox.put)
    lanes.offer("team", message("dlv_1"), 10)
    assert inbox.get(timeout=5) == Answer("team", "dlv_1", Receipt(Outcome.DELIVERED))
    assert lanes.busy() == frozenset()
    lanes.offer("team", message("dlv_2"), 10)
    assert inbox.get(timeout=5).delivery == "dlv_2"
    threads = {thread for _, _, thread in prompt.sent}
    assert len(threads) == 1
    assert threads.pop().daemon
    assert all(seconds < 10 for _, seconds, _ in prompt.sent)
    lanes.close()


def test_invariant_20_a_stuck_lane_delays_no_other(stuck: Stuck) -> None:
    inbox: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    lanes = Lanes({"stuck": stuck, "team": Prompt()}, inbox.put)
    lanes.offer("stuck", message("dlv_1"), 30)
    lanes.offer("team", message("dlv_2"), 30)
    assert inbox.get(timeout=5).delivery == "dlv_2"
    assert lanes.busy() == {"stuck"}
    with pytest.raises(ValueError, match="in flight"):
        lanes.offer("stuck", message("dlv_3"), 30)
    start = time.perf_counter()
    lanes.close()
    assert time.perf_counter() - start < 1


def test_an_overdue_send_is_answered_unknown_and_the_next_gets_a_fresh_thread(stuck: Stuck) -> None:
    inbox: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    lanes = Lanes({"team": stuck}, inbox.put)
    lanes.offer("team", message("dlv_1"), 0.05)
    assert stuck.entered.acquire(timeout=5)
    time.sleep(0.1)
    assert lanes.next_deadline() == 0.0
    lanes.abandon_overdue()
    answer = inbox.get(timeout=5)
    assert (answer.receipt.outcome, answer.late) == (Outcome.UNKNOWN, False)
    assert "may have arrived" in answer.receipt.detail
    assert lanes.busy() == frozenset()
    lanes.offer("team", message("dlv_2"), 30)
    assert stuck.entered.acquire(timeout=5)
    stuck.let_go.set()
    answers = {answer.delivery: answer for answer in (inbox.get(timeout=5), inbox.get(timeout=5))}
    assert answers["dlv_1"].late
    assert not answers["dlv_2"].late
    assert lanes.busy() == frozenset()
    lanes.close()


class Dying:
    """Raises what no sender may raise."""

    def send(self, message: Message, deadline: float) -> Receipt:
        raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_sender_that_kills_its_thread_is_answered_unknown_and_the_channel_goes_on() -> None:
    inbox: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    lanes = Lanes({"team": Dying()}, inbox.put)
    lanes.offer("team", message("dlv_1"), 0.05)
    time.sleep(0.1)
    lanes.abandon_overdue()
    assert inbox.get(timeout=5).receipt.outcome is Outcome.UNKNOWN
    lanes.replace({"team": Prompt()})
    lanes.offer("team", message("dlv_2"), 10)
    assert inbox.get(timeout=5).receipt.outcome is Outcome.DELIVERED
    lanes.close()


def test_a_send_under_way_is_not_overdue_before_its_deadline(stuck: Stuck) -> None:
    inbox: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    lanes = Lanes({"team": stuck}, inbox.put)
    lanes.offer("team", message("dlv_1"), 30)
    lanes.abandon_overdue()
    assert lanes.busy() == {"team"}
    assert 0 < (lanes.next_deadline() or 0) <= 30
    assert inbox.empty()
    lanes.close()


def test_each_offer_is_answered_exactly_once_in_time() -> None:
    inbox: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    lanes = Lanes({"team": Prompt()}, inbox.put)
    for number in range(200):
        lanes.offer("team", message(f"dlv_{number}"), 0.0005 if number % 2 else 10)
        while lanes.busy():
            lanes.abandon_overdue()
    answers = []
    while len([answer for answer in answers if not answer.late]) < 200:
        answers.append(inbox.get(timeout=5))
    in_time = [answer.delivery for answer in answers if not answer.late]
    assert sorted(in_time) == sorted({f"dlv_{number}" for number in range(200)})
    lanes.close()


def test_a_reload_changes_the_channels() -> None:
    inbox: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    old, new = Prompt(), Prompt()
    lanes = Lanes({"team": old, "gone": old}, inbox.put)
    lanes.offer("team", message("dlv_1"), 10)
    inbox.get(timeout=5)
    lanes.replace({"team": new})
    lanes.offer("team", message("dlv_2"), 10)
    inbox.get(timeout=5)
    with pytest.raises(KeyError):
        lanes.offer("gone", message("dlv_3"), 10)
    assert [sent for sent, _, _ in old.sent] == ["dlv_1"]
    assert [sent for sent, _, _ in new.sent] == ["dlv_2"]
    lanes.close()


def test_nothing_begins_after_close() -> None:
    for outbound_type in (Lanes, InThisThread):
        answers: list[Answer] = []
        prompt = Prompt()
        outbound: Outbound = outbound_type({"team": prompt}, answers.append)
        outbound.close()
        outbound.offer("team", message("dlv_1"), 10)
        assert (answers, prompt.sent) == ([], [])


def test_idle_threads_end_at_close() -> None:
    inbox: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    prompt = Prompt()
    lanes = Lanes({"team": prompt}, inbox.put)
    lanes.offer("team", message("dlv_1"), 10)
    inbox.get(timeout=5)
    lanes.close()
    prompt.sent[0][2].join(5)
    assert not prompt.sent[0][2].is_alive()


def test_without_threads_an_offer_is_answered_when_it_returns() -> None:
    answers: list[Answer] = []
    prompt = Prompt()
    outbound: Outbound = InThisThread({"team": prompt}, answers.append)
    outbound.offer("team", message("dlv_1"), 10)
    assert answers == [Answer("team", "dlv_1", Receipt(Outcome.DELIVERED))]
    assert prompt.sent[0][2] is threading.current_thread()
    assert (outbound.busy(), outbound.next_deadline()) == (frozenset(), None)
    outbound.abandon_overdue()
    outbound.replace({})
    with pytest.raises(KeyError):
        outbound.offer("team", message("dlv_2"), 10)
