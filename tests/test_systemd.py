"""The unit file: systemd understands each line, and it shuts the daemon in. Booted: `python -m tests.boot_service`."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1] / "systemd" / "budgetd.service"
# systemd's own measure: 0 is shut in, 10 is not at all. A web server as Debian ships it has 9.2.
MOST_EXPOSED = 1.5

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is there: systemd-analyze looks for it."""
    program = tmp_path / "budgetd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / "budgetd.service"
    copy.write_text(UNIT.read_text().replace("/usr/local/bin/budgetd", str(program)))
    return copy


def verified(unit: Path) -> subprocess.CompletedProcess[str]:
    answer = analyze("verify", "--man=no", "--recursive-errors=no", str(unit))
    if answer.returncode != 0 and "Failed to initialize manager" in answer.stderr:
        pytest.skip(f"systemd-analyze cannot verify here: {answer.stderr.strip()}")
    return answer


@needs_systemd
def test_systemd_verifies_the_unit_in_silence(unit: Path) -> None:
    answer = verified(unit)
    assert (answer.returncode, answer.stderr) == (0, "")


@needs_systemd
def test_a_mistyped_key_would_be_seen(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("ProtectClock=", "ProtectKlock="))
    assert "ProtectKlock" in verified(unit).stderr  # with exit code 0: it is the text that counts


@needs_systemd
def test_the_daemon_is_shut_in(unit: Path) -> None:
    answer = analyze("security", "--offline=yes", str(unit))
    if answer.returncode != 0:
        pytest.skip(f"systemd-analyze has no offline security here: {answer.stderr.strip()}")
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", answer.stdout)
    assert found is not None
    assert float(found[1]) <= MOST_EXPOSED


def test_what_the_daemon_relies_on_is_in_the_unit() -> None:
    lines = [line for line in UNIT.read_text().splitlines() if line and not line.startswith("#")]
    for needed in (
        "Type=notify",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "RestartPreventExitStatus=78",
        "LoadCredential=admin_key:/etc/budgetd/admin_key",
        "StateDirectory=budgetd",
        "DynamicUser=yes",
    ):
        assert needed in lines
    # systemd heeds RestartPreventExitStatus for the main process only.
    assert not [line for line in lines if line.startswith("ExecStartPre")]
    reload = [line for line in lines if line.startswith("ExecReload=")]
    assert [("check" in line, "kill -HUP" in line) for line in reload] == [(False, False), (True, False), (False, True)]
