"""What the Engine.IO server serves, to whom it gives what they say, and what it wants of the requests it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from adapters.transport.socketio.engineio.arrival import Delivery
from adapters.transport.socketio.engineio.channel import WebSocketChannel
from adapters.transport.socketio.engineio.session import Session, SessionLimits


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """``message_bytes`` bounds a WebSocket message and a POST body."""

    message_bytes: int = 65_536
    session: SessionLimits = field(default_factory=SessionLimits)


class WatchedDelivery(Delivery, Protocol):
    def watch(self, told: Callable[[], None]) -> None:
        """Have it called when the connection closes, and whenever another node has said more of it."""


class PendingPoll(Protocol):
    """A GET request whose answer is still to come."""

    @property
    def target(self) -> str: ...

    @property
    def is_proxied(self) -> bool:
        """Whether it comes through a proxy, as far as that can be seen."""

    @property
    def is_stamped(self) -> bool:
        """Whether its client is known to stamp each of its polls anew: one that is the same is one sent again."""

    @property
    def is_remote(self) -> bool:
        """Whether its client is at another node, which says when it has left."""

    def has_left(self) -> bool:
        """Whether its client has closed the connection, which may not have been told yet."""

    def respond(self, body: bytes) -> WatchedDelivery: ...


class ServedSession(Session):
    """A session and what serves it: its WebSocket, its waiting poll, and the one upgrade under way."""

    __slots__ = ("address", "channel", "client", "drained", "poll_request", "upgrade_channel")

    channel: WebSocketChannel | None
    upgrade_channel: WebSocketChannel | None
    poll_request: PendingPoll | None
    drained: asyncio.Future[None] | None
    address: str
    client: Any
    """For the layer above."""


class EngineEvents(Protocol):
    """Who the sessions are for. None of these may raise."""

    def new_sid(self) -> str:
        """An unguessable name for a session."""

    def session_opened(self, session: ServedSession) -> None: ...

    def session_message(self, session: ServedSession, data: str | bytes) -> None: ...

    def session_received(self, session: ServedSession, mark: object) -> None:
        """The client has everything up to the packet with this mark."""

    def session_closed(self, session: ServedSession, reason: str) -> None: ...
