"""Names for a client's stay."""

from __future__ import annotations

from typing import Protocol

from domain.model import PidVerdict, UserId


class Pids(Protocol):
    """The ``pid`` of a client's stay: an authentication code over the user, with no state behind it."""

    async def issue(self, user: UserId, *, refused: str | None) -> str:
        """A new one, which remembers the offset that was refused as it was issued. Raises StoreUnavailable."""

    async def examine(self, pid: object, user: UserId, offset: object) -> PidVerdict:
        """What a pid is worth that comes back with an offset; both are as sent. Raises StoreUnavailable."""
