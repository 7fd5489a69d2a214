"""A link between two nodes once it is set up: frames in both directions over a stream."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from adapters.cluster.frames import BrokenLink, FrameReader, FrameWriter
from adapters.cluster.messages import FromOwner, ToOwner, encode, encode_spliced
from adapters.http.streams import Stream

SPLICED_BYTES = 65_536
"""Of a spliced connection, in one frame at most."""


class Outgoing:
    """What is written to a stream, in order, however much it takes at a time."""

    __slots__ = ("_stream", "_waiting", "unsent")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._waiting: deque[bytes] = deque()
        self.unsent = 0
        """Bytes that the stream has not taken."""

    def write(self, octets: bytes) -> None:
        if self._stream.is_closed:
            return
        if self.unsent:
            self._waiting.append(octets)
            self.unsent += len(octets)
        else:
            self.unsent = self._stream.write(octets)

    def drained(self, left: int) -> None:
        """The stream has taken some of the last write, of which so many bytes are left."""
        self.unsent = sum(map(len, self._waiting)) + left
        while self._waiting and not left:
            octets = self._waiting.popleft()
            left = self._stream.write(octets)
            self.unsent += left - len(octets)

    def drop(self) -> None:
        self._waiting.clear()
        self.unsent = 0


class WireEvents(Protocol):
    """Who is told what happens on a link."""

    def frame_received(self, content: bytes) -> None:
        """Raises BrokenLink where it makes no sense; the link is closed then."""

    def wire_drained(self) -> None:
        """Some was written that had to wait."""

    def wire_broken(self, error: BrokenLink) -> None:
        """What came is no frame of the other node's; the link is about to be closed."""

    def wire_closed(self) -> None:
        """Told once, whoever closed it."""


class Wire:
    """Owns a stream. The other node's end of it is the end of the link."""

    def __init__(self, stream: Stream, events: WireEvents, writer: FrameWriter, reader: FrameReader) -> None:
        self._stream = stream
        self._events = events
        self._writer = writer
        self._reader = reader
        self._outgoing = Outgoing(stream)

    @property
    def is_closed(self) -> bool:
        return self._stream.is_closed

    @property
    def unsent(self) -> int:
        return self._outgoing.unsent

    def open(self, early: bytes = b"") -> None:
        self._stream.open(self, early)

    def use(self, writer: FrameWriter) -> None:
        """For all frames that are still to be written."""
        self._writer = writer

    def say(self, message: ToOwner | FromOwner) -> None:
        self._outgoing.write(self._writer.frame(encode(message)))

    def pass_on(self, octets: bytes) -> int:
        """Write bytes of a spliced connection; how many are left of all that was written."""
        for start in range(0, len(octets), SPLICED_BYTES):
            piece = encode_spliced(octets[start : start + SPLICED_BYTES])
            self._outgoing.write(self._writer.frame(piece))
        return self._outgoing.unsent

    def pause(self) -> None:
        self._stream.pause()

    def resume(self) -> None:
        self._stream.resume()

    def close(self) -> None:
        self._stream.close()

    # StreamEvents

    def stream_received(self, octets: bytes) -> None:
        try:
            for content in self._reader.feed(octets):
                self._events.frame_received(content)
                if self._stream.is_closed:
                    return
        except BrokenLink as error:
            self._events.wire_broken(error)
            self._stream.close()

    def stream_drained(self, unsent: int) -> None:
        self._outgoing.drained(unsent)
        self._events.wire_drained()

    def stream_ended(self) -> None:
        self._stream.close()

    def stream_closed(self) -> None:
        self._outgoing.drop()
        self._events.wire_closed()
