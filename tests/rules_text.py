"""Rules files for the tests of the rulebook."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping

import pytest

from budgetd.rulebook import Rulebook, RulebookError, parse
from budgetd.rulefile.references import Explain

HEAD = """\
version: 1
channels: {team: "slack://a/b/c", pager: "pagerduty://key@budgetd"}
routes: [{notify: [team, pager]}]
"""
RULES = "rules:\n  - {id: all, type: cap, limit: 100, per: day}\n"
SMALL = HEAD + RULES


def read(
    text: str,
    environment: Mapping[str, str] | None = None,
    workspaces: Collection[str] | None = None,
    betas: Collection[str] = (),
    explain: Explain | None = None,
    money_from: str = "auto",
) -> Rulebook:
    """The rulebook of a text that may be indented like the test around it."""
    return parse(
        textwrap.dedent(text),
        "rules.yaml",
        environment=environment or {},
        workspaces=workspaces,
        betas=betas,
        explain=explain,
        money_from=money_from,
    )


def refused(text: str, environment: Mapping[str, str] | None = None, explain: Explain | None = None) -> str:
    """The report on a text that must be refused."""
    with pytest.raises(RulebookError) as caught:
        read(text, environment, explain=explain)
    assert caught.value.mistakes
    return str(caught.value)


def rule(text: str) -> str:
    """A rules file with one rule, whose keys start on line 5 in column 5."""
    return HEAD + "rules:\n  - " + textwrap.indent(textwrap.dedent(text), "    ").strip() + "\n"


def warned(
    text: str, workspaces: Collection[str] | None = None, betas: Collection[str] = (), money_from: str = "auto"
) -> list[str]:
    """The warnings about a text that can be used."""
    book = read(text, workspaces=workspaces, betas=betas, money_from=money_from)
    return [str(warning) for warning in book.warnings]
