"""Runs the long-running coroutines of the domain: again after a passing fault, and never in silence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from domain.errors import Unavailable
from domain.ports import Clock, Randomness

_log = logging.getLogger("synkrone.supervisor")

FIRST_DELAY = 0.5
MAX_DELAY = 10.0
HEALTHY_AFTER = 60.0


class Supervisor:
    """A name, a coroutine function, and whether it runs. What is not a passing fault ends the server."""

    def __init__(self, name: str, run: Callable[[], Awaitable[None]], *, clock: Clock, randomness: Randomness) -> None:
        self.name = name
        self.fault: str | None = "not started"
        self._run = run
        self._clock = clock
        self._randomness = randomness

    async def __call__(self) -> None:
        delay = FIRST_DELAY
        while True:
            started = self._clock.monotonic()
            self.fault = None
            try:
                await self._run()
            except Unavailable as error:
                self.fault = error.code
                _log.warning("%s is interrupted", self.name, extra={"code": error.code, "detail": error.detail})
            else:
                return
            if self._clock.monotonic() - started > HEALTHY_AFTER:
                delay = FIRST_DELAY
            await asyncio.sleep(self._randomness.uniform(delay / 2, delay))
            delay = min(MAX_DELAY, delay * 2)


async def every(seconds: float, *actions: Callable[[], None]) -> None:
    """Call the actions again and again, for ever."""
    while True:
        await asyncio.sleep(seconds)
        for action in actions:
            action()


async def repeat(seconds: float, action: Callable[[], Awaitable[bool]], *, pause: float = 0.0) -> None:
    """Call an action every so many seconds, and again after a pause where it says that there is more."""
    while True:
        more = await action()
        await asyncio.sleep(pause if more else seconds)


async def until(condition: Callable[[], Awaitable[bool]], *, look_every: float = 0.02) -> None:
    """Wait until the condition holds."""
    while True:
        if await condition():
            return
        await asyncio.sleep(look_every)
