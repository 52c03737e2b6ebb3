"""The shape of rules.yaml as pydantic models: which keys, which values. What binds them together is in `checks`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time, timedelta
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, WithJsonSchema

from budgetd.fields import SeverityWord, Words, mistake, stretch
from budgetd.model import Severity
from budgetd.rulefile.quiet_part import QuietTime
from budgetd.rulefile.timing import Every, TimeOfDay, Zone
from budgetd.rules import AnyRule, Rule
from budgetd.rules.base import Matcher
from budgetd.schedule import ALWAYS_KNOWN, Schedule
from budgetd.summary import DIGEST_RULE

# Written in DESIGN and not built yet. They are refused, never silently without effect.
LATER_RULE_TYPES = ("forecast", "first_seen")

FALL_BACK_AFTER = timedelta(minutes=5)

RULE_CLASSES: dict[str, type[Rule]] = {
    get_args(rule_class.model_fields["type"].annotation)[0]: rule_class for rule_class in get_args(get_args(AnyRule)[0])
}

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"


def _version(value: Any) -> Any:
    if value != "1":
        raise mistake("version must be 1, the only one that there is")
    return 1


def _long_form(value: Any) -> Any:
    """The short form of a channel is its URL alone."""
    return {"url": value} if isinstance(value, str) else value


def _url_text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise mistake("expected a URL such as slack://... or mailtos://...")
    return value


def _two_at_most(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(value) > 2:
        raise mistake("at most two secrets: the new one, and the old one until all receivers have the new one", at=2)
    return value


def _severities(value: tuple[str, ...]) -> tuple[str, ...]:
    for index, word in enumerate(value):
        if word not in list(Severity):
            message = f"{word[:40]!r} is not a severity; they are info, warning and critical"
            raise mistake(message, at=index, word=word, choices=list(Severity))
    return value


def _rule_types(value: tuple[str, ...]) -> tuple[str, ...]:
    for index, word in enumerate(value):
        if word not in RULE_CLASSES:
            raise mistake(about_type(word), at=index, word=word, choices=tuple(RULE_CLASSES))
    return value


def about_type(word: str) -> str:
    """Why there is no rule type of that name."""
    *others, last = RULE_CLASSES
    known = f"the types are {', '.join(others)} and {last}"
    if word in LATER_RULE_TYPES:
        return f'the type "{word}" is not in this version of budgetd; {known}'
    return f'"{word[:40]}" is not a type of rule; {known}'


Name = Annotated[str, Field(pattern=f"^{_NAME}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _after(value: Any) -> timedelta:
    wanted = "how long to wait for the channel, from 10s to 24h, such as 2m"
    length = stretch(value, wanted)
    if not timedelta(seconds=10) <= length <= timedelta(days=1):
        raise mistake(f"expected {wanted}, not {value!r}")
    return length


def _template(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise mistake("expected a text with {{ fields }} of the message in it")
    return value


Template = Annotated[str, BeforeValidator(_template), WithJsonSchema({"type": "string", "minLength": 1})]


class ChannelPart(_Part):
    url: Annotated[str, BeforeValidator(_url_text)] = Field(
        repr=False, description="an Apprise URL; ${NAME} takes an environment variable or a credential of that name"
    )
    page: StrictBool | None = Field(
        default=None,
        description="it wakes somebody: one event for each incident, retried fast; default: by the URL's kind",
    )
    secret: Annotated[Words, AfterValidator(_two_at_most)] | None = Field(
        default=None,
        repr=False,
        description="signs what a webhook sends: whsec_ and base64, or two of them while one takes the other's place",
    )
    fallback: Words | None = Field(
        default=None, description="channels that get what this one has not taken after a while, and why"
    )
    after: Annotated[
        timedelta,
        BeforeValidator(_after),
        WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,3}[smh]$", "description": "that while: 2m"}),
    ] = FALL_BACK_AFTER

    title: Template | None = Field(
        default=None,
        description="a title of your own for alerts on spend: {{ scope.name }}: {{ money.spent | dollars }}",
    )
    body: Template | None = Field(default=None, description="text of your own for alerts on spend, in place of ours")

    @property
    def texts(self) -> Mapping[str, str]:
        """The templates, by what they are of."""
        return {name: text for name, text in (("title", self.title), ("body", self.body)) if text is not None}

    def model_post_init(self, context: Any, /) -> None:
        if "after" in self.model_fields_set and self.fallback is None:
            raise mistake("after says when the fallback gets it, and there is no fallback", at="after")


class GroupPart(_Part):
    workspaces: Words | None = Field(default=None, description="workspaces by name, id or glob")
    tags: Mapping[str, str] = Field(default_factory=dict, description="or those that carry all of these tags")

    def model_post_init(self, context: Any, /) -> None:
        if self.workspaces is None and not self.tags:
            raise mistake("a group needs workspaces or tags; this one holds nothing")


class RouteMatch(Matcher):
    """Which notices: every key named must match with one of its patterns."""

    severity: Annotated[Words, AfterValidator(_severities)] | None = None
    rule: Words | None = Field(default=None, description="ids of rules, or globs of them")
    type: Annotated[Words, AfterValidator(_rule_types)] | None = None


class RoutePart(_Part):
    match: RouteMatch = Field(default=RouteMatch(), description="left out: every notice")
    notify: Words = Field(description="names of channels")


class QuietPart(QuietTime):
    match: RouteMatch = Field(
        default=RouteMatch(),
        description="which messages wait; left out: all but critical ones",
    )


class DigestPart(_Part):
    """A look back at spend, sent by the clock."""

    id: Name = Field(description="stable: it is part of what makes a digest one that was sent")
    every: Every = Field(
        description="a weekday: the last seven days; day: the last one; month: the last month, on the 1st"
    )
    at: TimeOfDay = Field(default=time(8), description="on a 24-hour clock; default: 08:00")
    zone: Zone = Field(default=ALWAYS_KNOWN, description="an IANA time zone such as Europe/Berlin; default: UTC")
    notify: Words = Field(description="names of channels; pagers get none")

    @property
    def rule(self) -> str:
        """What it is kept under among the rules, none of which can be called so."""
        return f"{DIGEST_RULE}/{self.id}"

    @property
    def schedule(self) -> Schedule:
        """When it is due."""
        return Schedule(self.every, self.at, self.zone)


class DefaultsPart(_Part):
    severity: SeverityWord = Severity.WARNING


_CHANNEL_SCHEMA = {
    "anyOf": [
        {"type": "string", "description": "an Apprise URL, such as slack://${SLACK_TEAM_TOKENS}"},
        ChannelPart.model_json_schema(),
    ]
}


class RulesFile(_Part):
    """Watches what an Anthropic organisation spends on its API. All amounts are US dollars, all periods UTC."""

    version: Annotated[Literal[1], BeforeValidator(_version)]
    channels: Mapping[Name, Annotated[ChannelPart, BeforeValidator(_long_form), WithJsonSchema(_CHANNEL_SCHEMA)]] = (
        Field(min_length=1, description="where messages go, by a name of your own")
    )
    groups: Mapping[Name, GroupPart] = Field(default_factory=dict, description="named sets of workspaces")
    routes: tuple[RoutePart, ...] = Field(default=(), description="every route that matches receives the notice")
    quiet: tuple[QuietPart, ...] = Field(
        default=(), description="when messages wait, by the clock; what is critical does not, unless it is named"
    )
    defaults: DefaultsPart = DefaultsPart()
    rules: tuple[AnyRule, ...] = Field(min_length=1)
    digests: tuple[DigestPart, ...] = Field(default=(), description="looks back at spend, sent by the clock")
