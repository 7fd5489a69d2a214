"""The bytes of a connection, in both directions, whatever is spoken over it."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import Protocol

from adapters.http.turns import Rank

READ_BYTES = 16_384
"""At a time: clients send little."""

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


def rank_after(octets: bytes) -> Rank:
    """Of whom so much was read at once: who fills a read has sent more than that."""
    return Rank.BUSY if len(octets) >= READ_BYTES else Rank.KNOWN


def unacknowledged(sock: socket.socket) -> int:
    """Bytes in the socket's queue for sending: TCP keeps them there until they are acknowledged (tcp(7), SIOCOUTQ)."""
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", answer)[0])
