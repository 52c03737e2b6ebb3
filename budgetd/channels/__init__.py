"""How a message leaves: one file for each native channel; Apprise for every other."""

from __future__ import annotations

from typing import Protocol

from budgetd.message import Message
from budgetd.model import Receipt


class Sender(Protocol):
    """One channel's way out. Called in the channel's own thread, one message at a time."""

    def send(self, message: Message, deadline: float) -> Receipt:
        """Send within `deadline` seconds and say what became of it. Never raises for what the service does."""
        ...
