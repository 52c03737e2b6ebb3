"""What a channel does not take is told elsewhere: the message to its fallbacks, and that it is so to the operators."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from budgetd import breaker as breakers_
from budgetd import routing, wording
from budgetd.breaker import Breaker
from budgetd.evaluation import Evaluator
from budgetd.message import render_safely
from budgetd.model import Changes, Delivery, Kind, Label, Notice, Reason, Receipt, Severity, Superseded, identity
from budgetd.store import Store


class Handover:
    """Makes the deliveries to fallbacks and the complaints, each once; a second time changes nothing in the store.

    Every method raises StoreError.
    """

    def __init__(self, store: Store, evaluator: Evaluator) -> None:
        self._store = store
        self._evaluator = evaluator
        self._handed_over: set[str] = set()
        self._complained: set[tuple[str, datetime]] = set()
        self.next_at: datetime | None = None
        """When the next message goes to a fallback, if its channel has not taken it by then."""

    def look_after(self, leaving: Collection[str], now: datetime) -> None:
        """Give to fallbacks what their channels have not taken in time, and complain of channels that take nothing.

        `leaving`: the deliveries that are under way just now. What is handed over stays due in its own channel.
        """
        self.next_at = None
        if not leaving and self._store.next_due() is None:
            return
        known = self._store.breakers()
        if not known and not any(channel.fallback for channel in self._evaluator.rulebook.channels.values()):
            return
        outbox = self._store.recall().outbox
        for delivery, at in self._waiting(outbox, known, leaving, now):
            if at <= now:
                self.hand_over(delivery, self._last_word(delivery), now)
            else:
                self.next_at = min(at, self.next_at or at)
        for each in known.values():
            self._complain(each, [delivery for delivery in outbox if delivery.channel == each.channel], now)

    def _waiting(
        self, outbox: Collection[Delivery], known: Mapping[str, Breaker], leaving: Collection[str], now: datetime
    ) -> list[tuple[Delivery, datetime]]:
        """What has fallbacks that do not have it yet, and when they get it: at once where a breaker is open."""
        channels, found = self._evaluator.rulebook.channels, list[tuple[Delivery, datetime]]()
        story = _Story(outbox)
        for delivery in outbox:
            channel = channels.get(delivery.channel)
            if channel is None or not channel.fallback or delivery.because or delivery.id in self._handed_over:
                continue
            hopeless = delivery.id not in leaving and _is_stuck(delivery, known.get(delivery.channel), now)
            wanted_at = story.wanted_at(delivery)
            found.append((delivery, wanted_at if hopeless else wanted_at + channel.after))
        return found

    def hand_over(self, delivery: Delivery, why: str, now: datetime) -> None:
        """Make the deliveries to the fallbacks, if there are any and it was not done before."""
        if delivery.because or not delivery.notices or delivery.id in self._handed_over:
            return
        channels = self._evaluator.rulebook.channels
        own = channels.get(delivery.channel)
        names = [name for name in (own.fallback if own is not None else ()) if name in channels]
        because = f"{_not_taken(delivery)}: {why}"
        made = [
            Delivery(
                id=identity("dlv", delivery.id, "instead", name, *(notice.id for notice in part)),
                channel=name,
                notices=part,
                created_at=now,
                next_attempt_at=now,
                page=channels[name].page,
                because=because,
            )
            for name in names
            for part in self._parts(name, delivery)
        ]
        if made:
            self._store.commit(Changes(at=now, deliveries=tuple(made), superseded=self._overtaken_by(made)))
        if names:
            self._handed_over.add(delivery.id)

    def _parts(self, channel: str, delivery: Delivery) -> list[tuple[Notice, ...]]:
        """What the fallback needs to be told of, message by message."""
        notices = [each for each in delivery.notices if self._lacks(channel, each)]
        page = self._evaluator.rulebook.channels[channel].page
        return routing.pages(notices) if page else [tuple(notices)] if notices else []

    def _lacks(self, channel: str, notice: Notice) -> bool:
        """Whether the fallback needs to be told of it. What only informs pages nobody, here as anywhere."""
        informs = notice.kind is Kind.INFORM and notice.severity is Severity.INFO
        if informs and self._evaluator.rulebook.channels[channel].page:
            return False
        if self._waits(channel, notice):
            return False
        return not (self._has(channel, notice.id) or self._is_overtaken(channel, notice))

    def _waits(self, channel: str, notice: Notice) -> bool:
        """Whether it is kept back there for now: what came with it must not wait for that, too."""
        pending = (each for each in self._store.recall().outbox if each.channel == channel and each.muted_by)
        return any(notice.id == other.id for each in pending for other in each.notices)

    def _is_overtaken(self, channel: str, notice: Notice) -> bool:
        """Whether the fallback was to be told something newer of the incident, or would be woken for what is over.

        An end that has gone to a pager already, or goes to none any more, would leave that page open for ever.
        """
        later = [each for each in self._store.notices(notice.incident) if each.sequence > notice.sequence]
        over = bool(later) and later[-1].kind is Kind.RESOLVE
        wakes = notice.kind is Kind.TRIGGER and self._evaluator.rulebook.channels[channel].page
        return (over and wakes) or self._was_for(channel, later)

    def _overtaken_by(self, made: Collection[Delivery]) -> tuple[Superseded, ...]:
        """What waits in the fallbacks already, and would come after what is newer of the same incident.

        That somebody has it replaces nothing, here as anywhere.
        """
        newest = {
            (each.channel, notice.incident): notice.sequence
            for each in made
            for notice in each.notices
            if notice.kind is not Kind.ACKNOWLEDGE
        }
        return tuple(
            Superseded(each.id, notice.id)
            for each in self._store.recall().outbox
            for notice in each.notices
            if notice.sequence < newest.get((each.channel, notice.incident), 0)
        )

    def _was_for(self, channel: str, notices: Collection[Notice]) -> bool:
        """Whether the channel was to be told of one of them; who has it, only once that has left."""
        return any(
            record.delivery.channel == channel and (notice.kind is not Kind.ACKNOWLEDGE or record.delivery.attempts > 0)
            for notice in notices
            for record in self._store.deliveries(notice.id)
        )

    def _has(self, channel: str, notice: str) -> bool:
        """Whether the fallback was to get it before, whoever it was that had not taken it: it is told that once."""
        return any(
            record.delivery.channel == channel and record.delivery.because for record in self._store.deliveries(notice)
        )

    def _last_word(self, delivery: Delivery) -> str:
        """What became of the last attempt, in words."""
        records = self._store.deliveries(delivery.notices[0].id if delivery.notices else None)
        ended = [
            attempt
            for record in records
            if record.delivery.id == delivery.id
            for attempt in record.attempts
            if attempt.outcome is not None
        ]
        if ended:
            return ended[-1].detail or ended[-1].outcome or ""
        run = self._store.breakers().get(delivery.channel)
        return run.detail if run is not None and run.is_open and run.detail else "there is no answer yet"

    def escalate(self, delivery: Delivery, receipt: Receipt, now: datetime, *, given_up: bool) -> None:
        """Tell others of a message that is given up, or that somebody must mend its channel for."""
        if _of_undeliverable(delivery):
            return
        outcome = "was given up" if given_up else "is not accepted and will be tried again"
        title = render_safely(delivery, now).title
        text = f"A message to channel {wording.channel(delivery.channel)} {outcome}: {receipt.detail}\nIt says: {title}"
        about = Label("channel", f"{delivery.id}/{'given_up' if given_up else 'pending'}", delivery.channel)
        self._evaluator.tell(about, Reason.UNDELIVERABLE, _worst([delivery]), text, now, everybody=given_up)

    def _complain(self, run: Breaker, waiting: Collection[Delivery], now: datetime) -> None:
        """Tell others, once in each run of failures, of a channel that takes nothing."""
        told = [delivery for delivery in waiting if not _of_undeliverable(delivery) and delivery.wanted_at <= now]
        pager = run.channel in self._evaluator.rulebook.pagers
        if not told or (run.channel, run.since) in self._complained:
            return
        if breakers_.is_worth_telling(run, now, pager=pager):
            self._complained.add((run.channel, run.since))
            many = f"{len(told):,} messages wait" if len(told) > 1 else "A message waits"
            first = min(told, key=lambda delivery: delivery.wanted_at)
            since, why = wording.instant(run.since), run.detail.rstrip(".")
            text = (
                f"Channel {wording.channel(run.channel)} has taken nothing since {since}: {why}. "
                f"{many} for it. The oldest says: {render_safely(first, now).title}"
            )
            about = Label("channel", f"down/{run.channel}/{run.since.isoformat()}", run.channel)
            self._evaluator.tell(about, Reason.UNDELIVERABLE, _worst(told), text, now)


class _Story:
    """What waits in each channel, incident by incident."""

    def __init__(self, outbox: Collection[Delivery]) -> None:
        self._waiting: dict[tuple[str, str], list[tuple[int, datetime]]] = {}
        for delivery in outbox:
            for notice in delivery.notices:
                place = (delivery.channel, notice.incident)
                self._waiting.setdefault(place, []).append((notice.sequence, delivery.wanted_at))

    def wanted_at(self, delivery: Delivery) -> datetime:
        """When it could leave at the earliest: not before what it comes after, which may be kept back."""
        earlier = (
            wanted_at
            for notice in delivery.notices
            for sequence, wanted_at in self._waiting[(delivery.channel, notice.incident)]
            if sequence < notice.sequence
        )
        return max([delivery.wanted_at, *earlier])


def _not_taken(delivery: Delivery) -> str:
    return f"{delivery.channel} has not taken it"


def _is_stuck(delivery: Delivery, run: Breaker | None, now: datetime) -> bool:
    """Whether its channel is known to take nothing, and it was tried, or cannot be."""
    until = run.holds_until(delivery) if run is not None else None
    return until is not None and (delivery.attempts > 0 or until > now)


def _worst(deliveries: Collection[Delivery]) -> Severity:
    severities = (notice.severity for delivery in deliveries for notice in delivery.notices)
    return max(severities, key=lambda severity: severity.rank, default=Severity.WARNING)


def _of_undeliverable(delivery: Delivery) -> bool:
    """Whether the delivery itself only tells of another one: that would go round for ever."""
    return all(notice.reason is Reason.UNDELIVERABLE for notice in delivery.notices)
