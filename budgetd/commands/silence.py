"""`budgetd silence`: keep messages back for a while; what is still so at its end is told then.

`list --json` prints a list of silences; instants are RFC 3339 in UTC:

    id, match (texts by key), author, comment, created_at, ends_at, until (time, next_step, period_end), active,
    ended_at, ended_by
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from budgetd import clock, mutes
from budgetd.commands import people
from budgetd.desk import Ask, words
from budgetd.escaping import for_text
from budgetd.model import MATCHABLE, Act, Match, Silence, SilenceEnd
from budgetd.scope import tag_dimension
from budgetd.store import StateReader

_KEYS = ("rule", "incident", "type", "severity", *MATCHABLE)


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.description = "Keep messages back for a while. Spend is watched all the same, and ends are told."
    parser.epilog = "example: budgetd silence add --workspace Research --for 2h --comment 'load test'"
    parts = parser.add_subparsers(dest="part", required=True, metavar="add | list | end")
    add = parts.add_parser("add", help="begin one", allow_abbrev=False)
    for key in _KEYS:
        what = "id, or the start of it" if key == "incident" else "name, id or glob; several: any of them"
        add.add_argument(f"--{key.replace('_', '-')}", action="append", default=[], metavar="WORD", help=what)
    add.add_argument("--tag", action="append", default=[], metavar="NAME=VALUE", help="of the workspace")
    length = add.add_mutually_exclusive_group(required=True)
    length.add_argument("--for", dest="lasts", type=people.stretch, metavar="TIME", help="90m, 2h, 3d, 1w")
    length.add_argument("--until", choices=["next_step", "period_end"], help="of each alert that is open now")
    people.add_who_and_why(add)
    shown = parts.add_parser("list", help="those that last, and when they end", allow_abbrev=False)
    shown.add_argument("--all", action="store_true", help="also those that are over")
    shown.add_argument("--json", action="store_true", help="the same as JSON")
    end = parts.add_parser("end", help="end one now", allow_abbrev=False)
    end.add_argument("id", metavar="ID", help="the start of its id")
    people.add_who_and_why(end)


def run(arguments: argparse.Namespace) -> int:
    """0: done. 1: it cannot be. 2: usage. 78: configuration with mistakes."""
    if arguments.part == "list":
        return people.look("silence", lambda state: _listed(state, all_of_them=arguments.all), as_json=arguments.json)
    who = people.author(arguments.author)
    if arguments.part == "end":
        return people.act("silence", Ask(Act.END_SILENCE, who, arguments.comment, arguments.id))
    match = _match(arguments)
    if match is None:
        print("budgetd silence: a tag is given as NAME=VALUE", file=sys.stderr)
        return people.EXIT_USAGE
    until = SilenceEnd(arguments.until or "time")
    return people.act("silence", Ask(Act.SILENCE, who, arguments.comment, "", match, until, arguments.lasts))


def _match(arguments: argparse.Namespace) -> Match | None:
    given = [(key, tuple(getattr(arguments, key))) for key in dict.fromkeys(_KEYS) if getattr(arguments, key)]
    for tag in arguments.tag:
        name, equals, value = tag.partition("=")
        if not (name and equals and value):
            return None
        given.append((tag_dimension(name), (value,)))
    return tuple(given)


def _listed(state: StateReader, *, all_of_them: bool) -> tuple[list[Any], Iterable[str]]:
    now = clock.now()
    found = [each for each in state.silences() if all_of_them or mutes.is_active(each, now)]
    documents = [_document(each, active=mutes.is_active(each, now)) for each in found]
    if not found:
        return documents, ["Nothing is silenced."]
    return documents, [line for each in found for line in _lines(each, active=mutes.is_active(each, now))]


def _lines(silence: Silence, *, active: bool) -> Iterable[str]:
    yield f"{silence.id}  {words(silence)}{'' if active else '  (over)'}"
    comment = f": {for_text(silence.comment)}" if silence.comment else ""
    yield f"  by {for_text(silence.author)}, {silence.created_at:%d %b %Y %H:%M} UTC{comment}"
    if silence.ended_at is not None:
        yield f"  ended by {for_text(silence.ended_by)}, {silence.ended_at:%d %b %Y %H:%M} UTC"


def _document(silence: Silence, *, active: bool) -> dict[str, Any]:
    return {
        "id": silence.id,
        "match": {key: list(patterns) for key, patterns in silence.match},
        "author": silence.author,
        "comment": silence.comment,
        "created_at": f"{silence.created_at:%Y-%m-%dT%H:%M:%SZ}",
        "ends_at": f"{silence.ends_at:%Y-%m-%dT%H:%M:%SZ}",
        "until": silence.until.value,
        "active": active,
        "ended_at": None if silence.ended_at is None else f"{silence.ended_at:%Y-%m-%dT%H:%M:%SZ}",
        "ended_by": silence.ended_by or None,
    }
