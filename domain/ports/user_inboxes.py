"""What the domain offers to backends that look after the inboxes of users."""

from __future__ import annotations

from typing import Protocol

from domain.model import Answer, UserId
from domain.requests import Asked


class UserInboxes(Protocol):
    async def request_for(self, user: UserId, role: str | None, asked: Asked) -> Answer:
        """Do for a user what they could do themselves, in each set of roles in which they have come that holds a role;
        None: in all of these. A set that is a part of another one adds nothing.

        Of a user who never came there is what was sent to them alone; nothing makes them start anywhere. Raises
        UnknownEvent, InvalidArgument, or Unavailable.
        """
