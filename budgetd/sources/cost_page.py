"""One page of the cost report, from its bytes to exact dollars by day and dimensions.

Two readers. The fast one takes the ordinary page: typed, every key known, every amount a plain decimal string.
Whatever is not ordinary in any way goes to the close one, which says at which JSON path the page is wrong,
or takes it after all (a new field, an amount that is a number, escapes). Rows that the fast one has read before are
cut out of the page beforehand (`cost_page_again`): a poll mostly brings new amounts for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from operator import attrgetter, itemgetter
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from budgetd import money
from budgetd.model import DEFAULT_WORKSPACE, Dimensions
from budgetd.period import DAY, midnight
from budgetd.sources.cost_page_again import Repeats
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
# What the reference lists. Other values are taken as they are, and remarked on.
_DOCUMENTED: dict[str, frozenset[str]] = {
    "cost_type": frozenset({"tokens", "web_search", "code_execution", "session_usage"}),
    "token_type": frozenset(
        {
            "uncached_input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation.ephemeral_1h_input_tokens",
            "cache_creation.ephemeral_5m_input_tokens",
        }
    ),
    "service_tier": frozenset({"standard", "batch"}),
    "context_window": frozenset({"0-200k", "200k-1M"}),
    "inference_geo": frozenset({"global", "us", "not_available"}),
    "speed": frozenset({"standard", "fast"}),
}
# Of those a new value is no variant of an old one, but something that rules do not know of.
_TELLING = frozenset({"cost_type", "token_type"})
# Should they have become free text, this many say it.
_MOST_DEPARTURES = 20
_ROW_FIELDS = frozenset({"amount", "currency", *FIELDS})
_INSTANT = re.compile(r"[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)

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
        quotes = sum(map(_quotes, raw))
        entry = Dimensions(*values), quotes
        # Equal to `raw`, but made of the shared texts, where nothing was replaced.
        self[entry[0] if entry[0] == raw else raw] = entry
        return entry

    def _remark(self, values: Sequence[str | None]) -> None:
        for name, value in zip(FIELDS, values, strict=True):
            documented = _DOCUMENTED.get(name)
            if documented is not None and value is not None and value not in documented:
                remark = f"the report has a {name} that budgetd does not know: {excerpt(value)}"
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
        next_page = _cursor(page.has_more, None if page.next_page is UNSET else page.next_page)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    # Every key of the text became a field, and a quotation mark bounds a key or a value, or is an escaped one.
    # So a key given twice leaves the text with more of them than the fields account for.
    quotes = 4 + _quotes(page.next_page) + sum(quotes for _, quotes in read)
    if quotes != body.count(b'"'):
        return None
    known.repeats.learn(body, [known[_raw(row)][0] for bucket in page.data for row in bucket.results])
    buckets = tuple(bucket for bucket, _ in read)
    return Page(buckets, next_page, _negative(buckets))


def _quotes(value: _Value) -> int:
    return 0 if value is UNSET else 2 if value is None else 4


def _fast_bucket(bucket: _RowBucket, known: Known) -> tuple[Bucket, int]:
    """The bucket, and the number of quotation marks in its text. Raises ValueError."""
    day = _day(bucket.starting_at, None if bucket.ending_at is UNSET else bucket.ending_at)
    quotes = 6 + _quotes(bucket.ending_at)
    rows = bucket.results
    if not rows:
        return Bucket(day, {}), quotes
    amounts = money.dollars_from_plain_cents([row.amount for row in rows])
    found = list(map(known.__getitem__, map(_raw, rows)))
    lines = _lines(list(map(_dimensions, found)), amounts)
    return Bucket(day, lines), quotes + 8 * len(rows) + sum(map(_count, found))


# --- the closer look ---------------------------------------------------------------------------


def _close(body: bytes, known: Known) -> Page:
    root = Node(loads(body))
    if root.get("error") is not None and root.get("data") is None:
        root.refuse(f"an error instead of data: {excerpt(str(root.field('error').value))}")
    unknown: set[str] = set(root.fields()) - {"data", "has_more", "next_page"}
    buckets = tuple(_close_bucket(bucket, known, unknown) for bucket in root.field("data").items())
    following = root.get("next_page")
    try:
        next_page = _cursor(root.field("has_more").flag(), following.text_or_none() if following else None)
    except JsonError:
        raise
    except ValueError as error:
        raise JsonError(f"$.next_page: {error}") from None
    return Page(buckets, next_page, _negative(buckets) | _unknown(unknown))


def _close_bucket(bucket: Node, known: Known, unknown: set[str]) -> Bucket:
    unknown |= set(bucket.fields()) - {"starting_at", "ending_at", "results"}
    start, end = bucket.field("starting_at"), bucket.get("ending_at")
    try:
        day = _day(start.text(), end.text() if end else None)
    except JsonError:
        raise
    except ValueError as error:
        bucket.refuse(str(error))
    return Bucket(day, _added(_close_row(row, known, unknown) for row in bucket.field("results").items()))


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


def _cursor(has_more: bool, next_page: str | None) -> str | None:
    if has_more and not next_page:
        raise ValueError("more pages are announced, and no cursor is given")
    return next_page if has_more else None


def _day(starting_at: str, ending_at: str | None) -> date:
    start = _instant(starting_at)
    day = start.date()
    if start != midnight(day):
        raise ValueError(f"a bucket that does not start at a UTC midnight: {excerpt(starting_at)}")
    if ending_at is not None and _instant(ending_at) != midnight(day) + DAY:
        raise ValueError(f"a bucket that is not one UTC day: {excerpt(starting_at)} to {excerpt(ending_at)}")
    return day


def _instant(text: str) -> datetime:
    if _INSTANT.fullmatch(text) is None:
        raise ValueError(f"not an RFC 3339 instant: {excerpt(text)}")
    return datetime.fromisoformat(text).astimezone(UTC)


def _negative(buckets: Iterable[Bucket]) -> frozenset[str]:
    days = [bucket.day for bucket in buckets if min(bucket.lines.values(), default=money.ZERO) < 0]
    return frozenset(f"the report has negative amounts on {day}" for day in days)


def _unknown(fields: Iterable[str]) -> frozenset[str]:
    return frozenset(f"the report has a field that budgetd does not know: {excerpt(name)}" for name in fields)
