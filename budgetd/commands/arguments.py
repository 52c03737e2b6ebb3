"""Arguments that several commands take."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def instant(text: str) -> datetime:
    """The instant that the text names, in UTC. Raises argparse.ArgumentTypeError."""
    if _RFC_3339.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an RFC 3339 time such as 2026-11-18T06:00:00Z")
    try:
        return datetime.fromisoformat(text.upper().replace(" ", "T")).astimezone(UTC)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
