"""`pagerduty://KEY@SOURCE`: PagerDuty's Events API v2, one incident of theirs for each of ours.

Apprise's own form `pagerduty://KEY@APIKEY/SOURCE/COMPONENT` is understood too; the API key has no use here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from urllib.parse import parse_qsl, unquote, urlsplit

from budgetd import clock
from budgetd.channels import Kind
from budgetd.channels.pagerduty_event import Target, encoded, events
from budgetd.channels.urls import Secrets
from budgetd.message import Message
from budgetd.model import Outcome, Receipt

ADDRESSES = {
    "us": "https://events.pagerduty.com/v2/enqueue",
    "eu": "https://events.eu.pagerduty.com/v2/enqueue",
}
SEVERITIES = ("critical", "error", "warning", "info")
# Their documentation's "a few minutes", for a 429 that names no time.
A_FEW_MINUTES = 180.0
# A REST API key of theirs, where Apprise has it: it must not be shown as the source of an event.
_API_KEY = re.compile(r"(?=.*[0-9])(?=.*[A-Z+_-])[A-Za-z0-9+_-]{20}|[A-Za-z0-9]{32}", re.ASCII)


class PagerDutySender:
    """Tells one service of PagerDuty. The integration key is a secret: it is in the events' bodies and nowhere else."""

    def __init__(self, url: str, _secrets: Sequence[str] = ()) -> None:
        self._target, region = target(url)
        self._address = ADDRESSES.get(region, ADDRESSES["us"])
        self._scrub = Secrets(url, (), _public(url)).scrub

    def send(self, message: Message, deadline: float) -> Receipt:
        """Send within `deadline` seconds. A repetition changes nothing: the key is the same."""
        ends = clock.monotonic() + deadline
        receipt = Receipt(Outcome.DELIVERED)
        for event in events(message, self._target):
            receipt = self._post(encoded(event), ends - clock.monotonic())
            if receipt.outcome is not Outcome.DELIVERED:
                break
        return receipt

    def _post(self, body: bytes, seconds: float) -> Receipt:
        from budgetd import posting  # late: rules are read and checked without it

        answer = posting.post(self._address, body, {"Content-Type": "application/json"}, seconds, self._scrub)
        if isinstance(answer, Receipt):
            return answer
        receipt = posting.receipt(answer, self._scrub)
        if receipt.outcome is Outcome.RATE_LIMITED and receipt.after is None:
            return replace(receipt, after=A_FEW_MINUTES)
        if receipt.outcome is Outcome.DELIVERED and answer.status != 202:
            # Whoever says this, it is not their events API, which says 202.
            return replace(receipt, outcome=Outcome.UNKNOWN)
        return receipt


def target(url: str) -> tuple[Target, str]:
    """What the URL says, and the region. Raises ValueError when it is no URL."""
    parts = urlsplit(url)
    words = {key.lower(): text.strip() for key, text in parse_qsl(parts.query)}
    login, _, host = parts.netloc.rpartition("@")
    path = [unquote(piece) for piece in parts.path.split("/") if piece]
    named = "" if _API_KEY.fullmatch(host) else unquote(host)
    found = Target(
        routing_key=unquote(login),
        source=words.get("source") or next(iter(path), named) or "budgetd",
        component=words.get("component") or "".join(path[1:2]),
        group=words.get("group", ""),
        event_class=words.get("class", ""),
        severity=words.get("severity", "").lower(),
        link=words.get("click", ""),
    )
    return found, words.get("region", "us").lower()


def _explain(url: str) -> str | None:
    try:
        found, region = target(url)
    except ValueError:
        return "this is no URL"
    if not found.routing_key:
        return "the integration key is missing: it stands before an @"
    if region not in ADDRESSES:
        return f"PagerDuty has no such region; they are {' and '.join(ADDRESSES)}"
    if found.severity and found.severity not in SEVERITIES:
        return f"PagerDuty has no such severity; they are {', '.join(SEVERITIES)}"
    return None


def _public(url: str) -> Collection[str]:
    """What names the event and not the service."""
    found, region = target(url)
    return (found.source, found.component, found.group, found.event_class, found.severity, region)


KIND = Kind(("pagerduty",), PagerDutySender, _explain, public=_public, pager=True, texts=("title",), keyed=True)
