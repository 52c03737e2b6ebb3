"""A mistake in a file as people read it: its place, what is wrong, and the line with a caret under it; no secrets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from budgetd.rulefile.yaml_text import LINE_BREAK, Place

MOST_SHOWN = 100
_WIDEST = 120

# `slack://...` in a message is an example, not an address.
_URL_REST = re.compile(r"(?<=://)(?![.?]*[\s,;]|[.?]*$)\S+")
_URL_SO_FAR = re.compile(r"://\S*$")
# In `channels:` only keys and punctuation are shown; what else stands there may be a token.
_MASKABLE = re.compile(r"[^\s{}\[\],]+")
_SHOWABLE = re.compile(r"""["']?[A-Za-z_][A-Za-z0-9_-]{0,30}["']?:|-|["']""", re.ASCII)
_TOP_KEY = re.compile(r"""["']?(?P<key>[A-Za-z_]+)["']?\s*:""", re.ASCII)
OPEN_SECTIONS = ("version", "groups", "routes", "defaults", "quiet", "rules", "digests")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, or only odd (`warning`). `place` None: the file as a whole."""

    file: str
    message: str
    place: Place | None = None
    excerpt: str = ""
    warning: bool = False

    def __str__(self) -> str:
        where = f"{self.file}:{self.place.line}:{self.place.column}" if self.place is not None else self.file
        kind = "warning: " if self.warning else ""
        return f"{where}: {kind}{self.message}{self.excerpt}"


class Source:
    """A file's name and text: makes mistakes that show their line."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._lines = LINE_BREAK.split(text)

    def mistake(self, place: Place, message: str, *, warning: bool = False, bare: bool = False) -> Mistake:
        """A mistake at a place of the text. Whatever follows `://` is left out of the message and of the line.

        `bare`: without the line.
        """
        excerpt = "" if bare else self._excerpt(place)
        return Mistake(self._name, _URL_REST.sub("…", message), place, excerpt, warning)

    def _excerpt(self, place: Place) -> str:
        line = self._lines[place.line - 1] if place.line <= len(self._lines) else ""
        if not line.strip():
            return ""
        before, after = line[: place.column - 1], line[place.column - 1 :][:_WIDEST]
        if len(before) > _WIDEST:
            # A part of a word could look like something else than the whole.
            before = re.sub(r"^\S*", "…", before[-_WIDEST:])
        if _URL_SO_FAR.search(before):
            after = re.sub(r"^\S+", "…", after)
        if self._may_hold_secrets(place.line):
            before, after = _masked(before), _masked(after)
        before, after = _URL_REST.sub("…", before), _URL_REST.sub("…", after)
        if len(before) > _WIDEST // 2:
            before = "…" + before[-_WIDEST // 2 :]
        shown = (before + after).replace("\t", " ")
        shown = shown if len(shown) <= _WIDEST else shown[:_WIDEST] + "…"
        return f"\n    {shown}\n    {' ' * len(before)}^"

    def _may_hold_secrets(self, number: int) -> bool:
        """Whether the line is not surely outside of `channels:`; the text need not be YAML to tell."""
        for line in reversed(self._lines[:number]):
            if line[:1] in ("", " ", "\t", "#", "-", "\ufeff"):
                continue
            found = _TOP_KEY.match(line)
            return found is None or found["key"] not in OPEN_SECTIONS
        return True


def _masked(text: str) -> str:
    return _MASKABLE.sub(lambda found: found[0] if _SHOWABLE.fullmatch(found[0]) else "…", text)


def report(mistakes: Sequence[Mistake]) -> str:
    """The mistakes as one text, one after the other; of very many the first ones and a count."""
    shown = [str(mistake) for mistake in mistakes[:MOST_SHOWN]]
    if len(mistakes) > MOST_SHOWN:
        shown.append(f"and {len(mistakes) - MOST_SHOWN:,} more")
    return "\n".join(shown)
