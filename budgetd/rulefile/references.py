"""`${NAME}` in `channels:`: the channel's URL as it will be used, and whether it can be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from budgetd.channels import registry
from budgetd.environment import UnavailableError, value_of

# Says why a URL cannot be used, or None. It must not repeat the URL.
Explain = Callable[[str], str | None]

# `$${` stands for `${` itself.
_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[^}]*)(?P<end>\}?)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,31})://", re.ASCII)
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f]")

# What wakes people up; each of them keeps incidents of its own.
PAGERS = registry.PAGERS | frozenset(
    [
        "betterstack",
        "firehydrant",
        "goalert",
        "goalerts",
        "ilert",
        "incidentio",
        "opsgenie",
        "pagertree",
        "signl4",
        "spike",
        "splunk",
        "squadcast",
        "victorops",
        "xmatters",
    ]
)


def expand(text: str, environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """The text with every reference replaced, and what is wrong with them; no message holds a value."""
    complaints: list[str] = []

    def replaced(found: re.Match[str]) -> str:
        name = found["name"]
        if name is None:
            return "${"
        if not found["end"] or _VARIABLE.fullmatch(name) is None:
            complaints.append("expected ${NAME} with letters, digits and '_'; write $${ for a plain ${")
            return ""
        try:
            return value_of(name, environment)
        except UnavailableError as error:
            complaints.append(f"${{{name}}}: {error}")
            return ""

    return _REFERENCE.sub(replaced, text), complaints


def scheme_of(url: str) -> str | None:
    """The URL's kind, in small letters: `slack`."""
    found = _SCHEME.match(url)
    return found["scheme"].lower() if found is not None else None


def is_pager(url: str) -> bool:
    """Whether a channel of that kind wakes somebody when nothing else is said."""
    return scheme_of(url) in PAGERS


def why_unusable(url: str, explain: Explain | None) -> str | None:
    """The reason that the URL cannot be a channel, without the URL; None when it can."""
    scheme = scheme_of(url)
    if scheme is None:
        return "a channel is a URL such as slack://... or mailtos://...; this one has no scheme"
    if _NOT_IN_A_URL.search(url):
        return f"this {scheme}:// URL has a blank or a line break in it; write %20 for a blank"
    return explain(url) if explain is not None else None
