"""What the domain offers to whoever gives users what is stored of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from domain.model import UserExport, UserId, UserPart


class UserExports(Protocol):
    """What the domain offers to whoever gives users what is stored of them."""

    async def begin(self, user: UserId, role: str | None) -> UserExport:
        """Who it is about, of one moment, and in which roles their inbox is given, as UserInboxes has them. Raises
        InvalidArgument and StoreUnavailable."""

    def parts(self, export: UserExport) -> AsyncIterator[UserPart]:
        """What they have snoozed, and then their inbox, in those roles, a page at a time, each newest first: what comes
        meanwhile is not in it, and what goes meanwhile may not be. What is snoozed or comes back meanwhile is in it
        once at most. Raises StoreUnavailable."""
