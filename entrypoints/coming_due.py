"""What was to be delivered at a time of its own, brought into the log when that comes."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from domain.services.due import DueService


async def deliver_due(due: DueService) -> None:
    """For ever. Raises StoreUnavailable; called again it goes on where it was."""
    is_earlier = asyncio.Event()
    due.on_earlier(is_earlier.set)
    while True:
        is_earlier.clear()
        seconds = await due.deliver()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await is_earlier.wait()
