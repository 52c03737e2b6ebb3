"""What must be said, by a naive reading of the promises: no code of the daemon, money in whole numbers.

After each whole reading or edit that was kept, `Promises` walks every rule, period and scope and writes down what
people must now be told. It is slow and plain on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import cache

from tests.simulation.company import UNITS, Row
from tests.simulation.rulefiles import LADDER, FileSpec, RuleSpec

DAY = timedelta(days=1)
Scope = tuple[tuple[str, str], ...]
Span = tuple[date, date]
Key = tuple[str, Scope, object]
_RANKS = ("info", "warning", "critical")


@dataclass(slots=True)
class Story:
    """An incident as people should know it. `announced` in percent; `limit` and `amount` in units."""

    key: Key
    span: Span
    state: str = "open"
    announced: set[int] = field(default_factory=set)
    limit: Fraction = Fraction(0)
    said: int = 0
    severity: str = "info"
    told_at: datetime | None = None
    told_amount: int = 0
    reminders: int = 0
    by_hand: bool = False
    acknowledged: int | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """A notice that people must get. `number` counts the notices of its incident, `evaluation` those of the world.

    `weight` is the severity by which it waits or not, also where the message need not say it.
    """

    key: Key
    number: int
    kind: str
    reason: str
    span: object
    severity: str | None = None
    step: int | None = None
    skipped: tuple[int, ...] = ()
    spent: str | None = None
    budget: str | None = None
    parts: Mapping[tuple[str, str], str] = field(default_factory=dict)
    weight: str = ""
    evaluation: int = 0
    at: datetime = datetime(1, 1, 1, tzinfo=UTC)
    wall: datetime = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule comes to in a scope and period."""

    scope: Scope
    span: Span
    amount: int
    limit: Fraction
    reached: tuple[int, ...]


class Promises:
    """The naive judge's memory: the bill as it was last read, and what people were told of it."""

    def __init__(self) -> None:
        self.days: dict[date, tuple[Row, ...]] = {}
        self.through: date | None = None
        self.stories: dict[Key, Story] = {}
        self.born: dict[str, date] = {}
        self.stakes: dict[str, tuple[object, ...]] = {}
        self.shapes: dict[str, tuple[object, ...]] = {}
        self.restated = 0
        self.silenced: Callable[[Story, datetime], bool] = lambda story, wall: False
        self._sums: dict[tuple[date, str, tuple[str, ...]], dict[Scope, int]] = {}
        self._made: list[Expected] = []
        self._wall = datetime(1, 1, 1, tzinfo=UTC)

    def read(self, spec: FileSpec, days: Mapping[date, tuple[Row, ...]], wall: datetime) -> list[Expected]:
        """After a whole reading that was kept, at that time by the wall clock. What people must be told."""
        self._wall = wall
        changed = set()
        for day, rows in days.items():
            if self.days.get(day) != rows:
                self.restated += day in self.days
                changed.add(day)
                self.days[day] = rows
                for known in [key for key in self._sums if key[0] == day]:
                    del self._sums[known]
        known, through = self.through, min(max(days) + DAY, wall.date())
        self.through = max(through, known or through)
        # A day that was served while a wrong clock still took it for today is over only now.
        changed |= {day for day in days if known is not None and known <= day < self.through}
        return self._evaluate(spec, changed, polled=True)

    def edit(self, spec: FileSpec, wall: datetime) -> list[Expected]:
        """After an edit of the rules that was kept: what is known is looked at by the new rules."""
        self._wall = wall
        return self._evaluate(spec, set(), polled=False)

    def acknowledge(self, story: Story, wall: datetime) -> list[Expected]:
        """Somebody has it, and everybody who was told is told so."""
        self._made, self._wall = [], wall
        story.acknowledged = max(story.announced)
        self._say(story, "acknowledged", "acknowledged", None, story.severity, story.acknowledged)
        return self._made

    def resolve_by_hand(self, story: Story, wall: datetime) -> list[Expected]:
        """Somebody says that it is over; its steps stay announced."""
        self._made, self._wall = [], wall
        self._resolve(story, "by_hand", None)
        story.by_hand = True
        return self._made

    def _evaluate(self, spec: FileSpec, changed: set[date], *, polled: bool) -> list[Expected]:
        self._made = []
        for name, shape in list(self.shapes.items()):
            rule = spec.rule(name)
            if rule is None or rule.shape != shape:
                del self.born[name], self.stakes[name], self.shapes[name]
        heard: set[Key] = set()
        if self.days:
            for rule in spec.rules:
                heard |= self._judge_rule(spec, rule, changed, polled)
        for story in list(self.stories.values()):
            if story.key not in heard and story.state != "resolved":
                ending = self._ending(spec, story)
                if ending is not None:
                    self._resolve(story, ending, None)
        if self.days and self.through is not None:
            for rule in spec.rules:
                self.born.setdefault(rule.id, self.through)
                self.stakes[rule.id], self.shapes[rule.id] = rule.stakes, rule.shape
        return self._made

    # --- one rule ------------------------------------------------------------------------------

    def _judge_rule(self, spec: FileSpec, rule: RuleSpec, changed: set[date], polled: bool) -> set[Key]:
        current = span_of(rule, max(self.days))
        heard = set()
        own, rolls = [s for s in self.stories.values() if s.key[0] == rule.id], rule.per == "last 7"
        # What somebody ended goes on in a window that rolls on: at its next step, or once it was below.
        open_ones = [s for s in own if s.state != "resolved" or (rolls and s.by_hand)]
        for span in self._spans(rule, current, open_ones, changed):
            watched = {s.key[1] for s in open_ones if rule.per == "last 7" or s.span == span}
            for found in self._found(rule, span, watched):
                story = self._story_of(rule, found, open_ones)
                heard.add((rule.id, found.scope, found.span) if story is None else story.key)
                self._judge(spec, rule, found, story, current, polled)
        return heard

    def _spans(self, rule: RuleSpec, current: Span, open_ones: list[Story], changed: set[date]) -> list[Span]:
        born = self.born.get(rule.id)
        if rule.per == "last 7" or born is None:
            return [current]
        spans = {span_of(rule, day) for day in changed} | {s.span for s in open_ones if _owns(rule, s)}
        return sorted({span for span in spans if span[1] >= born and span <= current} | {current})

    def _story_of(self, rule: RuleSpec, found: Found, open_ones: list[Story]) -> Story | None:
        if rule.per == "last 7":
            rolling = [s for s in open_ones if s.key[1] == found.scope and _owns(rule, s)]
            if rolling:
                return sorted(rolling, key=lambda s: s.state != "resolved")[-1]
        return self.stories.get((rule.id, found.scope, found.span))

    def _judge(
        self, spec: FileSpec, rule: RuleSpec, found: Found, story: Story | None, current: Span, polled: bool
    ) -> None:
        ending = self._ending(spec, story) if story is not None and story.state != "resolved" else None
        top = max(story.announced, default=0) if story is not None else 0
        edited = rule.id in self.born and self.stakes[rule.id] != rule.stakes
        if found.reached and found.reached[-1] > top and ending in (None, "period_over"):
            self._announce(rule, found, story, current, edited)
        elif story is not None and ending is not None:
            self._resolve(story, ending, found)
        elif story is not None and story.state != "resolved":
            self._hold(rule, story, found, polled=polled, edited=edited)
        elif story is not None and story.by_hand and polled and found.span != story.span:
            below = found.amount * 100 * 100 < found.limit * min(story.announced) * 98
            story.by_hand = not (below and self._complete(found.span))
        if story is not None:
            story.limit = found.limit

    def _announce(self, rule: RuleSpec, found: Found, story: Story | None, current: Span, edited: bool) -> None:
        if story is None:
            story = Story((rule.id, found.scope, found.span), found.span)
            self.stories[story.key] = story
            story.state = "new"
        if rule.id not in self.born:
            kind, reason = "info", "baseline"
        elif found.span != current:
            kind, reason = "info", "late"
        else:
            kind, reason = "firing", "limit_lowered" if edited else "step_reached"
        known = max(story.announced, default=0)
        skipped = tuple(step for step in found.reached[:-1] if step > known)
        story.by_hand = False
        stays = reason == "late" and story.state in ("new", "resolved")
        if story.state == "resolved" and not stays:
            story.severity = "info"
        story.state = "resolved" if stays else "open"
        story.announced |= set(found.reached)
        story.limit = found.limit
        severity = "info" if kind == "info" else rule.severity_at(found.reached[-1])
        story.severity = max(story.severity, severity, key=_RANKS.index)
        story.told_at, story.told_amount, story.reminders = self._wall, found.amount, 0
        story.acknowledged = None
        self._say(story, kind, reason, found, severity, found.reached[-1], skipped, self._parts(rule, found))

    def _hold(self, rule: RuleSpec, story: Story, found: Found, *, polled: bool, edited: bool) -> None:
        """Nothing new is reached: is it still so, is it in doubt, or is it over?"""
        lowest, highest = min(story.announced), max(story.announced)

        def eased(step: int) -> bool:
            return found.limit > story.limit or found.amount * 100 >= found.limit * step

        complete = self._complete(found.span)
        if story.key[0] not in self.born and not found.reached and complete:
            self._resolve(story, "rule_removed", found)
        elif edited and not found.reached and complete and eased(lowest):
            self._resolve(story, "limit_raised", found)
        elif edited and found.reached and found.reached[-1] < highest and eased(highest):
            story.announced, story.state = set(found.reached), "open"
        elif found.amount * 100 * 100 >= found.limit * lowest * 98:
            story.state = "open"
            still = found.amount * 100 >= found.limit * lowest and bool(found.reached)
            if still and complete and polled and self._is_due(story, found):
                self._remind(rule, story, found)
        elif complete and polled:
            if story.state == "doubtful":
                self._resolve(story, "restated" if found.span == story.span else "period_over", found)
            else:
                story.state = "doubtful"

    def _is_due(self, story: Story, found: Found) -> bool:
        """It moved, and nobody has it or wants quiet: warnings daily, what is critical after 4 h, 12 h, then daily."""
        hours = {"info": [], "warning": [24], "critical": [4, 12, 24]}[story.severity]
        if story.told_at is None or not hours or story.acknowledged is not None or self.silenced(story, self._wall):
            return False
        wait = timedelta(hours=hours[min(story.reminders, len(hours) - 1)])
        moved = abs(found.amount - story.told_amount) * 100 > abs(story.told_amount)
        return self._wall - story.told_at >= wait and moved

    def _remind(self, rule: RuleSpec, story: Story, found: Found) -> None:
        severity, step = rule.severity_at(found.reached[-1]), found.reached[-1]
        story.told_at, story.told_amount = self._wall, found.amount
        story.reminders += 1
        story.announced |= set(found.reached)
        story.severity = max(story.severity, severity, key=_RANKS.index)
        self._say(story, "firing", "reminder", found, severity, step, (), self._parts(rule, found))

    def _ending(self, spec: FileSpec, story: Story) -> str | None:
        rule = spec.rule(story.key[0])
        if rule is None or not _owns(rule, story):
            return "rule_removed"
        if self.days and rule.per != "last 7" and story.span[1] <= span_of(rule, max(self.days))[0]:
            return "period_over"
        return None

    def _resolve(self, story: Story, reason: str, found: Found | None) -> None:
        story.state = "resolved"
        if reason in ("restated", "limit_raised", "rule_removed"):
            story.announced, story.acknowledged = set(), None
        self._say(story, "resolved", reason, found)

    def _say(
        self,
        story: Story,
        kind: str,
        reason: str,
        found: Found | None,
        severity: str | None = None,
        step: int | None = None,
        skipped: tuple[int, ...] = (),
        parts: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        story.said += 1
        self._made.append(
            Expected(
                key=story.key,
                number=story.said,
                kind=kind,
                reason=reason,
                span=found.span if found is not None else story.span,
                severity=severity,
                step=step,
                skipped=skipped,
                spent=cents(Fraction(found.amount)) if found is not None else None,
                budget=cents(found.limit) if found is not None else None,
                parts=parts or {},
                weight=severity or story.severity,
            )
        )

    # --- sums ----------------------------------------------------------------------------------

    def _found(self, rule: RuleSpec, span: Span, watched: set[Scope]) -> Iterable[Found]:
        if rule.type == "spike":
            yield from self._spikes(rule, span, watched)
            return
        sums = self._total(rule, span)
        for scope in sorted({*sums, *watched}):
            amount = sums.get(scope, 0)
            own = dict(rule.limits).get(dict(scope).get("workspace", ""), rule.limit)
            limit = Fraction(own * UNITS)
            reached = steps_reached(rule.steps, amount, own * UNITS)
            if reached or scope in watched:
                yield Found(scope, span, amount, limit, reached)

    def _spikes(self, rule: RuleSpec, span: Span, watched: set[Scope]) -> Iterable[Found]:
        """A closed day against closed days; nothing when any of them is not known."""
        day = span[0]
        back = {"yesterday": [1], "same_weekday": [7], "median 7": [1, 2, 3, 4, 5, 6, 7]}[rule.against]
        earlier = [day - DAY * n for n in back]
        closed = self.through is not None and span[1] <= self.through and day in self.days
        if not closed or any(other not in self.days for other in earlier):
            return
        sums = self._on(rule, day)
        for scope in sorted({*sums, *watched}):
            amounts = sorted(max(0, self._on(rule, other).get(scope, 0)) for other in earlier)
            baseline = amounts[len(amounts) // 2]
            limit = max(2 * baseline, baseline + rule.at_least * UNITS)
            amount = sums.get(scope, 0)
            over = amount >= limit and amount > baseline
            if over or scope in watched:
                yield Found(scope, span, amount, Fraction(limit), (100,) if over else ())

    def _total(self, rule: RuleSpec, span: Span) -> dict[Scope, int]:
        sums: dict[Scope, int] = {}
        for number in range((span[1] - span[0]).days):
            for scope, units in self._on(rule, span[0] + DAY * number).items():
                sums[scope] = sums.get(scope, 0) + units
        return sums

    def _on(self, rule: RuleSpec, day: date) -> dict[Scope, int]:
        key = (day, rule.model, rule.for_each)
        known = self._sums.get(key)
        if known is None:
            known = self._sums[key] = {}
            for row in self.days.get(day, ()):
                if _selects(rule, row):
                    scope = _scope(rule, row)
                    known[scope] = known.get(scope, 0) + row.units
        return known

    def _parts(self, rule: RuleSpec, found: Found) -> dict[tuple[str, str], str]:
        sums: dict[tuple[str, str], int] = {}
        for number in range((found.span[1] - found.span[0]).days):
            for row in self.days.get(found.span[0] + DAY * number, ()):
                if _selects(rule, row) and _scope(rule, row) == found.scope:
                    part = (row.model, row.part)
                    sums[part] = sums.get(part, 0) + row.units
        return {part: cents(Fraction(units)) for part, units in sums.items()}

    def _complete(self, span: Span) -> bool:
        """Every day of the period up to the data's end is known, and there is one."""
        end = min(span[1], self.through or span[0])
        days = [span[0] + DAY * number for number in range((end - span[0]).days)]
        return bool(days) and all(day in self.days for day in days)


def steps_reached(steps: tuple[int, ...], amount: int, limit: int) -> tuple[int, ...]:
    """The steps, in percent, at or below the amount; the default ladder goes on by 50 %, of which only the highest."""
    reached = tuple(step for step in steps or LADDER if amount * 100 >= limit * step)
    if steps or len(reached) < len(LADDER):
        return reached
    beyond = 200
    while amount * 100 >= limit * (beyond + 50):
        beyond += 50
    return (*reached, beyond) if beyond > 200 else reached


def span_of(rule: RuleSpec, day: date) -> Span:
    """The first day of the rule's period that holds the day, and the day after its last."""
    return _span("day" if rule.type == "spike" else rule.per, day)


@cache
def _span(per: str, day: date) -> Span:
    if per == "day":
        return day, day + DAY
    if per == "last 7":
        return day - DAY * 6, day + DAY
    starts: Callable[[date], bool] = {
        "week": lambda d: d.weekday() == 0,
        "month": lambda d: d.day == 1,
        "month 15": lambda d: d.day == 15,
        "quarter": lambda d: d.day == 1 and d.month in (1, 4, 7, 10),
        "year": lambda d: d.day == 1 and d.month == 1,
    }[per]
    first, after = day, day + DAY
    while not starts(first):
        first -= DAY
    while not starts(after):
        after += DAY
    return first, after


def cents(units: Fraction) -> str:
    """Dollars with two decimals, half to even."""
    whole = round(units / 10**14)
    sign = "-" if whole < 0 or (whole == 0 and units < 0) else ""
    return f"{sign}{abs(whole) // 100}.{abs(whole) % 100:02}"


def _owns(rule: RuleSpec, story: Story) -> bool:
    return tuple(dimension for dimension, _ in story.key[1]) == rule.for_each


def _selects(rule: RuleSpec, row: Row) -> bool:
    return row.model.startswith(rule.model.rstrip("*"))


def _scope(rule: RuleSpec, row: Row) -> Scope:
    return tuple((dimension, row.workspace if dimension == "workspace" else row.model) for dimension in rule.for_each)
