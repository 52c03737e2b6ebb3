"""What is allowed in rules.yaml and probably not meant: warnings."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from budgetd.model import DEFAULT_WORKSPACE, DEFAULT_WORKSPACE_NAME
from budgetd.rulefile.checks import Book, Written, mapping, words
from budgetd.rulefile.faults import Fault, Way

SPEED_BETA = "fast-mode-2026-02-01"


def warnings(
    book: Book, workspaces: Collection[str] | None, betas: Collection[str], money_from: str
) -> Iterator[Fault]:
    """Everything that is odd. `workspaces`: the names and ids that are known, None when nobody knows any.

    `money_from` is what BUDGETD_SOURCE says.
    """
    if workspaces:
        yield from _unknown_workspaces(book, frozenset((*workspaces, DEFAULT_WORKSPACE, DEFAULT_WORKSPACE_NAME)))
    if money_from == "analytics":
        yield from _not_in_the_analytics(book)
    elif SPEED_BETA not in betas:
        yield from _speed_without_beta(book)
    if money_from == "cost_report":
        yield from _rate_without_same_day_spend(book)
    yield from _limits_of_nothing(book)
    yield from _same_rule_twice(book)
    yield from _for_everybody(book)
    yield from _for_nobody(book)


def _unknown_workspaces(book: Book, known: Collection[str]) -> Iterator[Fault]:
    for written in _workspaces_named(book):
        if not written.wild and written.word not in known:
            message = f'there is no workspace "{written.word[:64]}" so far; it may be new'
            yield Fault(written.way, message, written.way[-2] == "limits", written.word, known, True)


def _workspaces_named(book: Book) -> Iterator[Written]:
    for name, group in book.groups.items():
        yield from words(("groups", name), mapping(group), "workspaces")
    for way, rule in book.rules:
        yield from words(way, rule, "match", "workspace")
        yield from words(way, rule, "except", "workspace")
        if [written.word for written in words(way, rule, "for_each")] == ["workspace"]:
            yield from (Written((*way, "limits", key), key) for key in mapping(rule.get("limits")))
    for way, route in book.routes:
        yield from words(way, route, "match", "workspace")


def _speed_without_beta(book: Book) -> Iterator[Fault]:
    message = f"`speed` is only in the report with BUDGETD_API_BETAS={SPEED_BETA}; without it this matches nothing"
    yield from _wherever(book, "speed", message)


def _not_in_the_analytics(book: Book) -> Iterator[Fault]:
    for dimension in ("description", "speed"):
        message = f"`{dimension}` is not in what BUDGETD_SOURCE=analytics reads: this matches nothing"
        yield from _wherever(book, dimension, message)


def _wherever(book: Book, dimension: str, message: str) -> Iterator[Fault]:
    """The warning at each place that names the dimension."""
    for way, part in (*book.rules, *book.routes):
        for key in ("match", "except"):
            if dimension in mapping(part.get(key)):
                yield Fault((*way, key, dimension), message, True, warning=True)
        for written in words(way, part, "for_each"):
            if written.word == dimension:
                yield Fault(written.way, message, warning=True)


def _rate_without_same_day_spend(book: Book) -> Iterator[Fault]:
    message = "a rate is of the last minutes, and BUDGETD_SOURCE=cost_report has only closed days: it never speaks"
    for way, rule in book.rules:
        if rule.get("type") == "rate":
            yield Fault((*way, "type"), message, warning=True)


def _limits_of_nothing(book: Book) -> Iterator[Fault]:
    for way, rule in book.rules:
        limits = mapping(rule.get("limits"))
        if limits and [written.word for written in words(way, rule, "for_each")] == ["group"]:
            for key in limits:
                if not Written((), key).takes(book.groups):
                    message = f'there is no group "{key[:64]}": this limit is of nothing'
                    yield Fault((*way, "limits", key), message, True, key, tuple(book.groups), True)


def _same_rule_twice(book: Book) -> Iterator[Fault]:
    first: dict[str, Way] = {}
    for way, rule in book.rules:
        says = json.dumps({**rule, "id": None}, sort_keys=True)
        if says in first:
            twin = book.line(first[says])
            yield Fault(way, f"this rule says the same as the one on line {twin}: all is told twice", warning=True)
        first.setdefault(says, way)


def _for_everybody(book: Book) -> Iterator[Fault]:
    """No route takes everything: what none takes goes to every channel."""
    if any(not mapping(route.get("match")) for _, route in book.routes):
        return
    unnamed = [way for way, rule in book.rules if not rule.get("notify")]
    if unnamed and len(book.channels) > 1:
        more = f" (and {len(unnamed) - 1:,} more)" if len(unnamed) > 1 else ""
        message = (
            f"this rule{more} has no notify and no route is for everything: what no route takes goes to every channel"
        )
        yield Fault(unnamed[0], message, warning=True)


def _for_nobody(book: Book) -> Iterator[Fault]:
    parts: tuple[tuple[Way, Any], ...] = (*book.rules, *book.routes)
    named = {written.word for way, part in parts for written in words(way, part, "notify")}
    for name in book.channels if named else ():
        if name not in named:
            message = (
                f'no route and no rule names the channel "{name[:64]}": it gets only what nobody else is named for'
            )
            yield Fault(("channels", name), message, True, warning=True)
