"""What a digest says: frozen values, kept with its notice so that a late or repeated one says the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from budgetd.period import Period

# A rule of the file cannot be called so.
DIGEST_RULE = "budgetd:digest"


@dataclass(frozen=True, slots=True)
class Spent:
    """Dollars in a period. `missing`: its UTC days that are not known, or not whole; then it was at least `amount`."""

    period: Period
    amount: Decimal
    missing: tuple[date, ...] = ()


@dataclass(frozen=True, slots=True)
class Move:
    """What a workspace or model cost in the period and in the one before, in dollars."""

    name: str
    amount: Decimal
    before: Decimal


@dataclass(frozen=True, slots=True)
class Movers:
    """Those of one dimension that rose and fell most, the largest change first."""

    dimension: str
    up: tuple[Move, ...] = ()
    down: tuple[Move, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of a limit is used in its present period, in dollars. `forecast`: what the period will have cost.

    `subject` is empty where the limit is for all that the rule matches.
    """

    rule: str
    subject: str
    period: Period
    amount: Decimal
    limit: Decimal
    complete: bool = True
    forecast: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """Something that people were told of in the period, first `at`. `ended` says when it was over, and `end` why.

    Without those it goes on; or it only told something (`once`) and has no end.
    """

    incident: str
    title: str
    severity: str
    at: datetime
    ended: datetime | None = None
    end: str = ""
    once: bool = False


@dataclass(frozen=True, slots=True)
class Post:
    """How a channel did in the period: messages delivered and given up, attempts that failed; and what waits now."""

    channel: str
    delivered: int = 0
    failed: int = 0
    given_up: int = 0
    pending: int = 0
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Digest:
    """A look back. `every`: `day`, `month` or a weekday. `due`: when it was to be sent, in words in its own zone.

    `basis`: where the period's figures come from, in words. `standings`, `stories` and `posts` are the first of them;
    `more_standings` and `more_stories` count the others. `days` are the period's days in order, None where nothing is
    known.
    """

    id: str
    every: str
    due: str
    spent: Spent
    before: Spent
    days: tuple[tuple[date, Decimal | None], ...]
    basis: str
    movers: tuple[Movers, ...] = ()
    standings: tuple[Standing, ...] = ()
    more_standings: int = 0
    stories: tuple[Story, ...] = ()
    more_stories: int = 0
    posts: tuple[Post, ...] = ()
