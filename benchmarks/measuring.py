"""How time and memory are taken, and the table that every benchmark prints.

Times are CPU seconds of this process (user and system), the best of several runs, with the collector on as it is in
the daemon and emptied before each run: what other programs of the machine do is in none of them. Memory is resident.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import platform
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

SIZES = ("S", "M", "L")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `met` None: no target, it is there for comparison."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None


def at_most(what: str, value: float, most: float, unit: str) -> Figure:
    """A figure whose target is an upper bound. Units: `x`, `ms`, `s`, `MB`."""
    return Figure(what, shown(value, unit), f"<= {shown(most, unit)}", value <= most)


def plain(what: str, value: float, unit: str) -> Figure:
    """A figure without a target."""
    return Figure(what, shown(value, unit))


def shown(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}{unit}" if unit == "x" else f"{value:.{digits}f} {unit}"


def heading(name: str) -> str:
    return f"\n{name}\n{'-' * len(name)}"


def line(figure: Figure) -> str:
    verdict = {True: "met", False: "MISSED", None: ""}[figure.met]
    return f"{figure.what:<74}{figure.value:>12}  {figure.target:<12}{verdict}".rstrip()


def machine() -> str:
    """What the figures were taken on."""
    cpu = "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [text.partition(":")[2].strip() for text in info.read_text().splitlines() if "model name" in text]
        cpu = names[0] if names else cpu
    return (
        f"{os.cpu_count()} x {cpu}, Linux {platform.release()}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}; load {os.getloadavg()[0]:.1f}"
    )


def cpu(act: Callable[[], object], runs: int = 7) -> float:
    """Milliseconds of CPU that it takes, the best of the runs."""
    return min(once(act) for _ in range(runs))


def once(act: Callable[[], object]) -> float:
    """Milliseconds of CPU that it takes this once."""
    gc.collect()
    start = time.process_time()
    kept = act()
    spent = time.process_time() - start
    del kept
    return spent * 1000


def apart(act: Callable[Arguments, Result], *given: Arguments.args, **named: Arguments.kwargs) -> Result:
    """Call it in a process of its own, whose memory nothing else has touched."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(act, *given, **named).result()


def resident(pid: int | str = "self") -> float:
    """Megabytes that a process has in memory."""
    return _status(pid, "VmRSS")


def peak(pid: int | str = "self") -> float:
    """The most megabytes that a process ever had in memory (getrusage would count what its parent had)."""
    return _status(pid, "VmHWM")


def cpu_of(pid: int) -> float:
    """Milliseconds of CPU that all threads of a process that are still there have taken."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e6


def _status(pid: int | str, field: str) -> float:
    for text in Path(f"/proc/{pid}/status").read_text().splitlines():
        if text.startswith(field):
            return int(text.split()[1]) / 1024
    raise LookupError(field)
