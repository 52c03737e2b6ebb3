"""Connections whose every wait ends by a deadline, to a host that has proved who it is."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import httpcore

_CONNECT_SECONDS = 10.0
_KEEPALIVE_SECONDS = 5.0
_METADATA = ip_address("fd00:ec2::254")
_NAT64 = ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Proxy:
    """The address of an http(s) proxy, and the user and password for it."""

    url: str
    auth: tuple[bytes, bytes] | None = field(default=None, repr=False)


# Says of a numeric address that nothing may be sent to it.
Forbidden = Callable[[str], bool]


class ForbiddenAddressError(httpcore.ConnectError):
    """Every address of the host is a forbidden one."""


def is_link_local(address: str) -> bool:
    """Whether a numeric address is of this machine's own network segment: where clouds hand out credentials."""
    try:
        ip = ip_address(address)
    except ValueError:
        return _is_odd_spelling_of_link_local(address)
    if isinstance(ip, IPv6Address):
        inner = ip.ipv4_mapped or (IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)
        return ip.is_link_local or int(ip) == int(_METADATA) or bool(inner and inner.is_link_local)
    return ip.is_link_local


def _is_odd_spelling_of_link_local(address: str) -> bool:
    """`0xa9fea9fe` and `2852039166` are numeric addresses to the C library."""
    try:
        return IPv4Address(socket.inet_aton(address)).is_link_local
    except (OSError, UnicodeError, ValueError):
        return False


class Deadline:
    """The instant by which the present request is over, for everything that waits."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.until = 0.0

    def left(self) -> float:
        """Seconds until then. Raises httpcore.ReadTimeout when there are none."""
        seconds = self.until - self._monotonic()
        if seconds <= 0:
            raise httpcore.ReadTimeout("no whole answer within the time allowed")
        return seconds


class _Stream(httpcore.NetworkStream):
    """A connection whose every wait ends by the deadline; a timeout for each read never ends a slow drip."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = min(_CONNECT_SECONDS, self._deadline.left())
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, seconds), self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Connects to the first address of a host that answers, all of them within one bound."""

    def __init__(self, deadline: Deadline, forbidden: Forbidden) -> None:
        self._deadline = deadline
        self._forbidden = forbidden
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        # What is checked is what is connected to: no name is looked up again afterwards.
        addresses = [address for address in _addresses(host, port) if not self._forbidden(address)]
        if not addresses:
            raise ForbiddenAddressError("the name leads to an address that nothing is sent to")
        for untried in range(len(addresses), 1, -1):
            seconds = min(_CONNECT_SECONDS, self._deadline.left()) / untried
            try:
                stream = self._plain.connect_tcp(addresses[-untried], port, seconds, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
            return _Stream(stream, self._deadline)
        seconds = min(_CONNECT_SECONDS, self._deadline.left())
        stream = self._plain.connect_tcp(addresses[-1], port, seconds, local_address, socket_options)
        return _Stream(stream, self._deadline)


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"the name cannot be resolved ({error})") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def pool(
    deadline: Deadline, tls: ssl.SSLContext | None, proxy: Proxy | None, forbidden: Forbidden = lambda _: False
) -> httpcore.ConnectionPool:
    """A connection pool under the deadline; `tls` None: for plain http."""
    backend = _Backend(deadline, forbidden)
    if proxy is None:
        return httpcore.ConnectionPool(tls, keepalive_expiry=_KEEPALIVE_SECONDS, network_backend=backend)
    return httpcore.HTTPProxy(
        proxy.url,
        proxy_auth=proxy.auth,
        ssl_context=tls,
        proxy_ssl_context=tls if proxy.url.startswith("https:") else None,
        keepalive_expiry=_KEEPALIVE_SECONDS,
        network_backend=backend,
    )


def verifying(ca_file: Path | None) -> ssl.SSLContext:
    """Verification that nothing in the environment can change or listen to (SSL_CERT_FILE, SSLKEYLOGFILE)."""
    if ca_file is None:
        import certifi

        ca_file = Path(certifi.where())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(**{"capath" if ca_file.is_dir() else "cafile": str(ca_file)})
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"the CA file {ca_file} cannot be used: {error.strerror}") from None
    return context


def why(error: Exception) -> str:
    """What kept a connection from giving an answer, in words; for TLS in its own."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"TLS: certificate refused: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {cause.reason or cause.strerror or cause}"
    if isinstance(error, httpcore.ConnectTimeout):
        return "no connection within the time allowed"
    if isinstance(error, httpcore.TimeoutException):
        return "no whole answer within the time allowed"
    return str(error) or type(error).__name__
