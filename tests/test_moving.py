"""A channel that leads elsewhere, or is gone, while something is open: it ends where it was told."""

from __future__ import annotations

import signal
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from budgetd.desk import Ask, Desk
from budgetd.model import Act, DeliveryState
from budgetd.moving import fingerprint
from budgetd.rulebook import parse
from budgetd.stories import story
from budgetd.wording import channel
from tests.cost_pages import NOW
from tests.living import Bill, Hook, Life, Place, living, running, until

pytestmark = pytest.mark.network

HOUR = timedelta(hours=1)
DAY = date(2026, 11, 10)
COMPANY = "{id: company, type: cap, limit: 1000, per: month, steps: [80%, 100%, 120%]}"
OTHER = "{id: other, type: cap, limit: 10000000, per: month}"


@pytest.fixture
def place(tmp_path: Path, bill: Bill, hook: Hook) -> Place:
    """One cap, one pager at /old, and a first poll that found nothing to tell."""
    made = Place(tmp_path / "installed", bill.url)
    lead_to(made, hook, "/old")
    bill.spend(DAY, "10000.00")
    with living(made) as life:
        life.poll(NOW)
    assert hook.posts == []
    return made


def lead_to(place: Place, hook: Hook, path: str, *rules: str) -> None:
    place.write({"pager": {"url": hook.url(path), "page": True}}, rules or [COMPANY])


def told(hook: Hook) -> list[tuple[str, str, str]]:
    """(path, state, reason) of what was accepted, of rules only."""
    alerts = ((post.path, post.data) for post in hook.accepted)
    return [(path, a["state"], a["reason"]) for path, a in alerts if not a["rule"]["id"].startswith("budgetd")]


def of_budgetd(hook: Hook) -> list[tuple[str, str, str]]:
    alerts = ((post.path, post.data) for post in hook.accepted)
    return [(path, a["reason"], a["text"]) for path, a in alerts if a["reason"] == "channel_moved"]


def resolve(life: Life, now: datetime) -> None:
    (incident,) = [each for each in life.store.incidents() if each.rule == "company"]
    Desk(life.store, life.evaluator).do(Ask(Act.RESOLVE, "alice", "done", incident.id), now)


FIRED = ("/old", "firing", "step_reached")


def test_fault_109_an_end_goes_to_where_the_beginning_went(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        lead_to(place, hook, "/new")
        life.reload(NOW + HOUR * 2)
        bill.spend(DAY, "105000.00")
        life.poll(NOW + HOUR * 3)
        resolve(life, NOW + HOUR * 4)
        life.poll(NOW + HOUR * 4)
    # The next step was told to the new address, so both are told that it is over.
    assert told(hook)[:2] == [FIRED, ("/new", "firing", "step_reached")]
    assert sorted(told(hook)[2:]) == [("/new", "resolved", "by_hand"), ("/old", "resolved", "by_hand")]


def test_what_the_old_address_never_heard_of_it_hears_no_end_of(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        lead_to(place, hook, "/new")
        life.reload(NOW + HOUR)
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR * 2)
        resolve(life, NOW + HOUR * 3)
        life.poll(NOW + HOUR * 3)
    assert [path for path, _, _ in told(hook)] == ["/new", "/new"]


def test_a_channel_that_is_removed_gets_its_end(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        place.write({"team": hook.url("/team")}, [OTHER])
        life.reload(NOW + HOUR * 2)
        life.poll(NOW + HOUR * 3)
        (incident,) = [each for each in life.store.incidents() if each.rule == "company"]
        notices = life.store.notices(incident.id)
        records = {notice.id: life.store.deliveries(notice.id) for notice in notices}
        said = [line.words for line in story(notices, records)]
    assert told(hook) == [FIRED, ("/old", "resolved", "rule_removed")]
    assert any("pager (its address until 18 Nov 2026 14:00 UTC)" in words for words in said)


def test_what_was_not_delivered_goes_to_the_new_address_at_once(place: Place, bill: Bill, hook: Hook) -> None:
    hook.otherwise = 404
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        assert list(life.store.breakers()) == ["pager"]
        hook.otherwise = 200
        lead_to(place, hook, "/new")
        life.reload(NOW + HOUR)
        assert "pager" not in life.store.breakers()
        life.poll(NOW + HOUR + timedelta(seconds=1))
    assert told(hook) == [("/new", "firing", "step_reached")]


def test_an_old_address_that_takes_nothing_any_more_leaves_it_to_the_new_one(
    place: Place, bill: Bill, hook: Hook
) -> None:
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        lead_to(place, hook, "/new")
        life.reload(NOW + HOUR * 2)
        hook.statuses = [401]
        resolve(life, NOW + HOUR * 3)
        life.poll(NOW + HOUR * 3)
        assert life.store.recall().outbox == ()
    assert [(post.path, post.status) for post in hook.posts] == [("/old", 200), ("/old", 401), ("/new", 200)]


def test_an_address_that_is_back_is_the_channel_again(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        for hours, path in ((2, "/new"), (3, "/old")):
            lead_to(place, hook, path)
            life.reload(NOW + HOUR * hours)
        assert life.evaluator.rulebook.retired == {}
        (known,) = life.store.recall().told.values()
        assert known == {"pager"}
        resolve(life, NOW + HOUR * 4)
        life.poll(NOW + HOUR * 4)
    assert told(hook) == [FIRED, ("/old", "resolved", "by_hand")]


def test_a_way_out_is_kept_no_longer_than_it_is_owed_something(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        lead_to(place, hook, "/new")
        life.reload(NOW + HOUR * 2)
        life.reload(NOW + HOUR * 3)
        assert list(life.evaluator.rulebook.retired) == ["pager~20261118T140000Z"]
        resolve(life, NOW + HOUR * 4)
        life.poll(NOW + HOUR * 4)
        life.reload(NOW + HOUR * 5)
        assert life.evaluator.rulebook.retired == {}


def test_what_is_on_its_way_ends_where_it_went(place: Place, bill: Bill, hook: Hook) -> None:
    """The rules are read again while a page is under way: the lane that has it leads to the old address."""
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        changes = life.evaluator.take(life.reader.observe(NOW + HOUR, None), NOW + HOUR)
        (page,) = changes.deliveries
        life.outbox.send_due(NOW + HOUR)
        lead_to(place, hook, "/new")
        life.reload(NOW + HOUR)
        life.outbox.settle(life.inbox.get_nowait(), NOW + HOUR)  # type: ignore[arg-type]
        (record,) = life.store.deliveries(page.notices[0].id)
        assert record.delivery.state is DeliveryState.DELIVERED
        assert record.delivery.channel == "pager~20261118T130000Z"
        resolve(life, NOW + HOUR * 2)
        life.poll(NOW + HOUR * 2)
    assert told(hook) == [FIRED, ("/old", "resolved", "by_hand")]


def test_a_channel_that_is_called_otherwise_is_the_same(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        hook.otherwise = 503
        bill.spend(DAY, "105000.00")
        life.poll(NOW + HOUR * 2)
        hook.otherwise = 200
        place.write({"oncall": {"url": hook.url("/old"), "page": True}}, [COMPANY])
        life.reload(NOW + HOUR * 3)
        assert life.evaluator.rulebook.retired == {}
        life.poll(NOW + HOUR * 3)
    assert told(hook) == [FIRED, FIRED], "what waits is given up for no new name"
    place.write({"hotline": {"url": hook.url("/old"), "page": True}}, [COMPANY])
    with living(place, NOW + HOUR * 4) as life:
        resolve(life, NOW + HOUR * 4)
        life.poll(NOW + HOUR * 4)
    assert told(hook)[2:] == [("/old", "resolved", "by_hand")], "nor is a restart"


def test_an_old_address_that_has_another_name_gets_what_it_is_owed(place: Place, bill: Bill, hook: Hook) -> None:
    """The way to change the address of a page by a restart: keep the old one in the file under another name."""
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
    channels = {"pager": {"url": hook.url("/new"), "page": True}, "before": {"url": hook.url("/old"), "page": True}}
    place.write(channels, [COMPANY], "routes: [{notify: pager}]")
    with living(place, NOW + HOUR * 2) as life:
        resolve(life, NOW + HOUR * 2)
        life.poll(NOW + HOUR * 2)
    assert told(hook) == [FIRED, ("/old", "resolved", "by_hand")]
    assert of_budgetd(hook) == []


def test_what_ends_by_the_edit_ends_where_it_is_on_its_way_to(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.evaluator.take(life.reader.observe(NOW + HOUR, None), NOW + HOUR)
        life.outbox.send_due(NOW + HOUR)
        lead_to(place, hook, "/new", COMPANY.replace("1000", "9000"))
        life.reload(NOW + HOUR)
        life.outbox.settle(life.inbox.get_nowait(), NOW + HOUR)  # type: ignore[arg-type]
        life.poll(NOW + HOUR * 2)
    assert told(hook) == [FIRED, ("/old", "resolved", "limit_raised")]


# --- a new process -----------------------------------------------------------------------------


def test_a_restart_with_another_address_says_what_may_stay_open(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
    lead_to(place, hook, "/new")
    for hours in (2, 3):
        with living(place, NOW + HOUR * hours) as life:
            life.poll(NOW + HOUR * hours)
    place.write({"pager": {"url": hook.url("/new"), "page": True}, "team": hook.url("/team")}, [COMPANY])
    with living(place, NOW + HOUR * 4) as life:
        resolve(life, NOW + HOUR * 4)
        life.poll(NOW + HOUR * 4)
    assert told(hook) == [FIRED, ("/new", "resolved", "by_hand")], "the present address is the best that is known"


def test_it_is_told_to_the_others_once(place: Place, bill: Bill, hook: Hook) -> None:
    place.write({"pager": {"url": hook.url("/old"), "page": True}, "team": hook.url("/team")}, [COMPANY])
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
    place.write({"pager": {"url": hook.url("/new"), "page": True}, "team": hook.url("/team")}, [COMPANY])
    for hours in (2, 3):
        with living(place, NOW + HOUR * hours) as life:
            life.poll(NOW + HOUR * hours)
    ((path, _, text),) = of_budgetd(hook)
    assert path == "/team"
    assert text.startswith("Channel pager led elsewhere when these were sent, and budgetd cannot end them there:")
    assert "company" in text or "80 %" in text


def test_a_killed_process_leaves_nothing_at_an_old_address_unsaid(place: Place, bill: Bill, hook: Hook) -> None:
    """The way out that a reload kept is gone with the process; what it was owed goes to the present address."""
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        place.write({"pager": {"url": hook.url("/new"), "page": True}, "team": hook.url("/team")}, [COMPANY])
        life.reload(NOW + HOUR * 2)
    with living(place, NOW + HOUR * 3) as life:
        resolve(life, NOW + HOUR * 3)
        life.poll(NOW + HOUR * 3)
    assert told(hook) == [FIRED, ("/new", "resolved", "by_hand")]
    assert [path for path, _, _ in of_budgetd(hook)] == ["/team"]


def test_an_end_that_was_for_both_addresses_comes_to_the_one_that_is_left_once(
    place: Place, bill: Bill, hook: Hook
) -> None:
    """A seed of the simulation: after a kill the present address got its own end, and that of the old one."""
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        lead_to(place, hook, "/new")
        life.reload(NOW + HOUR * 2)
        bill.spend(DAY, "105000.00")
        life.poll(NOW + HOUR * 3)
        resolve(life, NOW + HOUR * 4)
        assert len(life.store.recall().outbox) == 2, "one for each address"
    with living(place, NOW + HOUR * 5) as life:
        life.poll(NOW + HOUR * 5)
    step, end = ("/new", "firing", "step_reached"), ("/new", "resolved", "by_hand")
    assert told(hook) == [FIRED, step, end]


def test_an_end_that_the_old_address_refuses_comes_to_the_new_one_once(place: Place, bill: Bill, hook: Hook) -> None:
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        lead_to(place, hook, "/new")
        life.reload(NOW + HOUR * 2)
        bill.spend(DAY, "105000.00")
        life.poll(NOW + HOUR * 3)
        resolve(life, NOW + HOUR * 4)
        hook.closed = {"/old"}
        life.poll(NOW + HOUR * 4)
        assert life.store.recall().outbox == ()
    step, end = ("/new", "firing", "step_reached"), ("/new", "resolved", "by_hand")
    assert told(hook) == [FIRED, step, end]


def test_a_new_address_is_tried_at_once_after_a_restart(place: Place, bill: Bill, hook: Hook) -> None:
    hook.otherwise = 404
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
    hook.otherwise = 200
    lead_to(place, hook, "/new")
    with living(place, NOW + HOUR + timedelta(seconds=5)) as life:
        life.poll(NOW + HOUR + timedelta(seconds=5))
    assert told(hook) == [("/new", "firing", "step_reached")]


def test_nothing_is_remembered_of_a_channel_that_is_gone(place: Place, bill: Bill, hook: Hook) -> None:
    hook.otherwise = 404
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        assert list(life.store.breakers()) == ["pager"]
    place.write({"team": hook.url("/team")}, [COMPANY])
    with living(place, NOW + HOUR * 2) as life:
        assert life.store.breakers() == {}


def test_an_address_is_nowhere_written_down(place: Place, bill: Bill, hook: Hook) -> None:
    place.write({"pager": hook.url("/token-CANARY", login="user:CANARY@")}, [COMPANY])
    with living(place) as life:
        bill.spend(DAY, "85000.00")
        life.poll(NOW + HOUR)
        lead_to(place, hook, "/new")
        life.reload(NOW + HOUR * 2)
        assert {len(each.fingerprint) for each in life.store.destinations()} == {4}
    assert b"CANARY" not in b"".join(path.read_bytes() for path in place.database.parent.glob("budgetd.db*"))


def test_a_fingerprint_is_of_one_address() -> None:
    channels = "{a: 'json://h/1', b: 'json://h/1', c: 'json://h/2'}"
    text = f"version: 1\nchannels: {channels}\nrules: [{OTHER}]\n"
    prints = [fingerprint(each) for each in parse(text, "r", environment={}).channels.values()]
    assert prints[0] == prints[1] != prints[2]
    assert prints == [fingerprint(each) for each in parse(text, "r", environment={}).channels.values()]


def test_what_a_retired_channel_is_called() -> None:
    assert channel("pager") == "pager"
    assert channel("pager~20261118T140000Z") == "pager (its address until 18 Nov 2026 14:00 UTC)"


# --- the whole daemon ----------------------------------------------------------------------------


def test_the_daemon_ends_at_the_old_address_after_a_reload(tmp_path: Path, bill: Bill, hook: Hook) -> None:
    place = Place(tmp_path / "place", bill.url)
    lead_to(place, hook, "/old", "{id: all, type: cap, limit: 100, per: day}")
    day = bill.today - timedelta(days=1)
    bill.spend(day, "5000")
    assert place.run("once", "--at", f"{bill.today}T12:00:00Z").code == 0
    bill.spend(day, "25000")
    with running(place, {"BUDGETD_POLL_EVERY": "1s"}) as process:
        until(lambda: told(hook), 20)
        lead_to(place, hook, "/new", "{id: all, type: cap, limit: 1000, per: day}")
        process.send_signal(signal.SIGHUP)
        until(lambda: len(told(hook)) > 1, 20)
    assert told(hook)[1] == ("/old", "resolved", "limit_raised")
