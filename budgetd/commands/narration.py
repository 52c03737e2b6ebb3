"""The days of the demo in words: for each poll that has something to tell, its lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from budgetd import wording
from budgetd.commands.terminal import Terminal
from budgetd.demo import story
from budgetd.demo.rehearsal import Step
from budgetd.model import Notice, Severity
from budgetd.money import round_dollars
from budgetd.period import DAY, midnight

_MARGIN = 21
_COLOURS = {Severity.CRITICAL: "red", Severity.WARNING: "yellow", Severity.INFO: "dim"}
_SHAPES = {Severity.CRITICAL: "■", Severity.WARNING: "▲", Severity.INFO: "●"}
_SIGNS = {Severity.CRITICAL: "!!", Severity.WARNING: "!", Severity.INFO: "i"}


@dataclass(frozen=True, slots=True)
class Narrator:
    """Tells steps on a screen."""

    screen: Terminal

    def lines(self, step: Step) -> Iterator[str]:
        """What is worth telling of a poll; nothing for most of them."""
        observation, changes = step.ticked.observation, step.ticked.changes
        if step.restarted:
            said = "repeats nothing" if not changes.deliveries else f"sends {len(changes.deliveries)} messages"
            yield from self._line(step.at, f"budgetd is stopped and started anew; it {said}.")
        if observation.error is not None:
            yield from self._line(step.at, f"The bill could not be read: {observation.error.message}")
        if step.first and observation.report is not None:
            yield from self._line(step.at, _beginning(step))
        if step.at == story.WATCHED_FROM:
            yield from self._line(
                step.at, "From here on use is read as well, minute by minute: the next bill, ahead of time."
            )
        if step.at == story.BURNS_FROM:
            what = (
                f"An agent in workspace {story.BURNING} begins to burn {round_dollars(story.BURNED_AN_HOUR)} an hour."
            )
            yield from self._line(step.at, what, colour="dim")
        for notice in changes.notices:
            yield from self._notice(notice, step)
        # What the people of the story do not know yet: it is on the bill of the next day.
        if step.at == midnight(story.RUNAWAY_ON) + story.POLL_EVERY:
            what = (
                f"An agent in workspace {story.TROUBLED} does not stop: {round_dollars(story.RUNAWAY)} of "
                f"{story.MODEL} in one day. The bill will show it tomorrow at 05:00."
            )
            yield from self._line(step.at, what, hour=False, colour="dim")

    def _notice(self, notice: Notice, step: Step) -> Iterator[str]:
        channels = sorted(delivery.channel for delivery in step.ticked.changes.deliveries if notice in delivery.notices)
        if not channels:
            if notice.facts.rule_type == "cap":
                text = f"{wording.title(notice)}. The new month starts at zero; no message."
                yield from self._line(step.at, text)
            return
        shape = (_SHAPES if self.screen.blocks else _SIGNS)[notice.severity]
        word = f"{shape} {wording.severity_word(notice)}"
        yield from self._line(step.at, f"{word}: {wording.title(notice)}", marked=word, severity=notice.severity)
        yield from self._line(step.at, _delivered(channels, step), day=False, hour=False)

    def _line(
        self,
        at: datetime,
        text: str,
        *,
        day: bool = True,
        hour: bool = True,
        colour: str = "",
        marked: str = "",
        severity: Severity = Severity.INFO,
    ) -> Iterator[str]:
        date = f"  {at:%a} {at.day:2} {at:%b}" if day else ""
        left = f"{date:<12}  {f'{at:%H:%M}' if hour else '':5}"
        lines = self.screen.wrapped(text, _MARGIN)
        first = lines[0].lstrip()
        if marked:
            first = first.replace(marked, self.screen.paint(marked, "bold", _COLOURS[severity]), 1)
        yield f"{self.screen.paint(left, 'dim')}  {self.screen.paint(first, *([colour] if colour else []))}"
        for line in lines[1:]:
            yield " " * _MARGIN + self.screen.paint(line.strip(), *([colour] if colour else []))


def _beginning(step: Step) -> str:
    report, changes = step.ticked.observation.report, step.ticked.changes
    days = (report.end - report.start) // DAY if report is not None else 0
    over = len(changes.notices)
    state = "No limit is near." if not over else f"{over} limits are past a step already: told once, as a summary."
    return f"First poll: {days} days of history, {len(changes.workspaces)} workspaces. {state}"


def _delivered(channels: list[str], step: Step) -> str:
    late = dict(step.retried)
    parts = [", ".join(channel for channel in channels if channel not in late)]
    for channel, when in late.items():
        wait = max(1, round((when - step.at).total_seconds()))
        parts.append(f"{channel} (busy at first) {wait} s later")
    return f"-> {'; '.join(part for part in parts if part)}"
