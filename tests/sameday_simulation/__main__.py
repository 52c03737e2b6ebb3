"""`python -m tests.sameday_simulation --seed N --days D [--runs R]`: more histories than the suite has time for."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.sameday_simulation.history import Plan, SimulationError, live


def main() -> int:
    """Run the histories; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.sameday_simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--days", type=int, default=5, help="simulated days of each history")
    parser.add_argument("--runs", type=int, default=1, help="how many histories, one seed after another")
    arguments = parser.parse_args()
    sums: Counter[str] = Counter()
    failures = 0
    begun = time.perf_counter()
    for seed in range(arguments.seed, arguments.seed + arguments.runs):
        try:
            sums.update(live(Plan(seed, arguments.days)).counts)
        except SimulationError as error:
            failures += 1
            print(error, file=sys.stderr)
    for name, count in sorted(sums.items()):
        print(f"{count:>8}  {name}")
    print(f"{arguments.runs * arguments.days} days in {time.perf_counter() - begun:.1f} s, {failures} broken")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
