"""What people must be told, by a naive reading of the promises: recomputed from scratch after every poll."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from budgetd.period import DAY, midnight
from tests.sameday_simulation.books import ANALYTICS, BILL, USAGE, Books, Day, Part, Used
from tests.sameday_simulation.company import Amounts

Span = tuple[datetime, datetime]
_HOUR = 3600
_WATCHED, _AWAITED = timedelta(hours=6), timedelta(days=2)


@dataclass(frozen=True)
class Rule:
    """A rule of the file. `steps` in percent; `beyond`: every so many percent after the last. Money in dollars."""

    id: str
    type: str
    limit: int
    per: str
    steps: tuple[int, ...] = (100,)
    beyond: int = 0
    each: bool = False
    billed: bool = False
    severity: str = "warning"
    minutes: int = 0

    def text(self) -> str:
        """As the file has it."""
        parts = [f"id: {self.id}", f"type: {self.type}", f"severity: {self.severity}"]
        if self.type == "spike":
            parts += ["against: yesterday", f"at_least: {self.limit}"]
        else:
            parts += [f"limit: {self.limit}", f"per: {self.per}"]
            parts += [f"steps: [{', '.join(f'{step}%' for step in self.steps)}]"] if not self.beyond else []
        parts += [f"window: {self.minutes}m"] if self.minutes else []
        parts += ["for_each: workspace"] if self.each else []
        parts += ["basis: billed"] if self.billed else []
        return f"{{{', '.join(parts)}}}"


class Key(NamedTuple):
    """An incident: the rule, the scope (empty: everything) and the span in which it began."""

    rule: str
    scope: str
    span: Span


@dataclass(frozen=True)
class Expected:
    """Something that people must be told. `number` within the incident; money in cents."""

    key: Key
    number: int
    state: str
    reason: str
    severity: str
    step: str | None = None
    spent: str | None = None
    budget: str | None = None
    basis: str | None = None
    through: datetime | None = None


@dataclass
class Story:
    """An incident as people know it. `amount` was told last, at `told_at`."""

    key: Key
    state: str = "new"
    announced: set[int] = field(default_factory=set)
    severity: str = "info"
    said: int = 0
    told_at: datetime | None = None
    amount: Fraction = Fraction(0)
    reminders: int = 0


@dataclass(frozen=True)
class Found:
    """What a rule finds in a scope and span. `proves`: which sources' readings say that it is so."""

    scope: str
    span: Span
    amount: Fraction
    limit: Fraction
    reached: tuple[int, ...]
    complete: bool
    basis: str


_RANKS = ("info", "warning", "critical")


class Judge:
    """Knows the rules and the books, and what was said."""

    def __init__(self, rules: tuple[Rule, ...], books: Books) -> None:
        self.rules, self.books = rules, books
        self.bill_source = BILL
        self.stories: dict[Key, Story] = {}
        self.looked: set[str] = set()
        self._born: dict[str, datetime] = {}
        self._made: list[Expected] = []
        self._drifts: set[date] = set()

    # --- polls ---------------------------------------------------------------------------------

    def bill(self, start: date, end: date, now: datetime) -> list[Expected]:
        """After a reading of the bill."""
        before = dict(self.books.days)
        return self._read(BILL, now, lambda: self.books.read_bill(start, end, now), before)

    def usage(self, now: datetime, used: Used) -> list[Expected]:
        """After that reading of the usage report."""
        return self._read(USAGE, now, lambda: self.books.read_usage(used), {})

    def analytics(self, now: datetime) -> list[Expected]:
        """After a reading of the analytics."""
        return self._read(ANALYTICS, now, lambda: self.books.read_analytics(now), {})

    def analytics_alone(self, now: datetime) -> list[Expected]:
        """After a reading of the analytics, where they are all there is."""
        return self._read(ANALYTICS, now, lambda: self.books.read_analytics_alone(now), {})

    def edited(self, now: datetime) -> list[Expected]:
        """After an edit that changes nothing: what is known is looked at again."""
        return self._read("", now, set, {})

    def _read(self, source: str, now: datetime, read: object, before: dict[date, Day]) -> list[Expected]:
        self._now, self._made, self._source = now, [], source
        self._billed_before, self._seen_before = self.books.billed_through, self.books.through
        self._first_look = source not in self.looked and source != ""
        changed: set[date] = read()  # type: ignore[operator]
        for rule in self.rules:
            self._judge_rule(rule, changed)
        for day in sorted(changed if before else ()):
            self._drift(day, before.get(day))
        self.looked.add(source)
        for rule in self.rules:
            view = self._view(rule)
            if view.through is not None and view.days:
                self._born.setdefault(rule.id, view.through)
        return self._made

    def _drift(self, day: date, before: Day | None) -> None:
        """The first bill of a day that was known as a whole before."""
        if before is None or before.basis == "billed" or not before.complete:
            return
        billed = self.books.days[day].counted
        gap = abs(before.counted - billed)
        if gap >= 1 and gap * 20 > abs(billed):
            key = Key("budgetd:drift", f"drift/{day}", (midnight(day), midnight(day)))
            self._made.append(Expected(key, 1, "info", "drift", "warning"))

    # --- one rule ------------------------------------------------------------------------------

    def _view(self, rule: Rule) -> _View:
        books = self.books
        if not rule.billed:
            return _View(books.days, books.through)
        billed = {day: known for day, known in books.days.items() if known.basis == "billed" and known.complete}
        return _View(billed, books.billed_through)

    def _judge_rule(self, rule: Rule, changed: set[date]) -> None:
        view = self._view(rule)
        current = self._current(rule, view)
        own = [story for story in self.stories.values() if story.key.rule == rule.id and story.state != "resolved"]
        heard: set[Key] = set()
        for span in self._spans(rule, current, own, changed) if current else ():
            watched = {story.key.scope for story in own if rule.type == "rate" or story.key.span == span}
            for found in self._found(rule, view, span, watched):
                story = self._story(rule, found, own)
                heard |= {story.key} if story else set()
                self._judge(rule, found, story, current)
        for story in own:
            if current and story.key not in heard and self._is_over(rule, story, current):
                self._resolve(story, "period_over", None)

    def _current(self, rule: Rule, view: _View) -> Span | None:
        if rule.type != "rate":
            return _span(rule.per, max(view.days)) if view.days else None
        parts = self.books.parts(self.books.through)
        if not parts:
            return None
        return min(parts[-1].end - timedelta(minutes=rule.minutes), parts[-1].start), parts[-1].end

    def _spans(self, rule: Rule, current: Span, own: list[Story], changed: set[date]) -> list[Span]:
        born = self._born.get(rule.id)
        if rule.type == "rate" or born is None:
            return [current]
        news = {_span(rule.per, day) for day in changed} | {story.key.span for story in own}
        return sorted({span for span in news if span[1] >= born and span <= current} | {current})

    def _story(self, rule: Rule, found: Found, own: list[Story]) -> Story | None:
        if rule.type == "rate":
            return next((story for story in own if story.key.scope == found.scope), None)
        return self.stories.get(Key(rule.id, found.scope, found.span))

    def _judge(self, rule: Rule, found: Found, story: Story | None, current: Span) -> None:
        over = story is not None and story.state != "resolved" and self._is_over(rule, story, current)
        top = max(story.announced, default=0) if story else 0
        if found.reached and found.reached[-1] > top:
            self._announce(rule, found, story, current)
        elif story is None or story.state == "resolved":
            return
        elif over and not self._awaits(story):
            self._resolve(story, "period_over", found)
        else:
            self._hold(rule, story, found)

    def _is_over(self, rule: Rule, story: Story, current: Span) -> bool:
        span = story.key.span
        return rule.type != "rate" and span[1] <= current[0] and not self._is_live(span, current)

    def _is_live(self, span: Span, current: Span) -> bool:
        """It lasts, or it was watched to its end and its bill is still awaited."""
        if span == current:
            return True
        billed, seen = self._billed_before, self._seen_before
        if billed is None or seen is None or span[1] <= billed:
            return False
        return span[1] - _WATCHED <= seen <= span[1] + _AWAITED

    def _awaits(self, story: Story) -> bool:
        billed, seen = self._billed_before, self._seen_before
        return story.state == "doubtful" and billed is not None and seen is not None and seen > billed

    def _announce(self, rule: Rule, found: Found, story: Story | None, current: Span) -> None:
        if rule.id not in self._born or self._first_look:
            state, reason = "info", "baseline"
        elif rule.type != "rate" and not self._is_live(found.span, current):
            state, reason = "info", "late"
        else:
            state, reason = "firing", "step_reached"
        if story is None:
            story = self.stories[Key(rule.id, found.scope, found.span)] = Story(Key(rule.id, found.scope, found.span))
        stays = reason == "late" and story.state in ("new", "resolved")
        if story.state == "resolved" and not stays:
            story.severity = "info"
        story.state = "resolved" if stays else "open"
        story.announced |= set(found.reached)
        severity = "info" if state == "info" else rule.severity
        story.severity = max(story.severity, severity, key=_RANKS.index)
        story.told_at, story.amount, story.reminders = self._now, found.amount, 0
        self._say(story, state, reason, severity, found, found.reached[-1])

    def _hold(self, rule: Rule, story: Story, found: Found) -> None:
        lowest = found.limit * min(story.announced)
        if found.amount * 100 >= lowest:
            story.state = "open"
            if found.complete and found.reached and self._source and self._is_forgotten(story, found):
                story.told_at, story.amount = self._now, found.amount
                story.reminders += 1
                story.announced |= set(found.reached)
                story.severity = max(story.severity, rule.severity, key=_RANKS.index)
                self._say(story, "firing", "reminder", rule.severity, found, found.reached[-1])
        elif found.amount * 10_000 >= lowest * 98:
            story.state = "open"
        elif found.complete and self._proves(found):
            if story.state == "doubtful":
                self._resolve(story, "slowed_down" if rule.type == "rate" else "restated", found)
                story.announced = set(story.announced) if rule.type == "rate" else set()
            else:
                story.state = "doubtful"

    def _proves(self, found: Found) -> bool:
        """A figure that the bill is part of is corrected by readings of the bill, an estimate by those of estimates."""
        return self._source == (USAGE if found.basis == "estimated" else self.bill_source)

    def _is_forgotten(self, story: Story, found: Found) -> bool:
        hours = {"info": [], "warning": [24], "critical": [4, 12, 24]}[story.severity]
        if story.told_at is None or not hours:
            return False
        wait = timedelta(hours=hours[min(story.reminders, len(hours) - 1)])
        return self._now - story.told_at >= wait and abs(found.amount - story.amount) * 100 > abs(story.amount)

    def _resolve(self, story: Story, reason: str, found: Found | None) -> None:
        story.state = "resolved"
        self._say(story, "resolved", reason, story.severity, found, None)

    def _say(self, story: Story, state: str, reason: str, severity: str, found: Found | None, step: int | None) -> None:
        story.said += 1
        self._made.append(
            Expected(
                story.key,
                story.said,
                state,
                reason,
                severity,
                step=f"{step / 100:g}" if step is not None else None,
                spent=cents(found.amount) if found else None,
                budget=cents(found.limit) if found else None,
                basis=found.basis if found else None,
                through=self.books.through,
            )
        )

    # --- sums ----------------------------------------------------------------------------------

    def _found(self, rule: Rule, view: _View, span: Span, watched: set[str]) -> Iterator[Found]:
        kinds = {"cap": self._caps, "spike": self._spikes, "rate": self._rates}
        yield from kinds[rule.type](rule, view, span, watched)

    def _caps(self, rule: Rule, view: _View, span: Span, watched: set[str]) -> Iterator[Found]:
        sums = view.sums(rule, span)
        for scope in sorted({*sums, *watched}):
            amount, limit = sums.get(scope, Fraction(0)), Fraction(rule.limit)
            reached = _reached(rule, amount, limit)
            if reached or scope in watched:
                yield Found(scope, span, amount, limit, reached, view.covers(span), view.basis(span))

    def _spikes(self, rule: Rule, view: _View, span: Span, watched: set[str]) -> Iterator[Found]:
        """A day against the day before; a running one counts once it exceeds what a whole day would need."""
        earlier = span[0].date() - DAY
        if not view.covers(span) or earlier not in view.days or view.through is None:
            return
        sums, before = view.sums(rule, span), view.sums(rule, _span("day", earlier))
        for scope in sorted({*sums, *watched}):
            amount, baseline = sums.get(scope, Fraction(0)), max(Fraction(0), before.get(scope, Fraction(0)))
            limit = max(2 * baseline, baseline + rule.limit)
            reached = (100,) if amount >= limit and amount > baseline else ()
            if reached or scope in watched:
                yield Found(scope, span, amount, limit, reached, view.through >= span[1], view.basis(span))

    def _rates(self, rule: Rule, _view: _View, span: Span, watched: set[str]) -> Iterator[Found]:
        parts = self.books.parts(self.books.through)
        inside = [part for part in parts if part.start < span[1] and part.end > span[0]]
        gapless = all(one.end == other.start for one, other in pairwise(inside))
        if not inside or inside[0].start > span[0] or inside[-1].end < span[1] or not gapless:
            return
        # What was there before a restart, and is not read again, is not the present.
        if self.books.through is None or span[1] < self.books.through:
            return
        rates, limit = _rate(parts, span), Fraction(rule.limit)
        bases = {part.basis for part in inside}
        basis = bases.pop() if len(bases) == 1 else "mixed"
        for scope in sorted({*rates, *watched}):
            rate = rates.get(scope, Fraction(0))
            reached = _reached(rule, rate, limit)
            if scope in watched and not reached:
                rate = max(_rate(parts, window).get(scope, Fraction(0)) for window in _windows(rule, parts, span))
                reached = _reached(rule, rate, limit)[:1]
            if reached or scope in watched:
                yield Found(scope, span, rate, limit, reached, True, basis)


@dataclass(frozen=True)
class _View:
    """The days that a rule looks at."""

    days: dict[date, Day]
    through: datetime | None

    def sums(self, rule: Rule, span: Span) -> Amounts:
        sums: Amounts = {}
        for day in self._inside(span):
            for workspace, amount in self.days[day].amounts.items():
                scope = workspace if rule.each else ""
                sums[scope] = sums.get(scope, Fraction(0)) + amount
        return sums

    def covers(self, span: Span) -> bool:
        """Every day of it up to the end of the data is known, and there is one."""
        if self.through is None:
            return False
        days = [day for day in _days(span) if midnight(day) < self.through]
        return bool(days) and all(day in self.days for day in days)

    def basis(self, span: Span) -> str:
        bases = {self.days[day].basis for day in self._inside(span)}
        return bases.pop() if len(bases) == 1 else "mixed" if bases else "billed"

    def _inside(self, span: Span) -> list[date]:
        return [day for day in _days(span) if day in self.days]


def _rate(parts: Iterable[Part], span: Span) -> Amounts:
    """Dollars an hour over the span. Of a part that lies partly within, its share of the time counts."""
    sums: Amounts = {}
    for part in parts:
        inside = min(part.end, span[1]) - max(part.start, span[0])
        if inside > timedelta(0):
            share = Fraction(inside // timedelta(seconds=1), (part.end - part.start) // timedelta(seconds=1))
            for workspace, amount in part.amounts.items():
                sums[workspace] = sums.get(workspace, Fraction(0)) + amount * share
    return {scope: amount * _HOUR / ((span[1] - span[0]) // timedelta(seconds=1)) for scope, amount in sums.items()}


def _windows(rule: Rule, parts: list[Part], span: Span) -> Iterator[Span]:
    """The stretches of the rule's length that end within the span."""
    for part in parts:
        if part.end > span[0]:
            yield min(part.end - timedelta(minutes=rule.minutes), part.start), part.end


def _reached(rule: Rule, amount: Fraction, limit: Fraction) -> tuple[int, ...]:
    reached = tuple(step for step in rule.steps if amount * 100 >= limit * step)
    if not rule.beyond or len(reached) < len(rule.steps):
        return reached
    top = rule.steps[-1]
    while amount * 100 >= limit * (top + rule.beyond):
        top += rule.beyond
    return (*reached, top) if top > rule.steps[-1] else reached


def _span(per: str, day: date) -> Span:
    if per == "day":
        return midnight(day), midnight(day + DAY)
    first = day.replace(day=1)
    return midnight(first), midnight((first + DAY * 32).replace(day=1))


def _days(span: Span) -> list[date]:
    return [span[0].date() + DAY * n for n in range((span[1].date() - span[0].date()).days)]


def cents(dollars: Fraction) -> str:
    """Dollars with two decimals, half to even."""
    whole = round(dollars * 100)
    return f"{'-' if whole < 0 else ''}{abs(whole) // 100}.{abs(whole) % 100:02}"
