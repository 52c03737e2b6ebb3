"""Channels that fail, each in its own way, through real servers on loopback: `python -m tests.failing_channels`.

It prints what `budgetd notify` says of each of them.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from unittest.mock import patch

from budgetd.channels import Sender
from budgetd.channels.apprise import AppriseSender
from budgetd.channels.mail import MailSender
from budgetd.channels.slack import SlackSender
from budgetd.channels.webhook import WebhookSender
from budgetd.commands.notify import lines, try_out
from budgetd.commands.terminal import Terminal
from tests.certificates import certified, trusted
from tests.cost_pages import NOW
from tests.faulty_server import FaultyServer, Script, answer, closed_port, raw, unanswered_port
from tests.mail_server import DROP, scripted
from tests.slack_server import HOOK, TOKEN, Answer, hook_says, says, slack_server

Scene = Callable[[], AbstractContextManager[Sender]]


@contextlib.contextmanager
def _slack(url: str, failure: Answer) -> Iterator[Sender]:
    with slack_server() as server:
        server.failures = [failure] * 3
        yield SlackSender(url, api=f"{server.url}/api", hooks=f"{server.url}/services", pace=0)


def bot(failure: Answer) -> Scene:
    return lambda: _slack(f"slack://{TOKEN}/#alerts", failure)


def hook(failure: Answer) -> Scene:
    return lambda: _slack(f"slack://{HOOK}", failure)


@contextlib.contextmanager
def _web(script: Script, kind: str) -> Iterator[Sender]:
    with FaultyServer([script]) as server:
        address = f"127.0.0.1:{server.port}/alerts"
        yield AppriseSender(f"json://{address}") if kind == "apprise" else WebhookSender(f"webhook://{address}")


def web(script: Script, kind: str = "webhook") -> Scene:
    return lambda: _web(script, kind)


@contextlib.contextmanager
def _tls(kind: str, expired: bool, name: str) -> Iterator[Sender]:
    """An authority that is known is not what hinders an expired certificate, or one of another name."""
    context, authority = certified(expired=expired, name=name)
    with contextlib.ExitStack() as stack:
        if expired or name != "localhost":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            known = {"REQUESTS_CA_BUNDLE": str(trusted(authority, Path(folder)))}
            stack.enter_context(patch.dict(os.environ, known))
        server = stack.enter_context(FaultyServer([answer({})], tls=context))
        address = f"localhost:{server.port}/alerts"
        yield AppriseSender(f"jsons://{address}") if kind == "apprise" else WebhookSender(f"webhooks://{address}")


def tls(kind: str = "webhook", *, expired: bool = False, name: str = "localhost") -> Scene:
    return lambda: _tls(kind, expired, name)


@contextlib.contextmanager
def _plain_for_tls() -> Iterator[Sender]:
    with FaultyServer([answer({})], on_connect=lambda connection: connection.send(b"220 hello\r\n")) as server:
        yield WebhookSender(f"webhooks://localhost:{server.port}/alerts")


@contextlib.contextmanager
def _refused(url: str) -> Iterator[Sender]:
    with closed_port() as port:
        address = url.format(port=port)
        yield _sender(address)


@contextlib.contextmanager
def _unanswered(url: str) -> Iterator[Sender]:
    with unanswered_port() as port:
        yield _sender(url.format(port=port))


@contextlib.contextmanager
def _only(url: str) -> Iterator[Sender]:
    yield _sender(url)


def _sender(url: str) -> Sender:
    if url.startswith("mailto"):
        return MailSender(url)
    return AppriseSender(url) if url.startswith("json") else WebhookSender(url)


@contextlib.contextmanager
def _mail(replies: dict[str, str | list[str]], login: str, more: str) -> Iterator[Sender]:
    with scripted(replies) as server:
        url = server.url_to("finance@example.com", login=login)
        yield MailSender(url.replace("mode=insecure", more) if more else url)


def mail(*, login: str = "", more: str = "", **replies: str) -> Scene:
    return lambda: _mail(dict(replies), login, more)


MAIL_URL = "mailto://127.0.0.1:{port}?from=budgetd@example.com&to=finance@example.com&mode=insecure"

# What fails -> how, and a part of what a person is told.
SCENES: dict[str, tuple[Scene, str]] = {
    "slack: wrong token": (bot(says("invalid_auth")), "Slack does not know this token"),
    "slack: revoked token": (bot(says("token_revoked")), "Slack does not know this token"),
    "slack: no such channel": (bot(says("channel_not_found")), "Slack has no such channel, or it is private"),
    "slack: bot not invited": (bot(says("not_in_channel")), "/invite"),
    "slack: scope": (bot(says("missing_scope")), "chat:write"),
    "slack: archived": (bot(says("is_archived")), "archived"),
    "slack: not allowed": (bot(says("restricted_action")), "settings do not let the app post"),
    "slack: too many": (bot(says("ratelimited", 429, Retry_After="7")), "no more for now"),
    "slack: webhook removed": (hook(hook_says("no_service", 404)), "webhook was removed"),
    "slack: webhook token": (hook(hook_says("invalid_token", 403)), "Slack does not know this token"),
    "slack: a portal": (hook(hook_says("<html>Log in to the wifi", 200)), "answers in the service's place"),
    "webhook: no such host": (lambda: _only("webhooks://nothing.invalid/x"), "name cannot be resolved"),
    "webhook: refused": (lambda: _refused("webhook://127.0.0.1:{port}/x"), "Nothing listens"),
    "webhook: silence": (lambda: _unanswered("webhook://127.0.0.1:{port}/x"), "does not answer"),
    "webhook: own authority": (tls(), "REQUESTS_CA_BUNDLE"),
    "webhook: expired": (tls(expired=True), "has expired"),
    "webhook: other name": (tls(name="elsewhere.example"), "certificate is for another name"),
    "webhook: no TLS there": (_plain_for_tls, "speaks no TLS"),
    "webhook: 401": (web(answer({"error": "bad signature"}, 401)), "token or password is wrong"),
    "webhook: 404": (web(answer({}, 404)), "does not exist"),
    "webhook: 405": (web(answer({}, 405)), "takes no POST"),
    "webhook: 413": (web(answer({}, 413)), "too large"),
    "webhook: redirect": (web(answer({}, 302, Location="https://new.example/x")), "new address"),
    "webhook: 500": (web(answer({}, 500)), "status page"),
    "webhook: no answer": (web(raw(b"")), "look whether it arrived"),
    "webhook: portal": (web(raw(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")), "token or password"),
    "webhook: metadata": (lambda: _only("webhook://169.254.169.254/x"), "refused"),
    "apprise: no such host": (lambda: _only("jsons://nothing.invalid/x"), "name cannot be resolved"),
    "apprise: refused": (lambda: _refused("json://127.0.0.1:{port}/x"), "Nothing listens"),
    "apprise: own authority": (tls("apprise"), "REQUESTS_CA_BUNDLE"),
    "apprise: 401": (web(answer({}, 401), "apprise"), "token or password is wrong"),
    "apprise: 410": (web(answer({}, 410), "apprise"), "does not exist"),
    "apprise: 429": (web(answer({}, 429), "apprise"), "no more for now"),
    "mail: refused": (lambda: _refused(MAIL_URL), "Nothing listens"),
    "mail: no such host": (
        lambda: _only("mailto://nothing.invalid?from=b@example.com&to=f@example.com&mode=insecure"),
        "name cannot be resolved",
    ),
    "mail: login": (mail(login="ann:secret@", AUTH="535 5.7.8 bad credentials"), "refused the login"),
    "mail: login needed": (mail(MAIL="530 5.7.0 authentication required"), "user and password"),
    "mail: no login there": (mail(login="ann:secret@", EHLO="250 loopback"), "takes no login that way"),
    "mail: unknown login": (
        mail(login="ann:secret@", EHLO="250-x\r\n250 AUTH GSSAPI"),
        "a kind that is not known here",
    ),
    "mail: login unwell": (
        mail(login="ann:secret@", AUTH="454 4.7.0 Temporary authentication failure: generic failure"),
        "could not look up the login",
    ),
    "mail: no login given": (
        mail(RCPT="554 5.7.1 <f@example.com>: Recipient address rejected: Access denied"),
        "put user and password into",
    ),
    "mail: no STARTTLS": (mail(more="mode=starttls"), "offers no encryption"),
    "mail: relay": (mail(RCPT="554 5.7.1 Relay access denied"), "does not pass mail on"),
    "mail: greylisted": (mail(RCPT="450 4.2.0 Greylisted, try again in 300 s"), "takes it later"),
    "mail: unknown address": (mail(RCPT="550 5.1.1 no such user"), "knows no such address"),
    "mail: sender": (mail(MAIL="553 5.7.1 sender not owned by user"), "may not send as"),
    "mail: spam": (mail(text="554 5.7.1 rejected as spam, see https://x.example"), "takes it for spam"),
    "mail: too large": (mail(text="552 5.3.4 message too big"), "too large"),
    "mail: closing": (mail(banner="421 4.3.2 too many connections"), "pass by itself"),
    "mail: banned": (mail(banner="554 5.7.1 your address is blocked"), "blocks this machine"),
    "mail: lost after the text": (mail(text=DROP), "look whether it arrived"),
}


def told(scene: Scene, seconds: float = 2.0) -> list[str]:
    """What `budgetd notify` prints of it."""
    with scene() as sender:
        (result,) = try_out({"channel": sender}, {}, NOW, deadline=seconds, grace=3)
    return lines(result, ["channel"], Terminal(100))


def main() -> None:
    for name, (scene, words) in SCENES.items():
        said = told(scene)
        mark = "" if words in " ".join(" ".join(said).split()) else f"   <<< not: {words}"
        print(f"{name}{mark}", *(f"    {line}" for line in said), sep="\n")


if __name__ == "__main__":
    main()
