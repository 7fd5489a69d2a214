"""Time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The wall clock, in UTC. It may jump; deadlines never rest on it."""

    def monotonic(self) -> float:
        """Seconds that only ever grow, from an arbitrary start."""

    async def turn(self) -> None:
        """Let everything else that is ready have its turn."""
