"""Which kind of channel is sent by what; and signing secrets in rules.yaml."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from budgetd.channels import registry
from budgetd.channels.apprise import AppriseSender
from budgetd.channels.elsewhere import ask
from budgetd.channels.explain import explain_elsewhere
from budgetd.channels.mail import MailSender
from budgetd.channels.pagerduty import PagerDutySender
from budgetd.channels.webhook import WebhookSender
from budgetd.commands.wiring import equip
from budgetd.message import Flavour
from budgetd.rulebook import Rulebook, RulebookError, parse
from budgetd.rulefile.references import is_pager
from tests.faulty_server import FaultyServer, answer

ROOT = Path(__file__).parent.parent
KEY = "0123456789abcdef0123456789abcdef"
SECRET, OLD = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (7, 8))
CANARY = "CANARYs3cr3t"


def book(channel: str, **environment: str) -> Rulebook:
    text = f"version: 1\nchannels:\n  audit: {channel}\nrules:\n  - {{id: a, type: cap, limit: 5, per: day}}\n"
    return parse(text, "rules.yaml", environment=environment, explain=registry.explain)


def refused(channel: str, **environment: str) -> str:
    with pytest.raises(RulebookError) as caught:
        book(channel, **environment)
    return str(caught.value)


# --- the registry ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("webhook://127.0.0.1/x", WebhookSender),
        ("WebHooks://example.com/x", WebhookSender),
        (f"pagerduty://{KEY}@budgetd", PagerDutySender),
        ("json://127.0.0.1/x", AppriseSender),
        ("mailto://a:b@example.com", MailSender),
        ("mailto://a:b@example.com?pgp=sign", AppriseSender),
        ("nothing", AppriseSender),
    ],
)
def test_a_kind_of_url_has_its_sender(url: str, kind: type) -> None:
    assert type(registry.sender(url)) is kind


def test_every_kind_is_there_once_and_in_the_docs() -> None:
    words = [word for kind in registry.KINDS for word in kind.schemes]
    docs = (ROOT / "docs/channels.md").read_text()
    assert len(words) == len(set(words))
    assert {word for word in words if f"`{word}://" not in docs} == set()


def test_flavours_and_pagers_are_the_kinds_own() -> None:
    assert registry.flavour("slack://a/b/c") is Flavour.SLACK
    assert registry.flavour("webhook://x") is Flavour.TEXT
    assert [is_pager(url) for url in (f"pagerduty://{KEY}@x", "opsgenie://x", "webhooks://x/y")] == [True, True, False]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("webhooks:///x", "no host"),
        ("pagerduty://budgetd", "integration key is missing"),
        ("webhok://x.example/y", "did you mean webhook://?"),
        ("https://x.example/y", "did you mean webhooks://?"),
        ("json://", "Apprise cannot use this json:// URL"),
    ],
)
def test_native_and_foreign_urls_are_explained_in_one_place(url: str, words: str) -> None:
    explanation = registry.explain(url)
    assert explanation is not None
    assert words in explanation
    assert explain_elsewhere([url, "webhook://127.0.0.1", "json://127.0.0.1"]) == {url: explanation}


def test_sending_will_tell_where_apprise_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask("budgetd.channels.no_such_module", ["json://"]) is None
    monkeypatch.setattr(sys, "executable", "/nowhere")
    assert explain_elsewhere(["json://", "webhooks:///x"]).keys() == {"webhooks:///x"}


def test_nobody_is_asked_where_everything_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere")
    assert explain_elsewhere(["webhook://127.0.0.1", "webhooks:///x"]).keys() == {"webhooks:///x"}


@pytest.mark.parametrize("url", ["webhooks:///x", "webhook://[x/", f"pagerduty://{KEY}@[x"])
def test_a_url_that_cannot_be_used_has_secrets_and_no_oddities(url: str) -> None:
    assert registry.explain(url) is not None
    assert registry.remark(url) is None
    assert registry.secrets(url).forms or url == "webhooks:///x"


@pytest.mark.network
def test_native_channels_never_load_apprise() -> None:
    code = """
import sys
from datetime import datetime, UTC
from budgetd.channels import registry
from budgetd.message import render
from budgetd.rulebook import parse
from tests.test_message import notice, read
assert "httpcore" not in sys.modules, "rules are read without it"
assert registry.explain(sys.argv[1]) is None
print(registry.sender(sys.argv[1]).send(read(notice()), 5).outcome)
sys.exit("apprise" in sys.modules or "requests" in sys.modules or "httpx" in sys.modules)
"""
    with FaultyServer([answer({})]) as server:
        url = f"webhook://127.0.0.1:{server.port}/x"
        done = subprocess.run(
            [sys.executable, "-c", code, url], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
        )
    assert (done.returncode, done.stdout.strip()) == (0, "delivered"), done.stderr


# --- secrets in rules.yaml ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secret", "wanted"),
    [
        (SECRET, (SECRET,)),
        ("'${AUDIT_SECRET}'", (SECRET,)),
        ("['${AUDIT_SECRET}', '${OLD_SECRET}']", (SECRET, OLD)),
        (f"[{OLD}]", (OLD,)),
    ],
)
def test_a_channel_has_one_secret_or_two(secret: str, wanted: tuple[str, ...]) -> None:
    found = book(f"{{url: webhooks://a.example/x, secret: {secret}}}", AUDIT_SECRET=SECRET, OLD_SECRET=OLD)
    assert found.channels["audit"].secrets == wanted
    assert found.warnings == ()
    assert SECRET not in repr(found)
    assert type(equip(found).senders["audit"]) is WebhookSender


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ("{url: webhooks://a.example/x, secret: %s}", "rules.yaml:3:48: a signing secret starts with whsec_"),
        ("{url: webhooks://a.example/x, secret: whsec_%s!}", "what follows whsec_ in a signing secret is base64"),
        ("{url: webhooks://a.example/x, secret: [%s]}", "rules.yaml:3:49: a signing secret starts with"),
        ("{url: webhooks://a.example/x, secret: '${%s}'}", "rules.yaml:3:48: ${CANARYs3cr3t}: "),
        ("{url: webhooks://a.example/x, secret: [%s, b, c]}", "at most two secrets"),
        ("{url: webhooks://a.example/x, secret: []}", "not an empty list"),
        ("{url: webhooks://a.example/x, secret: ''}", "not an empty text"),
        ("{url: webhooks://a.example/x, secret: {a: b}}", "expected a word"),
        ("{url: json://a.example/x, secret: %s}", "rules.yaml:3:36: only webhook:// and webhooks:// sign"),
        (f"{{url: 'pagerduty://{KEY}@x', secret: [%s]}}", "only webhook:// and webhooks:// sign"),
        ("{url: webhooks://a.example/x, secrets: %s}", 'did you mean "secret"'),
    ],
)
def test_a_wrong_secret_is_told_at_its_place(channel: str, message: str) -> None:
    assert message in refused(channel.replace("%s", CANARY))


def test_a_secret_from_the_environment_is_in_no_complaint() -> None:
    text = refused("{url: webhooks://a.example/x, secret: '${AUDIT_SECRET}'}", AUDIT_SECRET=f"whsec_{CANARY}!")
    assert "is base64" in text
    assert CANARY not in text


def test_an_unsigned_webhook_is_a_warning_at_its_name() -> None:
    (warning,) = book("webhooks://a.example/x").warnings
    assert str(warning).startswith("rules.yaml:3:3: ")
    assert "without `secret:` nothing is signed" in str(warning)
