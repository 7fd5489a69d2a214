"""Tasks that clients cause: kept until they are done, and none fails in silence."""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import Coroutine, Generator
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
    return _rest(coroutine, awaited)


async def _rest(coroutine: Coroutine[Any, Any, T], awaited: object) -> T:
    return await _steps(coroutine, awaited)


@types.coroutine
def _steps(coroutine: Coroutine[Any, Any, T], awaited: object) -> Generator[object, None, T]:
    try:
        while True:
            try:
                yield awaited
            except BaseException as thrown:  # noqa: BLE001 (it is the coroutine's to handle)
                awaited = coroutine.throw(thrown)
            else:
                awaited = coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result


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
        try:
            rest = begin(coroutine)
        except Exception:  # noqa: BLE001 (it is logged)
            _log.exception("what was done for a client ended by a defect")
            return
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
            _log.error("what was done for a client ended by a defect", exc_info=error)
