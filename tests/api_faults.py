"""The numbered faults of the cost API as the simulated API plays them, for the tests that run whole commands.

`tests/test_faults_cost_api.py` and `tests/test_faults_cost_data.py` look at each of them more closely, at the client.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from budgetd.simulator.faults import Fault, parse

# The report of that day has two pages: until the 8th the previous month is read too.
NOW = datetime(2026, 11, 6, 12, tzinfo=UTC)
AT = "2026-11-06T12:00:00Z"


@dataclass(frozen=True)
class Played:
    """What the simulated API does to every request for the cost report, and what must be said of it."""

    fault: Fault
    words: str
    name: str


def _played(number: int, text: str, words: str) -> Played:
    return Played(parse(f"{text}@cost_report"), words, f"fault {number:02}: {text[:40]}")


def _second_page(text: str, words: str) -> Played:
    return Played(Fault(text, path="cost_report", page=2), words, f"fault 23: {text} on the second page")


# The report cannot be used.
REFUSED: tuple[Played, ...] = (
    _played(3, "stall", "no whole answer within the time allowed"),
    _played(3, "hang", "no whole answer within the time allowed"),
    _played(4, "drip", "no whole answer within the time allowed"),
    _played(5, "truncated", "127.0.0.1"),
    _played(5, "close", "127.0.0.1"),
    _played(5, "reset", "127.0.0.1"),
    _played(5, "cut_json", "not JSON"),
    _played(6, "not_utf8", "not UTF-8"),
    _played(6, "utf16", "not UTF-8"),
    _played(7, "html", "text/html"),
    _played(7, "html=502", "HTTP 502"),
    _played(8, "empty", "not JSON"),
    _played(8, "null", "expected"),
    _played(8, "list", "expected"),
    _played(8, "object", "missing"),
    _played(8, "envelope", "an error instead of data"),
    _played(9, "no_data", "no day at all"),
    _played(10, "400", "HTTP 400"),
    _played(11, "401", "HTTP 401"),
    _played(11, "403", "HTTP 403"),
    _played(12, "404", "HTTP 404"),
    _played(13, "429=2", "HTTP 429"),
    _played(14, "429=0", "HTTP 429"),
    _played(14, "429=soon", "HTTP 429"),
    _played(14, "429=date-86400", "HTTP 429"),
    _played(15, "429", "HTTP 429"),
    _played(16, "500", "HTTP 500"),
    _played(16, "503", "HTTP 503"),
    _played(16, "529", "HTTP 529"),
    _played(17, "redirect=https://elsewhere.example.com/", "redirect to host elsewhere.example.com refused"),
    _played(19, "page_loop=1", "leads back to an earlier page"),
    _played(19, "page_loop=2", "leads back to an earlier page"),
    _played(20, "null_cursor", "no cursor is given"),
    _played(20, "empty_cursor", "no cursor is given"),
    _played(20, "no_cursor", "no cursor is given"),
    _played(22, "page_loop=1000", "more pages than"),
    _second_page("400", "HTTP 400"),
    _second_page("500", "HTTP 500"),
    _second_page("cut_json", "not JSON"),
    _second_page("object", "missing"),
    _played(24, "without=amount", "$.data[0].results[0].amount: missing"),
    _played(24, "without=currency", "$.data[0].results[0].currency: missing"),
    _played(27, "number=true", "$.data[0].results[0].amount"),
    _played(28, "field=amount=NaN", "$.data[0].results[0].amount"),
    _played(28, "field=amount=sNaN", "$.data[0].results[0].amount"),
    _played(29, "field=amount=1E+999999999", "$.data[0].results[0].amount"),
    _played(30, "field=amount=1_000", "$.data[0].results[0].amount"),
    _played(32, f"field=amount={'1' * 5000}", "$.data[0].results[0].amount"),
    _played(33, "number=NaN", "NaN"),
    _played(33, "number=1e999", "Infinity"),
    _played(34, "duplicate_key", "is given twice in one object"),
    _played(35, "nested", "nested too deeply"),
    _played(38, "contradiction", "with different content"),
    Played(Fault("outside", path="cost_report", page=1), "beyond what was asked for", "fault 40: outside"),
    _played(40, "gap", "is missing"),
    _played(40, "unaligned", "$.data[0]"),
    _played(43, "field=currency=EUR", "EUR"),
    _played(45, "gzip_bomb", "encoded as gzip"),
)

# The report is odd, and can be used.
TAKEN: tuple[Played, ...] = (
    _played(25, "field=colour=blue", '"colour"'),
    _played(26, "field=service_tier=never_seen", '"never_seen"'),
    _played(26, "field=cost_type=never_seen", '"never_seen"'),
    _played(27, "number=0.6", ""),
    _played(31, "field=amount=-12.5", "negative amounts"),
    _played(37, "duplicate", ""),
    _played(39, "shuffled", ""),
    _played(51, "wrong_date", ""),
)
