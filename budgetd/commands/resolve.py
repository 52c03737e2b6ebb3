"""`budgetd resolve`: end an incident by hand; whoever was told of it is told so."""

from __future__ import annotations

import argparse

from budgetd.commands import people
from budgetd.desk import Ask
from budgetd.model import Act


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.description = "End an incident by hand. It speaks again at its next step, and in its next period."
    parser.epilog = "example: budgetd resolve inc_3f2a9c --comment 'budget raised with finance'"
    parser.add_argument("id", metavar="INCIDENT", help="the start of its id; budgetd alerts shows it")
    people.add_who_and_why(parser)


def run(arguments: argparse.Namespace) -> int:
    """0: done. 1: it cannot be. 78: configuration with mistakes."""
    return people.act("resolve", Ask(Act.RESOLVE, people.author(arguments.author), arguments.comment, arguments.id))
