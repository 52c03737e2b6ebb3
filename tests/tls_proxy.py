"""A CONNECT proxy on loopback that ends TLS itself with a test CA: real bytes for any host, no network."""

from __future__ import annotations

import contextlib
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.client import parse_headers
from pathlib import Path
from typing import BinaryIO

import trustme


@dataclass(frozen=True)
class Request:
    """One request as it left the client."""

    host: str
    line: str
    headers: Message
    body: bytes


@dataclass
class TlsProxy:
    """Where it listens, whom its clients must trust, what it got.

    `answer` makes the raw answer to a request, whole or piece by piece.
    """

    url: str
    ca_file: Path
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request], bytes | Iterable[bytes]] = lambda _: http_answer(200, b"ok")


def http_answer(status: int, body: bytes, *headers: str) -> bytes:
    """A whole HTTP/1.1 answer."""
    head = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@contextlib.contextmanager
def tls_proxy(folder: Path) -> Iterator[TlsProxy]:
    """Run the proxy; its CA's certificate is written into the folder."""
    authority = trustme.CA()
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            host = self.rfile.readline().split()[1].decode().rpartition(":")[0]
            parse_headers(self.rfile)
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(host).configure_cert(context)
            with contextlib.suppress(OSError), context.wrap_socket(self.request, server_side=True) as tls:
                request = _read_request(host, tls.makefile("rb"))
                proxy.requests.append(request)
                answer = proxy.answer(request)
                for piece in (answer,) if isinstance(answer, bytes) else answer:
                    tls.sendall(piece)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        proxy = TlsProxy(f"http://127.0.0.1:{server.server_address[1]}", ca_file)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join(5)


def _read_request(host: str, stream: BinaryIO) -> Request:
    with stream:
        line = stream.readline().decode().strip()
        headers = parse_headers(stream)
        return Request(host, line, headers, stream.read(int(headers.get("Content-Length", "0"))))
