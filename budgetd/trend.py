"""The words of how it came to this and where it leads: the forecast, what changed, the last days as a row of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

from budgetd import money
from budgetd.escaping import name
from budgetd.increase import moved, rounded
from budgetd.model import Cause, Facts, Forecast, History, Increase, Mover
from budgetd.period import DAY, Period, day_before

SHOWN_DAYS = 28
# Fewer days show nothing that the figures do not say.
_LEAST_SHOWN = 3
_BLOCKS = "▁▂▃▄▅▆▇█"
_GAP = "·"
_NAME_LIMIT = 40
_WHOLE, _CENT = Decimal(1), Decimal("0.01")
_NEAR_FROM = 100  # dollars: below it cents are told

# After `dearer` or `cheaper`.
_PRICES = {
    Cause.MODEL_MIX: "mix of models",
    Cause.KIND_MIX: "mix of token types",
    Cause.TERMS: "tiers and regions",
}


# --- forecast --------------------------------------------------------------------------------------


def on_course(facts: Facts) -> str:
    """`, on course for $6,900`, for the end of a title; empty without a forecast."""
    return f", on course for {about(facts.forecast.expected)}" if facts.forecast is not None else ""


def foreseen(facts: Facts) -> str:
    """The forecast in one sentence: how much, by when, how sure, against the limit; empty without one."""
    if facts.forecast is None or facts.period is None or facts.limit is None or facts.amount is None:
        return ""
    return in_words(facts.forecast, facts.period, facts.amount, facts.limit)


def in_words(found: Forecast, period: Period, spent: Decimal, limit: Decimal) -> str:
    """`On course for about $6,900 by 30 Nov ($6,540 to $7,310), $1,900 over; the limit is reached about Sun 22 Nov.`"""
    expected, low, high = (about(amount) for amount in (found.expected, found.low, found.high))
    between = f" ({low} to {high})" if low != high else ""
    start = f"On course for about {expected} by {short(day_before(period.end))}{between}"
    over = money.subtract(_significant(found.expected), limit)
    if over > 0 or spent >= limit:
        reached = (
            f"; the limit is reached about {found.reached_on:%a} {short(found.reached_on)}" if found.reached_on else ""
        )
        return f"{start}, {money.round_dollars(max(over, money.ZERO))} over{reached}."
    unsure = found.high >= limit
    return f"{start}, within {money.round_dollars(limit)}{', if only just' if unsure else ''}."


# --- what changed ----------------------------------------------------------------------------------


def changed(facts: Facts) -> tuple[str, ...]:
    """What the spend is compared with earlier days, who that is, and why, in sentences; none without a comparison."""
    found = facts.increase
    if found is None or facts.amount is None:
        return ()
    change = money.subtract(found.after, found.before)
    unit = _unit(change)
    if found.before == 0:
        return () if facts.comparison is not None else (f"Nothing was spent on {name(found.against)}.",)
    who = _who(found, unit)
    if facts.comparison is not None:
        first = f"Most of the change: {who}." if who else ""
    else:
        first = f"{_difference(found, change, unit)}{f': {who}' if who else ''}."
    causes = ", ".join(_causes(found, unit))
    return tuple(line for line in (first, f"Why: {causes}." if causes else "") if line)


def _difference(found: Increase, change: Decimal, unit: Decimal) -> str:
    if not _rounded_to(change, unit):
        return f"As much as on {name(found.against)}"
    share = money.share(abs(change), found.before) if found.before > 0 else ""
    how = "up" if change > 0 else "down"
    text = f"{how} {dollars(abs(change), unit)}{f' ({share})' if share else ''} on {name(found.against)}"
    return text[:1].upper() + text[1:] if found.closed else f"Already {text}"


def _who(found: Increase, unit: Decimal) -> str:
    """What moved, then whose it is."""
    what = ", ".join(_mover(mover, unit) for mover in found.movers if mover.dimension != "workspace")
    whose = ", ".join(_mover(mover, unit) for mover in found.movers if mover.dimension == "workspace")
    return "; by workspace: ".join(part for part in (what, whose) if part)


def _mover(mover: Mover, unit: Decimal) -> str:
    notes = [f"mostly {name(kind_words(mover.token_type), _NAME_LIMIT)}"] if mover.token_type else []
    notes += ["new"] if mover.before == 0 else []
    note = f" ({', '.join(notes)})" if notes else ""
    shown = kind_words(mover.name) if mover.dimension in ("token_type", "cost_type") else mover.name
    return f"{name(shown, _NAME_LIMIT)} {signed(moved(mover), unit)}{note}"


def kind_words(text: str) -> str:
    """`cache_creation.ephemeral_5m_input_tokens` as people read it."""
    return text.replace("_", " ").replace(".", " ")


def _causes(found: Increase, unit: Decimal) -> Iterator[str]:
    shown = rounded((amount for _, amount in found.causes), unit)
    for (cause, _), amount in zip(found.causes, shown, strict=True):
        if amount:
            yield f"{_cause(cause, amount, found.tokens)} {signed(amount, unit)}"


def _cause(cause: Cause, amount: Decimal, tokens: Decimal | None) -> str:
    if cause is Cause.VOLUME and tokens is not None:
        if tokens >= 2:
            return f"{_times(tokens)} the tokens"
        return f"{money.share(abs(money.subtract(tokens, _WHOLE)), _WHOLE)} {'more' if tokens > 1 else 'fewer'} tokens"
    if cause in _PRICES:
        return f"{'dearer' if amount > 0 else 'cheaper'} {_PRICES[cause]}"
    return "costs that are not by the token"


def _times(ratio: Decimal) -> str:
    """`2.5x`, rounded down."""
    tenths = int(ratio * 10)
    return f"{tenths // 10:,}.{tenths % 10}x"


# --- the last days ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LastDays:
    """A history fit to be shown: dollars by UTC day, oldest first, None where nothing complete is known."""

    start: date
    amounts: tuple[Decimal | None, ...]

    @property
    def end(self) -> date:
        """The last day."""
        return self.start + DAY * (len(self.amounts) - 1)

    @property
    def highest(self) -> Decimal:
        """The most of any day."""
        return max(amount for amount in self.amounts if amount is not None)

    @property
    def blocks(self) -> str:
        """A block for each day, as high as its share of the highest; a dot for a day that is not known."""
        return "".join(_GAP if amount is None else _BLOCKS[_level(amount, self.highest)] for amount in self.amounts)

    @property
    def line(self) -> str:
        """`21 Oct ▁▂▃▂▁ 17 Nov`."""
        return f"{short(self.start)} {self.blocks} {short(self.end)}"

    @property
    def words(self) -> str:
        """The same for those who do not see it: `highest $312 on 12 Nov, last $208`."""
        day = self.start + DAY * self.amounts.index(self.highest)
        last = self.amounts[-1]
        ending = f"last {near(last)}" if last is not None else "last not known"
        gaps = self.amounts.count(None)
        unknown = f", {gaps} day{'s' if gaps > 1 else ''} not known" if gaps else ""
        return f"highest {near(self.highest)} on {short(day)}, {ending}{unknown}"


def last_days(history: History | None) -> LastDays | None:
    """The last four weeks of the history, from the first day that is known; None where there is too little."""
    if history is None:
        return None
    amounts = history.amounts[-SHOWN_DAYS:]
    known = [place for place, amount in enumerate(amounts) if amount is not None]
    if len(known) < _LEAST_SHOWN or not any(amount > 0 for amount in amounts if amount is not None):
        return None
    first = len(history.amounts) - len(amounts) + known[0]
    return LastDays(history.start + DAY * first, amounts[known[0] :])


def _level(amount: Decimal, highest: Decimal) -> int:
    if highest <= 0 or amount <= 0:
        return 0
    return int(money.whole_times(money.times(amount, Decimal(len(_BLOCKS) - 1)), highest))


# --- amounts ---------------------------------------------------------------------------------------


def short(day: date) -> str:
    """`17 Nov`."""
    return f"{day.day} {day:%b}"


def about(amount: Decimal) -> str:
    """An amount that nobody knows to the dollar: `$23,900`; three digits of it from a thousand dollars on."""
    return near(_significant(amount))


def near(amount: Decimal) -> str:
    """Whole dollars from a hundred on, else cents: `$312`, `$41.20`."""
    return dollars(amount, _unit(amount))


def dollars(amount: Decimal, unit: Decimal) -> str:
    """The amount to that unit: a dollar or a cent."""
    return money.dollars(amount) if unit == _CENT else money.dollars(_rounded_to(amount, unit))[:-3]


def signed(amount: Decimal, unit: Decimal) -> str:
    """`+$1,100`, `-$20`."""
    return f"{'+' if amount >= 0 else ''}{dollars(amount, unit)}"


def _unit(amount: Decimal) -> Decimal:
    return _WHOLE if abs(amount) >= _NEAR_FROM else _CENT


def _significant(amount: Decimal) -> Decimal:
    digits = amount.adjusted()
    return amount if digits < 3 else _rounded_to(amount, Decimal(10) ** (digits - 2))


def _rounded_to(amount: Decimal, unit: Decimal) -> Decimal:
    whole = money.quotient(amount, unit).quantize(_WHOLE, rounding=ROUND_HALF_EVEN)
    return money.times(whole, unit)
