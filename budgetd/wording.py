"""The words of a notice: its title, its first sentence and why it is said, for each reason."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from budgetd import money, trend
from budgetd.escaping import for_text, name, shorten
from budgetd.model import DEFAULT_WORKSPACE, Basis, Facts, Kind, Label, Notice, Reason
from budgetd.period import day_before
from budgetd.routing import present_name, retired_at
from budgetd.summary import Digest

TITLE_LIMIT = 200
NAME_LIMIT = 60
LATE_AFTER = timedelta(minutes=30)
SAME_DAY_SOURCE = "usage_report"
_DAYS_MISSING = "Some days are missing, so the true figure may be higher."
_NOT_BILLED = "Priority Tier, credits and taxes are not included"
_NOT_ESTIMATED = "code execution and sessions come with the bill"
# Not a source of money; that it can be trusted is watched in the same way.
CLOCK = "clock"

_OPENING = {
    Reason.REMINDER: "Still so: ",
    Reason.ACKNOWLEDGED: "Acknowledged: ",
    Reason.BASELINE: "From before budgetd watched: ",
    Reason.LATE: "Late report: ",
    Reason.LIMIT_LOWERED: "Limit lowered: ",
    Reason.SLOWED_DOWN: "Slowed down: ",
    Reason.PERIOD_OVER: "Ended: ",
    Reason.LIMIT_RAISED: "Resolved, limit raised: ",
    Reason.RULE_REMOVED: "Resolved, rule removed: ",
    Reason.WORKSPACE_ARCHIVED: "Resolved, workspace archived: ",
    Reason.BY_HAND: "Resolved by hand: ",
}
_WHY = {
    Reason.BASELINE: "It was so when budgetd began to watch this limit; it is told once, and nobody is paged.",
    Reason.LATE: "This period closed before budgetd saw it: it was down, or the figures came late.",
    Reason.LIMIT_LOWERED: "The limit in the rules file was lowered below what is already spent.",
    Reason.RESTATED: "Two complete readings in a row were lower: the figures were restated at the source.",
    Reason.SLOWED_DOWN: "It stayed below its limit for two windows in a row, in two readings.",
    Reason.PERIOD_OVER: "The period is over; the limit starts again from zero.",
    Reason.LIMIT_RAISED: "The limit in the rules file was raised.",
    Reason.RULE_REMOVED: "The rule is no longer in the rules file, so nothing is watched for it any more.",
    Reason.WORKSPACE_ARCHIVED: "The workspace was archived.",
    Reason.BY_HAND: "It speaks again at its next step.",
    Reason.ACKNOWLEDGED: "No reminders of what is known; the next step is told again.",
    Reason.REMINDER: "You were told before; nobody has acknowledged it, and it has moved since.",
    Reason.BLIND: "No alert is resolved and none can be raised until the figures are back. Blind does not mean zero.",
    Reason.REFUSED: "Nothing is watched until the key works again. A running budgetd reads a new key by itself.",
    Reason.RECOVERED: "The figures are back; what happened meanwhile is evaluated now.",
    Reason.UNDELIVERABLE: "You are told here so that it is not lost; budgetd alerts shows what it was.",
    Reason.RELOAD_FAILED: "The rules from before are still in force. budgetd check shows every mistake.",
    Reason.STATE_RESTORED: "What was sent since that copy was made may be sent once more, with the same ids.",
    Reason.STATE_IN_MEMORY: "Alerts go on, each told once; a restart before it can be written may repeat some of them.",
    Reason.STATE_WRITTEN_AGAIN: "All that happened meanwhile is written; nothing was lost.",
    Reason.DRIFT: "Until then that day's figures were estimates from tokens and learned prices.",
    Reason.UNPRICED: "Spend on them is not watched before the bill. An estimate is never $0 for want of a price.",
    Reason.CONTRACT_DRIFT: "It counts in every total, but rules may not find it by name. A newer budgetd may know it.",
    Reason.TEMPLATE_FAILED: "The alert went out in budgetd's own words. budgetd check tries templates on samples.",
    Reason.CHANNEL_MOVED: "Close them there by hand. A reload instead of a restart lets budgetd end them itself.",
    Reason.DIGEST: "It looks back at spend, as the rules file asks; nothing has to be done.",
    Reason.TEST: "Nothing is wrong: somebody asked for a test message.",
}
_WITHOUT_ESTIMATES = "Until it is read again alerts wait for the bill, and none is resolved for want of estimates."
_WITHOUT_THE_BILL = (
    "Limits are still watched, by estimates; until the bill is read again it confirms and corrects none of them."
)
_CLOCK_IS_OFF = "Days and periods begin and end by this clock, so alerts may come early or late. Set it, best by NTP."
_CLOCK_AGREES = "It agrees with the API's again."
# The period is over.
_PAST = frozenset([Reason.PERIOD_OVER, Reason.LATE, Reason.SLOWED_DOWN])
# These have no figures: they are about budgetd itself.
_BUDGETD_TITLES = {
    Reason.REFUSED: "budgetd's admin key was refused: spend is not being watched",
    Reason.RECOVERED: "budgetd sees spend again",
    Reason.UNDELIVERABLE: "An alert could not be delivered",
    Reason.RELOAD_FAILED: "The new rules file was refused: the old rules stay in force",
    Reason.STATE_RESTORED: "budgetd's state was damaged and had to be restored",
    Reason.STATE_IN_MEMORY: "budgetd's state cannot be written and is kept in memory",
    Reason.STATE_WRITTEN_AGAIN: "budgetd's state is written to its file again",
    Reason.DRIFT: "A day's bill is far from its estimate",
    Reason.UNPRICED: "Some tokens have no known price",
    Reason.CONTRACT_DRIFT: "The API's answers are not quite what budgetd knows",
    Reason.TEST: "Test message from budgetd",
    Reason.DIGEST: "A look back at spend",
    Reason.TEMPLATE_FAILED: "A template of the rules file does not work",
    Reason.CHANNEL_MOVED: "Alerts may stay open at an old address",
}
ABOUT_BUDGETD = frozenset([Reason.BLIND, *_BUDGETD_TITLES])


def title(notice: Notice, name_limit: int = NAME_LIMIT) -> str:
    """One line of at most 200 characters: what, how much, of what."""
    facts = notice.facts
    if notice.reason in (Reason.BLIND, Reason.RECOVERED) and _is_of(facts, CLOCK):
        text = _clock_title(notice)
    elif notice.reason is Reason.BLIND:
        since = f" since {instant(facts.data_through)}" if facts.data_through else ""
        text = f"budgetd cannot {_unseen(facts)}{since}"
    elif facts.digest is not None:
        text = _digest_title(facts.digest)
    elif notice.reason in _BUDGETD_TITLES:
        text = _BUDGETD_TITLES[notice.reason]
    else:
        text = _opening(notice) + standing(facts, notice.reason, name_limit) + trend.on_course(facts)
    return shorten(text, TITLE_LIMIT)


def _unseen(facts: Facts) -> str:
    """What a blind source leaves undone, by whether another one still tells of spend."""
    if not facts.seen_besides:
        return "see spend"
    return "see same-day spend" if _is_of(facts, SAME_DAY_SOURCE) else "read the bill"


def _is_of(facts: Facts, source: str) -> bool:
    """Whether it is that source that is blind."""
    return any(label.id == source for label in facts.scope)


def _digest_title(digest: Digest) -> str:
    """`16-22 Nov 2026: $12,345.67 spent, 12.3% more than the week before`."""
    spent, before = digest.spent, digest.before
    text = f"{spent.period.name}: {'at least ' if spent.missing else ''}{_dollars(spent.amount)} spent"
    if spent.missing or before.missing or before.amount <= 0:
        return text
    more = money.subtract(spent.amount, before.amount)
    length = digest.every if digest.every in ("day", "month") else "week"
    share = money.share(abs(more), before.amount)
    if share == "0%":
        return f"{text}, as much as the {length} before"
    return f"{text}, {share} {'more' if more > 0 else 'less'} than the {length} before"


def _clock_title(notice: Notice) -> str:
    if notice.reason is Reason.RECOVERED:
        return "budgetd trusts this machine's clock again"
    how = for_paragraph(notice.facts.text).replace("this machine's clock", "it", 1)
    return f"budgetd cannot trust this machine's clock: {how}"


def _opening(notice: Notice) -> str:
    if notice.reason is Reason.RESTATED:
        return "Resolved, figures corrected: " if notice.kind is Kind.RESOLVE else "Figures corrected: "
    opening = _OPENING.get(notice.reason, "")
    return opening or ("Resolved: " if notice.kind is Kind.RESOLVE else "")


def standing(facts: Facts, reason: Reason = Reason.STEP_REACHED, name_limit: int = NAME_LIMIT) -> str:
    """Where the spend stands: `Research has used 80.2% of its November 2026 budget ($4,012.37 of $5,000)`."""
    who = subject(facts, name_limit)
    if facts.amount is None:
        return f"{who}, {_budget(facts)}"
    if is_rate(facts):
        return f"{who} {_speed(facts, facts.amount, reason)}"
    if facts.comparison is not None:
        return f"{who} spent {at_least(facts)}{_dollars(facts.amount)}{_on(facts)}, {times_baseline(facts)}"
    if facts.limit is None or facts.limit <= 0:
        return f"{who} spent {at_least(facts)}{_dollars(facts.amount)}{_on(facts)}"
    figures = f"({_dollars(facts.amount)} of {money.round_dollars(facts.limit)})"
    used = f"{at_least(facts)}{money.share(facts.amount, facts.limit)}"
    if reason in _PAST:
        return f"{who} used {used} of its {_budget(facts)} {figures}"
    if facts.amount > facts.limit:
        return f"{who} is over its {_budget(facts)}: {used} used {figures}"
    return f"{who} has used {used} of its {_budget(facts)} {figures}"


def headline(notice: Notice, name_limit: int = NAME_LIMIT) -> str:
    """The title without the dollars, for a face that shows them right below it."""
    facts = notice.facts
    if notice.reason in ABOUT_BUDGETD or facts.amount is None or facts.limit is None:
        return title(notice, name_limit)
    return shorten(_opening(notice) + _gist(facts, facts.amount, facts.limit, notice.reason, name_limit), TITLE_LIMIT)


def _gist(facts: Facts, amount: Decimal, limit: Decimal, reason: Reason, name_limit: int) -> str:
    who = subject(facts, name_limit)
    if is_rate(facts):
        slow = reason is Reason.SLOWED_DOWN
        return f"{who} is below its limit again" if slow else f"{who} is spending {_dollars(amount)} an hour"
    if facts.comparison is not None and facts.comparison.baseline > 0:
        against = name(facts.comparison.against)
        return f"{who} spent {at_least(facts)}{tenfold(amount, facts.comparison.baseline)} {against}"
    if facts.comparison is not None or limit <= 0:
        return standing(facts, reason, name_limit)
    used = f"{at_least(facts)}{money.share(amount, limit)}"
    if amount > limit and reason not in _PAST:
        return f"{who} is over its {_budget(facts)}: {used}"
    return f"{who} {'used' if reason in _PAST else 'has used'} {used} of its {_budget(facts)}"


def is_rate(facts: Facts) -> bool:
    """Whether the amount is in dollars an hour, over a part of a day."""
    return facts.amount is not None and facts.period is not None and facts.period.is_part_of_a_day


def _speed(facts: Facts, amount: Decimal, reason: Reason) -> str:
    """`is spending $412.50 an hour since 14:05 UTC, 2.7x its limit of $150`."""
    limit = facts.limit if facts.limit is not None else money.ZERO
    if reason is Reason.SLOWED_DOWN:
        return f"is below its limit of {money.round_dollars(limit)} an hour again"
    since = f" since {facts.pace.since:%H:%M} UTC" if facts.pace is not None and amount >= limit else ""
    ratio = tenfold(amount, limit) if amount >= limit * 2 > 0 else f"{money.share(amount, limit)} of"
    return f"is spending {_dollars(amount)} an hour{since}, {ratio} its limit of {money.round_dollars(limit)}"


def _going_on(facts: Facts) -> str:
    """What a rate comes to, when nothing changes."""
    if facts.pace is None or facts.period is None:
        return ""
    today, month = _dollars(facts.pace.by_midnight), _dollars(facts.pace.by_month_end)
    return f"if it goes on, it costs {today} today and {month} in {day_before(facts.period.end):%B} (UTC)."


def lead(notice: Notice) -> str:
    """The first sentence of a body: how bad, and the money that matters now."""
    sentence = _money_left(notice.facts, "was" if notice.reason in _PAST else "is")
    return f"{severity_word(notice)}: {sentence}" if sentence else ""


def severity_word(notice: Notice) -> str:
    """`Critical`, `Warning`, `Info`; `Resolved` for a resolve, `Acknowledged` when somebody has it."""
    words = {Kind.RESOLVE: "Resolved", Kind.ACKNOWLEDGE: "Acknowledged"}
    return words.get(notice.kind, notice.severity.value.capitalize())


def _money_left(facts: Facts, tense: str) -> str:
    if facts.amount is None or facts.limit is None:
        text = for_paragraph(facts.text)
        return text if text[-1:] in (".", "!", "?", "") else f"{text}."
    if is_rate(facts):
        return _going_on(facts) if tense == "is" else ""
    if facts.comparison is not None:
        more = money.subtract(facts.amount, facts.comparison.baseline)
        return f"{_dollars(more)} more than {name(facts.comparison.against)}."
    difference = money.subtract(facts.limit, facts.amount)
    of = f"the {_dollars(facts.limit)}{_for(facts)}"
    if difference > 0:
        return f"{_dollars(difference)} of {of} {tense} left."
    return f"all of {of} {tense} spent." if difference == 0 else f"{_dollars(-difference)} over {of}."


def why(notice: Notice) -> str:
    """Why it is said, in one or two sentences; empty when the figures say it all."""
    if notice.reason is Reason.STEP_REACHED:
        return _step_sentence(notice.facts)
    if notice.reason in (Reason.BLIND, Reason.RECOVERED) and _is_of(notice.facts, CLOCK):
        return _CLOCK_IS_OFF if notice.reason is Reason.BLIND else _CLOCK_AGREES
    if notice.reason is Reason.BLIND and notice.facts.seen_besides:
        return _WITHOUT_ESTIMATES if _is_of(notice.facts, SAME_DAY_SOURCE) else _WITHOUT_THE_BILL
    return " ".join(part for part in (_by_hand(notice), _WHY.get(notice.reason, "")) if part)


def _by_hand(notice: Notice) -> str:
    """Who did it and why, as they wrote it."""
    facts = notice.facts
    if not facts.person:
        return ""
    did = "resolved it by hand" if notice.kind is Kind.RESOLVE else "has it"
    comment = f": {for_paragraph(facts.comment).rstrip('.')}" if facts.comment else ""
    return f"{name(facts.person)} {did}{comment}."


def _step_sentence(facts: Facts) -> str:
    if facts.step is None or facts.comparison is not None:
        return ""
    reached = f"The {percent(facts.step)} step is reached"
    return f"{reached} ({_skipped(facts)})." if facts.skipped else f"{reached}."


def _skipped(facts: Facts) -> str:
    steps = [percent(step) for step in facts.skipped[-4:]]
    words = " and ".join([", ".join(steps[:-1]), steps[-1]] if len(steps) > 1 else steps)
    return f"{words} passed on the way"


def subject(facts: Facts, limit: int = NAME_LIMIT) -> str:
    """Whom it is about: the names of the scope, or the rule where it is about all that the rule matches."""
    if not facts.scope:
        return name(facts.rule, limit)
    return shorten(" / ".join(_label(label, limit) for label in facts.scope), limit * 2)


def _label(label: Label, limit: int) -> str:
    if label.dimension == "workspace" and label.id == DEFAULT_WORKSPACE:
        return "Default workspace"
    return name(label.name or label.id, limit)


def _budget(facts: Facts) -> str:
    if facts.period is None:
        return "budget"
    # "its 12-18 Nov 2026 budget" would be hard to read.
    if facts.period_kind in ("last", "week") or "-" in facts.period.name:
        return f"budget for {facts.period.name}"
    return f"{facts.period.name} budget"


def _for(facts: Facts) -> str:
    return f" for {facts.period.name}" if facts.period else ""


def _on(facts: Facts) -> str:
    if facts.period is None:
        return ""
    one_day = facts.period.end - facts.period.start <= timedelta(days=1)
    return f" {'on' if one_day else 'in'} {facts.period.name}"


def _dollars(amount: Decimal) -> str:
    return money.dollars(amount)


def at_least(facts: Facts) -> str:
    """`at least ` where days are missing from the amount."""
    return "" if facts.complete else "at least "


def times_baseline(facts: Facts) -> str:
    """`3.2x the day before ($120.00)`: the amount against what it is compared with; rounded down."""
    if facts.comparison is None or facts.amount is None:
        return ""
    against, baseline = name(facts.comparison.against), facts.comparison.baseline
    if baseline <= 0:
        return f"up from {_dollars(baseline)} ({against})"
    return f"{tenfold(facts.amount, baseline)} {against} ({_dollars(baseline)})"


def tenfold(amount: Decimal, other: Decimal) -> str:
    """`3.2x`: how many times the other the amount is; rounded down."""
    tenths = int(money.quotient(amount, other) * 10)
    return f"{tenths // 10:,}.{tenths % 10}x"


def percent(step: Decimal) -> str:
    """A step as a percentage: `80%`."""
    return money.share(step, Decimal(1))


def data_line(told: Iterable[Facts]) -> str:
    """Through when all of these figures are, what they rest on and what they lack; empty without figures."""
    figures = [facts for facts in told if facts.amount is not None]
    through, bases = _through(figures), [facts.basis for facts in figures]
    if through is None:
        return ""
    missing = "" if all(facts.complete for facts in figures) else f" {_DAYS_MISSING}"
    return f"Data through {instant(through)}, {basis(bases)}. {not_included(bases)}.{missing}"


def short_data(told: Iterable[Facts]) -> str:
    """The same of the earliest end, where there is little room: ` (partly estimated, to 18 Nov 14:00 UTC)`."""
    figures = [facts for facts in told if facts.amount is not None]
    through, bases = _through(figures), {facts.basis for facts in figures}
    if through is None:
        return ""
    rests = basis(bases) if len(bases) == 1 and Basis.MIXED not in bases else "partly estimated"
    return f" ({rests}, to {through.astimezone(UTC):%d %b %H:%M} UTC)"


def _through(figures: Iterable[Facts]) -> datetime | None:
    """The earliest end of their data."""
    return min((facts.data_through for facts in figures if facts.data_through is not None), default=None)


def basis(bases: Collection[Basis]) -> str:
    """Whether figures are billed or estimated, in words."""
    found = set(bases)
    return found.pop().value if len(found) == 1 and Basis.MIXED not in found else "billed and estimated"


def instead(because: str) -> str:
    """Why a channel gets what was for another one, in a sentence; empty for what is its own."""
    return f"You get this because {for_paragraph(because).rstrip('.')}." if because else ""


def held_back(muted_by: str, until: datetime | None, decided: datetime) -> str:
    """That a silence or quiet time kept a message back, in a sentence; empty when nothing did."""
    if not muted_by or until is None:
        return ""
    return f"Held back until {instant(until)} by {for_paragraph(muted_by)}; decided {instant(decided)}."


def repeated(in_doubt: int) -> str:
    """That a message may have arrived before, in a sentence; empty when it did not."""
    return "This may be a repeat: it was sent before, and no answer came." if in_doubt else ""


def not_included(bases: Collection[Basis]) -> str:
    """What the figures lack, by what they are made of."""
    return _NOT_BILLED if set(bases) == {Basis.BILLED} else f"{_NOT_BILLED}, {_NOT_ESTIMATED}"


def instant(when: datetime) -> str:
    """`18 Nov 2026 14:00 UTC`."""
    utc = when.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y %H:%M} UTC"


def ago(since: datetime, now: datetime) -> str:
    """How long ago, in the largest whole unit: `3 days`, `2 hours`, `45 minutes`."""
    minutes = max(0, int((now - since).total_seconds() // 60))
    for size, unit in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            count = minutes // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "0 minutes"


def is_late(notice: Notice, now: datetime) -> bool:
    """Whether the notice goes out so long after it was decided that people must be told."""
    return now - notice.created_at > LATE_AFTER


def listed(notice: Notice, now: datetime) -> str:
    """The notice's title as a line among others, with when it was decided where that is long ago."""
    return f"{title(notice)}, decided {instant(notice.created_at)}" if is_late(notice, now) else title(notice)


def channel(name: str) -> str:
    """A channel as people know it; a retired one is called by when its address ended."""
    until = retired_at(name)
    return name if until is None else f"{present_name(name)} (its address until {instant(until)})"


def quieting(notice: Notice) -> tuple[tuple[str, str], ...]:
    """The commands that quiet an incident, and what each of them does."""
    return (
        ("Acknowledge", f"budgetd ack {notice.incident}"),
        ("Silence", f"budgetd silence add --incident {notice.incident} --for 4h"),
    )


def how_to_silence(notice: Notice) -> tuple[str, str]:
    """What quiets the alerts of this incident, and what ends those of its rule, a line each."""
    commands = "  ·  ".join(f"{what}: {command}" for what, command in quieting(notice))
    return commands, for_good(notice.facts)


def for_good(facts: Facts) -> str:
    """What ends the alerts of a rule: the rules file and a reload."""
    edit = f"For good: edit or remove rule {name(facts.rule)} in the rules file"
    # A label whose name is its id may be what the whole rule matches: without it nothing would be left.
    named = [label for label in facts.scope if label.name != label.id]
    if not named:
        return f"{edit}, then reload."
    excluded = f"{{{named[0].dimension}: [{_yaml(named[0].name)}]}}"
    return f"{edit}, or add an exception to it, except: {excluded}, then reload."


def _yaml(text: str) -> str:
    """The name as it can be pasted into the rules file: quoted unless it is plainly a word."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,59}", text) and text.lower() not in ("true", "false", "null"):
        return text
    return shorten(json.dumps(for_text(text[:NAME_LIMIT]), ensure_ascii=False), NAME_LIMIT * 2)


def for_paragraph(text: str) -> str:
    """Free text from outside as one paragraph: line breaks become spaces, at most 1,200 characters."""
    return shorten(for_text(" ".join(text[:5000].split())), 1200)
