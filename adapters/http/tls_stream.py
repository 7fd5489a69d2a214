"""The bytes of a connection with TLS."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from adapters.http.streams import DROP_BYTES, DROP_PAUSE, READ_BYTES, StreamEvents, rank_after, unacknowledged
from adapters.http.turns import Rank, Turns

CHUNK_BYTES = 16_384
"""What Tornado's stream is given at a time, one record of TLS: it tells only when all of it is written."""


class TlsStream:
    """Tornado's stream for TLS, which knows how much of a record was written."""

    __slots__ = (
        "_chunk", "_dropped", "_events", "_held", "_is_reading", "_is_shut", "_lingering", "_loop", "_paused",
        "_rank", "_stream", "_turns", "_unsent", "_waits", "was_cut", "was_cut_short",
        "was_reset",
    )  # fmt: skip

    def __init__(self, stream: SSLIOStream, turns: Turns) -> None:
        self._stream: IOStream = stream
        self._turns = turns
        self._rank = Rank.NEW
        self._loop = asyncio.get_running_loop()
        self._events: StreamEvents | None = None
        self._held = b""
        self._dropped = 0
        self._unsent: memoryview | None = None
        self._chunk = 0
        self._is_reading = False
        # It was closed on this side: what was read is not to be told.
        self._is_shut = False
        self._paused = False
        self._waits = False
        self._lingering: asyncio.TimerHandle | None = None
        self.was_cut = self.was_cut_short = False
        self.was_reset = False
        stream.set_close_callback(self._closed)

    @property
    def is_closed(self) -> bool:
        return self._stream.closed()

    def open(self, events: StreamEvents, early: bytes = b"") -> None:
        self._events = events
        self._paused = False
        if early:
            self._held = early + self._held
        if self._held:
            self._wait()
        else:
            self._read()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._held:
            self._wait()
        else:
            self._read()

    def write(self, data: bytes | memoryview) -> int:
        while True:
            chunk = memoryview(data)[:CHUNK_BYTES]
            try:
                written = self._stream.write(chunk)
            except StreamClosedError:
                return 0
            if not written.done():
                self._unsent, self._chunk = memoryview(data), len(chunk)
                written.add_done_callback(self._chunk_written)
                return len(data)
            data = memoryview(data)[len(chunk) :]
            if not data:
                return 0

    def _chunk_written(self, written: asyncio.Future[None]) -> None:
        if self._unsent is None or written.cancelled() or written.exception() is not None:
            return
        rest, self._unsent = self._unsent[self._chunk :], None
        left = self.write(rest) if rest else 0
        if self._lingering is not None:
            self._say_end()
        elif self._events is not None:
            self._events.stream_drained(left)

    def unacknowledged_bytes(self) -> int:
        return unacknowledged(self._stream.socket) if not self._stream.closed() else 0

    def has_ended(self) -> bool:
        # Of a record nobody has read it cannot be told here whether it is the last.
        return self._stream.closed() or self._stream.socket.fileno() < 0

    def linger(self, seconds: float) -> None:
        if self._stream.closed() or self._lingering is not None:
            return
        self._lingering = self._loop.call_later(seconds, self.close)
        self._held = b""
        self._say_end()
        self.resume()

    def _say_end(self) -> None:
        if self._unsent is None and not self._stream.closed():
            try:
                # The end of TCP's stream alone: with that of TLS, nothing could be read any more.
                socket.socket.shutdown(self._stream.socket, socket.SHUT_WR)
            except OSError:
                self.close()

    def close(self) -> None:
        if self._stream.closed():
            return
        self.was_cut_short = self.was_cut_short or self._unsent is not None
        self.was_cut = self.was_cut or self.was_cut_short or unacknowledged(self._stream.socket) > 0
        self._unsent = None
        self._is_shut = True
        self._stream.close()

    def _read(self) -> None:
        if self._is_reading or self._paused or self._waits or self._events is None:
            return
        try:
            reading = cast("asyncio.Future[bytes]", self._stream.read_bytes(READ_BYTES, partial=True))
        except StreamClosedError:
            return
        self._is_reading = True
        reading.add_done_callback(self._read_done)

    def _read_done(self, reading: asyncio.Future[bytes]) -> None:
        self._is_reading = False
        if reading.cancelled() or reading.exception() is not None:
            return
        if self._lingering is not None:
            self._drop(len(reading.result()))
            return
        self._held = reading.result()
        if self._paused or self._turns.is_over():
            self._wait()
        else:
            self._give()

    def _drop(self, size: int) -> None:
        self._dropped += size
        if self._dropped < DROP_BYTES:
            self._wait_to_drop()
        else:
            self._dropped = 0
            self._loop.call_later(DROP_PAUSE, self._wait_to_drop)

    def _wait_to_drop(self) -> None:
        self._turns.line_up(self._read, Rank.BUSY)

    def _wait(self) -> None:
        if not self._waits:
            self._waits = True
            self._turns.line_up(self._turn_has_come, self._rank)

    def _turn_has_come(self) -> None:
        self._waits = False
        if not self._paused:
            self._give()

    def _give(self) -> None:
        """What was read before the end is told even where the end has come meanwhile."""
        octets, self._held = self._held, b""
        if octets and self._events is not None:
            self._rank = rank_after(octets)
            self._events.stream_received(octets)
        self._read()

    def _closed(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
        error = self._stream.error
        if error is not None and not isinstance(error, StreamClosedError):
            self.was_reset = True
            self.was_cut_short = self.was_cut_short or self._unsent is not None
            self.was_cut = self.was_cut or self.was_cut_short
        self._unsent = None
        events, self._events = self._events, None
        held, self._held = self._held, b""
        if events is None:
            return
        if held and not self._is_shut and self._lingering is None:
            events.stream_received(held)
        events.stream_closed()
