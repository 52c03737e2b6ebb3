"""`console://`: messages on standard output, for `budgetd once`, containers and the journal; `?format=json` as JSON.

Written past Python's own buffers: their lock, held by a write that hangs, would hang every other `print` and the exit.
"""

from __future__ import annotations

import errno
import json
import os
import select
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from urllib.parse import parse_qsl, urlsplit

from budgetd import clock
from budgetd.channels import Kind
from budgetd.channels.urls import pieces
from budgetd.escaping import for_text
from budgetd.message import Message
from budgetd.model import Outcome, Receipt

FORMATS = ("text", "json")
# A pipe that has room at all has room for so many bytes, without waiting (PIPE_BUF of Linux).
_AT_ONCE = 4096
# Nobody reads it any more, or it was never there.
_NO_READER = frozenset({errno.EPIPE, errno.EBADF, errno.EIO, errno.ENXIO})

_turn = threading.Lock()  # several channels, one standard output


def standard_output() -> int:
    """Its descriptor. Raises OSError when the process was started without: the number may be any other file by now."""
    if sys.__stdout__ is None:
        raise OSError(errno.EBADF, "standard output is closed")
    return sys.__stdout__.fileno()


class ConsoleSender:
    """Prints each message, within its deadline or not at all."""

    def __init__(self, url: str, _secrets: Sequence[str] = (), output: Callable[[], int] = standard_output) -> None:
        self._as_json = _format(url) == "json"
        self._output = output
        self._torn = False

    def send(self, message: Message, deadline: float) -> Receipt:
        """Print within `deadline` seconds; what was begun and not ended is told as such, and begun anew."""
        ends = clock.monotonic() + deadline
        text = as_json(message) if self._as_json else as_text(message)
        # What was torn off must not run into what follows.
        data = ("\n" * self._torn + text).encode("utf-8", "backslashreplace")
        if not _turn.acquire(timeout=max(0.0, deadline)):
            return Receipt(Outcome.RETRY, "standard output is taken by another message")
        try:
            return self._print(data, ends)
        finally:
            _turn.release()

    def _print(self, data: bytes, ends: float) -> Receipt:
        left = data
        try:
            output = self._output()
            while left and _has_room(output, ends - clock.monotonic()):
                left = left[_write(output, left[:_AT_ONCE]) :]
        except (OSError, ValueError) as error:
            number = error.errno if isinstance(error, OSError) else errno.EBADF
            what = f"standard output cannot be written: {os.strerror(number or errno.EIO)}"
            return Receipt(Outcome.GONE if number in _NO_READER else Outcome.RETRY, what)
        finally:
            begun = len(left) < len(data)
            self._torn = bool(left) if begun else self._torn
        if not left:
            return Receipt(Outcome.DELIVERED)
        return Receipt(Outcome.UNKNOWN if begun else Outcome.RETRY, "nobody reads standard output, and it is full")


def _has_room(output: int, seconds: float) -> bool:
    """Wait until a write would not hang; False: not in that time."""
    waiting = select.poll()
    waiting.register(output, select.POLLOUT)
    return bool(waiting.poll(max(0.0, seconds) * 1000))


def _write(output: int, data: bytes) -> int:
    try:
        return os.write(output, data)
    except BlockingIOError:  # it was set so by whoever shares it, who was quicker
        return 0


def as_text(message: Message) -> str:
    """The message for a terminal: its title, its body, and an empty line."""
    lines = [f"--- {message.title} ---", *message.body.split("\n"), ""]
    return "".join(f"{for_text(line)}\n" for line in lines)


def as_json(message: Message) -> str:
    """What a webhook would be sent, on one line."""
    return json.dumps(message.data, separators=(",", ":")) + "\n"


# --- the URL -----------------------------------------------------------------------------------


def _format(url: str) -> str:
    return dict(parse_qsl(urlsplit(url).query)).get("format", "text").lower()


def _explain(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "this is no URL"
    words = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.netloc or parts.path.strip("/") or words.keys() - {"format"}:
        return "nothing but ?format=text or ?format=json can follow console://"
    if _format(url) not in FORMATS:
        return f"there is no such format; they are {' and '.join(FORMATS)}"
    return None


def _public(url: str) -> Collection[str]:
    """It has no secrets at all."""
    return pieces(url)


KIND = Kind(("console",), ConsoleSender, _explain, public=_public)
