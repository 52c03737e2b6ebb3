"""A server on loopback that answers with exactly the bytes that a test wants, as slowly and as wrongly as it wants."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """What was asked, as it came over the wire."""

    raw: bytes

    @property
    def target(self) -> str:
        return self.raw.split(b" ", 2)[1].decode()

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query)

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def headers(self) -> dict[str, str]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}


@dataclass
class Connection:
    """One accepted connection, for scripts that want more than an answer."""

    socket: socket.socket
    stopping: threading.Event
    open: bool = True

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def drip(self, data: bytes, pause: float) -> None:
        """One byte, a pause (seconds), the next byte."""
        for byte in data:
            self.socket.sendall(bytes([byte]))
            if self.stopping.wait(pause):
                return

    def stall(self) -> None:
        self.stopping.wait(30)

    def hang_up(self) -> None:
        self.open = False


Script = Callable[[Connection, Request], None]


def raw(data: bytes, *, close: bool = True) -> Script:
    """These bytes, and by default the end of the connection."""

    def script(connection: Connection, request: Request) -> None:
        connection.send(data)
        connection.open = not close

    return script


def head(status: int = 200, **headers: str) -> bytes:
    """Status line and header lines; `content_length="5"` becomes `content-length: 5`."""
    lines = [f"HTTP/1.1 {status} Whatever"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(body: object, status: int = 200, **headers: str) -> Script:
    """A well-formed answer; anything but bytes is written as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content_type": "application/json", "content_length": str(len(data)), **headers}
    return raw(head(status, **given) + data, close=False)


def error(status: int, kind: str = "api_error", message: str = "Something is wrong", **headers: str) -> Script:
    """An error as the API writes it."""
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_body"}
    return answer(body, status, request_id="req_123", **headers)


@dataclass
class FaultyServer:
    """Plays one script a request, in order; the last one again and again. `requests` is what came."""

    scripts: Sequence[Script]
    tls: ssl.SSLContext | None = None
    on_connect: Callable[[Connection], None] | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    def __enter__(self) -> FaultyServer:
        self._threads[0].start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stopping.set()
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for each in (self._listener, *self._open):
            each.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(accepted)
            thread = threading.Thread(target=self._serve, args=[accepted], daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, accepted: socket.socket) -> None:
        with suppress(OSError):
            if self.on_connect:
                self.on_connect(Connection(accepted, self._stopping))
                accepted.shutdown(socket.SHUT_RDWR)
                return
            if self.tls:
                accepted = self.tls.wrap_socket(accepted, server_side=True)
                self._open.append(accepted)
            connection = Connection(accepted, self._stopping)
            while connection.open and not self._stopping.is_set():
                request = _request(accepted)
                if request is None:
                    break
                script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
                self.requests.append(request)
                script(connection, request)
            accepted.shutdown(socket.SHUT_RDWR)


def _request(accepted: socket.socket) -> Request | None:
    data = b""
    while not _is_whole(data):
        piece = accepted.recv(65536)
        if not piece:
            return None
        data += piece
    return Request(data)


def _is_whole(data: bytes) -> bool:
    request = Request(data)
    return b"\r\n\r\n" in data and len(request.body) >= int(request.headers.get("content-length", "0"))


@contextmanager
def unanswered_port() -> Iterator[int]:
    """A port whose queue of connections is full: the kernel drops every further SYN, as a firewall does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        queued = []
        try:
            for _ in range(4):
                waiting = socket.socket()
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
                queued.append(waiting)
            yield listener.getsockname()[1]
        finally:
            for waiting in queued:
                waiting.close()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections; it stays bound, so that nobody else gets it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
