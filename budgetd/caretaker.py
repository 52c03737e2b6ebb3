"""When the state cannot be written for now: alerts go on from memory, people are told once, and it mends itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from budgetd.evaluation import Evaluator
from budgetd.model import Label, Reason, Severity, identity
from budgetd.store import Store, StoreError
from budgetd.wording import instant

log = logging.getLogger("budgetd")

# Seconds. Another program's lock usually passes: a backup, somebody who looks.
LOCK_PATIENCE = 60.0
# Two locks further apart than this are two locks, not one that lasts.
LOCK_APART = 45.0
HOME_RETRY = 30.0
# Only after so long in its file it is told that the state is there again: on the brink of full it may go to and fro.
HOME_CALM = 300.0

Result = TypeVar("Result")


@dataclass(slots=True)
class Caretaker:
    """Moves the state between its file and its refuge. `steady` is the steady clock's time in seconds."""

    store: Store
    evaluator: Evaluator
    _locked_first: float = 0.0
    _locked_last: float | None = None
    _since: datetime | None = None
    _next_try: float = 0.0
    _home_since: float = 0.0

    @property
    def status(self) -> str:
        """What the operator should know, in a few words; empty when all is well."""
        return "" if self.store.refuge is None else f"the state is kept in memory only: {self.store.refuge}"

    def helps(self, error: StoreError, now: datetime, steady: float) -> bool:
        """After a write that failed for now: whether the same thing can be done at once, in memory. Raises StoreError.

        A full or read-only disk is left at once, a locked state after a minute.
        """
        if self.store.refuge is not None or (error.locked and not self._locked_for_long(steady)):
            return False
        try:
            self.store.take_refuge(str(error))
        except StoreError as unreadable:
            if not unreadable.transient:
                raise
            return False
        self._enter(now, steady)
        return True

    def doing(self, act: Callable[[], Result], now: datetime, steady: float) -> Result:
        """Do it, in memory where need be. Raises StoreError when that does not help."""
        try:
            self.look_after(now, steady)
            return act()
        except StoreError as error:
            if not error.transient or not self.helps(error, now, steady):
                raise
        return act()

    def look_after(self, now: datetime, steady: float) -> None:
        """To be called every now and then: goes home when that is possible, and tells people. Raises StoreError."""
        if self.store.refuge is None:
            if self._since is not None and steady - self._home_since >= HOME_CALM:
                self._tell_home(now)
        elif self._since is None:
            self._enter(now, steady)
        elif steady >= self._next_try:
            self._try_home(now, steady)

    def leave(self, now: datetime) -> bool:
        """Before the process ends: whether all that is known is written. Raises StoreError."""
        if self.store.refuge is not None:
            try:
                self.store.go_home(now)
            except StoreError as error:
                if not error.transient:
                    raise
                log.critical("ending with the state in memory only: what was told since may be told again: %s", error)
                return False
        if self._since is not None:
            # The next process sends it.
            self._tell_home(now)
        return True

    def _locked_for_long(self, steady: float) -> bool:
        if self._locked_last is None or steady - self._locked_last > LOCK_APART:
            self._locked_first = steady
        self._locked_last = steady
        return steady - self._locked_first >= LOCK_PATIENCE

    def _enter(self, now: datetime, steady: float) -> None:
        log.critical("the state is kept in memory only, alerts go on: %s", self.store.refuge)
        self._since = self._since or now
        self._next_try = steady + HOME_RETRY
        self._tell_refuge(now)

    def _try_home(self, now: datetime, steady: float) -> None:
        self._next_try = steady + HOME_RETRY
        try:
            self.store.go_home(now)
        except StoreError as error:
            if not error.transient:
                raise
            log.warning("the state still cannot be written: %s", error)
            self._tell_refuge(now)
        else:
            log.warning("the state is written to its file again")
            self._home_since = steady

    def _tell_refuge(self, now: datetime) -> None:
        if self._since is not None and self.store.refuge is not None:
            self._tell(Reason.STATE_IN_MEMORY, Severity.WARNING, self.store.refuge, now)

    def _tell_home(self, now: datetime) -> None:
        if self._since is not None:
            text = f"It was kept in memory since {instant(self._since)}"
            self._tell(Reason.STATE_WRITTEN_AGAIN, Severity.INFO, text, now)
            self._since = None

    def _tell(self, reason: Reason, severity: Severity, text: str, now: datetime) -> None:
        # One message for each cause of one trouble, however often it is tried.
        about = Label("state", identity("state", self._since, text), "the state")
        self.evaluator.tell(about, reason, severity, text, now)


__all__ = ["Caretaker"]
