"""budgetd and Debian's Alertmanager in one run, under the same blows: what is lost, what is doubled, who is told.

Both tell a web hook on this machine. Alertmanager has its data on disk, group_wait 0s, group_interval 1s, and a client
that sends every second what fires and how it ended, as Prometheus does each minute. What the hook read whole counts as
told, answered or not.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeVar

from benchmarks.contenders import FIRING, RESOLVED, Budgetd, Contender, Hook, WithClient, simulated_api
from benchmarks.measuring import Figure
from tests.alertmanagers import ABSENT, program

KILLS = 100
RESTARTS = 10
# Seconds after a restart in which what is owed must have come, and without news that make it settled.
OWED_WITHIN = 8.0
SETTLED_AFTER = 3.0
# When a kill comes: between the cause and the notification, before the hook answers it, or after that.
PHASES = ("before it came", "before it was answered", "after it was answered")
_BEFORE, _DURING, _AFTER = PHASES
_LATEST = 0.1  # seconds from the answer to the kill
_AT_ONCE = 4  # scenes that run side by side: they mostly wait

Found = TypeVar("Found")
Make = Callable[[Hook], AbstractContextManager[Contender]]


def figures(_sizes: Iterable[str], kills: int = KILLS) -> Iterator[Figure]:
    """Everything side by side; sizes mean nothing here."""
    if program() is None:
        yield Figure(f"skipped: {ABSENT}", "")
        return
    with tempfile.TemporaryDirectory() as name, simulated_api() as url, ThreadPoolExecutor(_AT_ONCE) as pool:
        ring = _Ring(Path(name), url, pool)
        yield from _killed(ring, max(len(PHASES), kills // 2))
        yield from _storm(ring)
        yield from _silenced(ring)
        yield from _rerouted(ring)


@dataclass
class _Ring:
    """Where scenes are played, each by a contender, with a hook and folders, of its own."""

    folder: Path
    url: str
    pool: ThreadPoolExecutor
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def ours(self) -> Make:
        return lambda hook: _ending(Budgetd(hook, self.url, self.folder / f"ours-{next(self._numbers)}"))

    def theirs(self, *flags: str, young: bool = False) -> Make:
        return lambda hook: _ending(WithClient(hook, flags, snapshotted=not young))

    def folders(self) -> Iterator[Path]:
        return (self.folder / str(number) for number in self._numbers)

    def play(self, scene: Callable[[Contender, Iterator[Path]], Found], make: Make) -> Future[Found]:
        def play() -> Found:
            with contextlib.closing(Hook()) as hook, make(hook) as who:
                return scene(who, self.folders())

        return self.pool.submit(play)


@contextlib.contextmanager
def _ending(contender: Contender) -> Iterator[Contender]:
    try:
        yield contender
    finally:
        contender.end()


def _against(what: str, ours: object, theirs: object, name: str = "Alertmanager") -> Figure:
    return Figure(f"  {what}", str(ours), f"{theirs}  {name}")


# --- kills -------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What so many kills came to."""

    kills: int = 0
    lost: int = 0
    doubled: int = 0

    def add(self, came: int) -> None:
        self.kills += 1
        self.lost += came == 0
        self.doubled += max(0, came - 1)

    def __str__(self) -> str:
        return f"{self.lost} + {self.doubled} of {self.kills}"


def _killed(ring: _Ring, each: int) -> Iterator[Figure]:
    few = max(len(PHASES), each // 3)
    makes = {
        "": ring.ours(),
        "Alertmanager": ring.theirs(),
        "writing its log each second": ring.theirs("--data.maintenance-interval=1s"),
        "alert younger than 15 min": ring.theirs(young=True),
    }
    yield Figure(f"kill -9 around {2 * each} notifications of each, then a restart: lost + doubled", "budgetd")
    played = {
        (name, status): ring.play(partial(_kill_all, status, each if name in ("", "Alertmanager") else few), make)
        for status in (FIRING, RESOLVED)
        for name, make in makes.items()
        if (name, status) != ("alert younger than 15 min", FIRING)
    }
    for (name, status), future in played.items():
        if name:
            tallies = played["", status].result(), future.result()
            for phase in PHASES:
                yield _against(f"{status}, killed {phase}", *(tally[phase] for tally in tallies), name=name)
    for name in makes:
        if name:
            ours, theirs = (
                _in_all(played[who, status].result() for status in (FIRING, RESOLVED) if (name, status) in played)
                for who in ("", name)
            )
            yield _against("in all", ours, theirs, name)


def _in_all(found: Iterable[dict[str, Tally]]) -> Tally:
    tallies = [tally for each in found for tally in each.values()]
    return Tally(sum(t.kills for t in tallies), sum(t.lost for t in tallies), sum(t.doubled for t in tallies))


def _kill_all(status: str, kills: int, who: Contender, folders: Iterator[Path]) -> dict[str, Tally]:
    """Kill it so many times, in each phase by turns."""
    random = Random(kills)
    tallies = {phase: Tally() for phase in PHASES}
    usual = statistics.median(_delay(who, status, next(folders)) for _ in range(3))
    for number in range(kills):
        phase, came = _kill_once(who, status, PHASES[number % len(PHASES)], usual, next(folders), random)
        tallies[phase].add(came)
    return tallies


def _delay(who: Contender, status: str, folder: Path) -> float:
    """Seconds from the cause to the notification, when nothing is killed."""
    who.prepare(folder, told=status == RESOLVED)
    before, began = who.hook.count(status), time.perf_counter()
    who.cause(status)
    if not who.hook.wait(status, before + 1):
        raise TimeoutError(f"{status} was never told")
    took = who.hook.arrivals[-1].at - began
    who.end()
    return took


def _kill_once(who: Contender, status: str, phase: str, usual: float, folder: Path, random: Random) -> tuple[str, int]:
    """When the kill came, as it was meant or later, and how often it was told in the end."""
    hook = who.hook
    who.prepare(folder, told=status == RESOLVED)
    before = hook.count(status)
    hook.struck.clear()
    hook.strike = who.kill if phase == _DURING else None
    began = time.perf_counter()
    who.cause(status)
    if phase == _BEFORE:
        time.sleep(max(0.0, began + random.uniform(0, usual) - time.perf_counter()))
        who.kill()
        phase = _AFTER if hook.count(status) > before else phase
    elif not hook.wait(status, before + 1):
        raise TimeoutError(f"{status} was never told")
    elif phase == _DURING:
        hook.struck.wait()
    else:
        time.sleep(random.uniform(0, _LATEST))
        who.kill()
    who.recover()
    hook.wait(status, before + 1, OWED_WITHIN)
    _settle(hook)
    who.end()
    return phase, hook.count(status) - before


def _settle(hook: Hook) -> None:
    time.sleep(SETTLED_AFTER)
    hook.quiet(SETTLED_AFTER)


# --- restarts ----------------------------------------------------------------------------------


def _storm(ring: _Ring) -> Iterator[Figure]:
    yield Figure("restarts while it fires: notifications that nobody needed", "budgetd")
    makes = {"": ring.ours(), "Alertmanager": ring.theirs(), "alert younger than 15 min": ring.theirs(young=True)}
    ends = {signal.SIGTERM: "orderly stops", signal.SIGKILL: "times kill -9"}
    played = {(name, end): ring.play(partial(_restarted, end), make) for end in ends for name, make in makes.items()}
    for (name, end), future in played.items():
        if name:
            yield _against(f"{RESTARTS} {ends[end]}", played["", end].result(), future.result(), name)


def _restarted(number: int, who: Contender, folders: Iterator[Path]) -> int:
    who.prepare(next(folders), told=True)
    who.watch()
    before = len(who.hook.arrivals)
    for _ in range(RESTARTS):
        who.kill(number)
        who.recover()
        _settle(who.hook)
    who.end()
    return len(who.hook.arrivals) - before


# --- silences and routes -----------------------------------------------------------------------


def _silenced(ring: _Ring) -> Iterator[Figure]:
    yield Figure("silenced for two hours after it was told; then it ends: is anybody told?", "budgetd")
    scene = partial(_staged, lambda who: who.silence())
    ours, theirs = (ring.play(scene, make).result() for make in (ring.ours(), ring.theirs()))
    yield _against("told that it is over", _answer(ours), _answer(theirs))
    yield Figure("  whoever was told of it waits for its end, silenced or not", "")
    if ours is None:
        yield Figure("  skipped for budgetd: this version has no command `silence`", "")


def _answer(told: dict[str, int] | None) -> str:
    return "skipped" if told is None else "yes" if any(told.values()) else "no"


def _rerouted(ring: _Ring) -> Iterator[Figure]:
    yield Figure("told at one, then the route is changed to two, then it ends: who is told that?", "budgetd")
    scene = partial(_staged, lambda who: who.route("two"))
    found = [ring.play(scene, make).result() or {} for make in (ring.ours(), ring.theirs())]
    yield _against(
        "told that it is over", *(" and ".join(path for path, count in told.items() if count) for told in found)
    )
    yield Figure("  the end belongs to whoever was told of the beginning", "")


def _staged(act: Callable[[Contender], bool], who: Contender, folders: Iterator[Path]) -> dict[str, int] | None:
    """How often the end was told where, after the act; None when the act cannot be done."""
    who.prepare(next(folders), told=True)
    who.watch()
    if not act(who):
        return None
    who.cause(RESOLVED)
    who.hook.wait(RESOLVED, 1, OWED_WITHIN)
    _settle(who.hook)
    who.unsilence()
    _settle(who.hook)
    return {path: who.hook.count(RESOLVED, path) for path in ("one", "two")}
