"""What the operator's log shows: a format for each reader of stderr, no secrets, and never a reason to wait or end."""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import re
import select
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from urllib.parse import quote, quote_plus

from budgetd import clock
from budgetd.escaping import for_text, shorten

STDERR = 2

# Lines that wait to be taken; more are dropped, and their number is told as soon as there is room.
MOST_WAITING = 2_000
# Characters of one message or traceback.
LONGEST = 16_000
# Seconds that the end of the process waits for the last lines to be taken.
LAST_WORDS = 1.0

MASK = "[secret]"
# A shorter secret would blank out ordinary words.
_SHORTEST_SECRET = 6
_ANY_SECRET = re.compile(r"sk-ant-[\w-]+|(?<=://)[^\s/@]+(?=@)|(?<=Bearer )\S+")

# What a log call with wrong arguments, or an argument that cannot be shown, raises.
_MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

# syslog's priorities, as `<N>` at the start of a line is read by journald (sd-daemon(3)).
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_COLOURS = {"critical": "1;31", "error": "31", "warning": "33", "info": "36"}
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_.:/+@-]+", re.ASCII)


def set_up(
    format: str,
    *,
    secrets: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    descriptor: int = STDERR,
) -> None:
    """Log to stderr from now on, in one of FORMATS; colours only on a terminal, and not against NO_COLOR.

    `secrets` are replaced wherever they would be shown, as is everything that looks like an API key; `hide` adds more.
    Errors that nobody catches are logged by the same rules. To be called once, early.
    """
    environment = os.environ if environment is None else environment
    _open_standard_descriptors()
    hide(*secrets)
    line = _coloured if format == "pretty" and _colourful(environment, descriptor) else _LINES[format]
    handler = _Handler(_Writer(descriptor), line)
    logging.raiseExceptions = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("budgetd").setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook, threading.excepthook = _uncaught, _uncaught_in_thread


def _colourful(environment: Mapping[str, str], descriptor: int) -> bool:
    plain = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return not plain and os.isatty(descriptor)


def _open_standard_descriptors() -> None:
    """A process that was started with stderr closed would get a database or a socket in its place, and log into it."""
    for descriptor in (0, 1, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


# --- secrets -----------------------------------------------------------------------------------

_hidden: set[str] = set()


def hide(*secrets: str) -> None:
    """From now on these are shown nowhere in the log, nor in the forms that a URL has them in."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            _hidden.update((secret, quote(secret), quote(secret, safe=""), quote_plus(secret)))


def redacted(text: str) -> str:
    """The text without API keys, logins in URLs, bearer tokens and whatever `hide` was told."""
    for secret in sorted(_hidden, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _ANY_SECRET.sub(MASK, text)


# --- a record becomes lines --------------------------------------------------------------------

# (instant, level, logger, message, traceback) -> what is written
_Line = Callable[[datetime, str, str, str, str], str]


def _pretty(at: datetime, level: str, _logger: str, message: str, trace: str) -> str:
    return _continued(f"{at:%Y-%m-%d %H:%M:%S}Z {level:<8} ", message, trace)


def _coloured(at: datetime, level: str, _logger: str, message: str, trace: str) -> str:
    colour = _COLOURS.get(level, "0")
    return _continued(f"\x1b[2m{at:%Y-%m-%d %H:%M:%S}Z\x1b[0m \x1b[{colour}m{level:<8}\x1b[0m ", message, trace)


def _journald(_at: datetime, level: str, _logger: str, message: str, trace: str) -> str:
    number = logging.getLevelNamesMapping()[level.upper()]
    priority = next((priority for least, priority in _PRIORITIES if number >= least), 7)
    return _continued(f"<{priority}>", message, trace, again=f"<{priority}>")


def _logfmt(at: datetime, level: str, logger: str, message: str, trace: str) -> str:
    fields = {"time": _rfc3339(at), "level": level, "logger": logger, "message": message, "trace": trace}
    return " ".join(f"{key}={_logfmt_value(value)}" for key, value in fields.items() if value or key == "message")


def _json(at: datetime, level: str, logger: str, message: str, trace: str) -> str:
    fields = {"time": _rfc3339(at), "level": level, "logger": logger, "message": message}
    return json.dumps({**fields, "trace": trace} if trace else fields)


_LINES: dict[str, _Line] = {"pretty": _pretty, "journald": _journald, "logfmt": _logfmt, "json": _json}
FORMATS = tuple(_LINES)


def _continued(start: str, message: str, trace: str, again: str = "") -> str:
    """Each line made visible; those after the first are marked, so that no text from outside can pass for an entry."""
    first, *others = f"{message}\n{trace}".rstrip("\n").split("\n")
    return "\n".join([start + for_text(first), *(f"{again}    | {for_text(line)}" for line in others)])


def _logfmt_value(text: str) -> str:
    if _PLAIN_VALUE.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{for_text(escaped)}"'


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Handler(logging.Handler):
    """Records as redacted, escaped lines. Nothing that a record holds makes it raise."""

    def __init__(self, writer: _Writer, line: _Line) -> None:
        super().__init__()
        self._writer = writer
        self._line = line
        self._formatter = logging.Formatter()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except _MALFORMED as error:
            message = f"{record.msg!s:.200} (a log line with wrong arguments: {type(error).__name__})"
        trace = self._formatter.formatException(record.exc_info) if record.exc_info else ""
        at = datetime.fromtimestamp(record.created, UTC)
        if self._dropped:
            lost = f"{self._dropped} log lines were dropped, nobody took them"
            self._dropped *= not self._writer.put(self._line(at, "warning", "budgetd", lost, "") + "\n")
        line = self._line(at, record.levelname.lower(), record.name, _bounded(message), _bounded(trace))
        self._dropped += not self._writer.put(line + "\n")

    def flush(self) -> None:
        """Wait, but not for long, until all is written."""
        self._writer.flush(LAST_WORDS)


def _bounded(text: str) -> str:
    # Redacted before it is cut: half a secret would not be found.
    return shorten(redacted(text), LONGEST)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("budgetd").critical("ending because of an unforeseen error", exc_info=(kind, error, trace))


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    error = arguments.exc_value
    if error is not None:
        name = arguments.thread.name if arguments.thread is not None else "unknown"
        logging.getLogger("budgetd").critical("thread %s ended because of an unforeseen error", name, exc_info=error)


# --- lines leave -------------------------------------------------------------------------------


class _Writer:
    """Writes lines in a thread of its own, so that a reader who is slow, stuck or gone holds up nobody.

    stderr itself stays blocking: it is shared with whoever started us.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: queue.Queue[str] = queue.Queue(MOST_WAITING)
        threading.Thread(target=self._work, name="log", daemon=True).start()

    def put(self, line: str) -> bool:
        """Have the line written; False, at once, when too many wait already."""
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            return False
        return True

    def flush(self, seconds: float) -> None:
        """Wait until all is written, for at most so many seconds."""
        until = clock.monotonic() + seconds
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks and clock.monotonic() < until:
                self._waiting.all_tasks_done.wait(max(0.0, until - clock.monotonic()))

    def _work(self) -> None:
        while True:
            line = self._waiting.get()
            try:
                self._write(line.encode("utf-8", "backslashreplace"))
            finally:
                self._waiting.task_done()

    def _write(self, data: bytes) -> None:
        """All of it. What cannot be written (closed, gone, disk full) is lost; the next line is tried all the same."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except OSError as error:
                if error.errno != errno.EAGAIN:  # somebody else made it non-blocking
                    return
                select.select([], [self._descriptor], [])
