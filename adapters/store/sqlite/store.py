"""A durable log and its inboxes in one SQLite file, for one process."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from adapters.store.jobs import one_by_one
from adapters.store.observing import StoreObserver, Unobserved
from adapters.store.served import StoreUnusable
from adapters.store.sqlite.erasing import Eraser, Stepped
from adapters.store.sqlite.opened import Opened
from adapters.store.sqlite.opening import open_file
from adapters.store.sqlite.overwriting import Overwriter, Rounds
from adapters.store.sqlite.ports.amendments import SqliteAmendments
from adapters.store.sqlite.ports.erasures import SqliteErasures
from adapters.store.sqlite.ports.inboxes import SqliteInboxes
from adapters.store.sqlite.ports.ledger import SqliteLedger
from adapters.store.sqlite.ports.log import SqliteLog
from adapters.store.sqlite.ports.recipients import SqliteRecipients
from adapters.store.sqlite.ports.restrictions import SqliteRestrictions
from adapters.store.sqlite.ports.schedule import SqliteSchedule
from adapters.store.sqlite.ports.subscribers import SqliteSubscribers
from adapters.store.sqlite.ports.topics import SqliteTopics
from adapters.store.sqlite.schema import (
    MIGRATIONS,
    FileLock,
    check_file,
    connect,
    prepare_file,
    size_of,
    version_at_rest,
)
from adapters.store.sqlite.scrubbing import Scrubber
from adapters.store.sqlite.threads import Group, Readers, Writer
from adapters.store.sqlite.transaction import LogTransaction
from adapters.store.sqlite.trimming import Step, Trimmed, Trimmer
from adapters.store.tail import Tail
from adapters.store.times import microseconds
from adapters.store.window import Kept
from domain.errors import StoreUnavailable, SynkroneError
from domain.model import Entry
from domain.ports import Clock
from domain.rules.epochs import Generations

__all__ = ["SqliteStore", "StoreUnusable"]


@dataclass(eq=False, slots=True)
class _Written:
    """What the writer's thread knows of the log: as of the last commit."""

    head: int
    stored_at: int
    generations: Generations
    overwriter: Overwriter


class SqliteStore(
    SqliteLog,
    SqliteSubscribers,
    SqliteInboxes,
    SqliteLedger,
    SqliteRecipients,
    SqliteRestrictions,
    SqliteAmendments,
    SqliteSchedule,
    SqliteTopics,
    SqliteErasures,
):
    """A store for one process and one event loop.

    Entries leave the log after ``retention_log``; items stay in the inboxes for ``retention_inbox``, the newest
    ``inbox_per_user`` of each user. What became of deliveries is kept for ``retention_deliveries``; none is where that
    is nothing. No more than ``scheduled_most`` wait for their time: an append of one more raises TooManyScheduled.
    About the last ``tail_entries``, and no more than take about ``tail_bytes`` of memory, are kept at hand for
    followers and for those who reconnect. Where what all whom it names have deleted may have left copies in the file,
    these are overwritten, at most so often as ``overwrite_every`` says.

    Nothing touches the file before ``open``. Before that and after ``close`` everything raises StoreUnavailable.
    Whoever leaves the loop of ``tail`` other than by cancellation closes the iterator.
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
        scheduled_most: int = 1_000_000,
        retention_deliveries: timedelta = timedelta(days=7),
        tail_entries: int = 50_000,
        tail_bytes: int = 64 * 1024 * 1024,
        overwrite_every: timedelta = timedelta(hours=1),
    ) -> None:
        kept = Kept(max(retention_inbox, retention_log), inbox_per_user)
        super().__init__(clock, kept, retention_deliveries, scheduled_most)
        self._path = Path(path)
        self._observer = observer or Unobserved()
        self._tail_entries = tail_entries
        self._tail_bytes = tail_bytes
        self._overwrite_every = overwrite_every
        trimmer = Trimmer(retention_log, self._kept.retention, retention_deliveries)
        self._trim: Callable[[LogTransaction, Sequence[Step]], Sequence[Trimmed | SynkroneError]]
        self._trim = one_by_one(trimmer.step)
        self._erase: Callable[[LogTransaction, Sequence[int]], Sequence[Stepped | SynkroneError]]
        self._overwrite: Callable[[LogTransaction, Sequence[None]], Sequence[bool | SynkroneError]]

    # opening and closing

    def check(self) -> str | None:
        """Whether ``open`` would succeed, without doing it: None, or what another process is to blame for.

        Raises StoreUnusable. Not while it is open.
        """
        return check_file(self._path)

    def change_of_form(self) -> str | None:
        """Raises StoreUnusable. Nothing is known of a file that was not closed in good order."""
        version = version_at_rest(self._path)
        if version is None or not 0 < version < len(MIGRATIONS):
            return None
        return f"the file is of version {version}, and becomes one of version {len(MIGRATIONS)}"

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
        scrubber = Scrubber(self._path)
        overwriter = Overwriter(scrubber)
        self._erase = one_by_one(Eraser(overwriter).step)
        rounds = Rounds(overwriter, monotonic=self._clock.monotonic, every=self._overwrite_every)
        self._overwrite = one_by_one(rounds.step)
        tail: Tail[Entry] = Tail(found.tail_floor)
        tail.append(found.entries)
        tail.has_topics = tail.has_topics or found.has_topics
        state = Opened(lock, scrubber, found.generations, tail, found.log_floor, found.secret, found.run)
        written = _Written(found.head, found.stored_at, found.generations, overwriter)
        state.writer = Writer(
            partial(connect, self._path),
            partial(self._begin, written),
            partial(_committed, written),
            partial(self._done, state),
            loop,
        )
        state.readers = Readers(partial(connect, self._path, read_only=True), loop)
        self._state = state

    async def close(self) -> None:
        """Finish what was asked for, and close the file."""
        state = self._state
        if state is None or state.closed:
            return
        state.closed = True
        state.wake()
        await asyncio.to_thread(state.readers.close)
        # The last connection to be closed copies the write-ahead log into the file and removes it.
        await asyncio.to_thread(state.writer.close)
        state.scrubber.close()
        state.lock.release()
        state.tell_behind()

    # in the writer's thread, and from there

    def _begin(self, written: _Written, db: sqlite3.Connection) -> LogTransaction:
        now = self._clock.now()
        # Along the log, times of storing never decrease.
        stored_at = max(written.stored_at, microseconds(now))
        return LogTransaction(db, now, stored_at, written.head, written.generations)

    def _done(self, state: Opened, group: Group[LogTransaction]) -> None:
        """In the loop. First the tail has the entries, then caches the rest, and then it is told."""
        state.lacking = group.lacking
        if group.transaction is not None:
            state.add(group.transaction.entries, self._tail_entries, self._tail_bytes)
            self._observer.committed(len(group.jobs), len(group.transaction.entries), group.seconds)
        else:
            self._observer.commit_failed()
        for job, outcome in zip(group.jobs, group.outcomes, strict=True):
            job.settle(outcome)
        state.tell_behind()

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
        try:
            return await asyncio.to_thread(size_of, self._path)
        except OSError as error:
            raise StoreUnavailable from error

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
        trimmed = await state.writer.do(self._trim, step, weight=step.probe, applied=state.trimmed)
        more = trimmed.more
        if state.is_erasing:
            # In the order of commits: whoever is begun to be erased behind this step is not forgotten by it.
            stepped = await state.writer.do(self._erase, state.tail.given_to_all, applied=state.erased)
            more = more or stepped.more
        if trimmed.is_unscrubbed and not state.is_erasing:
            more = await state.writer.do(self._overwrite, None) or more
        return bool(more)


def _committed(written: _Written, transaction: LogTransaction) -> None:
    written.head = transaction.head
    written.generations = transaction.generations
    if transaction.entries:
        written.stored_at = transaction.stored_at
    written.overwriter.committed(transaction.db)
