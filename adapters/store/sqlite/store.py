"""A durable log and its inboxes in one SQLite file, for one process."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from adapters.store.decisions import Batch
from adapters.store.drafts import prepare
from adapters.store.jobs import QUEUE_BYTES, one_by_one
from adapters.store.observing import StoreObserver, Unobserved
from adapters.store.registration import Recent, Registration
from adapters.store.restrictions import Over
from adapters.store.served import StoreUnusable
from adapters.store.sqlite import items, ledger, log, restrictions, users
from adapters.store.sqlite.append import append, append_control
from adapters.store.sqlite.arrivals import Arriving, Found, arrive, register, register_and_arrive, registered
from adapters.store.sqlite.changes import Change, ReadAll, change, read_all
from adapters.store.sqlite.items import Looking, View
from adapters.store.sqlite.log import Following, Reading, RoomSets
from adapters.store.sqlite.opening import open_file
from adapters.store.sqlite.schema import MIGRATIONS, FileLock, check_file, connect, prepare_file, size_of
from adapters.store.sqlite.threads import Group, Readers, Writer
from adapters.store.sqlite.transaction import LogTransaction
from adapters.store.sqlite.trimming import Step, Trimmed, Trimmer
from adapters.store.tail import Follower, Tail
from adapters.store.times import microseconds
from adapters.store.window import Kept, Window
from domain.errors import CursorRefused, PublicationTooLarge, StoreUnavailable, SynkroneError
from domain.model import (
    Action,
    Addressed,
    AddressedPage,
    Appended,
    Arrival,
    Arrived,
    AwaitedReceipt,
    Changed,
    Checkpoint,
    ConnectionHistory,
    Control,
    Counted,
    DeliveriesQuery,
    Draft,
    Entry,
    InboxQuery,
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
from domain.ports import Clock, Wanted
from domain.rules.epochs import Generations

__all__ = ["SqliteStore", "StoreUnusable"]

RECENT_USERS = 20_000

_CHECKPOINT = one_by_one(users.checkpoint)
_ROLES = one_by_one(users.roles)
_FOLLOWING = one_by_one(log.following)
_LISTING = one_by_one(items.listing)
_ADDRESSED = one_by_one(ledger.addressed)
_HISTORY = one_by_one(ledger.history)
_RECEIVED_AT = one_by_one(ledger.received_at)
_PAGE = one_by_one(log.page)
_CHANGE = one_by_one(change)
_READ_ALL = one_by_one(read_all)
_RESTRICTED = one_by_one(restrictions.restricted)
_RESTRICTION = one_by_one(restrictions.restriction)
_FORGET_RESTRICTIONS = one_by_one(restrictions.forget_restrictions)
_APPEND_CONTROL = one_by_one(append_control)


@dataclass(eq=False, slots=True)
class _Open:
    """What there is from open() on; of a closed one, what was asked for before is still answered."""

    lock: FileLock
    generations: Generations
    tail: Tail[Entry]
    log_floor: int
    secret: bytes
    run: int | None
    writer: Writer[LogTransaction] = field(init=False)
    readers: Readers = field(init=False)
    followers: set[Follower] = field(default_factory=set)
    behind: list[asyncio.Future[None]] = field(default_factory=list)
    room_sets: RoomSets = field(default_factory=RoomSets)
    lacking: int = 0
    """How many bytes have to be written at once before the store works again; 0 while it does."""
    closed: bool = False


@dataclass(eq=False, slots=True)
class _Written:
    """What the writer's thread knows of the log: as of the last commit."""

    head: int
    stored_at: int
    generations: Generations


class SqliteStore:
    """A store for one process and one event loop.

    Entries leave the log after ``retention_log``; items stay in the inboxes for ``retention_inbox``, the newest
    ``inbox_per_user`` of each user. What became of deliveries is kept for ``retention_deliveries``; none is where that
    is nothing. About the last ``tail_entries``, and no more than take about ``tail_bytes`` of
    memory, are kept at hand for followers and for those who reconnect.

    Nothing touches the file before ``open``. Before that and after ``close`` everything raises StoreUnavailable.
    Whoever leaves the loop of ``follow`` other than by cancellation closes the iterator.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        clock: Clock,
        observer: StoreObserver | None = None,
        retention_log: timedelta = timedelta(days=30),
        retention_inbox: timedelta = timedelta(days=365),
        inbox_per_user: int = 10_000,
        retention_deliveries: timedelta = timedelta(days=7),
        tail_entries: int = 50_000,
        tail_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._path = Path(path)
        self._clock = clock
        self._observer = observer or Unobserved()
        self._kept = Kept(max(retention_inbox, retention_log), inbox_per_user)
        self._tail_entries = tail_entries
        self._tail_bytes = tail_bytes
        self._retention_deliveries = retention_deliveries
        trimmer = Trimmer(retention_log, self._kept.retention, retention_deliveries)
        self._trim: Callable[[LogTransaction, Sequence[Step]], Sequence[Trimmed | SynkroneError]]
        self._trim = one_by_one(trimmer.step)
        self._state: _Open | None = None
        self._registered: Recent[tuple[UserId, str], Subscriber] = Recent(RECENT_USERS)

    # opening and closing

    def check(self) -> str | None:
        """Whether ``open`` would succeed, without doing it: None, or what another process is to blame for.

        Raises StoreUnusable. Not while it is open.
        """
        return check_file(self._path)

    @property
    def place(self) -> str:
        """As in the setting ``store``, with an absolute path."""
        return f"sqlite:///{self._path.absolute()}"

    def migrate(self) -> str:
        """Make the file one of today's version, and make it where there is none. Raises StoreUnusable."""
        lock = FileLock(self._path)
        try:
            prepare_file(self._path)
        finally:
            lock.release()
        return f"the file is of version {len(MIGRATIONS)}"

    async def open(self) -> None:
        """Open the file, and make it where there is none. Raises StoreUnusable."""
        loop = asyncio.get_running_loop()
        lock = await asyncio.to_thread(FileLock, self._path)
        try:
            found = await asyncio.to_thread(
                partial(open_file, keeps_deliveries=bool(self._retention_deliveries)),
                self._path,
                self._clock.now(),
                self._tail_entries,
                self._tail_bytes,
            )
        except BaseException:
            lock.release()
            raise
        tail: Tail[Entry] = Tail(found.tail_floor)
        tail.append(found.entries)
        state = _Open(lock, found.generations, tail, found.log_floor, found.secret, found.run)
        written = _Written(found.head, found.stored_at, found.generations)
        state.writer = Writer(
            partial(connect, self._path),
            partial(self._begin, written),
            partial(_committed, written),
            partial(self._done, state),
            loop,
        )
        state.readers = Readers(partial(connect, self._path, read_only=True), loop)
        # Of another file, it may be.
        self._registered = Recent(RECENT_USERS)
        self._state = state

    async def close(self) -> None:
        """Finish what was asked for, and close the file."""
        state = self._state
        if state is None or state.closed:
            return
        state.closed = True
        for follower in state.followers:
            follower.wake.set()
        await asyncio.to_thread(state.readers.close)
        # The last connection to be closed copies the write-ahead log into the file and removes it.
        await asyncio.to_thread(state.writer.close)
        state.lock.release()
        _tell_behind(state)

    def _opened(self) -> _Open:
        if self._state is None or self._state.closed:
            raise StoreUnavailable
        return self._state

    # in the writer's thread, and from there

    def _begin(self, written: _Written, db: sqlite3.Connection) -> LogTransaction:
        now = self._clock.now()
        # Along the log, times of storing never decrease.
        stored_at = max(written.stored_at, microseconds(now))
        return LogTransaction(db, now, stored_at, written.head, written.generations)

    def _done(self, state: _Open, group: Group[LogTransaction]) -> None:
        """In the loop. First the tail has the entries, then caches the rest, and then it is told."""
        state.lacking = group.lacking
        if group.transaction is not None:
            self._add(state, group.transaction.entries)
            self._observer.committed(len(group.jobs), len(group.transaction.entries), group.seconds)
        else:
            self._observer.commit_failed()
        for job, outcome in zip(group.jobs, group.outcomes, strict=True):
            job.settle(outcome)
        _tell_behind(state)

    def _add(self, state: _Open, entries: Sequence[Entry]) -> None:
        tail = state.tail
        tail.append(entries)
        while len(tail) > self._tail_entries or tail.bytes > self._tail_bytes:
            tail.drop_first()

    # the log

    async def append(
        self, batch: Sequence[Draft], *, checkpoint: Checkpoint | None = None, all_or_nothing: bool = False
    ) -> Sequence[Appended]:
        self._opened()
        prepared = await prepare(batch)
        weight = sum(one.weight for one in prepared)
        if weight > QUEUE_BYTES:
            raise PublicationTooLarge("what was published at once is more than can be stored at once")
        return await self._opened().writer.do(append, Batch(prepared, checkpoint, all_or_nothing), weight=weight)

    async def append_control(self, control: Control) -> Position:
        return await self._opened().writer.do(_APPEND_CONTROL, control)

    async def tail(
        self,
        after: Position,
        wanted: Wanted | None = None,  # noqa: ARG002 (every payload is at hand)
    ) -> AsyncIterator[Sequence[Entry]]:
        state = self._checked(after)
        if after.offset < state.log_floor:
            raise CursorRefused(RecoveryReason.TRIMMED)
        with state.tail.following(after.offset) as follower:
            state.followers.add(follower)
            try:
                while True:
                    yield await _next_batch(state, follower)
                    # What these set off, writes to sockets above all, gets its turn before the next ones.
                    await asyncio.sleep(0)
            finally:
                state.followers.discard(follower)

    async def arrive(self, arrivals: Sequence[Arrival]) -> Sequence[Arrived]:
        state = self._opened()
        request = Arriving(arrivals, state.generations, self._window(), state.tail.floor, state.room_sets)
        found = await state.readers.do(arrive, request)
        if None in found.each:
            found = await state.writer.do(register_and_arrive, request)
        await _caught_up(state, found.head)
        if any(after.offset < state.tail.floor for after in found.left_to_the_tail):
            # It has given up meanwhile what would be on their pages.
            found = await state.readers.do(arrive, replace(request, tail_floor=None))
            await _caught_up(state, found.head)
        return [
            _arrived(state, arrival, one, found.head)
            for arrival, one in zip(arrivals, found.each, strict=True)
            if one is not None
        ]

    async def read(self, subscriber: Subscriber, after: Position, *, max_entries: int, max_bytes: int) -> Page:
        state = self._checked(after)
        tail = state.tail
        if after.offset >= tail.floor:
            return _tail_page(state, subscriber, after, tail.head, max_entries, max_bytes)
        reading = Reading(state.generations, subscriber, after.offset, max_entries, max_bytes, state.room_sets)
        page, head = await state.readers.do(_PAGE, reading)
        await _caught_up(state, head)
        return page

    async def head(self) -> Position:
        return _head(self._opened())

    async def checkpoint(self, source: str) -> str | None:
        return await self._opened().readers.do(_CHECKPOINT, source)

    def _checked(self, position: Position) -> _Open:
        state = self._opened()
        fault = state.generations.fault(position, state.tail.head)
        if fault is not None:
            raise CursorRefused(fault)
        return state

    # users

    async def register(self, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        state = self._opened()
        known = self._registered.get((user, role))
        # A start never changes once there is one.
        if known is not None and known.starts.keys() == rooms:
            return known
        registration = Registration(user, role, rooms)
        subscriber = await state.readers.do(registered, registration)
        if subscriber is None:
            (subscriber,) = await state.writer.do(register, [registration])
        self._registered.put((user, role), subscriber)
        return subscriber

    async def roles(self, user: UserId) -> Sequence[str]:
        return await self._opened().readers.do(_ROLES, user)

    async def acknowledge(self, marks: Mapping[tuple[UserId, str], Position]) -> None:
        state = self._opened()
        good = {
            whose: position.offset
            for whose, position in marks.items()
            if state.generations.fault(position, state.tail.head) is None
        }
        if good:
            await state.writer.do(users.acknowledge, good)

    # restrictions

    async def restricted(self) -> Restricted:
        state = self._opened()
        found = await state.readers.do(_RESTRICTED, None)
        return Restricted(Position(state.generations.present, found.head), found.restrictions)

    async def restriction(self, user: UserId) -> Restriction | None:
        return await self._opened().readers.do(_RESTRICTION, user)

    async def forget_restrictions(self, *, issued_before: datetime, until: datetime) -> None:
        await self._opened().writer.do(_FORGET_RESTRICTIONS, Over(issued_before, until))

    # inboxes

    async def count(self, subscriber: Subscriber) -> Counted:
        state = self._opened()
        counted = await state.readers.do(items.count, Looking(state.generations, self._view(subscriber)))
        await _caught_up(state, counted.as_of.offset)
        return counted

    async def given_up(self) -> int:
        return 0

    async def list_items(self, subscriber: Subscriber, query: InboxQuery) -> Listing:
        state = self._opened()
        looking = Looking(state.generations, self._view(subscriber), query)
        listing = await state.readers.do(_LISTING, looking)
        await _caught_up(state, listing.as_of.offset)
        return listing

    async def change(
        self, subscriber: Subscriber, action: Action, ids: Sequence[str], at: datetime, *, by: str | None = None
    ) -> Changed:
        return await self._opened().writer.do(_CHANGE, Change(self._view(subscriber), action, ids, at, by))

    async def read_all(
        self, subscriber: Subscriber, up_to: Position | None, at: datetime, *, by: str | None = None
    ) -> Changed:
        state = self._opened() if up_to is None else self._checked(up_to)
        offset = up_to.offset if up_to is not None else None
        return await state.writer.do(_READ_ALL, ReadAll(self._view(subscriber), offset, at, by))

    def _view(self, subscriber: Subscriber) -> View:
        return View(subscriber, self._window())

    def _window(self) -> Window:
        return Window(microseconds(self._clock.now()), self._kept)

    # deliveries

    async def record(self, notes: Notes) -> None:
        state = self._opened()
        if state.run is not None:
            await state.writer.do(ledger.record, ledger.Recording(state.run, notes))

    async def addressed(self, user: UserId, query: DeliveriesQuery) -> AddressedPage:
        state = self._opened()
        kept_since = self._clock.now() - self._retention_deliveries
        return await state.readers.do(_ADDRESSED, ledger.Asking(state.generations, user, query, kept_since))

    async def history(self, user: UserId, notifications: Sequence[Addressed]) -> ConnectionHistory:
        return await self._opened().readers.do(_HISTORY, ledger.Remembering(user, notifications))

    async def received_at(self, user: UserId, awaited: Sequence[AwaitedReceipt]) -> Sequence[datetime | None]:
        return await self._opened().readers.do(_RECEIVED_AT, ledger.Receiving(user, awaited)) if awaited else []

    # the store itself

    async def secret(self) -> bytes:
        return self._opened().secret

    @property
    def silent_seconds(self) -> float:
        return 0.0

    def registry(self) -> None:
        """It is one server's own."""

    async def size(self) -> int:
        self._opened()
        return await asyncio.to_thread(size_of, self._path)

    async def ensure_writable(self) -> None:
        if self._opened().lacking:
            raise StoreUnavailable

    async def tidy(self) -> bool:
        """One small step of trimming; whether there is more to do. While writing fails it tries whether it can be
        done again. Raises StoreUnavailable, and RuntimeError once a defect has ended writing for good."""
        state = self._opened()
        if state.writer.defect is not None:
            raise RuntimeError("nothing can be stored any more") from state.writer.defect
        step = Step(state.tail.given_to_all, state.lacking)
        trimmed = await state.writer.do(self._trim, step, weight=step.probe, applied=partial(_trimmed, state))
        return bool(trimmed.more)


def _committed(written: _Written, transaction: LogTransaction) -> None:
    written.head = transaction.head
    written.generations = transaction.generations
    if transaction.entries:
        written.stored_at = transaction.stored_at


def _trimmed(state: _Open, trimmed: Trimmed) -> None:
    state.log_floor = trimmed.log_floor
    state.generations = trimmed.generations
    while state.tail.floor < state.log_floor:
        state.tail.drop_first()


def _head(state: _Open) -> Position:
    return Position(state.generations.present, state.tail.head)


def _tail_page(
    state: _Open, subscriber: Subscriber, after: Position, upto: int, max_entries: int, max_bytes: int
) -> Page:
    """A page of what the tail has up to an offset."""
    entries, more = state.tail.page(subscriber, after.offset, upto, max_entries=max_entries, max_bytes=max_bytes)
    return Page(entries, entries[-1].position if more else Position(state.generations.present, upto), more)


def _arrived(state: _Open, arrival: Arrival, found: Found, head: int) -> Arrived:
    where, page = found.continuation, found.page
    if page is None:
        page = _tail_page(state, found.subscriber, where.after, head, arrival.max_entries, arrival.max_bytes)
    return Arrived(found.subscriber, where.after, where.recovered, where.reason, page, found.counted)


async def _next_batch(state: _Open, follower: Follower) -> Sequence[Entry]:
    tail = state.tail
    while follower.given >= tail.head:
        follower.wake.clear()
        if state.closed:
            raise StoreUnavailable
        await follower.wake.wait()
    if state.closed:
        raise StoreUnavailable
    if follower.given >= tail.floor:
        return await tail.next_batch(follower)
    # While this is read the tail may go on, but not the log's floor: what was not given stays.
    request = Following(state.generations, follower.given, tail.floor, state.room_sets)
    entries = await state.readers.do(_FOLLOWING, request)
    follower.given = entries[-1].position.offset
    return entries


async def _caught_up(state: _Open, head: int) -> None:
    """Wait until the tail has what a reader has seen: an answer as of an entry comes after it in every respect."""
    while state.tail.head < head:
        if state.closed:
            raise StoreUnavailable
        behind = asyncio.get_running_loop().create_future()
        state.behind.append(behind)
        await behind


def _tell_behind(state: _Open) -> None:
    behind, state.behind = state.behind, []
    for future in behind:
        if not future.done():
            future.set_result(None)
