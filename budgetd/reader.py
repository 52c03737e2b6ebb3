"""One poll of the outside: names now and then, the bill each time; what went wrong is part of the answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

from budgetd.evaluation import Observation
from budgetd.model import Failure, Organisation, SourceError, Workspace
from budgetd.pricing import UsageDay
from budgetd.sources import Account, Source
from budgetd.sources.usage_report import UsageReport

# Workspaces are made and renamed rarely, and a name that is an hour old does no harm.
NAMES_EVERY = timedelta(hours=1)
# So many billed days teach prices; older ones have taught theirs.
LESSON = timedelta(days=8)


class Reader:
    """Reads a source and the account's names. It decides nothing, and keeps nothing that must survive.

    `pinned` is the organisation that the state belongs to: a key of another one is refused, never mixed in.
    `skew` tells by how many seconds the service's clock was ahead of ours at its last answer. `key` tells the present
    key from those before it: whose it is is asked before anything is read with it.
    """

    def __init__(
        self,
        source: Source,
        account: Account,
        pinned: Organisation | None,
        skew: Callable[[], float | None] = lambda: None,
        key: Callable[[], int] = lambda: 0,
    ) -> None:
        self.source = source
        self._skew = skew
        self._key = key
        self._asked_key = 0
        self._account = account
        self._pinned = pinned
        self._organisation: Organisation | None = None
        self._asked_names: datetime | None = None
        self._asked_since: date | None = None

    def observe(self, now: datetime, since: date | None) -> Observation:
        """What a poll at `now` brings; never raises SourceError. `since`: the first UTC day that is lacking."""
        workspaces: tuple[Workspace, ...] | None = None
        try:
            key = self._key()
            if self._organisation is None or key != self._asked_key or self._names_are_old(now):
                self._organisation = self._own_organisation()
                workspaces = self._workspaces()
                self._asked_names, self._asked_key = now, key
            report, used = self.source.read(now, self._history(since)), self._lessons()
            self._look_at_key_again()
        except SourceError as error:
            return Observation(self.source.name, None, error, self._organisation, workspaces)
        self._asked_since = since or self._asked_since
        return Observation(self.source.name, report, None, self._organisation, workspaces, self._skew(), used)

    def _look_at_key_again(self) -> None:
        """A key that was changed while it was in use may have read a part of what was read. Raises SourceError."""
        if self._key() != self._asked_key:
            try:
                self._own_organisation()
            except SourceError:
                self.source.forget()
                raise

    def _lessons(self) -> tuple[UsageDay, ...]:
        """Closed days of use that have a bill, to learn prices from. None for a source that is itself the bill."""
        return ()

    def _history(self, since: date | None) -> date | None:
        """A day that was asked for and not served does not exist: it is not asked for at every poll."""
        asked = self._asked_since
        return since if since is not None and (asked is None or since < asked) else None

    def _names_are_old(self, now: datetime) -> bool:
        return self._asked_names is None or not timedelta(0) <= now - self._asked_names < NAMES_EVERY

    def _own_organisation(self) -> Organisation:
        found = self._account.organisation()
        if self._pinned is not None and found.id != self._pinned.id:
            raise SourceError(
                Failure.FOREIGN,
                f"the admin key belongs to organisation {found.name} ({found.id}), but the state is that of "
                f"{self._pinned.name} ({self._pinned.id}): use that organisation's key, or another BUDGETD_DATABASE",
            )
        self._pinned = found
        return found

    def _workspaces(self) -> tuple[Workspace, ...] | None:
        """The workspaces, or None: without them alerts carry ids or last known names, but they go out."""
        try:
            return self._account.workspaces()
        except SourceError:
            return None


class UsageReader(Reader):
    """Reads same-day use, and after each new bill the closed days that prices are learned from.

    `billed_through` tells how far the bill reaches (None: not known).
    """

    def __init__(
        self,
        source: UsageReport,
        account: Account,
        pinned: Organisation | None,
        billed_through: Callable[[], datetime | None],
        skew: Callable[[], float | None] = lambda: None,
        key: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(source, account, pinned, skew, key)
        self._usage = source
        self._billed_through = billed_through
        self._learned_from: datetime | None = None

    def _lessons(self) -> tuple[UsageDay, ...]:
        billed = self._billed_through()
        if billed is None or billed == self._learned_from:
            return ()
        try:
            days = self._usage.usage_days((billed - LESSON).date(), billed.date())
        except SourceError:
            return ()  # the next poll asks again; prices are known well enough meanwhile
        self._learned_from = billed
        return days
