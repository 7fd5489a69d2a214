"""What the domain offers to those who decide which users may come in."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from domain.model import Blocked, Revoked, UserId


class UserAccess(Protocol):
    """Each is an entry of the log: nothing that is published after it is sent to whom it keeps out, on any server.

    Everything raises StoreUnavailable: then nothing was changed, as far as is known.
    """

    async def revoke(self, user: UserId, issued_before: datetime | None) -> Revoked:
        """Refuse the user's tokens that were issued at or before a time, or do not say when; None: now. Their
        connections end, and come back with another token.

        Raises InvalidArgument for a time that is to come, and TooManyRestrictions.
        """

    async def block(self, user: UserId, until: datetime | None, reason: str | None) -> Blocked:
        """Refuse every token of the user until a time, or until ``unblock``. Their connections end for good.

        Raises InvalidArgument for a time that is past or a bad reason, and TooManyRestrictions.
        """

    async def unblock(self, user: UserId) -> Blocked:
        """Let the user in again, if their token is good."""

    async def block_of(self, user: UserId) -> Blocked:
        """Whether the user is blocked."""
