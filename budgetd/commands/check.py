"""`budgetd check`: every mistake of the rules file and the settings, at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from budgetd.rulebook import Rulebook
    from budgetd.settings import Settings

DONE = 0
MISCONFIGURED = 78

EXAMPLE = """example:
  budgetd check
  budgetd check /etc/budgetd/rules.yaml

exit code: 0 no mistakes, 78 at least one. Mistakes and the summary go to stdout, warnings to stderr.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `check`."""
    parser.description = "Check the rules file and the settings; every mistake with its line and column."
    parser.epilog = EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: what BUDGETD_RULES says")


def run(arguments: argparse.Namespace) -> int:
    """Print all mistakes (78), or a summary and the warnings (0)."""
    # Imported late: none of this is needed for --help.
    from budgetd.settings import Settings, SettingsError

    complaints: list[str] = []
    settings = None
    try:
        settings = Settings.load(os.environ, Path.cwd())
        if settings.admin_key.given:
            settings.admin_key()
    except SettingsError as error:
        complaints += error.mistakes
    path = arguments.file or (settings.rules if settings is not None else Path("rules.yaml"))
    rulebook, found = _rules(path, settings)
    complaints += found
    if complaints or rulebook is None:
        print("\n".join(complaints))
        return MISCONFIGURED
    if settings is not None and not settings.admin_key.given:
        print("note: there is no admin key here; `budgetd run` needs BUDGETD_ADMIN_KEY_FILE", file=sys.stderr)
    for warning in rulebook.warnings:
        print(warning, file=sys.stderr)
    print(summary(path.name, rulebook))
    return DONE


def _rules(path: Path, settings: Settings | None) -> tuple[Rulebook | None, list[str]]:
    from budgetd import rulebook
    from budgetd.channels import registry
    from budgetd.environment import UnavailableError, with_dotenv

    try:
        environment = with_dotenv(os.environ, Path.cwd())
    except UnavailableError:
        environment = dict(os.environ)  # the settings have said so
    try:
        loaded = rulebook.load(
            path,
            environment=environment,
            explain=registry.explain,
            workspaces=_workspaces(settings),
            betas=settings.api_betas if settings is not None else (),
            money_from=settings.source if settings is not None else "auto",
        )
    except rulebook.RulebookError as error:
        return None, [str(error)]
    return loaded, []


def _workspaces(settings: Settings | None) -> Collection[str] | None:
    """The names and ids that the last polls met, if the state can be read here."""
    from budgetd.store import StoreError
    from budgetd.stores.reading import open_read_only

    if settings is None or not settings.database.is_file():
        return None
    try:
        reader = open_read_only(settings.database)
    except StoreError:
        return None
    try:
        known = reader.recall().workspaces
    except StoreError:
        return None
    finally:
        reader.close()
    return {text for workspace in known.values() for text in (workspace.id, workspace.name)}


def summary(name: str, rulebook: Rulebook) -> str:
    """`rules.yaml: 6 rules, 4 channels, 3 routes. No mistakes.`"""
    counts = (
        (len(rulebook.rules), "rule"),
        (len(rulebook.channels), "channel"),
        (len(rulebook.routes), "route"),
    )
    listed = ", ".join(f"{count:,} {word}{'' if count == 1 else 's'}" for count, word in counts)
    warned = len(rulebook.warnings)
    tail = f" {warned} {'warning' if warned == 1 else 'warnings'}." if warned else ""
    return f"{name}: {listed}. No mistakes.{tail}"
