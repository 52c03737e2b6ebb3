"""The plan of polls as tables: what is sustained, what a failure asks for, what a 429 widens and success narrows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetd.model import Failure, SourceError
from budgetd.polling import (
    JITTER,
    SAME_DAY,
    WIDEST_BILL,
    WIDEST_SAME_DAY,
    PollingPlan,
    Standing,
    every_words,
)

NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
TODAY, YESTERDAY = datetime(2026, 11, 18, tzinfo=UTC), datetime(2026, 11, 17, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
BILL = PollingPlan()
USE = PollingPlan(SAME_DAY, WIDEST_SAME_DAY)
KNOWN, DUE = Standing(TODAY), Standing(YESTERDAY)


class Still(Random):
    """No jitter, or all of it."""

    def __init__(self, value: float = 0.0) -> None:
        self._value = value

    def random(self) -> float:
        return self._value


def too_many(after: float | None = None) -> SourceError:
    return SourceError(Failure.UNAVAILABLE, "HTTP 429", status=429, retry_after=after)


def failed(failure: Failure = Failure.UNAVAILABLE, after: float | None = None) -> SourceError:
    return SourceError(failure, "HTTP 500", status=500, retry_after=after)


def minutes(plan: PollingPlan, standing: Standing, *errors: SourceError | None) -> list[float]:
    """The waits in minutes after polls that ended so, all at noon."""
    waits = []
    for error in errors:
        standing = plan.after(standing, NOON, standing.through or TODAY if error is None else None, error)
        waits.append(plan.wait(standing, NOON, error, Still()) / MINUTE)
    return waits


@pytest.mark.parametrize(
    ("plan", "standing", "expected"),
    [
        (BILL, KNOWN, HOUR),
        (BILL, DUE, 5 * MINUTE),
        (BILL, Standing(None), 5 * MINUTE),
        (USE, KNOWN, MINUTE),
        (PollingPlan(90 * SECOND), DUE, 90 * SECOND),
        (BILL, Standing(TODAY, 0, 1), HOUR),
        (BILL, Standing(YESTERDAY, 0, 2), 20 * MINUTE),
        (BILL, Standing(YESTERDAY, 0, 5), HOUR),
        (USE, Standing(TODAY, 0, 2), 4 * MINUTE),
        (USE, Standing(TODAY, 0, 4), 15 * MINUTE),
        (PollingPlan(24 * HOUR), Standing(TODAY, 0, 1), 24 * HOUR),
    ],
)
def test_the_interval_that_is_sustained(plan: PollingPlan, standing: Standing, expected: timedelta) -> None:
    assert plan.interval(standing, NOON) == expected


@pytest.mark.parametrize(
    ("plan", "standing", "errors", "expected"),
    [
        (USE, KNOWN, [too_many()], [2]),
        (USE, KNOWN, [too_many()] * 7, [2, 4, 8, 15, 15, 15, 15]),
        (USE, KNOWN, [*[too_many()] * 7, *[None] * 5], [2, 4, 8, 15, 15, 15, 15, 8, 4, 2, 1, 1]),
        (USE, KNOWN, [too_many(), None, too_many(), too_many(), None], [2, 1, 2, 4, 2]),
        (USE, KNOWN, [too_many(30)], [2]),
        (USE, KNOWN, [too_many(600), None], [10, 1]),
        (BILL, KNOWN, [too_many(), too_many(), None], [60, 60, 60]),
        (BILL, DUE, [too_many()] * 6, [10, 20, 40, 60, 60, 60]),
        (BILL, DUE, [too_many(), too_many(), None, None], [10, 20, 10, 5]),
        (PollingPlan(SECOND, WIDEST_SAME_DAY), KNOWN, [too_many()], [2 / 60]),
        (PollingPlan(24 * HOUR), KNOWN, [too_many(), failed(), None], [1440, 2, 1440]),
        # Another failure neither widens nor narrows.
        (USE, KNOWN, [too_many(), too_many(), failed(), None], [2, 4, 5, 2]),
        (BILL, DUE, [too_many(), failed(), None], [10, 10, 5]),
        (USE, KNOWN, [too_many(), failed(Failure.REFUSED), too_many()], [2, 5, 5]),
    ],
)
def test_a_429_widens_and_recovery_narrows(
    plan: PollingPlan, standing: Standing, errors: list[SourceError | None], expected: list[float]
) -> None:
    assert minutes(plan, standing, *errors) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("plan", "errors", "expected"),
    [
        (BILL, [failed()] * 4, [1, 2, 5, 5]),
        (BILL, [failed(), None, failed()], [1, 60, 1]),
        (BILL, [failed(after=3600)], [60]),
        (BILL, [failed(Failure.REFUSED), failed(Failure.REJECTED, 900)], [5, 15]),
        # With five requests for each failed poll that comes to one a minute.
        (USE, [failed()] * 4, [1, 2, 5, 5]),
        (PollingPlan(MINUTE), [failed()] * 3, [1, 2, 5]),
        (PollingPlan(SECOND), [failed()] * 3, [1 / 60] * 3),
    ],
)
def test_a_failure_is_not_answered_with_haste(
    plan: PollingPlan, errors: list[SourceError | None], expected: list[float]
) -> None:
    assert minutes(plan, KNOWN, *errors) == pytest.approx(expected)


def test_a_bill_that_comes_while_the_plan_is_wide_is_followed_by_the_base() -> None:
    standing = BILL.after(Standing(YESTERDAY, 6, 5), NOON, TODAY, None)
    assert standing == Standing(TODAY, 0, 0)
    assert BILL.interval(standing, NOON) == HOUR


def test_jitter_only_ever_lengthens() -> None:
    assert USE.wait(KNOWN, NOON, None, Still(1.0)) == MINUTE * (1 + JITTER)
    assert USE.wait(Standing(TODAY, 1, 1), NOON, too_many(600), Still(1.0)) == 10 * MINUTE * (1 + JITTER)


ERRORS = st.sampled_from([None, too_many(), too_many(45), failed(), failed(Failure.REFUSED), failed(after=90)])


@settings(max_examples=200)
@given(st.sampled_from([BILL, USE]), st.lists(ERRORS, max_size=40))
def test_no_row_of_answers_makes_it_faster_than_a_minute_or_slower_than_the_widest(
    plan: PollingPlan, errors: list[SourceError | None]
) -> None:
    standing = Standing(TODAY)
    for error in errors:
        standing = plan.after(standing, NOON, TODAY if error is None else None, error)
        wait = plan.wait(standing, NOON, error, Still())
        asked = timedelta(seconds=(error.retry_after or 0) if error is not None else 0)
        assert max(MINUTE, asked) <= wait <= max(plan.widest, asked)
        wider = min(2 * (plan.every or HOUR), plan.widest)
        assert error is None or error.status != 429 or wait >= plan.interval(standing, NOON) >= wider
    for _ in range(10):
        standing = plan.after(standing, NOON, TODAY, None)
    assert standing == Standing(TODAY)
    assert WIDEST_SAME_DAY < WIDEST_BILL


@pytest.mark.parametrize(
    ("plan", "standing", "words"),
    [
        (BILL, KNOWN, "hourly, every 5 minutes while yesterday's bill is due"),
        (BILL, DUE, "hourly, every 5 minutes while yesterday's bill is due"),
        (BILL, Standing(YESTERDAY, 1, 1), "every 10 minutes since a 429"),
        (USE, KNOWN, "every minute"),
        (USE, Standing(TODAY, 3, 2), "every 4 minutes since a 429"),
        (PollingPlan(90 * SECOND), KNOWN, "every 90 seconds"),
        (PollingPlan(HOUR), KNOWN, "hourly"),
        (PollingPlan(24 * HOUR), KNOWN, "every 24 hours"),
        (PollingPlan(SECOND), KNOWN, "every second"),
    ],
)
def test_the_plan_in_words(plan: PollingPlan, standing: Standing, words: str) -> None:
    assert plan.words(standing, NOON) == words


def test_an_interval_of_no_whole_unit_is_said_in_seconds() -> None:
    assert every_words(timedelta(milliseconds=1500)) == "every 1.5 seconds"
