"""`budgetd ack`: somebody has it. No reminders for what is known; the next step is told all the same.

`--list --json` prints a list: incident, rule, acknowledged (the step, a decimal string), author, comment, at.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from budgetd.commands import people
from budgetd.desk import Ask
from budgetd.escaping import for_text
from budgetd.model import Act, Incident, Intervention
from budgetd.money import canonical
from budgetd.overview import naming
from budgetd.store import StateReader
from budgetd.wording import percent


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.description = "Acknowledge an incident: no reminders, and its channels are told who has it."
    parser.epilog = "example: budgetd ack inc_3f2a9c --comment 'load test, ends at noon'"
    parser.add_argument("id", nargs="?", metavar="INCIDENT", help="the start of its id; budgetd alerts shows it")
    parser.add_argument("--end", action="store_true", help="nobody has it any more: reminders go on")
    parser.add_argument("--list", action="store_true", help="what is acknowledged now, and by whom")
    parser.add_argument("--json", action="store_true", help="the list as JSON")
    people.add_who_and_why(parser)


def run(arguments: argparse.Namespace) -> int:
    """0: done. 1: it cannot be. 2: usage. 78: configuration with mistakes."""
    if arguments.list == (arguments.id is not None) or (arguments.end and arguments.id is None):
        print("budgetd ack: give the start of an incident's id, or --list", file=sys.stderr)
        return people.EXIT_USAGE
    if arguments.list:
        return people.look("ack", _listed, as_json=arguments.json)
    act = Act.UNACKNOWLEDGE if arguments.end else Act.ACKNOWLEDGE
    return people.act("ack", Ask(act, people.author(arguments.author), arguments.comment, arguments.id))


def _listed(state: StateReader) -> tuple[list[Any], Iterable[str]]:
    names = naming(state.recall())
    found = [
        (incident, _last(state, incident))
        for incident in state.incidents()
        if incident.acknowledged is not None and incident.resolved is None
    ]
    lines = []
    for incident, done in found:
        scope = " / ".join(label.name for label in names.labels(incident.scope))
        up_to = percent(incident.acknowledged) if incident.acknowledged is not None else ""
        lines.append(f"{incident.id}  {for_text(' '.join((incident.rule, scope)).strip())}, up to the {up_to} step")
        if done is not None:
            comment = f": {for_text(done.comment)}" if done.comment else ""
            lines.append(f"  by {for_text(done.author)}, {done.at:%d %b %Y %H:%M} UTC{comment}")
    return [_document(*each) for each in found], lines or ["Nothing is acknowledged."]


def _last(state: StateReader, incident: Incident) -> Intervention | None:
    done = [each for each in state.interventions(incident.id) if each.act is Act.ACKNOWLEDGE]
    return done[-1] if done else None


def _document(incident: Incident, done: Intervention | None) -> dict[str, Any]:
    return {
        "incident": incident.id,
        "rule": incident.rule,
        "acknowledged": None if incident.acknowledged is None else canonical(incident.acknowledged),
        "author": done.author if done is not None else None,
        "comment": done.comment if done is not None else None,
        "at": f"{done.at:%Y-%m-%dT%H:%M:%SZ}" if done is not None else None,
    }
