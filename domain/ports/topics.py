"""Who is in which topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from domain.model import Position, UserId


class Topics(Protocol):
    """Users come to topics and leave them at places in the log. What is for a topic is for those who are in it by then,
    and for nobody else: not for who comes later, and still for who has left since. Raises StoreUnavailable as the log
    does."""

    async def change_members(
        self, topic: str, add: Sequence[UserId], remove: Sequence[UserId], *, most: int
    ) -> Position:
        """Have these users in it, and those not, each named once: in one entry, as a control, that names whom it
        changes anything for, and in the same commit what that says. Where nothing changes nothing is logged, and the
        answer is the head.

        Of a user's stays that are over SPANS_MOST are remembered. Nobody may be in more than ``most`` topics: raises
        TooManyTopics with the first of ``add`` who would be, and then nothing was stored.
        """
