"""A mail handed to a server within a deadline: each recipient's own answer, and what is not known when it is lost."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from budgetd import clock, wire
from budgetd.channels.mail_url import STARTTLS, TLS, Account
from budgetd.escaping import for_text
from budgetd.model import Outcome, Receipt

# Characters of what a server said; whoever shows it cuts it shorter, once it holds no secrets.
EXCERPT = 4000
PIECE = 16 * 1024
# Octets that a server may say in one session; more is no conversation.
MOST_SAID = 256 * 1024
_CONNECT_SECONDS = 10.0
_GOODBYE_SECONDS = 1.0
_LEAST_TIMEOUT = 0.001
_REFUSED_LOGINS = (530, 534, 535, 538)
_WAYS_IN = frozenset({"CRAM-MD5", "PLAIN", "LOGIN"})
_WAYS_BEYOND_ASCII = frozenset({"PLAIN"})


class FailedError(Exception):
    """The session ended for all recipients alike; the receipt says how."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.receipt = Receipt(outcome, detail)


class Deadline:
    """The instant by which everything is over."""

    def __init__(self, seconds: float) -> None:
        self._until = clock.monotonic() + seconds

    @property
    def over(self) -> bool:
        """Whether no time is left."""
        return clock.monotonic() >= self._until

    def left(self) -> float:
        """Seconds until then. Raises TimeoutError when there are none."""
        seconds = self._until - clock.monotonic()
        if seconds <= 0:
            raise TimeoutError("no answer in time")
        return max(seconds, _LEAST_TIMEOUT)

    def shorten(self, seconds: float) -> None:
        """Be over in at most so many seconds."""
        self._until = min(self._until, clock.monotonic() + seconds)


@cache
def own_name() -> str:
    """What this machine calls itself to mail servers (RFC 5321, 4.1.1.1); asked once, as resolvers may be slow."""
    name = socket.getfqdn()
    return name if "." in name else "[127.0.0.1]"


def verifying() -> ssl.SSLContext:
    """Certificates are verified, by the machine's authorities or those of SSL_CERT_FILE and SSL_CERT_DIR."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs()
    if not context.cert_store_stats()["x509_ca"]:  # a machine without any, as small containers are
        import certifi

        context.load_verify_locations(certifi.where())
    return context


class Session(smtplib.SMTP):
    """smtplib's client on a connection whose every wait ends by the deadline, also when the server drips."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__(local_hostname=own_name())
        self._deadline = deadline

    def greet(self, connection: socket.socket) -> None:
        """Speak on this connection. Raises smtplib.SMTPException and OSError."""
        self.sock = connection
        code, words = self.getreply()
        if code != 220:
            raise smtplib.SMTPConnectError(code, words)
        self.ehlo_or_helo_if_needed()

    def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Go on encrypted. Raises smtplib.SMTPException and OSError."""
        if not self.has_extn("starttls"):
            raise smtplib.SMTPNotSupportedError("the server offers no STARTTLS; mode=ssl and mode=insecure are others")
        code, words = self.docmd("STARTTLS")
        if code != 220:
            raise smtplib.SMTPResponseException(code, words)
        assert self.sock is not None
        self.sock.settimeout(self._deadline.left())
        self.sock = context.wrap_socket(self.sock, server_hostname=host)
        # What was said before counts no more, nor what was put in behind it (RFC 3207, 4.2).
        self.file = self.helo_resp = self.ehlo_resp = None
        self.esmtp_features, self.does_esmtp = {}, False
        self.ehlo_or_helo_if_needed()

    def log_in(self, user: str, password: str) -> None:
        """As this user; no password goes to a server that asks for none. Raises smtplib.SMTPException and OSError."""
        ascii_only = user.isascii() and password.isascii()
        offered = self.esmtp_features.get("auth", "").upper().split()
        if not self.has_extn("auth"):
            encrypted = isinstance(self.sock, ssl.SSLSocket)
            raise smtplib.SMTPNotSupportedError(f"the server offers no login {'here' if encrypted else 'in the clear'}")
        if (_WAYS_IN if ascii_only else _WAYS_BEYOND_ASCII).isdisjoint(offered):
            raise smtplib.SMTPNotSupportedError(f"none of the server's ways to log in will do: {' '.join(offered)}")
        if ascii_only:
            self.login(user, password)
            return
        words = base64.b64encode(f"\0{user}\0{password}".encode()).decode()  # RFC 4616; smtplib knows only ASCII
        code, answer = self.docmd("AUTH", f"PLAIN {words}")
        if code != 235:
            raise smtplib.SMTPAuthenticationError(code, answer)

    def getreply(self) -> tuple[int, bytes]:
        """The server's next words."""
        if self.file is None and self.sock is not None:
            self.file = io.BufferedReader(_Heard(self.sock, self._deadline))
        return super().getreply()

    def send(self, s: Any) -> None:
        """Send text (ASCII) or bytes. Raises smtplib.SMTPServerDisconnected."""
        rest = memoryview(s.encode("ascii") if isinstance(s, str) else s)
        try:
            if self.sock is None:
                raise OSError("not connected")
            while rest:
                self.sock.settimeout(self._deadline.left())
                rest = rest[self.sock.send(rest[:PIECE]) :]
        except OSError as error:
            self.close()
            raise smtplib.SMTPServerDisconnected(str(error)) from error

    def transmit(self, mail: bytes) -> tuple[int, bytes]:
        """The mail's text, and the server's word on it. Raises FailedError(UNKNOWN) when that word does not come."""
        self.putcmd("data")
        code, words = self.getreply()
        if code != 354:
            return code, words
        lines = re.sub(rb"(?m)^\.", b"..", mail)
        self.send(lines + (b".\r\n" if lines.endswith(b"\r\n") else b"\r\n.\r\n"))
        try:
            return self.getreply()
        except smtplib.SMTPServerDisconnected:  # RFC 1047: it may have the mail
            lost = "no answer in time after the mail was sent" if self._deadline.over else "the connection broke"
            raise FailedError(Outcome.UNKNOWN, f"{lost} before the server said that it has the mail") from None

    def leave(self) -> None:
        """Say goodbye, without waiting long for an answer."""
        self._deadline.shorten(_GOODBYE_SECONDS)
        with contextlib.suppress(OSError):
            self.quit()
        self.close()


class _Heard(io.RawIOBase):
    """What the server says; a timeout for each read would never end a slow drip."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._room = MOST_SAID

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As of io.RawIOBase. Raises OSError, TimeoutError by the deadline."""
        if self._room <= 0:
            raise OSError("the server talks without end")
        self._connection.settimeout(self._deadline.left())
        count = self._connection.recv_into(buffer)
        self._room -= count
        return count


# --- a mail from end to end ----------------------------------------------------------------------


def hand_in(account: Account, recipients: Sequence[str], mail: bytes, deadline: Deadline) -> dict[str, Receipt]:
    """Hand the mail (CRLF lines) to the account's server; what became of it for each recipient. Never raises."""
    try:
        with _session(account, deadline) as session:
            return _submit(session, account, recipients, mail)
    except FailedError as error:
        return dict.fromkeys(recipients, error.receipt)


@contextlib.contextmanager
def _session(account: Account, deadline: Deadline) -> Iterator[Session]:
    """A session that is ready to take mail. Raises FailedError."""
    session = Session(deadline)
    try:
        with _step("the mail server could not be reached", Outcome.UNAUTHORISED, deadline):
            session.greet(_connected(account, deadline))
        if account.mode == STARTTLS:
            with _step("no encrypted connection", Outcome.UNAUTHORISED, deadline, account):
                session.encrypt(verifying(), account.host)
        if account.user and account.password:
            with _step("login", Outcome.UNAUTHORISED, deadline):
                session.log_in(account.user, account.password)
        with _step("sending the mail", Outcome.REJECTED, deadline):
            yield session
    finally:
        session.leave()


def _connected(account: Account, deadline: Deadline) -> socket.socket:
    """A connection to the first address of the host that answers. Raises OSError and FailedError."""
    found = socket.getaddrinfo(account.host, account.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    if any(map(wire.is_link_local, addresses)):  # where clouds hand out credentials
        raise FailedError(Outcome.GONE, "nothing is sent to link-local addresses")
    for untried in range(len(addresses), 0, -1):
        seconds = min(_CONNECT_SECONDS, deadline.left()) / untried
        try:
            connection = socket.create_connection((addresses[-untried], account.port), seconds)
            break
        except OSError:
            if untried == 1:
                raise
    if account.mode != TLS:
        return connection
    connection.settimeout(deadline.left())
    return verifying().wrap_socket(connection, server_hostname=account.host)


def _submit(session: Session, account: Account, recipients: Sequence[str], mail: bytes) -> dict[str, Receipt]:
    """Raises what `_step` turns into a FailedError."""
    limit = session.esmtp_features.get("size", "")
    if limit.isdecimal() and 0 < int(limit) < len(mail):
        raise FailedError(Outcome.REJECTED, f"{len(mail):,} octets are more than the {int(limit):,} that it takes")
    options = [f"size={len(mail)}"] if session.has_extn("size") else []
    code, words = session.mail(account.sender[1], options)
    if code != 250:
        raise FailedError(*_of_sender(code, words))
    refused = _refused(session, recipients)
    if len(refused) == len(recipients):
        return refused
    code, words = session.transmit(mail)
    taken = Receipt(Outcome.DELIVERED) if code == 250 else Receipt(_of_mail(code), _said(code, words))
    return {address: refused.get(address, taken) for address in recipients}


def _refused(session: Session, recipients: Sequence[str]) -> dict[str, Receipt]:
    """The recipients that the server does not take, and why."""
    refused: dict[str, Receipt] = {}
    for address in recipients:
        code, words = session.rcpt(address)
        if code == 421:  # it ends the session
            raise FailedError(Outcome.RETRY, _said(code, words))
        if code not in (250, 251):
            refused[address] = _of_recipient(code, words)
    return refused


@contextlib.contextmanager
def _step(words: str, permanent: Outcome, deadline: Deadline, account: Account | None = None) -> Iterator[None]:
    """What goes wrong within is a FailedError; `permanent` is what the server's 5xx means here."""
    try:
        yield
    except FailedError as error:
        raise FailedError(error.receipt.outcome, f"{words}: {error.receipt.detail}") from None
    except (OSError, smtplib.SMTPException, ValueError) as error:  # SMTPException is an OSError by accident
        outcome, said = _failure(error, permanent, deadline)
        raise FailedError(outcome, f"{words}: {said}") from None


def _failure(error: Exception, permanent: Outcome, deadline: Deadline) -> tuple[Outcome, str]:
    if isinstance(error, smtplib.SMTPResponseException) and error.smtp_code > 0:
        code = error.smtp_code
        outcome = Outcome.UNAUTHORISED if code in _REFUSED_LOGINS else permanent
        return outcome if code >= 500 else Outcome.RETRY, _said(code, error.smtp_error)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return Outcome.UNAUTHORISED, excerpt(str(error))
    if isinstance(error, ssl.SSLCertVerificationError):
        return Outcome.RETRY, f"TLS: certificate refused: {excerpt(error.verify_message)}"
    if deadline.over or isinstance(error, TimeoutError):
        return Outcome.RETRY, "no answer in time"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return Outcome.RETRY, f"the connection broke: {excerpt(str(error))}"
    if type(error) is smtplib.SMTPException or isinstance(error, ValueError):
        return Outcome.UNAUTHORISED, excerpt(str(error))  # no way to log in that both know
    return Outcome.RETRY, excerpt(f"{type(error).__name__}: {error}")


def _of_sender(code: int, words: bytes) -> tuple[Outcome, str]:
    """A refused MAIL FROM: 552 is about the size, any other 5xx about who may send."""
    permanent = Outcome.REJECTED if code == 552 else Outcome.UNAUTHORISED
    return permanent if code >= 500 else Outcome.RETRY, f"the sender is refused: {_said(code, words)}"


def _of_recipient(code: int, words: bytes) -> Receipt:
    """A refused RCPT TO. 552 means what 452 does (RFC 5321, 4.5.3.1.10)."""
    if code in _REFUSED_LOGINS:
        return Receipt(Outcome.UNAUTHORISED, _said(code, words))
    gone = code >= 500 and code != 552
    return Receipt(Outcome.GONE if gone else Outcome.RETRY, _said(code, words))


def _of_mail(code: int) -> Outcome:
    """A refused text."""
    if code in _REFUSED_LOGINS:
        return Outcome.UNAUTHORISED
    return Outcome.REJECTED if code >= 500 else Outcome.RETRY


def _said(code: int, words: bytes | str) -> str:
    return f"{code} {excerpt(words.decode('utf-8', 'replace') if isinstance(words, bytes) else words)}".strip()


def excerpt(text: str) -> str:
    """The start of a text from outside, on one line."""
    return for_text(" ".join(text[: EXCERPT * 2].split()))[:EXCERPT]
