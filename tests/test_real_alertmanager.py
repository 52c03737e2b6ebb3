"""Debian's own Alertmanager takes what budgetd tells it, and notifies as the docs say. Skipped where it is not there.

`apt-get install prometheus-alertmanager`, or ALERTMANAGER=/path/to/prometheus-alertmanager.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from budgetd import clock
from budgetd.channels.alertmanager import AlertmanagerSender
from budgetd.message import Message
from budgetd.model import Kind, Label, Notice, Outcome, Reason, Severity
from budgetd.period import Period
from budgetd.resending import message
from tests.alertmanagers import ABSENT, Alertmanager, Receiver, alertmanager, configuration, free_port, program
from tests.test_channels_pagerduty import ODD_NAMES
from tests.test_message import FACTS, OVER, notice, read

pytestmark = [pytest.mark.network, pytest.mark.skipif(program() is None, reason=ABSENT)]
SECOND = timedelta(seconds=1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with contextlib.closing(Receiver()) as made:
        yield made


def said(now: datetime, *, severity: Severity = Severity.WARNING, kind: Kind = Kind.TRIGGER, number: int = 1) -> Notice:
    """A notice of this month, decided now."""
    facts = replace(FACTS if severity is Severity.WARNING else OVER, period=Period(now, now + timedelta(days=5)))
    reason = Reason.STEP_REACHED if kind is Kind.TRIGGER else Reason.RESTATED
    made = notice(facts, kind=kind, reason=reason)
    return replace(made, id=f"evt_{number}", sequence=number, severity=severity, created_at=now)


def tell(sender: AlertmanagerSender, *messages: Message) -> None:
    for each in messages:
        assert sender.send(each, 10).outcome is Outcome.DELIVERED


def told(receiver: Receiver, count: int) -> list[tuple[str, str, str]]:
    return sorted(each for came in receiver.wait_for(count) for each in came.told)


def test_a_warning_then_critical_then_the_end_of_both(tmp_path: Path, receiver: Receiver) -> None:
    with alertmanager(tmp_path, configuration(receiver)) as real:
        sender = AlertmanagerSender(f"alertmanager://127.0.0.1:{real.port}")
        first = said(clock.now())
        tell(sender, read(first))
        assert told(receiver, 1) == [("firing", "each-workspace", "warning")]
        alert = receiver.came[0].body["alerts"][0]
        assert alert["annotations"]["summary"].startswith("Research has used 80.2%")
        assert alert["generatorURL"] == "https://platform.claude.com/usage/cost"
        second = said(clock.now(), number=2)
        second = replace(second, facts=replace(second.facts, amount=OVER.amount))
        tell(sender, read(second))
        third = said(clock.now(), severity=Severity.CRITICAL, number=3)
        tell(sender, read(third))
        assert told(receiver, 2)[0] == ("firing", "each-workspace", "critical")
        active = {each["labels"]["severity"]: each for each in real.alerts()}
        assert active.keys() == {"warning", "critical"}
        assert active["warning"]["annotations"]["spent_usd"] == "5205.50", "the figures of the last step"
        assert datetime.fromisoformat(active["warning"]["startsAt"]) - first.created_at < SECOND, "since the first"
        tell(sender, read(said(clock.now(), severity=Severity.CRITICAL, kind=Kind.RESOLVE, number=4)))
        assert told(receiver, 4)[2:] == [("resolved", "each-workspace", each) for each in ("critical", "warning")]
        assert real.alerts() == []
        assert len(receiver.came) == 4, "a further step of a severity is no notification of its own"


def test_it_forgets_and_is_told_again_and_then_the_end(tmp_path: Path, receiver: Receiver) -> None:
    with alertmanager(tmp_path, configuration(receiver)) as real:
        sender = AlertmanagerSender(f"alertmanager://127.0.0.1:{real.port}")
        first = said(clock.now())
        tell(sender, read(first))
        receiver.wait_for(1)
        real.kill()
        real.start()
        assert real.alerts() == [], "alerts are in its memory only"
        tell(sender, message("am", [first]))
        assert [each["labels"]["incident"] for each in real.alerts()] == ["inc_1"]
        receiver.wait_for(2)
        end = said(clock.now(), kind=Kind.RESOLVE, number=2)
        tell(sender, read(end), message("am", [end]), message("am", [end]))
        assert told(receiver, 3)[-1] == ("resolved", "each-workspace", "warning")
        time.sleep(1.5)
        tell(sender, message("am", [end]))
        time.sleep(1.5)
        assert [each.told for each in receiver.came].count([("resolved", "each-workspace", "warning")]) == 1
        assert real.alerts() == []


def test_an_end_of_something_unknown_is_told_to_nobody(tmp_path: Path, receiver: Receiver) -> None:
    with alertmanager(tmp_path, configuration(receiver)) as real:
        sender = AlertmanagerSender(f"alertmanager://127.0.0.1:{real.port}")
        tell(sender, read(said(clock.now(), kind=Kind.RESOLVE)))
        time.sleep(2)
        assert receiver.came == []


def test_it_takes_any_name(tmp_path: Path, receiver: Receiver) -> None:
    with alertmanager(tmp_path, configuration(receiver)) as real:
        sender = AlertmanagerSender(f"alertmanager://127.0.0.1:{real.port}?label_team=finance")
        for number, name in enumerate(ODD_NAMES):
            one = said(clock.now())
            facts = replace(one.facts, rule=name, organisation=name, scope=(Label("workspace", name, name),))
            tell(sender, read(replace(one, facts=facts, incident=f"inc_{number}")))
        assert len(real.alerts()) == len(ODD_NAMES)
        assert {each["labels"]["team"] for each in real.alerts()} == {"finance"}


@pytest.mark.slow
def test_replicas_below_a_prefix_notify_once(tmp_path: Path, receiver: Receiver) -> None:
    clusters = [free_port(), free_port()]
    more = {"prefix": "/alerts", "more": ("--cluster.settle-timeout=1s", "--cluster.peer-timeout=2s")}

    def replica(number: int) -> contextlib.AbstractContextManager[Alertmanager]:
        other = [clusters[1 - number]]
        return alertmanager(
            tmp_path / str(number), configuration(receiver), cluster=clusters[number], peers=other, **more
        )

    with replica(0) as one, replica(1) as two:
        for each in (one, two):
            while each.get("/api/v2/status")["cluster"]["status"] != "ready":
                time.sleep(0.05)
        sender = AlertmanagerSender(f"alertmanager://127.0.0.1:{one.port},127.0.0.1:{two.port}/alerts")
        first = said(clock.now())
        tell(sender, read(first))
        assert [len(each.alerts()) for each in (one, two)] == [1, 1]
        time.sleep(3)
        assert [each.told for each in receiver.came] == [[("firing", "each-workspace", "warning")]]
        one.kill()
        receipt = sender.send(message("am", [first]), 10)
        assert receipt.outcome is Outcome.DELIVERED
        assert receipt.detail.startswith(f"taken by 1 of 2; 127.0.0.1:{one.port}: could not connect")
        tell(sender, read(said(clock.now(), kind=Kind.RESOLVE, number=2)))
        assert told(receiver, 2)[-1] == ("resolved", "each-workspace", "warning")
        one.start()
