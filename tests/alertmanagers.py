"""Alertmanagers on loopback: one that enforces the documented rules of its API v2, and Debian's own if it is there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
PROGRAMS = ("prometheus-alertmanager", "alertmanager")
PATIENCE = 30.0  # seconds
ABSENT = "Debian's prometheus-alertmanager is not installed (ALERTMANAGER may name the program)"

Labels = frozenset[tuple[str, str]]


def labels(**pairs: str) -> Labels:
    return frozenset(pairs.items())


# --- the rules of the API ------------------------------------------------------------------------


@dataclass
class Kept:
    """An alert as Alertmanager keeps it. Raises ValueError for what it refuses."""

    labels: Labels
    annotations: dict[str, str]
    starts: datetime
    ends: datetime

    @classmethod
    def of(cls, alert: dict[str, Any]) -> Kept:
        for pairs in (alert["labels"], alert.get("annotations", {})):
            for key, text in pairs.items():
                if not LABEL_NAME.fullmatch(key) or not isinstance(text, str):
                    raise ValueError(f"no label: {key!r}={text!r}")
                text.encode()  # a lone surrogate is no text
        if not any(alert["labels"].values()):
            raise ValueError("at least one label pair required")
        if urlsplit(alert.get("generatorURL", "http://x")).scheme not in ("http", "https"):
            raise ValueError("generatorURL is no URL")
        ends = datetime.fromisoformat(alert["endsAt"])
        starts = datetime.fromisoformat(alert.get("startsAt", alert["endsAt"]))
        if ends < starts:
            raise ValueError("start time must be before end time")
        return cls(frozenset(alert["labels"].items()), alert.get("annotations", {}), starts, ends)

    def after(self, old: Kept | None) -> Kept:
        """Merged as its store does, where the two overlap; an explicit end that has come rules."""
        if old is None or not (old.starts < self.ends < old.ends or old.starts < self.starts < old.ends):
            return self
        return Kept(self.labels, self.annotations, min(self.starts, old.starts), self.ends)


@dataclass
class Strict:
    """Implements POST /PREFIX/api/v2/alerts: what is valid is kept, even when the request is refused for the rest."""

    prefix: str = ""
    status: int = 200
    kept: dict[Labels, Kept] = field(default_factory=dict)
    posts: list[list[dict[str, Any]]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    logins: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        play = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                play.logins.append(self.headers.get("Authorization"))
                status = play.take(self.path, self.headers.get("Content-Type", ""), body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def take(self, path: str, content_type: str, body: bytes) -> int:
        """Keep what is valid; the status."""
        if path != f"{self.prefix}/api/v2/alerts":
            return 404
        if content_type != "application/json":
            return 415
        if self.status != 200:
            return self.status
        posted = json.loads(body)
        assert isinstance(posted, list)
        self.posts.append(posted)
        bad = 0
        for alert in posted:
            try:
                kept = Kept.of(alert)
            except (KeyError, TypeError, ValueError) as error:
                self.refused.append(str(error))
                bad += 1
            else:
                self.kept[kept.labels] = kept.after(self.kept.get(kept.labels))
        return 400 if bad else 200

    def forget(self) -> None:
        """A restart: alerts are kept in memory only."""
        self.kept.clear()

    def firing(self, now: datetime) -> list[dict[str, str]]:
        """The labels of what fires, in the order in which it came."""
        return [dict(alert.labels) for alert in self.kept.values() if alert.ends > now]

    def __enter__(self) -> Strict:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()


# --- the real one --------------------------------------------------------------------------------


def program() -> str | None:
    """The path of Alertmanager itself, if there is one on this machine."""
    named = os.environ.get("ALERTMANAGER")
    return named or next(filter(None, map(shutil.which, PROGRAMS)), None)


def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port: int = free.getsockname()[1]
        return port


@dataclass
class Alertmanager:
    """The real program, in a folder of its own. `peers` are the cluster ports of the other replicas."""

    folder: Path
    configuration: str
    more: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    cluster: int | None = None
    peers: Sequence[int] = ()
    prefix: str = ""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "alertmanager.yml").write_text(self.configuration)
        own = program()
        assert own is not None, ABSENT
        cluster = f"127.0.0.1:{self.cluster}" if self.cluster else ""
        words = [
            own,
            f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            f"--cluster.listen-address={cluster}",
            *(f"--cluster.peer=127.0.0.1:{peer}" for peer in self.peers),
            *([f"--web.route-prefix={self.prefix}"] if self.prefix else []),
            *self.more,
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._await("/-/ready")

    def _await(self, path: str) -> None:
        until = time.perf_counter() + PATIENCE
        while time.perf_counter() < until and self._process is not None and self._process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}{path}", timeout=1).close()
                return
            time.sleep(0.01)
        raise TimeoutError((self.folder / "log").read_text())

    def reload(self, configuration: str) -> None:
        """What `systemctl reload` does, with another configuration."""
        (self.folder / "alertmanager.yml").write_text(configuration)
        request = urllib.request.Request(f"{self.url}/-/reload", method="POST")
        urllib.request.urlopen(request, timeout=5).close()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, as the signal does, and wait for that."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE)
            self._process = None

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:
            return json.load(answer)

    def post(self, path: str, body: object) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read() or b"null")

    def delete(self, path: str) -> None:
        request = urllib.request.Request(f"{self.url}{path}", method="DELETE")
        urllib.request.urlopen(request, timeout=5).close()

    def alerts(self) -> list[dict[str, Any]]:
        """What fires, as it says itself."""
        found: list[dict[str, Any]] = self.get("/api/v2/alerts")
        return found


@contextlib.contextmanager
def alertmanager(folder: Path, configuration: str, **more: Any) -> Iterator[Alertmanager]:
    """It runs until the block ends."""
    one = Alertmanager(folder, configuration, **more)
    try:
        one.start()
        yield one
    finally:
        one.kill(signal.SIGTERM)


@dataclass(frozen=True)
class Notification:
    """A notification as Alertmanager posts it to a web hook: at /RECEIVER."""

    receiver: str
    body: dict[str, Any]

    @property
    def told(self) -> list[tuple[str, str, str]]:
        """Status, alertname and severity of each alert in it."""
        return sorted(
            (alert["status"], alert["labels"]["alertname"], alert["labels"].get("severity", ""))
            for alert in self.body["alerts"]
        )


class Receiver:
    """The web hook behind an Alertmanager, on loopback; `came` are the notifications that it took."""

    def __init__(self) -> None:
        self.came: list[Notification] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                body = self.rfile.read(length)
                if len(body) < length:
                    return  # whoever sent it was killed in the middle
                receiver.came.append(Notification(self.path.strip("/"), json.loads(body)))
                with contextlib.suppress(ConnectionError):
                    self.send_response(200)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, count: int, seconds: float = PATIENCE) -> list[Notification]:
        """All that came, as soon as it is so many."""
        until = time.perf_counter() + seconds
        while len(self.came) < count and time.perf_counter() < until:
            time.sleep(0.01)
        return list(self.came)


def configuration(receiver: Receiver, **route: str) -> str:
    """One route to one web hook, told at once; `route` are other settings of it."""
    settings = {"group_wait": "0s", "group_interval": "1s", "repeat_interval": "4h", **route}
    lines = "".join(f"  {key}: {text}\n" for key, text in settings.items())
    return (
        f"route:\n  receiver: team\n  group_by: ['...']\n{lines}"
        f"receivers:\n- name: team\n  webhook_configs:\n  - url: {receiver.url('team')}\n"
    )
