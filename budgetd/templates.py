"""Titles and bodies in the operator's own words: a part of Jinja in which every text ends soon and stays short.

Jinja's sandbox bounds neither time nor memory (`{{ 9 ** 9 ** 9 }}`, loops in loops, `{{ "x" * 10 ** 9 }}`), so there
is an allow-list on top of it: names, fields, comparisons, `if`, `for` over lists, and a few filters that cannot make a
text grow. Nothing is called, calculated or assigned. What is left is counted: each turn of a loop, each field and each
filter is a step, and a text may take so many. No other file imports Jinja, which is an optional extra.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from budgetd import escaping, money, wording
from budgetd.faces import slack
from budgetd.message import BODY_LIMIT, BROKEN, Flavour

# Characters of a template, parts of its syntax, steps of one text: the worst that they allow takes under half a second.
MOST_CHARACTERS = 4_000
MOST_NODES = 600
MOST_STEPS = 5_000

_NAME_LIMIT = 200
_FIELDS_OF_LOOP = ("index", "index0", "revindex", "revindex0", "first", "last", "length")
_INSTEAD = {
    nodes.Call: "nothing can be called here; there are filters: {{ money.spent | dollars }}",
    nodes.Assign: "{% set %} is not read here",
    nodes.Macro: "{% macro %} is not read here",
    nodes.Include: "{% include %} is not read here",
    nodes.Import: "{% import %} is not read here",
    nodes.FromImport: "{% from %} is not read here",
    nodes.Extends: "{% extends %} is not read here",
    nodes.Block: "{% block %} is not read here",
}
_READ = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem,
    nodes.Slice, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.If,
    nodes.For, nodes.CondExpr, nodes.List, nodes.Tuple,
)  # fmt: skip
_TESTS = ("defined", "undefined", "none")


class TemplateError(Exception):
    """A template that cannot be used, or had nothing to say. `line` is the template's own, from 1.

    `word` was probably meant to be one of the choices; it stands on that line.
    """

    def __init__(self, message: str, line: int = 1, word: str = "", choices: Collection[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.word = word
        self.choices = choices


# --- filters -----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Steps:
    left: int = MOST_STEPS

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise TemplateError(f"it takes more than {MOST_STEPS:,} steps")


# Without one nothing is counted: Jinja evaluates constants before there is a text.
_steps: ContextVar[_Steps | None] = ContextVar("steps", default=None)


def _step() -> None:
    steps = _steps.get()
    if steps is not None:
        steps.take()


def _number(value: Any) -> Decimal:
    """An amount or a ratio as a number that can be compared."""
    return Decimal(str(value)[:40])


def _dollars(value: Any) -> str:
    return money.dollars(_number(value))


def _share(value: Any) -> str:
    return money.share(_number(value), Decimal(1))


def _day(value: Any) -> str:
    when = datetime.fromisoformat(str(value)[:40])
    return f"{when.day} {when:%b %Y}"


def _time(value: Any) -> str:
    return wording.instant(datetime.fromisoformat(str(value)[:40]))


def _join(value: Any, between: str = ", ") -> str:
    return str(between)[:20].join(_plain(each)[:_NAME_LIMIT] for each in _listed(value))


def _default(value: Any, other: Any = "") -> Any:
    return other if value is None or isinstance(value, jinja2.Undefined) else value


def _cut(value: Any, limit: int = 60) -> str:
    return escaping.shorten(str(value), max(1, min(int(limit), BODY_LIMIT)))


def _plain(value: Any) -> str:
    if not isinstance(value, str | int | float):
        raise TypeError(f"{_kind(value)} cannot be shown; name one of its fields")
    return str(value)


def _listed(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"a list is needed here, and this is {_kind(value)}")
    return value


def _first(value: Any) -> Any:
    return _listed(value)[0] if _listed(value) else None


def _last(value: Any) -> Any:
    return _listed(value)[-1] if _listed(value) else None


FILTERS: Mapping[str, Callable[..., Any]] = {
    "capitalize": lambda value: str(value)[:1].upper() + str(value)[1:],
    "cut": _cut,
    "day": _day,
    "default": _default,
    "dollars": _dollars,
    "first": _first,
    "join": _join,
    "last": _last,
    "length": len,
    "lower": lambda value: str(value).lower(),
    "number": _number,
    "share": _share,
    "time": _time,
    "upper": lambda value: str(value).upper(),
}


def _counted(act: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*given: Any, **named: Any) -> Any:
        _step()
        return act(*given, **named)

    return counted


def _turns(value: Any) -> Iterator[Any]:
    """What a loop goes over: a list of the message, each turn a step."""
    for each in _listed(value):
        _step()
        yield each


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a group of fields"
    return "nothing" if value is None else f"a {type(value).__name__}"


# --- the language ------------------------------------------------------------------------------

# No name of a template begins so.
_TURNS = "_turns"


class _Environment(ImmutableSandboxedEnvironment):
    """Fields of mappings are all that there is behind a dot; each value is escaped for where it is shown."""

    def __init__(self, flavour: Flavour) -> None:
        super().__init__(
            undefined=jinja2.StrictUndefined,
            finalize=lambda value: _shown(value, flavour),
            keep_trailing_newline=False,
            trim_blocks=True,
            lstrip_blocks=True,
            cache_size=0,
        )
        self.filters = {name: _counted(act) for name, act in FILTERS.items()} | {_TURNS: _turns}
        self.tests = {name: self.tests[name] for name in _TESTS}
        self.globals = {}

    def getattr(self, obj: Any, attribute: str) -> Any:
        _step()
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, LoopContext) and attribute in _FIELDS_OF_LOOP:
            return getattr(obj, attribute)
        if isinstance(obj, jinja2.Undefined):
            return obj
        around = "; put {% if ... %} around it" if obj is None else ""
        return self.undefined(hint=f'there is no "{attribute}" here{around}')

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(argument, str):
            return self.getattr(obj, argument)
        try:
            return _listed(obj)[argument]
        except (LookupError, TypeError):
            return self.undefined(hint=f"there is no {argument} in that list")


_ESCAPES: Mapping[Flavour, Callable[[str], str]] = {
    Flavour.TEXT: escaping.for_text,
    Flavour.SLACK: slack.words,
    Flavour.HTML: escaping.for_html,
}


def _shown(value: Any, flavour: Flavour) -> str:
    """A value as it may stand among the operator's own words: on one line, without markup, mentions or controls."""
    if value is None:
        return ""
    if isinstance(value, jinja2.Undefined):
        return str(value)  # raises, with its own words
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return money.canonical(value)
    return _ESCAPES[flavour](escaping.without_mentions(_plain(value)))


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was checked. `fill` may be called from any thread."""

    ready: jinja2.Template = field(repr=False)

    def fill(self, data: Mapping[str, Any]) -> str:
        """The text for that data. Raises TemplateError."""
        token = _steps.set(_Steps())
        try:
            return self._filled(data)
        except TemplateError as error:
            raise TemplateError(error.message, _line_of(error)) from None
        except (jinja2.TemplateError, RecursionError, *BROKEN) as error:
            raise TemplateError(_words(error), _line_of(error)) from None
        finally:
            _steps.reset(token)

    def _filled(self, data: Mapping[str, Any]) -> str:
        kept, room = [], BODY_LIMIT
        for part in self.ready.generate(data):
            room -= len(part)
            if room < 0:
                raise TemplateError(f"it makes more than {BODY_LIMIT:,} characters")
            kept.append(part)
        text = "".join(kept).strip()
        if not text:
            raise TemplateError("it makes no text at all")
        return text


@lru_cache(maxsize=512)
def template(text: str, flavour: Flavour) -> Template:
    """The template, after making sure that every text of it ends. Raises TemplateError."""
    return Template(_environment(flavour).from_string(_checked(text, flavour)))


@lru_cache(maxsize=len(Flavour))
def _environment(flavour: Flavour) -> _Environment:
    return _Environment(flavour)


def _checked(text: str, flavour: Flavour) -> nodes.Template:
    if len(text) > MOST_CHARACTERS:
        raise TemplateError(f"a template has at most {MOST_CHARACTERS:,} characters, this one has {len(text):,}")
    try:
        tree = _environment(flavour).parse(text)
    except jinja2.TemplateSyntaxError as error:
        raise _syntax(error) from None
    except (RecursionError, ValueError):
        raise TemplateError("it is nested too deeply") from None
    found = [tree, *tree.find_all(nodes.Node)]
    if len(found) > MOST_NODES:
        raise TemplateError(f"it has more than {MOST_NODES} parts; make it shorter")
    for node in found:
        _look_at(node)
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, _TURNS, [], [], None, None, lineno=loop.lineno)
    tree.set_environment(_environment(flavour))
    return tree


def _look_at(node: nodes.Node) -> None:
    """Whether that part of the syntax is read. Raises TemplateError."""
    if not isinstance(node, _READ) or (isinstance(node, nodes.For) and node.recursive):
        words = _INSTEAD.get(type(node), f"{type(node).__name__.lower()} is not read here")
        raise TemplateError(words, node.lineno)
    if isinstance(node, nodes.Const) and isinstance(node.value, float) and not isfinite(node.value):
        raise TemplateError("a number is too large", node.lineno)
    if isinstance(node, nodes.Filter) and node.name not in FILTERS:
        known = ", ".join(FILTERS)
        raise TemplateError(f'there is no filter "{node.name}"; there are {known}', node.lineno, node.name, FILTERS)
    if isinstance(node, nodes.Test) and node.name not in _TESTS:
        raise TemplateError(f'there is no test "{node.name}"; there are {", ".join(_TESTS)}', node.lineno, node.name)


def _syntax(error: jinja2.TemplateSyntaxError) -> TemplateError:
    message = (error.message or "not a template").rstrip(".")
    tag = re.match(r"Encountered unknown tag '(\w+)'", message)
    if tag is not None:
        return TemplateError(f"there is no {{% {tag[1]} %}} here", error.lineno, tag[1], ("if", "elif", "else", "for"))
    return TemplateError(message[:1].lower() + message[1:], error.lineno)


def _words(error: Exception) -> str:
    """What went wrong, for the operator; it may quote the template, never the message."""
    if isinstance(error, jinja2.UndefinedError):
        return str(error.message)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return f"{type(error).__name__}: {error}" if not isinstance(error, TypeError) else str(error)


def _line_of(error: BaseException) -> int:
    """The template's line that was being worked on."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == "<template>" and frame.lineno]
    return lines[-1] if lines else getattr(error, "line", 1)


# --- before it is used -------------------------------------------------------------------------


def unknown_fields(text: str, flavour: Flavour, samples: Sequence[Mapping[str, Any]]) -> Iterator[TemplateError]:
    """The names and fields that no message has. `samples` are messages of every kind."""
    known: dict[str, list[Any]] = {}
    for sample in samples:
        for name, value in sample.items():
            known.setdefault(name, []).append(value)
    try:
        tree = _environment(flavour).parse(text)
    except (jinja2.TemplateSyntaxError, RecursionError, ValueError):
        return  # `template` says so
    yield from _Fields(known).look(tree)


class _Fields:
    """Follows names and fields through a template, with all that they can be."""

    def __init__(self, known: Mapping[str, list[Any]]) -> None:
        self._known = dict(known)

    def look(self, node: nodes.Node) -> Iterator[TemplateError]:
        """What is not there, in the order of the template."""
        if isinstance(node, nodes.For):
            yield from self._loop(node)
            return
        if isinstance(node, nodes.Name | nodes.Getattr):
            wrong: list[TemplateError] = []
            self._values(node, wrong)
            yield from wrong
            return
        for child in node.iter_child_nodes():
            yield from self.look(child)

    def _loop(self, node: nodes.For) -> Iterator[TemplateError]:
        yield from self.look(node.iter)
        inner = _Fields(self._known | {"loop": [dict.fromkeys(_FIELDS_OF_LOOP, 1)]})
        for target in [node.target] if isinstance(node.target, nodes.Name) else node.target.find_all(nodes.Name):
            inner._known[target.name] = self._items(node.iter)
        for child in (*node.body, *node.else_, *([node.test] if node.test is not None else [])):
            yield from inner.look(child)

    def _items(self, node: nodes.Node) -> list[Any]:
        while isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            node = node.node
        return [item for value in self._values(node, []) or () if isinstance(value, list) for item in value]

    def _values(self, node: nodes.Node, wrong: list[TemplateError]) -> list[Any] | None:
        """All that the name or field can be; None when nothing is known of it."""
        if isinstance(node, nodes.Name):
            if node.name in self._known:
                return self._known[node.name]
            choices = sorted(self._known)
            wrong.append(TemplateError(f'a message has no "{node.name}"', node.lineno, node.name, choices))
            return None
        if not isinstance(node, nodes.Getattr):
            return None
        groups = [value for value in self._values(node.node, wrong) or () if isinstance(value, Mapping)]
        if not groups:
            return None
        choices = list(dict.fromkeys(key for group in groups for key in group))
        if node.attr not in choices:
            known = ", ".join(choices)
            message = f'there is no "{node.attr}" in it; there are {known}'
            wrong.append(TemplateError(message, node.lineno, node.attr, choices))
            return None
        return [group[node.attr] for group in groups if node.attr in group]
