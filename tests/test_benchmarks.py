"""The benchmarks run, print a table, and their figures are documented. What they measure is nobody's test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import rivals

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks.md"


@pytest.mark.slow
def test_the_reading_benchmark_prints_a_figure_and_its_reference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--sizes", "S", "reading"])
    assert benchmarks.main() == 0
    out = capsys.readouterr().out
    assert "Python" in out
    assert "msgspec, amounts as text" in out
    assert "rows known, against text" in out


def test_an_unknown_benchmark_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "raeding"])
    with pytest.raises(SystemExit, match="2"):
        benchmarks.main()
    assert "raeding" in capsys.readouterr().err


def test_every_benchmark_is_documented() -> None:
    text = DOCS.read_text()
    assert [name for name in benchmarks.BENCHMARKS if f"`{name}`" not in text] == []


def test_without_an_alertmanager_the_rivals_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "program", lambda: None)
    (figure,) = rivals.figures("S")
    assert figure.what.startswith("skipped: Debian's prometheus-alertmanager is not installed")
