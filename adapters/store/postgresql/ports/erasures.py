"""Users who are erased."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property, partial

from adapters.store.postgresql import erasing
from adapters.store.postgresql.erasing import Beginning, BeginningToErase, Begun
from adapters.store.postgresql.ports.port import Port
from domain.model import Erasure, UserId


class PostgresqlErasures(Port):
    @cached_property
    def _beginning_to_erase(self) -> partial[BeginningToErase]:
        return partial(BeginningToErase, sync=self._sync)

    async def begin_erasure(self, user: UserId, id_: str, at: datetime) -> Erasure:
        state = self._opened()
        known = state.known()
        wanted = Beginning(user, id_, at, self._stored_at(), known.offset, known.epoch)
        begun: Begun = await state.writer.do(self._beginning_to_erase, wanted)
        if begun.at is not None:
            # Nobody is known here any more as they were before.
            await state.caught_up_if_possible(begun.at)
        return begun.erasure

    async def erased_at(self, user: UserId) -> int:
        return await self._opened().readers.do(erasing.erased_at, user)

    async def erasure(self, id_: str) -> Erasure | None:
        return await self._opened().readers.do(erasing.found, id_)
