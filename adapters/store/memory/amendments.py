"""What is done to notifications after they were published, in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from adapters.contract.events import recalled_json
from adapters.store.memory.deletions import MemoryDeletions
from adapters.store.memory.held import Record
from adapters.store.revising import Revising
from adapters.store.tail import erased
from domain.errors import NotificationDeleted, NotificationRecalled, UnknownNotification
from domain.model import NOTIFICATION_DELETED, NOTIFICATION_REVISED, Amended, Entry
from domain.ports import Revise


class MemoryAmendments(MemoryDeletions):
    async def revise(self, id_: str, revise: Revise, at: datetime) -> Amended:
        record = self._known(id_)
        entry, about = record.entry, record.entry.position.offset
        if not entry.payload or self._have_all_deleted(entry):
            raise NotificationDeleted
        revision = Revising(id_, revise, at).of(entry.payload, entry.expires_at)
        if revision is None:
            last = entry.revised if entry.revised is not None else about
            return Amended(id_, about, self._generations.position(last))
        position, after, key = self._position(self._tail.head + 1), revision.notification, entry.collapse_key
        rooms = frozenset(
            room
            for room in entry.rooms
            if not self._has_deleted(room, about)
            and (key is None or not self._collapsing.is_replaced_in(key, room, about))
        )
        told = Entry(
            position,
            rooms,
            NOTIFICATION_REVISED,
            revision.payload,
            after.expires_at,
            stored_at=self._clock.now(),
            about=about,
            collapse_key=key,
            later=self._collapsing.later(key, rooms, about) if key is not None else None,
        )
        self._store([Record(told, self._clock.monotonic())])
        # Space may have been made by giving up what it is about.
        if about in self._records:
            self._put(replace(record, entry=self._tail[about], type=after.type))
        return Amended(id_, about, position)

    async def recall(self, id_: str) -> Amended:
        record = self._known(id_)
        entry, now = record.entry, self._clock.now()
        about, position = entry.position.offset, self._position(self._tail.head + 1)
        key = entry.collapse_key
        is_last = key is not None and self._collapsing.is_last(key, entry.rooms, about)
        payload = recalled_json(id_, key if is_last else None)
        told = Entry(position, entry.rooms, NOTIFICATION_DELETED, payload, stored_at=now, about=about)
        self._store([Record(told, self._clock.monotonic())])
        # Space may have been made by giving up what it is about.
        if about in self._records:
            ended = min(entry.expires_at or now, now)
            left = replace(erased(entry.position), expires_at=ended, stored_at=entry.stored_at, collapse_key=key)
            self._put(replace(record, entry=left, recalled=entry.rooms))
        return Amended(id_, about, position)

    def _known(self, id_: str) -> Record:
        """Raises UnknownNotification and NotificationRecalled."""
        self._trim_old()
        record = self._by_id.get(id_)
        if record is None:
            raise UnknownNotification
        if record.recalled is not None:
            raise NotificationRecalled
        return record
