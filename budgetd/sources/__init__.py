"""Where money is read from: one file for each place."""

from __future__ import annotations

from datetime import date, datetime
from typing import Protocol

from budgetd.model import Organisation, Report, Workspace


class Source(Protocol):
    """A place that says what was spent. It touches the network; it decides nothing."""

    @property
    def name(self) -> str:
        """The name that status, logs and the state know it by."""
        ...

    def read(self, now: datetime, since: date | None) -> Report:
        """All that may have changed by `now`, and everything from the UTC day `since` on if that is earlier.

        Whole or not at all: raises SourceError and returns nothing partial.
        """
        ...

    def forget(self) -> None:
        """Take everything for new at the next reading: what the last one returned was not kept."""
        ...


class Account(Protocol):
    """Who the organisation is and what its workspaces are called."""

    def organisation(self) -> Organisation:
        """The organisation of the key. Raises SourceError."""
        ...

    def workspaces(self) -> tuple[Workspace, ...]:
        """Every workspace, archived ones included. Raises SourceError."""
        ...
