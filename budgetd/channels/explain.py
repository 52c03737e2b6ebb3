"""What is wrong with channels' URLs: Apprise is asked in a process of its own, which takes its 17 MB with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from budgetd.channels import registry
from budgetd.channels.elsewhere import ask


def explain_elsewhere(urls: Iterable[str]) -> dict[str, str]:
    """The URLs that cannot be used, and why. When Apprise cannot be asked, nothing of its own: sending will tell."""
    asked = list(dict.fromkeys(urls))
    own = {url: registry.explain(url) for url in asked if registry.native(url) is not None}
    wrong = {url: answer for url, answer in own.items() if answer is not None}
    foreign = [url for url in asked if url not in own]
    return wrong | (_apprise_says(foreign) if foreign else {})


def _apprise_says(urls: list[str]) -> dict[str, str]:
    answers = ask(__name__, urls)
    if answers is None:
        return {}
    return {url: answer for url, answer in zip(urls, answers, strict=True) if answer is not None}


def main() -> None:
    """A JSON list of URLs on stdin, a JSON list of explanations (null: nothing is wrong) on stdout."""
    print(json.dumps([registry.explain(url) for url in json.load(sys.stdin)]))


if __name__ == "__main__":
    main()
