"""What people see: `python -m tests.pictures FOLDER [KIND...]` draws mails, charts, Slack posts and Teams cards.

In a headless Chromium, in light and dark, at the width of a phone and of a window. Mails are drawn once more with
pictures blocked. Nothing is loaded from anywhere.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from budgetd import picture
from budgetd.faces import slack, teams
from budgetd.faces.mail import letter
from budgetd.message import Flavour, Message, render
from budgetd.model import Comparison, Contributor, Delivery, Facts, Kind, Label, Notice, Reason, Severity
from tests import chart_stories, rendered
from tests.test_message import FACTS, NOW, OVER, SPIKE, notice, read, workspace

LONG = replace(OVER, scope=(Label("workspace", "w", "Customer-Support-Automation-Production-Europe-West-3-long"),))
COMPARED = replace(
    SPIKE,
    contributors=(Contributor("claude-opus-4-8", "output_tokens", Decimal("301.10")),),
    comparison=Comparison("the mean of the last 4 Wednesdays", Decimal(120), Decimal(2)),
)
UNSEEN = Label("source", "cost_report", "cost report")
BLIND = Facts("Acme", "budgetd:blind", "blind", (UNSEEN,), data_through=NOW, text="the service answers 503")
STORIES: dict[str, tuple[Notice, ...]] = {
    "warning": (chart_stories.story("cap"),),
    "over": (notice(replace(LONG, history=chart_stories.MONTH), severity=Severity.CRITICAL),),
    "rate": (chart_stories.story("runaway"),),
    "spike": (notice(replace(COMPARED, history=chart_stories.MONTH)),),
    "resolved": (notice(replace(FACTS, contributors=()), Reason.LIMIT_RAISED, Kind.RESOLVE),),
    "blind": (notice(BLIND, Reason.BLIND, severity=Severity.CRITICAL),),
    "late": (notice(created_at=NOW - timedelta(hours=3)),),
    "repeat": (notice(replace(OVER, history=chart_stories.MONTH), severity=Severity.CRITICAL),),
    "waited": tuple(workspace(n, 3900 + n * 170, created_at=NOW - timedelta(hours=70 - n)) for n in range(5)),
    "batch": (*(workspace(n, 3900 + n * 170) for n in range(14)), notice(OVER, severity=Severity.CRITICAL)),
}
# What became of the message before it was delivered.
PASTS: dict[str, dict[str, Any]] = {
    "repeat": {"in_doubt": 1},
    "waited": {"gathered": "The channel took nothing for a while; this is what waited for it."},
}
MODES = ("light", "dark")
PHONE, WINDOW = 390, 700
ACROSS = 4
FRAME = "<style>iframe{border:0;margin:0 8px 8px 0}</style>"

Pages = Mapping[str, str]


@dataclass(frozen=True)
class Sheet:
    """Pages of one kind, drawn side by side in frames: Chromium has no window as narrow as a phone."""

    pages: Callable[[str], Pages]
    heights: Mapping[int, int]


def _told(name: str, flavour: Flavour = Flavour.TEXT) -> Message:
    return render(Delivery("dlv_1", "team", STORIES[name], NOW, NOW, **PASTS.get(name, {})), NOW, flavour)


def _mails(_mode: str) -> Pages:
    return {name: _mail(_told(name)) for name in STORIES}


def _mail(message: Message) -> str:
    made = letter(message, NOW, picture.of(message))
    return made.html.replace(f"cid:{made.picture_id}", _inline(made.picture))


def _mails_without_pictures(mode: str) -> Pages:
    """As in a client that shows the words of a picture that it does not load."""
    return {
        name: page.replace("data:image/png;base64,", "data:image/png;base64,blocked")
        for name, page in _mails(mode).items()
    }


def _inline(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _charts(_mode: str) -> Pages:
    drawn = {name: picture.of(read(chart_stories.story(name))) for name in chart_stories.STORIES}
    return {
        name: f'<body style="margin:8px"><img src="{_inline(made.png)}" style="width:100%">'
        for name, made in drawn.items()
        if made is not None
    }


def _slack(mode: str) -> Pages:
    pages = {}
    for name, notices in STORIES.items():
        message = _told(name, Flavour.SLACK)
        drawn = picture.of(message)
        posts = [(slack.post(message), _inline(drawn.png) if drawn is not None else ""), (slack.reply(message), "")]
        pages[name] = rendered.slack(posts[: 1 if len(notices) > 1 else 2], mode)
    return pages


def _cards(mode: str) -> Pages:
    posted = {name: json.loads(teams.body(_told(name), NOW)) for name in STORIES}
    return {name: rendered.teams(each["attachments"][0]["content"], mode) for name, each in posted.items()}


SHEETS: dict[str, Sheet] = {
    "mails": Sheet(_mails, {PHONE: 1400, WINDOW: 1300}),
    "mails-blocked": Sheet(_mails_without_pictures, {PHONE: 1400, WINDOW: 1300}),
    "charts": Sheet(_charts, {PHONE: 170, WINDOW: 290}),
    "slack": Sheet(_slack, {PHONE: 1200, WINDOW: 1000}),
    "teams": Sheet(_cards, {PHONE: 900, WINDOW: 700}),
}


def main(folder: Path, kinds: list[str]) -> None:
    """Draw the sheets into the folder. Raises SystemExit without Chromium, and KeyError for no such kind."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no Chromium is installed (Debian: apt-get install chromium)")
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds or SHEETS:
        for mode in MODES:
            for width, height in SHEETS[kind].heights.items():
                draw(browser, SHEETS[kind].pages(mode), mode, (width, height), folder / f"{kind}-{mode}-{width}.png")


def draw(browser: str, pages: Pages, mode: str, size: tuple[int, int], drawn: Path) -> None:
    """All pages on one picture, in frames of that size."""
    width, height = size
    with tempfile.TemporaryDirectory() as folder:
        for name, page in pages.items():
            (Path(folder) / f"{name}.html").write_text(page)
        frames = "".join(f'<iframe src="{name}.html" width={width} height={height}></iframe>' for name in pages)
        (Path(folder) / "all.html").write_text(f"<body style='margin:0;color-scheme:{mode}'>{FRAME}{frames}")
        window = f"--window-size={(width + 12) * ACROSS},{(height + 12) * -(-len(pages) // ACROSS)}"
        settings = f"--blink-settings=preferredColorScheme={0 if mode == 'dark' else 1}"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", settings, window]
        shot = [browser, *options, f"--screenshot={drawn}", f"file://{folder}/all.html"]
        subprocess.run(shot, check=True, capture_output=True)
    print(drawn)


if __name__ == "__main__":
    if len(sys.argv) < 2 or not SHEETS.keys() >= set(sys.argv[2:]):
        raise SystemExit(f"{__doc__}\nKINDs: {', '.join(SHEETS)}")
    main(Path(sys.argv[1]), sys.argv[2:])
