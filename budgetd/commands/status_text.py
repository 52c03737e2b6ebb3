"""`budgetd status` as people read it, at three in the morning, on eighty columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from budgetd import money, trend
from budgetd.advice import advice
from budgetd.blind import BLIND_RULE
from budgetd.commands.terminal import Terminal, cells, fit
from budgetd.escaping import for_text, name
from budgetd.estimates import is_worth_telling
from budgetd.lifecycle import is_of_rule
from budgetd.model import Basis, Drift, Failure, Health, Label, Outcome, Planned, Reason, Severity, State
from budgetd.overview import Around, ChannelState, Firing, Overview, Polling, Reading, RuleReadings, share_of
from budgetd.wording import CLOCK, SAME_DAY_SOURCE, ago, instant

TOP_SCOPES = 5
# A poll that is under way was due a moment ago.
BARELY_LATE = timedelta(minutes=1)
LONGEST_BAR, SHORTEST_BAR = 14, 6
LEAST_NAME = 12
EVERYTHING = "everything"

SEVERITY_COLOURS = {Severity.INFO: "dim", Severity.WARNING: "yellow", Severity.CRITICAL: "red"}
# Why an incident stays as it is although its figures moved. The other reasons are of no use to who reads this.
HELD = {
    Reason.WITHIN_MARGIN: "Just below its step, within the margin of 2%: it stays open.",
    Reason.SECOND_POLL_AWAITED: "One complete poll was lower: if the next one is too, it is resolved.",
    Reason.INCOMPLETE_DATA: "The figures are incomplete, so it stays as it is until they are whole.",
    Reason.LIMIT_RAISED_STILL_OVER: "The limit was raised, and spend is past a step of the new one too.",
}
# Incidents that are about budgetd and not about spend, by their rule.
_OWN_MATTERS = {
    BLIND_RULE: "budgetd cannot see spend",
    f"budgetd:{Reason.UNDELIVERABLE.value}": "a message could not be delivered",
    f"budgetd:{Reason.RELOAD_FAILED.value}": "an edited rules file was refused",
    f"budgetd:{Reason.STATE_RESTORED.value}": "the state had to be restored",
    f"budgetd:{Reason.DRIFT.value}": "a bill was far from its estimate",
    f"budgetd:{Reason.UNPRICED.value}": "tokens have no known price",
    f"budgetd:{Reason.CONTRACT_DRIFT.value}": "the API's answers are not what budgetd knows",
    f"budgetd:{Reason.TEMPLATE_FAILED.value}": "a template of the rules file does not work",
    f"budgetd:{Reason.CHANNEL_MOVED.value}": "alerts may stay open at an old address",
    f"budgetd:{Reason.DIGEST.value}": "a digest was sent",
}
_BASIS = {Basis.BILLED: "billed", Basis.ESTIMATED: "estimated", Basis.MIXED: "partly estimated"}


@dataclass(frozen=True, slots=True)
class Columns:
    """How wide the columns of the limits are."""

    name: int
    bar: int
    amount: int


@dataclass(frozen=True, slots=True)
class Page:
    """The page for one terminal. `whole`: every scope of every rule."""

    terminal: Terminal
    around: Around
    whole: bool = False

    def lines(self, seen: Overview) -> Iterator[str]:
        """The page, line by line."""
        yield from self._head(seen)
        if seen.firing:
            yield from self._section("Firing")
            for each in seen.firing:
                yield from self._firing(each)
        if seen.rules:
            yield from self._section("Spend against limits")
            yield from self._limits(seen)
        if seen.channels:
            yield from self._section("Channels")
            width = max(cells(name(channel.name)) for channel in seen.channels)
            for channel in seen.channels:
                yield from self._channel(channel, width)
        yield from self._section("Sources")
        yield from self._sources(seen.sources, seen.polling)
        if seen.drifts:
            yield from self._section("Estimates, and what was billed")
            for drift in seen.drifts:
                yield self._drift(drift)

    def _section(self, title: str) -> Iterator[str]:
        yield ""
        yield self.terminal.paint(title, "bold")

    def _ago(self, when: datetime) -> str:
        return f"{ago(when, self.around.now)} ago"

    def _since(self, when: datetime) -> str:
        """`since 18 Nov 06:05 UTC (3 days)`."""
        return f"since {short(when)} ({ago(when, self.around.now)})"

    # --- the head ------------------------------------------------------------------------------

    def _head(self, seen: Overview) -> Iterator[str]:
        paint = self.terminal.paint
        yield self.terminal.line(paint(name(seen.organisation.name), "bold"), instant(self.around.now))
        yield self._verdict(seen)
        if seen.through is not None:
            yield f"Data through {instant(seen.through)}."
        else:
            yield "No cost data yet: nothing can be said about any limit."
        yield from self._alarm(self._of_daemon(seen))
        for health in seen.sources:
            if health.failing_since is not None:
                what = _BLIND.get(health.source, "CANNOT SEE SPEND")
                yield from self._alarm(f"{what} {self._since(health.failing_since)}. See Sources below.")
        if self.around.rules_error:
            yield from self._alarm("THE RULES FILE CANNOT BE USED. A running daemon keeps its old rules.")
            for line in self.around.rules_error.splitlines():
                yield f"  {for_text(line)}"

    def _alarm(self, text: str) -> Iterator[str]:
        lines = self.terminal.wrapped(f"! {text}", 2, first=0) if text else []
        yield from (self.terminal.paint(line, "red") for line in lines)

    def _of_daemon(self, seen: Overview) -> str:
        if self.around.running:
            return ""
        if self.around.running is None:
            return "Whether the daemon runs cannot be told: its lock cannot be read by this user."
        times = (health.last_good for health in seen.sources if health.source != CLOCK)
        last = max((when for when in times if when is not None), default=None)
        read = f" It last read spend {self._ago(last)}." if last is not None else ""
        return f"THE DAEMON IS NOT RUNNING: nothing is watched and nothing is sent.{read}"

    def _verdict(self, seen: Overview) -> str:
        critical = sum(each.incident.severity is Severity.CRITICAL for each in seen.firing)
        failing = sum(is_failing(channel) for channel in seen.channels)
        parts = [f"{len(seen.firing)} firing" + (f" ({critical} critical)" if critical else "")]
        if failing:
            parts.append(f"{failing} channel{'s' if failing > 1 else ''} failing")
        waiting = sum(channel.pending for channel in seen.channels)
        if waiting:
            parts.append(f"{waiting} message{'s' if waiting > 1 else ''} waiting")
        return f"{', '.join(parts)}." if seen.firing or failing or waiting else "Nothing is firing."

    # --- incidents -------------------------------------------------------------------------------

    def _firing(self, each: Firing) -> Iterator[str]:
        incident = each.incident
        word = self.terminal.paint(f"{incident.severity.value:<8}", SEVERITY_COLOURS[incident.severity])
        who = fit(what(each), self.terminal.columns // 2 - 8).rstrip()
        yield self.terminal.line(f"  {word}  {who}", self._since(incident.opened_at))
        if is_of_rule(incident):
            yield from self.terminal.wrapped(figures(each), 12)
        yield f"{'':12}{incident.id}"
        held = HELD.get(incident.held) if incident.held is not None else None
        if held:
            yield from self.terminal.wrapped(held, 12)

    # --- spend against limits ----------------------------------------------------------------------

    def _limits(self, seen: Overview) -> Iterator[str]:
        amounts = [amount_words(reading) for each in seen.rules for reading in self._shown(each)]
        widest = max(map(cells, amounts), default=0)
        for each in seen.rules:
            yield from self._rule(each, self._columns(self._shown(each), widest))
            if seen.days and not each.matched:
                none = f"No cost of the last {seen.days} days is matched by this rule: a typing error in it?"
                yield from self.terminal.wrapped(none, 4)

    def _shown(self, each: RuleReadings) -> Sequence[Reading]:
        return each.readings if self.whole else each.readings[:TOP_SCOPES]

    def _columns(self, shown: Sequence[Reading], amount: int) -> Columns:
        """A bar gives way to long names, but not wholly; what follows it stays in line over all rules."""
        longest = max((cells(scope_words(reading.scope, EVERYTHING)) for reading in shown), default=0)
        # An indent of 4, a share of 8, a word of 8, and blanks between.
        room = self.terminal.columns - 4 - 1 - 1 - 8 - 1 - 8 - 1 - amount
        bar = min(max(room - longest, SHORTEST_BAR), LONGEST_BAR)
        return Columns(max(LEAST_NAME, room - bar), bar, amount)

    def _rule(self, each: RuleReadings, columns: Columns) -> Iterator[str]:
        shown = self._shown(each)
        yield from self._heading(each)
        for reading in shown:
            yield self._reading(reading, columns)
            yield from self._outlook(reading)
        more = len(each.readings) - len(shown)
        if more:
            below = percent(each.readings[len(shown)].share)
            yield f"    and {more:,} more, {below} or less: budgetd status --all"
        if not each.readings:
            yield from self.terminal.wrapped(_why_nothing(each), 4)

    def _heading(self, each: RuleReadings) -> Iterator[str]:
        """The rule's id, and what it is about in the same line where there is room."""
        words = self.terminal.wrapped(_rule_words(each), 4)
        if len(words) == 1:
            yield self.terminal.line(f"  {each.rule.id}", self.terminal.paint(words[0].strip(), "dim"))
            return
        yield f"  {each.rule.id}"
        yield from (self.terminal.paint(line, "dim") for line in words)

    def _reading(self, reading: Reading, columns: Columns) -> str:
        who = fit(scope_words(reading.scope, EVERYTHING), columns.name)
        word = state_word(reading)
        colour = _colour(reading)
        bar = self.terminal.paint(self.terminal.bar(reading.share, columns.bar), colour)
        state = self.terminal.paint(f"{word:<8}", colour)
        return f"    {who} {bar} {percent(reading.share):>8} {state} {amount_words(reading):>{columns.amount}}"

    def _outlook(self, reading: Reading) -> Iterator[str]:
        """Where it leads: of a limit that will be passed, and of one that is alone in its rule."""
        found, finding = reading.forecast, reading.finding
        if found is not None and (found.high >= finding.limit or not finding.scope):
            words = trend.in_words(found, finding.period, finding.amount, finding.limit)
            yield from (self.terminal.paint(line, "dim") for line in self.terminal.wrapped(words, 6))

    # --- channels and sources ----------------------------------------------------------------------

    def _channel(self, channel: ChannelState, width: int) -> Iterator[str]:
        word, colour, rest = self._channel_words(channel)
        start = f"  {fit(name(channel.name), width)}  {word:<8}"
        first, *others = self.terminal.wrapped(f"{start}{rest}", width + 12, first=0) if rest else [start]
        yield f"  {first.lstrip()}".replace(word, self.terminal.paint(word, colour), 1)
        yield from others
        failed = channel.last
        if is_failing(channel) and failed is not None and failed.outcome is not None:
            said = f"{for_text(failed.detail)}. " if failed.detail else ""
            yield from self.terminal.wrapped(f"{said}{advice(failed.outcome, failed.detail)}", width + 12)

    def _channel_words(self, channel: ChannelState) -> tuple[str, str, str]:
        """(word, colour, the rest of the line)."""
        parts = [f"{channel.pending} waiting"] if channel.pending else []
        if channel.given_up:
            parts.append(f"{channel.given_up} given up")
        if channel.next_attempt_at is not None:
            due = channel.next_attempt_at <= self.around.now
            parts.append("due now" if due else f"next try {short(channel.next_attempt_at)}")
        if channel.configured is False:
            return "removed", "yellow", ", ".join(["it is no longer in the rules file", *parts])
        good = channel.last_delivered
        last = f"last delivered {short(good)} ({self._ago(good)})" if good is not None else "nothing delivered yet"
        if is_failing(channel) and channel.failing_since is not None:
            return "FAILING", "red", ", ".join([self._since(channel.failing_since), *parts, *_run(channel), last])
        if good is None and not channel.pending:
            return "unused", "dim", f"nothing was sent yet; try it: budgetd notify {name(channel.name)}"
        return "ok", "green", ", ".join([last, *parts])

    def _sources(self, sources: Sequence[Health], polling: Mapping[str, Polling]) -> Iterator[str]:
        if not sources:
            yield "  nothing was read yet"
        for health in sources:
            yield from self._health(health)
            if health.source != CLOCK:
                yield from self.terminal.wrapped(self._polling(polling.get(health.source, Polling())), 4)

    def _health(self, health: Health) -> Iterator[str]:
        done, word = ("right", "WRONG") if health.source == CLOCK else ("read", "BLIND")
        last = f"last {done} {short(health.last_good)} ({self._ago(health.last_good)})" if health.last_good else ""
        if health.failing_since is None and health.message:
            why = f"{health.source}  not used  {for_text(health.message).rstrip('.')}"
            yield from self.terminal.wrapped(f"{why}{f', {last}' if last else ''}", 4, first=2)
            return
        if health.failing_since is None:
            yield f"  {health.source}  {self.terminal.paint('ok', 'green')}  {last}"
            return
        polls = f"{health.failures} failed poll{'s' if health.failures > 1 else ''}"
        parts = ", ".join((self._since(health.failing_since), polls, last or f"never {done}"))
        first, *others = self.terminal.wrapped(f"{health.source}  {word}  {parts}", 4, first=2)
        yield first.replace(word, self.terminal.paint(word, "red"), 1)
        yield from others
        yield from self.terminal.wrapped(f"{for_text(health.message).rstrip('.')}. {_mend(health)}", 4)

    def _drift(self, drift: Drift) -> str:
        """`17 Nov 2026        $412.10 estimated        $415.00 billed  0.6% too low`: the share is of the bill."""
        gap = money.subtract(drift.estimated, drift.billed)
        off = f"{percent(share_of(abs(gap), drift.billed))} too {'high' if gap > 0 else 'low'}" if gap else "exact"
        amounts = f"{money.dollars(drift.estimated):>14} estimated {money.dollars(drift.billed):>14} billed"
        return f"  {drift.day:%d %b %Y} {amounts}  {self.terminal.paint(off, _drift_colour(drift))}"

    def _polling(self, polling: Polling) -> str:
        """`Every minute, next poll 18 Nov 06:05 UTC. 362 requests today, 1,440 yesterday.`"""
        count = f"{polling.requests_today:,} request{'' if polling.requests_today == 1 else 's'} today"
        return f"{self._next_poll(polling.planned)}. {count}, {polling.requests_yesterday:,} yesterday."

    def _next_poll(self, planned: Planned | None) -> str:
        if planned is None:
            return "No next poll is planned"
        plan = planned.words[:1].upper() + planned.words[1:]
        if not self.around.running:
            # Whether it will be kept to is nobody's guess but the daemon's.
            return f"{plan}, while a daemon runs"
        late = self.around.now - planned.at
        if late < BARELY_LATE:
            return f"{plan}, next poll {short(planned.at)}"
        return f"{plan}, next poll overdue by {ago(planned.at, self.around.now)}"


_BLIND = {SAME_DAY_SOURCE: "CANNOT SEE SAME-DAY SPEND", CLOCK: "CANNOT TRUST THIS MACHINE'S CLOCK"}
_MEND = {
    Failure.REFUSED: "Put a working admin key in its place: it is read without a restart.",
    Failure.REJECTED: "Look at BUDGETD_API_URL, BUDGETD_API_VERSION and BUDGETD_API_BETAS.",
    Failure.UNREACHABLE: "Look at this machine's network, DNS and firewall.",
    Failure.UNAVAILABLE: "That is at the service's end; it is tried again.",
    Failure.UNREADABLE: "What answers there cannot be trusted; it is tried again.",
    Failure.FOREIGN: "Put this organisation's admin key in its place: a running daemon reads it by itself.",
    Failure.STALLED: "That is at the service's end; what it has is evaluated.",
    Failure.SKEWED: "Set it, best by NTP: days and periods begin and end by it.",
}


def _mend(health: Health) -> str:
    advised = _MEND[health.failure] if health.failure is not None else ""
    if health.source == CLOCK:
        return advised or "One answer agreed with it; a second is awaited."
    if health.source == SAME_DAY_SOURCE:
        return f"{advised} Until then alerts wait for the bill.".strip()
    return f"{advised} Until then no alert is raised and none is resolved.".strip()


# --- words ---------------------------------------------------------------------------------------


def scope_words(labels: Sequence[Label], otherwise: str) -> str:
    """What a scope is called."""
    return " / ".join(name(label.name) for label in labels) or name(otherwise)


def what(each: Firing) -> str:
    """What an incident is about: the scope, the rule where that has only one, or budgetd itself."""
    if is_of_rule(each.incident):
        return scope_words(each.scope, each.incident.rule)
    return _OWN_MATTERS.get(each.incident.rule, each.incident.rule)


def figures(each: Firing) -> str:
    """`$8,831.19 of $14,000 (63%), November 2026, rule company-month`; empty where there are none."""
    incident = each.incident
    if not is_of_rule(incident):
        return ""
    an_hour = " an hour" if incident.period.is_part_of_a_day else ""
    used = f"{money.dollars(incident.amount)}{an_hour} of {money.round_dollars(incident.limit)}"
    rule = f", rule {name(incident.rule)}" if each.scope else ""
    return f"{used} ({percent(share_of(incident.amount, incident.limit))}), {incident.period.name}{rule}"


def short(when: datetime) -> str:
    """`18 Nov 06:05 UTC`: an instant of the last months."""
    utc = when.astimezone(UTC)
    return f"{utc.day} {utc:%b %H:%M} UTC"


def percent(share: Decimal) -> str:
    """A share as people read it; never rounded up."""
    return money.share(share, Decimal(1))


def amount_words(reading: Reading) -> str:
    """`$4,012.37 of $5,000`; with `>=` where days are missing."""
    finding = reading.finding
    lower_bound = "" if finding.complete else ">= "
    return f"{lower_bound}{money.dollars(finding.amount)} of {money.round_dollars(finding.limit)}"


def state_word(reading: Reading) -> str:
    """The severity that was announced, `over` for what is over without it, or nothing."""
    if reading.incident is not None and reading.incident.state is not State.RESOLVED:
        return reading.incident.severity.value
    return "over" if reading.share >= 1 else ""


def _colour(reading: Reading) -> str:
    if reading.incident is not None and reading.incident.state is not State.RESOLVED:
        return SEVERITY_COLOURS[reading.incident.severity]
    return "yellow" if reading.share >= 1 else "green"


def _drift_colour(drift: Drift) -> str:
    return "yellow" if is_worth_telling(drift) else "green"


def _rule_words(each: RuleReadings) -> str:
    per = f" per {' and '.join(each.rule.for_each)}" if each.rule.for_each else ""
    if each.period is None:
        return f"{each.rule.kind}{per}"
    finding = each.readings[0].finding
    against = f", against {finding.comparison.against}" if finding.comparison is not None else ""
    missing = "" if finding.complete else ", days missing"
    return f"{each.rule.kind}{per}, {each.period.name}{against}, {_BASIS[finding.basis]}{missing}"


def _why_nothing(each: RuleReadings) -> str:
    if each.rule.calendar.kind == "window":
        return "Watched by the daemon from minute to minute; what is above its limit is listed under Firing."
    return "It says nothing yet: it has no complete data for its days."


def _run(channel: ChannelState) -> list[str]:
    """How many failures in a row opened the channel's breaker; nothing while it is closed."""
    run = channel.breaker
    if run is None or not run.is_open:
        return []
    return [f"breaker open after {run.failures} failure{'s' if run.failures > 1 else ''} in a row"]


def is_failing(channel: ChannelState) -> bool:
    """Whether the channel's last attempt failed, and that is still of interest."""
    failed = channel.last is not None and channel.last.outcome is not Outcome.DELIVERED
    return failed and bool(channel.pending or channel.given_up)
