"""What is to come into a log in memory at a time of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from heapq import heappush

from adapters.store.drafts import PreparedDraft
from adapters.store.memory.held import Record
from adapters.store.memory.scheduled import Waiting
from adapters.store.memory.snoozes import MemorySnoozes
from adapters.store.revising import Revising
from domain.errors import NotificationRecalled, StoreUnavailable, UnknownNotification
from domain.model import NOTIFICATION_NEW, Audience, Due, Entry, Position, ScheduledNotification
from domain.ports import Revise

DUE_WEIGHT = 8 * 1024 * 1024
"""So much memory is taken at once by what comes into the log."""


class MemorySchedule(MemorySnoozes):
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
        snoozed = self._due_snoozes(now, most - len(due), DUE_WEIGHT)
        try:
            self._bring_back([(user, offset) for _, _, user, offset in snoozed])
        except StoreUnavailable:
            for one_snoozed in snoozed:
                heappush(self._snoozes, one_snoozed)
            raise
        times = [*(one.due for one in due), *(until for until, *_ in snoozed)]
        return Due([(stored_at - time).total_seconds() for time in times], self._next_due())

    def _next_due(self) -> datetime | None:
        first, snoozed = self._schedule.first(), self._first_snooze()
        times = [*([first.due] if first is not None else []), *([snoozed[0]] if snoozed is not None else [])]
        return min(times, default=None)

    async def scheduled(self, id_: str) -> ScheduledNotification | None:
        one = self._schedule.by_id(id_)
        if one is None:
            return None
        if one.prepared is None:
            return ScheduledNotification(id_, one.due, one.audience, None) if one.audience is not None else None
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
            if revision.due is not None:
                self._schedule.move(one, revision.due)

    async def cancel(self, id_: str) -> None:
        one, _ = self._waiting(id_)
        self._schedule.cancel(one, self._clock.monotonic())

    async def waiting(self) -> int:
        return len(self._schedule) + len(self._still_snoozed())

    def _waiting(self, id_: str) -> tuple[Waiting, PreparedDraft]:
        """Raises UnknownNotification and NotificationRecalled."""
        one = self._schedule.by_id(id_)
        if one is None or one.is_withdrawn:
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
