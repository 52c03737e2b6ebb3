"""Text for people on a terminal: its width, colours where they are wanted, bars, columns that line up."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TextIO

NARROWEST, WIDEST = 60, 100
# When the output is no terminal: a mail, a ticket, a pipe.
USUAL = 80

_COLOURS = {"red": "31", "yellow": "33", "green": "32", "dim": "2", "bold": "1"}
_ESCAPES = re.compile("\x1b\\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Terminal:
    """What the output can show. `blocks`: it can encode more than ASCII."""

    columns: int = USUAL
    colour: bool = False
    blocks: bool = True

    def paint(self, text: str, *colours: str) -> str:
        """The text in these colours, where colours are shown. Nothing may be said by colour alone."""
        if not self.colour or not text or not colours:
            return text
        return f"\x1b[{';'.join(_COLOURS[colour] for colour in colours)}m{text}\x1b[0m"

    def bar(self, share: Decimal, cells: int) -> str:
        """A bar that is full at 1. It is never full below it and never empty above 0: the rest is rounding."""
        filled = int(min(max(share, Decimal(0)), Decimal(1)) * cells)
        filled = max(filled, 1) if share > 0 else 0
        full, empty = ("█", "░") if self.blocks else ("#", ".")
        return full * filled + empty * (cells - filled)

    def wrapped(self, text: str, indent: int, *, first: int | None = None) -> list[str]:
        """The text in lines of the terminal's width, all indented; `first`: how far the first one is already."""
        lines = textwrap.wrap(
            text,
            self.columns,
            initial_indent=" " * (indent if first is None else first),
            subsequent_indent=" " * indent,
            break_on_hyphens=False,
        )
        return lines or [""]

    def line(self, left: str, right: str) -> str:
        """One line with something at each end; two lines where they do not fit."""
        gap = self.columns - cells(left) - cells(right)
        return f"{left}{' ' * gap}{right}" if gap >= 2 else f"{left}\n    {right}"


def terminal(stream: TextIO | None = None, environment: Mapping[str, str] | None = None) -> Terminal:
    """What standard output, or another stream, can show."""
    stream = sys.stdout if stream is None else stream
    environment = os.environ if environment is None else environment
    watched = stream.isatty()
    columns = shutil.get_terminal_size((USUAL, 24)).columns if watched or "COLUMNS" in environment else USUAL
    colour = watched and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    return Terminal(min(max(columns, NARROWEST), WIDEST), colour, _can_show("█░…", stream))


def _can_show(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def cells(text: str) -> int:
    """How many columns the text takes: East Asian characters take two, combining ones none, colours none."""
    plain = _ESCAPES.sub("", text)
    if plain.isascii():
        return len(plain)
    return sum(_cells(character) for character in plain)


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, width: int) -> str:
    """The text in exactly that many columns: cut with an ellipsis, or filled with blanks."""
    if cells(text) > width:
        kept = ""
        for character in text:
            if cells(kept + character) > width - 1:
                break
            kept += character
        text = f"{kept}…"
    return text + " " * (width - cells(text))


def show(lines: Iterable[str], stream: TextIO | None = None) -> None:
    """Print the lines; a character that the output cannot encode becomes `?`, never an error."""
    stream = sys.stdout if stream is None else stream
    encoding = stream.encoding or "ascii"
    for line in lines:
        print(line.encode(encoding, "replace").decode(encoding), file=stream)
