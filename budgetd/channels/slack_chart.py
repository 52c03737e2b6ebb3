"""The chart under a Slack post: an extra, sent after the post has been accepted, that never harms it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from budgetd import clock, picture
from budgetd.chart import Picture
from budgetd.message import Message
from budgetd.model import Kind, Reason, Receipt, Severity

REMEMBERED = 256
FILE_NAME = "spend.png"
_LONGEST_WORD = 60

# Somebody must mend these in Slack; until this channel is set up anew, it is not tried again.
_FOR_GOOD = frozenset(
    {
        "access_denied",
        "ekm_access_denied",
        "file_uploads_disabled",
        "missing_scope",
        "no_permission",
        "not_allowed_token_type",
        "restricted_action",
        "team_access_not_granted",
    }
)
_SCOPE = "; give the Slack app the scope files:write and install it anew"


class _LeftOutError(Exception):
    """There is no chart; `code` is Slack's own word for why, where it said one."""

    def __init__(self, words: str, code: str = "") -> None:
        super().__init__(words)
        self.words = words
        self.code = code


@dataclass(frozen=True, slots=True)
class _Upload:
    url: str
    file: str


class Charts:
    """What a bot adds to its posts: one chart when an incident opens, another when it becomes critical."""

    def __init__(self, api: str, token: str, scrub: Callable[[str], str]) -> None:
        """`scrub` takes the channel's secrets out of a text."""
        self._api = api
        self._token = token
        self._scrub = scrub
        self._over = False
        self._shown: dict[str, Severity] = {}  # by incident; lost with the process, at the cost of a second chart

    def due(self, message: Message) -> bool:
        """Whether the message brings a chart: the first of its incident, or the first critical one. A test tries it."""
        if _is_test(message):
            return True
        if self._over or message.kind is not Kind.TRIGGER or not message.incident:
            return False
        critical = message.severity is Severity.CRITICAL and self._shown.get(message.incident) is not Severity.CRITICAL
        return critical or not (message.thread or message.incident in self._shown)

    def add(self, message: Message, posts: Mapping[str, str], seconds: float) -> str:
        """Put the chart under the posts (`channel:ts` by room) within `seconds`; why there is none, in words, once."""
        ends = clock.monotonic() + seconds
        drawn = picture.of(message)
        try:
            if drawn is not None:
                self._share(drawn, posts, ends)
                self._remember(message)
            elif _is_test(message) and picture.can_draw():
                self._begin(1, "", ends)  # asks whether it might; what is not completed is thrown away
        except _LeftOutError as error:
            self._over = error.code in _FOR_GOOD
            how = "charts are left out" if self._over else "the chart was left out"
            hint = _SCOPE if error.code == "missing_scope" else ""
            return f"{how}: {self._scrub(error.words)}{hint}"
        return ""

    def _remember(self, message: Message) -> None:
        while len(self._shown) >= REMEMBERED:
            self._shown.pop(next(iter(self._shown)))
        self._shown[message.incident] = message.severity

    def _share(self, drawn: Picture, posts: Mapping[str, str], ends: float) -> None:
        for posted in posts.values():
            channel, _, stamp = posted.partition(":")
            upload = self._begin(len(drawn.png), drawn.words, ends)
            self._send(upload.url, drawn.png, ends)
            where = {"channel_id": channel, "thread_ts": stamp}
            files = json.dumps([{"id": upload.file, "title": "Spend"}])
            self._ask("files.completeUploadExternal", {"files": files, **where}, ends)

    def _begin(self, length: int, words: str, ends: float) -> _Upload:
        asked = {"filename": FILE_NAME, "length": str(length), **({"alt_txt": words} if words else {})}
        body = self._ask("files.getUploadURLExternal", asked, ends)
        url, file = body.get("upload_url"), body.get("file_id")
        if not isinstance(url, str) or not isinstance(file, str) or not self._is_slacks(url):
            raise _LeftOutError("Slack named no place for it")
        return _Upload(url, file)

    def _is_slacks(self, url: str) -> bool:
        """Whether it is a place of Slack's: what is spent is for nobody else."""
        try:
            place, api = urlsplit(url), urlsplit(self._api)
        except ValueError:
            return False
        host = place.hostname or ""
        ours = host == api.hostname or host.endswith((".slack.com", ".slack-gov.com"))
        return place.scheme == api.scheme and ours

    # --- one request ---------------------------------------------------------------------------

    def _ask(self, method: str, fields: Mapping[str, str], ends: float) -> dict[str, Any]:
        """A method of the Web API; as a form, which all methods for files take."""
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
        }
        text = self._post(f"{self._api}/{method}", urlencode(fields, errors="replace").encode(), headers, ends)
        body = _object(text)
        if body.get("ok") is not True:
            code = self._scrub(str(body.get("error", "")))[:_LONGEST_WORD]  # half a secret would not be known as one
            raise _LeftOutError(f"Slack says {code or 'nothing that can be read'}", code)
        return body

    def _send(self, url: str, png: bytes, ends: float) -> None:
        self._post(url, png, {"Content-Type": "image/png"}, ends)

    def _post(self, url: str, body: bytes, headers: dict[str, str], ends: float) -> str:
        from budgetd import posting  # late: rules are read and checked without it

        left = ends - clock.monotonic()
        if left <= 0:
            raise _LeftOutError("no time was left for it")
        answer = posting.post(url, body, headers, left, self._scrub)
        if isinstance(answer, Receipt):
            raise _LeftOutError(answer.detail)
        if not answer.accepted:
            raise _LeftOutError(posting.said(answer, self._scrub), str(_object(answer.text).get("error", "")))
        return answer.text


def _is_test(message: Message) -> bool:
    return {notice.reason for notice in message.notices} == {Reason.TEST}


def _object(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
