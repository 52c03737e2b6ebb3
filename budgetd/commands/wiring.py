"""The parts put together: settings and rules in, a state, a reader, an evaluator and an outbox out."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from budgetd import logs, moving
from budgetd.channels import registry
from budgetd.channels.explain import explain_elsewhere
from budgetd.daemon import Equipment
from budgetd.environment import with_dotenv
from budgetd.evaluation import Evaluator, Judge
from budgetd.http import Api, ping
from budgetd.model import Failure, Label, Reason, Severity, SourceError
from budgetd.reader import Reader
from budgetd.readers import Connection, readers
from budgetd.rulebook import Rulebook, RulebookError, load
from budgetd.settings import Settings, SettingsError
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
    channels = rulebook.destinations
    for channel in channels.values():
        logs.hide(*registry.secrets(channel.url, channel.secrets).forms)
    senders = {name: registry.sender(channel.url, channel.secrets) for name, channel in channels.items()}
    return Equipment(senders, {name: registry.flavour(channel.url) for name, channel in channels.items()})


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
    moving.take_up(store, evaluator, now)
    if store.recovered_from is not None:
        about = Label("state", f"state/{now.isoformat()}", "the state")
        evaluator.tell(about, Reason.STATE_RESTORED, Severity.WARNING, store.recovered_from, now)


def heartbeat(settings: Settings) -> Callable[[], None]:
    """Pings the heartbeat URL, when there is one, in a thread of its own."""
    url = settings.heartbeat_url
    if url is None:
        return lambda: None
    return lambda: threading.Thread(target=ping, args=(url,), name="heartbeat", daemon=True).start()
