"""Erasing users, in memory: at once, as nothing else holds it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from heapq import heapify

from adapters.contract.controls import control_event
from adapters.store.memory.held import Held, Record, sealed
from domain.model import Entry, EraseUser, Erasure, Room, UserId

_KEPT_MOST = 100_000


class MemoryErasures(Held):
    async def begin_erasure(self, user: UserId, id_: str, at: datetime) -> Erasure:
        control = EraseUser(user)
        event, payload = control_event(control)
        offset = self._tail.head + 1
        entry = Entry(self._position(offset), frozenset(), event, payload, control=control)
        self._store([Record(entry, self._clock.monotonic())])
        self._users.pop(user, None)
        self._memberships -= len(self._spans.pop(user, ()))
        self._snoozes = [one for one in self._snoozes if one[2] != user]
        heapify(self._snoozes)
        self._notes.forget(user)
        self._trimmed_rooms.pop(Room.of_user(user), None)
        restriction = self._restrictions.get(user)
        if restriction is not None and restriction.block is not None:
            block = replace(restriction.block, reason=None)
            self._restrictions[user] = replace(restriction, block=block)
        self._forget_all(user, offset)
        done = Erasure(id_, None, at, at)
        self._erasures[id_] = done
        self._erased[self._seals.user(user)] = offset
        self._erased.move_to_end(self._seals.user(user))
        for kept in (self._erasures, self._erased):
            while len(kept) > _KEPT_MOST:
                kept.popitem(last=False)
        return done

    async def erased_at(self, user: UserId) -> int:
        return self._erased.get(self._seals.user(user), 0)

    async def erasure(self, id_: str) -> Erasure | None:
        return self._erasures.get(id_)

    def _forget_all(self, user: UserId, upto: int) -> None:
        """But for controls that not every server has met yet."""
        room = Room.of_user(user)
        self._schedule.withdraw_from(room, self._clock.monotonic())
        for offset, record in list(self._records.items()):
            if offset >= upto:
                continue
            entry = record.entry
            rooms = record.recalled if record.recalled is not None else entry.rooms
            if record.id and entry.collapse_key is not None and room in rooms:
                self._collapsing.remove(entry.collapse_key, frozenset((room,)), offset)
            if not record.id:
                self._records[offset] = replace(record, entry=replace(self._tail[offset], stored_at=entry.stored_at))
            elif record.recalled is not None and room in record.recalled:
                left = record.recalled - {room}
                self._put_back(record, replace(record, recalled=left) if left else self._sealed_record(record))
            elif room in entry.rooms:
                # The tail knows what is left of it.
                kept = replace(record, entry=replace(self._tail[offset], stored_at=entry.stored_at))
                self._put_back(record, kept if kept.entry.rooms else self._sealed_record(kept))
                # All who are left may have deleted it.
                self._deleted[offset] = None

    def _sealed_record(self, record: Record) -> Record:
        """By which a retry is known, and nothing else."""
        if not record.id:
            return record
        return replace(
            record,
            id=sealed(self._seals.id(record.id)),
            key=sealed(self._seals.key(record.key)) if record.key is not None else None,
            digest=self._seals.digest(record.digest) if record.digest is not None else None,
            type="",
            recalled=frozenset(),
        )

    def _put_back(self, before: Record, after: Record) -> None:
        self._records[after.entry.position.offset] = after
        if before.id:
            del self._by_id[before.id]
            self._by_id[after.id] = after
        if before.key is not None and after.key is not None:
            del self._by_key[before.key]
            self._by_key[after.key] = after
