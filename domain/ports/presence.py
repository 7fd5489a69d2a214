"""Who is connected on all servers together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from domain.errors import SynkroneError
from domain.model import ConnectionInfo, Present, UserId
from domain.ports.transport import Outlet


class Presence(Protocol):
    """What users have on other servers, and what those are told of the connections here.

    A user has no more connections on all servers together than they may have: for one that comes the oldest goes,
    wherever it is. So does the one whose place it takes.
    """

    async def admit(self, outlet: Outlet, present: Present, displaced: Callable[[SynkroneError], None]) -> None:
        """Have a connection count that is about to be let in, until it leaves.

        ``displaced`` is called with TooManyConnections or Superseded once it has to go for one on another server: what
        it has to do with others here is not looked at. Raises StoreUnavailable; it is then to leave all the same.
        """

    def leave(self, outlet: Outlet) -> None:
        """It does not count any more; it may never have counted. Never raises, and never waits."""

    async def elsewhere(self, user: UserId) -> Sequence[ConnectionInfo]:
        """What the user has on other servers, the oldest first. Raises StoreUnavailable."""
