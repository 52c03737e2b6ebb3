"""Where the process can be killed: before and after every commit, before and after a service takes a message."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from budgetd.stores.database import Database


class BrokenPromiseError(AssertionError):
    """The daemon did not do what it promises."""


class Crash(BaseException):
    """The process is gone. Not an Exception: nothing in the program may catch it."""


class Crashes:
    """Decides at which points the process dies: by chance, or at one point only.

    `likelihood` is that of dying at any one point; `only` the number of the one point, from 1.
    """

    def __init__(self, chance: random.Random, likelihood: float = 0.0, only: int | None = None) -> None:
        self.armed = True
        self.points = 0
        self.happened: Counter[str] = Counter()
        self._chance = chance
        self._likelihood = likelihood
        self._only = only

    def point(self, name: str) -> None:
        """A point at which a process may die. Raises Crash."""
        if not self.armed:
            return
        self.points += 1
        hit = self.points == self._only if self._only is not None else self._chance.random() < self._likelihood
        if hit:
            self.happened[name] += 1
            raise Crash(name)


def database_kind(crashes: Crashes, committed: Callable[[], None]) -> type[Database]:
    """A Database that can die around its COMMIT, tells of every commit, and does not wait for the disk."""

    class Mortal(Database):
        def pragma(self, text: str) -> None:
            super().pragma("synchronous = OFF" if text.startswith("synchronous") else text)

        def commit(self) -> None:
            crashes.point("before a commit")
            super().commit()
            committed()
            crashes.point("after a commit")

    return Mortal
