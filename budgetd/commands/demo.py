"""`budgetd demo`: the whole path through 35 simulated days, in seconds, without a key and without a network."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from importlib.util import find_spec
from pathlib import Path

from budgetd import clock
from budgetd.channels import Sender
from budgetd.commands import preview, status, status_text
from budgetd.commands.narration import Narrator
from budgetd.commands.terminal import Terminal, show, terminal
from budgetd.demo import story
from budgetd.demo.receivers import Arrivals, MailServer, SlackPreview, hook, mail_server, way_out
from budgetd.demo.rehearsal import Stage, Step, play
from budgetd.overview import Around
from budgetd.period import midnight
from budgetd.rulebook import Rulebook, parse
from budgetd.simulator.clocks import FixedClock
from budgetd.simulator.server import serve
from budgetd.store import StoreError
from budgetd.stores.reading import open_read_only

EXIT_DONE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2

_MAIL_REFUSED_FIRST = 1
_WIDEST = 80


@dataclass(frozen=True, slots=True)
class Played:
    """What came of the days: what budgetd did at each poll, and what arrived, as counted by the receivers."""

    steps: list[Step] = field(default_factory=list)
    arrivals: Arrivals = field(default_factory=Arrivals)

    def decided(self) -> list[str]:
        """The ids of all messages that were to be sent."""
        return [delivery.id for step in self.steps for delivery in step.ticked.changes.deliveries]

    def lost(self) -> int:
        """How many of them did not arrive."""
        return len(set(self.decided()) - {arrival.id for arrival in self.arrivals.seen})

    def quiet(self) -> list[str]:
        """The workspaces that no message named."""
        changes = [step.ticked.changes for step in self.steps]
        named = {label.name for change in changes for notice in change.notices for label in notice.facts.scope}
        known = {each.id: each for change in changes for each in change.workspaces}
        return sorted({each.name for each in known.values() if each.archived_at is None} - named)

    def failures(self) -> list[str]:
        """What is not as it must be, in words."""
        found = [f"was not told: {what}" for what in story.missed(step.ticked.changes for step in self.steps)]
        found += [f"{self.lost()} messages were lost"] if self.lost() else []
        found += [f"{self.arrivals.doubled()} messages came twice"] if self.arrivals.doubled() else []
        return found


@dataclass(frozen=True, slots=True)
class Folder:
    """Everything that the demo leaves behind."""

    path: Path

    @property
    def database(self) -> Path:
        return self.path / "budgetd.db"

    @property
    def rules(self) -> Path:
        return self.path / "rules.yaml"

    @property
    def mail(self) -> Path:
        return self.path / "mail"

    def letters(self) -> list[tuple[Path, EmailMessage]]:
        """The mails in the Maildir, in the order of their coming."""
        files = sorted(self.mail.glob("new/*"), key=lambda file: file.stat().st_mtime_ns)
        read = ((file, message_from_bytes(file.read_bytes(), policy=policy.default)) for file in files)
        return [(file, letter) for file, letter in read if isinstance(letter, EmailMessage)]


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.description = (
        f"{story.DAYS} simulated days in seconds: a simulated Admin API; the real reader, rules, database and "
        "channels; a spike, a budget that is used up, a runaway that is caught within minutes, restarts. No key, no "
        "network beyond this machine, no file outside one folder. Exit code 0: all was told, once; 1: it was not."
    )
    parser.epilog = "example: budgetd demo --keep ./demo"
    add = parser.add_argument
    add("--keep", type=Path, metavar="DIR", help="a new or empty folder for the database, the mail and the rules "
        "(default: a new one among the temporary files)")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Play the story and say what came of it. The folder cannot be used: 2."""
    began = clock.monotonic()
    screen = terminal()
    try:
        folder = _folder(arguments.keep)
        if folder is None:
            print(f"budgetd demo: {arguments.keep} is not an empty folder; name a new one", file=sys.stderr)
            return EXIT_USAGE
        show(_welcome(screen))
        played, slack, rulebook = _play(folder, screen)
        show(_messages(folder, slack, screen))
        show(_status(folder, rulebook, played.steps[-1].at, screen))
    except (OSError, StoreError) as error:
        print(f"budgetd demo: {error}", file=sys.stderr)
        return EXIT_FAILED
    show(_proof(played, clock.monotonic() - began, screen))
    for failure in played.failures():
        print(f"budgetd demo: {failure}", file=sys.stderr)
    show(_next_steps(folder, screen))
    return EXIT_FAILED if played.failures() else EXIT_DONE


def _folder(asked: Path | None) -> Folder | None:
    """The folder to work in; None for what is no empty folder. Raises OSError."""
    if asked is None:
        return Folder(Path(tempfile.mkdtemp(prefix="budgetd-demo-")))
    if asked.exists() and (not asked.is_dir() or any(asked.iterdir())):
        return None
    asked.mkdir(parents=True, exist_ok=True)
    return Folder(asked.resolve())


# --- the days ----------------------------------------------------------------------------------


def _play(folder: Folder, screen: Terminal) -> tuple[Played, SlackPreview, Rulebook]:
    """Play every day, telling it line by line. When this returns, nothing of it runs any more."""
    played = Played()
    slack = SlackPreview(played.arrivals)
    simulated = FixedClock(midnight(story.FIRST_DAY))
    narrator = Narrator(screen)
    with contextlib.ExitStack() as running:
        api = running.enter_context(serve(story.world(), clock=simulated))
        rulebook = _rulebook(folder, played.arrivals, running)
        stage = Stage(simulated, api.url, folder.database, rulebook, lambda: _senders(rulebook, slack, simulated))
        for step in play(stage):
            played.steps.append(step)
            show(narrator.lines(step))
    return played, slack, rulebook


def _rulebook(folder: Folder, arrivals: Arrivals, running: contextlib.ExitStack) -> Rulebook:
    """The rules for servers that are started here, and kept in the folder; without a mail server they name none."""
    mail = None
    if find_spec("aiosmtpd") is not None:
        mail = running.enter_context(mail_server(MailServer(folder.mail, arrivals, _MAIL_REFUSED_FIRST)))
    text = story.rules_text(story.Addresses(mail, running.enter_context(hook(arrivals))))
    folder.rules.write_text(text, encoding="utf-8")
    settings = f'BUDGETD_DATABASE="{folder.database}"\nBUDGETD_RULES="{folder.rules}"\n'
    (folder.path / ".env").write_text(settings, encoding="utf-8")
    return parse(text, folder.rules.name, environment={})


def _senders(rulebook: Rulebook, slack: SlackPreview, now: FixedClock) -> Mapping[str, Sender]:
    """The preview in Slack's place, and every other channel for real."""
    real = {name: way_out(channel.url, now) for name, channel in rulebook.channels.items()}
    return {**real, story.SLACK: slack}


# --- what is shown -----------------------------------------------------------------------------


def _heading(text: str, screen: Terminal) -> Iterator[str]:
    line = ("─" if screen.blocks else "-") * max(2, min(screen.columns, _WIDEST) - len(text) - 4)
    yield ""
    yield f"{screen.paint(line[:2], 'dim')} {screen.paint(text, 'bold')} {screen.paint(line[2:], 'dim')}"


def _welcome(screen: Terminal) -> Iterator[str]:
    text = (
        f"{story.DAYS} days at Example Company, on a fast clock and against a simulated Admin API. "
        "All else is budgetd as it runs. No key, no network."
    )
    yield from screen.wrapped(text, 0)
    yield from _heading("What happens", screen)


def _messages(folder: Folder, slack: SlackPreview, screen: Terminal) -> Iterator[str]:
    spikes = (message for message in slack.messages if story.is_of_spike(message.data))
    for message in list(spikes)[:1]:
        yield from _heading("What Slack shows", screen)
        yield from preview.slack(message, story.SLACK_ROOM, screen)
    yield from _heading("What finance reads", screen)
    letters = folder.letters()
    if not letters:
        yield "  No mail: its server needs aiosmtpd, which comes with  pip install 'budgetd[demo]'"
        return
    path, letter = letters[-1]
    yield from preview.mail(letter, screen)
    yield f"  {len(letters)} mails are in the Maildir {path.parent.parent}"


def _status(folder: Folder, rulebook: Rulebook, now: datetime, screen: Terminal) -> Iterator[str]:
    """The status page as of the last poll; of the rules only the budgets, for its length."""
    yield from _heading("What budgetd status shows of the budgets", screen)
    around = Around(now, running=True)
    with contextlib.closing(open_read_only(folder.database)) as state:
        seen = status.look(state, rulebook, around.now)
    budgets = tuple(each for each in seen.rules if each.rule.kind == "cap")
    yield from status_text.Page(screen, around).lines(replace(seen, rules=budgets))


def _proof(played: Played, seconds: float, screen: Terminal) -> Iterator[str]:
    steps, seen = played.steps, played.arrivals
    silent = sum(not step.ticked.changes.deliveries for step in steps)
    restarts = sum(step.restarted for step in steps)
    again = sum(len(step.retried) for step in steps)
    counts = sorted(Counter(arrival.channel for arrival in seen.seen).items())
    sent = ", ".join(f"{count} at {channel}" for channel, count in counts)
    yield from _heading("Counted where they arrived", screen)
    yield f"  {len(steps)} polls, {silent} of them with nothing to say, and {restarts} restarts in the middle"
    yield f"  {len(played.decided())} messages decided, {len(seen.seen)} arrived: {sent}"
    yield f"  {again} turned away and sent again, {played.lost()} lost, {seen.doubled()} doubled"
    yield from screen.wrapped(
        f"{len(played.quiet())} quiet workspaces in no message: {', '.join(played.quiet())}", 4, first=2
    )
    yield f"  {story.DAYS} days took {seconds:.1f} s"


def _next_steps(folder: Folder, screen: Terminal) -> Iterator[str]:
    program = _program()
    steps = (
        (f"cd {shlex.quote(str(folder.path))}", "its .env names the database and the rules"),
        (f"{program} status --all", "every workspace against its limit"),
        (f"{program} check rules.yaml", "edit it: every mistake at its line"),
        (f"{program} simulate", "that API as a server, until Ctrl-C"),
    )
    width = max(len(command) for command, _ in steps)
    beside = width + max(len(comment) for _, comment in steps) + 6 <= screen.columns
    yield from _heading("Try next", screen)
    for command, comment in steps:
        note = screen.paint(f"# {comment}", "dim")
        yield from [f"  {command:<{width}}  {note}"] if beside else [f"  {note}", f"  {command}"]


def _program() -> str:
    """How the user can start this program again, from any folder."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m budgetd"
    found = shutil.which(started.name)
    same = found is not None and Path(found).resolve() == started.resolve()
    return started.name if same else shlex.quote(str(started.absolute()))
