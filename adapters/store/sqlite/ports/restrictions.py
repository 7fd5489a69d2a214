"""What stands against users."""

from __future__ import annotations

from datetime import datetime

from adapters.store.jobs import one_by_one
from adapters.store.restrictions import Over
from adapters.store.sqlite import restrictions
from adapters.store.sqlite.ports.port import Port
from domain.model import Position, Restricted, Restriction, UserId

_RESTRICTED = one_by_one(restrictions.restricted)
_RESTRICTION = one_by_one(restrictions.restriction)
_FORGET_RESTRICTIONS = one_by_one(restrictions.forget_restrictions)


class SqliteRestrictions(Port):
    async def restricted(self) -> Restricted:
        state = self._opened()
        found = await state.readers.do(_RESTRICTED, None)
        return Restricted(Position(state.generations.present, found.head), found.restrictions)

    async def restriction(self, user: UserId) -> Restriction | None:
        return await self._opened().readers.do(_RESTRICTION, user)

    async def forget_restrictions(self, *, issued_before: datetime, until: datetime) -> None:
        await self._opened().writer.do(_FORGET_RESTRICTIONS, Over(issued_before, until))
