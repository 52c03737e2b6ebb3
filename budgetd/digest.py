"""What a digest says of a period: spend, what moved, limits, alerts, channels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from budgetd import money
from budgetd.lifecycle import is_of_rule
from budgetd.model import (
    DEFAULT_WORKSPACE,
    Basis,
    CostDay,
    Delivery,
    DeliveryState,
    Incident,
    Kind,
    Label,
    Notice,
    Outcome,
    Reason,
    Severity,
)
from budgetd.overview import ChannelState, Reading, RuleReadings, channel_states
from budgetd.period import DAY, Period
from budgetd.schedule import Schedule, zone
from budgetd.scope import Naming, undated
from budgetd.store import DeliveryRecord
from budgetd.summary import Digest, Move, Movers, Post, Spent, Standing, Story
from budgetd.wording import title

MOST_MOVERS = 5
MOST_STANDINGS = 8
MOST_STORIES = 8

_SPLIT_BY = ("workspace", "model")


@dataclass(frozen=True, slots=True)
class Known:
    """All that a digest is made of. `days`: the cost lines of the period and of the one before.

    `told`: incidents that changed since the period began, with their notices. `records`: deliveries since then;
    `outbox`: what waits now. `forecast`: what a limit's period will have cost, where that can be said.
    """

    days: Iterable[CostDay]
    readings: Sequence[RuleReadings]
    told: Iterable[tuple[Incident, Sequence[Notice]]]
    records: Sequence[DeliveryRecord]
    outbox: Sequence[Delivery]
    channels: Sequence[str]
    naming: Naming
    forecast: Callable[[Reading], Decimal | None] = lambda _: None


def compose(id: str, schedule: Schedule, due: datetime, known: Known) -> Digest:
    """The digest that is due then."""
    period = schedule.covered(due)
    sums = _Sums((period, schedule.before(period)))
    for day in known.days:
        sums.add(day)
    now, before = (sums.spent(each) for each in sums.periods)
    standings = _standings(known.readings, known.forecast)
    stories = _stories(known.told, period)
    local = due.astimezone(zone(schedule.zone))
    return Digest(
        id=id,
        every=schedule.every,
        due=f"{local:%A} {local.day} {local:%B %Y %H:%M} {schedule.zone}",
        spent=now,
        before=before,
        days=tuple((day, sums.of_day.get(day)) for day in period.days()),
        basis=sums.basis(period),
        # What lacks days on either side moved by as much as it lacks.
        movers=() if now.missing or before.missing else tuple(sums.movers(each, known.naming) for each in _SPLIT_BY),
        standings=tuple(standings[:MOST_STANDINGS]),
        more_standings=max(0, len(standings) - MOST_STANDINGS),
        stories=tuple(stories[:MOST_STORIES]),
        more_stories=max(0, len(stories) - MOST_STORIES),
        posts=tuple(_posts(known, period)),
    )


# --- spend -------------------------------------------------------------------------------------


class _Sums:
    """Exact dollars of two periods, the newer first, by workspace and by model."""

    def __init__(self, periods: tuple[Period, Period]) -> None:
        self.periods = periods
        self.of_day: dict[date, Decimal] = {}
        self._kinds: dict[date, tuple[Basis, bool]] = {}
        self._parts: defaultdict[tuple[str, Period], dict[str, Decimal]] = defaultdict(dict)

    def add(self, day: CostDay) -> None:
        """Count the day's lines in the period that it is of, if it is of any."""
        period = next((each for each in self.periods if each.holds(day.day)), None)
        if period is None:
            return
        self._kinds[day.day] = (day.basis, day.complete)
        self.of_day[day.day] = money.total(day.lines.values())
        workspaces, models = (self._parts[dimension, period] for dimension in _SPLIT_BY)
        for line, amount in day.lines.items():
            workspace, model = line.workspace or "", undated(line.model) if line.model is not None else ""
            workspaces[workspace] = money.add(workspaces.get(workspace, money.ZERO), amount)
            models[model] = money.add(models.get(model, money.ZERO), amount)

    def spent(self, period: Period) -> Spent:
        """All of the period that is known, and which days are not, or only in part."""
        days = period.days()
        missing = tuple(day for day in days if not self._kinds.get(day, (Basis.BILLED, False))[1])
        return Spent(period, money.total(self.of_day[day] for day in days if day in self.of_day), missing)

    def basis(self, period: Period) -> str:
        """Where the period's figures come from, in words."""
        found = {basis for day, (basis, _) in self._kinds.items() if period.holds(day)}
        if len(found) == 1 and Basis.MIXED not in found:
            return found.pop().value
        return "billed and estimated" if found else ""

    def movers(self, dimension: str, naming: Naming) -> Movers:
        """Who rose and who fell most, by the dollars that make the difference."""
        now, before = (self._parts[dimension, period] for period in self.periods)
        values = sorted(now.keys() | before.keys())
        names = _names(dimension, values, naming)
        moves = [Move(names[v], now.get(v, money.ZERO), before.get(v, money.ZERO)) for v in values]
        up = sorted((move for move in moves if _difference(move) > 0), key=_difference, reverse=True)
        down = sorted((move for move in moves if _difference(move) < 0), key=_difference)
        return Movers(dimension, tuple(up[:MOST_MOVERS]), tuple(down[:MOST_MOVERS]))


def _difference(move: Move) -> Decimal:
    return money.subtract(move.amount, move.before)


def _names(dimension: str, values: Sequence[str], naming: Naming) -> dict[str, str]:
    """What people call the values; those that share a name bring their id."""
    names = {value: _called(naming.labels(((dimension, value),))[0]) for value in values}
    counts = Counter(names.values())
    return {value: name if counts[name] == 1 else f"{name} ({value})" for value, name in names.items()}


def _called(label: Label) -> str:
    known = label.dimension == "workspace" and label.id == DEFAULT_WORKSPACE
    return "Default workspace" if known else label.name


# --- limits ------------------------------------------------------------------------------------


def _standings(rules: Iterable[RuleReadings], forecast: Callable[[Reading], Decimal | None]) -> list[Standing]:
    """The limits over more than a day, the most used first."""
    found = [
        (
            reading.share,
            Standing(
                rule=each.rule.id,
                subject=" / ".join(map(_called, reading.scope)),
                period=reading.finding.period,
                amount=reading.finding.amount,
                limit=reading.finding.limit,
                complete=reading.finding.complete,
                forecast=forecast(reading),
            ),
        )
        for each in rules
        if each.rule.kind == "cap" and each.period is not None and each.period.end - each.period.start > DAY
        for reading in each.readings
    ]
    return [standing for _, standing in sorted(found, key=lambda item: (-item[0], item[1].rule, item[1].subject))]


# --- alerts ------------------------------------------------------------------------------------


def _stories(told: Iterable[tuple[Incident, Sequence[Notice]]], period: Period) -> list[Story]:
    """What was told or ended in the period: what goes on first, and of that the worst."""
    found = [story for incident, notices in told if (story := _story(incident, notices, period)) is not None]
    return sorted(found, key=lambda story: (story.ended is not None or story.once, -_rank(story), story.at))


def _rank(story: Story) -> int:
    return Severity(story.severity).rank


def _story(incident: Incident, notices: Sequence[Notice], period: Period) -> Story | None:
    said = [notice for notice in notices if notice.created_at < period.end and _matters(notice)]
    # Every period ends; that is no news of its own.
    if not any(each.created_at >= period.start and each.reason is not Reason.PERIOD_OVER for each in said):
        return None
    last = said[-1]
    fired = [notice for notice in said if notice.kind is not Kind.RESOLVE]
    worst = max(said, key=lambda notice: notice.severity.rank)
    over = last.kind is Kind.RESOLVE
    return Story(
        incident=incident.id,
        title=title(fired[-1] if fired else last),
        severity=worst.severity.value,
        at=said[0].created_at,
        ended=last.created_at if over else None,
        end=last.reason.value.replace("_", " ") if over else "",
        once=last.kind is Kind.INFORM and (last.reason is Reason.LATE or not is_of_rule(incident)),
    )


def _matters(notice: Notice) -> bool:
    """What only informs, and of little, is no story."""
    return notice.kind is not Kind.INFORM or notice.severity is not Severity.INFO


# --- channels ----------------------------------------------------------------------------------


def _posts(known: Known, period: Period) -> Iterable[Post]:
    records = [record for record in known.records if record.delivery.created_at >= period.start]
    for state in channel_states(known.outbox, known.records, known.channels):
        own = [record for record in records if record.delivery.channel == state.name]
        ended = [attempt for record in own for attempt in record.attempts if attempt.outcome is not None]
        yield Post(
            channel=state.name,
            delivered=sum(record.delivery.state is DeliveryState.DELIVERED for record in own),
            failed=sum(attempt.outcome is not Outcome.DELIVERED for attempt in ended),
            given_up=sum(record.delivery.state is DeliveryState.GIVEN_UP for record in own),
            pending=state.pending,
            trouble=_trouble(state),
        )


def _trouble(state: ChannelState) -> str:
    """What hinders the channel now."""
    if state.failing_since is None or state.last is None or state.last.outcome is None:
        return ""
    return state.last.detail or state.last.outcome.value
