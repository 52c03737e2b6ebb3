"""The console: what is printed, and that nobody who does not read it can hold anything up."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from budgetd import clock
from budgetd.channels import registry
from budgetd.channels.console import KIND, ConsoleSender, as_json, as_text
from budgetd.model import Kind, Outcome, Reason
from tests.living import Bill, Hook, Place, until
from tests.test_message import FACTS, OVER, notice, read

network = pytest.mark.network


@dataclass
class Pipe:
    """A pipe that somebody may read, or not."""

    reading: int
    writing: int

    def fill(self) -> int:
        """Until nothing goes in any more; how much it was."""
        os.set_blocking(self.writing, False)
        put = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                put += os.write(self.writing, b"x" * 4096)
        os.set_blocking(self.writing, True)
        return put

    def take(self, count: int = 1 << 20) -> bytes:
        return os.read(self.reading, count)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe(*os.pipe())
    yield made
    for end in (made.reading, made.writing):
        with contextlib.suppress(OSError):
            os.close(end)


def sender(pipe: Pipe, url: str = "console://") -> ConsoleSender:
    return ConsoleSender(url, output=lambda: pipe.writing)


def test_a_message_is_its_title_its_body_and_an_empty_line(pipe: Pipe) -> None:
    assert sender(pipe).send(read(notice(FACTS)), 1).outcome is Outcome.DELIVERED
    text = pipe.take().decode()
    lines = text.split("\n")
    assert lines[0] == "--- Research has used 80.2% of its November 2026 budget ($4,012.37 of $5,000) ---"
    assert lines[1].startswith("Warning: $987.63 of the $5,000.00")
    assert "  claude-opus-4-8  output tokens          $2,610.22    65%" in lines
    assert text.endswith("\n\n")


def test_as_json_it_is_the_payload_on_one_line(pipe: Pipe) -> None:
    told = read(notice(FACTS))
    assert sender(pipe, "console://?format=json").send(told, 1).outcome is Outcome.DELIVERED
    text = pipe.take().decode()
    assert text.count("\n") == 1
    assert json.loads(text) == told.data


def test_no_name_controls_the_terminal() -> None:
    odd = replace(FACTS, rule="\x1b[2J\r\nx", organisation="\u202egnp\x9b31m", text="\x07\ud800")
    for kind in Kind:
        told = read(notice(odd, kind=kind, reason=Reason.TEST))
        for text in (as_text(told), as_json(told)):
            assert all(character.isprintable() or character == "\n" for character in text)
            assert text.encode()


def test_a_long_message_goes_through_a_pipe_that_is_read_slowly(pipe: Pipe) -> None:
    put = pipe.fill()
    taken = bytearray()

    def drink() -> None:
        while len(taken) < put + len(as_text(told).encode()):
            time.sleep(0.01)
            taken.extend(pipe.take(8192))

    told = replace(read(notice(FACTS)), body="A line of some length.\n" * 5000)
    thread = threading.Thread(target=drink)
    thread.start()
    receipt = sender(pipe).send(told, 10)
    thread.join(10)
    assert receipt.outcome is Outcome.DELIVERED
    assert taken[put:].decode() == as_text(told)


def test_what_nobody_reads_is_tried_again_and_holds_nobody_up(pipe: Pipe) -> None:
    pipe.fill()
    began = time.perf_counter()
    receipt = sender(pipe).send(read(notice(FACTS)), 0.2)
    assert time.perf_counter() - began < 1
    assert receipt.outcome is Outcome.RETRY
    assert receipt.detail == "nobody reads standard output, and it is full"


def test_what_was_torn_off_is_begun_anew_on_a_line_of_its_own(pipe: Pipe) -> None:
    console = sender(pipe, "console://?format=json")
    told = read(notice(OVER))
    large = replace(told, data={**told.data, "filler": "x" * 200_000})
    assert console.send(large, 0.2).outcome is Outcome.UNKNOWN
    torn = len(pipe.take())
    assert torn >= 4096
    assert console.send(told, 1).outcome is Outcome.DELIVERED
    assert pipe.take().decode() == f"\n{as_json(told)}"
    assert console.send(told, 1).outcome is Outcome.DELIVERED
    assert pipe.take().decode() == as_json(told)


def test_a_reader_that_went_away_is_a_broken_channel(pipe: Pipe) -> None:
    os.close(pipe.reading)
    receipt = sender(pipe).send(read(notice(FACTS)), 1)
    assert receipt.outcome is Outcome.GONE
    assert receipt.detail == f"standard output cannot be written: {os.strerror(errno.EPIPE)}"


def test_a_full_disk_is_tried_again() -> None:
    with Path("/dev/full").open("wb") as full:
        receipt = ConsoleSender("console://", output=full.fileno).send(read(notice(FACTS)), 1)
    assert receipt.outcome is Outcome.RETRY
    assert "No space left" in receipt.detail


def test_a_process_without_standard_output_writes_to_no_other_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "__stdout__", None)
    assert ConsoleSender("console://").send(read(notice(FACTS)), 1).outcome is Outcome.GONE


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("console://", None),
        ("console://?format=json", None),
        ("console://?format=TEXT", None),
        ("console://?format=yaml", "there is no such format; they are text and json"),
        ("console://stderr", "nothing but ?format=text or ?format=json can follow console://"),
        ("console:///tmp/x", "nothing but ?format=text or ?format=json can follow console://"),
        ("console://?colour=1", "nothing but ?format=text or ?format=json can follow console://"),
    ],
)
def test_what_may_follow(url: str, complaint: str | None) -> None:
    assert registry.explain(url) == complaint
    if complaint is None:
        assert registry.secrets(url).forms == ()


def test_it_wakes_nobody_and_forgets_nothing() -> None:
    assert not KIND.pager
    assert KIND.resent is None


# --- the program -------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Bill() as bill:
        bill.spend(date(2026, 11, 16), "9000")
        made = Place(tmp_path, bill.url)
        made.write({"out": "console://"}, ["{id: all, type: cap, limit: 10, per: month}"])
        yield made


@network
def test_once_prints_its_messages_and_nothing_else(place: Place) -> None:
    place.write({"out": "console://?format=json"}, ["{id: all, type: cap, limit: 10, per: month}"])
    ran = place.run("once", "--at", "2026-11-18T12:00:00Z")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["data"]["rule"]["id"] == "all"
    assert ran.err.endswith("1 notice, 1 message delivered.\n")


@network
@pytest.mark.parametrize("output", [">&-", "| true"])
def test_a_closed_output_costs_once_nothing_but_that_message(place: Place, output: str) -> None:
    """Its number is free then: the next file that is opened may get it, and must not get the message."""
    words = f"{sys.executable} -m budgetd once --at 2026-11-18T12:00:00Z {output}"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {words}"],
        cwd=place.folder,
        env=place.environment,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    with place.state() as state:
        (record,) = [each for each in state.deliveries() if each.delivery.notices[0].facts.rule == "all"]
    assert [attempt.outcome for attempt in record.attempts] == [Outcome.GONE]


@network
def test_an_output_that_nobody_reads_holds_the_daemon_up_neither_at_work_nor_at_its_end(
    tmp_path: Path, pipe: Pipe
) -> None:
    today = clock.now().date()
    with Bill(today) as bill, Hook() as hook:
        bill.spend(today - timedelta(days=2), "9000")
        place = Place(tmp_path, bill.url)
        place.write({"out": "console://", "hook": hook.url()}, ["{id: all, type: cap, limit: 10, per: {last: 7d}}"])
        pipe.fill()
        daemon = subprocess.Popen(
            [sys.executable, "-m", "budgetd", "run"], cwd=tmp_path, env=place.environment, stdout=pipe.writing
        )
        try:
            until(lambda: hook.accepted, 30)
            daemon.terminate()
            assert daemon.wait(5) == 0
        finally:
            daemon.kill()
            daemon.wait()
