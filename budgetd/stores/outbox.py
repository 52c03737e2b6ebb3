"""What is due on which channel, and what became of it: the outbox's part of the SQLite store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import datetime, timedelta

from budgetd.breaker import Breaker
from budgetd.model import Delivery, DeliveryState, Destination, Face, Moved, Muted, Outcome, Receipt, Superseded
from budgetd.store import StoreError
from budgetd.stores import records
from budgetd.stores.reading import HOME
from budgetd.stores.records import instant_text

# No two attempts are as far apart: what lies further ahead was planned by a clock that has since been set back.
LONGEST_WAIT = timedelta(hours=3)


def due_ids(connection: sqlite3.Connection, now: datetime, busy: Iterable[str]) -> list[str]:
    """The id of the oldest due delivery of each channel that is neither busy nor held back."""
    channels = connection.execute(
        """SELECT DISTINCT channel FROM delivery INDEXED BY delivery_pending
           WHERE organisation = ? AND state = 'pending'""",
        (HOME,),
    ).fetchall()
    free = {channel for (channel,) in channels} - set(busy)
    found = (_oldest_due(connection, channel, now) for channel in sorted(free))
    return [delivery for delivery in found if delivery is not None]


def _oldest_due(connection: sqlite3.Connection, channel: str, now: datetime) -> str | None:
    row = connection.execute(
        """SELECT id FROM sendable
           WHERE organisation = :home AND channel = :channel
             AND (next_attempt_at <= :now OR next_attempt_at > :beyond)
             AND (held_until <= :now OR held_until > :beyond)
             AND (probed_at <= :now OR probed_at > :beyond)
             AND coalesce(muted_until, '') <= :now
           ORDER BY created_at, id LIMIT 1""",
        {"home": HOME, "channel": channel, "now": instant_text(now), "beyond": instant_text(now + LONGEST_WAIT)},
    ).fetchone()
    return None if row is None else str(row["id"])


# Channels with an attempt under way are left out: nothing can be begun there before it is settled.
NEXT_DUE = """
    SELECT min(max(next_attempt_at, held_until, probed_at, coalesce(muted_until, ''))) FROM sendable
    WHERE organisation = ? AND channel NOT IN (
        SELECT delivery.channel FROM attempt
        JOIN delivery ON delivery.organisation = attempt.organisation AND delivery.id = attempt.delivery
        WHERE attempt.outcome IS NULL)
"""


def add(connection: sqlite3.Connection, delivery: Delivery) -> None:
    """Put it into the outbox, unless it is there or was there already: told once."""
    values = {"home": HOME, **records.delivery_values(delivery)}
    added = connection.execute(
        """INSERT INTO delivery
               (organisation, id, channel, created_at, next_attempt_at, page, face, state, attempts, because,
                muted_until, muted_by, gathered)
           VALUES (:home, :id, :channel, :created_at, :next_attempt_at, :page, :face, :state, :attempts, :because,
                   :muted_until, :muted_by, :gathered)
           ON CONFLICT DO NOTHING""",
        values,
    ).rowcount
    if added:
        connection.executemany(
            "INSERT INTO delivery_notice (organisation, delivery, position, notice) VALUES (?, ?, ?, ?)",
            ((HOME, delivery.id, position, notice.id) for position, notice in enumerate(delivery.notices)),
        )


def supersede(connection: sqlite3.Connection, superseded: Iterable[Superseded]) -> None:
    """Mark these notices; what is finished stays as it was."""
    connection.executemany(
        """UPDATE delivery_notice SET superseded = 1
           WHERE organisation = :home AND delivery = :delivery AND notice = :notice AND EXISTS (
               SELECT 1 FROM delivery WHERE organisation = :home AND id = :delivery AND state = 'pending')""",
        ({"home": HOME, "delivery": each.delivery, "notice": each.notice} for each in superseded),
    )
    drop_superseded(connection)


def mute(connection: sqlite3.Connection, muted: Iterable[Muted]) -> None:
    """Keep these pending deliveries back until then, or no longer."""
    connection.executemany(
        """UPDATE delivery SET muted_until = :until, muted_by = :by
           WHERE organisation = :home AND id = :delivery AND state = 'pending'""",
        (
            {
                "home": HOME,
                "delivery": each.delivery,
                "until": None if each.until is None else instant_text(each.until),
                "by": each.by,
            }
            for each in muted
        ),
    )


def drop_superseded(connection: sqlite3.Connection) -> None:
    """Pending deliveries that have nothing left to say end here, except those under way: they end when settled."""
    connection.execute(
        """UPDATE delivery INDEXED BY delivery_pending SET state = 'superseded'
           WHERE organisation = ? AND state = 'pending'
             AND EXISTS (SELECT 1 FROM delivery_notice WHERE delivery_notice.organisation = delivery.organisation
                         AND delivery_notice.delivery = delivery.id)
             AND NOT EXISTS (SELECT 1 FROM delivery_notice WHERE delivery_notice.organisation = delivery.organisation
                             AND delivery_notice.delivery = delivery.id AND NOT superseded)
             AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.organisation = delivery.organisation
                             AND attempt.delivery = delivery.id AND outcome IS NULL)""",
        (HOME,),
    )


def begin(connection: sqlite3.Connection, delivery: str, now: datetime) -> None:
    """Count an attempt and remember which notices it carries."""
    begun = connection.execute(
        """UPDATE delivery SET attempts = attempts + 1
           WHERE organisation = ? AND id = ? AND state = 'pending' RETURNING attempts""",
        (HOME, delivery),
    ).fetchone()
    if begun is None:
        raise StoreError(f"delivery {delivery} is not pending; it must not be sent")
    connection.execute(
        "UPDATE delivery_notice SET sent = 1 WHERE organisation = ? AND delivery = ? AND NOT superseded",
        (HOME, delivery),
    )
    connection.execute(
        "INSERT INTO attempt (organisation, delivery, number, started_at) VALUES (?, ?, ?, ?)",
        (HOME, delivery, begun["attempts"], instant_text(now)),
    )


def end_attempt(connection: sqlite3.Connection, delivery: str, receipt: Receipt, now: datetime) -> None:
    """Close the attempt under way, if there is one."""
    connection.execute(
        """UPDATE attempt SET ended_at = ?, outcome = ?, detail = ?
           WHERE organisation = ? AND delivery = ? AND outcome IS NULL""",
        (instant_text(now), receipt.outcome, receipt.detail, HOME, delivery),
    )


def set_state(
    connection: sqlite3.Connection,
    delivery: str,
    state: DeliveryState,
    next_attempt_at: datetime | None,
    face: Face | None,
) -> None:
    """Move a delivery on. Delivered is for good; what was superseded or given up can only still be delivered."""
    connection.execute(
        """UPDATE delivery SET
               state = CASE WHEN state = 'pending' OR :state = 'delivered' THEN :state ELSE state END,
               next_attempt_at = coalesce(:next, next_attempt_at),
               face = coalesce(:face, face)
           WHERE organisation = :home AND id = :delivery""",
        {
            "home": HOME,
            "delivery": delivery,
            "state": state,
            "next": None if next_attempt_at is None else instant_text(next_attempt_at),
            "face": face,
        },
    )


def supersede_undelivered(connection: sqlite3.Connection, delivery: str) -> None:
    """What was given up after it had nothing left to say is superseded: nobody need hear of it."""
    connection.execute(
        """UPDATE delivery SET state = 'superseded'
           WHERE organisation = :home AND id = :delivery AND state = 'given_up'
             AND EXISTS (SELECT 1 FROM delivery_notice WHERE organisation = :home AND delivery = :delivery)
             AND NOT EXISTS (SELECT 1 FROM delivery_notice
                             WHERE organisation = :home AND delivery = :delivery AND NOT superseded)""",
        {"home": HOME, "delivery": delivery},
    )


def hold(connection: sqlite3.Connection, delivery: str, until: datetime) -> None:
    """Nothing leaves on the delivery's channel before `until`."""
    connection.execute(
        """INSERT INTO channel_hold (organisation, channel, until)
           SELECT organisation, channel, :until FROM delivery WHERE organisation = :home AND id = :delivery
           ON CONFLICT DO UPDATE SET until = excluded.until""",
        {"home": HOME, "delivery": delivery, "until": instant_text(until)},
    )


def keep_breaker(connection: sqlite3.Connection, delivery: str, breaker: Breaker | None, now: datetime) -> None:
    """The breaker of the delivery's channel; when an open one is closed, what waits there has waited long enough."""
    values = {"home": HOME, "delivery": delivery, "now": instant_text(now)}
    if breaker is not None:
        connection.execute(
            """INSERT OR REPLACE INTO breaker
                   (organisation, channel, failures, since, outcome, detail, probe_at, fresh_at)
               VALUES (:home, :channel, :failures, :since, :outcome, :detail, :probe_at, :fresh_at)""",
            {**values, **records.breaker_values(breaker)},
        )
        return
    closed = connection.execute(
        """DELETE FROM breaker WHERE organisation = :home AND channel = (
               SELECT channel FROM delivery WHERE organisation = :home AND id = :delivery)
           RETURNING channel, probe_at""",
        values,
    ).fetchone()
    if closed is not None and closed["probe_at"] is not None:
        _let_go(connection, closed["channel"], now)


# A waiting message that only says how something ended, or who has it.
_ONLY_ENDS = """
    state = 'pending' AND NOT EXISTS (
        SELECT 1 FROM delivery_notice carried
        JOIN notice ON notice.organisation = carried.organisation AND notice.id = carried.notice
        WHERE carried.organisation = delivery.organisation AND carried.delivery = delivery.id
          AND NOT carried.superseded AND notice.kind NOT IN ('resolve', 'acknowledge'))"""
_TOLD_OF_WHAT_IS_OPEN = """
    state != 'pending' AND EXISTS (
        SELECT 1 FROM delivery_notice carried
        JOIN notice ON notice.organisation = carried.organisation AND notice.id = carried.notice
        JOIN incident ON incident.organisation = notice.organisation AND incident.id = notice.incident
        WHERE carried.organisation = delivery.organisation AND carried.delivery = delivery.id
          AND carried.sent AND incident.state != 'resolved')"""
_SHARES_AN_INCIDENT = """
    EXISTS (
        SELECT 1 FROM delivery_notice mine
        JOIN notice ON notice.organisation = mine.organisation AND notice.id = mine.notice
        JOIN notice other ON other.organisation = notice.organisation AND other.incident = notice.incident
        JOIN delivery_notice theirs ON theirs.organisation = other.organisation AND theirs.notice = other.id
        WHERE mine.organisation = delivery.organisation AND mine.delivery = delivery.id
          AND theirs.delivery = :delivery)"""
_WHICH = {
    "owed": f"channel = :channel AND ({_ONLY_ENDS} OR {_TOLD_OF_WHAT_IS_OPEN})",
    "whole": "channel = :channel",
    "one": f"id = :delivery OR channel = :channel AND {_ONLY_ENDS} AND {_SHARES_AN_INCIDENT}",
}
# What waits and moves, as far as the other channel has it already.
_KNOWN_THERE = """
    UPDATE delivery_notice SET superseded = 1
    WHERE organisation = :home
      AND delivery IN (SELECT id FROM delivery WHERE {rows} AND state = 'pending')
      AND EXISTS (
        SELECT 1 FROM delivery_notice theirs INDEXED BY delivery_notice_once
        CROSS JOIN delivery known ON known.organisation = theirs.organisation AND known.id = theirs.delivery
        WHERE theirs.organisation = :home AND theirs.notice = delivery_notice.notice AND NOT theirs.superseded
          AND known.channel = :to AND known.state IN ('pending', 'delivered') AND known.because = '')"""


def move(connection: sqlite3.Connection, moved: Moved, now: datetime) -> None:
    """Call deliveries by their other channel. What is known of an address goes with it, and is not said of others."""
    values = {"home": HOME, "channel": moved.channel, "to": moved.to, "delivery": moved.delivery}
    which = "one" if moved.delivery else "whole" if moved.whole else "owed"
    if moved.to != moved.channel:
        rows = f"organisation = :home AND ({_WHICH[which]})"
        connection.execute(_KNOWN_THERE.format(rows=rows), values)
        connection.execute(f"UPDATE delivery SET channel = :to WHERE {rows}", values)  # noqa: S608
        drop_superseded(connection)
    if which == "one":
        return
    for table in ("thread", "breaker", "channel_hold"):
        if moved.to != moved.channel:
            connection.execute(
                f"UPDATE OR REPLACE {table} SET channel = :to WHERE organisation = :home AND channel = :channel",  # noqa: S608
                values,
            )
        elif table != "thread":
            connection.execute(f"DELETE FROM {table} WHERE organisation = :home AND channel = :channel", values)  # noqa: S608
    _let_go(connection, moved.channel, now)


def _let_go(connection: sqlite3.Connection, channel: str, now: datetime) -> None:
    """What waits in the channel has waited long enough."""
    connection.execute(
        """UPDATE delivery INDEXED BY delivery_pending SET next_attempt_at = min(next_attempt_at, :now)
           WHERE organisation = :home AND channel = :channel AND state = 'pending'""",
        {"home": HOME, "channel": channel, "now": instant_text(now)},
    )


def keep_destinations(connection: sqlite3.Connection, destinations: Iterable[Destination]) -> None:
    """In place of those that were kept."""
    connection.execute("DELETE FROM destination WHERE organisation = ?", (HOME,))
    connection.executemany(
        "INSERT INTO destination (organisation, position, channel, fingerprint, page) VALUES (?, ?, ?, ?, ?)",
        ((HOME, position, each.channel, each.fingerprint, each.page) for position, each in enumerate(destinations)),
    )


def keep_thread(connection: sqlite3.Connection, delivery: str, incident: str, receipt: Receipt) -> None:
    """What the delivery's channel goes on under; a message that was delivered without a memo ends the thread."""
    values = {"home": HOME, "delivery": delivery, "incident": incident, "memo": receipt.memo}
    if receipt.memo:
        connection.execute(
            """INSERT INTO thread (organisation, channel, incident, memo)
               SELECT organisation, channel, :incident, :memo FROM delivery
               WHERE organisation = :home AND id = :delivery
               ON CONFLICT DO UPDATE SET memo = excluded.memo""",
            values,
        )
    elif receipt.outcome is Outcome.DELIVERED:
        connection.execute(
            """DELETE FROM thread WHERE organisation = :home AND incident = :incident AND channel = (
                   SELECT channel FROM delivery WHERE organisation = :home AND id = :delivery)""",
            values,
        )


def thread(connection: sqlite3.Connection, channel: str, incident: str) -> str:
    """The memo that is kept for the incident in that channel; empty when there is none."""
    row = connection.execute(
        "SELECT memo FROM thread WHERE organisation = ? AND channel = ? AND incident = ?", (HOME, channel, incident)
    ).fetchone()
    return "" if row is None else str(row["memo"])
