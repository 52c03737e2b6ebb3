"""JSON that is what it says: nothing is guessed, repaired or taken twice, and every complaint names its place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NoReturn

from budgetd.escaping import for_text

_EXCERPT = 80
_LONGEST_NUMBER = 4300


class JsonError(ValueError):
    """The text is not JSON, or not the JSON that was agreed; the message says where."""


class Number(str):
    """A JSON number as it was written; it has not been through a binary float."""

    __slots__ = ()


def loads(body: bytes) -> object:
    """The value of a UTF-8 JSON text: dict, list, str, `Number`, bool or None.

    Raises JsonError for what Python's own reader lets pass: other encodings, a byte order mark, a key given twice,
    NaN and Infinity, numbers beyond every bound, nesting without end, half a surrogate pair.
    """
    try:
        text = body.decode("utf-8")
        value: object = json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=_number,
            parse_int=_number,
            parse_constant=_constant,
        )
        if b"\\ud" in body.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(f"not UTF-8 at byte {error.start}") from None
    except UnicodeEncodeError:
        raise JsonError("a text holds half a surrogate pair") from None
    except json.JSONDecodeError as error:
        raise JsonError(f"not JSON at character {error.pos}; it starts with {excerpt(text)}") from None
    except RecursionError:
        raise JsonError("nested too deeply") from None
    return value


def excerpt(text: str) -> str:
    """The first 80 characters, quoted, with everything escaped that a terminal or a log could obey."""
    return f'"{for_text(text[:_EXCERPT])}"'


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise JsonError(f"the key {excerpt(key)} is given twice in one object")
            seen.add(key)
    return result


def _number(text: str) -> Number:
    if len(text) > _LONGEST_NUMBER:
        raise JsonError(f"a number of {len(text)} characters")
    if abs(float(text)) == float("inf"):
        raise JsonError(f"the number {excerpt(text)} is beyond every bound")
    return Number(text)


def _constant(text: str) -> NoReturn:
    raise JsonError(f"{text} is not a JSON number")


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place (`$.data[3].amount`). Every reader raises JsonError when the value is something else."""

    value: object
    path: str = "$"

    def refuse(self, complaint: str) -> NoReturn:
        """Raise JsonError about this place."""
        raise JsonError(f"{self.path}: {complaint}")

    def fields(self) -> dict[str, object]:
        """The object's keys and values."""
        if not isinstance(self.value, dict):
            self.refuse(f"expected an object, found {self._kind()}")
        return self.value

    def field(self, name: str) -> Node:
        """The object's field; it must be there."""
        found = self.get(name)
        if found is None:
            raise JsonError(f"{self.path}.{name}: missing")
        return found

    def get(self, name: str) -> Node | None:
        """The object's field, or None when it is not there. (A null is there.)"""
        fields = self.fields()
        return Node(fields[name], f"{self.path}.{name}") if name in fields else None

    def items(self) -> list[Node]:
        """The list's items."""
        if not isinstance(self.value, list):
            self.refuse(f"expected a list, found {self._kind()}")
        return [Node(item, f"{self.path}[{index}]") for index, item in enumerate(self.value)]

    def text(self) -> str:
        """The string; a number is not one."""
        if not isinstance(self.value, str) or isinstance(self.value, Number):
            self.refuse(f"expected a string, found {self._kind()}")
        return self.value

    def text_or_none(self) -> str | None:
        """The string, or None for null."""
        return None if self.value is None else self.text()

    def digits(self) -> str:
        """The exact text of an amount, written as a string or as a number."""
        if not isinstance(self.value, str):
            self.refuse(f"expected a decimal string, found {self._kind()}")
        return str(self.value)

    def flag(self) -> bool:
        """The boolean."""
        if not isinstance(self.value, bool):
            self.refuse(f"expected true or false, found {self._kind()}")
        return self.value

    def _kind(self) -> str:
        if self.value is None:
            return "null"
        if isinstance(self.value, Number):
            return "a number"
        return {bool: "a boolean", str: "a string", list: "a list", dict: "an object"}[type(self.value)]
