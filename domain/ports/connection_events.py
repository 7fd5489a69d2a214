"""What a transport calls."""

from __future__ import annotations

from typing import Protocol

from domain.model import AckId, ConnectionId, ConnectReply, ConnectRequest, DisconnectReason, Position, Subscriber


class ConnectionEvents(Protocol):
    """What a transport calls.

    For one connection: ``connect``, then ``opened`` and ``received``; once ``opened`` has returned ``request``, one at
    a time; ``disconnected`` at any time. What the client had asked for by then is still requested, in its order.
    """

    async def connect(self, connection: ConnectionId, request: ConnectRequest) -> ConnectReply:
        """May this client connect? Short and bounded. Whatever it raises, the connection is nobody's.

        Raises InvalidToken or InvalidArgument: refuse with the problem. Raises Unavailable: close without a
        word, after a delay of ``reconnect_delay()``. Raises ConnectionGone: it ended meanwhile.
        """

    async def opened(self, connection: ConnectionId) -> None:
        """The reply is on its way: replay and go live. To be run beside the receiving of messages. Never raises."""

    async def request(
        self, connection: ConnectionId, subscriber: Subscriber, ack: AckId | None, event: str, argument: object
    ) -> None:
        """The client asks for something, or sends what nobody knows. ``argument`` is any JSON value. To be run beside
        the receiving of messages. What it is answered goes to ``Transport.answer``, if it has an ``ack``. Never raises.

        ``subscriber`` is the connect reply's: who marks something as read and leaves has it read, though the connection
        has ended, or is being closed, and nobody is answered.
        """

    def received(self, connection: ConnectionId, upto: Position) -> None:
        """There is evidence that the client has every entry that was sent to it up to this one. Never raises."""

    def disconnected(self, connection: ConnectionId, reason: DisconnectReason) -> None:
        """It has ended; may come at any await of the two above. Never raises."""

    def reconnect_delay(self) -> float:
        """Seconds, at random, to leave between a passing fault and the close that makes a client return."""
