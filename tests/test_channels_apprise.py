"""The Apprise channel against real servers on loopback: what leaves, what comes back, what never leaks."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from budgetd.channels import Sender, tap
from budgetd.channels.apprise import AppriseSender, explain_url
from budgetd.channels.urls import Secrets, masked
from budgetd.message import Flavour, Message, render
from budgetd.model import (
    Contributor,
    Delivery,
    Face,
    Facts,
    Kind,
    Label,
    Notice,
    Outcome,
    Reason,
    Receipt,
    Severity,
)
from budgetd.period import Period
from tests.tls_proxy import TlsProxy, http_answer, tls_proxy

NOW = datetime(2026, 11, 18, 14, 6, tzinfo=UTC)
NOVEMBER = Period(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
CANARY = "CANARYq7Zx"


def message(
    workspace: str = "Research", face: Face = Face.RICH, flavour: Flavour = Flavour.TEXT, kind: Kind = Kind.TRIGGER
) -> Message:
    facts = Facts(
        organisation="Acme",
        rule="each-workspace",
        rule_type="cap",
        scope=(Label("workspace", "wrkspc_01", workspace),),
        period=NOVEMBER,
        period_kind="month",
        amount=Decimal("4012.37"),
        limit=Decimal(5000),
        step=Decimal("0.8"),
        data_through=NOW,
        contributors=(Contributor("claude-opus-4-8", "output_tokens", Decimal("2610.22")),),
    )
    notice = Notice("ntc_1", "inc_1", 1, kind, Reason.STEP_REACHED, Severity.WARNING, NOW, facts)
    return render(Delivery("dlv_1", "team", (notice,), NOW, NOW, face=face), NOW, flavour)


class Hook:
    """A webhook receiver on loopback that does what it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.behave: Callable[[BaseHTTPRequestHandler], None] = answer(200, b"ok")
        self.ended = threading.Event()
        self.sent = 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                hook.requests.append((self.path, dict(self.headers), body))
                with contextlib.suppress(OSError):
                    hook.behave(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def url(self, rest: str = "/hook") -> str:
        return f"json://127.0.0.1:{self.port}{rest}"

    def close(self) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


def answer(status: int, body: bytes = b"", **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if status != 204:
            handler.wfile.write(body)

    return behave


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    yield server
    server.close()


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsProxy]:
    with tls_proxy(tmp_path) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        monkeypatch.setenv("https_proxy", server.url)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
        yield server


class LoudLogs(logging.Handler):
    """Every record of every logger at every level, as text."""

    def __init__(self) -> None:
        super().__init__(1)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def logs() -> Iterator[LoudLogs]:
    handler, root = LoudLogs(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# --- HTTP --------------------------------------------------------------------------------------


@pytest.mark.network
def test_a_json_webhook_gets_title_body_facts_and_the_stable_id(hook: Hook) -> None:
    sender: Sender = AppriseSender(hook.url("/hook?:team=finops"))
    assert sender.send(message(), 5) == Receipt(Outcome.DELIVERED)
    path, headers, body = hook.requests[0]
    got = json.loads(body)
    assert path == "/hook"
    assert headers["Idempotency-Key"] == "dlv_1"
    assert got["id"] == got["data"]["id"] == "dlv_1"
    assert got["title"] == "Research has used 80.2% of its November 2026 budget ($4,012.37 of $5,000)"
    assert "Top contributors" in got["message"]
    assert got["type"] == "warning"
    assert got["event"] == "budget.cap.firing"
    assert got["data"]["money"]["spent"] == "4012.37"
    assert got["team"] == "finops"


@pytest.mark.network
def test_a_resolve_is_sent_as_a_success(hook: Hook) -> None:
    AppriseSender(hook.url()).send(message(kind=Kind.RESOLVE), 5)
    assert json.loads(hook.requests[0][2])["type"] == "success"


@pytest.mark.network
@pytest.mark.parametrize(
    ("status", "headers", "outcome", "after"),
    [
        (200, {}, Outcome.DELIVERED, None),
        (204, {}, Outcome.DELIVERED, None),
        (400, {}, Outcome.REJECTED, None),
        (401, {}, Outcome.UNAUTHORISED, None),
        (403, {}, Outcome.UNAUTHORISED, None),
        (404, {}, Outcome.GONE, None),
        (410, {}, Outcome.GONE, None),
        (409, {}, Outcome.RETRY, None),
        (425, {}, Outcome.RETRY, None),
        (429, {"Retry_After": "7"}, Outcome.RATE_LIMITED, 7.0),
        (429, {"Retry_After": "nonsense"}, Outcome.RATE_LIMITED, None),
        (429, {"Retry_After": "999999"}, Outcome.RATE_LIMITED, 3600.0),
        (500, {}, Outcome.RETRY, None),
        (503, {"Retry_After": "20"}, Outcome.RETRY, 20.0),
    ],
)
def test_fault_110_every_status_has_its_outcome(
    hook: Hook, status: int, headers: dict[str, str], outcome: Outcome, after: float | None
) -> None:
    hook.behave = answer(status, b"because" if status != 204 else b"", **headers)
    receipt = AppriseSender(hook.url()).send(message(), 5)
    assert (receipt.outcome, receipt.after) == (outcome, after)
    if outcome is not Outcome.DELIVERED:
        assert receipt.detail == f"HTTP {status}: because"


@pytest.mark.network
def test_a_failure_that_passes_is_delivered_at_the_next_attempt(hook: Hook) -> None:
    sender = AppriseSender(hook.url())
    hook.behave = answer(500)
    assert sender.send(message(), 5).outcome is Outcome.RETRY
    hook.behave = answer(200)
    assert sender.send(message(), 5).outcome is Outcome.DELIVERED
    assert [headers["Idempotency-Key"] for _, headers, _ in hook.requests] == ["dlv_1", "dlv_1"]


@pytest.mark.network
@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("option", ["", "?redirect=yes"])
def test_fault_123_a_redirect_is_never_followed(hook: Hook, status: int, option: str) -> None:
    other = Hook()
    try:
        hook.behave = answer(status, Location=f"http://127.0.0.1:{other.port}/internal")
        receipt = AppriseSender(hook.url("/hook" + option)).send(message(), 5)
        assert receipt.outcome is Outcome.GONE
        assert receipt.detail == f"HTTP {status}: redirect to host 127.0.0.1:{other.port} refused"
        assert other.requests == []
    finally:
        other.close()


@pytest.mark.network
def test_fault_125_a_gigabyte_of_answer_is_not_read(hook: Hook) -> None:
    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 30))
        handler.end_headers()
        while hook.sent < 1 << 30:
            hook.sent += handler.wfile.write(b"x" * 65536)

    hook.behave = flood
    assert AppriseSender(hook.url()).send(message(), 5).outcome is Outcome.DELIVERED
    assert hook.sent < 64 << 20  # what the kernel's buffers took


@pytest.mark.network
def test_fault_111_a_hang_ends_in_time_and_may_have_arrived(hook: Hook) -> None:
    hook.behave = lambda _: hook.ended.wait(20) and None
    start = time.perf_counter()
    receipt = AppriseSender(hook.url()).send(message(), 0.4)
    assert receipt.outcome is Outcome.UNKNOWN
    assert time.perf_counter() - start < 3


@pytest.mark.network
def test_a_dripping_answer_ends_in_time(hook: Hook) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(500)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not hook.ended.wait(0.05):
            handler.wfile.write(b"x")

    hook.behave = drip
    start = time.perf_counter()
    receipt = AppriseSender(hook.url()).send(message(), 0.5)
    assert receipt.outcome is Outcome.RETRY
    assert receipt.detail.startswith("HTTP 500: xxx")
    assert time.perf_counter() - start < 3


@pytest.mark.network
def test_a_connection_that_breaks_after_the_request_may_have_arrived(hook: Hook) -> None:
    hook.behave = lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)
    assert AppriseSender(hook.url()).send(message(), 5).outcome is Outcome.UNKNOWN


@pytest.mark.network
def test_a_refused_connection_is_tried_again() -> None:
    receipt = AppriseSender(f"json://127.0.0.1:{free_port()}/hook").send(message(), 5)
    assert receipt.outcome is Outcome.RETRY
    assert "could not connect" in receipt.detail


@pytest.mark.network
def test_a_compressed_answer_is_not_asked_for_nor_unfolded(hook: Hook) -> None:
    hook.behave = answer(500, b"\x1f\x8b\x08bomb", Content_Encoding="gzip")
    assert AppriseSender(hook.url()).send(message(), 5).outcome is Outcome.RETRY
    assert hook.requests[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.network
@pytest.mark.parametrize("location", ["http://[", "//user:pw@other.example/x", "/elsewhere", "http://a\\u202eb/"])
def test_an_odd_redirect_is_refused_too(hook: Hook, location: str) -> None:
    hook.behave = answer(302, Location=location)
    receipt = AppriseSender(hook.url()).send(message(), 5)
    assert receipt.outcome is Outcome.GONE
    assert "pw" not in receipt.detail


def test_apprise_is_not_imported_before_the_first_message() -> None:
    code = "import sys, budgetd.channels.apprise as a; a.AppriseSender('json://x.example'); "
    code += "sys.exit('apprise' in sys.modules or 'requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=20).returncode == 0


# --- Slack -------------------------------------------------------------------------------------

SLACK = f"slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrI{CANARY}"


@pytest.mark.network
def test_slack_gets_readable_text_that_no_name_can_inject_into(proxy: TlsProxy) -> None:
    sender = AppriseSender(SLACK)
    assert sender.flavour is Flavour.SLACK
    hostile = "<!channel> *Re_search_* <http://evil.example|x> & `co`"
    receipt = sender.send(message(hostile, flavour=sender.flavour), 10)
    assert receipt == Receipt(Outcome.DELIVERED)
    request = proxy.requests[0]
    assert request.host == "hooks.slack.com"
    assert request.line == f"POST /services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrI{CANARY} HTTP/1.1"
    attachment = json.loads(request.body)["attachments"][0]
    assert "&lt;!channel&gt;" in attachment["text"]
    assert "&amp;lt;" not in request.body.decode()
    assert "<" not in attachment["text"] + attachment["title"]
    assert "*" not in attachment["text"]
    assert "```\nSpent    $4,012.37 of $5,000.00 (80.2%)" in attachment["text"]
    assert "80.2% of its November 2026 budget ($4,012.37 of $5,000)" in attachment["title"]
    assert "github.com" not in request.body.decode()


@pytest.mark.network
@pytest.mark.parametrize(
    ("raw", "outcome", "after"),
    [
        (http_answer(429, b"rate_limited", "Retry-After: 30"), Outcome.RATE_LIMITED, 30.0),
        (http_answer(404, b"channel_not_found"), Outcome.GONE, None),
        (http_answer(404, b"no_service"), Outcome.GONE, None),
        (http_answer(403, b"invalid_token"), Outcome.UNAUTHORISED, None),
        (http_answer(410, b"channel_is_archived"), Outcome.GONE, None),
        (http_answer(400, b"invalid_payload"), Outcome.REJECTED, None),
        (http_answer(500, b"rollup_error"), Outcome.RETRY, None),
        (http_answer(200, b'{"ok": false, "error": "channel_not_found"}'), Outcome.GONE, None),
        (http_answer(200, b'{"ok": false, "error": "invalid_auth"}'), Outcome.UNAUTHORISED, None),
        (http_answer(200, b"<html>Please log in to the hotel's network</html>"), Outcome.RETRY, None),
    ],
)
def test_faults_103_to_106_slack_failures_have_their_outcome(
    proxy: TlsProxy, raw: bytes, outcome: Outcome, after: float | None
) -> None:
    proxy.answer = lambda _: raw
    receipt = AppriseSender(SLACK).send(message(flavour=Flavour.SLACK), 10)
    assert (receipt.outcome, receipt.after) == (outcome, after)
    assert receipt.detail


@pytest.mark.network
def test_fault_103_a_plug_in_that_would_wait_and_ask_again_by_itself_does_not(proxy: TlsProxy) -> None:
    far = ("Retry-After: 7", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 4102444800")
    proxy.answer = lambda _: http_answer(429, b"slow down", *far)
    sender = AppriseSender("discord://123456789012345678/abcdefghijklmnop")
    for count in (1, 2):
        began = time.perf_counter()
        receipt = sender.send(message(), 10)
        assert (receipt.outcome, receipt.after) == (Outcome.RATE_LIMITED, 7.0)
        assert time.perf_counter() - began < 5
        assert len(proxy.requests) == count


@pytest.mark.network
def test_fault_114_only_the_target_that_failed_is_tried_again(proxy: TlsProxy) -> None:
    def once_broken(request: Any) -> bytes:
        broken = b"#second" in request.body and sum(b"#second" in r.body for r in proxy.requests) == 1
        return http_answer(500, b"no") if broken else http_answer(200, b"ok")

    proxy.answer = once_broken
    sender = AppriseSender(f"{SLACK}/#first/#second")
    assert sender.send(message(flavour=Flavour.SLACK), 10).outcome is Outcome.RETRY
    assert sender.send(message(flavour=Flavour.SLACK), 10).outcome is Outcome.DELIVERED
    assert [json.loads(request.body)["channel"] for request in proxy.requests] == ["#first", "#second", "#second"]


@pytest.mark.network
def test_a_wrong_certificate_is_refused(proxy: TlsProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    receipt = AppriseSender(SLACK).send(message(flavour=Flavour.SLACK), 10)
    assert receipt.outcome is Outcome.RETRY
    assert "certificate" in receipt.detail.lower()
    assert proxy.requests == []


def test_fault_116_what_is_too_long_is_rejected_before_it_is_cut() -> None:
    short = AppriseSender("d7sms://" + "t" * 32 + "@15551231234")
    receipt = short.send(message(), 5)
    assert receipt.outcome is Outcome.REJECTED
    assert "characters are more than the" in receipt.detail


# --- mail, as Apprise still sends it with PGP and for its other mail services ------------------


class Mailbox:
    """An SMTP server's behaviour: what it got, and what it answers where."""

    def __init__(self, rcpt: str = "250 OK", data: str = "250 OK", drop: bool = False) -> None:
        self.rcpt, self.data, self.drop = rcpt, data, drop
        self.mails: list[Any] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        if self.rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        if self.drop:
            server.transport.abort()
        return self.data


@contextlib.contextmanager
def smtp(mailbox: Mailbox, **options: Any) -> Iterator[int]:
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def mail_url(port: int, scheme: str = "mailto", login: str = "") -> str:
    return f"{scheme}://{login}example.com:{port}?smtp=127.0.0.1&from=budgetd@example.com&to=finance@example.com"


@pytest.mark.network
def test_a_mail_arrives_as_people_read_it_with_a_stable_id() -> None:
    mailbox = Mailbox()
    with smtp(mailbox) as port:
        sender = AppriseSender(mail_url(port))
        assert sender.send(message(), 10) == Receipt(Outcome.DELIVERED)
        assert sender.send(message(), 10) == Receipt(Outcome.DELIVERED)
    mail, again = mailbox.mails
    assert mail["Subject"] == "Research has used 80.2% of its November 2026 budget ($4,012.37 of $5,000)"
    assert mail["To"] == "finance@example.com"
    assert mail["Message-ID"] == again["Message-ID"] == "<dlv_1@127.0.0.1>"
    assert mail.get_all("Message-ID") == ["<dlv_1@127.0.0.1>"]
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "  claude-opus-4-8  output tokens  $2,610.22" in mail.get_content()


@pytest.mark.network
def test_fault_119_a_line_break_in_a_name_makes_no_header() -> None:
    mailbox = Mailbox()
    with smtp(mailbox) as port:
        receipt = AppriseSender(mail_url(port)).send(message("Re\r\nBcc: thief@example.com\r\n\r\nsearch"), 10)
    assert receipt.outcome is Outcome.DELIVERED
    assert mailbox.mails[0]["Bcc"] is None
    assert r"Re\u000d\u000aBcc: thief@example.com" in mailbox.mails[0]["Subject"]


@pytest.mark.network
@pytest.mark.parametrize(
    ("mailbox", "outcome", "words"),
    [
        (Mailbox(rcpt="451 4.7.1 Greylisted, come back later"), Outcome.RETRY, "451"),
        (Mailbox(rcpt="550 5.1.1 No such user"), Outcome.REJECTED, "550 5.1.1 No such user"),
        (Mailbox(data="452 4.3.1 Disk full"), Outcome.RETRY, "452"),
        (Mailbox(data="554 5.6.0 Spam"), Outcome.REJECTED, "554"),
        (Mailbox(drop=True), Outcome.UNKNOWN, "before the server said that it has the mail"),
    ],
    ids=["greylisted", "unknown user", "disk full", "spam", "fault_113 lost after data"],
)
def test_fault_112_mail_failures_have_their_outcome(mailbox: Mailbox, outcome: Outcome, words: str) -> None:
    with smtp(mailbox) as port:
        receipt = AppriseSender(mail_url(port)).send(message(), 10)
    assert receipt.outcome is outcome
    assert words in receipt.detail


@pytest.mark.network
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_fault_112_a_wrong_mail_password_is_unauthorised_and_stays_secret(logs: LoudLogs) -> None:
    options = {
        "authenticator": lambda *_: AuthResult(success=False, handled=False),
        "auth_required": True,
        "auth_require_tls": False,
    }
    with smtp(Mailbox(), **options) as port:
        receipt = AppriseSender(mail_url(port, login=f"robot:{CANARY}@")).send(message(), 10)
    assert receipt.outcome is Outcome.UNAUTHORISED
    assert "535" in receipt.detail
    assert CANARY not in receipt.detail + "\n".join(logs.lines)


@pytest.mark.network
def test_fault_112_no_password_goes_out_without_starttls() -> None:
    mailbox = Mailbox()
    with smtp(mailbox) as port:
        receipt = AppriseSender(mail_url(port, "mailtos", "robot:secret@")).send(message(), 10)
    assert receipt.outcome is Outcome.UNAUTHORISED
    assert "STARTTLS" in receipt.detail
    assert mailbox.mails == []


@pytest.mark.network
def test_fault_112_a_mail_server_that_is_down_or_silent_is_tried_again_in_time() -> None:
    assert AppriseSender(mail_url(free_port())).send(message(), 5).outcome is Outcome.RETRY
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.perf_counter()
        receipt = AppriseSender(mail_url(silent.getsockname()[1])).send(message(), 0.4)
    assert receipt.outcome is Outcome.RETRY
    assert time.perf_counter() - start < 3


@pytest.mark.network
def test_a_mail_server_that_is_slow_at_every_step_is_left_in_time() -> None:
    def dawdle(listener: socket.socket) -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as client:
            for _ in range(10):
                time.sleep(0.3)
                client.sendall(b"220 example.com at your service\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=dawdle, args=(listener,), daemon=True)
        thread.start()
        start = time.perf_counter()
        receipt = AppriseSender(mail_url(listener.getsockname()[1])).send(message(), 0.5)
        assert receipt.outcome is Outcome.RETRY
        assert time.perf_counter() - start < 1.2
        thread.join(5)


# --- secrets -----------------------------------------------------------------------------------


@pytest.mark.network
@pytest.mark.parametrize(
    "rest",
    [
        f"/hook/{CANARY}",
        f"/hook?-key={CANARY}",
        f"/hook?+Authorization=Bearer%20{CANARY}",
        f"/hook/%43ANARYq7Zx%2Fmore?-key={CANARY}",
    ],
)
def test_no_part_of_the_url_is_in_receipts_or_logs(hook: Hook, logs: LoudLogs, rest: str) -> None:
    for url in (hook.url(rest), f"json://user:{CANARY}@127.0.0.1:{hook.port}/x", f"json://127.0.0.1:1{rest}"):
        path = rest.partition("?")[0].encode()
        hook.behave = answer(400, b"you said " + path + b" and " + CANARY.encode() + b" and " + CANARY.lower().encode())
        receipt = AppriseSender(url).send(message(), 5)
        assert receipt.outcome is not Outcome.DELIVERED
        assert CANARY.lower() not in f"{receipt} {' '.join(logs.lines)}".lower()


@pytest.mark.network
def test_slack_tokens_are_in_no_receipt_and_no_log(proxy: TlsProxy, logs: LoudLogs) -> None:
    for raw in (http_answer(200, b"ok"), http_answer(404, SLACK.removeprefix("slack:/").encode()), b""):
        proxy.answer = lambda _, raw=raw: raw
        receipt = AppriseSender(SLACK).send(message(flavour=Flavour.SLACK), 10)
        spilled = f"{receipt} {' '.join(logs.lines)}"
        assert not [secret for secret in (CANARY, "T1JJ3T3L2", "A1BRTD4JD") if secret in spilled]


@pytest.mark.parametrize(
    ("url", "text", "scrubbed"),
    [
        ("json://example.com/a/hunter2", "at example.com with HUNTER2", "at example.com with ***"),
        ("tgram://123456789:abcdefg_hij/chat55", "bot123456789:abcdefg_hij chat55", "bot*** ***"),
        ("mailtos://me:p%40ss@example.com", "p@ss p%40ss bWU6cEBzcw", "*** *** ***"),
        ("slack://TOKENA/TOKENB/TOKENC", "/TOKENA/TOKENB/TOKENC and TOKENB", "/*** and ***"),
        ("json://example.com", "nothing to hide", "nothing to hide"),
    ],
)
def test_secrets_are_scrubbed_in_every_form(url: str, text: str, scrubbed: str) -> None:
    assert Secrets(url).scrub(text) == scrubbed


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"slack://T1JJ3T3L2/B/{CANARY}", "slack://***"),
        (f"json://user:{CANARY}@hooks.example.com:8443/{CANARY}", "json://hooks.example.com:8443/***"),
        (f"tgram://123456789:{CANARY}/chat", "tgram://***"),
        (CANARY, "(no scheme)://***"),
    ],
)
def test_a_masked_url_shows_the_service_and_no_secret(url: str, shown: str) -> None:
    assert masked(url) == shown
    assert CANARY not in masked(url)


# --- check without network ---------------------------------------------------------------------


@pytest.mark.parametrize("url", ["json://127.0.0.1:9/x", SLACK, "mailto://a:b@example.com"])
def test_a_good_url_needs_no_explanation(url: str) -> None:
    assert explain_url(url) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"slck://{CANARY}/b/c", "Apprise has no service slck://; did you mean slack://?"),
        (f"https://example.com/{CANARY}", "Apprise has no service https://; did you mean webhooks://?"),
        (f"zzzzzz://{CANARY}", "Apprise has no service zzzzzz://"),
        (f"slack://T1JJ3T3L2/A1BRTD4JD/{CANARY}!", "Apprise cannot use this slack:// URL: An invalid Slack"),
        (f"slack://T1JJ3T3L2/{CANARY}", "Apprise cannot use this slack:// URL: An invalid Slack"),
        ("json://", "Apprise cannot use this json:// URL"),
        (CANARY, "this is not an Apprise URL, it has no scheme"),
    ],
)
def test_a_bad_url_is_explained_without_its_secrets(url: str, words: str, logs: LoudLogs) -> None:
    explanation = explain_url(url)
    assert explanation is not None
    assert explanation.startswith(words)
    assert CANARY not in explanation + "\n".join(logs.lines)


def test_a_url_that_apprise_does_not_understand_is_a_broken_channel() -> None:
    assert AppriseSender("slck://a/b/c").send(message(), 1).outcome is Outcome.GONE


# --- what headers and codes mean ---------------------------------------------------------------

DATE = "Wed, 18 Nov 2026 14:00:00 GMT"


@pytest.mark.parametrize(
    ("text", "date", "seconds"),
    [
        ("7", "", 7.0),
        ("0", "", 1.0),
        ("1.5", "", 1.5),
        ("86400", "", 3600.0),
        ("Wed, 18 Nov 2026 14:01:00 GMT", DATE, 60.0),
        ("Wed, 18 Nov 2020 14:01:00 GMT", DATE, 1.0),
        ("Wed, 18 Nov 2036 14:01:00 GMT", DATE, 3600.0),
        ("Wed, 18 Nov 2026 14:01:00 GMT", "", None),
        ("-5", "", None),
        ("١٢", "", None),
        ("1e9", "", None),
        ("9" * 400, "", None),
        ("", DATE, None),
    ],
)
def test_retry_after_is_understood_or_ignored_and_never_unbounded(text: str, date: str, seconds: float | None) -> None:
    assert tap.retry_after(text, date) == seconds


def test_a_message_id_is_only_replaced_in_the_head_of_a_mail() -> None:
    mail = "Subject: x\nMessage-ID: <old@example.com>\n\nMessage-ID: <body@example.com>\n"
    changed = tap.stable_message_id(mail, "dlv_1")
    assert changed == "Subject: x\nMessage-ID: <dlv_1@example.com>\n\nMessage-ID: <body@example.com>\n"
    assert tap.stable_message_id(mail, "evil>\r\nBcc: x") == mail
