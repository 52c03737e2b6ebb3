"""The scalars of the rules file that are about clocks on walls: times of the day, zones, when something is due."""

from __future__ import annotations

import re
from datetime import time
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from budgetd.fields import mistake
from budgetd.schedule import EVERY, ZoneError, zone, zones

_TIME = re.compile(r"^([01][0-9]|2[0-3]):([0-5][0-9])$", re.ASCII)


def _every(value: Any) -> str:
    text = str(value)
    if text not in EVERY:
        raise mistake(f"expected {', '.join(EVERY[:-1])} or month, not {text[:40]!r}", word=text, choices=EVERY)
    return text


def _time_of_day(value: Any) -> time:
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise mistake(f"expected a time of the day from 00:00 to 23:59, such as 08:00, not {str(value)[:40]!r}")
    return time(int(found[1]), int(found[2]))


def _zone(value: Any) -> str:
    text = str(value)
    try:
        zone(text)
    except ZoneError as error:
        raise mistake(str(error), word=text, choices=sorted(zones())) from None
    return text


Every = Annotated[str, BeforeValidator(_every), WithJsonSchema({"enum": list(EVERY)})]
TimeOfDay = Annotated[time, BeforeValidator(_time_of_day), WithJsonSchema({"type": "string", "pattern": _TIME.pattern})]
Zone = Annotated[str, BeforeValidator(_zone), WithJsonSchema({"type": "string"})]
