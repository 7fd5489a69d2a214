"""One stream of Server-Sent Events (HTML, section 9.2): its frames, and what of them waits for its client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from adapters.http.streams import Stream
from domain.errors import ConnectionGone, SlowConsumer
from domain.model import Json, Position
from domain.ports import Clock
from domain.rules.pace import has_room, is_too_slow, slow_since

COMMENT: Final = b":\n\n"
"""What clients ignore, and what a proxy or a peer that is gone does not take."""

WRITE_BYTES = 65_536
"""What is joined at a time: frames that wait are shared by all streams, what was joined of them is not."""

UNASKED_BYTES = 65_536
"""What a client may send behind its request, which is dropped, before it is cut."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """A client for which over ``queue_bytes`` wait for ``slow_seconds``, or over ``cut_bytes`` at all, is too slow."""

    queue_bytes: int
    cut_bytes: int
    slow_seconds: float


def event_frame(name: str, payload: Json, cursor: Position | None = None, *, retry_ms: int | None = None) -> bytes:
    """An event. One without a cursor leaves its client the id that it has.

    ``retry_ms`` is how long a client that loses the stream is to wait before it returns, from now on.
    """
    # Publishers may have broken lines between the members of their data.
    data = b"\ndata: ".join(payload.splitlines())
    retry = b"retry: %d\n" % retry_ms if retry_ms is not None else b""
    identifier = b"id: %s\n" % str(cursor).encode() if cursor is not None else b""
    return b"%sevent: %s\n%sdata: %s\n\n" % (retry, name.encode(), identifier, data)


class EventStream:
    """Owns a socket that carries nothing but events any more. ``ended`` is called once, and not from within a call."""

    __slots__ = (
        "_clock", "_drained", "_ended", "_is_closing", "_limits", "_pending", "_pending_bytes",
        "_slow_since", "_stream", "_unasked", "_unsent", "is_open", "was_too_slow", "written_at",
    )  # fmt: skip

    def __init__(self, stream: Stream, *, clock: Clock, limits: StreamLimits, ended: Callable[[], None]) -> None:
        self.is_open = True
        self._is_closing = False
        self.was_too_slow = False
        self.written_at = clock.monotonic()
        self._stream = stream
        self._clock = clock
        self._limits = limits
        self._ended = ended
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._unsent = 0
        self._unasked = 0
        self._slow_since: float | None = None
        self._drained: asyncio.Future[None] | None = None
        stream.open(self)

    @property
    def untaken_bytes(self) -> int:
        """What was sent and the socket has not taken."""
        return self._pending_bytes + self._unsent

    def send(self, frame: bytes) -> bool:
        """It leaves with a ``flush``; whether one is to be called, which is not where one is due already, or the socket
        is to take something first."""
        was_waiting = self.untaken_bytes
        if self.is_open:
            self._pending.append(frame)
            self._pending_bytes += len(frame)
        return not was_waiting or was_waiting > self._limits.cut_bytes

    def flush(self, now: float) -> None:
        """Write what the socket takes."""
        while self._pending and not self._unsent:
            self.written_at = now
            self._unsent = self._stream.write(self._take())
        self._settle()
        self.keep_pace(now)

    def keep_pace(self, now: float) -> None:
        """End it where its client is too slow."""
        waiting = self.untaken_bytes
        self._slow_since = slow_since(self._slow_since, waiting, now, self._limits)
        if is_too_slow(self._slow_since, waiting, now, self._limits):
            self.was_too_slow = True
            self.abort()

    async def has_room(self) -> None:
        """Wait until one more page of a replay can be sent.

        Raises ConnectionGone, and SlowConsumer once nothing was taken for ``slow_seconds``.
        """
        while self.is_open:
            waiting = self.untaken_bytes
            if has_room(waiting, self._limits):
                return
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._drained,), timeout=self._limits.slow_seconds)
            if self.untaken_bytes >= waiting and self.is_open:
                raise SlowConsumer
        raise ConnectionGone

    def close(self) -> None:
        """End it once all that was sent has been taken."""
        self._is_closing = True

    def abort(self) -> None:
        """End it now. What waits is dropped."""
        self._drop()
        self._stream.close()

    # StreamEvents

    def stream_received(self, octets: bytes) -> None:
        """Nothing can be asked behind a request whose answer does not end before the connection does."""
        self._unasked += len(octets)
        if self._unasked > UNASKED_BYTES:
            self.abort()

    def stream_ended(self) -> None:
        """Whoever sends no more is taken to have left."""
        self._stream.close()

    def stream_drained(self, unsent: int) -> None:
        self._unsent = unsent
        self.flush(self._clock.monotonic())

    def stream_closed(self) -> None:
        self._drop()
        self._ended()

    def _take(self) -> bytes:
        size = number = 0
        for frame in self._pending:
            if number and size + len(frame) > WRITE_BYTES:
                break
            size += len(frame)
            number += 1
        frames = self._pending[:number]
        del self._pending[:number]
        self._pending_bytes -= size
        return b"".join(frames)

    def _settle(self) -> None:
        waiting = self.untaken_bytes
        if self._drained is not None and has_room(waiting, self._limits):
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None
        if self._is_closing and not waiting:
            self._stream.close()

    def _drop(self) -> None:
        self.is_open = False
        self._pending.clear()
        self._pending_bytes = self._unsent = 0
        self._settle()
