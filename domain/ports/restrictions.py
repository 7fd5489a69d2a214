"""What stands against users, as it is stored."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from domain.model import Restricted, Restriction, UserId


class Restrictions(Protocol):
    """What the controls of the log have said of users: ``Log.append_control`` stores it in the same commit, by the rule
    of ``domain.rules.restrictions``, and it stays when they leave the log. Raises StoreUnavailable as the log does.
    """

    async def restricted(self) -> Restricted:
        """Everybody of whom something is stored."""

    async def restriction(self, user: UserId) -> Restriction | None:
        """What is stored of a user: as of everything that the log was seen to hold when it is asked for."""

    async def forget_restrictions(self, *, issued_before: datetime, until: datetime) -> None:
        """Remove whoever is restricted by no more than a revocation of what was issued at or before ``issued_before``,
        and a block that ended by ``until``."""
