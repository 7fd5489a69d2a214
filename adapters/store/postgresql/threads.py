"""Threads that work on a PostgreSQL database for an event loop: one that writes, some that read, one that follows.

Whatever waits is done together: one commit and one turn of the loop for all of it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, TypeVar

import psycopg

from adapters.store.jobs import QUEUE_BYTES, QUEUE_JOBS, Job, JobQueue, outcomes_of
from adapters.store.postgresql.connecting import one_line
from adapters.store.postgresql.database import Database, Snapshot, Work, Written
from domain.errors import StoreUnavailable, SynkroneError

A = TypeVar("A")
R = TypeVar("R")

_log = logging.getLogger("synkrone.store")

CHANNEL: Final = "synkrone_log"
HINT_SECONDS = 0.005
"""So far apart are hints to other servers at least: all of them take a lock that the whole database shares."""
TELL_SECONDS = 0.02
"""For so long what other servers are told beside that waits for a hint to go with."""
MESSAGE_BYTES: Final = 7_999
"""So much takes one, by PostgreSQL's own limit."""
LINES: Final = 4_096
"""So many wait to be told to other servers; of more, the first are not."""

_SAY = b"""
    SELECT pg_notify(channel, message)
    FROM unnest(%(channels)s::text[], %(messages)s::text[]) AS said (channel, message)"""

APART_SECONDS = 0.004
GATHERING_SECONDS = 0.012
GATHERED_JOBS = 4
"""While there are several writers at a time, who then share commits, these begin at least ``APART_SECONDS`` apart, and
``GATHERING_SECONDS`` where fewer jobs wait than ``GATHERED_JOBS``."""
SHARED_SECONDS = 0.1
"""For so long there are several writers, once something has waited for a commit of somebody else's."""

DOUBT_SECONDS = 10.0
"""For so long is asked what became of something that was on its way as a connection broke."""
_DOUBT_PAUSE = 0.2

_GROUP_JOBS = 1000
_GROUP_BYTES = 8 * 1024 * 1024
_READS_AT_ONCE = 32
_TRIES = 5
_TO_BE_TRIED_AGAIN = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)


@dataclass(eq=False, slots=True)
class Group:
    """Jobs that were done together, and what came of them; None where they failed. It took ``seconds``."""

    jobs: Sequence[Job]
    written: Written | None
    seconds: float = 0.0


class Writer:
    """The one thread that writes. ``done`` is called in the loop with each group, and settles its jobs."""

    def __init__(
        self,
        database: Database,
        done: Callable[[Group], None],
        loop: asyncio.AbstractEventLoop,
        *,
        channel: str = CHANNEL,
    ) -> None:
        """``channel`` is where other servers are given hints."""
        self._db = database
        self._channel = channel
        self._done = done
        self._loop = loop
        self._queue = JobQueue(QUEUE_JOBS, QUEUE_BYTES)
        self._lines: deque[tuple[str, str]] = deque(maxlen=LINES)
        self._has_news = False
        self._hint_at: float | None = None
        self._hinted_at = 0.0
        self._began = 0.0
        self._shared_until = 0.0
        self._failing = False
        self.defect: BaseException | None = None
        """What ended the thread, if it was no fault of the database."""
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def process_id(self) -> int | None:
        """Of the server's process that writes for it."""
        return self._db.process_id

    async def do(
        self,
        work: Callable[[Sequence[A]], Work],
        argument: A,
        *,
        weight: int = 0,
        applied: Callable[[Any], None] | None = None,
    ) -> Any:
        """The answer once it is committed. Raises StoreUnavailable."""
        job = Job(work, argument, self._loop.create_future(), weight, applied)
        self._queue.put(job)
        return await job.future

    def begin(self, work: Callable[[Sequence[A]], Work], argument: A) -> None:
        """The same for nobody who waits for it. Raises StoreUnavailable where too much waits."""
        nobody = self._loop.create_future()
        nobody.cancel()
        self._queue.put(Job(work, argument, nobody))

    def tell(self, channel: str, lines: Sequence[str]) -> None:
        """Have other servers told, with the next hint or in TELL_SECONDS. Where that fails, or too much waits, they are
        not. No line is longer than MESSAGE_BYTES."""
        self._lines.extend((channel, line) for line in lines)
        self._queue.wake()

    def close(self) -> None:
        """Finish what waits, and let go of the database; blocks."""
        self._queue.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._queue.is_over:
                self._gather()
                jobs = self._queue.take(_GROUP_JOBS, _GROUP_BYTES, self._hint_due_in())
                self._began = time.monotonic()
                for some in _by_work(jobs):
                    group = self._group(some)
                    # Of those whose jobs these are none has gone on yet.
                    if len(jobs) > 1 or self._queue.has_some:
                        self._shared_until = time.monotonic() + SHARED_SECONDS
                    self._loop.call_soon_threadsafe(self._done, group)
                self._hint()
        finally:
            left = self._queue.give_up()
            if left:
                self._loop.call_soon_threadsafe(self._done, Group(left, None))
            self._db.close()

    def _gather(self) -> None:
        """Have those who write at a time share a commit. Who writes alone, each once the one before is answered, never
        waits."""
        if time.monotonic() >= self._shared_until:
            return
        time.sleep(max(0.0, self._began + APART_SECONDS - time.monotonic()))
        while (left := self._began + GATHERING_SECONDS - time.monotonic()) > 0:
            hint_due_in = self._hint_due_in()
            if self._queue.gather(GATHERED_JOBS, left if hint_due_in is None else min(left, hint_due_in)):
                return
            self._hint()

    def _group(self, jobs: Sequence[Job]) -> Group:
        work: Work = jobs[0].operation([job.argument for job in jobs])
        began = time.monotonic()
        try:
            written = self._carry_out(work)
        except psycopg.Error as error:
            if not self._failing:
                _log.error("a write to the store failed: %s", one_line(error))
            self._failing = True
            return Group(jobs, None)
        except BaseException as error:
            # A mistake of ours: the thread ends, and the store with it, but nobody waits for ever.
            self.defect = error
            self._loop.call_soon_threadsafe(self._done, Group(jobs, None))
            raise
        if self._failing:
            self._failing = False
            _log.warning("the store can be written again")
        if written.entries or written.is_news:
            self._has_news = True
            self._plan_hint()
        return Group(jobs, written, time.monotonic() - began)

    def _carry_out(self, work: Work) -> Written:
        """Where a connection breaks nobody knows whether it was committed: the work itself finds out, over another one.

        Raises psycopg.Error.
        """
        tried_until: float | None = None
        tries = 0
        while True:
            tries += 1
            try:
                return work.run(self._db)
            except psycopg.Error as error:
                uncertain = self._db.recover()
                if isinstance(error, _TO_BE_TRIED_AGAIN) and tries < _TRIES:
                    continue
                if uncertain and tried_until is None:
                    tried_until = time.monotonic() + (DOUBT_SECONDS if work.once else 0)
                elif tried_until is None or time.monotonic() > tried_until:
                    raise
                elif not uncertain:
                    # It cannot be reached, or does not do it.
                    time.sleep(_DOUBT_PAUSE)

    def _plan_hint(self, after: float = 0.0) -> None:
        """In so many seconds, or later where the one before was just now, or when one is planned that is sooner."""
        at = max(time.monotonic() + after, self._hinted_at + HINT_SECONDS)
        self._hint_at = at if self._hint_at is None else min(at, self._hint_at)

    def _hint_due_in(self) -> float | None:
        if self._lines and self._hint_at is None:
            self._plan_hint(TELL_SECONDS)
        return max(0.0, self._hint_at - time.monotonic()) if self._hint_at is not None else None

    def _hint(self) -> None:
        """Tell other servers that there is something new, in a transaction of its own: where it fails they look by
        themselves before long."""
        if self._hint_at is None or time.monotonic() < self._hint_at:
            return
        self._hint_at, self._hinted_at = None, time.monotonic()
        has_news, self._has_news = self._has_news, False
        messages = _messages(self._lines)
        try:
            if messages:
                said = [*messages, (self._channel, "")] if has_news else messages
                channels, texts = zip(*said, strict=True)
                self._db.execute(_SAY, {"channels": list(channels), "messages": list(texts)})
            elif has_news:
                self._db.execute(f"NOTIFY {self._channel}".encode())
        except psycopg.Error as error:
            _log.debug("no hint of what was stored could be given: %s", one_line(error))
            self._db.recover()


def _messages(lines: deque[tuple[str, str]]) -> list[tuple[str, str]]:
    """What waits to be told, taken from there, and put together to as few messages as carry it."""
    messages: list[tuple[str, str]] = []
    taken = [lines.popleft() for _ in range(len(lines))]
    for channel, of_channel in groupby(taken, key=lambda one: one[0]):
        message, size = "", 0
        for _, line in of_channel:
            added = len(line.encode()) + 1
            if message and size + added > MESSAGE_BYTES:
                messages.append((channel, message))
                message, size = "", 0
            message, size = f"{message}\n{line}" if message else line, size + added
        messages.append((channel, message))
    return messages


def _by_work(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs of one kind are done together. All of them wait at once: no order among them was promised."""
    kinds: dict[Callable[..., Any], list[Job]] = {}
    for job in jobs:
        kinds.setdefault(job.operation, []).append(job)
    return list(kinds.values())


class Readers:
    """Threads that read, each over a connection of its own. What a thread takes at once it reads in one snapshot."""

    def __init__(self, connect: Callable[[], Database], loop: asyncio.AbstractEventLoop, *, threads: int = 2) -> None:
        self._connect = connect
        self._loop = loop
        self._queue = JobQueue(QUEUE_JOBS, QUEUE_BYTES)
        self._threads = [
            threading.Thread(target=self._run, name=f"store-reader-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def do(self, operation: Callable[[Snapshot, Sequence[A]], Sequence[R | SynkroneError]], argument: A) -> R:
        """Raises StoreUnavailable, and what the operation answers with."""
        job = Job(operation, argument, self._loop.create_future())
        self._queue.put(job)
        result: R = await job.future
        return result

    def close(self) -> None:
        """Finish what waits, and let go of the database; blocks."""
        self._queue.close()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        db = self._connect()
        failing = False
        try:
            while jobs := self._queue.take(_READS_AT_ONCE, QUEUE_BYTES):
                outcomes: Sequence[object]
                try:
                    outcomes = _read(db, jobs)
                    failing = False
                except psycopg.Error as error:
                    if not failing:
                        _log.error("a read of the store failed: %s", one_line(error))
                    failing = True
                    outcomes = [StoreUnavailable() for _ in jobs]
                except BaseException:
                    self._loop.call_soon_threadsafe(_settle, jobs, [StoreUnavailable() for _ in jobs])
                    raise
                self._loop.call_soon_threadsafe(_settle, jobs, outcomes)
        finally:
            left = self._queue.give_up()
            if left:
                self._loop.call_soon_threadsafe(_settle, left, [StoreUnavailable() for _ in left])
            db.close()


def _read(db: Database, jobs: Sequence[Job]) -> Sequence[object]:
    """Once more where the connection had broken by then. Raises psycopg.Error."""
    try:
        return _outcomes(db, jobs)
    except psycopg.Error:
        if not db.recover():
            raise
    try:
        return _outcomes(db, jobs)
    except psycopg.Error:
        db.recover()
        raise


def _outcomes(db: Database, jobs: Sequence[Job]) -> Sequence[object]:
    with db.snapshot() as snapshot:
        return list(outcomes_of(snapshot, jobs))


def _settle(jobs: Sequence[Job], outcomes: Sequence[object]) -> None:
    for job, outcome in zip(jobs, outcomes, strict=True):
        job.settle(outcome)
