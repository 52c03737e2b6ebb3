"""The judge from outside: what the channels received against what had to be said; the daemon's state is not asked."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from budgetd.message import Message
from budgetd.model import Face, Outcome
from tests.simulation.api import Served
from tests.simulation.items import Item, Parcel
from tests.simulation.promises import Expected, Key, Promises
from tests.simulation.rulefiles import AFTER, FileSpec
from tests.simulation.sight import Sight

GIVE_UP = timedelta(hours=72)
# How long after a channel takes messages again, the clocks being right, everything must have arrived.
PROMPT = timedelta(hours=3)
_REPORT = "budgetd:undeliverable"
_BROKEN = (Outcome.UNAUTHORISED, Outcome.GONE)
_INSTEAD = re.compile(r"(?:You get this because|and) (\S+) has not taken it: \S")
# A channel that failed so often in a row takes nothing for now: its fallbacks need not wait.
FAILED_OFTEN = 3
_GATHERED = "this is what waited for it"


class BrokenPromiseError(AssertionError):
    """The daemon did not do what it promises."""


class Oracle:
    """Knows what was truly served, what was edited, and what the channels were sent; judges at every moment."""

    def __init__(self, spec: FileSpec) -> None:
        self.spec = spec
        self.promises = Promises()
        self.counts: Counter[str] = Counter()
        self._sight = Sight()
        self._evaluations = 0
        self._items: dict[str, dict[tuple[object, ...], Item]] = defaultdict(dict)
        self._latest: dict[str, dict[Key, Item]] = defaultdict(dict)
        self._firing: dict[tuple[str, Key], list[Item]] = defaultdict(list)
        self._ids: dict[tuple[Key, int], tuple[str, str]] = {}
        self._owners: dict[str, object] = {}
        self._newest: dict[tuple[str, Key], int] = {}
        self._parcels: dict[tuple[str, str], Parcel] = defaultdict(Parcel)
        self._chat: dict[tuple[str, int], str] = {}
        self._reported: dict[str, set[str]] = defaultdict(set)
        self._unconfirmed: dict[str, Parcel] = {}
        self._complaining: list[Parcel] = []
        self._open_reports: dict[tuple[str, str], tuple[datetime, datetime]] = {}
        self._heard_reports: dict[str, set[str]] = defaultdict(set)
        self._instead: dict[str, dict[tuple[object, ...], Item]] = defaultdict(dict)
        self._falls_to: dict[tuple[str, str], datetime | None] = {}
        self._ever_fell_to: set[tuple[str, str]] = set()
        self._jumped: datetime | None = None
        self._failures: Counter[str] = Counter()
        self._failing_until: dict[str, datetime] = {}
        self._ended: set[Key] = set()
        self._note_fallbacks(None)

    # --- what the world did --------------------------------------------------------------------

    def kept_poll(self, served: Served, at: datetime, wall: datetime) -> list[Expected]:
        """A poll's consequences are committed: from here on they must reach people."""
        made: list[Expected] = []
        if served.days is not None:
            made += self.promises.read(self.spec, served.days, wall)
            made += self._sight.read(served.days, wall)
            self.counts["good polls"] += 1
        elif served.failure is not None:
            made += self._sight.not_seen(served.failure, wall)
            self.counts["failed polls"] += 1
        return self._expect(made, at, wall)

    def kept_edit(self, at: datetime, wall: datetime) -> list[Expected]:
        """An edit's consequences are committed."""
        return self._expect(self.promises.edit(self.spec, wall), at, wall)

    def use(self, spec: FileSpec, at: datetime) -> None:
        """The rules file on disk is this one from now on."""
        self.spec = spec
        self._note_fallbacks(at)

    def _note_fallbacks(self, at: datetime | None) -> None:
        pairs = [(name, other) for name, instead in self.spec.fallbacks for other in instead]
        self._falls_to = {pair: self._falls_to.get(pair, at) for pair in pairs}
        self._ever_fell_to |= set(pairs)

    def clock_moved(self, at: datetime) -> None:
        """What was due by the clock until now, nobody can say."""
        self._jumped = at

    def confirmed(self, delivery: str, wall: datetime) -> None:
        """What became of it is committed: it can never be sent again."""
        parcel = self._unconfirmed.pop(delivery, None)
        for item in parcel.items if parcel is not None else ():
            item.settled = wall

    def crashed(self) -> None:
        """The process died: what was taken without its knowing, may come once more; its complaints are lost."""
        for parcel in self._unconfirmed.values():
            parcel.lose_answer()
            self.counts["answers lost in a crash"] += 1
        self._unconfirmed = {}
        self._complaining = []

    def pass_ended(self) -> None:
        """A whole pass went by without a crash: what was refused in it must be reported."""
        for parcel in self._complaining:
            parcel.must_report = True
        self._complaining = []

    def _expect(self, made: Iterable[Expected], at: datetime, wall: datetime) -> list[Expected]:
        self._evaluations += 1
        found = [replace(each, at=at, wall=wall, evaluation=self._evaluations) for each in made]
        for each in found:
            (self._ended.add if each.kind == "resolved" else self._ended.discard)(each.key)
            for channel, required in self._recipients(each).items():
                self._put(channel, Item(each, required))
            self.counts[f"{each.kind} {each.reason}"] += 1
        return found

    def _put(self, channel: str, item: Item) -> None:
        expected = item.expected
        for older in self._waiting(channel, expected.key):
            older.state = "superseded"
            self.counts["superseded"] += 1
        self._latest[channel][expected.key] = item
        self._items[channel][(*expected.key[:2], expected.span, expected.number)] = item
        if expected.kind == "firing":
            self._firing[(channel, expected.key)].append(item)

    def _recipients(self, expected: Expected) -> dict[str, bool]:
        """The channels that must (True) or may (False) get the notice."""
        channels = self.spec.channels
        pagers = {name for name in channels if name.startswith("pager")}
        if expected.kind == "resolved":
            told = {c: sure for c in channels if (sure := self._told(c, expected.key)) is not None}
            return {c: sure for c, sure in told.items() if expected.reason != "period_over" or c in pagers}
        rule = self.spec.rule(expected.key[0])
        named = set(rule.notify) if rule is not None else set()
        for route in self.spec.routes:
            right_severity = route.severity in ("", expected.severity)
            if right_severity and route.workspace in ("", dict(expected.key[1]).get("workspace", "-")):
                named |= set(route.notify)
        named = named or set(channels)
        return dict.fromkeys(sorted(named - pagers if expected.kind == "info" else named), True)

    def _told(self, channel: str, key: Key) -> bool | None:
        """Whether the channel was, or is about to be, told that it began; None: never. False: nobody can be sure."""
        items = [*self._firing.get((channel, key), ()), *self._instead_of(channel, key, "firing")]
        if any(item.delivery or item.state == "pending" for item in items):
            return True
        fell = any(self._firing.get((other, key)) for other, to in self._ever_fell_to if to == channel)
        return False if items or fell else None

    def _waiting(self, channel: str, key: Key) -> list[Item]:
        """What of that incident the channel has not taken yet."""
        latest = self._latest[channel].get(key)
        items = [*([latest] if latest is not None else []), *self._instead_of(channel, key)]
        return [each for each in items if each.state == "pending"]

    def _instead_of(self, channel: str, key: Key, kind: str = "") -> list[Item]:
        """What of that incident the channel was sent as the fallback of another one."""
        items = self._instead[channel].values()
        return [each for each in items if each.expected.key == key and kind in ("", each.expected.kind)]

    # --- what the channels saw -----------------------------------------------------------------

    def offered(self, channel: str, message: Message, at: datetime, wall: datetime) -> None:
        """A message is on its way to a channel, whatever becomes of it."""
        parcel = self._parcels[(channel, message.id)]
        parcel.attempts += 1
        parcel.items, parcel.reports = [], []
        self._check(channel in self.spec.channels, f"{channel} is not in the rules file any more")
        because = message.data["data"]["because"] or ""
        instead_of = tuple(dict.fromkeys(_INSTEAD.findall(because)))
        gathered = _GATHERED in because
        for alert in _alerts(message):
            if alert["rule"]["id"] == _REPORT:
                self._check_report(channel, alert, fallen=bool(instead_of))
                parcel.about_reports = True
                parcel.oldest = max(parcel.oldest, wall - datetime.fromisoformat(message.data["timestamp"]))
                parcel.reports.append(alert["notice"])
                if alert["notice"] not in self._heard_reports[channel]:
                    decided = datetime.fromisoformat(message.data["timestamp"])
                    self._open_reports.setdefault((channel, alert["notice"]), (at, decided))
                continue
            item = self._item(channel, alert, instead_of, wall)
            self._check_place(channel, message.id, item, gathered=gathered)
            self._check_words(alert, item.expected)
            parcel.items.append(item)
            parcel.oldest = max(parcel.oldest, wall - item.expected.wall)

    def answered(self, channel: str, message: Message, outcome: Outcome, at: datetime, *, taken: bool) -> None:
        """What the channel did with the message, and what it said it did."""
        parcel = self._parcels[(channel, message.id)]
        self._count_failure(channel, outcome, at)
        if taken:
            self._take(channel, message, parcel)
            if outcome is Outcome.DELIVERED:
                self._unconfirmed[message.id] = parcel
            else:
                parcel.lose_answer()
        parcel.rejected += outcome is Outcome.REJECTED
        parcel.broken += outcome in _BROKEN
        refused = outcome in _BROKEN or parcel.rejected >= len(Face)
        if refused and not parcel.about_reports:
            self._complaining.append(parcel)

    def _count_failure(self, channel: str, outcome: Outcome, at: datetime) -> None:
        if outcome is Outcome.DELIVERED:
            self._failures[channel] = 0
        elif outcome in _BROKEN:
            self._failures[channel] += FAILED_OFTEN
        elif outcome in (Outcome.RETRY, Outcome.UNKNOWN):
            self._failures[channel] += 1
        if self._failures[channel] >= FAILED_OFTEN:
            self._failing_until[channel] = at

    def _was_failing(self, channel: str, since: datetime) -> bool:
        """Whether the channel failed often, at some time since then."""
        until = self._failing_until.get(channel)
        return until is not None and (until >= since or self._failures[channel] >= FAILED_OFTEN)

    def taken_then_crashed(self, channel: str, message: Message) -> None:
        """The channel took the message, and the process died before it could know."""
        parcel = self._parcels[(channel, message.id)]
        self._take(channel, message, parcel)
        self._unconfirmed[message.id] = parcel

    def _take(self, channel: str, message: Message, parcel: Parcel) -> None:
        parcel.accepted += 1
        self.counts["messages"] += 1
        if parcel.accepted > 1:
            self.counts["repeated after a lost answer"] += 1
            self._check(
                parcel.accepted <= 1 + parcel.lost_answers,
                f"{message.id} was sent to {channel} {parcel.accepted} times, and only {parcel.lost_answers} answers "
                f"were lost: {message.title}",
            )
        for report in parcel.reports:
            self._open_reports.pop((channel, report), None)
            self._heard_reports[channel].add(report)
        for item in parcel.items:
            item.accepted += 1
            self._check(item.accepted <= 1 + item.lost, f"{channel} took {_told(item)} {item.accepted} times")
            item.state = "received"
            self._newest[(channel, item.expected.key)] = item.expected.number
            if item.instead_of:
                self.counts["taken instead of another channel"] += 1

    def _item(self, channel: str, alert: Mapping[str, Any], instead_of: tuple[str, ...], wall: datetime) -> Item:
        name, number, span = alert["rule"]["id"], alert["sequence"], _span(alert)
        scope = tuple((part["type"], part["id"]) for part in alert["scope"]["dimensions"] if "*" not in part["id"])
        place = (name, scope, span, number)
        for owner in instead_of or (channel,):
            item = self._items[owner].get(place)
            if item is not None:
                return self._taken_over(channel, owner, place, item, wall) if instead_of else item
        what = f"{name} {scope} {span} #{number} {alert['state']} {alert['reason']}: {alert['title']}"
        elsewhere = [other for other, items in self._items.items() if place in items]
        meant = f"what was meant for {elsewhere}" if elsewhere else "what nobody had to say"
        raise BrokenPromiseError(f"{channel} was sent {meant}: {what}")

    def _taken_over(
        self, channel: str, instead_of: str, place: tuple[object, ...], original: Item, wall: datetime
    ) -> Item:
        """What the channel gets because another one has not taken it: only if that is so, and the file says so."""
        known = self._instead[channel].get((instead_of, *place))
        if known is not None:
            return known
        what = f"{channel} was given {_told(original)} instead of {instead_of}"
        self._check((instead_of, channel) in self._ever_fell_to, f"{what}, whose fallback it never was")
        parcel = self._parcels[(instead_of, original.delivery)]
        hopeless = parcel.rejected >= len(Face) or self._was_failing(instead_of, original.expected.at)
        if not (hopeless or self._unsure_of_time(original)):
            due = original.expected.wall + timedelta(minutes=AFTER[instead_of])
            self._check(wall >= due, f"{what}, which still had until {due}")
            self._check(original.settled is None or original.settled >= due, f"{what}, which had taken it in time")
        for older in [
            self._latest[channel].get(original.expected.key),
            *self._instead_of(channel, original.expected.key),
        ]:
            if older is not None and older.state == "pending" and older.expected.number < original.expected.number:
                older.state = "superseded"
        made = Item(original.expected, instead_of=instead_of)
        self._instead[channel][(instead_of, *place)] = made
        return made

    def _unsure_of_time(self, item: Item) -> bool:
        """Whether the clock was set since it was decided."""
        return self._jumped is not None and item.expected.at <= self._jumped

    def _check_place(self, channel: str, delivery: str, item: Item, *, gathered: bool) -> None:
        expected = item.expected
        what = f"{expected.key} #{expected.number} on {channel}"
        self._check(item.state != "superseded", f"{what} was sent after it had been superseded")
        # What waited for a channel that was down may leave as one message when it is back.
        self._check(item.delivery in ("", delivery) or gathered, f"{what} came under two delivery ids")
        newest = self._newest.get((channel, expected.key), 0)
        self._check(expected.number >= newest, f"{what} came after #{newest}")
        item.delivery = delivery
        if not channel.startswith("pager") and not item.instead_of and not gathered:
            known = self._chat.setdefault((channel, expected.evaluation), delivery)
            self._check(known == delivery, f"{channel} got two messages of one poll: {known} and {delivery}")

    def _check_words(self, alert: Mapping[str, Any], expected: Expected) -> None:
        place = (expected.key, expected.number)
        ids = (alert["notice"], alert["incident"])
        self._check(self._ids.setdefault(place, ids) == ids, f"{place} changed its id: {self._ids[place]}, {ids}")
        self._check(self._owners.setdefault(ids[0], place) == place, f"{ids[0]} names two notices")
        self._check(self._owners.setdefault(ids[1], expected.key) == expected.key, f"{ids[1]} names two incidents")
        said: dict[str, object] = {"kind": alert["state"], "reason": alert["reason"]}
        due: dict[str, object] = {"kind": expected.kind, "reason": expected.reason}
        if expected.severity is not None:
            said["severity"], due["severity"] = alert["severity"], expected.severity
        if expected.step is not None:
            said["step"], due["step"] = _percent(alert["step"]["reached"]), expected.step
            said["skipped"] = tuple(map(_percent, alert["step"]["skipped"]))
            due["skipped"] = expected.skipped
        if expected.spent is not None:
            said |= {"spent": alert["money"]["spent"], "budget": alert["money"]["budget"]}
            due |= {"spent": expected.spent, "budget": expected.budget}
        self._check(said == due, f"{place} says {said}, and should say {due}")
        for part in alert["contributors"]:
            where = (part["model"] or "", part["token_type"] or "")
            self._check(
                expected.parts.get(where) == part["amount"],
                f"{place}: {where} is said to be {part['amount']}, and is {expected.parts.get(where)}",
            )

    def _check_report(self, channel: str, alert: Mapping[str, Any], *, fallen: bool) -> None:
        about, name = alert["scope"]["dimensions"][0]["id"], alert["scope"]["dimensions"][0]["name"]
        delivery, _, state = about.partition("/")
        if delivery == "down":
            self._check(name in self._failing_until, f"{name} is said to be down, and has taken everything")
            return
        self._check(channel != name or fallen, f"{channel} was sent a complaint about itself")
        self._reported[delivery].add(state)
        parcel = self._parcels.get((name, delivery))
        given_up = state == "given_up"
        if parcel is None:
            self._check(name not in self.spec.channels, f"{about}: was never tried on {name}, which exists")
            return
        spent = parcel.oldest >= GIVE_UP - timedelta(hours=1) or name not in self.spec.channels
        fair = spent if given_up else parcel.broken > 0 or parcel.rejected >= len(Face)
        self._check(fair, f"{about} on {name} is reported, and had {parcel}")

    # --- what must hold all the time -----------------------------------------------------------

    def nothing_is_late(self, channel: str, taking_since: datetime, at: datetime, wall: datetime) -> None:
        """What is due on a channel that has taken messages for long, has arrived."""
        for instead_of, to in self._falls_to:
            if to == channel:
                self._check_fallback(instead_of, channel, taking_since, at)
        for item in self._pending(channel):
            parcel = self._parcels[(channel, item.delivery)]
            if parcel.oldest >= GIVE_UP - timedelta(hours=1):
                continue  # given up, perhaps: whether that was reported is looked at in the end
            since = max(taking_since, item.expected.at)
            lost = f"{channel} has taken messages since {since:%d %b %H:%M} and has not got {_told(item)}"
            self._check(at - since < PROMPT, lost)
        for (name, report), (first, decided) in self._open_reports.items():
            aged = wall - decided >= GIVE_UP - timedelta(hours=1)
            late = name == channel and not aged and at - max(taking_since, first) >= PROMPT
            self._check(not late, f"{channel} takes messages and has not got the complaint {report}")

    def _check_fallback(self, instead_of: str, channel: str, taking_since: datetime, at: datetime) -> None:
        """What a channel has not taken for long, its fallback has, if that takes messages."""
        since = self._falls_to[(instead_of, channel)]
        after = timedelta(minutes=AFTER[instead_of])
        for item in self._items[instead_of].values():
            each = item.expected
            newest = self._latest[channel].get(each.key)
            told_more = newest is not None and newest.expected.number > each.number
            wakes = channel.startswith("pager") and each.kind == "firing" and each.key in self._ended
            if item.state != "pending" or not item.required or told_more or wakes:
                continue
            begun = max(taking_since, each.at + after, since or each.at)
            if at - begun < PROMPT or self._parcels[(instead_of, item.delivery)].oldest >= GIVE_UP - timedelta(hours=1):
                continue
            place = (instead_of, *each.key[:2], each.span, each.number)
            handed = self._instead[channel].get(place)
            done = handed is not None and handed.state != "pending"
            self._check(done, f"{instead_of} has not taken {_told(item)}, and its fallback {channel} has not got it")

    def at_the_end(self, taking: Mapping[str, bool], wall: datetime) -> None:
        """Every fault is over for days: nothing is left but what was given up, and that was reported."""
        for channel in list(self._items):
            for item in self._pending(channel):
                if (
                    channel in taking
                    and not taking[channel]
                    and wall - item.expected.wall < GIVE_UP + timedelta(hours=4)
                ):
                    continue
                states = self._reported.get(item.delivery, set())
                reported = "given_up" in states or (not item.delivery and channel not in taking)
                self._check(reported, f"lost on {channel}: {_told(item)}, {self._parcels[(channel, item.delivery)]}")
                self.counts["given up and reported"] += 1
        for (channel, delivery), parcel in self._parcels.items():
            self._check(
                not parcel.must_report or delivery in self._reported,
                f"{channel} refused {delivery} for good, and nobody was told",
            )

    def _pending(self, channel: str) -> list[Item]:
        items = [*self._latest[channel].values(), *self._instead[channel].values()]
        return [item for item in items if item.state == "pending" and item.required]

    def _check(self, holds: bool, complaint: str) -> None:
        if not holds:
            raise BrokenPromiseError(complaint)


def _alerts(message: Message) -> list[dict[str, Any]]:
    data = message.data["data"]
    if "alerts" in data and data["omitted"]:
        raise BrokenPromiseError("the simulated world is too small for alerts to be left out")
    return list(data.get("alerts", [data]))


def _span(alert: Mapping[str, Any]) -> object:
    if alert["rule"]["id"].startswith("budgetd:"):
        return alert["period"]["start"]
    return tuple(date.fromisoformat(alert["period"][name][:10]) for name in ("start", "end"))


def _percent(share: str) -> int:
    whole, _, part = share.partition(".")
    return int(whole) * 100 + int(part.ljust(2, "0"))


def _told(item: Item) -> str:
    each = item.expected
    return f"{each.key} #{each.number} {each.kind} {each.reason} step {each.step} of {each.at:%Y-%m-%d %H:%M}"
