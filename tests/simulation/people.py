"""What people ask of alerts, and what then waits for how long: by a naive reading of the page about quieting."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from budgetd.desk import Ask
from budgetd.model import DEFAULT_WORKSPACE, Act, Silence, SilenceEnd
from tests.simulation.company import Company
from tests.simulation.promises import Expected, Key, Story
from tests.simulation.rulefiles import FileSpec, QuietSpec

AUTHOR = "somebody"
_LASTING = (2, 6, 12, 30, 72, 200)
_MOST_IN_A_ROW = 100


@dataclass(slots=True)
class Hush:
    """A silence as people asked for it: texts to match by, empty for any; `covers`: open incidents and their steps."""

    rule: str = ""
    workspace: str = ""
    severity: str = ""
    incident: Key | None = None
    until: SilenceEnd = SilenceEnd.TIME
    lasts: timedelta | None = None
    begun: datetime = datetime(1, 1, 1, tzinfo=UTC)
    ends: datetime = datetime(1, 1, 1, tzinfo=UTC)
    covers: Mapping[Key, int] = field(default_factory=dict)
    ended: bool = False

    def takes(self, key: Key, severity: str) -> bool:
        """Whether it is about that incident, of that severity."""
        own = key[0].startswith("budgetd:")
        if own and not self.rule.startswith("budgetd:"):
            return False
        return (
            self.rule in ("", "*", "budgetd:*" if own else "", key[0])
            and self.workspace in ("", dict(key[1]).get("workspace", "-"))
            and self.severity in ("", severity)
            and self.incident in (None, key)
        )

    def is_active(self, at: datetime) -> bool:
        """Whether it has begun and is not over."""
        return not self.ended and self.begun <= at < self.ends

    @property
    def asked(self) -> tuple[object, ...]:
        """What somebody asked for: the same twice by the same person at the same instant is one."""
        return (self.begun, self.rule, self.workspace, self.severity, self.incident is not None)

    def is_kept_as(self, silence: Silence) -> bool:
        """Whether the daemon keeps it as that."""
        words = {name: patterns[0] for name, patterns in silence.match}
        texts = (words.get(name, "") for name in ("rule", "workspace", "severity"))
        return self.asked == (silence.created_at, *texts, "incident" in words)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody does: to an incident, with a new silence, or to end one."""

    act: Act
    key: Key | None = None
    hush: Hush | None = None

    def ask(self, subject: str) -> Ask:
        """The same as the daemon is asked it; `subject` is the id of the incident or silence."""
        if self.act is not Act.SILENCE or self.hush is None:
            return Ask(self.act, AUTHOR, subject=subject)
        words = {"rule": self.hush.rule, "workspace": self.hush.workspace, "severity": self.hush.severity}
        if self.hush.incident is not None:
            words["incident"] = subject
        match = tuple((name, (word,)) for name, word in words.items() if word)
        return Ask(self.act, AUTHOR, match=match, until=self.hush.until, lasts=self.hush.lasts)


class People:
    """The naive judge's memory of silences, and how long what waits."""

    def __init__(self) -> None:
        self.silences: list[Hush] = []

    def begin(self, hush: Hush, stories: Iterable[Story], wall: datetime) -> None:
        """Somebody's silence is kept."""
        covered = self.covered(hush, stories)
        hush.begun = wall
        if hush.until is SilenceEnd.TIME:
            hush.ends = wall + (hush.lasts or timedelta(0))
        else:
            hush.ends = max(end for story in covered if (end := _end(story.key)) > wall)
            hush.covers = {story.key: max(story.announced, default=0) for story in covered}
        self.silences.append(hush)

    def covered(self, hush: Hush, stories: Iterable[Story]) -> list[Story]:
        """The open incidents that it is about."""
        return [story for story in stories if story.state != "resolved" and hush.takes(story.key, story.severity)]

    def nothing_ends(self, hush: Hush, stories: Iterable[Story], wall: datetime) -> bool:
        """Whether it is to last until something that nothing open has."""
        ends = [_end(story.key) for story in self.covered(hush, stories)]
        return hush.until is not SilenceEnd.TIME and all(end <= wall for end in ends)

    def silenced(self, story: Story, wall: datetime) -> bool:
        """Whether nobody wants to be reminded of it now."""
        top = max(story.announced, default=0)
        return any(
            hush.is_active(wall)
            and hush.takes(story.key, story.severity)
            and (hush.until is not SilenceEnd.NEXT_STEP or top <= hush.covers.get(story.key, -1))
            for hush in self.silences
        )

    def may_hold_reports(self, channel: str, wall: datetime, spec: FileSpec) -> bool:
        """Whether a complaint may wait now, or waited lately."""
        lately = [wall - timedelta(hours=hours) for hours in range(6)]
        quiets = [quiet for quiet in spec.quiet if channel in (quiet.channels or (channel,))]
        own = [hush for hush in self.silences if hush.rule.startswith("budgetd:")]
        return any(hush.is_active(at) for hush in own for at in lately) or any(
            quiet_until(quiet, at) for quiet in quiets for at in lately
        )

    def until(self, each: Expected, channel: str, wall: datetime, spec: FileSpec) -> tuple[datetime, str] | None:
        """How long it waits on its way to the channel, and for what; one after another is one long time."""
        if each.kind == "acknowledged" or not (self.silences or spec.quiet):
            return None
        found: tuple[datetime, str] | None = None
        for _ in range(_MOST_IN_A_ROW):
            at = wall if found is None else found[0]
            ends = [*self._silences(each, at), *_quiets(each, channel, at, spec.quiet)]
            if not ends:
                break
            found = max(ends, key=lambda end: end[0])
        return found

    def _silences(self, each: Expected, at: datetime) -> Iterable[tuple[datetime, str]]:
        for hush in self.silences if each.kind != "resolved" else ():
            if not hush.is_active(at) or not hush.takes(each.key, each.weight):
                continue
            known = hush.covers.get(each.key)
            if hush.until is SilenceEnd.NEXT_STEP and (known is None or (each.step or 0) > known):
                continue
            ends = hush.ends
            if hush.until is SilenceEnd.PERIOD_END:
                ends = min(ends, max(_end(each.key), hush.begun))
            if ends > at:
                yield ends, "a silence by"


def _quiets(each: Expected, channel: str, at: datetime, quiets: Iterable[QuietSpec]) -> Iterable[tuple[datetime, str]]:
    if channel.startswith("pager") and each.kind == "resolved":
        return
    for quiet in quiets:
        named = not quiet.severities or each.weight in quiet.severities
        if each.weight == "critical" and "critical" not in quiet.severities:
            continue
        if not named or quiet.workspace not in ("", dict(each.key[1]).get("workspace", "-")):
            continue
        end = quiet_until(quiet, at)
        if end is not None and (not quiet.channels or channel in quiet.channels):
            yield end, f"the quiet time {quiet.id}"


def quiet_until(quiet: QuietSpec, at: datetime) -> datetime | None:
    """When the quiet time that lasts now is over."""
    zone = ZoneInfo(quiet.zone)
    if not quiet.nightly:
        start, end = (datetime.fromisoformat(text).replace(tzinfo=zone) for text in (quiet.start, quiet.end))
        return end.astimezone(UTC) if start <= at < end else None
    today = at.astimezone(zone).date()
    for day in (today - timedelta(days=1), today):
        start = _on(day, quiet.start, zone)
        end = _on(day if quiet.end > quiet.start else day + timedelta(days=1), quiet.end, zone)
        if start <= at < end:
            return end
    return None


def _on(day: date, text: str, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.fromisoformat(text), zone).astimezone(UTC)


def _end(key: Key) -> datetime:
    span = key[2]
    if not isinstance(span, tuple):
        return datetime(1, 1, 1, tzinfo=UTC)
    return datetime.combine(span[1], time(), UTC)


# --- what somebody does next -------------------------------------------------------------------


def wish(
    chance: random.Random,
    spec: FileSpec,
    company: Company,
    stories: Mapping[Key, Story],
    people: People,
    wall: datetime,
) -> Wish | None:
    """What somebody does next, sensible more often than not; None: nothing."""
    act = chance.choice((Act.SILENCE, Act.SILENCE, *(act for act in Act)))
    if act is Act.SILENCE:
        return _new_silence(chance, spec, company, stories)
    if act is Act.END_SILENCE:
        active = [hush for hush in people.silences if hush.is_active(wall)]
        return Wish(act, hush=chance.choice(active)) if active else None
    fitting = [key for key, story in stories.items() if story.state != "resolved"]
    if chance.random() < 0.1:
        fitting = list(stories)
    return Wish(act, chance.choice(fitting)) if fitting else None


def _new_silence(chance: random.Random, spec: FileSpec, company: Company, stories: Mapping[Key, Story]) -> Wish | None:
    hush = Hush()
    what = chance.choice(("rule", "rule", "workspace", "severity", "incident", "everything", "budgetd"))
    open_ones = [key for key, story in stories.items() if story.state != "resolved"]
    if what == "rule":
        hush.rule = chance.choice(spec.rules).id
    elif what == "workspace":
        hush.workspace = chance.choice([DEFAULT_WORKSPACE, *(each.id for each in company.workspaces)])
    elif what == "severity":
        hush.severity = chance.choice(("info", "warning", "critical"))
    elif what == "incident":
        if not open_ones:
            return None
        hush.incident = chance.choice(open_ones)
    else:
        hush.rule = {"everything": "*", "budgetd": "budgetd:*"}[what]
    if what in ("rule", "workspace", "incident"):
        hush.until = chance.choice((SilenceEnd.TIME, *SilenceEnd))
    if hush.until is SilenceEnd.TIME:
        hush.lasts = timedelta(hours=chance.choice(_LASTING))
    return Wish(Act.SILENCE, hush=hush)
