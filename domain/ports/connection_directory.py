"""What the domain offers to operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from domain.model import ConnectionInfo, UserId


class ConnectionDirectory(Protocol):
    """What the domain offers to operators."""

    def connections_of(self, user: UserId) -> Sequence[ConnectionInfo]:
        """The user's live connections, the oldest first."""

    def disconnect(self, user: UserId, *, reconnect: bool) -> int:
        """Close them, and say how many there were. It does not revoke any token."""
