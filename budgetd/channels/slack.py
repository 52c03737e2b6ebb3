"""Slack as a channel: a post for each message through a webhook, or with a bot one living post for each incident.

With a bot's token an incident has one post, which always shows the latest state, and its story is in the thread
under it. A webhook can only post. Slack has no idempotency key: what may have arrived is sent once more.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from budgetd import channels, clock
from budgetd.channels.apprise import AppriseSender
from budgetd.channels.slack_chart import Charts
from budgetd.channels.urls import Secrets, scheme
from budgetd.faces import slack as face
from budgetd.message import Flavour, Message
from budgetd.model import Face, Kind, Outcome, Receipt

if TYPE_CHECKING:
    from budgetd import posting

API = "https://slack.com/api"
HOOKS = "https://hooks.slack.com/services"
GOVERNMENT_HOOKS = "https://hooks.slack-gov.com/services"
DEFAULT_ROOM = "#general"  # Apprise's own, for a bot without a room
PACE = 1.0  # seconds between two posts in one room: what Slack allows
REMEMBERED = 256

_HOOK = re.compile(r"[A-Za-z0-9]+/[A-Za-z0-9]+/[A-Za-z0-9]+", re.ASCII)
_BOT = re.compile(r"(?:xoxe\.)?xox[abp]-[A-Za-z0-9-]+", re.ASCII)
_ROOM = re.compile(r"[+#@]?[\w-]{1,80}")
_POSTED = re.compile(r"[A-Z0-9]{1,40}:[0-9]{1,20}\.[0-9]{1,20}", re.ASCII)
_CODE = re.compile(r"[a-z_]{2,60}", re.ASCII)

# What Slack says, in a webhook's text or in `error`; https://docs.slack.dev/reference/methods/chat.postMessage
_OUTCOMES = {
    Outcome.UNAUTHORISED: (
        "access_denied account_inactive ekm_access_denied invalid_auth invalid_token missing_scope no_permission "
        "not_allowed_token_type not_authed org_login_required team_access_not_granted token_expired token_revoked"
    ),
    Outcome.GONE: (
        "action_prohibited cannot_dm_bot channel_is_archived channel_not_found is_archived messages_tab_disabled "
        "no_active_hooks no_service no_team not_in_channel posting_to_general_channel_denied restricted_action "
        "restricted_action_read_only_channel team_disabled user_not_found"
    ),
    Outcome.RATE_LIMITED: "rate_limited ratelimited",
    Outcome.REJECTED: (
        "invalid_arguments invalid_blocks invalid_blocks_format invalid_metadata_format invalid_metadata_schema "
        "invalid_payload metadata_must_be_sent_from_app metadata_too_large missing_text_or_fallback_or_attachments "
        "msg_blocks_too_long msg_too_long no_text too_many_attachments"
    ),
    # Slack: "some aspect of the operation may have succeeded".
    Outcome.UNKNOWN: "fatal_error",
}
_OUTCOME_OF = {code: outcome for outcome, codes in _OUTCOMES.items() for code in codes.split()}
# The older post can be neither changed nor answered; a new one may do.
_NO_SUCH_POST = frozenset(
    {
        "cannot_reply_to_message",
        "cant_update_message",
        "channel_not_found",
        "edit_window_closed",
        "is_archived",
        "is_inactive",
        "message_not_found",
        "not_in_channel",
        "thread_not_found",
    }
)
# Of several rooms the one that is worth another try decides.
_URGENCY = (
    Outcome.RATE_LIMITED,
    Outcome.UNKNOWN,
    Outcome.RETRY,
    Outcome.REJECTED,
    Outcome.UNAUTHORISED,
    Outcome.GONE,
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a `slack://` URL leads: a webhook's three tokens or a bot's, and the rooms (none: the webhook's own)."""

    hook: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    rooms: tuple[str, ...] = ()
    bot_name: str = ""
    hooks: str = HOOKS


def address(url: str) -> Address | None:
    """What the URL says, in Apprise's forms; None for what only Apprise serves (workflows, templates, addresses)."""
    if scheme(url) != "slack":
        return None
    found, options = _parsed(url)
    return found if _mistake(found) == "" and not _foreign(found, options) else None


def _parsed(url: str) -> tuple[Address, dict[str, str]]:
    """The parts of the URL as they stand there, right or wrong, and its options."""
    before, _, query = url.partition("://")[2].replace("/#", "/%23").partition("#")[0].partition("?")
    bot_name, _, path = before.rpartition("@") if "@" in before.partition("/")[0] else ("", "", before)
    options = {key.lower(): values[-1] for key, values in parse_qs(query).items()}
    pieces = [unquote(piece) for piece in path.split("/") if piece]
    pieces = [*re.split(r"[\s,/#]+", options["token"]), *pieces[1:]] if options.get("token") else pieces
    rooms_of = 1 if pieces and _BOT.fullmatch(pieces[0]) else 3
    rooms = [*pieces[rooms_of:], *re.split(r"[\s,#/]+", options.get("to", ""))]
    secret = "/".join(pieces[:rooms_of])
    found = Address(
        hook=secret if rooms_of == 3 else "",
        token=secret if rooms_of == 1 else "",
        rooms=tuple(dict.fromkeys(_room(room) for room in rooms if room)),
        bot_name=unquote(bot_name.partition(":")[0]),
        hooks=GOVERNMENT_HOOKS if options.get("mode", "").startswith("gov") else HOOKS,
    )
    return found, options


def _room(text: str) -> str:
    return text if text[0] in "#@+" else f"#{text}"


def _foreign(found: Address, options: dict[str, str]) -> bool:
    """Whether only Apprise serves it: workflows, templates, people by their e-mail address, threads by their number."""
    elsewhere = any(not _ROOM.fullmatch(room) and re.search("[@:]", room[1:]) for room in found.rooms)
    return elsewhere or "template" in options or options.get("mode", "").startswith(("w", "t"))


def _mistake(found: Address) -> str:
    if not _HOOK.fullmatch(found.hook) and not _BOT.fullmatch(found.token):
        return "slack://T.../B.../xxx of a webhook or slack://xoxb-.../#channel of a bot is expected"
    wrong = sum(not _ROOM.fullmatch(room) and not re.search("[@:]", room[1:]) for room in found.rooms)
    return "a channel's name has letters, digits, - and _ only, at most 80" if wrong else ""


@dataclass(frozen=True, slots=True)
class _Said:
    """What came of one request: the receipt, Slack's own word for a failure, its name for the post."""

    receipt: Receipt
    code: str = ""
    posted: str = ""


class SlackSender:
    """A channel behind a `slack://` URL. The URL is a secret: it is neither shown nor logged."""

    flavour = Flavour.SLACK

    def __init__(self, url: str, *, api: str = API, hooks: str = "", pace: float = PACE) -> None:
        """Raises ValueError for a URL that it does not serve. `pace`: seconds between two posts in one room."""
        found = address(url)
        if found is None:
            raise ValueError("not a slack:// URL of a webhook or a bot")
        self._address = found
        self._api = api
        self._hooks = hooks or found.hooks
        self._pace = pace
        self._scrub: Callable[[str], str] = Secrets(url, public=_public(url)).scrub
        self._charts = Charts(self._api, found.token, self._scrub) if found.token else None
        self._chart_due: tuple[str, dict[str, str]] = ("", {})  # message id, and its posts
        self._free_at: dict[str, float] = {}
        # message id -> the rooms that have it, each with Slack's name for the post
        self._accepted: dict[str, dict[str, str]] = {}

    def send(self, message: Message, deadline: float) -> Receipt:
        """Send within `deadline` seconds; the receipt's detail holds no part of the URL."""
        ends = clock.monotonic() + deadline
        accepted = self._accepted_of(message.id)
        threads = _threads(message.thread)
        failures: list[Receipt] = []
        for room in self._address.rooms or (DEFAULT_ROOM if self._address.token else "",):
            if room in accepted:
                continue
            said = self._tell(room, message, threads.get(room, ""), ends)
            if said.receipt.outcome is Outcome.DELIVERED:
                accepted[room] = said.posted
            else:
                failures.append(said.receipt)
        return self._result(message, accepted, threads, failures)

    def add(self, message: Message, seconds: float) -> str:
        """Put the chart under the message that was just delivered; words when there was to be one and is none."""
        (due, posts), self._chart_due = self._chart_due, ("", {})
        return self._charts.add(message, posts, seconds) if self._charts is not None and due == message.id else ""

    def _result(
        self, message: Message, accepted: dict[str, str], threads: dict[str, str], failures: list[Receipt]
    ) -> Receipt:
        if failures:
            worst = min(failures, key=lambda failure: _URGENCY.index(failure.outcome))
            return replace(worst, memo=_memo({**threads, **accepted}))
        self._accepted.pop(message.id, None)
        if self._charts is not None and self._charts.due(message):
            self._chart_due = (message.id, {room: posted for room, posted in accepted.items() if posted})
        # What comes after the end of an incident is another story, and gets a post of its own.
        ended = message.kind is Kind.RESOLVE
        return Receipt(Outcome.DELIVERED, memo="" if ended or not message.incident else _memo(accepted))

    def _accepted_of(self, id: str) -> dict[str, str]:
        while len(self._accepted) >= REMEMBERED:
            self._accepted.pop(next(iter(self._accepted)))
        return self._accepted.setdefault(id, {})

    def _tell(self, room: str, message: Message, thread: str, ends: float) -> _Said:
        if self._address.hook:
            return self._through_hook(room, message, ends)
        if thread:
            said = self._go_on(room, message, thread, ends)
            if said.code not in _NO_SUCH_POST:
                return said
        payload = {"channel": room.removeprefix("+"), **face.post(message), **_metadata(message), **self._named()}
        return self._call("chat.postMessage", room, payload, ends)

    def _go_on(self, room: str, message: Message, thread: str, ends: float) -> _Said:
        """Bring the incident's post up to date, and tell in its thread what happened."""
        channel, _, stamp = thread.partition(":")
        # First what can be repeated without harm.
        latest = {"blocks": [], **face.post(message), **_metadata(message)}
        said = self._call("chat.update", room, {"channel": channel, "ts": stamp, **latest}, ends)
        if said.receipt.outcome is not Outcome.DELIVERED:
            return said
        where = {"channel": channel, "thread_ts": stamp, "reply_broadcast": face.loud(message)}
        said = self._call("chat.postMessage", room, {**where, **face.reply(message), **self._named()}, ends)
        return replace(said, posted=thread)

    def _named(self) -> dict[str, str]:
        return {"username": self._address.bot_name} if self._address.bot_name else {}

    # --- one request ---------------------------------------------------------------------------

    def _through_hook(self, room: str, message: Message, ends: float) -> _Said:
        where = {"channel": room.removeprefix("+")} if room else {}
        answer = self._post(
            f"{self._hooks}/{self._address.hook}", {}, room, {**where, **self._named(), **face.post(message)}, ends
        )
        if isinstance(answer, Receipt):
            return _Said(answer)
        text = answer.text.strip()
        return self._judged(answer, ok=text == "ok", code=text if _CODE.fullmatch(text) else "")

    def _call(self, method: str, room: str, payload: dict[str, Any], ends: float) -> _Said:
        """A method of the Web API. Without `parse` Slack would make links of what looks like one."""
        headers = {"Authorization": f"Bearer {self._address.token}"}
        answer = self._post(f"{self._api}/{method}", headers, room, {**payload, "parse": "none"}, ends)
        if isinstance(answer, Receipt):
            return _Said(answer)
        body = _object(answer.text)
        posted = f"{body.get('channel')}:{body.get('ts')}"
        said = self._judged(answer, ok=body.get("ok") is True, code=str(body.get("error", "")))
        return replace(said, posted=posted if _POSTED.fullmatch(posted) else "")

    def _post(
        self, url: str, headers: dict[str, str], room: str, payload: dict[str, Any], ends: float
    ) -> posting.Answer | Receipt:
        from budgetd import posting  # late: rules are read and checked without it

        wait = max(0.0, self._free_at.get(room, 0.0) - clock.monotonic())
        if clock.monotonic() + wait >= ends:
            return Receipt(Outcome.RETRY, "no time was left for it")
        time.sleep(wait)
        headers = {"Content-Type": "application/json; charset=utf-8", **headers}
        answer = posting.post(url, json.dumps(payload).encode(), headers, ends - clock.monotonic(), self._scrub)
        self._free_at[room] = clock.monotonic() + self._pace
        return answer

    def _judged(self, answer: posting.Answer, *, ok: bool, code: str) -> _Said:
        """Slack's word decides before the status: it says more, and some failures come with a 200."""
        from budgetd import posting

        receipt = posting.receipt(answer, self._scrub)
        if ok and answer.accepted:
            return _Said(receipt)
        if answer.accepted:
            receipt = replace(receipt, outcome=Outcome.RETRY if answer.whole else Outcome.UNKNOWN)
        if code in _OUTCOME_OF and answer.status < 500:
            receipt = replace(receipt, outcome=_OUTCOME_OF[code], detail=f"HTTP {answer.status}: {code}")
        return _Said(receipt, code)


def _metadata(message: Message) -> dict[str, Any]:
    """Only in the richest face: a simpler one is for an app that may send less."""
    return {"metadata": face.metadata(message)} if message.face is Face.RICH else {}


def _object(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _memo(posted: dict[str, str]) -> str:
    """`#alerts=C024BE91L:1700000000.000100`, one for each room. Rooms are named: the URL may be edited."""
    return " ".join(f"{room}={name}" for room, name in posted.items() if name)


def _threads(memo: str) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in memo.split())
    return {room: name for room, _, name in pairs if _POSTED.fullmatch(name)}


def _sender(url: str, _secrets: Sequence[str]) -> channels.Sender:
    return AppriseSender(url) if address(url) is None else SlackSender(url)


def _explain(url: str) -> str | None:
    found, options = _parsed(url)
    return None if _foreign(found, options) else _mistake(found) or None


def _public(url: str) -> Collection[str]:
    """Rooms and the bot's name are no secrets, and receipts tell of them."""
    found, _ = _parsed(url)
    return {found.bot_name, *found.rooms, *(room[1:] for room in found.rooms)}


KIND = channels.Kind(("slack",), _sender, _explain, public=_public, flavour=Flavour.SLACK)
