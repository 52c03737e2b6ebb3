"""Who is told, in how many messages, and what a newer notice replaces."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd.model import Delivery, Facts, Kind, Notice, Reason, Severity, Superseded
from budgetd.routing import PAGES_AT_ONCE, Addressed, deliveries, gathered, recipients, superseded
from tests.builders import at

NOW = at("2026-11-18 12:00")
CHANNELS = ("team", "finance", "pager")
PAGERS = frozenset({"pager"})


def notice(
    incident: str = "inc_1",
    kind: Kind = Kind.TRIGGER,
    reason: Reason = Reason.STEP_REACHED,
    severity: Severity = Severity.WARNING,
    sequence: int = 1,
) -> Notice:
    facts = Facts("Example Ltd", "r", "cap")
    return Notice(f"evt_{incident}_{sequence}", incident, sequence, kind, reason, severity, NOW, facts)


TRIGGER = notice()
BASELINE = notice(kind=Kind.INFORM, reason=Reason.BASELINE, severity=Severity.INFO)
WARNED = notice(kind=Kind.INFORM, reason=Reason.UNDELIVERABLE, severity=Severity.WARNING)
RESTATED = notice(kind=Kind.RESOLVE, reason=Reason.RESTATED)
PERIOD_OVER = notice(kind=Kind.RESOLVE, reason=Reason.PERIOD_OVER)
ALL = set(CHANNELS)

TABLE = [
    # what, the notice, the channels named, those told of the trigger, who gets it
    ("a trigger goes where it is routed", TRIGGER, {"team"}, set(), {"team"}),
    ("a warning may page", TRIGGER, {"team", "pager"}, set(), {"team", "pager"}),
    ("a trigger that nobody is named for goes everywhere", TRIGGER, set(), set(), ALL),
    ("as does one that only removed channels are named for", TRIGGER, {"gone"}, set(), ALL),
    ("a removed channel among others is left out", TRIGGER, {"gone", "team"}, set(), {"team"}),
    ("who was told before does not matter to a trigger", TRIGGER, {"team"}, {"finance"}, {"team"}),
    ("a baseline pages nobody", BASELINE, {"team", "pager"}, set(), {"team"}),
    ("not even when nobody is named", BASELINE, set(), set(), {"team", "finance"}),
    ("trouble of budgetd's own may page", WARNED, {"pager"}, set(), {"pager"}),
    ("a resolve goes to who was told, wherever it is routed", RESTATED, {"team"}, {"finance"}, {"finance"}),
    ("nobody was told", RESTATED, {"team"}, set(), set()),
    ("a channel that is gone cannot be told", RESTATED, {"team"}, {"gone", "team"}, {"team"}),
    ("the end of a period is silent in chat", PERIOD_OVER, {"team"}, {"team", "finance"}, set()),
    ("and closes open pages", PERIOD_OVER, {"team"}, {"team", "pager"}, {"pager"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("item", "named", "told", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_who_gets_a_notice(item: Notice, named: set[str], told: set[str], expected: set[str]) -> None:
    assert recipients(Addressed(item, frozenset(named)), PAGERS, CHANNELS, frozenset(told)) == expected


def addressed(*notices: Notice, to: tuple[str, ...] = ("team", "pager")) -> list[Addressed]:
    return [Addressed(each, frozenset(to)) for each in notices]


def several(count: int, **fields: Any) -> list[Notice]:
    return [notice(f"inc_{n}", **fields) for n in range(count)]


@pytest.mark.parametrize("count", [1, PAGES_AT_ONCE, PAGES_AT_ONCE + 1, 40])
def test_chat_gets_one_message_and_a_pager_one_event_each_or_one_umbrella(count: int) -> None:
    made = deliveries(addressed(*several(count)), CHANNELS, PAGERS, {}, NOW)
    sizes = {channel: [len(each.notices) for each in made if each.channel == channel] for channel in CHANNELS}
    assert sizes == {
        "team": [count],
        "finance": [],
        "pager": [1] * count if count <= PAGES_AT_ONCE else [count],
    }
    assert all(each.page == (each.channel == "pager") for each in made)
    assert all(each.created_at == each.next_attempt_at == NOW for each in made)


def test_resolves_are_pages_of_their_own_however_many() -> None:
    resolves = several(8, kind=Kind.RESOLVE, reason=Reason.RESTATED)
    told = {each.incident: frozenset({"pager"}) for each in resolves}
    triggers = [replace(each, incident=f"{each.incident}x", id=f"{each.id}x") for each in several(6)]
    made = deliveries(addressed(*resolves, *triggers), CHANNELS, PAGERS, told, NOW)
    assert sorted(len(each.notices) for each in made if each.channel == "pager") == [1] * 8 + [6]


def test_nothing_to_say_is_no_delivery() -> None:
    assert deliveries([], CHANNELS, PAGERS, {}, NOW) == ()
    assert deliveries(addressed(RESTATED), CHANNELS, PAGERS, {}, NOW) == ()


def test_a_delivery_is_known_by_its_channel_and_notices() -> None:
    def ids(*notices: Notice) -> set[str]:
        return {each.id for each in deliveries(addressed(*notices), CHANNELS, PAGERS, {}, NOW)}

    assert ids(TRIGGER) == ids(replace(TRIGGER, severity=Severity.CRITICAL, facts=Facts("Renamed", "r", "cap")))
    assert not ids(TRIGGER) & ids(notice(sequence=2))
    assert len(ids(TRIGGER)) == 2


def test_a_newer_notice_replaces_what_still_waits_in_the_same_channel_for_the_same_incident() -> None:
    waiting = deliveries(addressed(notice("inc_1"), notice("inc_2"), to=("team", "finance")), CHANNELS, PAGERS, {}, NOW)
    made = deliveries(addressed(notice("inc_1", sequence=2), to=("team",)), CHANNELS, PAGERS, {}, NOW)
    (in_team,) = [each for each in waiting if each.channel == "team"]
    assert superseded(made, waiting) == (Superseded(in_team.id, "evt_inc_1_1"),)
    assert superseded((), waiting) == superseded(made, ()) == ()


kinds = st.sampled_from([TRIGGER, BASELINE, WARNED, RESTATED, PERIOD_OVER])
notices = st.lists(kinds, max_size=12).map(
    lambda chosen: [replace(each, incident=f"inc_{n}", id=f"evt_{n}") for n, each in enumerate(chosen)]
)
names = st.frozensets(st.sampled_from([*CHANNELS, "gone"]))


@given(notices, st.lists(names, min_size=12, max_size=12), st.lists(names, min_size=12, max_size=12))
def test_every_recipient_gets_every_notice_exactly_once(
    made: list[Notice], named: list[frozenset[str]], told: list[frozenset[str]]
) -> None:
    items = [Addressed(each, channels) for each, channels in zip(made, named, strict=False)]
    before = {each.incident: channels for each, channels in zip(made, told, strict=False)}
    sent = deliveries(items, CHANNELS, PAGERS, before, NOW)
    expected = Counter(
        (channel, item.notice.id)
        for item in items
        for channel in recipients(item, PAGERS, CHANNELS, before[item.notice.incident])
    )
    assert Counter((each.channel, part.id) for each in sent for part in each.notices) == expected
    assert set(expected.values()) <= {1}
    assert len({each.id for each in sent}) == len(sent)
    chats = Counter(each.channel for each in sent if not each.page)
    assert set(chats.values()) <= {1}
    for item in items:
        if item.notice.kind is Kind.TRIGGER:
            assert any((channel, item.notice.id) in expected for channel in CHANNELS), "an alert without a reader"


# --- what waited together ---------------------------------------------------------------------

LATER = NOW + timedelta(hours=5)
HELD = LATER + timedelta(hours=1)


def waiting(name: str, *notices: Notice, held: bool = False) -> Delivery:
    """A delivery that is overdue by LATER, or kept back for longer."""
    mute = {"muted_until": HELD, "muted_by": "a silence"} if held else {}
    return Delivery(name, "team", notices, NOW, NOW, attempts=1, **mute)


def noted(incident: str) -> Notice:
    return notice(incident, Kind.ACKNOWLEDGE, Reason.ACKNOWLEDGED, sequence=2)


def test_what_is_gathered_leaves_nothing_behind_that_comes_before_it() -> None:
    """A seed of the simulation: that somebody has it was told with others, and what it was about days later."""
    kept_back = waiting("kept back", notice("inc_1"), held=True)
    outbox = [kept_back, waiting("a", notice("inc_2")), waiting("b", noted("inc_1")), waiting("c", noted("inc_3"))]
    whole, parts = gathered(outbox, outbox[1], LATER)
    assert [each.incident for each in whole.notices] == ["inc_2", "inc_3"]
    assert parts == (Superseded("a", outbox[1].notices[0].id), Superseded("c", outbox[3].notices[0].id))


def test_nor_what_comes_after_that() -> None:
    """b stays for what is kept back, and c for b."""
    kept_back = waiting("kept back", notice("inc_1"), held=True)
    both = waiting("b", noted("inc_1"), notice("inc_2"))
    outbox = [
        kept_back,
        waiting("a", notice("inc_4")),
        both,
        waiting("c", noted("inc_2")),
        waiting("d", noted("inc_5")),
    ]
    whole, _ = gathered(outbox, outbox[1], LATER)
    assert [each.incident for each in whole.notices] == ["inc_4", "inc_5"]


@given(
    st.lists(
        st.tuples(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=3), st.booleans()),
        max_size=8,
    )
)
def test_in_any_outbox_nothing_overtakes(made: list[tuple[list[tuple[int, int]], bool]]) -> None:
    outbox = [
        waiting(str(place), *(notice(f"inc_{incident}", sequence=number) for incident, number in notices), held=held)
        for place, (notices, held) in enumerate(made)
    ]
    for first in outbox:
        _, parts = gathered(outbox, first, LATER)
        gone = {part.delivery for part in parts}
        left = [each for each in outbox if each.id not in gone]
        newest = {(item.incident, item.sequence) for each in outbox if each.id in gone for item in each.notices}
        assert not any(
            item.incident == incident and item.sequence < number
            for each in left
            for item in each.notices
            for incident, number in newest
        )
