"""From a page that crosses a limit to the first byte at a web hook on this machine: our own share of the latency."""

from __future__ import annotations

import contextlib
import queue
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from benchmarks.measuring import Figure, at_most, plain
from benchmarks.pages import DAY_ONE, NOW, Shelf, bill
from benchmarks.rulefiles import text
from benchmarks.running import Hook
from budgetd.commands import wiring
from budgetd.delivery import InThisThread
from budgetd.evaluation import Evaluator
from budgetd.inbox import Inbox
from budgetd.model import Changes, CostDay, Organisation, Workspace
from budgetd.outbox import Outbox
from budgetd.period import DAY
from budgetd.reader import Reader
from budgetd.rulebook import parse
from budgetd.sources.cost_report import CostReport
from budgetd.stores.sqlite import open_store
from budgetd.tick import tick

CROSSINGS = {"S": 100, "M": 100, "L": 12}
TARGETS = {"M": 50.0, "L": 500.0}  # milliseconds
RULES = 100
# Far beyond every bill, and below the limits of the quiet rules.
BASE, STEP = 10**7, 10**6
HISTORY = 120  # UTC days
_EMPTY_DAYS = b"".join(
    b',{"starting_at":"%sT00:00:00Z","results":[]}' % str(DAY_ONE + DAY * number).encode() for number in range(1, 17)
)


class _Timed(Shelf):
    """Notes when the page leaves the API."""

    left = 0.0
    requests = 0
    last_skew = None

    def key_mark(self) -> str:
        return ""

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, deadline: float | None = None) -> bytes:
        page = self.page
        self.left = time.perf_counter()
        return page


class _Account:
    def organisation(self) -> Organisation:
        return Organisation("org_1", "Example Company")

    def workspaces(self) -> tuple[Workspace, ...]:
        return ()


def figures(sizes: Iterable[str]) -> Iterator[Figure]:
    """Wall time, one pass after another in one thread; the state is real, the way to the web hook is Apprise's."""
    for size in sizes:
        found = sorted(_latencies(size, CROSSINGS[size]))
        late = found[-1 - len(found) // 100]
        what = f"{size}: crossing to first byte, p99 of {len(found)}"
        yield at_most(what, late, TARGETS[size], "ms") if size in TARGETS else plain(what, late, "ms")
        yield plain("   median", found[len(found) // 2], "ms")


def _rules(channel: str, crossings: int) -> str:
    crossed = (
        f"  - {{id: step-{number}, type: cap, limit: {BASE + STEP * number}, per: month, steps: [100%]}}\n"
        for number in range(1, crossings + 2)
    )
    return text(RULES, channel) + "".join(crossed)


def _page(page: bytes, dollars: int) -> bytes:
    """The page with that amount in its first row, and with days without cost up to the day before yesterday."""
    start = page.index(b'"amount":"') + len(b'"amount":"')
    rest = page[page.index(b'"', start) :].replace(b'],"has_more"', _EMPTY_DAYS + b'],"has_more"')
    return page[:start] + b"%d.000000" % (dollars * 100) + rest


def _latencies(size: str, crossings: int) -> list[float]:
    found: list[float] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Hook()) as hook:
        rulebook = parse(_rules(hook.channel, crossings), "rules.yaml", environment={})
        equipment = wiring.equip(rulebook)
        inbox: Inbox = queue.SimpleQueue()
        shelf = _Timed(_page(bill(size), BASE))
        with contextlib.closing(open_store(Path(folder) / "budgetd.db", NOW)) as store:
            history = (CostDay(DAY_ONE - DAY * back, {}) for back in range(1, HISTORY))
            store.commit(Changes(at=NOW, cost_days=tuple(history)))
            evaluator = Evaluator(store, rulebook)
            lanes = InThisThread(equipment.senders, inbox.put)
            outbox = Outbox(store, evaluator, lanes, equipment.flavours, Random(1))
            reader = Reader(CostReport(shelf), _Account(), None, shelf)
            for number in range(crossings + 2):
                # Every bill is below STEP, so that each page crosses one more limit.
                shelf.page = _page(bill(size, number % 2), BASE + STEP * number)
                posts = len(hook.posts)
                tick(reader, evaluator, outbox, inbox, _instant(number))
                # The first has nothing to say, the second loads Apprise.
                if number > 1 and len(hook.posts) > posts:
                    found.append((hook.posts[posts] - shelf.left) * 1000)
    if len(found) < crossings:
        raise LookupError(f"{crossings - len(found)} of {crossings} crossings were not told")
    return found


def _instant(number: int) -> datetime:
    return NOW + timedelta(minutes=number)
