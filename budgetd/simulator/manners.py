"""How the reports of today behave where the real ones could not be tried: each assumption is an option here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Manners:
    """What the usage report and the analytics show of today, and when.

    Tokens are counted `usage_delay` after they were used, by whole minutes; with `running_minute` by the second, and
    then the minutes up to the present one are shown with what is counted of them, or empty. `running_hour`: so are
    the hours. With `leaves_out_zeros` a row of the usage report has only the counts that are not zero, so that even
    `cache_creation` may be missing; with `leaves_out_unused` minutes and hours without use are not in it.
    `analytics` is the status of the analytics: 200, or 403 or 404 for an organisation
    that has none. Its figures are those of the last full `analytics_refresh` since midnight of 1 January 1970 UTC.
    """

    usage_delay: timedelta = timedelta(minutes=4)
    running_minute: bool = False
    running_hour: bool = True
    leaves_out_zeros: bool = False
    leaves_out_unused: bool = False
    analytics: int = 200
    analytics_refresh: timedelta = timedelta(hours=4)
