"""Boot systemd in a container and try systemd/budgetd.service there for real: start, reload, stop, kill, hang, 78.

    python -m tests.boot_service            as root, on Linux, with systemd-nspawn; about a minute

The container is an overlay of this machine's own root, so nothing is downloaded and nothing here is changed; it has a
network of its own with nothing but loopback, where the simulated API and a web hook listen.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
INSIDE = "/opt/budgetd"
RESULTS = "var/lib/boot-check.json"
LONGEST = 240  # seconds

# What stands in for a package: the interpreter, its libraries and this checkout, where the unit's hardening sees them.
LAUNCHER = f"""\
#!/bin/sh
export LD_LIBRARY_PATH={INSIDE}/python/lib PYTHONPATH={INSIDE}/checkout:{INSIDE}/packages
exec {INSIDE}/python/bin/python3 -m budgetd "$@"
"""
CHECK_UNIT = f"""\
[Unit]
Description=Try budgetd.service
DefaultDependencies=no
After=basic.target dbus.socket
Requires=basic.target
SuccessAction=exit-force
FailureAction=exit-force

[Service]
Type=oneshot
Environment=LD_LIBRARY_PATH={INSIDE}/python/lib PYTHONPATH={INSIDE}/checkout:{INSIDE}/packages
WorkingDirectory={INSIDE}/checkout
ExecStart={INSIDE}/python/bin/python3 -m tests.boot_checks /{RESULTS}
StandardOutput=file:/var/log/boot-check.log
StandardError=inherit
TimeoutStartSec={LONGEST}
"""


def why_not() -> str:
    """Why a container cannot be booted here; empty when it can be."""
    if os.geteuid() != 0:
        return "only root can boot a container"
    for program in ("systemd-nspawn", "mount"):
        if shutil.which(program) is None:
            return f"{program} is missing (Debian, Ubuntu: apt-get install systemd-container)"
    if not Path("/lib/systemd/systemd").exists():
        return "this machine has no systemd that could be booted"
    return ""


@contextlib.contextmanager
def overlay() -> Iterator[Path]:
    """This machine's root, with every change kept elsewhere and thrown away at the end. Raises CalledProcessError."""
    folder = Path(tempfile.mkdtemp(prefix="boot-service-", dir="/var/tmp"))
    upper, work, root = (folder / name for name in ("upper", "work", "root"))
    for each in (upper, work, root):
        each.mkdir()
    options = f"lowerdir=/,upperdir={upper},workdir={work}"
    try:
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(root)], check=True)
        try:
            yield root
        finally:
            subprocess.run(["umount", str(root)], check=True)
    finally:
        shutil.rmtree(folder)


def furnish(root: Path) -> None:
    """Install the unit as it is, the launcher, and the unit that tries it."""
    (root / "etc/machine-id").unlink(missing_ok=True)
    (root / "etc/machine-id").write_text("b8b1d4f6c5b24f0d8a9d6f7b9a1c2d3e\n")
    units = root / "etc/systemd/system"
    shutil.copy(CHECKOUT / "systemd" / "budgetd.service", units)
    (units / "boot-check.service").write_text(CHECK_UNIT)
    launcher = root / "usr/local/bin/budgetd"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)


def boot(root: Path) -> str:
    """Boot the container until it ends by itself; what it said."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    seen = {sys.base_prefix: "python", packages: "packages", str(CHECKOUT): "checkout"}
    binds = [f"--bind-ro={outside}:{INSIDE}/{inside}" for outside, inside in seen.items()]
    command = [
        "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--link-journal=no",
        "--console=pipe", "--machine=budgetd-boot", f"--directory={root}", *binds,
        "--boot", "systemd.unit=boot-check.service",
    ]  # fmt: skip
    environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    ended = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST + 30,
        check=False,
    )
    return ended.stdout + ended.stderr


def main() -> int:
    """0: everything that was tried holds. 1: something does not, or it cannot be tried here."""
    reason = why_not()
    if reason:
        print(f"boot_service: {reason}", file=sys.stderr)
        return 1
    with overlay() as root:
        furnish(root)
        said = boot(root)
        log = root / "var/log/boot-check.log"
        said += log.read_text() if log.exists() else ""
        results = root / RESULTS
        checks = json.loads(results.read_text()) if results.exists() else []
    return _table(checks, said)


def _table(checks: list[dict[str, str]], said: str) -> int:
    bad = [check for check in checks if check["verdict"] != "ok"]
    for check in checks:
        print(f"{check['verdict']:<6} {check['what']:<78} {check['detail']}")
    if not checks or checks[-1]["what"] != "the end" or bad:
        print(said, file=sys.stderr)
        print(f"{len(bad)} of {len(checks)} checks failed, or the checks did not end", file=sys.stderr)
        return 1
    print(f"{len(checks) - 1} checks, all well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
