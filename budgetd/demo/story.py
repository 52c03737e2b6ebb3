"""The story that the demo tells: which days, which organisation, what goes wrong there, and which rules watch it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from budgetd.model import Changes, Notice
from budgetd.period import DAY, midnight
from budgetd.simulator import worlds
from budgetd.simulator.organisation import World
from budgetd.simulator.script import Runaway

FIRST_DAY = date(2026, 10, 15)
DAYS = 35
POLL_EVERY = timedelta(hours=6)
# The budgetd of the story is stopped and started anew right before the first poll of these UTC days: while it has
# something to repeat, every time.
RESTARTS = (date(2026, 10, 29), date(2026, 11, 9), date(2026, 11, 13))

TROUBLED = "Agents"
MODEL = "claude-opus-4-8"
RUNAWAY_ON = date(2026, 11, 7)
RUNAWAY = Decimal(1530)

# After the days of the bill some minutes of today: an agent begins to burn money, and use is read as it happens.
BURNING = "Research"
BURNS_FROM = midnight(FIRST_DAY + DAY * DAYS) + timedelta(hours=9, minutes=12)
BURNED_AN_HOUR = Decimal(600)
MINUTE = timedelta(minutes=1)
WATCHED_FROM = BURNS_FROM - 12 * MINUTE
WATCHED_MINUTES = 45

SLACK, FINANCE, AUDIT = "slack", "finance", "audit"
SLACK_ROOM = "ai-spend"
SPIKE_RULE, CAP_RULE, RATE_RULE = "jumps", "each-workspace", "runaway"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the demo's own servers listen on loopback; `mail` is None where there is no mail server."""

    mail: int | None
    audit: int


def world() -> World:
    """The organisation, in which one agent runs away for a day, and another one this morning.

    It has no cost analytics, as most have none.
    """
    calm = worlds.standard()
    calm = replace(calm, manners=replace(calm.manners, analytics=403))
    troubled, burning = (calm.workspace_id(name, midnight(FIRST_DAY)) for name in (TROUBLED, BURNING))
    return calm.with_events(
        Runaway(RUNAWAY_ON, troubled, MODEL, dollars=RUNAWAY),
        Runaway.beginning(BURNS_FROM, burning, MODEL, BURNED_AN_HOUR),
    )


def polls() -> Iterator[datetime]:
    """When the bill is asked for: four times on each UTC day."""
    first = midnight(FIRST_DAY)
    count = DAYS * (DAY // POLL_EVERY)
    return (first + POLL_EVERY * (number + 1) for number in range(count))


def minutes() -> Iterator[datetime]:
    """When use is asked for, after the last poll of the bill."""
    return (WATCHED_FROM + MINUTE * number for number in range(WATCHED_MINUTES))


def missed(changes: Iterable[Changes]) -> list[str]:
    """What should have been told by the end of the story and was not, in words."""
    told = [notice for change in changes for notice in change.notices]
    expected = {
        f"the runaway of {MODEL} in {TROUBLED}": any(_is_runaway(notice) for notice in told),
        f"80% of {TROUBLED}'s month": _stepped(told, "0.8"),
        f"100% of {TROUBLED}'s month": _stepped(told, "1"),
        f"what {BURNING} burns today": any(is_burning(notice) for notice in told),
    }
    return [what for what, seen in expected.items() if not seen]


def is_of_spike(payload: Mapping[str, Any]) -> bool:
    """Whether a message's payload is about the spike alone."""
    rule = payload.get("data", {}).get("rule", {})
    return bool(rule.get("id") == SPIKE_RULE)


def is_burning(notice: Notice) -> bool:
    """Whether it tells of the agent that burns money today."""
    return notice.facts.rule == RATE_RULE and [label.name for label in notice.facts.scope] == [BURNING]


def _is_runaway(notice: Notice) -> bool:
    period = notice.facts.period
    named = {label.name for label in notice.facts.scope} == {TROUBLED, MODEL}
    return notice.facts.rule == SPIKE_RULE and named and period is not None and period.holds(RUNAWAY_ON)


def _stepped(told: list[Notice], step: str) -> bool:
    return any(
        notice.facts.rule == CAP_RULE
        and [label.name for label in notice.facts.scope] == [TROUBLED]
        and notice.facts.step == Decimal(step)
        for notice in told
    )


def rules_text(addresses: Addresses) -> str:
    """The rules file of the story. Its Slack address leads nowhere: the demo shows what would be posted."""
    text = _RULES.replace("AUDIT_PORT", str(addresses.audit)).replace("MAIL_PORT", str(addresses.mail))
    if addresses.mail is not None:
        return text
    return "".join(line for line in text.splitlines(keepends=True) if FINANCE not in line)


_RULES = f"""\
# The rules of budgetd's demo: change them and play. All amounts are US dollars, all periods UTC.
version: 1

channels:            # any Apprise URL; the servers of the demo are gone by now, so put your own here
  {SLACK}: slack://NotAReal/Workspace/ButItLooksLikeATokenXY/#{SLACK_ROOM}
  {FINANCE}: mailto://example.com:MAIL_PORT?smtp=127.0.0.1&from=budgetd@example.com&to=finance@example.com
  {AUDIT}: json://127.0.0.1:AUDIT_PORT/budget

routes:              # every route that matches receives the notice
  - {{notify: [{SLACK}, {AUDIT}]}}
  - {{match: {{type: cap}}, notify: [{FINANCE}]}}

rules:
  - id: company-month
    type: cap
    limit: 15000
    per: month
    steps: [80%, 100%]

  - id: {CAP_RULE}
    type: cap
    for_each: workspace
    limit: 4000
    limits: {{Prod-Chat: 7000, {TROUBLED}: 2750}}
    per: month
    steps: [80%, 100%]
    severity: {{80%: warning, 100%: critical}}

  - id: {SPIKE_RULE}
    type: spike
    for_each: [workspace, model]
    against: same_weekday
    factor: 3
    at_least: 200
    severity: critical

  - id: {RATE_RULE}
    type: rate               # dollars an hour, from use that is minutes old
    for_each: workspace
    limit: 150
    per: hour
    severity: critical
"""
