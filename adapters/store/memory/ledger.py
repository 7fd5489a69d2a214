"""What became of notifications, in memory."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from datetime import datetime

from adapters.store.addressing import audience_in, rooms_of
from adapters.store.ledger_rows import notes_after, users_in
from adapters.store.memory.held import Held, Record, User
from domain.model import (
    Addressed,
    AddressedPage,
    AudienceKind,
    AwaitedReceipt,
    ConnectionHistory,
    DeliveriesQuery,
    Entry,
    Notes,
    Room,
    UserId,
)


class MemoryLedger(Held):
    async def record(self, notes: Notes) -> None:
        if self._retention_deliveries:
            self._notes.record(self._without_erased(notes) if self._erased else notes)

    def _without_erased(self, notes: Notes) -> Notes:
        """But for what is said of users and happened before they were erased."""
        return notes_after(notes, {user: self._erased.get(self._seals.user(user), 0) for user in users_in(notes)})

    async def addressed(self, user: UserId, query: DeliveriesQuery) -> AddressedPage:
        known = self._users.get(user, User())
        if query.id is not None:
            record = self._by_id.get(query.id)
            found = [record] if record is not None and _is_among(record, query) else []
        else:
            found = self._for_user(user, known, query)
        complete_since = max(self._noted_since, self._clock.now() - self._retention_deliveries)
        return AddressedPage(
            [self._addressed(user, known, record) for record in found[: query.limit]],
            found[query.limit - 1].entry.position.offset if len(found) > query.limit else None,
            dict(known.starts),
            dict(known.marks),
            complete_since if self._retention_deliveries else None,
            self._spans_of(user),
        )

    def _for_user(self, user: UserId, known: User, query: DeliveriesQuery) -> list[Record]:
        starts = {Room.of_user(user): 0, **known.starts}
        rooms = [self._tail.newest_first(room, start) for room, start in starts.items()]
        rooms += [self._tail.newest_in(span) for span in self._stays_from(known.starts, self._spans_of(user))]
        found: list[Record] = []
        last: int | None = None
        for offset in heapq.merge(*rooms, reverse=True):
            record = self._records[offset]
            if len(found) > query.limit or (query.since is not None and _stored(record) < query.since):
                break
            is_before = query.before is None or offset < query.before
            if is_before and record.id and offset != last:
                found.append(record)
            last = offset
        return found

    def _addressed(self, user: UserId, known: User, record: Record) -> Addressed:
        entry, times = record.entry, known.state.of(record.entry.position.offset).until(record.entry.expires_at)
        rooms = record.recalled if record.recalled is not None else entry.rooms
        audience = audience_in(rooms)
        shared = frozenset() if audience.kind is AudienceKind.USER else audience.rooms
        return Addressed(
            id=record.id,
            position=entry.position,
            stored_at=_stored(record),
            audience=audience.kind,
            rooms=rooms_of(user, shared, is_own=Room.of_user(user) in rooms),
            expires_at=entry.expires_at,
            has_left=False,
            read_at=times.read_at,
            read_by=times.read_by,
            deleted=times.deleted,
            recalled=record.recalled is not None,
            replaced_at=self._replaced_at(entry, {Room.of_user(user): 0, **known.starts}),
            archived_at=times.archived_at,
            snoozed_until=times.snoozed_until,
        )

    def _replaced_at(self, entry: Entry, starts: Mapping[Room, int]) -> datetime | None:
        if entry.collapse_key is None:
            return None
        first = self._collapsing.first_after(entry.collapse_key, starts, entry.position.offset)
        return self._records[first].entry.stored_at if first is not None else None

    async def history(self, user: UserId, notifications: Sequence[Addressed]) -> ConnectionHistory:
        moments = sorted({one.stored_at for one in notifications})
        return self._notes.history(user, moments, [one.position.offset for one in notifications])

    async def received_at(self, user: UserId, awaited: Sequence[AwaitedReceipt]) -> Sequence[datetime | None]:
        return self._notes.received_at(user, awaited)


def _is_among(record: Record, query: DeliveriesQuery) -> bool:
    """Whether it is as young as is asked for, and lies where it is."""
    is_young = query.since is None or _stored(record) >= query.since
    return is_young and (query.before is None or record.entry.position.offset < query.before)


def _stored(record: Record) -> datetime:
    """By the clock of the wall."""
    stored_at = record.entry.stored_at
    if stored_at is None:
        raise ValueError("only of controls it is not known")
    return stored_at
