"""The leave that a session takes of its client: what it says at last, and how long the client has to hear it."""

from __future__ import annotations

CLOSE_EXTENSIONS = 10
"""How many times its time to take the last word a client gets that goes on polling for what was sent before."""


class Departure:
    """From the decision to close to the end, which is at ``by`` at the latest. All times are seconds of one monotonic
    clock; ``timeout`` is what a client has to take the last word.

    ``is_to_be_left``: the client was told in a message, and has time to leave by itself first.
    """

    __slots__ = ("_at_last", "_timeout", "by", "is_to_be_left", "reason")

    def __init__(self, reason: str, timeout: float, now: float, *, is_to_be_left: bool) -> None:
        self.reason = reason
        self.is_to_be_left = is_to_be_left
        self._timeout = timeout
        self.by = now + timeout
        self._at_last = now + CLOSE_EXTENSIONS * timeout

    def is_over(self, now: float) -> bool:
        return now >= self.by

    def extend(self, now: float) -> None:
        """The client still takes what was sent before: it gets its time anew, up to CLOSE_EXTENSIONS times of it."""
        self.by = min(now + self._timeout, self._at_last)
