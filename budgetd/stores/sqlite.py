"""The state in one SQLite file: every method of the port is one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from budgetd.breaker import Breaker
from budgetd.model import Changes, CostDay, Delivery, DeliveryState, Face, Notice, Organisation, Outcome, Receipt
from budgetd.money import canonical
from budgetd.period import DAY
from budgetd.store import StoreError
from budgetd.stores import costs, outbox, records
from budgetd.stores.database import Database, open_database
from budgetd.stores.files import back_up, backed_up, make_folder, open_or_recover
from budgetd.stores.lock import Lock, plain_errors
from budgetd.stores.migrations import MIGRATIONS, migrate, version
from budgetd.stores.reading import HOME, SqliteReader, open_for_reading, open_unwritable
from budgetd.stores.records import instant, instant_text
from budgetd.stores.refuge import DisplacedError, Refuge

# A year's limit needs 366 days.
HISTORY_KEPT = timedelta(days=400)
ATTEMPTS_KEPT = timedelta(days=90)
# Pages given back in one go (16 MB); the rest is used again by the next days' lines.
PAGES_FREED = 4_000


@dataclass(frozen=True, slots=True)
class Home:
    """The file, and the lock that keeps other daemons out of it (None: it is only read, beside whoever has it)."""

    database: Database
    lock: Lock | None
    writable: bool

    def close(self) -> None:
        """Let go of both."""
        self.database.close()
        if self.lock is not None:
            self.lock.release()


class SqliteStore(SqliteReader):
    """The Store of one process. Make it with `open_store`."""

    def __init__(self, home: Home, kind: type[Database], recovered_from: str | None = None) -> None:
        super().__init__(home.database)
        self._home = home
        self._kind = kind
        self._recovered_from = recovered_from
        self._refuge: Refuge | None = None
        self._why: str | None = None

    @property
    def recovered_from(self) -> str | None:
        """What happened to the state before this start, in one sentence; None when it is as it was left."""
        return self._recovered_from

    @property
    def refuge(self) -> str | None:
        """Why the state is kept in memory only, in one sentence; None while it is kept in its file."""
        return self._why

    def take_refuge(self, why: str) -> None:
        """Keep the state in memory from now on."""
        if self._refuge is None:
            self._refuge, self._why = Refuge(self._home.database), why
            self._database = self._refuge.database

    def go_home(self, now: datetime) -> None:
        """Write into the file what happened in the refuge, and leave it."""
        if self._refuge is None:
            return
        with plain_errors(self._home.database.path):
            try:
                if not self._home.writable:
                    self._open_again(now)
                self._refuge.go_home(self._home.database, now)
            except DisplacedError as error:
                self._why = str(error)
                raise
        self._refuge.database.close()
        self._refuge, self._why = None, None
        self._database = self._home.database

    def known_days(self) -> frozenset[date]:
        """The UTC days whose cost lines are kept."""
        return super().known_days() if self._refuge is None else self._refuge.known_days(self._home.database)

    def billed_days(self) -> frozenset[date]:
        """The UTC days whose bill is kept."""
        return super().billed_days() if self._refuge is None else self._refuge.billed_days(self._home.database)

    def cost_days(self, start: date, end: date) -> Iterator[CostDay]:
        """The kept days in [start, end), oldest first."""
        if self._refuge is None:
            return super().cost_days(start, end)
        return self._refuge.cost_days(self._home.database, start, end)

    def commit(self, changes: Changes) -> None:
        """Write one evaluation: all of it, or nothing."""
        # In a refuge only what differs from the file is held: memory is short too.
        days = changes.cost_days if self._refuge is None else self._changed(changes.cost_days)
        with self._database.transaction() as connection:
            if changes.organisation is not None:
                self._pin(connection, changes.organisation)
            _write_knowledge(connection, changes)
            _write_polling(connection, changes)
            costs.write_days(connection, days, changes.at)
            _write_decisions(connection, changes)
            _write_people(connection, changes)

    def due(self, now: datetime, busy: Iterable[str]) -> tuple[Delivery, ...]:
        """The oldest due delivery of each channel that is neither in `busy` nor held back, oldest first."""
        with self._database.snapshot() as connection:
            return self._deliveries(outbox.due_ids(connection, now, busy), remaining=True)

    def next_due(self) -> datetime | None:
        """When the earliest pending delivery may be tried; None when there is none."""
        (text,) = self._database.row(outbox.NEXT_DUE, (HOME,))
        return None if text is None else instant(text)

    def begin_attempt(self, delivery: str, now: datetime) -> None:
        """Record, before anything is sent, that an attempt is under way."""
        with self._database.transaction() as connection:
            outbox.begin(connection, delivery, now)

    def settle(
        self,
        delivery: str,
        receipt: Receipt,
        now: datetime,
        *,
        state: DeliveryState,
        next_attempt_at: datetime | None = None,
        hold_channel_until: datetime | None = None,
        face: Face | None = None,
        incident: str = "",
        breaker: Breaker | None = None,
    ) -> None:
        """Record what became of the attempt under way, and when the next one is, if there is one."""
        with self._database.transaction() as connection:
            outbox.end_attempt(connection, delivery, receipt, now)
            outbox.set_state(connection, delivery, state, next_attempt_at, face)
            outbox.supersede_undelivered(connection, delivery)
            outbox.drop_superseded(connection)
            if hold_channel_until is not None:
                outbox.hold(connection, delivery, hold_channel_until)
            if incident:
                outbox.keep_thread(connection, delivery, incident, receipt)
            outbox.keep_breaker(connection, delivery, breaker, now)

    def thread(self, channel: str, incident: str) -> str:
        """The memo under which the channel's next message of the incident goes on; empty when there is none."""
        with self._database.snapshot() as connection:
            return outbox.thread(connection, channel, incident)

    def interrupted(self, now: datetime) -> int:
        """At start: close the attempts that were under way when the last process ended, as UNKNOWN. How many."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM planned_poll WHERE organisation = ?", (HOME,))
            closed = connection.execute(
                "UPDATE attempt SET ended_at = ?, outcome = ?, detail = ? WHERE organisation = ? AND outcome IS NULL",
                (instant_text(now), Outcome.UNKNOWN, "the process ended during the attempt", HOME),
            ).rowcount
            outbox.drop_superseded(connection)
        return closed

    def prune(self, now: datetime) -> None:
        """Drop what nobody needs any more and give space back."""
        with self._database.transaction() as connection:
            through = self._through()
            # Measured by the data's time as well: a clock that runs ahead must not delete a year of history.
            today = now if through is None else min(now, through)
            _prune(connection, today - HISTORY_KEPT, today - ATTEMPTS_KEPT)
            connection.execute(f"PRAGMA incremental_vacuum({PAGES_FREED})").fetchall()
        if self._refuge is not None:
            self._refuge.prune((today - HISTORY_KEPT).date())

    def back_up(self, now: datetime) -> None:
        """Make today's backup unless it is there already; none from a refuge, for there is nowhere to put it."""
        if self._refuge is not None:
            return
        with plain_errors(self._database.path):
            if not backed_up(self._database.path, now):
                back_up(self._database, now)

    def close(self) -> None:
        """Fold the log into the file and let the next process in. What is in a refuge is forgotten."""
        super().close()
        self._home.close()

    def _changed(self, days: Iterable[CostDay]) -> tuple[CostDay, ...]:
        """Those that are not kept just so."""
        changed = {day.day: day for day in days}
        if changed:
            for known in self.cost_days(min(changed), max(changed) + DAY):
                if changed.get(known.day) == known:
                    del changed[known.day]
        return tuple(changed.values())

    def _open_again(self, now: datetime) -> None:
        """For writing. Both are closed first: SQLite must not have a file open in two ways in one process."""
        path = self._home.database.path
        self._home.close()
        try:
            self._home = _open_writable(path, now, Lock(path), self._kind)
        except StoreError:
            self._home = _open_unwritable(path)
            raise

    def _pin(self, connection: sqlite3.Connection, organisation: Organisation) -> None:
        known = self._organisation()
        if known is not None and known.id != organisation.id:
            raise StoreError(
                f"{self._database.path} holds the state of organisation {known.id} ({known.name}), "
                f"but the admin key belongs to {organisation.id} ({organisation.name}); refusing to mix them: "
                "use that organisation's key, or another BUDGETD_DATABASE"
            )
        if known != organisation:
            connection.execute(
                "UPDATE organisation SET id = ?, name = ? WHERE number = ?", (organisation.id, organisation.name, HOME)
            )


def open_store(path: Path, now: datetime, *, kind: type[Database] = Database) -> SqliteStore:
    """The state at `path`, made, upgraded or restored as need be. Raises StoreError, also when another process has it.

    A file that can be read but not be written for now (disk full, read-only) is opened in a refuge. `now` names what is
    moved aside or backed up on the way. `kind` lets tests crash at a commit.
    """
    with plain_errors(path):
        try:
            with plain_errors(path):
                return _open_store(path, now, kind)
        except StoreError as error:
            if not error.transient or error.locked or not path.exists():
                raise
            store = SqliteStore(_open_unwritable(path), kind)
            store.take_refuge(str(error))
            return store


def open_rehearsal(path: Path) -> SqliteStore:
    """The state at `path` as it is, also beside a running daemon; whatever is written to it stays in memory.

    Raises StoreError.
    """
    store = SqliteStore(Home(open_for_reading(path), None, writable=False), Database)
    store.take_refuge("nothing of a rehearsal is kept")
    return store


def _open_store(path: Path, now: datetime, kind: type[Database]) -> SqliteStore:
    make_folder(path.parent)
    lock = Lock(path)
    try:
        recovered_from = open_or_recover(path, now, used=lock.used)
    except BaseException:
        lock.release()
        raise
    return SqliteStore(_open_writable(path, now, lock, kind), kind, recovered_from)


def _open_writable(path: Path, now: datetime, lock: Lock, kind: type[Database]) -> Home:
    """The lock is let go when it fails."""
    try:
        database = _open_current(path, now, kind)
        lock.mark_used()
    except BaseException:
        lock.release()
        raise
    return Home(database, lock, writable=True)


def _open_current(path: Path, now: datetime, kind: type[Database]) -> Database:
    database = open_database(path, kind)
    try:
        found = version(database)
        if found < len(MIGRATIONS):
            back_up(database, now, f"-version-{found}")
            migrate(database)
        database.watch()
    except BaseException:
        database.close()
        raise
    return database


def _open_unwritable(path: Path) -> Home:
    lock = Lock(path, writable=False)
    try:
        return Home(open_unwritable(path), lock, writable=False)
    except BaseException:
        lock.release()
        raise


def _write_knowledge(connection: sqlite3.Connection, changes: Changes) -> None:
    """Who and what there is, how far the data reaches, how sources and rules are doing."""
    if changes.through is not None:
        connection.execute(
            """INSERT INTO source (organisation, name, through) VALUES (?, ?, ?)
               ON CONFLICT DO UPDATE SET through = max(through, excluded.through)""",
            (HOME, changes.source, instant_text(changes.through)),
        )
    connection.executemany(
        """INSERT INTO workspace (organisation, id, name, archived_at, tags)
           VALUES (:home, :id, :name, :archived_at, :tags)
           ON CONFLICT DO UPDATE SET name = excluded.name, archived_at = excluded.archived_at, tags = excluded.tags""",
        ({"home": HOME, **records.workspace_values(each)} for each in changes.workspaces),
    )
    connection.executemany(
        "DELETE FROM rule_state WHERE organisation = ? AND rule = ?",
        ((HOME, rule) for rule in changes.forgotten_rules),
    )
    connection.executemany(
        """INSERT OR REPLACE INTO rule_state (organisation, rule, since, through, stakes, shape)
           VALUES (:home, :rule, :since, :through, :stakes, :shape)""",
        ({"home": HOME, **records.rule_state_values(each)} for each in changes.rules),
    )
    connection.executemany(
        """INSERT OR REPLACE INTO health (organisation, source, last_good, failing_since, failures, failure, message,
                                          announced, sequence)
           VALUES (:home, :source, :last_good, :failing_since, :failures, :failure, :message, :announced, :sequence)""",
        ({"home": HOME, **records.health_values(each)} for each in changes.health),
    )
    if changes.rates is not None:
        connection.execute("DELETE FROM rate WHERE organisation = ?", (HOME,))
        connection.executemany(
            "INSERT INTO rate (organisation, key, rate, origin, evidence, billed_as) VALUES (?, ?, ?, ?, ?, ?)",
            ((HOME, *each) for each in changes.rates),
        )
    connection.executemany(
        "INSERT INTO drift (organisation, day, estimated, billed) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        ((HOME, each.day.isoformat(), canonical(each.estimated), canonical(each.billed)) for each in changes.drifts),
    )


def _write_polling(connection: sqlite3.Connection, changes: Changes) -> None:
    """What the poll of the source took, and when the next one is planned."""
    if changes.requests:
        day = changes.at.astimezone(UTC).date().isoformat()
        connection.execute(
            """INSERT INTO request_count (organisation, source, day, requests) VALUES (?, ?, ?, ?)
               ON CONFLICT DO UPDATE SET requests = requests + excluded.requests""",
            (HOME, changes.source, day, changes.requests),
        )
    if changes.planned is not None:
        connection.execute(
            """INSERT OR REPLACE INTO planned_poll (organisation, source, at, interval_ms, widened, words)
               VALUES (:home, :source, :at, :interval_ms, :widened, :words)""",
            {"home": HOME, "source": changes.source, **records.planned_values(changes.planned)},
        )


def _write_decisions(connection: sqlite3.Connection, changes: Changes) -> None:
    """What was decided, and what must leave because of it."""
    connection.executemany(
        """INSERT OR REPLACE INTO incident (organisation, id, rule, scope, period_start, period_end, state, announced,
                                            severity, amount, limit_amount, opened_at, changed_at, sequence, resolved,
                                            held, told_at, told_amount, reminders, acknowledged)
           VALUES (:home, :id, :rule, :scope, :period_start, :period_end, :state, :announced, :severity, :amount,
                   :limit_amount, :opened_at, :changed_at, :sequence, :resolved, :held, :told_at, :told_amount,
                   :reminders, :acknowledged)""",
        ({"home": HOME, **records.incident_values(each)} for each in changes.incidents),
    )
    carried = (notice for delivery in changes.deliveries for notice in delivery.notices)
    _write_notices(connection, {notice.id: notice for notice in (*changes.notices, *carried)}.values())
    for delivery in changes.deliveries:
        outbox.add(connection, delivery)
    if changes.superseded:
        outbox.supersede(connection, changes.superseded)
    outbox.mute(connection, changes.muted)
    for moved in changes.moved:
        outbox.move(connection, moved, changes.at)
    if changes.destinations is not None:
        outbox.keep_destinations(connection, changes.destinations)


def _write_people(connection: sqlite3.Connection, changes: Changes) -> None:
    """What somebody did by hand."""
    connection.executemany(
        """INSERT OR REPLACE INTO silence (organisation, id, match, author, comment, created_at, ends_at, until, covers,
                                           ended_at, ended_by)
           VALUES (:home, :id, :match, :author, :comment, :created_at, :ends_at, :until, :covers, :ended_at,
                   :ended_by)""",
        ({"home": HOME, **records.silence_values(each)} for each in changes.silences),
    )
    connection.executemany(
        """INSERT INTO intervention (organisation, at, author, act, subject, comment)
           VALUES (:home, :at, :author, :act, :subject, :comment)""",
        ({"home": HOME, **records.intervention_values(each)} for each in changes.interventions),
    )


def _write_notices(connection: sqlite3.Connection, notices: Iterable[Notice]) -> None:
    connection.executemany(
        """INSERT INTO notice (organisation, id, incident, sequence, kind, reason, severity, created_at, facts)
           VALUES (:home, :id, :incident, :sequence, :kind, :reason, :severity, :created_at, :facts)
           ON CONFLICT DO NOTHING""",
        ({"home": HOME, **records.notice_values(each)} for each in notices),
    )


def _prune(connection: sqlite3.Connection, history: datetime, attempts: datetime) -> None:
    values = {"home": HOME, "day": history.date().isoformat(), "history": instant_text(history)}
    connection.execute("DELETE FROM cost_line WHERE organisation = :home AND day < :day", values)
    connection.execute("DELETE FROM cost_day WHERE organisation = :home AND day < :day", values)
    connection.execute("DELETE FROM drift WHERE organisation = :home AND day < :day", values)
    connection.execute("DELETE FROM request_count WHERE organisation = :home AND day < :day", values)
    connection.execute("DELETE FROM silence WHERE organisation = :home AND ends_at < :history", values)
    connection.execute("DELETE FROM intervention WHERE organisation = :home AND at < :history", values)
    connection.execute(
        "DELETE FROM incident WHERE organisation = :home AND state = 'resolved' AND changed_at < :history", values
    )
    # A delivery stays as long as one of its notices' incidents does, and always while it is pending.
    connection.execute(
        """DELETE FROM delivery WHERE organisation = :home AND state != 'pending' AND created_at < :history
           AND NOT EXISTS (
               SELECT 1 FROM delivery_notice carried
               JOIN notice ON notice.organisation = carried.organisation AND notice.id = carried.notice
               JOIN incident ON incident.organisation = notice.organisation AND incident.id = notice.incident
               WHERE carried.organisation = delivery.organisation AND carried.delivery = delivery.id)""",
        values,
    )
    connection.execute(
        """DELETE FROM notice WHERE organisation = :home AND created_at < :history
           AND NOT EXISTS (SELECT 1 FROM delivery_notice carried
                           WHERE carried.organisation = notice.organisation AND carried.notice = notice.id)
           AND NOT EXISTS (SELECT 1 FROM incident
                           WHERE incident.organisation = notice.organisation AND incident.id = notice.incident)""",
        values,
    )
    connection.execute(
        """DELETE FROM thread WHERE organisation = :home
           AND NOT EXISTS (SELECT 1 FROM notice INDEXED BY notice_incident
                           WHERE notice.organisation = thread.organisation AND notice.incident = thread.incident)""",
        values,
    )
    connection.execute(
        "DELETE FROM attempt WHERE organisation = ? AND started_at < ? AND outcome IS NOT NULL",
        (HOME, instant_text(attempts)),
    )
