"""One page of the cost report, from its bytes to exact dollars by day and dimensions.

Two readers. The fast one takes the ordinary page: typed, every key known, every amount a plain decimal string.
Whatever is not ordinary in any way goes to the close one, which says at which JSON path the page is wrong,
or takes it after all (a new field, an amount that is a number, escapes). Rows that the fast one has read before are
cut out of the page beforehand (`cost_page_again`): a poll mostly brings new amounts for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from operator import attrgetter, itemgetter
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from budgetd import money
from budgetd.model import DEFAULT_WORKSPACE, Dimensions
from budgetd.period import DAY
from budgetd.sources.cost_page_again import Repeats
from budgetd.sources.page_text import (
    DOCUMENTED,
    bounds,
    bounds_of,
    cursor,
    cursor_of,
    odd_fields,
    odd_value,
    quotes,
    refuse_error,
)
from budgetd.sources.strict_json import JsonError, Node, excerpt, loads

# The report's names for the dimensions, in the order of `Dimensions`.
FIELDS = (
    "workspace_id",
    "description",
    "cost_type",
    "model",
    "token_type",
    "service_tier",
    "context_window",
    "inference_geo",
    "speed",
)
_SUBJECT = "the report has"
# Of these a new value is no variant of an old one, but something that rules do not know of.
_TELLING = frozenset({"cost_type", "token_type"})
# Should they have become free text, this many say it.
_MOST_DEPARTURES = 20
_ROW_FIELDS = frozenset({"amount", "currency", *FIELDS})

_Text = str | UnsetType
_Value = str | None | UnsetType
_Raw = tuple[_Value, ...]


@dataclass(frozen=True, slots=True)
class Bucket:
    """One UTC day of a page: dollars by dimensions; an empty day is a day without cost."""

    day: date
    lines: dict[Dimensions, Decimal]


@dataclass(frozen=True, slots=True)
class Page:
    """What one page says. `next_page` None: it was the last. `remarks` are oddities that were taken all the same."""

    buckets: tuple[Bucket, ...]
    next_page: str | None
    remarks: frozenset[str] = field(default=frozenset())


class Known(dict[_Raw, tuple[Dimensions, int]]):
    """Every combination of dimensions that was ever read, so that each is kept, and looked at, once.

    By the fields as they stand in the row (UNSET: not there): the dimensions, and the number of quotation marks that
    writing the fields takes. `odd` collects the values that the reference does not list, `departures` what rules may
    look for in vain: the values that matter among those, and what is grouped by and not said; `repeats` knows the same
    combinations by the bytes of their rows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.odd: set[str] = set()
        self.departures: set[str] = set()
        self.repeats = Repeats()
        self._texts: dict[str, str] = {}

    def __missing__(self, raw: _Raw) -> tuple[Dimensions, int]:
        values = [self._texts.setdefault(value, value) if isinstance(value, str) else None for value in raw]
        # The report is grouped by workspace: a row whose workspace is null is the default workspace's.
        # One that does not have the field says nothing of it.
        values[0] = None if raw[0] is UNSET else values[0] or DEFAULT_WORKSPACE
        self._remark(values)
        self.departures.update(f"the report has rows {lack}" for lack in _lacks(Dimensions(*values)))
        entry = Dimensions(*values), sum(map(quotes, raw))
        # Equal to `raw`, but made of the shared texts, where nothing was replaced.
        self[entry[0] if entry[0] == raw else raw] = entry
        return entry

    def _remark(self, values: Sequence[str | None]) -> None:
        for name, value in zip(FIELDS, values, strict=True):
            if value is not None and value not in DOCUMENTED.get(name, (value,)):
                remark = odd_value(_SUBJECT, name, value)
                self.odd.add(remark)
                if name in _TELLING and len(self.departures) < _MOST_DEPARTURES:
                    self.departures.add(remark)


def _lacks(about: Dimensions) -> list[str]:
    """What a row must say, as the report is grouped by it, and does not."""
    lacks = [name for name, value in (("workspace_id", about.workspace), ("cost_type", about.cost_type)) if not value]
    found = [f"without a {name}, though it is grouped by it" for name in lacks]
    if about.token_type or about.cost_type == "tokens":
        tokens = (("model", about.model), ("token_type", about.token_type))
        found += [f"of tokens without a {name}" for name, value in tokens if not value]
    return found


def decode(body: bytes, known: Known) -> Page:
    """The page; the same for each reader. Raises JsonError naming the JSON path of the first thing that is wrong."""
    return _again(body, known) or _fast(body, known) or _close(body, known)


# --- the page of known rows --------------------------------------------------------------------


def _again(body: bytes, known: Known) -> Page | None:
    """The page, or None when not all of its rows were read before."""
    cut = known.repeats.cut(body)
    page = _fast(cut.page, known) if cut is not None else None
    if cut is None or page is None or len(page.buckets) != cut.buckets:
        return None
    buckets = list(page.buckets)
    for rows in cut.rows:
        day = buckets[rows.bucket].day
        buckets[rows.bucket] = Bucket(day, _lines(rows.dimensions, rows.amounts))
    return Page(tuple(buckets), page.next_page, _negative(buckets))


# --- the ordinary page -------------------------------------------------------------------------


class _Row(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    amount: str
    currency: Literal["USD"]
    workspace_id: _Value = UNSET
    description: _Value = UNSET
    cost_type: _Value = UNSET
    model: _Value = UNSET
    token_type: _Value = UNSET
    service_tier: _Value = UNSET
    context_window: _Value = UNSET
    inference_geo: _Value = UNSET
    speed: _Value = UNSET


class _RowBucket(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    starting_at: str
    results: list[_Row]
    ending_at: _Text = UNSET


class _RowPage(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    data: list[_RowBucket]
    has_more: bool
    next_page: _Value = UNSET


_decode = msgspec.json.Decoder(_RowPage).decode
_raw = attrgetter(*FIELDS)
_dimensions: Callable[[tuple[Dimensions, int]], Dimensions] = itemgetter(0)
_count: Callable[[tuple[Dimensions, int]], int] = itemgetter(1)


def _fast(body: bytes, known: Known) -> Page | None:
    """The page, or None when it deserves a closer look."""
    try:
        page = _decode(body)
        read = [_fast_bucket(bucket, known) for bucket in page.data]
        next_page = cursor(page.has_more, None if page.next_page is UNSET else page.next_page)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    # Every key of the text became a field, and a quotation mark bounds a key or a value, or is an escaped one.
    # So a key given twice leaves the text with more of them than the fields account for.
    expected = 4 + quotes(page.next_page) + sum(marks for _, marks in read)
    if expected != body.count(b'"'):
        return None
    known.repeats.learn(body, [known[_raw(row)][0] for bucket in page.data for row in bucket.results])
    buckets = tuple(bucket for bucket, _ in read)
    return Page(buckets, next_page, _negative(buckets))


def _fast_bucket(bucket: _RowBucket, known: Known) -> tuple[Bucket, int]:
    """The bucket, and the number of quotation marks in its text. Raises ValueError."""
    start, _ = bounds(bucket.starting_at, None if bucket.ending_at is UNSET else bucket.ending_at, DAY)
    day = start.date()
    marks = 6 + quotes(bucket.ending_at)
    rows = bucket.results
    if not rows:
        return Bucket(day, {}), marks
    amounts = money.dollars_from_plain_cents([row.amount for row in rows])
    found = list(map(known.__getitem__, map(_raw, rows)))
    lines = _lines(list(map(_dimensions, found)), amounts)
    return Bucket(day, lines), marks + 8 * len(rows) + sum(map(_count, found))


# --- the closer look ---------------------------------------------------------------------------


def _close(body: bytes, known: Known) -> Page:
    root = Node(loads(body))
    refuse_error(root)
    unknown: set[str] = set(root.fields()) - {"data", "has_more", "next_page"}
    buckets = tuple(_close_bucket(bucket, known, unknown) for bucket in root.field("data").items())
    return Page(buckets, cursor_of(root), _negative(buckets) | odd_fields(_SUBJECT, unknown))


def _close_bucket(bucket: Node, known: Known, unknown: set[str]) -> Bucket:
    unknown |= set(bucket.fields()) - {"starting_at", "ending_at", "results"}
    start, _ = bounds_of(bucket, DAY)
    return Bucket(start.date(), _added(_close_row(row, known, unknown) for row in bucket.field("results").items()))


def _close_row(row: Node, known: Known, unknown: set[str]) -> tuple[Dimensions, Decimal]:
    unknown |= row.fields().keys() - _ROW_FIELDS
    currency, amount = row.field("currency"), row.field("amount")
    if currency.text() != "USD":
        currency.refuse(f"{excerpt(currency.text())}, and only US dollars can be added up")
    try:
        dollars = money.dollars_from_cents(amount.digits())
    except JsonError:
        raise
    except ValueError as error:
        amount.refuse(str(error))
    found = [row.get(name) for name in FIELDS]
    return known[tuple(UNSET if node is None else node.text_or_none() for node in found)][0], dollars


# --- what they share ---------------------------------------------------------------------------


def _lines(dimensions: Sequence[Dimensions], amounts: Sequence[Decimal]) -> dict[Dimensions, Decimal]:
    lines = dict(zip(dimensions, amounts, strict=True))
    return lines if len(lines) == len(dimensions) else _added(zip(dimensions, amounts, strict=True))


def _added(lines: Iterable[tuple[Dimensions, Decimal]]) -> dict[Dimensions, Decimal]:
    """Rows that differ only in what budgetd does not know of are one line."""
    result: dict[Dimensions, Decimal] = {}
    for dimensions, amount in lines:
        before = result.get(dimensions)
        result[dimensions] = amount if before is None else money.add(before, amount)
    return result


def _negative(buckets: Iterable[Bucket]) -> frozenset[str]:
    days = [bucket.day for bucket in buckets if min(bucket.lines.values(), default=money.ZERO) < 0]
    return frozenset(f"the report has negative amounts on {day}" for day in days)
