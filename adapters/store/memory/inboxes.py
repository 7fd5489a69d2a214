"""What users have, in memory."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from adapters.store.change_events import all_read_event, change_events, snooze_events
from adapters.store.memory.held import Record
from adapters.store.memory.snoozes import MemorySnoozes
from domain.model import (
    Action,
    Changed,
    Counted,
    Counts,
    Entry,
    InboxQuery,
    Item,
    Json,
    Listing,
    Position,
    Room,
    Subscriber,
    UserId,
)
from domain.model.value import value
from domain.rules.item_state import ItemTimes, UserState

_COUNTED_AT_A_TIME = 4000


@value
class _Placed:
    """A notification that has a place in an inbox, and how it stands there."""

    offset: int
    record: Record
    times: ItemTimes

    @property
    def place(self) -> int:
        """In lists."""
        return self.offset if self.times.raised is None else self.times.raised


class MemoryInboxes(MemorySnoozes):
    async def count(self, subscriber: Subscriber) -> Counted:
        await self._leave_turns()
        return self._count(subscriber)

    async def _leave_turns(self) -> None:
        """Whoever has many inboxes counted, one after the other, leaves the loop its turns."""
        if self._counted_since_turn >= _COUNTED_AT_A_TIME:
            self._counted_since_turn = 0
            await asyncio.sleep(0)

    async def given_up(self) -> int:
        return self._tail.floor

    async def list_items(self, subscriber: Subscriber, query: InboxQuery) -> Listing:
        found = (
            placed
            for placed in self._in_order(subscriber)
            if (query.before is None or placed.place < query.before)
            and query.type in (None, placed.record.type)
            and placed.times.is_in(query.state)
        )
        items: list[Item] = []
        size = 0
        more = False
        for placed in found:
            payload, times = placed.record.entry.payload, placed.times
            size += len(payload)
            more = len(items) == query.limit or (bool(items) and size > query.max_bytes)
            if more:
                break
            items.append(
                Item(placed.place, payload, times.read_at, times.seen_at, times.archived_at, times.snoozed_until)
            )
        last = items[-1].offset if more else None
        return Listing(tuple(items), last, self._count(subscriber).counts, self._head())

    async def change(
        self, subscriber: Subscriber, action: Action, ids: Sequence[str], at: datetime, *, by: str | None = None
    ) -> Changed:
        if self._is_erased(subscriber):
            return Changed(0, Counts(0, 0, 0), self._head())
        wanted = {record.entry.position.offset for id_ in ids if (record := self._by_id.get(id_)) is not None}
        reached = {placed.record.id: placed for placed in self._items(subscriber) if placed.offset in wanted}
        changed = self._do(subscriber, action, [reached[id_] for id_ in ids if id_ in reached], at, by)
        return self._changed(subscriber, changed)

    async def snooze(self, subscriber: Subscriber, ids: Sequence[str], until: datetime, at: datetime) -> Changed:
        if self._is_erased(subscriber):
            return Changed(0, Counts(0, 0, 0), self._head())
        wanted = {record.entry.position.offset for id_ in ids if (record := self._by_id.get(id_)) is not None}
        reached = {placed.record.id: placed for placed in self._items(subscriber) if placed.offset in wanted}
        found = [reached[id_] for id_ in ids if id_ in reached]
        user = subscriber.user
        if until <= at:
            snoozed = [placed for placed in found if placed.times.snoozed_until is not None]
            self._bring_back([(user, placed.offset) for placed in snoozed])
            return self._changed(subscriber, len(snoozed))
        changed = [placed for placed in found if placed.times.snoozed_until != until]
        self._log(subscriber, snooze_events([placed.record.id for placed in changed], until))
        for placed in changed:
            self._snooze(user, placed.offset, until)
        return self._changed(subscriber, len(changed))

    async def read_all(
        self, subscriber: Subscriber, up_to: Position | None, at: datetime, *, by: str | None = None
    ) -> Changed:
        if up_to is not None:
            self._check_position(up_to)
        if self._is_erased(subscriber):
            return Changed(0, Counts(0, 0, 0), self._head())
        unread = [
            placed
            for placed in self._items(subscriber)
            if (up_to is None or placed.place <= up_to.offset) and placed.times.after(Action.READ, at) != placed.times
        ]
        if up_to is not None:
            self._do(subscriber, Action.READ, unread[::-1], at, by)
        elif unread:
            self._log(subscriber, [all_read_event(at)])
            state = self._user(subscriber.user).state
            state.forget(self._tail.floor)
            state.read_all(self._tail.head, at, by)
        return self._changed(subscriber, len(unread))

    def _do(
        self, subscriber: Subscriber, action: Action, wanted: Sequence[_Placed], at: datetime, by: str | None
    ) -> int:
        """Do it to those whose state it changes, and log which; how many they were."""
        changed = [placed for placed in wanted if placed.times.after(action, at) != placed.times]
        self._log(subscriber, change_events(action, [placed.record.id for placed in changed], at))
        state = self._user(subscriber.user).state
        state.forget(self._tail.floor)
        for placed in changed:
            state.put(placed.offset, placed.times.after(action, at, by))
        if action is Action.DELETE:
            self._deleted.update(dict.fromkeys(placed.offset for placed in changed))
        return len(changed)

    def _log(self, subscriber: Subscriber, events: Sequence[tuple[str, Json]]) -> None:
        rooms, now = frozenset((Room.of_user(subscriber.user),)), self._clock.monotonic()
        stored_at = self._clock.now()
        first = self._tail.head + 1
        self._store(
            [
                Record(Entry(self._position(offset), rooms, event, payload, stored_at=stored_at), now)
                for offset, (event, payload) in enumerate(events, first)
            ]
        )

    def _changed(self, subscriber: Subscriber, changed: int) -> Changed:
        return Changed(changed, self._count(subscriber).counts, self._head())

    def _placed(self, subscriber: Subscriber) -> Iterator[_Placed]:
        """What was placed in an inbox, is not too old and was not pushed out by later ones, newest first."""
        oldest = self._clock.monotonic() - self._retention
        user = self._users.get(subscriber.user)
        state = user.state if user is not None else UserState()
        number, last = 0, None
        in_each = [self._offsets_in(subscriber.user, starts) for starts in subscriber.in_each]
        for offset in heapq.merge(*in_each, reverse=True):
            if offset == last:
                continue
            last, record = offset, self._records[offset]
            number += 1
            if number > self._inbox_per_user or record.stored_at <= oldest:
                return
            yield _Placed(offset, record, state.of(offset))

    def _offsets_in(self, user: UserId, starts: Mapping[Room, int]) -> Iterator[int]:
        """Where notifications lie that are in the inbox of a user with such starts, newest first."""
        rooms = [self._tail.newest_first(room, start) for room, start in starts.items()]
        rooms += [self._tail.newest_in(span) for span in self._stays_from(starts, self._spans_of(user))]
        last = None
        for offset in heapq.merge(*rooms, reverse=True):
            record = self._records[offset]
            if offset == last or not record.id:
                continue
            last, key = offset, record.entry.collapse_key
            if key is None or not self._collapsing.is_replaced(key, starts, offset):
                yield offset

    def _in_order(self, subscriber: Subscriber) -> Iterable[_Placed]:
        user = self._users.get(subscriber.user)
        items = self._items(subscriber)
        if user is None or not user.state.has_raised:
            return items
        return sorted(items, key=lambda placed: -placed.place)

    def _items(self, subscriber: Subscriber) -> Iterator[_Placed]:
        now = self._clock.now()
        return (placed for placed in self._placed(subscriber) if _is_there(placed, now))

    def _count(self, subscriber: Subscriber) -> Counted:
        now = self._clock.now()
        unread = unseen = total = placed_here = 0
        stands_until: datetime | None = None
        oldest: Record | None = None
        for placed in self._placed(subscriber):
            placed_here += 1
            self._counted_since_turn += 1
            counted = placed.times.counted
            if not _is_there(placed, now) or not counted.total:
                continue
            total += counted.total
            unread += counted.unread
            unseen += counted.unseen
            expires_at = placed.record.entry.expires_at
            if expires_at is not None and (stands_until is None or expires_at < stands_until):
                stands_until = expires_at
            oldest = placed.record
        if oldest is not None:
            too_old_at = now + timedelta(seconds=oldest.stored_at + self._retention - self._clock.monotonic())
            stands_until = min(stands_until or too_old_at, too_old_at)
        return Counted(
            Counts(unread, unseen, total),
            self._head(),
            room=self._inbox_per_user - placed_here,
            stands_until=stands_until,
            kept_for=timedelta(seconds=self._retention),
            oldest=(oldest.entry.position.offset if oldest is not None else self._tail.head + 1),
        )


def _is_there(placed: _Placed, now: datetime) -> bool:
    expires_at = placed.record.entry.expires_at
    return not placed.times.deleted and (expires_at is None or now < expires_at)
