"""What a transport calls."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from domain.model import AckId, ConnectReply, DisconnectReason, Position
from domain.requests import Asked, ConnectRequest

if TYPE_CHECKING:
    from domain.ports.transport import Outlet, Transport


class ConnectionEvents(Protocol):
    """What a transport calls.

    For one connection: ``connect``, then ``opened`` and ``received``; ``requested`` from the connect reply on;
    ``disconnected`` once, at any time.
    """

    async def connect(self, by: Transport[Any, Any], outlet: Outlet, request: ConnectRequest) -> ConnectReply:
        """May this client connect? Short and bounded. Whatever it raises, the connection is nobody's.

        Raises InvalidToken, UserBlocked or InvalidArgument: refuse with the problem. Raises Unavailable: close without
        a word, after a delay of ``reconnect_delay()``. Raises ConnectionGone: it ended meanwhile.
        """

    async def opened(self, outlet: Outlet) -> None:
        """The reply has been sent: replay, go live, and carry out what was requested meanwhile. To be run beside the
        receiving of messages, to its end, though the connection ends before. What it raises is a defect."""

    def requested(self, outlet: Outlet, ack: AckId | None, asked: Asked) -> Coroutine[Any, Any, None] | None:
        """The client asks for something, or sends what nobody knows. What it is answered is sent, if it has an
        ``ack``. Never raises.

        Requests of one connection are carried out one after the other, in their order, and outlive it: who marks
        something as read and leaves has it read. What is returned is to be run as ``opened`` is.
        """

    def received(self, outlet: Outlet, upto: Position) -> None:
        """There is evidence that the client has every entry that was sent to it up to this one. Never raises."""

    def disconnected(self, outlet: Outlet, reason: DisconnectReason) -> None:
        """It has ended; may come at any await of the others. Never raises."""

    def reconnect_delay(self) -> float:
        """Seconds, at random, to leave between a passing fault and the close that makes a client return."""
