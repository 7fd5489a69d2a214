"""The client at the other end of one Engine.IO session: what it may send, and the one connection it has."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from adapters.transport.hold import Hold
from adapters.transport.socketio.engineio.packet import EncodedPacket
from adapters.transport.socketio.engineio.server import ServedSession
from adapters.transport.socketio.rate import TokenBucket
from domain.model import AckId, ConnectionId, ConnectReply, DisconnectReason, Room


class Request(NamedTuple):
    """An event of a client; without an ``ack`` it wants no answer."""

    ack: AckId | None
    event: str
    argument: object


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


@dataclass(slots=True, eq=False)
class Connection:
    """A connection to the namespace ``/``, from its CONNECT packet on.

    ``opened``: its replay is over, or has failed. ``requests`` wait to be handled; the first one is under way once it
    has opened. ``working`` on them is done by this task, and goes on when the connection has ended.
    """

    id: ConnectionId
    client: Client
    hold: Hold[EncodedPacket]
    reply: ConnectReply | None = None
    closing: bool = False
    opened: bool = False
    requests: deque[Request] = field(default_factory=deque)
    working: asyncio.Task[None] | None = None
    rooms: frozenset[Room] = frozenset()

    @property
    def session(self) -> ServedSession:
        return self.client.session
