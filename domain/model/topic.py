"""Groups of users that backends make: topics, and who is in them from where to where in the log."""

from __future__ import annotations

from domain.model.notification import Room
from domain.model.value import value

SPANS_MOST = 1_000
"""Stays of a user that are over, and remembered: of more the oldest go, and what came in them."""


@value
class Span:
    """A stay of a user in a topic: what lies beyond the offset ``after`` is for them, up to ``upto``; None: they are
    still there."""

    room: Room
    after: int
    upto: int | None = None

    def includes(self, offset: int) -> bool:
        return self.after < offset and (self.upto is None or offset <= self.upto)
