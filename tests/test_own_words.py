"""Channels with the operator's own title and body: who gets them, and that an alert goes out when one breaks."""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from random import Random

import pytest
from slack_sdk.models.blocks import Block

from budgetd import own_words
from budgetd.commands import check
from budgetd.delivery import InThisThread
from budgetd.evaluation import Evaluator
from budgetd.faces.mail import letter
from budgetd.faces.slack import post
from budgetd.inbox import Inbox
from budgetd.message import Flavour, Message
from budgetd.model import Changes, Delivery, Face, Facts, Kind, Outcome, Reason, Receipt
from budgetd.outbox import Outbox
from budgetd.stores.sqlite import SqliteStore, open_store
from budgetd.tick import deliver
from tests.builders import incident
from tests.living import Bill, MailBox, Place, here, mail_server
from tests.rules_text import RULES, read, refused
from tests.slack_server import HOOK, slack_server
from tests.test_message import FACTS, NOW, notice, workspace
from tests.test_message import read as message_of

TITLE = "[PROD] {{ scope.name }}: {{ money.spent | dollars }}"
BODY = "*{{ scope.name }}* is at {{ money.spent_ratio | share }}.\n{% if comparison %}never{% endif %}Ask <!here>.\n"


def put(message: Message, **texts: str) -> Message:
    made, blots = own_words.put(message, texts)
    assert blots == ()
    return made


def test_a_title_takes_the_place_of_ours_in_every_face() -> None:
    made = put(message_of(notice(), flavour=Flavour.SLACK), title=TITLE)
    assert made.title == "[PROD] Research: $4,012.37"
    blocks = post(made)["blocks"]
    assert blocks[0]["text"]["text"] == "🟠 [PROD] Research: $4,012.37"
    [block.validate_json() for block in Block.parse_all(blocks)]
    mail = letter(put(message_of(notice()), title=TITLE), NOW)
    assert mail.subject == "[PROD] Research: $4,012.37"
    assert "[PROD] Research: $4,012.37" in mail.html


def test_a_body_takes_the_place_of_the_rich_face_and_its_markup_is_meant() -> None:
    made = put(message_of(notice(), flavour=Flavour.SLACK), body=BODY)
    payload = post(made)
    assert "blocks" not in payload
    assert payload["text"].endswith("*Research* is at 80.2%.\nAsk <!here>.")
    assert payload["text"].startswith("🟠 *Research has used 80.2%")
    mail = letter(put(message_of(notice()), body=BODY), NOW)
    assert (mail.html, mail.plain.split("\n\n", 1)[1]) == ("", "*Research* is at 80.2%.\nAsk <!here>.\n")


def test_names_cannot_use_the_operators_markup() -> None:
    facts = replace(FACTS, scope=(replace(FACTS.scope[0], name="<!channel> *x* :fire: https://evil.example"),))
    text = post(put(message_of(notice(facts), flavour=Flavour.SLACK), title=TITLE, body=BODY))["text"]
    assert "<!channel>" not in text
    assert "://" not in text.removesuffix("Ask <!here>.")
    assert "*x*" not in text


@pytest.mark.parametrize(
    "message",
    [
        message_of(notice(), face=Face.PLAIN),
        message_of(notice(), face=Face.MINIMAL),
        message_of(workspace(1, 4000), workspace(2, 4100)),
        message_of(notice(Facts("Acme", "budgetd:blind", "blind", text="no answer"), Reason.BLIND)),
    ],
    ids=["refused once", "refused twice", "several", "about budgetd"],
)
def test_other_messages_keep_our_words(message: Message) -> None:
    assert put(message, title=TITLE, body=BODY) == message


def test_late_and_for_another_channel_is_said_whatever_the_template_says() -> None:
    late = message_of(notice(created_at=NOW - timedelta(hours=3)))
    made = put(replace(late, because="You get this because pager has not taken it."), title=TITLE, body=BODY)
    assert made.title == "Late (3 hours): [PROD] Research: $4,012.37"
    assert made.body.startswith("You get this because pager has not taken it.\n\nLate: decided 3 hours ago")


def test_a_long_title_is_cut_and_is_one_line() -> None:
    made = put(message_of(notice()), title="{{ scope.name }}\n" + "x" * 500)
    assert len(made.title) == 200
    assert made.title.startswith("Research xxx")


# --- the outbox --------------------------------------------------------------------------------


class Recorder:
    """A channel that keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, message: Message, deadline: float) -> Receipt:
        self.sent.append(message)
        return Receipt(Outcome.DELIVERED)


class Scene:
    """A state, a channel `team` with templates, and a channel `other` without."""

    def __init__(self, store: SqliteStore, **texts: str) -> None:
        channels = {"team": {"url": "json://127.0.0.1", **texts}, "other": "json://127.0.0.1:8"}
        book = read(f"version: 1\nchannels: {json.dumps(channels)}\n{RULES}")
        self.channels = {"team": Recorder(), "other": Recorder()}
        self.store = store
        self.inbox: Inbox = queue.SimpleQueue()
        lanes = InThisThread(self.channels, self.inbox.put)
        self.outbox = Outbox(store, Evaluator(store, book), lanes, {}, Random(1))

    def alert(self, number: int, facts: Facts = FACTS) -> None:
        told = replace(notice(facts, id=f"ntc_{number}"), incident=f"inc_{number}")
        about = replace(incident("0.8"), id=told.incident)
        delivery = Delivery(f"dlv_{number}", "team", (told,), NOW, NOW)
        self.store.commit(Changes(at=NOW, incidents=(about,), notices=(told,), deliveries=(delivery,)))

    def pass_(self) -> None:
        deliver(self.outbox, self.inbox, NOW)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = open_store(tmp_path / "s.db", NOW)
    yield made
    made.close()


def test_alerts_leave_in_the_operators_words(store: SqliteStore) -> None:
    scene = Scene(store, title=TITLE, body=BODY)
    scene.alert(1)
    scene.pass_()
    (sent,) = scene.channels["team"].sent
    assert (sent.title, sent.body) == ("[PROD] Research: $4,012.37", "*Research* is at 80.2%.\nAsk <!here>.")
    assert scene.channels["other"].sent == []


def test_one_that_breaks_on_a_message_gives_way_to_ours_and_is_told_once(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    # Every sample says how far the data reaches; this alert does not.
    scene = Scene(store, title="{{ data_through | day }}")
    for number in (1, 2):
        scene.alert(number, replace(FACTS, data_through=None))
    scene.pass_()
    scene.pass_()
    texts = [message.title for message in scene.channels["team"].sent]
    assert texts.count(message_of(notice()).title) == 2
    for name in ("team", "other"):
        told = [m for m in scene.channels[name].sent if m.notices[0].reason is Reason.TEMPLATE_FAILED]
        assert len(told) == 1
        assert "The title that the rules file has for channel team: ValueError" in told[0].body
        assert told[0].kind is Kind.INFORM
    assert "the title of channel team could not be made" in caplog.text


def test_without_the_extra_an_alert_goes_out_and_a_check_says_what_to_install(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = Scene(store, title=TITLE)
    monkeypatch.setattr(own_words, "is_installed", lambda: False)
    scene.alert(1)
    scene.pass_()
    assert message_of(notice()).title in [message.title for message in scene.channels["team"].sent]
    report = refused(f'version: 1\nchannels: {{team: {{url: "json://127.0.0.1", title: "x"}}}}\n{RULES}')
    assert "2:51: title: needs Jinja2, which is not installed: pip install 'budgetd[templates]'" in report
    rules = tmp_path / "rules.yaml"
    rules.write_text(f'version: 1\nchannels: {{team: {{url: "json://127.0.0.1", title: "x"}}}}\n{RULES}')
    assert check.run(argparse.Namespace(file=rules)) == 78
    assert "pip install 'budgetd[templates]'" in capsys.readouterr().out


# --- the rules file ----------------------------------------------------------------------------

FILE = """\
version: 1
channels:
  team:
    url: "slack://a/b/c"
    title: "[PROD] {{ scope.name }}: {{ money.spend | dollars }} of {{ money.budget | dolars }}"
    body: |
      *{{ scope.name }}* has spent {{ money.spent | dollars }}
      {% for part in contributors %}
      - {{ part.modle }}
      {% endfor %}
  other: {url: "json://127.0.0.1", title: "{{ 9 ** 9 }}", body: "{{ comparison.against }}"}
  hook: {url: "webhook://127.0.0.1/x", title: "x"}
  pager: {url: "pagerduty://key@budgetd", title: "{{ title }}", body: "x"}
  empty: {url: "json://127.0.0.1", body: ""}
"""


def test_mistakes_are_at_their_line_and_column_all_at_once() -> None:
    report = refused(FILE + RULES)
    for words in (
        '5:47: title: there is no "spend" in it; there are currency, per, budget, spent,',
        'complete; did you mean "spent"?',
        '5:87: title: there is no filter "dolars"',
        'upper; did you mean "dollars"?',
        '9:17: body: there is no "modle" in it',
        'did you mean "model"?',
        "11:43: title: pow is not read here",
        '11:65: body: for a step of a cap: there is no "against" here; put {% if ... %} around it',
        "12:47: title: has no effect here: such a channel makes its title itself",
        "13:71: body: has no effect here",
        "14:42: expected a text with {{ fields }} of the message in it",
    ):
        assert words in report, words
    assert "13:4" not in report


def test_references_are_not_read_in_templates() -> None:
    text = f'version: 1\nchannels: {{team: {{url: "json://127.0.0.1", title: "${{SECRET}}"}}}}\n{RULES}'
    assert "${...} is only read in channels" in refused(text, {"SECRET": "x"})


def test_a_good_file_keeps_its_texts() -> None:
    channels = {"team": {"url": "json://127.0.0.1", "title": TITLE, "body": BODY}, "b": "json://127.0.0.1"}
    book = read(f"version: 1\nchannels: {json.dumps(channels)}\n{RULES}")
    assert book.channels["team"].texts == {"title": TITLE, "body": BODY}
    assert book.channels["b"].texts == {}


@pytest.mark.network
def test_a_real_pass_sends_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Bill(today=date(2026, 11, 18)) as bill, slack_server() as slack, mailing() as (box, port):
        monkeypatch.setattr("budgetd.channels.slack.HOOKS", f"{slack.url}/services")
        bill.spend(date(2026, 11, 17), "9050")
        place = Place(tmp_path / "place", bill.url)
        channels = {
            "team": {"url": f"slack://{HOOK}", "title": TITLE, "body": BODY},
            "finance": {
                "url": f"mailto://127.0.0.1:{port}?from=b@example.com&to=f@example.com&mode=insecure",
                "title": "{{ title }} (PROD)",
            },
        }
        place.write(channels, ["{id: each, type: cap, limit: 100, per: month, for_each: workspace}"])
        place.use(monkeypatch)
        ran = here(capfd, "once", "--at", "2026-11-18T09:00:00Z")
    assert (ran.code, ran.err) == (0, "")
    (posted,) = slack.posts
    assert posted.text.endswith(" *[PROD] Research: $90.50*\n*Research* is at 90.5%.\nAsk <!here>.")
    assert b"(PROD)" in box.mails[0].partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ")


@contextlib.contextmanager
def mailing() -> Iterator[tuple[MailBox, int]]:
    box = MailBox()
    with mail_server(box) as port:
        yield box, port
