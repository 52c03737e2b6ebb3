"""What is tried inside the container of tests.boot_service: the installed unit, by systemctl alone, as operators do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from budgetd import clock
from budgetd.simulator import worlds
from budgetd.simulator.server import serve

KEY = "sk-ant-admin01-CANARY-of-the-boot-check"
TOKEN = "CANARY-hook-token"
ETC = Path("/etc/budgetd")
# Only what a test must: no minutes of waiting, loopback, a secret for the channel. The rest is the unit's.
DROP_IN = """\
[Service]
WatchdogSec=6s
RestartSec=1s
Environment=BUDGETD_API_URL={api}
Environment=BUDGETD_POLL_EVERY=2s
LoadCredential=hook_token:/etc/budgetd/hook_token
"""
RULES = """\
version: 1
channels: {{team: "json://127.0.0.1:{port}/team/${{HOOK_TOKEN}}"}}
rules: [{{id: week, type: cap, limit: {limit}, per: {{last: 7d}}}}]
"""
COMPLAINTS = re.compile(r"permission|not permitted|denied|SIGSYS|Traceback|read-only file system", re.IGNORECASE)


@dataclass(slots=True)
class Hook:
    """A web hook; `paths` and `titles` are what was posted to it."""

    paths: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                hook.paths.append(self.path)
                hook.titles.append(body["title"])
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """`titles` is the log."""

        return Handler


class Checks:
    """The table: what was tried, whether it holds, and how it looked. Written at each line: a hang shows where."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._lines: list[dict[str, str]] = []

    def add(self, what: str, holds: bool, detail: str = "") -> None:
        self._lines.append({"what": what, "verdict": "ok" if holds else "FAILED", "detail": detail.strip()[:300]})
        self._results.write_text(json.dumps(self._lines))


def systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True, timeout=60, check=False)


def shown(name: str) -> str:
    return systemctl("show", "--value", f"--property={name}", "budgetd").stdout.strip()


def journal() -> str:
    command = ["journalctl", "--unit=budgetd", "--output=cat", "--no-pager"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


def until(condition: Callable[[], bool], seconds: float = 20.0) -> float | None:
    """How long it took; None when it did not come true."""
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        if condition():
            return time.perf_counter() - began
        time.sleep(0.05)
    return None


def write_rules(hook_port: int, limit: str) -> None:
    (ETC / "rules.yaml").write_text(RULES.format(port=hook_port, limit=limit))


@contextlib.contextmanager
def installed() -> Iterator[tuple[Hook, int]]:
    """The simulated API, a web hook, and the operator's files; the hook and its port."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    world = replace(worlds.standard(around=clock.now().date()), delay=timedelta(0))
    hook = Hook()
    listener = ThreadingHTTPServer(("127.0.0.1", 0), hook.handler())
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    with serve(world, clock=clock.now, key=KEY) as api:
        ETC.mkdir(mode=0o755)
        for name, text in (("admin_key", KEY), ("hook_token", TOKEN)):
            (ETC / name).write_text(text)
            (ETC / name).chmod(0o600)
        port = listener.server_address[1]
        write_rules(port, "900000")
        folder = Path("/etc/systemd/system/budgetd.service.d")
        folder.mkdir()
        (folder / "check.conf").write_text(DROP_IN.format(api=api.url))
        systemctl("daemon-reload")
        yield hook, port
    listener.shutdown()
    listener.server_close()


def starts(checks: Checks) -> None:
    started = systemctl("start", "budgetd")
    checks.add("systemctl start waits for READY and returns 0", started.returncode == 0, started.stderr)
    checks.add("it is active", shown("ActiveState") == "active", shown("ActiveState"))
    until(lambda: "data through" in shown("StatusText"))
    checks.add("systemctl status says how far the data reaches", "data through" in shown("StatusText"),
               shown("StatusText"))  # fmt: skip
    pid = int(shown("MainPID"))
    owner = Path(f"/proc/{pid}").stat().st_uid
    checks.add("DynamicUser: it runs as a user of its own", 61184 <= owner <= 65519, f"uid {owner}")
    database = Path("/var/lib/budgetd/budgetd.db")
    there = database.exists() and database.stat().st_mode & 0o777 == 0o600
    checks.add("StateDirectory: the state is there, for this user only", there, str(database))
    environment = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
    hidden = KEY.encode() not in environment and TOKEN.encode() not in environment
    checks.add("LoadCredential: the key is used and in neither environment nor arguments", hidden)
    limits = {name: shown(name) for name in ("MemoryMax", "LimitCORE", "NoNewPrivileges", "Restart")}
    wanted = {"MemoryMax": str(2**30), "LimitCORE": "0", "NoNewPrivileges": "yes", "Restart": "always"}
    checks.add("limits are accepted", limits == wanted, str(limits))


def reloads(checks: Checks, hook: Hook, port: int) -> None:
    write_rules(port, "not-an-amount")
    refused = systemctl("reload", "budgetd")
    checks.add("systemctl reload of a broken rules file returns non-zero", refused.returncode != 0,
               f"exit {refused.returncode}")  # fmt: skip
    checks.add("... its mistake is in the journal, with line and column", "rules.yaml:3:" in journal())
    still = shown("ActiveState") == "active" and not hook.titles
    checks.add("... the old rules stay in force and nothing is sent", still, str(hook.titles))
    write_rules(port, "1000")
    taken = systemctl("reload", "budgetd")
    checks.add("systemctl reload of a good one returns 0", taken.returncode == 0, taken.stderr)
    took = until(lambda: len(hook.titles) == 1)
    checks.add("... and takes effect: the alert arrives", took is not None, f"{hook.titles} {took or 0:.1f} s")
    secret = bool(hook.paths) and hook.paths[-1] == f"/team/{TOKEN}"
    checks.add("a channel's ${NAME} came from a credential", secret)


def stops(checks: Checks, hook: Hook) -> None:
    began = time.perf_counter()
    systemctl("stop", "budgetd")
    took = time.perf_counter() - began
    result = shown("Result"), shown("ExecMainStatus")
    checks.add("systemctl stop ends it within 2 s, exit 0", took < 2 and result == ("success", "0"), f"{took:.2f} s")
    systemctl("start", "budgetd")
    until(lambda: "data through" in shown("StatusText"))
    checks.add("a restart tells nothing again", len(hook.titles) == 1, str(hook.titles[1:]))


def is_restarted(checks: Checks, hook: Hook, what: str, number: signal.Signals, result: str) -> None:
    before, pid = int(shown("NRestarts")), int(shown("MainPID"))
    os.kill(pid, number)
    came_back = until(lambda: int(shown("NRestarts")) > before and shown("ActiveState") == "active", 30)
    checks.add(f"{what}: it is restarted", came_back is not None, f"after {came_back or 0:.1f} s")
    until(lambda: "data through" in shown("StatusText"))
    checks.add(f"{what}: nothing is told again", len(hook.titles) == 1, str(hook.titles[1:]))
    checks.add(f"{what}: the journal says why", result in journal(), result)


def stays_down(checks: Checks, port: int) -> None:
    write_rules(port, "not-an-amount")
    systemctl("restart", "budgetd")
    until(lambda: shown("ActiveState") == "failed")
    time.sleep(3)
    state = shown("ActiveState"), shown("ExecMainStatus"), shown("NRestarts")
    checks.add("a broken start ends with 78 and is not tried again", state == ("failed", "78", "0"), str(state))
    write_rules(port, "1000")
    mended = systemctl("start", "budgetd")
    checks.add("... and starts once it is mended", mended.returncode == 0, mended.stderr)


def said(checks: Checks) -> None:
    text = journal()
    complaints = [line for line in text.splitlines() if COMPLAINTS.search(line)]
    checks.add("the hardening forbids nothing that it needs", not complaints, "; ".join(complaints))
    checks.add("no secret is in the journal", KEY not in text and TOKEN not in text)


def try_all(checks: Checks, hook: Hook, port: int) -> None:
    starts(checks)
    reloads(checks, hook, port)
    stops(checks, hook)
    is_restarted(checks, hook, "kill -9", signal.SIGKILL, "status=9/KILL")
    is_restarted(checks, hook, "a hang (SIGSTOP)", signal.SIGSTOP, "Watchdog timeout")
    stays_down(checks, port)
    said(checks)
    checks.add("the end", True)


def main(results: Path) -> int:
    with installed() as (hook, port):
        try:
            try_all(Checks(results), hook, port)
        finally:
            print(journal(), systemctl("status", "budgetd").stdout)
            systemctl("stop", "budgetd")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
