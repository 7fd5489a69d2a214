"""What a connection may be sent, and when: the rules of holding that every transport shares."""

from __future__ import annotations

import sys
from collections import deque
from typing import Generic, TypeVar

from domain.model import Position

F = TypeVar("F")


class Hold(Generic[F]):
    """Holds live frames of one connection, of whatever type the transport encodes entries to, until it is released.

    ``max_bytes`` bounds what is held. What is past it is dropped, all of it: the log has it.
    """

    __slots__ = ("_after", "_bytes", "_frames", "_max_bytes", "_overflowed", "live_after")

    def __init__(self, max_bytes: int) -> None:
        self.live_after = sys.maxsize
        """Whatever has a higher offset needs no ``offer``: it is to be sent now."""
        self._max_bytes = max_bytes
        self._frames: deque[tuple[Position, F]] | None = deque()
        self._bytes = 0
        self._overflowed = False
        self._after: Position | None = None

    def begin(self, sent: Position | None) -> Position:
        """Hold again; ``sent`` is the last entry that was broadcast to anybody.

        Gives the position up to which everything was sent. To be called only once it was released.
        """
        if self._after is None:
            raise RuntimeError("it was never released")
        if self._frames is None:
            if sent is not None and sent.offset > self._after.offset:
                self._after = sent
            self._frames = deque()
            self._bytes = 0
            self._overflowed = False
            self.live_after = sys.maxsize
        return self._after

    def offer(self, position: Position, frame: F, size: int) -> bool:
        """Take a frame, and say whether it is to be sent now. If not, it is held, or was sent before and dropped."""
        if self._after is not None and position.offset <= self._after.offset:
            return False
        if self._frames is None:
            return True
        if not self._overflowed:
            self._bytes += size
            self._frames.append((position, frame))
            if self._bytes > self._max_bytes:
                self._overflowed = True
                self._frames.clear()
        return False

    def release(self, after: Position) -> list[F] | None:
        """End the hold and give the frames beyond ``after``, in order; None where some were dropped and it goes on."""
        if self._frames is None:
            return []
        self._after = after
        frames = [frame for position, frame in self._frames if position.offset > after.offset]
        self._bytes = 0
        if self._overflowed:
            self._overflowed = False
            self._frames = deque()
            return None
        self._frames = None
        self.live_after = after.offset
        return frames
