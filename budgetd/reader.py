"""One poll of the outside: names now and then, the bill each time; what went wrong is part of the answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

from budgetd.evaluation import Observation
from budgetd.model import Failure, Organisation, Report, SourceError, Workspace
from budgetd.pricing import UsageDay
from budgetd.sources import Account, Source
from budgetd.sources.usage_report import UsageReport

# Workspaces are made and renamed rarely, and a name that is an hour old does no harm.
NAMES_EVERY = timedelta(hours=1)
# So many billed days teach prices; older ones have taught theirs.
LESSON = timedelta(days=8)
# So many polls wait for the first bill to teach prices; then the list's have to do.
MOST_POLLS_WITHOUT_PRICES = 60


class Reader:
    """Reads a source and the account's names. It decides nothing, and keeps nothing that must survive.

    `pinned` is the organisation that the state belongs to: a key of another one is refused, never mixed in.
    `skew` tells by how many seconds the service's clock was ahead of ours at its last answer.
    """

    def __init__(
        self,
        source: Source,
        account: Account,
        pinned: Organisation | None,
        skew: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.source = source
        self._skew = skew
        self._account = account
        self._pinned = pinned
        self._organisation: Organisation | None = None
        self._asked_names: datetime | None = None
        self._asked_since: date | None = None

    def observe(self, now: datetime, since: date | None) -> Observation:
        """What a poll at `now` brings; never raises SourceError. `since`: the first UTC day that is lacking."""
        workspaces: tuple[Workspace, ...] | None = None
        try:
            if self._organisation is None or self._names_are_old(now):
                self._organisation = self._own_organisation()
                workspaces = self._workspaces()
                self._asked_names = now
            report = self._report(now, since)
        except SourceError as error:
            return Observation(self.source.name, None, error, self._organisation, workspaces)
        self._asked_since = since or self._asked_since
        used = self._lessons()
        return Observation(self.source.name, report, None, self._organisation, workspaces, self._skew(), used)

    def _report(self, now: datetime, since: date | None) -> Report | None:
        """The source's report; None when it is too early for one. Raises SourceError."""
        return self.source.read(now, self._history(since))

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
                Failure.REFUSED,
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

    `billed_through` tells how far the bill reaches (None: not known), `knows_prices` whether any bill taught one. Until
    then the first polls bring no report but lessons, once the bill is there: an estimate at list prices would raise
    false alarms wherever there is a discount. It is not waited for without end.
    """

    def __init__(
        self,
        source: UsageReport,
        account: Account,
        pinned: Organisation | None,
        billed_through: Callable[[], datetime | None],
        knows_prices: Callable[[], bool],
        skew: Callable[[], float | None] = lambda: None,
    ) -> None:
        super().__init__(source, account, pinned, skew)
        self._usage = source
        self._billed_through = billed_through
        self._knows_prices = knows_prices
        self._learned_from: datetime | None = None
        self._patience = MOST_POLLS_WITHOUT_PRICES

    def _report(self, now: datetime, since: date | None) -> Report | None:
        self._patience -= 1
        if self._patience >= 0 and self._learned_from is None and not self._knows_prices():
            return None
        self._patience = 0
        return super()._report(now, since)

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
