"""Sharing the event loop: how much all connections together may read in one turn of it, and in which order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import IntEnum

from domain.ports import Clock

TURN_SECONDS = 0.002
"""What is read and handled for clients in one turn of the loop, before it looks at anything else."""

LEAST_SECONDS = 0.0005
"""What each rank gets of a turn at least, whatever those before it need."""


class Rank(IntEnum):
    """Who is served first of those who wait."""

    KNOWN = 0
    NEW = 1
    """Connections of which nothing was handled yet. Whoever is refused and connects again at once is always among
    these."""
    BUSY = 2
    """Connections that sent more before the last of it was handled."""


class Turns:
    """Once a turn of the loop has lasted for ``seconds``, whoever has more to do lines up for the next.

    A loop runs all that is ready before it looks again. Without this, 200 clients that send without an end would each
    get their share before anybody else is heard, and always in the same order. There is a line for each rank: in a
    single one, a client with one request would wait for a request of each of the 200.
    """

    __slots__ = ("_clock", "_is_begun", "_lines", "_loop", "_seconds", "_until")

    def __init__(self, clock: Clock, seconds: float = TURN_SECONDS) -> None:
        self._clock = clock
        self._seconds = seconds
        self._lines: tuple[deque[Callable[[], None]], ...] = tuple(deque() for _ in Rank)
        self._until = 0.0
        self._is_begun = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def is_over(self) -> bool:
        """Whether one who has come on their own, not out of the line, has to line up. Who asks first begins a turn."""
        if any(self._lines):
            return True
        if self._is_begun:
            return self._clock.monotonic() >= self._until
        self._begin()
        return False

    def line_up(self, step: Callable[[], None], rank: Rank = Rank.BUSY) -> None:
        """Have ``step`` called once, in a later turn, behind those of its rank who lined up before. It must be
        short."""
        self._lines[rank].append(step)
        if not self._is_begun:
            self._begin()

    def charge(self, seconds: float) -> None:
        """Take from this turn what was begun in it and runs by itself later."""
        self._until -= seconds

    def _begin(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._is_begun = True
        self._until = self._clock.monotonic() + self._seconds
        self._loop.call_soon(self._next)

    def _next(self) -> None:
        """A new turn of the loop: those in line come before what it has found to be ready."""
        self._is_begun = False
        if not any(self._lines):
            return
        self._begin()
        # Who lines up again while others are served waits for the turn after this one.
        waiting = [len(line) for line in self._lines]
        for line, number in zip(self._lines, waiting, strict=True):
            until = max(self._until, self._clock.monotonic() + LEAST_SECONDS)
            for _ in range(number):
                line.popleft()()
                if self._clock.monotonic() >= until:
                    break
