from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from domain.services.due import DueService
from entrypoints.coming_due import deliver_due


class NothingIsDue:
    """For an hour."""

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()
        self.tell_earlier: Callable[[], None] = lambda: None

    def on_earlier(self, tell: Callable[[], None]) -> None:
        self.tell_earlier = tell

    async def deliver(self) -> float:
        self.is_asked.set()
        return 3600.0


def test_who_ends_it_as_something_earlier_is_scheduled_is_heard() -> None:
    async def story() -> None:
        due = NothingIsDue()
        delivering = asyncio.create_task(deliver_due(cast("DueService", due)))
        await due.is_asked.wait()
        await asyncio.sleep(0)
        due.tell_earlier()
        # What waits knows of it, and the loop that waits for that not yet.
        await asyncio.sleep(0)
        delivering.cancel()
        await asyncio.wait((delivering,), timeout=5)
        assert delivering.cancelled()

    asyncio.run(story())
