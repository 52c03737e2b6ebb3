"""A digest in words: its sections as lines of text, and the phrases that every face of it uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from budgetd import money, wording
from budgetd.escaping import name, shorten
from budgetd.model import Basis
from budgetd.summary import Digest, Movers, Post, Standing, Story

# A bar for each day up to so many of them; one line for more.
MOST_DAYS = 7
NAME_LIMIT = 32
TITLE_LIMIT = 130
TROUBLE_LIMIT = 120
MOST_MISSING = 4
_BAR = 16
_SPARKS = "▁▂▃▄▅▆▇█"
_DIMENSIONS = {"workspace": "Workspaces", "model": "Models"}

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under a heading. `right`: the columns with figures. Rows of one cell are sentences."""

    heading: str
    rows: tuple[Row, ...]
    right: tuple[int, ...] = ()


def sections(digest: Digest) -> list[Section]:
    """All that the digest says after its first sentences; what has nothing to say is left out."""
    made = [
        Section("", (*_figures(digest), *_trend(digest))),
        _day_section(digest),
        *(_moved(movers) for movers in digest.movers),
        _limit_section(digest),
        _alert_section(digest),
        _channel_section(digest),
    ]
    return [section for section in made if section.rows]


def opening(digest: Digest) -> str:
    """What kind of message it is, and what it lacks."""
    kind = {"day": "Daily", "month": "Monthly"}.get(digest.every, "Weekly")
    return " ".join(part for part in (f"{kind} digest, due {digest.due}.", missing(digest)) if part)


def missing(digest: Digest) -> str:
    """Which days' figures are not there, and what that means; empty when all are."""
    lacking, before = digest.spent.missing, digest.before.missing
    said = []
    if lacking:
        said.append(f"No whole figures for {_days(lacking)}: it was more than what stands here, or as much.")
    if before:
        said.append(f"Of the {_length(digest)} before, {_days(before)} {_is(before)} not known whole.")
    if lacking or before:
        said.append("So nothing is compared.")
    return " ".join(said)


def preheader(digest: Digest) -> str:
    """What a list of mails shows beside the title: what is missing, or who moved most."""
    moves = [move for movers in digest.movers[:1] for move in (*movers.up[:1], *movers.down[:1])]
    moved = ", ".join(f"{name(move.name, NAME_LIMIT)} {change(move.amount, move.before)}" for move in moves)
    return missing(digest) or (f"Moved most: {moved}." if moved else opening(digest))


def change(amount: Decimal, before: Decimal) -> str:
    """`+$1,352.55 (+12.3%)`: the difference, and its share of what was before; `new` where there was nothing."""
    difference = money.subtract(amount, before)
    text = money.dollars(difference) if difference < 0 else f"+{money.dollars(difference)}"
    if before <= 0:
        return f"{text} (new)" if difference > 0 else text
    sign = "-" if difference < 0 else "+"
    share = money.share(abs(difference), before)
    return text if share == "0%" else f"{text} ({sign}{share})"


def days_of(digest: Digest) -> list[tuple[str, Decimal | None]]:
    """Each day and its dollars: `Mon 16 Nov`."""
    return [(f"{day:%a} {day.day} {day:%b}", amount) for day, amount in digest.days]


def sparkline(amounts: Sequence[Decimal | None]) -> str:
    """One character for each amount, from none to the largest; `·` where nothing is known."""
    most = max((amount for amount in amounts if amount is not None), default=money.ZERO)
    return "".join("·" if amount is None else _spark(amount, most) for amount in amounts)


def _spark(amount: Decimal, most: Decimal) -> str:
    if amount <= 0 or most <= 0:
        return _SPARKS[0]
    return _SPARKS[int(money.whole_times(money.times(amount, Decimal(len(_SPARKS) - 1)), most))]


def heading_of(movers: Movers) -> str:
    """`Workspaces that moved most`."""
    return f"{_DIMENSIONS.get(movers.dimension, movers.dimension)} that moved most"


def standing_name(standing: Standing, limit: int = NAME_LIMIT) -> str:
    """Whom the limit is for: the scope, or the rule where it is for all that the rule matches."""
    return name(standing.subject or standing.rule, limit)


def standing_used(standing: Standing) -> str:
    """`78.2%`; with `at least` where days are missing."""
    least = "" if standing.complete else "at least "
    return least + (money.share(standing.amount, standing.limit) if standing.limit > 0 else "over")


def standing_figures(standing: Standing) -> str:
    """`$6,256.00 of $8,000, November 2026; forecast $9,120.00`."""
    text = f"{money.dollars(standing.amount)} of {money.round_dollars(standing.limit)}, {standing.period.name}"
    return text if standing.forecast is None else f"{text}; forecast {money.dollars(standing.forecast)}"


def story_line(story: Story) -> str:
    """`Tue 17 Nov 14:05, critical: Research has used ...; ended Wed 18 Nov 09:00, restated`."""
    end = "" if story.once else "; still open"
    if story.ended is not None:
        end = f"; ended {_when(story.ended)}, {name(story.end, 40)}"
    return f"{_when(story.at)}, {story.severity}: {shorten(story.title, TITLE_LIMIT)}{end}"


def more_stories(digest: Digest) -> str:
    """How many alerts are not listed; empty when all are."""
    return f"and {digest.more_stories:,} more; budgetd alerts lists them all." if digest.more_stories else ""


def more_standings(digest: Digest) -> str:
    """How many limits are not listed; empty when all are."""
    return f"and {digest.more_standings:,} more, less used; budgetd status lists them." if digest.more_standings else ""


def posts(digest: Digest) -> list[str]:
    """How the channels did: a sentence for all that are well, one for each that is not."""
    ill = [post for post in digest.posts if _is_ill(post)]
    well = [post for post in digest.posts if not _is_ill(post)]
    count = sum(post.delivered for post in well)
    sentences = [_post(post) for post in ill]
    if well:
        names = ", ".join(name(post.channel) for post in well[:6]) + (
            f" and {len(well) - 6} more" if len(well) > 6 else ""
        )
        sentences.append(f"{names}: well, {count:,} message{'' if count == 1 else 's'} delivered.")
    return sentences


def data_line(digest: Digest, through: str) -> str:
    """Through when the figures are, what they rest on and what they lack. `through`: an instant in words."""
    if not digest.basis:
        return "Nothing is known of the days before that."
    lacking = wording.not_included([Basis.BILLED if digest.basis == Basis.BILLED.value else Basis.MIXED])
    return f"Data through {through}, {digest.basis}. {lacking}."


# --- sections ----------------------------------------------------------------------------------


def _figures(digest: Digest) -> list[Row]:
    least = "at least " if digest.spent.missing else ""
    return [
        ("Spent", f"{least}{money.dollars(digest.spent.amount)}", f"{digest.spent.period.name} (UTC days)"),
        ("Before", money.dollars(digest.before.amount), digest.before.period.name),
    ]


def _trend(digest: Digest) -> list[Row]:
    if digest.spent.missing or digest.before.missing:
        return []
    return [("Change", change(digest.spent.amount, digest.before.amount), "")]


def _day_section(digest: Digest) -> Section:
    if len(digest.days) < 2:
        return Section("", ())
    amounts = [amount for _, amount in digest.days]
    if len(digest.days) > MOST_DAYS:
        most = max((amount for amount in amounts if amount is not None), default=money.ZERO)
        return Section("", (("Days", sparkline(amounts), f"up to {money.dollars(most)}"),))
    most = max((amount for amount in amounts if amount is not None), default=money.ZERO)
    rows = tuple(
        (day, "not known" if amount is None else money.dollars(amount), _bar(amount, most))
        for day, amount in days_of(digest)
    )
    return Section("Day by day", rows, (1,))


def _bar(amount: Decimal | None, most: Decimal) -> str:
    if amount is None or amount <= 0 or most <= 0:
        return ""
    return "█" * max(1, int(money.whole_times(money.times(amount, Decimal(_BAR)), most)))


def _moved(movers: Movers) -> Section:
    rows = tuple(
        (name(move.name, NAME_LIMIT), money.dollars(move.amount), change(move.amount, move.before))
        for move in (*movers.up, *reversed(movers.down))
    )
    return Section(heading_of(movers), rows, (1,))


def _limit_section(digest: Digest) -> Section:
    rows = [(standing_name(each), standing_used(each), standing_figures(each)) for each in digest.standings]
    return Section("Limits, so far", (*rows, *_sentences(more_standings(digest))), (1,))


def _alert_section(digest: Digest) -> Section:
    lines = [story_line(story) for story in digest.stories] or [f"No alert in this {_length(digest)}."]
    return Section("Alerts (UTC)", tuple(_sentences(*lines, more_stories(digest))))


def _channel_section(digest: Digest) -> Section:
    return Section("Channels", tuple(_sentences(*posts(digest))))


def _sentences(*lines: str) -> Iterable[Row]:
    return ((line,) for line in lines if line)


# --- phrases -----------------------------------------------------------------------------------


def _is_ill(post: Post) -> bool:
    return bool(post.trouble or post.given_up or post.pending)


def _post(post: Post) -> str:
    parts = [f"{post.delivered:,} delivered"]
    parts += [f"{post.failed:,} attempts failed"] * bool(post.failed)
    parts += [f"{post.pending:,} waiting"] * bool(post.pending)
    parts += [f"{post.given_up:,} given up"] * bool(post.given_up)
    trouble = f" It fails at present: {name(post.trouble, TROUBLE_LIMIT)}" if post.trouble else ""
    return f"{name(post.channel)}: {', '.join(parts)}.{trouble}"


def _days(days: Sequence[date]) -> str:
    listed = [f"{day:%a} {day.day} {day:%b}" for day in days[:MOST_MISSING]]
    if len(days) > MOST_MISSING:
        listed.append(f"{len(days) - MOST_MISSING} more days")
    return " and ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else listed[0]


def _is(days: Sequence[date]) -> str:
    return "is" if len(days) == 1 else "are"


def _length(digest: Digest) -> str:
    return digest.every if digest.every in ("day", "month") else "week"


def _when(at: date) -> str:
    return f"{at:%a} {at.day} {at:%b %H:%M}"
