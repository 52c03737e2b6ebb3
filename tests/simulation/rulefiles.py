"""Rules files as the simulation's own values: made by chance, edited by chance, and written as YAML."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import timedelta

from budgetd.model import DEFAULT_WORKSPACE
from tests.simulation.company import Company

LADDER = (80, 100, 120, 150, 200)
CHANNELS = ("finance", "team", "pager", "audit")
# Where they lead: in each history finance and the team have one way out of these.
_FINANCE = (
    "webhooks://finance.example.com/budget",
    "mailtos://budgetd:secret@finance.example.com?from=budgetd@example.com&to=finance@example.com,cfo@example.com",
    "console://?format=json",
    "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
)
_TEAM = (
    "slack://xoxb-1234-1234-abcdef/%23team",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
    "workflows://team.example.com/643a8e3c7f9d4fd1/Xp9vS0mTq2",
)
# Whose service answers there.
OWNERS = {
    "finance.example.com": "finance",
    "discord.com": "finance",
    "slack.com": "team",
    "hooks.slack.com": "team",
    "team.example.com": "team",
    "events.pagerduty.com": "pager",
    "audit.example.com": "audit",
}
# Who gets what a channel has not taken, where the file says so; and after how many minutes.
FALLBACKS: dict[str, tuple[tuple[str, ...], ...]] = {
    "finance": (("team",), ("pager",)),
    "team": (("finance",), ("audit", "finance")),
    "pager": (("finance",), ("team", "finance")),
    "audit": (("finance",),),
}
AFTER = {"finance": 30, "team": 180, "pager": 2, "audit": 5}
# Where an alert lasts until it is ended: the end of a period is told there, too.
LASTING = ("audit",)
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC")


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """A rule. `limit` in dollars; `steps` in percent, () for the default ladder; `critical_from` in percent."""

    id: str
    type: str = "cap"
    limit: int = 0
    per: str = "month"
    steps: tuple[int, ...] = ()
    for_each: tuple[str, ...] = ()
    model: str = ""
    limits: tuple[tuple[str, int], ...] = ()
    severity: str = "warning"
    critical_from: int | None = None
    notify: tuple[str, ...] = ()
    against: str = "yesterday"
    at_least: int = 50
    note: str = ""

    @property
    def stakes(self) -> tuple[object, ...]:
        """The figures that decide when it speaks."""
        return (self.limit, self.limits, self.steps, self.against, self.at_least)

    @property
    def shape(self) -> tuple[object, ...]:
        """What it looks at: with another shape it is another rule."""
        return (self.type, self.model, self.for_each, self.per)

    def severity_at(self, percent: int) -> str:
        """The severity of a step."""
        critical = self.critical_from is not None and percent >= self.critical_from
        return "critical" if critical else self.severity


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """A route. Empty texts match everything."""

    notify: tuple[str, ...]
    severity: str = ""
    workspace: str = ""


@dataclass(frozen=True, slots=True)
class QuietSpec:
    """A quiet time: every day between two times of the day, or from one day's time to another's. Empty matches all."""

    id: str
    start: str
    end: str
    zone: str
    channels: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    workspace: str = ""

    @property
    def nightly(self) -> bool:
        """Whether it comes every day."""
        return len(self.start) == len("22:00")

    def line(self) -> str:
        """Its line in the file."""
        names = ("from", "to") if self.nightly else ("start", "end")
        parts = [f'{names[0]}: "{self.start}"', f'{names[1]}: "{self.end}"', f"zone: {self.zone}"]
        if self.channels:
            parts.append(f"channels: [{', '.join(self.channels)}]")
        match = [f"severity: [{', '.join(self.severities)}]"] if self.severities else []
        match += [f"workspace: [{self.workspace}]"] if self.workspace else []
        if match:
            parts.append(f"match: {{{', '.join(match)}}}")
        return f"  - {{id: {self.id}, {', '.join(parts)}}}"


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A rules file. `fallbacks`: the channels that get what a channel has not taken; `pager`: its address's number.

    `way`: a number for each combination of kinds of channels.
    """

    channels: tuple[str, ...]
    routes: tuple[RouteSpec, ...]
    rules: tuple[RuleSpec, ...]
    note: str = "first edition"
    fallbacks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    quiet: tuple[QuietSpec, ...] = ()
    pager: int = 0
    way: int = 0

    def url(self, channel: str) -> str:
        """Where the channel leads."""
        return {
            "finance": _FINANCE[self.way % len(_FINANCE)],
            "team": _TEAM[self.way % len(_TEAM)],
            "pager": f"pagerduty://key{self.pager or ''}@budgetd",
            "audit": "alertmanagers://audit.example.com",
        }[channel]

    def fallback(self, channel: str) -> tuple[str, ...]:
        """The channels that get what this one has not taken."""
        return dict(self.fallbacks).get(channel, ())

    def rule(self, id: str) -> RuleSpec | None:
        """The rule of that id."""
        return next((rule for rule in self.rules if rule.id == id), None)

    def text(self) -> str:
        """The file as YAML."""
        lines = [f"# {self.note}", "version: 1", "channels:"]
        lines += [self._channel_line(name) for name in self.channels]
        lines.append("routes:")
        for route in self.routes:
            match = [f"{key}: [{value}]" for key in ("severity", "workspace") if (value := getattr(route, key))]
            matched = f"match: {{{', '.join(match)}}}, " if match else ""
            lines.append(f"  - {{{matched}notify: [{', '.join(route.notify)}]}}")
        lines.append("rules:")
        for rule in self.rules:
            lines += _rule_lines(rule)
        lines += ["quiet:", *(quiet.line() for quiet in self.quiet)] if self.quiet else []
        return "\n".join(lines) + "\n"

    def _channel_line(self, name: str) -> str:
        instead, url = self.fallback(name), self.url(name)
        if not instead:
            return f'  {name}: "{url}"'
        return f'  {name}: {{url: "{url}", fallback: [{", ".join(instead)}], after: {AFTER[name]}m}}'


def _rule_lines(rule: RuleSpec) -> list[str]:
    lines = [f"  - id: {rule.id}  # {rule.note}", f"    type: {rule.type}"]
    if rule.type == "cap":
        per = {"last 7": "{last: 7d}", "month 15": "{month: 15}"}.get(rule.per, rule.per)
        lines += [f"    limit: {rule.limit}", f"    per: {per}"]
    else:
        against = {"median 7": "{median: 7d}"}.get(rule.against, rule.against)
        lines += [f"    against: {against}", f"    at_least: {rule.at_least}", "    factor: 2"]
    if rule.steps:
        lines.append(f"    steps: [{', '.join(f'{step}%' for step in rule.steps)}]")
    if rule.for_each:
        lines.append(f"    for_each: [{', '.join(rule.for_each)}]")
    if rule.model:
        lines.append(f'    match: {{model: "{rule.model}"}}')
    if rule.limits:
        lines.append(f"    limits: {{{', '.join(f'{name}: {limit}' for name, limit in rule.limits)}}}")
    if rule.critical_from is not None:
        lines.append(f"    severity: {{1%: {rule.severity}, {rule.critical_from}%: critical}}")
    else:
        lines.append(f"    severity: {rule.severity}")
    if rule.notify:
        lines.append(f"    notify: [{', '.join(rule.notify)}]")
    return lines


def first_file(company: Company, chance: random.Random) -> FileSpec:
    """A rules file whose limits are of the size of what the organisation spends."""
    daily = sum(dollars for _, _, dollars in company.streams_of)
    workspaces = [DEFAULT_WORKSPACE, *(workspace.id for workspace in company.workspaces)]
    own = ((chance.choice(workspaces), daily * chance.randint(2, 8)),)
    rules = (
        RuleSpec("company-month", limit=daily * chance.randint(16, 26), notify=("finance",), critical_from=100),
        RuleSpec("each-workspace", limit=daily * chance.randint(4, 9), for_each=("workspace",), limits=own),
        RuleSpec("opus-day", limit=daily // 2, per="day", steps=(60, 100), model="claude-opus-*", critical_from=100),
        RuleSpec("each-pair", limit=daily, per="week", steps=(100, 200, 300), for_each=("workspace", "model")),
        RuleSpec("seven-days", limit=daily * chance.randint(5, 7), per="last 7", steps=(90, 100, 120)),
        RuleSpec("fifteenth", limit=daily * 20, per="month 15", steps=(50, 100), severity="info"),
        RuleSpec("long", limit=daily * chance.randint(50, 80), per=chance.choice(("quarter", "year"))),
        RuleSpec("jumps", type="spike", against=chance.choice(("yesterday", "same_weekday", "median 7"))),
    )
    kept = [rule for rule in rules if chance.random() < 0.75] or [rules[0]]
    routes = [
        RouteSpec(("pager",), severity="critical"),
        RouteSpec(("team",), workspace=chance.choice(workspaces)),
        RouteSpec(("finance",)),
    ]
    if chance.random() < 0.3:
        routes.append(RouteSpec(("audit", "team")))
    fallbacks = tuple((name, chance.choice(FALLBACKS[name])) for name in CHANNELS if chance.random() < 0.6)
    quiet = _quiet_times(company, chance) if chance.random() < 0.5 else ()
    return FileSpec(CHANNELS, tuple(routes), tuple(kept), fallbacks=fallbacks, quiet=quiet)


def _quiet_times(company: Company, chance: random.Random) -> tuple[QuietSpec, ...]:
    """Nights, and now and then an event of some days; for some channels or all, for what is not critical or all."""
    severities: tuple[tuple[str, ...], ...] = ((), (), ("info", "warning"), ("info", "warning", "critical"))
    channels = chance.choice((("team",), ("finance",), ("pager",), ("finance", "pager"), ()))
    start, end = chance.choice((("22:00", "07:00"), ("00:00", "06:30"), ("12:15", "13:45"), ("18:00", "09:00")))
    nights = QuietSpec("nights", start, end, chance.choice(ZONES), channels, chance.choice(severities))
    day = company.founded + timedelta(days=100 + chance.randrange(120))
    workspace = chance.choice(["", "", *(each.id for each in company.workspaces)])
    last = day + timedelta(days=chance.randrange(1, 4))
    event = QuietSpec("launch", f"{day} 08:00", f"{last} 20:00", chance.choice(ZONES), (), (), workspace)
    return chance.choice(((nights,), (nights, event), (event,)))


EDITS = (
    *("raise", "lower", "raise", "lower", "steps", "severity", "route", "text"),
    *("remove", "add", "for_each", "own limit", "notify", "drop channel", "fallback", "quiet", "quiet", *["move"] * 3),
)


def edited(spec: FileSpec, company: Company, chance: random.Random) -> tuple[str, FileSpec]:
    """The file after an edit such as people make, and what kind of edit it was."""
    kind = chance.choice(EDITS)
    rule = chance.choice(spec.rules)
    if kind == "route":
        routes = (
            *spec.routes[:-1],
            RouteSpec(chance.choice((("finance",), ("finance", "audit"), ("team", "finance")))),
        )
        return kind, replace(spec, routes=_known_routes(routes, spec.channels))
    if kind == "move":
        return kind, replace(spec, pager=chance.choice((0, spec.pager + 1)))
    if kind == "drop channel":
        return kind, _without_channel(spec, chance.choice(("audit", "team")))
    if kind == "fallback":
        return kind, _with_other_fallback(spec, chance)
    if kind == "quiet":
        quiet = () if spec.quiet and chance.random() < 0.5 else _quiet_times(company, chance)
        return kind, _known_channels(replace(spec, quiet=quiet))
    if kind == "text":
        return kind, replace(spec, note=f"edition {chance.random()}")
    if kind == "remove" and len(spec.rules) > 1:
        return kind, replace(spec, rules=tuple(other for other in spec.rules if other is not rule))
    if kind == "add":
        missing = [each for each in first_file(company, chance).rules if spec.rule(each.id) is None]
        return kind, _known_channels(replace(spec, rules=(*spec.rules, *missing[:1])))
    changed = _changed(kind, rule, company, chance)
    rules = tuple(changed if other is rule else other for other in spec.rules)
    return kind, _known_channels(replace(spec, rules=rules))


def _changed(kind: str, rule: RuleSpec, company: Company, chance: random.Random) -> RuleSpec:
    if kind == "raise":
        return replace(rule, limit=rule.limit * chance.choice((110, 150, 300)) // 100, at_least=rule.at_least * 2)
    if kind == "lower":
        return replace(rule, limit=max(1, rule.limit * chance.choice((40, 70, 95)) // 100), at_least=20)
    if kind == "steps" and rule.type == "cap":
        return replace(rule, steps=chance.choice(((), (50, 80, 100), (90, 100), (25, 50, 75, 100, 125, 400))))
    if kind == "severity":
        severity = chance.choice(("info", "warning", "critical"))
        return replace(
            rule, severity=severity, critical_from=chance.choice((None, 100)) if rule.type == "cap" else None
        )
    if kind == "for_each" and rule.type == "cap":
        return replace(rule, for_each=chance.choice(((), ("workspace",), ("model",))), limits=())
    if kind == "own limit" and rule.for_each[:1] == ("workspace",):
        return replace(rule, limits=((DEFAULT_WORKSPACE, rule.limit * chance.randint(1, 3)),))
    if kind == "notify":
        return replace(rule, notify=chance.choice(((), ("finance",), ("team",), ("pager",))))
    return replace(rule, note=f"looked at again {chance.random()}")


def _without_channel(spec: FileSpec, name: str) -> FileSpec:
    channels = tuple(channel for channel in spec.channels if channel != name)
    return _known_channels(replace(spec, channels=channels, routes=_known_routes(spec.routes, channels)))


def _with_other_fallback(spec: FileSpec, chance: random.Random) -> FileSpec:
    name = chance.choice(spec.channels)
    others = tuple(pair for pair in spec.fallbacks if pair[0] != name)
    fresh = () if spec.fallback(name) else ((name, chance.choice(FALLBACKS[name])),)
    return _known_channels(replace(spec, fallbacks=(*others, *fresh)))


def _known_routes(routes: tuple[RouteSpec, ...], channels: tuple[str, ...]) -> tuple[RouteSpec, ...]:
    kept = [replace(route, notify=tuple(name for name in route.notify if name in channels)) for route in routes]
    return tuple(route for route in kept if route.notify)


def _known_channels(spec: FileSpec) -> FileSpec:
    rules = tuple(
        replace(rule, notify=tuple(name for name in rule.notify if name in spec.channels)) for rule in spec.rules
    )
    known = ((name, tuple(other for other in instead if other in spec.channels)) for name, instead in spec.fallbacks)
    fallbacks = tuple((name, instead) for name, instead in known if name in spec.channels and instead)
    times = tuple(
        replace(quiet, channels=tuple(name for name in quiet.channels if name in spec.channels))
        for quiet in spec.quiet
        if not quiet.channels or set(quiet.channels) & set(spec.channels)
    )
    return replace(spec, rules=rules, fallbacks=fallbacks, quiet=times)
