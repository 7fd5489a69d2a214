"""Moves in a thread of the test's own process."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from adapters.store.moving import moving
from adapters.store.moving.progress import Moved, Progress, Step
from adapters.store.postgresql.connecting import Address
from adapters.store.served import StoreUnusable

MOVE_SECONDS = 30.0


class BrokenOff(Exception):
    pass


class RunningMove:
    """One that breaks off at the report with that number, where one is given, and with the first report of the step
    ``halt_at`` waits until it is to ``go_on``. ``error`` is what it ended with."""

    def __init__(self, path: Path, url: str, break_off_at: int | None = None, *, halt_at: Step | None = None) -> None:
        self._path = path
        self._url = url
        self._break_off_at = break_off_at
        self._halt_at = halt_at
        self._halted = threading.Event()
        self._goes_on = threading.Event()
        self._reports = 0
        self._follows = threading.Event()
        self.steps: list[Step] = []
        self.moved: Moved | None = None
        self.error: BrokenOff | StoreUnusable | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            address = Address(self._url)
            self.moved = moving.move(self._path, moving.Database(address, address.place), tell=self._hear)
        except (BrokenOff, StoreUnusable) as error:
            self.error = error
        finally:
            self._follows.set()

    def _hear(self, progress: Progress) -> None:
        self._reports += 1
        self.steps.append(progress.step)
        if self._reports == self._break_off_at:
            raise BrokenOff
        if progress.step is Step.FOLLOWING:
            self._follows.set()
        if progress.step is self._halt_at:
            self._halted.set()
            assert self._goes_on.wait(MOVE_SECONDS)

    def follows(self) -> None:
        """Return when it does, or has ended."""
        assert self._follows.wait(MOVE_SECONDS)

    def ends(self) -> None:
        self._thread.join(MOVE_SECONDS)
        assert not self._thread.is_alive()

    async def halted(self) -> None:
        assert await asyncio.to_thread(self._halted.wait, MOVE_SECONDS)

    def go_on(self) -> None:
        self._goes_on.set()

    async def followed(self) -> None:
        """As ``follows``, while the test's own loop goes on."""
        await asyncio.to_thread(self.follows)

    async def ended(self) -> None:
        await asyncio.to_thread(self.ends)
