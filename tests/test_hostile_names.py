"""Names of any kind on every kind of channel: no limit is broken, nothing is mentioned, linked or injected.

Each message goes through the channel's own sender up to the wire, where it is kept instead of sent. A kind without a
check of its own here fails.
"""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from budgetd import posting
from budgetd.channels import apprise, registry, smtp
from budgetd.channels.slack import SlackSender
from budgetd.message import Flavour, Message, render_safely
from budgetd.model import (
    Comparison,
    Contributor,
    Delivery,
    Face,
    Facts,
    Increase,
    Kind,
    Label,
    Mover,
    Outcome,
    Reason,
    Receipt,
    Severity,
)
from budgetd.payload import COST_REPORT
from budgetd.schema import webhook_schema
from tests.chart_stories import CAP, JUMP
from tests.slack_server import TOKEN
from tests.teams_card import problems
from tests.test_face_mail import HEADERS, nothing_injected
from tests.test_faces_slack import harmless
from tests.test_message import FACTS, NOW, RATE, SAID, SPIKE, notice, unseen

HOSTILE = [
    *("<!channel> <!here|here>", "@everyone @here @channel", "<@U012AB3CD> <#C1|general> <at>all</at>"),
    *("[Open the cost report](https://evil.example)", "<https://evil.example|Open>", "https://evil.example/login"),
    *("*bold* _it_ ~gone~ `code` ``` ||spoiler||", ":skull: {{ id }} ${HOME} $(id) %s {0} #{x}"),
    *("<script>alert(1)</script> & \" '", "<img src=x onerror=alert(1)>", "--></style></script>&lt;!channel&gt;"),
    *("a\r\nBcc: thief@example.com\r\n\r\nx", "=?utf-8?q?=0d=0aBcc=3a_x?=", "\r\n.\r\nMAIL FROM:<x@y>"),
    *("\u202egnp.exe\u202c \u2066x\u2069 \u200b\u200d\ufeff\u00ad", "\x00\x1b[31m\x07\x7f\x85\u2028\u2029"),
    *("\ud800 lone \udfff", "👩‍👩‍👧‍👦" * 60, "𝔘𝔫𝔦" * 900, "e" + "\u0301" * 2_000),
    *("x" * 10_000, "&" * 10_000, "<" * 10_000, "`" * 10_000, "\n" * 10_000, "\\" * 10_000, '"' * 10_000),
    *("研" * 10_000, "\u202e" * 10_000, "\ud800" * 10_000, " ", "", "\u3164\u2800"),
]
NAMES = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(alphabet=st.characters(codec=None), max_size=60),
    st.text(alphabet="<>!@#|&;`*_~:.-/\\[](){}=?$%\"' \n\r\x00\u202e\ud800aC1😀", max_size=80),
    st.lists(st.sampled_from(HOSTILE[:18]), max_size=4).map("".join),
)


def named(facts: Facts, first: str, second: str) -> Facts:
    """The facts with these names wherever a name from outside can stand."""
    return replace(
        facts,
        organisation=second,
        rule=first or "r",
        scope=(Label("workspace", first, first), Label("description", second, second)),
        contributors=tuple(Contributor(first, second, Decimal(n)) for n in range(1, 9)),
        text=first * 3 if facts.amount is None else "",
        comparison=facts.comparison and Comparison(second, Decimal(3), Decimal(2)),
        increase=Increase(
            second,
            Decimal(100),
            Decimal(900),
            movers=(
                Mover("model", first, Decimal(0), Decimal(500), second),
                Mover("workspace", second, Decimal(1), Decimal(9)),
            ),
        ),
    )


BROKEN_SOURCE = Facts("Acme", "budgetd:blind", "blind", (Label("source", "cost_report", "cost report"),))
FACTS_OF = [FACTS, CAP, JUMP, RATE, SPIKE, BROKEN_SOURCE]


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    """One or several notices with hostile names, in any face."""
    first, second = draw(NAMES), draw(NAMES)
    facts, reason, kind = draw(st.sampled_from(FACTS_OF)), draw(st.sampled_from(SAID)), draw(st.sampled_from(Kind))
    return delivery(
        first, second, facts, reason, kind, draw(st.sampled_from([1, 1, 2, 14])), draw(st.sampled_from(Face))
    )


def delivery(
    first: str,
    second: str,
    facts: Facts = FACTS,
    reason: Reason = Reason.STEP_REACHED,
    kind: Kind = Kind.TRIGGER,
    count: int = 1,
    face: Face = Face.RICH,
) -> Delivery:
    told = notice(named(facts, first, second), reason, kind)
    severities = [list(Severity)[n % 3] for n in range(count)]
    notices = [
        replace(told, id=f"ntc_{n}", incident=f"inc_{n}", severity=severity) for n, severity in enumerate(severities)
    ]
    because = f"{first} has not taken it: {second}" if count == 2 else ""
    return Delivery("dlv_1", "team", tuple(notices), NOW, NOW, face=face, because=because)


# --- the wire ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """What would have left: an HTTP request, a mail, or printed text."""

    to: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@contextmanager
def kept() -> Iterator[list[Sent]]:
    """Everything that leaves, instead of leaving."""
    sent: list[Sent] = []

    def post(url: str, body: bytes, headers: Any, *_: Any, **__: Any) -> posting.Answer:
        sent.append(Sent(url, body, dict(headers)))
        return yes_of(url)

    def hand_in(_account: Any, recipients: Sequence[str], mail: bytes, _deadline: Any) -> dict[str, Receipt]:
        sent.append(Sent("mail", mail))
        return dict.fromkeys(recipients, Receipt(Outcome.DELIVERED))

    wire = mock.patch.object(posting, "post", post), mock.patch.object(smtp, "hand_in", hand_in)
    with wire[0], wire[1], _printed(sent):
        yield sent


@contextmanager
def _printed(sent: list[Sent]) -> Iterator[None]:
    """What is written to standard output, past Python's own buffers, too."""
    usual = os.dup(1)
    with tempfile.TemporaryFile() as output:
        os.dup2(output.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(usual, 1)
            os.close(usual)
        output.seek(0)
        printed = output.read()
    if printed:
        sent.append(Sent("console", printed))


def yes_of(url: str) -> posting.Answer:
    """The yes of each service."""
    if "slack.com/api" in url:
        return posting.Answer(200, json.dumps({"ok": True, "channel": "C1", "ts": "1.1"}), "application/json")
    if "slack.com" in url:
        return posting.Answer(200, "ok")
    return posting.Answer(202, "{}", "application/json")


def strict(body: bytes) -> Any:
    """The JSON of a body: UTF-8, no NaN, no lone surrogates."""

    def never(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(body.decode("utf-8"), parse_constant=never)


def texts(node: Any) -> Iterator[str]:
    """Every text in a JSON value, keys included."""
    if isinstance(node, dict):
        for key, inner in node.items():
            yield key
            yield from texts(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from texts(inner)
    elif isinstance(node, str):
        yield node


# --- what each kind of channel must not do -----------------------------------------------------------


def slack_is_harmless(sent: Sent, _message: Message) -> None:
    body = strict(sent.body)
    harmless({key: value for key, value in body.items() if key in ("text", "blocks")})
    assert len(sent.body) < 64_000


def mail_is_harmless(sent: Sent, message: Message) -> None:
    assert sent.body.isascii()
    assert b"\n" not in sent.body.replace(b"\r\n", b"")
    assert max(map(len, sent.body.split(b"\r\n"))) <= 998
    mail: Any = email.message_from_bytes(sent.body, policy=email.policy.default)
    assert {name.lower() for name in mail} <= HEADERS
    assert len(set(mail)) == len(list(mail))
    assert [each.addr_spec for each in mail["To"].addresses] == ["finance@example.com"]
    assert mail["Message-ID"] == "<dlv_1@example.com>"
    assert not unseen(mail.get_body(("plain",)).get_content().replace("\r\n", "\n"))
    page = mail.get_body(("html",))
    if page is not None:
        shown = page.get_content().replace("\r\n", "\n")
        assert not unseen(shown)
        nothing_injected(shown)
        assert len(shown) < 102_000  # above it Gmail cuts the mail off
    assert (page is not None) == (message.face is Face.RICH)


def pager_is_harmless(sent: Sent, _message: Message) -> None:
    """https://developer.pagerduty.com/docs/send-alert-event/"""
    event = strict(sent.body)
    assert len(sent.body) <= 512 * 1000
    assert 0 < len(event["dedup_key"]) <= 255
    if event["event_action"] != "trigger":
        return
    told = event["payload"]
    assert 0 < len(told["summary"]) <= 1024
    assert told["severity"] in ("critical", "error", "warning", "info")
    assert told["source"] == "budgetd"
    assert {link["href"] for link in event.get("links", [])} <= {COST_REPORT}


SCHEMA = jsonschema.Draft7Validator(webhook_schema())


def webhook_is_harmless(sent: Sent, _message: Message) -> None:
    SCHEMA.validate(strict(sent.body))
    assert sent.headers["webhook-id"] == "dlv_1"
    assert len(sent.body) <= 512 * 1000


def alerts_are_harmless(sent: Sent, _message: Message) -> None:
    """Alertmanager's API v2: label names, and values that are texts."""
    for alert in strict(sent.body):
        assert all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) for name in [*alert["labels"], *alert["annotations"]])
        assert all(alert["labels"].values())
    assert len(sent.body) <= 512 * 1000


def console_is_harmless(sent: Sent, _message: Message) -> None:
    assert not unseen(sent.body.decode())


MAIL = "mailto://127.0.0.1:2525?from=budgetd@example.com&to=finance@example.com&mode=insecure"


def card_is_harmless(sent: Sent, message: Message) -> None:
    """Teams: 28 KB; https://learn.microsoft.com/microsoftteams/platform/task-modules-and-cards/cards/cards-format"""
    assert len(sent.body) <= 28 * 1024
    assert problems(strict(sent.body)) == []
    assert not re.search(r"\{\{|(?<![\w.])@\w", sent.body.decode())


CHECKS: dict[str, tuple[str, Callable[[Sent, Message], None]]] = {
    "mailto": (
        "mailto://127.0.0.1:2525?from=budgetd@example.com&to=finance@example.com&mode=insecure",
        mail_is_harmless,
    ),
    "pagerduty": (f"pagerduty://{'k' * 32}@budgetd", pager_is_harmless),
    "slack": (f"slack://{TOKEN}/#alerts", slack_is_harmless),
    "slack, a webhook": ("slack://T0HOOK/B0HOOK/hookSECRET1", slack_is_harmless),
    "workflow": ("workflows://teams.example.com/flow/signature", card_is_harmless),
    "webhook": ("webhook://127.0.0.1/budget", webhook_is_harmless),
    "alertmanager": ("alertmanager://127.0.0.1:9093", alerts_are_harmless),
    "console": ("console://", console_is_harmless),
}


def checked(kind: str) -> list[str]:
    return [name for name in CHECKS if name.partition(",")[0] == kind]


NATIVE = [name for kind in registry.KINDS for name in checked(kind.schemes[0]) or [kind.schemes[0]]]


@pytest.fixture(scope="module", autouse=True)
def _mail_urls_are_read_here() -> None:
    """In this process; and no charts, whose bytes no name can change."""
    import apprise  # noqa: F401


@pytest.mark.parametrize("name", NATIVE)
def test_no_name_does_harm_in_a_native_channel(name: str) -> None:
    assert name in CHECKS, f"{name}:// is a channel without a check of hostile names: write it"
    url, check = CHECKS[name]
    sender = registry.sender(url, ["whsec_" + "A" * 32] if registry.signs(url) else ())
    flavour = registry.flavour(url)
    if isinstance(sender, SlackSender):
        sender._pace = 0
    places: set[str] = set()

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(deliveries(), st.sampled_from(["", "#alerts=C1:1.1"]))
    @example(delivery("<!channel>", "@everyone"), "#alerts=C1:1.1")
    @example(delivery("x" * 10_000, "&" * 10_000, count=14), "")
    @example(delivery("\ud800" * 10_000, "𝔘" * 10_000), "")
    @example(delivery('" onerror="alert(1)', "<img src=x>", facts=CAP), "")
    @example(delivery("a\r\nBcc: x@y.example", "\r\n\r\n<b>", count=2), "")
    @example(delivery("研" * 10_000, "\n" * 10_000, count=14, kind=Kind.INFORM), "")
    def tried(one: Delivery, thread: str) -> None:
        message = replace(render_safely(one, NOW + timedelta(hours=3), flavour), thread=thread)
        with kept() as sent:
            assert sender.send(message, 10).outcome is Outcome.DELIVERED
        # What somebody did by hand is nothing to Alertmanager.
        silent = name == "alertmanager" and message.kind is Kind.ACKNOWLEDGE
        assert sent or silent, f"nothing was seen leaving {name}://: keep it in kept()"
        for each in sent:
            places.add(each.to)
            assert all(f"{key}{value}".isascii() and "\n" not in value for key, value in each.headers.items())
            if each.to not in ("mail", "console"):
                assert not [text for text in texts(strict(each.body)) if unseen(text)]
            check(each, message)

    tried()
    assert len(places) <= 2  # no name chooses where it goes


# --- everything else: plain text through Apprise -----------------------------------------------------

SERVICES = {
    "ntfy": "ntfy://budget-topic",
    "discord": "discord://123456789012345678/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefgh",
    "tgram": "tgram://123456789:AAbbCCddEEffGGhhIIjjKKllMMnnOOppQQr/12315544/",
    "gotify": "gotify://example.com/AbCdEfGhIjKlMnO",
    "pover": f"pover://{'u' * 30}@{'t' * 30}",
    "twilio": f"twilio://AC{'a' * 32}:{'b' * 32}@15551234567/15557654321",
}


@pytest.mark.parametrize("service", SERVICES)
def test_no_name_breaks_a_limit_of_apprises_services_or_mentions_anybody(service: str) -> None:
    sender = apprise.AppriseSender(SERVICES[service])
    plugin = sender._ready(10)
    assert plugin is not None
    taken: list[tuple[str, str]] = []

    def send(body: str = "", title: str = "", **_: Any) -> bool:
        taken.append((title, body))
        return True

    plugin.send = send

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(deliveries())
    @example(delivery("<!channel> <@&123> @everyone", "@here"))
    @example(delivery("x" * 10_000, "&" * 10_000, count=14))
    @example(delivery("\ud800" * 10_000, "研" * 10_000, face=Face.MINIMAL))
    def tried(one: Delivery) -> None:
        taken.clear()
        for face in list(Face)[list(Face).index(one.face) :]:
            message = render_safely(replace(one, face=face), NOW, Flavour.TEXT)
            outcome = sender.send(message, 10).outcome
            if outcome is Outcome.DELIVERED:
                break
            assert outcome is Outcome.REJECTED  # too long in this face
        assert len(taken) == 1, "it was cut into several, or never taken"
        ((title, body),) = taken
        assert len(body) <= plugin.body_maxlen
        assert len(title) <= max(plugin.title_maxlen, 0)
        assert not unseen((title + body).replace("\r\n", "\n"))  # some plug-ins end lines so
        assert not re.search(r"(?<![\w.])@(?:everyone|here|channel|[!&]?\d)", title + body)

    tried()


# --- the kinds ---------------------------------------------------------------------------------------


def test_every_kind_of_channel_has_a_check() -> None:
    assert {kind.schemes[0] for kind in registry.KINDS} <= {name.partition(",")[0] for name in CHECKS}
