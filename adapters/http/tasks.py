"""Tasks that clients cause: kept until they are done, and none fails in silence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

_log = logging.getLogger("synkrone.server")


def begin(coroutine: Coroutine[Any, Any, T]) -> T | Coroutine[Any, Any, T]:
    """Run it at once, up to where it waits: its result, or the rest of it, to be awaited.

    For what seldom waits: a task takes two turns of the loop whether it waits or not. Up to there it is in no task,
    and ``asyncio.timeout`` fails.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    return _Rest(coroutine, awaited)


class _Rest(Coroutine[Any, Any, T], Iterator[Any]):
    """A coroutine that waits for something already, which is what its first step gives."""

    __slots__ = ("_awaited", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, T], awaited: object) -> None:
        self._coroutine = coroutine
        self._awaited = [awaited]

    def send(self, value: object) -> object:
        return self._awaited.pop() if self._awaited else self._coroutine.send(value)

    def throw(self, *thrown: Any) -> object:
        self._awaited.clear()
        return self._coroutine.throw(*thrown)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self

    def __next__(self) -> object:
        return self.send(None)


class _Defects:
    """What fails inside is logged, as it is for a task."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        _tell(error)
        return True


class Tasks:
    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._finished)
        return task

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """The same, but run at once, up to where it waits."""
        with _Defects():
            rest = begin(coroutine)
            if rest is not None:
                self.spawn(rest)

    async def wait(self, seconds: float) -> None:
        """Until all have ended, or the time is up."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    async def cancel(self) -> None:
        """Cancel all, and wait until they have ended."""
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _tell(error)


def _tell(error: BaseException) -> None:
    _log.error("what was done for a client ended by a defect", exc_info=error)
