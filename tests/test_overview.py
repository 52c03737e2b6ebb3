"""What status and alerts show, computed from a state that is made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.advice import advice
from budgetd.commands.status_json import document
from budgetd.commands.status_text import Page
from budgetd.commands.terminal import Terminal
from budgetd.model import (
    Attempt,
    CostDay,
    Delivery,
    DeliveryState,
    Drift,
    Facts,
    Forecast,
    Health,
    Incident,
    Kind,
    Notice,
    Outcome,
    Planned,
    Reason,
    Severity,
    State,
    Workspace,
)
from budgetd.overview import (
    Around,
    Overview,
    Polling,
    channel_states,
    firing,
    first_day,
    naming,
    overview,
    polling_states,
    share_of,
)
from budgetd.period import DAY, midnight
from budgetd.rules import Rule
from budgetd.store import DeliveryRecord, Memory
from tests.builders import ORGANISATION, at, cap, cost_day, incident, line, spike, workspace

NOW = at("2026-11-18 06:00")
THROUGH = at("2026-11-18")
RESEARCH, CHAT = "wrkspc_r", "wrkspc_c"


def memory(
    incidents: Iterable[Incident] = (),
    outbox: Sequence[Delivery] = (),
    through: datetime | None = THROUGH,
    health: Mapping[str, Health] | None = None,
) -> Memory:
    workspaces: dict[str, Workspace] = {
        known.id: known for known in (workspace(RESEARCH, "Research"), workspace(CHAT, "Prod-Chat"))
    }
    by_id = {each.id: each for each in incidents}
    return Memory(ORGANISATION, workspaces, through, by_id, {}, health or {}, tuple(outbox), {})


def see(rules: Sequence[Rule], days: Iterable[CostDay], known: Memory | None = None) -> Overview:
    return overview(known or memory(), (), rules, {}, (), days)


def november(*amounts: tuple[str, str], until: int = 18) -> list[CostDay]:
    """The days from the 1st on, each with these (workspace, dollars)."""
    lines = {line(name): amount for name, amount in amounts}
    return [cost_day(date(2026, 11, day), lines) for day in range(1, until)]


def test_every_scope_is_read_against_its_own_limit_the_most_used_first() -> None:
    rule = cap("1000", for_each="workspace", limits={"Research": "100000"})
    (read,) = see([rule], november((RESEARCH, "100"), (CHAT, "20"))).rules
    assert [(each.scope[0].name, each.finding.amount, each.finding.limit, each.share) for each in read.readings] == [
        ("Prod-Chat", Decimal(340), Decimal(1000), Decimal("0.34")),
        ("Research", Decimal(1700), Decimal(100000), Decimal("0.017")),
    ]
    assert read.matched
    assert read.period is not None
    assert read.period.name == "November 2026"


def test_a_scope_far_below_its_first_step_is_read_too() -> None:
    (read,) = see([cap("1000000")], november((RESEARCH, "0.01"))).rules
    assert [each.finding.amount for each in read.readings] == [Decimal("0.17")]


def test_a_rule_that_matches_nothing_says_so_and_reads_zero() -> None:
    (read,) = see([cap("10", match={"workspace": "Reserch"})], november((RESEARCH, "5"))).rules
    assert not read.matched
    assert [each.finding.amount for each in read.readings] == [Decimal(0)]


def test_a_spike_is_read_for_its_newest_closed_day_when_today_is_not_over() -> None:
    days = [*november((RESEARCH, "10"), until=17), cost_day("2026-11-17", {line(RESEARCH): "90"})]
    today = cost_day("2026-11-18", {line(RESEARCH): "1"}, complete=False)
    (read,) = see([spike(for_each="workspace")], [*days, today]).rules
    assert read.period is not None
    assert read.period.name == "17 Nov 2026"
    (reading,) = read.readings
    assert reading.finding.amount == 90
    assert reading.finding.comparison is not None
    assert reading.finding.comparison.baseline == 10
    assert reading.share == Decimal("1.5")


def test_a_rule_without_complete_data_reads_nothing() -> None:
    (read,) = see([spike()], [cost_day("2026-11-17", "5")]).rules
    assert read.readings == ()
    assert read.period is None


def test_without_any_data_every_rule_is_listed_and_none_is_read() -> None:
    seen = see([cap(id="a"), spike(id="b")], [], memory(through=None))
    assert [(each.rule.id, each.readings) for each in seen.rules] == [("a", ()), ("b", ())]
    assert seen.through is None


def test_missing_days_make_the_reading_a_lower_bound() -> None:
    (read,) = see([cap("1000")], november((RESEARCH, "10"))[3:]).rules
    assert not read.readings[0].finding.complete


def test_a_reading_knows_its_incident_also_when_nothing_is_left_of_the_spend() -> None:
    known = incident("0.8", scope=(("workspace", RESEARCH),))
    (read,) = see([cap("1000", for_each="workspace")], november((CHAT, "1")), memory([known])).rules
    found = {each.scope[0].id: each.incident for each in read.readings}
    assert found == {CHAT: None, RESEARCH: known}


def test_a_rolling_rule_reading_is_tied_to_its_open_incident() -> None:
    rule = cap("10", per={"last": "7d"})
    opened = incident("1", period=rule.calendar.holding(date(2026, 11, 12)), amount="12", limit="10")
    (read,) = see([rule], november((RESEARCH, "5")), memory([opened])).rules
    assert read.readings[0].incident == opened


def test_the_worst_incident_is_first_and_resolved_ones_are_not_firing() -> None:
    mild = incident("0.8", rule="mild", amount="5000", limit="1000")
    bad = incident("1", rule="bad", amount="1100", severity=Severity.CRITICAL)
    worse = incident("1", rule="worse", amount="1900", severity=Severity.CRITICAL)
    over = incident(rule="over", state=State.RESOLVED)
    found = firing([mild, over, bad, worse], naming(memory()))
    assert [each.incident.rule for each in found] == ["worse", "bad", "mild"]


def test_a_reading_says_what_its_period_comes_to() -> None:
    days = [cost_day(date(2026, 8, 19) + DAY * n, {line(RESEARCH): "10", line(CHAT): "1"}) for n in range(91)]
    (read,) = see([cap("200", for_each="workspace")], days).rules
    research, chat = read.readings
    assert research.forecast == Forecast(Decimal(300), Decimal(300), Decimal(300), date(2026, 11, 20))
    assert chat.forecast == Forecast(Decimal(30), Decimal(30), Decimal(30))
    text = "\n".join(Page(Terminal(), Around(NOW, True)).lines(see([cap("200", for_each="workspace")], days)))
    assert "      On course for about $300 by 30 Nov, $100 over; the limit is reached about" in text
    assert "about $30 by" not in text  # what stays within its limit needs no line of its own
    assert "about $330 by 30 Nov, within $900." in "\n".join(
        Page(Terminal(), Around(NOW, True)).lines(see([cap("900")], days))
    )
    (shown, _) = document(see([cap("200", for_each="workspace")], days), Around(NOW, True))["rules"][0]["readings"]
    assert shown["forecast"] == {"expected": "300", "low": "300", "high": "300", "reached_on": "2026-11-20"}


def test_enough_days_are_asked_for_and_not_many_more() -> None:
    assert first_day([cap(per="day"), cap(per={"last": "31d"})], at("2026-11-18")) == date(2026, 10, 17)
    assert first_day([cap(per="month")], at("2026-11-18")) == date(2026, 8, 18)  # 91 closed days for the forecast
    assert first_day([spike({"median": "28d"})], at("2026-11-18")) <= date(2026, 10, 20)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_share_is_one_or_more_exactly_when_the_limit_is_reached(amount: int, limit: int) -> None:
    share = share_of(Decimal(amount), Decimal(limit))
    assert (share >= 1) == (amount >= limit if limit else amount > 0)


# --- channels --------------------------------------------------------------------------------------


def notice(number: int = 1) -> Notice:
    created = NOW + timedelta(hours=number)
    return Notice(
        f"evt_{number}", "inc_1", number, Kind.TRIGGER, Reason.TEST, Severity.INFO, created, Facts("o", "r", "")
    )


def record(
    channel: str, *outcomes: Outcome | None, state: DeliveryState = DeliveryState.PENDING, number: int = 1
) -> DeliveryRecord:
    """Attempts that began a minute apart, each over after a second; None is under way."""
    created = NOW + timedelta(hours=number)
    sent = Delivery(f"dlv_{channel}_{number}", channel, (notice(number),), created, created, state=state)
    attempts = []
    for place, outcome in enumerate(outcomes):
        began = created + timedelta(minutes=place)
        ended = None if outcome is None else began + timedelta(seconds=1)
        attempts.append(Attempt(sent.id, place + 1, began, ended, outcome, "why"))
    return DeliveryRecord(sent, tuple(attempts))


def test_a_channel_fails_since_the_first_failure_after_its_last_success() -> None:
    good = record("team", Outcome.RETRY, Outcome.DELIVERED, state=DeliveryState.DELIVERED)
    bad = record("team", Outcome.RETRY, Outcome.UNAUTHORISED, None, number=2)
    (state,) = channel_states([bad.delivery], [bad, good], ["team"])
    assert state.last_delivered == NOW + timedelta(hours=1, minutes=1, seconds=1)
    assert state.failing_since == NOW + timedelta(hours=2)
    assert state.last is not None
    assert state.last.outcome is Outcome.UNAUTHORISED
    assert (state.pending, state.given_up) == (1, 0)
    assert state.next_attempt_at == bad.delivery.next_attempt_at


def test_a_channel_that_delivered_last_does_not_fail() -> None:
    (state,) = channel_states([], [record("team", Outcome.RETRY, Outcome.DELIVERED)], ["team"])
    assert state.failing_since is None


def test_a_channel_that_was_removed_is_listed_while_messages_wait() -> None:
    waiting = record("old").delivery
    found = channel_states([waiting], [record("gone", Outcome.DELIVERED)], ["team"])
    assert [(each.name, each.configured, each.pending) for each in found] == [("team", True, 0), ("old", False, 1)]


def test_without_a_rules_file_the_channels_are_those_of_the_deliveries() -> None:
    found = channel_states([], [record("team", Outcome.DELIVERED)], None)
    assert [(each.name, each.configured) for each in found] == [("team", None)]


# --- advice ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "detail", "words"),
    [
        (Outcome.UNAUTHORISED, "HTTP 401: invalid_auth", "does not know this token"),
        (Outcome.UNAUTHORISED, "login: 535 5.7.8 authentication failed", "user and password"),
        (Outcome.GONE, "HTTP 410", "does not exist any more"),
        (Outcome.GONE, 'HTTP 200: {"error":"channel_not_found"}', "/invite"),
        (Outcome.RETRY, "could not connect: NameResolutionError: Failed to resolve 'x'", "name cannot be resolved"),
        (Outcome.RETRY, "the mail server could not be reached: gaierror: [Errno -2]", "name cannot be resolved"),
        (Outcome.RETRY, "could not connect: NewConnectionError: [Errno 111] Connection refused", "Nothing listens"),
        (Outcome.RETRY, "the mail server could not be reached: ConnectionRefusedError: 111", "Nothing listens"),
        (Outcome.RETRY, "could not connect: SSLError: CERTIFICATE_VERIFY_FAILED", "certificate"),
        (Outcome.RETRY, "no encrypted connection: SSLCertVerificationError: expired", "certificate"),
        (Outcome.UNAUTHORISED, "no encrypted connection: STARTTLS extension not supported", "offers no encryption"),
        (Outcome.RETRY, "could not connect in time", "does not answer"),
        (
            Outcome.RETRY,
            "could not connect through the proxy: 407 Proxy Authentication Required",
            "proxy wants a login",
        ),
        (Outcome.RETRY, "could not connect through the proxy: 403 Forbidden", "did not let it through"),
        (Outcome.REJECTED, "HTTP 400: 'routing_key' is invalid", "Events API v2"),
        (Outcome.UNAUTHORISED, "HTTP 403: no", "wrong or revoked"),
        (Outcome.RETRY, "the plug-in failed: ImportError: slixmpp", "a package for this service"),
        (Outcome.RETRY, "HTTP 503: busy", "status page"),
        (Outcome.GONE, "HTTP 302: redirect to host x refused", "new address"),
        (Outcome.REJECTED, "sending the mail: 550 no such user", "no such address"),
        (Outcome.REJECTED, "HTTP 400: bad", "does not take this message"),
        (Outcome.RATE_LIMITED, "HTTP 429: connection refused by policy", "no more for now"),
        (Outcome.UNKNOWN, "no answer in time after the request was sent", "look whether it arrived"),
        (Outcome.DELIVERED, "", ""),
    ],
)
def test_a_failure_comes_with_what_to_do(outcome: Outcome, detail: str, words: str) -> None:
    assert words in advice(outcome, detail)
    assert (advice(outcome, detail) == "") is (outcome is Outcome.DELIVERED)


def test_requests_are_those_of_the_utc_day_and_the_one_before() -> None:
    day = date(2026, 11, 18)
    plan = Planned(NOW, timedelta(minutes=1), widened=False, words="every minute")
    requests = {"use": {day: 3, day - DAY: 5}, "costs": {day - DAY: 7}, "old": {day - 2 * DAY: 1}}
    assert polling_states({"use": plan, "new": plan}, requests, day) == {
        "use": Polling(plan, 3, 5),
        "new": Polling(plan),
        "costs": Polling(None, 0, 7),
        "old": Polling(),
    }


def test_estimates_stay_beside_their_bills() -> None:
    drifts = (Drift(date(2026, 11, 17), Decimal("9.5"), Decimal(10)),)
    assert overview(memory(), (), (), {}, (), (), None, drifts).drifts == drifts


def test_sources_are_shown_as_they_are() -> None:
    blind = Health("cost_report", last_good=midnight(date(2026, 11, 17)), failing_since=NOW, failures=3)
    clock = Health("clock", last_good=NOW)
    seen = see([], [], replace(memory(), health={"clock": clock, "cost_report": blind}))
    assert seen.sources == (blind, clock), "the clock is no source of spend: it comes last"
