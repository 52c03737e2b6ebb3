"""The typed scalars of the rules file: money, shares, factors, days, periods, read from their own text.

The rules file is read as text (YAML 1.2 scalars stay as they are written), so `5_000`, `12:30` and `1e3` never
become numbers behind the author's back. Every error here says what would have been right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from budgetd.model import Severity
from budgetd.period import Calendar

_MONEY = re.compile(r"\$?(?P<digits>[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]{1,6})?|[0-9]{1,12}(?:\.[0-9]{1,6})?)", re.ASCII)
_PERCENT = re.compile(r"(?P<digits>[0-9]{1,5}(?:\.[0-9]{1,4})?) ?%", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?", re.ASCII)
_DAYS = re.compile(r"(?P<days>[1-9][0-9]{0,2})d", re.ASCII)
_STRETCH = re.compile(r"(?P<count>[1-9][0-9]{0,3})(?P<unit>[smh])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours"}
_MAX_DOLLARS = Decimal(10) ** 12
_MAX_DAYS = 366
_CALENDAR_WORDS = ("day", "week", "month", "quarter", "year")


def mistake(
    message: str, *, at: str | int | None = None, word: str = "", choices: Sequence[str] = ()
) -> PydanticCustomError:
    """An error of one value; the reader of the rules file adds the place, and the choice that `word` is nearest to.

    `at` names the part of the value that is wrong: a key or an index.
    """
    return PydanticCustomError("budgetd", "{message}", {"message": message, "at": at, "word": word, "choices": choices})


def _text(value: Any, wanted: str) -> str:
    if not isinstance(value, str):
        raise mistake(f"expected {wanted}")
    return value


def _money(value: Any) -> Decimal:
    wanted = "an amount of dollars such as 500, 0.10 or $5,000"
    if isinstance(value, Decimal):
        return value
    text = _text(value, wanted)
    found = _MONEY.fullmatch(text)
    if found is None:
        raise mistake(f"expected {wanted}, not {text[:40]!r}")
    amount = Decimal(found["digits"].replace(",", ""))
    if not 0 < amount <= _MAX_DOLLARS:
        raise mistake("an amount must be more than $0 and at most $1,000,000,000,000")
    return amount


def _amount_or_nothing(value: Any) -> Decimal:
    return Decimal(0) if value == "0" else _money(value)


def _share(value: Any) -> Decimal:
    wanted = "a percentage such as 80%"
    if isinstance(value, Decimal):
        return value
    text = _text(value, wanted)
    found = _PERCENT.fullmatch(text)
    if found is None:
        hint = f"; did you mean {text}%?" if _NUMBER.fullmatch(text) else ""
        raise mistake(f"expected {wanted}, not {text[:40]!r}{hint}")
    share = Decimal(found["digits"]).scaleb(-2)
    if not 0 < share <= 100:
        raise mistake("a percentage must be more than 0% and at most 10,000%")
    return share


def _factor(value: Any) -> Decimal:
    wanted = "a factor above 1, such as 2 or 1.5"
    if isinstance(value, Decimal):
        return value
    text = _text(value, wanted)
    if _NUMBER.fullmatch(text) is None or Decimal(text) <= 1:
        raise mistake(f"expected {wanted}, not {text[:40]!r}")
    return Decimal(text)


def days(value: Any) -> int:
    """The number of days that a text such as `7d` names. Raises PydanticCustomError."""
    wanted = "a number of days such as 7d (1d to 366d)"
    found = _DAYS.fullmatch(_text(value, wanted))
    if found is None or int(found["days"]) > _MAX_DAYS:
        raise mistake(f"expected {wanted}, not {str(value)[:40]!r}")
    return int(found["days"])


def stretch(value: Any, wanted: str) -> timedelta:
    """The time that a text such as `30s`, `2m` or `1h` names. Raises PydanticCustomError."""
    found = _STRETCH.fullmatch(_text(value, wanted))
    if found is None:
        raise mistake(f"expected {wanted}, not {str(value)[:40]!r}")
    return timedelta(**{_UNITS[found["unit"]]: int(found["count"])})


def single_entry(value: Any, wanted: str) -> tuple[str, Any]:
    """The key and value of a mapping with exactly one entry. Raises PydanticCustomError."""
    if not isinstance(value, dict) or len(value) != 1:
        raise mistake(f"expected {wanted}")
    ((key, inner),) = value.items()
    return str(key), inner


def _calendar(value: Any) -> Calendar:
    wanted = "day, week, month, quarter, year, {last: 7d} or {month: 15}"
    if isinstance(value, Calendar):
        return value
    if isinstance(value, str):
        if value not in _CALENDAR_WORDS:
            raise mistake(f"expected {wanted}, not {value[:40]!r}", word=value, choices=_CALENDAR_WORDS)
        return Calendar(value)  # type: ignore[arg-type]  # just checked
    key, inner = single_entry(value, wanted)
    if key == "last":
        return Calendar("last", length=days(inner))
    if key != "month":
        raise mistake(f"expected {wanted}, not {key[:40]!r}", at=key, word=key, choices=("last", "month"))
    start = _text(inner, "a day of the month from 1 to 28")
    if re.fullmatch(r"[1-9]|1[0-9]|2[0-8]", start, re.ASCII) is None:
        raise mistake("a month can start on day 1 to 28, the days that every month has")
    return Calendar("month", start_day=int(start))


def _words(value: Any) -> tuple[str, ...]:
    wanted = "a word or a list of words"
    items = value if isinstance(value, list | tuple) else [value]
    if not items:
        raise mistake(f"expected {wanted}, not an empty list")
    for index, item in enumerate(items):
        if not isinstance(item, str):
            raise mistake("expected a word", at=index)
        if not item:
            raise mistake("expected a word, not an empty text", at=index)
    return tuple(items)


Money = Annotated[
    Decimal,
    BeforeValidator(_money),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^\$?[0-9][0-9,]*(\.[0-9]+)?$"},
            ],
            "description": "US dollars: 500, 0.10, $5,000",
        }
    ),
]
MoneyOrNothing = Annotated[
    Decimal,
    BeforeValidator(_amount_or_nothing),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\$?[0-9][0-9,]*(\.[0-9]+)?$"}],
            "description": "US dollars, 0 included",
        }
    ),
]
Share = Annotated[
    Decimal,
    BeforeValidator(_share),
    WithJsonSchema(
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$", "description": "a share of the limit: 80%"}
    ),
]
Factor = Annotated[
    Decimal,
    BeforeValidator(_factor),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 1, "description": "how many times the baseline"}),
]
Per = Annotated[
    Calendar,
    BeforeValidator(_calendar),
    WithJsonSchema(
        {
            "description": "the UTC period that the limit counts over",
            "anyOf": [
                {"enum": list(_CALENDAR_WORDS)},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "minProperties": 1,
                    "maxProperties": 1,
                    "properties": {
                        "last": {"type": "string", "pattern": "^[1-9][0-9]{0,2}d$"},
                        "month": {"type": "integer", "minimum": 1, "maximum": 28},
                    },
                },
            ],
        }
    ),
]
Words = Annotated[
    tuple[str, ...],
    BeforeValidator(_words),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]}),
]


def _severity(value: Any) -> Severity:
    if isinstance(value, Severity):
        return value
    text = _text(value, "info, warning or critical")
    if text not in list(Severity):
        raise mistake(f"expected info, warning or critical, not {text[:40]!r}", word=text, choices=list(Severity))
    return Severity(text)


SeverityWord = Annotated[Severity, BeforeValidator(_severity), WithJsonSchema({"enum": [s.value for s in Severity]})]
