"""What comes with a decision: like compared with like, the last days, the forecast; and nothing half known."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal

import pytest

from budgetd.background import HISTORY_DAYS, Background, Outlook, gather
from budgetd.contrast import Contrast, contrast
from budgetd.lifecycle import step
from budgetd.model import Basis, Cause, CostDay, Dimensions, Finding, Mover, Scope
from budgetd.money import subtract, total
from budgetd.period import DAY, Period
from budgetd.pricing import RateTable
from budgetd.rules import Indexes, Rule
from budgetd.scope import Naming
from tests.builders import at, cap, cost_day, indexes_of, line, naming, rate, situation, spike, workspace

TODAY = date(2026, 11, 18)
RESEARCH, CHAT = "wrkspc_r", "wrkspc_c"
NAMES = naming(workspace(RESEARCH, "Research"), workspace(CHAT, "Prod-Chat"))
OPUS = {"token_type": "output_tokens", "cost_type": "tokens", "service_tier": "standard"}


def days(start: date, *amounts: str, **more: str) -> list[CostDay]:
    return [cost_day(start + DAY * n, {line(RESEARCH, **OPUS): amount}, **more) for n, amount in enumerate(amounts)]  # type: ignore[arg-type]


def findings_of(rule: Rule, indexes: Indexes, day: date) -> list[Finding]:
    spend, period = indexes.of(rule), rule.calendar.holding(day)
    scopes: set[Scope] = set(spend.totals(rule.view(), period)) | ({()} if not rule.for_each else set())
    return list(rule.findings(spend, period, scopes))


def found(rule: Rule, known: Sequence[CostDay], day: date, names: Naming | None = None) -> Contrast | None:
    indexes = indexes_of([rule], known, names)
    (finding,) = findings_of(rule, indexes, day)
    return contrast(rule, finding, indexes.of(rule))


def known(rule: Rule, known_days: Sequence[CostDay], day: date, names: Naming = NAMES) -> list[Background]:
    """The background of all that the rule says of the day's period."""
    indexes = indexes_of([rule], known_days, names)
    told = findings_of(rule, indexes, day)
    decisions = step(situation(rule, current=rule.calendar.holding(day)), {}, told, at("2026-11-18")).decisions
    read: list[date] = []

    def lines(wanted: Collection[date]) -> Iterable[CostDay]:
        read.extend(wanted)
        return [each for each in known_days if each.day in wanted]

    made = gather(decisions, {rule.id: rule}, indexes, RateTable(), lines)
    assert len(read) == len(set(read))
    return made


# --- which days ------------------------------------------------------------------------------------


def test_a_month_is_compared_with_the_same_closed_days_of_the_one_before() -> None:
    history = [*days(date(2026, 10, 1), *["1"] * 31), *days(date(2026, 11, 1), *["2"] * 17)]
    running = cost_day(TODAY, {line(RESEARCH, **OPUS): "9"}, Basis.ESTIMATED, complete=False)
    contrasted = found(cap("10"), [*history, running], TODAY)
    assert contrasted is not None
    assert (contrasted.before[0], contrasted.before[-1]) == (date(2026, 10, 1), date(2026, 10, 17))
    assert (contrasted.after[0], contrasted.after[-1]) == (date(2026, 11, 1), date(2026, 11, 17))
    assert (contrasted.against, contrasted.mean, contrasted.closed) == ("1-17 Oct 2026", False, True)


@pytest.mark.parametrize(
    ("per", "start", "count", "against"),
    [
        ("month", date(2026, 9, 1), 60, "September 2026"),
        ("month", date(2026, 9, 1), 61, "as many days of September 2026"),
        ("week", date(2026, 11, 2), 16, "9-10 Nov 2026"),
        ({"last": "7d"}, date(2026, 11, 1), 17, "4-10 Nov 2026"),
        ("quarter", date(2026, 7, 1), 140, "1 Jul - 17 Aug 2026"),
    ],
)
def test_other_periods(per: object, start: date, count: int, against: str) -> None:
    history = days(start, *["5"] * count)
    contrasted = found(cap("10", per=per), history, history[-1].day)
    assert contrasted is not None
    assert len(contrasted.before) == len(contrasted.after)
    assert contrasted.against == against


def test_a_day_is_compared_with_its_weekday_and_a_running_one_only_when_it_is_above() -> None:
    history = days(date(2026, 11, 10), "50", "60", "70", "1", "1", "1", "1", "80")
    contrasted = found(cap("10", per="day"), history, date(2026, 11, 17))
    assert contrasted is not None
    assert (contrasted.before, contrasted.against) == ((date(2026, 11, 10),), "the Tuesday before")
    for amount, said in (("59", False), ("60", False), ("61", True)):
        running = cost_day(TODAY, {line(RESEARCH, **OPUS): amount}, Basis.ESTIMATED, complete=False)
        contrasted = found(cap("10", per="day"), [*history, running], TODAY)
        assert (contrasted is not None) == said
        assert contrasted is None or not contrasted.closed


def test_a_spike_is_compared_with_the_days_of_its_baseline() -> None:
    history = days(date(2026, 11, 13), "5", "1", "3", "2", "90")
    for against, before in (
        ("yesterday", {16}),
        ({"mean": "4d"}, {13, 14, 15, 16}),
        ({"median": "3d"}, {16}),
        ({"median": "4d"}, {15, 16}),
    ):
        contrasted = found(spike(against), history, date(2026, 11, 17))
        assert contrasted is not None
        assert {day.day for day in contrasted.before} == before
        assert contrasted.mean


def test_nothing_is_compared_with_days_that_are_not_wholly_known() -> None:
    history = [*days(date(2026, 10, 1), *["1"] * 31), *days(date(2026, 11, 1), *["2"] * 17)]
    assert found(cap("10"), history, TODAY) is not None
    assert found(cap("10"), history[1:], TODAY) is None
    history[3] = cost_day(history[3].day, history[3].lines and "1", complete=False)
    assert found(cap("10"), history, TODAY) is None
    only_today = [cost_day(date(2026, 11, 1), "90", Basis.ESTIMATED, complete=False)]
    assert found(cap("10"), [*days(date(2026, 10, 1), *["1"] * 31), *only_today], date(2026, 11, 1)) is None


def test_a_rate_is_compared_with_nothing() -> None:
    rule = rate()
    window = Period(at("2026-11-17 12:00"), at("2026-11-17 12:15"))
    finding = Finding(rule.id, (), window, Decimal(200), Decimal(150), (Decimal(1),))
    spend = indexes_of([rule], days(TODAY - DAY, "5")).of(rule)
    assert contrast(rule, finding, spend) is None


# --- what became of what ---------------------------------------------------------------------------


def two_months(then: dict[Dimensions, str], now: dict[Dimensions, str]) -> list[CostDay]:
    before = [cost_day(date(2026, 10, day), then) for day in range(1, 32)]
    return [*before, *(cost_day(date(2026, 11, day), now) for day in range(1, 18))]


def test_a_change_is_told_by_model_workspace_and_cause() -> None:
    haiku = line(CHAT, "claude-haiku-4-5-20251001", **OPUS)
    then = {line(RESEARCH, **OPUS): "10", haiku: "5"}
    now = {line(RESEARCH, **OPUS): "20", haiku: "5", line(CHAT, None, cost_type="web_search"): "0.5"}
    (made,) = known(cap("300"), two_months(then, now), TODAY)
    change = made.increase
    assert change is not None
    assert (change.before, change.after) == (Decimal(17 * 15), Decimal("433.5"))
    assert change.movers == (
        Mover("model", "claude-opus-4-8", Decimal(170), Decimal(340), "output_tokens"),
        Mover("workspace", "Research", Decimal(170), Decimal(340)),
    )
    assert total(amount for _, amount in change.causes) == subtract(change.after, change.before)
    assert dict(change.causes)[Cause.OTHER] == Decimal("8.5")
    # 17 days of $10 at $25 a million and of $5 at $5, then twice the first: 1.4 -> 1.8.
    assert change.tokens is not None
    assert abs(change.tokens - Decimal("1.8") / Decimal("1.4")) < Decimal("1e-12")


def test_what_the_scope_is_about_is_not_told_again() -> None:
    then, now = {line(RESEARCH, **OPUS): "10"}, {line(RESEARCH, **OPUS): "20"}
    (made,) = known(cap("100", for_each=["workspace", "model"]), two_months(then, now), TODAY)
    assert made.increase is not None
    assert [(mover.dimension, mover.name) for mover in made.increase.movers] == [("token_type", "output_tokens")]


def test_a_spike_over_a_mean_adds_up_to_what_the_rule_says() -> None:
    (made,) = known(spike({"mean": "3d"}), days(date(2026, 11, 14), "1", "2", "4", "90"), date(2026, 11, 17))
    change = made.increase
    assert change is not None
    assert abs(change.before - Decimal(7) / 3) < Decimal("1e-15")
    assert total(amount for _, amount in change.causes) == subtract(change.after, change.before)


def test_the_lines_are_read_once_for_all_and_each_scope_has_its_own() -> None:
    then = {line(f"wrkspc_{n}", **OPUS): str(n + 1) for n in range(40)}
    now = {line(f"wrkspc_{n}", **OPUS): str(3 * n + 3) for n in range(40)}
    made = known(cap("1", for_each="workspace"), two_months(then, now), TODAY)
    assert sorted(each.increase.after for each in made if each.increase) == [Decimal(51 * (n + 1)) for n in range(40)]
    assert all(each.increase and each.increase.before * 3 == each.increase.after for each in made)


# --- the last days, and those to come --------------------------------------------------------------


def test_the_history_is_the_last_closed_days_with_gaps_that_are_not_zero() -> None:
    history = [*days(date(2026, 10, 1), *["1"] * 31), *days(date(2026, 11, 1), *["2"] * 17)]
    running = cost_day(TODAY, {line(RESEARCH, **OPUS): "99"}, Basis.ESTIMATED, complete=False)
    quiet = cost_day(date(2026, 11, 16), {})
    kept = [quiet if each.day == quiet.day else each for each in history if each.day != date(2026, 11, 9)]
    rule = cap("10")
    spend = indexes_of([rule], [*kept, running]).of(rule)
    spend.through = at("2026-11-18 09:00")
    seen = Outlook(spend).history(rule.view(), (), rule.calendar.holding(TODAY))
    assert seen is not None
    assert (seen.start, len(seen.amounts)) == (date(2026, 10, 18), HISTORY_DAYS)
    by_day = {seen.start + DAY * place: amount for place, amount in enumerate(seen.amounts)}
    assert by_day[date(2026, 10, 31)] == 1
    assert by_day[date(2026, 11, 9)] is None
    assert by_day[date(2026, 11, 16)] == 0
    assert by_day[date(2026, 11, 17)] == 2


def test_a_period_that_is_over_is_shown_up_to_its_end() -> None:
    rule = cap("10")
    spend = indexes_of([rule], days(date(2026, 10, 1), *["1"] * 48)).of(rule)
    seen = Outlook(spend).history(rule.view(), (), rule.calendar.holding(date(2026, 10, 5)))
    assert seen is not None
    assert (seen.start, seen.amounts) == (date(2026, 10, 1), (Decimal(1),) * 31)


def test_a_limit_that_lasts_is_foreseen_from_an_unbroken_past() -> None:
    history = days(TODAY - DAY * 60, *["10"] * 60)
    (made,) = known(cap("100"), history, TODAY - DAY)
    assert made.forecast is not None
    assert (made.forecast.expected, made.forecast.low, made.forecast.high) == (Decimal(300),) * 3
    for rule in (cap("5", per="day"), cap("100", per={"last": "30d"}), spike(at_least="1")):
        assert all(each.forecast is None for each in known(rule, history, TODAY - DAY))
    (broken,) = known(cap("100"), [each for each in history if each.day != TODAY - timedelta(20)], TODAY - DAY)
    assert broken.forecast is None
