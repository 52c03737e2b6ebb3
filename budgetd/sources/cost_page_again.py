"""Rows that were read before, recognised by their bytes: a page of them needs no second parse.

From one reading to the next only the amounts of a bill change. So a page is cut where its rows begin; what stands
between a row's amount and the row's end is looked up among the rows of pages that were parsed and accepted, and what
is left, a page without rows, goes through the parser.

Why that is exact: a row that was accepted is a JSON object for any plain amount, wherever an array of rows has place
for one. The cut hands on nothing that is not such a row, and the parser finds that place in the page without rows:
`"results":[` is nothing but the start of such an array in a page that it accepts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate, pairwise, repeat
from operator import itemgetter
from typing import cast

import msgspec

from budgetd import money
from budgetd.model import Dimensions

# How a row starts, up to its amount: an object whose other fields, if any come first, are the same in every row.
_AMOUNT = b'"amount":"'
_LEAD = re.compile(rb'\{(?:"[a-z_]++":(?:null|"[^"\\]*+"),)*+"amount":"')
_RESULTS = b'"results":['
# Cut in parts of this many bytes, which stay in the processor's cache and never double the page in memory.
_PART = 1 << 17
_MOST_ROWS = 500_000

_amount: itemgetter[int] = itemgetter(0)
_rest: itemgetter[int] = itemgetter(2)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one bucket, in their order. `bucket` is its place in the page, from 0; the amounts are dollars."""

    bucket: int
    dimensions: list[Dimensions]
    amounts: list[Decimal]


@dataclass(frozen=True, slots=True)
class Cut:
    """A page in two: the rows, and the page without them, which is still to be read and must have `buckets` days."""

    page: bytes
    buckets: int
    rows: tuple[Rows, ...]


class Repeats:
    """The rows of accepted pages: what follows the amount, up to and with the comma after the row, and its meaning."""

    def __init__(self) -> None:
        self._lead = b""
        self._rests: dict[bytes, Dimensions] = {}

    def learn(self, body: bytes, rows: Sequence[Dimensions]) -> None:
        """Remember the rows of a page that was parsed and accepted, given as what they are about, in their order.

        That no key comes twice in any row must have been seen to.
        """
        lead = _lead(body)
        # Every row must start alike: a row that hides in what follows another one would be lost.
        if lead is None or body.count(lead) != len(rows):
            return
        if lead != self._lead or len(self._rests) > _MOST_ROWS:
            self._lead, self._rests = lead, {}
        pieces = (piece for part in _parts(body, lead) for piece in part.split(lead))
        for piece, about in zip(pieces, rows, strict=True):
            rest = piece.partition(b'"')[2]
            if rest.endswith(b"},"):
                self._rests[rest] = about
            elif _is_object(lead + b'"' + _row_end(rest)):
                self._rests[_row_end(rest) + b","] = about

    def cut(self, body: bytes) -> Cut | None:
        """The page in two; None when there is a row that was never seen, or an amount that is not a plain one."""
        if not self._lead or self._lead not in body:
            return None
        kept = [body[: body.index(self._lead)]]
        dimensions: list[Dimensions] = []
        amounts: list[Decimal] = []
        ends = [0]
        try:
            for part in _parts(body, self._lead):
                pieces = list(map(bytes.partition, part.split(self._lead), repeat(b'"')))
                found = list(map(self._rests.get, map(_rest, pieces)))
                for place in _places_of_none(found):
                    found[place], rest = self._last_row(pieces[place][2])
                    kept.append(rest)
                    ends.append(len(dimensions) + place + 1)
                texts = b"\n".join(map(_amount, pieces)).decode("ascii").split("\n")
                dimensions += cast("list[Dimensions]", found)  # none is missing any more
                amounts += money.dollars_from_plain_cents(texts)
        except (ValueError, KeyError):
            return None
        if ends[-1] != len(amounts) or not all(each.endswith(_RESULTS) for each in kept[:-1]):
            return None
        # The bucket that a run of rows belongs to is the last one that was opened before it.
        opened = list(accumulate(each.count(_RESULTS) for each in kept))
        rows = (
            Rows(number - 1, dimensions[start:end], amounts[start:end])
            for number, (start, end) in zip(opened, pairwise(ends), strict=False)
        )
        return Cut(b"".join(kept), opened[-1], tuple(rows))

    def _last_row(self, rest: bytes) -> tuple[Dimensions, bytes]:
        """What follows the amount of a bucket's last row: the row's meaning, and what comes after it.

        Raises KeyError.
        """
        row = _row_end(rest)
        return self._rests[row + b","], rest[len(row) :]


def _lead(body: bytes) -> bytes | None:
    amount = body.find(_AMOUNT)
    if amount < 0:
        return None
    found = _LEAD.fullmatch(body, max(body.rfind(b"{", 0, amount), 0), amount + len(_AMOUNT))
    return found[0] if found else None


def _row_end(rest: bytes) -> bytes:
    """What follows the amount of a bucket's last row, up to the row's end; or less, if a text looks like that end."""
    return rest[: rest.find(b"}]") + 1]


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except ValueError:
        return False


def _parts(body: bytes, lead: bytes) -> Iterator[bytes]:
    """What follows the first lead, in parts; where two meet, a lead is left out."""
    start = body.find(lead)
    while start >= 0:
        following = body.find(lead, start + _PART)
        yield body[start + len(lead) : following if following >= 0 else len(body)]
        start = following


def _places_of_none(found: Sequence[object]) -> list[int]:
    return [place for place, one in enumerate(found) if one is None] if None in found else []
