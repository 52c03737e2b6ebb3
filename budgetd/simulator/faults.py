"""Faults of the simulated API as data: which requests go wrong, and how.

Written on a command line a fault is `KIND[=VALUE][:TIMES][@PATH]`: `429=30:3` answers three requests with 429 and
`Retry-After: 30`, `hang@cost_report` never answers the cost report. The kinds are the three digits of a status, and
the names in `KINDS`.
"""

from __future__ import annotations

import difflib
import gzip
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any

from budgetd.simulator.cost_report import page_number
from budgetd.simulator.wire import Manner, Request, Response, encoded, error, http_date

_TEXT = re.compile(r"(?P<kind>[a-z0-9_]+)(=(?P<value>[^@]*?))?(:(?P<times>[0-9]+))?(@(?P<path>.+))?", re.ASCII)
_STATUS = re.compile(r"[2-5][0-9]{2}", re.ASCII)
_PATIENCE = "3600"
_HTML = b"<!doctype html><html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>"


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

    def strike(self, response: Response, now: datetime) -> Response:
        """What the client receives instead of `response`."""
        change = KINDS.get(self.kind)
        return change(response, self.value) if change else _status(response, int(self.kind), self.value, now)


def parse(text: str) -> Fault:
    """The fault that `KIND[=VALUE][:TIMES][@PATH]` describes. Raises ValueError."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not KIND[=VALUE][:TIMES][@PATH]")
    times = found["times"]
    return Fault(found["kind"], found["value"] or "", found["path"] or "", times=int(times) if times else None)


class FaultScript:
    """The faults in their order: the first that strikes a request is the one; those behind it do not count it."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._counts = [[fault, 0] for fault in faults]
        self._lock = threading.Lock()

    def replace(self, *faults: Fault) -> None:
        """From now on these and no others."""
        with self._lock:
            self._counts = [[fault, 0] for fault in faults]

    def take(self, request: Request, now: datetime) -> Fault | None:
        """The fault that strikes this request, if any; counts the request."""
        with self._lock:
            for entry in self._counts:
                if not entry[0].concerns(request, now):
                    continue
                entry[1] += 1
                if entry[0].befalls(entry[1]):
                    return entry[0]
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


def _body(body: bytes, content_type: str = "application/json") -> Callable[[Response, str], Response]:
    return lambda response, value: replace(
        response, status=int(value or 200), body=body, headers={**response.headers, "content-type": content_type}
    )


def _manner(manner: Manner, default: str = "0") -> Callable[[Response, str], Response]:
    return lambda response, value: replace(response, manner=manner, pause=float(value or default))


def _page(change: Callable[[dict[str, Any], str], None]) -> Callable[[Response, str], Response]:
    """A fault of the content of a page; an answer that is no page stays as it is."""

    def strike(response: Response, value: str) -> Response:
        page = json.loads(response.body)
        if response.status != 200 or not isinstance(page.get("data"), list):
            return response
        change(page, value)
        return replace(response, body=encoded(page))

    return strike


def _raw(change: Callable[[bytes], bytes]) -> Callable[[Response, str], Response]:
    return lambda response, _: replace(response, body=change(response.body))


def _redirect(response: Response, value: str) -> Response:
    return replace(response, status=307, body=b"").with_headers(location=value or "http://elsewhere.example.com/")


def _wrong_date(response: Response, value: str) -> Response:
    return response.with_headers(date=value or "Thu, 01 Jan 1970 00:00:00 GMT")


@cache
def _bomb() -> bytes:
    """400 MiB of spaces in 400 KB."""
    member = gzip.compress(b" " * (1 << 20), mtime=0)
    return member * 400


def _gzip_bomb(response: Response, _: str) -> Response:
    return replace(response, body=_bomb()).with_headers(content_encoding="gzip")


def _first_row(page: dict[str, Any]) -> dict[str, Any]:
    """The first row of the page; a page without rows gets one, or the fault would strike nothing."""
    for bucket in page["data"]:
        if bucket.get("results"):
            return bucket["results"][0]  # type: ignore[no-any-return]
    return {}


def _field(page: dict[str, Any], value: str) -> None:
    name, _, text = value.partition("=")
    _first_row(page)[name] = text


def _number(page: dict[str, Any], value: str) -> None:
    row = _first_row(page)
    row["amount"] = json.loads(value or "12345")


def _without(page: dict[str, Any], value: str) -> None:
    for part in (page, *page["data"][:1], _first_row(page)):
        part.pop(value or "amount", None)


def _contradiction(page: dict[str, Any], _: str) -> None:
    twin = json.loads(json.dumps(page["data"][0]))
    page["data"].append(twin)
    for row in twin["results"]:
        row["amount"] = "1" + row["amount"]


def _outside(page: dict[str, Any], _: str) -> None:
    page["data"].append({**page["data"][-1], "starting_at": "2001-01-01T00:00:00Z", "ending_at": "2001-01-02T00:00:00Z"})


def _gap(page: dict[str, Any], _: str) -> None:
    del page["data"][len(page["data"]) // 2]


def _unaligned(page: dict[str, Any], _: str) -> None:
    bucket = page["data"][0]
    bucket["starting_at"] = bucket["starting_at"].replace("T00:00:00", "T01:00:00")


KINDS: Mapping[str, Callable[[Response, str], Response]] = MappingProxyType(
    {
        # bodies that are no answer; the value is the status, 200 if there is none
        "html": _body(_HTML, "text/html"),
        "empty": _body(b""),
        "null": _body(b"null"),
        "list": _body(b"[]"),
        "object": _body(b"{}"),
        "envelope": _body(b'{"type":"error","error":{"type":"api_error","message":"simulated"}}'),
        "nested": _body(b"[" * 100_000),
        "cut_json": _raw(lambda body: body[: len(body) // 2]),
        "not_utf8": _raw(lambda body: body.replace(b'"', b'"\xff', 1)),
        "utf16": _raw(lambda body: body.decode().encode("utf-16")),
        "duplicate_key": _raw(lambda body: body.replace(b'"amount":', b'"amount":"1","amount":')),
        "gzip_bomb": _gzip_bomb,
        # headers
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
        # paging
        "page_loop": _page(lambda page, value: page.update(has_more=True, next_page=value or "page_again")),
        "null_cursor": _page(lambda page, _: page.update(has_more=True, next_page=None)),
        "empty_cursor": _page(lambda page, _: page.update(has_more=True, next_page="")),
        "no_cursor": _page(lambda page, _: (page.update(has_more=True), page.pop("next_page", None))[0]),
        # content; `field=NAME=TEXT`, `number=JSON` and `without=NAME` change the first row
        "no_data": _page(lambda page, _: page.update(data=[])),
        "duplicate": _page(lambda page, _: page["data"].append(page["data"][0])),
        "contradiction": _page(_contradiction),
        "shuffled": _page(lambda page, _: page["data"].reverse()),
        "outside": _page(_outside),
        "gap": _page(_gap),
        "unaligned": _page(_unaligned),
        "field": _page(_field),
        "number": _page(_number),
        "without": _page(_without),
    }
)
