"""The simulated services as they are on the wire: what the real senders post is kept here as the service keeps it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from budgetd.channels import Sender
from budgetd.channels.alertmanager import AlertmanagerSender
from budgetd.channels.pagerduty import PagerDutySender
from budgetd.channels.slack import SlackSender
from budgetd.channels.webhook import WebhookSender
from budgetd.message import Message
from budgetd.posting import Answer
from tests.simulation.crashes import BrokenPromiseError

# Slack's own limits: https://docs.slack.dev/reference/block-kit/blocks
_BLOCKS, _HEADER, _SECTION, _FIELDS = 50, 150, 3000, 10
_PAGERDUTY_BYTES, _PAGERDUTY_SUMMARY = 512 * 1024, 1024


class Desk(Protocol):
    """A service that takes posts. Raises BrokenPromiseError for what it could not take."""

    def accept(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Take it for good, and say so."""
        ...

    def tells(self, url: str) -> bool:
        """Whether people hear of such a post."""
        ...


class PagerDutyDesk:
    """PagerDuty's Events API v2: incidents by their routing and dedup keys, open until they are resolved."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], str] = {}
        self.about: dict[tuple[str, str], tuple[str, ...]] = {}
        self.message: Message | None = None

    def accept(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """A trigger opens or updates, an acknowledgement changes what is open, a resolve closes."""
        event = json.loads(body)
        key, action = (event["routing_key"], event["dedup_key"]), event["event_action"]
        if len(body) > _PAGERDUTY_BYTES or len(event.get("payload", {}).get("summary", "")) > _PAGERDUTY_SUMMARY:
            raise BrokenPromiseError(f"PagerDuty was sent too much: {key}")
        if action == "trigger":
            self.open[key] = "triggered"
            self.about[key] = tuple(notice.incident for notice in self.message.notices) if self.message else ()
        elif action == "resolve":
            self.open.pop(key, None)
        elif key in self.open:
            self.open[key] = "acknowledged"
        return Answer(202, json.dumps({"status": "success", "dedup_key": key[1]}), "application/json")

    def tells(self, url: str) -> bool:
        """Every event does."""
        return True


class AlertmanagerDesk:
    """Alertmanager's API v2: alerts by their labels; one is over when its end is not ahead any more."""

    def __init__(self) -> None:
        self.ends: dict[frozenset[tuple[str, str]], datetime] = {}
        self.clock_is_right = True

    def accept(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """A known alert is brought up to date, a new one begins."""
        for alert in json.loads(body):
            labels = frozenset(alert["labels"].items())
            if not dict(labels).get("alertname") or not all(text for _, text in labels):
                raise BrokenPromiseError(f"Alertmanager was sent labels that it does not take: {alert['labels']}")
            # An end that a wrong clock has put into the future is nothing to blame anybody for.
            end = datetime.fromisoformat(alert["endsAt"])
            self.ends[labels] = end if self.clock_is_right else datetime.min.replace(tzinfo=UTC)
        return Answer(200, "", "application/json")

    def firing(self, wall: datetime) -> set[str]:
        """The incidents of which an alert is not over by then."""
        known = [dict(labels).get("incident", "") for labels, end in self.ends.items() if end > wall]
        return set(filter(None, known))

    def tells(self, url: str) -> bool:
        """Every alert does."""
        return True


class WebhookDesk:
    """A receiver that knows messages by their id, as the standard has it: the same id is the same message."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[Any, ...]] = {}

    def accept(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Taken; the same again changes nothing, and something else under a known id is a fault."""
        known, event = headers["webhook-id"], json.loads(body)
        alerts = event["data"].get("alerts", [event["data"]])
        said = tuple(sorted(alert["notice"] for alert in alerts))
        if event["data"]["id"] != known or not set(said) <= set(self.seen.setdefault(known, said)):
            raise BrokenPromiseError(f"the webhook's id {known} names two messages: {self.seen.get(known)}, {said}")
        return Answer(200, "ok")

    def tells(self, url: str) -> bool:
        """Every event does."""
        return True


class SlackDesk:
    """Slack's Web API in one room: posts by their time stamp, and the threads under them."""

    def __init__(self) -> None:
        self.posts: dict[str, list[str]] = {}
        self._count = 0

    def accept(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """A post, a reply in the thread of a post, or an update of one."""
        payload = json.loads(body)
        _check_blocks(payload.get("blocks", []))
        if url.endswith("chat.update"):
            return self._said(payload["ts"] in self.posts, payload["ts"])
        self._count += 1
        stamp = f"{1_700_000_000 + self._count}.000100"
        thread = payload.get("thread_ts")
        if thread is None:
            self.posts[stamp] = []
            return self._said(True, stamp)
        if thread not in self.posts:
            raise BrokenPromiseError(f"Slack was sent a reply to {thread}, which it does not have")
        self.posts[thread].append(stamp)
        return self._said(True, stamp)

    def tells(self, url: str) -> bool:
        """An update is seen by whoever looks, and tells nobody."""
        return not url.endswith("chat.update")

    def _said(self, known: bool, stamp: str) -> Answer:
        body = (
            {"ok": True, "channel": "C024BE91L", "ts": stamp} if known else {"ok": False, "error": "message_not_found"}
        )
        return Answer(200, json.dumps(body), "application/json")


def _check_blocks(blocks: list[dict[str, Any]]) -> None:
    """Over any of its limits, Slack refuses the whole message."""
    texts = [(block["type"], block.get("text", {}).get("text", "")) for block in blocks]
    fits = len(blocks) <= _BLOCKS and all(len(block.get("fields", ())) <= _FIELDS for block in blocks)
    fits = fits and all(len(text) <= (_HEADER if kind == "header" else _SECTION) for kind, text in texts)
    if not fits:
        raise BrokenPromiseError("Slack was sent more than it takes")


def equipment(url: str, now: Callable[[], datetime]) -> tuple[Sender, Desk] | None:
    """The real sender of a channel and the service that it posts to; None: the channel takes messages as they are."""
    kinds: dict[str, Callable[[], tuple[Sender, Desk]]] = {
        "pagerduty": lambda: (PagerDutySender(url), PagerDutyDesk()),
        "webhooks": lambda: (WebhookSender(url, (), now), WebhookDesk()),
        "alertmanagers": lambda: (AlertmanagerSender(url, (), now), AlertmanagerDesk()),
        "slack": lambda: (SlackSender(url, pace=0.0), SlackDesk()),
    }
    made = kinds.get(url.partition(":")[0])
    return made() if made is not None else None
