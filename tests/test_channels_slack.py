"""The Slack channel against a Slack on loopback that keeps to Slack's documentation."""

from __future__ import annotations

import json
import queue
import random
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from budgetd import clock
from budgetd.channels import Sender, registry
from budgetd.channels.slack import HOOKS, PACE, Address, SlackSender, address
from budgetd.commands import wiring
from budgetd.delivery import InThisThread
from budgetd.evaluation import Evaluator
from budgetd.inbox import Inbox
from budgetd.message import Flavour, Message
from budgetd.model import Changes, Delivery, DeliveryState, Face, Kind, Notice, Outcome, Reason, Receipt, Severity
from budgetd.outbox import Outbox
from budgetd.rulebook import parse
from budgetd.stores.sqlite import SqliteStore, open_store
from tests.faulty_server import closed_port
from tests.slack_server import HOOK, TOKEN, Answer, SlackServer, hook_says, says, slack_server
from tests.test_message import NOW, OVER, notice, read
from tests.tls_proxy import tls_proxy

pytestmark = pytest.mark.network

WEBHOOK = f"slack://{HOOK}"
BOT = f"slack://{TOKEN}/#alerts"
SECRETS = [HOOK, *HOOK.split("/"), TOKEN, "botSECRET2"]


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with slack_server() as server:
        yield server


def sender(slack: SlackServer, url: str, pace: float = 0.0) -> SlackSender:
    return SlackSender(url, api=f"{slack.url}/api", hooks=f"{slack.url}/services", pace=pace)


def message(told: Notice | None = None, *, thread: str = "", face: Face = Face.RICH, id: str = "dlv_1") -> Message:
    return replace(read(told or notice(), face=face, flavour=Flavour.SLACK), thread=thread, id=id)


def over(severity: Severity = Severity.CRITICAL) -> Notice:
    return notice(OVER, severity=severity, id="ntc_2")


def resolved() -> Notice:
    return notice(reason=Reason.RESTATED, kind=Kind.RESOLVE, id="ntc_3")


# --- the URL -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("slack://T0/B0/c0", Address(hook="T0/B0/c0")),
        ("SLACK://T0/B0/c0/", Address(hook="T0/B0/c0")),
        ("slack://T0/B0/c0/#a/b?footer=no", Address(hook="T0/B0/c0", rooms=("#a", "#b"))),
        ("slack://my%20bot@T0/B0/c0/%23a", Address(hook="T0/B0/c0", rooms=("#a",), bot_name="my bot")),
        ("slack://T0/B0/c0?mode=gov-hook", Address(hook="T0/B0/c0", hooks="https://hooks.slack-gov.com/services")),
        ("slack://_?token=T0/B0/c0&to=a", Address(hook="T0/B0/c0", rooms=("#a",))),
        ("slack://xoxb-1-a", Address(token="xoxb-1-a")),
        ("slack://xoxb-1-a/#a/+C1/@me?to=x,y,a", Address(token="xoxb-1-a", rooms=("#a", "+C1", "@me", "#x", "#y"))),
        ("slack://bud:x@xoxe.xoxb-1-a/alerts", Address(token="xoxe.xoxb-1-a", rooms=("#alerts",), bot_name="bud")),
        ("slack://xoxb-1-a/#größe", Address(token="xoxb-1-a", rooms=("#größe",))),
        ("slack://?token=xoxb-1-a&to=z", Address(token="xoxb-1-a", rooms=("#z",))),
    ],
)
def test_apprises_own_forms_are_understood(url: str, found: Address) -> None:
    assert address(url) == found


@pytest.mark.parametrize(
    "url",
    [
        "json://T0/B0/c0",
        "slack://",
        "slack://T0/B0",
        "slack://T0/B0/c-0",
        "slack://xoxb-1-a/me@example.com",
        "slack://xoxb-1-a/#a:1700.1",
        "slack://T0/B0/c0?mode=workflow",
        "slack://T0/B0/c0?mode=trigger",
        "slack://T0/B0/c0?template=x.json",
    ],
)
def test_what_only_apprise_serves_is_left_to_it(url: str) -> None:
    assert address(url) is None
    with pytest.raises(ValueError, match="not a slack:// URL"):
        SlackSender(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("slack://T0/B0/c0/#alerts", None),
        ("slack://xoxb-1-a/me@example.com", None),
        ("slack://T0/B0/c0?mode=workflow", None),
        ("slack://T0/SECRET", "slack://T.../B.../xxx of a webhook or slack://xoxb-.../#channel of a bot is expected"),
        ("slack://", "slack://T.../B.../xxx of a webhook or slack://xoxb-.../#channel of a bot is expected"),
        ("slack://T0/B0/c0/#SECRET!", "a channel's name has letters, digits, - and _ only, at most 80"),
        (
            "slack://@/%ff?token=%00",
            "slack://T.../B.../xxx of a webhook or slack://xoxb-.../#channel of a bot is expected",
        ),
    ],
)
def test_a_mistake_in_the_url_is_explained_without_its_secrets(url: str, why: str | None) -> None:
    assert registry.explain(url) == why


def test_rooms_are_no_secrets_and_tokens_are() -> None:
    forms = registry.secrets("slack://bud@xoxb-1-abc/#alerts?to=audit").forms
    assert "xoxb-1-abc" in forms
    assert not {"alerts", "#alerts", "audit", "bud"} & set(forms)


def test_the_rules_file_gets_the_native_channel_where_there_is_one() -> None:
    text = f"version: 1\nchannels: {{a: 'slack://{HOOK}', b: '{BOT}', c: 'slack://T0/B0/c0?mode=workflow'}}\n"
    rules = "rules: [{id: r, type: cap, limit: 1, per: day}]\n"
    equipment = wiring.equip(parse(text + rules, "rules.yaml", environment={}))
    kinds = {name: type(each).__name__ for name, each in equipment.senders.items()}
    assert kinds == {"a": "SlackSender", "b": "SlackSender", "c": "AppriseSender"}
    assert set(equipment.flavours.values()) == {Flavour.SLACK}


# --- a webhook ---------------------------------------------------------------------------------


def test_a_webhook_posts_each_message_anew(slack: SlackServer) -> None:
    channel = sender(slack, WEBHOOK)
    assert channel.send(message(), 5) == Receipt(Outcome.DELIVERED)
    assert channel.send(message(over(), id="dlv_2", thread="=C0ALERTS:1700.1"), 5) == Receipt(Outcome.DELIVERED)
    assert [post.channel for post in slack.top()] == ["C0ALERTS", "C0ALERTS"]
    assert slack.posts[0].text.startswith("🟠 Research has used 80.2% of its November 2026 budget")
    assert slack.posts[0].payload["unfurl_links"] is slack.posts[0].payload["unfurl_media"] is False
    assert "channel" not in slack.calls[0][1]


def test_a_webhook_may_name_rooms_and_the_bot(slack: SlackServer) -> None:
    assert sender(slack, f"slack://Budget@{HOOK}/#alerts/#audit").send(message(), 5) == Receipt(Outcome.DELIVERED)
    assert [post.channel for post in slack.posts] == ["C0ALERTS", "C0AUDIT"]
    assert {post.payload["username"] for post in slack.posts} == {"Budget"}


@pytest.mark.parametrize("face", Face)
def test_every_face_is_accepted(slack: SlackServer, face: Face) -> None:
    for url in (WEBHOOK, BOT):
        assert sender(slack, url).send(message(face=face), 5).outcome is Outcome.DELIVERED
    assert [("blocks" in post.payload) for post in slack.posts] == [face is Face.RICH] * 2


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (hook_says("invalid_token", 403), Outcome.UNAUTHORISED),
        (hook_says("no_service", 404), Outcome.GONE),
        (hook_says("no_team", 404), Outcome.GONE),
        (hook_says("channel_not_found", 404), Outcome.GONE),
        (hook_says("channel_is_archived", 410), Outcome.GONE),
        (hook_says("action_prohibited", 403), Outcome.GONE),
        (hook_says("posting_to_general_channel_denied", 403), Outcome.GONE),
        (hook_says("invalid_payload", 400), Outcome.REJECTED),
        (hook_says("invalid_blocks", 400), Outcome.REJECTED),
        (hook_says("rollup_error", 500), Outcome.RETRY),
        (hook_says("<html>oh dear</html>", 502), Outcome.RETRY),
        (hook_says("<html>sign in to the network</html>", 200), Outcome.RETRY),
        (hook_says("", 200), Outcome.RETRY),
        (hook_says("no_service", 200), Outcome.GONE),
        (hook_says("rate_limited", 429), Outcome.RATE_LIMITED),
        (hook_says("moved", 302, Location="https://evil.example/"), Outcome.GONE),
    ],
)
def test_fault_104_what_a_webhook_says_is_an_outcome(slack: SlackServer, answer: Answer, outcome: Outcome) -> None:
    slack.failures = [answer]
    assert sender(slack, WEBHOOK).send(message(), 5).outcome is outcome
    assert len(slack.calls) == 1
    assert sender(slack, WEBHOOK).send(message(), 5).outcome is Outcome.DELIVERED


# --- a bot -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        *[
            (says(error), Outcome.UNAUTHORISED)
            for error in ("invalid_auth", "account_inactive", "token_revoked", "token_expired", "missing_scope")
        ],
        *[(says(error), Outcome.GONE) for error in ("channel_not_found", "is_archived", "not_in_channel")],
        *[(says(error), Outcome.REJECTED) for error in ("msg_too_long", "invalid_blocks", "no_text")],
        (says("ratelimited"), Outcome.RATE_LIMITED),
        (says("ratelimited", 429), Outcome.RATE_LIMITED),
        (says("fatal_error"), Outcome.UNKNOWN),
        (says("internal_error"), Outcome.RETRY),
        (says("service_unavailable", 503), Outcome.RETRY),
        (says("invalid_auth", 500), Outcome.RETRY),
        (says("a_word_of_next_year"), Outcome.RETRY),
        (Answer(200, b"ok"), Outcome.RETRY),
        (Answer(200, b'{"ok": "true"}'), Outcome.RETRY),
        (Answer(200, b"[" * 20_000), Outcome.RETRY),
        (Answer(200, b'{"ok": true'), Outcome.RETRY),
    ],
)
def test_fault_105_ok_false_is_a_failure_with_an_outcome(slack: SlackServer, answer: Answer, outcome: Outcome) -> None:
    slack.failures = [answer]
    receipt = sender(slack, BOT).send(message(), 5)
    assert (receipt.outcome, receipt.memo) == (outcome, "")
    assert sender(slack, BOT).send(message(), 5).outcome is Outcome.DELIVERED


def test_slacks_own_word_is_in_the_receipt(slack: SlackServer) -> None:
    slack.failures = [says("not_in_channel")]
    assert sender(slack, BOT).send(message(), 5).detail == "HTTP 200: not_in_channel"
    slack.failures = [hook_says("no_service", 404), says("a_word_of_next_year")]
    assert sender(slack, WEBHOOK).send(message(), 5).detail == "HTTP 404: no_service"
    assert sender(slack, BOT).send(message(), 5).detail == 'HTTP 200: {"ok": false, "error": "a_word_of_next_year"}'


def test_an_answer_that_was_cut_off_may_have_been_a_yes(slack: SlackServer) -> None:
    slack.failures = [Answer(200, b'{"ok": true, "channel": "C0ALERTS"', {"Content-Length": "900"})]
    assert sender(slack, BOT).send(message(), 5).outcome is Outcome.UNKNOWN


def test_only_the_richest_face_carries_metadata(slack: SlackServer) -> None:
    for face in Face:
        sender(slack, BOT).send(message(face=face), 5)
    assert ["metadata" in payload for _, payload in slack.calls] == [True, False, False]


def test_a_bot_keeps_one_post_of_an_incident_up_to_date_and_tells_its_story_below(slack: SlackServer) -> None:
    first = sender(slack, BOT).send(message(), 5)
    assert first == Receipt(Outcome.DELIVERED, memo="#alerts=C0ALERTS:1700000000.000100")
    second = sender(slack, BOT).send(message(over(), thread=first.memo, id="dlv_2"), 5)
    assert second == first
    (top,) = slack.top()
    assert top.versions == 2
    assert top.text.startswith("🚨 Research is over its November 2026 budget: 104.1% used")
    assert top.payload["metadata"]["event_payload"] == {"id": "dlv_2", "incident": "inc_1", "severity": "critical"}
    (reply,) = slack.replies(top.ts)
    assert reply.payload["reply_broadcast"] is True
    assert len(json.dumps(reply.payload["blocks"])) < len(json.dumps(top.payload["blocks"]))
    third = sender(slack, BOT).send(message(resolved(), thread=second.memo, id="dlv_3"), 5)
    assert third == Receipt(Outcome.DELIVERED), "what comes next is another story"
    assert top.versions == 3
    assert top.text.startswith("✅ Resolved, figures corrected: Research")
    assert [post.payload["reply_broadcast"] for post in slack.replies(top.ts)] == [True, False]
    assert len(slack.top()) == 1


def test_everything_is_sent_without_links_of_slacks_making(slack: SlackServer) -> None:
    memo = sender(slack, BOT).send(message(), 5).memo
    sender(slack, BOT).send(message(over(), thread=memo), 5)
    assert [name for name, _ in slack.calls] == ["chat.postMessage", "chat.update", "chat.postMessage"]
    assert {payload["parse"] for _, payload in slack.calls} == {"none"}


@pytest.mark.parametrize(
    ("told", "loud"),
    [
        (notice(), False),
        (notice(severity=Severity.CRITICAL), True),
        (over(), True),
        (over(Severity.WARNING), True),
        (over(Severity.INFO), False),
        (notice(OVER, severity=Severity.CRITICAL, kind=Kind.INFORM), False),
        (notice(OVER, severity=Severity.CRITICAL, kind=Kind.RESOLVE), False),
    ],
)
def test_a_reply_is_shown_in_the_channel_too_when_somebody_must_see_it(
    slack: SlackServer, told: Notice, loud: bool
) -> None:
    memo = sender(slack, BOT).send(message(), 5).memo
    sender(slack, BOT).send(message(told, thread=memo), 5)
    assert slack.posts[-1].payload["reply_broadcast"] is loud


def test_an_update_in_a_simpler_face_takes_the_blocks_away(slack: SlackServer) -> None:
    memo = sender(slack, BOT).send(message(), 5).memo
    sender(slack, BOT).send(message(over(), thread=memo, face=Face.PLAIN), 5)
    assert slack.top()[0].payload["blocks"] == []


@pytest.mark.parametrize(
    "error", ["message_not_found", "channel_not_found", "cant_update_message", "edit_window_closed", "is_archived"]
)
def test_when_the_post_is_no_more_a_new_one_takes_its_place(slack: SlackServer, error: str) -> None:
    slack.failures = [says(error)]
    receipt = sender(slack, BOT).send(message(over(), thread="#alerts=C0ALERTS:1600000000.000100"), 5)
    assert receipt == Receipt(Outcome.DELIVERED, memo="#alerts=C0ALERTS:1700000000.000100")
    assert [name for name, _ in slack.calls] == ["chat.update", "chat.postMessage"]


def test_when_the_post_goes_away_before_the_reply_a_new_one_takes_its_place(slack: SlackServer) -> None:
    memo = sender(slack, BOT).send(message(), 5).memo
    slack.failures = [None, says("thread_not_found")]
    assert sender(slack, BOT).send(message(over(), thread=memo), 5).memo == "#alerts=C0ALERTS:1700000001.000100"


@pytest.mark.parametrize(("failures", "calls"), [([says("internal_error")], 1), ([None, says("internal_error")], 2)])
def test_a_failed_update_or_reply_is_tried_again_and_said_once(
    slack: SlackServer, failures: list[Answer | None], calls: int
) -> None:
    channel = sender(slack, BOT)
    memo = channel.send(message(), 5).memo
    slack.calls.clear()
    slack.failures = failures
    failed = channel.send(message(over(), thread=memo, id="dlv_2"), 5)
    assert (failed.outcome, failed.memo, len(slack.calls)) == (Outcome.RETRY, memo, calls)
    assert channel.send(message(over(), thread=failed.memo, id="dlv_2"), 5) == Receipt(Outcome.DELIVERED, memo=memo)
    (top,) = slack.top()
    assert len(slack.replies(top.ts)) == 1


def test_several_incidents_make_a_post_of_their_own_and_no_thread(slack: SlackServer) -> None:
    both = read(notice(), replace(over(), incident="inc_2"), flavour=Flavour.SLACK)
    assert sender(slack, BOT).send(both, 5) == Receipt(Outcome.DELIVERED)
    assert [name for name, _ in slack.calls] == ["chat.postMessage"]


@pytest.mark.parametrize("thread", ["nonsense", "#alerts=", "#alerts=C1", "#other=C0ALERTS:1700000000.000100", "= ="])
def test_a_memo_that_is_not_of_this_room_is_no_thread(slack: SlackServer, thread: str) -> None:
    assert sender(slack, BOT).send(message(thread=thread), 5).outcome is Outcome.DELIVERED
    assert [name for name, _ in slack.calls] == ["chat.postMessage"]


def test_the_last_resort_is_sent_too(slack: SlackServer) -> None:
    bare = Message("dlv_9", "Title & <b>", "Body &amp; more", Severity.CRITICAL, Kind.TRIGGER, {}, Flavour.SLACK)
    for url in (WEBHOOK, BOT):
        assert sender(slack, url).send(bare, 5).outcome is Outcome.DELIVERED
    assert slack.posts[0].text == "🚨 *Title &amp; &lt;b&gt;*\nBody &amp; more"


# --- several rooms -----------------------------------------------------------------------------


def test_fault_114_only_the_room_that_failed_is_tried_again(slack: SlackServer) -> None:
    channel = sender(slack, f"{BOT}/#audit")
    slack.failures = [None, says("ratelimited", 429, Retry_After="7")]
    failed = channel.send(message(), 5)
    assert (failed.outcome, failed.after) == (Outcome.RATE_LIMITED, 7.0)
    assert failed.memo == "#alerts=C0ALERTS:1700000000.000100"
    done = channel.send(message(thread=failed.memo), 5)
    assert done.memo == "#alerts=C0ALERTS:1700000000.000100 #audit=C0AUDIT:1700000001.000100"
    assert [post.channel for post in slack.posts] == ["C0ALERTS", "C0AUDIT"]
    assert channel.send(message(over(), thread=done.memo, id="dlv_2"), 5).memo == done.memo
    assert [len(slack.replies(post.ts)) for post in slack.top()] == [1, 1]


def test_a_room_that_was_added_to_the_url_gets_a_post_of_its_own(slack: SlackServer) -> None:
    memo = sender(slack, BOT).send(message(), 5).memo
    sender(slack, f"{BOT}/+C0AUDIT").send(message(over(), thread=memo), 5)
    assert [post.channel for post in slack.top()] == ["C0ALERTS", "C0AUDIT"]


# --- time --------------------------------------------------------------------------------------


def test_a_room_gets_at_most_one_post_a_second(slack: SlackServer) -> None:
    assert PACE == 1.0
    channel = sender(slack, BOT, pace=0.3)
    began = clock.monotonic()
    for number in range(3):
        channel.send(message(id=f"dlv_{number}"), 5)
    assert clock.monotonic() - began >= 0.6


def test_no_time_left_is_a_retry_and_nothing_leaves(slack: SlackServer) -> None:
    channel = sender(slack, BOT, pace=30)
    channel.send(message(), 5)
    began = clock.monotonic()
    assert channel.send(message(id="dlv_2"), 0.5) == Receipt(Outcome.RETRY, "no time was left for it")
    assert clock.monotonic() - began < 0.4
    assert len(slack.calls) == 1


def test_fault_106_no_answer_after_the_request_left_is_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = clock.monotonic()
        for each in (WEBHOOK, BOT):
            receipt = SlackSender(each, api=url, hooks=url).send(message(), 0.3)
            assert receipt.outcome is Outcome.UNKNOWN
    assert clock.monotonic() - began < 2


def test_a_refused_connection_is_a_retry() -> None:
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}"
        assert SlackSender(BOT, api=url).send(message(), 1).outcome is Outcome.RETRY


# --- through the outbox, over restarts ---------------------------------------------------------


class Place:
    """A daemon's outbox on a database, with the bot as its only channel; each pass is a process of its own."""

    def __init__(self, slack: SlackServer, folder: Path) -> None:
        self.slack = slack
        self.path = folder / "budgetd.db"
        rules = "rules: [{id: each-workspace, type: cap, limit: 1, per: day}]"
        self.rulebook = parse(f"version: 1\nchannels: {{team: '{BOT}'}}\n{rules}\n", "rules.yaml", environment={})

    def tell(self, id: str, *notices: Notice) -> None:
        with closing(open_store(self.path, NOW)) as store:
            store.commit(Changes(at=NOW, notices=notices, deliveries=(Delivery(id, "team", notices, NOW, NOW),)))

    def send(self) -> list[Delivery]:
        """One pass of a new process; what is still pending."""
        with closing(open_store(self.path, NOW)) as store:
            return self._pass(store)

    def _pass(self, store: SqliteStore) -> list[Delivery]:
        inbox: Inbox = queue.SimpleQueue()
        senders: dict[str, Sender] = {"team": sender(self.slack, BOT)}
        evaluator = Evaluator(store, self.rulebook)
        outbox = Outbox(store, evaluator, InThisThread(senders, inbox.put), {"team": Flavour.SLACK}, random.Random(1))
        while outbox.send_due(NOW):
            outbox.settle(inbox.get_nowait(), NOW)  # type: ignore[arg-type]
        return [each.delivery for each in store.deliveries() if each.delivery.state is DeliveryState.PENDING]


@pytest.fixture
def place(slack: SlackServer, tmp_path: Path) -> Place:
    return Place(slack, tmp_path)


def test_an_incidents_story_goes_on_under_its_post_over_restarts(place: Place, slack: SlackServer) -> None:
    for number, told in enumerate((notice(), over(), resolved())):
        place.tell(f"dlv_{number}", told)
        assert place.send() == []
    (top,) = slack.top()
    assert (top.versions, len(slack.replies(top.ts))) == (3, 2)
    place.tell("dlv_4", notice(id="ntc_4"))
    assert place.send() == []
    assert len(slack.top()) == 2, "after its end an incident that opens again has a post of its own"


def test_a_batch_is_a_post_of_its_own_and_leaves_the_thread_as_it_is(place: Place, slack: SlackServer) -> None:
    place.tell("dlv_1", notice())
    place.send()
    place.tell("dlv_2", over(), replace(over(), id="ntc_5", incident="inc_2"))
    place.send()
    assert len(slack.top()) == 2
    place.tell("dlv_3", notice(replace(OVER, amount=Decimal(6000), step=Decimal("1.2")), id="ntc_6"))
    place.send()
    assert len(slack.top()) == 2
    assert len(slack.replies(slack.top()[0].ts)) == 1


def test_what_was_rejected_goes_out_one_face_simpler(place: Place, slack: SlackServer) -> None:
    slack.failures = [says("invalid_blocks"), says("msg_too_long")]
    place.tell("dlv_1", notice())
    assert place.send() == []
    (top,) = slack.top()
    assert top.text.startswith("budgetd WARNING: Research has used 80.2%")


@pytest.mark.parametrize("status", [200, 429])
def test_fault_103_nothing_is_sent_before_slack_allows(place: Place, slack: SlackServer, status: int) -> None:
    slack.failures = [says("ratelimited", status, Retry_After="7")]
    place.tell("dlv_1", notice())
    (waiting,) = place.send()
    assert timedelta(seconds=7) <= waiting.next_attempt_at - NOW <= timedelta(seconds=9)
    assert len(slack.calls) == 1


# --- secrets -----------------------------------------------------------------------------------


def test_through_a_proxy_both_ways_reach_slack_by_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slack = SlackServer()
    with tls_proxy(tmp_path) as proxy:
        proxy.answer = slack.tls
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(proxy.ca_file))
        for url in (WEBHOOK, BOT):
            assert SlackSender(url, pace=0).send(message(), 5).outcome is Outcome.DELIVERED
    assert [(each.host, each.line) for each in proxy.requests] == [
        ("hooks.slack.com", f"POST /services/{HOOK} HTTP/1.1"),
        ("slack.com", "POST /api/chat.postMessage HTTP/1.1"),
    ]
    assert not any(secret in each.body.decode() for each in proxy.requests for secret in SECRETS)
    assert proxy.requests[0].headers["Authorization"] is None
    assert HOOKS == "https://hooks.slack.com/services"


@pytest.mark.parametrize("url", [WEBHOOK, BOT])
def test_fault_146_no_token_is_in_receipts_databases_or_logs(
    url: str, slack: SlackServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    channel = sender(slack, url)
    echo = f"no: {HOOK} {HOOK.lower()} {TOKEN} {TOKEN.upper()} Bearer {TOKEN}"
    answers = [hook_says(echo, status) for status in (200, 302, 400, 401, 403, 404, 429, 500)]
    answers += [says(echo), hook_says("x", 302, Location=f"https://{HOOK.replace('/', '-')}.example/{TOKEN}")]
    shown = [repr(channel), str(channel), repr(address(url))]
    for answer in answers:
        slack.failures = [answer]
        shown.append(repr(channel.send(message(), 5)))
    with closed_port() as port:
        shown.append(repr(SlackSender(url, api=f"http://127.0.0.1:{port}").send(message(), 0.5)))
    text = "\n".join([*shown, caplog.text, *capfd.readouterr()]).lower()
    own = SECRETS[:4] if url == WEBHOOK else SECRETS[4:]
    assert [secret for secret in own if secret.lower() in text] == []
    bodies = json.dumps([payload for _, payload in slack.calls])
    assert not re.search("SECRET", bodies)


def test_fault_146_nor_is_it_in_the_state(place: Place, slack: SlackServer) -> None:
    slack.failures = [says(f"no: {TOKEN} {TOKEN.upper()}", 401), None]
    place.tell("dlv_1", notice())
    place.send()
    place.tell("dlv_2", replace(over(), incident="inc_2"))
    place.send()
    files = list(place.path.parent.glob("budgetd.db*"))
    kept = b"".join(file.read_bytes() for file in files).lower()
    assert b"http 401" in kept
    assert [secret for secret in (TOKEN, "botSECRET2") if secret.lower().encode() in kept] == []
