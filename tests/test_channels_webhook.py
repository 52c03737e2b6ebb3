"""Webhooks: the signature as the standard has it, the body as the schema has it, sent to real servers on loopback."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.channels.signature import signed_headers, why_no_secret
from budgetd.channels.webhook import KIND, WebhookSender
from budgetd.cli import dispatch
from budgetd.message import Message, render_safely
from budgetd.model import Basis, Delivery, Face, Kind, Label, Outcome, Reason, Severity
from budgetd.schema import webhook_schema
from tests.certificates import certified, trusted
from tests.faulty_server import FaultyServer, answer, head, raw
from tests.test_message import FACTS, OVER, RATE, SAID, SPIKE, notice, read

network = pytest.mark.network
NOW = datetime(2026, 11, 18, 14, 6, 12, tzinfo=UTC)
SECRET, NEXT = ("whsec_" + base64.b64encode(bytes([n]) * 24).decode() for n in (1, 250))
CANARY = "CANARYx0Yz"


class Verifier:
    """What a receiver does, written from the text of the specification: nothing of budgetd's is in it."""

    TOLERANCE = 5 * 60  # seconds

    def __init__(self, secret: str) -> None:
        assert secret[:6] == "whsec_"
        self._key = base64.b64decode(secret[6:])

    def accepts(self, headers: dict[str, str], body: bytes, now: float) -> bool:
        number, at, signatures = (headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        if abs(now - int(at)) > self.TOLERANCE:
            return False
        wanted = hmac.new(self._key, b".".join([number.encode(), at.encode(), body]), hashlib.sha256).digest()
        for part in signatures.split(" "):
            version, _, signature = part.partition(",")
            if version == "v1" and hmac.compare_digest(base64.b64decode(signature), wanted):
                return True
        return False


def sender(url: str, *secrets: str, now: datetime = NOW) -> WebhookSender:
    return WebhookSender(url, secrets, lambda: now)


# --- signatures --------------------------------------------------------------------------------


def test_the_standards_own_example_is_signed_as_its_libraries_sign_it() -> None:
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(key=st.binary(min_size=24, max_size=64), body=st.binary(max_size=200), at=st.integers(0, 2**33))
def test_fault_124_a_receiver_accepts_what_was_signed_and_nothing_else(key: bytes, body: bytes, at: int) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    assert why_no_secret(secret) is None
    headers = signed_headers("dlv_1", at, body, [secret])
    verifier = Verifier(secret)
    assert verifier.accepts(headers, body, at)
    assert not verifier.accepts(headers, body + b" ", at)
    assert not verifier.accepts({**headers, "webhook-id": "dlv_2"}, body, at)
    assert not verifier.accepts({**headers, "webhook-timestamp": str(at + 1)}, body, at)
    assert not verifier.accepts(headers, body, at + 301)
    assert not Verifier("whsec_" + base64.b64encode(key + b"x").decode()).accepts(headers, body, at)


def test_while_secrets_change_receivers_with_either_accept() -> None:
    headers = signed_headers("dlv_1", 1, b"{}", [NEXT, SECRET])
    assert [Verifier(secret).accepts(headers, b"{}", 1) for secret in (SECRET, NEXT)] == [True, True]
    assert len(headers["webhook-signature"].split(" ")) == 2


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (CANARY, "starts with whsec_"),
        ("", "starts with whsec_"),
        ("WHSEC_" + "A" * 32, "starts with whsec_"),
        (f"whsec_{CANARY}!", "is base64"),
        ("whsec_ü" + "A" * 32, "is base64"),
        ("whsec_", "24 to 64 bytes once decoded; this one has 0"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "this one has 23"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "this one has 65"),
    ],
)
def test_what_is_no_secret_is_explained_without_repeating_it(secret: str, words: str) -> None:
    complaint = why_no_secret(secret)
    assert complaint is not None
    assert words in complaint
    assert CANARY not in complaint


# --- what is sent ------------------------------------------------------------------------------


@network
def test_the_event_arrives_signed_at_the_path_and_query_of_the_url() -> None:
    with FaultyServer([answer({})]) as server:
        url = f"webhook://me:p%40ss@localhost:{server.port}/a%2Fb/c?x=1&y=%26"
        receipt = sender(url, SECRET).send(read(notice()), 5)
    (request,) = server.requests
    assert receipt.outcome is Outcome.DELIVERED
    assert request.target == "/a%2Fb/c?x=1&y=%26"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == "dlv_1"
    assert request.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert request.headers["authorization"] == f"Basic {base64.b64encode(b'me:p@ss').decode()}"
    assert json.loads(request.body) == read(notice()).data
    assert Verifier(SECRET).accepts(request.headers, request.body, NOW.timestamp() + 60)


@network
def test_a_repetition_has_the_same_id_and_a_time_and_signature_of_its_own() -> None:
    with FaultyServer([raw(head(503)), answer({})]) as server:
        for seconds, wanted in ((0, Outcome.RETRY), (400, Outcome.DELIVERED)):
            at = NOW + timedelta(seconds=seconds)
            found = sender(f"webhook://localhost:{server.port}", SECRET, now=at).send(read(notice()), 5)
            assert found.outcome is wanted
    first, second = server.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert Verifier(SECRET).accepts(second.headers, second.body, NOW.timestamp() + 400)
    assert not Verifier(SECRET).accepts(first.headers, first.body, NOW.timestamp() + 400)


@network
def test_without_a_secret_nothing_is_signed() -> None:
    with FaultyServer([answer({})]) as server:
        assert sender(f"webhook://localhost:{server.port}").send(read(notice()), 5).outcome is Outcome.DELIVERED
    assert "webhook-signature" not in server.requests[0].headers
    assert server.requests[0].headers["webhook-id"] == "dlv_1"


@network
def test_webhooks_goes_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, authority = certified()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted(authority, tmp_path)))
    monkeypatch.setenv("no_proxy", "localhost")
    with FaultyServer([answer({})], tls=context) as server:
        url = f"webhooks://localhost:{server.port}/x"
        assert sender(url, SECRET).send(read(notice()), 5).outcome is Outcome.DELIVERED
        plain = sender(url.replace("webhooks", "webhook")).send(read(notice()), 5)
        assert plain.outcome in (Outcome.RETRY, Outcome.UNKNOWN)


@network
@pytest.mark.parametrize(
    "query", ["cloudevents=1", "a=b&cloudevents=yes", "cloudevents=1&a=b", "a=b&CloudEvents=1&c=d"]
)
def test_the_event_may_be_a_cloudevent(query: str) -> None:
    with FaultyServer([answer({})]) as server:
        receipt = sender(f"webhook://localhost:{server.port}/x?{query}", SECRET).send(read(notice()), 5)
    (request,) = server.requests
    event = json.loads(request.body)
    assert receipt.outcome is Outcome.DELIVERED
    assert "cloudevents" not in request.target.lower()
    assert [value for _, value in request.query] == [value for value in ("b", "d") if f"={value}" in query]
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert event["data"] == read(notice()).data["data"]
    assert {key: event[key] for key in event if key != "data"} == {
        "specversion": "1.0",
        "id": "dlv_1",
        "source": "/budgetd",
        "type": "budget.cap.firing",
        "subject": "inc_1",
        "time": "2026-11-18T14:06:00Z",
        "datacontenttype": "application/json",
    }
    assert Verifier(SECRET).accepts(request.headers, request.body, NOW.timestamp())


@network
def test_a_page_for_people_is_a_yes_whose_beginning_is_kept() -> None:
    with FaultyServer([answer(b"<html>Log in</html>", content_type="text/html")]) as server:
        receipt = sender(f"webhook://localhost:{server.port}/{CANARY}").send(read(notice()), 5)
    assert (receipt.outcome, receipt.detail) == (Outcome.DELIVERED, "HTTP 200: <html>Log in</html>")


@network
@pytest.mark.parametrize("status", [200, 302, 400, 401, 410, 429, 500])
def test_no_secret_of_url_or_signature_is_in_a_receipt(status: int) -> None:
    secret = "whsec_" + base64.b64encode(CANARY.encode() * 3).decode()
    said = f"{CANARY} {secret} {secret[6:]}".encode()
    with FaultyServer([raw(head(status, location=f"http://{CANARY}@x.example/{CANARY}") + said)]) as server:
        url = f"webhook://{CANARY}:{CANARY}2@localhost:{server.port}/{CANARY}?k={CANARY}"
        sending = sender(url, secret)
        receipt = sending.send(read(notice()), 5)
    assert CANARY not in receipt.detail
    assert secret[6:] not in receipt.detail
    assert CANARY not in repr(sending)


# --- what is warned of -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "secrets", "words"),
    [
        ("webhooks://a.example.com/x", [SECRET], None),
        ("webhooks://a.example.com/x", [], "nothing is signed"),
        ("webhook://127.0.0.1:8080/x", [SECRET], None),
        ("webhook://[::1]:8080/x", [SECRET], None),
        ("webhook://10.1.2.3/x", [SECRET], None),
        ("webhook://[fc00::1]/x", [SECRET], None),
        ("webhook://hooks/x", [SECRET], None),
        ("webhook://nas.lan/x", [SECRET], None),
        ("webhook://a.example.com/x", [SECRET], "in the clear"),
        ("webhook://8.8.8.8/x", [SECRET], "in the clear"),
        ("webhook://8.8.8.8/x", [], "in the clear"),
        ("webhook://8.8.8.8/x", [], "nothing is signed"),
    ],
)
def test_what_is_unsigned_or_in_the_clear_is_remarked_upon(url: str, secrets: list[str], words: str | None) -> None:
    remark = KIND.remark(url, secrets)
    assert (remark is None) if words is None else (remark is not None and words in remark)


@pytest.mark.parametrize(
    "url", ["webhook://", "webhooks:///x", "webhook://h:0/", "webhook://h:70000/", "webhook://[x/"]
)
def test_a_url_without_a_host_cannot_be_used(url: str) -> None:
    assert KIND.explain(url) is not None


# --- the schema --------------------------------------------------------------------------------


def closed(node: Any) -> Any:
    """The schema as one that takes no field that it does not describe."""
    return _closed(copy.deepcopy(node))


def _closed(node: Any) -> Any:
    if isinstance(node, dict):
        for value in node.values():
            _closed(value)
        if "properties" in node and node.get("type") in ("object", ["object", "null"]) and "allOf" not in node:
            node["additionalProperties"] = False
        if "allOf" in node:  # an alert, and what it has where it stands
            node["properties"].update(webhook_schema()["definitions"]["alert"]["properties"])
            node["additionalProperties"] = False
            del node["allOf"]
    elif isinstance(node, list):
        for value in node:
            _closed(value)
    return node


OPEN = jsonschema.Draft7Validator(webhook_schema())
CLOSED = jsonschema.Draft7Validator(closed(webhook_schema()))


def everything() -> Iterator[Message]:
    """Every kind of message that the renderer makes."""
    plain = replace(FACTS, rule="", rule_type="", scope=(), period=None, amount=None, limit=None, step=None, skipped=())
    plain = replace(plain, text="Something is\nto be said", contributors=())
    odd = replace(FACTS, scope=(), limit=Decimal(0), amount=Decimal("-3.1"), basis=Basis.MIXED, complete=False)
    many = replace(OVER, scope=(Label("workspace", "w", "W"), Label("model", "m", "\x00‮\ud800" * 500)))
    for facts in (FACTS, OVER, SPIKE, RATE, plain, odd, many):
        for reason in SAID:
            for kind in Kind:
                yield read(notice(facts, reason, kind, Severity.CRITICAL))
    for face in Face:
        yield read(notice(), face=face)
        for count in (2, 101, 150):
            yield read(*(notice(id=f"ntc_{n}") for n in range(count)), face=face)
    yield read(notice(plain, Reason.BLIND), notice(SPIKE), notice(RATE, kind=Kind.RESOLVE))


def test_the_schema_is_draft_07() -> None:
    jsonschema.Draft7Validator.check_schema(webhook_schema())


def test_every_message_is_as_the_schema_says_and_no_field_is_missing_in_it() -> None:
    for message in everything():
        sent = json.loads(json.dumps(message.data))
        assert list(OPEN.iter_errors(sent)) == []
        assert list(CLOSED.iter_errors(sent)) == []


def test_an_alert_without_words_is_as_the_schema_says() -> None:
    broken = notice(replace(FACTS, amount="no amount"))  # type: ignore[arg-type]
    message = render_safely(Delivery("dlv_1", "team", (broken,), NOW, NOW), NOW)
    assert message.data["type"] == "budgetd.unreadable"
    assert list(CLOSED.iter_errors(message.data)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"spent": 4012.37},
        {"spent": "4,012.37"},
        {"spent": "4012.3"},
        {"currency": "EUR"},
        {"basis": "guessed"},
        {"budget": None},
        {"complete": "yes"},
    ],
)
def test_the_schema_refuses_what_is_wrong(change: dict[str, Any]) -> None:
    sent = json.loads(json.dumps(read(notice()).data))
    sent["data"]["money"] |= change
    assert list(OPEN.iter_errors(sent)) != []


def test_receivers_need_not_mind_a_field_that_is_added() -> None:
    sent = json.loads(json.dumps(read(notice()).data))
    sent["data"]["money"]["new"] = sent["data"]["new"] = sent["new"] = 1
    assert list(OPEN.iter_errors(sent)) == []


# Published: nothing of this may ever go.
FIELDS = {
    "": "type timestamp data",
    "unreadable": "id title",
    "batch": "schema_version id sent_at severity title count alerts omitted links",
    "event": "schema_version id sent_at",
    "alert": "notice incident sequence state reason severity title text rule scope period step money comparison pace "
    "contributors data_through links",
    "alert.rule": "id type",
    "alert.scope": "type id name dimensions",
    "alert.period": "kind start end",
    "alert.step": "reached skipped",
    "alert.money": "currency per budget spent remaining spent_ratio basis complete",
    "alert.comparison": "against baseline factor ratio",
    "alert.pace": "since by_midnight by_month_end",
}


@pytest.mark.parametrize(("where", "fields"), FIELDS.items())
def test_fields_are_only_ever_added(where: str, fields: str) -> None:
    schema = webhook_schema()
    name, _, part = where.partition(".")
    node = schema["definitions"][name] if name else schema
    node = node["properties"][part] if part else node
    assert set(fields.split()) <= node["properties"].keys()
    assert name == "" or set(fields.split()) <= set(node["required"])


def test_budgetd_schema_webhook_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["schema", "webhook"]) == 0
    assert json.loads(capsys.readouterr().out) == webhook_schema()
