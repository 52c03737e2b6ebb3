"""What people ask of alerts, and what they did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

# ((key, patterns), ...): every key must have a pattern that matches; () matches everything.
Match = tuple[tuple[str, tuple[str, ...]], ...]


class SilenceEnd(StrEnum):
    """What a silence lasts until."""

    TIME = "time"
    NEXT_STEP = "next_step"
    PERIOD_END = "period_end"


@dataclass(frozen=True, slots=True)
class Silence:
    """Somebody wants to hear nothing of what matches until `ends_at`, or until each incident's next step or period end.

    `covers`: for the latter two, the incidents that were open, with the highest step that people knew of.
    """

    id: str
    match: Match
    author: str
    comment: str
    created_at: datetime
    ends_at: datetime
    until: SilenceEnd = SilenceEnd.TIME
    covers: Mapping[str, Decimal] = field(default_factory=dict)
    ended_at: datetime | None = None
    ended_by: str = ""


class Act(StrEnum):
    """What people do to alerts."""

    SILENCE = "silence"
    END_SILENCE = "end_silence"
    ACKNOWLEDGE = "acknowledge"
    UNACKNOWLEDGE = "unacknowledge"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True)
class Intervention:
    """What somebody did to an incident or a silence (`subject` is its id), and why."""

    at: datetime
    author: str
    act: Act
    subject: str
    comment: str = ""
