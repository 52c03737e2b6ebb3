"""The simulated Admin API on a real socket: HTTP/1.1 on loopback, with a clock and faults that the caller holds."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from budgetd.simulator.api import ADMIN_KEY, AdminApi
from budgetd.simulator.clocks import Clock
from budgetd.simulator.faults import FaultScript
from budgetd.simulator.organisation import World
from budgetd.simulator.wire import Manner, Request, Response, http_date

_SECRETS = frozenset({"x-api-key", "authorization", "proxy-authorization", "cookie"})
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_LOGGED = 100_000
_POLL = 0.02
_JOIN = 2.0
# Linger for zero seconds: closing then sends a reset instead of an orderly end.
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as it came, without its key, and the status that it got; `at` is on the simulated clock."""

    request: Request
    at: datetime
    status: int


class SimulatedServer:
    """A server that runs until it is closed. `exchanges` is its log of the latest requests, oldest first."""

    def __init__(self, api: AdminApi, clock: Clock, faults: FaultScript, port: int = 0) -> None:
        """Raises OSError when the port is taken."""
        self.api = api
        self.clock = clock
        self.faults = faults
        self.exchanges: deque[Exchange] = deque(maxlen=_LOGGED)
        self.closing = threading.Event()
        self._http = _Server(self, port)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(_POLL,), name="simulator", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The base address, such as `http://127.0.0.1:9469`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def handle(self, request: Request) -> Response:
        """The answer to one request, which is logged."""
        now = self.clock()
        fault = self.faults.take(request, now)
        response = fault.answer(request, now, self.api.respond) if fault else self.api.respond(request, now)
        headers = {name: value for name, value in request.headers.items() if name not in _SECRETS}
        shown = Request(request.method, request.path, request.query, headers)
        self.exchanges.append(Exchange(shown, now, response.status))
        return response

    def close(self) -> None:
        """End every connection and thread, hanging ones too."""
        self.closing.set()
        self._http.shutdown()
        self._thread.join(_JOIN)
        self._http.end_connections()
        self._http.server_close()


@contextlib.contextmanager
def serve(
    world: World, *, clock: Clock, faults: FaultScript | None = None, key: str = ADMIN_KEY, port: int = 0
) -> Iterator[SimulatedServer]:
    """A server for that organisation while the block runs; port 0 takes any free one. Raises OSError."""
    server = SimulatedServer(AdminApi(world, key), clock, faults or FaultScript(), port)
    try:
        yield server
    finally:
        server.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: SimulatedServer, port: int) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        super().process_request_thread(request, client_address)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def end_connections(self) -> None:
        """Wake the threads that wait for a client, and wait for them."""
        with self._changed:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, _JOIN)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    connection: socket.socket
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        # A client that hangs up in the middle is what the faults are for; it is nobody's error here.
        with contextlib.suppress(ConnectionError):
            super().handle()

    def respond(self) -> None:
        """Answer one request of any method."""
        request = Request.of(self.command, self.path, dict(self.headers.items()))
        response = self.server.owner.handle(request)
        if self.headers.get("content-length") or self.headers.get("transfer-encoding"):
            self.close_connection = True  # its body is not read
        self._send(response)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: `exchanges` is the log."""

    def _send(self, response: Response) -> None:
        pause, head = response.pause, self._head(response)
        body = b"" if self.command == "HEAD" else response.body
        match response.manner:
            case Manner.WHOLE:
                self._wait(pause)
                self.wfile.write(head + body)
                return
            case Manner.DRIP:
                self.wfile.write(head)
                self._drip(body, pause)
                return
            case Manner.STALL:
                self.wfile.write(head + body[: len(body) // 2])
                self._wait(pause)
            case Manner.HANG:
                self._wait(pause)
            case Manner.TRUNCATED:
                self.wfile.write(head + body[: len(body) // 2])
            case Manner.RESET:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.connection.close()  # before the server ends it in good order
            case Manner.CLOSE:
                pass
        self.close_connection = True

    def _head(self, response: Response) -> bytes:
        phrase = HTTPStatus(response.status).phrase if response.status in set(HTTPStatus) else "Unknown"
        headers = {"date": http_date(self.server.owner.clock()), **response.headers}
        headers["content-length"] = str(len(response.body))
        if self.close_connection:
            headers["connection"] = "close"
        lines = [f"HTTP/1.1 {response.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1")

    def _drip(self, body: bytes, pause: float) -> None:
        for at in range(len(body)):
            if self._wait(pause):
                self.close_connection = True
                return
            self.wfile.write(body[at : at + 1])

    def _wait(self, seconds: float) -> bool:
        """Whether the server is closing."""
        return self.server.owner.closing.wait(seconds) if seconds else False


for _method in _METHODS:
    setattr(_Handler, f"do_{_method}", _Handler.respond)
