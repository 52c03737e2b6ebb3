"""What a start costs: the command line, the rules file, the daemon up to its first request."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measuring import Figure, at_most, cpu, plain
from benchmarks.rulefiles import quiet, text
from benchmarks.running import first_request

LOADS = {1_000: 100.0, 10_000: 800.0}  # milliseconds by rules


def figures(sizes: Iterable[str]) -> Iterator[Figure]:
    """The sizes do not matter here."""
    bare = _child([sys.executable, "-c", "pass"])
    yield at_most("budgetd --help", _child([sys.executable, "-m", "budgetd", "--help"]), 60, "ms")
    yield plain("   of that, the bare interpreter", bare, "ms")
    own, children = min(_to_first_request() for _ in range(5))
    yield at_most("budgetd run, to its first request", own, 300, "ms")
    yield plain("   and of its helper, which asks Apprise about the channels", children, "ms")
    for rules, most in LOADS.items():
        yield at_most(f"a file of {rules:,} rules read and checked", cpu(partial(quiet, rules), 5), most, "ms")
        yield plain("   its length", len(text(rules)) / 1e6, "MB")


def _child(words: Sequence[str], runs: int = 7) -> float:
    """Milliseconds of CPU that the command takes, the best of the runs."""

    def once() -> float:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env=os.environ)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        return (usage.ru_utime + usage.ru_stime) * 1000

    return min(once() for _ in range(runs))


def _to_first_request() -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        found = first_request(Path(folder), text(3))
        time.sleep(0.1)
        return found
