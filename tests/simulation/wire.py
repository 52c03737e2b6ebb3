"""Where the network begins: every request of the real senders reaches the simulated service that it is for."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any, Protocol
from unittest import mock
from urllib.parse import urlsplit

import requests
import requests.adapters
import urllib3

from budgetd import posting
from budgetd.channels import Sender, smtp
from budgetd.channels.alertmanager import AlertmanagerSender
from budgetd.channels.apprise import AppriseSender
from budgetd.channels.console import ConsoleSender
from budgetd.channels.mail import MailSender
from budgetd.channels.mail_url import Account
from budgetd.channels.pagerduty import PagerDutySender
from budgetd.channels.slack import SlackSender
from budgetd.channels.teams import TeamsSender
from budgetd.channels.urls import scheme
from budgetd.channels.webhook import WebhookSender
from budgetd.model import Outcome, Receipt
from budgetd.posting import Answer
from tests.simulation.desks import (
    AlertmanagerDesk,
    ConsoleDesk,
    Desk,
    DiscordDesk,
    MailDesk,
    PagerDutyDesk,
    SlackDesk,
    SlackHookDesk,
    TeamsDesk,
    WebhookDesk,
)


class Reached(Protocol):
    """A service that can be reached over the network."""

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer | Receipt:
        """Its answer; a Receipt: there was none."""
        ...

    def printing(self) -> int:
        """Where it reads what is printed for it. Raises OSError."""
        ...


@contextmanager
def network(service_at: Callable[[str], Reached]) -> Iterator[None]:
    """Within, whatever is sent to a host reaches its service, and nothing else."""

    def post(url: str, body: bytes, headers: Mapping[str, str], seconds: float, scrub: object) -> Answer | Receipt:
        return service_at(_host(url)).post(url, body, headers)

    def hand_in(account: Account, recipients: Sequence[str], mail: bytes, deadline: object) -> dict[str, Receipt]:
        answer = service_at(account.host).post(f"smtp://{account.host}", mail, {})
        return dict.fromkeys(recipients, answer if isinstance(answer, Receipt) else _of_mail(answer))

    def send(self: object, request: requests.PreparedRequest, **_: object) -> requests.Response:
        url, body = str(request.url), request.body or b""
        body = body.encode() if isinstance(body, str) else body
        return _response(request, service_at(_host(url)).post(url, body, dict(request.headers)))

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(posting, "post", post))
        patches.enter_context(mock.patch.object(smtp, "hand_in", hand_in))
        patches.enter_context(mock.patch.object(requests.adapters.HTTPAdapter, "send", send))
        yield


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _of_mail(answer: Answer) -> Receipt:
    """A mail server's answer to a mail for one recipient; it asks nobody for patience in seconds."""
    found = posting.outcome(answer.status)
    return Receipt(Outcome.RETRY if found is Outcome.RATE_LIMITED else found, answer.text)


def _response(request: requests.PreparedRequest, answer: Answer | Receipt) -> requests.Response:
    """The answer as `requests` would have it. Raises its errors."""
    if isinstance(answer, Receipt):
        lost = answer.outcome is Outcome.UNKNOWN
        raise (requests.ReadTimeout if lost else requests.ConnectTimeout)(answer.detail, request=request)
    headers = {} if answer.after is None else {"Retry-After": str(int(answer.after))}
    response = requests.Response()
    response.status_code, response.request, response.url = answer.status, request, str(request.url)
    response.headers.update(headers)
    response.raw = urllib3.HTTPResponse(io.BytesIO(answer.text.encode()), headers, answer.status, preload_content=False)
    return response


# --- what a channel is made of -----------------------------------------------------------------

_DESKS: Mapping[str, type[Desk]] = {
    "pagerduty": PagerDutyDesk,
    "webhooks": WebhookDesk,
    "alertmanagers": AlertmanagerDesk,
    "workflows": TeamsDesk,
    "mailtos": MailDesk,
    "discord": DiscordDesk,
    "console": ConsoleDesk,
}


def desk(url: str) -> Desk:
    """The service that the channel's sender talks to."""
    if scheme(url) == "slack":
        return SlackDesk() if "xoxb" in url else SlackHookDesk()
    return _DESKS[scheme(url)]()


def sender(url: str, now: Callable[[], datetime], service: Reached) -> Sender:
    """The daemon's own sender for the channel, with the time as it believes it to be."""
    kinds: dict[str, Callable[[], Any]] = {
        "pagerduty": lambda: PagerDutySender(url),
        "webhooks": lambda: WebhookSender(url, (), now),
        "alertmanagers": lambda: AlertmanagerSender(url, (), now),
        "slack": lambda: SlackSender(url, pace=0.0),
        "workflows": lambda: TeamsSender(url, now),
        "mailtos": lambda: MailSender(url, now),
        "discord": lambda: AppriseSender(url),
        "console": lambda: ConsoleSender(url, output=service.printing),
    }
    made: Sender = kinds[scheme(url)]()
    return made
