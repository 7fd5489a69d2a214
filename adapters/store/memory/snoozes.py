"""What users have snoozed, in memory: it comes back when it is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from heapq import heapify, heappop, heappush

from adapters.store.memory.held import SNOOZES_LEAST, Held, Record
from adapters.store.tail import weight
from domain.model import EVERYONE, NOTIFICATION_NEW, Entry, Room, UserId
from domain.rules.collapsing import is_own
from domain.rules.item_state import ItemTimes

Snoozed = tuple[datetime, int, UserId, int]
"""Until when, its number among all, whose, and at which offset it lies."""


class MemorySnoozes(Held):
    def _snooze(self, user: UserId, offset: int, until: datetime) -> None:
        state = self._user(user).state
        state.put(offset, state.of(offset).snoozed(until))
        self._snoozed_ever += 1
        heappush(self._snoozes, (until, self._snoozed_ever, user, offset))
        if len(self._snoozes) >= self._snoozes_most:
            self._snoozes = list(self._still_snoozed().values())
            heapify(self._snoozes)
            self._snoozes_most = max(SNOOZES_LEAST, 2 * len(self._snoozes))

    def _still_snoozed(self) -> dict[tuple[UserId, int], Snoozed]:
        """Each once, but for what is out of date: what was snoozed for another time leaves behind the one before."""
        return {(one[2], one[3]): one for one in self._snoozes if self._is_snoozed(one)}

    def _is_snoozed(self, one: Snoozed) -> bool:
        until, _, user, offset = one
        known = self._users.get(user)
        return known is not None and known.state.of(offset).snoozed_until == until

    def _first_snooze(self) -> Snoozed | None:
        """What was deleted, snoozed for another time, or forgotten, is none."""
        while self._snoozes:
            if self._is_snoozed(self._snoozes[0]):
                return self._snoozes[0]
            heappop(self._snoozes)
        return None

    def _due_snoozes(self, now: datetime, most: int, most_bytes: int) -> list[Snoozed]:
        """Of no more than so much weight where they are several. Each is to be brought back, or put back."""
        due: dict[tuple[UserId, int], Snoozed] = {}
        size = 0
        while len(due) < most and (first := self._first_snooze()) is not None and first[0] <= now:
            record = self._records.get(first[3])
            size += weight(len(record.entry.payload), 1) if record is not None else 0
            if due and size > most_bytes:
                break
            # What was snoozed for a time for which it had been snoozed before is there twice.
            due[first[2], first[3]] = heappop(self._snoozes)
        return list(due.values())

    def _bring_back(self, snoozed: Sequence[tuple[UserId, int]]) -> int:
        """Those that are there still are new once more; how many they are. Raises StoreUnavailable, and then none
        is."""
        now, stored_at = self._clock.monotonic(), self._clock.now()
        records: list[Record] = []
        back: list[tuple[UserId, int, int]] = []
        for user, offset in snoozed:
            record = self._records.get(offset)
            if record is None or record.recalled is not None or _is_over(record.entry, stored_at):
                continue
            own, key = Room.of_user(user), record.entry.collapse_key
            if key is not None and self._is_replaced(user, key, record.entry):
                continue
            position = self._position(self._tail.head + 1 + len(records))
            told = Entry(
                position,
                frozenset((own,)),
                NOTIFICATION_NEW,
                record.entry.payload,
                record.entry.expires_at,
                stored_at=stored_at,
                about=offset,
                collapse_key=key,
                later=self._collapsing.later(key, frozenset((own,)), offset) if key is not None else None,
            )
            records.append(Record(told, now))
            back.append((user, offset, position.offset))
        if records:
            self._store(records)
        for user, offset in snoozed:
            state = self._user(user).state
            state.put(offset, replace(state.of(offset), snoozed_until=None))
        for user, offset, raised in back:
            # Space may have been made by giving up what it is about.
            if offset in self._records:
                self._user(user).state.put(offset, ItemTimes.back_at(raised))
        return len(back)

    def _is_replaced(self, user: UserId, key: str, entry: Entry) -> bool:
        """Whether a later one with its key has taken its place, in whatever role its user is."""
        offset, starts = entry.position.offset, self._user(user).starts
        in_any_role = {room: starts[room] for room in (EVERYONE,) if room in starts} | {Room.of_user(user): 0}
        if self._collapsing.is_replaced(key, in_any_role, offset):
            return True
        reached = [room for room in entry.rooms if not is_own(room) and starts.get(room, offset) < offset]
        return bool(reached) and all(self._collapsing.is_replaced_in(key, room, offset) for room in reached)

    def _raised(self, user: UserId, entries: Sequence[Entry]) -> dict[int, int]:
        """Where what some entries are, or are about, is new once more for a user."""
        known = self._users.get(user)
        if known is None or not known.state.has_raised:
            return {}
        offsets = {entry.about if entry.about is not None else entry.position.offset for entry in entries}
        return {offset: raised for offset in offsets if (raised := known.state.of(offset).raised) is not None}


def _is_over(entry: Entry, now: datetime) -> bool:
    return entry.expires_at is not None and entry.expires_at <= now
