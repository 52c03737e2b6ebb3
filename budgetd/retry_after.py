"""When a service wants to be asked again, read from an answer's headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_HINT = 3600.0  # seconds


def retry_hint(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that the service asks us to wait: at least 1, at most an hour; None when it does not clearly say."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,9})?", text, re.ASCII):
            return _clamped(float(text) * unit)
    date = http_date(headers.get("retry-after", ""))
    return None if date is None else _clamped((date - now).total_seconds())


def http_date(text: str) -> datetime | None:
    """The instant that a header names; None when it names none."""
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return instant.replace(tzinfo=instant.tzinfo or UTC)


def _clamped(seconds: float) -> float:
    return min(max(seconds, 1.0), LONGEST_HINT)
