"""What a store in memory holds, and its ports share: the entries, the users, and the space they take."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from adapters.store.following import as_followed
from adapters.store.memory.all_of import RoomsOfAll
from adapters.store.memory.collapsing import CollapseIndex
from adapters.store.memory.notes import KeptNotes
from adapters.store.memory.scheduled import KeptSchedule
from adapters.store.seals import SEALED, Seals
from adapters.store.tail import Tail, weight
from domain.errors import CursorRefused, PublicationTooLarge, StoreUnavailable
from domain.model import Entry, Erasure, Position, Restriction, Room, Span, Subscriber, UserId
from domain.model.value import value
from domain.ports import Clock
from domain.rules.epochs import Generation, Generations
from domain.rules.item_state import UserState
from domain.rules.recovery import floor_in_topics, floor_of


@value
class Record:
    """What is known of an entry beside it; of one that is no notification there is no id. ``recalled`` are the rooms of
    one that was taken back, which expired by that.
    """

    entry: Entry
    stored_at: float
    id: str = ""
    key: str | None = None
    digest: bytes | None = None
    type: str = ""
    created_at: datetime | None = None
    recalled: frozenset[Room] | None = None


SNOOZES_LEAST = 1000
"""Of fewer nothing is tidied up."""


def sealed(seal: bytes) -> str:
    """What stands for an id or a key."""
    return SEALED + seal.hex()


@dataclass(slots=True, eq=False)
class User:
    starts: dict[Room, int] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    state: UserState = field(default_factory=UserState)
    erased: int = 0
    """Up to that offset there was another user of that name, who was erased."""


class Held:
    """The parameters are those of a MemoryStore."""

    def __init__(
        self,
        *,
        clock: Clock,
        max_entries: int = 100_000,
        max_bytes: int = 256 * 1024 * 1024,
        retention: timedelta = timedelta(days=30),
        inbox_per_user: int = 10_000,
        scheduled_most: int = 1_000_000,
        retention_deliveries: timedelta = timedelta(days=7),
        max_trimmed_rooms: int = 100_000,
        max_users: int = 100_000,
        epoch: str | None = None,
    ) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._retention = retention.total_seconds()
        self._inbox_per_user = inbox_per_user
        self._max_trimmed_rooms = max_trimmed_rooms
        self._max_users = max_users
        self._retention_deliveries = retention_deliveries
        self._notes = KeptNotes(retention_deliveries)
        self._noted_since = clock.now()
        epoch = epoch if epoch is not None else secrets.token_hex(8)
        self._generations = Generations([Generation(1, epoch, 1, clock.now())])
        self._schedule = KeptSchedule(min(scheduled_most, max_entries))
        self._snoozes: list[tuple[datetime, int, UserId, int]] = []
        self._snoozed_ever = 0
        self._snoozes_most = SNOOZES_LEAST
        # The offsets of what somebody has deleted, of which it is to be seen whether all have.
        self._deleted: OrderedDict[int, None] = OrderedDict()
        self._secret = secrets.token_bytes(32)
        self._tail: Tail[Entry] = Tail(0)
        self._records: dict[int, Record] = {}
        self._by_id: dict[str, Record] = {}
        self._by_key: dict[str, Record] = {}
        self._collapsing = CollapseIndex()
        self._checkpoints: dict[str, str] = {}
        self._users: OrderedDict[UserId, User] = OrderedDict()
        self._restrictions: dict[UserId, Restriction] = {}
        self._spans: dict[UserId, list[Span]] = {}
        self._memberships = 0
        self._rooms_of_all = RoomsOfAll()
        self._seals = Seals(self._secret)
        self._erasures: OrderedDict[str, Erasure] = OrderedDict()
        # The last offset of who was erased, by their seal.
        self._erased: OrderedDict[bytes, int] = OrderedDict()
        # In the order of the offsets, so that the first one is the one to forget.
        self._trimmed_rooms: OrderedDict[Room, int] = OrderedDict()
        self._trimmed_elsewhere = 0
        self._counted_since_turn = 0

    def _mark_of(self, subscriber: Subscriber) -> int:
        user = self._users.get(subscriber.user)
        return user.marks.get(subscriber.role, 0) if user is not None else 0

    def _user(self, user: UserId) -> User:
        known = self._users.setdefault(user, User())
        self._users.move_to_end(user)
        while len(self._users) > self._max_users:
            self._users.popitem(last=False)
        return known

    def _is_erased(self, subscriber: Subscriber) -> bool:
        """Whether it is the user of before: they asked while they were erased."""
        if not self._erased or not subscriber.role:
            return False
        erased = self._erased.get(self._seals.user(subscriber.user), 0)
        return subscriber.starts.get(Room.of_user(subscriber.user), 0) < erased - 1

    def _head(self) -> Position:
        return self._position(self._tail.head)

    def _position(self, offset: int) -> Position:
        return Position(self._generations.present, offset)

    def _check_position(self, position: Position) -> None:
        fault = self._generations.fault(position, self._tail.head)
        if fault is not None:
            raise CursorRefused(fault)

    def _floor_of(self, subscriber: Subscriber) -> int:
        trimmed = {room: self._trimmed_rooms.get(room, self._trimmed_elsewhere) for room in subscriber.starts}
        spans = self._stays_of(subscriber)
        lost = {span.room: self._trimmed_rooms.get(span.room, self._trimmed_elsewhere) for span in spans}
        known = self._users.get(subscriber.user)
        erased = known.erased if known is not None else 0
        return max(floor_of(subscriber.starts, trimmed), floor_in_topics(spans, lost), erased)

    def _spans_of(self, user: UserId) -> Sequence[Span]:
        return self._spans.get(user, ())

    def _stays_of(self, subscriber: Subscriber) -> Sequence[Span]:
        """In topics, and in rooms of several parts."""
        return self._stays_from(subscriber.starts, self._spans_of(subscriber.user))

    def _stays_from(self, starts: Mapping[Room, int], spans: Sequence[Span]) -> Sequence[Span]:
        return [*spans, *self._rooms_of_all.stays(starts, spans)]

    def _store(self, records: Sequence[Record]) -> None:
        """Raises PublicationTooLarge or StoreUnavailable, and then nothing was stored."""
        sizes = (weight(len(record.entry.payload), len(record.entry.rooms)) for record in records)
        self._make_space(len(records), sum(sizes))
        records = [self._collapsed(record) for record in records]
        for record in records:
            self._records[record.entry.position.offset] = record
            if len(record.entry.rooms) == 1 and (room := next(iter(record.entry.rooms))).is_all:
                self._rooms_of_all.add(room)
            if record.id:
                self._by_id[record.id] = record
            if record.key is not None:
                self._by_key[record.key] = record
        self._tail.append([record.entry for record in records])

    def _collapsed(self, record: Record) -> Record:
        entry = record.entry
        key, offset = entry.collapse_key, entry.position.offset
        if key is None or not record.id:
            return record
        earlier = self._collapsing.earlier(key, entry.rooms, offset)
        self._collapsing.add(key, entry.rooms, offset)
        return replace(record, entry=as_followed(entry, key, earlier))

    def _make_space(self, entries: int, size: int) -> None:
        if entries > self._max_entries or size > self._max_bytes:
            raise PublicationTooLarge("what was published at once is more than the whole log may hold")
        entries += len(self._tail)
        size += self._tail.bytes
        upto = self._tail.floor
        while entries > self._max_entries or size > self._max_bytes:
            upto += 1
            entries -= 1
            size -= weight(len(self._tail[upto].payload), len(self._tail[upto].rooms))
        if upto > self._tail.given_to_all:
            raise StoreUnavailable("the log is full of what was not delivered yet")
        while self._tail.floor < upto:
            self._trim_first()

    def _trim_old(self) -> None:
        oldest = self._clock.monotonic() - self._retention
        given = self._tail.given_to_all
        while self._tail.floor < given and self._records[self._tail.floor + 1].stored_at <= oldest:
            self._trim_first()

    def _trim_first(self) -> None:
        entry = self._tail.drop_first()
        offset = entry.position.offset
        record = self._records.pop(offset)
        if record.id:
            del self._by_id[record.id]
            if record.entry.collapse_key is not None:
                rooms = record.recalled if record.recalled is not None else record.entry.rooms
                self._collapsing.remove(record.entry.collapse_key, rooms, offset)
        if record.key is not None:
            del self._by_key[record.key]
        for room in entry.rooms:
            self._trimmed_rooms[room] = offset
            self._trimmed_rooms.move_to_end(room)
        while len(self._trimmed_rooms) > self._max_trimmed_rooms:
            room, self._trimmed_elsewhere = self._trimmed_rooms.popitem(last=False)
            if room.is_all and next(self._tail.offsets(room, 0), None) is None:
                self._rooms_of_all.forget(room)
