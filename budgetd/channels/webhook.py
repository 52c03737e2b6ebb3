"""`webhook://` and `webhooks://`: the budget event as JSON, signed as Standard Webhooks (standardwebhooks.com) asks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from budgetd import clock
from budgetd.channels import Kind
from budgetd.channels.signature import signed_headers
from budgetd.channels.urls import Secrets, basic_login, is_near, words_of
from budgetd.message import Message
from budgetd.model import Receipt

_JSON = "application/json"
_CLOUDEVENT = "application/cloudevents+json"
# The one part of the query that is for us and not for the receiver.
_AS_CLOUDEVENT = re.compile(r"(?:^|&)cloudevents=(1|yes|true)(?=&|$)", re.IGNORECASE)


class WebhookSender:
    """Posts to one address. The secrets sign, the newest first; without any the events go unsigned."""

    def __init__(self, url: str, secrets: Sequence[str] = (), now: Callable[[], datetime] = clock.now) -> None:
        parts = urlsplit(url)
        query = _AS_CLOUDEVENT.sub("", parts.query)
        kind = "https" if parts.scheme == "webhooks" else "http"
        host = parts.netloc.rpartition("@")[2]
        self._address = parts._replace(scheme=kind, netloc=host, query=query.lstrip("&"), fragment="").geturl()
        self._login = basic_login(parts.netloc.rpartition("@")[0])
        self._as_cloudevent = query != parts.query
        self._signing = tuple(secrets)
        self._scrub = Secrets(url, secrets, _public(url)).scrub
        self._now = now

    def send(self, message: Message, deadline: float) -> Receipt:
        """Post within `deadline` seconds; every 2xx answer is a yes, whatever it says besides."""
        from budgetd import posting  # late: rules are read and checked without it

        content = cloudevent(message) if self._as_cloudevent else message.data
        body = json.dumps(content, separators=(",", ":")).encode()
        headers = {
            "Content-Type": _CLOUDEVENT if self._as_cloudevent else _JSON,
            **self._login,
            **signed_headers(message.id, int(self._now().timestamp()), body, self._signing),
        }
        answer = posting.post(self._address, body, headers, deadline, self._scrub)
        # Also a page for people with a 200 is a yes, as the standard has it; the receipt shows how it begins.
        return answer if isinstance(answer, Receipt) else posting.receipt(answer, self._scrub)


def cloudevent(message: Message) -> dict[str, Any]:
    """The event in CloudEvents 1.0's structured form. `id` is the same on every attempt."""
    event = {
        "specversion": "1.0",
        "id": message.id,
        "source": "/budgetd",
        "type": message.data["type"],
        "datacontenttype": _JSON,
        "data": message.data["data"],
    }
    optional = {"time": message.data.get("timestamp"), "subject": message.incident}
    return event | {name: value for name, value in optional.items() if value}


def _explain(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    return None if usable else "this URL has no host, or a port that is none"


def _remark(url: str, secrets: Sequence[str]) -> str | None:
    parts = urlsplit(url)
    found: list[str] = []
    if parts.scheme == "webhook" and not is_near(parts.hostname or ""):
        found.append("webhook:// goes out in the clear, for everybody on the way to read; webhooks:// is encrypted")
    if not secrets:
        found.append("without `secret:` nothing is signed: whoever knows the URL can make up alerts")
    return "; ".join(found) or None


def _public(url: str) -> Collection[str]:
    """A receiver's host may be a single word."""
    parts = urlsplit(url)
    return (parts.netloc.rpartition("@")[2], parts.hostname or "", *words_of(parts.path))


KIND = Kind(("webhook", "webhooks"), WebhookSender, _explain, _remark, _public, signs=True, texts=(), keyed=True)
