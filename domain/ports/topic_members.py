"""What the domain offers to backends that make groups of users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from domain.model import UserId


class TopicMembers(Protocol):
    async def change_members(self, topic: str, add: Sequence[UserId], remove: Sequence[UserId]) -> None:
        """Have these users in a topic, and those not. Who is already as asked stays so, without a trace.

        Who comes is given what is published for the topic once this has returned, and who leaves nothing of that: they
        keep what they have. Raises InvalidArgument, TooManyTopics or StoreUnavailable, and then nothing was changed.
        """
