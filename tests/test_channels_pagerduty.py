"""PagerDuty: the events as pure values, for whatever is in a name, and sent over TLS to a server on loopback."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.channels.pagerduty import A_FEW_MINUTES, KIND, PagerDutySender, target
from budgetd.channels.pagerduty_event import (
    BODY_BYTES,
    MOST_ALERTS,
    SUMMARY_LIMIT,
    Target,
    dedup_key,
    encoded,
    events,
)
from budgetd.channels.urls import Secrets
from budgetd.message import Message, render
from budgetd.model import Contributor, Delivery, Face, Kind, Label, Outcome, Reason, Severity
from tests.test_message import FACTS, RATE, SPIKE, notice, read
from tests.tls_proxy import Request, TlsProxy, http_answer, tls_proxy

network = pytest.mark.network
NOW = datetime(2026, 11, 18, 14, 6, tzinfo=UTC)
CANARY = "CANARYk3y0123456789abcdefghijklm"
KEY = "0123456789abcdef0123456789abcdef"
URL = f"pagerduty://{KEY}@budgetd"
TARGET = Target(KEY)
# Control, format, surrogate, private and unassigned characters, ends of lines and paragraphs.
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
ODD_NAMES = [
    "x" * 10_000,
    "\x00\x1b[31m",
    "\u202egnp.exe\u2066",
    "\ud800\udfff",
    "\N{PILE OF POO}" * 3_000,
    "a\r\nb\n\nSubject: x",
    '"},"routing_key":"x',
    "<!channel> @everyone <http://evil|click>",
    "",
    "\u200b\u3164",
    "0\xa00",
]


def event(message: Message, target: Target = TARGET) -> dict[str, Any]:
    (found,) = events(message, target)
    return found


def named(text: str) -> Message:
    """An alert about things of that name, wherever a name can stand."""
    parts = tuple(Contributor(text, text, Decimal("2610.22")) for _ in range(20))
    scope = (Label("workspace", text, text), Label("model", text, text))
    facts = replace(SPIKE, scope=scope, contributors=parts, rule=text, organisation=text, text=text)
    facts = replace(facts, comparison=replace(SPIKE.comparison, against=text)) if SPIKE.comparison else facts
    return read(notice(facts))


# --- what an event is --------------------------------------------------------------------------


def test_an_alert_opens_an_incident_with_everything_that_is_known() -> None:
    assert event(read(notice())) == {
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": "inc_1",
        "client": "budgetd",
        "client_url": "https://platform.claude.com/usage/cost",
        "payload": {
            "summary": "Research has used 80.2% of its November 2026 budget ($4,012.37 of $5,000); "
            "most of it: claude-opus-4-8 output tokens",
            "source": "budgetd",
            "severity": "warning",
            "timestamp": "2026-11-18T14:06:00Z",
            "component": "claude-opus-4-8",
            "group": "Research",
            "class": "budget.cap.firing",
            "custom_details": {
                "title": "Research has used 80.2% of its November 2026 budget ($4,012.37 of $5,000)",
                "incident": "inc_1",
                "reason": "step_reached",
                "rule": "each-workspace",
                "budget_usd": "5000.00",
                "spent_usd": "4012.37",
                "remaining_usd": "987.63",
                "spent_ratio": "0.8024",
                "basis": "billed",
                "complete": True,
                "step_reached": "0.8",
                "period": "2026-11-01T00:00:00Z/2026-12-01T00:00:00Z",
                "top_contributors": [
                    {
                        "model": "claude-opus-4-8",
                        "token_type": "output_tokens",
                        "usd": "2610.22",
                        "share": "0.6505",
                    },
                    {
                        "model": "claude-opus-4-8",
                        "token_type": "uncached_input_tokens",
                        "usd": "640.05",
                        "share": "0.1595",
                    },
                    {"model": None, "token_type": "web_search", "usd": "402.90", "share": "0.1004"},
                ],
                "data_through": "2026-11-18T14:00:00Z",
                "event_id": "dlv_1",
            },
        },
        "links": [{"href": "https://platform.claude.com/usage/cost", "text": "Cost report"}],
    }


def test_a_resolve_names_the_incident_and_nothing_else() -> None:
    found = event(read(notice(kind=Kind.RESOLVE, reason=Reason.RESTATED)))
    assert found == {"routing_key": KEY, "event_action": "resolve", "dedup_key": "inc_1"}


def test_the_last_end_under_an_umbrella_ends_that_too() -> None:
    last = replace(read(notice(kind=Kind.RESOLVE, reason=Reason.RESTATED)), umbrellas=("dlv_0",))
    assert [(each["event_action"], each["dedup_key"]) for each in events(last, TARGET)] == [
        ("resolve", "inc_1"),
        ("resolve", "dlv_0"),
    ]


def test_an_acknowledgement_names_the_incident_and_nothing_else() -> None:
    found = event(read(notice(kind=Kind.ACKNOWLEDGE, reason=Reason.ACKNOWLEDGED)))
    assert found == {"routing_key": KEY, "event_action": "acknowledge", "dedup_key": "inc_1"}


def test_an_umbrella_has_the_deliverys_id_and_lists_what_is_under_it() -> None:
    found = event(read(*(notice(id=f"ntc_{n}") for n in range(70))))
    details = found["payload"]["custom_details"]
    assert found["dedup_key"] == "dlv_1"
    assert (len(details["alerts"]), details["more_alerts"]) == (MOST_ALERTS, 20)
    assert details["alerts"][0]["spent_usd"] == "4012.37"


def test_several_that_are_resolved_at_once_are_resolved_one_by_one() -> None:
    ends = [replace(notice(id=f"ntc_{n}", kind=Kind.RESOLVE), incident=f"inc_{n}") for n in range(3)]
    found = events(read(*ends), TARGET)
    assert [(each["event_action"], each["dedup_key"]) for each in found] == [
        ("resolve", "inc_0"),
        ("resolve", "inc_1"),
        ("resolve", "inc_2"),
    ]


@pytest.mark.parametrize("severity", Severity)
@pytest.mark.parametrize("kind", [Kind.TRIGGER, Kind.INFORM])
def test_severities_are_pagerdutys_own(severity: Severity, kind: Kind) -> None:
    found = event(read(notice(severity=severity, kind=kind)))
    assert found["payload"]["severity"] == severity.value
    assert event(read(notice()), replace(TARGET, severity="error"))["payload"]["severity"] == "error"


def test_a_plainer_face_says_less_and_keeps_the_incident() -> None:
    rich, plain, minimal = (event(read(notice(), face=face)) for face in Face)
    assert "custom_details" in rich["payload"]
    assert set(plain) == set(rich) - {"links"}
    assert set(plain["payload"]) == set(rich["payload"]) - {"custom_details"}
    assert set(minimal["payload"]) == {"summary", "source", "severity"}
    assert minimal["payload"]["summary"].startswith("budgetd WARNING: Research has used 80.2%")
    assert {each["dedup_key"] for each in (rich, plain, minimal)} == {"inc_1"}


def test_a_rate_says_how_it_will_end() -> None:
    details = event(read(notice(RATE)))["payload"]["custom_details"]
    assert (details["per"], details["pace"]["by_midnight"]) == ("hour", "3950.10")


# --- what is in a name -------------------------------------------------------------------------


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        yield from (text for pair in node.items() for part in pair for text in _texts(part))
    elif isinstance(node, list):
        yield from (text for part in node for text in _texts(part))


def _is_within_limits(found: dict[str, Any]) -> None:
    body = encoded(found)
    assert len(body) <= BODY_BYTES
    assert json.loads(body) == found
    payload = found["payload"]
    assert 0 < len(payload["summary"]) <= SUMMARY_LIMIT
    assert all(0 < len(payload[key]) <= 255 for key in ("source", "component", "group", "class") if key in payload)
    assert not {unicodedata.category(character) for text in _texts(found) for character in text} & UNSEEN
    assert not any(isinstance(node, float) for node in payload.get("custom_details", {}).values())
    "".join(_texts(found)).encode()  # no lone surrogate


@pytest.mark.parametrize("text", ODD_NAMES)
def test_no_name_can_break_an_event(text: str) -> None:
    for message in (named(text), replace(named(text), face=Face.PLAIN)):
        _is_within_limits(event(message, Target(KEY, text or "budgetd", text, text, text)))


@given(text=st.text(max_size=300) | st.text(st.characters(categories=["Cs", "Cc", "Cf"]), max_size=50))
def test_no_name_at_all_can_break_an_event(text: str) -> None:
    _is_within_limits(event(named(text), Target(KEY, text, text, text, text)))


def test_what_is_too_large_goes_without_its_details() -> None:
    message = read(notice())
    message.data["data"]["text"] = "x" * BODY_BYTES
    found = event(message)
    _is_within_limits(found)
    assert "custom_details" not in found["payload"]


@pytest.mark.parametrize("id", ["x" * 256, "inc\n1", "incü"])
def test_an_id_that_is_no_key_becomes_one(id: str) -> None:
    assert dedup_key(id) == dedup_key(id)
    assert dedup_key(id).startswith("inc_")
    assert len(dedup_key(id)) < 255


# --- the URL -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "wanted", "region"),
    [
        (URL, Target(KEY, "budgetd"), "us"),
        (f"PagerDuty://{KEY}@Prod-1/", Target(KEY, "Prod-1"), "us"),
        (f"pagerduty://{KEY}@{'b' * 32}", Target(KEY, "budgetd"), "us"),
        (f"pagerduty://{KEY}@u+AbCdEf_0123456789a", Target(KEY, "budgetd"), "us"),
        (f"pagerduty://{KEY}@apikey/source/part", Target(KEY, "source", "part"), "us"),
        (
            f"pagerduty://{KEY}@x?region=EU&group=g&class=c&component=d&severity=error&click=https%3A%2F%2Fw.example",
            Target(KEY, "x", "d", "g", "c", "error", "https://w.example"),
            "eu",
        ),
        (f"pagerduty://{KEY}@x?source=my%20source", Target(KEY, "my source"), "us"),
    ],
)
def test_the_url_is_apprises_own_and_shorter(url: str, wanted: Target, region: str) -> None:
    assert target(url) == (wanted, region)
    assert KIND.explain(url) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("pagerduty://budgetd", "integration key is missing"),
        (f"pagerduty://{CANARY}@x?region=mars", "no such region; they are us and eu"),
        (f"pagerduty://{CANARY}@x?severity=bad", "no such severity; they are critical, error"),
        (f"pagerduty://{CANARY}@[x", "this is no URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_explained(url: str, words: str) -> None:
    explanation = KIND.explain(url)
    assert explanation is not None
    assert words in explanation
    assert CANARY not in explanation


def test_the_source_is_no_secret_and_the_keys_are() -> None:
    assert KIND.public(URL)
    forms = Secrets(URL, (), KIND.public(URL)).forms
    assert "budgetd" not in forms
    assert KEY in forms
    assert CANARY in Secrets(f"pagerduty://{KEY}@{CANARY}", (), KIND.public(f"pagerduty://{KEY}@{CANARY}")).forms


# --- what is sent ------------------------------------------------------------------------------


@pytest.fixture
def pagerduty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsProxy]:
    with tls_proxy(tmp_path) as server:
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, server.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
        server.answer = lambda _: http_answer(202, b'{"status":"success"}')
        yield server


@network
@pytest.mark.parametrize(
    ("url", "host"), [(URL, "events.pagerduty.com"), (f"{URL}?region=eu", "events.eu.pagerduty.com")]
)
def test_events_go_to_the_regions_address(url: str, host: str, pagerduty: TlsProxy) -> None:
    assert PagerDutySender(url).send(read(notice()), 5).outcome is Outcome.DELIVERED
    (request,) = pagerduty.requests
    assert (request.host, request.line) == (host, "POST /v2/enqueue HTTP/1.1")
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body) == event(read(notice()))


@network
def test_one_incident_is_triggered_updated_and_resolved_under_one_key(pagerduty: TlsProxy) -> None:
    sender = PagerDutySender(URL)
    for kind in (Kind.TRIGGER, Kind.TRIGGER, Kind.RESOLVE):
        delivery = Delivery(f"dlv_{len(pagerduty.requests)}", "pager", (notice(kind=kind),), NOW, NOW, page=True)
        assert sender.send(render(delivery, NOW), 5).outcome is Outcome.DELIVERED
    told = [json.loads(request.body) for request in pagerduty.requests]
    assert [(each["event_action"], each["dedup_key"]) for each in told] == [
        ("trigger", "inc_1"),
        ("trigger", "inc_1"),
        ("resolve", "inc_1"),
    ]


@network
@pytest.mark.parametrize(
    ("status", "headers", "outcome", "after"),
    [
        (202, (), Outcome.DELIVERED, None),
        (200, (), Outcome.UNKNOWN, None),
        (302, ("Location: https://elsewhere.example",), Outcome.GONE, None),
        (400, (), Outcome.REJECTED, None),
        (403, (), Outcome.UNAUTHORISED, None),
        (404, (), Outcome.GONE, None),
        (429, (), Outcome.RATE_LIMITED, A_FEW_MINUTES),
        (429, ("Retry-After: 7",), Outcome.RATE_LIMITED, 7),
        (429, ("Retry-After: soon",), Outcome.RATE_LIMITED, A_FEW_MINUTES),
        (500, (), Outcome.RETRY, None),
        (503, ("Retry-After: 9",), Outcome.RETRY, 9),
    ],
)
def test_fault_107_every_answer_has_its_outcome_and_shows_no_key(
    status: int, headers: tuple[str, ...], outcome: Outcome, after: float | None, pagerduty: TlsProxy
) -> None:
    def refused(request: Request) -> bytes:
        return http_answer(status, b"no: " + request.body[:300], *headers)

    pagerduty.answer = refused
    receipt = PagerDutySender(f"pagerduty://{CANARY}@budgetd").send(read(notice()), 5)
    assert (receipt.outcome, receipt.after) == (outcome, after)
    assert CANARY.encode() in pagerduty.requests[0].body
    assert CANARY not in receipt.detail


@network
def test_what_fails_in_the_middle_ends_there_and_can_be_repeated(pagerduty: TlsProxy) -> None:
    ends = [replace(notice(id=f"ntc_{n}", kind=Kind.RESOLVE), incident=f"inc_{n}") for n in range(3)]
    pagerduty.answer = lambda _: http_answer(202 if len(pagerduty.requests) < 2 else 503, b"")
    assert PagerDutySender(URL).send(read(*ends), 5).outcome is Outcome.RETRY
    assert len(pagerduty.requests) == 2


@network
def test_a_certificate_of_somebody_else_is_refused(pagerduty: TlsProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    receipt = PagerDutySender(URL).send(read(notice(FACTS)), 5)
    assert receipt.outcome is Outcome.RETRY
    assert "certificate" in receipt.detail
    assert pagerduty.requests == []
