"""A log in memory: bounded, gone with the process, and in everything else a log like any other."""

from __future__ import annotations

import asyncio
import heapq
import secrets
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from adapters.wire import NOTIFICATION_NEW, fingerprint, notification_json
from domain.errors import CursorRefused, PublicationTooLarge, StoreUnavailable
from domain.model import (
    Appended,
    AppendOutcome,
    Checkpoint,
    Draft,
    Entry,
    Json,
    Page,
    Position,
    RecoveryReason,
    Room,
)
from domain.ports import Clock

FOLLOW_MAX_ENTRIES = 500
FOLLOW_MAX_BYTES = 256 * 1024
_PREPARED_AT_A_TIME = 512 * 1024

# What an entry and each of its rooms take beside the payload, in bytes, rounded up from what was measured.
_ENTRY_OVERHEAD = 1024
_ROOM_OVERHEAD = 320


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A draft with everything that does not depend on the log. Without an id or key of the publisher's: no digest."""

    draft: Draft
    payload: Json
    digest: bytes | None
    weight: int

    @classmethod
    def of(cls, draft: Draft) -> _Prepared:
        payload = notification_json(draft.notification)
        retryable = draft.own_id or draft.idempotency_key is not None
        weight = len(payload) + _ENTRY_OVERHEAD + len(draft.rooms) * _ROOM_OVERHEAD
        return cls(draft, payload, fingerprint(draft) if retryable else None, weight)


@dataclass(frozen=True, slots=True)
class _Record:
    entry: Entry
    id: str
    key: str | None
    digest: bytes | None
    weight: int
    stored_at: float


@dataclass(eq=False, slots=True)
class _Follower:
    given: int
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryInbox:
    """An Inbox for one process and one event loop.

    The oldest entries go when there are more than ``max_entries``, when they take more than about ``max_bytes`` of
    memory, and, as later ones come, when they are older than ``retention``; what was known of their ids and
    idempotency keys goes with them. Of ``max_trimmed_rooms`` rooms it is remembered exactly what they lost; any other
    room is taken to have lost as much as the last one that was forgotten.

    An append that does not fit without trimming what a follower was not given yet raises StoreUnavailable. Where a
    conflict keeps a whole batch out, a duplicate of an entry of the log stays one, and what is WITHHELD has the
    position of the head.

    ``follow`` raises CursorRefused for a position from which the log cannot be continued, as ``since`` does for one
    from which some room cannot. Whoever leaves its loop other than by cancellation closes the iterator.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        max_entries: int = 100_000,
        max_bytes: int = 256 * 1024 * 1024,
        retention: timedelta = timedelta(days=30),
        max_trimmed_rooms: int = 100_000,
        epoch: str | None = None,
    ) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._retention = retention.total_seconds()
        self._max_trimmed_rooms = max_trimmed_rooms
        self._epoch = epoch if epoch is not None else secrets.token_hex(8)
        self._trimmed = 0
        self._head = 0
        self._bytes = 0
        self._records: dict[int, _Record] = {}
        self._rooms: dict[Room, list[int]] = {}
        self._by_id: dict[str, _Record] = {}
        self._by_key: dict[str, _Record] = {}
        self._checkpoints: dict[str, str] = {}
        self._followers: set[_Follower] = set()
        # In the order of the offsets, so that the first one is the one to forget.
        self._trimmed_rooms: OrderedDict[Room, int] = OrderedDict()
        self._trimmed_elsewhere = 0

    async def append(
        self, batch: Sequence[Draft], *, checkpoint: Checkpoint | None = None, all_or_nothing: bool = False
    ) -> Sequence[Appended]:
        prepared: list[_Prepared] = []
        weight = 0
        for draft in batch:
            if weight >= _PREPARED_AT_A_TIME:
                weight = 0
                await asyncio.sleep(0)
            prepared.append(_Prepared.of(draft))
            weight += prepared[-1].weight
        # From here on nothing waits: this is the commit.
        self._trim_old()
        records, outcomes = self._decide(prepared)
        if all_or_nothing and any(appended.outcome is AppendOutcome.CONFLICT for appended in outcomes):
            return [self._kept_out(appended) for appended in outcomes]
        self._make_space(len(records), sum(record.weight for record in records))
        for record in records:
            self._store(record)
        if checkpoint is not None:
            self._checkpoints[checkpoint.source] = checkpoint.resume_id
        if records:
            for follower in self._followers:
                follower.wake.set()
        return outcomes

    async def follow(self, after: Position) -> AsyncIterator[Sequence[Entry]]:
        self._check_position(after)
        if after.offset < self._trimmed:
            raise CursorRefused(RecoveryReason.TRIMMED)
        follower = _Follower(after.offset)
        self._followers.add(follower)
        try:
            while True:
                entries = self._next_batch(follower.given)
                if entries:
                    follower.given = entries[-1].position.offset
                    yield entries
                    # What these set off, writes to sockets above all, gets its turn before the next ones.
                    await asyncio.sleep(0)
                else:
                    follower.wake.clear()
                    await follower.wake.wait()
        finally:
            self._followers.discard(follower)

    async def since(self, rooms: frozenset[Room], after: Position, *, max_entries: int, max_bytes: int) -> Page:
        self._check_position(after)
        if any(self._trimmed_rooms.get(room, self._trimmed_elsewhere) > after.offset for room in rooms):
            raise CursorRefused(RecoveryReason.TRIMMED)
        entries: list[Entry] = []
        size = 0
        for offset in heapq.merge(*(self._offsets(room, after.offset) for room in rooms)):
            if entries and entries[-1].position.offset == offset:
                continue
            entry = self._records[offset].entry
            size += len(entry.payload)
            if entries and (len(entries) >= max_entries or size > max_bytes):
                return Page(tuple(entries), upto=entries[-1].position, more=True)
            entries.append(entry)
        return Page(tuple(entries), upto=self._position(self._head), more=False)

    async def head(self) -> Position:
        return self._position(self._head)

    async def checkpoint(self, source: str) -> str | None:
        return self._checkpoints.get(source)

    def _position(self, offset: int) -> Position:
        return Position(self._epoch, offset)

    def _check_position(self, position: Position) -> None:
        if position.epoch != self._epoch:
            raise CursorRefused(RecoveryReason.UNKNOWN_EPOCH)
        if position.offset > self._head:
            raise CursorRefused(RecoveryReason.INVALID)

    def _offsets(self, room: Room, after: int) -> Iterator[int]:
        offsets = self._rooms.get(room, [])
        for index in range(bisect_right(offsets, after), len(offsets)):
            yield offsets[index]

    def _next_batch(self, after: int) -> list[Entry]:
        entries: list[Entry] = []
        size = 0
        for offset in range(after + 1, min(self._head, after + FOLLOW_MAX_ENTRIES) + 1):
            entry = self._records[offset].entry
            size += len(entry.payload)
            if entries and size > FOLLOW_MAX_BYTES:
                break
            entries.append(entry)
        return entries

    def _decide(self, batch: Sequence[_Prepared]) -> tuple[list[_Record], list[Appended]]:
        """What is to be stored, and what becomes of each draft once it is."""
        now = self._clock.monotonic()
        records: list[_Record] = []
        outcomes: list[Appended] = []
        by_id: dict[str, _Record] = {}
        by_key: dict[str, _Record] = {}
        for prepared in batch:
            draft, id_, key = prepared.draft, prepared.draft.notification.id, prepared.draft.idempotency_key
            known = [self._by_id.get(id_) or by_id.get(id_)]
            if key is not None:
                known.append(self._by_key.get(key) or by_key.get(key))
            earlier = [record for record in known if record is not None]
            if earlier:
                other = [record for record in earlier if record.digest is None or record.digest != prepared.digest]
                outcome = AppendOutcome.CONFLICT if other else AppendOutcome.DUPLICATE
                first = (other or earlier)[0]
                outcomes.append(Appended(outcome, first.id, first.entry.position))
                continue
            position = self._position(self._head + 1 + len(records))
            expires_at = draft.notification.expires_at
            entry = Entry(position, draft.rooms, NOTIFICATION_NEW, prepared.payload, expires_at)
            record = _Record(entry, id_, key, prepared.digest, prepared.weight, now)
            records.append(record)
            outcomes.append(Appended(AppendOutcome.STORED, id_, position))
            by_id[id_] = record
            if key is not None:
                by_key[key] = record
        return records, outcomes

    def _kept_out(self, appended: Appended) -> Appended:
        if appended.position.offset <= self._head:
            return appended
        conflict = appended.outcome is AppendOutcome.CONFLICT
        outcome = AppendOutcome.CONFLICT if conflict else AppendOutcome.WITHHELD
        return replace(appended, outcome=outcome, position=self._position(self._head))

    def _store(self, record: _Record) -> None:
        offset = record.entry.position.offset
        self._head = offset
        self._bytes += record.weight
        self._records[offset] = record
        self._by_id[record.id] = record
        if record.key is not None:
            self._by_key[record.key] = record
        for room in record.entry.rooms:
            self._rooms.setdefault(room, []).append(offset)

    def _make_space(self, entries: int, size: int) -> None:
        """Trim for what comes. Raises PublicationTooLarge or StoreUnavailable, and then nothing was trimmed."""
        if entries > self._max_entries or size > self._max_bytes:
            raise PublicationTooLarge("what was published at once is more than the whole log may hold")
        entries += len(self._records)
        size += self._bytes
        upto = self._trimmed
        while entries > self._max_entries or size > self._max_bytes:
            upto += 1
            entries -= 1
            size -= self._records[upto].weight
        if upto > self._given_to_all():
            raise StoreUnavailable("the log is full of what was not delivered yet")
        while self._trimmed < upto:
            self._trim_first()

    def _trim_old(self) -> None:
        oldest = self._clock.monotonic() - self._retention
        given = self._given_to_all()
        while self._trimmed < given and self._records[self._trimmed + 1].stored_at <= oldest:
            self._trim_first()

    def _given_to_all(self) -> int:
        return min((follower.given for follower in self._followers), default=self._head)

    def _trim_first(self) -> None:
        self._trimmed += 1
        record = self._records.pop(self._trimmed)
        self._bytes -= record.weight
        del self._by_id[record.id]
        if record.key is not None:
            del self._by_key[record.key]
        for room in record.entry.rooms:
            self._trim_room(room)
            self._trimmed_rooms[room] = self._trimmed
            self._trimmed_rooms.move_to_end(room)
        while len(self._trimmed_rooms) > self._max_trimmed_rooms:
            _, self._trimmed_elsewhere = self._trimmed_rooms.popitem(last=False)

    def _trim_room(self, room: Room) -> None:
        offsets = self._rooms[room]
        gone = bisect_right(offsets, self._trimmed)
        if gone == len(offsets):
            del self._rooms[room]
        elif gone > len(offsets) // 2:
            # A list gives up its first items at the cost of moving the others: once in a while, not each time.
            del offsets[:gone]
