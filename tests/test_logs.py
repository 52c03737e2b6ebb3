"""The log: escaped, without secrets, in each reader's format; and nothing that befalls stderr holds up the daemon."""

from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from budgetd import clock, logs

CANARY = "sk-ant-admin01-CANARY_with-enough_letters"
FORGED = "renamed\x1b[1m\n2026-11-18 06:00:00Z critical  all is lost\x1b[2J\r\x00\u202eevil"

log = logging.getLogger("budgetd")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, raises, hooks = logging.getLogger(), logging.raiseExceptions, (sys.excepthook, threading.excepthook)
    handlers, levels, hidden = list(root.handlers), (root.level, log.level), set(logs._hidden)
    yield
    for handler in root.handlers:
        handler.flush()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    log.setLevel(levels[1])
    logging.raiseExceptions = raises
    sys.excepthook, threading.excepthook = hooks
    logs._hidden.clear()
    logs._hidden.update(hidden)


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Logs what the call logs, in a format; returns what was written."""
    opened: list[int] = []

    def write(format: str, act: Callable[[], None], **options: object) -> str:
        path = tmp_path / "log"
        opened.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        logs.set_up(format, environment={}, descriptor=opened[-1], **options)  # type: ignore[arg-type]
        act()
        logging.getLogger().handlers[0].flush()
        return path.read_text()

    yield write
    for descriptor in opened:
        os.close(descriptor)


def failing() -> None:
    try:
        raise ValueError(f"refused {CANARY}")
    except ValueError:
        log.exception("a poll failed")


def test_the_formats_say_the_same_each_in_its_own_way(written: Callable[..., str]) -> None:
    def act() -> None:
        log.warning('poll "%s" failed', "cost_report")

    assert written("pretty", act)[10:].endswith('Z warning  poll "cost_report" failed\n')
    assert written("journald", act) == '<4>poll "cost_report" failed\n'
    line = written("logfmt", act)
    assert line.startswith("time=20")
    assert line.endswith('level=warning logger=budgetd message="poll \\"cost_report\\" failed"\n')
    document = json.loads(written("json", act))
    assert document.pop("time").endswith("Z")
    assert document == {"level": "warning", "logger": "budgetd", "message": 'poll "cost_report" failed'}


@pytest.mark.parametrize("format", logs.FORMATS)
def test_fault_152_no_text_from_outside_can_forge_an_entry_or_touch_the_terminal(
    format: str, written: Callable[..., str]
) -> None:
    text = written(format, lambda: log.error("workspace %s", FORGED))
    first, *others = text.splitlines()
    assert "renamed" in first
    assert all(line.removeprefix("<3>").startswith("    | ") for line in others)
    assert not set(text) & {"\x1b", "\r", "\x00", "\u202e"}
    assert format in ("pretty", "journald") or not others


@pytest.mark.parametrize("format", logs.FORMATS)
def test_fault_146_no_secret_is_in_messages_or_tracebacks(format: str, written: Callable[..., str]) -> None:
    def act() -> None:
        failing()
        log.info("the url is https://u5er:pa55@example.com/x and %s", {"key": CANARY})
        log.info("token %s, in a URL %s", "T0k/en one", "T0k%2Fen%20one")
        log.info("Authorization: Bearer abc.def")

    text = written(format, act, secrets=["T0k/en one", ""])
    for secret in ("enough_letters", "u5er", "pa55", "T0k", "abc.def"):
        assert secret not in text
    assert logs.MASK in text
    assert "ValueError: refused" in text
    assert "example.com" in text


def test_a_short_secret_does_not_blank_out_words(written: Callable[..., str]) -> None:
    assert "a poll went well" in written("pretty", lambda: log.info("a poll went well"), secrets=["poll"])


def test_a_log_line_with_wrong_arguments_is_still_logged(written: Callable[..., str]) -> None:
    assert "%d rules" in written("logfmt", lambda: log.info("%d rules", "three"))


def test_a_huge_message_is_cut(written: Callable[..., str]) -> None:
    assert len(written("pretty", lambda: log.info("x" * 10_000_000))) < 2 * logs.LONGEST


def test_a_warning_of_python_is_a_log_line(written: Callable[..., str]) -> None:
    def act() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(False)
            logging.captureWarnings(True)
            warnings.warn("old thing", stacklevel=1)

    assert "old thing" in written("logfmt", act)


def test_a_thread_that_ends_in_an_unforeseen_error_is_logged_without_secrets(written: Callable[..., str]) -> None:
    def act() -> None:
        def end() -> None:
            raise RuntimeError(CANARY)

        thread = threading.Thread(target=end, name="reader")
        thread.start()
        thread.join()

    text = written("logfmt", act)
    assert "thread reader ended" in text
    assert "RuntimeError" in text
    assert "enough_letters" not in text


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_that_want_them(environment: dict[str, str], coloured: bool) -> None:
    ours, theirs = pty.openpty()
    try:
        logs.set_up("pretty", environment=environment, descriptor=theirs)
        log.error("red")
        logging.getLogger().handlers[0].flush()
        assert (b"\x1b[" in os.read(ours, 1000)) is coloured
    finally:
        os.close(ours)
        os.close(theirs)


def test_fault_138_a_full_pipe_holds_up_nobody_and_what_was_dropped_is_told() -> None:
    reading, writing = os.pipe()
    logs.set_up("logfmt", environment={}, descriptor=writing)
    began = clock.monotonic()
    lines = logs.MOST_WAITING + 3_000
    for number in range(lines):
        log.info("line %d %s", number, "x" * 100)
    assert clock.monotonic() - began < 5
    taken = b""
    for _ in range(1_000):
        if b"dropped" in taken:
            break
        taken += os.read(reading, 1 << 20)
        log.info("again")
        time.sleep(0.01)
    told = next(line for line in taken.decode().splitlines() if "dropped" in line)
    assert "level=warning" in told
    os.set_blocking(reading, False)
    logging.getLogger().handlers[0].flush()
    with suppress(BlockingIOError):
        while True:
            os.read(reading, 1 << 20)
            logging.getLogger().handlers[0].flush()
    os.close(writing)
    os.close(reading)


def test_fault_138_a_reader_that_has_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    logs.set_up("logfmt", environment={}, descriptor=writing)
    log.error("nobody there")
    logging.getLogger().handlers[0].flush()
    os.close(writing)
    log.error("not even a pipe")
    logging.getLogger().handlers[0].flush()


def test_fault_138_what_can_be_written_again_is_written_again(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    logs.set_up("logfmt", environment={}, descriptor=writing)
    log.error("lost")
    logging.getLogger().handlers[0].flush()
    path = tmp_path / "log"
    with path.open("w") as file:
        os.dup2(file.fileno(), writing)
    log.error("found")
    logging.getLogger().handlers[0].flush()
    os.close(writing)
    assert "found" in path.read_text()


def run(code: str, *, redirect: str = "") -> subprocess.CompletedProcess[str]:
    command = f'exec "$0" -c "$1" {redirect}'
    return subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, code], capture_output=True, text=True, timeout=20, check=False
    )


def test_fault_138_a_closed_stderr_never_makes_another_file_the_log(tmp_path: Path) -> None:
    path = tmp_path / "database"
    code = f"""
import logging, os
from budgetd import logs
logs.set_up("logfmt")
descriptor = os.open({str(path)!r}, os.O_WRONLY | os.O_CREAT)
logging.getLogger("budgetd").error("hello")
print(descriptor)
"""
    done = run(code, redirect="2>&-")
    assert done.returncode == 0
    assert int(done.stdout) > 2
    assert path.read_bytes() == b""


def test_an_unforeseen_error_ends_the_process_with_a_log_line_without_secrets() -> None:
    done = run(f"from budgetd import logs; logs.set_up('json'); raise RuntimeError('{CANARY}')")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["level"] == "critical"
    assert "RuntimeError" in line
    assert "enough_letters" not in line


def test_the_last_lines_before_the_end_are_written() -> None:
    code = """
import logging
from budgetd import logs
logs.set_up("logfmt")
for number in range(1500):
    logging.getLogger("budgetd").info("line %d", number)
"""
    assert "line 1499" in run(code).stderr.splitlines()[-1]
