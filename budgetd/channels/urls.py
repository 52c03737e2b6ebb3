"""What can be told from a channel's URL without touching the network: its secrets, its kind, how to show it."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Sequence
from ipaddress import ip_address
from urllib.parse import quote, unquote, unquote_plus

MASK = "***"
# Shorter pieces ("to", "us") are words; hiding them would make every sentence unreadable.
_SHORTEST_SECRET = 3

_HOST = re.compile(r"(?:localhost|\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)(?::[0-9]{1,5})?\.?", re.ASCII)
_WORD = re.compile(r"[a-z]{1,12}", re.ASCII)
_IN_THE_HOUSE = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test")
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


def scheme(url: str) -> str:
    """The part before `://` in lower case; empty when there is none."""
    before, separator, _ = url.partition("://")
    return before.strip().lower() if separator else ""


def masked(url: str) -> str:
    """The URL as it may be shown: its scheme, and its host where that is a host and not a token."""
    host = _host(url)
    kind = scheme(url) or "(no scheme)"
    return f"{kind}://{host}/{MASK}" if host else f"{kind}://{MASK}"


def _authority(url: str) -> tuple[str, str, str]:
    """(credentials, host or token, everything after)."""
    authority, *tail = re.split(r"([/?#])", url.partition("://")[2], maxsplit=1)
    credentials, _, host = authority.rpartition("@")
    return credentials, host, "".join(tail)


def _host(url: str) -> str:
    host = _authority(url)[1]
    return host if _HOST.fullmatch(host) else ""


def basic_login(credentials: str) -> dict[str, str]:
    """The header that logs in with a URL's `user:password`; none without a user."""
    user, _, password = credentials.partition(":")
    if not user:
        return {}
    login = f"{unquote(user)}:{unquote(password)}"
    return {"Authorization": f"Basic {base64.b64encode(login.encode('utf-8', 'replace')).decode()}"}


def is_near(host: str) -> bool:
    """Whether a host is surely of this machine or its own network; nothing is looked up."""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(_IN_THE_HOUSE)


def words_of(path: str) -> tuple[str, ...]:
    """The pieces of a path that are only words: `/budget` hides no "budget"; and the path itself if it has no other."""
    words = [piece for piece in path.split("/") if _WORD.fullmatch(piece)]
    return (*words, path) if len(words) == path.count("/") else tuple(words)


class Secrets:
    """Every piece of a URL that may be a secret, in the forms in which a service or a library may repeat it.

    `others` are secrets that the channel has beside its URL, `public` the pieces of the URL that are none.
    """

    def __init__(self, url: str, others: Sequence[str] = (), public: Collection[str] = ()) -> None:
        found = {*pieces(url), *others, *(other.partition("_")[2] for other in others)} - {"", *public}
        forms = {form for piece in found for form in _forms(piece)}
        credentials = unquote(_authority(url)[0])
        if credentials:
            forms |= _as_sent(credentials)
        longest_first = sorted((form for form in forms if len(form) >= _SHORTEST_SECRET), key=len, reverse=True)
        self.forms = tuple(longest_first)
        any_of_them = "|".join(map(re.escape, longest_first)) or r"(?!)"
        self._pattern = re.compile(f"(?:{any_of_them})+", re.IGNORECASE)

    def scrub(self, text: str) -> str:
        """The text with every secret replaced by `***`."""
        return self._pattern.sub(MASK, text)


def pieces(url: str) -> list[str]:
    """Every part of a URL that could be a secret, as it stands there."""
    credentials, host, tail = _authority(url)
    found = [credentials, *credentials.split(":"), tail]
    if not _HOST.fullmatch(host):
        found += [host, *(piece for piece in re.split(r"[:,]", host) if not _PORT.fullmatch(piece))]
    path, _, query = tail.partition("?")
    found += [path, *re.split(r"[/,:;#]", path)]
    values = [value for part in re.split(r"[&;]", query) for value in [part.partition("=")[2] or part]]
    found += values
    # A value may itself be a list or an address: to=a@example.com,b@example.com; its host is no secret.
    found += [piece for value in values for piece in re.split(r"[\s,/:@]", unquote_plus(value)) if "." not in piece]
    return found


def _forms(piece: str) -> set[str]:
    decoded = unquote(piece)
    return {piece, decoded, unquote(decoded), unquote_plus(piece), quote(decoded, safe=""), quote(decoded)}


def _as_sent(credentials: str) -> set[str]:
    """In base64, as HTTP and mail servers are told a user and password: together, with NULs, and each alone."""
    user, _, password = credentials.partition(":")
    texts = (credentials, f"\0{user}\0{password}", user, password)
    return {base64.b64encode(text.encode("utf-8", "replace")).decode().rstrip("=") for text in texts}
