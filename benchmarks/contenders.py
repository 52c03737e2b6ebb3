"""budgetd and Debian's Alertmanager as processes that can be killed, and the web hook that both of them tell."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from budgetd import clock
from budgetd.simulator import worlds
from budgetd.simulator.api import ADMIN_KEY
from budgetd.simulator.server import serve
from tests.alertmanagers import Alertmanager

FIRING, RESOLVED = "firing", "resolved"
PATIENCE = 60.0  # seconds
# How often the alerts are sent to Alertmanager again; Prometheus does so each minute.
RESENT_EVERY = 1.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A notification that the hook took whole: at which of its paths, what it says, and when (`time.perf_counter`)."""

    path: str
    status: str
    at: float


class Hook:
    """The web hook of both. `strike` is called for the next notification that arrives, before it is answered."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.strike: Callable[[], None] | None = None
        self.struck = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    return  # it was killed in the middle: nothing was said
                hook.take(self.path.strip("/"), json.loads(body))
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle()

            def log_message(self, format: str, *args: object) -> None:
                """`arrivals` is the log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def take(self, path: str, body: Mapping[str, Any]) -> None:
        statuses = [each["status"] for each in body["alerts"]] if "alerts" in body else [body["data"]["state"]]
        self.arrivals += [Arrival(path, status, time.perf_counter()) for status in statuses]
        strike, self.strike = self.strike, None
        if strike is not None:
            strike()
            self.struck.set()

    def count(self, status: str, path: str | None = None) -> int:
        """How many notifications said so, at that path or at any."""
        return sum(each.status == status and path in (None, each.path) for each in self.arrivals)

    def wait(self, status: str, count: int = 1, seconds: float = PATIENCE) -> bool:
        """Whether so many have come by then."""
        until = time.perf_counter() + seconds
        while self.count(status) < count and time.perf_counter() < until:
            time.sleep(0.002)
        return self.count(status) >= count

    def quiet(self, seconds: float) -> None:
        """Wait until nothing has come for so long."""
        while self.arrivals and (left := self.arrivals[-1].at + seconds - time.perf_counter()) > 0:
            time.sleep(left)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Contender(Protocol):
    """One that watches an alert and tells the hook at `/one`, or after `route("two")` at `/two`."""

    hook: Hook

    def prepare(self, folder: Path, *, told: bool) -> None:
        """A state of its own in an empty folder, in which the alert is quiet, or fires and was told."""
        ...

    def cause(self, status: str) -> None:
        """Make the alert fire, or end."""
        ...

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the process."""
        ...

    def recover(self) -> None:
        """Start the process again, on what the last one left."""
        ...

    def watch(self) -> None:
        """Run, if it does not, until what there is to tell is told."""
        ...

    def route(self, path: str) -> bool:
        """From now on alerts go to that path of the hook, by an edit of the configuration and a reload."""
        ...

    def silence(self) -> bool:
        """Silence the alert for two hours; False when it cannot be done."""
        ...

    def unsilence(self) -> None:
        """The two hours are over."""
        ...

    def end(self) -> None:
        """Leave nothing running."""
        ...


# --- budgetd -----------------------------------------------------------------------------------

_RULES = """\
version: 1
channels:
  one: webhook://127.0.0.1:{port}/one
  two: webhook://127.0.0.1:{port}/two
routes: [{{notify: [{route}]}}]
rules:
  - {{id: week, type: cap, limit: {limit}, per: {{last: 7d}}}}
"""
_LIMITS = {FIRING: 1000, RESOLVED: 900_000}


class Budgetd:
    """`budgetd run` over the simulated company. What crosses is the limit: a lower one fires, a higher one ends it."""

    def __init__(self, hook: Hook, url: str, folder: Path) -> None:
        self.hook = hook
        self._url = url
        self._folder = folder
        self._templates: dict[bool, Path] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._route, self._limit = "one", _LIMITS[RESOLVED]

    def prepare(self, folder: Path, *, told: bool) -> None:
        if told not in self._templates:
            self._templates[told] = self._make(self._folder / f"template-{told}", told)
        shutil.copytree(self._templates[told], folder)
        self._folder, self._route = folder, "one"
        self._limit = _LIMITS[FIRING if told else RESOLVED]

    def _make(self, folder: Path, told: bool) -> Path:
        folder.mkdir(parents=True)
        self._folder, self._route, self._limit = folder, "one", _LIMITS[RESOLVED]
        self._write()
        self._run("once")
        if told:
            self._limit = _LIMITS[FIRING]
            self._write()
            self._run("once")
        return folder

    def _run(self, *words: str) -> None:
        done = subprocess.run(self._words(*words), cwd=self._folder, env=self._environment(), capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"budgetd {' '.join(words)} ended with {done.returncode}: {done.stderr.decode()}")

    def _words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "budgetd", *words]

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HOME": str(self._folder),
            "NO_PROXY": "127.0.0.1",
            "BUDGETD_ADMIN_KEY": ADMIN_KEY,
            "BUDGETD_API_URL": self._url,
            "BUDGETD_DATABASE": str(self._folder / "budgetd.db"),
            "BUDGETD_RULES": str(self._folder / "rules.yaml"),
            "BUDGETD_SOURCE": "cost_report",
        }

    def _write(self) -> None:
        text = _RULES.format(port=self.hook.port, route=self._route, limit=self._limit)
        (self._folder / "rules.yaml").write_text(text)

    def cause(self, status: str) -> None:
        self._limit = _LIMITS[status]
        self._reload() if self._process is not None else self._start()

    def _reload(self) -> None:
        assert self._process is not None
        self._write()
        self._process.send_signal(signal.SIGHUP)

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE)
            self._process = None

    def recover(self) -> None:
        starts = self._starts()
        self._start()
        until = time.perf_counter() + PATIENCE
        while self._starts() == starts and time.perf_counter() < until:
            time.sleep(0.02)

    def _starts(self) -> int:
        """How often it has begun to work here, as its log has it."""
        log = self._folder / "log"
        return log.read_text().count("watching:") if log.exists() else 0

    def _start(self) -> None:
        self._write()
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._words("run"), cwd=self._folder, env=self._environment(), stdout=log, stderr=log
            )

    def watch(self) -> None:
        self.recover()
        time.sleep(3)

    def route(self, path: str) -> bool:
        self._route = path
        self._reload()
        time.sleep(1)
        return True

    def silence(self) -> bool:
        probe = subprocess.run(self._words("silence", "--help"), capture_output=True, env=self._environment())
        if probe.returncode != 0:
            return False
        self._run("silence", "add", "--rule", "week", "--for", "2h", "--comment", "planned load test")
        return True

    def unsilence(self) -> None:
        """Nothing that was to be told waits for it."""

    def end(self) -> None:
        self.kill()


@contextlib.contextmanager
def simulated_api() -> Iterator[str]:
    """The address of the API that budgetd reads, while the block runs."""
    with serve(worlds.standard(around=clock.now().date()), clock=clock.now) as server:
        yield server.url


# --- Alertmanager ------------------------------------------------------------------------------


@dataclass
class WithClient:
    """Alertmanager, and a client that does as Prometheus does: it sends again what fires, and for a while its end.

    `snapshotted`: an alert that was told before the scene is so old that Alertmanager's log of notifications, which
    goes to disk every 15 minutes and at an orderly stop, has it.
    """

    hook: Hook
    flags: Sequence[str] = ()
    snapshotted: bool = True
    _real: Alertmanager | None = None
    _alert: dict[str, Any] = field(default_factory=dict)
    _changed: threading.Lock = field(default_factory=threading.Lock)
    _client: threading.Event | None = None
    _silence: str = ""

    def prepare(self, folder: Path, *, told: bool) -> None:
        self.end()
        self._alert = {}
        self._real = Alertmanager(folder, self._configuration("one"), self.flags)
        self._real.start()
        self._start_client()
        if told:
            before = self.hook.count(FIRING)
            self.cause(FIRING)
            if not self.hook.wait(FIRING, before + 1):
                raise TimeoutError((folder / "log").read_text())
            time.sleep(RESENT_EVERY)  # it must have read the answer, and noted it
            if self.snapshotted:
                self.kill(signal.SIGTERM)
                self.recover()
                time.sleep(2 * RESENT_EVERY)  # it is told again what fires

    def _configuration(self, path: str) -> str:
        receivers = "".join(
            f"- name: {name}\n  webhook_configs:\n  - url: http://127.0.0.1:{self.hook.port}/{name}\n"
            for name in ("one", "two")
        )
        # Nothing is waited for, and resolved alerts are sent: the best that it can do.
        return (
            f"route:\n  receiver: {path}\n  group_by: [alertname]\n  group_wait: 0s\n  group_interval: 1s\n"
            f"  repeat_interval: 4h\nreceivers:\n{receivers}"
        )

    def cause(self, status: str) -> None:
        now = datetime.now(UTC)
        with self._changed:
            if status == FIRING:
                starts = now.isoformat()
                self._alert = {"labels": {"alertname": "week", "severity": "warning"}, "startsAt": starts}
            else:
                self._alert = {**self._alert, "endsAt": now.isoformat()}
        self._send()

    def _send(self) -> None:
        with self._changed:
            alert = dict(self._alert)
        if alert and self._real is not None:
            # What fires is believed for four intervals, as Prometheus has it; at least long enough for a restart.
            alert.setdefault("endsAt", (datetime.now(UTC) + timedelta(minutes=4)).isoformat())
            with contextlib.suppress(OSError):
                self._real.post("/api/v2/alerts", [alert])

    def _start_client(self) -> None:
        stop = self._client = threading.Event()

        def resend() -> None:
            while not stop.wait(RESENT_EVERY):
                self._send()

        threading.Thread(target=resend, daemon=True).start()

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self._real is not None
        self._real.kill(number)

    def recover(self) -> None:
        assert self._real is not None
        self._real.start()

    def watch(self) -> None:
        """It runs."""

    def route(self, path: str) -> bool:
        assert self._real is not None
        self._real.reload(self._configuration(path))
        time.sleep(2 * RESENT_EVERY)
        return True

    def silence(self) -> bool:
        assert self._real is not None
        now = datetime.now(UTC)
        answer = self._real.post(
            "/api/v2/silences",
            {
                "matchers": [{"name": "alertname", "value": "week", "isRegex": False, "isEqual": True}],
                "startsAt": now.isoformat(),
                "endsAt": (now + timedelta(hours=2)).isoformat(),
                "createdBy": "me",
                "comment": "planned load test",
            },
        )
        self._silence = answer["silenceID"]
        return True

    def unsilence(self) -> None:
        if self._real is not None and self._silence:
            # Prometheus has long ceased to send the end by then: it does so for 15 minutes.
            if self._client is not None:
                self._client.set()
            time.sleep(3 * RESENT_EVERY)
            self._real.delete(f"/api/v2/silence/{self._silence}")

    def end(self) -> None:
        if self._client is not None:
            self._client.set()
        if self._real is not None:
            self._real.kill()
            self._real = None
