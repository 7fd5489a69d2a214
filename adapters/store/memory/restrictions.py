"""What stands against users, in memory."""

from __future__ import annotations

from datetime import datetime

from adapters.store.memory.held import Held
from domain.model import Restricted, Restriction, UserId
from domain.rules import restrictions


class MemoryRestrictions(Held):
    async def restricted(self) -> Restricted:
        return Restricted(self._head(), tuple(self._restrictions.values()))

    async def restriction(self, user: UserId) -> Restriction | None:
        return self._restrictions.get(user)

    async def forget_restrictions(self, *, issued_before: datetime, until: datetime) -> None:
        for user, one in list(self._restrictions.items()):
            if restrictions.is_over(one, issued_before, until):
                del self._restrictions[user]
