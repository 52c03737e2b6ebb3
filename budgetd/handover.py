"""What a channel does not take is told elsewhere: the message to its fallbacks, and that it is so to the operators."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from budgetd import breaker as breakers_
from budgetd import fallback, wording
from budgetd.breaker import Breaker
from budgetd.evaluation import Evaluator
from budgetd.fallback import Fallback, Late
from budgetd.message import render_safely
from budgetd.model import Attempt, Changes, Delivery, Label, Reason, Receipt, Severity
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
        outbox, due = self._store.recall().outbox, list[Delivery]()
        for delivery, at in self._waiting(outbox, known, leaving, now):
            if at <= now:
                due.append(delivery)
            else:
                self.next_at = min(at, self.next_at or at)
        self.hand_over(self._explained(due, known), now)
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
            # Made further ahead than that, it is of a clock that was set back since: nobody knows how long it waited.
            made_at = delivery.created_at if delivery.created_at <= now + channel.after else now - channel.after
            wanted_at = max(made_at, story.kept_back_until(delivery) or made_at)
            found.append((delivery, wanted_at if hopeless else wanted_at + channel.after))
        return found

    def hand_over(self, late: Sequence[Late], now: datetime) -> None:
        """Make the deliveries to the fallbacks, of those that have any and for which it was not done before."""
        channels, falling = self._evaluator.rulebook.channels, dict[str, list[Late]]()
        for each in late:
            own = channels.get(each.delivery.channel)
            if own is None or each.delivery.because or each.delivery.id in self._handed_over:
                continue
            for name in own.fallback:
                if name in channels:
                    falling.setdefault(name, []).append(each)
        if not falling:
            return
        outbox = self._store.recall().outbox
        made = tuple(
            delivery
            for name, those in falling.items()
            for delivery in self._fallback(name, those, outbox).deliveries(those, now)
        )
        if made:
            self._store.commit(Changes(at=now, deliveries=made, superseded=fallback.overtaken(made, outbox)))
        self._handed_over.update(each.delivery.id for those in falling.values() for each in those)

    def _fallback(self, name: str, late: Iterable[Late], outbox: Iterable[Delivery]) -> Fallback:
        incidents = {notice.incident for each in late for notice in each.delivery.notices}
        waiting = (each for each in outbox if each.channel == name and each.muted_by)
        kept_back = frozenset(notice.id for each in waiting for notice in each.notices)
        page = self._evaluator.rulebook.channels[name].page
        return Fallback(name, page, self._store.said(name, incidents), kept_back)

    def _explained(self, deliveries: Collection[Delivery], known: Mapping[str, Breaker]) -> list[Late]:
        """The deliveries with what became of their last attempts, in words."""
        attempts = self._store.attempts([each.id for each in deliveries]) if deliveries else {}
        return [Late(each, _last_word(attempts[each.id], known.get(each.channel))) for each in deliveries]

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
            for notice in delivery.notices if delivery.muted_until is not None else ():
                place = (delivery.channel, notice.incident)
                self._waiting.setdefault(place, []).append((notice.sequence, delivery.wanted_at))

    def kept_back_until(self, delivery: Delivery) -> datetime | None:
        """Until when a silence or quiet time keeps it back, or what it comes after; None: nothing does."""
        ends = (
            until
            for notice in delivery.notices
            for sequence, until in self._waiting.get((delivery.channel, notice.incident), ())
            if sequence <= notice.sequence
        )
        return max(ends, default=None)


def _last_word(attempts: Sequence[Attempt], run: Breaker | None) -> str:
    ended = [attempt for attempt in attempts if attempt.outcome is not None]
    if ended:
        return ended[-1].detail or ended[-1].outcome or ""
    return run.detail if run is not None and run.is_open and run.detail else "there is no answer yet"


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
