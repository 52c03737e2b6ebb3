"""rules.yaml -> values, or every mistake at file:line:column."""

from __future__ import annotations

import codecs
import gc
import hashlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from budgetd.channels import registry
from budgetd.channels.signature import why_no_secret
from budgetd.environment import UnavailableError, read_regular
from budgetd.model import Match, Severity
from budgetd.mutes import takes
from budgetd.nearest import nearest
from budgetd.quiet import Quiet
from budgetd.rulefile import checks, oddities, own_texts
from budgetd.rulefile.checks import Book
from budgetd.rulefile.faults import Fault, Way, shape_faults
from budgetd.rulefile.mistakes import MOST_SHOWN, Mistake, Source, report
from budgetd.rulefile.references import Explain, expand, is_pager, scheme_of, why_unusable
from budgetd.rulefile.shape import FALL_BACK_AFTER, DigestPart, RouteMatch, RulesFile
from budgetd.rulefile.yaml_text import PARSERS, Document, Parser, Place, read
from budgetd.rules import Rule
from budgetd.scope import Group

# 10,000 rules are about 2 MiB.
MOST_BYTES = 4 * 1024 * 1024
# Whoever has more mistakes than this has another kind of file.
MOST_FAULTS = 2_000

__all__ = ["Channel", "DigestPart", "Mistake", "Route", "Rulebook", "RulebookError", "load", "parse"]


@dataclass(frozen=True, slots=True)
class Channel:
    """A name for an Apprise URL. `page`: it wakes somebody. `secrets` sign what it sends.

    The channels of `fallback` get what it has not taken `after` that time. `texts`: the operator's own `title` and
    `body` for it, as templates.
    """

    name: str
    url: str = field(repr=False)
    page: bool
    secrets: tuple[str, ...] = field(default=(), repr=False)
    fallback: tuple[str, ...] = ()
    after: timedelta = FALL_BACK_AFTER
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """Which notices go to which channels. `match`: ((key, patterns), ...); without any, all of them."""

    match: Match
    notify: tuple[str, ...]

    def takes(self, labels: Mapping[str, Collection[str]]) -> bool:
        """Whether the route is for a notice that is known by these texts, by key.

        Every key of the route must have a pattern that matches one of the notice's texts for it.
        """
        return takes(self.match, labels)


@dataclass(frozen=True)
class Rulebook:
    """All that rules.yaml says. `digest` is that of its text: it changes with every edit and with nothing else."""

    channels: Mapping[str, Channel]
    groups: Mapping[str, Group]
    routes: tuple[Route, ...]
    default_severity: Severity
    rules: tuple[Rule, ...]
    digest: str
    quiet: tuple[Quiet, ...] = ()
    warnings: tuple[Mistake, ...] = field(default=(), compare=False)
    digests: tuple[DigestPart, ...] = ()
    retired: Mapping[str, Channel] = field(default_factory=dict, compare=False)
    """Ways out of earlier rules files that are still owed something; nothing new is sent there."""

    @cached_property
    def destinations(self) -> Mapping[str, Channel]:
        """All ways out."""
        return {**self.channels, **self.retired}

    @cached_property
    def pagers(self) -> frozenset[str]:
        """The channels that wake somebody."""
        return frozenset(name for name, channel in self.destinations.items() if channel.page)

    @property
    def resent(self) -> dict[str, timedelta]:
        """The channels that forget what fires, and how often they are told again."""
        return registry.resent({name: channel.url for name, channel in self.destinations.items()})

    @cached_property
    def keyed(self) -> frozenset[str]:
        """The channels whose services know a message that is sent twice as one."""
        return frozenset(name for name, channel in self.destinations.items() if registry.keyed(channel.url))

    @cached_property
    def by_id(self) -> Mapping[str, Rule]:
        """The rules by their ids."""
        return {rule.id: rule for rule in self.rules}


@dataclass(frozen=True, slots=True)
class _Known:
    """What the warnings need to know of the installation."""

    workspaces: Collection[str] | None
    betas: Collection[str]
    money_from: str


class RulebookError(Exception):
    """The file cannot be used. `mistakes` are all that were found, in the order of the file."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__(report(mistakes))
        self.mistakes = tuple(mistakes)


def load(
    path: Path,
    *,
    environment: Mapping[str, str],
    explain: Explain | None = None,
    workspaces: Collection[str] | None = None,
    betas: Collection[str] = (),
    money_from: str = "auto",
) -> Rulebook:
    """The rulebook in a file. Raises RulebookError with every mistake; see `parse` for the arguments."""
    try:
        content, status = read_regular(path, MOST_BYTES)
    except UnavailableError as error:
        raise RulebookError([Mistake(str(path), str(error))]) from None
    if len(content) != status.st_size:
        raise RulebookError([Mistake(str(path), "was written to while it was read; try again")])
    text = _decoded(content, path.name)
    return parse(
        text,
        path.name,
        environment=environment,
        explain=explain,
        workspaces=workspaces,
        betas=betas,
        money_from=money_from,
    )


def parse(
    text: str,
    name: str,
    *,
    environment: Mapping[str, str],
    explain: Explain | None = None,
    workspaces: Collection[str] | None = None,
    betas: Collection[str] = (),
    money_from: str = "auto",
    parser: Parser = PARSERS[0],
) -> Rulebook:
    """The rulebook that the text says. `name` is what mistakes call the file.

    `environment` is what `${NAME}` in `channels:` is looked up in; `explain` says why a URL cannot be used (or None).
    `workspaces`: the names and ids that are known; `betas`: those of the API that are switched on; `money_from`: what
    BUDGETD_SOURCE says. These only warn.
    Raises RulebookError.
    """
    with _without_collector():
        return _parse(text, name, environment, explain, _Known(workspaces, betas, money_from), parser)


def _parse(
    text: str,
    name: str,
    environment: Mapping[str, str],
    explain: Explain | None,
    known: _Known,
    parser: Parser,
) -> Rulebook:
    source = Source(name, text)
    document = read(text, parser)
    placed = [(complaint.place, Fault((), complaint.message)) for complaint in document.complaints]
    if not isinstance(document.value, dict):
        raise RulebookError(_in_order(placed, source) or [_no_mapping(document, name)])
    book = Book(document)
    file, faults = _shaped(document)
    channels, channel_faults = _channels(book, file, environment, explain)
    found = itertools.chain(faults, channel_faults, checks.mistakes(book), _digests_for_pagers(book, channels))
    placed += _placed(itertools.islice(found, MOST_FAULTS), document)
    placed += own_texts.mistakes(book, channels, text)
    placed += [(place, Fault((), _STRAY_REFERENCE)) for place in _stray_references(book)]
    if placed or file is None:
        raise RulebookError(_in_order(placed, source))
    odd = oddities.warnings(book, known.workspaces, known.betas, known.money_from)
    warnings = _in_order(_placed(itertools.chain(_remarks(channels), odd), document), source)
    return _rulebook(file, channels, hashlib.blake2b(text.encode(), digest_size=16).hexdigest(), tuple(warnings))


def _placed(faults: Iterable[Fault], document: Document) -> list[tuple[Place, Fault]]:
    return [(document.place(fault.way, of_key=fault.of_key), fault) for fault in faults]


_STRAY_REFERENCE = "${...} is only read in channels; anywhere else it would be taken as it stands"


def _rulebook(file: RulesFile, channels: Mapping[str, Channel], digest: str, warnings: tuple[Mistake, ...]) -> Rulebook:
    groups = {
        name: Group(name, part.workspaces or (), tuple(sorted(part.tags.items()))) for name, part in file.groups.items()
    }
    routes = tuple(Route(_patterns(part.match), part.notify) for part in file.routes)
    quiet = tuple(part.quiet(_patterns(part.match)) for part in file.quiet)
    severity = file.defaults.severity
    return Rulebook(channels, groups, routes, severity, file.rules, digest, quiet, warnings, file.digests)


def _patterns(match: RouteMatch) -> tuple[tuple[str, tuple[str, ...]], ...]:
    named = ((key, getattr(match, key)) for key in ("severity", "rule", "type"))
    return (*((key, patterns) for key, patterns in named if patterns is not None), *match.selection())


def _shaped(document: Document) -> tuple[RulesFile | None, list[Fault]]:
    try:
        return RulesFile.model_validate(document.value), []
    except ValidationError as error:
        return None, list(itertools.islice(shape_faults(error, document), MOST_FAULTS))


def _channels(
    book: Book, file: RulesFile | None, environment: Mapping[str, str], explain: Explain | None
) -> tuple[dict[str, Channel], list[Fault]]:
    """The channels with their references replaced. No fault holds a value."""
    channels: dict[str, Channel] = {}
    faults: list[Fault] = []
    for name, part in book.channels.items():
        way, written = _written_url(name, part)
        if written is None:
            continue
        url, complaints = expand(written, environment)
        if not complaints:
            reason = why_unusable(url, explain)
            complaints = [reason] if reason is not None else []
        faults += [Fault(way, complaint) for complaint in complaints]
        secrets, secret_faults = _secrets(_written_secrets(name, part), url, environment)
        faults += secret_faults
        page = checks.mapping(part).get("page")
        channels[name] = Channel(name, url, page if isinstance(page, bool) else is_pager(url), secrets)
        if file is not None:
            shaped = file.channels[name]
            channels[name] = replace(
                channels[name], fallback=shaped.fallback or (), after=shaped.after, texts=shaped.texts
            )
    return channels, faults


def _secrets(
    written: Sequence[tuple[Way, str]], url: str, environment: Mapping[str, str]
) -> tuple[tuple[str, ...], list[Fault]]:
    """The channel's signing secrets with their references replaced. No fault holds a value."""
    if written and scheme_of(url) is not None and not registry.signs(url):
        return (), [Fault(written[0][0][:3], "only webhook:// and webhooks:// sign what they send", of_key=True)]
    secrets: list[str] = []
    faults: list[Fault] = []
    for way, text in written:
        secret, complaints = expand(text, environment)
        reason = why_no_secret(secret)
        if reason is not None and not complaints:
            complaints = [reason]
        faults += [Fault(way, complaint) for complaint in complaints]
        secrets.append(secret)
    return tuple(secrets), faults


def _remarks(channels: Mapping[str, Channel]) -> Iterator[Fault]:
    """What is odd about channels that can be used."""
    for channel in channels.values():
        remark = registry.remark(channel.url, channel.secrets)
        if remark is not None:
            yield Fault(("channels", channel.name), remark, of_key=True, warning=True)


def _digests_for_pagers(book: Book, channels: Mapping[str, Channel]) -> Iterator[Fault]:
    for way, part in book.digests:
        for written in checks.words(way, part, "notify"):
            if written.word in channels and channels[written.word].page:
                message = f'"{written.word}" wakes somebody, and a digest never does; name another channel'
                yield Fault(written.way, message)


def _written_url(name: str, part: Any) -> tuple[Way, str | None]:
    if isinstance(part, str):
        return ("channels", name), part or None
    url = checks.mapping(part).get("url")
    return ("channels", name, "url"), url if isinstance(url, str) and url else None


def _written_secrets(name: str, part: Any) -> list[tuple[Way, str]]:
    secret = checks.mapping(part).get("secret")
    way: Way = ("channels", name, "secret")
    if isinstance(secret, str):
        return [(way, secret)] if secret else []
    return [((*way, n), each) for n, each in enumerate(checks.sequence(secret)) if isinstance(each, str) and each]


def _stray_references(book: Book) -> Iterable[Place]:
    ways = [_written_url(name, part)[0] for name, part in book.channels.items()]
    ways += [way for name, part in book.channels.items() for way, _ in _written_secrets(name, part)]
    allowed = {book.document.place(way) for way in ways}
    return (place for place in book.document.references if place not in allowed)


def _in_order(placed: Iterable[tuple[Place, Fault]], source: Source) -> list[Mistake]:
    """Mistakes by place. Of very many the later ones come without a suggestion."""
    ordered = sorted(placed, key=lambda item: item[0])
    meant = {index: _meant(fault) for index, (_, fault) in enumerate(ordered[:MOST_SHOWN])}
    explained = {(ordered[index][1].way[:-1], word) for index, word in meant.items() if word is not None}
    made: dict[Mistake, None] = {}
    for index, (place, fault) in enumerate(ordered):
        if fault.missing and (fault.way, fault.missing) in explained:
            continue
        word = meant.get(index)
        message = f'{fault.message}; did you mean "{word}"?' if word is not None else fault.message
        made[source.mistake(place, message, warning=fault.warning, bare=index >= MOST_SHOWN)] = None
    return list(made)


# What other programs call these keys.
_ALSO_CALLED = {
    "threshold": "limit",
    "budget": "limit",
    "amount": "limit",
    "period": "per",
    "name": "id",
    "channels": "notify",
    "filter": "match",
    "exclude": "except",
    "group_by": "for_each",
    "multiplier": "factor",
    "baseline": "against",
}


def _meant(fault: Fault) -> str | None:
    if not fault.word or not fault.choices:
        return None
    near = nearest(fault.word, fault.choices)
    if near is None and fault.of_key:
        near = _ALSO_CALLED.get(nearest(fault.word, _ALSO_CALLED) or "")
    return near if near in fault.choices else None


def _no_mapping(document: Document, name: str) -> Mistake:
    if document.value is None:
        return Mistake(name, "the file is empty; it needs version, channels and rules")
    return Mistake(name, "the file is not a mapping (key: value); it needs version, channels and rules", Place(1, 1))


def _decoded(content: bytes, name: str) -> str:
    """The text of a UTF-8 file, with or without a byte order mark. Raises RulebookError."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        raise RulebookError([Mistake(name, "the file is UTF-16 or UTF-32; save it as UTF-8")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", "replace")
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise RulebookError([Mistake(name, "the file is not text in UTF-8", place)]) from None


@contextmanager
def _without_collector() -> Iterator[None]:
    """Reading makes hundreds of thousands of objects and no rubbish; the collector would look through them all."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
