"""What a service answers, and what becomes of the message: each answer at each kind of channel, over real TLS."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from budgetd.advice import advice
from budgetd.backoff import Settlement, after
from budgetd.channels import registry
from budgetd.message import render
from budgetd.model import Delivery, DeliveryState, Face, Outcome, Receipt
from tests.slack_server import HOOK, TOKEN
from tests.test_message import notice
from tests.tls_proxy import TlsProxy, http_answer, tls_proxy

pytestmark = pytest.mark.network

NOW = datetime(2026, 11, 18, 14, 6, tzinfo=UTC)
DEADLINE = 10.0
GIGABYTE = 10**9
PIECE = b"x" * 65536
# What the sockets and the two TLS layers hold beside the 64 KiB that are read.
MOST_SENT = 16 * 2**20
MOST_MEMORY = 2**20
# What a person reads of it in a list of attempts.
LONGEST_DETAIL = 300
SECRET = "CANARYsecret0123456789"
PAGERDUTY_KEY = "0123456789abcdef0123456789abcdef"

URLS = {
    "webhook": f"webhooks://hooks.example.com/in/{SECRET}",
    "slack webhook": f"slack://{HOOK}",
    "slack bot": f"slack://{TOKEN}/#alerts",
    "pagerduty": f"pagerduty://{PAGERDUTY_KEY}@budgetd",
    "teams": f"workflows://prod-1.westus.logic.example.com:443/flow0abc/{SECRET}",
    "alertmanager": f"alertmanagers://budgetd:{SECRET}@alerts.example.com",
    "apprise json": f"jsons://json.example.com/in/{SECRET}",
    "apprise discord": f"discord://123456789012345678/{SECRET}",
}
SECRETS = (SECRET, HOOK, HOOK.rpartition("/")[2], TOKEN, PAGERDUTY_KEY)
PAGERS = ("pagerduty",)


# --- what is expected ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Becomes:
    """The outcome, and what the schedule makes of it: bounds of the next attempt in seconds; whether others are told.

    `held`: nothing else goes to the channel until then. `simpler`: at once again, in the next face.
    """

    outcome: Outcome
    wait: tuple[float, float] | None = None
    told: bool = False
    held: bool = False
    simpler: bool = False


BROKEN = (1800, 3600)
DELIVERED = Becomes(Outcome.DELIVERED)
AFTER_SEVEN = Becomes(Outcome.RATE_LIMITED, (7, 9), held=True)
AFTER_HALF_A_MINUTE = Becomes(Outcome.RATE_LIMITED, (30, 35), held=True)
AFTER_MINUTES = Becomes(Outcome.RATE_LIMITED, (180, 185), held=True)
GONE = Becomes(Outcome.GONE, BROKEN, told=True)
UNAUTHORISED = Becomes(Outcome.UNAUTHORISED, BROKEN, told=True)
SOON = Becomes(Outcome.RETRY, (1, 5))
MAYBE = Becomes(Outcome.UNKNOWN, (1, 5))
SIMPLER = Becomes(Outcome.REJECTED, simpler=True)


@dataclass(frozen=True)
class Row:
    """An answer, what becomes of the message, and at which kinds it is something else.

    `length`: of a body that the server would go on sending.
    """

    status: int
    body: bytes
    headers: tuple[str, ...]
    becomes: Becomes
    but: Mapping[str, Becomes] = field(default_factory=dict)
    length: int = 0

    def pieces(self, sent: list[int]) -> Iterator[bytes]:
        """The answer; `sent` counts what of a long body has left."""
        if not self.length:
            yield http_answer(self.status, self.body, *self.headers)
            return
        yield f"HTTP/1.1 {self.status} Status\r\nContent-Length: {self.length}\r\n\r\n".encode()
        while sum(sent) < self.length:
            yield PIECE
            sent.append(len(PIECE))


NOT_OK = b'{"ok":false,"error":"invalid_auth"}'
PORTAL = b"<!doctype html><html><title>Log in to the hotel's network</title></html>"
# PagerDuty says 202, Slack says ok; the others take each 2xx for a yes, as Standard Webhooks wants it.
ROWS = {
    "429, Retry-After: 7": Row(429, b"slow down", ("Retry-After: 7",), AFTER_SEVEN),
    "429, as Discord says it": Row(
        429,
        b'{"message": "You are being rate limited.", "retry_after": 7.0, "global": false}',
        ("Retry-After: 7", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 4102444800"),
        AFTER_SEVEN,
    ),
    "429": Row(429, b"slow down", (), AFTER_HALF_A_MINUTE, {"pagerduty": AFTER_MINUTES}),
    "410": Row(410, b"no more", (), GONE),
    "404": Row(404, b"not here", (), GONE),
    "302": Row(302, b"", ("Location: https://elsewhere.example.com/x",), GONE),
    "401": Row(401, b"who are you", (), UNAUTHORISED),
    "400": Row(400, b"bad request", (), SIMPLER),
    "503, Retry-After: 20": Row(503, b"busy", ("Retry-After: 20",), Becomes(Outcome.RETRY, (20, 20))),
    "500": Row(500, b"<h1>Oops</h1>", (), SOON),
    "200, ok:false": Row(
        200,
        NOT_OK,
        ("Content-Type: application/json",),
        DELIVERED,
        {"slack webhook": SOON, "slack bot": UNAUTHORISED, "pagerduty": MAYBE},
    ),
    "200, an HTML portal": Row(
        200,
        PORTAL,
        ("Content-Type: text/html; charset=utf-8",),
        DELIVERED,
        {"slack webhook": SOON, "slack bot": SOON, "pagerduty": MAYBE, "teams": MAYBE, "alertmanager": MAYBE},
    ),
    "200, 1 GB": Row(
        200, b"", (), DELIVERED, {"slack webhook": MAYBE, "slack bot": MAYBE, "pagerduty": MAYBE}, GIGABYTE
    ),
    "500, 1 GB": Row(500, b"", (), SOON, length=GIGABYTE),
}


# --- how it is tried -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsProxy]:
    with tls_proxy(tmp_path_factory.mktemp("tls")) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def way(server: TlsProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
    server.requests.clear()


def send(kind: str) -> Receipt:
    url = URLS[kind]
    delivery = Delivery("dlv_1", "team", (notice(),), NOW, NOW)
    return registry.sender(url).send(render(delivery, NOW, registry.flavour(url)), DEADLINE)


def settled(kind: str, receipt: Receipt) -> list[Settlement]:
    """What the schedule makes of it at the first attempt, with as many throws of its dice."""
    delivery = Delivery("dlv_1", "team", (notice(),), NOW, NOW, page=kind in PAGERS)
    return [after(delivery, receipt, NOW, Random(number)) for number in range(50)]


def found(kind: str, receipt: Receipt) -> Becomes:
    """What became of it, in the words of the table; the bounds are what was found."""
    all_of_them = settled(kind, receipt)
    first = all_of_them[0]
    simpler = first.face is Face.PLAIN and first.next_attempt_at == NOW
    delivered = first.state is DeliveryState.DELIVERED
    waits = [] if simpler or delivered else [each.next_attempt_at - NOW for each in all_of_them if each.next_attempt_at]
    bounds = (min(waits) / timedelta(seconds=1), max(waits) / timedelta(seconds=1)) if waits else None
    held = first.hold_channel_until is not None and first.hold_channel_until == first.next_attempt_at
    return Becomes(receipt.outcome, bounds, first.escalate, held, simpler)


@pytest.mark.parametrize("kind", URLS)
@pytest.mark.parametrize("name", ROWS)
def test_faults_103_to_110_each_answer_has_its_outcome_at_each_kind_of_channel(
    name: str, kind: str, server: TlsProxy
) -> None:
    row, sent = ROWS[name], list[int]()
    server.answer = lambda _request: row.pieces(sent)
    receipt = send(kind)
    is_as(found(kind, receipt), row.but.get(kind, row.becomes))
    assert len(server.requests) == 1, "it is asked again, before it is time"
    assert sum(sent) < MOST_SENT
    reads_well(receipt)


def is_as(what: Becomes, wanted: Becomes) -> None:
    assert (what.outcome, what.told, what.held, what.simpler) == (
        wanted.outcome,
        wanted.told,
        wanted.held,
        wanted.simpler,
    )
    if wanted.wait is None or what.wait is None:
        assert what.wait == wanted.wait
    else:
        assert wanted.wait[0] <= what.wait[0] <= what.wait[1] <= wanted.wait[1]


def reads_well(receipt: Receipt) -> None:
    """One short line in words, without a secret; and there is advice for whoever must mend it."""
    assert len(receipt.detail) <= LONGEST_DETAIL
    assert receipt.detail.isprintable()
    assert not [secret for secret in SECRETS if secret in receipt.detail]
    if receipt.outcome is not Outcome.DELIVERED:
        assert receipt.detail.startswith("HTTP ")
        assert "object at 0x" not in receipt.detail
        assert advice(receipt.outcome, receipt.detail)


@pytest.mark.parametrize("kind", URLS)
def test_fault_125_a_gigabyte_of_answer_takes_no_memory(kind: str, server: TlsProxy) -> None:
    row = ROWS["200, 1 GB"]
    server.answer = lambda _request: http_answer(200, b"ok")
    send(kind)  # what is loaded at the first message is not the body's
    server.answer = lambda _request: row.pieces([])
    tracemalloc.start()
    try:
        send(kind)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MOST_MEMORY


def test_the_table_has_every_kind_of_native_channel_that_speaks_http() -> None:
    native = {registry.native(url) for url in URLS.values()} - {None}
    silent = {kind for kind in registry.KINDS if {"mailto", "console"} & set(kind.schemes)}
    assert native | silent == set(registry.KINDS)
