"""Decisions become notices: the facts are whole, the ids stable, and routes know them by their names."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetd import blind, notices
from budgetd.lifecycle import Decision, step
from budgetd.model import (
    Basis,
    Contributor,
    Failure,
    Health,
    Incident,
    Kind,
    Label,
    Reason,
    Severity,
    SourceError,
    State,
)
from budgetd.rules import Rule
from budgetd.scope import Group
from tests.builders import (
    NOVEMBER,
    at,
    cap,
    cost_day,
    finding,
    incident,
    naming,
    situation,
    spend_of,
    spike,
    workspace,
)

NOW = at("2026-11-18 12:00")
THROUGH = at("2026-11-18")
NAMING = naming(workspace("wrkspc_1", "Research"), groups=[Group("labs", ("Research",)), Group("all", ("*",))])
SCOPE = (("workspace", "wrkspc_1"),)
PARTS = [Contributor(f"claude-{n}", "output_tokens", Decimal(100 - n)) for n in range(8)]


def decided(rule: Rule, *findings: Any, before: Incident | None = None, edited: tuple[str, ...] = ()) -> Decision:
    incidents = {before.id: before} if before is not None else {}
    (decision,) = step(situation(rule, edited=edited), incidents, findings, NOW).decisions
    return decision


def test_a_trigger_carries_all_that_a_message_can_say() -> None:
    rule = cap(for_each="workspace", severity="critical")
    decision = decided(rule, replace(finding("1010", "0.8", "1", scope=SCOPE), basis=Basis.MIXED, complete=False))
    notice = notices.of_rule(decision, rule, NAMING, PARTS, THROUGH, NOW)
    facts = notice.facts
    assert (notice.kind, notice.reason, notice.severity) == (Kind.TRIGGER, Reason.STEP_REACHED, Severity.CRITICAL)
    assert (notice.incident, notice.sequence, notice.created_at) == (decision.incident.id, 1, NOW)
    assert (facts.organisation, facts.rule, facts.rule_type) == ("Example Ltd", "r", "cap")
    assert facts.scope == (Label("workspace", "wrkspc_1", "Research"),)
    assert (facts.period, facts.period_kind) == (NOVEMBER, "month")
    assert (facts.amount, facts.limit) == (Decimal(1010), Decimal(1000))
    assert (facts.step, facts.skipped) == (Decimal(1), (Decimal("0.8"),))
    assert (facts.basis, facts.complete, facts.data_through) == (Basis.MIXED, False, THROUGH)
    assert facts.contributors == tuple(PARTS[: notices.TOP_CONTRIBUTORS])
    assert notices.question(decision, {"r": rule}) == (rule.view(), SCOPE, NOVEMBER)


def test_a_spike_says_what_it_was_compared_with() -> None:
    rule = spike()
    spend = spend_of([rule], [cost_day("2026-11-16", "100"), cost_day("2026-11-17", "300")])
    period = rule.calendar.holding(at("2026-11-17").date())
    (found,) = rule.findings(spend, period, frozenset())
    (decision,) = step(situation(rule, current=period), {}, [found], NOW).decisions
    comparison = notices.of_rule(decision, rule, NAMING, (), THROUGH, NOW).facts.comparison
    assert comparison is not None
    assert (comparison.against, comparison.baseline, comparison.factor) == ("the day before", Decimal(100), Decimal(2))


def test_a_resolve_of_a_removed_rule_says_what_was_last_known() -> None:
    before = incident("0.8", scope=SCOPE, amount="850")
    (decision,) = step(situation(), {before.id: before}, [], NOW).decisions
    notice = notices.of_rule(decision, None, NAMING, (), THROUGH, NOW)
    assert (notice.kind, notice.reason) == (Kind.RESOLVE, Reason.RULE_REMOVED)
    assert (notice.facts.amount, notice.facts.limit, notice.facts.period) == (Decimal(850), Decimal(1000), NOVEMBER)
    assert (notice.facts.rule, notice.facts.rule_type, notice.facts.period_kind) == ("r", "", "")
    assert notices.question(decision, {}) is None


def test_an_end_is_told_as_the_end_of_what_was_said_whatever_became_of_the_rule() -> None:
    rule = cap(match={"model": "claude-*"})
    said = notices.of_rule(decided(rule, finding("900", "0.8")), rule, NAMING, (), THROUGH, NOW).facts
    ended = replace(decided(rule, finding("900", "0.8")), kind=Kind.RESOLVE, reason=Reason.RULE_REMOVED, finding=None)
    for now_is in (None, cap(match={"model": "gpt-*"}), spike()):
        facts = notices.of_rule(ended, now_is, NAMING, (), THROUGH, NOW, said).facts
        assert (facts.rule_type, facts.scope, facts.period_kind) == ("cap", said.scope, "month")


def test_an_undivided_rule_is_about_what_its_author_selected() -> None:
    rule = cap(match={"model": ["claude-opus-*", "claude-a"], "workspace": "Research"})
    notice = notices.of_rule(decided(rule, finding("900", "0.8")), rule, NAMING, (), THROUGH, NOW)
    assert [(label.dimension, label.name) for label in notice.facts.scope] == [
        ("workspace", "Research"),
        ("model", "claude-opus-*"),
        ("model", "claude-a"),
    ]


def test_promise_2_the_id_of_a_notice_is_its_incident_and_sequence_and_nothing_else() -> None:
    plain, loud = cap(for_each="workspace"), cap("900", for_each="workspace", severity="critical", notify="team")
    first = notices.of_rule(decided(plain, finding("900", "0.8", scope=SCOPE)), plain, NAMING, (), THROUGH, NOW)
    other = notices.of_rule(
        decided(loud, finding("950", "0.8", "1", scope=SCOPE, limit="900")),
        loud,
        naming(),
        PARTS,
        None,
        at("2026-12-24"),
    )
    assert first.id == other.id
    before = incident("0.8", scope=SCOPE)
    second = notices.of_rule(
        decided(plain, finding("1010", "0.8", "1", scope=SCOPE), before=before), plain, NAMING, (), THROUGH, NOW
    )
    assert (second.sequence, second.incident) == (2, first.incident)
    assert second.id != first.id


def test_a_route_may_know_a_notice_by_its_workspaces_tags() -> None:
    tagged = naming(workspace("wrkspc_1", "Research", stage="prod", team="labs"))
    decision = decided(cap(for_each="workspace"), finding("900", "0.8", scope=SCOPE))
    notice = notices.of_rule(decision, cap(for_each="workspace"), tagged, (), THROUGH, NOW)
    known = notices.labels(notice, cap(for_each="workspace"), tagged, decision.incident)
    assert (known["tag:stage"], known["tag:team"]) == (("prod",), ("labs",))


def test_a_rule_about_tags_is_called_by_them() -> None:
    rule = cap(match={"tags": {"stage": ["prod", "live"]}})
    notice = notices.of_rule(decided(rule, finding("900", "0.8")), rule, NAMING, (), THROUGH, NOW)
    assert [label.name for label in notice.facts.scope] == ["stage=prod", "stage=live"]


LABELS: list[tuple[str, Rule, tuple[tuple[str, str], ...], dict[str, tuple[str, ...]]]] = [
    ("everything", cap(), (), {}),
    (
        "a workspace, by id, name and groups",
        cap(for_each="workspace"),
        SCOPE,
        {"workspace": ("wrkspc_1", "Research"), "group": ("labs", "all")},
    ),
    ("a group", cap(for_each="group"), (("group", "labs"),), {"group": ("labs",)}),
    ("a model", cap(for_each="model"), (("model", "claude-a"),), {"model": ("claude-a", "claude-a")}),
    ("what the rule selects", cap(match={"group": "labs"}), (), {"group": ("labs",)}),
    ("the tags that the rule selects", cap(match={"tags": {"stage": "prod"}}), (), {"tag:stage": ("prod",)}),
    (
        "a workspace's groups beside the selected one",
        cap(match={"group": "labs"}, for_each="workspace"),
        SCOPE,
        {"workspace": ("wrkspc_1", "Research"), "group": ("labs", "labs", "all")},
    ),
]


@pytest.mark.parametrize(("rule", "scope", "expected"), [row[1:] for row in LABELS], ids=[row[0] for row in LABELS])
def test_the_texts_that_a_route_may_know_a_notice_by(
    rule: Rule, scope: tuple[tuple[str, str], ...], expected: dict[str, tuple[str, ...]]
) -> None:
    decision = decided(rule, finding("900", "0.8", scope=scope))
    notice = notices.of_rule(decision, rule, NAMING, (), THROUGH, NOW)
    known = notices.labels(notice, rule, NAMING, decision.incident)
    assert known == {
        "incident": (decision.incident.id,),
        "severity": ("warning",),
        "rule": ("r",),
        "type": ("cap",),
        **expected,
    }


def test_blindness_says_since_when_and_why() -> None:
    health = Health("cost_report", last_good=THROUGH)
    sight = blind.not_seen(health, SourceError(Failure.REFUSED, "the key was refused"), NOW)
    assert sight.decision is not None
    notice = notices.of_blindness(sight.decision, sight.health, NAMING, NOW)
    assert (notice.kind, notice.reason) == (Kind.TRIGGER, Reason.REFUSED)
    assert (notice.facts.data_through, notice.facts.text) == (THROUGH, "the key was refused")
    assert notice.facts.scope == (Label("source", "cost_report", "cost report"),)
    assert notice.facts.amount is None, "blind is never zero"
    after = blind.seen(sight.health, at("2026-11-18 13:00"))
    assert after.decision is not None
    back = notices.of_blindness(after.decision, sight.health, NAMING, NOW)
    assert (back.kind, back.reason, back.incident) == (Kind.RESOLVE, Reason.RECOVERED, notice.incident)
    assert back.id != notice.id


def own(about: str, reason: Reason, now: datetime = NOW) -> tuple[Incident, str]:
    label = Label("channel", about, about)
    made, notice = notices.of_operation(NAMING, label, reason, Severity.WARNING, "in words", now)
    assert (notice.incident, notice.facts.text, notice.kind) == (made.id, "in words", Kind.INFORM)
    assert made.state is State.RESOLVED
    return made, notice.id


@given(st.text(max_size=5), st.text(max_size=5))
def test_budgetds_own_trouble_is_one_notice_for_each_label(one: str, other: str) -> None:
    (first, first_id), (second, second_id) = (
        own(one, Reason.UNDELIVERABLE),
        own(other, Reason.UNDELIVERABLE, at("2026-12-01")),
    )
    assert (first.id == second.id) == (first_id == second_id) == (one == other)
    assert own(one, Reason.RELOAD_FAILED)[1] != first_id
