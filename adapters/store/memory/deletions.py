"""What all whom it names have deleted, in memory: its content goes with the next tidying."""

from __future__ import annotations

from dataclasses import replace

from adapters.store.memory.held import Held, Record
from adapters.store.tail import NOTHING
from domain.model import Entry, Room, UserId

_NAMES_AT_ONCE = 5_000


class MemoryDeletions(Held):
    def _erase_deleted(self) -> bool:
        """Of some of what was deleted; whether there is more."""
        gone: list[int] = []
        budget = _NAMES_AT_ONCE
        while self._deleted and budget > 0:
            offset, _ = self._deleted.popitem(last=False)
            record = self._records.get(offset)
            budget -= 1 + (len(record.entry.rooms) if record is not None else 0)
            if record is not None and self._is_to_go(record):
                gone.append(offset)
        for offset in self._tail.forget_contents(gone):
            self._records[offset] = replace(self._records[offset], entry=self._tail[offset])
        for offset in gone:
            record = self._records[offset]
            self._put(replace(record, entry=replace(record.entry, payload=NOTHING), type=""))
        return bool(self._deleted)

    def _is_to_go(self, record: Record) -> bool:
        return record.recalled is None and bool(record.entry.payload) and self._have_all_deleted(record.entry)

    def _have_all_deleted(self, entry: Entry) -> bool:
        """Whether all whom a notification names have. One for groups others may have."""
        return bool(entry.rooms) and all(self._has_deleted(room, entry.position.offset) for room in entry.rooms)

    def _has_deleted(self, room: Room, offset: int) -> bool:
        """Whether it is the room of a user who has deleted what lies at an offset."""
        kind, _, user = room.partition(":")
        known = self._users.get(UserId(user)) if kind == "user" else None
        return known is not None and known.state.of(offset).deleted

    def _put(self, record: Record) -> None:
        self._records[record.entry.position.offset] = self._by_id[record.id] = record
        if record.key is not None:
            self._by_key[record.key] = record
