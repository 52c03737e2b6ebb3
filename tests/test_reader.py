"""What a poll reads beside its source: names that are asked for once for all readers, and how many requests it took."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import cast

from budgetd.evaluation import Observation
from budgetd.model import Failure, Organisation, Report, SourceError, Workspace
from budgetd.reader import NAMES_AT_LAST, NAMES_EVERY, Directory, Reader, UsageReader
from budgetd.sources.usage_report import UsageReport
from budgetd.tick import observe

NOW = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ACME, OTHER = Organisation("org_1", "Acme"), Organisation("org_2", "Other")
RESEARCH = Workspace("wrkspc_1", "Research")


@dataclass
class Place:
    """A source and its account behind one connection: `read` takes `pages` requests. It knows whose key it has."""

    name: str
    key_of: list[Organisation]
    pages: int = 1
    requests: int = 0
    asked: int = 0
    last_skew: float | None = None
    failing: Exception | None = None
    names: tuple[Workspace, ...] | None = (RESEARCH,)
    forgotten: int = 0
    started: list[datetime] = field(default_factory=list)

    def key_mark(self) -> str:
        return str(len(self.key_of))

    def forget(self) -> None:
        self.forgotten += 1

    def organisation(self) -> Organisation:
        self.requests += 1
        self.asked += 1
        return self.key_of[-1]

    def workspaces(self) -> tuple[Workspace, ...]:
        self.requests += 1
        if self.names is None:
            raise SourceError(Failure.UNAVAILABLE, "HTTP 503", status=503)
        return self.names

    def read(self, now: datetime, since: date | None) -> Report:
        self.requests += self.pages
        self.started.append(now)
        if self.failing is not None:
            raise self.failing
        return Report(self.name, now.date(), now.date(), (), now)


class Pair:
    """The bill's reader and that of use, on one key."""

    def __init__(self, pinned: Organisation | None = ACME) -> None:
        key_of, directory = [ACME], Directory()
        self.key_of = key_of
        self.bill, self.use = Place("cost_report", key_of), Place("usage_report", key_of)
        self.bill_reader = Reader(self.bill, self.bill, pinned, self.bill, directory)
        self.use_reader = UsageReader(
            cast(UsageReport, self.use), self.use, pinned, self.use, directory, lambda: None, lambda: True, lambda: True
        )

    @property
    def asked(self) -> tuple[int, int]:
        return self.bill.asked, self.use.asked


def test_what_the_bill_found_the_others_use() -> None:
    pair = Pair()
    first = pair.bill_reader.observe(NOW, None)
    assert (first.organisation, first.workspaces, first.requests) == (ACME, (RESEARCH,), 3)
    second = pair.use_reader.observe(NOW, None)
    # They are passed on: the commit of this reading may come first.
    assert (second.organisation, second.workspaces, second.requests) == (ACME, (RESEARCH,), 1)
    third = pair.use_reader.observe(NOW + MINUTE, None)
    assert (third.organisation, third.workspaces, third.requests) == (ACME, None, 1)
    assert pair.asked == (1, 0)


def test_names_cost_one_set_of_requests_an_hour() -> None:
    pair = Pair()
    for minute in range(6 * 60):
        if minute % 5 == 0:
            pair.bill_reader.observe(NOW + MINUTE * minute, None)
        pair.use_reader.observe(NOW + MINUTE * minute, None)
    assert pair.asked == (6, 0)


def test_where_nothing_was_found_or_only_long_ago_a_reader_asks_itself() -> None:
    pair = Pair()
    pair.use_reader.observe(NOW, None)
    assert pair.asked == (0, 1)
    pair.bill_reader.observe(NOW + MINUTE, None)
    assert pair.asked == (0, 1), "what is fresh is good for the bill's reader, too"
    pair.use_reader.observe(NOW + NAMES_AT_LAST - MINUTE, None)
    assert pair.asked == (0, 1)
    pair.use_reader.observe(NOW + NAMES_AT_LAST, None)
    assert pair.asked == (0, 2)
    pair.bill_reader.observe(NOW + NAMES_AT_LAST + NAMES_EVERY, None)
    assert pair.asked == (1, 2)
    pair.use_reader.observe(NOW - MINUTE, None)
    assert pair.asked == (1, 3), "a clock that went back makes nothing fresh"


def test_a_foreign_key_is_refused_by_each_reader_and_mends_in_each() -> None:
    pair = Pair()
    pair.bill_reader.observe(NOW, None)
    pair.use_reader.observe(NOW, None)
    pair.key_of.append(OTHER)
    later = NOW + NAMES_EVERY
    for reader, place in ((pair.bill_reader, pair.bill), (pair.use_reader, pair.use)):
        before = len(place.started)
        for minute in (0, 5):
            refused = reader.observe(later + MINUTE * minute, None)
            assert refused.error is not None
            assert refused.error.failure is Failure.FOREIGN
            assert "Other (org_2)" in refused.error.message
            assert refused.organisation == ACME
        assert len(place.started) == before, "nothing is read with it"
    pair.key_of.append(ACME)
    mended = later + 6 * MINUTE
    assert pair.use_reader.observe(mended, None).error is None
    assert pair.bill_reader.observe(mended, None).error is None
    assert pair.asked == (3, 3), "the first that asked again mended it for both"


def test_the_first_key_pins_where_nothing_is_pinned_yet() -> None:
    pair = Pair(pinned=None)
    assert pair.use_reader.observe(NOW, None).organisation == ACME
    assert pair.bill_reader.observe(NOW, None).organisation == ACME
    pair.key_of.append(OTHER)
    for reader in (pair.bill_reader, pair.use_reader):
        error = reader.observe(NOW + NAMES_AT_LAST, None).error
        assert error is not None
        assert error.failure is Failure.FOREIGN


def test_without_the_names_of_workspaces_it_goes_on_for_all() -> None:
    pair = Pair()
    pair.bill.names = None
    assert pair.bill_reader.observe(NOW, None).workspaces is None
    second = pair.use_reader.observe(NOW, None)
    assert (second.error, second.workspaces) == (None, None)
    assert pair.asked == (1, 0)


def test_failed_polls_are_counted_and_unforeseen_ones_with_the_next() -> None:
    pair = Pair()
    pair.bill.pages = 5
    pair.bill.failing = SourceError(Failure.UNAVAILABLE, "HTTP 429", status=429)
    assert pair.bill_reader.observe(NOW, None).requests == 7
    assert pair.bill_reader.observe(NOW + MINUTE, None).requests == 5
    pair.bill.failing = RuntimeError("unforeseen")
    assert observe(pair.bill_reader, NOW + 2 * MINUTE, None).requests == 0
    pair.bill.failing = None
    assert pair.bill_reader.observe(NOW + 3 * MINUTE, None).requests == 10


def test_readers_in_threads_of_their_own_share_the_names() -> None:
    pair = Pair()
    together = threading.Barrier(2, timeout=10)
    seen: dict[str, list[Observation]] = {"bill": [], "use": []}

    def live(name: str, reader: Reader) -> None:
        for minute in range(300):
            together.wait()
            seen[name].append(reader.observe(NOW + MINUTE * minute, None))

    threads = [
        threading.Thread(target=live, args=("bill", pair.bill_reader)),
        threading.Thread(target=live, args=("use", pair.use_reader)),
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert all(each.error is None and each.organisation == ACME for row in seen.values() for each in row)
    assert [len(row) for row in seen.values()] == [300, 300]
    bill, use = pair.asked
    # Whoever is first at the start; both, when it is the same moment.
    assert 5 <= bill + use <= 6
    assert use <= 1
    assert sum(each.requests for each in seen["bill"]) == pair.bill.requests
    assert sum(each.requests for each in seen["use"]) == pair.use.requests
