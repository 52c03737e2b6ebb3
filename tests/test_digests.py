"""Digests are sent once for each time that they are due, whatever is killed, late, edited or set back."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from budgetd import clock
from budgetd.digests import Digests
from budgetd.evaluation import Evaluator, Observation
from budgetd.model import Changes, CostDay, Delivery, DeliveryState, Kind, Organisation, Report, RuleState, Severity
from budgetd.period import DAY, midnight
from budgetd.rulebook import Rulebook
from budgetd.store import StoreError
from budgetd.stores.sqlite import SqliteStore, open_store
from tests.builders import at, cost_day
from tests.living import Bill, Hook, Place, here, running, until
from tests.rules_text import HEAD, RULES, read, refused

WEEKLY = 'digests: [{id: weekly, every: monday, at: "08:00", zone: Europe/Berlin, notify: team}]\n'
START = at("2026-11-18 10:00")
DUE = at("2026-11-23 07:00")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
NO_TIME = timedelta(0)


class Scene:
    """A state on disk, and processes that come and go on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store: SqliteStore
        self.evaluator: Evaluator
        self.digests: Digests

    def start(self, now: datetime, digests: str = WEEKLY, settle: timedelta = NO_TIME) -> None:
        self.store = open_store(self.path, now)
        self.evaluator = Evaluator(self.store, book(digests))
        self.digests = Digests(self.store, self.evaluator, settle=settle)
        self.digests.send_due(now)

    def end(self) -> None:
        self.store.close()

    def known(self, last: date, now: datetime, days: int = 14) -> None:
        """The bill of so many days up to that one."""
        found: tuple[CostDay, ...] = tuple(cost_day(last - DAY * n, "5") for n in range(days))
        report = Report("cost_report", last - DAY * days, last + DAY, found, midnight(last + DAY))
        self.evaluator.take(Observation("cost_report", report, organisation=Organisation("org_1", "Acme")), now)

    def sent(self, now: datetime) -> list[str]:
        """The channels of what is put into the outbox at that time."""
        return [delivery.channel for delivery in self.digests.send_due(now)]

    @property
    def kept(self) -> list[Delivery]:
        return [record.delivery for record in self.store.deliveries()]


def book(digests: str) -> Rulebook:
    return read(HEAD.replace('"slack://a/b/c"', '"json://127.0.0.1"') + RULES + digests)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path / "state.db")
    yield made
    with contextlib.suppress(AttributeError):
        made.end()


def test_nothing_of_before_the_first_start_then_one_for_each_time(scene: Scene) -> None:
    scene.start(START)
    scene.known(date(2026, 11, 22), DUE - HOUR)
    assert scene.sent(DUE - MINUTE) == []
    assert scene.sent(DUE) == ["team"]
    assert scene.sent(DUE + MINUTE) == scene.sent(DUE + HOUR) == []
    scene.known(date(2026, 11, 29), DUE + DAY * 7 - HOUR)
    assert scene.sent(DUE + DAY * 7) == ["team"]
    assert len(scene.kept) == 2


def test_it_informs_pages_nobody_and_is_in_the_outbox_with_its_notice(scene: Scene) -> None:
    scene.start(START)
    scene.known(date(2026, 11, 22), DUE - HOUR)
    scene.sent(DUE)
    (delivery,) = scene.kept
    (notice,) = delivery.notices
    assert (notice.kind, notice.severity, delivery.page) == (Kind.INFORM, Severity.INFO, False)
    assert delivery.state is DeliveryState.PENDING
    assert notice.facts.digest is not None
    assert notice.facts.digest.spent.amount == 35
    assert notice.facts.digest.due == "Monday 23 November 2026 08:00 Europe/Berlin"
    assert scene.store.notices(notice.incident) == (notice,)


def test_a_restart_sends_nothing_twice_and_a_clock_that_is_set_back_neither(scene: Scene) -> None:
    scene.start(START)
    scene.known(date(2026, 11, 22), DUE - HOUR)
    assert scene.sent(DUE) == ["team"]
    for later in (MINUTE, HOUR, DAY, DAY * 6):
        scene.end()
        scene.start(DUE + later)
    assert scene.sent(DUE - HOUR) == []
    assert scene.sent(DUE + MINUTE) == []
    assert len(scene.kept) == 1


def test_after_downtime_only_the_newest_comes_once(scene: Scene) -> None:
    scene.start(START)
    scene.known(date(2026, 11, 18), START)
    scene.end()
    back = DUE + DAY * 15
    scene.start(back, settle=10 * MINUTE)
    assert scene.kept == []  # the sources have not told yet what happened meanwhile
    scene.known(date(2026, 12, 7), back + MINUTE, days=35)
    assert scene.sent(back + 2 * MINUTE) == ["team"]
    (delivery,) = scene.kept
    digest = delivery.notices[0].facts.digest
    assert digest is not None
    assert (digest.spent.period.end, digest.spent.missing) == (at("2026-12-07"), ())
    assert scene.sent(back + HOUR) == []


def test_when_the_sources_say_nothing_after_a_start_it_goes_out_all_the_same(scene: Scene) -> None:
    scene.start(START)
    scene.end()
    back = DUE + 7 * HOUR
    scene.start(back, settle=10 * MINUTE)
    assert scene.sent(back + 9 * MINUTE) == []
    assert scene.sent(back + 10 * MINUTE) == ["team"]


def test_it_waits_for_yesterday_and_then_says_what_is_missing(scene: Scene) -> None:
    scene.start(START)
    scene.known(date(2026, 11, 21), DUE - HOUR)
    assert scene.sent(DUE) == scene.sent(DUE + 3 * HOUR) == scene.sent(DUE + 6 * HOUR - MINUTE) == []
    assert scene.sent(DUE + 6 * HOUR) == ["team"]
    digest = scene.kept[0].notices[0].facts.digest
    assert digest is not None
    assert digest.spent.missing == (date(2026, 11, 22),)


def test_it_goes_out_as_soon_as_yesterday_is_there(scene: Scene) -> None:
    scene.start(START)
    scene.known(date(2026, 11, 21), DUE - HOUR)
    assert scene.sent(DUE) == []
    scene.known(date(2026, 11, 22), DUE + HOUR)
    assert scene.sent(DUE + HOUR + MINUTE) == ["team"]
    digest = scene.kept[0].notices[0].facts.digest
    assert digest is not None
    assert digest.spent.missing == ()


def test_an_edited_schedule_sends_nothing_for_what_is_past(scene: Scene) -> None:
    scene.start(START)
    scene.known(date(2026, 11, 22), DUE)
    assert scene.sent(DUE) == ["team"]
    tuesday = DUE + DAY * 2
    scene.evaluator.reload(book(WEEKLY.replace("monday", "tuesday")), tuesday)
    assert scene.sent(tuesday + MINUTE) == []
    scene.known(date(2026, 11, 30), DUE + DAY * 8 - HOUR)
    assert scene.sent(DUE + DAY * 8) == ["team"]


def test_one_that_is_removed_and_comes_back_is_new(scene: Scene) -> None:
    scene.start(START)
    scene.evaluator.reload(book(""), START + HOUR)
    assert not any(name.startswith("budgetd:digest") for name in scene.store.recall().rules)
    scene.known(date(2026, 11, 22), DUE)
    assert scene.sent(DUE + MINUTE) == []
    scene.evaluator.reload(book(WEEKLY), DUE + HOUR)
    assert scene.sent(DUE + HOUR + MINUTE) == []
    scene.known(date(2026, 11, 29), DUE + DAY * 7)
    assert scene.sent(DUE + DAY * 7) == ["team"]


def test_reloads_and_polls_keep_what_is_known_of_a_digest(scene: Scene) -> None:
    scene.start(START)
    scene.evaluator.reload(book(WEEKLY), START + HOUR)
    scene.known(date(2026, 11, 22), DUE)
    assert scene.sent(DUE) == ["team"]


def test_a_state_that_cannot_be_written_loses_none_and_doubles_none(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.start(START)
    scene.known(date(2026, 11, 22), DUE - HOUR)

    def full(_store: SqliteStore, _changes: Changes) -> None:
        raise StoreError("no space left", transient=True)

    with monkeypatch.context() as patched:
        patched.setattr(SqliteStore, "commit", full)
        with pytest.raises(StoreError):
            scene.sent(DUE)
    assert scene.kept == []
    assert scene.sent(DUE + MINUTE) == ["team"]
    assert scene.sent(DUE + 2 * MINUTE) == []


def test_mistakes_of_a_digest_are_at_their_place() -> None:
    wrong = 'digests:\n  - {id: w, every: mondy, at: "8:00", zone: Europe/Berln, notify: [team, pager, tem], xx: 1}\n'
    report = refused(HEAD + RULES + wrong)
    for words in (
        "7:20: expected monday, tuesday, wednesday, thursday, friday, saturday, sunday, day or month, not 'mondy'; "
        'did you mean "monday"?',
        "7:31: expected a time of the day from 00:00 to 23:59, such as 08:00, not '8:00'",
        '7:45: there is no time zone "Europe/Berln"; write an IANA name such as Europe/Berlin, or UTC; '
        'did you mean "Europe/Berlin"?',
        '"pager" wakes somebody, and a digest never does; name another channel',
        'there is no channel "tem" (channels are team, pager); did you mean "team"?',
        'unknown key "xx"; known are id, every, at, zone, notify',
    ):
        assert words in report
    twice = "digests: [{id: w, every: day, notify: team}, {id: w, every: day, notify: team}]\n"
    assert 'a second digest with the id "w"; the first is on line 6' in refused(HEAD + RULES + twice)


def test_without_a_zone_and_a_time_it_is_eight_in_utc() -> None:
    (digest,) = read(HEAD + RULES + "digests: [{id: d, every: day, notify: team}]\n").digests
    assert digest.schedule.words == "every day at 08:00 UTC"


# --- real processes ----------------------------------------------------------------------------


@pytest.mark.network
def test_a_daemon_sends_the_late_digest_once_through_kills(tmp_path: Path) -> None:
    now = clock.now()
    with Bill(today=now.date()) as bill, Hook() as hook:
        for n in range(1, 16):
            bill.spend(now.date() - DAY * n, "1250")
        place = Place(tmp_path / "place", bill.url)
        due = now - MINUTE  # a minute that is past also when the test starts at its very beginning
        entry = f'digests: [{{id: daily, every: day, at: "{due:%H:%M}", notify: audit}}]'
        place.write(
            {"audit": f"webhook://127.0.0.1:{hook.port}/hook"},
            ["{id: all, type: cap, limit: 100000, per: month}"],
            entry,
        )
        place.database.parent.mkdir(parents=True)
        with contextlib.closing(open_store(place.database, now)) as store:
            words = f"every day at {due:%H:%M} UTC"
            before = RuleState("budgetd:digest/daily", now - DAY, now, words, "digest")
            store.commit(Changes(at=now, rules=(before,)))
        for _ in range(2):
            asked = len(bill.server.requests)
            with running(place) as daemon:
                until(lambda: hook.posts and len(bill.server.requests) > asked + 2)  # noqa: B023 (used at once)
                daemon.send_signal(signal.SIGHUP)
                until(lambda: settled(place))
    (post,) = [each for each in hook.posts if each.json["type"] == "budgetd.digest"]
    last = due.date() - DAY
    assert post.data["digest"]["spent"] == {
        "period": {"start": f"{last}T00:00:00Z", "end": f"{last + DAY}T00:00:00Z"},
        "amount": "12.50",
        "complete": True,
        "missing_days": [],
    }


def settled(place: Place) -> bool:
    with place.state() as state:
        return all(record.delivery.state is DeliveryState.DELIVERED for record in state.deliveries())


@pytest.mark.network
def test_one_pass_sends_it_and_the_command_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Bill(today=date(2026, 11, 24)) as bill, Hook() as hook:
        for n in range(1, 16):
            bill.spend(date(2026, 11, 24) - DAY * n, "1250")
        place = Place(tmp_path / "place", bill.url)
        entry = "digests: [{id: daily, every: day, notify: audit}]"
        place.write(
            {"audit": f"webhook://127.0.0.1:{hook.port}/hook"},
            ["{id: all, type: cap, limit: 100000, per: month}"],
            entry,
        )
        place.use(monkeypatch)
        assert here(capfd, "once", "--at", "2026-11-23T09:00:00Z").code == 0
        assert hook.posts == []
        rehearsed = here(capfd, "once", "--at", "2026-11-24T09:00:00Z", "--dry-run")
        assert "--- to audit ---\n23 Nov 2026: $12.50 spent, as much as the day before" in rehearsed.out
        for _ in range(2):
            assert here(capfd, "once", "--at", "2026-11-24T09:00:00Z").code == 0
        assert [post.json["type"] for post in hook.posts] == ["budgetd.digest"]
        shown = here(capfd, "digest", "--at", "2026-11-24T10:00:00Z")
        assert shown.code == 0
        assert shown.out.startswith("23 Nov 2026: $12.50 spent, as much as the day before\n\nDaily digest, due Tuesday")
        assert here(capfd, "digest", "dayly").err == (
            "budgetd digest: the rules file has no digest 'dayly'; did you mean \"daily\"?\n"
        )
        assert here(capfd, "digest", "dayly").code == 2
        assert len(hook.posts) == 1
