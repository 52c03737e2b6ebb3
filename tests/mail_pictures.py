"""What people see: `python -m tests.mail_pictures FOLDER` draws mails in a headless Chromium, in light and dark.

Each at the width of a phone and of a window, with pictures blocked; the page could not load anything anyway.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from budgetd.faces.mail import letter
from budgetd.model import Comparison, Contributor, Facts, Kind, Label, Notice, Reason, Severity
from tests.test_message import FACTS, NOW, OVER, RATE, SPIKE, notice, read, workspace

LONG = replace(OVER, scope=(Label("workspace", "w", "Customer-Support-Automation-Production-Europe-West-3-long"),))
COMPARED = replace(
    SPIKE,
    contributors=(Contributor("claude-opus-4-8", "output_tokens", Decimal("301.10")),),
    comparison=Comparison("the mean of the last 4 Wednesdays", Decimal(120), Decimal(2)),
)
UNSEEN = Label("source", "cost_report", "cost report")
BLIND = Facts("Acme", "budgetd:blind", "blind", (UNSEEN,), data_through=NOW, text="the service answers 503")
STORIES: dict[str, tuple[Notice, ...]] = {
    "warning": (notice(),),
    "over": (notice(LONG, severity=Severity.CRITICAL),),
    "rate": (notice(RATE, severity=Severity.CRITICAL),),
    "spike": (notice(COMPARED),),
    "resolved": (notice(replace(FACTS, contributors=()), Reason.LIMIT_RAISED, Kind.RESOLVE),),
    "blind": (notice(BLIND, Reason.BLIND, severity=Severity.CRITICAL),),
    "late": (notice(created_at=NOW - timedelta(hours=3)),),
    "batch": (*(workspace(n, 3900 + n * 170) for n in range(14)), notice(OVER, severity=Severity.CRITICAL)),
}
HEIGHTS = {360: 1180, 700: 1040}
ACROSS = 4
FRAME = "<style>iframe{border:0;margin:0 8px 8px 0}</style>"


def main(folder: Path) -> None:
    """Draw them all into the folder, each in a frame: Chromium has no window as narrow as a phone."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no Chromium is installed")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as pages:
        for story, notices in STORIES.items():
            (Path(pages) / f"{story}.html").write_text(letter(read(*notices), NOW).html)
        for mode in ("light", "dark"):
            for width, height in HEIGHTS.items():
                draw(browser, Path(pages), mode, (width, height), folder / f"mails-{mode}-{width}.png")


def draw(browser: str, pages: Path, mode: str, size: tuple[int, int], picture: Path) -> None:
    """All mails on one picture, in frames of that size."""
    width, height = size
    frames = "".join(f'<iframe src="{story}.html" width={width} height={height}></iframe>' for story in STORIES)
    (pages / "all.html").write_text(f"<body style='margin:0;color-scheme:{mode}'>{FRAME}{frames}")
    window = f"--window-size={(width + 12) * ACROSS},{(height + 12) * -(-len(STORIES) // ACROSS)}"
    settings = f"--blink-settings=imagesEnabled=false,preferredColorScheme={0 if mode == 'dark' else 1}"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", settings, window]
    shot = [browser, *options, f"--screenshot={picture}", f"file://{pages}/all.html"]
    subprocess.run(shot, check=True, capture_output=True)
    print(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
