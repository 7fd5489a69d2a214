"""What is to come into a log in memory at a time of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from adapters.store.drafts import PreparedDraft
from adapters.store.memory.held import Held, Record
from adapters.store.memory.scheduled import Waiting
from adapters.store.revising import Revising
from domain.errors import NotificationRecalled, StoreUnavailable, UnknownNotification
from domain.model import NOTIFICATION_NEW, Audience, Due, Entry, Position, ScheduledNotification
from domain.ports import Revise

DUE_WEIGHT = 8 * 1024 * 1024
"""So much memory is taken at once by what comes into the log."""


class MemorySchedule(Held):
    async def deliver_due(self, now: datetime, most: int) -> Due:
        self._trim_old()
        due = self._schedule.due(now, min(most, self._max_entries), DUE_WEIGHT)
        stored_at, first = self._clock.now(), self._tail.head + 1
        records = [
            self._record(one.prepared, self._position(offset), stored_at)
            for offset, one in enumerate(due, first)
            if one.prepared is not None
        ]
        try:
            self._store(records)
        except StoreUnavailable:
            self._schedule.put_back(due)
            raise
        for one in due:
            self._schedule.remove(one)
        first_left = self._schedule.first()
        return Due(
            [(stored_at - one.due).total_seconds() for one in due], first_left.due if first_left is not None else None
        )

    async def scheduled(self, id_: str) -> ScheduledNotification | None:
        one = self._schedule.by_id(id_)
        if one is None or one.prepared is None:
            return None
        draft = one.prepared.draft
        return ScheduledNotification(
            id_, one.due, Audience(draft.notification.audience, draft.rooms), one.prepared.payload
        )

    async def revise_scheduled(self, id_: str, revise: Revise, at: datetime) -> None:
        one, prepared = self._waiting(id_)
        draft = prepared.draft
        revision = Revising(id_, revise, at).unsent(prepared.payload, draft.notification.expires_at)
        if revision is not None:
            after = replace(draft, notification=revision.notification)
            one.prepared = replace(prepared, draft=after, payload=revision.payload)

    async def cancel(self, id_: str) -> None:
        one, _ = self._waiting(id_)
        self._schedule.cancel(one, self._clock.monotonic())

    async def waiting(self) -> int:
        return len(self._schedule)

    def _waiting(self, id_: str) -> tuple[Waiting, PreparedDraft]:
        """Raises UnknownNotification and NotificationRecalled."""
        one = self._schedule.by_id(id_)
        if one is None:
            raise UnknownNotification
        if one.prepared is None:
            raise NotificationRecalled
        return one, one.prepared

    def _record(self, prepared: PreparedDraft, position: Position, stored_at: datetime) -> Record:
        draft, notification = prepared.draft, prepared.draft.notification
        entry = Entry(
            position,
            draft.rooms,
            NOTIFICATION_NEW,
            prepared.payload,
            notification.expires_at,
            None,
            stored_at,
            collapse_key=notification.collapse_key,
        )
        return Record(
            entry,
            self._clock.monotonic(),
            notification.id,
            draft.idempotency_key,
            prepared.digest,
            notification.type,
            notification.created_at,
        )
