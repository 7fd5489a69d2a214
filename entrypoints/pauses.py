"""For how long the event loop does not come to what is due: then nobody is served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from domain.ports import Clock

LOOK_SECONDS: Final = 0.05


async def watch_pauses(clock: Clock, paused: Callable[[float], None]) -> None:
    """Tell by how many seconds it came too late, 20 times a second, for ever."""
    while True:
        due = clock.monotonic() + LOOK_SECONDS
        await asyncio.sleep(LOOK_SECONDS)
        paused(max(0.0, clock.monotonic() - due))
