"""YAML 1.2 as plain values, each with its place in the text; hostile texts end in a plain error, soon.

Scalars stay text as they are written: `no`, `12:30`, `010`, `5_000` and `1e3` are words. Only what YAML 1.2 calls null
and a plain `true` or `false` are more. There are no tags, merge keys or second documents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import yaml
from yaml import events

MOST_DEPTH = 32
MOST_VALUES = 500_000
# An alias costs a few bytes and repeats everything under its anchor; a written value costs its own length.
MOST_REPEATED_VALUES = 20_000
MOST_COMPLAINTS = 1_000

Loc = Sequence[str | int]
Parser = Callable[[str], Any]

# With libyaml ten times as fast; the one in Python gives the same values.
PARSERS: tuple[Parser, ...] = (*((yaml.CSafeLoader,) if yaml.__with_libyaml__ else ()), yaml.SafeLoader)

_PLAIN: dict[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# What the parsers say, in two dialects, and what it means.
_IN_WORDS = (
    ("mapping values are not allowed", 'a second ":" in one value; put quotes around a text that holds ": "'),
    ("end of stream.*quoted scalar", "a quote that is never closed"),
    ("flow sequence", 'a list that "[" opened is not closed, or a comma is missing'),
    ("flow mapping", 'a mapping that "{" opened is not closed, or a comma is missing'),
    (
        "block (mapping|collection|sequence)",
        "this does not fit with the lines above: the indentation, or a quote or comma that is missing",
    ),
    ("could not find expected ':'", "expected `key: value`"),
    ("cannot start any token", "a text that starts with this character needs quotes"),
    ("escape", "an escape that YAML does not know; single quotes take every character as it is"),
)
LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


class Place(NamedTuple):
    """A line and a column of the text, both from 1."""

    line: int
    column: int


class Complaint(NamedTuple):
    """What is wrong with the text as YAML, and where."""

    place: Place
    message: str


class _UnreadableError(Exception):
    """The text is not YAML from here on, or more of it than anybody writes."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.complaint = Complaint(place, message)


class _Open:
    """A list or mapping that is being read; the marks are those of its values, and of its keys for a mapping."""

    __slots__ = ("anchor", "key", "mark", "marks", "value", "values_before")

    def __init__(self, value: Any, mark: Any, anchor: str | None, values_before: int) -> None:
        self.value = value
        self.marks: Any = {} if isinstance(value, dict) else []
        self.mark = mark
        self.anchor = anchor
        self.values_before = values_before
        self.key: tuple[str, Any] | None = None


class Document:
    """The values of a text, and where they stand in it. `value` is None when there is nothing in it."""

    def __init__(self) -> None:
        self.value: Any = None
        self.complaints: list[Complaint] = []
        # Scalars that hold `${`, which only some places of the file may.
        self.references: list[Place] = []
        self._marks: dict[int, Any] = {}
        self._start: Any = None

    def keep(self, value: Any, marks: Any) -> None:
        """Remember where the parts of a list or mapping stand."""
        self._marks[id(value)] = marks

    def begin(self, value: Any, mark: Any) -> None:
        """The outermost value."""
        self.value, self._start = value, mark

    def at(self, loc: Loc) -> Any:
        """The value that `loc` leads to, or the last one on the way that exists."""
        return self._walk(loc)[0]

    def place(self, loc: Loc, *, of_key: bool = False) -> Place:
        """Where the value that `loc` leads to stands, or its key; as near as the text goes."""
        _, key_mark, mark = self._walk(loc)
        return _place(key_mark if of_key and key_mark is not None else mark)

    def _walk(self, loc: Loc) -> tuple[Any, Any, Any]:
        value, key_mark, mark = self.value, None, self._start
        for part in loc:
            marks = self._marks.get(id(value))
            if isinstance(value, dict) and marks is not None and part in marks:
                value, (key_mark, mark) = value[part], marks[part]
            elif isinstance(value, list) and marks is not None and isinstance(part, int) and part < len(marks):
                value, key_mark, mark = value[part], None, marks[part]
            else:
                break
        return value, key_mark, mark


def read(text: str, parser: Parser = PARSERS[0]) -> Document:
    """The values and every complaint about them as YAML. Never raises: what cannot be read is a complaint."""
    document = Document()
    unprintable = _UNPRINTABLE.search(text)
    if unprintable is not None:
        code = f"U+{ord(unprintable[0]):04X}"
        message = f"the character {code} cannot be in a text file" if unprintable[0] != "\0" else "a NUL byte: not text"
        document.complaints.append(Complaint(_place_of_index(text, unprintable.start()), message))
        return document
    try:
        _Reader(document).read(parser(text))
    except _UnreadableError as error:
        document.complaints.append(error.complaint)
    except yaml.MarkedYAMLError as error:
        document.complaints.append(_explained(error, text))
    except (yaml.YAMLError, ValueError, OverflowError):
        # What the parser in Python says of an escape or a version that is out of range.
        document.complaints.append(Complaint(Place(1, 1), "this is not YAML"))
    return document


class _Reader:
    """Puts a parser's events together. One step an event, so that depth costs no stack."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._values = 0
        self._repeated = 0
        self._documents = 0

    def read(self, parser: Any) -> None:
        steps: dict[type, Callable[[Any], None]] = {
            events.ScalarEvent: self._scalar,
            events.MappingStartEvent: self._mapping,
            events.SequenceStartEvent: self._sequence,
            events.MappingEndEvent: self._end,
            events.SequenceEndEvent: self._end,
            events.AliasEvent: self._alias,
            events.DocumentStartEvent: self._document_start,
        }
        try:
            event = parser.get_event()
            while event is not None:
                step = steps.get(type(event))
                if step is not None:
                    step(event)
                event = parser.get_event()
        finally:
            parser.dispose()

    def _scalar(self, event: Any) -> None:
        # Most of the time of a load is spent here.
        text = event.value
        self._values += 1
        if self._values > MOST_VALUES or event.tag is not None or "${" in text or not text.isascii():
            self._look_closely(event)
        frame = self._open[-1] if self._open else None
        if frame is not None and frame.key is None and type(frame.value) is dict:
            self._key(frame, text, event)
            return
        value = _PLAIN.get(text, text) if event.implicit[0] else text
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        self._add(value, event.start_mark)

    def _look_closely(self, event: Any) -> None:
        self._limit(event.start_mark)
        self._refuse_tag(event)
        if "${" in event.value:
            self._document.references.append(_place(event.start_mark))
        if _SURROGATE.search(event.value):
            self._complain(event.start_mark, "an escape that is not a character")

    def _key(self, frame: _Open, text: str, event: Any) -> None:
        if text == "<<" and event.implicit[0]:
            self._complain(event.start_mark, "merge keys (<<) are not read; write the values out")
        earlier = frame.marks.get(text)
        if earlier is not None:
            where = f"line {_place(earlier[0]).line}, column {_place(earlier[0]).column}"
            self._complain(event.start_mark, f'"{text[:40]}" is here twice; the first is at {where}')
        frame.key = (text, event.start_mark)
        if event.anchor is not None:
            self._anchors[event.anchor] = (text, 1)

    def _mapping(self, event: Any) -> None:
        self._start(event, {})

    def _sequence(self, event: Any) -> None:
        self._start(event, [])

    def _start(self, event: Any, value: Any) -> None:
        if self._expects_key():
            raise _UnreadableError(_place(event.start_mark), "a key must be a plain word, not a list or mapping")
        if len(self._open) >= MOST_DEPTH:
            raise _UnreadableError(_place(event.start_mark), f"nested more than {MOST_DEPTH} deep")
        self._refuse_tag(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._open.append(_Open(value, event.start_mark, event.anchor, self._values))
        self._values += 1
        self._limit(event.start_mark)

    def _end(self, event: Any) -> None:
        frame = self._open.pop()
        self._document.keep(frame.value, frame.marks)
        if frame.anchor is not None:
            self._anchors[frame.anchor] = (frame.value, self._values - frame.values_before)
        self._add(frame.value, frame.mark)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise _UnreadableError(_place(event.start_mark), "an alias of an anchor that does not exist")
        known = self._anchors[event.anchor]
        if known is None:
            raise _UnreadableError(_place(event.start_mark), "an alias inside of what it stands for")
        if self._expects_key():
            raise _UnreadableError(_place(event.start_mark), "a key must be a plain word, not an alias")
        value, values = known
        self._repeated += values
        if self._repeated > MOST_REPEATED_VALUES:
            message = f"aliases repeat more than {MOST_REPEATED_VALUES:,} values"
            raise _UnreadableError(_place(event.start_mark), message)
        self._values += values
        self._add(value, event.start_mark)

    def _document_start(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _UnreadableError(_place(event.start_mark), "a second document (---); one file is one document")
        if event.version not in (None, (1, 2)):
            self._complain(event.start_mark, "this file is read as YAML 1.2")

    def _add(self, value: Any, mark: Any) -> None:
        if not self._open:
            self._document.begin(value, mark)
            return
        frame = self._open[-1]
        if frame.key is not None:
            key, key_mark = frame.key
            frame.key = None
            # Of a key that is here twice the first stays: it is where a reader looks.
            if key not in frame.marks:
                frame.value[key] = value
                frame.marks[key] = (key_mark, mark)
        else:
            frame.value.append(value)
            frame.marks.append(mark)

    def _expects_key(self) -> bool:
        if not self._open:
            return False
        frame = self._open[-1]
        return frame.key is None and type(frame.value) is dict

    def _limit(self, mark: Any) -> None:
        if self._values > MOST_VALUES:
            raise _UnreadableError(_place(mark), f"more than {MOST_VALUES:,} values in one file")

    def _refuse_tag(self, event: Any) -> None:
        if event.tag is not None:
            self._complain(event.start_mark, "tags (!) are not read; write the value alone")

    def _complain(self, mark: Any, message: str) -> None:
        self._document.complaints.append(Complaint(_place(mark), message))
        if len(self._document.complaints) >= MOST_COMPLAINTS:
            raise _UnreadableError(_place(mark), f"more than {MOST_COMPLAINTS:,} mistakes; nobody reads on")


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)


def _place_of_index(text: str, index: int) -> Place:
    breaks = list(LINE_BREAK.finditer(text, 0, index))
    return Place(len(breaks) + 1, index - (breaks[-1].end() if breaks else 0) + 1)


def _explained(error: yaml.MarkedYAMLError, text: str) -> Complaint:
    """A parser's error in words. What it quotes is left out: the place shows it, and it could be a secret."""
    said = f"{error.problem} {error.context}"
    message = next((ours for theirs, ours in _IN_WORDS if re.search(theirs, said)), "this is not YAML")
    began = error.context_mark if message.startswith("a quote") else None
    place = _place(began or error.problem_mark or error.context_mark)
    lines = LINE_BREAK.split(text)
    if place.line > len(lines):
        place = Place(len(lines), len(lines[-1]) + 1)
    line = lines[place.line - 1]
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent and place.column <= len(indent) + 1:
        return Complaint(Place(place.line, indent.index("\t") + 1), "a tab cannot indent; use spaces")
    return Complaint(place, message)
