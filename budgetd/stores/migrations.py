"""The SQLite schema as a list of steps, and the one way in which a file gets from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from budgetd.store import StoreError
from budgetd.stores.database import Database

# "bdgt": says that the file is ours, to us and to `file(1)`.
APPLICATION_ID = 0x62646774


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: what it is for, and its statements. It never changes once it is released."""

    purpose: str
    statements: tuple[str, ...]


# The version of a file (PRAGMA user_version) is the number of steps that it has taken.
# Pending, not under way, and not behind an older pending delivery of its channel that shares an incident
# with it: a resolve never overtakes its trigger. SQLite takes every organisation for a small one and would
# read the whole outbox for each delivery; CROSS JOIN and INDEXED BY keep it to a few look-ups.
_SENDABLE = """CREATE VIEW sendable AS
    SELECT delivery.*, coalesce(hold.until, '') AS held_until
    FROM delivery INDEXED BY delivery_pending
    LEFT JOIN channel_hold hold
      ON hold.organisation = delivery.organisation AND hold.channel = delivery.channel
    WHERE delivery.state = 'pending'
      AND NOT EXISTS (
        SELECT 1 FROM attempt
        WHERE attempt.organisation = delivery.organisation AND attempt.delivery = delivery.id
          AND attempt.outcome IS NULL)
      AND NOT EXISTS (
        SELECT 1
        FROM delivery_notice mine
        CROSS JOIN notice ON notice.organisation = mine.organisation AND notice.id = mine.notice
        CROSS JOIN notice other INDEXED BY notice_incident
          ON other.organisation = notice.organisation AND other.incident = notice.incident
        CROSS JOIN delivery_notice theirs INDEXED BY delivery_notice_once
          ON theirs.organisation = other.organisation AND theirs.notice = other.id
        CROSS JOIN delivery older
          ON older.organisation = theirs.organisation AND older.id = theirs.delivery
        WHERE mine.organisation = delivery.organisation AND mine.delivery = delivery.id
          AND NOT mine.superseded AND NOT theirs.superseded
          AND older.state = 'pending' AND older.channel = delivery.channel
          AND (older.created_at, older.id) < (delivery.created_at, delivery.id))"""
# The same without what waits for its channel's breaker; a message that was never tried may be the probe sooner. Of two
# that were made at one instant, what came first in the incident's story is the older.
_SENDABLE_WITH_BREAKERS = (
    _SENDABLE.replace(
        " AS held_until\n",
        """ AS held_until,
           coalesce(CASE delivery.attempts WHEN 0 THEN breaker.fresh_at ELSE breaker.probe_at END, '') AS probed_at
""",
    )
    .replace(
        "    LEFT JOIN channel_hold",
        """    LEFT JOIN breaker
      ON breaker.organisation = delivery.organisation AND breaker.channel = delivery.channel
    LEFT JOIN channel_hold""",
    )
    .replace(
        "(older.created_at, older.id) < (delivery.created_at, delivery.id)",
        "older.id != delivery.id AND "
        "(older.created_at, other.sequence, older.id) < (delivery.created_at, notice.sequence, delivery.id)",
    )
)
# By the incident's story alone: what was made while the clock was far ahead would seem younger than what came after.
_SENDABLE_BY_STORY = _SENDABLE_WITH_BREAKERS.replace(
    "(older.created_at, other.sequence, older.id) < (delivery.created_at, notice.sequence, delivery.id)",
    "(other.sequence, older.created_at, older.id) < (notice.sequence, delivery.created_at, delivery.id)",
)
# The same notice in two deliveries, as a channel's own and as another's fallback, makes neither wait: of two that have
# it and more, each could wait for the other.
_SENDABLE_BY_SEQUENCE = _SENDABLE_WITH_BREAKERS.replace(
    "(older.created_at, other.sequence, older.id) < (delivery.created_at, notice.sequence, delivery.id)",
    "other.sequence < notice.sequence",
)

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "who the organisation is, how its sources and rules are doing",
        (
            # One row. What is committed before the organisation is known belongs to the one that is pinned later.
            """CREATE TABLE organisation (
                number INTEGER PRIMARY KEY CHECK (number = 1),
                id TEXT UNIQUE,
                name TEXT,
                CHECK ((id IS NULL) = (name IS NULL))
            ) STRICT""",
            "INSERT INTO organisation (number) VALUES (1)",
            """CREATE TABLE workspace (
                organisation INTEGER NOT NULL REFERENCES organisation,
                id TEXT NOT NULL,
                name TEXT NOT NULL,
                archived_at TEXT CHECK (archived_at LIKE '____-__-__T__:__:__.______Z'),
                tags TEXT NOT NULL CHECK (json_valid(tags)),
                PRIMARY KEY (organisation, id)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE source (
                organisation INTEGER NOT NULL REFERENCES organisation,
                name TEXT NOT NULL,
                through TEXT NOT NULL CHECK (through LIKE '____-__-__T__:__:__.______Z'),
                PRIMARY KEY (organisation, name)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE health (
                organisation INTEGER NOT NULL REFERENCES organisation,
                source TEXT NOT NULL,
                last_good TEXT CHECK (last_good LIKE '____-__-__T__:__:__.______Z'),
                failing_since TEXT CHECK (failing_since LIKE '____-__-__T__:__:__.______Z'),
                failures INTEGER NOT NULL CHECK (failures >= 0),
                failure TEXT,
                message TEXT NOT NULL,
                announced TEXT CHECK (announced IN ('info', 'warning', 'critical')),
                sequence INTEGER NOT NULL CHECK (sequence >= 0),
                PRIMARY KEY (organisation, source)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE rule_state (
                organisation INTEGER NOT NULL REFERENCES organisation,
                rule TEXT NOT NULL,
                since TEXT NOT NULL CHECK (since LIKE '____-__-__T__:__:__.______Z'),
                through TEXT NOT NULL CHECK (through LIKE '____-__-__T__:__:__.______Z'),
                stakes TEXT NOT NULL,
                shape TEXT NOT NULL,
                PRIMARY KEY (organisation, rule)
            ) STRICT, WITHOUT ROWID""",
        ),
    ),
    Migration(
        "cost lines: days, combinations of dimensions, amounts in dollars",
        (
            """CREATE TABLE cost_day (
                organisation INTEGER NOT NULL REFERENCES organisation,
                day TEXT NOT NULL CHECK (day LIKE '____-__-__'),
                basis TEXT NOT NULL CHECK (basis IN ('billed', 'estimated', 'mixed')),
                complete INTEGER NOT NULL CHECK (complete IN (0, 1)),
                revision INTEGER NOT NULL CHECK (revision >= 1),
                observed_at TEXT NOT NULL CHECK (observed_at LIKE '____-__-__T__:__:__.______Z'),
                PRIMARY KEY (organisation, day)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE series (
                id INTEGER PRIMARY KEY,
                organisation INTEGER NOT NULL REFERENCES organisation,
                workspace TEXT,
                description TEXT,
                cost_type TEXT,
                model TEXT,
                token_type TEXT,
                service_tier TEXT,
                context_window TEXT,
                inference_geo TEXT,
                speed TEXT
            ) STRICT""",
            """CREATE TABLE cost_line (
                organisation INTEGER NOT NULL,
                day TEXT NOT NULL,
                series INTEGER NOT NULL REFERENCES series,
                amount TEXT NOT NULL CHECK (amount != '' AND amount NOT GLOB '*[^0-9.-]*'),
                PRIMARY KEY (organisation, day, series),
                FOREIGN KEY (organisation, day) REFERENCES cost_day ON DELETE CASCADE
            ) STRICT, WITHOUT ROWID""",
        ),
    ),
    Migration(
        "incidents, notices, and the outbox",
        (
            """CREATE TABLE incident (
                organisation INTEGER NOT NULL REFERENCES organisation,
                id TEXT NOT NULL,
                rule TEXT NOT NULL,
                scope TEXT NOT NULL CHECK (json_valid(scope)),
                period_start TEXT NOT NULL CHECK (period_start LIKE '____-__-__T__:__:__.______Z'),
                period_end TEXT NOT NULL CHECK (period_end LIKE '____-__-__T__:__:__.______Z'),
                state TEXT NOT NULL CHECK (state IN ('open', 'doubtful', 'resolved')),
                announced TEXT NOT NULL CHECK (json_valid(announced)),
                severity TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
                amount TEXT NOT NULL CHECK (amount != '' AND amount NOT GLOB '*[^0-9.-]*'),
                limit_amount TEXT NOT NULL CHECK (limit_amount != '' AND limit_amount NOT GLOB '*[^0-9.-]*'),
                opened_at TEXT NOT NULL CHECK (opened_at LIKE '____-__-__T__:__:__.______Z'),
                changed_at TEXT NOT NULL CHECK (changed_at LIKE '____-__-__T__:__:__.______Z'),
                sequence INTEGER NOT NULL CHECK (sequence >= 0),
                resolved TEXT,
                held TEXT,
                PRIMARY KEY (organisation, id)
            ) STRICT, WITHOUT ROWID""",
            "CREATE INDEX incident_changed ON incident (organisation, changed_at)",
            """CREATE TABLE notice (
                organisation INTEGER NOT NULL REFERENCES organisation,
                id TEXT NOT NULL,
                incident TEXT NOT NULL,
                sequence INTEGER NOT NULL CHECK (sequence >= 0),
                kind TEXT NOT NULL CHECK (kind IN ('trigger', 'resolve', 'inform')),
                reason TEXT NOT NULL,
                severity TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
                created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
                facts TEXT NOT NULL CHECK (json_valid(facts)),
                PRIMARY KEY (organisation, id)
            ) STRICT, WITHOUT ROWID""",
            "CREATE INDEX notice_incident ON notice (organisation, incident, sequence)",
            """CREATE TABLE delivery (
                organisation INTEGER NOT NULL REFERENCES organisation,
                id TEXT NOT NULL,
                channel TEXT NOT NULL,
                created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
                next_attempt_at TEXT NOT NULL CHECK (next_attempt_at LIKE '____-__-__T__:__:__.______Z'),
                page INTEGER NOT NULL CHECK (page IN (0, 1)),
                face TEXT NOT NULL CHECK (face IN ('rich', 'plain', 'minimal')),
                state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'superseded', 'given_up')),
                attempts INTEGER NOT NULL CHECK (attempts >= 0),
                PRIMARY KEY (organisation, id)
            ) STRICT, WITHOUT ROWID""",
            """CREATE INDEX delivery_pending ON delivery (organisation, channel, created_at, id)
                WHERE state = 'pending'""",
            "CREATE INDEX delivery_created ON delivery (organisation, created_at, id)",
            # `superseded`: it need not go out any more. `sent`: an attempt that carried it was begun.
            """CREATE TABLE delivery_notice (
                organisation INTEGER NOT NULL,
                delivery TEXT NOT NULL,
                position INTEGER NOT NULL CHECK (position >= 0),
                notice TEXT NOT NULL,
                superseded INTEGER NOT NULL DEFAULT 0 CHECK (superseded IN (0, 1)),
                sent INTEGER NOT NULL DEFAULT 0 CHECK (sent IN (0, 1)),
                PRIMARY KEY (organisation, delivery, position),
                FOREIGN KEY (organisation, delivery) REFERENCES delivery ON DELETE CASCADE,
                FOREIGN KEY (organisation, notice) REFERENCES notice
            ) STRICT, WITHOUT ROWID""",
            "CREATE UNIQUE INDEX delivery_notice_once ON delivery_notice (organisation, notice, delivery)",
            # Without an outcome it is under way, or was when the process ended.
            """CREATE TABLE attempt (
                organisation INTEGER NOT NULL,
                delivery TEXT NOT NULL,
                number INTEGER NOT NULL CHECK (number >= 1),
                started_at TEXT NOT NULL CHECK (started_at LIKE '____-__-__T__:__:__.______Z'),
                ended_at TEXT CHECK (ended_at LIKE '____-__-__T__:__:__.______Z'),
                outcome TEXT,
                detail TEXT NOT NULL DEFAULT '',
                PRIMARY KEY (organisation, delivery, number),
                FOREIGN KEY (organisation, delivery) REFERENCES delivery ON DELETE CASCADE,
                CHECK ((ended_at IS NULL) = (outcome IS NULL))
            ) STRICT, WITHOUT ROWID""",
            "CREATE UNIQUE INDEX attempt_under_way ON attempt (organisation, delivery) WHERE outcome IS NULL",
            "CREATE INDEX attempt_started ON attempt (organisation, started_at)",
            """CREATE TABLE channel_hold (
                organisation INTEGER NOT NULL REFERENCES organisation,
                channel TEXT NOT NULL,
                until TEXT NOT NULL CHECK (until LIKE '____-__-__T__:__:__.______Z'),
                PRIMARY KEY (organisation, channel)
            ) STRICT, WITHOUT ROWID""",
            _SENDABLE,
        ),
    ),
    Migration(
        "same-day spend: learned rates, and how far estimates were from bills",
        (
            """CREATE TABLE rate (
                organisation INTEGER NOT NULL REFERENCES organisation,
                key TEXT NOT NULL,
                rate TEXT NOT NULL CHECK (rate != ''),
                origin TEXT NOT NULL,
                evidence TEXT NOT NULL,
                billed_as TEXT NOT NULL,
                PRIMARY KEY (organisation, key, origin)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE drift (
                organisation INTEGER NOT NULL REFERENCES organisation,
                day TEXT NOT NULL CHECK (day LIKE '____-__-__'),
                estimated TEXT NOT NULL CHECK (estimated != '' AND estimated NOT GLOB '*[^0-9.-]*'),
                billed TEXT NOT NULL CHECK (billed != '' AND billed NOT GLOB '*[^0-9.-]*'),
                PRIMARY KEY (organisation, day)
            ) STRICT, WITHOUT ROWID""",
        ),
    ),
    Migration(
        "how sources are polled: requests by UTC day, and when the next poll is planned",
        (
            """CREATE TABLE request_count (
                organisation INTEGER NOT NULL REFERENCES organisation,
                source TEXT NOT NULL CHECK (source != ''),
                day TEXT NOT NULL CHECK (day LIKE '____-__-__'),
                requests INTEGER NOT NULL CHECK (requests > 0),
                PRIMARY KEY (organisation, source, day)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE planned_poll (
                organisation INTEGER NOT NULL REFERENCES organisation,
                source TEXT NOT NULL CHECK (source != ''),
                at TEXT NOT NULL CHECK (at LIKE '____-__-__T__:__:__.______Z'),
                interval_ms INTEGER NOT NULL CHECK (interval_ms > 0),
                widened INTEGER NOT NULL CHECK (widened IN (0, 1)),
                words TEXT NOT NULL CHECK (words != ''),
                PRIMARY KEY (organisation, source)
            ) STRICT, WITHOUT ROWID""",
        ),
    ),
    Migration(
        "why a channel gets what was for another one",
        ("ALTER TABLE delivery ADD COLUMN because TEXT NOT NULL DEFAULT ''",),
    ),
    Migration(
        "threads: what a channel's service calls the last message of an incident",
        (
            """CREATE TABLE thread (
                organisation INTEGER NOT NULL REFERENCES organisation,
                channel TEXT NOT NULL,
                incident TEXT NOT NULL,
                memo TEXT NOT NULL CHECK (memo != ''),
                PRIMARY KEY (organisation, channel, incident)
            ) STRICT, WITHOUT ROWID""",
        ),
    ),
    Migration(
        "people's side: reminders, acknowledgements, silences, and what is kept back until when",
        (
            """ALTER TABLE incident ADD COLUMN told_at TEXT
               CHECK (told_at LIKE '____-__-__T__:__:__.______Z')""",
            "ALTER TABLE incident ADD COLUMN told_amount TEXT CHECK (told_amount NOT GLOB '*[^0-9.-]*')",
            "ALTER TABLE incident ADD COLUMN reminders INTEGER NOT NULL DEFAULT 0 CHECK (reminders >= 0)",
            "ALTER TABLE incident ADD COLUMN acknowledged TEXT CHECK (acknowledged NOT GLOB '*[^0-9.-]*')",
            """ALTER TABLE delivery ADD COLUMN muted_until TEXT
               CHECK (muted_until LIKE '____-__-__T__:__:__.______Z')""",
            "ALTER TABLE delivery ADD COLUMN muted_by TEXT NOT NULL DEFAULT ''",
            """CREATE TABLE silence (
                organisation INTEGER NOT NULL REFERENCES organisation,
                id TEXT NOT NULL,
                match TEXT NOT NULL CHECK (json_valid(match)),
                author TEXT NOT NULL,
                comment TEXT NOT NULL,
                created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
                ends_at TEXT NOT NULL CHECK (ends_at LIKE '____-__-__T__:__:__.______Z'),
                until TEXT NOT NULL CHECK (until IN ('time', 'next_step', 'period_end')),
                covers TEXT NOT NULL CHECK (json_valid(covers)),
                ended_at TEXT CHECK (ended_at LIKE '____-__-__T__:__:__.______Z'),
                ended_by TEXT NOT NULL DEFAULT '',
                PRIMARY KEY (organisation, id)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE intervention (
                id INTEGER PRIMARY KEY,
                organisation INTEGER NOT NULL REFERENCES organisation,
                at TEXT NOT NULL CHECK (at LIKE '____-__-__T__:__:__.______Z'),
                author TEXT NOT NULL,
                act TEXT NOT NULL,
                subject TEXT NOT NULL,
                comment TEXT NOT NULL
            ) STRICT""",
            "CREATE INDEX intervention_subject ON intervention (organisation, subject, at)",
            # A fourth kind of notice; a CHECK can only be changed with its table.
            "DROP VIEW sendable",
            """CREATE TABLE notice_of_four_kinds (
                organisation INTEGER NOT NULL REFERENCES organisation,
                id TEXT NOT NULL,
                incident TEXT NOT NULL,
                sequence INTEGER NOT NULL CHECK (sequence >= 0),
                kind TEXT NOT NULL CHECK (kind IN ('trigger', 'acknowledge', 'resolve', 'inform')),
                reason TEXT NOT NULL,
                severity TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
                created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
                facts TEXT NOT NULL CHECK (json_valid(facts)),
                PRIMARY KEY (organisation, id)
            ) STRICT, WITHOUT ROWID""",
            "INSERT INTO notice_of_four_kinds SELECT * FROM notice",
            "DROP TABLE notice",
            "ALTER TABLE notice_of_four_kinds RENAME TO notice",
            "CREATE INDEX notice_incident ON notice (organisation, incident, sequence)",
            _SENDABLE,
        ),
    ),
    Migration(
        "breakers of channels, and what is told together after an outage",
        (
            "DROP VIEW sendable",
            "ALTER TABLE delivery ADD COLUMN gathered TEXT NOT NULL DEFAULT ''",
            """CREATE TABLE breaker (
                organisation INTEGER NOT NULL REFERENCES organisation,
                channel TEXT NOT NULL,
                failures INTEGER NOT NULL CHECK (failures > 0),
                since TEXT NOT NULL CHECK (since LIKE '____-__-__T__:__:__.______Z'),
                outcome TEXT NOT NULL,
                detail TEXT NOT NULL,
                probe_at TEXT CHECK (probe_at LIKE '____-__-__T__:__:__.______Z'),
                fresh_at TEXT CHECK (fresh_at LIKE '____-__-__T__:__:__.______Z'),
                PRIMARY KEY (organisation, channel)
            ) STRICT, WITHOUT ROWID""",
            _SENDABLE_WITH_BREAKERS,
        ),
    ),
    Migration(
        "where channels lead: fingerprints of their addresses",
        (
            """CREATE TABLE destination (
                organisation INTEGER NOT NULL REFERENCES organisation,
                channel TEXT NOT NULL,
                position INTEGER NOT NULL,
                fingerprint TEXT NOT NULL CHECK (length(fingerprint) = 4),
                page INTEGER NOT NULL CHECK (page IN (0, 1)),
                PRIMARY KEY (organisation, channel)
            ) STRICT, WITHOUT ROWID""",
        ),
    ),
    Migration(
        "an incident's messages in the order of its story",
        ("DROP VIEW sendable", _SENDABLE_BY_STORY),
    ),
    Migration(
        "no message waits for another one with the same notice",
        ("DROP VIEW sendable", _SENDABLE_BY_SEQUENCE),
    ),
)


def version(database: Database) -> int:
    """The schema version of the file, after making sure that it is ours. Raises StoreError for another program's."""
    (application,) = database.row("PRAGMA application_id")
    (number,) = database.row("PRAGMA user_version")
    if application != APPLICATION_ID and database.rows("SELECT name FROM sqlite_schema"):
        raise StoreError(f"{database.path} is another program's database (application id {application}); not touched")
    return int(number)


def require_known(found: int, database: Database, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Refuse a file that a newer budgetd has written: what we do not know we could only damage."""
    if found > len(migrations):
        raise StoreError(
            f"{database.path} has schema version {found}, this budgetd knows up to {len(migrations)}; "
            "run the newer budgetd, or restore a backup that is older than the upgrade"
        )


def migrate(database: Database, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Take every step that the file has not taken, each in one transaction together with its number."""
    for number in range(version(database) + 1, len(migrations) + 1):
        _step(database, number, migrations[number - 1])


def _step(database: Database, number: int, migration: Migration) -> None:
    # A table that is built anew would else drop the rows that refer to it; the check below makes up for it.
    database.pragma("foreign_keys = OFF")
    with database.transaction() as connection:
        for statement in migration.statements:
            connection.execute(statement)
        orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
        if orphans:
            raise StoreError(f"{database.path}: migration {number} ({migration.purpose}) leaves dangling references")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {number}")
    database.pragma("foreign_keys = ON")
