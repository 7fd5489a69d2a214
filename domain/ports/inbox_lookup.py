"""What the domain offers to operators who are asked about somebody's inbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from domain.model import InboxQuery, Listing, UserId
from domain.model.value import value


@value
class Looked:
    """A page of an inbox as it is in the sets of roles that hold ``role``, see UserInboxes; it is one of ``roles``:
    those in which the user has come.

    Of a user who never came ``role`` is None, and there is what was sent to them alone.
    """

    roles: Sequence[str]
    role: str | None
    listing: Listing


class InboxLookup(Protocol):
    async def inbox_of(self, user: UserId, role: str | None, query: InboxQuery) -> Looked:
        """Look, and change nothing: not even where the user starts. ``role`` None is the first one.

        Raises InvalidArgument for a role in which the user never came, and StoreUnavailable.
        """
