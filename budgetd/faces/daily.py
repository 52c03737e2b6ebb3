"""The last days as bars in a mail: cells of a table, so that they are there where pictures are blocked."""

from __future__ import annotations

from decimal import Decimal

from budgetd import money, trend
from budgetd.escaping import for_html
from budgetd.model import History

_HIGHEST = 44  # pixels
_TABLE = 'role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"'


def bars(history: History | None, colour: str) -> str:
    """A bar for each of the last closed days, and in words what they show; empty where there is too little."""
    days = trend.last_days(history)
    if days is None:
        return ""
    cells = "".join(_bar(amount, days.highest, colour) for amount in days.amounts)
    ends = (
        f'<table {_TABLE} style="font-size:12px"><tr><td class="soft" style="color:#566070">{trend.short(days.start)}'
        f'</td><td class="soft" align="right" style="color:#566070">{trend.short(days.end)}</td></tr></table>'
    )
    return (
        '<h2 class="text" style="margin:0 0 6px;color:#111827;font-size:15px">Day by day</h2>'
        f'<table {_TABLE} style="table-layout:fixed"><tr>{cells}</tr></table>{ends}'
        f'<p class="soft" style="margin:4px 0 0;color:#566070;font-size:13px">{for_html(_in_words(days))}</p>'
    )


def _bar(amount: Decimal | None, highest: Decimal, colour: str) -> str:
    """A cell as wide as all others, filled from below; one without a figure stays empty."""
    height = 0 if amount is None else _height(amount, highest)
    inside = (
        f'<table {_TABLE}><tr><td height="{height}" bgcolor="{colour}" style="height:{height}px;'
        f'background-color:{colour};font-size:0;line-height:{height}px">&nbsp;</td></tr></table>'
        if height
        else "&nbsp;"
    )
    style = f"height:{_HIGHEST}px;padding:0 1px 0 0;font-size:0;line-height:0"
    return f'<td valign="bottom" height="{_HIGHEST}" style="{style}">{inside}</td>'


def _height(amount: Decimal, highest: Decimal) -> int:
    """Pixels; at least one for a day that is known."""
    if amount <= 0 or highest <= 0:
        return 1
    return max(1, int(money.whole_times(money.times(amount, Decimal(_HIGHEST)), highest)))


def _in_words(days: trend.LastDays) -> str:
    return f"{days.words[:1].upper()}{days.words[1:]}."
