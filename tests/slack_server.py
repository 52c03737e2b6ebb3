"""Slack on loopback as its documentation has it: webhooks, chat.postMessage, chat.update, files, limits and errors."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

from tests.tls_proxy import Request as TlsRequest
from tests.tls_proxy import http_answer

HOOK = "T0HOOK/B0HOOK/hookSECRET1"
TOKEN = "xoxb-1234-5678-botSECRET2"
TEXT_LIMIT = 40_000
FORM = "application/x-www-form-urlencoded; charset=utf-8"


@dataclass
class Post:
    """A message as Slack keeps it. `thread` is the ts of the post that it answers."""

    channel: str
    ts: str
    payload: dict[str, Any]
    thread: str = ""
    versions: int = 1

    @property
    def text(self) -> str:
        return str(self.payload["text"])


@dataclass
class File:
    """A file as Slack keeps it, once it is completed under a post; `place` is where its octets go."""

    id: str
    length: int
    alt: str
    place: str
    octets: bytes | None = None
    under: str = ""
    channel: str = ""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def says(error: str, status: int = 200, **headers: str) -> Answer:
    """A failure of the Web API."""
    body = json.dumps({"ok": False, "error": error}).encode()
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def hook_says(text: str, status: int, **headers: str) -> Answer:
    """An answer of a webhook."""
    return Answer(status, text.encode(), {name.replace("_", "-"): value for name, value in headers.items()})


class SlackServer:
    """Its channels and what was posted there. `failures`: the next answers, instead of doing what was asked."""

    def __init__(self) -> None:
        self.channels = {"#alerts": "C0ALERTS", "#audit": "C0AUDIT", "C0ALERTS": "C0ALERTS", "C0AUDIT": "C0AUDIT"}
        self.posts: list[Post] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[Answer | None] = []
        self.files: list[File] = []
        self.scopes = {"chat:write", "files:write"}
        self.url = ""
        self._changing = threading.Lock()

    def top(self) -> list[Post]:
        """The posts in the channels themselves."""
        return [post for post in self.posts if not post.thread]

    def replies(self, ts: str) -> list[Post]:
        return [post for post in self.posts if post.thread == ts]

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """What Slack answers to a POST."""
        with self._changing:
            payload, called = _understood(path, headers, body)
            self.calls.append((called, payload))
            failure = self.failures.pop(0) if self.failures else None
            if failure is not None:
                return failure
            if called == "upload":
                return self._upload(path, body)
            if path.startswith("/services/"):
                return self._hook(path.removeprefix("/services/"), payload)
            return self._api(path.removeprefix("/api/"), headers, payload)

    def tls(self, request: TlsRequest) -> bytes:
        """The same for a CONNECT proxy that ends TLS."""
        answer = self.answer(request.line.split()[1], dict(request.headers), request.body)
        return http_answer(answer.status, answer.body, *(f"{name}: {value}" for name, value in answer.headers.items()))

    def _hook(self, tokens: str, payload: dict[str, Any]) -> Answer:
        if tokens != HOOK:
            return hook_says("no_service", 404)
        wrong = problem(payload)
        if wrong:
            return hook_says(wrong, 400)
        channel = self.channels.get(payload.get("channel", "#alerts"))
        if channel is None:
            return hook_says("channel_not_found", 404)
        self._add(channel, payload)
        return hook_says("ok", 200)

    def _api(self, method: str, headers: Mapping[str, str], payload: dict[str, Any]) -> Answer:
        given = {name.lower(): value for name, value in headers.items()}
        if given.get("authorization") != f"Bearer {TOKEN}":
            return says("invalid_auth")
        if method.startswith("files."):
            return self._files(method, payload) if given.get("content-type") == FORM else says("invalid_form_data")
        if given.get("content-type") != "application/json; charset=utf-8":
            return says("invalid_form_data")
        channel = self.channels.get(payload.get("channel", ""))
        wrong = problem(payload)
        if channel is None or wrong:
            return says(wrong or "channel_not_found")
        post = self._update(channel, payload) if method == "chat.update" else self._post(channel, payload)
        if post is None:
            return says("message_not_found" if method == "chat.update" else "thread_not_found")
        return Answer(200, json.dumps({"ok": True, "channel": post.channel, "ts": post.ts}).encode())

    # --- files -----------------------------------------------------------------------------------

    def _files(self, method: str, form: dict[str, Any]) -> Answer:
        if "files:write" not in self.scopes:
            more = {"ok": False, "error": "missing_scope", "needed": "files:write", "provided": "chat:write"}
            return Answer(200, json.dumps(more).encode())
        return self._begin(form) if method == "files.getUploadURLExternal" else self._complete(form)

    def _begin(self, form: dict[str, Any]) -> Answer:
        if not form.get("filename") or not form.get("length", "").isdecimal() or int(form["length"]) < 1:
            return says("invalid_arguments")
        number = len(self.files)
        place = f"/upload/v1/{number:040x}"
        host = self.url or "https://files.slack.com"
        self.files.append(File(f"F0FILE{number}", int(form["length"]), form.get("alt_txt", ""), place))
        told = {"ok": True, "upload_url": f"{host}{place}", "file_id": self.files[-1].id}
        return Answer(200, json.dumps(told).encode())

    def _upload(self, path: str, octets: bytes) -> Answer:
        for file in self.files:
            if file.place == path and file.octets is None and len(octets) == file.length:
                file.octets = octets
                return Answer(200, f"OK - {len(octets)}".encode())
        return Answer(400, b"bad upload")

    def _complete(self, form: dict[str, Any]) -> Answer:
        """It wants the channel's id, no name, and is done once."""
        named = json.loads(form["files"])
        known = {file.id: file for file in self.files if file.octets is not None and not file.under}
        channel, thread = form.get("channel_id", ""), form.get("thread_ts", "")
        if channel not in self.channels.values():
            return says("channel_not_found")
        if not any((post.channel, post.ts) == (channel, thread) for post in self.top()):
            return says("thread_not_found")
        if not {each["id"] for each in named} <= set(known):
            return says("file_not_found")
        for each in named:
            known[each["id"]].under, known[each["id"]].channel = thread, channel
        return Answer(200, json.dumps({"ok": True, "files": named}).encode())

    # --- posts -----------------------------------------------------------------------------------

    def _post(self, channel: str, payload: dict[str, Any]) -> Post | None:
        thread = payload.get("thread_ts", "")
        if thread and not any(post.ts == thread and post.channel == channel for post in self.posts):
            return None
        return self._add(channel, payload, thread)

    def _add(self, channel: str, payload: dict[str, Any], thread: str = "") -> Post:
        post = Post(channel, f"17000000{len(self.posts):02}.000100", payload, thread)
        self.posts.append(post)
        return post

    def _update(self, channel: str, payload: dict[str, Any]) -> Post | None:
        for post in self.posts:
            if (post.channel, post.ts) == (channel, payload["ts"]):
                post.payload, post.versions = payload, post.versions + 1
                return post
        return None


def _understood(path: str, headers: Mapping[str, str], body: bytes) -> tuple[dict[str, Any], str]:
    """What is asked, and of which method."""
    if path.startswith("/upload/"):
        return {}, "upload"
    given = {name.lower(): value for name, value in headers.items()}
    form = given.get("content-type") == FORM
    payload = dict(parse_qsl(body.decode())) if form else json.loads(body)
    return payload, path.rpartition("/")[2] if "/api/" in path else "hook"


def problem(payload: Mapping[str, Any]) -> str:
    """What Slack would not take of it, in its own words; empty when all is well."""
    text, blocks = payload.get("text", ""), payload.get("blocks", [])
    if not text and not blocks:
        return "no_text"
    if len(text) > TEXT_LIMIT:
        return "msg_too_long"
    return "invalid_blocks" if len(blocks) > 50 or any(map(wrong_block, blocks)) else ""


def wrong_block(block: Mapping[str, Any]) -> str:
    """What breaks a documented limit, by Slack's own classes where they know it."""
    kind = block["type"]
    texts = [block["text"]] if "text" in block else []
    texts += block.get("fields", []) + (block.get("elements", []) if kind == "context" else [])
    limit = {"header": 150, "section": 3000, "context": 3000}[kind]
    for text in texts:
        length = len(text["text"].encode("utf-16-le")) // 2
        if not 1 <= length <= (2000 if text in block.get("fields", []) else limit):
            return f"{kind}: a text of {length}"
        if kind == "header" and text["type"] != "plain_text":
            return "header: no plain text"
        if ("verbatim" in text) != (text["type"] == "mrkdwn") or ("emoji" in text) != (text["type"] == "plain_text"):
            return f"{kind}: {sorted(text)}"
        if text["type"] == "mrkdwn" and re.search(r"&(?!amp;|lt;|gt;)", text["text"]):
            return f"{kind}: an ampersand"
    if len(block.get("fields", [])) > 10 or (kind == "context" and not 1 <= len(block["elements"]) <= 10):
        return f"{kind}: too many"
    try:
        parsed = Block.parse(dict(block))
        if parsed is None:
            return f"{kind}: unknown"
        parsed.validate_json()
    except SlackObjectFormationError as error:
        return f"{kind}: {error}"
    return ""


@contextmanager
def slack_server() -> Iterator[SlackServer]:
    """Slack in plain HTTP on loopback: the API under /api, webhooks under /services."""
    slack = SlackServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = slack.answer(self.path, dict(self.headers), body)
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        slack.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield slack
        finally:
            server.shutdown()
            thread.join(5)
