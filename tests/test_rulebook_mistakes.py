"""What a rules file that cannot be used is told: every mistake at its place, in bounded time, without secrets."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from budgetd.rulebook import Rulebook, RulebookError, load, parse
from budgetd.rulefile.mistakes import OPEN_SECTIONS
from budgetd.rulefile.shape import RulesFile
from budgetd.rulefile.yaml_text import PARSERS, Parser
from budgetd.rulefile.yaml_text import read as read_yaml
from tests.rules_text import HEAD, RULES, SMALL, read, refused, rule

TEN = Path(__file__).parent / "ten_mistakes.yaml"
CANARY = "xoxb-CANARY-1234"

# (line, column, a part of the message, the word that is suggested)
TEN_MISTAKES = [
    (5, 59, 'unknown key "pagee"', "page"),
    (9, 24, "'critcal' is not a severity", "critical"),
    (10, 21, 'no group "reserch"', "research"),
    (11, 15, 'no channel "finanse"', "finance"),
    (15, 5, 'unknown key "treshold"', "limit"),
    (17, 10, "not 'mnth'", "month"),
    (19, 11, '"capp" is not a type of rule', "cap"),
    (22, 15, "'workspce' is not a dimension", "workspace"),
    (23, 9, 'a second rule with the id "company"; the first is on line 13', None),
    (25, 14, "not 'yesterdy'", "yesterday"),
]


def report_on(path: Path, **environment: str) -> RulebookError:
    with pytest.raises(RulebookError) as caught:
        load(path, environment=environment)
    return caught.value


def test_ten_mistakes_are_all_named_at_once_with_place_and_word() -> None:
    mistakes = report_on(TEN, SLACK_TEAM_TOKENS="a/b/c").mistakes

    assert [mistake.place for mistake in mistakes] == [(line, column) for line, column, _, _ in TEN_MISTAKES]
    for mistake, (_, _, message, word) in zip(mistakes, TEN_MISTAKES, strict=True):
        assert message in mistake.message
        assert word is None or mistake.message.endswith(f'; did you mean "{word}"?')


def test_a_mistake_shows_its_line_and_a_caret_under_the_place() -> None:
    assert refused(rule("id: a\ntype: cap\nlimt: 5\nper: day")) == (
        'rules.yaml:7:5: unknown key "limt"; did you mean "limit"?\n'
        "        limt: 5\n"
        "        ^"
    )  # fmt: skip


# --- D. Config ---------------------------------------------------------------------------------


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: 1\n\tb: 2", (2, 1), "a tab cannot indent"),
        ("a:\n\t- 1", (2, 1), "a tab cannot indent"),
        ("a: b: c", (1, 5), "put quotes around"),
        ("a: 'b\nc: d", (1, 4), "a quote that is never closed"),
        ("a: `b`", (1, 4), "needs quotes"),
        ("- a\nb: c", (2, 1), "does not fit with the lines above"),
    ],
)
def test_fault_85_text_that_is_not_yaml_is_refused_at_its_place(
    text: str, place: tuple[int, int], message: str, parser: Parser
) -> None:
    with pytest.raises(RulebookError, match=message) as caught:
        parse(text, "rules.yaml", environment={}, parser=parser)

    assert caught.value.mistakes[0].place == place


def test_fault_86_a_key_that_is_there_twice_names_both_places() -> None:
    report = refused(SMALL + "version: 1\n")

    assert report.startswith('rules.yaml:6:1: "version" is here twice; the first is at line 1, column 1\n')


@pytest.mark.parametrize(
    ("old", "new", "place", "word"),
    [
        ("limit: 100", "treshold: 100", "5:26", "limit"),
        ("limit: 100", "limit: 100, serverity: info", "5:38", "severity"),
        ("rules:", "ruels:", "4:1", "rules"),
        ("version: 1", "Version: 1", "1:1", "version"),
        ("per: day", "per: day, match: {modell: x}", "5:56", "model"),
        ("per: day", "per: day, excep: {model: x}", "5:48", "except"),
        ("{notify:", "{notfy:", "3:11", "notify"),
        ("type: cap", "typ: cap", "5:15", "type"),
        ("type: cap", "type: cpa", "5:21", "cap"),
        ("per: day", "per: Day", "5:43", "day"),
    ],
)
def test_fault_87_a_typo_is_one_mistake_with_the_right_word(old: str, new: str, place: str, word: str) -> None:
    report = refused(SMALL.replace(old, new, 1))

    assert report.startswith(f"rules.yaml:{place}: ")
    assert f'did you mean "{word}"?' in report
    assert report.count("rules.yaml:") == 1


def test_the_name_of_a_field_in_the_code_is_not_a_key() -> None:
    assert 'did you mean "except"?' in refused(rule("id: a\ntype: cap\nlimit: 5\nper: day\nexcluded: {model: x}"))


@pytest.mark.parametrize(
    "limit",
    [
        "1e3",
        "5_000",
        "10:30",
        "0x10",
        ".inf",
        ".nan",
        "on",
        "true",
        "~",
        "[5]",
        "1.2.3",
        "5,00",
        "1,0000",
        "٥",
        "€500",
        "NaN",
        "1E400",
        "+5",
        "500.",
    ],
)
def test_fault_88_only_plain_digits_are_an_amount(limit: str) -> None:
    report = refused(rule(f"id: a\ntype: cap\nlimit: {limit}\nper: day"))

    assert report.startswith("rules.yaml:7:")
    assert "expected an amount of dollars" in report


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("limit: 100", "limit: -5", "expected an amount"),
        ("limit: 100", "limit: 0", "more than $0"),
        ("limit: 100", "limit: 9999999999999", "expected an amount"),
        ("limit: 100", "limit: '1,000,000,000,001'", "at most"),
        ("per: day", "per: day, steps: [80]", "did you mean 80%?"),
        ("per: day", "per: day, steps: [0%]", "more than 0%"),
        ("per: day", "per: day, steps: [99999%]", "at most 10,000%"),
        ("per: day", "per: day, steps: [80%, 50%]", "steps must rise"),
        ("per: day", "per: day, steps: []", "no steps at all"),
        ("per: day", "per: {last: 400d}", "1d to 366d"),
        ("per: day", "per: {month: 31}", "day 1 to 28"),
        ("per: day", "per: hour", "not 'hour'"),
        ("version: 1", "version: 2", "version must be 1"),
        ("version: 1", "version: 1.0", "version must be 1"),
        ("id: all", "id: 'a b'", "a rule's id is"),
    ],
)
def test_fault_89_values_out_of_range_are_refused(old: str, new: str, message: str) -> None:
    assert message in refused(SMALL.replace(old, new, 1))


def laughs() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    return "\n".join(lines)


def merges() -> str:
    return "a0: &a0 {x: 1}\n" + "\n".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 30))


HOSTILE = {
    "laughs": laughs(),
    "merge keys": merges(),
    "itself": "a: &a [*a]",
    "deep lists": "[" * 100_000,
    "deep dashes": "- " * 100_000,
    "deep mappings": "{a: " * 100_000,
    "many values": "[" + "a," * 1_500_000,
    "many keys": "\n".join(f"k{n}: 1" for n in range(200_000)),
    "many bad rules": "rules:\n" + "- {a: 1, b: 2}\n" * 60_000,
    "many second keys": "version: 1\n" * 200_000,
    "many unknown channels": RULES + "- {notify: [" + ",".join(f"c{n}" for n in range(100_000)) + "]}",
    "a long line": "a: " + "x" * 3_000_000,
    "a long quote": "a: '" + "x\n" * 1_000_000,
    "many anchors": "[" + ",".join(f"&a{n} x" for n in range(200_000)),
    "many tags": "- !!python/object:os.system x\n" * 50_000,
    "a NUL": "version: 1\n\0",
    "an escape sequence": "version: \x1b[31m1",
    "question marks": "? " * 100_000,
    "references": "channels: {a: '" + "${" * 500_000 + "'}",
    "wide flow": "{" + "a: {" * 31 + "b: c," * 300_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_fault_90_91_92_a_hostile_text_is_refused_in_bounded_time(name: str) -> None:
    started = time.process_time()

    report = refused(HOSTILE[name])

    assert time.process_time() - started < 5  # a second on an idle machine; the bombs would take minutes
    assert len(report) < 60_000
    assert report.startswith("rules.yaml")


def test_fault_91_an_alias_inside_of_itself_is_refused() -> None:
    assert refused("a: &a [*a]").startswith("rules.yaml:1:8: an alias inside of what it stands for\n")


def test_fault_92_deep_nesting_is_refused_at_its_place() -> None:
    assert refused("[" * 1_000).startswith("rules.yaml:1:33: nested more than 32 deep\n")


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [ls]", "!!str 5", "! 5", "!mine 5", "!!binary aGk="])
def test_fault_93_tags_are_refused_and_nothing_is_run(tag: str, parser: Parser) -> None:
    with pytest.raises(RulebookError, match=r"rules\.yaml:6:9: tags \(!\) are not read"):
        parse(SMALL + f"groups: {tag}", "rules.yaml", environment={}, parser=parser)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SMALL.replace("team, pager]", "taem]"), 'rules.yaml:3:20: there is no channel "taem"'),
        (SMALL.replace("per: day", "per: day, notify: nobody"), 'rules.yaml:5:56: there is no channel "nobody"'),
        (SMALL.replace("per: day", "per: day, match: {group: [g]}"), 'rules.yaml:5:64: there is no group "g"'),
        (SMALL.replace("per: day", "per: day, except: {group: 'g*'}"), 'there is no group like "g*"'),
        (SMALL.replace("per: day", "per: day, for_each: group"), "there are no groups in this file"),
        (SMALL.replace("{notify", "{match: {group: g}, notify"), 'rules.yaml:3:26: there is no group "g"'),
        (SMALL.replace("{notify", "{match: {rule: al}, notify"), 'there is no rule "al"'),
        (SMALL.replace("{notify", "{match: {rule: 'x*'}, notify"), 'there is no rule like "x*"'),
        (SMALL.replace("{notify", "{match: {type: [cap, forecast]}, notify"), "not in this version"),
        (SMALL.replace("notify: [team, pager]", "notify: []"), "not an empty list"),
        (SMALL.replace("notify: [team, pager]", "match: {}"), '"notify" is missing'),
    ],
)
def test_fault_94_names_that_do_not_exist_are_mistakes(text: str, message: str) -> None:
    assert message in refused(text)


def test_fault_95_two_rules_with_one_id_are_refused_with_both_lines() -> None:
    report = refused(SMALL + "  - {id: all, type: cap, limit: 5, per: week}\n")

    assert report.startswith('rules.yaml:6:10: a second rule with the id "all"; the first is on line 5\n')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "rules: []\n", "no rules at all"),
        (HEAD, '"rules" is missing'),
        (HEAD + "rules:\n", "expected a list"),
        ("version: 1\nchannels: {}\n" + RULES, "no channels at all"),
        ("version: 1\n" + RULES, '"channels" is missing'),
        (HEAD.partition("\n")[2] + RULES, '"version" is missing'),
    ],
)
def test_fault_95_a_file_that_watches_nothing_or_tells_nobody_is_refused(text: str, message: str) -> None:
    assert message in refused(text)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"# nothing yet\n", b"---\n", b"\xef\xbb\xbf", b"~"])
def test_fault_98_an_empty_file_is_a_mistake_and_not_a_file_without_rules(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_bytes(content)

    assert "the file is empty" in str(report_on(tmp_path / "rules.yaml"))


@pytest.mark.parametrize("end", range(1, len(SMALL) - 1, 7))
def test_fault_98_half_of_a_file_is_refused_or_whole_in_itself(end: int, tmp_path: Path) -> None:
    try:
        book = read(SMALL[:end])
    except RulebookError:
        return
    assert book.rules
    assert book.channels


@pytest.mark.parametrize(
    ("reference", "environment", "message"),
    [
        ("${NOT_THERE}", {}, "there is no environment variable NOT_THERE"),
        ("${EMPTY}", {"EMPTY": " "}, "the environment variable EMPTY is empty"),
        ("${A}", {"A_FILE": "/nowhere/x"}, "the file for A there is no such file"),
        ("${A", {}, "expected ${NAME}"),
        ("${}", {}, "expected ${NAME}"),
        ("${A-B}", {}, "expected ${NAME}"),
    ],
)
def test_fault_101_a_reference_that_leads_nowhere_names_the_variable(
    reference: str, environment: dict[str, str], message: str
) -> None:
    report = refused(SMALL.replace("a/b/c", reference), {"OTHER": CANARY, **environment})

    assert message in report
    assert CANARY not in report


def test_a_reference_outside_of_channels_is_a_mistake() -> None:
    report = refused(SMALL + "groups: {g: {workspaces: '${TEAM}'}}\n", {"TEAM": "x"})

    assert report.startswith("rules.yaml:6:26: ${...} is only read in channels")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SMALL.encode("utf-16"), "UTF-16"),
        (SMALL.encode("utf-16-be"), "NUL"),
        (b"version: 1\n# \xff\n", "rules.yaml:2:3: the file is not text in UTF-8"),
        (b"version: 1\n\0", "rules.yaml:2:1: a NUL byte"),
        (b"\x7fELF\x02\x01", "U+007F cannot be in a text file"),
        (b"# " + b"x" * (10 * 1024 * 1024), "larger than 4,096 KiB"),
    ],
    ids=["UTF-16", "UTF-16 without mark", "Latin-1", "NUL", "a program", "10 MiB"],
)
def test_fault_102_what_is_not_a_text_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_bytes(content)

    assert message in str(report_on(tmp_path / "rules.yaml"))


def test_fault_102_what_is_not_a_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "long").symlink_to("/dev/zero")

    assert "is a folder" in str(report_on(tmp_path))
    assert "is not a regular file" in str(report_on(tmp_path / "fifo"))
    assert "is not a regular file" in str(report_on(tmp_path / "long"))
    assert "cannot be read" in str(report_on(tmp_path / "loop"))


# --- what else is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rule("id: a\ntype: forecast\nlimit: 5"), 'rules.yaml:6:11: the type "forecast" is not in this version'),
        (rule("id: a\ntype: forecast\nlimit: 5"), "not in this version"),
        (rule("id: a\ntype: first_seen\nof: model"), "not in this version"),
        (rule("id: a\ntype: spike\nagainst: usual"), "rules.yaml:7:14: usual is not in this version"),
        (SMALL.replace('"slack://a/b/c"', "{url: 'slack://a', secret: x}"), "only webhook:// and webhooks:// sign"),
        (rule("id: a\ntype: cap\nlimit: 5\nper: day\nlimits: {x: 5}"), "rules.yaml:9:13: limits needs for_each"),
        (rule("id: a\ntype: cap\nlimit: 5\nper: day\nmatch: {model: x}\nexcept: {model: ['x', y]}"), "match nothing"),
        (rule("id: a\ntype: cap\nlimit: 5\nper: day\nexcept: {workspace: '*'}"), "match nothing"),
        (SMALL + "groups: {g: {}}\n", "a group needs workspaces or tags"),
        (SMALL.replace("team:", "'a team':"), "rules.yaml:2:12: a name is 1 to 64"),
        (SMALL.replace('"slack://a/b/c"', "{url: 'slack://a', page: yes}"), "expected true or false"),
        ("- a\n- b\n", "the file is not a mapping"),
        (SMALL + "--- \na: b\n", "rules.yaml:6:1: a second document"),
        ("%YAML 1.1\n---\n" + SMALL, "read as YAML 1.2"),
        (SMALL + "? [a]\n: b\n", "a key must be a plain word"),
        (SMALL + "groups: *nothing\n", "an anchor that does not exist"),
    ],
)  # fmt: skip
def test_what_this_version_cannot_honour_is_refused(text: str, message: str) -> None:
    assert message in refused(text)


def test_a_rule_of_a_misspelt_type_is_still_read_for_its_other_mistakes() -> None:
    report = refused(rule("id: a\ntype: spkie\nagianst: yesterday\nfactor: 1"))

    assert [line.partition(": ")[0] for line in report.splitlines() if line.startswith("rules")] == [
        "rules.yaml:6:11",
        "rules.yaml:7:5",
        "rules.yaml:8:13",
    ]


def test_only_the_lines_of_channels_are_masked() -> None:
    assert set(OPEN_SECTIONS) == set(RulesFile.model_fields) - {"channels"}


# --- secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "channels",
    [
        f"{{team: {CANARY}}}",
        f"\n  team: {CANARY}\n  other: slack://{CANARY}\n  team: x",
        f"\n  team: {{url: {CANARY}, urll: '{CANARY}', page: {CANARY}}}",
        f"\n  team: {{ulr: 'slack://{CANARY}'}}",
        f"\n  team: slack://{CANARY} {CANARY}: b",
        f"\n  team: 'slack://{CANARY}\n",
        f"\n  team: >\n    slack://x/\n    {CANARY}\n   {CANARY}",
        f"\n\tteam: slack://{CANARY}",
        f"\n  team: [slack://{CANARY}]",
        f"\n  team: slack://${{{CANARY}}}",
        f"\n  team: *{CANARY}",
        f"\n  team: !{CANARY} x",
        f'\n  team: "slack://\\q{CANARY}"',
        f"\n  team:\n   - {CANARY}\n   - x: {CANARY}\n  {CANARY} y",
        f" {{team: {{url: 'slack://{CANARY} x'}}}}",
    ],
)
def test_no_mistake_in_channels_shows_a_token(channels: str) -> None:
    report = refused(f"version: 1\nchannels: {channels}\n{RULES}", {CANARY: CANARY})

    assert "CANARY" not in report


def test_a_token_that_strayed_into_a_rule_is_not_shown() -> None:
    report = refused(SMALL.replace("per: day", f"per: day, notify: ['slack://{CANARY}']"))

    assert 'there is no channel "slack://…' in report
    assert CANARY not in report


def test_a_value_that_was_looked_up_is_not_shown() -> None:
    report = refused(SMALL.replace("slack://a/b/c", "${TOKEN}"), {"TOKEN": CANARY})

    assert report.startswith("rules.yaml:2:18: a channel is a URL such as slack://")
    assert CANARY not in report


# --- anything at all ---------------------------------------------------------------------------

LINES = st.sampled_from(
    [line for line in (SMALL + TEN.read_text()).splitlines() if line]
    + [
        "a: &a [*a]",
        "<<: *a",
        "- !!python/name:os.x",
        "\t- x",
        "rules:",
        "  - 'x",
        "{",
        "}",
        "? x",
        "...",
        "---",
        "|",
        ">",
    ]
)


def only_refused(text: str, parser: Parser = PARSERS[0]) -> Rulebook | None:
    try:
        return parse(text, "rules.yaml", environment={"SLACK_TEAM_TOKENS": CANARY}, parser=parser)
    except RulebookError as error:
        report = str(error)
    assert CANARY not in report
    return None


@settings(max_examples=200, deadline=2_000)
@given(st.one_of(st.text(max_size=200), st.text("[]{}:-,&*!|>'\"%@`#?~ \n\tab<", max_size=60)))
@example("a: \x85b: [\u2028")
@example("%TAG ! x\n---\na: !b c")
@example('"\\x00": "\\ud800\\U99999999"')
def test_any_text_is_a_rulebook_or_refused(text: str) -> None:
    for parser in PARSERS:
        only_refused(text, parser)


@settings(max_examples=200, deadline=2_000)
@given(st.lists(LINES, max_size=25).map("\n".join))
def test_any_mixture_of_lines_is_a_rulebook_or_refused(text: str) -> None:
    only_refused(text)


@settings(max_examples=150, deadline=2_000)
@given(st.data())
def test_any_edit_of_a_good_file_is_a_rulebook_or_refused(data: st.DataObject) -> None:
    text = Path(__file__).parent.parent.joinpath("rules.example.yaml").read_text()
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 30))
    only_refused(text[:at] + data.draw(st.text(max_size=8)) + text[at + cut :])


WORDS = st.text("abxyz-*$%{}: #'\"01", max_size=8)
VALUES = st.recursive(
    WORDS | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=2_000)
@given(VALUES)
def test_both_parsers_read_the_same_values_at_the_same_places(value: object) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    documents = [read_yaml(text, parser) for parser in PARSERS]

    assert all(document.value == value for document in documents)
    assert all(document.complaints == [] for document in documents)


@settings(max_examples=150, deadline=2_000)
@given(st.dictionaries(st.sampled_from(["version", "channels", "groups", "routes", "defaults", "rules"]), VALUES))
def test_any_shape_is_a_rulebook_or_refused(value: dict[str, object]) -> None:
    only_refused(yaml.safe_dump(value))
