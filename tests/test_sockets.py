"""The tests themselves: only those marked `network` have sockets, and those reach no further than this machine."""

from __future__ import annotations

import socket

import pytest
from pytest_socket import SocketBlockedError, SocketConnectBlockedError


def test_sockets_are_shut() -> None:
    with pytest.raises((SocketBlockedError, UserWarning)):
        socket.socket()
    with pytest.raises((SocketBlockedError, UserWarning)):
        socket.getaddrinfo("localhost", 80)


def test_unix_sockets_are_not() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        one.sendall(b"x")
        assert other.recv(1) == b"x"


@pytest.mark.network
def test_marked_tests_reach_this_machine_and_nothing_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()[:2]):
        pass
    with socket.socket() as outward, pytest.raises((SocketConnectBlockedError, UserWarning)):
        outward.connect(("192.0.2.1", 80))  # reserved for documentation
