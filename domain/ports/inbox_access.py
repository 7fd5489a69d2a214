"""What the domain offers to users who ask without a connection."""

from __future__ import annotations

from typing import Protocol

from domain.model import Answer, Identity
from domain.requests import Asked


class InboxAccess(Protocol):
    """What the domain offers to users who ask without a connection."""

    async def authenticate(self, token: str) -> Identity:
        """Whose token it is. Raises InvalidToken, UserBlocked, or Unavailable."""

    async def request(self, who: Identity, asked: Asked) -> Answer:
        """Raises UnknownEvent, InvalidArgument, or Unavailable; InvalidToken or UserBlocked where that came over them
        meanwhile."""
