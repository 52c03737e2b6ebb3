"""What every Store must do, written against the port; a store's own test file runs it with a fixture `store`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from budgetd.model import (
    Basis,
    Changes,
    CostDay,
    Delivery,
    DeliveryState,
    Dimensions,
    Drift,
    Face,
    Facts,
    Failure,
    Health,
    Incident,
    Kind,
    Notice,
    Organisation,
    Outcome,
    Planned,
    Reason,
    Receipt,
    RuleState,
    Severity,
    State,
    Superseded,
    Workspace,
)
from budgetd.period import Period
from budgetd.store import Store, StoreError

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
ACME = Organisation("org_1", "Acme")
NOVEMBER = Period(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
OPUS = Dimensions(workspace="wrkspc_1", model="claude-opus-4-8", token_type="output_tokens")
SEARCH = Dimensions(workspace="default", cost_type="web_search")
DELIVERED = Receipt(Outcome.DELIVERED)
REFUSED = Receipt(Outcome.RETRY, "connection refused")


def an_incident(id: str = "inc_1", state: State = State.OPEN, period: Period = NOVEMBER) -> Incident:
    return Incident(
        id=id,
        rule="cap",
        scope=(("workspace", "wrkspc_1"), ("model", "claude-opus-4-8")),
        period=period,
        state=state,
        announced=(Decimal("0.8"), Decimal(1)),
        severity=Severity.WARNING,
        amount=Decimal("412.8000000000000000000001"),
        limit=Decimal(400),
        opened_at=NOW,
        changed_at=NOW,
        sequence=2,
        resolved=Reason.RESTATED if state is State.RESOLVED else None,
        held=None,
    )


def a_notice(id: str, incident: str = "inc_1", kind: Kind = Kind.TRIGGER, sequence: int = 1) -> Notice:
    facts = Facts(organisation="Acme", rule="cap", rule_type="cap", period=NOVEMBER, amount=Decimal("412.80"))
    return Notice(id, incident, sequence, kind, Reason.STEP_REACHED, Severity.WARNING, NOW, facts)


def a_delivery(id: str, *notices: Notice, channel: str = "team", at: datetime = NOW) -> Delivery:
    return Delivery(id, channel, notices or (a_notice(f"ntc_{id}", f"inc_{id}"),), at, at)


def put(store: Store, *deliveries: Delivery) -> None:
    store.commit(Changes(at=NOW, deliveries=deliveries))


def due(store: Store, now: datetime = NOW, busy: tuple[str, ...] = ()) -> list[str]:
    return [delivery.id for delivery in store.due(now, busy)]


def state(store: Store, id: str) -> DeliveryState:
    (found,) = [record.delivery.state for record in store.deliveries() if record.delivery.id == id]
    return found


class StoreContract:
    """Inherit it, and give a fixture `store` that is new in each test."""

    # --- knowledge -------------------------------------------------------------------------

    def test_a_new_store_remembers_nothing(self, store: Store) -> None:
        memory = store.recall()
        assert memory.organisation is None
        assert memory.through is None
        assert [*memory.workspaces, *memory.incidents, *memory.rules, *memory.health, *memory.outbox] == []
        assert store.known_days() == frozenset()
        assert (store.planned(), store.requests(date.min)) == ({}, {})
        assert store.due(NOW, ()) == ()
        assert store.next_due() is None
        assert store.recovered_from is None

    def test_what_was_committed_is_recalled_exactly(self, store: Store) -> None:
        workspace = Workspace("wrkspc_1", "Research ✓ <!channel>", NOW, (("team", "research"), ("a", "")))
        health = Health("costs", NOW, NOW + MINUTE, 3, Failure.REFUSED, "401", Severity.CRITICAL, 7)
        rule = RuleState("cap", NOW, NOW + MINUTE)
        store.commit(
            Changes(
                at=NOW,
                organisation=ACME,
                workspaces=(workspace,),
                source="costs",
                through=NOW,
                incidents=(an_incident(),),
                rules=(rule,),
                health=(health,),
            )
        )
        memory = store.recall()
        assert memory.organisation == ACME
        assert memory.workspaces == {"wrkspc_1": workspace}
        assert memory.through == NOW
        assert memory.incidents == {"inc_1": an_incident()}
        assert memory.rules == {"cap": rule}
        assert memory.health == {"costs": health}

    def test_a_later_commit_replaces_what_it_names_and_leaves_the_rest(self, store: Store) -> None:
        rules = (RuleState("cap", NOW, NOW), RuleState("spike", NOW, NOW))
        store.commit(Changes(at=NOW, rules=rules, health=(Health("costs", failures=1),), source="costs", through=NOW))
        later = RuleState("cap", NOW, NOW + DAY)
        store.commit(Changes(at=NOW, rules=(later,), forgotten_rules=("spike",), health=(Health("costs"),)))
        memory = store.recall()
        assert memory.rules == {"cap": later}
        assert memory.health == {"costs": Health("costs")}
        assert memory.through == NOW

    def test_instants_of_another_zone_come_back_as_the_same_instant(self, store: Store) -> None:
        nepal = datetime.fromisoformat("2026-11-22T15:45:00.000001+05:45")
        store.commit(Changes(at=nepal, source="costs", through=nepal))
        assert store.recall().through == nepal

    def test_another_organisation_is_refused_and_a_new_name_is_taken_over(self, store: Store) -> None:
        store.commit(Changes(at=NOW, organisation=ACME))
        store.commit(Changes(at=NOW, organisation=replace(ACME, name="Acme Ltd")))
        assert store.recall().organisation == Organisation("org_1", "Acme Ltd")
        with pytest.raises(StoreError, match=r"org_1 \(Acme Ltd\).*org_2 \(Other\).*refusing to mix"):
            store.commit(Changes(at=NOW, organisation=Organisation("org_2", "Other"), incidents=(an_incident(),)))
        assert store.recall().organisation == Organisation("org_1", "Acme Ltd")
        assert store.recall().incidents == {}

    def test_what_was_committed_before_the_organisation_was_known_is_kept(self, store: Store) -> None:
        put(store, a_delivery("blind"))
        store.commit(Changes(at=NOW, organisation=ACME))
        assert due(store) == ["blind"]

    def test_old_resolved_incidents_are_not_recalled_but_can_be_read(self, store: Store) -> None:
        old = Period(NOW - 90 * DAY, NOW - 71 * DAY)
        kept = Period(NOW - 90 * DAY, NOW - 69 * DAY)
        incidents = (
            an_incident("gone", State.RESOLVED, old),
            an_incident("kept", State.RESOLVED, kept),
            an_incident("open", State.OPEN, old),
        )
        store.commit(Changes(at=NOW, source="costs", through=NOW, incidents=incidents))
        assert set(store.recall().incidents) == {"kept", "open"}
        assert {incident.id for incident in store.incidents()} == {"gone", "kept", "open"}

    # --- what was learned of estimates -------------------------------------------------------

    def test_rates_are_replaced_whole_and_stay_when_none_are_given(self, store: Store) -> None:
        old = ("[1]", "0.000001", "learned", "2026-11-20", "")
        other = ("[1]", "0.000002", "awaited", "2026-11-21", '["a"]')
        store.commit(Changes(at=NOW, rates=(old, other)))
        store.commit(Changes(at=NOW))
        assert sorted(store.recall().rates) == sorted((old, other)), "one key may be learned and awaited"
        newer = ("[2]", "1", "averaged", "2026-11-21", "")
        store.commit(Changes(at=NOW, rates=(newer,)))
        assert store.recall().rates == (newer,)
        store.commit(Changes(at=NOW, rates=()))
        assert store.recall().rates == ()

    def test_the_first_drift_of_a_day_is_kept_and_the_newest_days_are_read_first(self, store: Store) -> None:
        drifts = tuple(Drift(date(2026, 11, day), Decimal(day), Decimal("0.10")) for day in (18, 20, 19))
        store.commit(Changes(at=NOW, drifts=drifts))
        store.commit(Changes(at=NOW, drifts=(Drift(date(2026, 11, 20), Decimal(1), Decimal(1)),)))
        assert [each.day.day for each in store.drifts()] == [20, 19, 18]
        assert store.drifts(limit=1) == (drifts[1],)

    def test_only_closed_bills_are_billed_days(self, store: Store) -> None:
        kinds = [(Basis.BILLED, True), (Basis.BILLED, False), (Basis.ESTIMATED, True), (Basis.ESTIMATED, False)]
        days = tuple(CostDay(date(2026, 11, 18 + number), {}, *kind) for number, kind in enumerate(kinds))
        store.commit(Changes(at=NOW, cost_days=days))
        assert store.billed_days() == {date(2026, 11, 18)}
        assert store.known_days() == {day.day for day in days}
        store.commit(Changes(at=NOW, cost_days=(CostDay(date(2026, 11, 20), {}),)))
        assert store.billed_days() == {date(2026, 11, 18), date(2026, 11, 20)}

    def test_each_source_reaches_as_far_as_it_does(self, store: Store) -> None:
        store.commit(Changes(at=NOW, source="use", through=NOW))
        store.commit(Changes(at=NOW, source="costs", through=NOW - DAY))
        memory = store.recall()
        assert memory.throughs == {"use": NOW, "costs": NOW - DAY}
        assert memory.through == NOW

    def test_a_source_that_is_asked_by_a_slow_clock_takes_nothing_back(self, store: Store) -> None:
        """A seed of the simulation: after an edit the last days counted for nothing, and what was open was over."""
        store.commit(Changes(at=NOW, source="costs", through=NOW))
        store.commit(Changes(at=NOW, source="costs", through=NOW - DAY))
        assert store.recall().throughs == {"costs": NOW}

    # --- how sources are polled ----------------------------------------------------------------

    def test_requests_add_up_by_source_and_utc_day(self, store: Store) -> None:
        late = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
        east = datetime.fromisoformat("2026-11-23T04:00:00+05:00")
        for at, source, count in ((NOW, "costs", 6), (NOW, "use", 1), (late, "use", 2), (late + MINUTE, "use", 4)):
            store.commit(Changes(at=at, source=source, requests=count))
        store.commit(Changes(at=east, source="costs", requests=3))
        store.commit(Changes(at=NOW, source="costs"))
        today, tomorrow = date(2026, 11, 22), date(2026, 11, 23)
        assert store.requests(today) == {"costs": {today: 9}, "use": {today: 3, tomorrow: 4}}
        assert store.requests(tomorrow) == {"use": {tomorrow: 4}}
        assert store.requests(tomorrow + DAY) == {}

    def test_a_commit_that_fails_counts_nothing(self, store: Store) -> None:
        store.commit(Changes(at=NOW, organisation=ACME))
        with pytest.raises(StoreError):
            store.commit(Changes(at=NOW, organisation=Organisation("org_2", "Other"), source="costs", requests=5))
        assert store.requests(NOW.date()) == {}

    def test_the_next_poll_is_the_one_that_was_planned_last_until_the_next_start(self, store: Store) -> None:
        first = Planned(NOW + MINUTE, timedelta(minutes=1), widened=False, words="every minute")
        hourly = Planned(NOW + DAY, timedelta(hours=1), widened=False, words="hourly")
        wider = Planned(NOW + 2 * MINUTE, timedelta(seconds=119.5), widened=True, words="every 119.5 seconds")
        store.commit(Changes(at=NOW, source="use", planned=first))
        store.commit(Changes(at=NOW, source="costs", planned=hourly))
        store.commit(Changes(at=NOW, source="use", planned=wider))
        store.commit(Changes(at=NOW))
        assert store.planned() == {"use": wider, "costs": hourly}
        store.interrupted(NOW)
        assert store.planned() == {}

    # --- cost lines ------------------------------------------------------------------------

    def test_a_day_is_replaced_whole_and_comes_back_exactly(self, store: Store) -> None:
        first = CostDay(date(2026, 11, 20), {OPUS: Decimal("1.10"), SEARCH: Decimal("-0.000000000000000001")})
        other = CostDay(date(2026, 11, 21), {OPUS: Decimal(7)}, Basis.ESTIMATED, complete=False)
        store.commit(Changes(at=NOW, cost_days=(other, first)))
        assert list(store.cost_days(date(2026, 11, 1), date(2026, 12, 1))) == [first, other]
        again = CostDay(date(2026, 11, 20), {OPUS: Decimal("1.2")})
        store.commit(Changes(at=NOW, cost_days=(again,)))
        assert list(store.cost_days(date(2026, 11, 20), date(2026, 11, 21))) == [again]
        assert list(store.cost_days(date(2026, 11, 21), date(2026, 11, 22))) == [other]
        assert store.known_days() == {date(2026, 11, 20), date(2026, 11, 21)}

    def test_an_empty_day_is_known_to_be_empty(self, store: Store) -> None:
        empty = CostDay(date(2026, 11, 20), {})
        store.commit(Changes(at=NOW, cost_days=(empty,)))
        assert store.known_days() == {empty.day}
        assert list(store.cost_days(empty.day, empty.day + DAY)) == [empty]

    def test_none_and_the_empty_text_are_different_dimensions(self, store: Store) -> None:
        day = CostDay(
            date(2026, 11, 20),
            {Dimensions(): Decimal(1), Dimensions(workspace=""): Decimal(2), Dimensions(model=""): Decimal(3)},
        )
        store.commit(Changes(at=NOW, cost_days=(day,)))
        assert list(store.cost_days(day.day, day.day + DAY)) == [day]

    def test_days_share_their_dimensions(self, store: Store) -> None:
        days = tuple(CostDay(date(2026, 11, number), {OPUS: Decimal(number)}) for number in (1, 2))
        store.commit(Changes(at=NOW, cost_days=days))
        first, second = (next(iter(day.lines)) for day in store.cost_days(date(2026, 11, 1), date(2026, 12, 1)))
        assert first is second

    # --- the outbox ------------------------------------------------------------------------

    def test_a_delivery_comes_back_as_it_was_put(self, store: Store) -> None:
        notices = tuple(a_notice(f"ntc_{number}", f"inc_{number}") for number in (2, 1, 3))
        delivery = replace(a_delivery("dlv", *notices), page=True, face=Face.PLAIN)
        put(store, delivery)
        assert store.due(NOW, ()) == (delivery,)
        assert store.recall().outbox == (delivery,)
        assert [record.delivery for record in store.deliveries("ntc_3")] == [delivery]
        assert store.deliveries("ntc_4") == ()
        assert store.notices("inc_1") == (notices[1],)

    def test_one_delivery_a_channel_is_due_oldest_first(self, store: Store) -> None:
        put(
            store,
            a_delivery("c", channel="team"),
            a_delivery("b", channel="team", at=NOW - MINUTE),
            a_delivery("a", channel="pager", at=NOW - 2 * MINUTE),
            a_delivery("future", channel="mail", at=NOW + MINUTE),
        )
        assert due(store) == ["a", "b"]
        assert due(store, busy=("team",)) == ["a"]
        assert due(store, NOW + MINUTE) == ["a", "b", "future"]
        assert store.next_due() == NOW - 2 * MINUTE

    def test_a_delivery_that_is_put_twice_is_sent_once(self, store: Store) -> None:
        put(store, a_delivery("dlv"))
        store.begin_attempt("dlv", NOW)
        store.settle("dlv", DELIVERED, NOW, state=DeliveryState.DELIVERED)
        put(store, a_delivery("dlv"))
        assert due(store) == []
        assert state(store, "dlv") is DeliveryState.DELIVERED

    def test_while_an_attempt_is_under_way_its_delivery_is_not_due(self, store: Store) -> None:
        put(store, a_delivery("a"), a_delivery("b"), a_delivery("c", channel="pager", at=NOW + MINUTE))
        store.begin_attempt("a", NOW)
        assert due(store, busy=("team",)) == []
        assert store.next_due() == NOW + MINUTE, "a busy channel must not make the loop spin"
        store.settle("a", REFUSED, NOW, state=DeliveryState.PENDING, next_attempt_at=NOW + MINUTE)
        assert due(store) == ["b"]
        assert store.next_due() == NOW

    def test_every_attempt_is_kept(self, store: Store) -> None:
        put(store, a_delivery("dlv"))
        store.begin_attempt("dlv", NOW)
        store.settle("dlv", REFUSED, NOW + MINUTE, state=DeliveryState.PENDING, next_attempt_at=NOW, face=Face.PLAIN)
        store.begin_attempt("dlv", NOW + 2 * MINUTE)
        (record,) = store.deliveries()
        assert record.delivery.attempts == 2
        assert record.delivery.face is Face.PLAIN
        first, second = record.attempts
        assert (first.number, first.started_at, first.ended_at) == (1, NOW, NOW + MINUTE)
        assert (first.outcome, first.detail) == (Outcome.RETRY, "connection refused")
        assert (second.number, second.outcome, second.ended_at) == (2, None, None)

    def test_a_channel_that_is_held_back_waits(self, store: Store) -> None:
        put(store, a_delivery("a"), a_delivery("b"), a_delivery("other", channel="pager"))
        store.begin_attempt("a", NOW)
        until = NOW + 5 * MINUTE
        receipt = Receipt(Outcome.RATE_LIMITED, after=300.0)
        store.settle(
            "a", receipt, NOW, state=DeliveryState.PENDING, next_attempt_at=NOW + MINUTE, hold_channel_until=until
        )
        assert due(store, NOW + 4 * MINUTE) == ["other"]
        store.begin_attempt("other", NOW)
        store.settle("other", DELIVERED, NOW, state=DeliveryState.DELIVERED)
        assert store.next_due() == until
        assert due(store, until) == ["a"]

    def test_a_resolve_never_overtakes_its_trigger(self, store: Store) -> None:
        trigger = a_delivery("trigger", a_notice("one"))
        resolve = a_delivery("resolve", a_notice("two", kind=Kind.RESOLVE, sequence=2), at=NOW + MINUTE)
        elsewhere = replace(resolve, id="elsewhere", channel="mail")
        put(store, trigger, resolve, elsewhere, a_delivery("unrelated", at=NOW + 2 * MINUTE))
        store.begin_attempt("trigger", NOW)
        store.settle("trigger", REFUSED, NOW, state=DeliveryState.PENDING, next_attempt_at=NOW + 60 * MINUTE)
        assert due(store, NOW + 5 * MINUTE) == ["elsewhere", "unrelated"]
        store.commit(Changes(at=NOW, superseded=(Superseded("trigger", "one"),)))
        assert due(store, NOW + 5 * MINUTE) == ["elsewhere", "resolve"]

    def test_of_one_instant_what_came_first_in_the_story_goes_first(self, store: Store) -> None:
        first = a_delivery("z", a_notice("one", sequence=1))
        second = a_delivery("a", a_notice("two", kind=Kind.ACKNOWLEDGE, sequence=2))
        put(store, first, second)
        assert due(store) == ["z"]
        put(store, a_delivery("both", *first.notices, *second.notices, channel="mail"))
        assert due(store) == ["both", "z"], "nothing waits for itself"

    def test_what_a_clock_far_ahead_had_made_still_comes_first_in_its_story(self, store: Store) -> None:
        """A seed of the simulation: who has it overtook what it was about, which was 40 days in the future."""
        trigger = a_delivery("trigger", a_notice("one"), at=NOW + 60 * 24 * 40 * MINUTE)
        put(store, trigger, a_delivery("ack", a_notice("two", kind=Kind.ACKNOWLEDGE, sequence=2)))
        assert due(store) == ["trigger"], "what lies that far ahead is due"
        store.begin_attempt("trigger", NOW)
        store.settle("trigger", REFUSED, NOW, state=DeliveryState.PENDING, next_attempt_at=NOW + 60 * MINUTE)
        assert due(store, NOW + 5 * MINUTE) == []

    def test_two_with_the_same_notice_do_not_wait_for_one_another(self, store: Store) -> None:
        """A seed of the simulation: all that had waited for finance, and what it got instead of audit, for ever."""
        alert, who = a_notice("one"), a_notice("two", kind=Kind.ACKNOWLEDGE, sequence=2)
        put(store, a_delivery("whole", alert, who, at=NOW + MINUTE), replace(a_delivery("instead", who), because="no"))
        assert due(store, NOW + MINUTE) == ["whole"]
        store.begin_attempt("whole", NOW + MINUTE)
        store.settle("whole", DELIVERED, NOW + MINUTE, state=DeliveryState.DELIVERED)
        assert due(store, NOW + MINUTE) == ["instead"]

    def test_only_a_pending_delivery_can_be_attempted(self, store: Store) -> None:
        put(store, a_delivery("dlv"))
        store.settle("dlv", Receipt(Outcome.GONE), NOW, state=DeliveryState.GIVEN_UP)
        with pytest.raises(StoreError, match="dlv is not pending"):
            store.begin_attempt("dlv", NOW)
        (record,) = store.deliveries()
        assert (record.delivery.state, record.delivery.attempts) == (DeliveryState.GIVEN_UP, 0)

    # --- what a channel knows --------------------------------------------------------------

    def test_what_was_said_of_an_incident_as_a_channel_knows_it(self, store: Store) -> None:
        one, two, three = (a_notice(f"ntc_{number}", sequence=number) for number in (1, 2, 3))
        other = a_notice("ntc_other", "inc_2")
        instead = replace(a_delivery("instead", two, channel="finance"), because="team has not taken it")
        put(store, a_delivery("one", one, channel="finance"), a_delivery("all", one, two, three, other), instead)
        put(
            store,
            a_delivery("moved", other, channel="finance~20261118T140000Z"),
            a_delivery("else", other, channel="fin"),
        )
        store.begin_attempt("one", NOW)
        known = {
            notice: [(each.notice, each.made, each.left, each.instead) for each in told]
            for notice, told in store.said("finance", ["inc_1", "inc_2", "inc_3"]).items()
        }
        assert known == {
            "inc_1": [
                ("ntc_1", True, True, False),
                ("ntc_2", True, False, True),
                ("ntc_3", False, False, False),
            ],
            "inc_2": [("ntc_other", True, False, False)],
        }
        assert not store.said("audit", ["inc_2"])["inc_2"][0].made
        assert [(each.sequence, each.kind) for each in store.said("pager", ["inc_1"])["inc_1"]] == [
            (1, Kind.TRIGGER),
            (2, Kind.TRIGGER),
            (3, Kind.TRIGGER),
        ]

    def test_the_attempts_of_some_deliveries(self, store: Store) -> None:
        put(store, a_delivery("one"), a_delivery("two"), a_delivery("three"))
        for delivery in ("one", "three"):
            store.begin_attempt(delivery, NOW)
            store.settle(delivery, REFUSED, NOW, state=DeliveryState.PENDING, next_attempt_at=NOW)
        found = store.attempts(["one", "two"])
        assert {delivery: [each.detail for each in made] for delivery, made in found.items()} == {
            "one": ["connection refused"],
            "two": [],
        }

    def test_a_message_about_several_incidents_is_over_with_the_last_of_them(self, store: Store) -> None:
        incidents = [an_incident(f"inc_{number}") for number in (1, 2, 3)]
        notices = [a_notice(f"ntc_{number}", f"inc_{number}") for number in (1, 2, 3)]
        store.commit(Changes(at=NOW, incidents=tuple(incidents)))
        put(store, a_delivery("both", *notices[:2]), a_delivery("one", notices[0]), a_delivery("all", *notices))
        put(store, a_delivery("elsewhere", *notices[:2], channel="finance"))
        for delivery in ("both", "one", "elsewhere"):
            store.begin_attempt(delivery, NOW)
        over = []
        for incident in incidents:
            store.commit(Changes(at=NOW, incidents=(replace(incident, state=State.RESOLVED),)))
            over.append(store.umbrellas("team", [incident.id]))
        assert over == [(), ("both",), ()], "nobody was ever told by the third message"
        store.begin_attempt("all", NOW)
        assert set(store.umbrellas("team", ["inc_1"])) == {"both", "all"}

    # --- superseded ------------------------------------------------------------------------

    def test_superseded_notices_are_left_out_of_what_is_sent(self, store: Store) -> None:
        one, two = a_notice("one", "inc_1"), a_notice("two", "inc_2")
        put(store, a_delivery("dlv", one, two))
        store.commit(Changes(at=NOW, superseded=(Superseded("dlv", "one"),)))
        (delivery,) = store.due(NOW, ())
        assert delivery.notices == (two,)
        assert store.recall().outbox == (delivery,)
        (record,) = store.deliveries("one")
        assert record.delivery.notices == (one, two), "people see what there was"

    def test_a_delivery_with_nothing_left_to_say_is_superseded(self, store: Store) -> None:
        put(store, a_delivery("dlv", a_notice("one")))
        store.commit(Changes(at=NOW, superseded=(Superseded("dlv", "one"),)))
        assert due(store) == []
        assert store.recall().outbox == ()
        assert state(store, "dlv") is DeliveryState.SUPERSEDED

    @pytest.mark.parametrize(
        ("receipt", "asked", "becomes"),
        [
            (REFUSED, DeliveryState.PENDING, DeliveryState.SUPERSEDED),
            (REFUSED, DeliveryState.GIVEN_UP, DeliveryState.SUPERSEDED),
            (DELIVERED, DeliveryState.DELIVERED, DeliveryState.DELIVERED),
        ],
    )
    def test_superseded_during_an_attempt_is_decided_by_its_end(
        self, store: Store, receipt: Receipt, asked: DeliveryState, becomes: DeliveryState
    ) -> None:
        put(store, a_delivery("dlv", a_notice("one")))
        store.begin_attempt("dlv", NOW)
        store.commit(Changes(at=NOW, superseded=(Superseded("dlv", "one"),)))
        assert state(store, "dlv") is DeliveryState.PENDING
        store.settle("dlv", receipt, NOW, state=asked, next_attempt_at=NOW)
        assert state(store, "dlv") is becomes
        assert due(store) == []

    def test_what_is_delivered_cannot_be_superseded(self, store: Store) -> None:
        put(store, a_delivery("dlv", a_notice("one")))
        store.begin_attempt("dlv", NOW)
        store.settle("dlv", DELIVERED, NOW, state=DeliveryState.DELIVERED)
        store.commit(Changes(at=NOW, superseded=(Superseded("dlv", "one"),)))
        assert state(store, "dlv") is DeliveryState.DELIVERED
        store.settle("dlv", REFUSED, NOW, state=DeliveryState.PENDING, next_attempt_at=NOW)
        assert state(store, "dlv") is DeliveryState.DELIVERED

    # --- threads ---------------------------------------------------------------------------

    def told(self, store: Store, id: str, receipt: Receipt, incident: str = "inc_1", channel: str = "team") -> None:
        put(store, a_delivery(id, a_notice(id, incident), channel=channel))
        store.begin_attempt(id, NOW)
        delivered = receipt.outcome is Outcome.DELIVERED
        state = DeliveryState.DELIVERED if delivered else DeliveryState.PENDING
        store.settle(id, receipt, NOW, state=state, next_attempt_at=NOW, incident=incident)

    def test_a_memo_is_the_thread_of_its_incident_in_its_channel(self, store: Store) -> None:
        assert store.thread("team", "inc_1") == ""
        self.told(store, "1", replace(DELIVERED, memo="C1:1.5"))
        self.told(store, "2", replace(DELIVERED, memo="C2:2.5"), channel="other")
        assert store.thread("team", "inc_1") == "C1:1.5"
        assert store.thread("other", "inc_1") == "C2:2.5"
        assert store.thread("team", "inc_2") == ""
        self.told(store, "3", replace(DELIVERED, memo="C1:3.5"))
        assert store.thread("team", "inc_1") == "C1:3.5"

    def test_a_thread_ends_with_a_delivery_that_has_no_memo_and_not_with_a_failure(self, store: Store) -> None:
        self.told(store, "1", replace(DELIVERED, memo="C1:1.5"))
        self.told(store, "2", REFUSED)
        assert store.thread("team", "inc_1") == "C1:1.5"
        self.told(store, "3", DELIVERED, channel="other")
        assert store.thread("team", "inc_1") == "C1:1.5"
        self.told(store, "4", DELIVERED)
        assert store.thread("team", "inc_1") == ""

    def test_what_a_failed_attempt_left_behind_is_a_thread_too(self, store: Store) -> None:
        self.told(store, "1", replace(REFUSED, memo="C1:1.5"))
        assert store.thread("team", "inc_1") == "C1:1.5"

    def test_a_message_about_several_incidents_touches_no_thread(self, store: Store) -> None:
        self.told(store, "1", replace(DELIVERED, memo="C1:1.5"))
        put(store, a_delivery("2", a_notice("two", "inc_1"), a_notice("three", "inc_2")))
        store.begin_attempt("2", NOW)
        store.settle("2", DELIVERED, NOW, state=DeliveryState.DELIVERED)
        assert store.thread("team", "inc_1") == "C1:1.5"

    def test_threads_go_with_the_notices_of_their_incident(self, store: Store) -> None:
        end = NOW + 401 * DAY
        incidents = (an_incident("inc_1", State.RESOLVED), an_incident("open"))
        store.commit(Changes(at=NOW, source="costs", through=end, incidents=incidents))
        self.told(store, "1", replace(DELIVERED, memo="C1:1.5"))
        self.told(store, "2", replace(DELIVERED, memo="C1:2.5"), incident="open")
        store.prune(end)
        assert (store.thread("team", "inc_1"), store.thread("team", "open")) == ("", "C1:2.5")

    # --- after a crash ---------------------------------------------------------------------

    def test_fault_75_an_interrupted_attempt_is_closed_as_unknown_and_due_again(self, store: Store) -> None:
        put(store, a_delivery("dlv"), a_delivery("late", a_notice("one"), channel="mail"))
        store.begin_attempt("dlv", NOW)
        store.begin_attempt("late", NOW)
        store.commit(Changes(at=NOW, superseded=(Superseded("late", "one"),)))
        assert store.interrupted(NOW + MINUTE) == 2
        assert store.interrupted(NOW + MINUTE) == 0
        assert due(store, NOW + MINUTE) == ["dlv"]
        assert state(store, "late") is DeliveryState.SUPERSEDED
        attempts = {record.delivery.id: record.attempts for record in store.deliveries()}
        assert [(each.outcome, each.ended_at) for each in attempts["dlv"]] == [(Outcome.UNKNOWN, NOW + MINUTE)]

    # --- told ------------------------------------------------------------------------------

    def test_told_are_the_channels_that_were_or_will_be_sent_a_trigger(self, store: Store) -> None:
        trigger = a_notice("one")
        put(
            store,
            a_delivery("1", trigger, channel="pending"),
            a_delivery("2", trigger, channel="delivered"),
            a_delivery("3", trigger, channel="tried"),
            a_delivery("4", trigger, channel="never sent"),
            a_delivery("5", trigger, channel="superseded unsent"),
            a_delivery("6", a_notice("two", kind=Kind.INFORM, sequence=2), channel="informed"),
        )
        for tried, outcome, after in (
            ("2", DELIVERED, DeliveryState.DELIVERED),
            ("3", REFUSED, DeliveryState.GIVEN_UP),
        ):
            store.begin_attempt(tried, NOW)
            store.settle(tried, outcome, NOW, state=after)
        store.settle("4", Receipt(Outcome.GONE), NOW, state=DeliveryState.GIVEN_UP)
        store.commit(Changes(at=NOW, superseded=(Superseded("5", "one"),)))
        assert store.recall().told == {"inc_1": {"pending", "delivered", "tried"}}

    def test_a_trigger_that_was_superseded_before_the_send_was_not_told(self, store: Store) -> None:
        put(store, a_delivery("dlv", a_notice("one", "inc_1"), a_notice("two", "inc_2")))
        store.commit(Changes(at=NOW, superseded=(Superseded("dlv", "one"),)))
        assert store.recall().told == {"inc_2": {"team"}}
        store.begin_attempt("dlv", NOW)
        store.settle("dlv", DELIVERED, NOW, state=DeliveryState.DELIVERED)
        assert store.recall().told == {"inc_2": {"team"}}

    # --- reading and retention -------------------------------------------------------------

    def test_incidents_notices_and_deliveries_are_read_in_their_order(self, store: Store) -> None:
        older = an_incident("older")
        newer = replace(an_incident("newer"), changed_at=NOW + MINUTE)
        second, first = a_notice("a", sequence=2), a_notice("b", sequence=1)
        store.commit(Changes(at=NOW, incidents=(older, newer), notices=(second, first)))
        put(store, *(a_delivery(f"d{number}", at=NOW + number * MINUTE) for number in range(5)))
        assert store.incidents() == (newer, older)
        assert store.notices("inc_1") == (first, second)
        assert [record.delivery.id for record in store.deliveries(limit=3)] == ["d4", "d3", "d2"]

    def test_prune_drops_what_is_old_and_keeps_what_is_needed(self, store: Store) -> None:
        end = NOW + 401 * DAY
        store.commit(
            Changes(
                at=NOW,
                cost_days=(CostDay(NOW.date(), {OPUS: Decimal(1)}), CostDay((NOW + 2 * DAY).date(), {})),
                source="costs",
                through=end,
                incidents=(an_incident("old", State.RESOLVED), an_incident("open")),
                requests=1,
            )
        )
        store.commit(Changes(at=NOW + 2 * DAY, source="costs", requests=2))
        put(
            store,
            a_delivery("old", a_notice("1", "old")),
            a_delivery("open", a_notice("2", "open")),
            a_delivery("pending", a_notice("3", "old"), channel="dead"),
        )
        for sent in ("old", "open"):
            store.begin_attempt(sent, NOW)
            store.settle(sent, DELIVERED, NOW, state=DeliveryState.DELIVERED)
        store.prune(end)
        assert store.known_days() == {(NOW + 2 * DAY).date()}
        assert store.requests(date.min) == {"costs": {(NOW + 2 * DAY).date(): 2}}
        assert {incident.id for incident in store.incidents()} == {"open"}
        assert {record.delivery.id: record.attempts for record in store.deliveries()} == {"open": (), "pending": ()}
        assert store.notices("old") == (a_notice("3", "old"),)
        assert store.notices("open") == (a_notice("2", "open"),)

    def test_fault_57_a_clock_that_runs_ahead_prunes_nothing(self, store: Store) -> None:
        day = CostDay(NOW.date(), {OPUS: Decimal(1)})
        store.commit(Changes(at=NOW, cost_days=(day,), source="costs", through=NOW))
        store.prune(NOW + 4000 * DAY)
        assert list(store.cost_days(day.day, day.day + DAY)) == [day]
