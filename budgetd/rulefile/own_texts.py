"""The operator's own titles and bodies: what is wrong with them, at the line of the file that it stands on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Protocol

from budgetd.own_words import TEXTS, Blot, blots
from budgetd.rulefile.checks import Book, mapping
from budgetd.rulefile.faults import Fault
from budgetd.rulefile.yaml_text import LINE_BREAK, Place


class HasUrl(Protocol):
    """A channel, as far as it matters here."""

    @property
    def url(self) -> str: ...


def mistakes(book: Book, channels: Mapping[str, HasUrl], text: str) -> Iterator[tuple[Place, Fault]]:
    """What is wrong with the templates of all channels, each at its place."""
    lines: list[str] = []
    for name, part in book.channels.items():
        written = {each: value for each in TEXTS if isinstance(value := mapping(part).get(each), str) and value.strip()}
        if not written or name not in channels:
            continue
        lines = lines or LINE_BREAK.split(text)
        for blot in blots(channels[name].url, written):
            way = ("channels", name, blot.text)
            place = _place(book.document.place(way), blot, lines)
            yield place, Fault(way, f"{blot.text}: {blot.message}", word=blot.word, choices=blot.choices)


def _place(start: Place, blot: Blot, lines: list[str]) -> Place:
    """Where the word, or the template's line, stands in the file: as near as the text's own style lets us tell."""
    first = lines[start.line - 1]
    is_block = first[start.column - 1 : start.column] in ("|", ">")
    line = start.line + blot.line - (0 if is_block else 1)
    if not is_block and blot.line == 1 and not blot.word:
        return start
    for number in range(line, min(line + 3, len(lines)) + 1):
        begin = start.column - 1 if number == start.line and not is_block else 0
        found = re.search(rf"\b{re.escape(blot.word)}\b" if blot.word else r"\{[{%]|\S", lines[number - 1][begin:])
        if found is not None:
            return Place(number, begin + found.start() + 1)
    return start
