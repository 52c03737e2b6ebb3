"""The daemon as a process of its own, before a simulated API, for the figures that only a process has."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from benchmarks.measuring import cpu_of
from budgetd import clock
from budgetd.simulator import worlds
from budgetd.simulator.api import ADMIN_KEY
from budgetd.simulator.server import serve

PATIENCE = 60.0  # seconds


@contextlib.contextmanager
def daemon(folder: Path, rules: str, asked: Callable[[int], None] = lambda pid: None) -> Iterator[int]:
    """`budgetd run` over the simulated company, polling hourly; gives its process id.

    `asked` is called with it at each request, before the answer.
    """
    started: list[int] = []

    def now() -> datetime:
        # The server looks at its clock first thing in each request.
        for pid in started:
            asked(pid)
        return clock.now()

    (folder / "rules.yaml").write_text(rules)
    with serve(worlds.standard(around=clock.now().date()), clock=now) as server:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HOME": str(folder),
            "NO_PROXY": "127.0.0.1",
            "BUDGETD_ADMIN_KEY": ADMIN_KEY,
            "BUDGETD_API_URL": server.url,
            "BUDGETD_DATABASE": str(folder / "budgetd.db"),
            "BUDGETD_RULES": str(folder / "rules.yaml"),
            "BUDGETD_POLL_EVERY": "1h",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "budgetd", "run"], cwd=folder, env=environment, stderr=(folder / "log").open("w")
        )
        started.append(process.pid)
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(PATIENCE)


def first_request(folder: Path, rules: str) -> tuple[float, float]:
    """Milliseconds of CPU of the daemon and of its helpers when its first request comes in."""
    taken: list[tuple[float, float]] = []
    arrived = threading.Event()

    def asked(pid: int) -> None:
        if not arrived.is_set():
            taken.append((cpu_of(pid), _cpu_of_children(pid)))
            arrived.set()

    with daemon(folder, rules, asked):
        if not arrived.wait(PATIENCE):
            raise TimeoutError((folder / "log").read_text())
    return taken[0]


def settled(folder: Path) -> None:
    """Wait until the daemon has kept its first poll and gone to rest."""
    until = clock.monotonic() + PATIENCE
    while not (folder / "budgetd.db-wal").exists() and clock.monotonic() < until:
        time.sleep(0.1)
    time.sleep(5)


class Hook:
    """A web hook on this machine; `posts` are the instants (`time.perf_counter`) at which requests began."""

    def __init__(self) -> None:
        self.posts: list[float] = []
        self.arrived = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                hook.posts.append(time.perf_counter())
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()
                hook.arrived.set()

            def log_message(self, format: str, *args: object) -> None:
                """The list is the log."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def channel(self) -> str:
        """Its channel URL."""
        return f"json://127.0.0.1:{self._server.server_port}/"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _cpu_of_children(pid: int) -> float:
    """Milliseconds of CPU of the children that have ended and were waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) * 1000 / os.sysconf("SC_CLK_TCK")
