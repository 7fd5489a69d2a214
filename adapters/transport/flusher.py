"""Writing once a turn of the event loop, whatever came together in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from domain.ports import Clock

TURN_SECONDS = 0.02
"""What takes longer than this goes on in the next turn of the loop."""

_LOOK_AT_CLOCK_EVERY = 64

W = TypeVar("W")


class Flusher(Generic[W]):
    """Calls ``flush``, with the monotonic time, for whatever is in ``waiting`` at the end of a turn, in that order.

    ``waiting`` may be added to as it is, with ``schedule`` called then. ``flushed`` is called behind each round.
    """

    __slots__ = ("_clock", "_flush", "_flushed", "_is_scheduled", "waiting")

    def __init__(
        self, flush: Callable[[W, float], None], clock: Clock, flushed: Callable[[], None] | None = None
    ) -> None:
        self.waiting: list[W] = []
        self._flush = flush
        self._flushed = flushed
        self._clock = clock
        self._is_scheduled = False

    def add(self, one: W) -> None:
        self.waiting.append(one)
        self.schedule()

    def schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._is_scheduled = False
        due, self.waiting = self.waiting, []
        flush = self._flush
        started = now = self._clock.monotonic()
        for number, one in enumerate(due, start=1):
            flush(one, now)
            if number % _LOOK_AT_CLOCK_EVERY == 0:
                now = self._clock.monotonic()
                if now - started > TURN_SECONDS:
                    self.waiting = due[number:] + self.waiting
                    self.schedule()
                    break
        if self._flushed is not None:
            self._flushed()
