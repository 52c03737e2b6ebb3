"""A digest as the inside of a mail: tables with bars, readable with pictures blocked and on a phone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from budgetd import digest_words, money
from budgetd.escaping import for_html, name
from budgetd.message import digest_data
from budgetd.model import Notice
from budgetd.summary import Digest, Movers, Standing

_TABLE = 'role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"'
_UP, _DOWN, _FILLED, _OVER = "#b45309", "#15803d", "#2563eb", "#dc2626"


def rows(digest: Digest, notice: Notice) -> list[str]:
    """The rows of the card's table beneath its heading."""
    made = [
        _text(digest_words.opening(digest)),
        _figure(digest),
        _section("Day by day", _day_lines(digest)),
        *(_section(digest_words.heading_of(movers), _move_lines(movers)) for movers in digest.movers),
        _section("Limits, so far", map(_limit_line, digest.standings)),
        _text(digest_words.more_standings(digest), soft=True),
        _section("Alerts (UTC)", map(_sentence, _alerts(digest))),
        _section("Channels", map(_sentence, digest_words.posts(digest))),
        _text(digest_data(notice, digest), soft=True),
    ]
    return [row for row in made if row]


def _row(inside: str, padding: str = "14px 28px 0") -> str:
    return f'<tr><td class="side" style="padding:{padding}">{inside}</td></tr>'


def _text(text: str, *, soft: bool = False) -> str:
    if not text:
        return ""
    kind, colour, size = ("soft", "#566070", "13px") if soft else ("text", "#111827", "15px")
    style = f"margin:0;color:{colour};font-size:{size};word-break:break-word"
    return _row(f'<p class="{kind}" style="{style}">{for_html(text)}</p>')


def _figure(digest: Digest) -> str:
    least = "at least " if digest.spent.missing else ""
    spent = (
        f'<div class="text figure" style="color:#111827;font-size:32px;line-height:1.2;font-weight:700">'
        f"{least}{money.dollars(digest.spent.amount)}</div>"
        f'<div class="soft" style="color:#566070;font-size:14px">{digest.spent.period.name} (UTC days)</div>'
    )
    if digest.spent.missing or digest.before.missing:
        return _row(spent)
    rose = digest.spent.amount > digest.before.amount
    change = digest_words.change(digest.spent.amount, digest.before.amount)
    before = f"against {money.dollars(digest.before.amount)} in {digest.before.period.name}"
    return _row(
        f'{spent}<div class="text" style="margin-top:6px;color:#111827;font-size:15px">'
        f'<span class="{_tone(rose)}" style="color:{_colour(rose)};font-weight:600">{for_html(change)}</span> '
        f"{for_html(before)}</div>"
    )


def _section(heading: str, lines: Iterable[str]) -> str:
    inside = "".join(lines)
    if not inside:
        return ""
    title = f'<h2 class="text" style="margin:0 0 6px;color:#111827;font-size:15px">{for_html(heading)}</h2>'
    return _row(f'{title}<table {_TABLE} style="font-size:14px">{inside}</table>', "20px 28px 0")


def _day_lines(digest: Digest) -> Iterable[str]:
    days = digest_words.days_of(digest)
    most = max((amount for _, amount in days if amount is not None), default=money.ZERO)
    for day, amount in days if len(days) > 1 else ():
        figure = "not known" if amount is None else money.dollars(amount)
        yield _line(day, _bar(amount or money.ZERO, most, _FILLED), figure)


def _move_lines(movers: Movers) -> Iterable[str]:
    for move in (*movers.up, *reversed(movers.down)):
        rose = move.amount > move.before
        change = digest_words.change(move.amount, move.before)
        moved = f'<span class="{_tone(rose)}" style="color:{_colour(rose)}">{for_html(change)}</span>'
        yield _line(name(move.name, digest_words.NAME_LIMIT), moved, money.dollars(move.amount))


def _limit_line(standing: Standing) -> str:
    over = standing.limit > 0 and standing.amount >= standing.limit
    bar = _bar(standing.amount, standing.limit, _OVER if over else _FILLED)
    under = f'<br><span class="soft" style="color:#566070">{for_html(digest_words.standing_figures(standing))}</span>'
    return _line(digest_words.standing_name(standing), bar, digest_words.standing_used(standing), under)


def _alerts(digest: Digest) -> Sequence[str]:
    lines = [digest_words.story_line(story) for story in digest.stories]
    return [*lines, *filter(None, [digest_words.more_stories(digest)])] or ["None."]


def _sentence(text: str) -> str:
    return (
        '<tr><td class="text line" style="padding:7px 0;border-top:1px solid #e3e7ed;color:#111827;'
        f'word-break:break-word">{for_html(text)}</td></tr>'
    )


def _line(label: str, middle: str, figure: str, under: str = "") -> str:
    edge = "border-top:1px solid #e3e7ed"
    return (
        f'<tr><td class="text line" style="padding:7px 0;{edge};color:#111827;word-break:break-word">'
        f"{for_html(label)}{under}</td>"
        f'<td class="line gap bar" width="150" style="padding:7px 0 7px 12px;{edge};width:150px">{middle}</td>'
        f'<td class="text line gap" align="right" style="padding:7px 0 7px 12px;{edge};color:#111827;'
        f'white-space:nowrap">{for_html(figure)}</td></tr>\n'
    )


def _bar(amount: Decimal, whole: Decimal, colour: str) -> str:
    """Cells with a background: full only when the whole is reached, empty only for nothing."""
    percent = int(money.whole_times(money.times(amount, Decimal(100)), whole)) if whole > 0 and amount > 0 else 0
    percent = min(max(percent, 1 if amount > 0 else 0), 100)
    filled = f'<td width="{percent}%" style="background-color:{colour};height:8px;line-height:8px">&nbsp;</td>'
    rest = f'<td class="rest" width="{100 - percent}%" style="background-color:#e3e7ed;line-height:8px">&nbsp;</td>'
    cells = (filled if percent else "") + (rest if percent < 100 else "")
    return f'<table {_TABLE} style="font-size:1px"><tr>{cells}</tr></table>'


def _tone(rose: bool) -> str:
    return "warning" if rose else "resolved"


def _colour(rose: bool) -> str:
    return _UP if rose else _DOWN
