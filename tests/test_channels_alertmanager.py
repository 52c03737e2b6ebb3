"""Alertmanager: alerts as pure values, told to servers that enforce its API, and told again as long as they fire."""

from __future__ import annotations

import base64
import contextlib
import queue
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd import clock
from budgetd.channels import alertmanager_alert, registry
from budgetd.channels.alertmanager import ALERTS_AT_ONCE, KIND, AlertmanagerSender, combined
from budgetd.channels.alertmanager_alert import HELD, TOLD_FOR, Extras, alerts, encoded
from budgetd.commands.notify import notice_of_test
from budgetd.delivery import InThisThread
from budgetd.evaluation import Evaluator, Observation
from budgetd.inbox import Inbox
from budgetd.message import Message, render
from budgetd.model import (
    Contributor,
    Delivery,
    DeliveryState,
    Face,
    Kind,
    Label,
    Notice,
    Outcome,
    Reason,
    Receipt,
    Report,
    Severity,
)
from budgetd.outbox import Outbox
from budgetd.resending import END_REPEATED, Resending
from budgetd.rulebook import parse
from budgetd.stores.sqlite import SqliteStore, open_store
from budgetd.tick import deliver
from tests.alertmanagers import Kept, Strict
from tests.builders import ORGANISATION, at, cost_day, line, workspace
from tests.faulty_server import FaultyServer, answer, head, raw
from tests.living import Bill, Place, running, until
from tests.test_channels_pagerduty import ODD_NAMES, UNSEEN
from tests.test_message import FACTS, NOVEMBER, NOW, OVER, RATE, notice, read

network = pytest.mark.network
MINUTE = timedelta(minutes=1)
PLAIN = Extras({})
CRITICAL = replace(notice(OVER), id="ntc_2", sequence=2, severity=Severity.CRITICAL, created_at=NOW + MINUTE)
ENDED = replace(notice(OVER, kind=Kind.RESOLVE, reason=Reason.RESTATED), severity=Severity.CRITICAL, sequence=3)


def told(*notices: Notice, face: Face = Face.RICH, again: bool = False) -> list[dict[str, Any]]:
    message = render(Delivery("dlv_1", "am", notices, NOW, NOW, face=face), NOW)
    return alerts(replace(message, again=again), PLAIN, NOW)


# --- an alert ------------------------------------------------------------------------------------


def test_labels_are_what_never_changes_while_it_fires() -> None:
    (first,) = told(notice(FACTS))
    (second,) = told(
        replace(
            notice(
                replace(FACTS, organisation="New name", amount=Decimal(4990), limit=Decimal(6000), step=Decimal("0.9"))
            ),
            id="ntc_2",
            sequence=2,
        )
    )
    assert (
        first["labels"]
        == second["labels"]
        == {
            "alertname": "each-workspace",
            "job": "budgetd",
            "rule_type": "cap",
            "severity": "warning",
            "workspace": "wrkspc_01AbCd",
            "incident": "inc_1",
        }
    )
    assert (first["annotations"]["spent_usd"], second["annotations"]["spent_usd"]) == ("4012.37", "4990.00")
    assert first["annotations"]["workspace_name"] == "Research"
    assert "4012" not in str(first["labels"])


def test_a_severity_that_is_reached_is_an_alert_of_its_own_and_the_end_ends_all_of_them() -> None:
    fires = sorted((alert["labels"]["severity"], alert["startsAt"]) for alert in told(notice(FACTS), CRITICAL))
    assert fires == [("critical", "2026-11-18T14:07:00.000Z"), ("warning", "2026-11-18T14:06:00.000Z")]
    ends = told(ENDED)
    assert [alert["labels"]["severity"] for alert in ends] == ["info", "warning", "critical"]
    assert {alert["endsAt"] for alert in ends} == {"2026-11-18T14:06:00.000Z"}
    assert {tuple(alert) for alert in ends} == {("labels", "annotations", "endsAt", "generatorURL")}
    assert [alert["labels"] for alert in ends[:0:-1]] == [alert["labels"] for alert in told(notice(FACTS), CRITICAL)]


def test_steps_of_one_severity_are_one_alert_since_the_first_with_the_figures_of_the_last() -> None:
    later = replace(notice(replace(OVER)), id="ntc_2", sequence=2, created_at=NOW + MINUTE)
    (alert,) = told(later, notice(FACTS))
    assert alert["startsAt"] == "2026-11-18T14:06:00.000Z"
    assert alert["annotations"]["spent_usd"] == "5205.50"
    assert alert["endsAt"] == "2026-12-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("facts", "ends"),
    [
        (FACTS, NOVEMBER.end),
        (RATE, NOW + HELD),  # its window is over when it is told
        (replace(FACTS, period=replace(NOVEMBER, end=NOW + HELD - MINUTE)), NOW + HELD),
        (replace(FACTS, period=None), NOW + HELD),
    ],
)
def test_what_fires_lasts_to_its_periods_end_or_is_held(facts: Any, ends: Any) -> None:
    (alert,) = told(notice(facts))
    assert Kept.of(alert).ends == ends


def test_what_only_informs_is_one_alert_that_ends_by_itself() -> None:
    one = replace(notice(FACTS, kind=Kind.INFORM, reason=Reason.BASELINE), severity=Severity.INFO)
    many = [replace(one, id=f"ntc_{n}", incident=f"inc_{n}") for n in range(40)]
    (alert,) = told(*many)
    assert alert["labels"] == {
        "alertname": "budgetd",
        "job": "budgetd",
        "rule_type": "summary",
        "severity": "info",
        "incident": "dlv_1",
    }
    assert Kept.of(alert).ends == NOW + TOLD_FOR
    assert alert["annotations"]["summary"].startswith("budgetd starts watching: 40 limits")
    (single,) = told(one)
    assert single["labels"]["incident"] == "inc_1"


def test_what_concerns_budgetd_itself_has_no_labels_of_its_own() -> None:
    (alert,) = told(notice_of_test(NOW))
    assert alert["labels"].keys() == {"alertname", "job", "rule_type", "severity", "incident"}
    assert alert["labels"]["alertname"] == "budgetd:test"
    assert alert["annotations"]["summary"] == "Test message from budgetd"


def test_what_is_said_again_is_not_late() -> None:
    old = replace(notice(FACTS), created_at=NOW - timedelta(days=3))
    (late,) = told(old)
    (again,) = told(old, again=True)
    assert late["annotations"]["summary"].startswith("Late (3 days)")
    assert again["annotations"]["summary"].startswith("Research has used")


def test_each_face_is_simpler() -> None:
    rich, plain, minimal = (told(notice(FACTS), face=face)[0] for face in Face)
    assert rich["labels"] == plain["labels"] == minimal["labels"]
    assert set(plain["annotations"]) == {"summary", "description"}
    assert set(minimal["annotations"]) == {"summary"}
    assert minimal["annotations"]["summary"].isascii()
    assert [set(alert["annotations"]) for alert in told(ENDED, face=Face.MINIMAL)] == [{"summary"}] * 3


def test_what_could_not_be_put_into_words_is_an_alert_too() -> None:
    (alert,) = alerts(Message("dlv_9", "Title", "Body", Severity.CRITICAL, Kind.TRIGGER, {}), PLAIN, NOW)
    assert alert["labels"]["incident"] == "dlv_9"
    assert alert["annotations"] == {"summary": "Title", "description": "Body"}


odd = st.one_of(st.sampled_from(ODD_NAMES), st.text(max_size=40))


@given(odd, odd, odd)
def test_any_name_makes_an_alert_that_alertmanager_takes(rule: str, scope: str, other: str) -> None:
    labels = (Label("workspace", scope, other), Label("workspace", other, scope), Label("tag", rule, rule))
    contributors = (Contributor(other, scope, Decimal(1)),)
    facts = replace(FACTS, rule=rule, organisation=other, scope=labels, contributors=contributors)
    each = notice(facts), replace(ENDED, facts=facts)
    for alert in told(*each):
        kept = Kept.of(alert)
        assert {name for name, _ in kept.labels} == {
            "alertname", "job", "rule_type", "severity", "workspace", "tag", "incident"
        }  # fmt: skip
        assert not any(unicodedata.category(each) in UNSEEN for _, text in kept.labels for each in text)
    assert encoded(told(*each)).isascii()


# --- the URL -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("alertmanager://", "no host"),
        ("alertmanager://one,,two", "no host"),
        ("alertmanager://one:0", "a port that is none"),
        ("alertmanager://one:99999", "a port that is none"),
        ("alertmanager://one,one:9093", "named twice"),
        ("alertmanager://one?team=x", "label_NAME"),
        ("alertmanager://one?label_severity=x", "not one of budgetd's own"),
        ("alertmanager://one?label_a-b=x", "letters, digits and _"),
        ("alertmanager://one?label_team=", "has a value"),
        ("alertmanager://CANARY\u2100x@one", "no URL"),
    ],
)
def test_what_is_no_address_is_explained_without_repeating_it(url: str, words: str) -> None:
    complaint = registry.explain(url)
    assert complaint is not None
    assert words in complaint
    assert "CANARY" not in complaint


@pytest.mark.parametrize(
    "url", ["alertmanager://am", "alertmanager://10.1.2.3,[fd00::1]:1/am", "alertmanagers://a.example.com"]
)
def test_an_address_of_the_house_or_over_tls_needs_no_remark(url: str) -> None:
    assert registry.explain(url) is None
    assert registry.remark(url) is None


def test_plain_http_to_the_world_is_remarked_upon() -> None:
    remark = registry.remark("alertmanager://me:CANARY@am,alerts.example.com")
    assert remark is not None
    assert "alertmanagers:// is encrypted" in remark
    assert "CANARY" not in remark


def test_only_the_login_is_a_secret() -> None:
    public = "alertmanager://am:9093,[::1]:9094/alerts?label_team=finance&runbook=https://wiki.example.com/x"
    assert registry.secrets(public).forms == ()
    secret = registry.secrets(public.replace("://am", "://me:CANARYx1@am"))
    assert secret.scrub("am:9093 CANARYx1 finance") == "am:9093 *** finance"


def test_it_is_no_pager_and_is_told_again_each_minute() -> None:
    assert not KIND.pager
    assert KIND.resent == MINUTE
    channels = {"am": "alertmanager://one", "hook": "json://127.0.0.1", "out": "console://"}
    assert registry.resent(channels) == {"am": MINUTE}


# --- on the wire ---------------------------------------------------------------------------------


@network
def test_alerts_arrive_below_the_prefix_with_login_added_labels_and_runbook() -> None:
    with Strict(prefix="/alerts") as server:
        url = f"alertmanager://me:p%40ss@{server.host}/alerts/?label_team=finance&runbook=https://wiki.example.com/x"
        receipt = AlertmanagerSender(url, now=lambda: NOW).send(read(notice(FACTS)), 5)
    assert receipt == Receipt(Outcome.DELIVERED, "HTTP 200")
    assert server.refused == []
    (firing,) = server.firing(NOW)
    assert firing["team"] == "finance"
    assert server.posts[0][0]["annotations"]["runbook_url"] == "https://wiki.example.com/x"
    assert server.logins == [f"Basic {base64.b64encode(b'me:p@ss').decode()}"]


@network
def test_a_storm_goes_in_parts() -> None:
    many = [replace(notice(FACTS), id=f"ntc_{n}", incident=f"inc_{n}") for n in range(150)]
    with Strict() as server:
        receipt = AlertmanagerSender(f"alertmanager://{server.host}", now=lambda: NOW).send(read(*many), 10)
    assert receipt.outcome is Outcome.DELIVERED
    assert [len(post) for post in server.posts] == [ALERTS_AT_ONCE, ALERTS_AT_ONCE, 22]
    assert len(server.firing(NOW)) == 150


@network
def test_an_alert_that_is_refused_keeps_back_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [replace(notice(FACTS), id=f"ntc_{n}", incident=f"inc_{n}") for n in range(70)]
    monkeypatch.setattr(
        alertmanager_alert, "_time", lambda when: "yesterday" if when == many[0].created_at else f"{when}"
    )
    many[1:] = [replace(each, created_at=NOW + MINUTE) for each in many[1:]]
    with Strict() as server:
        receipt = AlertmanagerSender(f"alertmanager://{server.host}", now=lambda: NOW).send(read(*many), 10)
    assert receipt.outcome is Outcome.REJECTED
    assert len(server.refused) == 1
    assert len(server.firing(NOW)) == 69


@network
def test_every_replica_is_told_and_one_that_took_it_is_enough() -> None:
    with Strict() as one, Strict() as two:
        sender = AlertmanagerSender(f"alertmanager://{one.host},{two.host}", now=lambda: NOW)
        assert sender.send(read(notice(FACTS)), 5) == Receipt(Outcome.DELIVERED)
        two.status = 503
        receipt = sender.send(read(CRITICAL), 5)
        assert receipt == Receipt(Outcome.DELIVERED, f"taken by 1 of 2; {two.host}: HTTP 503")
        assert (len(one.firing(NOW)), len(two.firing(NOW))) == (2, 1)
        one.status = 400
        assert sender.send(read(CRITICAL), 5).outcome is Outcome.RETRY


@network
def test_a_replica_that_hangs_delays_the_others_once() -> None:
    with FaultyServer([lambda connection, _: connection.stall()]) as hung, Strict() as well:
        sender = AlertmanagerSender(f"alertmanager://127.0.0.1:{hung.port},{well.host}", now=lambda: NOW)
        assert sender.send(read(notice(FACTS)), 1).outcome is Outcome.DELIVERED
        began = time.perf_counter()
        receipt = sender.send(read(CRITICAL), 1)
        assert receipt.outcome is Outcome.DELIVERED
        assert "no answer in time" in receipt.detail
        assert 0.5 < time.perf_counter() - began < 2
    assert len(well.firing(NOW)) == 2


@pytest.mark.parametrize(
    ("outcomes", "wanted"),
    [
        ([Outcome.GONE, Outcome.RETRY], Outcome.RETRY),
        ([Outcome.UNAUTHORISED, Outcome.REJECTED], Outcome.REJECTED),
        ([Outcome.UNKNOWN, Outcome.RATE_LIMITED], Outcome.UNKNOWN),
        ([Outcome.GONE, Outcome.DELIVERED], Outcome.DELIVERED),
    ],
)
def test_of_several_answers_the_most_hopeful_counts(outcomes: list[Outcome], wanted: Outcome) -> None:
    found = combined({f"am{n}": Receipt(outcome, "why") for n, outcome in enumerate(outcomes)})
    assert found.outcome is wanted
    assert "am0: why" in found.detail


@network
@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (raw(head(400)), Outcome.REJECTED),
        (raw(head(404)), Outcome.GONE),
        (raw(head(302, location="http://elsewhere/")), Outcome.GONE),
        (answer(b"no user me:CANARYx1 bWU6Q0FOQVJZeDE=", 401), Outcome.UNAUTHORISED),
        (raw(head(503)), Outcome.RETRY),
        (answer(b"<html>Sign in</html>", content_type="text/html"), Outcome.UNKNOWN),
    ],
)
def test_what_an_answer_means(script: Any, outcome: Outcome) -> None:
    with FaultyServer([script]) as server:
        sender = AlertmanagerSender(f"alertmanager://me:CANARYx1@127.0.0.1:{server.port}", now=lambda: NOW)
        receipt = sender.send(read(notice(FACTS)), 5)
    assert receipt.outcome is outcome
    assert "CANARY" not in receipt.detail
    assert "Q0FOQVJZ" not in receipt.detail


# --- told again ----------------------------------------------------------------------------------

RULES = """\
version: 1
channels:
  am: "alertmanager://{host}"
  hook: "json://127.0.0.1/h"
routes: [{{notify: [am, hook]}}]
rules:
"""
EACH = (
    "  - {id: each, type: cap, limit: 100, per: month, for_each: workspace, severity: {80%: warning, 100%: critical}}\n"
)
ALL = "  - {id: all, type: cap, match: {workspace: Res*}, limit: 1000, per: month}\n"


class Silent:
    """Implements `Sender` for the channel that is not looked at."""

    sent = 0

    def send(self, message: Message, deadline: float) -> Receipt:
        self.sent += 1
        return Receipt(Outcome.DELIVERED)


class Watch:
    """A state, rules, and an outbox that tells a strict Alertmanager in this thread."""

    def __init__(self, store: SqliteStore, server: Strict, rules: str = EACH) -> None:
        self.store, self.server = store, server
        self.now = at("2026-11-18 12:00")
        self.silent = Silent()
        self.rules(rules)
        self.start()
        self.spend("0")  # the first look has nothing to tell

    def rules(self, rules: str) -> None:
        self.rulebook = parse(RULES.format(host=self.server.host) + rules, "rules.yaml", environment={})

    def start(self) -> None:
        """A new process on the same state."""
        self.inbox: Inbox = queue.SimpleQueue()
        self.evaluator = Evaluator(self.store, self.rulebook)
        sender = AlertmanagerSender(f"alertmanager://{self.server.host}", now=lambda: self.now)
        lanes = InThisThread({"am": sender, "hook": self.silent}, self.inbox.put)
        self.outbox = Outbox(self.store, self.evaluator, lanes, {}, Random(1))

    def spend(self, dollars: str) -> None:
        """A reading of the bill of November, with so much in it, and what follows at once."""
        amounts = {f"2026-11-{day:02}": "0" for day in range(1, 16)} | {"2026-11-16": dollars}
        days = tuple(cost_day(day, {line("wrkspc_a"): amount}) for day, amount in amounts.items())
        self.read(Report("cost_report", days[0].day, self.now.date(), days, at("2026-11-17")))

    def read(self, report: Report) -> None:
        names = (workspace("wrkspc_a", "Research"),)
        self.evaluator.take(Observation("cost_report", report, organisation=ORGANISATION, workspaces=names), self.now)
        deliver(self.outbox, self.inbox, self.now)

    def go(self, minutes: float, *, delivering: bool = True) -> None:
        """That much later: what is due, and what is told again."""
        self.now += minutes * MINUTE
        if delivering:
            deliver(self.outbox, self.inbox, self.now)
        self.outbox.resend(self.now)
        deliver(self.outbox, self.inbox, self.now) if delivering else None

    def firing(self) -> list[str]:
        return [f"{alert['alertname']} {alert['severity']}" for alert in self.server.firing(self.now)]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    with Strict() as server, contextlib.closing(open_store(tmp_path / "budgetd.db", NOW)) as store:
        yield Watch(store, server)
    assert server.refused == []


@network
def test_after_alertmanagers_restart_all_that_fires_is_there_again_within_a_minute(watch: Watch) -> None:
    watch.spend("90")
    watch.spend("120")
    assert watch.firing() == ["each warning", "each critical"]
    before, sent = dict(watch.server.kept), watch.silent.sent
    watch.server.forget()
    watch.go(1)
    assert watch.firing() == ["each warning", "each critical"]
    assert {kept: alert.starts for kept, alert in watch.server.kept.items()} == {
        kept: alert.starts for kept, alert in before.items()
    }
    assert watch.silent.sent == sent, "no other channel hears of it"
    assert len(watch.store.deliveries()) == 4, "and the outbox does not know of it"


@network
def test_the_end_is_repeated_for_a_quarter_of_an_hour_and_nothing_fires_again(watch: Watch) -> None:
    watch.spend("120")
    watch.go(1)
    watch.spend("10")
    watch.spend("10")
    assert watch.firing() == []
    posts = len(watch.server.posts)
    watch.server.forget()
    for _ in range(20):
        watch.go(1)
        assert watch.firing() == []
    assert len(watch.server.posts) - posts == END_REPEATED // MINUTE - 1
    watch.go(600)
    assert len(watch.server.posts) - posts == END_REPEATED // MINUTE - 1


@network
def test_the_end_that_was_not_taken_is_told_by_the_repetition(watch: Watch) -> None:
    watch.spend("120")
    watch.server.status = 503
    watch.spend("10")
    watch.spend("10")
    assert watch.firing() == ["each critical"]
    watch.server.status = 200
    watch.go(1, delivering=False)
    assert watch.firing() == []


@network
def test_it_goes_on_after_our_own_restart(watch: Watch) -> None:
    watch.spend("90")
    watch.server.forget()
    watch.start()
    watch.go(0)
    assert watch.firing() == ["each warning"]


@network
def test_what_opens_again_fires_again_and_only_with_what_it_has_reached_since(watch: Watch) -> None:
    watch.spend("120")
    watch.go(1)
    watch.spend("10")
    watch.spend("10")
    watch.go(1)
    watch.spend("90")
    watch.server.forget()
    watch.go(1)
    assert watch.firing() == ["each warning"]


@network
def test_the_end_of_a_rule_that_is_gone_ends_the_alert_that_it_had(watch: Watch) -> None:
    watch.rules(EACH + ALL)
    watch.evaluator.reload(watch.rulebook, watch.now)
    watch.spend("1200")
    watch.spend("1600")
    assert watch.firing() == ["each critical", "all warning"]
    watch.rules(EACH)
    watch.evaluator.reload(watch.rulebook, watch.now)
    deliver(watch.outbox, watch.inbox, watch.now)
    assert watch.firing() == ["each critical"]


@network
def test_the_end_of_a_period_is_told_and_replaces_what_was_never_taken(watch: Watch) -> None:
    watch.server.status = 503
    watch.spend("120")
    watch.now = at("2026-12-10 12:00")
    days = tuple(cost_day(f"2026-12-{day:02}", "1") for day in range(1, 9))
    watch.read(Report("cost_report", days[0].day, watch.now.date(), days, at("2026-12-09")))
    watch.server.status = 200
    watch.go(60)
    assert watch.server.posts, "that it is over"
    assert watch.firing() == []
    outbox = [each.delivery for each in watch.store.deliveries() if each.delivery.channel == "am"]
    assert [(each.state, each.notices[0].reason) for each in outbox] == [
        (DeliveryState.DELIVERED, Reason.PERIOD_OVER),
        (DeliveryState.SUPERSEDED, Reason.STEP_REACHED),
    ]


def test_a_failure_is_noted_once_and_a_late_answer_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    again = Resending()
    again.under_way.add("am")
    assert again.settle("again/am", Receipt(Outcome.RETRY, "HTTP 503"), late=True)
    assert again.under_way == {"am"}
    for _ in range(3):
        assert again.settle("again/am", Receipt(Outcome.RETRY, "HTTP 503"))
    assert again.under_way == set()
    assert not again.settle("dlv_1", Receipt(Outcome.DELIVERED))
    assert caplog.messages == ["channel am could not be told again what is firing: HTTP 503"]


# --- the program ---------------------------------------------------------------------------------


@network
def test_once_and_the_daemon_tell_it_again(tmp_path: Path) -> None:
    today = clock.now().date()
    with Bill(today) as bill, Strict() as server:
        bill.spend(today - timedelta(days=2), "100")
        place = Place(tmp_path, bill.url)
        place.write({"am": f"alertmanager://{server.host}"}, ["{id: week, type: cap, limit: 50, per: {last: 7d}}"])
        assert place.run("once").code == 0
        bill.spend(today - timedelta(days=2), "9000")
        assert place.run("once").code == 0
        for again in (lambda: contextlib.nullcontext(place.run("once")), lambda: running(place)):
            assert [each["alertname"] for each in server.firing(clock.now())] == ["week"]
            server.forget()
            with again():
                until(lambda: server.firing(clock.now()), 20)
        assert server.refused == []
        with place.state() as state:
            assert len(state.deliveries()) == 1
