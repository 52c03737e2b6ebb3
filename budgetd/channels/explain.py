"""What is wrong with channels' URLs, asked of Apprise in a process of its own, which takes its 17 MB with it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable

PATIENCE = 10.0  # seconds; it takes half a second, and a reload waits for it


def explain_elsewhere(urls: Iterable[str]) -> dict[str, str]:
    """The URLs that cannot be used, and why. Nothing, when the question could not be put: then sending will tell.

    The URLs are secrets: they go through a pipe, never through the arguments.
    """
    asked = list(dict.fromkeys(urls))
    try:
        done = subprocess.run(  # noqa: S603 (this program, without a shell)
            [sys.executable, "-m", __name__],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        answers = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return {url: answer for url, answer in zip(asked, answers, strict=True) if answer is not None}


def main() -> None:
    """A JSON list of URLs on stdin, a JSON list of explanations (null: nothing is wrong) on stdout."""
    from budgetd.channels.apprise import explain_url

    print(json.dumps([explain_url(url) for url in json.load(sys.stdin)]))


if __name__ == "__main__":
    main()
