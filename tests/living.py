"""Real servers and real processes for the acceptance tests: a bill that the test writes, a web hook, the command."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiosmtpd.controller import Controller

from budgetd import clock, moving
from budgetd.cli import dispatch
from budgetd.commands import wiring
from budgetd.delivery import InThisThread
from budgetd.evaluation import Evaluator
from budgetd.inbox import Inbox
from budgetd.model import Changes
from budgetd.outbox import Outbox
from budgetd.reader import Reader
from budgetd.rulebook import load
from budgetd.settings import Settings
from budgetd.stores.reading import SqliteReader, open_read_only
from budgetd.stores.sqlite import SqliteStore, open_store
from budgetd.tick import Ticked, tick
from tests.cost_client import KEY
from tests.cost_pages import NOW, TODAY, bucket, page, row
from tests.faulty_server import Connection, FaultyServer, Request, Script, answer

ROOT = Path(__file__).parent.parent
ORGANISATION = {"id": "org_1", "name": "Example Company", "type": "organization"}


# --- the bill ----------------------------------------------------------------------------------


@dataclass
class Bill:
    """The Admin API of an organisation whose bill is exactly what the test writes; days without a row are empty.

    `faults`: what the cost report answers instead, one for each request; the last one again and again.
    """

    today: date = TODAY
    rows: defaultdict[date, list[dict[str, object]]] = field(default_factory=lambda: defaultdict(list))
    names: dict[str, str] = field(default_factory=lambda: {"wrkspc_a": "Research", "wrkspc_b": "Support"})
    faults: list[Script] = field(default_factory=list)
    organisation: dict[str, str] = field(default_factory=lambda: dict(ORGANISATION))

    def __post_init__(self) -> None:
        self.server = FaultyServer([self._answer])

    @property
    def url(self) -> str:
        return self.server.url

    def spend(self, day: date, cents: str, workspace: str | None = "wrkspc_a", **fields: object) -> None:
        """The day has this one row of that workspace (and model), whatever it had before."""
        new = row(cents, workspace, **fields)
        same = [old for old in self.rows[day] if (old["workspace_id"], old["model"]) == (workspace, new["model"])]
        self.rows[day] = [old for old in self.rows[day] if old not in same] + [new]

    def _answer(self, connection: Connection, request: Request) -> None:
        path, query = urlsplit(request.target).path, dict(request.query)
        if path.endswith("/me"):
            answer(self.organisation)(connection, request)
        elif path.endswith("/workspaces"):
            answer(self._workspaces("include_default" in query))(connection, request)
        elif self.faults:
            fault = self.faults.pop(0) if len(self.faults) > 1 else self.faults[0]
            fault(connection, request)
        else:
            answer(self._page(query))(connection, request)

    def _workspaces(self, with_default: bool) -> dict[str, object]:
        names = {**self.names, **({"wrkspc_default": "Default"} if with_default else {})}
        data: list[dict[str, object]] = [
            {"id": known, "name": name, "archived_at": None, "tags": {}} for known, name in names.items()
        ]
        return {"data": data, "has_more": False, "first_id": None, "last_id": None}

    def _page(self, query: Mapping[str, str]) -> dict[str, Any]:
        start = date.fromisoformat(query["starting_at"][:10])
        end = min(date.fromisoformat(query["ending_at"][:10]), self.today)
        first, limit = int(query.get("page", 0)), int(query["limit"])
        asked = [start + timedelta(days=number) for number in range((end - start).days)]
        buckets = [bucket(day, *self.rows[day]) for day in asked[first : first + limit]]
        return page(buckets, str(first + limit) if first + limit < len(asked) else None)

    def __enter__(self) -> Bill:
        self.server.__enter__()
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.__exit__()


# --- where messages arrive ---------------------------------------------------------------------


@dataclass(frozen=True)
class Post:
    """One request as it came, and the status that it got."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def data(self) -> dict[str, Any]:
        """The payload's `data`."""
        found: dict[str, Any] = self.json["data"]
        return found


class Hook:
    """A web hook on loopback: `statuses` are its next answers, then `otherwise`, each after `pause` seconds.

    While `hanging` it never answers; paths that are `closed` are answered 401.
    """

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.closed: set[str] = set()
        self.statuses: list[int] = []
        self.otherwise = 200
        self.hanging = False
        self.pause = 0.0
        self.headers: dict[str, str] = {}
        self.says = b"ok"
        self.ended = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                usual = hook.statuses.pop(0) if hook.statuses else hook.otherwise
                status = 401 if self.path in hook.closed else usual
                hook.posts.append(Post(self.path, dict(self.headers), body, 0 if hook.hanging else status))
                if hook.hanging:
                    hook.ended.wait(60)
                    return
                hook.ended.wait(hook.pause)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(hook.says)), **hook.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(hook.says)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def url(self, rest: str = "/hook", login: str = "") -> str:
        return f"json://{login}127.0.0.1:{self.port}{rest}"

    @property
    def accepted(self) -> list[Post]:
        return [post for post in self.posts if post.status == 200]

    @property
    def told(self) -> list[tuple[str, str]]:
        """Reason and spent dollars of each alert that was accepted, in order."""
        alerts = (alert for post in self.accepted for alert in post.data.get("alerts", [post.data]))
        return [(alert["reason"], (alert["money"] or {}).get("spent", "")) for alert in alerts]

    def __enter__(self) -> Hook:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class MailBox:
    """What a mail server took; `answer` is what it says to each mail."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.answer = "250 2.0.0 Kept"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        self.mails.append(envelope.content)
        return self.answer


@contextlib.contextmanager
def mail_server(box: MailBox, **settings: Any) -> Iterator[int]:
    """Its port on loopback."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port, **settings)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


# --- the program -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str


@dataclass
class Place:
    """A folder with a rules file, a private key file and a database, and the environment that names them."""

    folder: Path
    api_url: str
    key: str = KEY
    more: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        key_file = self.folder / "key"
        key_file.touch(mode=0o600)
        key_file.write_text(self.key)

    @property
    def database(self) -> Path:
        return self.folder / "state" / "budgetd.db"

    @property
    def rules(self) -> Path:
        return self.folder / "rules.yaml"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder),
            "NO_PROXY": "127.0.0.1,localhost",
            "BUDGETD_ADMIN_KEY_FILE": str(self.folder / "key"),
            "BUDGETD_API_URL": self.api_url,
            "BUDGETD_DATABASE": str(self.database),
            "BUDGETD_RULES": str(self.rules),
            # What most of these tests write is a bill alone.
            "BUDGETD_SOURCE": "cost_report",
            **self.more,
        }

    def write(self, channels: Mapping[str, Any], rules: Sequence[str], *more: str) -> None:
        """The rules file; each rule is one line of YAML, a channel its URL or its keys."""
        lines = ["version: 1", "channels:", *(f"  {name}: {json.dumps(url)}" for name, url in channels.items())]
        self.rules.write_text("\n".join([*lines, *more, "rules:", *(f"  - {rule}" for rule in rules), ""]))

    def run(self, *words: str) -> Ran:
        """The command in a process of its own, with this environment and no other."""
        done = subprocess.run(
            [sys.executable, "-m", "budgetd", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def state(self) -> Iterator[SqliteReader]:
        """What the database holds."""
        with contextlib.closing(open_read_only(self.database)) as reader:
            yield reader

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """This environment, and no setting of another one, for commands in this process."""
        for name in list(os.environ):
            if name.startswith("BUDGETD_") or name.lower().endswith("_proxy") or name == "ANTHROPIC_ADMIN_KEY":
                monkeypatch.delenv(name)
        for name, value in self.environment.items():
            if name not in ("PATH", "PYTHONPATH"):
                monkeypatch.setenv(name, value)
        monkeypatch.chdir(self.folder)
        # The question whether Apprise knows a URL takes a process and half a second; `check` is tested for it.
        monkeypatch.setattr(wiring, "explain_elsewhere", lambda _urls: {})


def here(capfd: pytest.CaptureFixture[str], *words: str) -> Ran:
    """The command in this process; see `Place.use` for its environment."""
    capfd.readouterr()
    with _own_logging():
        code = dispatch(words)
    written = capfd.readouterr()
    return Ran(code, written.out, written.err)


@contextlib.contextmanager
def _own_logging() -> Iterator[None]:
    """What a command sets up for its process is taken back from this one."""
    root = logging.getLogger()
    handlers, level, hooks = list(root.handlers), root.level, (sys.excepthook, threading.excepthook)
    try:
        yield
    finally:
        for handler in root.handlers:
            handler.flush()
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
        logging.raiseExceptions = True
        sys.excepthook, threading.excepthook = hooks


@dataclass
class Life:
    """The daemon's parts in this thread, from a start to its end; polls come when the test says so."""

    store: SqliteStore
    reader: Reader
    evaluator: Evaluator
    outbox: Outbox
    inbox: Inbox
    settings: Settings

    def poll(self, now: datetime) -> Ticked:
        """One whole pass at that time."""
        return tick(self.reader, self.evaluator, self.outbox, self.inbox, now)

    def reload(self, now: datetime) -> Changes:
        """What SIGHUP does."""
        rulebook = load(self.settings.rules, environment={})
        rulebook, moved = moving.change_over(self.store, self.evaluator.rulebook, rulebook, now)
        equipment = wiring.equip(rulebook)
        changes = self.evaluator.reload(rulebook, now)
        self.outbox.use(equipment.senders, equipment.flavours, moved)
        return changes


@contextlib.contextmanager
def living(place: Place, now: datetime = NOW) -> Iterator[Life]:
    """A start at that time: nothing is known but what the database holds."""
    settings = Settings.load(place.environment, place.folder)
    rulebook = load(settings.rules, environment={})
    equipment = wiring.equip(rulebook)
    inbox: Inbox = queue.SimpleQueue()
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(open_store(place.database, now)))
        evaluator = Evaluator(store, rulebook)
        (reader,) = stack.enter_context(wiring.connected(settings, store.recall(), evaluator))
        wiring.take_up(store, evaluator, now)
        lanes = InThisThread(equipment.senders, inbox.put)
        outbox = Outbox(store, evaluator, lanes, equipment.flavours, Random(1))
        yield Life(store, reader, evaluator, outbox, inbox, settings)


@contextlib.contextmanager
def running(place: Place, more: Mapping[str, str] = MappingProxyType({})) -> Iterator[subprocess.Popen[str]]:
    """The daemon; at the end it is asked to stop, and does so in time."""
    process = subprocess.Popen(
        [sys.executable, "-m", "budgetd", "run"],
        cwd=place.folder,
        env={**place.environment, **more},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0, process.communicate()[1]
    finally:
        process.kill()
        process.communicate()


def query(post: Post) -> dict[str, list[str]]:
    """The query of a post's address."""
    return parse_qs(urlsplit(post.path).query)


def until(condition: Callable[[], object], seconds: float = 10.0, *, pause: float = 0.01) -> None:
    """Wait until it is so, looking again after each pause (seconds). Raises AssertionError when it takes too long."""
    end = clock.monotonic() + seconds
    never = threading.Event()
    while not condition():
        assert clock.monotonic() < end, "it did not come to that in time"
        never.wait(pause)
