"""Exact money: text of the response -> Decimal dollars -> text of the message, without a rounded cent between.

Nothing here uses binary floats. Sums and products run in a context of 60 digits that raises
instead of rounding; the few quotients that cannot be exact (a mean, a share) say where they round.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import (
    ROUND_DOWN,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)
from itertools import repeat

ZERO = Decimal(0)
CENT = Decimal("0.01")

# Raises `decimal.Inexact` where Python's default context would drop digits in silence.
EXACT = Context(prec=60, traps=[Inexact, InvalidOperation, Overflow, DivisionByZero])
_ROUNDING = Context(prec=60, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow, DivisionByZero])
_QUOTIENT_STEP = Decimal("1e-18")

# ASCII digits only: Decimal itself would take "1_000", " 12 ", Arabic digits, "1E+999999999" and "NaN".
# The report has shown up to 14 decimals; exponent forms were seen in other clients' fixtures.
_CENTS = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_MANY_PLAIN_CENTS = re.compile(r"(?:-?+[0-9]{1,15}+(?:\.[0-9]{1,20}+)?+\n)*+", re.ASCII)
_MAX_CENTS = Decimal(10) ** 15
_MIN_EXPONENT = -24
_CENTS_EXPONENT = Decimal(-2)


def dollars_from_cents(text: str) -> Decimal:
    """Dollars for an amount as the cost report writes it: a decimal string in cents.

    `"41280.000000"` is 412.80 dollars. This is the one place where cents become dollars.
    Raises ValueError for anything but a finite ASCII decimal below 10^15 cents.
    """
    if len(text) > 48 or _CENTS.fullmatch(text) is None:
        raise ValueError(f"not a decimal amount of cents: {text[:40]!r}")
    cents = Decimal(text)
    exponent = cents.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < _MIN_EXPONENT or abs(cents) >= _MAX_CENTS:
        raise ValueError(f"amount of cents out of range: {text[:40]!r}")
    return EXACT.scaleb(cents, -2)


def dollars_from_plain_cents(texts: Sequence[str]) -> list[Decimal]:
    """`dollars_from_cents` of each text, for many at once at a fraction of the cost.

    Raises ValueError when any of them has an exponent, or is no amount at all; then look at them one by one.
    """
    lines = "\n".join([*texts, ""])
    if lines.count("\n") != len(texts) or _MANY_PLAIN_CENTS.fullmatch(lines) is None:
        raise ValueError("not all of them are plain decimal amounts of cents")
    return list(map(EXACT.scaleb, map(Decimal, texts), repeat(_CENTS_EXPONENT)))


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum, the same for every order of the amounts."""
    result = ZERO
    add = EXACT.add
    for amount in amounts:
        result = add(result, amount)
    return result


def add(left: Decimal, right: Decimal) -> Decimal:
    """left + right, exactly."""
    return EXACT.add(left, right)


def subtract(left: Decimal, right: Decimal) -> Decimal:
    """left - right, exactly."""
    return EXACT.subtract(left, right)


def times(left: Decimal, right: Decimal) -> Decimal:
    """left * right, exactly."""
    return EXACT.multiply(left, right)


def quotient(amount: Decimal, divisor: Decimal | int) -> Decimal:
    """amount / divisor, rounded half-even to 18 decimals (a mean need not have an exact end)."""
    return _ROUNDING.quantize(_ROUNDING.divide(amount, Decimal(divisor)), _QUOTIENT_STEP)


def whole_times(amount: Decimal, part: Decimal) -> Decimal:
    """How many times `part` goes into the amount, rounded towards zero; exact, so a hair below is below."""
    return EXACT.divide_int(amount, part)


def canonical(amount: Decimal) -> str:
    """The amount as plain decimal digits without trailing zeros: one text for each value, all digits kept."""
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def dollars(amount: Decimal) -> str:
    """An amount as people read it: `$1,234.56`, `-$3.10`; rounded half-even to cents."""
    cents = _ROUNDING.quantize(amount, CENT)
    sign = "-" if cents < 0 else ""
    return f"{sign}${abs(cents):,.2f}"


def cents_text(amount: Decimal) -> str:
    """Dollars with two decimals and no sign of currency, for machines: `1234.56`."""
    return format(_ROUNDING.quantize(amount, CENT), "f")


def round_dollars(amount: Decimal) -> str:
    """An amount where cents would only be noise: `$5,000`; cents are kept when there are any."""
    text = dollars(amount)
    return text[:-3] if text.endswith(".00") else text


def share(amount: Decimal, whole: Decimal) -> str:
    """amount / whole as a percentage with one decimal, rounded down so that 99.96 % is never shown as 100 %."""
    if whole == 0:
        return "-"
    ratio = _ROUNDING.divide(amount, whole)
    rounded = _ROUNDING.scaleb(ratio, 2).quantize(Decimal("0.1"), rounding=ROUND_DOWN, context=_ROUNDING)
    return f"{rounded:z,.1f}%".replace(".0%", "%")
