"""The chart under a Slack post: once, after the post, and never at its cost."""

from __future__ import annotations

import functools
import logging
import queue
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from budgetd import channels, clock, picture
from budgetd.channels.slack import SlackSender
from budgetd.commands import notify
from budgetd.commands.terminal import Terminal
from budgetd.delivery import Answer as LaneAnswer
from budgetd.delivery import InThisThread, Lanes
from budgetd.message import Flavour, Message
from budgetd.model import Face, Kind, Notice, Outcome, Receipt, Severity
from tests.chart_stories import CAP, OVER, story
from tests.slack_server import HOOK, TOKEN, Answer, SlackServer, says, slack_server
from tests.test_message import NOW, notice, read
from tests.tls_proxy import tls_proxy

pytestmark = pytest.mark.network

BOT = f"slack://{TOKEN}/#alerts"
MISSING = "charts are left out: Slack says missing_scope; give the Slack app the scope files:write and install it anew"


_drawn_once = functools.cache(picture.png)


@pytest.fixture(autouse=True)
def _drawn_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same few charts are not drawn anew for each test."""
    monkeypatch.setattr(picture, "png", _drawn_once)


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with slack_server() as server:
        yield server


def sender(slack: SlackServer, url: str = BOT) -> SlackSender:
    return SlackSender(url, api=f"{slack.url}/api", hooks=f"{slack.url}/services", pace=0)


def message(told: Notice, *, thread: str = "", id: str = "dlv_1", face: Face = Face.RICH) -> Message:
    return replace(read(told, flavour=Flavour.SLACK, face=face), thread=thread, id=id)


def told(to: SlackSender, what: Message) -> tuple[Receipt, str]:
    receipt = to.send(what, 10)
    return receipt, channels.add(to, what, receipt)


def opened() -> Message:
    return message(story("cap"))


# --- what is added -----------------------------------------------------------------------------------


def test_the_chart_is_under_the_post_with_words_for_those_who_do_not_see_it(slack: SlackServer) -> None:
    receipt, hindered = told(sender(slack), opened())
    assert (receipt.outcome, hindered) == (Outcome.DELIVERED, "")
    drawn = picture.of(opened())
    assert drawn is not None
    (file,) = slack.files
    assert (file.octets, file.alt) == (drawn.png, drawn.words)
    assert (file.channel, file.under) == ("C0ALERTS", slack.posts[0].ts)
    assert [name for name, _ in slack.calls] == [
        "chat.postMessage",
        "files.getUploadURLExternal",
        "upload",
        "files.completeUploadExternal",
    ]


def test_it_is_shown_when_an_incident_opens_and_when_it_becomes_critical_and_not_again(slack: SlackServer) -> None:
    bot = sender(slack)
    first, _ = told(bot, opened())
    told(bot, message(story("cap"), thread=first.memo, id="dlv_2"))
    assert len(slack.files) == 1
    told(bot, message(notice(OVER, severity=Severity.CRITICAL), thread=first.memo, id="dlv_3"))
    told(bot, message(notice(OVER, severity=Severity.CRITICAL), thread=first.memo, id="dlv_4"))
    assert [file.under for file in slack.files] == [slack.posts[0].ts] * 2


def test_each_room_gets_it_once_all_have_the_message(slack: SlackServer) -> None:
    bot = sender(slack, f"{BOT}/#audit")
    slack.failures = [None, Answer(503, b"")]
    assert told(bot, opened())[0].outcome is Outcome.RETRY
    assert slack.files == []
    assert told(bot, opened())[0].outcome is Outcome.DELIVERED
    assert [file.channel for file in slack.files] == ["C0ALERTS", "C0AUDIT"]
    assert len(slack.top()) == 2


@pytest.mark.parametrize(
    "what",
    [
        message(notice(CAP, kind=Kind.RESOLVE)),
        message(story("cap"), face=Face.PLAIN),
        message(notice(replace(CAP, history=None))),
    ],
)
def test_what_has_no_chart_asks_for_no_place(what: Message, slack: SlackServer) -> None:
    assert told(sender(slack), what)[1] == ""
    assert slack.files == []
    assert len(slack.calls) == 1


def test_a_webhook_adds_nothing(slack: SlackServer) -> None:
    receipt, hindered = told(sender(slack, f"slack://{HOOK}"), opened())
    assert (receipt.outcome, hindered) == (Outcome.DELIVERED, "")
    assert [name for name, _ in slack.calls] == ["hook"]


# --- what hinders it ---------------------------------------------------------------------------------


def test_a_missing_scope_is_said_once_and_costs_the_message_nothing(slack: SlackServer) -> None:
    slack.scopes = {"chat:write"}
    bot = sender(slack)
    receipt, hindered = told(bot, opened())
    assert (receipt.outcome, hindered) == (Outcome.DELIVERED, MISSING)
    receipt, hindered = told(bot, replace(opened(), id="dlv_2", incident="inc_2"))
    assert (receipt.outcome, hindered) == (Outcome.DELIVERED, "")
    assert [name for name, _ in slack.calls].count("files.getUploadURLExternal") == 1
    assert len(slack.posts) == 2


@pytest.mark.parametrize(
    ("failures", "words"),
    [
        ([None, says("internal_error")], "the chart was left out: Slack says internal_error"),
        ([None, Answer(500, b"oops")], "the chart was left out: HTTP 500: oops"),
        ([None, Answer(200, b"<html>")], "the chart was left out: Slack says nothing that can be read"),
        ([None, None, Answer(413, b"")], "the chart was left out: HTTP 413"),
        ([None, None, None, says("file_not_found")], "the chart was left out: Slack says file_not_found"),
        ([None, says(f"no: {TOKEN}")], "the chart was left out: Slack says no: ***"),
        (
            [None, Answer(200, b'{"ok": true, "upload_url": "http://elsewhere.example/", "file_id": "F1"}')],
            "the chart was left out: Slack named no place for it",
        ),
        (
            [None, Answer(200, b'{"ok": true, "upload_url": "https://files.slack.com/x", "file_id": "F1"}')],
            "the chart was left out: Slack named no place for it",
        ),
        (
            [None, Answer(200, b'{"ok": true, "upload_url": "http://[/", "file_id": "F1"}')],
            "the chart was left out: Slack named no place for it",
        ),
        (
            [None, Answer(302, b"", {"Location": "http://127.0.0.1:9/"})],
            "the chart was left out: HTTP 302: redirect to host 127.0.0.1:9 refused",
        ),
    ],
)
def test_a_failed_upload_is_told_in_words_and_tried_again_with_the_next_incident(
    failures: list[Answer | None], words: str, slack: SlackServer
) -> None:
    bot = sender(slack)
    slack.failures = failures
    receipt, hindered = told(bot, opened())
    assert (receipt.outcome, hindered) == (Outcome.DELIVERED, words)
    assert told(bot, replace(opened(), id="dlv_2", incident="inc_2"))[1] == ""
    assert [file.under for file in slack.files if file.under] == [slack.posts[1].ts]


def test_a_slack_that_hangs_is_not_waited_for(slack: SlackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "ADDING_SECONDS", 0.0)
    assert told(sender(slack), opened())[1] == "the chart was left out: no time was left for it"


# --- in the lane -------------------------------------------------------------------------------------


def test_the_lane_reports_the_message_before_the_chart_is_sent(
    slack: SlackServer, caplog: pytest.LogCaptureFixture
) -> None:
    slack.scopes = {"chat:write"}
    answers: queue.SimpleQueue[LaneAnswer] = queue.SimpleQueue()
    calls_when_told: list[int] = []

    def report(answer: LaneAnswer) -> None:
        calls_when_told.append(len(slack.calls))
        answers.put(answer)

    with caplog.at_level(logging.WARNING, "budgetd"):
        both = (InThisThread({"team": sender(slack)}, report), Lanes({"team": sender(slack)}, report))
        for number, lanes in enumerate(both):
            lanes.offer("team", replace(opened(), id=f"dlv_{number}"), 10)
            assert answers.get(timeout=5).receipt.outcome is Outcome.DELIVERED
            ends = clock.monotonic() + 5
            while len(caplog.records) <= number and clock.monotonic() < ends:
                pass
            lanes.close()
    assert calls_when_told == [1, 3]
    assert [record.getMessage() for record in caplog.records] == [f"channel team: {MISSING}"] * 2


# --- budgetd notify ----------------------------------------------------------------------------------


def test_notify_says_what_the_app_may_not(slack: SlackServer) -> None:
    slack.scopes = {"chat:write"}
    (result,) = notify.try_out({"team": sender(slack)}, {"team": Flavour.SLACK}, NOW)
    assert (result.receipt.outcome, result.hindered) == (Outcome.DELIVERED, MISSING)
    first, *others = notify.lines(result, ["team"], Terminal())
    assert first.startswith("team  delivered in ")
    assert " ".join(" ".join(others).split()) == f"C{MISSING[1:]}."
    slack.scopes.add("files:write")
    (result,) = notify.try_out({"team": sender(slack)}, {"team": Flavour.SLACK}, NOW)
    assert result.hindered == ""
    assert [file.octets for file in slack.files] == [None]  # nothing is uploaded for a test


# --- as it is set up ---------------------------------------------------------------------------------


def test_over_tls_the_chart_goes_to_slacks_own_hosts_and_the_token_not_to_the_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slack = SlackServer()
    with tls_proxy(tmp_path) as proxy:
        proxy.answer = slack.tls
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(proxy.ca_file))
        assert told(SlackSender(BOT, pace=0), opened())[1] == ""
    assert [request.host for request in proxy.requests] == ["slack.com", "slack.com", "files.slack.com", "slack.com"]
    assert "Authorization" not in proxy.requests[2].headers
    assert slack.files[0].under == slack.posts[0].ts
