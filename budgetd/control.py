"""The way in to a running daemon: a socket that only its own user and root can open, one question a connection.

The socket is in the runtime directory where there is one, and a link beside the database leads to it, so that whoever
knows the database finds it. A question and its answer are one line of JSON each.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from budgetd.desk import Ask, DeskError

log = logging.getLogger("budgetd")

# Bytes of a line, and seconds that a side may take for it; the daemon may be in the middle of a poll's evaluation.
MOST_BYTES = 64 * 1024
ASKING, ANSWERING = 5.0, 30.0
_WAITING = 16

Submit = Callable[[Ask], str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the daemon says. `done`: it was done; else `text` says why not."""

    done: bool
    text: str


_ASK: TypeAdapter[Ask] = TypeAdapter(Ask)
_ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)


class NobodyThereError(Exception):
    """No daemon listens at that socket."""


class Control:
    """Listens until it is closed. `submit` answers a question from any thread, or raises DeskError."""

    def __init__(self, link: Path, runtime: Path | None, submit: Submit) -> None:
        """Raises OSError. Whoever makes one holds the database's lock, so what is left of an older one is stale."""
        self._submit = submit
        self._paths = [link] if runtime is None else [runtime / "control.sock", link]
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _short(self._paths[0]) as address:
            self._listener.bind(address)
        self._paths[0].chmod(0o600)
        self._listener.listen(_WAITING)
        if runtime is not None:
            link.symlink_to(self._paths[0])
        threading.Thread(target=self._serve, name="control", daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        for path in self._paths:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        # A thread that waits in accept() is not woken by a close.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(ASKING)
                connection.sendall(_ANSWER.dump_json(self._answer(connection)) + b"\n")

    def _answer(self, connection: socket.socket) -> Answer:
        if not _is_trusted(connection):
            return Answer(False, "only the daemon's own user and root may ask")
        try:
            return Answer(True, self._submit(_ASK.validate_json(_line(connection), strict=False)))
        except ValidationError:
            return Answer(False, "that question is not understood; are the command and the daemon of one version?")
        except DeskError as error:
            return Answer(False, str(error))


def ask(link: Path, question: Ask) -> str:
    """The running daemon's answer. Raises DeskError with its reason, NobodyThereError, and OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWERING)
        try:
            with _short(link) as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NobodyThereError(str(error)) from None
        connection.sendall(_ASK.dump_json(question) + b"\n")
        try:
            answer = _ANSWER.validate_json(_line(connection))
        except ValidationError:
            raise DeskError("the daemon gave no answer; is it ending? Ask again") from None
    if not answer.done:
        raise DeskError(answer.text)
    return answer.text


def _line(connection: socket.socket) -> bytes:
    """What comes until the line ends, or the other side does; cut at the most that may come."""
    received = b""
    while not received.endswith(b"\n") and len(received) <= MOST_BYTES:
        part = connection.recv(MOST_BYTES)
        if not part:
            break
        received += part
    return received[:MOST_BYTES]


def _is_trusted(connection: socket.socket) -> bool:
    """By who has connected, as the kernel knows it: the file's mode alone would trust whoever can change it."""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return user in (0, os.geteuid())


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for the path that is short enough for a socket's address (107 bytes), however deep its folder is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
