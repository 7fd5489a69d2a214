"""What a client may send that says nothing: pongs nobody asked for, pings of WebSocket, and the like."""

from __future__ import annotations

CHATTER_INTERVAL = 10.0
"""Seconds."""

MAX_CHATTER = 200
"""Packets in CHATTER_INTERVAL seconds."""


class Chatter:
    """Counts it, in intervals that begin with the first after the last has passed."""

    __slots__ = ("_number", "_since")

    def __init__(self, now: float) -> None:
        self._number = 0
        self._since = now

    def is_flooding(self, now: float) -> bool:
        """One more came at ``now``, a time in seconds of a monotonic clock. Whether that is too many."""
        if now - self._since > CHATTER_INTERVAL:
            self._number, self._since = 0, now
        self._number += 1
        return self._number > MAX_CHATTER
