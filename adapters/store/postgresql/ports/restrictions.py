"""What stands against users."""

from __future__ import annotations

from datetime import datetime

from adapters.store.jobs import one_by_one
from adapters.store.postgresql import restrictions
from adapters.store.postgresql.ports.port import Port
from adapters.store.restrictions import Over
from domain.model import Restricted, Restriction, UserId

_RESTRICTED = one_by_one(restrictions.restricted)


class PostgresqlRestrictions(Port):
    async def restricted(self) -> Restricted:
        state = self._opened()
        found = await state.readers.do(_RESTRICTED, None)
        await state.caught_up(found.as_of)
        return found

    async def restriction(self, user: UserId) -> Restriction | None:
        return await self._opened().readers.do(restrictions.restrictions, user)

    async def forget_restrictions(self, *, issued_before: datetime, until: datetime) -> None:
        await self._opened().writer.do(restrictions.Forgetting, Over(issued_before, until))
