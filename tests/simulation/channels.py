"""The simulated services behind the channels: they refuse, stall, lose answers and go away for good."""

from __future__ import annotations

import errno
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from budgetd.channels import Sender
from budgetd.message import Message
from budgetd.model import Face, Kind, Outcome, Receipt
from budgetd.posting import Answer
from tests.simulation.crashes import BrokenPromiseError, Crash, Crashes
from tests.simulation.desks import AlertmanagerDesk, ConsoleDesk, Desk
from tests.simulation.oracle import Oracle

# What a channel may be like for a while. "gone" is for ever.
MOODS = ("refused", "500", "unauthorised", "ambiguous", "rate limited", "rejecting rich messages", "rejecting all")


_STATUS = {
    Outcome.RETRY: 500,
    Outcome.RATE_LIMITED: 429,
    Outcome.UNAUTHORISED: 401,
    Outcome.GONE: 410,
    Outcome.REJECTED: 400,
}


@dataclass
class Clocks:
    """True time and the daemon's wall clock, which may be wrong by `skew`."""

    true: datetime
    skew: timedelta = timedelta(0)

    @property
    def wall(self) -> datetime:
        return self.true + self.skew


@dataclass
class Service:
    """One channel's service, which `desk` keeps the books of; implements `Sender`. `mood` None: it takes everything."""

    name: str
    desk: Desk
    clocks: Clocks
    oracle: Oracle
    crashes: Crashes
    chance: random.Random
    met: Counter[str]
    mood: str | None = None
    sender: Sender = field(init=False)
    taking_since: datetime = field(init=False)
    unsettled: str = ""
    address: str = ""
    _not_before: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.taking_since = self.clocks.true

    def change(self, mood: str | None) -> None:
        """From now on it is like this; what is gone stays so."""
        if self.mood != "gone" and mood != self.mood:
            self.mood = mood
            self.taking_since = self.clocks.true

    def clock_moved(self) -> None:
        """Nobody can wait for the right time with a wrong clock."""
        self._not_before = {}
        self.taking_since = self.clocks.true

    def process_died(self) -> None:
        """A word that the daemon could not keep, it cannot heed."""
        if self.unsettled:
            self._not_before = {}
        self.unsettled = ""

    def confirmed(self, delivery: str) -> None:
        """Its answer to that message is kept."""
        if self.unsettled == delivery:
            self.unsettled = ""

    def send(self, message: Message, deadline: float) -> Receipt:
        """Take the message, or not."""
        return self.send_by(self.sender, self.address, message, deadline, owed=False)

    def send_by(self, sender: Sender, address: str, message: Message, deadline: float, *, owed: bool) -> Receipt:
        """The same by that sender. `owed`: it leads to an address that the channel had before."""
        until = self._not_before.get(address, self.clocks.true)
        if self.clocks.true < until:
            raise BrokenPromiseError(f"{self.name} asked for patience until {until}, and was sent {message.id}")
        if owed:
            self.oracle.owed(self.name, message)
        else:
            self.oracle.offered(self.name, message, self.clocks.true, self.clocks.wall)
        self.unsettled = message.id
        self.crashes.point("before a service took a message")
        outcome, taken, after = self._through_the_wire(sender, message, deadline)
        if outcome is not Outcome.DELIVERED:
            self.met[f"{self.name} {outcome.value}"] += 1
            self.met[f"answered {outcome.value}"] += 1
        if taken:
            self.met[f"taken by a {type(self.desk).__name__}"] += 1
            try:
                self.crashes.point("after a service took a message")
            except Crash:
                if owed:
                    self.oracle.owed_taken(self.name, message)
                else:
                    self.oracle.taken_then_crashed(self.name, message)
                raise
        if not owed:
            self.oracle.answered(self.name, message, outcome, self.clocks.true, taken=taken)
        elif taken:
            self.oracle.owed_taken(self.name, message)
        if after is not None:
            self._not_before[address] = self.clocks.true + timedelta(seconds=after)
        return Receipt(outcome, f"simulated: {self.mood}", after)

    def _through_the_wire(
        self, sender: Sender, message: Message, deadline: float
    ) -> tuple[Outcome, bool, float | None]:
        """What came of it as the real sender understands the answers of the service."""
        self._verdict, self._taken = self._judge(message), False
        self.desk.message = message
        if isinstance(self.desk, AlertmanagerDesk):
            self.desk.clock_is_right = not self.clocks.skew
        receipt = sender.send(message, deadline)
        if isinstance(self.desk, AlertmanagerDesk) and message.kind is Kind.ACKNOWLEDGE:
            self._taken = receipt.outcome is Outcome.DELIVERED  # it knows nothing of the kind, and is not told
        if isinstance(self.desk, ConsoleDesk):
            self._taken = self.desk.read()
        if receipt.outcome is Outcome.DELIVERED and not self._taken:
            raise BrokenPromiseError(f"{message.id} is said to be delivered to {self.name}, which has nothing of it")
        return receipt.outcome, self._taken, receipt.after

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer | Receipt:
        """What the service answers to a request, in the mood that it is in."""
        outcome, taken, after = self._verdict
        if outcome is Outcome.DELIVERED or taken:
            answer = self.desk.accept(url, body, headers)
            self._taken = self._taken or self.desk.tells(url)
            lost = outcome is Outcome.UNKNOWN and self.desk.tells(url)
            return Receipt(Outcome.UNKNOWN, "simulated: no answer") if lost else answer
        if outcome is Outcome.UNKNOWN or self.mood == "refused":
            return Receipt(outcome, f"simulated: {self.mood}")
        return Answer(_STATUS[outcome], f"simulated: {self.mood}", after=after)

    def printing(self) -> int:
        """Where it reads what is printed for it, in the mood that it is in. Raises OSError."""
        outcome, taken, _ = self._verdict
        if not taken or not isinstance(self.desk, ConsoleDesk):
            raise OSError(errno.EPIPE if outcome is Outcome.GONE else errno.EIO if self.mood == "500" else errno.EAGAIN)
        return self.desk.output

    def _judge(self, message: Message) -> tuple[Outcome, bool, float | None]:
        """What it says, whether it took the message, and how many seconds it wants to be left alone."""
        if self.mood == "ambiguous":
            return Outcome.UNKNOWN, self.chance.random() < 0.5, None
        if self.mood == "rate limited":
            return Outcome.RATE_LIMITED, False, float(self.chance.choice((1, 30, 600, 3000)))
        if self.mood == "rejecting rich messages":
            simple = message.face is not Face.RICH
            return (Outcome.DELIVERED, True, None) if simple else (Outcome.REJECTED, False, None)
        refusals = {
            "refused": Outcome.RETRY,
            "500": Outcome.RETRY,
            "unauthorised": Outcome.UNAUTHORISED,
            "gone": Outcome.GONE,
            "rejecting all": Outcome.REJECTED,
        }
        if self.mood in refusals:
            return refusals[self.mood], False, None
        return Outcome.DELIVERED, True, None


@dataclass
class OldAddress:
    """The way out that a channel had before; implements `Sender`. `forgotten`: those that took nothing any more."""

    service: Service
    sender: Sender
    address: str
    forgotten: set[str]

    def send(self, message: Message, deadline: float) -> Receipt:
        """Only ends are sent there."""
        receipt = self.service.send_by(self.sender, self.address, message, deadline, owed=True)
        if receipt.outcome in (Outcome.UNAUTHORISED, Outcome.GONE, Outcome.REJECTED):
            self.forgotten.add(self.address)
        return receipt
