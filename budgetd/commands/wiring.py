"""The parts put together: settings and rules in, a state, a reader, an evaluator and an outbox out."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from budgetd import logs
from budgetd.channels import registry
from budgetd.channels.explain import explain_elsewhere
from budgetd.daemon import Equipment
from budgetd.environment import with_dotenv
from budgetd.evaluation import Evaluator, Judge
from budgetd.http import Api, Getter, ping
from budgetd.model import Failure, Label, Reason, Severity, SourceError
from budgetd.pricing import RateTable
from budgetd.reader import Directory, Line, OptionalReader, Reader, UsageReader
from budgetd.rulebook import Rulebook, RulebookError, load
from budgetd.settings import Settings, SettingsError
from budgetd.sources.account import AdminAccount
from budgetd.sources.analytics import BETA as ANALYTICS_BETA
from budgetd.sources.analytics import Analytics
from budgetd.sources.cost_report import CostReport
from budgetd.sources.usage_report import UsageReport
from budgetd.store import Memory
from budgetd.stores.sqlite import SqliteStore

EXIT_DONE, EXIT_FAILED, EXIT_CONFIGURATION = 0, 1, 78


class ConfigurationError(Exception):
    """What stands in settings or rules does not do; the text names every mistake and its mend."""


def settings_or_error() -> Settings:
    """The settings of this process. Raises ConfigurationError."""
    try:
        return Settings.load(os.environ, Path.cwd(), terminal=sys.stderr.isatty())
    except SettingsError as error:
        raise ConfigurationError(str(error)) from None


def rules(settings: Settings) -> Rulebook:
    """The rules that the settings name, their channels' URLs included. Raises RulebookError."""
    environment = with_dotenv(os.environ, Path.cwd())
    rulebook = load(settings.rules, environment=environment, betas=settings.api_betas)
    wrong = explain_elsewhere(channel.url for channel in rulebook.channels.values())
    if wrong:
        # Read again, so that the mistakes come with their places.
        load(settings.rules, environment=environment, explain=wrong.get)
    return rulebook


def rules_or_error(settings: Settings) -> Rulebook:
    """The same at a start. Raises ConfigurationError."""
    try:
        return rules(settings)
    except RulebookError as error:
        raise ConfigurationError(str(error)) from None


def complain(error: Exception | str) -> None:
    """What went wrong, on stderr, in its own words."""
    print(f"budgetd: {error}", file=sys.stderr)


def equip(rulebook: Rulebook) -> Equipment:
    """The way out to each channel. Apprise itself is loaded at the first message."""
    channels = rulebook.channels
    for channel in channels.values():
        logs.hide(*registry.secrets(channel.url, channel.secrets).forms)
    senders = {name: registry.sender(channel.url, channel.secrets) for name, channel in channels.items()}
    return Equipment(senders, {name: registry.flavour(channel.url) for name, channel in channels.items()})


class Connection(Getter, Line, Protocol):
    """One way to the API, for one reader in one thread."""


@contextlib.contextmanager
def connected(settings: Settings, known: Memory, judge: Judge) -> Iterator[tuple[Reader, ...]]:
    """The readers of the organisation's spend, the bill's first, for a state that knows so much.

    Raises ConfigurationError without a key, or for an address unfit for one.
    """
    with contextlib.ExitStack() as stack:

        def connect(*betas: str) -> Connection:
            api = _api(settings, betas)
            stack.callback(api.close)
            return api

        try:
            settings.admin_key()
            made = readers(settings.source, settings.api_betas, connect, known, judge)
        except (SettingsError, ValueError) as error:
            raise ConfigurationError(str(error)) from None
        yield made


def readers(
    source: str, betas: Sequence[str], connect: Callable[..., Connection], known: Memory, judge: Judge
) -> tuple[Reader, ...]:
    """The readers that BUDGETD_SOURCE asks for, the bill's first. `connect` is given the betas that one needs besides.

    Each has a connection of its own, as each reads in a thread of its own.
    """
    directory = Directory()
    if source == "analytics":
        line = connect(ANALYTICS_BETA)
        account = AdminAccount(line)
        return (Reader(_analytics(line, account, known, judge, history=True), account, known.organisation, line),)
    bill = _bill_reader(connect(), known, directory)
    if source == "cost_report":
        return (bill,)
    priced = _priced_hours_reader(connect(ANALYTICS_BETA), known, judge, directory)
    return bill, priced, _usage_reader(connect(), betas, known, judge, directory)


def _bill_reader(line: Connection, known: Memory, directory: Directory) -> Reader:
    report = CostReport(line, through=known.throughs.get(CostReport.NAME))
    return Reader(report, AdminAccount(line), known.organisation, line, directory)


def _priced_hours_reader(line: Connection, known: Memory, judge: Judge, directory: Directory) -> Reader:
    account = AdminAccount(line)
    hours = _analytics(line, account, known, judge, history=False)
    return OptionalReader(hours, account, known.organisation, line, directory)


def _analytics(line: Connection, account: AdminAccount, known: Memory, judge: Judge, *, history: bool) -> Analytics:
    billed = known.throughs.get(CostReport.NAME)
    return Analytics(
        line,
        lambda: account.default_workspace,
        unlisted=account.unlisted,
        billed_through=lambda: judge.billed_through or billed,
        history=history,
    )


def _usage_reader(line: Connection, betas: Sequence[str], known: Memory, judge: Judge, directory: Directory) -> Reader:
    # Before anything was judged prices are what the state has: the list's would raise false alarms.
    rates, billed = RateTable.from_rows(known.rates), known.throughs.get(CostReport.NAME)
    return UsageReader(
        UsageReport(line, lambda: judge.rates or rates, lambda: judge.billed_through or billed, betas=betas),
        AdminAccount(line),
        known.organisation,
        line,
        directory,
        lambda: judge.billed_through,
        lambda: bool((judge.rates or rates).learned),
    )


def _api(settings: Settings, betas: tuple[str, ...] = ()) -> Api:
    def key() -> str:
        # Looked up at each request; one that went away after the start is a refused key, not the end.
        try:
            found = settings.admin_key()
        except SettingsError as error:
            raise SourceError(Failure.REFUSED, str(error)) from None
        logs.hide(found)
        return found

    return Api(
        settings.api_url,
        key,
        version=settings.api_version,
        betas=tuple(dict.fromkeys((*settings.api_betas, *betas))),
        proxy=settings.api_proxy,
        ca_file=settings.ca_file,
    )


def take_up(store: SqliteStore, evaluator: Evaluator, now: datetime) -> None:
    """Where the last process left off: attempts that it could not end, a state that had to be restored."""
    store.interrupted(now)
    if store.recovered_from is not None:
        about = Label("state", f"state/{now.isoformat()}", "the state")
        evaluator.tell(about, Reason.STATE_RESTORED, Severity.WARNING, store.recovered_from, now)


def heartbeat(settings: Settings) -> Callable[[], None]:
    """Pings the heartbeat URL, when there is one, in a thread of its own."""
    url = settings.heartbeat_url
    if url is None:
        return lambda: None
    return lambda: threading.Thread(target=ping, args=(url,), name="heartbeat", daemon=True).start()
