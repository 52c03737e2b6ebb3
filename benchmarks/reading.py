"""From the bytes of a page to exact dollars, against msgspec's typed decode of all fields of the same bytes."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec

from benchmarks.measuring import Figure, at_most, cpu, once, plain
from benchmarks.pages import bill, month
from budgetd import money
from budgetd.sources import cost_page
from budgetd.sources.cost_page import Known, Page, decode

# As many days as fit into a body that the daemon takes (64 MB).
MONTH = {"S": 31, "M": 15}


class _Dimensions(msgspec.Struct):
    currency: str
    workspace_id: str | None
    description: str | None
    cost_type: str | None
    context_window: str | None
    model: str | None
    service_tier: str | None
    token_type: str | None
    inference_geo: str | None


class _TextRow(_Dimensions):
    amount: str


class _DecimalRow(_Dimensions):
    amount: Decimal


class _TextBucket(msgspec.Struct):
    starting_at: str
    ending_at: str
    results: list[_TextRow]


class _DecimalBucket(msgspec.Struct):
    starting_at: str
    ending_at: str
    results: list[_DecimalRow]


class _TextPage(msgspec.Struct):
    data: list[_TextBucket]
    has_more: bool
    next_page: str | None


class _DecimalPage(msgspec.Struct):
    data: list[_DecimalBucket]
    has_more: bool
    next_page: str | None


reference = msgspec.json.Decoder(_TextPage).decode
decimal_reference = msgspec.json.Decoder(_DecimalPage).decode


def figures(sizes: Iterable[str]) -> Iterator[Figure]:
    """Each page warm (rows known, amounts new), new to the rows' bytes, and cold (nothing known)."""
    for size in sizes:
        yield from _page(f"{size}, a day", bill(size), bill(size, 1), aimed=size != "S")
        if size in MONTH:
            days = MONTH[size]
            yield from _page(f"{size}, {days} days", month(size, days), month(size, days), aimed=False)
    if "M" in sizes:
        gc.disable()
        yield from _page("M, a day, collector off", bill("M"), bill("M", 1), aimed=False)
        gc.enable()


def _page(what: str, before: bytes, body: bytes, *, aimed: bool) -> Iterator[Figure]:
    text, decimal = cpu(lambda: reference(body)), cpu(lambda: decimal_reference(body))
    known = Known()
    cold = once(lambda: decode(before, known))
    warm = cpu(lambda: _totalled(decode(body, known)))
    parsed = cpu(lambda: cost_page._fast(body, known), runs=3)
    yield plain(f"{what} ({len(body) / 1e6:.2f} MB): msgspec, amounts as text", text, "ms")
    yield plain("   msgspec, amounts as Decimal, against that", decimal / text, "x")
    what = "   decode and exact total, rows known, against text"
    yield at_most(what, warm / text, 1.3, "x") if aimed else plain(what, warm / text, "x")
    yield plain("   the same against Decimal", warm / decimal, "x")
    yield plain("   when one row is new (the whole page is parsed), against text", parsed / text, "x")
    yield plain("   when every row is new, against text", cold / text, "x")


def _totalled(page: Page) -> Decimal:
    return money.total(amount for bucket in page.buckets for amount in bucket.lines.values())
