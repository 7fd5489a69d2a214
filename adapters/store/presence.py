"""The presence of a server that has its store for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from domain.errors import SynkroneError
from domain.model import ConnectionInfo, Present, UserId
from domain.ports import Outlet


class LocalPresence:
    """There is nobody elsewhere: what the domain knows of its connections is all that there is."""

    async def open(self) -> None:
        """Nothing to open."""

    async def follow(self) -> None:
        """There is nobody to be heard of."""

    async def close(self) -> None:
        """Nothing to close."""

    async def admit(self, outlet: Outlet, present: Present, displaced: Callable[[SynkroneError], None]) -> None:
        """Nobody has to know."""

    def leave(self, outlet: Outlet) -> None:
        """Nobody knew."""

    async def elsewhere(self, user: UserId) -> Sequence[ConnectionInfo]:  # noqa: ARG002 (of the port)
        return ()
