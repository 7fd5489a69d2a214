"""How far sources have been taken over."""

from __future__ import annotations

from typing import Protocol


class Checkpoints(Protocol):
    """How far each source has been taken over; they are stored by ``Log.append``, with what they stand behind."""

    async def checkpoint(self, source: str) -> str | None:
        """The resume id stored with the last batch of a source."""
