"""The parts put together: settings and rules in, a state, a reader, an evaluator and an outbox out."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from budgetd import logs
from budgetd.channels.apprise import AppriseSender
from budgetd.channels.explain import explain_elsewhere
from budgetd.channels.urls import Secrets
from budgetd.daemon import Equipment
from budgetd.environment import with_dotenv
from budgetd.evaluation import Evaluator, Judge
from budgetd.http import Api, ping
from budgetd.model import Failure, Label, Reason, Severity, SourceError
from budgetd.pricing import RateTable
from budgetd.reader import Reader, UsageReader
from budgetd.rulebook import Rulebook, RulebookError, load
from budgetd.settings import Settings, SettingsError
from budgetd.sources.account import AdminAccount
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
    for channel in rulebook.channels.values():
        logs.hide(*Secrets(channel.url).forms)
    senders = {name: AppriseSender(channel.url) for name, channel in rulebook.channels.items()}
    return Equipment(senders, {name: sender.flavour for name, sender in senders.items()})


@contextlib.contextmanager
def connected(settings: Settings, known: Memory, judge: Judge) -> Iterator[tuple[Reader, ...]]:
    """The readers of the organisation's spend, the bill's first, for a state that knows so much.

    Each has a connection of its own, as each reads in a thread of its own. Raises ConfigurationError without a key, or
    for an address unfit for one.
    """
    try:
        settings.admin_key()
        apis = [_api(settings)] if settings.source == "cost_report" else [_api(settings), _api(settings)]
    except (SettingsError, ValueError) as error:
        raise ConfigurationError(str(error)) from None
    with contextlib.ExitStack() as stack:
        for api in apis:
            stack.callback(api.close)
        bill = _bill_reader(apis[0], known)
        yield (bill, *(_usage_reader(api, settings, known, judge) for api in apis[1:]))


def _bill_reader(api: Api, known: Memory) -> Reader:
    report = CostReport(api, through=known.throughs.get(CostReport.NAME))
    return Reader(report, AdminAccount(api), known.organisation, lambda: api.last_skew, api.key_number)


def _usage_reader(api: Api, settings: Settings, known: Memory, judge: Judge) -> Reader:
    # Before anything was judged prices are what the state has: the list's would raise false alarms.
    rates, billed = RateTable.from_rows(known.rates), known.throughs.get(CostReport.NAME)
    report = UsageReport(
        api, lambda: judge.rates or rates, lambda: judge.billed_through or billed, betas=settings.api_betas
    )
    account, skew = AdminAccount(api), lambda: api.last_skew
    return UsageReader(report, account, known.organisation, lambda: judge.billed_through, skew, api.key_number)


def _api(settings: Settings) -> Api:
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
        betas=settings.api_betas,
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
