"""`alertmanager://HOST:PORT,HOST2:PORT2/PREFIX`: Prometheus' Alertmanager, API v2; `alertmanagers://` over TLS.

Every replica is told, as Alertmanager wants it: they agree among themselves who notifies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from budgetd import clock
from budgetd.channels import Kind
from budgetd.channels.alertmanager_alert import RESERVED, Alert, Extras, alerts, batches, encoded
from budgetd.channels.urls import Secrets, basic_login, is_near, pieces, words_of
from budgetd.message import Message
from budgetd.model import Outcome, Receipt

# Prometheus' own figures: --rules.alert.resend-delay, and how many alerts it puts into one request.
RESENT = timedelta(minutes=1)
ALERTS_AT_ONCE = 64

_PORTS = {"alertmanager": 9093, "alertmanagers": 443}
_LABEL = "label_"
_LABEL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_HEADERS = {"Content-Type": "application/json"}
# When no replica takes it: the outcome that comes first here promises most for another attempt.
_HOPEFUL = (
    Outcome.UNKNOWN,
    Outcome.RETRY,
    Outcome.RATE_LIMITED,
    Outcome.REJECTED,
    Outcome.UNAUTHORISED,
    Outcome.GONE,
)


@dataclass(frozen=True, slots=True)
class Target:
    """What the URL says: where the replicas are, how to log in, what to add to every alert."""

    replicas: tuple[str, ...]
    addresses: tuple[str, ...] = field(repr=False)
    login: dict[str, str] = field(repr=False)
    extras: Extras


class AlertmanagerSender:
    """Tells every replica. Whoever was down is told at the next repetition, at most a minute later.

    That somebody has acknowledged an alert is nothing that Alertmanager knows.
    """

    def __init__(self, url: str, _secrets: Sequence[str] = (), now: Callable[[], datetime] = clock.now) -> None:
        self._target = target(url)
        self._scrub = Secrets(url, (), _public(url)).scrub
        self._now = now
        # Those that answered last time are asked first, so that one that hangs delays only itself.
        self._order = tuple(range(len(self._target.addresses)))

    def send(self, message: Message, deadline: float) -> Receipt:
        """Tell all replicas within `deadline` seconds. One that took it is enough: it notifies."""
        ends = clock.monotonic() + deadline
        some = alerts(message, self._target.extras, self._now())
        if not some:
            return Receipt(Outcome.DELIVERED, "Alertmanager knows nothing of the kind, so it is not told")
        receipts: dict[int, Receipt] = {}
        order = self._order
        for place, number in enumerate(order):
            seconds = (ends - clock.monotonic()) / (len(order) - place)
            receipts[number] = self._tell(self._target.addresses[number], some, seconds)
        self._order = tuple(sorted(order, key=lambda number: receipts[number].outcome is not Outcome.DELIVERED))
        return combined({self._target.replicas[number]: receipts[number] for number in sorted(receipts)})

    def _tell(self, address: str, some: Sequence[Alert], seconds: float) -> Receipt:
        """The first answer that is no yes, else the last. What is not acceptable does not keep back the others."""
        ends = clock.monotonic() + seconds
        answers: list[Receipt] = []
        for part in batches(some, ALERTS_AT_ONCE):
            answers.append(self._post(address, encoded(part), max(0.0, ends - clock.monotonic())))
            if answers[-1].outcome not in (Outcome.DELIVERED, Outcome.REJECTED):
                break
        return next((each for each in answers if each.outcome is not Outcome.DELIVERED), answers[-1])

    def _post(self, address: str, body: bytes, seconds: float) -> Receipt:
        from budgetd import posting  # late: rules are read and checked without it

        answer = posting.post(address, body, {**_HEADERS, **self._target.login}, seconds, self._scrub)
        if isinstance(answer, Receipt):
            return answer
        receipt = posting.receipt(answer, self._scrub)
        if receipt.outcome is Outcome.DELIVERED and answer.content_type == "text/html":
            # A page for people: whoever says this is no Alertmanager.
            return replace(receipt, outcome=Outcome.UNKNOWN)
        return receipt


def combined(receipts: dict[str, Receipt]) -> Receipt:
    """What came of all: delivered if one took it, else the most hopeful. The detail names those that did not."""
    if len(receipts) == 1:
        return next(iter(receipts.values()))
    failed = {name: each for name, each in receipts.items() if each.outcome is not Outcome.DELIVERED}
    detail = "; ".join(f"{name}: {each.detail}" for name, each in failed.items())
    took = len(receipts) - len(failed)
    if took:
        return Receipt(Outcome.DELIVERED, detail and f"taken by {took} of {len(receipts)}; {detail}")
    best = min(receipts.values(), key=lambda each: _HOPEFUL.index(each.outcome))
    return replace(best, detail=detail)


# --- the URL -----------------------------------------------------------------------------------


def target(url: str) -> Target:
    """What the URL says. Raises ValueError, whose text repeats no secret, when it cannot be used."""
    try:
        parts = urlsplit(url)
    except ValueError:  # it repeats what it could not read
        raise ValueError("this is no URL") from None
    credentials, _, hosts = parts.netloc.rpartition("@")
    kind = "https" if parts.scheme == "alertmanagers" else "http"
    replicas = tuple(_replica(host, _PORTS[parts.scheme]) for host in hosts.split(","))
    if len(set(replicas)) < len(replicas):
        raise ValueError("a replica is named twice")
    path = f"{parts.path.rstrip('/')}/api/v2/alerts"
    return Target(
        replicas,
        tuple(f"{kind}://{replica}{path}" for replica in replicas),
        basic_login(credentials),
        _extras(parts.query),
    )


def _replica(host: str, port: int) -> str:
    try:
        parts = urlsplit(f"//{host}")
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("a replica has no host, or a port that is none: alertmanager://HOST:PORT,HOST2:PORT2/PREFIX")
    return host if parts.port is not None else f"{host.rstrip(':')}:{port}"


def _extras(query: str) -> Extras:
    labels: dict[str, str] = {}
    runbook = ""
    for key, text in parse_qsl(query, keep_blank_values=True):
        label = key.removeprefix(_LABEL)
        if key == "runbook":
            runbook = text.strip()
        elif label == key:
            raise ValueError("after the ? stand only label_NAME=... and runbook=...")
        elif not _LABEL_NAME.fullmatch(label) or label in RESERVED or not text:
            raise ValueError("an added label has a value and a name of letters, digits and _, not one of budgetd's own")
        else:
            labels[label] = text
    return Extras(labels, runbook)


def _explain(url: str) -> str | None:
    try:
        target(url)
    except ValueError as error:
        return str(error)
    return None


def _remark(url: str, _secrets: Sequence[str]) -> str | None:
    hosts = [urlsplit(f"//{replica}").hostname or "" for replica in target(url).replicas]
    if urlsplit(url).scheme == "alertmanagers" or all(map(is_near, hosts)):
        return None
    return "alertmanager:// goes out in the clear, for everybody on the way to read; alertmanagers:// is encrypted"


def _public(url: str) -> Collection[str]:
    """All but the credentials, and what of the path is no word."""
    parts, found = urlsplit(url), target(url)
    hosts = [parts.netloc.rpartition("@")[2], *(urlsplit(f"//{each}").hostname or "" for each in found.replicas)]
    words = words_of(parts.path)
    whole = [url.partition(parts.netloc)[2]] if parts.path in ("", *words) else []
    # An added label and a link are in every alert, for all to read.
    added = pieces(f"x://{hosts[0]}?{parts.query}")
    return (*hosts, *found.replicas, *words, *added, *whole)


# A title or body of the operator's own would be in no annotation: they are made of the notices, again and again.
KIND = Kind(
    ("alertmanager", "alertmanagers"),
    AlertmanagerSender,
    _explain,
    _remark,
    _public,
    texts=(),
    resent=RESENT,
    keyed=True,
)
