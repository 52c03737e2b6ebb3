"""A message as Slack would show it, and a mail as its reader would, drawn with characters."""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from email.message import EmailMessage
from itertools import zip_longest
from typing import Any

from budgetd.commands.terminal import Terminal, fit
from budgetd.faces import slack as face
from budgetd.message import Message
from budgetd.model import Kind, Severity

# A link's words, code, bold; in text without any of them nothing is taken away.
_MARKUP = re.compile(r"<[^|>]*\|([^>]*)>|`([^`]*)`|\*([^*]*)\*")
_BLOCKS = dict(zip("▁▂▃▄▅▆▇█", "_.:-=+*#", strict=True))
_IN_ASCII = str.maketrans({**_BLOCKS, "░": ".", "·": "-", "•": "-", "🚨": "!", "🟠": "!", "🔵": "i", "✅": "+"})
_COLOURS = {Severity.CRITICAL: "red", Severity.WARNING: "yellow", Severity.INFO: "dim"}
_WIDEST = 80
_MAIL_LINES = 12


def slack(message: Message, room: str, screen: Terminal) -> Iterator[str]:
    """The lines of a post: who, where, and beside a bar of its severity's colour what the blocks show."""
    bar = screen.paint("▌" if screen.blocks else "|", _bar_colour(message))
    width = min(screen.columns, _WIDEST) - 5
    yield f"  {screen.paint(f'#{room}', 'dim')}"
    yield f"  {screen.paint('budgetd', 'bold')}  {screen.paint('APP', 'dim')}"
    for line in _post(face.post(message), width, screen):
        yield f"  {bar} {line}".rstrip()


def mail(letter: EmailMessage, screen: Terminal) -> Iterator[str]:
    """The lines of a mail: whom from and to, the subject, and how it begins."""
    bar = screen.paint("▌" if screen.blocks else "|", "dim")
    width = min(screen.columns, _WIDEST) - 4
    for name in ("From", "To"):
        yield f"  {bar} {screen.paint(f'{name}:', 'dim')} {letter[name]}"
    for line in textwrap.wrap(f"Subject: {letter['Subject']}", width, subsequent_indent=" " * 9):
        yield f"  {bar} {screen.paint(line, 'bold')}"
    plain = letter.get_body(("plain",))
    text = plain.get_content().removeprefix(letter["Subject"]).strip().splitlines() if plain is not None else []
    body = ["", *(part for line in text for part in textwrap.wrap(line, width) or [""])]
    for line in body[:_MAIL_LINES]:
        yield f"  {bar} {line}".rstrip()
    if len(body) > _MAIL_LINES:
        more = f"{len(body) - _MAIL_LINES} more lines"
        yield f"  {bar} {screen.paint(f'({more})', 'dim')}"


def _bar_colour(message: Message) -> str:
    return "green" if message.kind is Kind.RESOLVE else _COLOURS[message.severity]


def _post(payload: Mapping[str, Any], width: int, screen: Terminal) -> Iterator[str]:
    """A post's blocks one below the other; without any, its text."""
    if "blocks" not in payload:
        yield from _text({"type": "mrkdwn", "text": payload["text"]}, width, screen)
    for number, block in enumerate(payload.get("blocks", [])):
        small = block["type"] == "context"
        if number and not small:
            yield ""
        if "fields" in block:
            yield from _fields(block["fields"], width, screen)
        for text in block.get("elements", [block["text"]] if "text" in block else []):
            for line in _text(text, width, screen):
                yield screen.paint(line, "bold") if block["type"] == "header" else screen.paint(line, "dim" * small)


def _fields(fields: Sequence[Mapping[str, str]], width: int, screen: Terminal) -> Iterator[str]:
    """Two columns, as on a wide screen."""
    column = width // 2
    filled = [list(_text(each, column - 2, screen)) for each in fields]
    filled += [[""]] * (len(filled) % 2)
    for left, right in zip(filled[::2], filled[1::2], strict=True):
        for one, other in zip_longest(left, right, fillvalue=""):
            yield f"{fit(one, column)}{other}".rstrip()


def _text(text: Mapping[str, str], width: int, screen: Terminal) -> Iterator[str]:
    """The lines of a text object, its markup and entities as Slack shows them."""
    for line in text["text"].split("\n"):
        shown = html.unescape(_MARKUP.sub(_unmarked, line)) if text["type"] == "mrkdwn" else line
        if not screen.blocks:
            shown = shown.translate(_IN_ASCII)
        yield from textwrap.wrap(shown, width, break_on_hyphens=False) or [""]


def _unmarked(found: re.Match[str]) -> str:
    return next(part for part in found.groups() if part is not None)
