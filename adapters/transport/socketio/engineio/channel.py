"""One WebSocket: its frames, and the manners of closing it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from adapters.http.streams import Stream
from adapters.transport.socketio.engineio.errors import ProtocolError
from adapters.transport.socketio.engineio.websocket import CLOSE_FRAME, FrameReader, Received, close_frame

NORMAL_CLOSURE = 1000


class ChannelOwner(Protocol):
    """Who is told what happens on a WebSocket."""

    def channel_received(self, channel: WebSocketChannel, received: Received) -> None:
        """A message or a control frame, the close frame excepted. May raise ProtocolError."""

    def channel_failed(self, channel: WebSocketChannel, error: ProtocolError) -> None:
        """The client broke the protocol; the channel has been closed."""

    def channel_fed(self, channel: WebSocketChannel) -> None:
        """All that came with one read has been told."""

    def channel_drained(self, channel: WebSocketChannel, unsent: int) -> None:
        """Some was written that had to wait; so many bytes are left of it."""

    def channel_closed(self, channel: WebSocketChannel) -> None:
        """It can neither be read nor written any more."""


class WebSocketChannel:
    """Owns a stream. ``linger`` seconds are left to a client to answer a close frame, or to stop sending once it broke
    the protocol: nothing is read of what it sends from then on (RFC 6455, section 7.1.7). ``early`` is what has come of
    the stream already."""

    __slots__ = ("_early", "_linger", "_owner", "_reader", "_stream", "closing", "unsent")

    def __init__(
        self, stream: Stream, owner: ChannelOwner, *, max_message_bytes: int, linger: float, early: bytes = b""
    ) -> None:
        self._stream = stream
        self._early = early
        self._owner = owner
        self._reader = FrameReader(max_message_bytes)
        self._linger = linger
        self.unsent = 0
        """Bytes that were written and that the client has not taken."""
        self.closing = False

    def open(self, response: bytes) -> None:
        """Write the answer to the opening handshake, and begin to read."""
        early, self._early = self._early, b""
        self._stream.open(self, early)
        self.write(response)

    def write(self, frames: bytes) -> int:
        """Write now what the client takes and the rest when it does; how many bytes are left.

        To be called only with nothing left from before.
        """
        self.unsent = self._stream.write(frames)
        return self.unsent

    def close(self, code: int = NORMAL_CLOSURE) -> None:
        """Say so with a close frame, and leave the client some time to answer: closed at once with something unread,
        the socket is reset, and what was sent last may not arrive."""
        if self.closing:
            return
        self.closing = True
        if self.unsent:
            self._stream.close()
            return
        self._stream.write(close_frame(code))
        asyncio.get_running_loop().call_later(self._linger, self._stream.close)

    def abort(self) -> None:
        self._stream.close()

    # StreamEvents

    def stream_received(self, octets: bytes) -> None:
        try:
            for received in self._reader.feed(octets):
                if received.opcode == CLOSE_FRAME:
                    self._owner.channel_fed(self)
                    self._answer_close(received.data)
                    return
                if not self.closing:
                    self._owner.channel_received(self, received)
        except ProtocolError as error:
            self._fail(error)
        else:
            if not self.closing:
                self._owner.channel_fed(self)

    def _fail(self, error: ProtocolError) -> None:
        self._reader.drop()
        was_closing, self.closing = self.closing, True
        if not was_closing and not self.unsent:
            self._stream.write(close_frame(error.close_code))
        self._stream.linger(self._linger)
        if not was_closing:
            self._owner.channel_failed(self, error)

    def stream_drained(self, unsent: int) -> None:
        self.unsent = unsent
        self._owner.channel_drained(self, unsent)

    def stream_ended(self) -> None:
        """A WebSocket has an end of its own; one without it is a connection that was cut."""
        self._stream.close()

    def stream_closed(self) -> None:
        self.closing = True
        self._reader.drop()
        self._owner.channel_closed(self)

    def _answer_close(self, payload: str | bytes) -> None:
        if not self.closing and not self.unsent:
            code = int.from_bytes(payload[:2], "big") if isinstance(payload, bytes) and payload else NORMAL_CLOSURE
            self._stream.write(close_frame(code))
        self.closing = True
        self._stream.close()
