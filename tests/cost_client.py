"""The real cost report over the real client, for the tests that play faults to it, and what holds for every failure."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from budgetd import clock
from budgetd.http import Api, Bounds
from budgetd.model import Failure, Report, SourceError
from budgetd.sources.cost_report import CostReport
from tests.cost_pages import NOW, month, page
from tests.faulty_server import (
    FaultyServer,
    Request,
    Script,
    answer,
    error,
    head,
    raw,
)

KEY = "sk-ant-admin01-CANARY-0123456789abcdefghijklmnopqrstuvwxyz"
GOOD = answer(page(month()))
JSON_HEAD = head(content_type="application/json")

# Answers that repeat the key, in each place where an answer has room for it, and what they are taken for.
ECHOES: list[tuple[Script, Failure]] = [
    (error(401, "authentication_error", f"no such key: {KEY}"), Failure.REFUSED),
    (error(400, KEY, f"x{KEY}y{KEY}"), Failure.REJECTED),
    (answer(f"<p>{'x' * 50}{KEY}".encode(), 503, content_type="text/html"), Failure.UNAVAILABLE),
    (answer(KEY.encode(), 500, content_type=KEY), Failure.UNAVAILABLE),
    (raw(head(400, request_id=KEY, content_length="0"), close=False), Failure.REJECTED),
    (answer(b"", 302, location=f"https://{KEY}.example.com/"), Failure.REJECTED),
    (answer(b"", content_encoding=KEY), Failure.UNREADABLE),
    (answer(page(month(), extra=KEY)), Failure.UNREADABLE),
    (answer(KEY.encode()), Failure.UNREADABLE),
    (raw(f"HTTP/1.1 {KEY}\r\n\r\n".encode()), Failure.UNREACHABLE),
    (raw(KEY.encode()), Failure.UNREACHABLE),
]


class Client:
    """The real source over the real client, in a hurry; it notes the pauses instead of making them."""

    def __init__(self, url: str, *, seconds: float = 0.4, attempts: int = 2, body_bytes: int = 1_000_000, **more: Any):
        self.naps: list[float] = []
        bounds = Bounds(request_seconds=seconds, attempts=attempts, body_bytes=body_bytes)
        self.api = Api(url, lambda: KEY, bounds=bounds, sleep=self.naps.append, now=lambda: NOW, **more)
        self.source = CostReport(self.api, fetch_seconds=3)

    def read(self, now: datetime = NOW) -> Report:
        return self.source.read(now, None)

    def fails(self, expected: Failure, *words: str, within: float = 5.0) -> SourceError:
        """The error of a reading, after everything that holds for all of them."""
        started = clock.monotonic()
        with pytest.raises(SourceError) as caught:
            self.read()
        assert clock.monotonic() - started < within
        failed = caught.value
        told = traceback.TracebackException.from_exception(failed, capture_locals=True)
        for text in (failed.message, str(failed), repr(failed), repr(vars(failed)), *told.format()):
            assert "CANARY" not in text
        assert failed.failure is expected, failed.message
        assert failed.message.isprintable()
        assert len(failed.message) < 700
        for word in words:
            assert word in failed.message
        return failed

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.api.close()


def played(scripts: Sequence[Script], expected: Failure, *words: str, **settings: Any) -> list[Request]:
    """The requests of a reading that fails as expected, from a server that plays the scripts."""
    with FaultyServer(scripts) as server, Client(server.url, **settings) as client:
        client.fails(expected, *words)
    return server.requests


def read(*scripts: Script, **settings: Any) -> Report:
    """What is read from a server that plays the scripts."""
    with FaultyServer(scripts) as server, Client(server.url, **settings) as client:
        return client.read()


def totals(report: Report) -> dict[date, Decimal]:
    return {day.day: sum(day.lines.values(), Decimal(0)) for day in report.days}
