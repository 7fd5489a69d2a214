"""Connections that end at their time: with their token, or with the server."""

from __future__ import annotations

from domain.errors import ShuttingDown, TokenExpired
from domain.model import Expiring
from domain.policy import ConnectionPolicy
from domain.ports import Clock
from domain.services.connections import Connection, Connections


class ExpiryService:
    """``tick`` is to be called about once a second."""

    def __init__(self, *, connections: Connections, policy: ConnectionPolicy, clock: Clock) -> None:
        self._connections = connections
        self._policy = policy
        self._clock = clock

    def tick(self) -> None:
        """Warn, and close what is due. All deadlines are on the monotonic clock."""
        now = self._clock.monotonic()
        for connection in list(self._connections.all):
            if connection.deadlines is not None and not connection.closing:
                self._look_at(connection, now)

    def _look_at(self, connection: Connection, now: float) -> None:
        if connection.identity is None or connection.deadlines is None:
            return
        if connection.drain_at is not None and now >= connection.drain_at:
            self._connections.close(connection, ShuttingDown())
        elif now >= connection.deadlines.close_at:
            self._connections.close(connection, TokenExpired("the token of this connection has expired"))
        elif now >= connection.deadlines.warn_at and connection.has_reply and not connection.warned:
            connection.warned = True
            connection.subscription.send(Expiring(connection.identity.expires_at))

    def drain(self) -> None:
        """Have everybody let in no more, and ``tick`` close the connections there are, spread out."""
        self._connections.is_draining = True
        now = self._clock.monotonic()
        schedule = self._policy.drain_schedule(len(self._connections.all))
        for connection, delay in zip(self._connections.all, schedule, strict=True):
            connection.drain_at = now + delay
