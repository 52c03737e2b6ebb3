"""Mail of our own making against real servers on loopback: what arrives, what each answer means, what never leaks."""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apprise  # noqa: F401 (URLs are then understood in this process, which is faster)
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from budgetd.channels import Sender, mail_url, registry
from budgetd.channels.apprise import AppriseSender
from budgetd.channels.mail import MailSender
from budgetd.commands import wiring
from budgetd.message import Message
from budgetd.model import Face, Outcome, Receipt
from budgetd.rulebook import parse
from tests.certificates import certified, trusted
from tests.mail_server import DRIP, DROP, FLOOD, HANG, scripted
from tests.test_channels_apprise import LoudLogs, Mailbox, free_port
from tests.test_message import NOW, notice, read

pytestmark = [
    pytest.mark.network,
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),
    pytest.mark.filterwarnings("ignore:Session:DeprecationWarning"),
]
CANARY = "CANARYq7Zx"
ONE, TWO, THREE = "one@example.com", "two@example.com", "three@example.com"


@pytest.fixture
def logs() -> Iterator[LoudLogs]:
    import logging

    handler, root = LoudLogs(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    logging.getLogger("mail.log").disabled = True  # the server of the test
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def message(face: Face = Face.RICH, id: str = "dlv_1") -> Message:
    return replace(read(notice(), face=face), id=id)


def send(url: str, deadline: float = 10, face: Face = Face.RICH) -> Receipt:
    return MailSender(url, lambda: NOW).send(message(face), deadline)


def read_mail(octets: bytes) -> Any:
    return email.message_from_bytes(octets, policy=email.policy.default)


# --- what arrives ------------------------------------------------------------------------------


def test_a_mail_arrives_as_text_and_html_with_headers_that_say_what_it_is() -> None:
    with scripted() as server:
        more = "&cc=Ann%20Lee<two@example.com>&bcc=three@example.com&reply=ops@example.com&name=Spend%20Watch"
        sender: Sender = MailSender(server.url_to(ONE, more=f"{more}&+X-Team=finops"), lambda: NOW)
        assert sender.send(message(), 10) == Receipt(Outcome.DELIVERED)
    (octets,) = server.mails
    mail = read_mail(octets)
    assert dict(mail.items()) | {"Content-Type": ""} == {
        "Subject": "Research has used 80.2% of its November 2026 budget ($4,012.37 of $5,000)",
        "Date": "Wed, 18 Nov 2026 14:06:00 +0000",
        "Message-ID": "<dlv_1@example.com>",
        "In-Reply-To": "<story.inc_1@example.com>",
        "References": "<story.inc_1@example.com>",
        "X-Budgetd-Incident": "inc_1",
        "X-Budgetd-Id": "dlv_1",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "List-Id": "budgetd alerts <alerts.budgetd.example.com>",
        "Importance": "normal",
        "X-Priority": "3",
        "From": "Spend Watch <budgetd@example.com>",
        "To": "one@example.com",
        "Cc": "Ann Lee <two@example.com>",
        "Reply-To": "ops@example.com",
        "MIME-Version": "1.0",
        "Content-Type": "",
        "X-Team": "finops",
    }
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert "  claude-opus-4-8  output tokens          $2,610.22" in mail.get_body(("plain",)).get_content()
    assert "$4,012.37" in mail.get_body(("html",)).get_content()
    assert server.recipients() == [ONE, TWO, THREE]
    assert "three" not in octets.decode()
    assert octets.isascii()


@pytest.mark.parametrize("face", [Face.PLAIN, Face.MINIMAL])
def test_simpler_faces_are_text_only(face: Face) -> None:
    with scripted() as server:
        assert send(server.url, face=face).outcome is Outcome.DELIVERED
    mail = read_mail(server.mails[0])
    assert mail.get_content_type() == "text/plain"
    assert "80.2%" in mail["Subject"]
    assert "80.2%" in mail.get_content()


def test_a_machine_is_greeted_by_name_and_told_goodbye() -> None:
    with scripted() as server:
        send(server.url)
    assert server.said[0].lower().startswith("ehlo ")
    assert "." in server.said[0]
    assert server.said[-1].upper() == "QUIT"


def test_lines_that_begin_with_a_dot_arrive() -> None:
    with scripted() as server:
        dotted = replace(message(Face.PLAIN), body=".one\n..two\n.\nthree")
        assert MailSender(server.url, lambda: NOW).send(dotted, 10).outcome is Outcome.DELIVERED
    assert b"\r\n.one\r\n..two\r\n.\r\nthree\r\n" in server.mails[0]


# --- encryption --------------------------------------------------------------------------------


@contextlib.contextmanager
def encrypting(folder: Path, box: Mailbox, implicit: bool, **options: Any) -> Iterator[tuple[int, Path]]:
    """A server with a certificate for localhost: its port, and the file of its authority."""
    context, authority = certified()
    options |= {"ssl_context": context} if implicit else {"tls_context": context, "require_starttls": True}
    controller = Controller(box, hostname="127.0.0.1", port=free_port(), **options)
    # The controller's own trial connection would not trust its certificate.
    controller._trigger_server = lambda: socket.create_connection(("127.0.0.1", controller.port)).close()
    controller.start()
    try:
        yield controller.port, trusted(authority, folder)
    finally:
        controller.stop()


def tls_url(port: int, mode: str, login: str = "robot:secret@") -> str:
    return f"mailtos://{login}localhost:{port}?from=budgetd@example.com&to=finance@example.com&mode={mode}"


def logins(box: Mailbox) -> dict[str, Any]:
    def known(_server: Any, _session: Any, _envelope: Any, mechanism: str, data: LoginPassword) -> AuthResult:
        box.logins.append((mechanism, data.login.decode(), data.password.decode()))  # type: ignore[attr-defined]
        return AuthResult(success=data.password in (b"secret", "pässword".encode()))

    box.logins = []  # type: ignore[attr-defined]
    return {"authenticator": known, "auth_required": True}


@pytest.mark.parametrize("mode", ["starttls", "ssl"])
@pytest.mark.parametrize("password", ["secret", "p%C3%A4ssword"])
def test_a_private_authority_is_trusted_and_logs_in(
    mode: str, password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Mailbox()
    with encrypting(tmp_path, box, mode == "ssl", **logins(box), auth_require_tls=mode != "ssl") as (port, ca_file):
        monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
        assert send(tls_url(port, mode, f"robot:{password}@")) == Receipt(Outcome.DELIVERED)
    assert len(box.mails) == 1
    assert box.logins[0][1] == "robot"  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", ["starttls", "ssl"])
def test_nothing_turns_the_verification_of_certificates_off(mode: str, tmp_path: Path) -> None:
    box = Mailbox()
    with encrypting(tmp_path, box, mode == "ssl") as (port, _):
        receipt = send(tls_url(port, mode) + "&verify=no")
    assert receipt.outcome is Outcome.RETRY
    assert "TLS: certificate refused: " in receipt.detail
    assert "verify=no is not heeded: name the authority's file in SSL_CERT_FILE" in receipt.detail
    assert box.mails == []


@pytest.mark.parametrize("wrong", [{"name": "elsewhere.example"}, {"expired": True}, {"oldest": True}])
def test_a_certificate_must_be_for_this_host_and_this_time(
    wrong: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = certified(**wrong)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted(authority, tmp_path)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        import threading

        def handshake() -> None:
            with contextlib.suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True):
                pass

        thread = threading.Thread(target=handshake, daemon=True)
        thread.start()
        receipt = send(tls_url(listener.getsockname()[1], "ssl"))
        thread.join(5)
    assert receipt.outcome is Outcome.RETRY
    assert "TLS" in receipt.detail or "SSL" in receipt.detail


def test_fault_112_no_password_and_no_mail_go_out_without_starttls() -> None:
    with scripted() as server:
        receipt = send(server.url_to(ONE, login="robot:secret@").replace("insecure", "starttls"))
    assert receipt.outcome is Outcome.UNAUTHORISED
    assert "the server offers no STARTTLS" in receipt.detail
    assert [line.split()[0].upper() for line in server.said] == ["EHLO", "QUIT"]


def test_what_is_put_in_behind_the_answer_to_starttls_is_not_heard() -> None:
    """RFC 3207: an answer from before the handshake must not pass for one of the encrypted session."""
    injected = "220 go on\r\n250-loopback\r\n250 AUTH PLAIN\r\n235 yes\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 kept"
    with scripted({"EHLO": "250-loopback\r\n250 STARTTLS", "STARTTLS": injected}) as server:
        receipt = send(server.url_to(ONE, login="robot:secret@").replace("insecure", "starttls"))
    assert receipt.outcome is Outcome.RETRY
    assert receipt.detail.startswith("no encrypted connection: ")
    assert not any("AUTH" in line or "secret" in line for line in server.said)


# --- what each answer means --------------------------------------------------------------------

GREYLISTED = "451 4.7.1 Greylisted, come back later"


@pytest.mark.parametrize(
    ("step", "says", "outcome", "words"),
    [
        ("banner", "421 4.3.2 too busy", Outcome.RETRY, "could not be reached: 421 4.3.2 too busy"),
        ("banner", "554 5.7.1 we do not know you", Outcome.UNAUTHORISED, "554 5.7.1 we do not know you"),
        ("banner", DROP, Outcome.RETRY, "could not be reached: the connection broke"),
        ("banner", "HTTP/1.1 400 Bad Request", Outcome.RETRY, "could not be reached"),
        ("EHLO", "421 4.3.2 shutting down", Outcome.RETRY, "could not be reached"),
        ("EHLO", DROP, Outcome.RETRY, "the connection broke"),
        ("MAIL", "451 4.3.0 later", Outcome.RETRY, "the sender is refused: 451 4.3.0 later"),
        ("MAIL", "552 5.3.4 too big", Outcome.REJECTED, "552 5.3.4 too big"),
        ("MAIL", "553 5.7.1 not your address", Outcome.UNAUTHORISED, "the sender is refused: 553"),
        ("MAIL", "530 5.7.0 log in first", Outcome.UNAUTHORISED, "530 5.7.0 log in first"),
        ("MAIL", DROP, Outcome.RETRY, "the connection broke"),
        ("RCPT", GREYLISTED, Outcome.RETRY, GREYLISTED),
        ("RCPT", "421 4.7.0 closing", Outcome.RETRY, "421 4.7.0 closing"),
        ("RCPT", "452 4.2.2 mailbox full", Outcome.RETRY, "452"),
        ("RCPT", "552 5.2.2 mailbox full", Outcome.RETRY, "552"),
        ("RCPT", "550 5.1.1 No such user", Outcome.GONE, "550 5.1.1 No such user"),
        ("RCPT", "551 5.1.6 moved", Outcome.GONE, "551"),
        ("RCPT", "553 5.1.3 no address", Outcome.GONE, "553"),
        ("RCPT", "530 5.7.0 log in first", Outcome.UNAUTHORISED, "530"),
        ("RCPT", DROP, Outcome.RETRY, "the connection broke"),
        ("DATA", "451 4.3.0 later", Outcome.RETRY, "451"),
        ("DATA", "554 5.5.1 no", Outcome.REJECTED, "554"),
        ("DATA", DROP, Outcome.RETRY, "the connection broke"),
        ("text", "421 4.3.0 later", Outcome.RETRY, "421"),
        ("text", "450 4.3.0 later", Outcome.RETRY, "450"),
        ("text", "452 4.3.1 Disk full", Outcome.RETRY, "452 4.3.1 Disk full"),
        ("text", "552 5.3.4 too big", Outcome.REJECTED, "552"),
        ("text", "554 5.6.0 Spam", Outcome.REJECTED, "554 5.6.0 Spam"),
        ("text", "550 5.7.1 Spam", Outcome.REJECTED, "550 5.7.1 Spam"),
        ("text", DROP, Outcome.UNKNOWN, "the connection broke before the server said that it has the mail"),
    ],
)
def test_fault_112_each_answer_has_its_outcome_at_each_step(step: str, says: str, outcome: Outcome, words: str) -> None:
    with scripted({step: says}) as server:
        receipt = send(server.url)
    assert receipt.outcome is outcome
    assert words in receipt.detail


@pytest.mark.parametrize(
    ("says", "outcome"),
    [
        ("535 5.7.8 wrong", Outcome.UNAUTHORISED),
        ("534 5.7.9 too weak", Outcome.UNAUTHORISED),
        ("530 5.7.0 must", Outcome.UNAUTHORISED),
        ("454 4.7.0 temporary", Outcome.RETRY),
        (DROP, Outcome.RETRY),
    ],
)
def test_fault_112_a_refused_login_is_unauthorised(says: str, outcome: Outcome) -> None:
    with scripted({"AUTH": says}) as server:
        receipt = send(server.url_to(ONE, login="robot:secret@"))
    assert receipt.outcome is outcome
    assert receipt.detail.startswith("login: ")
    assert server.recipients() == []


@pytest.mark.parametrize("login", ["robot:secret@", "robot:s%C3%A9cret@"])
@pytest.mark.parametrize(
    ("extensions", "words"),
    [
        ("250 loopback", "login: the server offers no login in the clear"),
        ("250-loopback\r\n250 AUTH GSSAPI", "login: none of the server's ways to log in will do: GSSAPI"),
    ],
)
def test_a_server_that_asks_for_no_password_gets_none(extensions: str, words: str, login: str) -> None:
    with scripted({"EHLO": extensions}) as server:
        receipt = send(server.url_to(ONE, login=login))
    assert (receipt.outcome, receipt.detail) == (Outcome.UNAUTHORISED, words)
    assert [line.split()[0].upper() for line in server.said] == ["EHLO", "QUIT"]


def test_a_password_beyond_ascii_goes_to_no_server_that_cannot_take_it() -> None:
    with scripted({"EHLO": "250-loopback\r\n250 AUTH CRAM-MD5 LOGIN"}) as server:
        receipt = send(server.url_to(ONE, login="robot:s%C3%A9cret@"))
    assert (receipt.outcome, "CRAM-MD5" in receipt.detail) == (Outcome.UNAUTHORISED, True)
    assert [line.split()[0].upper() for line in server.said] == ["EHLO", "QUIT"]


def test_fault_112_a_server_that_is_down_or_has_no_address_is_tried_again() -> None:
    assert send(f"mailto://127.0.0.1:{free_port()}?from=a@example.com").outcome is Outcome.RETRY
    receipt = send("mailto://example.com?smtp=no-such-host.invalid&from=a@example.com", 2)
    assert receipt.outcome is Outcome.RETRY
    assert "the mail server could not be reached" in receipt.detail


def test_fault_122_no_connection_goes_to_where_clouds_hand_out_credentials() -> None:
    for host in ("169.254.169.254", "0xa9fea9fe"):
        receipt = send(f"mailto://example.com?smtp={host}&from=a@example.com")
        assert receipt.outcome is Outcome.GONE
        assert "nothing is sent to link-local addresses" in receipt.detail


def test_greylisting_ends_in_one_mail_with_the_same_id_for_every_attempt() -> None:
    with scripted({"RCPT": [GREYLISTED, GREYLISTED, "250 ok"]}) as server:
        sender = MailSender(server.url, lambda: NOW)
        outcomes = [sender.send(message(), 10).outcome for _ in range(3)]
    assert outcomes == [Outcome.RETRY, Outcome.RETRY, Outcome.DELIVERED]
    assert [read_mail(mail)["Message-ID"] for mail in server.mails] == ["<dlv_1@example.com>"]


def test_fault_113_a_mail_that_may_have_arrived_comes_again_with_its_id_in_whatever_face() -> None:
    with scripted({"text": [DROP, "250 kept"]}) as server:
        sender = MailSender(server.url, lambda: NOW)
        assert sender.send(message(), 10).outcome is Outcome.UNKNOWN
        assert sender.send(message(Face.PLAIN), 10).outcome is Outcome.DELIVERED
    assert [read_mail(mail)["Message-ID"] for mail in server.mails] == ["<dlv_1@example.com>"] * 2


def test_a_mail_larger_than_the_server_takes_is_not_sent_but_rejected() -> None:
    with scripted(size=3000) as server:
        rich, minimal = send(server.url), send(server.url, face=Face.MINIMAL)
    assert rich.outcome is Outcome.REJECTED
    assert "octets are more than the 3,000 that it takes" in rich.detail
    assert minimal.outcome is Outcome.DELIVERED
    assert len(server.mails) == 1
    assert any(line.lower().endswith(f"size={len(server.mails[0])}") for line in server.said)


# --- several recipients ------------------------------------------------------------------------


def test_fault_114_only_the_recipient_that_was_put_off_is_sent_to_again() -> None:
    with scripted({TWO: [GREYLISTED, "250 ok"]}) as server:
        sender = MailSender(server.url_to(ONE, TWO, THREE), lambda: NOW)
        first, second = sender.send(message(), 10), sender.send(message(), 10)
        third = sender.send(message(id="dlv_2"), 10)
    assert first == Receipt(Outcome.RETRY, f"1 of 3 recipients do not have it: {TWO}: {GREYLISTED}")
    assert second == third == Receipt(Outcome.DELIVERED)
    assert server.recipients() == [ONE, TWO, THREE, TWO, ONE, TWO, THREE]
    assert [read_mail(mail)["To"] for mail in server.mails] == [", ".join([ONE, TWO, THREE])] * 3


def test_one_recipient_that_is_no_more_is_reported_once_and_keeps_nobody_waiting() -> None:
    with scripted({TWO: "550 5.1.1 No such user"}) as server:
        sender = MailSender(server.url_to(ONE, TWO, THREE), lambda: NOW)
        first, second = sender.send(message(), 10), sender.send(message(), 10)
    words = f"1 of 3 recipients do not have it: {TWO}: 550 5.1.1 No such user"
    assert (first, second) == (Receipt(Outcome.GONE, words), Receipt(Outcome.DELIVERED, words))
    assert server.recipients() == [ONE, TWO, THREE, TWO]
    assert len(server.mails) == 1


def test_recipients_that_are_all_no_more_stay_a_broken_channel() -> None:
    with scripted({"RCPT": "550 5.1.1 No such user"}) as server:
        sender = MailSender(server.url_to(ONE, TWO), lambda: NOW)
        receipts = [sender.send(message(), 10) for _ in range(3)]
    assert [receipt.outcome for receipt in receipts] == [Outcome.GONE] * 3
    assert receipts[0].detail == "550 5.1.1 No such user"


def test_a_rejected_text_is_simplified_although_one_recipient_is_no_more() -> None:
    with scripted({TWO: "550 5.1.1 No such user", "text": ["554 5.6.0 Spam", "250 kept"]}) as server:
        sender = MailSender(server.url_to(ONE, TWO), lambda: NOW)
        assert sender.send(message(), 10).outcome is Outcome.REJECTED
        assert sender.send(message(Face.PLAIN), 10).outcome is Outcome.DELIVERED
    assert server.recipients() == [ONE, TWO, ONE, TWO]


def test_what_is_remembered_does_not_grow_for_ever_nor_forgets_what_is_sent_again() -> None:
    with scripted({"RCPT": "450 later"}) as server:
        sender = MailSender(server.url, lambda: NOW)
        sender.send(message(), 10)
        for number in range(255):
            sender._progress(f"dlv_x{number}")
        first = sender._progress("dlv_1")
        assert sender._progress("dlv_1") is first
        sender._progress("dlv_new")
    assert len(sender._under_way) == 256


# --- time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["banner", "EHLO", "MAIL", "RCPT", "DATA", "text", "QUIT"])
@pytest.mark.parametrize("how", [DRIP, HANG, FLOOD])
def test_a_server_that_drips_hangs_or_floods_is_left_in_time(step: str, how: str) -> None:
    with scripted({step: how}) as server:
        mail_url.account(server.url)
        start = time.perf_counter()
        receipt = send(server.url, 0.3)
        took = time.perf_counter() - start
    expected = {"text": Outcome.UNKNOWN, "QUIT": Outcome.DELIVERED}.get(step, Outcome.RETRY)
    assert receipt.outcome is expected
    assert took < 1.5


def test_a_server_that_never_reads_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mailto://127.0.0.1:{silent.getsockname()[1]}?from=a@example.com&mode=ssl"
        mail_url.account(url)
        start = time.perf_counter()
        assert send(url, 0.4).outcome is Outcome.RETRY
        assert time.perf_counter() - start < 1.2


# --- the URL -----------------------------------------------------------------------------------

URLS = [
    "mailto://example.com:2525?smtp=127.0.0.1&from=budgetd@example.com&to=finance@example.com",
    "mailtos://me:p%40ss@gmail.com?to=a@example.com,b@example.com&cc=Bo%20Li<c@example.com>&bcc=d@example.com",
    "mailtos://me:pw@yandex.com/a@example.com/b@example.com?name=Watch",
    "mailtos://u%40x.org:pw@smtp.example.com:465?mode=ssl&from=Watch<w@x.org>&reply=r@x.org&+X-Team=a%20b",
    "mailto://u:pw@mail.example.com?verify=no&mode=starttls",
    "mailto://me:pw@hotmail.com",
]


@pytest.mark.parametrize("url", URLS)
def test_a_url_means_what_it_means_to_apprise(url: str) -> None:
    from budgetd.channels.apprise import _plugin

    plugin = _plugin(url)
    for account in (mail_url.parse(url), asked_elsewhere(url)):
        assert (account.host, account.port, account.mode) == (plugin.smtp_host, plugin.port, plugin.secure_mode)
        assert (account.user, account.password) == (plugin.user or "", plugin.password or "")
        assert account.sender == (plugin.from_addr[0] or "", plugin.from_addr[1])
        assert account.to == tuple((name or "", address) for name, address in plugin.targets)
        assert {address for _, address in account.cc} == plugin.cc
        assert set(account.bcc) == plugin.bcc
        assert dict(account.headers) == plugin.headers
        assert account.unverified is not plugin.verify_certificate


def asked_elsewhere(url: str) -> mail_url.Account:
    """As in a process that has not loaded Apprise."""
    import json

    done = subprocess.run(
        [sys.executable, "-m", mail_url.__name__], input=json.dumps(url), capture_output=True, text=True, check=True
    )
    return mail_url._from_json(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"mailtos://u:{CANARY}@example.com?mode=foo", "The secure mode specified (foo) is invalid"),
        ("mailto://", "Invalid ~From~ email"),
        (f"mailtos://u:{CANARY}@example.com?to=nobody", "none of the recipients in to= is an address"),
    ],
)
def test_a_url_that_cannot_be_used_is_a_broken_channel_and_says_why(url: str, words: str) -> None:
    receipt = send(url)
    assert receipt.outcome is Outcome.GONE
    assert words in receipt.detail
    assert CANARY not in receipt.detail


def test_a_check_says_what_is_wrong_with_a_url_and_spares_the_first_alert_the_wait() -> None:
    assert registry.explain("mailtos://u:pw@example.com?mode=foo") == (
        "Apprise cannot use this mailtos:// URL: The secure mode specified (foo) is invalid"
    )
    mail_url.account.cache_clear()
    assert registry.explain("mailtos://u:pw@example.com") is None
    mail_url.account("mailtos://u:pw@example.com")
    assert mail_url.account.cache_info().hits == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mailto://u:pw@smtp.example.com?from=b@example.com", "the password goes out in the clear"),
        ("mailto://smtp.example.com?from=b@example.com", "mail goes out in the clear"),
        ("mailto://u:pw@127.0.0.1?from=b@example.com", None),
        ("mailto://u:pw@mail.lan?from=b@example.com", None),
        ("mailtos://u:pw@smtp.example.com?from=b@example.com", None),
        ("mailto://u:pw@gmail.com", None),
        ("mailtos://u:pw@smtp.example.com?from=b@example.com&pgp=yes", None),
    ],
)
def test_what_goes_out_in_the_clear_is_remarked_upon(url: str, words: str | None) -> None:
    remark = registry.remark(url)
    assert (remark is None) if words is None else (remark is not None and words in remark)
    assert "pw" not in (remark or "").replace("password", "")


@pytest.mark.parametrize(
    ("url", "native"),
    [
        ("mailto://example.com", True),
        ("MAILTOS://example.com?pgp=no", True),
        ("mailtos://example.com?pgp=sign", False),
        ("mailtos://example.com?wkd=yes", False),
        ("json://example.com", False),
    ],
)
def test_mail_is_native_unless_it_is_to_be_encrypted_by_pgp(url: str, native: bool) -> None:
    assert mail_url.is_native(url) is native
    text = f'version: 1\nchannels: {{a: "{url}"}}\nroutes: [{{notify: [a]}}]\n'
    rulebook = parse(f"{text}rules: [{{id: r, type: cap, limit: 1, per: day}}]\n", "x", environment={})
    (sender,) = wiring.equip(rulebook).senders.values()
    assert isinstance(sender, MailSender if native else AppriseSender)


def test_a_mail_goes_out_without_apprise_or_requests_in_the_process() -> None:
    code = (
        "import sys; from tests.test_message import notice, read; from budgetd.channels.mail import MailSender;"
        "print(MailSender(sys.stdin.read()).send(read(notice()), 10).outcome);"
        "sys.exit('apprise' in sys.modules or 'requests' in sys.modules)"
    )
    with scripted() as server:
        done = subprocess.run(
            [sys.executable, "-c", code], input=server.url, capture_output=True, text=True, timeout=30, check=False
        )
    assert (done.returncode, done.stdout.strip()) == (0, "delivered")
    assert len(server.mails) == 1


# --- secrets -----------------------------------------------------------------------------------


def encodings(user: str, password: str) -> list[str]:
    texts = (f"{user}:{password}", f"\0{user}\0{password}", user, password)
    return [base64.b64encode(text.encode()).decode().rstrip("=") for text in texts]


@pytest.mark.parametrize("step", ["banner", "AUTH", "MAIL", "RCPT", "DATA", "text"])
@pytest.mark.parametrize("code", ["450", "550"])
def test_no_answer_brings_the_login_into_a_receipt_or_a_log(step: str, code: str, logs: LoudLogs) -> None:
    user, password = f"{CANARY}user", f"p@ss/{CANARY}"
    known = [CANARY, *encodings(user, password)]
    spilled = " ".join([user, password, "p%40ss", f"p%40ss%2F{CANARY}", password.lower(), *encodings(user, password)])
    with scripted({step: f"{code} 5.7.1 no: {spilled}"}) as server:
        receipt = send(server.url_to(ONE, login=f"{user}:p%40ss%2F{CANARY}@", more=f"&+X-Key={CANARY}header"))
    assert receipt.outcome is not Outcome.DELIVERED
    assert receipt.detail
    shown = f"{receipt} {' '.join(logs.lines)}".lower()
    assert [secret for secret in known if secret.lower() in shown] == []


@pytest.mark.parametrize("before", range(150, 205, 5))
def test_a_secret_that_is_cut_in_half_is_not_shown_either(before: int) -> None:
    with scripted({"RCPT": f"550 {'x' * before} {CANARY}{CANARY}"}) as server:
        receipt = send(server.url_to(ONE, login=f"robot:{CANARY}{CANARY}@"))
    assert "CANARY" not in receipt.detail
    assert len(receipt.detail) <= 200


def test_addresses_may_be_shown_and_nothing_else_of_the_url() -> None:
    url = (
        f"mailtos://u:{CANARY}@example.com/?to=bob@example.com&from=w@example.com&+X-Key={CANARY}2&smtp=mx.example.com"
    )
    secrets = registry.secrets(url)
    assert (
        secrets.scrub("bob@example.com w@example.com mx.example.com") == "bob@example.com w@example.com mx.example.com"
    )
    assert CANARY not in secrets.scrub(f"{CANARY} {CANARY}2")
    assert CANARY not in repr(mail_url.parse(url))


def test_the_context_verifies() -> None:
    from budgetd.channels.smtp import verifying

    context = verifying()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.keylog_filename is None
