"""Who is connected on all servers together, and sending them away."""

from __future__ import annotations

from collections.abc import Sequence

from domain.errors import StoreUnavailable
from domain.model import ConnectionInfo, DisconnectUser, UserId
from domain.ports import Log, Presence
from domain.services.connections import Connections


class DirectoryService:
    """The ConnectionDirectory of the domain."""

    def __init__(self, *, log: Log, presence: Presence, connections: Connections) -> None:
        self._log = log
        self._presence = presence
        self._connections = connections

    async def connections_of(self, user: UserId) -> Sequence[ConnectionInfo]:
        elsewhere = await self._presence.elsewhere(user)
        own = self._connections.connections_of(user)
        return sorted([*elsewhere, *own], key=lambda info: info.since)

    async def disconnect(self, user: UserId, *, reconnect: bool) -> int:
        order = DisconnectUser(user, reconnect)
        try:
            number = len(await self.connections_of(user))
            at = await self._log.append_control(order)
        except StoreUnavailable:
            # What can be done at once is: whoever wants somebody gone does not want to wait for a store.
            self._connections.disconnect(user, reconnect=reconnect)
            raise
        # The tail brings it as well, to this server as to all others.
        self._connections.carry_out(order, at)
        return number
