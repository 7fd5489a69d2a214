"""Work that an event loop hands to the threads of a store, and what comes back."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

from domain.errors import StoreUnavailable, SynkroneError

A = TypeVar("A")
D = TypeVar("D")
R = TypeVar("R")

QUEUE_JOBS = 20_000
QUEUE_BYTES = 256 * 1024 * 1024


@dataclass(eq=False, slots=True)
class Job:
    """Work for a thread. ``weight`` is about how many bytes it holds, ``applied`` is called in the loop with its
    result, before whoever waits for it goes on."""

    operation: Callable[..., Any]
    argument: Any
    future: asyncio.Future[Any]
    weight: int = 0
    applied: Callable[[Any], None] | None = None

    def settle(self, outcome: object) -> None:
        """In the loop: hand over the result or the error. Nobody may be waiting any more."""
        if isinstance(outcome, SynkroneError):
            if not self.future.done():
                self.future.set_exception(outcome)
            return
        if self.applied is not None:
            self.applied(outcome)
        if not self.future.done():
            self.future.set_result(outcome)


class JobQueue:
    """Jobs in the order they came, bounded in number and weight; one is taken whatever its weight."""

    def __init__(self, max_jobs: int, max_bytes: int) -> None:
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes
        self._jobs: deque[Job] = deque()
        self._bytes = 0
        self._closed = False
        self._is_woken = False
        self._changed = threading.Condition()

    def put(self, job: Job) -> None:
        """Raises StoreUnavailable where it is full or closed."""
        with self._changed:
            full = len(self._jobs) >= self._max_jobs or (self._jobs and self._bytes + job.weight > self._max_bytes)
            if self._closed or full:
                raise StoreUnavailable
            self._jobs.append(job)
            self._bytes += job.weight
            self._changed.notify()

    @property
    def is_over(self) -> bool:
        """It is closed, and everything was taken."""
        with self._changed:
            return self._closed and not self._jobs

    @property
    def has_some(self) -> bool:
        with self._changed:
            return bool(self._jobs)

    def gather(self, enough: int, timeout: float) -> bool:
        """Wait for so many to wait, for so many seconds: whether they do, or no more can come."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._jobs) >= enough or self._closed, timeout)

    def take(self, max_jobs: int, max_bytes: int, timeout: float | None = None) -> list[Job]:
        """What waits, up to that much; waits for something, with a ``timeout`` so many seconds. Empty: the queue is
        closed, and nothing will come, or nothing came in time, or whoever takes was woken."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed or self._is_woken, timeout)
            self._is_woken = False
            taken: list[Job] = []
            size = 0
            while self._jobs and len(taken) < max_jobs and (not taken or size + self._jobs[0].weight <= max_bytes):
                job = self._jobs.popleft()
                size += job.weight
                taken.append(job)
            self._bytes -= size
            return taken

    def wake(self) -> None:
        """Have whoever waits to take something look at what else there is to do."""
        with self._changed:
            self._is_woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more. What waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def give_up(self) -> list[Job]:
        """Close, and take everything."""
        self.close()
        with self._changed:
            left = list(self._jobs)
            self._jobs.clear()
            self._bytes = 0
            return left


def one_by_one(operation: Callable[[D, A], R]) -> Callable[[D, Sequence[A]], Sequence[R | SynkroneError]]:
    """An operation on one argument, as the threads take it. It may raise SynkroneError while it has written nothing."""

    def run(database: D, arguments: Sequence[A]) -> Sequence[R | SynkroneError]:
        outcomes: list[R | SynkroneError] = []
        for argument in arguments:
            try:
                outcomes.append(operation(database, argument))
            except SynkroneError as error:
                outcomes.append(error)
        return outcomes

    return run


def outcomes_of(database: object, jobs: Sequence[Job]) -> Iterator[object]:
    """An operation gets the arguments of all its jobs that follow each other in the queue, and answers with a result or
    a SynkroneError for each."""
    for operation, run in groupby(jobs, key=lambda job: job.operation):
        yield from operation(database, [job.argument for job in run])
