"""What the domain offers to whoever gives users what is stored of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from domain.model import UserExport, UserId, UserPart


class UserExports(Protocol):
    """What the domain offers to whoever gives users what is stored of them."""

    async def begin(self, user: UserId) -> UserExport:
        """Who it is about, of one moment. Raises StoreUnavailable."""

    def parts(self, export: UserExport) -> AsyncIterator[UserPart]:
        """What they have snoozed, and then their inbox, in all roles in which they have come, a page at a time, each
        newest first: what comes meanwhile is not in it, and what goes meanwhile may not be. What is snoozed or
        comes back meanwhile is in it once at most. Raises StoreUnavailable."""
