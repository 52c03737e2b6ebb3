"""`python -m budgetd`, and the `budgetd` command."""

from __future__ import annotations

import sys

from budgetd.cli import dispatch


def main() -> int:
    """Run the command line; the exit code."""
    return dispatch(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
