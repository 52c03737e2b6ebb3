"""The daemon at rest: memory before and after its first message, and the CPU that waiting takes."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.measuring import Figure, at_most, cpu_of, resident
from benchmarks.rulefiles import text
from benchmarks.running import PATIENCE, Hook, daemon, settled

RESTING = 60.0  # seconds


def figures(sizes: Iterable[str]) -> Iterator[Figure]:
    """Over the simulated company, which is of about size S."""
    with tempfile.TemporaryDirectory() as folder, daemon(Path(folder), text(20)) as pid:
        settled(Path(folder))
        yield at_most("resident, idle, nothing was sent yet", resident(pid), 45, "MB")
        before = cpu_of(pid)
        time.sleep(RESTING)
        yield at_most("CPU of a minute between polls", cpu_of(pid) - before, 1, "ms")
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Hook()) as hook:
        over = text(20, hook.channel) + "  - {id: over, type: cap, limit: 1, per: month}\n"
        with daemon(Path(folder), over) as pid:
            if not hook.arrived.wait(PATIENCE):
                raise TimeoutError((Path(folder) / "log").read_text())
            settled(Path(folder))
            yield at_most("resident, idle, a message was sent through Apprise", resident(pid), 62, "MB")
