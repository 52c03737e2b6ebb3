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
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.kill_scene import BUDGETD, KILLED, SCENES, Scene, Stage, Verdict, stage

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


@dataclass(frozen=True, slots=True)
class Point:
    """The N-th time (from 1) that a thread of the process makes that system call."""

    syscall: str
    when: int

    @property
    def name(self) -> str:
        return f"{self.syscall}-{self.when}"


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


def calls(stage: Stage, scene: Scene) -> dict[str, tuple[int, int]]:
    """For each system call: the first one after the state was opened, and the last. Before it nothing is at stake."""
    home = stage.copy(scene, f"{scene.name}-calls")
    trace = home / "trace"
    prefix = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={','.join(SYSCALLS)}"]
    if stage.run(scene.killed, home, f"{scene.name}-calls", prefix) != 0:
        raise RuntimeError("the pass did not end well under strace")
    return _spans(trace.read_text(errors="replace").splitlines())


def _spans(lines: Iterable[str]) -> dict[str, tuple[int, int]]:
    counts: Counter[str] = Counter()
    before: Counter[str] | None = None
    main = None
    for line in lines:
        found = _CALL.match(line)
        if found is None:
            continue
        main = main or found[1]
        if before is None and "budgetd.db.lock" in line:
            before = counts.copy()
        if found[1] == main:  # strace counts for each thread
            counts[found[2]] += 1
    return {name: ((before or Counter())[name] + 1, last) for name, last in counts.items()}


def spread(span: tuple[int, int], most: int | None) -> Iterator[int]:
    """Every number from the first on, without end; or `most` of them, the first and the last included."""
    first, last = span
    if most is None or last - first + 1 <= most:
        return itertools.count(first)
    if most == 1:
        return iter([(first + last) // 2])
    return iter(sorted({first + (last - first) * step // (most - 1) for step in range(most)}))


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


def try_syscall(stage: Stage, scene: Scene, syscall: str, span: tuple[int, int], most: int | None) -> list[Verdict]:
    """All points of one system call, until the process ends by itself."""
    verdicts = []
    for when in spread(span, most):
        verdict = try_point(stage, scene, Point(syscall, when))
        if verdict is None:
            break
        verdicts.append(verdict)
    return verdicts


def try_all(stage: Stage, scene: Scene, syscalls: Sequence[str], most: int | None) -> Iterator[tuple[str, Figures]]:
    """The figures of each system call, as they come."""
    spans = {name: span for name, span in calls(stage, scene).items() if name in syscalls and span[0] <= span[1]}
    longest_first = sorted(spans, key=lambda name: spans[name][0] - spans[name][1])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        tried = {name: pool.submit(try_syscall, stage, scene, name, spans[name], most) for name in longest_first}
        for name, future in sorted(tried.items(), key=lambda item: spans[item[0]][1] - spans[item[0]][0]):
            figures = Figures()
            for verdict in future.result():
                figures.add(verdict)
            yield name, figures


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
