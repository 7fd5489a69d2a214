"""What the domain offers to users who ask without a connection."""

from __future__ import annotations

from typing import Protocol

from domain.model import Answer


class InboxAccess(Protocol):
    """What the domain offers to users who ask without a connection."""

    async def request(self, token: str, event: str, argument: object) -> Answer:
        """What ``event`` is answered to the user whose token it is.

        Raises InvalidToken, UnknownEvent, InvalidArgument, or Unavailable.
        """
