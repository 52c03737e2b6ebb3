"""`quiet:` in rules.yaml: quiet hours by the clock of a zone, and planned events by two instants."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from budgetd.fields import Words, mistake
from budgetd.model import Match
from budgetd.period import instant
from budgetd.quiet import EVERY_DAY, Event, Nightly, Quiet
from budgetd.rulefile.timing import TimeOfDay, Zone
from budgetd.schedule import ALWAYS_KNOWN, WEEKDAYS, zone

LONGEST_EVENT = timedelta(days=62)

_MOMENT = re.compile(r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[T ](?P<time>(?:[01][0-9]|2[0-3]):[0-5][0-9])", re.ASCII)


def _moment(value: Any) -> datetime:
    """A wall-clock time without its zone, which stands beside it."""
    wanted = "a time such as 2026-12-01 08:00, by the clock of the zone"
    found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise mistake(f"expected {wanted}, not {str(value)[:40]!r}")
    try:
        return datetime.fromisoformat(f"{found['day']}T{found['time']}")
    except ValueError:
        raise mistake(f"expected {wanted}; there is no {found['day']}") from None


def _days(value: tuple[str, ...]) -> tuple[str, ...]:
    for index, word in enumerate(value):
        if word not in WEEKDAYS:
            raise mistake(f"{word[:40]!r} is not a day of the week", at=index, word=word, choices=WEEKDAYS)
    return value


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}$"}),
]
Days = Annotated[
    Words,
    AfterValidator(_days),
    WithJsonSchema({"type": "array", "minItems": 1, "items": {"enum": list(WEEKDAYS)}}),
]


class QuietTime(BaseModel):
    """When messages wait: daily `from` a time `to` another, or once from `start` to `end`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: str = Field(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="what messages call it")
    from_: TimeOfDay | None = Field(default=None, alias="from", description="quiet hours: they begin")
    to: TimeOfDay | None = Field(default=None, description="quiet hours: they end, on the next day if that is earlier")
    days: Days | None = Field(default=None, description="the days on which they begin; left out: every day")
    start: Moment | None = Field(default=None, description="a planned event: it begins")
    end: Moment | None = Field(default=None, description="a planned event: it ends")
    zone: Zone = Field(default=ALWAYS_KNOWN, description="whose clock; left out: UTC")
    channels: Words | None = Field(default=None, description="only in these channels; left out: in all of them")

    def model_post_init(self, context: Any, /) -> None:
        kind = self._kind()
        if kind == "hours" and self.from_ == self.to:
            raise mistake("from and to are the same time: that is no time at all, or always", at="to")
        if kind == "event" and self.start is not None and self.end is not None:
            if self.end <= self.start:
                raise mistake("an event ends after it starts", at="end")
            if self.end - self.start > LONGEST_EVENT:
                raise mistake(f"an event may last {LONGEST_EVENT.days} days; is the date right?", at="end")

    def _kind(self) -> Literal["hours", "event"]:
        hours, event = (self.from_, self.to), (self.start, self.end)
        if all(hours) and not any(event):
            return "hours"
        if all(event) and not any(hours):
            if self.days is not None:
                raise mistake("days are of quiet hours; an event has start and end", at="days")
            return "event"
        raise mistake("expected from and to (quiet hours), or start and end (a planned event)")

    def quiet(self, match: Match) -> Quiet:
        """The value that it stands for; `match` is what the file says of the messages."""
        return Quiet(self.id, self._when(), match, self.channels or ())

    def _when(self) -> Nightly | Event:
        if self.from_ is not None and self.to is not None:
            days = EVERY_DAY if self.days is None else frozenset(WEEKDAYS.index(day) for day in self.days)
            return Nightly(self.from_, self.to, zone(self.zone), days)
        if self.start is None or self.end is None:
            raise AssertionError("checked when it was read")
        return Event(self._at(self.start), self._at(self.end))

    def _at(self, moment: datetime) -> datetime:
        return instant(moment.date(), moment.time(), zone(self.zone))
