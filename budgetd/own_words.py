"""The operator's own titles and bodies: which messages get them, and what happens when one cannot be made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from importlib.util import find_spec
from typing import Any

from budgetd import escaping
from budgetd.channels import registry
from budgetd.message import Flavour, Message, escaped, late_note, late_prefix
from budgetd.model import Face
from budgetd.samples import samples
from budgetd.wording import TITLE_LIMIT

TEXTS = ("title", "body")
NOT_INSTALLED = "needs Jinja2, which is not installed: pip install 'budgetd[templates]'"


@dataclass(frozen=True, slots=True)
class Blot:
    """What is wrong with a template: of which text, on which of its lines; `word` was meant to be one of `choices`."""

    text: str
    message: str
    line: int = 1
    word: str = ""
    choices: tuple[str, ...] = ()


@cache
def is_installed() -> bool:
    """Whether templates can be read here: Jinja is an extra."""
    return find_spec("jinja2") is not None


def blots(url: str, texts: Mapping[str, str]) -> Iterator[Blot]:
    """Everything that is wrong with a channel's templates, by the text (`title`, `body`) that it is in."""
    for text, written in texts.items():
        if text not in registry.texts(url):
            yield Blot(text, f"has no effect here: such a channel makes its {text} itself")
        elif not is_installed():
            yield Blot(text, NOT_INSTALLED)
        else:
            yield from _blots(text, written, _flavour(text, registry.flavour(url)))


def _blots(text: str, written: str, flavour: Flavour) -> Iterator[Blot]:
    from budgetd.templates import TemplateError, template, unknown_fields

    tried = samples()
    wrong = list(unknown_fields(written, flavour, list(tried.values())))
    try:
        made = template(written, flavour)
    except TemplateError as error:
        wrong.append(error)
    yield from (Blot(text, each.message, each.line, each.word, tuple(each.choices)) for each in wrong)
    for words, data in tried.items() if not wrong else ():
        try:
            made.fill(data)
        except TemplateError as error:
            yield Blot(text, f"for {words}: {error.message}", error.line)
            return


def put(message: Message, texts: Mapping[str, str]) -> tuple[Message, tuple[Blot, ...]]:
    """The message in the operator's words, as far as there are any for it, and why the others could not be made.

    They are for one alert with figures, in its rich face. A message that a service refused goes out in ours.
    """
    if not texts or message.face is not Face.RICH or len(message.notices) != 1:
        return message, ()
    if message.notices[0].facts.amount is None:
        return message, ()
    found: list[Blot] = []
    for text, written in texts.items():
        filled, wrong = _filled(text, written, message)
        message = message if filled is None else _with(message, text, filled)
        found += wrong
    return message, tuple(found)


def _filled(text: str, written: str, message: Message) -> tuple[str | None, list[Blot]]:
    if not is_installed():
        return None, [Blot(text, NOT_INSTALLED)]
    from budgetd.templates import TemplateError, template

    data: dict[str, Any] = message.data["data"]
    try:
        return template(written, _flavour(text, message.flavour)).fill(data), []
    except TemplateError as error:
        return None, [Blot(text, error.message, error.line)]


def _with(message: Message, text: str, filled: str) -> Message:
    """That it is late, or was for another channel, is said whatever the operator's words are."""
    notice, sent = message.notices[0], datetime.fromisoformat(message.data["data"]["sent_at"])
    if text == "title":
        title = late_prefix(notice, sent) + " ".join(filled.split())
        return replace(message, title=escaping.shorten(title, TITLE_LIMIT), own=message.own | {"title"})
    said = (escaped(line, message.flavour) for line in (message.because, late_note(notice, sent)) if line)
    # A rich face would show figures of its own beside it.
    return replace(message, body="\n\n".join([*said, filled]), face=Face.PLAIN, own=message.own | {"body"})


def _flavour(text: str, flavour: Flavour) -> Flavour:
    """Titles are plain text everywhere."""
    return Flavour.TEXT if text == "title" else flavour
