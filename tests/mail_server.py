"""A mail server on loopback that does at each step what a test tells it, and keeps what it was told."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

DROP = "drop the connection"
HANG = "say nothing more"
DRIP = "drip"
FLOOD = "flood"
EXTENSIONS = "250-loopback\r\n250-SIZE {size}\r\n250 AUTH PLAIN LOGIN"


@dataclass
class ScriptedServer:
    """`replies`: what is answered, by the verb that is asked, `banner` and `text` (the whole mail) included.

    A recipient's address may stand for its RCPT. A list is said one after the other, its last again and again.
    """

    port: int
    replies: dict[str, str | list[str]]
    size: int = 0
    said: list[str] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)
    connections: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """A channel to it, for one recipient."""
        return self.url_to("finance@example.com")

    def url_to(self, *recipients: str, more: str = "", login: str = "") -> str:
        """A channel to it."""
        to = ",".join(recipients)
        return f"mailto://{login}127.0.0.1:{self.port}?from=budgetd@example.com&to={to}&mode=insecure{more}"

    def recipients(self) -> list[str]:
        """Whom each RCPT was for, in order."""
        return [line.partition("<")[2].partition(">")[0] for line in self.said if line.upper().startswith("RCPT")]

    def serve(self, client: socket.socket) -> None:
        """One session."""
        self.connections += 1
        with client, client.makefile("rb") as lines:
            if not self._answer(client, "banner", "220 loopback ready"):
                return
            for line in lines:
                words = line.decode("utf-8", "replace").strip()
                self.said.append(words)
                verb = words.split(" ")[0].upper()
                if not self._answer(client, verb, self._usual(verb), words) or verb == "QUIT":
                    return
                if verb == "DATA" and self._last.startswith("354"):
                    self.mails.append(_text(lines))
                    if not self._answer(client, "text", "250 2.0.0 kept"):
                        return

    def _usual(self, verb: str) -> str:
        usual = {"EHLO": EXTENSIONS.format(size=self.size), "DATA": "354 go on", "QUIT": "221 bye", "AUTH": "235 yes"}
        return usual.get(verb, "250 ok")

    def _answer(self, client: socket.socket, key: str, usual: str, words: str = "") -> bool:
        """Answer, and say whether the session goes on."""
        address = words.partition("<")[2].partition(">")[0]
        found = self.replies.get(address if key == "RCPT" and address in self.replies else key, usual)
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        self._last = found
        if found in (DRIP, FLOOD):
            while not self.ended.wait(0.05 if found == DRIP else 0):
                client.sendall(b"2" if found == DRIP else b"250-and so on\r\n" * 1000)
        if found == HANG:
            self.ended.wait(30)
        if found in (DROP, DRIP, FLOOD, HANG):
            return False
        client.sendall(found.encode() + b"\r\n")
        return not found.startswith("421")


def _text(lines: Iterator[bytes]) -> bytes:
    kept = []
    for line in lines:
        if line == b".\r\n":
            break
        kept.append(line[1:] if line.startswith(b".") else line)
    return b"".join(kept)


@contextlib.contextmanager
def scripted(replies: Mapping[str, str | list[str]] | None = None, size: int = 0) -> Iterator[ScriptedServer]:
    """Run it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = ScriptedServer(listener.getsockname()[1], dict(replies or {}), size)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client = listener.accept()[0]
                    threading.Thread(target=_quietly, args=(server, client), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server
        finally:
            server.ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            time.sleep(0.01)


def _quietly(server: ScriptedServer, client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        server.serve(client)
