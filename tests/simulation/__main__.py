"""`python -m tests.simulation --seed N --days D [--runs R]`: more histories than the suite has time for."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.world import Plan, SimulationError, live


def main() -> int:
    """Run the histories; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--days", type=int, default=120, help="simulated days of each history")
    parser.add_argument("--runs", type=int, default=1, help="how many histories, one seed after another")
    parser.add_argument("--quiet", action="store_true", help="only failures and the sum")
    arguments = parser.parse_args()
    sums: Counter[str] = Counter()
    failures = 0
    begun = time.perf_counter()
    for seed in range(arguments.seed, arguments.seed + arguments.runs):
        try:
            history = live(Plan(seed, arguments.days))
        except SimulationError as error:
            failures += 1
            print(error, file=sys.stderr)
            continue
        sums.update(history.counts)
        if not arguments.quiet:
            print(f"seed {seed}: {history.digest}, {history.counts['messages']} messages")
    seconds = time.perf_counter() - begun
    for name, count in sorted(sums.items()):
        print(f"{count:>8}  {name}")
    print(f"{arguments.runs * arguments.days} days in {seconds:.1f} s, {failures} broken")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
