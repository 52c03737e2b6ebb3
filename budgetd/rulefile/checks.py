"""What the shape of rules.yaml cannot say: names that must exist, ids that must differ, rules that can match nothing.

These look at the values as they were read, whatever their shape, so that all mistakes come out at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from budgetd.rulefile.faults import Fault, Way
from budgetd.rulefile.yaml_text import Document

_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Written:
    """A word of the file, and the way that leads to it."""

    way: Way
    word: str

    @property
    def wild(self) -> bool:
        """Whether it is a pattern for several names."""
        return not _WILD.isdisjoint(self.word)

    def takes(self, names: Iterable[str]) -> bool:
        """Whether one of the names is meant."""
        return any(fnmatchcase(name, self.word) for name in names)


class Book:
    """The parts of the file as they were read; what has not the right shape is left out."""

    def __init__(self, document: Document) -> None:
        top = mapping(document.value)
        self.document = document
        self.channels = mapping(top.get("channels"))
        self.groups = mapping(top.get("groups"))
        self.routes = [(("routes", n), mapping(part)) for n, part in enumerate(sequence(top.get("routes")))]
        self.quiet = [(("quiet", n), mapping(part)) for n, part in enumerate(sequence(top.get("quiet")))]
        self.rules = [(("rules", n), mapping(part)) for n, part in enumerate(sequence(top.get("rules")))]
        self.digests = [(("digests", n), mapping(part)) for n, part in enumerate(sequence(top.get("digests")))]
        self.ids = frozenset(rule["id"] for _, rule in self.rules if isinstance(rule.get("id"), str))

    def line(self, way: Way) -> int:
        """The line that the end of the way is on."""
        return self.document.place(way).line


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def words(way: Way, part: Mapping[str, Any], *keys: str) -> list[Written]:
    """The words at the end of `keys`: one alone, or those of a list."""
    value: Any = part
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, str):
        return [Written((*way, *keys), value)]
    if not isinstance(value, list):
        return []
    return [Written((*way, *keys, index), item) for index, item in enumerate(value) if isinstance(item, str)]


def mistakes(book: Book) -> Iterator[Fault]:
    """Everything that keeps the file from being used."""
    yield from _ids_twice(book, "rule", book.rules)
    yield from _ids_twice(book, "digest", book.digests)
    yield from _ids_twice(book, "quiet time", book.quiet)
    yield from _unknown_channels(book)
    yield from _unknown_groups(book)
    yield from _unknown_rules(book)
    for way, rule in book.rules:
        yield from _matches_nothing(way, rule)
        if "excluded" in rule:
            yield Fault((*way, "excluded"), 'unknown key "excluded"; did you mean "except"?', of_key=True)


def _ids_twice(book: Book, kind: str, parts: Iterable[tuple[Way, Mapping[str, Any]]]) -> Iterator[Fault]:
    first: dict[str, Way] = {}
    for way, part in parts:
        name = part.get("id")
        if not isinstance(name, str):
            continue
        if name in first:
            line = book.line((*first[name], "id"))
            yield Fault((*way, "id"), f'a second {kind} with the id "{name[:64]}"; the first is on line {line}')
        first.setdefault(name, way)


def _unknown_channels(book: Book) -> Iterator[Fault]:
    named = [(way, part, "notify") for way, part in (*book.rules, *book.routes, *book.digests)]
    for way, part, key in (*named, *((way, part, "channels") for way, part in book.quiet)):
        for written in words(way, part, key):
            if written.word not in book.channels:
                yield _missing("channel", written, book.channels)
    for name, part in book.channels.items():
        for written in words(("channels", name), mapping(part), "fallback"):
            if written.word == name:
                yield Fault(written.way, "a channel cannot be its own fallback")
            elif written.word not in book.channels:
                yield _missing("channel", written, book.channels)


def _unknown_groups(book: Book) -> Iterator[Fault]:
    for way, rule in book.rules:
        for key in ("match", "except"):
            yield from _without_group(words(way, rule, key, "group"), book)
        for written in words(way, rule, "for_each"):
            if written.word == "group" and not book.groups:
                yield Fault(written.way, "there are no groups in this file: this rule can match nothing")
    for way, part in (*book.routes, *book.quiet):
        yield from _without_group(words(way, part, "match", "group"), book)


def _without_group(found: Iterable[Written], book: Book) -> Iterator[Fault]:
    for written in found:
        if not written.takes(book.groups):
            yield _missing("group", written, book.groups)


def _unknown_rules(book: Book) -> Iterator[Fault]:
    for way, part in (*book.routes, *book.quiet):
        for written in words(way, part, "match", "rule"):
            if written.word not in book.ids and not (written.wild and written.takes(book.ids)):
                yield _missing("rule", written, book.ids)


def _missing(kind: str, written: Written, known: Collection[str]) -> Fault:
    if written.wild:
        return Fault(written.way, f'there is no {kind} like "{written.word[:64]}"')
    listed = f" ({kind}s are {', '.join(known)})" if 0 < len(known) <= 6 else ""
    return Fault(written.way, f'there is no {kind} "{written.word[:64]}"{listed}', False, written.word, known)


def _matches_nothing(way: Way, rule: Mapping[str, Any]) -> Iterator[Fault]:
    """`except` alone decides when it names one dimension, and then it must leave something of `match`."""
    excluded = mapping(rule.get("except"))
    if len(excluded) != 1:
        return
    (dimension,) = excluded
    left_out = {written.word for written in words(way, rule, "except", dimension)}
    wanted = [written.word for written in words(way, rule, "match", dimension)]
    if "*" in left_out or (wanted and all(_covered(word, left_out) for word in wanted)):
        message = f"this rule can match nothing: except takes every {dimension} that match lets in"
        yield Fault((*way, "except", dimension), message)


def _covered(word: str, left_out: Collection[str]) -> bool:
    return word in left_out or (_WILD.isdisjoint(word) and any(fnmatchcase(word, pattern) for pattern in left_out))
