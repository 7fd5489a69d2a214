"""Sessions behind which no user is, or none yet."""

from __future__ import annotations

from adapters.transport.socketio.client import Client
from adapters.transport.socketio.engineio.served import ServedSession
from adapters.transport.socketio.engineio.server import EngineServer
from domain.model import DisconnectReason
from domain.ports import Clock


class Waiting:
    """They are given ``connect_timeout`` seconds to connect, and there are at most ``unauthenticated`` of them: of more
    the oldest that has not asked to connect goes. Its length is their number."""

    def __init__(self, engine: EngineServer, clock: Clock, *, connect_timeout: float, unauthenticated: int) -> None:
        self._engine = engine
        self._clock = clock
        self._connect_timeout = connect_timeout
        self._unauthenticated = unauthenticated
        # The oldest first.
        self._clients: dict[ServedSession, Client] = {}

    def set_limits(self, *, connect_timeout: float, unauthenticated: int) -> None:
        """From the next sweep, and from the next session on."""
        self._connect_timeout = connect_timeout
        self._unauthenticated = unauthenticated

    def __len__(self) -> int:
        return len(self._clients)

    def add(self, client: Client) -> None:
        """From now on, whether or not it has waited before."""
        self._clients.pop(client.session, None)
        client.waiting_since = self._clock.monotonic()
        self._clients[client.session] = client

    def make_room(self, newest: Client) -> None:
        if len(self._clients) > self._unauthenticated:
            silent = (client for client in self._clients.values() if client.connection is None)
            self._engine.abort(next(silent, newest).session, DisconnectReason.NEVER_CONNECTED)

    def remove(self, session: ServedSession) -> None:
        self._clients.pop(session, None)

    def give_up_place(self) -> bool:
        """Close the oldest socket behind which no user is, at once; False where there is none."""
        for session, client in self._clients.items():
            if client.connection is None and session.channel is not None:
                session.channel.abort()
                self._engine.abort(session, DisconnectReason.NEVER_CONNECTED)
                return True
        return False

    def sweep(self) -> None:
        """End those who never connect."""
        due = self._clock.monotonic() - self._connect_timeout
        for session, client in list(self._clients.items()):
            if client.waiting_since > due:
                break
            if client.connection is None:
                self._engine.abort(session, DisconnectReason.NEVER_CONNECTED)
