"""A real pass on a prepared state against real servers, and the judgement from outside on what then arrived."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from budgetd import clock
from budgetd.simulator import worlds
from budgetd.simulator.api import ADMIN_KEY
from budgetd.simulator.clocks import FixedClock
from budgetd.simulator.server import serve
from tests.builders import at

CHECKOUT = Path(__file__).resolve().parents[1]
BUDGETD = (sys.executable, "-m", "budgetd")
CHANNELS = ("finance", "team")
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
MOST_RESTARTS = 4
_PATIENCE = 60.0  # seconds until a pass counts as hung

# The 15th crosses 80 % of the month, the 19th 100 %; each day from the 15th on is over a limit of its own.
BEFORE, THE_DAY, LATER = at("2026-11-14 12:00"), at("2026-11-15 12:00"), at("2026-11-19 12:00")
_CHANNELS = "".join(f"  {name}: json://127.0.0.1:${{HOOK_PORT}}/${{HOOK_POINT}}/{name}\n" for name in CHANNELS)
RULES = f"""\
version: 1
channels:
{_CHANNELS}rules:
  - {{id: month, type: cap, limit: 8000, per: month, steps: [20%, 40%, 60%, 80%, 100%]}}
  - {{id: sunday, type: cap, limit: 285, match: {{workspace: Prod-*}}, per: day, steps: [20%, 40%, 60%, 80%, 100%]}}
"""
# For the daemon, which lives by the clock of the machine: not the spend moves, but the limit.
GENEROUS = f"version: 1\nchannels:\n{_CHANNELS}rules:\n  - {{id: week, type: cap, limit: 900000, per: {{last: 7d}}}}\n"
STRICT = GENEROUS.replace("900000", "1000")

Tell = tuple[str, int, str]  # incident, sequence, reason and step


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that a channel accepted."""

    channel: str
    id: str
    tells: tuple[Tell, ...]


class Receiver:
    """The other end of every channel, on loopback; what is posted to /POINT/CHANNEL is accepted and remembered."""

    def __init__(self) -> None:
        self._seen: defaultdict[str, list[Arrival]] = defaultdict(list)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.port = self._http.server_address[1]

    def arrived(self, point: str) -> tuple[Arrival, ...]:
        """What the channels of that point accepted, in the order in which they did."""
        return tuple(self._seen[point])

    def accept(self, path: str, body: bytes) -> None:
        _, point, channel = path.split("/")
        message = json.loads(body)
        alerts = message["data"].get("alerts", [message["data"]])
        self._seen[point].append(Arrival(channel, message["id"], tuple(map(_tell, alerts))))

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                # A sender that was killed in the middle has sent nothing: this ends as an error of the connection.
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    return
                receiver.accept(self.path, body)
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle()

            def log_message(self, format: str, *args: object) -> None:
                """`arrived` is the log."""

        return Handler


def _tell(alert: Mapping[str, object]) -> Tell:
    step = alert["step"]
    reached = step["reached"] if isinstance(step, dict) else ""
    sequence = alert["sequence"]
    assert isinstance(sequence, int)
    return str(alert["incident"]), sequence, f"{alert['reason']} {reached}".strip()


@dataclass(frozen=True, slots=True)
class Pass:
    """One run of the program: its arguments, and which of the simulated APIs and rules files it sees."""

    arguments: tuple[str, ...]
    api: str
    rules: str = RULES


def once(when: str, api: str) -> Pass:
    return Pass(("once", "--at", when), api)


@dataclass(frozen=True, slots=True)
class Scene:
    """What is prepared, which pass is killed there, and which one follows; `later` is another one that may follow."""

    name: str
    before: tuple[Pass, ...]
    killed: Pass
    after: Pass
    later: Pass | None = None


ON_BEFORE, ON_THE_DAY, ON_LATER = (
    once(f"{when:%Y-%m-%dT%H:%M:%SZ}", f"{when:%d}") for when in (BEFORE, THE_DAY, LATER)
)
NOW = "now"
SCENES = {
    "step": Scene("step", (ON_BEFORE,), ON_THE_DAY, ON_THE_DAY, ON_LATER),
    "fresh": Scene("fresh", (), ON_THE_DAY, ON_THE_DAY),
    "daemon": Scene(
        "daemon",
        (Pass(("once",), NOW, GENEROUS),),
        Pass(("run",), NOW, STRICT),
        Pass(("once",), NOW, STRICT),
    ),
}


@dataclass(slots=True)
class Verdict:
    """What one killed and restarted run came to. `doubled` are the duplicates that section 1.2 of the design allows."""

    point: str
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrongly_doubled: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.wrongly_doubled or self.disordered or self.broken)


class Stage:
    """The servers and folders of a whole run; make it with `stage`."""

    def __init__(self, folder: Path, apis: Mapping[str, str], receiver: Receiver, program: Sequence[str]) -> None:
        self.folder = folder
        self._apis = apis
        self.receiver = receiver
        self._program = tuple(program)
        self.label = "real"
        self._prepared: dict[str, Path] = {}
        self._told: dict[tuple[str, bool], frozenset[tuple[str, Tell]]] = {}

    def prepare(self, scene: Scene) -> None:
        """Run what comes before once, and what follows without any kill: that is what must arrive."""
        point = f"{scene.name}-before"
        home = self._home(point)
        for each in scene.before:
            self._succeed(each, home, point)
        self._prepared[scene.name] = home
        self._told[scene.name, False] = self._reference(scene, scene.after, "same")
        if scene.later is not None:
            self._told[scene.name, True] = self._reference(scene, scene.later, "later")

    def playing(self, program: Sequence[str], label: str) -> Stage:
        """The same stage for another program, whose points bear that label."""
        other = Stage(self.folder, self._apis, self.receiver, program)
        other.label = label
        other._prepared, other._told = self._prepared, self._told
        return other

    def copy(self, scene: Scene, point: str) -> Path:
        home = self._home(point)
        shutil.copytree(self._prepared[scene.name], home, dirs_exist_ok=True)
        return home

    def run(self, what: Pass, home: Path, point: str, prefix: Sequence[str] = ()) -> int:
        """One run in its own process; its exit code."""
        (home / "rules.yaml").write_text(what.rules)
        with (home / "log").open("ab") as log:
            child = subprocess.Popen(
                [*prefix, *self._program, *what.arguments],
                env=self._environment(what, home, point),
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            with child:
                if what.arguments[0] == "run":
                    self._end_when_told(child, point)
                try:
                    return child.wait(_PATIENCE)
                except subprocess.TimeoutExpired:
                    os.killpg(child.pid, signal.SIGKILL)
                    return child.wait()

    def judge(self, scene: Scene, home: Path, point: str, *, later: bool) -> Verdict:
        """Restart until a pass ends well, then say what of the promises was kept. Call it after the killed pass."""
        verdict = Verdict(point)
        at_kill, arrived_before = states(home), {arrival.id for arrival in self.receiver.arrived(point)}
        after = scene.later if later and scene.later is not None else scene.after
        codes = self._restart(after, home, point)
        if codes[-1] != 0:
            verdict.broken.append(f"after the kill the passes ended with {codes}:\n{tail(home)}")
        arrived = self.receiver.arrived(point)
        told = {(arrival.channel, tell) for arrival in arrived for tell in arrival.tells}
        self._find_lost(verdict, self._told[scene.name, later], told, at_kill, states(home), arrived)
        uncertain = {known for known in arrived_before if at_kill.get(known) != "delivered"}
        find_doubled(verdict, arrived, uncertain)
        find_disordered(verdict, arrived)
        verdict.broken += unsound(home)
        return verdict

    def _restart(self, what: Pass, home: Path, point: str) -> list[int]:
        codes = [self.run(what, home, point)]
        while codes[-1] != 0 and len(codes) < MOST_RESTARTS:
            codes.append(self.run(what, home, point))
        return codes

    def _find_lost(
        self,
        verdict: Verdict,
        expected: frozenset[tuple[str, Tell]],
        told: set[tuple[str, Tell]],
        at_kill: Mapping[str, str],
        at_end: Mapping[str, str],
        arrived: Sequence[Arrival],
    ) -> None:
        # A day of which nothing was told yet is told of later as a late one; which step it reached is the same.
        said = {(channel, incident, what.split()[-1]) for channel, (incident, _, what) in told}
        for channel, (incident, _, what) in sorted(expected):
            if (channel, incident, what.split()[-1]) not in said:
                verdict.lost.append(f"{channel}: {incident} {what}")
        ids = {arrival.id for arrival in arrived}
        for delivery, state in at_kill.items():
            if state == "pending" and delivery not in ids and at_end.get(delivery) != "superseded":
                verdict.lost.append(f"{delivery} was decided before the kill")

    def _reference(self, scene: Scene, what: Pass, name: str) -> frozenset[tuple[str, Tell]]:
        point = f"{scene.name}-{name}"
        home = self.copy(scene, point)
        self._succeed(what, home, point)
        told = frozenset((arrival.channel, tell) for arrival in self.receiver.arrived(point) for tell in arrival.tells)
        if {channel for channel, _ in told} != set(CHANNELS):
            raise RuntimeError(f"the scene {scene.name} does not tell each channel something:\n{tail(home)}")
        return told

    def _succeed(self, what: Pass, home: Path, point: str) -> None:
        code = self.run(what, home, point)
        if code != 0:
            raise RuntimeError(f"{what.arguments} ended with {code} without any kill:\n{tail(home)}")

    def _end_when_told(self, child: subprocess.Popen[bytes], point: str) -> None:
        """Let a daemon go on for a moment after both channels were told and the backup is made, then end it."""
        ends = time.perf_counter() + _PATIENCE / 2
        while child.poll() is None and time.perf_counter() < ends:
            told = {arrival.channel for arrival in self.receiver.arrived(point)}
            if told == set(CHANNELS):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(0.5)
                break
            time.sleep(0.02)
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)

    def _home(self, point: str) -> Path:
        home = self.folder / point
        home.mkdir()
        return home

    def _environment(self, what: Pass, home: Path, point: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(CHECKOUT),
            "BUDGETD_ADMIN_KEY": ADMIN_KEY,
            "BUDGETD_API_URL": self._apis[what.api],
            "BUDGETD_DATABASE": str(home / "budgetd.db"),
            "BUDGETD_LOG": "logfmt",
            "BUDGETD_RULES": str(home / "rules.yaml"),
            "BUDGETD_SOURCE": "cost_report",
            "HOOK_PORT": str(self.receiver.port),
            "HOOK_POINT": point,
        }


@contextlib.contextmanager
def stage(folder: Path, program: Sequence[str] = BUDGETD) -> Iterator[Stage]:
    """The servers, while the block runs. `program` is what is run; a mutant of it must be found out."""
    with contextlib.ExitStack() as stack:
        receiver = Receiver()
        stack.callback(receiver.close)
        world = worlds.standard()
        apis = {
            f"{when:%d}": stack.enter_context(serve(world, clock=FixedClock(when))).url
            for when in (BEFORE, THE_DAY, LATER)
        }
        # Without a delay: whenever this is run, yesterday is in the bill.
        present = replace(worlds.standard(around=clock.now().date()), delay=timedelta(0))
        apis[NOW] = stack.enter_context(serve(present, clock=clock.now)).url
        yield Stage(folder, apis, receiver, program)


def find_doubled(verdict: Verdict, arrived: Sequence[Arrival], uncertain: set[str]) -> None:
    """Sort what a channel was told twice into what may happen (the same message, uncertain at the kill) and not."""
    ids: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for arrival in arrived:
        for incident, _, what in arrival.tells:
            ids[arrival.channel, incident, what].append(arrival.id)
    for (channel, incident, what), carriers in ids.items():
        if len(carriers) > 1:
            allowed = len(carriers) == 2 and len(set(carriers)) == 1 and carriers[0] in uncertain
            (verdict.doubled if allowed else verdict.wrongly_doubled).append(f"{channel}: {incident} {what} {carriers}")


def find_disordered(verdict: Verdict, arrived: Sequence[Arrival]) -> None:
    """A channel never hears of an older state of an incident after a newer one."""
    newest: dict[tuple[str, str], int] = {}
    for arrival in arrived:
        for incident, sequence, what in arrival.tells:
            if sequence < newest.get((arrival.channel, incident), 0):
                verdict.disordered.append(f"{arrival.channel}: {incident} {sequence} {what}")
            newest[arrival.channel, incident] = sequence


def states(home: Path) -> dict[str, str]:
    """What the state file says of each delivery, read from a copy: looking must not mend what a kill left behind."""
    copy = home / "looked-at"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for file in home.glob("budgetd.db*"):
        shutil.copy(file, copy)
    try:
        with contextlib.closing(sqlite3.connect(copy / "budgetd.db")) as database:
            return dict(database.execute("SELECT id, state FROM delivery"))
    except sqlite3.DatabaseError:
        return {}  # no schema yet


def unsound(home: Path) -> list[str]:
    """What SQLite finds wrong in the state and in each of its backups, and what should not lie about."""
    found = []
    for file in (home / "budgetd.db", *home.glob("backups/*.db")):
        with contextlib.closing(sqlite3.connect(file)) as database:
            answer = database.execute("PRAGMA integrity_check").fetchall()
        if answer != [("ok",)]:
            found.append(f"{file.name}: {answer[0][0]}")
    return found + [f"{file.name} was moved aside" for file in home.glob("*.damaged-*")]


def tail(home: Path) -> str:
    return (home / "log").read_text(errors="replace")[-2000:]
