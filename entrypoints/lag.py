"""Whether delivery keeps up with the log."""

from __future__ import annotations

from typing import Final

from domain.ports import Clock

TOLERATED_SECONDS: Final = 5.0


class Lag:
    """To be told about once a second how far the log goes and how far it was delivered."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._head = 0
        self._seen_at = clock.monotonic()

    def fault(self, head: int, delivered: int) -> str | None:
        """None while everything is delivered within TOLERATED_SECONDS."""
        now = self._clock.monotonic()
        if delivered >= self._head or head < self._head:
            self._head, self._seen_at = head, now
        is_late = now - self._seen_at > TOLERATED_SECONDS
        return f"behind by {head - delivered}" if is_late and head > delivered else None
