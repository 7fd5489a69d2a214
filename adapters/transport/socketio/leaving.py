"""Connections that have ended before all that they had asked for was done."""

from __future__ import annotations

import asyncio
from collections import Counter

from adapters.transport.socketio.client import Connection
from domain.model import UserId

PER_USER = 20
"""Ended connections of one user whose requests are still carried out: as many as a user may have open by default."""


class Leaving:
    """They are counted, for whoever bounds the connections, and bounded for each user; its length is their number."""

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._of_user: Counter[UserId] = Counter()
        self._connections: dict[Connection, UserId] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def begin(self, connection: Connection) -> None:
        """It has ended. Of requests beyond the bounds only the one that is under way is finished."""
        if connection.reply is None or not connection.requests:
            return
        user = connection.reply.identity.user
        if self._of_user[user] < PER_USER and len(self) < self._max_connections:
            self._of_user[user] += 1
            self._connections[connection] = user
            return
        under_way = connection.requests[0] if connection.opened else None
        connection.requests.clear()
        if under_way is not None:
            connection.requests.append(under_way)

    def end(self, connection: Connection) -> None:
        """All that it had asked for is done, or cannot be."""
        user = self._connections.pop(connection, None)
        if user is None:
            return
        self._of_user[user] -= 1
        if not self._of_user[user]:
            del self._of_user[user]

    async def wait(self, seconds: float) -> None:
        """Until all are done, or the time is up."""
        working = [connection.working for connection in self._connections if connection.working is not None]
        if working:
            await asyncio.wait(working, timeout=seconds)
