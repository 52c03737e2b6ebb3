"""One poll of the outside: names now and then, a source each time; what went wrong is part of the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Protocol

from budgetd.evaluation import Observation
from budgetd.model import Failure, Organisation, Report, SourceError, Workspace
from budgetd.pricing import UsageDay
from budgetd.sources import Account, Source
from budgetd.sources.usage_report import UsageReport

# Workspaces are made and renamed rarely, and a name that is an hour old does no harm.
NAMES_EVERY = timedelta(hours=1)
# A reader that others ask for lets them be late, and only then asks itself.
NAMES_AT_LAST = timedelta(hours=2)
# So many billed days teach prices; older ones have taught theirs.
LESSON = timedelta(days=8)
# So many polls wait for the first bill to teach prices, and for the vendor's own hours; then it goes on without.
MOST_POLLS_WAITED = 60


class Line(Protocol):
    """A reader's own connection, as far as it matters beside what it reads."""

    @property
    def requests(self) -> int:
        """How many were sent so far."""
        ...

    @property
    def last_skew(self) -> float | None:
        """The seconds by which the service's clock was ahead of ours at the last answer; None: it did not say."""
        ...

    def key_mark(self) -> str:
        """The same text as long as the key is the same, on every line of the process. It tells nothing of the key."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """Whose key it was, and what its workspaces were called, `at` that time. Workspaces None: they were not told."""

    at: datetime
    key: str
    organisation: Organisation
    workspaces: tuple[Workspace, ...] | None = None


class Directory:
    """The names that a reader found last, for all readers of an organisation: they are asked for once.

    For any thread: what was found is replaced, never changed.
    """

    def __init__(self) -> None:
        self.last: Found | None = None

    def recent(self, now: datetime, longest: timedelta, key: str) -> Found | None:
        """What was found with that key in the last `longest`; None when it must be asked for, also after a clock that
        went back.
        """
        found = self.last
        if found is None or found.key != key:
            return None
        return found if timedelta(0) <= now - found.at < longest else None


class Reader:
    """Reads a source and the account's names. It decides nothing, and keeps nothing that must survive.

    `pinned` is the organisation that the state belongs to: a key of another one is refused, never mixed in; whose a key
    is is asked before anything is read with it. `directory` is where the names are that another reader asked for.
    """

    # It asks when what is in the directory is as old as that.
    names_every = NAMES_EVERY

    def __init__(
        self,
        source: Source,
        account: Account,
        pinned: Organisation | None,
        line: Line,
        directory: Directory | None = None,
    ) -> None:
        self.source = source
        self._account = account
        self._pinned = pinned
        self._line = line
        self._directory = directory or Directory()
        self._names: Found | None = None
        self._counted = 0
        self._asked_since: date | None = None

    def observe(self, now: datetime, since: date | None) -> Observation:
        """What a poll at `now` brings; never raises SourceError. `since`: the first UTC day that is lacking."""
        observation = self._read(now, since)
        # From the last poll's end on: a poll that ended in an unforeseen way is counted with the next one.
        before, self._counted = self._counted, self._line.requests
        return replace(observation, requests=self._counted - before)

    def _read(self, now: datetime, since: date | None) -> Observation:
        workspaces: tuple[Workspace, ...] | None = None
        try:
            workspaces = self._new_names(now)
            report, used = self._report(now, since), self._lessons()
            self._look_at_key_again()
        except SourceError as error:
            return Observation(self.source.name, None, error, self._organisation(), workspaces)
        self._asked_since = since or self._asked_since
        skew = self._line.last_skew
        return Observation(self.source.name, report, None, self._organisation(), workspaces, skew, used)

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

    # --- whose key it is, and what things are called -----------------------------------------------

    def _organisation(self) -> Organisation | None:
        return self._names.organisation if self._names is not None else None

    def _new_names(self, now: datetime) -> tuple[Workspace, ...] | None:
        """The workspaces, when somebody has asked since this reader told them. Raises SourceError for a foreign key."""
        found = self._directory.recent(now, self.names_every, self._line.key_mark())
        if found is None or self._is_foreign(found.organisation):
            # Whether the key still is another organisation's, each reader sees for itself.
            found = self._ask(now)
        if found is self._names:
            return None
        self._names, self._pinned = found, found.organisation
        return found.workspaces

    def _ask(self, now: datetime) -> Found:
        key, organisation = self._line.key_mark(), self._account.organisation()
        if self._is_foreign(organisation):
            self._directory.last = Found(now, key, organisation)
            raise self._refusal(organisation)
        self._directory.last = found = Found(now, key, organisation, self._workspaces())
        return found

    def _look_at_key_again(self) -> None:
        """A key that was changed while it was in use may have read a part of what was read. Raises SourceError."""
        if self._names is None or self._line.key_mark() == self._names.key:
            return
        try:
            organisation = self._account.organisation()
            if self._is_foreign(organisation):
                raise self._refusal(organisation)
        except SourceError:
            self.source.forget()
            raise

    def _is_foreign(self, organisation: Organisation) -> bool:
        return self._pinned is not None and organisation.id != self._pinned.id

    def _refusal(self, found: Organisation) -> SourceError:
        pinned = self._pinned or found
        return SourceError(
            Failure.FOREIGN,
            f"the admin key belongs to organisation {found.name} ({found.id}), but the state is that of "
            f"{pinned.name} ({pinned.id}): use that organisation's key, or another BUDGETD_DATABASE",
        )

    def _workspaces(self) -> tuple[Workspace, ...] | None:
        """The workspaces, or None: without them alerts carry ids or last known names, but they go out."""
        try:
            return self._account.workspaces()
        except SourceError:
            return None


class UsageReader(Reader):
    """Reads same-day use, and after each new bill the closed days that prices are learned from.

    `billed_through` tells how far the bill reaches (None: not known), `knows_prices` whether any bill taught one,
    `hours_asked` whether it is known by now if the vendor has priced hours itself. Until both are so the first polls
    bring no report but lessons: an estimate at list prices would raise false alarms wherever there is a discount, and
    one in the place of hours that the vendor had priced would change figures at each start. It is not waited for
    without end.
    """

    # They are the reader of the bill's to ask for.
    names_every = NAMES_AT_LAST

    def __init__(
        self,
        source: UsageReport,
        account: Account,
        pinned: Organisation | None,
        line: Line,
        directory: Directory,
        billed_through: Callable[[], datetime | None],
        knows_prices: Callable[[], bool],
        hours_asked: Callable[[], bool],
    ) -> None:
        super().__init__(source, account, pinned, line, directory)
        self._usage = source
        self._billed_through = billed_through
        self._knows_prices = knows_prices
        self._hours_asked = hours_asked
        self._learned_from: datetime | None = None
        self._patience = MOST_POLLS_WAITED

    def _report(self, now: datetime, since: date | None) -> Report | None:
        self._patience -= 1
        if self._patience >= 0 and not (self._may_price() and self._hours_asked()):
            return None
        self._patience = 0
        return super()._report(now, since)

    def _may_price(self) -> bool:
        return self._learned_from is not None or self._knows_prices()

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


class OptionalReader(Reader):
    """Reads a source that is good to have: without it others know as much, only later or less of it.

    What goes wrong is the reason why it was not used, and nobody is blind for that.
    """

    names_every = NAMES_AT_LAST
    asked = False
    """Whether it was asked by this process, whatever came of it. For any thread."""

    def observe(self, now: datetime, since: date | None) -> Observation:
        try:
            return super().observe(now, since)
        finally:
            self.asked = True

    def _read(self, now: datetime, since: date | None) -> Observation:
        seen = super()._read(now, since)
        return replace(seen, optional=seen.error is None or seen.error.failure is not Failure.FOREIGN)
