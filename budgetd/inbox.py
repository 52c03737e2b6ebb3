"""What comes to the loop: answers, readings, and what somebody asks; everything that can block answers through it."""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass

from budgetd.delivery import Answer
from budgetd.desk import Ask, DeskError
from budgetd.evaluation import Observation


@dataclass(frozen=True, slots=True)
class Read:
    """Into the inbox: what a poll brought."""

    observation: Observation


@dataclass(frozen=True, slots=True)
class Reload:
    """Into the inbox: read the rules again."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Into the inbox: somebody wants something done; what came of it goes to `answer`."""

    ask: Ask
    answer: Callable[[str | DeskError], None]


@dataclass(frozen=True, slots=True)
class Stop:
    """Into the inbox: end now."""


Item = Read | Answer | Asked | Reload | Stop
Inbox = queue.SimpleQueue[Item]
