"""Threads that work on a SQLite file for an event loop: one that writes, some that read.

Whatever waits is done together: one commit and one turn of the loop for all of it. While the loop is busy every
statement costs a wait for the interpreter's lock (measured: 300 single-row statements 48 ms, the same rows in
3 statements 2 ms), so that what can be one statement is one.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from adapters.store.jobs import QUEUE_BYTES, QUEUE_JOBS, Job, JobQueue, outcomes_of
from domain.errors import StoreUnavailable, SynkroneError

A = TypeVar("A")
R = TypeVar("R")

_log = logging.getLogger("synkrone.store")

_GROUP_JOBS = 1000
_GROUP_BYTES = 8 * 1024 * 1024
_READS_AT_ONCE = 32

GATHERING_SECONDS = 0.004
"""Commits begin at least so far apart while there are several writers at a time, who then share them: each costs about
0.4 ms of the processor, however little it writes (measured: 1,000 publishes a second 820 µs each, and so 520 µs). A
single writer, who waits for each answer, never waits for this."""

PROBE_BYTES = 1024 * 1024
"""A store that takes so much at once is not full, though one batch may be too large for what is left."""
_PROBE_LEAST_BYTES = 64 * 1024


class Transaction(Protocol):
    """What operations write through; made for each group of jobs."""

    @property
    def db(self) -> sqlite3.Connection: ...


T = TypeVar("T", bound=Transaction)


@dataclass(eq=False, slots=True)
class Group(Generic[T]):
    """Jobs that became one commit, with their results or errors in order. Without a ``transaction`` it failed.

    ``lacking`` is how many bytes have to be written at once before the store works again; 0 while it does. It took
    ``seconds``.
    """

    jobs: Sequence[Job]
    outcomes: Sequence[object]
    transaction: T | None
    lacking: int
    seconds: float = 0.0


class Writer(Generic[T]):
    """The one thread that writes. Its operations get a transaction.

    ``begin`` makes the transaction, ``done`` is called in the loop with
    each group, and settles its jobs.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        begin: Callable[[sqlite3.Connection], T],
        committed: Callable[[T], None],
        done: Callable[[Group[T]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """``committed`` is called in the thread, before the next ``begin``."""
        self._connect = connect
        self._begin = begin
        self._committed = committed
        self._done = done
        self._loop = loop
        self._db: sqlite3.Connection | None = None
        self._lacking = 0
        self.defect: BaseException | None = None
        """What ended the thread, if it was no fault of the file."""
        self._queue = JobQueue(QUEUE_JOBS, QUEUE_BYTES)
        self._thread = threading.Thread(target=self._run, name="inbox-writer", daemon=True)
        self._thread.start()

    async def do(
        self,
        operation: Callable[[T, Sequence[A]], Sequence[R | SynkroneError]],
        argument: A,
        *,
        weight: int = 0,
        applied: Callable[[R], None] | None = None,
    ) -> R:
        """The result once it is committed. Raises StoreUnavailable, and what the operation answers with."""
        job = Job(operation, argument, self._loop.create_future(), weight, applied)
        self._queue.put(job)
        result: R = await job.future
        return result

    def close(self) -> None:
        """Finish what waits and close the file; blocks."""
        self._queue.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            while jobs := self._queue.take(_GROUP_JOBS, _GROUP_BYTES):
                next_commit = time.monotonic() + GATHERING_SECONDS
                self._loop.call_soon_threadsafe(self._done, self._group(jobs))
                if len(jobs) > 1:
                    time.sleep(max(0.0, next_commit - time.monotonic()))
        finally:
            left = self._queue.give_up()
            if left:
                self._loop.call_soon_threadsafe(self._done, _failed(left, _worth_trying(left)))
            self._disconnect()

    def _group(self, jobs: Sequence[Job]) -> Group[T]:
        began = time.monotonic()
        try:
            db = self._connection()
            before = db.total_changes
            db.execute("BEGIN IMMEDIATE")
            transaction = self._begin(db)
            outcomes = list(outcomes_of(transaction, jobs))
            db.execute("COMMIT")
            seconds = time.monotonic() - began
        except sqlite3.Error as error:
            if not self._lacking:
                _log.error("a write to the store failed: %s", error)
            self._lacking = max(self._lacking, _worth_trying(jobs))
            self._roll_back()
            return _failed(jobs, self._lacking)
        except BaseException as error:
            # A mistake of ours: the thread ends, and the store with it, but nobody waits for ever.
            self.defect = error
            self._loop.call_soon_threadsafe(self._done, _failed(jobs, _worth_trying(jobs)))
            raise
        self._committed(transaction)
        # On a disk that is full a little still fits in now and then.
        if self._lacking and db.total_changes > before and _weight(jobs) >= self._lacking:
            self._lacking = 0
            _log.warning("the store can be written again")
        return Group(jobs, outcomes, transaction, self._lacking, seconds)

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = self._connect()
        return self._db

    def _roll_back(self) -> None:
        try:
            if self._db is not None and self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            # Closing rolls back too; the next group opens the file anew.
            self._disconnect()

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _failed(jobs: Sequence[Job], lacking: int) -> Group[Any]:
    return Group(jobs, [StoreUnavailable() for _ in jobs], None, lacking)


def _weight(jobs: Sequence[Job]) -> int:
    return sum(job.weight for job in jobs)


def _worth_trying(jobs: Sequence[Job]) -> int:
    """How many bytes to write before it is believed that what could not be written can be: twice as much, as there are
    indexes, and not too little."""
    return min(max(2 * _weight(jobs), _PROBE_LEAST_BYTES), PROBE_BYTES)


class Readers:
    """Threads that read, each with a connection of its own; they never wait for the writer.

    What a thread takes at once it reads in one snapshot.
    """

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], loop: asyncio.AbstractEventLoop, *, threads: int = 2
    ) -> None:
        self._connect = connect
        self._loop = loop
        self._queue = JobQueue(QUEUE_JOBS, QUEUE_BYTES)
        self._threads = [
            threading.Thread(target=self._run, name=f"inbox-reader-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def do(
        self, operation: Callable[[sqlite3.Connection, Sequence[A]], Sequence[R | SynkroneError]], argument: A
    ) -> R:
        """Raises StoreUnavailable, and what the operation answers with."""
        job = Job(operation, argument, self._loop.create_future())
        self._queue.put(job)
        result: R = await job.future
        return result

    def close(self) -> None:
        """Finish what waits and close the files; blocks."""
        self._queue.close()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        db: sqlite3.Connection | None = None
        failing = False
        try:
            while jobs := self._queue.take(_READS_AT_ONCE, QUEUE_BYTES):
                outcomes: list[object] = []
                try:
                    if db is None:
                        db = self._connect()
                    db.execute("BEGIN")
                    outcomes.extend(outcomes_of(db, jobs))
                    db.execute("COMMIT")
                    failing = False
                except sqlite3.Error as error:
                    if not failing:
                        _log.error("a read of the store failed: %s", error)
                    failing = True
                    outcomes.extend(StoreUnavailable() for _ in jobs[len(outcomes) :])
                    if db is not None:
                        db.close()
                        db = None
                except BaseException:
                    self._loop.call_soon_threadsafe(_settle, jobs, [StoreUnavailable() for _ in jobs])
                    raise
                self._loop.call_soon_threadsafe(_settle, jobs, outcomes)
        finally:
            left = self._queue.give_up()
            if left:
                self._loop.call_soon_threadsafe(_settle, left, [StoreUnavailable() for _ in left])
            if db is not None:
                db.close()


def _settle(jobs: Sequence[Job], outcomes: Sequence[object]) -> None:
    for job, outcome in zip(jobs, outcomes, strict=True):
        job.settle(outcome)
