"""The docs are tested: what exists is in them, and what stands in them works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from budgetd.cli import COMMANDS
from budgetd.rulebook import parse
from budgetd.rulefile.shape import RULE_CLASSES
from budgetd.settings import variables

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text()
EXIT_CODES = ("0", "1", "2", "75", "78")
HEAD = 'version: 1\nchannels: {hook: "json://127.0.0.1"}\n'


def everything() -> str:
    return "\n".join(page.read_text() for page in PAGES)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_docs(command: str) -> None:
    assert f"budgetd {command}" in everything()


@pytest.mark.parametrize("setting", variables())
def test_every_setting_is_in_the_readme(setting: str) -> None:
    assert f"`{setting}`" in README


@pytest.mark.parametrize("code", EXIT_CODES)
def test_every_exit_code_is_in_the_readme(code: str) -> None:
    line = next(line for line in README.splitlines() if line.startswith("Exit codes:"))
    assert re.search(rf"\b{code} \w", line)


@pytest.mark.parametrize(("kind", "rule"), RULE_CLASSES.items())
def test_every_rule_type_has_a_page_that_names_each_of_its_keys(kind: str, rule: type) -> None:
    page = (ROOT / f"docs/rules/{kind}.md").read_text()
    keys = {field.alias or name for name, field in rule.model_fields.items()} - {"id", "type"}  # type: ignore[attr-defined]
    assert {key for key in keys if f"`{key}`" not in page} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_rules_file_in_the_docs_is_accepted(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S):
        text = block if "version:" in block else HEAD + block
        environment = {name: _made_up(name) for name in re.findall(r"\$\{(\w+)\}", text)}
        assert parse(text, page.name, environment=environment).rules


def _made_up(name: str) -> str:
    return "whsec_" + "A" * 32 if "SECRET" in name else "a/b/c"


def test_the_readmes_two_commands_are_what_ci_and_a_newcomer_run() -> None:
    assert "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/budgetd demo" in README
    assert ".venv/bin/python -m pytest -q" in README
    assert 'python" -m pytest -q' in (ROOT / ".ci/run").read_text()
