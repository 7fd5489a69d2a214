"""What the domain offers to operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from domain.model import ConnectionInfo, UserId


class ConnectionDirectory(Protocol):
    """What the domain offers to operators. Both raise StoreUnavailable where it is not known what there is on other
    servers."""

    async def connections_of(self, user: UserId) -> Sequence[ConnectionInfo]:
        """The user's live connections on all servers, the oldest first."""

    async def disconnect(self, user: UserId, *, reconnect: bool) -> int:
        """Close them, and say how many there were. It does not revoke any token.

        They are closed at one place in the log: nothing that is published after it is sent to them. Where it cannot be
        stored those on this server are closed all the same.
        """
