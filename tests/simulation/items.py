"""What a channel must get, and what became of the messages that were to bring it: the oracle's bookkeeping."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.simulation.promises import Expected


@dataclass(slots=True)
class Item:
    """A notice that a channel must get (or may get: not `required`).

    `instead_of`: the channel that has not taken it, when this one gets it as its fallback. `lost`: so many answers to
    messages with it were lost, so that it may come as often once more. `settled`: when, by the daemon's clock, it was
    kept that the channel had taken it. `owed`: it went to an address that the channel had before,
    which has no fallback.
    """

    expected: Expected
    required: bool = True
    state: str = "pending"
    delivery: str = ""
    instead_of: str = ""
    accepted: int = 0
    lost: int = 0
    settled: datetime | None = None
    owed: bool = False
    bundle: Bundle | None = None

    def is_held(self, wall: datetime) -> bool:
        """Whether it waits for a silence or a quiet time to end."""
        bundle = self.bundle
        return bundle is not None and bundle.hold is not None and bundle.hold > wall and not bundle.let_go

    @property
    def was_held(self) -> bool:
        """Whether it ever waited so."""
        return self.bundle is not None and self.bundle.was_held


@dataclass(slots=True)
class Bundle:
    """What a channel is told together; it waits until `hold` where that is still ahead, unless `let_go` before.

    `unsure`: it may hold something that does not wait, so that all of it does not.
    """

    channel: str
    items: list[Item]
    hold: datetime | None = None
    was_held: bool = False
    by: str = ""
    let_go: bool = False
    unsure: bool = False

    @property
    def pending(self) -> list[Item]:
        """What of it the channel has not taken."""
        return [item for item in self.items if item.state == "pending"]


@dataclass(slots=True)
class Parcel:
    """What became of one delivery id on one channel. `lost_answers`: it was taken, and the daemon cannot know.

    `first`: the earliest time, by the daemon's clock, at which it was sent.
    """

    attempts: int = 0
    accepted: int = 0
    lost_answers: int = 0
    rejected: int = 0
    broken: int = 0
    oldest: timedelta = timedelta(0)
    first: datetime | None = None
    about_reports: bool = False
    must_report: bool = False
    items: list[Item] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)

    def lose_answer(self) -> None:
        """It was taken, and nobody told the daemon."""
        self.lost_answers += 1
        for item in self.items:
            item.lost += 1
