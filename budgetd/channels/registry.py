"""Which file a channel's URL is sent by: a native one for these kinds, Apprise for every other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from budgetd.channels import Kind, Sender, alertmanager, apprise, console, mail, pagerduty, slack, teams, webhook
from budgetd.channels.urls import Secrets, scheme
from budgetd.message import Flavour

# A new channel is one file, and its line here.
KINDS: tuple[Kind, ...] = (
    alertmanager.KIND,
    console.KIND,
    mail.KIND,
    pagerduty.KIND,
    slack.KIND,
    teams.KIND,
    webhook.KIND,
)
_BY_SCHEME = {word: kind for kind in KINDS for word in kind.schemes}

SCHEMES = frozenset(_BY_SCHEME)
PAGERS = frozenset(word for word, kind in _BY_SCHEME.items() if kind.pager)


def native(url: str) -> Kind | None:
    """The kind of a URL that is not left to Apprise."""
    return _BY_SCHEME.get(scheme(url))


def sender(url: str, secrets: Sequence[str] = ()) -> Sender:
    """What sends to the URL. `secrets` sign what goes out, where the kind does so."""
    kind = native(url)
    return kind.sender(url, secrets) if kind is not None else apprise.AppriseSender(url)


def flavour(url: str) -> Flavour:
    """The kind of text that the service shows."""
    kind = native(url)
    return kind.flavour if kind is not None else apprise.flavour(url)


def secrets(url: str, signing: Sequence[str] = ()) -> Secrets:
    """All that must not be shown of a channel."""
    kind = _usable(url)
    return Secrets(url, signing, kind.public(url) if kind is not None else ())


def explain(url: str) -> str | None:
    """Why a channel cannot have this URL, in one sentence without its secrets; None when it can. No network."""
    kind = native(url)
    return kind.explain(url) if kind is not None else apprise.explain_url(url, SCHEMES)


def remark(url: str, signing: Sequence[str] = ()) -> str | None:
    """What is odd about a channel that can be used, without its secrets; None: nothing."""
    kind = _usable(url)
    return kind.remark(url, signing) if kind is not None else None


def _usable(url: str) -> Kind | None:
    kind = native(url)
    return kind if kind is not None and kind.explain(url) is None else None


def resent(urls: Mapping[str, str]) -> dict[str, timedelta]:
    """Of the channels by name: those that are told again what is firing, and how often."""
    kinds = ((name, native(url)) for name, url in urls.items())
    return {name: kind.resent for name, kind in kinds if kind is not None and kind.resent is not None}


def keyed(url: str) -> bool:
    """Whether a message that is sent twice is known there as one."""
    kind = native(url)
    return kind is not None and kind.keyed


def signs(url: str) -> bool:
    """Whether such a channel takes signing secrets."""
    kind = native(url)
    return kind is not None and kind.signs


def texts(url: str) -> tuple[str, ...]:
    """Which of title and body an operator may write for such a channel."""
    kind = native(url)
    return kind.texts if kind is not None else ("title", "body")
