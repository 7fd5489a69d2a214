"""A token bucket."""

from __future__ import annotations

from domain.ports import Clock


class TokenBucket:
    """``rate`` per second on average, and at most ``burst`` at once, on the monotonic clock."""

    __slots__ = ("_burst", "_clock", "_filled_at", "_level", "_rate")

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._level = float(burst)
        self._filled_at = clock.monotonic()

    def take(self) -> bool:
        """Take one; False where there is none."""
        now = self._clock.monotonic()
        self._level = min(self._burst, self._level + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True
