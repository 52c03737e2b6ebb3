"""What the pages of every report have in common: instants, buckets of time, cursors, an error in the place of data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from msgspec import UNSET

from budgetd.period import DAY
from budgetd.sources.strict_json import JsonError, Node, excerpt

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

# What the reference lists. Other values are taken as they are, and remarked on.
DOCUMENTED: dict[str, frozenset[str]] = {
    "cost_type": frozenset({"tokens", "web_search", "code_execution", "session_usage"}),
    "token_type": frozenset(
        {
            "uncached_input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation.ephemeral_1h_input_tokens",
            "cache_creation.ephemeral_5m_input_tokens",
        }
    ),
    "service_tier": frozenset({"standard", "batch"}),
    "context_window": frozenset({"0-200k", "200k-1M"}),
    "inference_geo": frozenset({"global", "us", "not_available"}),
    "speed": frozenset({"standard", "fast"}),
}
_INSTANT = re.compile(r"[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_CALLED = {MINUTE: "minute", HOUR: "hour", DAY: "UTC day"}


# --- time --------------------------------------------------------------------------------------


def instant(text: str) -> datetime:
    """The instant in UTC. Raises ValueError for what is not RFC 3339."""
    if _INSTANT.fullmatch(text) is None:
        raise ValueError(f"not an RFC 3339 instant: {excerpt(text)}")
    return datetime.fromisoformat(text).astimezone(UTC)


def floor(instant: datetime, width: timedelta) -> datetime:
    """The start of the minute, hour or UTC day that holds the instant."""
    midnight = datetime(instant.year, instant.month, instant.day, tzinfo=UTC)
    return midnight + (instant - midnight) // width * width


def bounds(starting_at: str, ending_at: str | None, width: timedelta) -> tuple[datetime, datetime]:
    """Where a bucket of one minute, hour or UTC day starts and ends. Raises ValueError when it is none."""
    start = instant(starting_at)
    if start != floor(start, width):
        due = "UTC midnight" if width == DAY else f"whole {_CALLED[width]}"
        raise ValueError(f"a bucket that does not start at a {due}: {excerpt(starting_at)}")
    if ending_at is not None and instant(ending_at) != start + width:
        raise ValueError(f"a bucket that is not one {_CALLED[width]}: {excerpt(starting_at)} to {excerpt(ending_at)}")
    return start, start + width


def bounds_of(bucket: Node, width: timedelta) -> tuple[datetime, datetime]:
    """The same of a decoded bucket, whose end may be missing. Raises JsonError."""
    start, end = bucket.field("starting_at"), bucket.get("ending_at")
    texts = start.text(), end.text() if end else None
    try:
        return bounds(*texts, width)
    except ValueError as error:
        bucket.refuse(str(error))


# --- the page around its data --------------------------------------------------------------------


def cursor(has_more: bool, next_page: str | None) -> str | None:
    """Where the next page is; None after the last. Raises ValueError when more is announced and not to be found."""
    if has_more and not next_page:
        raise ValueError("more pages are announced, and no cursor is given")
    return next_page if has_more else None


def cursor_of(page: Node) -> str | None:
    """The same of a decoded page. Raises JsonError."""
    following = page.get("next_page")
    given = page.field("has_more").flag(), following.text_or_none() if following else None
    try:
        return cursor(*given)
    except ValueError as error:
        raise JsonError(f"$.next_page: {error}") from None


def refuse_error(page: Node) -> None:
    """Raise JsonError when the page is an error that was answered with 200."""
    if page.get("error") is not None and page.get("data") is None:
        page.refuse(f"an error instead of data: {excerpt(str(page.field('error').value))}")


def quotes(value: object) -> int:
    """The number of quotation marks that a field with that value takes in JSON: none when it is not there."""
    return 0 if value is UNSET else 4 if isinstance(value, str) else 2


# --- remarks -------------------------------------------------------------------------------------


def odd_value(report: str, name: str, value: str) -> str:
    """A remark on a value that the reference does not list. `report` is the subject: `the report has`."""
    return f"{report} a {name} that budgetd does not know: {excerpt(value)}"


def odd_fields(report: str, names: Iterable[str]) -> frozenset[str]:
    """A remark on each field that the reference does not have."""
    return frozenset(f"{report} a field that budgetd does not know: {excerpt(name)}" for name in names)
