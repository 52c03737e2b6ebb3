"""The admin key and the secrets of every channel, planted, and looked for in everything that leaves the program."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from aiosmtpd.smtp import AuthResult

from budgetd import clock, logs
from budgetd.channels import apprise
from budgetd.commands import wiring
from budgetd.http import Api, Bounds
from budgetd.simulator import worlds
from budgetd.simulator.clocks import FixedClock
from budgetd.simulator.faults import Fault, FaultScript
from budgetd.simulator.server import SimulatedServer, serve
from budgetd.sources.cost_report import CostReport
from tests.api_faults import AT, NOW, REFUSED, TAKEN, Played
from tests.cost_client import ECHOES, KEY
from tests.faulty_server import FaultyServer
from tests.living import Bill, Hook, MailBox, Place, Ran, here, mail_server, query, until
from tests.tls_proxy import Request as SlackRequest
from tests.tls_proxy import TlsProxy, http_answer, tls_proxy

pytestmark = [
    pytest.mark.network,
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),
]

RULES = [
    "{id: company, type: cap, limit: 500, per: month}",
    "{id: each, type: cap, limit: 100, per: month, for_each: workspace}",
]
# Every secret holds this word; nothing else does.
WORD = "CANARY"
LOGIN = "CANARYuser:CANARYjson%2Fpassword@"
HOOK = "/CANARYpath?+X-Token=CANARYheader&-key=CANARYquery"
MAIL = "CANARYlogin:CANARYmail%40password@"
SLACK = "T0CANARY1/B0CANARY2/CANARYslack0123456789abc"
SIGNING = "whsec_" + "CANARYsigning".ljust(32, "A")
PAGER = "CANARYpagerdutykey".ljust(32, "0")
SECRETS = [KEY, *LOGIN.strip("@").split(":"), *MAIL.strip("@").split(":"), *SLACK.split("/"), LOGIN, MAIL]
ENCODED = [base64.b64encode(text.encode()).decode().rstrip("=")[:16] for text in SECRETS]


def leaks(text: str | bytes) -> list[str]:
    """What in the text is or may be a secret, with what stands around it."""
    shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    low = shown.lower().replace("test_canary", "this file")
    places = [low.find(word.lower()) for word in (WORD, quote(WORD), *ENCODED)]
    return [low[max(0, place - 60) : place + 60] for place in places if place >= 0]


@dataclass
class Scene:
    """An installation with three channels, their servers, the simulated API, and all that any of them showed."""

    place: Place
    api: SimulatedServer
    hook: Hook
    mail: MailBox
    slack: TlsProxy
    capfd: pytest.CaptureFixture[str]
    shown: dict[str, str] = field(default_factory=dict)

    def run(self, name: str, *words: str) -> Ran:
        ran = here(self.capfd, *words)
        self.shown[f"{name}: {' '.join(words)}"] = ran.out + ran.err
        return ran

    def once(self, name: str) -> Ran:
        return self.run(name, "once", "--at", AT)

    def look_around(self) -> None:
        """Every command that shows something."""
        for words in (
            ["status"],
            ["status", "--json"],
            ["status", "--all"],
            ["alerts"],
            ["alerts", "--json"],
            ["check"],
        ):
            self.run("afterwards", *words)
        for incident in json.loads(self.shown["afterwards: alerts --json"]):
            self.run("afterwards", "alerts", "show", incident["incident"])
            self.run("afterwards", "alerts", "show", incident["incident"], "--json")

    def nothing_leaked(self) -> None:
        evidence: dict[str, str | bytes] = dict(self.shown)
        evidence |= {f"file {file.name}": file.read_bytes() for file in self.place.database.parent.rglob("*.db*")}
        evidence |= {f"hook's body {number}": post.body for number, post in enumerate(self.hook.posts)}
        evidence |= {f"mail {number}": mail for number, mail in enumerate(self.mail.mails)}
        evidence |= {f"slack's body {number}": request.body for number, request in enumerate(self.slack.requests)}
        found = {name: leaks(content) for name, content in evidence.items()}
        assert {name: leak for name, leak in found.items() if leak} == {}
        assert len(evidence) > 10
        # What plug-ins complain of names their URLs; it is for receipts, scrubbed, and never for the log.
        assert not [name for name, text in self.shown.items() if "Failed to send" in text]

    def nobody_else_was_told(self) -> None:
        """The key went to the API alone, and each channel's secrets to that channel alone."""
        for post in self.hook.posts:
            assert "CANARY-0123" not in f"{post.path}{post.headers}"
            assert "slack" not in post.path
        for request in self.slack.requests:
            assert "CANARY-0123" not in f"{request.line}{request.headers}"
        for exchange in list(self.api.exchanges):
            assert not leaks(f"{exchange.request}")


@pytest.fixture(scope="module")
def api() -> Iterator[SimulatedServer]:
    with serve(worlds.standard(around=NOW.date()), clock=FixedClock(NOW), faults=FaultScript(), key=KEY) as server:
        yield server


@pytest.fixture
def scene(
    api: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Scene]:
    box = MailBox()
    monkeypatch.setattr(
        wiring, "Api", partial(Api, bounds=Bounds(request_seconds=0.15, attempts=2), sleep=lambda _: None)
    )
    monkeypatch.setattr(apprise, "LONGEST_PAUSE", 0.0)
    monkeypatch.setattr(logging.getLogger("mail.log"), "disabled", True)  # the mail server of this test, not budgetd
    takes_any_login = {"authenticator": lambda *_: AuthResult(success=True), "auth_require_tls": False}
    with Hook() as hook, mail_server(box, **takes_any_login) as port, tls_proxy(tmp_path) as slack:
        place = Place(tmp_path / "installed", api.url)
        place.more = {"HTTPS_PROXY": slack.url, "REQUESTS_CA_BUNDLE": str(slack.ca_file)}
        place.more |= {"HOOK": hook.url(HOOK, LOGIN), "MAIL_LOGIN": MAIL, "SLACK": SLACK}
        mail = f"mailto://${{MAIL_LOGIN}}127.0.0.1:{port}?from=budgetd@example.com&to=finance@example.com&mode=insecure"
        place.write({"audit": "${HOOK}", "finance": mail, "team": "slack://${SLACK}"}, RULES)
        place.use(monkeypatch)
        _loud(monkeypatch)
        yield Scene(place, api, hook, box, slack, capfd)
    api.faults.set()


def _loud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is logged, down to the last detail."""
    quiet = logs.set_up

    def set_up(format: str) -> None:
        quiet(format)
        for name in ("", "budgetd", "asyncio"):
            logging.getLogger(name).setLevel(1)

    monkeypatch.setattr(logs, "set_up", set_up)


# --- the API -----------------------------------------------------------------------------------

FORMATS = ("json", "logfmt", "pretty", "journald")


@pytest.mark.parametrize("format", FORMATS)
def test_no_fault_of_the_api_brings_a_secret_to_light(
    format: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUDGETD_LOG", format)
    assert scene.once("at first").code == 0, scene.shown
    table: tuple[Played, ...] = (*REFUSED, *TAKEN)
    for played in table[FORMATS.index(format) :: len(FORMATS)]:
        scene.api.faults.set(played.fault)
        scene.once(played.name)
    scene.run("rehearsed", "once", "--at", AT, "--dry-run")
    scene.look_around()
    scene.nothing_leaked()
    scene.nobody_else_was_told()
    assert len(scene.hook.posts) == len(scene.slack.requests)


@pytest.mark.parametrize("format", FORMATS[:2])
def test_an_api_that_repeats_the_key_brings_it_to_light_nowhere(
    format: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUDGETD_LOG", format)
    assert scene.once("at first").code == 0
    with Bill(today=NOW.date()) as bill:
        monkeypatch.setenv("BUDGETD_API_URL", bill.url)
        # Another organisation's database: the bill's is not the simulated one's.
        monkeypatch.setenv("BUDGETD_DATABASE", str(scene.place.database.with_name("second.db")))
        for number, (script, _) in enumerate(ECHOES):
            bill.faults = [script]
            assert scene.once(f"echo {number}").code == 1
    scene.look_around()
    scene.nothing_leaked()


def test_a_workspace_that_is_called_like_the_key_is_refused_or_masked(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever knows the key could not show it to everybody by naming a workspace so."""
    with Bill(today=NOW.date()) as bill:
        monkeypatch.setenv("BUDGETD_API_URL", bill.url)
        bill.names = {"wrkspc_a": f"x {KEY}", KEY: "y"}
        bill.spend(NOW.date().replace(day=2), "1000000")
        scene.once("named like the key")
    scene.look_around()
    scene.nothing_leaked()


def test_a_redirect_takes_neither_the_key_nor_a_message_to_another_host(scene: Scene) -> None:
    with FaultyServer([]) as canary:
        scene.api.faults.set(Fault("redirect", f"{canary.url}/v1"))
        assert scene.once("api").code == 1
        scene.api.faults.set()
        for status in (301, 302, 303, 307, 308):
            scene.hook.otherwise, scene.hook.headers = status, {"Location": f"{canary.url}/steal"}
            moved = http_answer(status, b"", f"Location: {canary.url}/steal")
            scene.slack.answer = lambda _, moved=moved: moved  # type: ignore[misc]
            scene.run(f"{status}", "notify")
            scene.once(f"{status}")
    assert canary.connections == 0
    scene.look_around()
    scene.nothing_leaked()


def test_an_unforeseen_error_is_logged_with_its_traceback_and_without_the_key(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    class UnforeseenError(Exception):
        """Nothing expects this one."""

    def read(source: CostReport, *_: object) -> None:
        raise UnforeseenError(
            f"at {KEY} and {scene.hook.url(HOOK, LOGIN).partition('?')[0].replace('/CANARYpath', '')}"
        )

    monkeypatch.setattr(CostReport, "read", read)
    for form in FORMATS:
        monkeypatch.setenv("BUDGETD_LOG", form)
        ran = scene.once(form)
        assert ran.code == 1
        assert "Traceback" in ran.err
        assert "UnforeseenError" in ran.err
    scene.look_around()
    scene.nothing_leaked()


# --- the channels ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500])
def test_no_answer_of_a_channel_brings_a_secret_to_light(
    status: int, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUDGETD_LOG", FORMATS[status % 2])
    scene.hook.otherwise = status
    scene.hook.says = f"no: {LOGIN} {HOOK} {LOGIN.lower()} {query_of(HOOK)}".encode() if status != 200 else b"ok"
    scene.slack.answer = lambda request: http_answer(status, _slack_says(status, request))
    scene.mail.answer = "250 ok" if status == 200 else f"550 5.7.1 no: {MAIL} {MAIL.lower()}"
    ran = scene.run("test message", "notify")
    assert ran.code == (0 if status == 200 else 1), ran
    for hours in (0, 1, 5):
        scene.run("pass", "once", "--at", AT.replace("T12", f"T{12 + hours:02}"))
    assert {query(post)["key"][0] for post in scene.hook.posts} == {"CANARYquery"}
    scene.look_around()
    scene.nothing_leaked()
    scene.nobody_else_was_told()


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429, 500])
def test_no_answer_of_a_native_channel_brings_a_secret_to_light(
    status: int, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUDGETD_LOG", FORMATS[status % 2])
    monkeypatch.setenv("WEBHOOK", scene.hook.url(HOOK, LOGIN).replace("json://", "webhook://"))
    monkeypatch.setenv("SIGNING", SIGNING)
    monkeypatch.setenv("PAGER", PAGER)
    audit = {"url": "${WEBHOOK}", "secret": ["${SIGNING}"]}
    channels = {"audit": audit, "pager": "pagerduty://${PAGER}@budgetd"}
    scene.place.write(channels, RULES, "routes: [{notify: [audit, pager]}]")
    scene.hook.otherwise = status
    scene.hook.says = (
        f"no: {LOGIN} {HOOK} {SIGNING} {SIGNING[6:]} {query_of(HOOK)}".encode() if status != 200 else b"ok"
    )
    scene.hook.headers = {"Location": f"https://{LOGIN}x.example{HOOK}"}
    answered = 202 if status == 200 else status
    scene.slack.answer = lambda request: http_answer(
        answered, b"no: " + request.body[:120], f"Location: https://{PAGER}/"
    )
    assert scene.run("test message", "notify").code == (0 if status == 200 else 1)
    for hours in (0, 1, 5):
        scene.run("pass", "once", "--at", AT.replace("T12", f"T{12 + hours:02}"))
    assert {query(post)["-key"][0] for post in scene.hook.posts} == {"CANARYquery"}
    assert {post.headers["webhook-signature"][:3] for post in scene.hook.posts} == {"v1,"}
    scene.look_around()
    pages = [request.body for request in scene.slack.requests]
    scene.slack.requests.clear()  # the one place where the pager's key belongs
    assert {json.loads(page)["routing_key"] for page in pages} == {PAGER}
    assert not [page for page in pages if leaks(page.replace(PAGER.encode(), b""))]
    scene.nothing_leaked()
    scene.nobody_else_was_told()


def query_of(rest: str) -> str:
    return rest.partition("?")[2]


def _slack_says(status: int, request: SlackRequest) -> bytes:
    return b"ok" if status == 200 else f"no: {SLACK} {request.line}".encode()


def test_a_mail_server_that_refuses_the_login_and_repeats_it_leaks_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = {
        "authenticator": lambda *_: AuthResult(success=False, handled=True, message=f"535 5.7.8 no: {MAIL}"),
        "auth_required": True,
        "auth_require_tls": False,
    }
    with mail_server(MailBox(), **refused) as port:
        mail = f"mailto://${{MAIL_LOGIN}}127.0.0.1:{port}?to=finance@example.com&mode=insecure"
        scene.place.write({"audit": "${HOOK}", "finance": mail}, RULES)
        assert scene.run("test message", "notify").code == 1
        assert scene.once("pass").code == 1
    scene.look_around()
    scene.nothing_leaked()


# --- the process -------------------------------------------------------------------------------


def _family(pid: int) -> Iterator[int]:
    """The process and those that it started."""
    yield pid
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from _family(int(child))


@pytest.mark.parametrize("given", ["file", "credential"])
def test_no_secret_is_in_arguments_environment_or_output_of_the_daemon(given: str, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    seen: dict[str, bytes] = {}
    world = worlds.standard(around=clock.now().date())
    with serve(world, clock=clock.now, faults=FaultScript(), key=KEY) as api, Hook() as hook:
        place = Place(tmp_path / "installed", api.url)
        secrets = {"audit_url": hook.url(HOOK, LOGIN), "slack_tokens": SLACK, "admin_key": KEY}
        for name, text in secrets.items():
            (credentials / name).touch(mode=0o600)
            (credentials / name).write_text(text)
        place.write({"audit": "${AUDIT_URL}", "team": "slack://${SLACK_TOKENS}"}, RULES, "routes: [{notify: [audit]}]")
        environment = {**place.environment, "CREDENTIALS_DIRECTORY": str(credentials), "BUDGETD_POLL_EVERY": "1s"}
        if given == "credential":
            del environment["BUDGETD_ADMIN_KEY_FILE"]
        with (tmp_path / "output").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "budgetd", "run"],
                cwd=place.folder,
                env=environment,
                stdout=output,
                stderr=output,
            )
        try:
            until(lambda: _look(process.pid, seen) and hook.posts, 20)
            api.faults.set(Fault("redirect", "https://elsewhere.example.com/"))
            known = len(api.exchanges)
            until(lambda: len(api.exchanges) > known and _look(process.pid, seen))
        finally:
            process.terminate()
            assert process.wait(5) == 0
        seen["output"] = (tmp_path / "output").read_bytes()
        seen |= {file.name: file.read_bytes() for file in place.database.parent.iterdir() if file.is_file()}
        seen |= {f"body {number}": post.body for number, post in enumerate(hook.posts)}
    assert {name: leaks(content) for name, content in seen.items() if leaks(content)} == {}
    assert sum(name.startswith("environ") for name in seen) >= 1
    assert any(b"budgetd.channels.explain" in content for name, content in seen.items() if name.startswith("cmdline"))


def _look(pid: int, seen: dict[str, bytes]) -> bool:
    """Keep what everybody on this machine (arguments) and this user (environment) can read of the processes."""
    for member in _family(pid):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                content = Path(f"/proc/{member}/{name}").read_bytes()
                seen[f"{name} {member} {len(content)}"] = content
    return True
