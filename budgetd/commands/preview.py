"""A message as Slack would show it, and a mail as its reader would, drawn with characters."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator
from email.message import EmailMessage

from budgetd.commands.terminal import Terminal, fit
from budgetd.message import Message
from budgetd.model import Kind, Severity

_FENCE = "```"
_COLOURS = {Severity.CRITICAL: "red", Severity.WARNING: "yellow", Severity.INFO: "dim"}
_WIDEST = 80
_MAIL_LINES = 12


def slack(message: Message, room: str, screen: Terminal) -> Iterator[str]:
    """The lines of a post: who, when, and beside a bar of its severity's colour the title and the body."""
    bar = screen.paint("▌" if screen.blocks else "|", _bar_colour(message))
    width = min(screen.columns, _WIDEST) - 4
    yield f"  {screen.paint(f'#{room}', 'dim')}"
    yield f"  {screen.paint('budgetd', 'bold')}  {screen.paint('APP', 'dim')}"
    for line in textwrap.wrap(message.title, width):
        yield f"  {bar} {screen.paint(line, 'bold')}"
    for line in _slack_body(message.body, width, screen):
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


def _slack_body(body: str, width: int, screen: Terminal) -> Iterator[str]:
    """Paragraphs wrapped, what is between fences in a box; entities as Slack shows them."""
    for number, part in enumerate(html.unescape(body).split(_FENCE)):
        lines = part.strip("\n").split("\n")
        if number % 2:
            yield from _boxed(lines, width, screen)
        else:
            for line in lines:
                yield from textwrap.wrap(line, width, break_on_hyphens=False) or [""] * bool(part.strip("\n"))


def _boxed(lines: list[str], width: int, screen: Terminal) -> Iterator[str]:
    top, side, bottom = ("┌─┐", "│", "└─┘") if screen.blocks else ("+-+", "|", "+-+")
    inner = width - 4
    side = screen.paint(side, "dim")
    yield screen.paint(top[0] + top[1] * (inner + 2) + top[2], "dim")
    for line in lines:
        for start in range(0, max(len(line), 1), inner):
            yield f"{side} {fit(line[start : start + inner], inner)} {side}"
    yield screen.paint(bottom[0] + bottom[1] * (inner + 2) + bottom[2], "dim")
