"""What a rules file that can be used says."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from budgetd.model import MATCHABLE, Severity
from budgetd.period import Calendar
from budgetd.rulebook import Channel, Route, RulebookError, load, parse
from budgetd.rulefile.yaml_text import PARSERS
from budgetd.rules.cap import Cap
from budgetd.rules.spike import Spike
from budgetd.scope import Group
from tests.rules_text import HEAD, RULES, SMALL, read, refused, rule, warned


def test_a_small_file_becomes_values() -> None:
    book = read(SMALL)

    assert list(book.channels) == ["team", "pager"]
    assert book.routes == (Route((), ("team", "pager")),)
    assert book.default_severity is Severity.WARNING
    assert [rule.id for rule in book.rules] == ["all"]
    assert book.warnings == ()


def test_a_cap_has_all_that_it_can_have() -> None:
    book = read(
        rule("""\
            id: each-workspace
            type: cap
            match: {model: "claude-*", cost_type: [tokens]}
            except: {workspace: Sandbox}
            for_each: workspace
            limit: "$2,000"
            limits: {Research: 8000, "Prod-*": 0.10}
            per: {month: 15}
            steps: [50%, 80.5%, 100 %]
            severity: {50%: info, 100%: critical}
            notify: team
        """)
    )
    cap = book.rules[0]

    assert isinstance(cap, Cap)
    assert cap.limit == Decimal(2000)
    assert cap.limits == {"Research": Decimal(8000), "Prod-*": Decimal("0.10")}
    assert cap.per == Calendar("month", start_day=15)
    assert cap.steps == (Decimal("0.5"), Decimal("0.805"), Decimal(1))
    assert cap.severity == {Decimal("0.5"): Severity.INFO, Decimal(1): Severity.CRITICAL}
    assert cap.notify == ("team",)
    assert cap.view().excluded == (("workspace", ("Sandbox",)),)


@pytest.mark.parametrize(
    ("against", "days_back"),
    [
        ("yesterday", (1,)),
        ("same_weekday", (7,)),
        ("{mean: 3d}", (1, 2, 3)),
        ("{median: 28d}", tuple(range(1, 29))),
    ],
)
def test_a_spike_has_four_forms(against: str, days_back: tuple[int, ...]) -> None:
    spike = read(rule(f"id: jump\ntype: spike\nagainst: {against}")).rules[0]

    assert isinstance(spike, Spike)
    assert spike.against.days_back == days_back
    assert (spike.factor, spike.at_least) == (Decimal(2), Decimal(50))


@pytest.mark.parametrize(
    ("written", "calendar"),
    [(word, Calendar(word)) for word in ("day", "week", "month", "quarter", "year")]
    + [("{last: 7d}", Calendar("last", length=7)), ("{month: 28}", Calendar("month", start_day=28))],
)
def test_every_period_can_be_written(written: str, calendar: Calendar) -> None:
    assert read(rule(f"id: a\ntype: cap\nlimit: 1\nper: {written}")).rules[0].calendar == calendar


def test_groups_hold_names_and_tags() -> None:
    book = read(SMALL + 'groups: {research: {workspaces: "R*", tags: {team: research, b: "1"}}}')

    assert book.groups == {"research": Group("research", ("R*",), (("b", "1"), ("team", "research")))}


@pytest.mark.parametrize("parser", PARSERS)
def test_scalars_are_text_in_both_parsers(parser: object) -> None:
    text = SMALL + "groups:\n  g: {workspaces: [no, on, 12:30, 010, 5_000, 1e3, '2026-01-01', .inf, 0x1F, y]}\n"
    book = parse(text, "rules.yaml", environment={}, parser=parser)  # type: ignore[arg-type]

    assert book.groups["g"].workspaces == (
        ("no", "on", "12:30", "010", "5_000", "1e3", "2026-01-01", ".inf", "0x1F", "y")
    )


# --- routes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "taken"),
    [
        ("", True),
        ("severity: critical", True),
        ("severity: [info, critical]", True),
        ("severity: warning", False),
        ("rule: 'a*'", True),
        ("rule: all", True),
        ("type: spike", False),
        ("workspace: Research", True),
        ("workspace: wrkspc_1", True),
        ("workspace: research", False),
        ("model: 'claude-*'", False),
        ("{severity: critical, workspace: 'R*'}", True),
        ("{severity: critical, workspace: X}", False),
    ],
)
def test_a_route_takes_a_notice_when_every_key_matches(match: str, taken: bool) -> None:
    labels = {"severity": ("critical",), "rule": ("all",), "type": ("cap",), "workspace": ("wrkspc_1", "Research")}
    match = match if match.startswith("{") else f"{{{match}}}"
    route = read(SMALL.replace("{notify: [team, pager]}", f"{{match: {match}, notify: team}}")).routes[0]

    assert route.takes(labels) is taken


@pytest.mark.parametrize("dimension", MATCHABLE)
def test_a_route_can_ask_for_every_dimension(dimension: str) -> None:
    text = SMALL.replace("{notify: [team, pager]}", f"{{match: {{{dimension}: x}}, notify: team}}")
    route = read(text + "groups: {x: {workspaces: a}}").routes[0]

    assert route.takes({dimension: ("x",)})
    assert not route.takes({dimension: ("y",)})
    assert not route.takes({})


def test_rules_and_routes_can_ask_for_tags() -> None:
    text = SMALL.replace("{notify: [team, pager]}", "{match: {tags: {stage: [prod, live], team: a*}}, notify: team}")
    route = read(text).routes[0]
    assert route.match == (("tag:stage", ("prod", "live")), ("tag:team", ("a*",)))
    assert route.takes({"tag:stage": ("live",), "tag:team": ("abc",)})
    assert not route.takes({"tag:stage": ("live",)})
    ruled = read(rule("id: a\ntype: cap\nlimit: 1\nper: day\nmatch: {tags: {env: prod}}\nexcept: {tags: {team: x}}"))
    assert (ruled.rules[0].view().match, ruled.rules[0].view().excluded) == (
        (("tag:env", ("prod",)),),
        (("tag:team", ("x",)),),
    )


@pytest.mark.parametrize("tags", ["{}", "[prod]", "prod", "{env: }", "{env: {a: b}}", "{env: []}"])
def test_tags_that_can_match_nothing_are_refused(tags: str) -> None:
    assert "tags" in refused(rule(f"id: a\ntype: cap\nlimit: 1\nper: day\nmatch: {{tags: {tags}}}"))


# --- channels ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "page"),
    [
        ("slack://a/b/c", False),
        ("PagerDuty://key@name", True),
        ("opsgenie://key", True),
        ("{url: 'slack://a/b/c', page: true}", True),
        ("{url: 'pagerduty://key@name', page: false}", False),
    ],
)
def test_whether_a_channel_pages_is_said_or_told_by_its_kind(written: str, page: bool) -> None:
    assert read(SMALL.replace('"slack://a/b/c"', written)).channels["team"].page is page


def test_a_channel_does_not_show_its_url() -> None:
    assert "hunter2" not in repr(Channel("team", "slack://hunter2", False))
    assert "hunter2" not in repr(read(SMALL.replace("slack://a/b/c", "slack://hunter2")))


@pytest.mark.parametrize("form", ["variable", "file", "credential", "capital credential"])
def test_a_reference_is_a_variable_a_file_or_a_credential(form: str, tmp_path: Path) -> None:
    (tmp_path / "some").write_text("T0/B0/x\n")
    (tmp_path / ("SLACK_TOKENS" if form.startswith("capital") else "slack_tokens")).write_text("T0/B0/x\n")
    environment = {
        "variable": {"SLACK_TOKENS": "T0/B0/x"},
        "file": {"SLACK_TOKENS_FILE": str(tmp_path / "some")},
    }.get(form, {"CREDENTIALS_DIRECTORY": str(tmp_path)})

    book = read(SMALL.replace("slack://a/b/c", "slack://${SLACK_TOKENS}/#b"), environment)

    assert book.channels["team"].url == "slack://T0/B0/x/#b"


def test_a_doubled_dollar_stands_for_itself() -> None:
    assert read(SMALL.replace("slack://a/b/c", "json://h/$${X}$")).channels["team"].url == "json://h/${X}$"


def test_a_value_is_not_looked_through_for_references() -> None:
    assert read(SMALL.replace("a/b/c", "${A}"), {"A": "${B}", "B": "x"}).channels["team"].url == "slack://${B}"


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        SMALL.encode(),
        SMALL.encode("utf-8-sig"),
        SMALL.replace("\n", "\r\n").encode(),
        b"--- \n" + SMALL.encode() + b"...\n",
    ],
    ids=["plain", "byte order mark", "CRLF", "document marks"],
)
def test_fault_102_marks_and_line_ends_of_other_editors_are_fine(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_bytes(content)

    assert load(tmp_path / "rules.yaml", environment={}).rules[0].id == "all"


def test_the_digest_changes_with_the_text_and_with_nothing_else() -> None:
    text = SMALL.replace("a/b/c", "${A}")

    assert read(text, {"A": "x"}).digest == read(text, {"A": "y"}).digest
    assert read(text, {"A": "x"}).digest != read(text + "\n", {"A": "x"}).digest


def test_a_file_that_is_not_there_is_said_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(RulebookError, match=r"nowhere\.yaml: there is no such file"):
        load(tmp_path / "nowhere.yaml", environment={})


def test_aliases_repeat_what_they_stand_for() -> None:
    book = read(
        HEAD + "rules:\n  - {id: a, type: cap, limit: &l 5, per: day}\n  - {id: b, type: cap, limit: *l, per: week}"
    )

    assert [rule.limit for rule in book.rules if isinstance(rule, Cap)] == [Decimal(5), Decimal(5)]


# --- warnings ----------------------------------------------------------------------------------


def test_fault_94_an_unknown_workspace_is_a_warning_with_the_nearest_name() -> None:
    text = HEAD + (
        "rules:\n  - {id: a, type: cap, limit: 1, per: day, match: {workspace: [Reserch, Default, 'x*']}}\n"
        "  - {id: b, type: cap, limit: 1, per: day, for_each: workspace, limits: {Produktion: 5}}\n"
        "groups: {g: {workspaces: wrkspc_2}}\n"
    )
    first, second, third = warned(text, workspaces={"Research", "wrkspc_1", "Production"})

    assert first.startswith('rules.yaml:5:64: warning: there is no workspace "Reserch" so far; it may be new')
    assert 'did you mean "Research"?' in first
    assert second.startswith("rules.yaml:6:74: warning: ")
    assert 'did you mean "Production"?' in second
    assert third.startswith("rules.yaml:7:26: warning: ")
    assert warned(text) == []


def test_speed_without_its_beta_is_a_warning() -> None:
    text = rule("id: a\ntype: cap\nlimit: 1\nper: day\nmatch: {speed: fast}")

    assert "fast-mode-2026-02-01" in warned(text)[0]
    assert warned(text, betas=("fast-mode-2026-02-01",)) == []


def test_a_rule_that_no_route_is_sure_to_take_is_a_warning() -> None:
    text = SMALL.replace("{notify: [team, pager]}", "{match: {severity: info}, notify: [team, pager]}")

    assert warned(text) == [
        "rules.yaml:5:5: warning: this rule has no notify and no route is for everything: what no route takes goes to "
        "every channel\n      - {id: all, type: cap, limit: 100, per: day}\n        ^"
    ]


def test_a_channel_that_nothing_names_is_a_warning() -> None:
    assert 'names the channel "pager"' in warned(SMALL.replace("[team, pager]", "team"))[0]


def test_fault_95_the_same_rule_under_two_ids_is_a_warning() -> None:
    text = SMALL + RULES.partition("\n")[2].replace("all", "other")

    assert "rules.yaml:6:5: warning: this rule says the same as the one on line 5" in warned(text)[0]


def test_a_rate_without_same_day_spend_is_a_warning() -> None:
    text = rule("id: a\ntype: rate\nlimit: 150\nper: hour")
    assert "it never speaks" in warned(text, money_from="cost_report")[0]
    assert warned(text, money_from="auto") == warned(text, money_from="analytics") == []


@pytest.mark.parametrize("dimension", ["speed", "description"])
def test_a_dimension_that_the_analytics_lack_is_a_warning(dimension: str) -> None:
    text = rule(f"id: a\ntype: cap\nlimit: 1\nper: day\nfor_each: [{dimension}]\nmatch: {{{dimension}: x}}")
    told = warned(text, betas=("fast-mode-2026-02-01",), money_from="analytics")
    assert len(told) == 2
    assert all("BUDGETD_SOURCE=analytics" in each for each in told)
    assert warned(text, betas=("fast-mode-2026-02-01",)) == []


def test_a_limit_of_a_group_that_does_not_exist_is_a_warning() -> None:
    text = rule("id: a\ntype: cap\nlimit: 1\nper: day\nfor_each: group\nlimits: {reserch: 2}")

    assert 'did you mean "research"?' in warned(text + "groups: {research: {workspaces: R}}")[0]


def test_a_url_that_cannot_be_explained_away_is_a_mistake() -> None:
    seen: list[str] = []

    def explain(url: str) -> str | None:
        seen.append(url)
        return "Apprise cannot use this slack:// URL" if url.startswith("slack") else None

    report = refused(SMALL, explain=explain)

    assert seen == ["slack://a/b/c", "pagerduty://key@budgetd"]
    assert report.startswith("rules.yaml:2:18: Apprise cannot use this slack:// URL\n")
