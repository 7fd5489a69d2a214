"""A durable log and its inboxes in a PostgreSQL database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from adapters.store.decisions import Batch
from adapters.store.drafts import prepare
from adapters.store.jobs import QUEUE_BYTES, one_by_one
from adapters.store.observing import StoreObserver, Unobserved
from adapters.store.postgresql import items, ledger, log, restrictions, schema, users
from adapters.store.postgresql.appending import Append, Appending
from adapters.store.postgresql.arrivals import Arriving, FoundTogether, arrive
from adapters.store.postgresql.changes import Change, Changing
from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.controls import Order, Ordering
from adapters.store.postgresql.database import Database, Work
from adapters.store.postgresql.items import Looking, View
from adapters.store.postgresql.log import Reading
from adapters.store.postgresql.nodes import PostgresqlRegistry
from adapters.store.postgresql.opened import Opened
from adapters.store.postgresql.opening import open_database
from adapters.store.postgresql.outbox import PostgresqlOutbox
from adapters.store.postgresql.partial_tail import PartialTail
from adapters.store.postgresql.presence import PRESENCE_CHANNEL, PostgresqlPresence
from adapters.store.postgresql.relaying import OutboxRow, Parking, Relay, Relaying
from adapters.store.postgresql.restrictions import Restricting
from adapters.store.postgresql.threads import Group, Readers, Writer
from adapters.store.postgresql.trimming import Step, Trimmed, Trimming
from adapters.store.postgresql.users import Acknowledging, Registering
from adapters.store.postgresql.watching import LogWatcher, News
from adapters.store.registration import Recent, Registration
from adapters.store.restrictions import Over
from adapters.store.times import microseconds
from adapters.store.window import Kept, Window
from adapters.system.configuration import ConfigurationError
from domain.errors import CursorRefused, PublicationTooLarge, StoreUnavailable
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
    DisconnectUser,
    Draft,
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
    TailEntry,
    UserId,
)
from domain.ports import Clock, Wanted
from domain.rules.epochs import Generations

_log = logging.getLogger("synkrone.store")

RECENT_USERS = 20_000

_CHECKPOINT = one_by_one(users.checkpoint)
_ROLES = one_by_one(users.roles)
_LISTING = one_by_one(items.listing)
_ADDRESSED = one_by_one(ledger.addressed)
_HISTORY = one_by_one(ledger.history)
_RECEIVED_AT = one_by_one(ledger.received_at)
_PAGE = one_by_one(log.page)
_SIZE = one_by_one(schema.size)
_RESTRICTED = one_by_one(restrictions.restricted)


class PostgresqlStore:
    """A store for one event loop; any number of processes may have it open.

    ``url`` is one of libpq's, with its parameters. With ``migrates`` an older schema becomes one of today's as it is
    opened. Entries leave the log after ``retention_log``; items stay in the inboxes for ``retention_inbox``, the newest
    ``inbox_per_user`` of each user. What became of deliveries is kept for ``retention_deliveries``; none is where that
    is nothing. About the last ``tail_entries``, and no more than take about ``tail_bytes`` of
    memory, are kept at hand for followers and for those who reconnect.

    With ``listen_url``, which leads around it, there is a pooler at ``url`` that may give each transaction another
    connection of the server's. With ``sync`` nothing is stored that no standby has. When something is stored the
    database says, or ``stamped_by``.

    Nothing connects before ``open``. Before that and after ``close`` everything raises StoreUnavailable. Whoever leaves
    the loop of ``tail`` other than by cancellation closes the iterator.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        observer: StoreObserver | None = None,
        password: str | None = None,
        listen_url: str | None = None,
        migrates: bool = True,
        sync: bool = False,
        stamped_by: Clock | None = None,
        retention_log: timedelta = timedelta(days=30),
        retention_inbox: timedelta = timedelta(days=365),
        inbox_per_user: int = 10_000,
        retention_deliveries: timedelta = timedelta(days=7),
        tail_entries: int = 50_000,
        tail_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        """Raises ConfigurationError."""
        self._address = Address(url, password, has_session=listen_url is None)
        self._listen_address = _address_to_listen(listen_url, password) if listen_url is not None else self._address
        self._clock = clock
        self._observer = observer or Unobserved()
        self._stamped_by = stamped_by
        self._appending = partial(Appending, sync=sync)
        self._registry = PostgresqlRegistry(self._listen_address)
        self._changing = partial(Changing, sync=sync, held=lambda: self._registry.held)
        self._ordering: Callable[[Any], Work] = partial(Ordering, sync=sync)
        self._restricting: Callable[[Any], Work] = partial(Restricting, sync=sync)
        self._trimming = partial(Trimming, sync=sync)
        self._relaying = partial(Relaying, sync=sync)
        self._migrates = migrates
        self._retention_log = retention_log
        self._retention_deliveries = retention_deliveries
        self._kept = Kept(max(retention_inbox, retention_log), inbox_per_user)
        self._tail_entries = tail_entries
        self._tail_bytes = tail_bytes
        self._hinted: dict[str, Callable[[], None]] = {}
        self._state: Opened | None = None
        self._registered: Recent[tuple[UserId, str], Subscriber] = Recent(RECENT_USERS)
        self._outbox = PostgresqlOutbox(self._listen_address, self._take_over, self._park)

    def presence(self, *, boot: Callable[[], str], most: int) -> PostgresqlPresence:
        """As the constructor of a PostgresqlPresence has them. To be called before ``open``: hints come from there."""
        presence = PostgresqlPresence(self._address, boot=boot, most=most)
        self._hinted[PRESENCE_CHANNEL] = presence.hear
        return presence

    # opening and closing

    def check(self) -> str | None:
        """Whether ``open`` would succeed, without doing it: None, or what stands in its way for the moment only.

        Raises StoreUnusable.
        """
        return schema.check(self._address, migrates=self._migrates)

    def migrate(self) -> str:
        """Make the schema one of today's version, and make it where there is none. Raises StoreUnusable."""
        before, after = schema.migrate(self._address)
        return f"the schema is of version {after}" + (f", and was of {before}" if before < after else "")

    @property
    def place(self) -> str:
        """As in the setting ``store``, without a user, a password or parameters."""
        return self._address.place

    async def open(self) -> None:
        """Connect. Raises StoreUnusable."""
        loop = asyncio.get_running_loop()
        found = await asyncio.to_thread(
            open_database,
            self._address,
            self._stored_at(),
            migrates=self._migrates,
            tail_entries=self._tail_entries,
            tail_bytes=self._tail_bytes,
            keeps_deliveries=bool(self._retention_deliveries),
        )
        tail = PartialTail(found.tail_floor)
        tail.append(found.entries)
        state = Opened(found.generations, tail, found.floor, found.secret, self._clock.monotonic(), found.run)
        connect = partial(Database, self._address)
        state.writer = Writer(connect(), partial(self._done, state), loop)
        state.readers = Readers(connect, loop)
        state.watcher = LogWatcher(
            self._listen_address,
            loop,
            known=state.known,
            wanted=state.wants,
            own=lambda: state.writer.process_id,
            stored_at=self._stored_at,
            tell=partial(self._hear, state),
            others=self._hinted,
        )
        # Of another database, it may be.
        self._registered = Recent(RECENT_USERS)
        self._state = state

    async def close(self) -> None:
        """Finish what was asked for, and let go of the database."""
        state = self._state
        if state is None or state.closed:
            return
        state.closed = True
        state.watcher.stop()
        state.wake()
        await asyncio.to_thread(state.readers.close)
        await asyncio.to_thread(state.writer.close)
        await asyncio.to_thread(state.watcher.close)
        state.tell_behind()

    def _opened(self) -> Opened:
        if self._state is None or self._state.closed:
            raise StoreUnavailable
        return self._state

    # what the threads have done, in the loop

    def _done(self, state: Opened, group: Group) -> None:
        """First the tail has the entries, then caches the rest, and then it is told."""
        written = group.written
        state.failing = written is None
        if written is None:
            self._observer.commit_failed()
            for job in group.jobs:
                job.settle(StoreUnavailable())
            return
        if written.generations is not None:
            self._know(state, written.generations)
        self._add(state, written.entries)
        self._observer.committed(len(group.jobs), len(written.entries), group.seconds)
        for job, answer in zip(group.jobs, written.answers, strict=True):
            job.settle(answer)
        state.tell_behind()

    def _hear(self, state: Opened, news: News) -> None:
        state.heard_at = self._clock.monotonic()
        self._know(state, news.generations)
        state.log_floor = news.floor
        if state.tail.head < news.floor and not news.entries:
            state.tail.begin_at(news.floor)
        self._add(state, news.entries)
        if state.note_missing(news.missing):
            self._observer.gap_found()
        if state.note_scrubs(news.scrubs):
            self._observer.scrubbed()
        state.tell_behind()

    def _know(self, state: Opened, generations: Generations) -> None:
        """None that is older than what is known: threads answer in any order."""
        known = state.generations
        if generations.present in known and generations.present != known.present:
            return
        end = known.common_end(generations, state.tail.head)
        if end < state.tail.head:
            _log.error("the log ended at %d, and was known up to %d: it has lost entries", end, state.tail.head)
            self._observer.gap_found()
            # What was promised of the rest is void: whoever follows is told, and whatever was remembered is forgotten.
            state.tail.cut_back(end)
            self._registered = Recent(RECENT_USERS)
        state.generations = generations
        state.tell_behind()

    def _add(self, state: Opened, entries: Sequence[TailEntry]) -> None:
        """What follows the tail. The rest it has already, or is read before long by whoever follows the log. What was
        stored in a database that is not the one any more belongs nowhere."""
        tail, position = state.tail, state.generations.position
        new = [
            entry
            for entry in entries
            if entry.position.offset > tail.head and entry.position == position(entry.position.offset)
        ]
        if new and new[0].position.offset == tail.head + 1:
            tail.append(new)
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
        state = self._opened()
        known = state.known()
        batch_wanted = Batch(prepared, checkpoint, all_or_nothing)
        wanted = Append(batch_wanted, self._stored_at(), known.offset, known.epoch)
        appended: Sequence[Appended] = await state.writer.do(self._appending, wanted, weight=weight)
        await state.caught_up_with(appended)
        return appended

    async def append_control(self, control: Control) -> Position:
        state = self._opened()
        known = state.known()
        wanted = Order(control, self._stored_at(), known.offset, known.epoch)
        work = self._ordering if isinstance(control, DisconnectUser) else self._restricting
        at: Position = await state.writer.do(work, wanted)
        await state.caught_up_if_possible(at)
        return at

    async def tail(self, after: Position, wanted: Wanted | None = None) -> AsyncIterator[Sequence[TailEntry]]:
        state = self._checked(after)
        if after.offset < state.log_floor:
            raise CursorRefused(RecoveryReason.TRIMMED)
        with state.following(after.offset, wanted) as follower:
            while True:
                yield await state.next_batch(follower)
                # What these set off, writes to sockets above all, gets its turn before the next ones.
                await asyncio.sleep(0)

    async def arrive(self, arrivals: Sequence[Arrival]) -> Sequence[Arrived]:
        state = self._opened()
        tail_floors = [state.tail.whole_after(arrival.rooms) for arrival in arrivals]
        request = Arriving(arrivals, self._window(), tail_floors)
        with state.suspecting():
            found = await state.readers.do(arrive, request)
            if None in found.each:
                await state.writer.do(Registering, [Registration(one.user, one.role, one.rooms) for one in arrivals])
                found = await state.readers.do(arrive, request)
        await state.caught_up(found.head)
        arrived = self._arrived(state, arrivals, found)
        if None in arrived:
            # The tail has given up meanwhile what would be on their pages, or has got it without what is in it.
            with state.suspecting():
                found = await state.readers.do(arrive, replace(request, tail_floors=None))
            await state.caught_up(found.head)
            arrived = self._arrived(state, arrivals, found)
        return [one for one in arrived if one is not None]

    def _arrived(self, state: Opened, arrivals: Sequence[Arrival], found: FoundTogether) -> Sequence[Arrived | None]:
        return [
            state.arrived(arrival, one, found.head)
            for arrival, one in zip(arrivals, found.each, strict=True)
            if one is not None
        ]

    async def read(self, subscriber: Subscriber, after: Position, *, max_entries: int, max_bytes: int) -> Page:
        state = self._checked(after)
        page = state.tail_page(subscriber, after, state.tail.head, max_entries, max_bytes)
        if page is not None:
            return page
        with state.suspecting():
            page = await state.readers.do(_PAGE, Reading(subscriber, after, max_entries, max_bytes))
        await state.caught_up(page.upto)
        return page

    async def head(self) -> Position:
        state = self._opened()
        return state.generations.position(state.tail.head)

    async def checkpoint(self, source: str) -> str | None:
        return await self._opened().readers.do(_CHECKPOINT, source)

    def _checked(self, position: Position) -> Opened:
        state = self._opened()
        fault = state.generations.fault(position, state.tail.head)
        if fault is not None:
            raise CursorRefused(fault)
        return state

    # the outbox

    @property
    def outbox(self) -> PostgresqlOutbox:
        """What applications publish in their own transactions."""
        return self._outbox

    async def _take_over(self, rows: Sequence[OutboxRow], drafts: Sequence[Draft]) -> Mapping[OutboxRow, Appended]:
        self._opened()
        prepared = await prepare(drafts)
        state = self._opened()
        known = state.known()
        batch = Batch(prepared, None, all_or_nothing=False)
        wanted = Relay(rows, Append(batch, self._stored_at(), known.offset, known.epoch))
        weight = sum(one.weight for one in prepared)
        taken: Mapping[OutboxRow, Appended] = await state.writer.do(self._relaying, wanted, weight=weight)
        await state.caught_up_with(taken.values())
        return taken

    async def _park(self, reasons: Mapping[OutboxRow, str]) -> Collection[OutboxRow]:
        parked: Collection[OutboxRow] = await self._opened().writer.do(Parking, reasons)
        return parked

    # users

    async def register(self, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        state = self._opened()
        known = self._registered.get((user, role))
        # A start never changes once there is one.
        if known is not None and known.starts.keys() == rooms:
            return known
        registration = Registration(user, role, rooms)
        subscriber = await state.readers.do(users.registered, registration)
        if subscriber is None:
            await state.writer.do(Registering, [registration])
            subscriber = await state.readers.do(users.registered, registration)
        if subscriber is None:
            raise StoreUnavailable
        # Whoever starts where the log ends reads on from there.
        start = max(subscriber.starts.values(), default=0)
        await state.until(lambda: state.tail.head >= start)
        self._registered.put((user, role), subscriber)
        return subscriber

    async def roles(self, user: UserId) -> Sequence[str]:
        roles: Sequence[str] = await self._opened().readers.do(_ROLES, user)
        return roles

    async def acknowledge(self, marks: Mapping[tuple[UserId, str], Position]) -> None:
        state = self._opened()
        if marks:
            await state.writer.do(Acknowledging, marks)

    # restrictions

    async def restricted(self) -> Restricted:
        state = self._opened()
        found = await state.readers.do(_RESTRICTED, None)
        await state.caught_up(found.as_of)
        return found

    async def restriction(self, user: UserId) -> Restriction | None:
        return await self._opened().readers.do(restrictions.restrictions, user)

    async def forget_restrictions(self, *, issued_before: datetime, until: datetime) -> None:
        await self._opened().writer.do(restrictions.Forgetting, Over(issued_before, until))

    # inboxes

    async def count(self, subscriber: Subscriber) -> Counted:
        state = self._opened()
        counted = await state.readers.do(items.count, self._view(subscriber))
        await state.caught_up(counted.as_of)
        return counted

    async def given_up(self) -> int:
        return 0

    async def list_items(self, subscriber: Subscriber, query: InboxQuery) -> Listing:
        state = self._opened()
        listing = await state.readers.do(_LISTING, Looking(self._view(subscriber), query))
        await state.caught_up(listing.as_of)
        return listing

    async def change(
        self, subscriber: Subscriber, action: Action, ids: Sequence[str], at: datetime, *, by: str | None = None
    ) -> Changed:
        state = self._opened()
        known = state.known()
        return await self._change(
            state, Change(self._view(subscriber), action, ids, at, self._stored_at(), known.offset, known.epoch, by=by)
        )

    async def read_all(
        self, subscriber: Subscriber, up_to: Position | None, at: datetime, *, by: str | None = None
    ) -> Changed:
        state = self._opened() if up_to is None else self._checked(up_to)
        known = state.known()
        wanted = Change(
            self._view(subscriber),
            Action.READ,
            (),
            at,
            self._stored_at(),
            known.offset,
            known.epoch,
            all_read=True,
            up_to=up_to,
            by=by,
        )
        return await self._change(state, wanted)

    async def _change(self, state: Opened, wanted: Change) -> Changed:
        changed: Changed = await state.writer.do(self._changing, wanted)
        await state.caught_up_if_possible(changed.as_of)
        return changed

    def _view(self, subscriber: Subscriber) -> View:
        return View(subscriber, self._window())

    def _window(self) -> Window:
        return Window(microseconds(self._clock.now()), self._kept)

    def _stored_at(self) -> datetime | None:
        """None where the database says it."""
        return self._stamped_by.now() if self._stamped_by is not None else None

    # deliveries

    async def record(self, notes: Notes) -> None:
        state = self._opened()
        if state.run is not None:
            await state.writer.do(ledger.Recorder, ledger.Recording(state.run, notes, self._stored_at()))

    async def addressed(self, user: UserId, query: DeliveriesQuery) -> AddressedPage:
        kept_since = self._clock.now() - self._retention_deliveries
        return await self._opened().readers.do(_ADDRESSED, ledger.Asking(user, query, kept_since))

    async def history(self, user: UserId, notifications: Sequence[Addressed]) -> ConnectionHistory:
        return await self._opened().readers.do(_HISTORY, ledger.Remembering(user, notifications))

    async def received_at(self, user: UserId, awaited: Sequence[AwaitedReceipt]) -> Sequence[datetime | None]:
        return await self._opened().readers.do(_RECEIVED_AT, ledger.Receiving(user, awaited)) if awaited else []

    # the store itself

    async def secret(self) -> bytes:
        return self._opened().secret

    def registry(self) -> PostgresqlRegistry:
        return self._registry

    def last_epoch(self) -> str:
        return self._opened().generations.present

    @property
    def silent_seconds(self) -> float:
        return self._clock.monotonic() - self._opened().heard_at

    async def size(self) -> int:
        return await self._opened().readers.do(_SIZE, None)

    async def ensure_writable(self) -> None:
        state = self._opened()
        if state.failing:
            raise StoreUnavailable
        state.check_complete()

    async def tidy(self) -> bool:
        """One small step of trimming; whether there is more to do. While writing fails it tries whether it can be
        done again. Raises StoreUnavailable, and RuntimeError once a defect has ended writing or following for good."""
        state = self._opened()
        if state.writer.defect is not None:
            raise RuntimeError("nothing can be stored any more") from state.writer.defect
        if state.watcher.defect is not None:
            raise RuntimeError("the log is not followed any more") from state.watcher.defect
        step = Step(
            self._stored_at(),
            state.tail.given_to_all,
            self._retention_log,
            self._kept.retention,
            self._retention_deliveries,
        )
        trimmed: Trimmed = await state.writer.do(self._trimming, step, applied=state.trimmed)
        return trimmed.more


def _address_to_listen(url: str, password: str | None) -> Address:
    try:
        return Address(url, password)
    except ConfigurationError as error:
        raise ConfigurationError("store_listen", error.message) from None
