"""`budgetd demo`: it is a test of the whole path by itself, so here it is tested that it would notice."""

from __future__ import annotations

import argparse
import email
import email.policy
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from budgetd.commands import demo, preview
from budgetd.commands.terminal import Terminal, cells
from budgetd.demo import rehearsal, story
from budgetd.demo.receivers import Arrivals, SlackPreview
from budgetd.message import Flavour, Message, render
from budgetd.model import Contributor, Delivery, Facts, Kind, Notice, Outcome, Pace, Reason, Receipt, Severity
from budgetd.period import DAY, Period, midnight

ROOT = Path(__file__).parents[1]


def budgetd(*words: str, cwd: Path, home: Path, temporary: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-m", "budgetd", *words],
        cwd=cwd,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8", **more},
        capture_output=True,
        text=True,
        timeout=60,
    )


def play(folder: Path) -> int:
    """The demo in this process, where the tests' own guard refuses every socket that is not on loopback."""
    return demo.run(argparse.Namespace(keep=folder))


# --- as a user meets it ------------------------------------------------------------------------


@pytest.mark.network
def test_the_demo_shows_everything_and_leaves_one_folder(tmp_path: Path) -> None:
    home, temporary, elsewhere = (tmp_path / name for name in ("home", "temporary", "elsewhere"))
    for folder in (home, temporary, elsewhere):
        folder.mkdir()
    done = budgetd("demo", cwd=elsewhere, home=home, temporary=temporary)
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout
    assert "Critical: Agents / claude-opus-4-8 spent $1,567.00 on 7" in shown
    assert "Warning: Agents has used 80.2% of its November 2026" in shown
    assert "Critical: Agents is over its November 2026 budget: 100.9%" in shown
    assert "▌ 🚨 Agents / claude-opus-4-8 spent 60.2x the same weekday a week before" in shown
    assert "▌ • $1,556.44 (99.3%)  claude-opus-4-8 output tokens" in shown
    assert "Subject: Agents is over its November 2026 budget: 100.9% used ($2,775.12 of" in shown
    assert "161 polls, 145 of them with nothing to say, and 3 restarts in the middle" in shown
    assert "An agent in workspace Research begins to burn $600 an hour." in shown
    assert "Critical: Research is spending $166.60 an hour since" in shown
    assert "46 messages decided, 46 arrived: 16 at audit, 14 at finance, 16 at slack" in shown
    assert "1 turned away and sent again, 0 lost, 0 doubled" in shown
    assert "\x1b" not in shown
    assert [line for line in shown.splitlines() if cells(line) > 80 and str(tmp_path) not in line] == []

    (left,) = temporary.iterdir()
    assert sorted(file.name for file in left.iterdir() if not file.name.startswith("budgetd.db")) == [
        ".env",
        "mail",
        "rules.yaml",
    ]
    assert (left / "budgetd.db").stat().st_size > 0
    assert list(home.iterdir()) == list(elsewhere.iterdir()) == []

    letters = [
        email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in left.glob("mail/new/*")
    ]
    # The others are reminders.
    news = sorted(first for letter in letters if (first := str(letter["Subject"]).split()[0]) != "Still")
    assert news == ["Agents", "Agents", "company-month"]
    assert len({letter["Message-ID"] for letter in letters}) == len(letters) == 14

    commands = [shlex.split(line) for line in shown.splitlines() if " -m budgetd " in line]
    assert [command[3:] for command in commands] == [["status", "--all"], ["check", "rules.yaml"], ["simulate"]]
    assert f"  cd {shlex.quote(str(left))}" in shown.splitlines()
    status = budgetd("status", "--all", cwd=left, home=home, temporary=temporary)
    assert status.returncode == 0
    assert "$2,802.63 of $2,750" in status.stdout
    assert budgetd("check", "rules.yaml", cwd=left, home=home, temporary=temporary).returncode == 0


@pytest.mark.network
def test_an_output_that_knows_only_ascii_gets_ascii(tmp_path: Path) -> None:
    done = budgetd(
        "demo", "--keep", "kept", cwd=tmp_path, home=tmp_path, temporary=tmp_path, PYTHONIOENCODING="ascii:strict"
    )
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "!! Critical: Agents / claude-opus-4-8" in done.stdout
    assert "?" not in done.stdout
    assert (tmp_path / "kept" / "budgetd.db").exists()


# --- it notices --------------------------------------------------------------------------------


@pytest.mark.network
def test_a_spike_that_was_not_caught_fails_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(story, "RUNAWAY", Decimal(1))
    assert play(tmp_path / "new") == 1
    assert capsys.readouterr().err.splitlines() == [
        "budgetd demo: was not told: the runaway of claude-opus-4-8 in Agents",
        "budgetd demo: was not told: 80% of Agents's month",
        "budgetd demo: was not told: 100% of Agents's month",
    ]


class Doubling(SlackPreview):
    """Keeps the message and says that nobody knows, so that it comes again."""

    def send(self, message: Message, deadline: float) -> Receipt:
        known = [kept.id for kept in self.messages]
        receipt = super().send(message, deadline)
        return receipt if message.id in known else Receipt(Outcome.UNKNOWN)


class Losing(SlackPreview):
    """Says that it has the message, and has it not."""

    def send(self, message: Message, deadline: float) -> Receipt:
        return super().send(message, deadline) if self.messages else self._lose(message)

    def _lose(self, message: Message) -> Receipt:
        self.messages.append(message)
        return Receipt(Outcome.DELIVERED)


@pytest.mark.network
@pytest.mark.parametrize(
    ("preview_class", "complaint"),
    [(Doubling, "budgetd demo: 16 messages came twice\n"), (Losing, "budgetd demo: 1 messages were lost\n")],
)
def test_what_comes_twice_or_not_at_all_is_counted_and_fails_the_demo(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    preview_class: type[SlackPreview],
    complaint: str,
) -> None:
    monkeypatch.setattr(demo, "SlackPreview", preview_class)
    assert play(tmp_path / "new") == 1
    assert capsys.readouterr().err == complaint


# --- what it stands on -------------------------------------------------------------------------


@pytest.mark.network
def test_without_aiosmtpd_it_says_how_to_get_it_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda _name: None)
    assert play(tmp_path / "new") == 0
    shown = capsys.readouterr().out
    assert "  No mail: its server needs aiosmtpd, which comes with  pip install 'budgetd[demo]'\n" in shown
    assert "32 messages decided, 32 arrived: 16 at audit, 16 at slack" in shown
    assert "finance" not in (tmp_path / "new" / "rules.yaml").read_text()


@pytest.mark.network
def test_the_restarts_are_real_and_nothing_is_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    closed: list[Any] = []

    def counted(*arguments: Any) -> Any:
        store = real(*arguments)
        close: Callable[[], None] = store.close
        monkeypatch.setattr(store, "close", lambda: (closed.append(store), close()))
        assert len(closed) == len(opened), "the store before it is still open"
        opened.append(store)
        return store

    real = rehearsal.open_store
    monkeypatch.setattr(rehearsal, "open_store", counted)
    assert play(tmp_path / "new") == 0
    assert len(opened) == len(set(map(id, opened))) == 4
    assert closed == opened
    ports = [word.rpartition(":")[2] for word in (tmp_path / "new" / "rules.yaml").read_text().split("?")[0].split()]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(ports[-1])), timeout=1)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("precious")
    assert play(tmp_path) == play(tmp_path / "mine") == 2
    assert capsys.readouterr().out == ""
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("mine", "precious")]


def test_the_story_is_polled_four_times_a_day_for_35_days() -> None:
    polls = list(story.polls())
    assert len(polls) == 35 * 4
    assert {later - earlier for earlier, later in pairwise(polls)} == {timedelta(hours=6)}
    assert polls[-1] == midnight(story.FIRST_DAY + 35 * DAY)


# --- counting and drawing ----------------------------------------------------------------------


def told(incident: str, step: str) -> dict[str, Any]:
    return {"incident": incident, "reason": "step_reached", "step": {"reached": step}}


@pytest.mark.parametrize(
    ("messages", "doubled"),
    [
        ([("slack", "a", told("i", "0.8")), ("slack", "b", told("i", "1"))], 0),
        ([("slack", "a", told("i", "0.8")), ("mail", "a", told("i", "0.8"))], 0),
        ([("slack", "a", told("i", "0.8")), ("slack", "a", told("i", "0.8"))], 1),
        ([("slack", "a", told("i", "0.8")), ("slack", "b", told("i", "0.8"))], 1),
        ([("slack", "a", told("i", "1")), ("slack", "b", {"alerts": [told("j", "1"), told("i", "1")]})], 1),
        ([("mail", "a", {}), ("mail", "b", {}), ("mail", "a", {}), ("mail", "a", {})], 2),
    ],
)
def test_a_message_is_doubled_by_its_id_or_by_what_it_tells(
    messages: list[tuple[str, str, dict[str, Any]]], doubled: int
) -> None:
    arrivals = Arrivals()
    for channel, known_by, data in messages:
        arrivals.add(channel, known_by, data)
    assert arrivals.doubled() == doubled


BODY = "R&amp;D is &lt;over&gt;.\nThat is all."


def slack_lines(screen: Terminal, severity: Severity = Severity.CRITICAL, kind: Kind = Kind.TRIGGER) -> list[str]:
    message = Message("dlv_1", "R&D is over", BODY, severity, kind, {}, Flavour.SLACK)
    return list(preview.slack(message, "ai-spend", screen))


def test_a_slack_message_without_blocks_is_drawn_as_slack_shows_it() -> None:
    lines = slack_lines(Terminal(blocks=False))
    assert lines[:2] == ["  #ai-spend", "  budgetd  APP"]
    assert lines[2:] == ["  | ! R&D is over", "  | R&D is <over>.", "  | That is all."]


def test_a_slack_message_is_drawn_block_by_block() -> None:
    facts = Facts(
        organisation="R&D <b>",
        rule="runaway",
        rule_type="rate",
        period=Period(datetime(2026, 11, 18, 13, 45, tzinfo=UTC), datetime(2026, 11, 18, 14, tzinfo=UTC)),
        amount=Decimal("412.50"),
        limit=Decimal(500),
        step=Decimal("0.8"),
        pace=Pace(datetime(2026, 11, 18, 13, 38, tzinfo=UTC), Decimal("3950.10"), Decimal(61000)),
        contributors=(Contributor("claude-opus-4-8", "output_tokens", Decimal("400.10")),),
    )
    over = replace(facts, limit=Decimal(150))

    def drawn(facts: Facts, screen: Terminal) -> list[str]:
        now = datetime(2026, 11, 18, 14, tzinfo=UTC)
        told = Notice("ntc", "inc", 1, Kind.TRIGGER, Reason.STEP_REACHED, Severity.CRITICAL, now, facts)
        message = render(Delivery("dlv", "team", (told,), now, now), now, Flavour.SLACK)
        return list(preview.slack(message, "ai-spend", screen))

    lines = drawn(facts, Terminal())
    assert lines[2:6] == [
        "  ▌ 🚨 runaway is spending $412.50 an hour",
        "  ▌",
        "  ▌ ████████████████░░░░ 82.5%  ·  $412.50 an hour, limit $500",
        "  ▌",
    ]
    assert "  ▌ • $400.10 (96.9%)  claude-opus-4-8 output tokens" in lines
    assert "  ▌ Account R&D <b> · rule runaway · incident inc · alert dlv" in lines
    assert max(map(cells, lines)) <= 80
    plain = drawn(over, Terminal(blocks=False))
    assert "  | Over its limit since                 If it goes on, today (UTC)" in plain
    assert "  | 18 Nov 2026 13:38 UTC                $3,950.10" in plain
    assert all(line.isascii() for line in plain)


@pytest.mark.parametrize(
    ("severity", "kind", "code"),
    [
        (Severity.CRITICAL, Kind.TRIGGER, "31"),
        (Severity.WARNING, Kind.TRIGGER, "33"),
        (Severity.INFO, Kind.INFORM, "2"),
        (Severity.CRITICAL, Kind.RESOLVE, "32"),
    ],
)
def test_the_bar_has_the_colour_of_how_bad_it_is(severity: Severity, kind: Kind, code: str) -> None:
    lines = slack_lines(Terminal(colour=True), severity, kind)
    assert lines[2].startswith(f"  \x1b[{code}m▌\x1b[0m ")
