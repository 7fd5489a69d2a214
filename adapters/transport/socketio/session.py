"""One Engine.IO session of the library: what waits for its client, and how it ends."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NamedTuple

import socketio
from engineio.packet import Packet
from tornado.httputil import HTTPServerRequest

from adapters.transport.socketio.rate import TokenBucket
from domain.errors import ConnectionGone, SlowConsumer


class Frame(NamedTuple):
    """One Engine.IO packet, ready for any number of clients, and its size in bytes."""

    packet: Packet
    size: int


class EngineSession:
    """A client before, while and after it is connected by Socket.IO.

    ``waiting_since`` is when it was last without a connection, on the monotonic clock. ``websocket`` is the handler
    of its WebSocket, from the beginning of the upgrade on. Once ``ending``, nothing is sent any more.
    """

    def __init__(
        self, server: socketio.AsyncServer, engine_id: str, request: HTTPServerRequest, events: TokenBucket, now: float
    ) -> None:
        self.id = engine_id
        self.request = request
        self.events = events
        self.waiting_since = now
        self.websocket: Any = None
        self.slow_since: float | None = None
        self.ending = False
        self._server = server
        self._queued: deque[int] = deque()
        self._queued_bytes = 0

    @property
    def is_websocket(self) -> bool:
        socket = self._socket
        return socket is not None and bool(socket.upgraded)

    @property
    def transport(self) -> str:
        return "websocket" if self.is_websocket else "polling"

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were sent and that the client's socket has not taken."""
        waiting = self._waiting_packets
        while len(self._queued) > waiting:
            self._queued_bytes -= self._queued.popleft()
        return self._queued_bytes + (self.websocket.unsent_bytes if self.websocket is not None else 0)

    @property
    def waiting_replies(self) -> int:
        """Packets of the library's own, answers above all, that nobody has fetched."""
        return max(0, self._waiting_packets - len(self._queued))

    @property
    def _waiting_packets(self) -> int:
        socket = self._socket
        return int(socket.queue.qsize()) if socket is not None else 0

    @property
    def _socket(self) -> Any:
        return self._server.eio.sockets.get(self.id)

    def send(self, frame: Frame) -> None:
        """Queue a frame; the driver takes it from there."""
        socket = self._socket
        if self.ending or socket is None or socket.closed:
            return
        socket.queue.put_nowait(frame.packet)
        self._queued.append(frame.size)
        self._queued_bytes += frame.size

    async def taken(self, *, patience: float) -> None:
        """Wait until the client's socket has taken everything that was sent.

        Raises ConnectionGone, and SlowConsumer once it took nothing for ``patience`` seconds.
        """
        while True:
            socket, waiting = self._socket, self.waiting_bytes
            if socket is None or self.ending:
                raise ConnectionGone
            try:
                async with asyncio.timeout(patience):
                    await socket.queue.join()
                    if self.websocket is not None:
                        await self.websocket.drained.wait()
            except TimeoutError:
                if self.waiting_bytes >= waiting:
                    raise SlowConsumer from None
            else:
                return

    def close_websocket(self) -> None:
        if self.websocket is not None:
            self.websocket.close()

    async def close_driver(self) -> None:
        """Have the library forget the session; a client that polls is told so."""
        socket = self._socket
        if socket is not None:
            # Not the server's own disconnect(), which waits for a poll that may never come.
            await socket.close(wait=False, reason=self._server.reason.SERVER_DISCONNECT)
