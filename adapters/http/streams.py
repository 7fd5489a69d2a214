"""The bytes of a connection, in both directions, whatever is spoken over it."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from typing import Protocol, cast

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from adapters.http.turns import Rank, Turns

READ_BYTES = 16_384
"""At a time: clients send little."""

CHUNK_BYTES = 16_384
"""What Tornado's stream is given at a time, one record of TLS: it tells only when all of it is written."""

DROP_BYTES = 262_144
DROP_PAUSE = 0.01
"""What comes behind the end is dropped at this pace, 25 MB/s, so that it costs next to nothing; and in turns: 200 who
send on would come to 5 GB/s."""


class StreamEvents(Protocol):
    """Who is told what happens on a stream."""

    def stream_received(self, octets: bytes) -> None: ...

    def stream_drained(self, unsent: int) -> None:
        """Some was written that had to wait; so many bytes are left of it."""

    def stream_ended(self) -> None:
        """The peer sends no more; it may still read."""

    def stream_closed(self) -> None:
        """It can neither be read nor written any more. Told once, whoever closed it, and not from within a call."""


class Stream(Protocol):
    """Bytes in both directions. All but ``open`` do nothing once it is closed."""

    @property
    def is_closed(self) -> bool: ...

    @property
    def was_cut(self) -> bool:
        """It was closed before the other side's system had acknowledged all that was written."""

    @property
    def was_cut_short(self) -> bool:
        """It was closed before all that was written was handed to this side's system."""

    @property
    def was_reset(self) -> bool:
        """It ended with an error: the peer may not have read all that its system acknowledged."""

    def open(self, events: StreamEvents, early: bytes = b"") -> None:
        """Begin to read, or go on with others to tell. ``early`` is what was read already, and is told them first."""

    def pause(self) -> None:
        """Read nothing: what the peer sends has to wait."""

    def resume(self) -> None: ...

    def write(self, data: bytes) -> int:
        """Write now what the peer's window allows and the rest when it does; how many bytes are left.

        To be called only with nothing left from before.
        """

    def unacknowledged_bytes(self) -> int:
        """What was written and the system at the other end has not acknowledged; 0 where that cannot be known."""

    def has_ended(self) -> bool:
        """Whether the peer has closed or reset the connection by now, where nothing else is unread."""

    def linger(self, seconds: float) -> None:
        """Close in good order: what was written is sent, then the end of it; what still comes is dropped, until the
        peer closes too, or the seconds are over.

        Closed at once with something unread, the connection would be reset, and what was written last might be lost.
        """

    def close(self) -> None:
        """At once; what is left is dropped."""


class SocketStream:
    """A socket in the loop, with nothing in between.

    On Tornado's IOStream a pong costs 16 µs, three buffers, a future and a read in vain; here it costs 5 µs. A
    connection takes 2 KiB less. What is written is known to the byte, and so is what was acknowledged.
    """

    __slots__ = (
        "_dropping", "_early", "_events", "_fd", "_is_broken", "_is_listened_to", "_lingering", "_loop", "_paused",
        "_rank", "_socket", "_turns", "_unsent", "_waits", "was_cut", "was_cut_short",
        "was_reset",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, turns: Turns) -> None:
        sock.setblocking(False)
        self._socket: socket.socket | None = sock
        # Given the socket itself, asyncio makes an error message of it with every registration.
        self._fd = sock.fileno()
        self._turns = turns
        self._rank = Rank.NEW
        self._loop = asyncio.get_running_loop()
        self._events: StreamEvents | None = None
        self._early = b""
        self._unsent: memoryview | None = None
        self._is_listened_to = False
        # Nothing can be written any more, and something is still to be read.
        self._is_broken = False
        self._paused = False
        self._waits = False
        self._lingering: asyncio.TimerHandle | None = None
        self._dropping: asyncio.TimerHandle | None = None
        self.was_cut = self.was_cut_short = False
        self.was_reset = False

    @property
    def is_closed(self) -> bool:
        return self._socket is None

    def open(self, events: StreamEvents, early: bytes = b"") -> None:
        self._events = events
        self._paused = False
        if self._socket is None:
            return
        if early:
            self._early = early
            self._listen(on=False)
            self._wait()
        elif not self._waits:
            self._listen(on=True)

    def pause(self) -> None:
        self._paused = True
        self._listen(on=False)

    def resume(self) -> None:
        if not self._paused:
            return
        self._paused = False
        if self.was_reset:
            self._wait()
        elif not self._waits:
            self._listen(on=True)

    def _listen(self, *, on: bool) -> None:
        if on is self._is_listened_to or self._socket is None:
            return
        self._is_listened_to = on
        if on:
            self._loop.add_reader(self._fd, self._readable)
        else:
            self._loop.remove_reader(self._fd)

    def _readable(self) -> None:
        if self._turns.is_over():
            self._listen(on=False)
            self._wait()
        else:
            self._read()

    def _wait(self) -> None:
        if not self._waits:
            self._waits = True
            self._turns.line_up(self._turn_has_come, self._rank)

    def _turn_has_come(self) -> None:
        self._waits = False
        if self._socket is None or self._paused:
            return
        self._read()
        if not self._paused and not self._waits and self._dropping is None:
            # In _readable it lines up behind those who wait.
            self._listen(on=self._events is not None)

    def _read(self) -> None:
        if self._socket is None or self._events is None:
            return
        if self._early:
            octets, self._early = self._early, b""
        elif self._lingering is not None:
            self._drop()
            return
        else:
            try:
                octets = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self.was_reset = True
                self.close()
                return
            if self.was_reset or self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                # Of a connection that was reset, uvloop tells once, whatever is left to be read.
                self.was_reset = True
                self._wait()
        if octets:
            self._rank = _rank_after(octets)
            self._events.stream_received(octets)
        elif self.was_reset:
            self.close()
        else:
            self.pause()
            self._events.stream_ended()

    def write(self, data: bytes | memoryview) -> int:
        if self._socket is None or self._is_broken:
            return 0
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._break()
            return 0
        if sent == len(data):
            return 0
        if self._unsent is None:
            self._loop.add_writer(self._fd, self._writable)
        self._unsent = memoryview(data)[sent:]
        return len(self._unsent)

    def _break(self) -> None:
        """The peer is gone. What it had sent before is read all the same, and then the end is told."""
        self.was_reset = self.was_cut = self.was_cut_short = self._is_broken = True
        if self._has_unread():
            # Of a connection that was reset, uvloop tells once, whatever is left to be read.
            self._wait()
        else:
            self.close()

    def _has_unread(self) -> bool:
        if self._socket is None:
            return False
        try:
            return bool(self._early) or len(self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)) > 0
        except OSError:
            return False

    def _writable(self) -> None:
        if self._socket is None or self._unsent is None:
            return
        left = self.write(self._unsent)
        if not left and self._socket is not None:
            self._loop.remove_writer(self._fd)
            self._unsent = None
        if self._lingering is not None:
            self._say_end()
        elif self._events is not None:
            self._events.stream_drained(left)

    def unacknowledged_bytes(self) -> int:
        return _unacknowledged(self._socket) if self._socket is not None else 0

    def has_ended(self) -> bool:
        return self._socket is None or _has_ended(self._socket)

    def linger(self, seconds: float) -> None:
        if self._socket is None or self._lingering is not None:
            return
        self._lingering = self._loop.call_later(seconds, self.close)
        self._early = b""
        self._say_end()
        if self._socket is not None:
            self.resume()

    def _say_end(self) -> None:
        if self._socket is None or self._unsent is not None:
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def _drop(self) -> None:
        """Read and forget what came behind the end."""
        self._dropping = None
        if self._socket is None:
            return
        try:
            dropped = len(self._socket.recv(DROP_BYTES))
        except BlockingIOError:
            self._listen(on=True)
            return
        except OSError:
            self.was_reset = True
            dropped = 0
        if not dropped:
            self.close()
            return
        self._listen(on=False)
        self._rank = Rank.BUSY
        self._dropping = self._loop.call_later(DROP_PAUSE, self._wait_to_drop)

    def _wait_to_drop(self) -> None:
        self._dropping = None
        self._wait()

    def close(self) -> None:
        if self._socket is None:
            return
        sock = self._socket
        self._listen(on=False)
        self.was_cut_short = self.was_cut_short or self._unsent is not None
        self.was_cut = self.was_cut or self.was_cut_short or _unacknowledged(sock) > 0
        if self._unsent is not None:
            self._loop.remove_writer(self._fd)
            self._unsent = None
        for timer in (self._lingering, self._dropping):
            if timer is not None:
                timer.cancel()
        self._socket = None
        self._early = b""
        sock.close()
        self._loop.call_soon(self._tell_end)

    def _tell_end(self) -> None:
        events, self._events = self._events, None
        if events is not None:
            events.stream_closed()


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
        return _unacknowledged(self._stream.socket) if not self._stream.closed() else 0

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
        self.was_cut = self.was_cut or self.was_cut_short or _unacknowledged(self._stream.socket) > 0
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
            self._rank = _rank_after(octets)
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


def _rank_after(octets: bytes) -> Rank:
    """Of whom so much was read at once: who fills a read has sent more than that."""
    return Rank.BUSY if len(octets) >= READ_BYTES else Rank.KNOWN


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes in the socket's queue for sending: TCP keeps them there until they are acknowledged (tcp(7), SIOCOUTQ)."""
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", answer)[0])


def _has_ended(sock: socket.socket) -> bool:
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
