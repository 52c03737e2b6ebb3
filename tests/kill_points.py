"""Kill the real program at its N-th write, sync, connect, send...: is every alert told, once?

    python -m tests.kill_points                                   every point of a pass (many minutes)
    python -m tests.kill_points --syscalls pwrite64,connect --most 20
    python -m tests.kill_points --scene fresh                     a first start: the schema is made under fire
    python -m tests.kill_points --scene daemon                    `budgetd run` instead of `budgetd once`
    python -m tests.kill_points --mutant                          a program that marks before it sends: must lose

strace kills the process as it enters the system call, which is then not made. After each kill the program is started
again until a pass ends well; at every other point of the scene `step` only four days later, with a newer step to tell.
"""

from __future__ import annotations

import argparse
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from tests.kill_scene import BUDGETD, KILLED, SCENES, Scene, Stage, Verdict, stage, tail

SYSCALLS = (
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "unlink",
    "rename",
    "connect",
    "sendto",
    "sendmsg",
    "recvfrom",
    "openat",
    "close",
)
MUTANT = (sys.executable, "-m", "tests.kill_mutant")
AT_ONCE = 2
_CALL = re.compile(r"(\d+) +(\w+)\(")
# Source, libraries, locales: nothing is at stake while they are read.
_LOADING = re.compile(r"\.pyc?\b|\.so\b|/lib/python|/site-packages|/usr/(lib|share)/|/etc/")


@dataclass(frozen=True, slots=True)
class Point:
    """The N-th time (from 1) that a thread of the process makes that system call."""

    syscall: str
    when: int

    @property
    def name(self) -> str:
        return f"{self.syscall}-{self.when}"


@dataclass(frozen=True, slots=True)
class Calls:
    """Of one system call: which are worth a kill, counted from the start of the process; and how many there are."""

    worth: list[int]
    last: int


@dataclass(slots=True)
class Figures:
    """What all points came to."""

    points: int = 0
    doubled: int = 0
    wrongly_doubled: int = 0
    lost: int = 0
    disordered: int = 0
    broken: int = 0
    bad: list[Verdict] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Count points, not messages: a kill either did harm or not."""
        self.points += 1
        for name in ("doubled", "wrongly_doubled", "lost", "disordered", "broken"):
            setattr(self, name, getattr(self, name) + bool(getattr(verdict, name)))
        if not verdict.good:
            self.bad.append(verdict)

    def __str__(self) -> str:
        return (
            f"{self.points} points, {self.lost} lost, {self.disordered} out of order, {self.broken} broken, "
            f"{self.wrongly_doubled} wrongly doubled, {self.doubled} doubled between accept and commit"
        )


def why_not() -> str:
    """Why points cannot be tried here; empty when they can be."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=close:signal=KILL:when=1", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode in KILLED else f"strace cannot kill here: {tried.stderr.strip()}"


def calls(stage: Stage, scene: Scene) -> dict[str, Calls]:
    """The calls of each kind in a pass that nobody kills."""
    home = stage.copy(scene, f"{scene.name}-calls")
    trace = home / "trace"
    prefix = ["strace", "-f", "-y", "-qq", "-o", str(trace), "-e", f"trace={','.join(SYSCALLS)}"]
    if stage.run(scene.killed, home, f"{scene.name}-calls", prefix) != 0:
        raise RuntimeError(f"the pass did not end well under strace:\n{tail(home)}")
    return numbers(trace.read_text(errors="replace").splitlines())


def numbers(lines: Iterable[str]) -> dict[str, Calls]:
    """Worth a kill is each call since the state was opened, unless it only loads the program's own files."""
    counts: Counter[tuple[str, str]] = Counter()
    worth: defaultdict[str, set[int]] = defaultdict(set)
    opened = False
    for line in lines:
        found = _CALL.match(line)
        if found is None:
            continue
        thread, syscall = found.groups()
        counts[thread, syscall] += 1  # strace counts for each thread, and the first one to get there ends them all
        opened = opened or "budgetd.db.lock" in line
        if opened and not _LOADING.search(line):
            worth[syscall].add(counts[thread, syscall])
    return {
        syscall: Calls(sorted(found), max(count for (_, name), count in counts.items() if name == syscall))
        for syscall, found in worth.items()
    }


def spread(points: Sequence[int], most: int | None) -> list[int]:
    """So many of the points, the first and the last included; or all."""
    if most is None or len(points) <= most:
        return list(points)
    if most == 1:
        return [points[len(points) // 2]]
    return sorted({points[(len(points) - 1) * step // (most - 1)] for step in range(most)})


def try_point(stage: Stage, scene: Scene, point: Point) -> Verdict | None:
    """Kill, restart, judge; None when the process had ended before that point."""
    name = f"{stage.label}-{scene.name}-{point.name}"
    home = stage.copy(scene, name)
    inject = f"inject={point.syscall}:signal=KILL:when={point.when}"
    prefix = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={point.syscall}", "-e", inject]
    code = stage.run(scene.killed, home, name, prefix)
    verdict = None
    if code in KILLED:
        verdict = stage.judge(scene, home, name, later=scene.later is not None and point.when % 2 == 0)
    if verdict is None or verdict.good:
        shutil.rmtree(home)
    return verdict


def try_syscall(stage: Stage, scene: Scene, syscall: str, calls: Calls, most: int | None) -> list[Verdict]:
    """The points of one system call; when it is all of them, on until the process ends by itself."""
    verdicts = [try_point(stage, scene, Point(syscall, when)) for when in spread(calls.worth, most)]
    beyond = itertools.count(calls.last + 1)
    while most is None and (verdict := try_point(stage, scene, Point(syscall, next(beyond)))) is not None:
        verdicts.append(verdict)
    return [verdict for verdict in verdicts if verdict is not None]


def try_all(stage: Stage, scene: Scene, syscalls: Sequence[str], most: int | None) -> Iterator[tuple[str, Figures]]:
    """The figures of each system call, as they come."""
    found = {name: made for name, made in calls(stage, scene).items() if name in syscalls}
    names = sorted(found, key=lambda name: len(found[name].worth), reverse=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        tried = {pool.submit(try_syscall, stage, scene, name, found[name], most): name for name in names}
        for future in as_completed(tried):
            figures = Figures()
            for verdict in future.result():
                figures.add(verdict)
            yield tried[future], figures


def main(arguments: Sequence[str]) -> int:
    """0: nothing was lost, doubled or out of order. 1: something was, or the scene could not be set. 2: usage."""
    asked = _parser().parse_args(arguments)
    reason = why_not()
    if reason:
        print(f"kill_points: {reason}", file=sys.stderr)
        return 1
    scene, whole = SCENES[asked.scene], Figures()
    syscalls = tuple(asked.syscalls.split(","))
    folder = Path(tempfile.mkdtemp(prefix="kill-points-"))
    with stage(folder, MUTANT if asked.mutant else BUDGETD) as set_up:
        set_up.prepare(scene)
        for name, figures in try_all(set_up, scene, syscalls, asked.most):
            print(f"  {name:<10} {figures}", flush=True)
            for verdict in figures.bad:
                _explain(verdict)
            _merge(whole, figures)
    print(f"{scene.name}: {whole}")
    if whole.bad:
        print(f"what they left behind: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0 if whole.points else 1


def _merge(whole: Figures, part: Figures) -> None:
    for name in ("points", "doubled", "wrongly_doubled", "lost", "disordered", "broken"):
        setattr(whole, name, getattr(whole, name) + getattr(part, name))
    whole.bad += part.bad


def _explain(verdict: Verdict) -> None:
    for name in ("lost", "wrongly_doubled", "disordered", "broken"):
        for what in getattr(verdict, name):
            print(f"    {verdict.point}: {name.replace('_', ' ')}: {what}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.kill_points", description=__doc__.partition("\n")[0])
    parser.add_argument("--syscalls", default=",".join(SYSCALLS), metavar="NAME,NAME", help="default: %(default)s")
    parser.add_argument("--most", type=int, metavar="N", help="of each system call only so many points, spread evenly")
    parser.add_argument("--scene", choices=SCENES, default="step", help="what is killed (default %(default)s)")
    parser.add_argument("--mutant", action="store_true", help="run a program that marks before it sends")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
