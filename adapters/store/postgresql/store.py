"""A durable log and its inboxes in a PostgreSQL database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

import psycopg

from adapters.store.jobs import one_by_one
from adapters.store.observing import StoreObserver, Unobserved
from adapters.store.postgresql import schema
from adapters.store.postgresql.connecting import Address, one_line
from adapters.store.postgresql.database import Database
from adapters.store.postgresql.erasing import Erasing, Stepped
from adapters.store.postgresql.nodes import PostgresqlRegistry
from adapters.store.postgresql.opened import Opened
from adapters.store.postgresql.opening import open_database
from adapters.store.postgresql.outbox import PostgresqlOutbox
from adapters.store.postgresql.partial_tail import PartialTail
from adapters.store.postgresql.ports.amendments import PostgresqlAmendments
from adapters.store.postgresql.ports.erasures import PostgresqlErasures
from adapters.store.postgresql.ports.inboxes import PostgresqlInboxes
from adapters.store.postgresql.ports.ledger import PostgresqlLedger
from adapters.store.postgresql.ports.log import PostgresqlLog
from adapters.store.postgresql.ports.outbox import PostgresqlRelay
from adapters.store.postgresql.ports.recipients import PostgresqlRecipients
from adapters.store.postgresql.ports.restrictions import PostgresqlRestrictions
from adapters.store.postgresql.ports.schedule import PostgresqlSchedule
from adapters.store.postgresql.ports.subscribers import PostgresqlSubscribers
from adapters.store.postgresql.ports.topics import PostgresqlTopics
from adapters.store.postgresql.presence import PRESENCE_CHANNEL, PostgresqlPresence
from adapters.store.postgresql.threads import Group, Readers, Writer
from adapters.store.postgresql.trimming import Step, Trimmed, Trimming
from adapters.store.postgresql.vacuuming import Vacuuming
from adapters.store.postgresql.watching import LogWatcher, News
from adapters.store.window import Kept
from adapters.system.configuration import ConfigurationError
from domain.errors import StoreUnavailable
from domain.ports import Clock
from domain.rules.epochs import Generations

TRACES_CHANNEL: Final = "synkrone_traces"
VACUUM_SECONDS: Final = 1.0
"""For so long is waited for it, before the rest goes on beside it."""

_log = logging.getLogger("synkrone.store")

_SIZE = one_by_one(schema.size)


class PostgresqlStore(
    PostgresqlLog,
    PostgresqlRelay,
    PostgresqlSubscribers,
    PostgresqlInboxes,
    PostgresqlLedger,
    PostgresqlRecipients,
    PostgresqlRestrictions,
    PostgresqlAmendments,
    PostgresqlSchedule,
    PostgresqlTopics,
    PostgresqlErasures,
):
    """A store for one event loop; any number of processes may have it open.

    ``url`` is one of libpq's, with its parameters. With ``migrates`` an older schema becomes one of today's as it is
    opened. Entries leave the log after ``retention_log``; items stay in the inboxes for ``retention_inbox``, the newest
    ``inbox_per_user`` of each user. What became of deliveries is kept for ``retention_deliveries``; none is where that
    is nothing. No more than ``scheduled_most`` wait for their time: an append of one more raises TooManyScheduled.
    About the last ``tail_entries``, and no more than take about ``tail_bytes`` of memory, are kept at hand for
    followers and for those who reconnect.

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
        scheduled_most: int = 1_000_000,
        retention_deliveries: timedelta = timedelta(days=7),
        tail_entries: int = 50_000,
        tail_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        """Raises ConfigurationError."""
        self._address = Address(url, password, has_session=listen_url is None)
        self._listen_address = _address_to_listen(listen_url, password) if listen_url is not None else self._address
        super().__init__(
            PostgresqlRegistry(self._listen_address),
            clock,
            Kept(max(retention_inbox, retention_log), inbox_per_user),
            retention_deliveries,
            scheduled_most=scheduled_most,
            sync=sync,
            stamped_by=stamped_by,
        )
        self._observer = observer or Unobserved()
        self._trimming = partial(Trimming, sync=sync)
        self._erasing = partial(Erasing, sync=sync)
        self._migrates = migrates
        self._retention_log = retention_log
        self._tail_entries = tail_entries
        self._tail_bytes = tail_bytes
        self._hinted: dict[str, Callable[[Sequence[str]], None]] = {}
        self._outbox = PostgresqlOutbox(self._listen_address, self._take_over, self._park)

    def presence(self, *, boot: Callable[[], str], most: int) -> PostgresqlPresence:
        """As the constructor of a PostgresqlPresence has them. To be called before ``open``: hints come from there."""
        presence = PostgresqlPresence(self._address, boot=boot, most=most)
        self._hinted[PRESENCE_CHANNEL] = lambda _: presence.hear()
        return presence

    def carry_traces(self, hear: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
        self._hinted[TRACES_CHANNEL] = hear

        def tell(lines: Sequence[str]) -> None:
            state = self._state
            if state is not None and not state.closed:
                state.writer.tell(TRACES_CHANNEL, lines)

        return tell

    # opening and closing

    def check(self) -> str | None:
        """Whether ``open`` would succeed, without doing it: None, or the move that it would wait for.

        Raises StoreUnusable.
        """
        return schema.check(self._address, migrates=self._migrates)

    def change_of_form(self) -> str | None:
        """Raises StoreUnusable."""
        return schema.change(self._address)

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
        tail.has_topics = tail.has_topics or found.has_topics
        state = Opened(found.generations, tail, found.floor, found.secret, self._clock.monotonic(), found.run)
        connect = partial(Database, self._address)
        state.writer = Writer(connect(), partial(self._done, state), loop)
        state.readers = Readers(connect, loop)
        state.vacuuming = Vacuuming(self._listen_address)
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
        self._state = state

    async def close(self) -> None:
        """Finish what was asked for, and let go of the database."""
        state = self._state
        if state is None or state.closed:
            return
        state.closed = True
        state.watcher.stop()
        state.wake()
        await state.vacuuming.stop()
        await asyncio.to_thread(state.readers.close)
        await asyncio.to_thread(state.writer.close)
        await asyncio.to_thread(state.watcher.close)
        state.tell_behind()

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
        state.add(written.entries, self._tail_entries, self._tail_bytes)
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
        state.add(news.entries, self._tail_entries, self._tail_bytes)
        if state.note_missing(news.missing):
            self._observer.gap_found()
        if state.note_scrubs(news.scrubs):
            self._observer.scrubbed()
        state.tell_behind()

    def _know(self, state: Opened, generations: Generations) -> None:
        if state.know(generations):
            self._observer.gap_found()

    # the outbox

    @property
    def outbox(self) -> PostgresqlOutbox:
        """What applications publish in their own transactions."""
        return self._outbox

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
        return trimmed.more or (trimmed.is_erasing and await self._erase(state))

    async def _erase(self, state: Opened) -> bool:
        """A small step; whether there is more to do. Raises StoreUnavailable."""
        stepped: Stepped = await state.writer.do(self._erasing, state.tail.given_to_all)
        if not stepped.is_unvacuumed:
            return stepped.more
        try:
            is_done = await state.vacuuming.go_on(0 if stepped.more else VACUUM_SECONDS)
        except psycopg.Error as error:
            _log.error("the tables could not be vacuumed, which is tried again: %s", one_line(error))
            return stepped.more
        return stepped.more or is_done


def _address_to_listen(url: str, password: str | None) -> Address:
    try:
        return Address(url, password)
    except ConfigurationError as error:
        raise ConfigurationError("store_listen", error.message) from None
