"""`budgetd status`: spend against every limit, firing incidents, channels, sources; with the daemon up or down.

`--json` prints one object with the same facts. Amounts are decimal strings in dollars, shares decimal strings (1 is the
whole limit), instants RFC 3339 in UTC; what is not known is null.

    at                 when the question was asked
    daemon             running (null: cannot be told), pid
    organisation       id, name
    data_through       up to when the cost data is complete
    rules_error        why the rules file cannot be used; then `rules` is empty
    firing[]           incident, rule, scope[], period, state, severity, amount, limit, share, announced[], opened_at,
                       changed_at, resolved, held
    rules[]            id, type, period, basis, complete, matched, days_looked_at, and readings[]:
                       scope[], amount, limit, share, reached[], incident, against, baseline, forecast (expected, low,
                       high: dollars at the period's end; reached_on: the UTC day on which the limit is reached)
    channels[]         name, configured, pending, given_up, last_delivered_at, failing_since, next_attempt_at,
                       last_outcome, last_detail, breaker (state: closed, open, or half_open while one message is
                       tried; failures in a row, since, probe_at: when what was tried before is tried again)
    sources[]          name, last_good_at, failing_since, failures, failure, message, next_poll_at (null: no daemon has
                       planned one), interval_seconds (between polls, as they are planned at present), widened (since
                       the service said "too many requests"), plan (in words), requests_today, requests_yesterday
                       (HTTP requests to the API by UTC day, pages, repetitions and names included)
    drifts[]           day, estimated, billed: of the last days that were estimated before their bill came, the newest
                       first; over what the usage report can have

A scope is a list of dimension, id, name; it is empty for all that the rule matches. A period has start, end, name.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from budgetd import clock
from budgetd.commands import status_json, status_text
from budgetd.commands.terminal import show, terminal
from budgetd.model import CostDay
from budgetd.overview import Around, Overview, first_day, overview, polling_states
from budgetd.period import DAY
from budgetd.rulebook import Rulebook, RulebookError, load
from budgetd.settings import Settings, SettingsError
from budgetd.store import StateReader, StoreError
from budgetd.stores.database import beside
from budgetd.stores.reading import open_read_only

EXIT_DONE, EXIT_FAILED, EXIT_CONFIGURATION = 0, 1, 78
# How many of the latest deliveries tell how the channels are doing.
DELIVERIES = 500
# How many days' estimates are shown beside their bills.
DRIFTS = 7


class _Placeholders(Mapping[str, str]):
    """Stands in for every `${NAME}`: this command sends nothing, so it needs no secret, and can show none."""

    def __getitem__(self, name: str) -> str:
        return "unread://unread"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __contains__(self, name: object) -> bool:
        return True


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.description = (
        "Spend against every limit, firing incidents, channels and sources. It only reads, beside a running daemon or "
        "without one, and needs no key. Exit code 0: shown; 1: there is no state to show; 78: settings have mistakes."
    )
    parser.epilog = "example: budgetd status --json | jq '.firing[].scope'"
    parser.add_argument("--json", action="store_true", help="the same as one JSON object, amounts in dollars")
    parser.add_argument("--all", action="store_true", help="every scope of every rule, not only the most used five")


def run(arguments: argparse.Namespace) -> int:
    """Show it: 0. There is no state, or it cannot be read: 1. The settings have mistakes: 78."""
    try:
        settings = Settings.load(os.environ, Path.cwd())
    except SettingsError as error:
        print(f"budgetd status: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    rulebook, rules_error = rules_as_written(settings.rules)
    running, pid = daemon_of(settings.database)
    now = clock.now()
    try:
        with contextlib.closing(open_read_only(settings.database)) as state:
            seen = look(state, rulebook, now)
    except StoreError as error:
        print(f"budgetd status: {no_state(settings.database, running, error)}", file=sys.stderr)
        return EXIT_FAILED
    around = Around(now, running, pid, rules_error)
    if arguments.json:
        print(json.dumps(status_json.document(seen, around), indent=2))
    else:
        show(status_text.Page(terminal(), around, whole=arguments.all).lines(seen))
    return EXIT_DONE


def rules_as_written(path: Path) -> tuple[Rulebook | None, str]:
    """The rules without the secrets of their channels; or None, and what is wrong with them."""
    try:
        return load(path, environment=_Placeholders()), ""
    except RulebookError as error:
        return None, str(error)


def look(state: StateReader, rulebook: Rulebook | None, now: datetime) -> Overview:
    """What the state holds, seen through the rules. Raises StoreError."""
    memory = state.recall()
    rules = rulebook.rules if rulebook is not None else ()
    days: Iterator[CostDay] = iter(())
    if memory.through is not None and rules:
        days = state.cost_days(first_day(rules, memory.through), memory.through.date() + DAY)
    groups = rulebook.groups if rulebook is not None else {}
    channels = rulebook.channels if rulebook is not None else None
    today = now.astimezone(UTC).date()
    polling = polling_states(state.planned(), state.requests(today - DAY), today)
    records, drifts = state.deliveries(limit=DELIVERIES), state.drifts(limit=DRIFTS)
    return overview(memory, records, rules, groups, channels, days, polling, drifts, state.breakers())


def daemon_of(database: Path) -> tuple[bool | None, int | None]:
    """Whether a daemon holds the lock of the state (None: that cannot be told), and its process id.

    Asking takes the lock, shared, for some microseconds.
    """
    try:
        descriptor = os.open(beside(database, ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False, None
    except OSError:
        return None, None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False, None
    except BlockingIOError:
        words = os.pread(descriptor, 64, 0).decode("ascii", "replace").split()
        return True, int(words[0]) if words and words[0].isdecimal() else None
    except OSError:  # a file system without locks
        return None, None
    finally:
        os.close(descriptor)


def no_state(database: Path, running: bool | None, error: StoreError) -> str:
    """Why there is nothing to show, and what to do."""
    if database.exists():
        return str(error)
    if running:
        return f"the daemon is starting, it has no database yet: {database}"
    return (
        f"there is no state yet: no daemon has run with the database {database}.\n"
        "Start one with budgetd run; or set BUDGETD_DATABASE to where the state is, as the daemon's unit does."
    )
