"""`budgetd alerts`: the incidents; `budgetd alerts show ID`: one incident's whole story, every attempt included.

`--json` prints a list of incidents, or one with its story. Amounts are decimal strings in dollars, shares decimal
strings (1 is the whole limit), instants RFC 3339 in UTC.

    incident, rule, scope[], period, state, severity, amount, limit, share, announced[], opened_at, changed_at,
    resolved, held     as in `budgetd status --json`
    notices[]          only of `show`: id, sequence, kind, reason, severity, created_at, title, and deliveries[]:
                       id, channel, state, page, face, because, created_at, next_attempt_at, muted_until, muted_by (a
                       silence or quiet time that keeps or kept it back), and attempts[]:
                       number, started_at, ended_at, outcome (null: under way when the process ended), detail
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from budgetd import clock, stories
from budgetd.commands import status_json
from budgetd.commands.alerts_text import listing, telling
from budgetd.commands.status import no_state
from budgetd.commands.terminal import show, terminal
from budgetd.desk import LEAST_PREFIX, begins, is_too_short, words
from budgetd.escaping import for_text
from budgetd.model import DeliveryState, Incident, Notice, State
from budgetd.mutes import takes
from budgetd.notices import known_by
from budgetd.overview import firing, naming
from budgetd.scope import Naming
from budgetd.settings import Settings, SettingsError
from budgetd.store import DeliveryRecord, StateReader, StoreError
from budgetd.stores.reading import open_read_only
from budgetd.stories import Line, in_order, story
from budgetd.wording import title

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_CONFIGURATION = 0, 1, 2, 78
RECENT = 15
EVERYTHING = 1_000_000


class NotFoundError(Exception):
    """No incident, or more than one, goes by that id."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.description = "Incidents, open ones first; with show ID one incident's notices, deliveries and attempts."
    parser.epilog = "example: budgetd alerts show inc_3f2a9c"
    parser.add_argument("show", nargs="?", choices=["show"], metavar="show", help="one incident's whole story")
    parser.add_argument("id", nargs="?", metavar="ID", help="the start of an incident's, notice's or delivery's id")
    parser.add_argument("--json", action="store_true", help="the same as JSON, amounts in dollars")
    parser.add_argument("--all", action="store_true", help=f"every ended incident, not only the last {RECENT}")


def run(arguments: argparse.Namespace) -> int:
    """Show them: 0. There is no such incident, or no state: 1. `show` without an ID: 2. Settings have mistakes: 78."""
    if (arguments.show is None) != (arguments.id is None):
        print("budgetd alerts: show needs the start of an id: budgetd alerts show inc_3f2a9c", file=sys.stderr)
        return EXIT_USAGE
    try:
        settings = Settings.load(os.environ, Path.cwd())
        with contextlib.closing(open_read_only(settings.database)) as state:
            lines = _one(state, arguments) if arguments.id is not None else _all(state, arguments)
    except SettingsError as error:
        return _complain(str(error), EXIT_CONFIGURATION)
    except StoreError as error:
        return _complain(no_state(settings.database, None, error), EXIT_FAILED)
    except NotFoundError as error:
        return _complain(str(error), EXIT_FAILED)
    show(lines)
    return EXIT_DONE


def _complain(text: str, code: int) -> int:
    print(f"budgetd alerts: {text}", file=sys.stderr)
    return code


def _all(state: StateReader, arguments: argparse.Namespace) -> list[str]:
    incidents = state.incidents()
    names = naming(state.recall())
    open_ones = [each.incident for each in firing(incidents, names)]
    ended = [incident for incident in incidents if incident.state is State.RESOLVED]
    recent = ended if arguments.all else ended[:RECENT]
    if arguments.json:
        found = [status_json.incident(each, names.labels(each.scope)) for each in (*open_ones, *recent)]
        return [json.dumps(found, indent=2)]
    return list(listing(open_ones, recent, len(ended) - len(recent), names, terminal(), clock.now()))


# --- one story ---------------------------------------------------------------------------------------


def _one(state: StateReader, arguments: argparse.Namespace) -> list[str]:
    incident = find(state, arguments.id)
    notices = state.notices(incident.id)
    records = {notice.id: state.deliveries(notice.id, EVERYTHING) for notice in notices}
    names = naming(state.recall())
    lines = in_order((*story(notices, records), *by_hand(state, incident, names)))
    if arguments.json:
        document = status_json.incident(incident, names.labels(incident.scope))
        document["events"] = [_event_json(line) for line in lines]
        document["notices"] = [_notice_json(notice, records[notice.id]) for notice in notices]
        return [json.dumps(document, indent=2)]
    pending = (record for of_notice in records.values() for record in of_notice)
    return list(telling(incident, lines, pending, names, terminal(), clock.now()))


def by_hand(state: StateReader, incident: Incident, names: Naming) -> Iterator[Line]:
    """What people did to the incident, and the silences that covered it while it lasted."""
    yield from (stories.done(each) for each in state.interventions(incident.id))
    known = known_by(incident, None, names)
    for silence in state.silences():
        over = silence.ends_at if silence.ended_at is None else silence.ended_at
        lasts = incident.opened_at < over and (incident.resolved is None or silence.created_at < incident.changed_at)
        if lasts and takes(silence.match, known):
            yield stories.silenced(silence, words(silence))


def find(state: StateReader, prefix: str) -> Incident:
    """The one incident that the start of an id means: its own, or that of a notice or delivery of it.

    Raises NotFoundError, StoreError.
    """
    if is_too_short(prefix):
        raise NotFoundError(f"{for_text(prefix)!r} is too short; give at least {LEAST_PREFIX} characters after inc_")
    incidents = {incident.id: incident for incident in state.incidents()}
    found = {known for known in incidents if begins(known, prefix)} or _of_messages(state, incidents, prefix)
    if len(found) == 1:
        return incidents[found.pop()]
    if not found:
        raise NotFoundError(f"no incident, notice or delivery begins with {for_text(prefix)!r}; see budgetd alerts")
    listed = ", ".join(sorted(found)[:5])
    raise NotFoundError(f"{for_text(prefix)!r} means {len(found)} incidents; give more of the id: {listed}")


def _of_messages(state: StateReader, incidents: dict[str, Incident], prefix: str) -> set[str]:
    notices = {notice.incident for known in incidents for notice in state.notices(known) if begins(notice.id, prefix)}
    if notices:
        return notices
    carried = (record.delivery for record in state.deliveries(limit=EVERYTHING) if begins(record.delivery.id, prefix))
    return {notice.incident for delivery in carried for notice in delivery.notices} & set(incidents)


def _event_json(line: Line) -> dict[str, Any]:
    return {
        "at": status_json.instant(line.at),
        "what": line.what,
        "words": line.words,
        "details": list(line.details),
        "channel": line.channel or None,
        "id": line.id or None,
        "repeated": line.repeated,
        "last_at": status_json.instant(line.last),
    }


def _notice_json(notice: Notice, records: Sequence[DeliveryRecord]) -> dict[str, Any]:
    return {
        "id": notice.id,
        "sequence": notice.sequence,
        "kind": notice.kind.value,
        "reason": notice.reason.value,
        "severity": notice.severity.value,
        "created_at": status_json.instant(notice.created_at),
        "title": title(notice),
        "deliveries": [_delivery_json(record) for record in records],
    }


def _delivery_json(record: DeliveryRecord) -> dict[str, Any]:
    delivery = record.delivery
    return {
        "id": delivery.id,
        "channel": delivery.channel,
        "state": delivery.state.value,
        "page": delivery.page,
        "face": delivery.face.value,
        "because": delivery.because or None,
        "created_at": status_json.instant(delivery.created_at),
        "next_attempt_at": status_json.instant(delivery.next_attempt_at)
        if delivery.state is DeliveryState.PENDING
        else None,
        "muted_until": status_json.instant(delivery.muted_until),
        "muted_by": delivery.muted_by or None,
        "attempts": [
            {
                "number": attempt.number,
                "started_at": status_json.instant(attempt.started_at),
                "ended_at": status_json.instant(attempt.ended_at),
                "outcome": attempt.outcome.value if attempt.outcome is not None else None,
                "detail": attempt.detail,
            }
            for attempt in record.attempts
        ],
    }
