"""Rules files of any length whose rules look at spend in the usual ways and never speak."""

from __future__ import annotations

from budgetd.rulebook import Rulebook, parse

HEAD = """\
version: 1
channels: {{hook: "{channel}"}}
routes: [{{notify: [hook]}}]
rules:
"""
# No organisation of the sizes S to L spends that much.
HIGH = 10**10


def text(rules: int, channel: str = "json://127.0.0.1:9/") -> str:
    """Caps of everything, of each workspace, of each workspace and model, and spikes, in turn."""
    return HEAD.format(channel=channel) + "".join(f"  - {_rule(number)}\n" for number in range(rules))


def quiet(rules: int) -> Rulebook:
    """The same, read."""
    return parse(text(rules), "rules.yaml", environment={})


def _rule(number: int) -> str:
    limit = HIGH + number
    kinds = (
        f"type: cap, limit: {limit}, per: month",
        f"type: cap, for_each: workspace, limit: {limit}, per: month",
        f"type: cap, for_each: [workspace, model], limit: {limit}, per: day",
        f"type: spike, for_each: workspace, against: yesterday, factor: {number % 50 + 2}, at_least: {limit}",
    )
    return f"{{id: rule-{number}, {kinds[number % 4]}}}"
