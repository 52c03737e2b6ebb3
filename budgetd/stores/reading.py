"""The reading part of the SQLite store, on any connection: the daemon's own, or one beside it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import cast

from budgetd.breaker import Breaker
from budgetd.model import (
    Attempt,
    Basis,
    CostDay,
    Delivery,
    Destination,
    Dimensions,
    Drift,
    Incident,
    Intervention,
    Notice,
    Organisation,
    Planned,
    Said,
    Silence,
)
from budgetd.routing import retired_prefix
from budgetd.store import DeliveryRecord, Memory, StoreError
from budgetd.stores import records
from budgetd.stores.database import (
    Database,
    beside,
    damaged,
    open_alone,
    open_beside_writer,
    open_copy,
    open_unchanging,
)
from budgetd.stores.lock import is_held
from budgetd.stores.migrations import MIGRATIONS, require_known, version
from budgetd.stores.records import instant, instant_text

# The number of the one organisation of a file.
HOME = 1
# How long a resolved incident is still needed for evaluation: a closed month is corrected until the 8th.
RECALLED = timedelta(days=70)
# A daemon that starts is given two seconds to open its file; between the looks, so many seconds.
_LOOKS, _BETWEEN_LOOKS = 100, 0.02

_TOLD = """
    SELECT DISTINCT notice.incident, delivery.channel
    FROM notice
    CROSS JOIN delivery_notice carried INDEXED BY delivery_notice_once
      ON carried.organisation = notice.organisation AND carried.notice = notice.id
    CROSS JOIN delivery ON delivery.organisation = carried.organisation AND delivery.id = carried.delivery
    LEFT JOIN incident ON incident.organisation = notice.organisation AND incident.id = notice.incident
    WHERE notice.organisation = ? AND notice.kind = 'trigger'
      AND (carried.sent OR (delivery.state = 'pending' AND NOT carried.superseded AND delivery.muted_by = ''))
      AND (incident.id IS NULL OR incident.state != 'resolved' OR incident.period_end >= ?)
"""

_SAID = """
    SELECT notice.incident, notice.id, notice.sequence, notice.kind, count(delivery.id) AS made,
           coalesce(max(delivery.attempts > 0), 0) AS "left", coalesce(max(delivery.because != ''), 0) AS instead
    FROM notice INDEXED BY notice_incident
    LEFT JOIN delivery_notice carried INDEXED BY delivery_notice_once
      ON carried.organisation = notice.organisation AND carried.notice = notice.id
    LEFT JOIN delivery
      ON delivery.organisation = carried.organisation AND delivery.id = carried.delivery
     AND (delivery.channel = :channel OR substr(delivery.channel, 1, length(:retired)) = :retired)
    WHERE notice.organisation = :home AND notice.incident IN (SELECT value FROM json_each(:incidents))
    GROUP BY notice.incident, notice.sequence, notice.created_at, notice.id
    ORDER BY notice.incident, notice.sequence, notice.created_at, notice.id
"""

# A delivery's second notice has position 1.
_UMBRELLAS = """
    SELECT DISTINCT delivery.id
    FROM notice INDEXED BY notice_incident
    CROSS JOIN delivery_notice carried INDEXED BY delivery_notice_once
      ON carried.organisation = notice.organisation AND carried.notice = notice.id
    CROSS JOIN delivery ON delivery.organisation = carried.organisation AND delivery.id = carried.delivery
    WHERE notice.organisation = ? AND notice.incident IN (SELECT value FROM json_each(?)) AND notice.kind = 'trigger'
      AND delivery.channel = ? AND delivery.attempts > 0
      AND EXISTS (
        SELECT 1 FROM delivery_notice second
        WHERE second.organisation = delivery.organisation AND second.delivery = delivery.id AND second.position = 1)
      AND NOT EXISTS (
        SELECT 1 FROM delivery_notice every
        JOIN notice other ON other.organisation = every.organisation AND other.id = every.notice
        JOIN incident ON incident.organisation = other.organisation AND incident.id = other.incident
        WHERE every.organisation = delivery.organisation AND every.delivery = delivery.id
          AND incident.state != 'resolved')
    ORDER BY delivery.created_at, delivery.id
"""

# One query for many deliveries: their ids come as one JSON list.
_NOTICES_OF_DELIVERIES = """
    SELECT carried.delivery, notice.*
    FROM delivery_notice carried
    JOIN notice ON notice.organisation = carried.organisation AND notice.id = carried.notice
    WHERE carried.organisation = ? AND carried.delivery IN (SELECT value FROM json_each(?))
      AND NOT (carried.superseded AND ?)
    ORDER BY carried.delivery, carried.position
"""


class SqliteReader:
    """What is known, as of the last commit. Every method raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def recall(self) -> Memory:
        """Everything but the cost lines."""
        with self._database.snapshot():
            return self._recall()

    def _recall(self) -> Memory:
        rows = self._database.rows
        through = self._through()
        since = "" if through is None else instant_text(through - RECALLED)
        told: defaultdict[str, set[str]] = defaultdict(set)
        for incident, channel in rows(_TOLD, (HOME, since)):
            told[incident].add(channel)
        recent = rows(
            """SELECT * FROM incident
               WHERE organisation = ? AND (state != 'resolved' OR period_end >= ? OR resolved = 'by_hand')""",
            (HOME, since),
        )
        return Memory(
            organisation=self._organisation(),
            workspaces={row["id"]: records.workspace(row) for row in self._all_workspaces()},
            through=through,
            incidents={row["id"]: records.incident(row) for row in recent},
            rules={
                row["rule"]: records.rule_state(row)
                for row in rows("SELECT * FROM rule_state WHERE organisation = ?", (HOME,))
            },
            health={
                row["source"]: records.health(row)
                for row in rows("SELECT * FROM health WHERE organisation = ?", (HOME,))
            },
            outbox=self._outbox(),
            told={incident: frozenset(channels) for incident, channels in told.items()},
            throughs={
                row["name"]: instant(row["through"])
                for row in rows("SELECT name, through FROM source WHERE organisation = ?", (HOME,))
            },
            rates=tuple(
                (row["key"], row["rate"], row["origin"], row["evidence"], row["billed_as"])
                for row in rows("SELECT * FROM rate WHERE organisation = ? ORDER BY key, origin", (HOME,))
            ),
            silences=tuple(
                records.silence(row)
                for row in rows(
                    "SELECT * FROM silence WHERE organisation = ? AND ended_at IS NULL ORDER BY created_at, id", (HOME,)
                )
            ),
        )

    def silences(self) -> tuple[Silence, ...]:
        """Every kept silence, the newest first."""
        rows = self._database.rows("SELECT * FROM silence WHERE organisation = ? ORDER BY created_at DESC, id", (HOME,))
        return tuple(records.silence(row) for row in rows)

    def interventions(self, subject: str | None = None) -> tuple[Intervention, ...]:
        """What people did by hand, oldest first: to that incident or silence, or to anything."""
        rows = self._database.rows(
            "SELECT * FROM intervention WHERE organisation = :home AND (:subject IS NULL OR subject = :subject) "
            "ORDER BY at, id",
            {"home": HOME, "subject": subject},
        )
        return tuple(records.intervention(row) for row in rows)

    def billed_days(self) -> frozenset[date]:
        """The UTC days whose bill is kept: closed, and not only estimated."""
        sql = "SELECT day FROM cost_day WHERE organisation = ? AND basis = 'billed' AND complete"
        return frozenset(date.fromisoformat(row["day"]) for row in self._database.rows(sql, (HOME,)))

    def drifts(self, limit: int = 31) -> tuple[Drift, ...]:
        """How far estimates were from bills, the newest days first."""
        sql = "SELECT * FROM drift WHERE organisation = ? ORDER BY day DESC LIMIT ?"
        return tuple(
            Drift(date.fromisoformat(row["day"]), Decimal(row["estimated"]), Decimal(row["billed"]))
            for row in self._database.rows(sql, (HOME, limit))
        )

    def planned(self) -> Mapping[str, Planned]:
        """The next poll of each source, as the process that has the state planned it last."""
        rows = self._database.rows("SELECT * FROM planned_poll WHERE organisation = ?", (HOME,))
        return {row["source"]: records.planned(row) for row in rows}

    def requests(self, since: date) -> Mapping[str, Mapping[date, int]]:
        """How many requests each source took on the UTC days from `since` on; days without any are left out."""
        counts: defaultdict[str, dict[date, int]] = defaultdict(dict)
        sql = "SELECT source, day, requests FROM request_count WHERE organisation = ? AND day >= ?"
        for row in self._database.rows(sql, (HOME, since.isoformat())):
            counts[row["source"]][date.fromisoformat(row["day"])] = row["requests"]
        return counts

    def known_days(self) -> frozenset[date]:
        """The UTC days whose cost lines are kept."""
        rows = self._database.rows("SELECT day FROM cost_day WHERE organisation = ?", (HOME,))
        return frozenset(date.fromisoformat(row["day"]) for row in rows)

    def cost_days(self, start: date, end: date) -> Iterator[CostDay]:
        """The kept days in [start, end), oldest first; one at a time, their dimensions shared."""
        days = self._database.rows(
            "SELECT day, basis, complete FROM cost_day WHERE organisation = ? AND day >= ? AND day < ? ORDER BY day",
            (HOME, start.isoformat(), end.isoformat()),
        )
        series = self._series() if days else {}
        for row in days:
            lines = {
                series[cast(int, number)]: Decimal(cast(str, amount))
                for number, amount in self._database.each(
                    "SELECT series, amount FROM cost_line WHERE organisation = ? AND day = ?", (HOME, row["day"])
                )
            }
            yield CostDay(date.fromisoformat(row["day"]), lines, Basis(row["basis"]), bool(row["complete"]))

    def incidents(self) -> tuple[Incident, ...]:
        """Every kept incident, the last changed first."""
        rows = self._database.rows(
            "SELECT * FROM incident WHERE organisation = ? ORDER BY changed_at DESC, id", (HOME,)
        )
        return tuple(records.incident(row) for row in rows)

    def breakers(self) -> Mapping[str, Breaker]:
        """The breakers of the channels whose last attempts failed."""
        rows = self._database.rows("SELECT * FROM breaker WHERE organisation = ?", (HOME,))
        return {row["channel"]: records.breaker(row) for row in rows}

    def destinations(self) -> tuple[Destination, ...]:
        """Where the channels of the rules file led when it was last read."""
        rows = self._database.rows("SELECT * FROM destination WHERE organisation = ? ORDER BY position", (HOME,))
        return tuple(Destination(row["channel"], row["fingerprint"], bool(row["page"])) for row in rows)

    def notices(self, incident: str) -> tuple[Notice, ...]:
        """An incident's notices in the order of their sequence."""
        rows = self._database.rows(
            """SELECT * FROM notice INDEXED BY notice_incident WHERE organisation = ? AND incident = ?
               ORDER BY sequence, created_at, id""",
            (HOME, incident),
        )
        return tuple(records.notice(row) for row in rows)

    def said(self, channel: str, incidents: Collection[str]) -> Mapping[str, tuple[Said, ...]]:
        """The incidents' notices in the order of their sequence, as the channel knows them, at any of its addresses."""
        found: defaultdict[str, list[Said]] = defaultdict(list)
        values = {"home": HOME, "channel": channel, "retired": retired_prefix(channel)}
        for row in self._database.rows(_SAID, {**values, "incidents": json.dumps(list(incidents))}):
            found[row["incident"]].append(records.said(row))
        return {incident: tuple(notices) for incident, notices in found.items()}

    def umbrellas(self, channel: str, incidents: Collection[str]) -> tuple[str, ...]:
        """The deliveries tried on the channel that begin several incidents, one of these among them, and are all over.

        Oldest first.
        """
        rows = self._database.rows(_UMBRELLAS, (HOME, json.dumps(list(incidents)), channel))
        return tuple(row["id"] for row in rows)

    def attempts(self, deliveries: Collection[str]) -> Mapping[str, tuple[Attempt, ...]]:
        """The attempts of each of these deliveries, the first first; of one that was never tried, none."""
        found = self._attempts(deliveries)
        return {each: tuple(found[each]) for each in deliveries}

    def deliveries(self, notice: str | None = None, limit: int = 100) -> tuple[DeliveryRecord, ...]:
        """The deliveries that carry the notice (None: all), the newest first, with all their notices."""
        with self._database.snapshot():
            return self._delivery_records(notice, limit)

    def _delivery_records(self, notice: str | None, limit: int) -> tuple[DeliveryRecord, ...]:
        rows = self._database.rows(
            """SELECT id FROM delivery
               WHERE organisation = :home AND (:notice IS NULL OR id IN (
                   SELECT delivery FROM delivery_notice INDEXED BY delivery_notice_once
                   WHERE organisation = :home AND notice = :notice))
               ORDER BY created_at DESC, id DESC LIMIT :limit""",
            {"home": HOME, "notice": notice, "limit": limit},
        )
        deliveries = self._deliveries([row["id"] for row in rows], remaining=False)
        attempts = self._attempts(delivery.id for delivery in deliveries)
        return tuple(DeliveryRecord(delivery, tuple(attempts[delivery.id])) for delivery in reversed(deliveries))

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _organisation(self) -> Organisation | None:
        row = self._database.row("SELECT id, name FROM organisation WHERE number = ?", (HOME,))
        return None if row["id"] is None else Organisation(row["id"], row["name"])

    def _all_workspaces(self) -> list[sqlite3.Row]:
        return self._database.rows("SELECT * FROM workspace WHERE organisation = ?", (HOME,))

    def _through(self) -> datetime | None:
        (text,) = self._database.row("SELECT max(through) FROM source WHERE organisation = ?", (HOME,))
        return None if text is None else instant(text)

    def _series(self) -> dict[int, Dimensions]:
        known: dict[object, str | None] = {}
        share = known.setdefault  # the same few names occur in very many combinations
        rows = self._database.each(
            """SELECT id, workspace, description, cost_type, model, token_type, service_tier, context_window,
                      inference_geo, speed
               FROM series WHERE organisation = ?""",
            (HOME,),
        )
        return {
            cast(int, number): Dimensions(*(share(value, cast("str | None", value)) for value in values))
            for number, *values in rows
        }

    def _outbox(self) -> tuple[Delivery, ...]:
        rows = self._database.rows(
            "SELECT id FROM delivery INDEXED BY delivery_pending WHERE organisation = ? AND state = 'pending'", (HOME,)
        )
        return self._deliveries([row["id"] for row in rows], remaining=True)

    def _deliveries(self, ids: list[str], *, remaining: bool) -> tuple[Delivery, ...]:
        """Those deliveries, oldest first; with all their notices or the `remaining` ones that are not superseded."""
        wanted = json.dumps(ids)
        notices: defaultdict[str, list[Notice]] = defaultdict(list)
        for row in self._database.rows(_NOTICES_OF_DELIVERIES, (HOME, wanted, remaining)):
            notices[row["delivery"]].append(records.notice(row))
        rows = self._database.rows(
            """SELECT *, (SELECT count(*) FROM attempt
                          WHERE attempt.organisation = delivery.organisation AND attempt.delivery = delivery.id
                            AND outcome = 'unknown') AS in_doubt
               FROM delivery WHERE organisation = ? AND id IN (SELECT value FROM json_each(?))
               ORDER BY created_at, id""",
            (HOME, wanted),
        )
        return tuple(records.delivery(row, tuple(notices[row["id"]])) for row in rows)

    def _attempts(self, ids: Iterable[str]) -> defaultdict[str, list[Attempt]]:
        attempts: defaultdict[str, list[Attempt]] = defaultdict(list)
        rows = self._database.rows(
            """SELECT * FROM attempt WHERE organisation = ? AND delivery IN (SELECT value FROM json_each(?))
               ORDER BY delivery, number""",
            (HOME, json.dumps(list(ids))),
        )
        for row in rows:
            attempts[row["delivery"]].append(records.attempt(row))
        return attempts


def open_read_only(path: Path) -> SqliteReader:
    """The state for people to read, beside the running daemon or without it; nothing is written. Raises StoreError."""
    return SqliteReader(open_for_reading(path))


def open_for_reading(path: Path) -> Database:
    """The file, beside the running daemon or without it, in a version that can be read. Raises StoreError."""
    for _ in range(_LOOKS):
        try:
            return _of_this_version(_open_reading(path))
        except StoreError as error:
            # A daemon that is only starting has taken the lock, and has not opened or upgraded the file yet.
            if not error.transient or not path.exists() or not is_held(path):
                raise
        time.sleep(_BETWEEN_LOOKS)
    return _of_this_version(_open_reading(path))


def open_unwritable(path: Path) -> Database:
    """A reading connection to a file that nobody can write for now: no daemon has it. Raises StoreError."""
    log = beside(path, "-wal")
    # An empty log is what an attempt to open it on a full disk leaves.
    if not log.exists() or log.stat().st_size == 0:
        return _of_this_version(open_unchanging(path))
    try:
        return _of_this_version(open_alone(path))
    except StoreError as error:
        if damaged(error):
            raise
        # A read-only disk takes no lock either.
        return _of_this_version(open_copy(path))


def _of_this_version(database: Database) -> Database:
    path = database.path
    try:
        found = version(database)
        require_known(found, database)
        if found < len(MIGRATIONS):
            raise StoreError(
                f"{path} has schema version {found}, this budgetd needs {len(MIGRATIONS)}; "
                "start the daemon, it upgrades the file",
                transient=True,
            )
    except StoreError:
        database.close()
        raise
    return database


def _open_reading(path: Path) -> Database:
    if not path.exists():
        raise StoreError(f"{path}: there is no database; is the daemon's state kept elsewhere?", transient=True)
    if not is_held(path):
        database = open_copy(path) if beside(path, "-wal").exists() else open_unchanging(path)
        if not is_held(path):
            return database
        # A daemon has started meanwhile, so that what we have may be half old and half new.
        database.close()
    return open_beside_writer(path)
