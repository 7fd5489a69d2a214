"""Waiting no longer than so many seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def in_time(awaited: Awaitable[T], seconds: float) -> T:
    """Raises TimeoutError. As asyncio.wait_for(), which before Python 3.12 loses a cancellation that comes as what it
    waits for is done."""
    async with asyncio.timeout(seconds):
        return await awaited
