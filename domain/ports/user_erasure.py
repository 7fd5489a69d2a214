"""What the domain offers to whoever has users erased."""

from __future__ import annotations

from typing import Protocol

from domain.model import Erasure, UserId


class UserErasure(Protocol):
    """What the domain offers to whoever has users erased. Everything raises StoreUnavailable."""

    async def erase(self, user: UserId) -> Erasure:
        """Erase a user, see ``Erasures``. Their connections end, and whoever comes back is a new user."""

    async def erasure(self, id_: str) -> Erasure:
        """How far one is. Raises UnknownErasure."""
