"""The simulated services behind the channels: what the real senders hand in is kept here as each service keeps it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Any

from budgetd.message import Message
from budgetd.posting import Answer
from tests.simulation.crashes import BrokenPromiseError

# Slack's own limits: https://docs.slack.dev/reference/block-kit/blocks
_BLOCKS, _HEADER, _SECTION, _FIELDS = 50, 150, 3000, 10
_PAGERDUTY_BYTES, _PAGERDUTY_SUMMARY = 512 * 1024, 1024
# https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
_TEAMS_BYTES = 28 * 1024
# https://discord.com/developers/docs/resources/message
_DISCORD_CONTENT, _DISCORD_EMBEDS, _DISCORD_ALL = 2000, 10, 6000
# RFC 5322, 2.1.1, without the line's end.
_MAIL_LINE = 998


class Desk:
    """A service that takes what is handed in. `message` is what the daemon is sending to it right now."""

    def __init__(self) -> None:
        self.message: Message | None = None

    def accept(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Take it for good, and say so. Raises BrokenPromiseError for what the service could not take."""
        raise NotImplementedError

    def tells(self, url: str) -> bool:
        """Whether people hear of what is handed in there."""
        return True

    def _refuse(self, why: str) -> None:
        raise BrokenPromiseError(f"{type(self).__name__} was sent {self.message.id if self.message else '?'}: {why}")


class PagerDutyDesk(Desk):
    """PagerDuty's Events API v2: incidents by their routing and dedup keys, open until they are resolved."""

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[tuple[str, str], str] = {}
        self.about: dict[tuple[str, str], tuple[str, ...]] = {}

    def accept(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """A trigger opens or updates, an acknowledgement changes what is open, a resolve closes."""
        event = json.loads(body)
        key, action = (event["routing_key"], event["dedup_key"]), event["event_action"]
        if len(body) > _PAGERDUTY_BYTES or len(event.get("payload", {}).get("summary", "")) > _PAGERDUTY_SUMMARY:
            self._refuse(f"too much for {key}")
        if action == "trigger":
            self.open[key] = "triggered"
            self.about[key] = tuple(notice.incident for notice in self.message.notices) if self.message else ()
        elif action == "resolve":
            self.open.pop(key, None)
        elif key in self.open:
            self.open[key] = "acknowledged"
        return Answer(202, json.dumps({"status": "success", "dedup_key": key[1]}), "application/json")


class AlertmanagerDesk(Desk):
    """Alertmanager's API v2: alerts by their labels; one is over when its end is not ahead any more."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[frozenset[tuple[str, str]], datetime] = {}
        self.clock_is_right = True

    def accept(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """A known alert is brought up to date, a new one begins."""
        for alert in json.loads(body):
            labels = frozenset(alert["labels"].items())
            if not dict(labels).get("alertname") or not all(text for _, text in labels):
                self._refuse(f"labels that it does not take: {alert['labels']}")
            # An end that a wrong clock has put into the future is nothing to blame anybody for.
            end = datetime.fromisoformat(alert["endsAt"])
            self.ends[labels] = end if self.clock_is_right else datetime.min.replace(tzinfo=UTC)
        return Answer(200, "", "application/json")

    def firing(self, wall: datetime) -> set[str]:
        """The incidents of which an alert is not over by then."""
        known = [dict(labels).get("incident", "") for labels, end in self.ends.items() if end > wall]
        return set(filter(None, known))


class WebhookDesk(Desk):
    """A receiver that knows messages by their id, as the standard has it: the same id is the same message."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, tuple[Any, ...]] = {}

    def accept(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Taken; the same again changes nothing, and something else under a known id is a fault."""
        known, event = headers["webhook-id"], json.loads(body)
        alerts = event["data"].get("alerts", [event["data"]])
        said = tuple(sorted(alert["notice"] for alert in alerts))
        if event["data"]["id"] != known or not set(said) <= set(self.seen.setdefault(known, said)):
            self._refuse(f"the id {known} names two messages: {self.seen.get(known)}, {said}")
        return Answer(200, "ok")


class SlackDesk(Desk):
    """Slack's Web API in one room: posts by their time stamp, and the threads under them."""

    def __init__(self) -> None:
        super().__init__()
        self.posts: dict[str, list[str]] = {}
        self._count = 0

    def accept(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """A post, a reply in the thread of a post, or an update of one."""
        payload = json.loads(body)
        self._check(payload)
        if url.endswith("chat.update"):
            return self._said(payload["ts"] in self.posts, payload["ts"])
        self._count += 1
        stamp = f"{1_700_000_000 + self._count}.000100"
        thread = payload.get("thread_ts")
        if thread is None:
            self.posts[stamp] = []
            return self._said(True, stamp)
        if thread not in self.posts:
            self._refuse(f"a reply to {thread}, which it does not have")
        self.posts[thread].append(stamp)
        return self._said(True, stamp)

    def tells(self, url: str) -> bool:
        """An update is seen by whoever looks, and tells nobody."""
        return not url.endswith("chat.update")

    def _check(self, payload: Mapping[str, Any]) -> None:
        """Over any of its limits, Slack refuses the whole message."""
        blocks = payload.get("blocks", [])
        texts = [(block["type"], block.get("text", {}).get("text", "")) for block in blocks]
        fits = len(blocks) <= _BLOCKS and all(len(block.get("fields", ())) <= _FIELDS for block in blocks)
        fits = fits and all(len(text) <= (_HEADER if kind == "header" else _SECTION) for kind, text in texts)
        if not fits or not payload["text"]:
            self._refuse("more than it takes, or nothing for a notification")

    def _said(self, known: bool, stamp: str) -> Answer:
        body = (
            {"ok": True, "channel": "C024BE91L", "ts": stamp} if known else {"ok": False, "error": "message_not_found"}
        )
        return Answer(200, json.dumps(body), "application/json")


class SlackHookDesk(SlackDesk):
    """Slack's incoming webhook: posts into its own room, and nothing else."""

    def accept(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """A post of its own: a webhook knows no other."""
        payload = json.loads(body)
        self._check(payload)
        if {"thread_ts", "ts", "reply_broadcast"} & payload.keys():
            self._refuse("a webhook cannot answer or change a post")
        return Answer(200, "ok", "text/html")


class TeamsDesk(Desk):
    """The workflow behind a Teams channel: it posts one card."""

    def accept(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """A card that Teams can show, with words for whoever cannot see it."""
        posted = json.loads(body)
        cards = [each["content"] for each in posted["attachments"]]
        whole = len(cards) == 1 and cards[0]["type"] == "AdaptiveCard" and cards[0]["body"] and cards[0]["fallbackText"]
        if posted["type"] != "message" or not whole or len(body) > _TEAMS_BYTES:
            self._refuse(f"no card that Teams shows, or too large: {len(body)} octets")
        return Answer(202)


class MailDesk(Desk):
    """A mail server: mails by their Message-ID, and the stories that they belong to."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: dict[str, str] = {}
        self.stories: dict[str, str] = {}

    def accept(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The same Message-ID is the same message; one story in all mails of an incident, and in no other's."""
        mail = message_from_bytes(body, policy=policy.default)
        if mail.defects or any(len(line) > _MAIL_LINE for line in body.split(b"\r\n")) or not body.isascii():
            self._refuse(f"a mail that is none: {mail.defects}")
        if not mail["Subject"] or mail["Auto-Submitted"] != "auto-generated" or mail.get_body(("plain",)) is None:
            self._refuse("a mail without a subject or plain words, or that does not say that it is a machine's")
        assert self.message is not None
        self._same(self.mails, mail["Message-ID"], self.message.id)
        if mail["References"] is not None:
            self._same(self.stories, mail["References"], self.message.incident)
        return Answer(250)

    def _same(self, known: dict[str, str], name: str, meant: str) -> None:
        if known.setdefault(name, meant) != meant or list(known.values()).count(meant) > 1:
            self._refuse(f"{name} stands for {known[name]}, and is used for {meant}")


class DiscordDesk(Desk):
    """Discord's webhook, which Apprise posts to: text and embeds within their limits."""

    def accept(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """A post, and no word on it."""
        post = json.loads(body)
        embeds = post.get("embeds", [])
        words = [str(each.get(part) or "") for each in embeds for part in ("title", "description")]
        fits = len(post.get("content") or "") <= _DISCORD_CONTENT and len(embeds) <= _DISCORD_EMBEDS
        if not fits or sum(map(len, words)) > _DISCORD_ALL or not (post.get("content") or embeds):
            self._refuse(f"nothing, or more than it takes: {len(body)} octets")
        return Answer(204)


class ConsoleDesk(Desk):
    """Standard output as somebody reads it: whole lines of JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.output = os.memfd_create("console")

    def __del__(self) -> None:
        os.close(self.output)

    def read(self) -> bool:
        """Whether the message, and nothing else, was printed since it was last asked."""
        size = os.lseek(self.output, 0, os.SEEK_CUR)
        printed = os.pread(self.output, size, 0)
        os.ftruncate(self.output, 0)
        os.lseek(self.output, 0, os.SEEK_SET)
        if not printed:
            return False
        known = json.loads(printed)["data"]["id"]
        if not printed.endswith(b"\n") or self.message is None or known != self.message.id:
            self._refuse(f"something else was printed: {known}")
        return True
