"""What is wrong with a value, by the way that leads to it; and pydantic's errors as such."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from budgetd.nearest import nearest
from budgetd.rulefile.shape import (
    LATER_RULE_TYPES,
    RULE_CLASSES,
    ChannelPart,
    DefaultsPart,
    DigestPart,
    GroupPart,
    RouteMatch,
    RoutePart,
    RulesFile,
    about_type,
)
from budgetd.rulefile.yaml_text import Document
from budgetd.rules.base import Matcher

Way = tuple[str | int, ...]

_PLAIN_WORDS = {
    "model_type": "expected a mapping (key: value)",
    "model_attributes_type": "expected a mapping (key: value)",
    "dict_type": "expected a mapping (key: value)",
    "mapping_type": "expected a mapping (key: value)",
    "tuple_type": "expected a list (- one - two, or [one, two])",
    "string_type": "expected a text",
    "bool_type": "expected true or false",
    "string_pattern_mismatch": "a name is 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit",
}
_EMPTY = {
    "rules": "no rules at all: nothing would be watched",
    "channels": "no channels at all: nobody would be told",
    "steps": "no steps at all: nothing would be announced",
}


class Fault(NamedTuple):
    """Something wrong at the end of `way`: at the value, or at its key.

    `word` was probably meant to be one of the choices. `missing` is the key that is not there.
    """

    way: Way
    message: str
    of_key: bool = False
    word: str = ""
    choices: Collection[str] = ()
    warning: bool = False
    missing: str = ""


def shape_faults(error: ValidationError, document: Document) -> Iterator[Fault]:
    """pydantic's errors in the words of the file. A rule of an unknown type is read as the type it was meant to be."""
    for details in error.errors(include_url=False, include_input=False):
        way = _way(details["loc"])
        if details["type"] == "too_short" and document.at(way):
            continue  # there are some, and what is wrong with them is said
        if details["type"] in ("union_tag_invalid", "union_tag_not_found"):
            yield from _beneath_a_bad_type(way, document)
        else:
            yield _fault(details, way, document)


def _way(loc: tuple[str | int, ...]) -> Way:
    """pydantic names the rule's type as a step of its own; the file has no such step."""
    if loc[:1] == ("rules",) and len(loc) > 2 and loc[2] in RULE_CLASSES:
        return (*loc[:2], *loc[3:])
    return loc


def _fault(details: ErrorDetails, way: Way, document: Document) -> Fault:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(way, document)
    if kind == "missing":
        return Fault(way[:-1], f'"{way[-1]}" is missing', missing=str(way[-1]))
    if way[-1:] == ("[key]",):
        way = way[:-1]
        return Fault(way, _words(details), of_key=True)
    if kind == "budgetd":
        at = context["at"]
        way = way if at is None else (*way, at)
        of_key = isinstance(at, str) and context["word"] == at
        return Fault(way, _words(details), of_key, context["word"], context["choices"])
    if kind == "too_short":
        return Fault(way, _EMPTY.get(str(way[-1]), "there is nothing in it"))
    return Fault(way, _words(details))


def _words(details: ErrorDetails) -> str:
    if details["type"] == "budgetd":
        return str(details["ctx"]["message"])
    return _PLAIN_WORDS.get(details["type"], details["msg"])


def _unknown_key(way: Way, document: Document) -> Fault:
    key = str(way[-1])
    keys = _keys(way[:-1], document)
    known = f"; known are {', '.join(keys)}" if keys and len(keys) <= 8 else ""
    return Fault(way, f'unknown key "{key[:40]}"{known}', True, key, keys)


def _keys(way: Way, document: Document) -> tuple[str, ...]:
    """The keys that a mapping of the file may have."""
    top, depth = way[0] if way else "", len(way)
    found: type[BaseModel] | None = None
    if depth == 0:
        found = RulesFile
    elif depth == 1:
        found = DefaultsPart if top == "defaults" else None
    elif depth == 2:
        parts: Mapping[Any, type[BaseModel]] = {
            "channels": ChannelPart,
            "groups": GroupPart,
            "routes": RoutePart,
            "digests": DigestPart,
        }
        found = RULE_CLASSES.get(_type_of(document.at(way))) if top == "rules" else parts.get(top)
    elif depth == 3:
        found = RouteMatch if top == "routes" else Matcher
    return tuple(field.alias or name for name, field in found.model_fields.items()) if found is not None else ()


def _type_of(rule: Any) -> str:
    """The type that a rule has or was probably meant to have."""
    if not isinstance(rule, dict):
        return ""
    written = rule.get("type")
    if isinstance(written, str) and written not in LATER_RULE_TYPES:
        return written if written in RULE_CLASSES else nearest(written, RULE_CLASSES) or ""
    if written is not None:
        return ""
    return "spike" if "against" in rule else "cap"


def _beneath_a_bad_type(way: Way, document: Document) -> Iterator[Fault]:
    """What is wrong with the type, and, if it can be guessed, with the rest of the rule."""
    rule = document.at(way)
    yield _bad_type(way, rule)
    meant = _type_of(rule)
    if meant not in RULE_CLASSES:
        return
    try:
        RULE_CLASSES[meant].model_validate({**rule, "type": meant})
    except ValidationError as error:
        for details in error.errors(include_url=False, include_input=False):
            yield _fault(details, (*way, *details["loc"]), document)


def _bad_type(way: Way, rule: Any) -> Fault:
    if not isinstance(rule, dict) or "type" not in rule:
        return Fault(way, f'"type" is missing; the types are {" and ".join(RULE_CLASSES)}', missing="type")
    written = rule["type"]
    if not isinstance(written, str):
        return Fault((*way, "type"), f"expected a type; the types are {' and '.join(RULE_CLASSES)}")
    return Fault((*way, "type"), about_type(written), False, written, tuple(RULE_CLASSES))
