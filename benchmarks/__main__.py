"""`python -m benchmarks [NAME ...]`: run the named benchmarks, or all of them, and print a table of figures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from benchmarks import background, crossing, daemon, memory, polls, reading, rivals, sameday, scopes, starting, storm
from benchmarks.measuring import SIZES, Figure, heading, line, machine

BENCHMARKS: dict[str, Callable[[Iterable[str]], Iterator[Figure]]] = {
    "reading": reading.figures,
    "polls": polls.figures,
    "scopes": scopes.figures,
    "memory": memory.figures,
    "crossing": crossing.figures,
    "starting": starting.figures,
    "daemon": daemon.figures,
    "sameday": sameday.figures,
    "rivals": rivals.figures,
    "background": background.figures,
    "storm": storm.figures,
}


def main() -> int:
    """Figures come as they are taken. Nothing here fails for being slow: 0 always."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; none: all")
    parser.add_argument("--sizes", default="SML", help="which organisations, of S, M and L (L takes minutes)")
    parser.add_argument("--quick", type=int, metavar="N", help="rivals: N kills instead of 100")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - BENCHMARKS.keys()
    if unknown or set(arguments.sizes) - set(SIZES):
        parser.error(f"no such benchmark or size: {', '.join(unknown) or arguments.sizes}")
    print(machine())
    for name in arguments.names or BENCHMARKS:
        print(heading(name))
        run = BENCHMARKS[name]
        if name == "rivals" and arguments.quick:
            run = partial(rivals.figures, kills=arguments.quick)
        for figure in run(arguments.sizes):
            print(line(figure), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
