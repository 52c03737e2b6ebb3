"""The example that ships with the program, and the schema that editors check it with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from budgetd.rulebook import load
from budgetd.rulefile.shape import RULE_CLASSES
from budgetd.rules.cap import Cap
from budgetd.rules.spike import Spike
from budgetd.schema import rules_schema
from tests.rules_text import SMALL

EXAMPLE = Path(__file__).parent.parent / "rules.example.yaml"
MISTAKEN = Path(__file__).parent / "ten_mistakes.yaml"
ENVIRONMENT = {"SLACK_TEAM_TOKENS": "a/b/c", "MAIL_LOGIN": "me:secret", "PAGERDUTY_KEY": "k"}
ENVIRONMENT["AUDIT_SECRET"] = "whsec_" + "A" * 32


def complaints(value: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft7Validator(rules_schema()).iter_errors(value)]


def test_the_example_is_read_without_a_mistake_or_warning() -> None:
    book = load(EXAMPLE, environment=ENVIRONMENT)

    assert book.warnings == ()
    assert {name for name, channel in book.channels.items() if channel.page} == {"pager"}


def test_the_example_shows_all_that_there_is() -> None:
    book = load(EXAMPLE, environment=ENVIRONMENT)
    caps = [rule for rule in book.rules if isinstance(rule, Cap)]
    spikes = [rule for rule in book.rules if isinstance(rule, Spike)]

    assert {rule.kind for rule in book.rules} == set(RULE_CLASSES)
    assert {cap.per.kind for cap in caps} == {"day", "month", "last"}
    assert any(cap.limits for cap in caps)
    assert any(cap.steps for cap in caps)
    assert {spike.against.words.split()[1] for spike in spikes} == {"day", "same", "mean", "median"}
    assert {channel.url.partition(":")[0] for channel in book.channels.values()} == {
        "slack",
        "mailtos",
        "webhooks",
        "pagerduty",
    }


def test_the_first_line_names_the_schema() -> None:
    assert EXAMPLE.read_text().startswith("# yaml-language-server: $schema=rules.schema.json\n")


def test_the_schema_is_draft_07() -> None:
    schema = rules_schema()

    jsonschema.Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    text = str(schema)
    assert "$defs" not in text
    assert "prefixItems" not in text


def test_the_schema_takes_the_example_as_an_editor_reads_it() -> None:
    assert complaints(yaml.safe_load(EXAMPLE.read_text())) == []
    assert complaints(yaml.safe_load(SMALL)) == []


def test_the_schema_refuses_the_file_with_ten_mistakes() -> None:
    assert complaints(yaml.safe_load(MISTAKEN.read_text()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("limit: 100", "limit: -1"),
        ("limit: 100", "limt: 100"),
        ("per: day", "per: dya"),
        ("type: cap", "type: capp"),
        ("version: 1", "version: 2"),
        ("channels:", "chanels:"),
        ("per: day", "per: day, steps: [80]"),
        ("per: day", "per: day, severity: {50%: critcal}"),
        ("per: day", "per: {last: 7, month: 2}"),
    ],
)
def test_the_schema_refuses_a_single_mistake(old: str, new: str) -> None:
    assert complaints(yaml.safe_load(SMALL.replace(old, new, 1)))
