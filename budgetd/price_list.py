"""The shipped list of prices: what a token costs before anything was learned from a bill."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from budgetd.money import times

# When the table below was last compared with the vendor's page of prices (platform.claude.com, about-claude/pricing).
AS_OF = date(2026, 10, 24)

# What is counted, by the names that the bill's `token_type` has.
INPUT = "uncached_input_tokens"
OUTPUT = "output_tokens"
CACHE_READ = "cache_read_input_tokens"
CACHE_5M = "cache_creation.ephemeral_5m_input_tokens"
CACHE_1H = "cache_creation.ephemeral_1h_input_tokens"
# Not a token; the bill has it as a cost type without a model.
WEB_SEARCH = "web_search"

_MILLIONTH = Decimal("1e-6")
_WEB_SEARCH_DOLLARS = Decimal("0.01")
_CACHE_WRITE = {CACHE_5M: Decimal("1.25"), CACHE_1H: Decimal(2)}
_BATCH = Decimal("0.5")
_US_ONLY = Decimal("1.1")
_ONE = Decimal(1)
_VERSIONED = re.compile(r"claude-(?P<family>[a-z]+)-(?P<major>\d{1,2})(?:-(?P<minor>\d{1,2}))?", re.ASCII)
_OLD_STYLE = re.compile(r"claude-(?P<major>\d)(?:-(?P<minor>\d))?-(?P<family>[a-z]+)", re.ASCII)


class Kind(NamedTuple):
    """Everything that may set the price of one unit. None: the report did not say, or it has no such thing."""

    unit: str
    model: str | None = None
    service_tier: str | None = None
    context_window: str | None = None
    inference_geo: str | None = None
    speed: str | None = None


class _Entry(NamedTuple):
    """A model's list prices: dollars per million tokens, the rest as multiples of them.

    `fast` None: fast mode has no listed price. `long` is for prompts beyond 200k tokens: (input, output).
    `us`: inference that stays in the US costs 1.1 times as much, as for every model from 4.6 on.
    `since`: the first UTC day of a price that was another before; of two entries in force the later one counts.
    """

    model: str
    input_price: str
    output_price: str
    cache_read: str = "0.1"
    fast: str | None = None
    long: tuple[str, str] = ("1", "1")
    us: bool = True
    since: date = date.min


# Haiku 5.5 has one price for prompts up to 100k tokens and another beyond; the report cannot tell them apart below
# 200k, where the lower one stands here. The fast mode of Opus 5.5 has a price of its own that is not known here.
_TABLE: tuple[_Entry, ...] = (
    _Entry("claude-3-haiku", "0.25", "1.25", us=False),
    _Entry("claude-3-opus", "15", "75", us=False),
    _Entry("claude-3-5-haiku", "0.80", "4", us=False),
    _Entry("claude-3-5-sonnet", "3", "15", us=False),
    _Entry("claude-3-7-sonnet", "3", "15", us=False),
    _Entry("claude-sonnet-4", "3", "15", long=("2", "1.5"), us=False),
    _Entry("claude-opus-4", "15", "75", us=False),
    _Entry("claude-opus-4-1", "15", "75", us=False),
    _Entry("claude-sonnet-4-5", "3", "15", long=("2", "1.5"), us=False),
    _Entry("claude-haiku-4-5", "1", "5", us=False),
    _Entry("claude-opus-4-5", "5", "25", us=False),
    _Entry("claude-opus-4-6", "5", "25", fast="6"),
    _Entry("claude-sonnet-4-6", "3", "15"),
    _Entry("claude-opus-4-7", "5", "25", fast="6"),
    _Entry("claude-opus-4-8", "5", "25", fast="2"),
    _Entry("claude-fable-5", "10", "50"),
    _Entry("claude-mythos-5", "10", "50"),
    _Entry("claude-sonnet-5", "2", "10"),
    _Entry("claude-opus-5", "5", "25", fast="2"),
    _Entry("claude-fable-5-1", "10", "50", cache_read="0.025"),
    _Entry("claude-mythos-5-1", "10", "50", cache_read="0.025"),
    _Entry("claude-opus-5-5", "4", "20", cache_read="0.05"),
    _Entry("claude-sonnet-5-5", "2", "10"),
    _Entry("claude-sonnet-5-5", "2", "10", cache_read="0.05", since=date(2026, 10, 7)),
    _Entry("claude-haiku-5-5", "0.10", "0.50", long=("5", "5")),
)


def listed(kind: Kind, on: date) -> Decimal | None:
    """The list price of one unit in dollars on that UTC day; None where the list does not say.

    The model is given without its date suffix.
    """
    if kind.unit == WEB_SEARCH:
        return _WEB_SEARCH_DOLLARS
    model = _plain(kind.model or "")
    entries = [entry for entry in _TABLE if entry.model == model and entry.since <= on]
    return _priced(max(entries, key=lambda entry: entry.since), kind) if entries else None


def relative(model: str) -> str | None:
    """The listed model of the same family that an unlisted one is likely to be priced like.

    The newest of those that are not newer than it; where all are, the oldest. None: a family that nobody knows.
    """
    about = _version(model)
    versions = {_version(entry.model): entry.model for entry in _TABLE}
    family = sorted(each for each in versions if each and about and each[0] == about[0])
    older = [each for each in family if about and each <= about]
    return versions[older[-1] if older else family[0]] if family else None


def _plain(model: str) -> str:
    """`claude-3-7-sonnet-latest` and `claude-opus-4-0` are other names of listed models."""
    return model.removesuffix("-latest").removesuffix("-0")


def _version(model: str) -> tuple[str, int, int] | None:
    """`claude-opus-4-8` is ("opus", 4, 8). Whatever follows the number is not looked at."""
    found = _VERSIONED.match(model) or _OLD_STYLE.match(model)
    if found is None:
        return None
    return found["family"], int(found["major"]), int(found["minor"] or 0)


def _priced(entry: _Entry, kind: Kind) -> Decimal | None:
    factors = (_of_unit(entry, kind.unit), _of_tier(kind), _of_context(entry, kind), _of_geo(entry, kind))
    price = times(_of_speed(entry, kind) or Decimal(0), _MILLIONTH)
    for factor in factors:
        if factor is None:
            return None
        price = times(price, factor)
    return price or None


def _of_unit(entry: _Entry, unit: str) -> Decimal | None:
    if unit == OUTPUT:
        return Decimal(entry.output_price)
    ratio = {INPUT: _ONE, CACHE_READ: Decimal(entry.cache_read), **_CACHE_WRITE}.get(unit)
    return None if ratio is None else times(Decimal(entry.input_price), ratio)


def _of_tier(kind: Kind) -> Decimal | None:
    return {None: _ONE, "standard": _ONE, "batch": _BATCH}.get(kind.service_tier)


def _of_context(entry: _Entry, kind: Kind) -> Decimal | None:
    long = entry.long[1 if kind.unit == OUTPUT else 0]
    return {None: _ONE, "0-200k": _ONE, "200k-1M": Decimal(long)}.get(kind.context_window)


def _of_geo(entry: _Entry, kind: Kind) -> Decimal | None:
    us = _US_ONLY if entry.us else _ONE
    return {None: _ONE, "global": _ONE, "not_available": _ONE, "us": us}.get(kind.inference_geo)


def _of_speed(entry: _Entry, kind: Kind) -> Decimal | None:
    fast = None if entry.fast is None or kind.service_tier == "batch" else Decimal(entry.fast)
    return {None: _ONE, "standard": _ONE, "fast": fast}.get(kind.speed)
