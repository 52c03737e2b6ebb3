"""Mail through a real Postfix: STARTTLS, greylisting, refusals, lost connections, certificates, logins (SASL).

    python -m tests.real_postfix    as root, with Debian's packages postfix, sasl2-bin, libsasl2-modules; half a minute

It is an instance of its own, in a folder of its own, on free ports of 127.0.0.1; the machine's own stays as it is.
"""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trustme

from budgetd.advice import advice
from budgetd.channels import registry
from budgetd.channels.mail import MailSender
from budgetd.message import Message
from budgetd.model import Face, Outcome, Receipt
from tests.chart_stories import story
from tests.test_message import NOW, read

DAEMONS = Path("/usr/lib/postfix/sbin")
SASL_MODULES = Path("/usr/lib")
PASSWORDS = Path("/usr/sbin/saslpasswd2")
PORTS = ("usual", "bare", "foreign", "wrapped", "small", "login", "clear", "challenge", "digest", "unwell")
PEOPLE = ("ann", "bo", "grey")
LONGEST = 20.0  # seconds for Postfix to start, and for a mail to be in its box
SMALL = 12_000  # octets

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.com
mydestination =
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = example.com
virtual_mailbox_base = {folder}/boxes
virtual_mailbox_maps = texthash:{folder}/people
virtual_uid_maps = static:{user}
virtual_gid_maps = static:{group}
virtual_minimum_uid = 1
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
smtpd_tls_security_level = may
smtpd_tls_chain_files = {folder}/good.pem
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access texthash:{folder}/refusals,
    check_policy_service inet:127.0.0.1:{policy}, permit
smtpd_client_connection_rate_limit = 0
smtpd_sasl_type = cyrus
cyrus_sasl_config_path = {folder}/etc/sasl
smtpd_sasl_local_domain = example.com
smtpd_tls_auth_only = yes
"""
SERVICES = """\
{usual}   inet n - n - - smtpd
{bare}    inet n - n - - smtpd -o smtpd_tls_security_level=none
{foreign} inet n - n - - smtpd -o smtpd_tls_chain_files={folder}/foreign.pem
{wrapped} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
{small}   inet n - n - - smtpd -o message_size_limit={size}
{login}     inet n - n - - smtpd {demanding} -o smtpd_sasl_path=password
{clear}     inet n - n - - smtpd {demanding} -o smtpd_sasl_path=password -o smtpd_tls_auth_only=no
{challenge} inet n - n - - smtpd {demanding} -o smtpd_sasl_path=challenge
{digest}    inet n - n - - smtpd {demanding} -o smtpd_sasl_path=digest
{unwell}    inet n - n - - smtpd {demanding} -o smtpd_sasl_path=unwell
pickup    unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
virtual   unix - n n - - virtual
anvil     unix - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""
# As Postfix' own example of a submission service has it.
DEMANDING = "-o smtpd_sasl_auth_enable=yes -o smtpd_relay_restrictions=permit_sasl_authenticated,reject"
MECHANISMS = {"password": "PLAIN LOGIN", "challenge": "CRAM-MD5", "digest": "DIGEST-MD5"}
LOGINS = {"robot": "CANARY-Pass0word", "roboter": "CANARY-Paßwort"}
WRONG = "CANARY-wrong0word"


def missing() -> str:
    """Why it cannot be run here; empty when it can."""
    if shutil.which("postfix", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None or not DAEMONS.is_dir():
        return "Postfix is not installed here (Debian: apt-get install postfix)"
    if not PASSWORDS.exists() or not any(SASL_MODULES.glob("*/sasl2/libplain.so")):
        return "SASL is not installed here (Debian: apt-get install sasl2-bin libsasl2-modules)"
    return "" if os.geteuid() == 0 else "Postfix's master needs to be started as root"


@dataclass
class Postfix:
    """The running instance."""

    folder: Path
    ports: dict[str, int]
    authority: Path

    def url(self, *people: str, port: str = "usual", mode: str = "starttls", login: str = "", via: int = 0) -> str:
        """A channel for these people of example.com."""
        to = ",".join(f"{person}@example.com" for person in people)
        where = f"localhost:{via or self.ports[port]}"
        return f"mailtos://{login}{where}?from=budgetd@example.com&to={to}&mode={mode}"

    def mails(self, person: str, count: int = 1) -> list[Any]:
        """What is in the box, once there is so much."""
        box = self.folder / "boxes" / person / "new"
        until = time.monotonic() + LONGEST  # noqa: TID251 (real processes)
        while len(found := sorted(box.glob("*"))) < count and time.monotonic() < until:  # noqa: TID251
            time.sleep(0.02)
        return [email.message_from_bytes(each.read_bytes(), policy=email.policy.default) for each in found]

    def nothing_more(self, person: str, count: int) -> bool:
        """Whether there is so much in the box, and the queue is empty."""
        until = time.monotonic() + LONGEST  # noqa: TID251
        queues = [self.folder / "spool" / name for name in ("incoming", "active", "maildrop", "deferred")]
        while any(path.is_file() for queue in queues for path in queue.rglob("*")):
            if time.monotonic() > until:  # noqa: TID251
                return False
            time.sleep(0.02)
        return len(self.mails(person, 0)) == count


@contextlib.contextmanager
def postfix() -> Iterator[Postfix]:
    """Start an instance and end it. Raises SystemExit when it does not start."""
    with tempfile.TemporaryDirectory(prefix="budgetd-postfix-") as name, greylist() as policy:
        folder = Path(name)
        folder.chmod(0o755)
        ports = {port: _free_port() for port in PORTS}
        running = Postfix(folder, ports, _certificates(folder))
        _configure(folder, ports, policy)
        command = ["/usr/sbin/postfix", "-c", str(folder / "etc")]
        try:
            started = subprocess.run([*command, "start"], capture_output=True, text=True)
            if started.returncode != 0 or not all(map(_answers, ports.values())):
                log = folder / "log" / "mail.log"
                raise SystemExit(f"Postfix did not start:\n{started.stderr}{log.read_text() if log.exists() else ''}")
            yield running
        finally:
            subprocess.run([*command, "abort"], capture_output=True)


def _configure(folder: Path, ports: dict[str, int], policy: int) -> None:
    import pwd

    owner = pwd.getpwnam("postfix")
    for part in ("etc", "spool", "data", "boxes", "log"):
        (folder / part).mkdir()
    for part in ("data", "boxes"):
        os.chown(folder / part, owner.pw_uid, owner.pw_gid)
    values = {"folder": folder, "daemons": DAEMONS, "policy": policy, "user": owner.pw_uid, "group": owner.pw_gid}
    (folder / "etc" / "main.cf").write_text(MAIN.format(**values))
    services = SERVICES.format(folder=folder, size=SMALL, demanding=DEMANDING, **_addresses(ports))
    (folder / "etc" / "master.cf").write_text(services)
    (folder / "people").write_text("".join(f"{person}@example.com {person}/\n" for person in PEOPLE))
    (folder / "refusals").write_text("full@example.com 452 4.2.2 the mailbox is full\n")
    _let_in(folder, owner.pw_uid)


def _let_in(folder: Path, owner: int) -> None:
    """Who may log in, and how; the daemon that is to know it at the port `unwell` does not run."""
    (folder / "etc" / "sasl").mkdir()
    known = folder / "sasldb"
    for user, password in LOGINS.items():
        words = [str(PASSWORDS), "-p", "-c", "-f", str(known), "-u", "example.com", user]
        subprocess.run(words, input=password.encode(), check=True, capture_output=True)
    os.chown(known, owner, -1)
    for name, mechanisms in MECHANISMS.items():
        lines = [
            "pwcheck_method: auxprop",
            "auxprop_plugin: sasldb",
            f"sasldb_path: {known}",
            f"mech_list: {mechanisms}",
        ]
        (folder / "etc" / "sasl" / f"{name}.conf").write_text("\n".join([*lines, ""]))
    nobody = f"pwcheck_method: saslauthd\nsaslauthd_path: {folder}/nobody/mux\nmech_list: PLAIN LOGIN\n"
    (folder / "etc" / "sasl" / "unwell.conf").write_text(nobody)


def _addresses(ports: dict[str, int]) -> dict[str, str]:
    return {name: f"127.0.0.1:{port}" for name, port in ports.items()}


def _certificates(folder: Path) -> Path:
    ours, foreign = trustme.CA(), trustme.CA()
    for authority, name in ((ours, "good"), (foreign, "foreign")):
        made = authority.issue_cert("localhost")
        (folder / f"{name}.pem").touch(mode=0o600)
        (folder / f"{name}.pem").write_bytes(made.private_key_and_cert_chain_pem.bytes())
    ours.cert_pem.write_to_path(folder / "ca.pem")
    return folder / "ca.pem"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    until = time.monotonic() + LONGEST  # noqa: TID251
    while time.monotonic() < until:  # noqa: TID251
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def greylist() -> Iterator[int]:
    """A policy service that puts off the first mail to grey@example.com; its port."""
    seen: set[str] = set()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked: dict[str, str] = {}
            for line in self.rfile:
                name, _, value = line.decode().strip().partition("=")
                asked[name] = value
                if name:
                    continue
                who = asked.get("recipient", "")
                new = who.startswith("grey") and who not in seen
                seen.add(who)
                action = "defer_if_permit 4.7.1 greylisted, come back later" if new else "dunno"
                self.wfile.write(f"action={action}\n\n".encode())
                asked = {}

    with _serving(Handler) as port:
        yield port


@contextlib.contextmanager
def cutting(target: int) -> Iterator[int]:
    """A way to the port that is cut once the server has taken the text, before its 250 comes back; its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", target)) as server:
                there = threading.Thread(target=self._back, args=(server,), daemon=True)
                there.start()
                last = b""
                while octets := self.request.recv(65536):
                    last = (last + octets)[-5:]
                    self.ended = self.ended or last == b"\r\n.\r\n"
                    server.sendall(octets)
                there.join(5)

        ended = False

        def _back(self, server: socket.socket) -> None:
            while octets := server.recv(65536):
                if self.ended:
                    self.request.shutdown(socket.SHUT_RDWR)
                    return
                self.request.sendall(octets)

    with _serving(Handler) as port:
        yield port


@contextlib.contextmanager
def overheard(target: int) -> Iterator[tuple[int, bytearray]]:
    """A way to the port, and what the client says on it as anybody on the way can read it."""
    heard = bytearray()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", target)) as server:
                there = threading.Thread(target=self._back, args=(server,), daemon=True)
                there.start()
                with contextlib.suppress(ConnectionError):
                    while octets := self.request.recv(65536):
                        heard.extend(octets)
                        server.sendall(octets)
                    server.shutdown(socket.SHUT_WR)
                there.join(5)

        def _back(self, server: socket.socket) -> None:
            with contextlib.suppress(ConnectionError):
                while octets := server.recv(65536):
                    self.request.sendall(octets)

    with _serving(Handler) as port:
        yield port, heard


@contextlib.contextmanager
def _serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


# --- what is tried -----------------------------------------------------------------------------------


def message(id: str, face: Face = Face.RICH) -> Message:
    """An alert with a chart."""
    return replace(read(story("cap"), face=face), id=id)


@dataclass
class Trial:
    """A channel to Postfix and what its attempts came to."""

    url: str
    id: str
    receipts: list[Receipt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sender = MailSender(self.url, lambda: NOW)

    def send(self, face: Face = Face.RICH) -> tuple[Outcome, str]:
        """Try once."""
        self.receipts.append(self._sender.send(message(self.id, face), 15))
        return self.receipts[-1].outcome, self.receipts[-1].detail


def expect(what: object, wanted: object) -> None:
    """Raises AssertionError with both."""
    if what != wanted:
        raise AssertionError(f"{what!r} instead of {wanted!r}")


def it_arrives_encrypted_and_whole(server: Postfix) -> str:
    expect(Trial(server.url("ann"), "dlv_whole").send()[0], Outcome.DELIVERED)
    mail = server.mails("ann")[-1]
    expect(mail["Message-ID"], "<dlv_whole@example.com>")
    expect("with ESMTPS" in " ".join(str(mail["Received"]).split()), True)
    expect(mail["Subject"], read(story("cap")).title)
    expect("$3,567.46" in mail.get_body(("plain",)).get_content(), True)
    drawn = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    expect([part.get_content()[:4] for part in drawn], [b"\x89PNG"])
    return "text, HTML and chart, over TLS"


def one_that_is_encrypted_from_the_first_byte_takes_it_too(server: Postfix) -> str:
    before = len(server.mails("ann", 0))
    expect(Trial(server.url("ann", port="wrapped", mode="ssl"), "dlv_ssl").send()[0], Outcome.DELIVERED)
    expect(len(server.mails("ann", before + 1)), before + 1)
    return "mode=ssl"


def greylisting_is_waited_for(server: Postfix) -> str:
    trial = Trial(server.url("grey"), "dlv_grey")
    outcome, words = trial.send()
    expect((outcome, "450 4.7.1" in words, "greylisted" in words), (Outcome.RETRY, True, True))
    expect(trial.send()[0], Outcome.DELIVERED)
    expect([mail["Message-ID"] for mail in server.mails("grey")], ["<dlv_grey@example.com>"])
    return words


def a_full_mailbox_is_tried_again_and_the_others_have_it(server: Postfix) -> str:
    before = len(server.mails("bo", 0))
    trial = Trial(server.url("bo", "full"), "dlv_full")
    outcome, words = trial.send()
    expect((outcome, "452 4.2.2" in words), (Outcome.RETRY, True))
    expect(trial.send()[0], Outcome.RETRY)
    expect(len(server.mails("bo", before + 1)), before + 1)
    expect(server.nothing_more("bo", before + 1), True)
    return words


def one_of_three_refused_is_told_and_the_others_get_it_once(server: Postfix) -> str:
    before = {person: len(server.mails(person, 0)) for person in ("ann", "bo")}
    trial = Trial(server.url("ann", "nobody", "bo"), "dlv_three")
    outcome, words = trial.send()
    expect((outcome, words.startswith("1 of 3 recipients do not have it: nobody@")), (Outcome.GONE, True))
    expect("550 5.1.1" in words, True)
    expect(trial.send()[0], Outcome.DELIVERED)
    for person, count in before.items():
        expect(server.mails(person, count + 1)[-1]["To"].count("@"), 3)
        expect(server.nothing_more(person, count + 1), True)
    return words


def a_connection_lost_after_the_text_may_double_it_with_the_same_id(server: Postfix) -> str:
    before = len(server.mails("bo", 0))
    with cutting(server.ports["bare"]) as port:
        lost = Trial(server.url("bo", mode="insecure", via=port).replace("mailtos", "mailto"), "dlv_lost")
        outcome, words = lost.send()
    expect(outcome, Outcome.UNKNOWN)
    expect(Trial(server.url("bo"), "dlv_lost").send()[0], Outcome.DELIVERED)
    ids = [mail["Message-ID"] for mail in server.mails("bo", before + 2)]
    expect(ids.count("<dlv_lost@example.com>"), 2)
    return words


def without_starttls_nothing_is_said(server: Postfix) -> str:
    before = len(server.mails("ann", 0))
    outcome, words = Trial(server.url("ann", port="bare", login="robot:secret@"), "dlv_bare").send()
    expect((outcome, "STARTTLS" in words), (Outcome.UNAUTHORISED, True))
    expect(server.nothing_more("ann", before), True)
    return words


def a_certificate_that_nobody_vouches_for_is_refused(server: Postfix) -> str:
    outcome, words = Trial(server.url("ann", port="foreign", login="robot:secret@"), "dlv_foreign").send()
    expect((outcome, "certificate refused" in words), (Outcome.RETRY, True))
    return words


# --- logins


def login(user: str = "robot", password: str = "") -> str:
    """For a URL; the right password, or that one."""
    return f"{user}:{quote(password or LOGINS[user], safe='')}@"


def said_in_the_clear(heard: bytearray) -> list[str]:
    """What of the logins can be read there: the passwords, or the marker in what is base64."""
    tokens = [*heard.split(), *(word.partition(b"=")[0] + b"==" for word in heard.split())]
    plain = bytes(heard)
    for token in tokens:
        with contextlib.suppress(ValueError):
            plain += base64.b64decode(token)
    return [mark for mark in ("CANARY", "robot") if mark.encode() in plain]


def let_in(server: Postfix, id: str, port: str, user: str = "robot", via: int = 0, mode: str = "starttls") -> Any:
    """The mail that arrived with this login."""
    before = len(server.mails("ann", 0))
    url = server.url("ann", port=port, mode=mode, login=login(user), via=via)
    expect(Trial(url, id).send()[0], Outcome.DELIVERED)
    expect(len(server.mails("ann", before + 1)), before + 1)
    return next(mail for mail in server.mails("ann") if mail["Message-ID"] == f"<{id}@example.com>")


def a_right_password_is_taken_and_goes_out_encrypted(server: Postfix) -> str:
    with overheard(server.ports["login"]) as (port, heard):
        mail = let_in(server, "dlv_right", "login", via=port)
    expect("with ESMTPSA" in " ".join(str(mail["Received"]).split()), True)
    expect((b"STARTTLS" in heard, b"AUTH" in heard.upper(), said_in_the_clear(heard)), (True, False, []))
    return "PLAIN, after STARTTLS"


def a_password_beyond_ascii_is_taken_too(server: Postfix) -> str:
    let_in(server, "dlv_umlaut", "login", "roboter")
    return "PLAIN, UTF-8"


def a_challenge_is_answered(server: Postfix) -> str:
    let_in(server, "dlv_cram", "challenge")
    return "CRAM-MD5"


def refused(server: Postfix, id: str, part: str, told: str, via: int = 0, **url: Any) -> str:
    """What is said of a login that is not taken: these words and that advice, no secret; and no mail arrives."""
    before = len(server.mails("ann", 0))
    outcome, words = Trial(server.url("ann", via=via, **url), id).send()
    advised = advice(outcome, words)
    expect((outcome, part in words, told in advised), (Outcome.UNAUTHORISED, True, True))
    expect([secret for secret in (*LOGINS.values(), WRONG, "CANARY") if secret in words], [])
    expect(server.nothing_more("ann", before), True)
    return f"{words} -> {advised}"


def a_wrong_password_is_told(server: Postfix) -> str:
    wrong = login(password=WRONG)
    refused(server, "dlv_wrong_cram", "535 5.7.8", "check user and password", port="challenge", login=wrong)
    return refused(server, "dlv_wrong", "login: 535 5.7.8", "check user and password", port="login", login=wrong)


def an_unknown_user_is_told(server: Postfix) -> str:
    unknown = login("nobody", WRONG)
    return refused(server, "dlv_nobody", "login: 535 5.7.8", "check user and password", port="login", login=unknown)


def a_login_that_is_missing_is_told(server: Postfix) -> str:
    outcome, words = Trial(server.url("ann", port="login"), "dlv_missing").send()
    told = advice(outcome, words)
    expect((outcome, "554 5.7.1" in words, "put user and password" in told), (Outcome.GONE, True, True))
    return f"{words} -> {told}"


def a_login_where_none_is_taken_is_told(server: Postfix) -> str:
    return refused(server, "dlv_login", "the server offers no login here", "encrypted port", login=login())


def without_encryption_a_server_that_wants_it_hears_no_password(server: Postfix) -> str:
    said = ""
    for user in LOGINS:
        with overheard(server.ports["login"]) as (port, heard):
            url = {"login": login(user), "mode": "insecure"}
            said = refused(server, f"dlv_{user}", "offers no login in the clear", "mailtos://", port, **url)
        expect((b"EHLO" in heard.upper(), said_in_the_clear(heard)), (True, []))
    return said


def a_login_of_another_kind_is_told(server: Postfix) -> str:
    refused(server, "dlv_beyond", "CRAM-MD5", "take PLAIN over TLS", port="challenge", login=login("roboter"))
    return refused(server, "dlv_digest", "DIGEST-MD5", "take PLAIN over TLS", port="digest", login=login())


def a_server_that_cannot_look_up_the_login_is_tried_again(server: Postfix) -> str:
    outcome, words = Trial(server.url("ann", port="unwell", login=login()), "dlv_unwell").send()
    told = advice(outcome, words)
    expect((outcome, "454 4.7.0" in words, "for now" in told), (Outcome.RETRY, True, True))
    return f"{words} -> {told}"


def with_mode_insecure_a_password_is_readable_on_the_way_as_documented(server: Postfix) -> str:
    with overheard(server.ports["clear"]) as (port, heard):
        let_in(server, "dlv_clear", "clear", via=port, mode="insecure")
    expect(said_in_the_clear(heard), ["CANARY", "robot"])
    far = server.url("ann", mode="insecure", login=login()).replace("@localhost:", "@smtp.example.com:")
    remark = registry.remark(far) or ""
    expect("the password goes out in the clear" in remark, True)
    return f"budgetd check says of a host on the internet: {remark}"


# --- size


def what_is_too_large_goes_out_simpler(server: Postfix) -> str:
    before = len(server.mails("ann", 0))
    trial = Trial(server.url("ann", port="small"), "dlv_small")
    outcome, words = trial.send()
    expect((outcome, f"{SMALL:,}" in words), (Outcome.REJECTED, True))
    expect(trial.send(Face.PLAIN)[0], Outcome.DELIVERED)
    expect(server.mails("ann", before + 1)[-1]["Message-ID"], "<dlv_small@example.com>")
    return words


TRIALS: tuple[Callable[[Postfix], str], ...] = (
    it_arrives_encrypted_and_whole,
    one_that_is_encrypted_from_the_first_byte_takes_it_too,
    greylisting_is_waited_for,
    a_full_mailbox_is_tried_again_and_the_others_have_it,
    one_of_three_refused_is_told_and_the_others_get_it_once,
    a_connection_lost_after_the_text_may_double_it_with_the_same_id,
    without_starttls_nothing_is_said,
    a_certificate_that_nobody_vouches_for_is_refused,
    a_right_password_is_taken_and_goes_out_encrypted,
    a_password_beyond_ascii_is_taken_too,
    a_challenge_is_answered,
    a_wrong_password_is_told,
    an_unknown_user_is_told,
    a_login_that_is_missing_is_told,
    a_login_where_none_is_taken_is_told,
    without_encryption_a_server_that_wants_it_hears_no_password,
    a_login_of_another_kind_is_told,
    a_server_that_cannot_look_up_the_login_is_tried_again,
    with_mode_insecure_a_password_is_readable_on_the_way_as_documented,
    what_is_too_large_goes_out_simpler,
)


def main() -> int:
    """Try it all, a line for each; 0 when all is as it must be, 2 when it cannot be run here."""
    why = missing()
    if why:
        print(f"not run: {why}")
        return 2
    failed = 0
    with postfix() as server:
        os.environ["SSL_CERT_FILE"] = str(server.authority)
        for trial in TRIALS:
            name = trial.__name__.replace("_", " ")
            try:
                print(f"ok      {name}: {trial(server)}")
            except AssertionError as error:
                failed += 1
                print(f"FAILED  {name}: {error}")
    print(f"{len(TRIALS) - failed} of {len(TRIALS)} as they must be")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
