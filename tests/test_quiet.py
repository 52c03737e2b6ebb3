"""Quiet times by the clock of a zone, what mutes what, and when people are reminded: pure tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from budgetd.model import Facts, Incident, Kind, Match, Notice, Reason, Severity, Silence, SilenceEnd
from budgetd.mutes import Item, Mute, Mutes
from budgetd.period import Period
from budgetd.quiet import Event, Nightly, Quiet
from budgetd.reminders import is_due
from budgetd.rulebook import RulebookError, parse
from tests.builders import at, incident

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Nightly(time(22), time(7), BERLIN)
NOW = at("2026-11-18 12:00")


@pytest.mark.parametrize(
    ("when", "now", "until"),
    [
        (NIGHT, "2026-11-18 20:59", None),
        (NIGHT, "2026-11-18 21:00", "2026-11-19 06:00"),
        (NIGHT, "2026-11-19 05:59", "2026-11-19 06:00"),
        (NIGHT, "2026-11-19 06:00", None),
        (NIGHT, "2026-07-18 20:00", "2026-07-19 05:00"),
        # Clocks go forward in the night of 29 March 2026: it is an hour shorter; back on 25 October: an hour longer.
        (NIGHT, "2026-03-28 21:00", "2026-03-29 05:00"),
        (NIGHT, "2026-10-24 20:00", "2026-10-25 06:00"),
        # A start that is skipped on 29 March: 02:30 never comes, and 03:30 is meant.
        (Nightly(time(2, 30), time(4), BERLIN), "2026-03-29 01:29", None),
        (Nightly(time(2, 30), time(4), BERLIN), "2026-03-29 01:30", "2026-03-29 02:00"),
        # Only what begins on a Friday, also on Saturday morning.
        (replace(NIGHT, days=frozenset({4})), "2026-11-20 21:00", "2026-11-21 06:00"),
        (replace(NIGHT, days=frozenset({4})), "2026-11-21 05:00", "2026-11-21 06:00"),
        (replace(NIGHT, days=frozenset({4})), "2026-11-21 21:00", None),
        (Nightly(time(0), time(0, 1), ZoneInfo("Asia/Kathmandu")), "2026-11-18 18:15", "2026-11-18 18:16"),
        (Event(at("2026-12-01 08:00"), at("2026-12-03 20:00")), "2026-12-01 07:59", None),
        (Event(at("2026-12-01 08:00"), at("2026-12-03 20:00")), "2026-12-01 08:00", "2026-12-03 20:00"),
        (Event(at("2026-12-01 08:00"), at("2026-12-03 20:00")), "2026-12-03 20:00", None),
    ],
)
def test_a_quiet_time_lasts_until(when: Nightly | Event, now: str, until: str | None) -> None:
    assert when.until(at(now)) == (at(until) if until is not None else None)


# --- mutes -------------------------------------------------------------------------------------


def item(
    severity: Severity = Severity.WARNING,
    kind: Kind = Kind.TRIGGER,
    rule: str = "jumps",
    of: Incident | None = None,
    step: str = "0.8",
) -> Item:
    facts = Facts("Example Ltd", rule, "cap", step=Decimal(step))
    notice = Notice("evt_1", "inc_1", 1, kind, Reason.STEP_REACHED, severity, NOW, facts)
    labels = {"rule": (rule,), "severity": (severity.value,), "workspace": ("wrkspc_1", "Research")}
    return Item(notice, labels, of)


def silence(
    match: Match = (("workspace", ("Res*",)),),
    hours: int = 2,
    until: SilenceEnd = SilenceEnd.TIME,
    covers: dict[str, Decimal] | None = None,
) -> Silence:
    return Silence("sil_1", match, "alice", "", NOW, NOW + timedelta(hours=hours), until, covers or {})


def quiet(match: Match = (), channels: tuple[str, ...] = (), start: int = 0, hours: int = 5) -> Quiet:
    when = Event(NOW + timedelta(hours=start), NOW + timedelta(hours=start + hours))
    return Quiet("launch", when, match, channels)


CRITICAL = item(Severity.CRITICAL)
RESOLVE = item(kind=Kind.RESOLVE)
OPEN = replace(incident("0.8", amount="850", limit="1000"), period=Period(NOW, NOW + timedelta(hours=9)))
TABLE = [
    ("a silence that matches", item(), [silence()], [], 2),
    ("or not", item(), [silence((("workspace", ("Support",)),))], [], None),
    ("every key must match", item(), [silence((("workspace", ("Research",)), ("severity", ("critical",))))], [], None),
    ("it takes what is critical, too", CRITICAL, [silence()], [], 2),
    ("but no end", RESOLVE, [silence()], [], None),
    ("nor what is over", item(), [silence(hours=0)], [], None),
    ("nor one that was ended", item(), [replace(silence(), ended_at=NOW)], [], None),
    ("budgetd itself is not meant", item(rule="budgetd:blind"), [silence((("rule", ("*",)),))], [], None),
    ("unless it is named", item(rule="budgetd:blind"), [silence((("rule", ("budgetd:*",)),))], [], 2),
    ("a quiet time", item(), [], [quiet()], 5),
    ("takes nothing critical", CRITICAL, [], [quiet()], None),
    ("unless that is named", CRITICAL, [], [quiet((("severity", ("critical", "warning")),))], 5),
    ("other channels go on", item(), [], [quiet(channels=("finance",))], None),
    ("this one does not", item(), [], [quiet(channels=("team",))], 5),
    ("in chat an end waits, too", RESOLVE, [], [quiet()], 5),
    ("what follows on each other is one", item(), [silence()], [quiet(start=2, hours=3)], 5),
    ("with a gap it is not", item(), [silence()], [quiet(start=3)], 2),
    ("who has it is told at once", item(kind=Kind.ACKNOWLEDGE), [silence()], [quiet()], None),
    (
        "until the next step: the present one",
        item(of=OPEN),
        [silence(until=SilenceEnd.NEXT_STEP, covers={OPEN.id: Decimal("0.8")})],
        [],
        2,
    ),
    (
        "until the next step: that one",
        item(of=OPEN, step="1"),
        [silence(until=SilenceEnd.NEXT_STEP, covers={OPEN.id: Decimal("0.8")})],
        [],
        None,
    ),
    ("until the period ends", item(of=OPEN), [silence(hours=99, until=SilenceEnd.PERIOD_END)], [], 9),
]


@pytest.mark.parametrize(("what", "silences", "quiets", "hours"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE])
def test_what_waits_and_until_when(what: Item, silences: list[Silence], quiets: list[Quiet], hours: int | None) -> None:
    found = Mutes(tuple(silences), tuple(quiets)).of(what, "team", page=False, now=NOW)
    assert (found.until if found is not None else None) == (NOW + timedelta(hours=hours) if hours is not None else None)


def test_a_pager_hears_of_an_end_in_quiet_times() -> None:
    assert Mutes((), (quiet(),)).of(RESOLVE, "pager", page=True, now=NOW) is None


def test_several_in_one_message_wait_only_together() -> None:
    mutes = Mutes((silence((("rule", ("jumps",)),)),), ())
    together = mutes.of_all([item(), item()], "team", page=False, now=NOW)
    assert together == Mute(NOW + timedelta(hours=2), "a silence by alice")
    assert mutes.of_all([item(), item(rule="other")], "team", page=False, now=NOW) is None
    assert mutes.of_all([], "team", page=False, now=NOW) is None


# --- reminders ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "reminders", "hours", "due"),
    [
        (Severity.INFO, 0, 999, False),
        (Severity.WARNING, 0, 23, False),
        (Severity.WARNING, 0, 24, True),
        (Severity.WARNING, 5, 24, True),
        (Severity.CRITICAL, 0, 3, False),
        (Severity.CRITICAL, 0, 4, True),
        (Severity.CRITICAL, 1, 11, False),
        (Severity.CRITICAL, 1, 12, True),
        (Severity.CRITICAL, 2, 23, False),
        (Severity.CRITICAL, 9, 24, True),
    ],
)
def test_people_are_reminded(severity: Severity, reminders: int, hours: int, due: bool) -> None:
    told = replace(OPEN, severity=severity, reminders=reminders, told_at=NOW, told_amount=Decimal(100))
    now = NOW + timedelta(hours=hours)
    assert is_due(told, Decimal("101.01"), now) is due
    assert is_due(told, Decimal("98.99"), now) is due, "it may also have fallen"
    assert not is_due(told, Decimal("101"), now), "not by more than 1 %"
    assert not is_due(replace(told, acknowledged=Decimal("0.8")), Decimal(200), now)
    assert not is_due(replace(told, told_at=None, told_amount=None), Decimal(200), now)


# --- the rules file ----------------------------------------------------------------------------

FILE = """\
version: 1
channels: {team: "json://127.0.0.1:9"}
rules: [{id: r, type: cap, limit: 10, per: day}]
quiet:
  - {id: q, %s}
"""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ('from: "22:00"', "expected from and to"),
        ('from: "22:00", to: "22:00"', "the same time"),
        ('from: "24:00", to: "07:00"', "expected a time of the day"),
        ("from: 22, to: 7", "expected a time of the day"),
        ('from: "22:00", to: "07:00", zone: Europe/Berln', 'did you mean "Europe/Berlin"'),
        ('from: "22:00", to: "07:00", days: [mondy]', 'did you mean "monday"'),
        ('from: "22:00", to: "07:00", channels: [teem]', 'did you mean "team"'),
        ('from: "22:00", to: "07:00", match: {severity: [high]}', "not a severity"),
        ('from: "22:00", to: "07:00", match: {rule: [s]}', 'there is no rule "s"'),
        ('start: "2026-12-01 08:00", end: "2026-12-01 08:00"', "ends after it starts"),
        ('start: "2026-12-01 08:00", end: "2027-12-01 08:00"', "may last 62 days"),
        ('start: "2026-02-30 08:00", end: "2026-12-01 08:00"', "there is no 2026-02-30"),
        ('start: "2026-12-01", end: "2026-12-02"', "expected a time such as 2026-12-01 08:00"),
        ('start: "2026-12-01 08:00", end: "2026-12-02 08:00", days: [monday]', "days are of quiet hours"),
    ],
)
def test_a_mistake_is_named_at_its_place(words: str, message: str) -> None:
    with pytest.raises(RulebookError) as error:
        parse(FILE % words, "rules.yaml", environment={})
    assert message in str(error.value)
    assert "rules.yaml:5:" in str(error.value)


def test_the_file_says_when_it_is_quiet() -> None:
    words = 'from: "22:00", to: "07:00", zone: Europe/Berlin, days: [friday], channels: team, match: {severity: info}'
    (found,) = parse(FILE % words, "rules.yaml", environment={}).quiet
    assert found == Quiet(
        "q", Nightly(time(22), time(7), BERLIN, frozenset({4})), (("severity", ("info",)),), ("team",)
    )
    words = 'start: "2026-12-01 08:00", end: "2026-12-03 20:00", zone: Europe/Berlin'
    (found,) = parse(FILE % words, "rules.yaml", environment={}).quiet
    assert found.when == Event(at("2026-12-01 07:00"), at("2026-12-03 19:00"))
