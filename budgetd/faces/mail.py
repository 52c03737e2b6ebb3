"""The message as a mail: a subject that stands alone, a text for terminals, and HTML for light, dark and small screens.

The HTML needs nothing from elsewhere: no font or script, and no picture but the chart that comes with it. Bars are
cells of tables with a background, so that they are there where pictures are blocked. What matters is inline; the style
sheet only adds the dark colours and the small screen, as some clients take it away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from budgetd import digest_words, money, trend, wording
from budgetd.chart import Picture
from budgetd.escaping import for_html, for_text, name, shorten
from budgetd.faces import daily, digest_mail, inline
from budgetd.message import (
    BROKEN,
    MOST_CONTRIBUTORS,
    MOST_LINES,
    Message,
    can_be_silenced,
    driver,
    late_note,
)
from budgetd.model import Face, Facts, Kind, Notice, Reason, Severity
from budgetd.payload import COST_REPORT

SUBJECT_LIMIT = 250
PREHEADER_LIMIT = 150

_PRIORITY = {Severity.CRITICAL: ("high", "1"), Severity.WARNING: ("normal", "3"), Severity.INFO: ("low", "5")}
_ORDINARY = ("normal", "3")


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail before it has an envelope. `html` is empty where text is all that is sent.

    `preheader` is what a list of mails shows beside the subject. `id` and `story` are the message's and its
    incident's; `story` is empty for a mail about several. `importance` is `high`, `normal` or `low`, `priority` the
    same for older clients, from 1 to 5. `picture` stands in the HTML as `cid:` and `picture_id`.
    """

    id: str
    story: str
    subject: str
    preheader: str
    plain: str
    html: str
    importance: str
    priority: str
    picture: bytes = field(default=b"", repr=False)

    @property
    def picture_id(self) -> str:
        """The picture's Content-ID, without brackets."""
        return inline.content_id(self.id)


def letter(message: Message, now: datetime, picture: Picture | None = None) -> Letter:
    """The message in its face: rich with HTML, plain as text, minimal as one line. `now` says how late it is. Pure.

    `picture` goes into the HTML; all that it shows is there in words and bars too. HTML that cannot be made is left
    out: a mail always goes out.
    """
    minimal = message.face is Face.MINIMAL
    subject = shorten(for_text(message.body if minimal and message.notices else message.title), SUBJECT_LIMIT)
    importance, priority = _ORDINARY if message.kind is Kind.RESOLVE else _PRIORITY[message.severity]
    text = Letter(
        id=message.id,
        story=message.incident,
        subject=subject,
        preheader="",
        plain=message.body if minimal else f"{message.title}\n\n{message.body}\n",
        html="",
        importance=importance,
        priority=priority,
    )
    if message.face is not Face.RICH or not message.notices:
        return text
    try:
        return _rich(text, message, now, picture)
    except BROKEN:
        return text


def _rich(text: Letter, message: Message, now: datetime, picture: Picture | None) -> Letter:
    preheader = shorten(_preheader(message), PREHEADER_LIMIT)
    bar = _text_bar(message.notices[0].facts) if len(message.notices) == 1 else ""
    plain = "\n\n".join(part for part in (message.title, bar, message.body) if part) + "\n"
    html = _page(message, text.subject, preheader, now, picture)
    drawn = picture.png if picture is not None else b""
    return replace(text, preheader=preheader, plain=plain, html=html, picture=drawn)


def _preheader(message: Message) -> str:
    """What the subject has no room for: the money that matters now, and what drives it."""
    first = message.notices[0]
    if len(message.notices) > 1:
        return wording.data_line(notice.facts for notice in message.notices)
    if first.facts.digest is not None:
        return digest_words.preheader(first.facts.digest)
    opening = wording.lead(first) or wording.why(first)
    if first.facts.amount is None or not first.facts.contributors:
        return opening
    model, tokens, _, share = _drivers(first.facts)[0]
    return f"{opening} Most of it: {' '.join(word for word in (model, tokens, share) if word)}."


# --- text --------------------------------------------------------------------------------------


def _text_bar(facts: Facts) -> str:
    parts = _parts(facts)
    if not parts:
        return ""
    filled = sum(percent for percent, what in parts if what != _REST) * 40 // 100
    return f"[{'#' * filled}{'-' * (40 - filled)}] {_share_of_limit(facts)}"


# --- HTML --------------------------------------------------------------------------------------

# By severity: the colour of bars and of the stripe, which holds in both modes, and that of words on white.
_TONES = {
    "critical": ("#dc2626", "#b91c1c"),
    "warning": ("#d97706", "#a34a06"),
    "info": ("#2563eb", "#1d4ed8"),
    "resolved": ("#16a34a", "#15803d"),
}
_FONT = "-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_TABLE = 'role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"'
_STYLE = """\
:root{color-scheme:light dark;supported-color-schemes:light dark}
@media (prefers-color-scheme:dark){
.page{background-color:#0b0f16!important}
.card{background-color:#161b24!important}
.text{color:#e6e9ef!important}
.soft{color:#a3adbd!important}
.line{border-color:#2d3542!important}
.rest{background-color:#384252!important}
.critical{color:#ff8f8f!important}
.warning{color:#ffbd5c!important}
.info{color:#8ab4ff!important}
.resolved{color:#6ee79a!important}
}
@media (max-width:480px){
.side{padding-left:18px!important;padding-right:18px!important}
.outer{padding:0!important}
.card{border-radius:0!important}
.figure{font-size:28px!important}
.bar{width:64px!important}
.gap{padding-left:8px!important}
}"""


def _page(message: Message, subject: str, preheader: str, now: datetime, picture: Picture | None) -> str:
    first, several = message.notices[0], len(message.notices) > 1
    tone = _tone_of_all(message)
    rows = _batch(message, now) if several else _single(message, first, now, picture)
    inside = "\n".join(rows)
    return f"""\
<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">
<meta name="format-detection" content="telephone=no,date=no,address=no,email=no,url=no">
<title>{for_html(subject)}</title>
<style>
{_STYLE}
</style></head>
<body class="page" style="margin:0;padding:0;background-color:#f2f4f7;-webkit-text-size-adjust:100%">
<div style="display:none;max-height:0;overflow:hidden;mso-hide:all">{for_html(preheader)}</div>
<table {_TABLE} class="page" style="background-color:#f2f4f7"><tr><td align="center" class="outer" \
style="padding:24px 12px">
<!--[if mso]><table role="presentation" width="600" align="center"><tr><td><![endif]-->
<table {_TABLE} class="card" style="max-width:600px;width:100%;background-color:#ffffff;border-radius:10px;\
border-top:5px solid {_TONES[tone][0]};font-family:{_FONT};font-size:15px;line-height:1.5">
{inside}
</table>
<!--[if mso]></td></tr></table><![endif]-->
</td></tr></table>
</body></html>
"""


def _single(message: Message, notice: Notice, now: datetime, picture: Picture | None) -> list[str]:
    facts = notice.facts
    if facts.digest is not None:
        ids = f"Digest {name(facts.digest.id)} · alert {message.id}. Sent {wording.instant(now)}."
        head = _heading("Look back at spend", message.title, _tone(notice))
        notes = [_paragraph(message.because), _paragraph(late_note(notice, now), strong=True)]
        return [head, *filter(None, notes), *digest_mail.rows(facts.digest, notice), _button(), _foot([ids])]
    rows = [_head(message, notice), _paragraph(message.because), _paragraph(late_note(notice, now), strong=True)]
    rows += [_figure(notice), _paragraph(_sentences(notice)), _paragraph(trend.foreseen(facts))]
    rows += [_paragraph(sentence) for sentence in trend.changed(facts)]
    rows += [_comparison(notice), _row_of(inline.image(picture, message.id) if picture else ""), _details(facts)]
    if picture is None or not picture.shows_days:
        rows.append(_row_of(daily.bars(facts.history, _TONES[_tone(notice)][0])))
    rows += [_contributors(facts)]
    silence = wording.how_to_silence(notice) if can_be_silenced(notice) else ()
    ids = f"Incident {notice.incident} · alert {message.id}"
    times = f"Decided {wording.instant(notice.created_at)}, sent {wording.instant(now)}."
    rows += [_paragraph(wording.data_line([facts]), soft=True), _button(), _status_page(message)]
    rows += [_foot([*silence, f"{ids}. {times}"])]
    return [row for row in rows if row]


def _sentences(notice: Notice) -> str:
    """The lead without its severity, which stands above, and why it is said."""
    lead = wording.lead(notice).removeprefix(f"{wording.severity_word(notice)}: ")
    return f"{lead[:1].upper()}{lead[1:]} {wording.why(notice)}".strip()


def _row(inside: str, padding: str) -> str:
    return f'<tr><td class="side" style="padding:{padding}">{inside}</td></tr>'


def _row_of(inside: str) -> str:
    return _row(inside, "20px 28px 0") if inside else ""


def _head(message: Message, notice: Notice) -> str:
    rule = f" · rule {name(notice.facts.rule)}" if notice.facts.amount is not None else ""
    return _heading(f"{wording.severity_word(notice)}{rule}", message.title, _tone(notice))


def _heading(kicker: str, title: str, tone: str) -> str:
    return _row(
        f'<div class="{tone}" style="color:{_TONES[tone][1]};font-size:14px;font-weight:600">{for_html(kicker)}</div>'
        f'<h1 class="text" style="margin:4px 0 0;color:#111827;font-size:20px;line-height:1.35;font-weight:700;'
        f'word-break:break-word">{for_html(title)}</h1>',
        "22px 28px 0",
    )


def _tone(notice: Notice) -> str:
    return "resolved" if notice.kind is Kind.RESOLVE else notice.severity.value


def _tone_of_all(message: Message) -> str:
    return "resolved" if message.kind is Kind.RESOLVE else message.severity.value


def _paragraph(text: str, *, soft: bool = False, strong: bool = False) -> str:
    if not text:
        return ""
    colour, size = ("#566070", "13px") if soft else ("#111827", "15px")
    weight = "font-weight:600;" if strong else ""
    style = f"margin:0;color:{colour};font-size:{size};{weight}word-break:break-word"
    return _row(f'<p class="{"soft" if soft else "text"}" style="{style}">{for_html(text)}</p>', "14px 28px 0")


def _figure(notice: Notice) -> str:
    """The amount in large, of how much, and the bar."""
    facts = notice.facts
    if facts.amount is None:
        return ""
    amount = f"{wording.at_least(facts)}{money.dollars(facts.amount)}{' an hour' if wording.is_rate(facts) else ''}"
    line = (
        f'<span class="text figure" style="color:#111827;font-size:34px;line-height:1.2;font-weight:700;'
        f'white-space:nowrap">{for_html(amount)}</span>'
        f' <span class="soft" style="color:#566070;font-size:15px">{for_html(_of(facts))}</span>'
    )
    bar = _bar(_parts(facts), 14, _TONES[_tone(notice)][0])
    return _row(line + (f'<div style="height:10px;line-height:10px">&nbsp;</div>{bar}' if bar else ""), "14px 28px 0")


def _of(facts: Facts) -> str:
    if facts.limit is None or facts.limit <= 0:
        return "spent"
    if facts.comparison is not None:
        return wording.times_baseline(facts)
    return f"of {money.dollars(facts.limit)} · {_share_of_limit(facts)}"


def _share_of_limit(facts: Facts) -> str:
    return money.share(facts.amount, facts.limit) if facts.amount is not None and facts.limit else ""


_FILLED, _OVER, _REST = "filled", "over", "rest"


def _parts(facts: Facts) -> list[tuple[int, str]]:
    """The bar as (percent of its width, what it is); of what is over the limit, the end shows how much."""
    if facts.amount is None or facts.limit is None or facts.limit <= 0 or facts.comparison is not None:
        return []
    if facts.amount <= facts.limit:
        filled = _percent(facts.amount, facts.limit)
        return [(filled, _FILLED), (100 - filled, _REST)]
    within = _percent(facts.limit, facts.amount)
    return [(within, _FILLED), (100 - within, _OVER)]


def _percent(amount: Decimal, whole: Decimal) -> int:
    """A whole number from 0 to 100, at least 1 for anything that is not nothing and at most 99 for less than all."""
    if amount <= 0 or whole <= 0:
        return 0
    if amount >= whole:
        return 100
    return min(99, max(1, int(money.quotient(amount, whole) * 100)))


def _bar(parts: Sequence[tuple[int, str]], height: int, colour: str) -> str:
    if not parts:
        return ""
    colours = {_FILLED: colour, _OVER: "#7f1d1d", _REST: "#e3e7ed"}
    cells = "".join(
        f'<td class="{what}" width="{percent}%" bgcolor="{colours[what]}" style="width:{percent}%;height:{height}px;'
        f'background-color:{colours[what]};font-size:0;line-height:{height}px">&nbsp;</td>'
        for percent, what in parts
        if percent
    )
    return f'<table {_TABLE} style="table-layout:fixed"><tr>{cells}</tr></table>'


def _comparison(notice: Notice) -> str:
    """A spike beside what it is measured against, as two bars of one scale."""
    facts = notice.facts
    if facts.comparison is None or facts.amount is None:
        return ""
    now, before = facts.amount, facts.comparison.baseline
    whole = max(now, before, Decimal("0.01"))
    period = facts.period.name if facts.period is not None else "now"
    rows = [(period, now, _TONES[_tone(notice)][0]), (name(facts.comparison.against), before, "#64748b")]
    lines = "".join(_measured(label, "", amount, whole, colour) for label, amount, colour in rows)
    return _row(f'<table {_TABLE} style="font-size:14px">{lines}</table>', "14px 28px 0")


def _measured(label: str, detail: str, amount: Decimal, whole: Decimal, colour: str, share: str = "") -> str:
    """A row: what, its bar, how much."""
    percent = _percent(amount, whole)
    under = f'<br><span class="soft" style="color:#566070">{for_html(detail)}</span>' if detail else ""
    beside = f'<br><span class="soft" style="color:#566070">{for_html(share)}</span>' if share else ""
    line = "border-top:1px solid #e3e7ed"
    return (
        f'<tr><td class="text line" style="padding:7px 0;{line};color:#111827;word-break:break-word">'
        f"{for_html(label)}{under}</td>"
        f'<td class="line gap bar" width="150" style="padding:7px 0 7px 12px;{line};width:150px">'
        f"{_bar([(percent, _FILLED), (100 - percent, _REST)], 8, colour)}</td>"
        f'<td class="text line gap" align="right" style="padding:7px 0 7px 12px;{line};color:#111827;'
        f'white-space:nowrap">{for_html(money.dollars(amount))}{beside}</td></tr>\n'
    )


def _details(facts: Facts) -> str:
    """What the money is about, as label and text."""
    if facts.amount is None:
        return ""
    lines = "".join(
        f'<tr><td class="soft" valign="top" style="padding:2px 14px 2px 0;color:#566070;white-space:nowrap">{label}'
        f'</td><td class="text" width="100%" style="padding:2px 0;color:#111827;word-break:break-word">'
        f"{for_html(text)}</td></tr>\n"
        for label, text in (*_pace(facts), *_period(facts))
    )
    return _row(f'<table {_TABLE} style="font-size:14px">{lines}</table>', "14px 28px 0") if lines else ""


def _pace(facts: Facts) -> Iterator[tuple[str, str]]:
    if facts.limit is None or facts.amount is None:
        return
    if facts.comparison is not None:
        yield "Limit", f"told from {money.dollars(facts.limit)} on"
    if facts.pace is not None and facts.amount >= facts.limit:
        yield "Since", wording.instant(facts.pace.since)
        yield "By midnight", f"{money.dollars(facts.pace.by_midnight)} for the day, if it goes on"
        yield "By month end", f"{money.dollars(facts.pace.by_month_end)} for the month, if it goes on"


def _period(facts: Facts) -> Iterator[tuple[str, str]]:
    if facts.period is not None:
        yield "Period", f"{facts.period.name} ({'UTC' if facts.period.is_part_of_a_day else 'UTC days'})"
    if facts.organisation:
        yield "Account", name(facts.organisation)


def _drivers(facts: Facts) -> list[tuple[str, str, str, str]]:
    return [driver(part.model, part.token_type, part.amount, facts) for part in facts.contributors[:MOST_CONTRIBUTORS]]


def _contributors(facts: Facts) -> str:
    if facts.amount is None or not facts.contributors:
        return ""
    amounts = [part.amount for part in facts.contributors[:MOST_CONTRIBUTORS]]
    drivers = zip(_drivers(facts), amounts, strict=True)
    lines = [
        _measured(model, tokens, amount, facts.amount, "#2563eb", share)
        for (model, tokens, _, share), amount in drivers
    ]
    rest = money.subtract(facts.amount, money.total(amounts))
    if money.cents_text(rest) not in ("0.00", "-0.00"):
        share = money.share(rest, facts.amount)
        lines.append(_measured("everything else", "", rest, facts.amount, "#64748b", share))
    title = "Where it goes, dollars an hour" if wording.is_rate(facts) else "Where it went"
    heading = f'<h2 class="text" style="margin:0 0 6px;color:#111827;font-size:15px">{title}</h2>'
    return _row(f'{heading}<table {_TABLE} style="font-size:14px">{"".join(lines)}</table>', "20px 28px 0")


def _button() -> str:
    # The colours hold in both modes; a link in words follows for those who see no button.
    return _row(
        f'<a href="{COST_REPORT}" style="display:inline-block;padding:11px 18px;border-radius:6px;'
        f'background-color:#1d4ed8;color:#ffffff;font-size:15px;font-weight:600;text-decoration:none">'
        f'<span style="color:#ffffff">Open the cost report</span></a>',
        "18px 28px 0",
    )


def _status_page(message: Message) -> str:
    if not message.status_page:
        return ""
    link = (
        f'<a href="{for_html(message.status_page)}" class="info" style="color:#1d4ed8">'
        f"{for_html(message.status_page)}</a>"
    )
    style = "margin:0;color:#566070;font-size:13px;word-break:break-all"
    return _row(f'<p class="soft" style="{style}">Status page: {link}</p>', "12px 28px 0")


def _foot(lines: Sequence[str]) -> str:
    texts = "".join(f'<p style="margin:0 0 6px">{for_html(line)}</p>' for line in lines if line)
    return (
        f'<tr><td class="side soft" style="padding:18px 28px 20px;color:#566070;font-size:12px;line-height:1.5;'
        f'word-break:break-word">{texts}</td></tr>'
    )


# --- several notices ---------------------------------------------------------------------------


def _batch(message: Message, now: datetime) -> list[str]:
    notices = message.notices
    oldest = min(notices, key=lambda notice: notice.created_at)
    reasons = {notice.reason for notice in notices}
    same = wording.why(notices[0]) if len(reasons) == 1 and Reason.STEP_REACHED not in reasons else ""
    lines = "".join(_listed(notice, now) for notice in notices[:MOST_LINES])
    left_out = len(notices) - MOST_LINES
    more = f"and {left_out:,} more; budgetd alerts lists them all." if left_out > 0 else ""
    tone = _tone_of_all(message)
    word = "Resolved" if tone == "resolved" else message.severity.value.capitalize()
    rows = [
        _heading(f"{word} · {len(notices):,} alerts", message.title, tone),
        _paragraph(message.because),
        _paragraph(late_note(oldest, now), strong=True),
        _paragraph(same),
        _row(f'<table {_TABLE} style="font-size:14px">{lines}</table>', "16px 28px 0"),
        _paragraph(more),
        _paragraph(wording.data_line(notice.facts for notice in notices), soft=True),
        _button(),
        _status_page(message),
        _foot([f"Alert {message.id}. Sent {wording.instant(now)}."]),
    ]
    return [row for row in rows if row]


def _listed(notice: Notice, now: datetime) -> str:
    """An alert among others: how bad, what, and its bar."""
    tone, facts = _tone(notice), notice.facts
    bar = _bar(_parts(facts), 6, _TONES[tone][0])
    below = f'<div style="height:5px;line-height:5px">&nbsp;</div>{bar}' if bar else ""
    return (
        f'<tr><td class="line" style="padding:10px 0;border-top:1px solid #e3e7ed;word-break:break-word">'
        f'<span class="{tone}" style="color:{_TONES[tone][1]};font-weight:600">'
        f"{for_html(wording.severity_word(notice))}</span> "
        f'<span class="text" style="color:#111827">{for_html(wording.listed(notice, now))}</span>{below}</td></tr>\n'
    )
