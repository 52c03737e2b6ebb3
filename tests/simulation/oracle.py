"""The judge from outside: what the channels received against what had to be said; the daemon's state is not asked."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from budgetd.message import Message
from budgetd.model import Act, Face, Outcome
from tests.simulation.api import Served
from tests.simulation.crashes import BrokenPromiseError
from tests.simulation.items import Bundle, Item, Parcel
from tests.simulation.people import People, Wish
from tests.simulation.promises import Expected, Key, Promises
from tests.simulation.rulefiles import AFTER, LASTING, FileSpec
from tests.simulation.sight import Sight

GIVE_UP = timedelta(hours=72)
# How long after a channel takes messages again, the clocks being right, everything must have arrived.
PROMPT = timedelta(hours=3)
_REPORT = "budgetd:undeliverable"
_MOVED = "budgetd:channel_moved"
_BROKEN = (Outcome.UNAUTHORISED, Outcome.GONE)
_INSTEAD = re.compile(r"(?:You get this because|and) (\S+) has not taken it: \S")
# A channel that failed so often in a row takes nothing for now: its fallbacks need not wait.
FAILED_OFTEN = 3
# More triggers at once than this are one page.
PAGES_AT_ONCE = 5
_GATHERED = "this is what waited for it"
_REPEATED = "This may be a repeat"


class Oracle:
    """Knows what was truly served, what was edited, and what the channels were sent; judges at every moment."""

    def __init__(self, spec: FileSpec) -> None:
        self.spec = spec
        self.promises = Promises()
        self.people = People()
        self.promises.silenced = self.people.silenced
        self._bundles: list[Bundle] = []
        self._beside_pagers: set[str] = set()
        self._crashed_at: datetime | None = None
        self.counts: Counter[str] = Counter()
        self._sight = Sight()
        self._evaluations = 0
        self._items: dict[str, dict[tuple[object, ...], Item]] = defaultdict(dict)
        self._latest: dict[str, dict[Key, Item]] = defaultdict(dict)
        self._firing: dict[tuple[str, Key], list[Item]] = defaultdict(list)
        self._acknowledged: dict[tuple[str, Key], list[Item]] = defaultdict(list)
        self._ids: dict[tuple[Key, int], tuple[str, str]] = {}
        self._owners: dict[str, object] = {}
        self._newest: dict[tuple[str, Key], tuple[int, str]] = {}
        self._parcels: dict[tuple[str, str], Parcel] = defaultdict(Parcel)
        self._chat: dict[tuple[str, int, bool], str] = {}
        self._reported: dict[str, set[str]] = defaultdict(set)
        self._unconfirmed: dict[str, Parcel] = {}
        self._complaining: list[Parcel] = []
        self._open_reports: dict[tuple[str, str], tuple[datetime, datetime]] = {}
        self._aged_reports: set[tuple[str, str]] = set()
        self._heard_reports: dict[str, set[str]] = defaultdict(set)
        self._instead: dict[str, dict[tuple[object, ...], Item]] = defaultdict(dict)
        self._falls_to: dict[tuple[str, str], datetime | None] = {}
        self._ever_fell_to: set[tuple[str, str]] = set()
        self._jumped: datetime | None = None
        self._failures: Counter[str] = Counter()
        self._failing_until: dict[str, datetime] = {}
        self._ended: set[Key] = set()
        self._note_channels(None)

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

    def kept_act(self, wish: Wish, at: datetime, wall: datetime) -> list[Expected]:
        """What somebody did is committed."""
        made: list[Expected] = []
        if wish.act is Act.SILENCE and wish.hush is not None:
            self.people.begin(wish.hush, self.promises.stories.values(), wall)
        elif wish.hush is not None:
            for hush in self.people.silences:
                hush.ended = hush.ended or hush.asked == wish.hush.asked
        elif wish.key is not None:
            story = self.promises.stories[wish.key]
            if wish.act is Act.ACKNOWLEDGE:
                made = self.promises.acknowledge(story, wall)
            elif wish.act is Act.UNACKNOWLEDGE:
                story.acknowledged = None
            else:
                made = self.promises.resolve_by_hand(story, wall)
        self.counts[f"people: {wish.act.value}"] += 1
        return self._expect(made, at, wall)

    def refuses(self, wish: Wish, wall: datetime) -> bool:
        """Whether it cannot be done: there is nothing to do it to."""
        if wish.hush is not None:
            stories = self.promises.stories.values()
            if wish.act is Act.SILENCE:
                return self.people.nothing_ends(wish.hush, stories, wall)
            return not wish.hush.is_active(wall)
        story = self.promises.stories[wish.key] if wish.key is not None else None
        if story is None or story.state == "resolved":
            return True
        if wish.act is Act.ACKNOWLEDGE:
            return story.acknowledged == max(story.announced, default=None)
        return wish.act is Act.UNACKNOWLEDGE and story.acknowledged is None

    def use(self, spec: FileSpec, at: datetime) -> None:
        """The rules file on disk is this one from now on."""
        self.spec = spec
        self._note_channels(at)

    def _note_channels(self, at: datetime | None) -> None:
        others = [name for name in self.spec.channels if not name.startswith("pager")]
        self._beside_pagers |= set(others if len(others) == 1 else ())
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

    def crashed(self, at: datetime) -> None:
        """The process died: what was taken without its knowing, may come once more; its complaints are lost."""
        for parcel in self._unconfirmed.values():
            parcel.lose_answer()
            self.counts["answers lost in a crash"] += 1
        self._unconfirmed = {}
        self._complaining = []
        self._crashed_at = at

    def pass_ended(self) -> None:
        """A whole pass went by without a crash: what was refused in it must be reported."""
        for parcel in self._complaining:
            parcel.must_report = True
        self._complaining = []

    def _expect(self, made: Iterable[Expected], at: datetime, wall: datetime) -> list[Expected]:
        self._evaluations += 1
        found = [replace(each, at=at, wall=wall, evaluation=self._evaluations) for each in made]
        recipients = [(each, self._recipients(each, wall)) for each in found]
        unheard = [item for each in found if each.kind == "resolved" for item in self._unheard(each)]
        self._hold_again(wall)
        for item in unheard:
            item.state = "dropped"
            self.counts["over before anybody was told"] += 1
        fresh: list[tuple[str, Item]] = []
        for each, channels in recipients:
            (self._ended.add if each.kind == "resolved" else self._ended.discard)(each.key)
            fresh += [(channel, Item(each, required)) for channel, required in channels.items()]
            self.counts[f"{each.kind} {each.reason}"] += 1
        for channel, item in fresh:
            self._put(channel, item)
        self._bundle(fresh, wall)
        return found

    # --- what waits ----------------------------------------------------------------------------

    def _bundle(self, fresh: list[tuple[str, Item]], wall: datetime) -> None:
        """What is new in a channel and waits equally long is one message there; each by itself where it pages."""
        together: dict[tuple[object, ...], list[Item]] = defaultdict(list)
        for channel, item in fresh:
            together[(channel, self.people.until(item.expected, channel, wall, self.spec))].append(item)
        for (channel, mute), items in together.items():
            name, until, by = str(channel), *(mute if isinstance(mute, tuple) else (None, ""))
            begins = [item for item in items if item.expected.kind in ("firing", "info")]
            alone = name.startswith("pager") and len(begins) <= PAGES_AT_ONCE
            for part in [[item] for item in items] if alone else [items]:
                made = Bundle(name, part, until, until is not None, by)
                self._bundles.append(made)
                for item in part:
                    item.bundle = made
                self.counts["kept back"] += made.was_held

    def _hold_again(self, wall: datetime) -> None:
        """How long what was decided earlier waits by now."""
        self._bundles = [bundle for bundle in self._bundles if bundle.pending]
        for bundle in self._bundles:
            needed = [item for item in bundle.pending if item.required] or bundle.pending
            ends = [self.people.until(item.expected, bundle.channel, wall, self.spec) for item in needed]
            waiting = [end for end in ends if end is not None]
            if len(waiting) == len(ends):
                bundle.hold, bundle.by = min(waiting)
                bundle.was_held, bundle.let_go = True, False
                bundle.unsure = len(needed) < len(bundle.pending)
            elif bundle.hold is not None and bundle.hold > wall:
                bundle.hold, bundle.let_go = wall, True  # also when the clock is set back afterwards

    def _unheard(self, end: Expected) -> list[Item]:
        """What waits still, was never told, and need not be told any more, as it is over."""
        items = [(channel, self._latest[channel].get(end.key)) for channel in list(self._latest)]
        return [
            item
            for channel, item in items
            if item is not None and item.state == "pending" and item.was_held and not item.delivery
            if channel.startswith("pager") or end.reason != "period_over"
        ]

    def _check_hold(self, channel: str, items: list[Item], because: str, at: datetime, wall: datetime) -> None:
        """Nothing is sent before its end; what waited is one message at the end, and says what it waited for."""
        named = "; ".join(map(_told, items))
        sure = [item for item in items if item.bundle is None or not item.bundle.unsure]
        early = sure == items and all(item.is_held(wall) for item in items)
        self._check(not early, f"{channel} was sent what was to wait: {named}")
        held = [item for item in sure if item.was_held and not item.delivery and not item.instead_of]
        # A process may have died with it in hand, before it was on its way: it is tried again by itself.
        if len(held) < len(items) or _REPEATED in because:
            return
        by = [item.bundle.by for item in held if item.bundle is not None]
        said = "Held back until" in because and any(each in because for each in by)
        self._check(said, f"{channel} is not told why it gets {named} only now: {because}")
        self.counts["told at the end of a quiet time"] += len(held)
        troubles = [when for when in (self._crashed_at, self._jumped) if when is not None]
        if channel.startswith("pager") or any(at - when < timedelta(days=2) for when in troubles):
            return
        left = [
            item
            for bundle in self._bundles
            if bundle.channel == channel and bundle.was_held and bundle.hold is not None and bundle.hold <= wall
            for item in bundle.pending
            if item.required and not item.delivery and item not in items and item.expected.wall <= wall
            # The same of what waits.
            if self._crashed_at is None or item.expected.at > self._crashed_at
        ]
        self._check(not left, f"{channel} gets {named} without {'; '.join(map(_told, left))}, which waited, too")

    def _put(self, channel: str, item: Item) -> None:
        expected = item.expected
        self._items[channel][(*expected.key[:2], expected.span, expected.number)] = item
        waiting = self._waiting(channel, expected.key)
        if expected.kind == "acknowledged" and waiting:
            # Who has it comes after what it is about, and replaces nothing.
            self._acknowledged[(channel, expected.key)].append(item)
            return
        for older in waiting:
            if not item.required:
                older.required = False  # it stays due if the newer one is not sent
                continue
            older.state = "superseded"
            self.counts["superseded"] += 1
        self._latest[channel][expected.key] = item
        if expected.kind == "firing":
            self._firing[(channel, expected.key)].append(item)

    def _recipients(self, expected: Expected, wall: datetime) -> dict[str, bool]:
        """The channels that must (True) or may (False) get the notice."""
        channels = self.spec.channels
        pagers = {name for name in channels if name.startswith("pager")}
        if expected.kind in ("resolved", "acknowledged"):
            told = {c: sure for c in channels if (sure := self._told(c, expected.key, wall)) is not None}
            return {c: sure for c, sure in told.items() if expected.reason != "period_over" or c in {*pagers, *LASTING}}
        rule = self.spec.rule(expected.key[0])
        named = set(rule.notify) if rule is not None else set()
        for route in self.spec.routes:
            right_severity = route.severity in ("", expected.severity)
            if right_severity and route.workspace in ("", dict(expected.key[1]).get("workspace", "-")):
                named |= set(route.notify)
        named = named or set(channels)
        return dict.fromkeys(sorted(named - pagers if expected.kind == "info" else named), True)

    def _told(self, channel: str, key: Key, wall: datetime) -> bool | None:
        """Whether the channel was, or is about to be, told that it began; None: never. False: nobody can be sure."""
        items = [*self._firing.get((channel, key), ()), *self._instead_of(channel, key, "firing")]
        if any(item.delivery or (item.state == "pending" and not item.was_held) for item in items):
            return True
        # What waits was told to nobody; a process that died after its end, or before it waited, may have meant to.
        died = self._crashed_at
        items = [
            item
            for item in items
            if not (item.was_held and item.is_held(wall)) or (died is not None and died >= item.expected.at)
        ]
        fell = any(self._firing.get((other, key)) for other, to in self._ever_fell_to if to == channel)
        return False if items or fell else None

    def _waiting(self, channel: str, key: Key) -> list[Item]:
        """What of that incident the channel has not taken yet."""
        latest = self._latest[channel].get(key)
        items = [*([latest] if latest is not None else []), *self._acknowledged.get((channel, key), ())]
        return [each for each in [*items, *self._instead_of(channel, key)] if each.state == "pending"]

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
        # What a fallback gets may have been made while the clock was behind, long before it was decided by it.
        parcel.first = min(parcel.first or wall, wall)
        parcel.oldest = max(parcel.oldest, wall - parcel.first)
        self._check(channel in self.spec.channels, f"{channel} is not in the rules file any more")
        because = message.data["data"]["because"] or ""
        instead_of = tuple(dict.fromkeys(_INSTEAD.findall(because)))
        gathered = _GATHERED in because
        decided = datetime.fromisoformat(message.data["timestamp"])
        handed = Bundle(channel, [])
        for alert in _alerts(message):
            if alert["rule"]["id"] == _MOVED:
                self._check(channel != "pager" or bool(instead_of), "the pager is told of its own old address")
                self.counts["told of an old address"] += 1
                parcel.oldest = max(parcel.oldest, wall - decided)
                continue
            if alert["rule"]["id"] == _REPORT:
                self._check_report(channel, alert, fallen=bool(instead_of))
                parcel.about_reports = True
                parcel.oldest = max(parcel.oldest, wall - decided)
                parcel.reports.append(alert["notice"])
                if wall - decided >= GIVE_UP - timedelta(hours=1):
                    # It may be given up now, and stays so when the clock is set back.
                    self._aged_reports.add((channel, alert["notice"]))
                if alert["notice"] not in self._heard_reports[channel]:
                    self._open_reports.setdefault((channel, alert["notice"]), (at, decided))
                continue
            item = self._item(channel, alert, instead_of, handed, wall)
            self._check_place(channel, message.id, item, gathered=gathered)
            self._check_words(alert, item.expected)
            parcel.items.append(item)
            parcel.oldest = max(parcel.oldest, wall - item.expected.wall)
        if handed.items:
            self._bundles.append(handed)
        if parcel.items and not parcel.reports:
            self._check_hold(channel, parcel.items, because, at, wall)
        for item in parcel.items:
            item.delivery = message.id

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

    def owed(self, channel: str, message: Message) -> None:
        """A message is on its way to an address that the channel had: only what ends there may be."""
        for alert in _alerts(message):
            fair = alert["state"] in ("resolved", "acknowledged") and alert["incident"] in self._owners
            self._check(fair, f"an old address of {channel} was sent {alert['state']} {alert['title']}")
            item = self._items[channel].get(_place(alert))
            if item is not None:
                item.owed = True

    def owed_taken(self, channel: str, message: Message) -> None:
        """The old address has it."""
        for alert in _alerts(message):
            item = self._items[channel].get(_place(alert))
            if item is not None and item.state == "pending":
                item.state = "received"
            self.counts["ended at an old address"] += 1

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
            self._newest[(channel, item.expected.key)] = (item.expected.number, message.id)
            if item.instead_of:
                self.counts["taken instead of another channel"] += 1

    def _item(
        self, channel: str, alert: Mapping[str, Any], instead_of: tuple[str, ...], handed: Bundle, wall: datetime
    ) -> Item:
        place = name, scope, span, number = _place(alert)
        found = [(owner, item) for owner in instead_of or (channel,) if (item := self._items[owner].get(place))]
        # A message for several channels does not say what of it was for which: for one that has not taken it.
        for owner, item in sorted(found, key=lambda each: each[1].settled is not None):
            return self._taken_over(handed, owner, place, item, wall) if instead_of else item
        what = f"{name} {scope} {span} #{number} {alert['state']} {alert['reason']}: {alert['title']}"
        elsewhere = [other for other, items in self._items.items() if place in items]
        meant = f"what was meant for {elsewhere}" if elsewhere else "what nobody had to say"
        raise BrokenPromiseError(f"{channel} was sent {meant}: {what}")

    def _taken_over(
        self, handed: Bundle, instead_of: str, place: tuple[object, ...], original: Item, wall: datetime
    ) -> Item:
        """What a channel gets because another one has not taken it: only if that is so, and the file says so."""
        channel = handed.channel
        known = self._instead[channel].get(place)
        if known is not None:
            return known
        what = f"{channel} was given {_told(original)} instead of {instead_of}"
        self._check((instead_of, channel) in self._ever_fell_to, f"{what}, whose fallback it never was")
        parcel = self._parcels[(instead_of, original.delivery)]
        hopeless = original.owed or parcel.rejected >= len(Face) or self._was_failing(instead_of, original.expected.at)
        if not (hopeless or self._unsure_of_time(original)):
            # A complaint does not wait, and what was gathered with one does not, either.
            held = original.bundle.hold if original.bundle is not None and not parcel.about_reports else None
            due = max(original.expected.wall, held or original.expected.wall) + timedelta(minutes=AFTER[instead_of])
            self._check(wall >= due, f"{what}, which still had until {due}")
            self._check(original.settled is None or original.settled >= due, f"{what}, which had taken it in time")
        for older in [
            self._latest[channel].get(original.expected.key),
            *self._instead_of(channel, original.expected.key),
        ]:
            newer = older is not None and older.expected.number < original.expected.number
            if older is not None and newer and older.state == "pending" and original.expected.kind != "acknowledged":
                older.state = "superseded"
        made = Item(original.expected, instead_of=instead_of, bundle=handed)
        handed.items.append(made)
        self._instead[channel][place] = made
        return made

    def _unsure_of_time(self, item: Item) -> bool:
        """Whether the clock was set since it was decided."""
        return self._jumped is not None and item.expected.at <= self._jumped

    def _check_place(self, channel: str, delivery: str, item: Item, *, gathered: bool) -> None:
        expected = item.expected
        what = f"{expected.key} #{expected.number} on {channel}"
        self._check(item.state != "superseded", f"{what} was sent after it had been superseded")
        self._check(item.state != "dropped", f"{what} was sent for the first time after it was over")
        # What waited for a channel that was down may leave as one message when it is back.
        self._check(item.delivery in ("", delivery) or gathered, f"{what} came under two delivery ids")
        newest, by = self._newest.get((channel, expected.key), (0, ""))
        self._check(expected.number >= newest or by == delivery, f"{what} came after #{newest}")
        if not channel.startswith("pager") and not item.instead_of and not gathered:
            known = self._chat.setdefault((channel, expected.evaluation, item.was_held), delivery)
            self._check(
                item.was_held or known == delivery, f"{channel} got two messages of one poll: {known} and {delivery}"
            )

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
        # A process that starts with a clock two days back does not know of the days since.
        if expected.spent is not None and expected.at - expected.wall < timedelta(days=1):
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
            was_so = name in self._failing_until or "~" in name  # an old address fails by itself
            self._check(was_so, f"{name} is said to be down, and has taken everything")
            return
        self._check(channel != name or fallen, f"{channel} was sent a complaint about itself")
        self._reported[delivery].add(state)
        parcel = self._parcels.get((name, delivery))
        given_up = state == "given_up"
        if parcel is None:
            self._check(name not in self.spec.channels, f"{about}: was never tried on {name}, which exists")
            return
        spent = parcel.oldest >= GIVE_UP - timedelta(hours=1) or name not in self.spec.channels
        refused = parcel.broken > 0 or parcel.rejected >= len(Face) or any(item.owed for item in parcel.items)
        fair = spent if given_up else refused
        self._check(fair, f"{about} on {name} is reported, and had {parcel}")

    # --- what must hold all the time -----------------------------------------------------------

    def nothing_is_late(self, channel: str, taking_since: datetime, at: datetime, wall: datetime) -> None:
        """What is due on a channel that has taken messages for long, has arrived."""
        for instead_of, to in self._falls_to:
            if to == channel:
                self._check_fallback(instead_of, channel, taking_since, at, wall)
        for item in self._pending(channel):
            parcel = self._parcels[(channel, item.delivery)]
            if parcel.oldest >= GIVE_UP - timedelta(hours=1):
                continue  # given up, perhaps: whether that was reported is looked at in the end
            if item.is_held(wall):
                continue
            since = max(taking_since, item.expected.at, _released(item, at, wall))
            lost = f"{channel} has taken messages since {since:%d %b %H:%M} and has not got {_told(item)}"
            self._check(at - since < PROMPT, lost)
        for (name, report), (first, decided) in self._open_reports.items():
            aged = wall - decided >= GIVE_UP - timedelta(hours=1) or (name, report) in self._aged_reports
            late = name == channel and not aged and at - max(taking_since, first) >= PROMPT
            late = late and not self.people.may_hold_reports(channel, wall, self.spec)
            self._check(not late, f"{channel} takes messages and has not got the complaint {report}")

    def _check_fallback(
        self, instead_of: str, channel: str, taking_since: datetime, at: datetime, wall: datetime
    ) -> None:
        """What a channel has not taken for long, its fallback has, if that takes messages."""
        since = self._falls_to[(instead_of, channel)]
        after = timedelta(minutes=AFTER[instead_of])
        for item in self._items[instead_of].values():
            each = item.expected
            newest = self._latest[channel].get(each.key)
            told_more = newest is not None and newest.expected.number > each.number
            whose = self._acknowledged.get((channel, each.key), ())
            told_more = told_more or any(got.delivery and got.expected.number > each.number for got in whose)
            news = each.kind == "resolved" or (each.kind == "firing" and each.key not in self._ended)
            wakes = channel.startswith("pager") and not news
            # Who has it comes after what it is about, in either channel.
            about = [self._latest[name].get(each.key) for name in (instead_of, channel)]
            held = any(got is not None and got.state == "pending" and got.was_held for got in about)
            if item.state != "pending" or not item.required or told_more or wakes or item.is_held(wall):
                continue
            if item.owed or (held and each.kind == "acknowledged"):
                continue
            own = newest if newest is not None and newest.expected.number == each.number else None
            if own is not None and own.was_held:
                continue  # it is kept back there, or was, and comes when that is over
            lately = (wall - timedelta(hours=hours) for hours in range(5))
            if any(self.people.until(each, channel, then, self.spec) for then in lately):
                continue
            parcel = self._parcels[(instead_of, item.delivery)]
            if parcel.about_reports:
                continue  # what is told together with a complaint waits as long as that
            together = parcel.items or [item]
            released = max(_released(other, at, wall) for other in [item, *together])
            begun = max(taking_since, max(each.at, released) + after, since or each.at)
            if at - begun < PROMPT or parcel.oldest >= GIVE_UP - timedelta(hours=1):
                continue
            # What was gathered meanwhile is not told again to a fallback that has it from another channel.
            handed = [got for got in self._instead_of(channel, each.key) if got.expected.number == each.number]
            aged = (self._parcels[(channel, got.delivery)].oldest >= GIVE_UP - timedelta(hours=1) for got in handed)
            done = any(got.state != "pending" for got in handed) or any(aged)
            self._check(done, f"{instead_of} has not taken {_told(item)}, and its fallback {channel} has not got it")

    def at_the_end(self, taking: Mapping[str, bool], wall: datetime) -> None:
        """Every fault is over for days: nothing is left but what was given up, and that was reported."""
        for channel in list(self._items):
            for item in self._pending(channel):
                # What was gathered is as old as its newest part.
                parcel = self._parcels[(channel, item.delivery)]
                begun = max(item.expected.wall, parcel.first or item.expected.wall)
                if not taking.get(channel, True) and wall - begun < GIVE_UP + timedelta(hours=4):
                    continue
                states = self._reported.get(item.delivery, set())
                reported = "given_up" in states or (not item.delivery and channel not in taking)
                # Nobody is woken for what only informs, and there was nobody else.
                reported = reported or (item.expected.weight == "info" and channel in self._beside_pagers)
                self._check(reported, f"lost on {channel}: {_told(item)}, {self._parcels[(channel, item.delivery)]}")
                self.counts["given up and reported"] += 1
        for (channel, delivery), parcel in self._parcels.items():
            # The daemon knows nothing of a rejection that it died at: it may have been taken one face simpler.
            taken = parcel.accepted > 0 and not parcel.broken
            informs = all(item.expected.weight == "info" for item in parcel.items) and channel in self._beside_pagers
            self._check(
                not parcel.must_report or taken or informs or delivery in self._reported,
                f"{channel} refused {delivery} for good, and nobody was told",
            )

    def check_pages(
        self,
        channel: str,
        open_keys: Mapping[tuple[str, str], str],
        about: Mapping[tuple[str, str], tuple[str, ...]],
        forgotten: Collection[str],
    ) -> None:
        """What is open where it pages is what is so, and was told; all of that is open there.

        `forgotten`: old addresses that a process took with it, or that took nothing any more.
        """
        covered = {incident for key in open_keys for incident in (key[1], *about.get(key, ()))}
        for key in open_keys:
            if key[0] in forgotten:
                self.counts["pages left at a forgotten address"] += 1
                continue
            known = [owner for incident in about.get(key, ()) if (owner := self._owners.get(incident)) is not None]
            stories = [owner for owner in known if isinstance(owner, tuple)]
            over = bool(stories) and all(story in self._ended for story in stories)
            lost = any(item.state == "pending" for item in self._pending(channel) if item.expected.key in stories)
            lost = lost or any(self._was_given_up(channel, story) for story in stories)
            self._check(not over or lost, f"{channel} still has {key} open, which is about {stories}, and is over")
            self.counts["left open, its end given up and reported"] += over
        for (where, story), items in self._firing.items():
            told = items[-1].state == "received" and self._latest[channel].get(story) is items[-1]
            if where == channel and told and story not in self._ended:
                incident = self._ids[(story, items[-1].expected.number)][1]
                self._check(incident in covered, f"{channel} took {_told(items[-1])}, and has nothing open of it")
                self.counts["pages open at the end"] += 1

    def _was_given_up(self, channel: str, story: Key) -> bool:
        """Whether its end was, and people were told so; one of its attempts may have been taken for all that."""
        items = [*self._items[channel].values(), *self._instead_of(channel, story)]
        ends = (item for item in items if (item.expected.key, item.expected.kind) == (story, "resolved"))
        return any("given_up" in self._reported.get(item.delivery, ()) for item in ends)

    def check_alerts(self, channel: str, firing: Collection[str]) -> None:
        """What fires there is not over."""
        lost = {item.expected.key for item in self._pending(channel)}
        for incident in firing:
            story = self._owners.get(incident)
            over = isinstance(story, tuple) and story in self._ended and story not in lost
            self._check(not over, f"{channel} still fires for {story}, which is over")
            self.counts["alerts firing at the end"] += 1

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


def _place(alert: Mapping[str, Any]) -> tuple[str, tuple[tuple[str, str], ...], object, int]:
    """Which notice it is: rule, scope, period, and its number in the incident's story."""
    scope = tuple((part["type"], part["id"]) for part in alert["scope"]["dimensions"] if "*" not in part["id"])
    return alert["rule"]["id"], scope, _span(alert), alert["sequence"]


def _span(alert: Mapping[str, Any]) -> object:
    if alert["rule"]["id"].startswith("budgetd:"):
        return alert["period"]["start"]
    return tuple(date.fromisoformat(alert["period"][name][:10]) for name in ("start", "end"))


def _percent(share: str) -> int:
    whole, _, part = share.partition(".")
    return int(whole) * 100 + int(part.ljust(2, "0"))


def _released(item: Item, at: datetime, wall: datetime) -> datetime:
    """When, in true time, it was kept back no more."""
    hold = item.bundle.hold if item.bundle is not None else None
    return item.expected.at if hold is None else at - (wall - hold)


def _told(item: Item) -> str:
    each = item.expected
    return f"{each.key} #{each.number} {each.kind} {each.reason} step {each.step} of {each.at:%Y-%m-%d %H:%M}"
