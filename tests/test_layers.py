"""The layers of the program, as tests: who may import whom, and what the deciding files must not touch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "budgetd"

# All that a deciding file may import beside budgetd itself: nothing here reads, writes, waits or knows the time.
PURE = {
    "__future__", "abc", "collections", "dataclasses", "datetime", "decimal", "enum", "fnmatch", "functools",
    "hashlib", "html", "itertools", "json", "operator", "pydantic", "pydantic_core", "re", "typing", "unicodedata",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "compile", "breakpoint", "__import__"}
CLOCK_READS = {"now", "utcnow", "today", "fromtimestamp"}

# Libraries that stay behind one file or folder.
BEHIND = {
    "httpx": ["http.py"],
    "httpcore": ["http.py", "posting.py", "wire.py"],
    "apprise": ["channels/"],
    "sqlite3": ["stores/"],
    "yaml": ["rulefile/"],
    "aiosmtpd": ["demo/"],
    "jinja2": ["templates.py"],
    "PIL": ["picture.py"],
}


def test_imports_point_one_way() -> None:
    """The contracts of pyproject.toml. In a process of its own: import-linter reconfigures logging."""
    run = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True, no_logo=True))"
    done = subprocess.run([sys.executable, "-c", run], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _deciding() -> list[Path]:
    """The modules in the layers from `faces` down."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers: list[str] = contracts[0]["layers"]
    names = [name for layer in layers[layers.index("faces") :] for name in re.findall(r"\w+", layer)]
    files = [path for name in names for path in (PACKAGE / f"{name}.py", *sorted((PACKAGE / name).rglob("*.py")))]
    return [path for path in files if path.exists()]


def _imported(tree: ast.AST) -> Iterator[str]:
    """The top-level packages that a file imports, also inside of functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or ".").partition(".")[0] if node.level == 0 else "budgetd"


@cache
def _imports() -> dict[str, frozenset[str]]:
    """What each file of the package imports."""
    files = PACKAGE.rglob("*.py")
    return {path.relative_to(PACKAGE).as_posix(): frozenset(_imported(ast.parse(path.read_text()))) for path in files}


def _impure_calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in IMPURE_CALLS:
            yield node.id
        if isinstance(node, ast.Attribute) and node.attr in CLOCK_READS:
            yield f".{node.attr}"


def test_there_are_deciding_files() -> None:
    names = {path.relative_to(PACKAGE).as_posix() for path in _deciding()}
    assert {
        "money.py",
        "spend.py",
        "rules/cap.py",
        "rules/spike.py",
        "lifecycle.py",
        "message.py",
        "faces/mail.py",
    } <= names
    assert not names & {"http.py", "clock.py", "store.py", "delivery.py"}


@pytest.mark.parametrize("path", _deciding(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_deciding_file_does_no_input_or_output_and_reads_no_clock(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert set(_imported(tree)) - PURE - {"budgetd"} == set()
    assert list(_impure_calls(tree)) == []


@pytest.mark.parametrize(("library", "allowed"), BEHIND.items(), ids=BEHIND.keys())
def test_a_library_stays_behind_its_own_files(library: str, allowed: list[str]) -> None:
    users = {name for name, imported in _imports().items() if library in imported}
    assert {user for user in users if not user.startswith(tuple(allowed))} == set()
    assert users, "nothing uses it: take it out of the table"
