"""`status`, `alerts` and `notify`, as people and scripts see them."""

from __future__ import annotations

import fcntl
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from budgetd.blind import Sight, answered, compared
from budgetd.commands import status, status_json
from budgetd.commands.alerts_text import short_id, telling
from budgetd.commands.notify import lines, notice_of_test, try_out
from budgetd.commands.status import daemon_of
from budgetd.commands.status_text import Page
from budgetd.commands.terminal import Terminal, cells, fit, show, terminal
from budgetd.message import Flavour, Message
from budgetd.model import Attempt, Basis, Comparison, Delivery, Drift, Health, Organisation, Outcome, Planned, Receipt
from budgetd.overview import Around, Overview, Polling, Reading, RuleReadings
from budgetd.period import Period
from budgetd.store import DeliveryRecord, StoreError
from budgetd.stores.sqlite import open_store
from budgetd.stories import story
from tests.builders import at, finding, incident, naming, spike
from tests.cost_pages import NOW, TODAY
from tests.living import Bill, Hook, Place, Ran, here, living

SIX = at("2026-11-18 06:00")
SECRET = "pa55word-CANARY"
YESTERDAY = TODAY - timedelta(days=1)
RULES = [
    "{id: company, type: cap, limit: 500, per: month}",
    "{id: each, type: cap, limit: 100, per: month, for_each: workspace, severity: critical}",
    "{id: typo, type: cap, limit: 100, per: month, match: {workspace: Reserch}}",
]


@dataclass
class Scene:
    """A state after one pass: Research is over its limit, `team` works, `audit` refuses its login."""

    place: Place
    team: Hook
    audit: Hook
    capfd: pytest.CaptureFixture[str]

    def run(self, *words: str) -> Ran:
        ran = here(self.capfd, *words)
        assert SECRET not in ran.out + ran.err
        return ran

    def json(self, *words: str) -> Any:
        ran = self.run(*words, "--json")
        assert ran.code == 0
        return json.loads(ran.out, parse_float=lambda text: pytest.fail(f"a float: {text}"))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Scene]:
    with Bill() as bill, Hook() as team, Hook() as audit:
        place = Place(tmp_path / "place", bill.url, more={"TOKEN": SECRET})
        place.write({"team": team.url(), "audit": audit.url(login=f"budget:{SECRET}@")}, RULES)
        place.use(monkeypatch)
        bill.spend(YESTERDAY, "9000", "wrkspc_a")
        bill.spend(YESTERDAY, "1234", "wrkspc_b")
        audit.statuses[:] = [401] * 3
        with living(place) as life:
            life.poll(NOW - timedelta(hours=2))
            bill.spend(YESTERDAY, "13000.05", "wrkspc_a")
            life.poll(NOW)
        place.write({"team": team.url(), "audit": audit.url(login="budget:${TOKEN}@")}, RULES)
        yield Scene(place, team, audit, capfd)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path / "place", "http://127.0.0.1:1")
    place.write({"team": "json://127.0.0.1:1/"}, RULES)
    place.use(monkeypatch)
    return place


# --- status ----------------------------------------------------------------------------------------


@pytest.mark.network
def test_status_shows_spend_against_limits_incidents_and_channels(scene: Scene) -> None:
    ran = scene.run("status")
    assert ran.code == 0
    assert ran.err == ""
    page = " ".join(ran.out.split())
    assert "1 firing (1 critical), 1 channel failing" in page
    assert "$130.00 of $100 (130%)" in page
    assert "Research" in page
    assert "130% critical $130.00 of $100" in page
    assert "Support" in page
    assert "12.3% $12.34 of $100" in page
    assert "28.4% $142.34 of $500" in page
    assert "matched by this rule: a typing error in it?" in page
    assert "audit FAILING since" in page
    assert "HTTP 401" in page
    assert "The token or password is wrong or revoked" in page
    assert "team ok last delivered" in page
    assert "cost_report ok last read" in page


@pytest.mark.network
def test_status_fits_eighty_columns_and_is_plain_when_it_is_no_terminal(scene: Scene) -> None:
    out = scene.run("status", "--all").out
    assert max(map(cells, out.splitlines())) <= 80
    assert "\x1b" not in out


@pytest.mark.network
def test_status_as_json_has_the_same_facts_in_exact_figures(scene: Scene) -> None:
    seen = scene.json("status")
    assert seen["daemon"] == {"running": False, "pid": None}
    assert seen["organisation"] == {"id": "org_1", "name": "Example Company"}
    assert seen["rules_error"] is None
    (firing,) = seen["firing"]
    assert (firing["amount"], firing["limit"], firing["severity"]) == ("130.0005", "100", "critical")
    assert firing["scope"] == [{"dimension": "workspace", "id": "wrkspc_a", "name": "Research"}]
    each = next(rule for rule in seen["rules"] if rule["id"] == "each")
    assert [(reading["amount"], reading["share"]) for reading in each["readings"]] == [
        ("130.0005", "1.300005"),
        ("12.34", "0.1234"),
    ]
    assert each["readings"][0]["incident"] == firing["incident"]
    assert (each["basis"], each["complete"], each["matched"]) == ("billed", True, True)
    channels = {channel["name"]: channel for channel in seen["channels"]}
    assert channels["audit"]["last_outcome"] == "unauthorised"
    assert channels["audit"]["pending"] > 0
    assert channels["team"]["failing_since"] is None
    assert seen["sources"][0]["last_good_at"].endswith("Z")


@pytest.mark.network
def test_status_knows_the_daemon_by_its_lock_and_leaves_it_alone(scene: Scene) -> None:
    assert "THE DAEMON IS NOT RUNNING" in scene.run("status").out
    with closing(open_store(scene.place.database, NOW)):
        assert daemon_of(scene.place.database) == (True, os.getpid())
        assert "NOT RUNNING" not in scene.run("status").out
        assert scene.json("status")["daemon"] == {"running": True, "pid": os.getpid()}
        with pytest.raises(StoreError):
            open_store(scene.place.database, NOW)
    assert daemon_of(scene.place.database) == (False, None)
    open_store(scene.place.database, NOW).close()


def test_two_who_ask_at_once_do_not_take_each_other_for_the_daemon(tmp_path: Path) -> None:
    lock = tmp_path / "budgetd.db.lock"
    lock.write_text("123 used\n")
    with lock.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert daemon_of(tmp_path / "budgetd.db") == (False, None)


@pytest.mark.network
def test_status_with_a_broken_rules_file_shows_what_it_can(scene: Scene) -> None:
    scene.place.rules.write_text("version: 1\nchannels: {}\n")
    ran = scene.run("status")
    assert ran.code == 0
    assert "THE RULES FILE CANNOT BE USED" in ran.out
    assert "rules.yaml" in ran.out
    assert "Research" in ran.out
    assert "audit" in ran.out
    assert scene.json("status")["rules_error"]


@pytest.mark.network
def test_status_needs_no_secret_of_the_channels(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN")
    monkeypatch.delenv("BUDGETD_ADMIN_KEY_FILE")
    ran = scene.run("status")
    assert ran.code == 0
    assert "CANNOT BE USED" not in ran.out


@pytest.mark.parametrize("command", ["status", "alerts"])
def test_without_a_state_it_is_said_where_one_was_looked_for(
    command: str, empty: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = here(capfd, command)
    assert ran.code == 1
    assert "there is no state yet" in ran.err
    assert str(empty.database) in ran.err
    assert not empty.database.exists()
    assert not empty.database.parent.exists()


@pytest.mark.parametrize("command", ["status", "alerts", "notify"])
def test_a_mistake_in_the_settings_is_exit_78(
    command: str, empty: Place, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUDGETD_RULEZ", "x")
    ran = here(capfd, command)
    assert ran.code == 78
    assert "BUDGETD_RULEZ" in ran.err
    assert ran.out == ""


@pytest.mark.parametrize("command", ["status", "alerts"])
def test_commands_that_only_read_load_nothing_that_sends(command: str) -> None:
    code = f"import sys, budgetd.commands.{command}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"httpx", "httpcore", "apprise", "requests", "budgetd.delivery"}


@pytest.mark.parametrize("command", ["status", "alerts", "notify"])
def test_help_has_an_example(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        here(capfd, command, "--help")
    assert ended.value.code == 0
    assert f"example: budgetd {command}" in capfd.readouterr().out


def test_blindness_is_the_first_thing_that_is_said() -> None:
    since = at("2026-11-18 01:00")
    blind = Health("cost_report", at("2026-11-18"), since, 12, None, "HTTP 401: nope")
    seen = Overview(Organisation("o", "Example"), at("2026-11-17"), 3, (), (), (), (blind,))
    page = list(Page(Terminal(), Around(at("2026-11-18 06:00"), True)).lines(seen))
    assert "! CANNOT SEE SPEND since 18 Nov 01:00 UTC (5 hours). See Sources below." in page[:4]
    assert "12 failed polls" in "\n".join(page)
    assert "HTTP 401: nope." in "\n".join(page)


TWO_MINUTES = timedelta(minutes=2)


@pytest.mark.parametrize(
    ("running", "polling", "words"),
    [
        (True, Polling(), "No next poll is planned. 0 requests today, 0 yesterday."),
        (False, Polling(None, 1, 1440), "No next poll is planned. 1 request today, 1,440 yesterday."),
        (
            True,
            Polling(Planned(SIX + TWO_MINUTES, TWO_MINUTES, widened=True, words="every 2 minutes since a 429"), 362, 1),
            "Every 2 minutes since a 429, next poll 18 Nov 06:02 UTC. 362 requests today, 1 yesterday.",
        ),
        (
            True,
            Polling(Planned(SIX - timedelta(seconds=59), TWO_MINUTES, widened=False, words="every minute")),
            "Every minute, next poll 18 Nov 05:59 UTC.",
        ),
        (
            True,
            Polling(Planned(SIX - timedelta(hours=3), TWO_MINUTES, widened=False, words="hourly")),
            "Hourly, next poll overdue by 3 hours.",
        ),
        *(
            (
                running,
                Polling(Planned(SIX - timedelta(hours=3), TWO_MINUTES, widened=False, words="hourly")),
                "Hourly, while a daemon runs.",
            )
            for running in (False, None)
        ),
    ],
)
def test_the_plan_of_a_source_is_said(running: bool | None, polling: Polling, words: str) -> None:
    health = Health("cost_report", SIX)
    seen = Overview(Organisation("o", "Example"), SIX, 3, (), (), (), (health,), {"cost_report": polling})
    *_, last, told = Page(Terminal(100), Around(SIX, running)).lines(seen)
    assert last == "  cost_report  ok  last read 18 Nov 06:00 UTC (0 minutes ago)"
    assert told.strip().startswith(words)


def test_what_a_rule_is_about_stays_within_the_terminal() -> None:
    today = Period(at("2026-11-18"), at("2026-11-19"))
    against = Comparison("the same weekday a week before", Decimal(40), Decimal(2))
    usual = finding("50", limit="100", rule="jumps", period=today, complete=False)
    reading = Reading((), replace(usual, basis=Basis.ESTIMATED, comparison=against), Decimal("0.5"), None)
    rule = spike("same_weekday", id="jumps", for_each=["workspace", "model"])
    readings = RuleReadings(rule, today, (reading,), matched=True)
    seen = Overview(Organisation("o", "Example"), SIX, 3, (readings,), (), (), ())
    for columns in (80, 100, 120):
        lines = list(Page(Terminal(columns), Around(SIX, True)).lines(seen))
        assert max(map(cells, "\n".join(lines).splitlines())) <= columns
        words = "spike per workspace and model, 18 Nov 2026, against the same weekday a week before, estimated"
        assert f"jumps {words}, days missing" in " ".join(" ".join(lines).split())


@pytest.mark.parametrize(
    ("estimated", "billed", "colour", "words"),
    [
        ("412.1", "415.00", 32, "17 Nov 2026        $412.10 estimated        $415.00 billed  0.6% too low"),
        ("1200.5", "1000", 33, "17 Nov 2026      $1,200.50 estimated      $1,000.00 billed  20% too high"),
        ("1000", "1000.00", 32, "17 Nov 2026      $1,000.00 estimated      $1,000.00 billed  exact"),
        ("2", "0", 33, "17 Nov 2026          $2.00 estimated          $0.00 billed  100% too high"),
    ],
)
def test_an_estimate_is_shown_beside_its_bill(estimated: str, billed: str, colour: int, words: str) -> None:
    drifts = (Drift(date(2026, 11, 17), Decimal(estimated), Decimal(billed)),)
    seen = Overview(Organisation("o", "Example"), SIX, 3, (), (), (), (Health("cost_report", SIX),), drifts=drifts)
    *_, title, plain = Page(Terminal(80), Around(SIX, True)).lines(seen)
    assert (title, plain) == ("Estimates, and what was billed", f"  {words}")
    *_, coloured = Page(Terminal(80, colour=True), Around(SIX, True)).lines(seen)
    assert f"\x1b[{colour}m" in coloured
    assert status_json.document(seen, Around(SIX, True))["drifts"] == [
        {"day": "2026-11-17", "estimated": estimated, "billed": billed.removesuffix(".00")}
    ]


def test_the_plan_of_a_source_as_json() -> None:
    polling = Polling(Planned(SIX, TWO_MINUTES, widened=True, words="every 2 minutes since a 429"), 362, 1441)
    sources = (Health("cost_report", SIX), Health("usage_report"))
    seen = Overview(Organisation("o", "Example"), SIX, 3, (), (), (), sources, {"cost_report": polling})
    names = ("next_poll_at", "interval_seconds", "widened", "plan", "requests_today", "requests_yesterday")
    told = status_json.document(seen, Around(SIX, True))["sources"]
    assert [[each[name] for name in names] for each in told] == [
        ["2026-11-18T06:00:00Z", 120, True, "every 2 minutes since a 429", 362, 1441],
        [None, None, None, None, 0, 0],
    ]
    assert all(name in (status.__doc__ or "") for name in told[0])


@pytest.mark.parametrize(
    ("health", "lines"),
    [
        (
            compared(Health("clock"), 1.0, at("2026-11-18 05:00")),
            ["clock  ok  last right 18 Nov 05:00 UTC (1 hour ago)"],
        ),
        (
            compared(Health("clock", at("2026-11-18 04:00")), 300, at("2026-11-18 05:00")),
            [
                "! CANNOT TRUST THIS MACHINE'S CLOCK since 18 Nov 05:00 UTC (1 hour).",
                "clock  WRONG  since 18 Nov 05:00 UTC (1 hour), 1 failed poll, last right 18 Nov 04:00 UTC",
                "this machine's clock is 5 minutes behind the API's. Set it, best by NTP",
            ],
        ),
        (
            answered(Health("usage_report"), at("2026-11-18 04:00"), at("2026-11-18 05:00")),
            [
                "! CANNOT SEE SAME-DAY SPEND since 18 Nov 05:00 UTC (1 hour).",
                "but has had nothing newer than 18 Nov 2026 04:00 UTC. That is at the service's end",
            ],
        ),
    ],
    ids=["right", "off", "stopped"],
)
def test_the_clock_and_a_report_that_stopped_are_among_the_sources(health: Sight, lines: list[str]) -> None:
    seen = Overview(Organisation("o", "Example"), at("2026-11-17"), 3, (), (), (), (health.health,))
    page = " ".join(line.strip() for line in Page(Terminal(), Around(at("2026-11-18 06:00"), True)).lines(seen))
    assert [line for line in lines if line not in page] == []


# --- the terminal ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "bar"),
    [
        ("0", "...."),
        ("0.0001", "#..."),
        ("0.5", "##.."),
        ("0.9999", "###."),
        ("1", "####"),
        ("7", "####"),
        ("-1", "...."),
    ],
)
def test_a_bar_is_full_only_at_the_limit_and_empty_only_at_nothing(share: str, bar: str) -> None:
    assert Terminal(blocks=False).bar(Decimal(share), 4) == bar


@pytest.mark.parametrize("text", ["Research", "研究チーム・東京", "e\u0301e\u0301e\u0301e\u0301", ""])
def test_a_name_takes_exactly_its_column_in_every_script(text: str) -> None:
    assert cells(fit(text, 7)) == 7


def test_what_an_output_cannot_encode_is_no_error() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    assert not terminal(out, {}).blocks
    show(["Zürich █ 80%"], out)
    assert raw.getvalue() == b"Z?rich ? 80%\n"


@pytest.mark.parametrize(("environment", "colour"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_only_where_they_are_wanted(environment: dict[str, str], colour: bool) -> None:
    class Screen(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    assert terminal(Screen(), environment).colour is colour
    assert not terminal(io.StringIO(), {}).colour


# --- alerts ----------------------------------------------------------------------------------------


@pytest.mark.network
def test_alerts_lists_open_ones_first_with_ids_that_show_takes(scene: Scene) -> None:
    ran = scene.run("alerts")
    assert ran.code == 0
    assert max(map(cells, ran.out.splitlines())) <= 80
    assert "Open (1)" in ran.out
    assert "critical: $130.00 of $100 (130%)" in ran.out
    first = ran.out.split()[2]
    assert first.startswith("inc_")
    assert scene.run("alerts", "show", first).code == 0
    assert f"budgetd alerts show {first}" in ran.out


@pytest.mark.network
def test_one_story_tells_every_notice_message_and_attempt(scene: Scene) -> None:
    (found, *_) = scene.json("alerts")
    ran = scene.run("alerts", "show", found["incident"])
    assert max(map(cells, ran.out.splitlines())) <= 80
    story = " ".join(ran.out.split())
    assert "Critical, open since" in story
    assert "step reached, critical" in story
    assert "Research is over its" in story
    assert "team, attempt 1: delivered" in story
    assert "audit, attempt 1: login refused" in story
    assert "HTTP 401: ok" in story
    assert "Still to come audit attempt 2" in story
    assert "The token or password is wrong or revoked" in story


@pytest.mark.network
def test_a_story_as_json_has_every_attempt_and_exact_figures(scene: Scene) -> None:
    (found, *_) = scene.json("alerts")
    told = scene.json("alerts", "show", found["incident"])
    assert told["amount"] == "130.0005"
    last = told["notices"][-1]
    assert last["reason"] == "step_reached"
    outcomes = {d["channel"]: [a["outcome"] for a in d["attempts"]] for d in last["deliveries"]}
    assert outcomes == {"team": ["delivered"], "audit": ["unauthorised"]}
    events = [(event["what"], event["channel"]) for event in told["events"]]
    sent = {(what, name) for what in ("queued", "tried") for name in outcomes}
    assert set(events) == {("decided", None), ("superseded", "audit"), *sent}


@pytest.mark.network
def test_an_incident_is_found_by_the_start_of_any_id_of_its_own(scene: Scene) -> None:
    (found, *_) = scene.json("alerts")
    told = scene.json("alerts", "show", found["incident"])
    notice = told["notices"][-1]
    for whole in (notice["id"], notice["deliveries"][0]["id"]):
        for given in (whole, whole[:12], whole.partition("_")[2][:9]):
            assert scene.json("alerts", "show", given)["incident"] == found["incident"]


@pytest.mark.network
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", "inc_zzzz"], 1, "no incident, notice or delivery begins with 'inc_zzzz'"),
        (["show", "inc_"], 1, "too short"),
        (["show", "%\x1b[31m"], 1, "no incident"),
        (["show"], 2, "show needs the start of an id"),
    ],
)
def test_an_id_that_means_nothing_is_said(scene: Scene, words: list[str], code: int, said: str) -> None:
    ran = scene.run("alerts", *words)
    assert ran.code == code
    assert said in ran.err
    assert "\x1b" not in ran.err


def test_attempts_that_fail_alike_are_told_once_and_counted() -> None:
    created = at("2026-11-18 06:00")
    notice = notice_of_test(created)
    sent = Delivery("dlv_1", "audit", (notice,), created, created)
    outcomes = [*[(Outcome.UNAUTHORISED, "HTTP 401")] * 12, (Outcome.RETRY, "HTTP 503"), (Outcome.DELIVERED, "")]
    attempts = tuple(
        Attempt(sent.id, n, created + timedelta(hours=n), created + timedelta(hours=n, seconds=1), outcome, detail)
        for n, (outcome, detail) in enumerate(outcomes, 1)
    )
    record = DeliveryRecord(sent, attempts)
    told = story([notice], {notice.id: [record]})
    page = list(telling(incident("1"), told, [record], naming(), Terminal(), created))
    shown = [line.strip() for line in page if "audit, attempt" in line or "alike" in line]
    assert [line.partition("audit, ")[2] or line for line in shown] == [
        "attempt 1: login refused (1.0 s)",
        "and 11 more attempts alike, the last 18 Nov 18:00 UTC",
        "attempt 13: failed, to be tried again (1.0 s)",
        "attempt 14: delivered (1.0 s)",
    ]


def test_short_ids_are_long_enough_to_tell_them_apart() -> None:
    ids = ["inc_0123456789abcdef0000", "inc_0123456789abcdef1111", "inc_fedcba98765432100000"]
    assert [short_id(each, ids) for each in ids] == ["inc_0123456789abcdef0", "inc_0123456789abcdef1", "inc_fedcba98"]


# --- notify ----------------------------------------------------------------------------------------


@pytest.mark.network
def test_notify_sends_a_test_message_through_every_channel_and_says_what_became_of_it(scene: Scene) -> None:
    before = len(scene.team.posts)
    scene.audit.statuses[:] = [401]
    ran = scene.run("notify")
    assert ran.code == 1
    team, failed, *advised = ran.out.splitlines()
    assert team.startswith("team   delivered in ")
    assert team.endswith(" ms")
    assert failed.startswith("audit  FAILED: HTTP 401")
    assert "wrong or revoked" in " ".join(advised)
    (post,) = scene.team.posts[before:]
    assert post.data["reason"] == "test"
    assert "Nothing is wrong" in post.json["message"]


@pytest.mark.network
def test_notify_needs_neither_key_nor_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Hook() as hook:
        place = Place(tmp_path / "place", "http://127.0.0.1:1")
        place.write({"team": hook.url(), "other": "json://127.0.0.1:1/"}, RULES)
        place.use(monkeypatch)
        monkeypatch.delenv("BUDGETD_ADMIN_KEY_FILE")
        ran = here(capfd, "notify", "team")
        assert (ran.code, ran.err) == (0, "")
        assert len(ran.out.splitlines()) == 1
        assert len(hook.posts) == 1
        assert not place.database.exists()


def test_notify_knows_the_channel_that_was_meant(empty: Place, capfd: pytest.CaptureFixture[str]) -> None:
    ran = here(capfd, "notify", "teem")
    assert ran.code == 2
    assert "no channel 'teem'; did you mean \"team\"?" in ran.err


class Stuck:
    """A way out that never ends, until the test does."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def send(self, message: Message, deadline: float) -> Receipt:
        self.ended.wait(30)
        return Receipt(Outcome.DELIVERED)


class Quick:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    def send(self, message: Message, deadline: float) -> Receipt:
        self.messages.append(message)
        return Receipt(Outcome.DELIVERED)


def test_a_channel_that_never_ends_holds_up_no_other() -> None:
    stuck, quick = Stuck(), Quick()
    results = try_out({"stuck": stuck, "quick": quick}, {"quick": Flavour.TEXT}, NOW, deadline=0.1, grace=0.1)
    stuck.ended.set()
    assert [(result.channel, result.receipt.outcome) for result in results] == [
        ("stuck", Outcome.UNKNOWN),
        ("quick", Outcome.DELIVERED),
    ]
    assert "look whether it arrived" in "\n".join(lines(results[0], ["stuck", "quick"], Terminal()))
    assert "Test message from budgetd" in quick.messages[0].title


def test_every_test_message_is_a_message_of_its_own() -> None:
    assert notice_of_test(NOW).id != notice_of_test(NOW + timedelta(seconds=1)).id
