"""A token planted in every place of every kind of URL, native and Apprise's, and looked for in all that is shown.

The services repeat all that they are told: address, headers, body. A new kind of channel without a URL here fails.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest

from budgetd import logs
from budgetd.channels import registry
from budgetd.commands import wiring
from budgetd.message import Message
from budgetd.model import Receipt
from budgetd.rulebook import RulebookError, parse
from tests.api_faults import AT
from tests.living import _own_logging
from tests.mail_server import scripted
from tests.test_canary import PAGER, RULES, SIGNING, SLACK, Scene, api, scene  # noqa: F401 (fixtures)
from tests.test_message import notice, read
from tests.tls_proxy import Request, http_answer

pytestmark = [pytest.mark.network, pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")]

LOGIN = "CANARYuser:CANARYpass%2Fword@"
BOT = "xoxb-1234-CANARY-botCANARY"
NATIVE = {
    "mailto": f"mailto://{LOGIN}127.0.0.1:{{mail}}?from=budgetd@example.com&to=finance@example.com&mode=insecure",
    "pagerduty": f"pagerduty://{PAGER}@budgetd",
    "slack": f"slack://{BOT}/#alerts",
    "slack, a webhook": f"slack://{SLACK}",
    "webhook": f"webhooks://{LOGIN}hook.example.com/CANARYpath/t?key=CANARYquery",
    "alertmanager": f"alertmanagers://{LOGIN}am.example.com/CANARYpath",
    "workflow": "workflows://teams.example.com/CANARYworkflow/CANARYsignature?pa=yes&route=19",
    "console": "console://?format=json",
}
# A user and password, a token in the host's place, in the path, in the query, in headers that the URL adds.
APPRISE = {
    "json": f"jsons://{LOGIN}json.example.com/CANARYpath?-k=CANARYquery&+X-Token=CANARYheader",
    "ntfy": f"ntfys://{LOGIN}ntfy.example.com/topic",
    "ntfy, a token": "ntfys://ntfy.example.com/topic?auth=token&token=tk_CANARYtoken",
    "discord": "discord://123456789012345678/CANARYdiscordtoken",
    "tgram": "tgram://123456789:AAbbCANARYEEffGGhhIIjjKKllMMnnOOppQQr/12315544/",
    "gotify": "gotifys://gotify.example.com/CANARYgotify12",
    "matrix": f"matrixs://{LOGIN}matrix.example.com/#room?mode=matrix",
    "pover": "pover://CANARYuserkey0123456789abcdefg@CANARYtoken0123456789abcdefghi",
    "form": f"forms://{LOGIN}form.example.com/CANARYpath?-k=CANARYquery",
    "ifttt": "ifttt://CANARYiftttid@event",
}
URLS = {name: url for name, url in NATIVE.items() if url.partition("://")[0] in registry.SCHEMES} | APPRISE
# How CANARY begins, and what of it base64 shows at each of its three places: half a secret is a leak, too.
START, ENCODED = "cana", ("Q0FOQV", "NBTkFS", "DQU5BU")


def shows(text: str | bytes) -> list[str]:
    """The secrets in it, or parts of them, with what stands before."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    words = words.replace("test_canary", "these tests")
    places = [words.lower().find(START), *map(words.find, ENCODED)]
    return [words[max(0, place - 60) : place + 30] for place in places if place >= 0]


def channels(port: int) -> dict[str, Any]:
    """All of them, as a rules file has them; those that sign do."""
    made: dict[str, Any] = {}
    for number, (name, url) in enumerate(URLS.items()):
        secret = {"secret": [SIGNING]} if registry.signs(url) else {}
        made[f"c{number}-{name.partition(',')[0]}"] = {"url": url.replace("{mail}", str(port)), **secret}
    return made


def repeats(status: int) -> Any:
    """A service that says everything that it was told, and sends on to there."""

    def answer(request: Request) -> bytes:
        told = f"{request.line} {request.headers} ".encode() + request.body[:600]
        again = " ".join(told.decode("latin-1").split())
        return http_answer(status, again.encode("latin-1"), f"Location: https://{LOGIN}evil.example/CANARYpath")

    return answer


@pytest.fixture
def planted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:  # noqa: F811
    refused = "550 5.7.1 CANARYuser CANARYpass/word Q0FOQVJZdXNlcg is refused"
    with scripted({"AUTH": "235 ok", "MAIL": refused}) as mail:
        names = channels(mail.port)
        scene.place.write(names, RULES, f"routes: [{{notify: [{', '.join(names)}]}}]")
        scene.place.more["HTTPS_PROXY"] = scene.slack.url
        scene.place.use(monkeypatch)
        yield scene


def nothing_is_shown(scene: Scene) -> None:  # noqa: F811
    scene.look_around()
    evidence: dict[str, str | bytes] = dict(scene.shown)
    evidence |= {file.name: file.read_bytes() for file in scene.place.database.parent.rglob("*.db*")}
    assert {name: shows(text) for name, text in evidence.items() if shows(text)} == {}


def test_every_kind_of_channel_has_a_url_here() -> None:
    served = {registry.native(url) for url in URLS.values()} - {None}
    assert served == set(registry.KINDS)
    for url in URLS.values():
        assert registry.explain(url.replace("{mail}", "25")) is None, url.partition(":")[0]


SLOW = pytest.mark.slow


@pytest.mark.parametrize("status", [500, *(pytest.param(status, marks=SLOW) for status in (200, 302, 401))])
def test_no_service_that_repeats_what_it_was_told_brings_a_secret_to_light(
    status: int, planted: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUDGETD_LOG", "json" if status == 500 else "logfmt")
    planted.slack.answer = repeats(status)
    assert planted.run("test message", "notify").code == 1
    for hour in (12, 17):
        planted.run("pass", "once", "--at", AT.replace("T12", f"T{hour}"))
    hosts = {request.host for request in planted.slack.requests}
    assert len(hosts) > 9, hosts
    assert len([text for text in planted.shown if "once" in text]) == 2
    nothing_is_shown(planted)


def test_nor_does_a_network_that_is_not_there(planted: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://CANARYuser:CANARYpass%2Fword@127.0.0.1:9")
    assert planted.run("test message", "notify").code == 1
    planted.once("pass")
    nothing_is_shown(planted)


class UnforeseenError(Exception):
    """Nothing expects this one."""


def test_an_unforeseen_error_of_a_channel_is_logged_without_its_secrets(
    planted: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It ends the channel's thread; what is logged of it names no secret, whatever it was made of."""
    found = channels(25)
    text = json.dumps(
        {"version": 1, "channels": found, "rules": [{"id": "r", "type": "cap", "limit": 1, "per": "day"}]}
    )
    equipment = wiring.equip(parse(text, "rules.yaml", environment={}))

    class Broken:
        def __init__(self, sender: Any, url: str) -> None:
            self.sender, self.url = sender, url

        def send(self, message: Message, _deadline: float) -> Receipt:
            raise UnforeseenError(f"{self.url} {unquote(self.url)} {vars(self.sender)}")

    with _own_logging():
        logs.set_up("logfmt")
        for name, sender in equipment.senders.items():
            with pytest.raises(UnforeseenError) as raised:
                Broken(sender, found[name]["url"]).send(read(notice()), 1)
            sys.excepthook(raised.type, raised.value, raised.tb)
    shown = capfd.readouterr().err
    assert shown.count("UnforeseenError") >= len(found)
    assert shows(shown) == []


# --- mistakes in the rules file ----------------------------------------------------------------------

MISTAKES = {
    "another scheme": lambda url: f"channels: {{a: '{url.replace('://', 'x://', 1)}'}}",
    "no scheme": lambda url: f"channels: {{a: '{url.partition('://')[2]}'}}",
    "a broken URL": lambda url: f"channels: {{a: '{url.replace('://', '://[', 1)}'}}",
    "a list": lambda url: f"channels: {{a: ['{url}']}}",
    "a key too many": lambda url: f"channels: {{a: {{url: '{url}', urll: '{url}'}}}}",
    "twice": lambda url: f"channels:\n  a: '{url}'\n  a: '{url}'",
    "as a channel's name": lambda url: f"channels: {{'{url}': '{url}'}}",
    "where a channel is named": lambda url: f"channels: {{a: 'json://127.0.0.1'}}\nroutes: [{{notify: ['{url}']}}]",
    "as a fallback": lambda url: f"channels: {{a: {{url: '{url}', fallback: ['{url}']}}}}",
    "as a wait": lambda url: f"channels: {{a: {{url: '{url}', fallback: [a], after: '{url}'}}}}",
    "no YAML": lambda url: f"channels: {{a: '{url}\n",
    "a tab": lambda url: f"channels:\n\ta: '{url}'",
    "at the top": lambda url: f"'{url}': 1\nchannels: {{}}",
    "unquoted": lambda url: f"channels: {{a: {url}}}",
    "as a secret": lambda url: f"channels: {{a: {{url: 'json://127.0.0.1', secret: '{url}'}}}}",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_rules_file_is_told_without_the_secret_beside_it(mistake: str) -> None:
    for name, url in URLS.items():
        text = f"version: 1\n{MISTAKES[mistake](url.replace('{mail}', '25'))}\nrules: [{RULES[0]}]\n"
        with contextlib.suppress(RulebookError):
            # Some of them are no mistake for some of the kinds.
            told = parse(text, "rules.yaml", environment={}).warnings
            assert shows("\n".join(map(str, told))) == [], name
            continue
        with pytest.raises(RulebookError) as raised:
            parse(text, "rules.yaml", environment={})
        assert shows("\n".join([str(raised.value), *map(str, vars(raised.value).values())])) == [], name
