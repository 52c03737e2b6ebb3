"""What a picture of the spend shows: its days, its limit, where it leads; and all of that in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum

from budgetd import money, trend, wording
from budgetd.escaping import for_text, shorten
from budgetd.model import Facts, Kind, Notice
from budgetd.period import DAY, Period, day_before, midnight

MOST_DAYS = 28
LONGEST_WORDS = 500
# Fewer days show nothing that the figures do not say.
LEAST_DAYS = 3
# What is far above all else would press that to the ground.
_MOST_ROOM = Decimal(2)


class Look(StrEnum):
    """How a bar is drawn."""

    PAST = "past"
    TOLD = "told"  # the day that the message is about
    FORESEEN = "foreseen"  # what the day comes to if it goes on


@dataclass(frozen=True, slots=True)
class Bar:
    """A UTC day and its dollars."""

    day: date
    amount: Decimal
    look: Look = Look.PAST


@dataclass(frozen=True, slots=True)
class Point:
    """Dollars at an instant."""

    at: datetime
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Level:
    """An amount that holds all the time. `firm`: a limit, and not what the days are compared with."""

    amount: Decimal
    words: str
    firm: bool


@dataclass(frozen=True, slots=True)
class Ahead:
    """Where it leads: dollars at the end, and the range that they are likely in."""

    expected: Point
    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn, from `start` to `end`, up to `top` dollars.

    `line`: what was spent by each instant of the period. `vague`: how it came to the line's first point, of which no
    days are known; empty where they are. `told`: the amount of the message. `words`: all of it for those who do not
    see the picture. All texts are made of figures, dates and our own words: no name from outside is among them.
    """

    start: datetime
    end: datetime
    top: Decimal
    bars: tuple[Bar, ...]
    levels: tuple[Level, ...]
    told: Point
    told_words: str
    line: tuple[Point, ...] = ()
    vague: tuple[Point, ...] = ()
    ahead: Ahead | None = None
    ahead_words: str = ""
    over: bool = False
    words: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn chart, and its words. `shows_days`: each day can be read off, so that nothing else need show them."""

    png: bytes = field(repr=False)
    words: str
    shows_days: bool


def chart(notice: Notice) -> Chart | None:
    """The notice's picture; None where there is nothing to see: no figures, too few days, or it is over."""
    facts = notice.facts
    if notice.kind is Kind.RESOLVE or facts.amount is None or facts.period is None:
        return None
    if facts.period.end <= facts.period.start:
        return None
    of = _of_a_period if facts.period.end - facts.period.start > DAY else _of_days
    return of(facts, facts.amount, facts.period)


# --- the sum of a period against its limit ---------------------------------------------------------


def _of_a_period(facts: Facts, amount: Decimal, period: Period) -> Chart | None:
    now = _now(facts, period)
    bars = tuple(bar for bar in _past(facts) if period.holds(bar.day) and midnight(bar.day) < now)
    line, vague = _running(bars, amount, now, period)
    if now - period.start < LEAST_DAYS * DAY or len(bars) < LEAST_DAYS:
        return None
    forecast = facts.forecast
    ahead = Ahead(Point(period.end, forecast.expected), forecast.low, forecast.high) if forecast is not None else None
    over = facts.limit is not None and amount >= facts.limit
    levels = tuple(_limit(facts))
    return Chart(
        start=period.start,
        end=period.end,
        top=_top([amount, *_amounts(levels)], [forecast.expected, forecast.high] if forecast is not None else []),
        bars=bars,
        levels=levels,
        told=Point(now, amount),
        told_words=trend.near(amount),
        line=line,
        vague=vague,
        ahead=ahead,
        ahead_words=f"about {trend.about(forecast.expected)}" if forecast is not None else "",
        over=over,
        words=_words(f"Chart of the spend in {period.name}, day by day", facts, _sum_words(facts, amount, now)),
    )


def _now(facts: Facts, period: Period) -> datetime:
    """Up to when the amount counts."""
    through = facts.data_through.astimezone(UTC) if facts.data_through is not None else period.end
    return min(max(through, period.start), period.end)


def _running(
    bars: Sequence[Bar], amount: Decimal, now: datetime, period: Period
) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    """What was spent by the end of each day, reckoned back from the amount as far as there is no gap."""
    known = {bar.day: bar.amount for bar in bars}
    day, total = day_before(now), amount
    points = [Point(now, amount)]
    if now < midnight(day) + DAY and day not in known:
        # The day still runs: what the closed days do not account for is its own, where all of them are known.
        whole = len(known) == (day - period.start.date()).days
        total, day = money.total(known.values()) if whole else total, day - DAY
        points += [Point(midnight(day) + DAY, total)] if whole else []
        known = known if whole else {}
    while day in known:
        total, day = money.subtract(total, known[day]), day - DAY
        points.append(Point(midnight(day) + DAY, total))
    line = tuple(reversed(points))
    return line, (Point(period.start, money.ZERO), line[0]) if line[0].at > period.start else ()


def _sum_words(facts: Facts, amount: Decimal, now: datetime) -> str:
    of = f" of {money.round_dollars(facts.limit)}" if facts.limit else ""
    return f"{money.dollars(amount)}{of} spent by {wording.instant(now)}."


# --- days beside each other ------------------------------------------------------------------------


def _of_days(facts: Facts, amount: Decimal, period: Period) -> Chart | None:
    told, past = _told(facts, amount, period), _past(facts)
    bars = [bar for bar in past if bar.day < told.day][-MOST_DAYS + 1 :]
    if len(bars) < LEAST_DAYS:
        return None
    levels = tuple(_levels(facts))
    start, end = midnight(bars[0].day), midnight(told.day) + DAY
    words = f"by midnight {trend.about(told.amount)}" if told.look is Look.FORESEEN else trend.near(told.amount)
    over = any(level.firm and told.amount >= level.amount for level in levels) or told.look is Look.FORESEEN
    sentence = (
        f"{trend.about(told.amount)} on {trend.short(told.day)} if it goes on."
        if told.look is Look.FORESEEN
        else f"{money.dollars(told.amount)} on {trend.short(told.day)}."
    )
    return Chart(
        start=start,
        end=end,
        top=_top([*(bar.amount for bar in bars), told.amount], list(_amounts(levels))),
        bars=(*bars, told),
        levels=levels,
        told=Point(midnight(told.day) + DAY / 2, told.amount),
        told_words=words,
        over=over,
        words=_words(f"Chart of the spend of {len(bars) + 1} days", facts, sentence, *_level_words(levels)),
    )


def _told(facts: Facts, amount: Decimal, period: Period) -> Bar:
    """The day that it is about; of a rate, what it makes of the day."""
    day = day_before(period.end) if not period.is_part_of_a_day else period.start.date()
    if facts.pace is not None:
        return Bar(day, facts.pace.by_midnight, Look.FORESEEN)
    return Bar(day, amount, Look.TOLD)


def _levels(facts: Facts) -> Iterator[Level]:
    if facts.comparison is not None and facts.comparison.baseline > 0:
        yield Level(facts.comparison.baseline, f"compared with {trend.near(facts.comparison.baseline)}", firm=False)
        if facts.limit is not None and facts.limit > facts.comparison.baseline:
            yield Level(facts.limit, f"told from {trend.near(facts.limit)}", firm=True)
    elif facts.pace is None:
        yield from _limit(facts)


def _level_words(levels: Sequence[Level]) -> Iterator[str]:
    return (f"{level.words[:1].upper()}{level.words[1:]}." for level in levels)


# --- both ------------------------------------------------------------------------------------------


def _limit(facts: Facts) -> Iterator[Level]:
    if facts.limit is not None and facts.limit > 0:
        yield Level(facts.limit, f"limit {money.round_dollars(facts.limit)}", firm=True)


def _past(facts: Facts) -> list[Bar]:
    history = facts.history
    if history is None:
        return []
    days = ((history.start + DAY * place, amount) for place, amount in enumerate(history.amounts))
    return [Bar(day, amount) for day, amount in days if amount is not None]


def _amounts(levels: Sequence[Level]) -> Iterator[Decimal]:
    return (level.amount for level in levels)


def _top(certain: Sequence[Decimal], others: Sequence[Decimal]) -> Decimal:
    """The highest, but what is not certain not so high that nothing else could be seen."""
    most = max(*certain, Decimal("0.01"))
    return max([most, *(min(other, money.times(most, _MOST_ROOM)) for other in others)])


def _words(start: str, facts: Facts, *sentences: str) -> str:
    days = trend.last_days(facts.history)
    parts = [f"{start}.", *sentences, trend.foreseen(facts)]
    if days is not None:
        parts.append(f"Days: {days.words}.")
    return shorten(for_text(" ".join(part for part in parts if part)), LONGEST_WORDS)
