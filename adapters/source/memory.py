"""Notifications pushed from code in the same process."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from itertools import islice

from domain.errors import ShuttingDown
from domain.model import Incoming, Publication

BATCH_MAX_ITEMS = 100


class MemorySource:
    """A NotificationSource for one event loop and one consumer at a time.

    At most ``max_pending`` publications wait. They are gone with the process: its resume ids mean nothing to
    another, which for any of them gives all it has.
    """

    def __init__(self, *, name: str = "memory", max_pending: int = 10_000) -> None:
        self._name = name
        self._max_pending = max_pending
        self._process = secrets.token_hex(8)
        self._pending: deque[Incoming] = deque()
        self._acknowledged = 0
        self._changed = asyncio.Condition()
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    async def push(self, publication: Publication) -> None:
        """Hand over one publication; waits while too many are pending. Raises ShuttingDown once closed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or len(self._pending) < self._max_pending)
            if self._closed:
                raise ShuttingDown("the source is closed")
            number = self._acknowledged + len(self._pending) + 1
            self._pending.append(Incoming(f"{self._process}:{number}", publication))
            self._changed.notify_all()

    async def close(self) -> None:
        """Take nothing more. A stream ends once it has given what is pending."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def stream(self, after: str | None) -> AsyncGenerator[Sequence[Incoming], None]:
        await self._acknowledge(self._number(after))
        while batch := await self._next_batch():
            yield batch
            await self._acknowledge(self._number(batch[-1].resume_id))

    async def _next_batch(self) -> list[Incoming]:
        async with self._changed:
            await self._changed.wait_for(lambda: self._pending or self._closed)
            return list(islice(self._pending, BATCH_MAX_ITEMS))

    async def _acknowledge(self, number: int) -> None:
        async with self._changed:
            while self._pending and self._acknowledged < number:
                self._pending.popleft()
                self._acknowledged += 1
            self._changed.notify_all()

    def _number(self, resume_id: str | None) -> int:
        process, _, number = (resume_id or "").partition(":")
        return int(number) if process == self._process and number.isdecimal() else 0
