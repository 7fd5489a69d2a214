"""What runs beside a server, as long as it does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from domain.ports import Clock, Randomness
from entrypoints.supervisor import Supervisor


class Background:
    """Tasks that are stopped together. A defect in one of them is set in ``failed``, which is to end the server: it
    would deliver nothing any more."""

    def __init__(self, failed: asyncio.Future[None], *, clock: Clock, randomness: Randomness) -> None:
        self.supervisors: list[Supervisor] = []
        self._failed = failed
        self._clock = clock
        self._randomness = randomness
        self._tasks: list[asyncio.Task[None]] = []

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> Supervisor:
        supervisor = Supervisor(name, run, clock=self._clock, randomness=self._randomness)
        self.supervisors.append(supervisor)
        self.run(supervisor())
        return supervisor

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self._failed.done():
            self._failed.set_exception(error)
