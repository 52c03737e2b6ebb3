"""Any Apprise URL as a channel: one plug-in, called directly, with the reason of every failure.

HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE and ~/.netrc hold, as for every program that uses `requests`.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Collection, Iterator
from typing import Any

from budgetd.channels.urls import Secrets, scheme
from budgetd.message import Flavour, Message
from budgetd.model import Face, Kind, Outcome, Receipt, Severity
from budgetd.nearest import nearest

DETAIL_LIMIT = 500
REMEMBERED = 256
# Seconds between two sends: Slack's pace. The 5.5 that most plug-ins have would eat a third of a page's deadline.
LONGEST_PAUSE = 1.2

# What plug-ins raise although they should answer no; `requests` and `smtplib` errors are OSErrors.
PLUGIN_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
_INSTEAD = {
    "http": "webhook://",
    "https": "webhooks://",
    "smtp": "mailto://",
    "smtps": "mailtos://",
    "email": "mailtos://",
    "mail": "mailtos://",
    "telegram": "tgram://",
    "teams": "workflows://",
    "msteams": "workflows://",
}
# Of several targets the one that is worth another try decides.
_URGENCY = (
    Outcome.RATE_LIMITED,
    Outcome.UNKNOWN,
    Outcome.RETRY,
    Outcome.UNAUTHORISED,
    Outcome.GONE,
    Outcome.REJECTED,
)
_loading = threading.Lock()


def _load() -> Any:
    """Apprise, ready for use. Its import and plug-ins cost 200-300 ms, so it is done at the first need."""
    with _loading:
        import apprise

        from budgetd.channels import tap

        tap.install()
        return apprise


def _plugin_errors() -> tuple[type[Exception], ...]:
    return (*PLUGIN_ERRORS, _load().exception.AppriseException)


def _plugin(url: str) -> Any:
    """The plug-in for the URL, None when Apprise does not understand it. Raises one of `PLUGIN_ERRORS`."""
    apprise = _load()
    asset = apprise.AppriseAsset(
        app_id="budgetd",
        app_desc="budgetd",
        app_url="",
        image_url_mask="",  # no pictures from a third party's server in messages
        image_url_logo="",
        http_redirects=False,
        storage_mode="memory",
        interpret_emojis=False,
        pgp_autogen=False,
        pem_autogen=False,
    )
    with _loading:  # the first one loads all plug-ins; they cannot be loaded by two threads at once
        return apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=False)


def flavour(url: str) -> Flavour:
    """The kind of text that the URL's service shows."""
    return Flavour.SLACK if scheme(url) == "slack" else Flavour.TEXT


class AppriseSender:
    """A channel behind an Apprise URL. The URL is a secret: it is neither shown nor logged."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._secrets = Secrets(url)
        # A thread that was given up may still hold its plug-in; a fresh thread must get its own.
        self._own = threading.local()
        self._accepted: dict[str, set[Any]] = {}

    @property
    def flavour(self) -> Flavour:
        """The kind of text that the service shows."""
        return flavour(self._url)

    def send(self, message: Message, deadline: float) -> Receipt:
        """Send within `deadline` seconds; the receipt's detail holds no part of the URL."""
        _load()
        from budgetd.channels import tap

        with tap.watch(deadline, self._secrets.scrub, message.id) as seen:
            try:
                plugin = self._ready(deadline)
                if plugin is None:
                    return self._receipt(Outcome.GONE, "Apprise does not understand this channel's URL")
                too_long = _too_long(plugin, message)
                if too_long:
                    return self._receipt(Outcome.REJECTED, too_long)
                accepted = self._notify(plugin, message, deadline)
            except _plugin_errors() as error:
                seen.failed(Outcome.RETRY, f"the plug-in failed: {type(error).__name__}: {tap.excerpt(str(error))}")
                accepted = False
        if accepted and not seen.redirected:
            self._accepted.pop(message.id, None)
            return Receipt(Outcome.DELIVERED)
        return self._failure(seen.failures or seen.doubts[-1:], seen.remarks)

    def _ready(self, deadline: float) -> Any:
        plugin = getattr(self._own, "plugin", None)
        if plugin is None:
            plugin = self._own.plugin = _plugin(self._url)
            _shorten_pauses(plugin)
        if plugin is not None:
            plugin.redirects = False  # also against ?redirect=yes in the URL
            plugin.socket_connect_timeout = min(plugin.socket_connect_timeout, deadline)
            plugin.request_rate_per_sec = min(plugin.request_rate_per_sec, LONGEST_PAUSE)
        return plugin

    def _notify(self, plugin: Any, message: Message, deadline: float) -> bool:
        apprise = _load()
        _stamp(plugin, message)
        with self._targets_once(message.id):
            if self.flavour is Flavour.SLACK:
                # The body is Slack's own markup already: past the plug-in's conversion, which would escape it again.
                return bool(
                    plugin.send(
                        body=message.body,
                        title=message.title,
                        notify_type=apprise.NotifyType(_notify_type(message)),
                        body_format=apprise.NotifyFormat.MARKDOWN,
                        body_passthrough=False,
                    )
                )
            return bool(
                plugin.notify(
                    body=message.body,
                    title=message.title,
                    notify_type=_notify_type(message),
                    body_format=apprise.NotifyFormat.TEXT,
                    overflow=apprise.OverflowMode.TRUNCATE,
                )
            )

    @contextlib.contextmanager
    def _targets_once(self, id: str) -> Iterator[None]:
        """Remember which of the URL's targets took the message, so that only the others get the next attempt."""
        from apprise.plugins import base

        while len(self._accepted) >= REMEMBERED:
            self._accepted.pop(next(iter(self._accepted)))
        token = base._delivery_tracker.set(self._accepted.setdefault(id, set()))
        try:
            yield
        finally:
            base._delivery_tracker.reset(token)

    def _failure(self, failures: list[Receipt], remarks: list[str]) -> Receipt:
        if not failures:
            return self._receipt(Outcome.RETRY, "; ".join(remarks) or "the plug-in could not send it")
        worst = min(failures, key=lambda failure: _URGENCY.index(failure.outcome))
        waits = [failure.after for failure in failures if failure.after is not None]
        return self._receipt(worst.outcome, worst.detail, max(waits, default=None))

    def _receipt(self, outcome: Outcome, detail: str, after: float | None = None) -> Receipt:
        return Receipt(outcome, self._secrets.scrub(detail)[:DETAIL_LIMIT], after)


def _shorten_pauses(plugin: Any) -> None:
    """A plug-in that would sleep for as long as the service says gets a 429 instead, which the schedule heeds."""
    throttle = getattr(plugin, "throttle", None)
    if throttle is not None:
        plugin.throttle = lambda last_io=None, wait=None: throttle(last_io, wait and min(wait, LONGEST_PAUSE))


def _notify_type(message: Message) -> str:
    if message.kind is Kind.RESOLVE:
        return "success"
    return {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}[message.severity]


def _too_long(plugin: Any, message: Message) -> str:
    """Why the service would not take it, so that a simpler face goes out instead of a cut one."""
    if message.face is Face.MINIMAL:
        return ""
    length = len(message.body) + (len(message.title) + 2 if plugin.title_maxlen <= 0 else 0)
    if length <= plugin.body_maxlen:
        return ""
    return f"{length:,} characters are more than the {plugin.body_maxlen:,} that the service takes"


def _stamp(plugin: Any, message: Message) -> None:
    """Give the message's stable id, and where there is room its facts, to services that have a place for them."""
    kind = plugin.__class__.__name__
    if kind == "NotifyJSON":
        given = getattr(plugin, "budgetd_given", None) or (dict(plugin.payload_extras), dict(plugin.headers))
        plugin.budgetd_given = given  # what the URL itself asks for stays in force
        facts = {"id": message.id, "event": message.data.get("type"), **_facts(message)}
        plugin.payload_extras = {**facts, **given[0]}
        plugin.headers = {"Idempotency-Key": message.id, **given[1]}
    elif kind == "NotifyEmail":
        plugin.headers = {**plugin.headers, "Auto-Submitted": "auto-generated", "X-Budgetd-Id": message.id}


def _facts(message: Message) -> dict[str, Any]:
    return {key: message.data[key] for key in ("timestamp", "data") if key in message.data}


def explain_url(url: str, others: Collection[str] = ()) -> str | None:
    """Why a channel cannot have this URL, in one sentence without its secrets; None when it can. No network.

    `others` are schemes beside Apprise's that may have been meant.
    """
    kind = scheme(url)
    if not kind:
        return "this is not an Apprise URL, it has no scheme; it looks like slack://..., mailtos://..., json://..."
    _load()
    from budgetd.channels import tap

    with tap.watch(0.0, Secrets(url).scrub) as seen:
        try:
            plugin = _plugin(url)
        except _plugin_errors() as error:
            reason = seen.remarks[-1] if seen.remarks else tap.excerpt(str(error))
            return _cannot(kind, Secrets(url).scrub(reason))
    if plugin is not None:
        return None
    known = _schemes()
    if kind in known:
        missing = any("disabled on this system" in remark for remark in seen.remarks)
        return _cannot(kind, "it needs a library that is not installed" if missing else "")
    return f"Apprise has no service {_shown(kind)}://{_did_you_mean(kind, [*known, *others])}"


def _cannot(kind: str, reason: str) -> str:
    why = f": {reason.rstrip('.')}" if reason else ", parts of it are missing or wrong"
    return f"Apprise cannot use this {_shown(kind)}:// URL{why}"


def _shown(kind: str) -> str:
    return re.sub(r"[^a-z0-9+.-]", "?", kind)[:30]


def _did_you_mean(kind: str, known: list[str]) -> str:
    found = nearest(kind, known)
    meant = _INSTEAD.get(kind) or (f"{found}://" if found else "")
    return f"; did you mean {meant}?" if meant else ""


def _schemes() -> list[str]:
    services: list[dict[str, Any]] = _load().Apprise().details()["schemas"]
    words = [service[key] or () for service in services for key in ("protocols", "secure_protocols")]
    return sorted({word for some in words for word in some})
