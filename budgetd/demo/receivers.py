"""Where the demo's messages arrive: a mail server with a Maildir, a web hook, both on loopback, and a Slack preview."""

from __future__ import annotations

import contextlib
import json
import mailbox
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any

from budgetd.channels import Sender
from budgetd.channels.apprise import AppriseSender
from budgetd.channels.mail import MailSender
from budgetd.channels.mail_url import is_native
from budgetd.demo import story
from budgetd.message import Message
from budgetd.model import Outcome, Reason, Receipt

_LOOPBACK = "127.0.0.1"
_POLL = 0.02
_DELIVERY = re.compile(r"dlv_[0-9a-f]+", re.ASCII)
_BUSY = "451 4.3.2 Mailbox busy, try again later"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as its receiver saw it: the id that it carries, and which states of which incidents it tells."""

    channel: str
    id: str
    tells: tuple[str, ...] = ()


@dataclass(slots=True)
class Arrivals:
    """Everything that arrived anywhere; the servers' threads add to it."""

    seen: list[Arrival] = field(default_factory=list)

    def add(self, channel: str, id: str, data: dict[str, Any]) -> None:
        """Note a message whose payload is `data`."""
        alerts = data.get("alerts", [data])
        tells = (f"{alert.get('incident')} {_news(alert)} {alert.get('step')}" for alert in alerts)
        self.seen.append(Arrival(channel, id, tuple(tells) if data else ()))

    def doubled(self) -> int:
        """How many messages told their channel anything that it had been told before."""
        known: set[tuple[str, str]] = set()
        count = 0
        for arrival in self.seen:
            marks = {(arrival.channel, mark) for mark in (arrival.id, *arrival.tells)}
            count += not known.isdisjoint(marks)
            known |= marks
        return count


def _news(alert: dict[str, Any]) -> str:
    """The reason, which may be told once; a reminder says again what is known, but each of them only once."""
    reason = str(alert.get("reason"))
    return f"{reason} {alert.get('sequence')}" if reason == Reason.REMINDER else reason


class SlackPreview:
    """A channel that keeps what would be posted."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self.messages: list[Message] = []

    def send(self, message: Message, _deadline: float) -> Receipt:
        """Keep it: delivered."""
        self.messages.append(message)
        self._arrivals.add(story.SLACK, message.id, message.data.get("data", {}))
        return Receipt(Outcome.DELIVERED)


def way_out(url: str, now: Callable[[], datetime]) -> Sender:
    """The real one to the URL, in the time of the story."""
    return MailSender(url, now) if is_native(url) else Unpaced(url)


class Unpaced:
    """An Apprise channel that is made anew for each message.

    A plug-in pauses for a second or more of real time between two sends; in the demo days pass within that.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def send(self, message: Message, deadline: float) -> Receipt:
        """Send within `deadline` seconds."""
        return AppriseSender(self._url).send(message, deadline)


class MailServer:
    """What a mail server does with a message: at first it is busy, then it puts it into the Maildir."""

    def __init__(self, folder: Path, arrivals: Arrivals, turn_away: int) -> None:
        self.box = mailbox.Maildir(folder, create=True)
        self.turned_away = 0
        self._turn_away = turn_away
        self._arrivals = arrivals

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        """The answer to one message."""
        if self.turned_away < self._turn_away:
            self.turned_away += 1
            return _BUSY
        self.box.add(envelope.content)
        found = _DELIVERY.search(message_from_bytes(envelope.content, policy=policy.default).get("Message-ID", ""))
        self._arrivals.add(story.FINANCE, found[0] if found else "", {})
        return "250 2.0.0 Kept"


@contextlib.contextmanager
def mail_server(server: MailServer) -> Iterator[int]:
    """The port on loopback where it listens while the block runs. Raises ImportError without aiosmtpd, and OSError."""
    from aiosmtpd.controller import Controller

    # Without a name of its own it would ask the resolver for this machine's, and that may be the network.
    controller = Controller(server, hostname=_LOOPBACK, port=_free_port(), server_hostname="localhost")
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()
        server.box.close()


@contextlib.contextmanager
def hook(arrivals: Arrivals) -> Iterator[int]:
    """The port on loopback where JSON posts are taken while the block runs. Raises OSError."""
    with _Hook(arrivals) as server:
        thread = threading.Thread(target=server.serve_forever, args=(_POLL,), name="hook", daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _Hook(ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, arrivals: Arrivals) -> None:
        self.arrivals = arrivals
        super().__init__((_LOOPBACK, 0), _Post)


class _Post(BaseHTTPRequestHandler):
    server: _Hook

    def do_POST(self) -> None:
        """Take one message."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.arrivals.add(story.AUDIT, str(body.get("id", "")), body.get("data", {}))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: the arrivals are the log."""


def _free_port() -> int:
    """The controller cannot be asked which port it was given, so one is looked for beforehand."""
    with socket.create_server((_LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])
