"""The client at the other end of one Engine.IO session, and the one connection it has."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from adapters.transport.socketio.engineio.served import ServedSession
from adapters.transport.socketio.rate import TokenBucket
from domain.model import ConnectionId, ConnectReply, DisconnectReason


@dataclass(slots=True, eq=False)
class Client:
    """``unhandled`` are messages that came while CONNECT is being handled; None where it is not.

    ``is_deaf``: nothing of what it sends is taken any more. ``ended_for``: its session has ended, for this reason, with
    messages unhandled. ``cut`` is there once the session is to be cut without a word.
    """

    session: ServedSession
    waiting_since: float
    connection: Connection | None = None
    bucket: TokenBucket | None = None
    unhandled: deque[str | bytes] | None = None
    has_connected: bool = False
    refused: DisconnectReason | None = None
    cut: asyncio.TimerHandle | None = None
    is_deaf: bool = False
    ended_for: DisconnectReason | None = None

    @property
    def is_served(self) -> bool:
        """Its session is open, or has ended with messages that are still to be handled."""
        return self.session.is_open or self.ended_for is not None


@dataclass(slots=True, eq=False)
class Connection:
    """A connection to the namespace ``/``, from its CONNECT packet on: the Outlet of this transport.

    It has a ``reply`` once it was let in. It is open until it ends, or its client is told that it does.
    """

    id: ConnectionId
    client: Client
    reply: ConnectReply | None = None
    is_open: bool = True

    @property
    def session(self) -> ServedSession:
        return self.client.session

    @property
    def technology(self) -> str:
        return self.client.session.transport
