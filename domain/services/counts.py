"""Counting: what lies in the inboxes of those who are connected, told to them when it changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any, TypeAlias

from domain.delivery.deadlines import Deadlines
from domain.delivery.hub import Hub, Subscription
from domain.errors import StoreUnavailable
from domain.model import (
    NOTIFICATION_NEW,
    Counted,
    Counts,
    CountsChanged,
    Entry,
    Position,
    Room,
    Subscriber,
    TailEntry,
    UserId,
)
from domain.ports import Clock, Inboxes

AnySubscription: TypeAlias = Subscription[Any, Any]

SECONDS_BETWEEN = 1.0
NEWS_MAX = 1000
TOLD_AT_ONCE = 16
"""Of an entry for more, each would have something else waiting than the others, and nothing would be shared."""
CLOCK_SET_BACK = 1.0


@dataclass(slots=True, eq=False)
class _Tally:
    """The counts of one user in one role, and what each subscription was told last.

    ``counted_at`` is when the inbox was asked, and ``is_outdated`` that it has to be asked again whatever it said. At
    the offset ``moved_at`` its user came to one of the ``rooms``, or left one, or was in several that something was for
    together: what was counted before cannot be added to.
    """

    subscriber: Subscriber
    rooms: frozenset[Room]
    counted: Counted
    counted_at: datetime
    is_outdated: bool = False
    told: dict[AnySubscription, Counts] = field(default_factory=dict)
    told_at: float | None = None
    moved_at: int = 0


def _is_back(entry: TailEntry) -> bool:
    """Whether it is new once more."""
    return isinstance(entry, Entry) and entry.about is not None


def _takes_a_place(entry: TailEntry) -> bool:
    """Whether it comes in the place of an earlier one, with whoever has that."""
    return isinstance(entry, Entry) and bool(entry.earlier)


@dataclass(slots=True, eq=False)
class _News:
    """The new notifications of a room, by offset: all of them after ``complete_after``.

    Nothing but new notifications that stay has come after it, so that counts only have to be added to.
    """

    complete_after: int
    tallies: dict[_Tally, None] = field(default_factory=dict)
    offsets: deque[int] | None = None

    def note(self, entry: TailEntry) -> None:
        offset = entry.position.offset
        is_plain = entry.event == NOTIFICATION_NEW and entry.expires_at is None
        if not is_plain or _is_back(entry) or _takes_a_place(entry) or _may_come_twice(entry):
            self.complete_after = offset
            self.offsets = None
            return
        if self.offsets is None:
            # Most rooms have none, and an empty deque takes 600 octets.
            self.offsets = deque(maxlen=NEWS_MAX)
        if len(self.offsets) == NEWS_MAX:
            self.complete_after = self.offsets[0]
        self.offsets.append(offset)

    def after(self, offset: int) -> int | None:
        """How many came after an offset; None where that cannot be said from here."""
        if offset < self.complete_after:
            return None
        return sum(1 for _ in takewhile(lambda new: new > offset, reversed(self.offsets or ())))


def _rooms_of(subscription: AnySubscription, subscriber: Subscriber) -> frozenset[Room]:
    rooms, starts = subscription.rooms, subscriber.starts
    return rooms if rooms.issuperset(starts) else rooms.union(starts)


def _may_come_twice(entry: TailEntry) -> bool:
    """Whether somebody may be in more than one of its rooms: nobody is where it names users."""
    return len(entry.rooms) > 1 and not next(iter(entry.rooms)).is_own


class CountsService:
    """Keeps the counts of connected users as entries are delivered, and asks the inbox only where it has to.

    The first change of a second is told at once, where it can be added up, and the last of it by ``announce``.

    Those in whose inbox something expires, grows too old or is given up are found by their deadlines: nobody else is
    looked at for it.

    ``announce`` is to be called about once a second until it says False.
    """

    def __init__(self, *, inboxes: Inboxes, hub: Hub, clock: Clock) -> None:
        self._inboxes = inboxes
        self._clock = clock
        hub.observe(self._note)
        self._noted: Position | None = None
        self._given_up = 0
        self._tallies: dict[tuple[UserId, str], _Tally] = {}
        self._by_subscription: dict[AnySubscription, _Tally] = {}
        self._news: dict[Room, _News] = {}
        self._changed: dict[Room, None] = {}
        self._due: dict[_Tally, None] = {}
        self._until: Deadlines[_Tally, datetime] = Deadlines()
        self._given_up_at: Deadlines[_Tally, int] = Deadlines()
        self._clocks_apart = float("-inf")
        # The last place of something in a room of several parts.
        self._in_all_at = 0

    def watch(self, subscription: AnySubscription, subscriber: Subscriber, counted: Counted) -> None:
        """Tell a subscription from now on; it was told what was counted as it connected."""
        key = (subscriber.user, subscriber.role)
        tally = self._tallies.get(key)
        if tally is None:
            rooms = _rooms_of(subscription, subscriber)
            tally = self._tallies[key] = _Tally(subscriber, rooms, counted, self._clock.now())
            tally.moved_at = max(subscription.reach.changed_at, self._in_all_at)
            self._follow(tally, rooms)
            self._set_deadlines(tally)
        tally.told[subscription] = counted.counts
        self._by_subscription[subscription] = tally
        # Between the counting and now there may have been news.
        self._due[tally] = None

    def unwatch(self, subscription: AnySubscription) -> None:
        tally = self._by_subscription.pop(subscription, None)
        if tally is None:
            return
        del tally.told[subscription]
        if tally.told:
            return
        self._due.pop(tally, None)
        self._until.put(tally, None)
        self._given_up_at.put(tally, None)
        del self._tallies[tally.subscriber.user, tally.subscriber.role]
        self._unfollow(tally, tally.rooms)

    def moved(self, subscription: AnySubscription, at: Position) -> None:
        """The user of a subscription came to a topic, or has left one."""
        tally = self._by_subscription.get(subscription)
        if tally is None:
            return
        rooms = _rooms_of(subscription, tally.subscriber)
        self._unfollow(tally, tally.rooms - rooms)
        self._follow(tally, rooms - tally.rooms)
        tally.rooms, tally.moved_at = rooms, at.offset
        self._due[tally] = None

    def _follow(self, tally: _Tally, rooms: Collection[Room]) -> None:
        noted = self._noted.offset if self._noted is not None else 0
        for room in rooms:
            self._news.setdefault(room, _News(noted)).tallies[tally] = None

    def _unfollow(self, tally: _Tally, rooms: Collection[Room]) -> None:
        for room in rooms:
            news = self._news[room]
            del news.tallies[tally]
            if not news.tallies:
                del self._news[room]

    def _note(self, entries: Sequence[TailEntry]) -> None:
        few: dict[_Tally, None] = {}
        for entry in entries:
            self._noted = entry.position
            if len(entry.rooms) == 1 and (room := next(iter(entry.rooms))).is_all:
                tallies = self._count_anew(room, entry)
                (few if len(tallies) <= TOLD_AT_ONCE else self._due).update(tallies)
                continue
            of_rooms = {room: self._news[room] for room in entry.rooms if room in self._news}
            for news in of_rooms.values():
                news.note(entry)
            if sum(len(news.tallies) for news in of_rooms.values()) <= TOLD_AT_ONCE:
                for news in of_rooms.values():
                    few.update(news.tallies)
            else:
                self._changed.update(dict.fromkeys(of_rooms))
        for tally in few:
            self._tell_at_once(tally)

    def _count_anew(self, room: Room, entry: TailEntry) -> Mapping[_Tally, None]:
        """Of whom something in a room of several parts is: to what was counted before nothing can be added."""
        self._in_all_at = entry.position.offset
        of_parts = [self._news[part].tallies for part in room.parts if part in self._news]
        if len(of_parts) < len(room.parts):
            return {}
        offset = entry.about if isinstance(entry, Entry) and entry.about is not None else entry.position.offset
        those = {
            tally: None
            for tally in min(of_parts, key=len)
            if any(subscription.reach.includes(room, offset) for subscription in tally.told)
        }
        for tally in those:
            tally.moved_at = entry.position.offset
        return those

    def _tell_at_once(self, tally: _Tally) -> None:
        """In the same write as the entry, where that was all that happened, and nothing was told within the second."""
        now = self._clock.monotonic()
        may_be_told = tally.told_at is None or now - tally.told_at >= SECONDS_BETWEEN
        # What was given up since the last round is noticed, and told, by the next one.
        counted = self._added_up(tally, self._given_up) if may_be_told else None
        if counted is None:
            self._due[tally] = None
            return
        tally.counted = counted
        self._due.pop(tally, None)
        self._set_deadlines(tally)
        self._tell(tally, now)

    def begin_anew(self, after: Position) -> None:
        """The log ends at a position, before where it was: what was counted there is to be counted again."""
        self._noted, self._in_all_at = after, min(self._in_all_at, after.offset)
        for news in self._news.values():
            news.complete_after = after.offset
            news.offsets = None
        for tally in self._tallies.values():
            tally.is_outdated = True
            tally.counted = replace(tally.counted, as_of=after)
            self._due[tally] = None

    async def announce(self, at_most: int) -> bool:
        """Tell ``at_most`` users whose counts have changed; whether there are more. Raises StoreUnavailable.

        A user is told at most once in SECONDS_BETWEEN: who is not told now stays due.
        """
        given_up = self._given_up = await self._inboxes.given_up()
        for room in self._changed:
            news = self._news.get(room)
            if news is not None:
                self._due.update(news.tallies)
        self._changed.clear()
        self._look_at_the_clock()
        wall, now = self._clock.now(), self._clock.monotonic()
        self._due.update(dict.fromkeys(self._until.take(wall, at_most)))
        self._due.update(dict.fromkeys(self._given_up_at.take(given_up, at_most)))
        may_be_told = (t for t in self._due if t.told_at is None or now - t.told_at >= SECONDS_BETWEEN)
        ready = list(islice(may_be_told, at_most + 1))
        for tally in ready[:at_most]:
            # Others may have gone, or have been told, while an inbox was asked.
            if tally in self._due:
                await self._bring_up_to_date(tally, given_up)
                self._tell(tally, now)
        return len(ready) > at_most or self._until.any_due(wall) or self._given_up_at.any_due(given_up)

    def _look_at_the_clock(self) -> None:
        """Where the wall clock was set back, what had expired is there again, and no deadline says so."""
        apart = self._clock.now().timestamp() - self._clock.monotonic()
        if apart < self._clocks_apart - CLOCK_SET_BACK:
            for tally in self._tallies.values():
                tally.is_outdated = True
                self._due[tally] = None
            self._clocks_apart = apart
        self._clocks_apart = max(apart, self._clocks_apart)

    async def _bring_up_to_date(self, tally: _Tally, given_up: int) -> None:
        # What comes while the inbox is asked makes it due again.
        del self._due[tally]
        counted = self._added_up(tally, given_up)
        if counted is None:
            asked_at = self._clock.now()
            counted = await self._count(tally)
            tally.counted_at, tally.is_outdated = asked_at, False
        if counted.as_of.offset >= tally.counted.as_of.offset:
            tally.counted = counted
        # It may have gone meanwhile.
        if tally.told:
            self._set_deadlines(tally)

    async def _count(self, tally: _Tally) -> Counted:
        """Where that fails it stays due. Raises StoreUnavailable."""
        try:
            return await self._inboxes.count(tally.subscriber)
        except StoreUnavailable:
            if tally.told:
                self._due[tally] = None
            raise

    def _set_deadlines(self, tally: _Tally) -> None:
        now, until = self._clock.now(), tally.counted.stands_until
        if until is not None and until <= now:
            # Already over as it was counted: asked again, but not at once, over and over.
            until = now + timedelta(seconds=SECONDS_BETWEEN)
        self._until.put(tally, until)
        self._given_up_at.put(tally, tally.counted.oldest)

    def _added_up(self, tally: _Tally, given_up: int) -> Counted | None:
        """The counts as of the last entry that was delivered; None where the inbox has to be asked."""
        counted, noted = tally.counted, self._noted
        if tally.is_outdated or tally.moved_at > counted.as_of.offset:
            return None
        if counted.oldest is not None and counted.oldest <= given_up:
            return None
        if counted.stands_until is not None and self._clock.now() >= counted.stands_until:
            return None
        if noted is None or noted.offset <= counted.as_of.offset:
            return counted
        number = 0
        for room in tally.rooms:
            new = self._news[room].after(counted.as_of.offset)
            if new is None:
                return None
            number += new
        if number > counted.room:
            return None
        stands_until = counted.stands_until
        if stands_until is None and number and counted.kept_for is not None:
            # The first of them came after the counting, and is the first to grow too old.
            stands_until = tally.counted_at + counted.kept_for
        return replace(
            counted,
            counts=counted.counts.with_new(number),
            as_of=noted,
            room=counted.room - number,
            stands_until=stands_until,
        )

    def _tell(self, tally: _Tally, now: float) -> None:
        counts = tally.counted.counts
        for subscription, told in tally.told.items():
            if told != counts:
                subscription.send(CountsChanged(counts))
                tally.told[subscription] = counts
                tally.told_at = now
