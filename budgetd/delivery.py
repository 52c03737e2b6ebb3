"""On the way out: a lane for each channel, so that a stuck one delays no other."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from budgetd import channels, clock
from budgetd.channels import Sender
from budgetd.message import Message
from budgetd.model import Outcome, Receipt

log = logging.getLogger("budgetd")

# The sender gets a little less than the lane, so that it can still say itself what went wrong.
_SENDERS_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an offered message.

    `late`: the lane was already given up and UNKNOWN was answered for it; only worth a line in the log.
    """

    channel: str
    delivery: str
    receipt: Receipt
    late: bool = False


class Outbound(Protocol):
    """Where due messages go. Called from the main loop only."""

    def busy(self) -> frozenset[str]:
        """The channels that have a send in flight."""
        ...

    def offer(self, channel: str, message: Message, deadline: float) -> None:
        """Send within `deadline` seconds; the answer is reported once. The channel must not be busy."""
        ...

    def abandon_overdue(self) -> None:
        """Give up the sends that overran their deadline; they are answered as UNKNOWN."""
        ...

    def next_deadline(self) -> float | None:
        """Seconds until a send in flight is overdue; None when there is none."""
        ...

    def replace(self, senders: Mapping[str, Sender]) -> None:
        """Use these channels from now on; sends in flight end as they began."""
        ...

    def close(self) -> None:
        """Begin nothing more. Does not wait: what is in flight is lost to this process."""
        ...


class _Job:
    """One send in flight. Whoever takes it first, the lane's thread or the main loop, may answer."""

    def __init__(self, sender: Sender, message: Message, seconds: float) -> None:
        self.sender = sender
        self.message = message
        self.seconds = seconds
        self.ends = clock.monotonic() + seconds
        self._untaken = threading.Lock()

    def take(self) -> bool:
        """True for the first who asks."""
        return self._untaken.acquire(blocking=False)


class _Lane:
    """One channel's thread. It is a daemon, as a stuck send must not delay the exit."""

    def __init__(self, channel: str, report: Callable[[Answer], None]) -> None:
        self.channel = channel
        self._report = report
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=f"lane {channel[:40]}", daemon=True).start()

    def begin(self, job: _Job) -> None:
        self._jobs.put(job)

    def end(self) -> None:
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            left = max(0.0, job.ends - clock.monotonic())
            receipt = job.sender.send(job.message, left * _SENDERS_SHARE)
            in_time = job.take()
            self._report(Answer(self.channel, job.message.id, receipt, late=not in_time))
            if in_time:
                _add(job.sender, self.channel, job.message, receipt)


def _add(sender: Sender, channel: str, message: Message, receipt: Receipt) -> None:
    """What goes with a message after it is reported as delivered, so that a kill meanwhile cannot double it."""
    hindered = channels.add(sender, message, receipt)
    if hindered:
        log.warning("channel %s: %s", channel, hindered)


class Lanes:
    """A thread for each channel, started at its first message.

    `report` is called from the lanes' threads and from `abandon_overdue`: a queue's `put`.
    """

    def __init__(self, senders: Mapping[str, Sender], report: Callable[[Answer], None]) -> None:
        self._senders = dict(senders)
        self._report = report
        self._lanes: dict[str, _Lane] = {}
        self._flying: dict[str, _Job] = {}
        self._changed = threading.Lock()
        self._closed = False

    def busy(self) -> frozenset[str]:
        """The channels that have a send in flight."""
        with self._changed:
            return frozenset(self._flying)

    def offer(self, channel: str, message: Message, deadline: float) -> None:
        """Send within `deadline` seconds in the channel's thread. Raises KeyError for an unknown channel."""
        job = _Job(self._senders[channel], message, deadline)
        with self._changed:
            if self._closed:
                return
            if channel in self._flying:
                raise ValueError(f"channel {channel} has a send in flight")
            self._flying[channel] = job
            if channel not in self._lanes:
                self._lanes[channel] = _Lane(channel, self._finished)
        self._lanes[channel].begin(job)

    def _finished(self, answer: Answer) -> None:
        if not answer.late:
            with self._changed:
                self._flying.pop(answer.channel, None)
        self._report(answer)

    def abandon_overdue(self) -> None:
        """Answer UNKNOWN for each send that overran its deadline; the channel's next one gets a fresh thread."""
        now = clock.monotonic()
        with self._changed:
            overdue = {channel: job for channel, job in self._flying.items() if job.ends <= now and job.take()}
            for channel in overdue:
                del self._flying[channel]
                if channel in self._lanes:
                    self._lanes.pop(channel).end()
        for channel, job in overdue.items():
            receipt = Receipt(Outcome.UNKNOWN, f"no end within {job.seconds:g} s, given up; it may have arrived")
            self._report(Answer(channel, job.message.id, receipt))

    def next_deadline(self) -> float | None:
        """Seconds until a send in flight is overdue; None when there is none."""
        with self._changed:
            ends = [job.ends for job in self._flying.values()]
        return max(0.0, min(ends) - clock.monotonic()) if ends else None

    def replace(self, senders: Mapping[str, Sender]) -> None:
        """Use these channels from now on; sends in flight end as they began."""
        self._senders = dict(senders)
        with self._changed:
            for channel in [name for name in self._lanes if name not in senders and name not in self._flying]:
                self._lanes.pop(channel).end()

    def close(self) -> None:
        """Begin nothing more, and let the idle threads end. Does not wait for a send in flight."""
        with self._changed:
            self._closed = True
            lanes, self._lanes = list(self._lanes.values()), {}
        for lane in lanes:
            lane.end()


class InThisThread:
    """The same without threads, for one pass and for simulations: `offer` returns when it is answered.

    Nothing but the sender bounds the time of a send.
    """

    def __init__(self, senders: Mapping[str, Sender], report: Callable[[Answer], None]) -> None:
        self._senders = dict(senders)
        self._report = report
        self._closed = False

    def busy(self) -> frozenset[str]:
        """Never any: a send has ended when `offer` returns."""
        return frozenset()

    def offer(self, channel: str, message: Message, deadline: float) -> None:
        """Send and report. Raises KeyError for an unknown channel."""
        if not self._closed:
            receipt = self._senders[channel].send(message, deadline)
            self._report(Answer(channel, message.id, receipt))
            _add(self._senders[channel], channel, message, receipt)

    def abandon_overdue(self) -> None:
        """Nothing is ever in flight."""

    def next_deadline(self) -> float | None:
        """None: nothing is ever in flight."""
        return None

    def replace(self, senders: Mapping[str, Sender]) -> None:
        """Use these channels from now on."""
        self._senders = dict(senders)

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
