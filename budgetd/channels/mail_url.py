"""What a mailto:// or mailtos:// URL says: which server, as whom, to whom. Apprise's grammar, understood by Apprise."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_plus

from budgetd.channels.elsewhere import ask
from budgetd.channels.urls import Secrets, scheme

SCHEMES = ("mailto", "mailtos")
STARTTLS, TLS, INSECURE = "starttls", "ssl", "insecure"

# What Apprise raises for a URL that it cannot use; its own exceptions are Exceptions of these kinds or none.
_UNUSABLE = (AttributeError, LookupError, TypeError, ValueError)
# Where addresses and names stand in the query; all else of it may be a secret.
_OPEN_KEYS = frozenset(["to", "cc", "bcc", "from", "reply", "name", "smtp", "mode", "verify"])

# A name (or "") and an address.
Named = tuple[str, str]


class UnusableUrlError(Exception):
    """The URL cannot be used; the text says why, without its secrets."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where mail is handed in, as whom, and whom it is for. `mode` is one of STARTTLS, TLS, INSECURE."""

    host: str
    port: int
    mode: str
    sender: Named
    to: tuple[Named, ...]
    cc: tuple[Named, ...] = ()
    bcc: tuple[str, ...] = ()
    reply_to: tuple[Named, ...] = ()
    user: str = ""
    password: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    unverified: bool = False  # the URL asks that certificates are not verified; they are

    @property
    def recipients(self) -> tuple[str, ...]:
        """Every address once, blind copies included."""
        return tuple(dict.fromkeys([*(address for _, address in (*self.to, *self.cc)), *self.bcc]))

    @property
    def domain(self) -> str:
        """What comes after the @ of the sender."""
        return self.sender[1].rpartition("@")[2]


def is_native(url: str) -> bool:
    """Whether the URL is a mail's that is sent without Apprise: without PGP, which only Apprise can do."""
    options = {key.lower(): value.lower() for key, value in parse_qsl(url.partition("?")[2])}
    pgp = options.get("pgp", "no") not in ("", "n", "no", "none") or "wkd" in options
    return scheme(url) in SCHEMES and not pgp


def public(url: str) -> set[str]:
    """The pieces of the URL that may be shown: people must be told which of their addresses is refused."""
    authority, _, rest = url.partition("://")[2].partition("/" if "/" in url.partition("://")[2] else "?")
    path, _, query = rest.rpartition("?")
    options = [option.partition("=") for option in query.split("&")]
    values = [value for key, _, value in options if key.lower() in _OPEN_KEYS]
    shown = {part for value in values for part in (value, *re.split(r"[\s,/:@]", unquote_plus(value)))}
    login = authority.rpartition("@")[0]
    return {*shown, *path.split("/")} - {login, *login.split(":"), *unquote(login).split(":")}


@lru_cache(maxsize=64)
def account(url: str) -> Account:
    """The URL's account, asked of Apprise in a process of its own, once. Raises UnusableUrlError.

    Apprise in this process would cost 27 MB for as long as it lives; elsewhere it costs half a second, once.
    """
    if "apprise" in sys.modules:
        return parse(url)
    answer = ask(__name__, url)
    if answer is None:
        return parse(url)  # no process to be had: the memory matters less than the mail
    if "unusable" in answer:
        raise UnusableUrlError(answer["unusable"])
    return _from_json(answer)


def parse(url: str) -> Account:
    """The URL's account, by Apprise in this process. Raises UnusableUrlError."""
    from apprise import AppriseAsset
    from apprise.exception import AppriseException
    from apprise.plugins.email import base

    from budgetd.channels import tap

    tap.install()  # its words reach people by the receipt, not the log
    service: Any = base.NotifyEmail
    try:
        parts = service.parse_url(url)
        asset = AppriseAsset(app_id="budgetd", storage_mode="memory", pgp_autogen=False)
        plugin = service(**parts, asset=asset) if parts else None
    except (AppriseException, *_UNUSABLE) as error:
        raise UnusableUrlError(Secrets(url, (), public(url)).scrub(str(error))[:200]) from None
    if plugin is None:
        raise UnusableUrlError("Apprise does not understand this channel's URL")
    if not plugin.targets:
        raise UnusableUrlError("none of the recipients in to= is an address")
    addresses = [plugin.from_addr[1], *(address for _, address in plugin.targets), *plugin.cc, *plugin.bcc]
    if not all(address.isascii() for address in (*addresses, *plugin.reply_to)):
        raise UnusableUrlError("an address has letters beyond ASCII, which few mail servers take")
    names = plugin.names
    return Account(
        host=plugin.smtp_host,
        port=plugin.port,
        mode=plugin.secure_mode,
        sender=(plugin.from_addr[0] or "", plugin.from_addr[1]),
        to=tuple((name or "", address) for name, address in plugin.targets),
        cc=tuple((names.get(address) or "", address) for address in sorted(plugin.cc)),
        bcc=tuple(sorted(plugin.bcc)),
        reply_to=tuple((names.get(address) or "", address) for address in sorted(plugin.reply_to)),
        user=plugin.user or "",
        password=plugin.password or "",
        headers=tuple(plugin.headers.items()),
        unverified=not plugin.verify_certificate,
    )


def _from_json(answer: dict[str, object]) -> Account:
    lists = {key: _tuples(value) for key, value in answer.items()}
    return Account(**lists)  # type: ignore[arg-type]  # written by `main` from an Account


def _tuples(value: object) -> object:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def main() -> None:
    """A URL as JSON on stdin, its account or why there is none as JSON on stdout."""
    try:
        answer = asdict(parse(json.load(sys.stdin)))
    except UnusableUrlError as error:
        answer = {"unusable": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
