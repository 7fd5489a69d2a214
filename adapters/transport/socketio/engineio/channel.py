"""One WebSocket on Tornado's IOStream: reads into a FrameReader, writes to the socket itself where it can."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from adapters.transport.socketio.engineio.errors import ProtocolError
from adapters.transport.socketio.engineio.websocket import CLOSE_FRAME, FrameReader, Received, close_frame

READ_BYTES = 4096
"""At a time; clients send little, and a buffer of this size is allocated, twice, for each read."""

CHUNK_BYTES = 16_384
"""What the stream is given at a time: how exactly is known what the socket has not taken."""

NORMAL_CLOSURE = 1000


class ChannelOwner(Protocol):
    """Who is told what happens on a WebSocket."""

    def channel_received(self, channel: WebSocketChannel, received: Received) -> None:
        """A message or a control frame, the close frame excepted."""

    def channel_failed(self, channel: WebSocketChannel, error: ProtocolError) -> None:
        """The client broke the protocol; the channel has been closed."""

    def channel_fed(self, channel: WebSocketChannel) -> None:
        """All that came with one read has been told."""

    def channel_drained(self, channel: WebSocketChannel, unsent: int) -> None:
        """The socket took some; so many bytes are left. With none left, more can be written."""

    def channel_closed(self, channel: WebSocketChannel) -> None:
        """It can neither be read nor written any more."""


class WebSocketChannel:
    """Owns a stream that was taken from HTTP. ``linger`` seconds are left to a client to answer a close frame."""

    __slots__ = ("_chunk", "_is_tls", "_linger", "_owner", "_reader", "_stream", "_unsent", "closing")

    def __init__(self, stream: IOStream, owner: ChannelOwner, *, max_message_bytes: int, linger: float) -> None:
        self._stream = stream
        self._is_tls = isinstance(stream, SSLIOStream)
        self._owner = owner
        self._reader = FrameReader(max_message_bytes)
        self._linger = linger
        self._unsent: memoryview | None = None
        self._chunk = 0
        self.closing = False

    def open(self, response: bytes) -> None:
        """Write the answer to the opening handshake, and begin to read."""
        self._stream.set_nodelay(True)
        self._stream.read_chunk_size = READ_BYTES
        self._stream.set_close_callback(self._closed)
        self.write(response)
        self._read()

    def write(self, data: bytes | memoryview) -> int:
        """Write now what the socket takes, and the rest when it can; how many bytes are left.

        To be called only with nothing left over from before. TLS goes through the stream, which knows what of a
        record was written.
        """
        stream = self._stream
        if stream.closed():
            return 0
        sent = 0
        if not self._is_tls:
            try:
                sent = stream.socket.send(data)
            except BlockingIOError:
                pass
            except OSError:
                stream.close()
                return 0
            if sent == len(data):
                return 0
        return self._write_later(memoryview(data)[sent:])

    def _write_later(self, rest: memoryview) -> int:
        chunk = rest[:CHUNK_BYTES]
        try:
            written = self._stream.write(chunk)
        except StreamClosedError:
            return 0
        if written.done() and len(chunk) == len(rest):
            return 0
        self._unsent, self._chunk = rest, len(chunk)
        written.add_done_callback(self._chunk_written)
        return len(rest)

    def _chunk_written(self, written: asyncio.Future[None]) -> None:
        if self._unsent is None or written.exception() is not None:
            return
        rest, self._unsent = self._unsent[self._chunk :], None
        left = self.write(rest) if rest else 0
        self._owner.channel_drained(self, left)

    def close(self, code: int = NORMAL_CLOSURE) -> None:
        """Say so with a close frame, and leave the client some time to answer: closed at once with something unread,
        the socket is reset, and what was sent last may not arrive."""
        if self.closing or self._stream.closed():
            return
        self.closing = True
        if self._unsent is not None:
            self._stream.close()
            return
        self.write(close_frame(code))
        asyncio.get_running_loop().call_later(self._linger, self._stream.close)

    def abort(self) -> None:
        self._stream.close()

    def _read(self) -> None:
        try:
            octets = cast("asyncio.Future[bytes]", self._stream.read_bytes(READ_BYTES, partial=True))
        except StreamClosedError:
            return
        octets.add_done_callback(self._read_done)

    def _read_done(self, octets: asyncio.Future[bytes]) -> None:
        if octets.cancelled() or octets.exception() is not None:
            return
        try:
            for received in self._reader.feed(octets.result()):
                if received.opcode == CLOSE_FRAME:
                    self._owner.channel_fed(self)
                    self._answer_close(received.data)
                    return
                if not self.closing:
                    self._owner.channel_received(self, received)
        except ProtocolError as error:
            if self.closing:
                self._stream.close()
                return
            self.close(error.close_code)
            self._owner.channel_failed(self, error)
        else:
            if not self.closing:
                self._owner.channel_fed(self)
        self._read()

    def _answer_close(self, payload: str | bytes) -> None:
        if not self.closing and self._unsent is None:
            code = int.from_bytes(payload[:2], "big") if isinstance(payload, bytes) and payload else NORMAL_CLOSURE
            self.closing = True
            self.write(close_frame(code))
        self._stream.close()

    def _closed(self) -> None:
        self.closing = True
        self._unsent = None
        self._owner.channel_closed(self)
