"""A log in memory: bounded, gone with the process, and in everything else a log like any other."""

from __future__ import annotations

import asyncio
import heapq
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from adapters.contract.controls import control_event
from adapters.store.addressing import audience_of, rooms_of
from adapters.store.change_events import all_read_event, change_events
from adapters.store.drafts import PreparedDraft, prepare
from adapters.store.memory_ledger import MemoryLedger
from adapters.store.tail import Tail, weight
from domain.errors import CheckpointMoved, CursorRefused, PublicationTooLarge, StoreUnavailable
from domain.model import (
    NOTIFICATION_NEW,
    Action,
    Addressed,
    AddressedPage,
    Appended,
    AppendOutcome,
    Arrival,
    Arrived,
    AwaitedReceipt,
    Changed,
    Checkpoint,
    ConnectionHistory,
    Control,
    Counted,
    Counts,
    DeliveriesQuery,
    DisconnectUser,
    Draft,
    Entry,
    InboxQuery,
    Item,
    Json,
    Listing,
    Notes,
    Page,
    Position,
    RecoveryReason,
    Restricted,
    Restriction,
    Room,
    Subscriber,
    UserId,
)
from domain.model.value import value
from domain.ports import Clock, Wanted
from domain.rules import restrictions
from domain.rules.epochs import Generation, Generations
from domain.rules.item_state import ItemTimes, UserState
from domain.rules.recovery import Standing, continuation, floor_of

_COUNTED_AT_A_TIME = 4000


@value
class _Record:
    """What is known of an entry beside it; of one that is no notification there is no id."""

    entry: Entry
    stored_at: float
    id: str = ""
    key: str | None = None
    digest: bytes | None = None
    type: str = ""
    created_at: datetime | None = None


@dataclass(slots=True, eq=False)
class _User:
    starts: dict[Room, int] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    state: UserState = field(default_factory=UserState)


@value
class _Placed:
    """A notification that has a place in an inbox, and how it stands there."""

    offset: int
    record: _Record
    times: ItemTimes


class MemoryStore:
    """A store for one process and one event loop.

    The oldest entries go when there are more than ``max_entries``, when they take more than about ``max_bytes`` of
    memory, and, as later ones come, when they are older than ``retention``; what was known of their ids and
    idempotency keys goes with them. They leave lists and counts by then, and at that age in any case. Of
    ``max_trimmed_rooms`` rooms it is remembered exactly what they lost; any other room is taken to have lost as much as
    the last one that was forgotten. Of more than ``max_users`` users the one who was not seen for the longest is
    forgotten, and is then a new one.

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
        inbox_per_user: int = 10_000,
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
        self._ledger = MemoryLedger(retention_deliveries)
        self._ledger_since = clock.now()
        epoch = epoch if epoch is not None else secrets.token_hex(8)
        self._generations = Generations([Generation(1, epoch, 1, clock.now())])
        self._secret = secrets.token_bytes(32)
        self._tail: Tail[Entry] = Tail(0)
        self._records: dict[int, _Record] = {}
        self._by_id: dict[str, _Record] = {}
        self._by_key: dict[str, _Record] = {}
        self._checkpoints: dict[str, str] = {}
        self._users: OrderedDict[UserId, _User] = OrderedDict()
        self._restrictions: dict[UserId, Restriction] = {}
        # In the order of the offsets, so that the first one is the one to forget.
        self._trimmed_rooms: OrderedDict[Room, int] = OrderedDict()
        self._trimmed_elsewhere = 0
        self._counted_since_turn = 0

    @property
    def place(self) -> str:
        """As in the setting ``store``."""
        return "memory://"

    def check(self) -> str | None:
        """Nothing can stand in its way."""
        return None

    def migrate(self) -> str:
        """Nothing is kept from one process to the next."""
        return "there is nothing to migrate"

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def tidy(self) -> bool:
        """Trim what has grown old."""
        self._trim_old()
        self._ledger.trim(self._clock.now())
        return False

    # the log

    async def append(
        self, batch: Sequence[Draft], *, checkpoint: Checkpoint | None = None, all_or_nothing: bool = False
    ) -> Sequence[Appended]:
        prepared = await prepare(batch)
        # From here on nothing waits: this is the commit.
        self._trim_old()
        if checkpoint is not None and self._checkpoints.get(checkpoint.source) != checkpoint.after:
            raise CheckpointMoved
        records, outcomes = self._decide(prepared)
        if all_or_nothing and any(appended.outcome is AppendOutcome.CONFLICT for appended in outcomes):
            return [self._kept_out(appended) for appended in outcomes]
        self._store(records)
        if checkpoint is not None:
            self._checkpoints[checkpoint.source] = checkpoint.resume_id
        return outcomes

    async def append_control(self, control: Control) -> Position:
        event, payload = control_event(control)
        entry = Entry(self._position(self._tail.head + 1), frozenset(), event, payload, control=control)
        self._store([_Record(entry, self._clock.monotonic())])
        if not isinstance(control, DisconnectUser):
            known = self._restrictions.get(control.user)
            self._restrictions[control.user] = restrictions.after(known, control, entry.position.offset)
        return entry.position

    async def tail(
        self,
        after: Position,
        wanted: Wanted | None = None,  # noqa: ARG002 (every payload is at hand)
    ) -> AsyncIterator[Sequence[Entry]]:
        self._check_position(after)
        if after.offset < self._tail.floor:
            raise CursorRefused(RecoveryReason.TRIMMED)
        with self._tail.following(after.offset) as follower:
            while True:
                yield await self._tail.next_batch(follower)
                # What these set off, writes to sockets above all, gets its turn before the next ones.
                await asyncio.sleep(0)

    async def arrive(self, arrivals: Sequence[Arrival]) -> Sequence[Arrived]:
        arrived: list[Arrived] = []
        for arrival in arrivals:
            await self._leave_turns()
            subscriber = self._register(arrival.user, arrival.role, arrival.rooms)
            found = continuation(arrival, self._standing(subscriber))
            page = self._page(subscriber, found.after, arrival.max_entries, arrival.max_bytes)
            counted = self._count(subscriber)
            arrived.append(Arrived(subscriber, found.after, found.recovered, found.reason, page, counted))
        return arrived

    async def read(self, subscriber: Subscriber, after: Position, *, max_entries: int, max_bytes: int) -> Page:
        fault = self._standing(subscriber).fault(after)
        if fault is not None:
            raise CursorRefused(fault)
        return self._page(subscriber, after, max_entries, max_bytes)

    def _page(self, subscriber: Subscriber, after: Position, max_entries: int, max_bytes: int) -> Page:
        entries, more = self._tail.page(
            subscriber, after.offset, self._tail.head, max_entries=max_entries, max_bytes=max_bytes
        )
        return Page(entries, upto=entries[-1].position if more else self._head(), more=more)

    def _standing(self, subscriber: Subscriber) -> Standing:
        return Standing(self._generations, self._tail.head, self._floor_of(subscriber), self._mark_of(subscriber))

    async def head(self) -> Position:
        return self._head()

    async def checkpoint(self, source: str) -> str | None:
        return self._checkpoints.get(source)

    async def secret(self) -> bytes:
        return self._secret

    @property
    def silent_seconds(self) -> float:
        return 0.0

    def registry(self) -> None:
        """It is one server's own."""

    async def size(self) -> int:
        """About."""
        return self._tail.bytes

    async def ensure_writable(self) -> None:
        """It always is."""

    # users

    async def register(self, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        return self._register(user, role, rooms)

    def _register(self, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        own = Room.of_user(user)
        known = self._user(user)
        known.marks.setdefault(role, max(known.marks.values(), default=0))
        starts = known.starts
        return Subscriber(
            user, role, {room: 0 if room == own else starts.setdefault(room, self._tail.head) for room in rooms}
        )

    async def roles(self, user: UserId) -> Sequence[str]:
        known = self._users.get(user)
        return sorted(known.marks) if known is not None else ()

    async def acknowledge(self, marks: Mapping[tuple[UserId, str], Position]) -> None:
        for (user, role), position in marks.items():
            known = self._user(user).marks
            known[role] = max(position.offset, known.get(role, 0))

    def _mark_of(self, subscriber: Subscriber) -> int:
        user = self._users.get(subscriber.user)
        return user.marks.get(subscriber.role, 0) if user is not None else 0

    def _user(self, user: UserId) -> _User:
        known = self._users.setdefault(user, _User())
        self._users.move_to_end(user)
        while len(self._users) > self._max_users:
            self._users.popitem(last=False)
        return known

    # restrictions

    async def restricted(self) -> Restricted:
        return Restricted(self._head(), tuple(self._restrictions.values()))

    async def restriction(self, user: UserId) -> Restriction | None:
        return self._restrictions.get(user)

    async def forget_restrictions(self, *, issued_before: datetime, until: datetime) -> None:
        for user, one in list(self._restrictions.items()):
            if restrictions.is_over(one, issued_before, until):
                del self._restrictions[user]

    # inboxes

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
            for placed in self._items(subscriber)
            if (query.before is None or placed.offset < query.before)
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
            items.append(Item(placed.offset, payload, times.read_at, times.seen_at, times.archived_at))
        last = items[-1].offset if more else None
        return Listing(tuple(items), last, self._count(subscriber).counts, self._head())

    async def change(
        self, subscriber: Subscriber, action: Action, ids: Sequence[str], at: datetime, *, by: str | None = None
    ) -> Changed:
        wanted = {record.entry.position.offset for id_ in ids if (record := self._by_id.get(id_)) is not None}
        reached = {placed.record.id: placed for placed in self._items(subscriber) if placed.offset in wanted}
        changed = self._do(subscriber, action, [reached[id_] for id_ in ids if id_ in reached], at, by)
        return self._changed(subscriber, changed)

    async def read_all(
        self, subscriber: Subscriber, up_to: Position | None, at: datetime, *, by: str | None = None
    ) -> Changed:
        if up_to is not None:
            self._check_position(up_to)
        unread = [
            placed
            for placed in self._items(subscriber)
            if (up_to is None or placed.offset <= up_to.offset) and placed.times.after(Action.READ, at) != placed.times
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
        return len(changed)

    def _log(self, subscriber: Subscriber, events: Sequence[tuple[str, Json]]) -> None:
        rooms, now = frozenset((Room.of_user(subscriber.user),)), self._clock.monotonic()
        stored_at = self._clock.now()
        first = self._tail.head + 1
        self._store(
            [
                _Record(Entry(self._position(offset), rooms, event, payload, stored_at=stored_at), now)
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
        rooms = [self._tail.newest_first(room, start) for room, start in subscriber.starts.items()]
        number, last = 0, None
        for offset in heapq.merge(*rooms, reverse=True):
            record = self._records[offset]
            if offset == last or record.entry.event != NOTIFICATION_NEW:
                continue
            number, last = number + 1, offset
            if number > self._inbox_per_user or record.stored_at <= oldest:
                return
            yield _Placed(offset, record, state.of(offset))

    def _items(self, subscriber: Subscriber) -> Iterator[_Placed]:
        now = self._clock.now()
        return (placed for placed in self._placed(subscriber) if _is_there(placed, now))

    def _count(self, subscriber: Subscriber) -> Counted:
        now = self._clock.now()
        unread = unseen = total = placed_here = 0
        stands_until: datetime | None = None
        oldest: _Record | None = None
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

    # deliveries

    async def record(self, notes: Notes) -> None:
        if self._retention_deliveries:
            self._ledger.record(notes)

    async def addressed(self, user: UserId, query: DeliveriesQuery) -> AddressedPage:
        known = self._users.get(user, _User())
        if query.id is not None:
            record = self._by_id.get(query.id)
            found = [record] if record is not None and _is_among(record, query) else []
        else:
            found = self._for_user(user, known, query)
        complete_since = max(self._ledger_since, self._clock.now() - self._retention_deliveries)
        return AddressedPage(
            [self._addressed(user, known, record) for record in found[: query.limit]],
            found[query.limit - 1].entry.position.offset if len(found) > query.limit else None,
            dict(known.starts),
            dict(known.marks),
            complete_since if self._retention_deliveries else None,
        )

    def _for_user(self, user: UserId, known: _User, query: DeliveriesQuery) -> list[_Record]:
        starts = {Room.of_user(user): 0, **known.starts}
        rooms = [self._tail.newest_first(room, start) for room, start in starts.items()]
        found: list[_Record] = []
        last: int | None = None
        for offset in heapq.merge(*rooms, reverse=True):
            record = self._records[offset]
            if len(found) > query.limit or (query.since is not None and _stored(record) < query.since):
                break
            is_before = query.before is None or offset < query.before
            if is_before and record.entry.event == NOTIFICATION_NEW and offset != last:
                found.append(record)
            last = offset
        return found

    def _addressed(self, user: UserId, known: _User, record: _Record) -> Addressed:
        entry, times = record.entry, known.state.of(record.entry.position.offset)
        kind, shared = audience_of(min(entry.rooms, default=None))
        return Addressed(
            id=record.id,
            position=entry.position,
            stored_at=_stored(record),
            audience=kind,
            rooms=rooms_of(user, shared, is_own=Room.of_user(user) in entry.rooms),
            expires_at=entry.expires_at,
            has_left=False,
            read_at=times.read_at,
            read_by=times.read_by,
            deleted=times.deleted,
        )

    async def history(self, user: UserId, notifications: Sequence[Addressed]) -> ConnectionHistory:
        moments = sorted({one.stored_at for one in notifications})
        return self._ledger.history(user, moments, [one.position.offset for one in notifications])

    async def received_at(self, user: UserId, awaited: Sequence[AwaitedReceipt]) -> Sequence[datetime | None]:
        return self._ledger.received_at(user, awaited)

    # positions

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
        return floor_of(subscriber.starts, trimmed)

    # storing and trimming

    def _decide(self, batch: Sequence[PreparedDraft]) -> tuple[list[_Record], list[Appended]]:
        """What is to be stored, and what becomes of each draft once it is."""
        now = self._clock.monotonic()
        records: list[_Record] = []
        outcomes: list[Appended] = []
        by_id: dict[str, _Record] = {}
        by_key: dict[str, _Record] = {}
        stored_at = self._clock.now()
        for prepared in batch:
            draft, notification = prepared.draft, prepared.draft.notification
            id_, key = notification.id, draft.idempotency_key
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
            position = self._position(self._tail.head + 1 + len(records))
            entry = Entry(
                position, draft.rooms, NOTIFICATION_NEW, prepared.payload, notification.expires_at, None, stored_at
            )
            record = _Record(entry, now, id_, key, prepared.digest, notification.type, notification.created_at)
            records.append(record)
            outcomes.append(Appended(AppendOutcome.STORED, id_, position))
            by_id[id_] = record
            if key is not None:
                by_key[key] = record
        return records, outcomes

    def _kept_out(self, appended: Appended) -> Appended:
        if appended.position.offset <= self._tail.head:
            return appended
        conflict = appended.outcome is AppendOutcome.CONFLICT
        outcome = AppendOutcome.CONFLICT if conflict else AppendOutcome.WITHHELD
        return replace(appended, outcome=outcome, position=self._head())

    def _store(self, records: Sequence[_Record]) -> None:
        """Raises PublicationTooLarge or StoreUnavailable, and then nothing was stored."""
        sizes = (weight(len(record.entry.payload), len(record.entry.rooms)) for record in records)
        self._make_space(len(records), sum(sizes))
        for record in records:
            self._records[record.entry.position.offset] = record
            if record.id:
                self._by_id[record.id] = record
            if record.key is not None:
                self._by_key[record.key] = record
        self._tail.append([record.entry for record in records])

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
        if record.key is not None:
            del self._by_key[record.key]
        for room in entry.rooms:
            self._trimmed_rooms[room] = offset
            self._trimmed_rooms.move_to_end(room)
        while len(self._trimmed_rooms) > self._max_trimmed_rooms:
            _, self._trimmed_elsewhere = self._trimmed_rooms.popitem(last=False)


def _is_among(record: _Record, query: DeliveriesQuery) -> bool:
    """Whether it is as old, and lies where it is asked for."""
    is_young = query.since is None or _stored(record) >= query.since
    return is_young and (query.before is None or record.entry.position.offset < query.before)


def _stored(record: _Record) -> datetime:
    """By the clock of the wall."""
    stored_at = record.entry.stored_at
    if stored_at is None:
        raise ValueError("only of controls it is not known")
    return stored_at


def _is_there(placed: _Placed, now: datetime) -> bool:
    expires_at = placed.record.entry.expires_at
    return not placed.times.deleted and (expires_at is None or now < expires_at)
