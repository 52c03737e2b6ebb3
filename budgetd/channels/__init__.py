"""How a message leaves: one file for each native channel; Apprise for every other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, runtime_checkable

from budgetd.message import Flavour, Message
from budgetd.model import Outcome, Receipt

# The next message waits behind it.
ADDING_SECONDS = 5.0


class Sender(Protocol):
    """One channel's way out. Called in the channel's own thread, one message at a time."""

    def send(self, message: Message, deadline: float) -> Receipt:
        """Send within `deadline` seconds and say what became of it. Never raises for what the service does."""
        ...


@runtime_checkable
class Adding(Protocol):
    """A sender that can add something to a message once it is delivered: a picture that nobody must wait for."""

    def add(self, message: Message, seconds: float) -> str:
        """Add it within `seconds`; what hindered it in words without secrets, else empty. Never raises."""
        ...


def add(sender: Sender, message: Message, receipt: Receipt) -> str:
    """What the sender adds to a message with that receipt. It never changes the receipt; words say what hindered it."""
    delivered = receipt.outcome is Outcome.DELIVERED
    return sender.add(message, ADDING_SECONDS) if delivered and isinstance(sender, Adding) else ""


def _nothing(_url: str, _secrets: Sequence[str]) -> None:
    return None


def _nowhere(_url: str) -> Collection[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Kind:
    """What there is to know of a native kind of channel: all that a URL's scheme decides.

    `sender` takes the URL and the signing secrets. `explain` says why a URL cannot be used, `remark` what is odd about
    one that can; neither may repeat a secret. `public` are the parts of a URL that may be shown although they look
    like tokens. `pager`: it wakes somebody. `signs`: it takes signing secrets (`secret:` in rules.yaml). `texts`: which
    texts an operator may write for it. `resent`: how often it is told what is firing, again, as it may forget; None: it
    remembers. `keyed`: the service, or whoever reads there, knows a repeated message by its id.
    """

    schemes: tuple[str, ...]
    sender: Callable[[str, Sequence[str]], Sender]
    explain: Callable[[str], str | None]
    remark: Callable[[str, Sequence[str]], str | None] = _nothing
    public: Callable[[str], Collection[str]] = _nowhere
    flavour: Flavour = Flavour.TEXT
    pager: bool = False
    signs: bool = False
    texts: tuple[str, ...] = ("title", "body")
    resent: timedelta | None = None
    keyed: bool = False
