"""Faults of the simulated API as data: which requests go wrong, and how.

Written on a command line a fault is `KIND[=VALUE][:TIMES][@PATH]`: `429=30:3` answers three requests with 429 and
`Retry-After: 30`, `hang@cost_report` never answers the cost report. The kinds are the three digits of a status, and
the names in `KINDS`.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any

from budgetd.simulator.reports import page_number
from budgetd.simulator.wire import Manner, Request, Response, encoded, error, http_date

_TEXT = re.compile(r"(?P<kind>[a-z0-9_]+)(=(?P<value>[^@]*?))?(:(?P<times>[0-9]+))?(@(?P<path>.+))?", re.ASCII)
_STATUS = re.compile(r"[45][0-9]{2}", re.ASCII)
_CURSOR = re.compile(r"page_([0-9]+)", re.ASCII)
_PATIENCE = "3600"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MIB = 1 << 20
_HTML = b"<!doctype html><html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>"

Respond = Callable[[Request, datetime], Response]
Page = dict[str, Any]
Change = Callable[[Response, str], Response]


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule: `kind` and `value` say what goes wrong, the rest which requests it befalls.

    Requests are those whose path holds `path`, that ask for page `page` of the report, between `since` and before
    `until` on the simulated clock. Of these it befalls the ones from number `first` (1) on, `times` of them.
    """

    kind: str
    value: str = ""
    path: str = ""
    first: int = 1
    times: int | None = None
    page: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS and _STATUS.fullmatch(self.kind) is None:
            near = difflib.get_close_matches(self.kind, KINDS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are a status such as 429, {', '.join(KINDS)}"
            raise ValueError(f"no fault is called {self.kind!r}; {hint}")

    def concerns(self, request: Request, now: datetime) -> bool:
        """Whether the request is one of those that it counts."""
        return (
            self.path in request.path
            and self.page in (None, page_number(request))
            and (self.since is None or now >= self.since)
            and (self.until is None or now < self.until)
        )

    def befalls(self, number: int) -> bool:
        """Whether it strikes the request of that number among those that it concerns."""
        return number >= self.first and (self.times is None or number < self.first + self.times)

    def answer(self, request: Request, now: datetime, respond: Respond) -> Response:
        """What the client receives instead of `respond(request, now)`."""
        if self.kind == "page_loop":
            return _page_loop(respond(_without_cursor(request), now), request, int(self.value or 1))
        response = respond(request, now)
        change = KINDS.get(self.kind)
        return change(response, self.value) if change else _status(response, int(self.kind), self.value, now)


def parse(text: str) -> Fault:
    """The fault that `KIND[=VALUE][:TIMES][@PATH]` describes. Raises ValueError."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not KIND[=VALUE][:TIMES][@PATH]")
    times = int(found["times"]) if found["times"] else None
    fault = Fault(found["kind"], found["value"] or "", found["path"] or "", times=times)
    # A value that means nothing is found out now, not at the first request.
    fault.answer(Request("GET", ""), _EPOCH, lambda request, now: Response(200, b"{}"))
    return fault


class FaultScript:
    """The faults in their order: the first that strikes a request is the one; those behind it do not count it."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self.set(*faults)

    def set(self, *faults: Fault) -> None:
        """From now on these and no others."""
        with self._lock:
            self._faults = faults
            self._counts = [0] * len(faults)

    def take(self, request: Request, now: datetime) -> Fault | None:
        """The fault that strikes this request, if any; counts the request."""
        with self._lock:
            for place, fault in enumerate(self._faults):
                if fault.concerns(request, now):
                    self._counts[place] += 1
                    if fault.befalls(self._counts[place]):
                        return fault
        return None


def _status(response: Response, status: int, value: str, now: datetime) -> Response:
    """An error of that status. `value` is its Retry-After; `date+30` is an HTTP date 30 seconds ahead."""
    headers = {}
    if value.startswith("date"):
        headers["retry-after"] = http_date(now + timedelta(seconds=int(value.removeprefix("date"))))
    elif value.startswith("ms"):
        headers["retry-after-ms"] = value.removeprefix("ms")
    elif value:
        headers["retry-after"] = value
    request_id = response.headers.get("request-id", "")
    kept = {name: response.headers[name] for name in ("request-id", "date") if name in response.headers}
    return error(status, f"simulated fault {status}", request_id, {**kept, **headers})


def _without_cursor(request: Request) -> Request:
    return replace(request, query=tuple(pair for pair in request.query if pair[0] != "page"))


def _page_loop(response: Response, request: Request, length: int) -> Response:
    """The first page again and again, with `length` cursors in turn: 1 repeats itself, a large one never ends."""
    found = _CURSOR.fullmatch("".join(request.all("page")))
    following = (int(found[1]) + 1) % length if found else 0
    return _page(lambda page, _: page.update(has_more=True, next_page=f"page_{following}"))(response, "")


def _body(body: bytes, content_type: str = "application/json") -> Change:
    return lambda response, value: replace(
        response, status=int(value or 200), body=body, headers={**response.headers, "content-type": content_type}
    )


def _manner(manner: Manner, default: str = "0") -> Change:
    return lambda response, value: replace(response, manner=manner, pause=float(value or default))


def _raw(change: Callable[[bytes], bytes]) -> Change:
    return lambda response, _: replace(response, body=change(response.body))


def _page(change: Callable[[Page, str], None]) -> Change:
    """A change of a page as it was decoded; an answer that is no page stays as it is."""

    def strike(response: Response, value: str) -> Response:
        page = json.loads(response.body)
        if response.status != 200 or not isinstance(page.get("data"), list):
            return response
        change(page, value)
        return replace(response, body=encoded(page))

    return strike


def _buckets(change: Callable[[list[Page], str], None]) -> Change:
    """A change of the buckets of a page, if it has any."""
    return _page(lambda page, value: change(page["data"], value) if page["data"] else None)


def _row(change: Callable[[Page, str], None]) -> Change:
    """A change of the first row of a page, if it has any."""

    def strike(buckets: list[Page], value: str) -> None:
        rows = [row for bucket in buckets for row in _rows(bucket)]
        if rows:
            change(rows[0], value)

    return _buckets(strike)


def _redirect(response: Response, value: str) -> Response:
    return replace(response, status=307, body=b"").with_headers(location=value or "http://elsewhere.example.com/")


def _wrong_date(response: Response, value: str) -> Response:
    return response.with_headers(date=value or "Thu, 01 Jan 1970 00:00:00 GMT")


@cache
def _bomb() -> bytes:
    """400 MiB of spaces in one gzip stream of 400 KB; its checksum is wrong, nobody should come that far."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    block = deflate.compress(b" " * _MIB) + deflate.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08" + bytes(7) + block * 400 + deflate.flush() + bytes(8)


def _gzip_bomb(response: Response, _: str) -> Response:
    return replace(response, body=_bomb()).with_headers(content_encoding="gzip")


def _no_cursor(page: Page, _: str) -> None:
    page["has_more"] = True
    del page["next_page"]


def _rows(bucket: Page) -> list[Page]:
    """The rows of a bucket. An entry of the analytics is no bucket; what it costs is an object of its own."""
    rows: list[Page] = bucket.get("results", [bucket["cost"]] if "cost" in bucket else [])
    return rows


def _contradiction(buckets: list[Page], _: str) -> None:
    again = copy.deepcopy(buckets[0])
    for row in _rows(again):
        row.update({"amount": "1.5"} if "amount" in row else {"output_tokens": 15})
    buckets.append(again)


def _outside(buckets: list[Page], _: str) -> None:
    day = {"starting_at": "2001-01-01T00:00:00Z", "ending_at": "2001-01-02T00:00:00Z"}
    buckets.append({**buckets[-1], **day})


def _gap(buckets: list[Page], _: str) -> None:
    del buckets[len(buckets) // 2]


def _unaligned(buckets: list[Page], _: str) -> None:
    start = buckets[0]["starting_at"]
    midnight = start.endswith("T00:00:00Z")
    buckets[0]["starting_at"] = start.replace("T00:00:00", "T01:00:00") if midnight else start.replace(":00Z", ":30Z")


def _field(row: Page, value: str) -> None:
    name, _, text = value.partition("=")
    row[name] = text


def _number(row: Page, value: str) -> None:
    name, _, text = value.rpartition("=")
    row[name or "amount"] = json.loads(text or "12345")


def _without(row: Page, value: str) -> None:
    row.pop(value or "amount", None)


KINDS: Mapping[str, Change] = MappingProxyType(
    {
        # bodies that are no answer; the value is the status, 200 if there is none
        "html": _body(_HTML, "text/html"),
        "empty": _body(b""),
        "null": _body(b"null"),
        "list": _body(b"[]"),
        "object": _body(b"{}"),
        "envelope": _body(b'{"type":"error","error":{"type":"api_error","message":"simulated"}}'),
        "nested": _body(b"[" * 100_000),
        # bodies that are damaged
        "cut_json": _raw(lambda body: body[: len(body) // 2]),
        "not_utf8": _raw(lambda body: body.replace(b'"', b'"\xff', 1)),
        "utf16": _raw(lambda body: body.decode().encode("utf-16")),
        "duplicate_key": _raw(lambda body: body.replace(b'"amount":', b'"amount":"1","amount":')),
        "gzip_bomb": _gzip_bomb,
        # headers; the value is the header's
        "redirect": _redirect,
        "wrong_date": _wrong_date,
        # the connection; the value is seconds
        "slow": _manner(Manner.WHOLE, "1"),
        "drip": _manner(Manner.DRIP, "0.3"),
        "stall": _manner(Manner.STALL, _PATIENCE),
        "hang": _manner(Manner.HANG, _PATIENCE),
        "truncated": _manner(Manner.TRUNCATED),
        "close": _manner(Manner.CLOSE),
        "reset": _manner(Manner.RESET),
        # paging; for page_loop the value is the number of cursors in turn
        "page_loop": lambda response, _: response,
        "null_cursor": _page(lambda page, _: page.update(has_more=True, next_page=None)),
        "empty_cursor": _page(lambda page, _: page.update(has_more=True, next_page="")),
        "no_cursor": _page(_no_cursor),
        # buckets
        "no_data": _page(lambda page, _: page.update(data=[])),
        "duplicate": _buckets(lambda buckets, _: buckets.append(buckets[0])),
        "contradiction": _buckets(_contradiction),
        "shuffled": _buckets(lambda buckets, _: buckets.reverse()),
        "outside": _buckets(_outside),
        "gap": _buckets(_gap),
        "unaligned": _buckets(_unaligned),
        # the first row: field=NAME=TEXT, number=JSON or number=NAME=JSON, without=NAME
        "field": _row(_field),
        "number": _row(_number),
        "without": _row(_without),
    }
)
