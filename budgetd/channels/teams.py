"""`workflows://`: Microsoft Teams, through the webhook of a workflow (Power Automate), as an Adaptive Card.

In Apprise's own forms of the URL; one with a template is left to Apprise. Teams has no idempotency key: what may have
arrived is sent once more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from budgetd import clock
from budgetd.channels import Kind, Sender, apprise
from budgetd.channels.urls import Secrets
from budgetd.message import Message
from budgetd.model import Outcome, Receipt

SCHEMES = ("workflow", "workflows")
_WORKFLOW = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_ROUTE = re.compile(r"[0-9]{1,40}", re.ASCII)
_VERSION = re.compile(r"[0-9A-Za-z.-]{1,40}", re.ASCII)
_YES = frozenset({"yes", "true", "1", "on", "y", "t", "enable", "enabled"})
_SECRET_OPTIONS = frozenset({"workflow", "id", "signature", "sig"})
_HEADERS = {"Content-Type": "application/json"}
# Power Automate's own word in `error.code`; these come as 400, and are not about the message.
_OUTCOMES = {
    "WorkflowNotFound": Outcome.GONE,
    "WorkflowTriggerNotFound": Outcome.GONE,
    "WorkflowTriggerIsNotEnabled": Outcome.GONE,
    "DirectApiAuthorizationRequired": Outcome.UNAUTHORISED,
    "DirectApiInvalidAuthorizationScheme": Outcome.UNAUTHORISED,
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads; `mistake` says why it leads nowhere."""

    address: str = field(default="", repr=False)
    mistake: str = ""
    foreign: bool = False


def target(url: str) -> Target:
    """What the URL says."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return Target(mistake="this is no URL")
    options = {key.lower(): text.strip() for key, text in parse_qsl(parts.query)}
    pieces = [unquote(piece) for piece in parts.path.split("/") if piece]
    workflow = options.get("workflow") or options.get("id") or (pieces.pop(0) if pieces else "")
    signature = options.get("signature") or options.get("sig") or (pieces.pop(0) if pieces else "")
    direct = options.get("powerautomate", options.get("pa", "")).lower() in _YES
    route = options.get("route") or options.get("routeid") or ""
    version = options.get("api-version") or options.get("ver") or ("2022-03-01-preview" if direct else "2016-06-01")
    mistake = _mistake(parts.hostname or "", workflow, signature, route, version)
    if mistake:
        return Target(mistake=mistake)
    way = "/powerautomate/automations/direct" if direct else ""
    way += f"/cu/{route}" if direct and route else ""
    asked = urlencode({"api-version": version, "sp": "/triggers/manual/run", "sv": "1.0", "sig": signature})
    where = f"{parts.hostname}:{port}" if port else parts.hostname
    address = f"https://{where}{way}/workflows/{workflow}/triggers/manual/paths/invoke?{asked}"
    return Target(address, foreign=bool(options.get("template")))


def _mistake(host: str, workflow: str, signature: str, route: str, version: str) -> str:
    if not host or not _WORKFLOW.fullmatch(workflow) or not _WORKFLOW.fullmatch(signature):
        return "workflows://HOST/WORKFLOW/SIGNATURE is expected, from the workflow's own URL (sig=...)"
    if route and not _ROUTE.fullmatch(route):
        return "route= is a number"
    return "" if _VERSION.fullmatch(version) else "there is no such api-version"


class TeamsSender:
    """A channel behind a workflow's URL. The workflow's id and signature are secrets."""

    def __init__(self, url: str, now: Callable[[], datetime] = clock.now) -> None:
        self._address = target(url).address
        self._scrub = Secrets(url, (), _public(url)).scrub
        self._now = now

    def send(self, message: Message, deadline: float) -> Receipt:
        """Post within `deadline` seconds. A 2xx says that the workflow took it, not that Teams has shown it."""
        from budgetd import posting  # late: rules are read and checked without it
        from budgetd.faces import teams as face

        answer = posting.post(self._address, face.body(message, self._now()), _HEADERS, deadline, self._scrub)
        if isinstance(answer, Receipt):
            return answer
        receipt = posting.receipt(answer, self._scrub)
        if receipt.outcome is Outcome.DELIVERED and answer.content_type == "text/html":
            return replace(receipt, outcome=Outcome.UNKNOWN)  # a page for people: whoever says this is no workflow
        known = _OUTCOMES.get(_code(answer.text)) if 400 <= answer.status < 500 else None
        return replace(receipt, outcome=known) if known is not None else receipt


def _code(text: str) -> str:
    try:
        code = json.loads(text)["error"]["code"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return code if isinstance(code, str) else ""


def _sender(url: str, _secrets: Sequence[str]) -> Sender:
    return apprise.AppriseSender(url) if target(url).foreign else TeamsSender(url)


def _explain(url: str) -> str | None:
    found = target(url)
    return apprise.explain_url(url) if found.foreign else found.mistake or None


def _public(url: str) -> Collection[str]:
    """The host, and of the options those that are no secrets: `yes` must not be hidden everywhere."""
    parts = urlsplit(url)
    options = [text for key, text in parse_qsl(parts.query) if key.lower() not in _SECRET_OPTIONS]
    return (parts.netloc.rpartition("@")[2], parts.hostname or "", *options)


KIND = Kind(SCHEMES, _sender, _explain, public=_public)
