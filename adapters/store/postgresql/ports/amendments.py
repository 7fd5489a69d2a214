"""What is done to notifications after they were published."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property, partial

from adapters.store.postgresql.amending import Amend, Amending, Recall, Wish
from adapters.store.postgresql.ports.port import Port
from adapters.store.revising import Revising
from domain.model import Amended
from domain.ports import Revise


class PostgresqlAmendments(Port):
    @cached_property
    def _amending(self) -> partial[Amending]:
        return partial(Amending, sync=self._sync)

    async def revise(self, id_: str, revise: Revise, at: datetime) -> Amended:
        return await self._amend(Revising(id_, revise, at))

    async def recall(self, id_: str) -> Amended:
        return await self._amend(Recall(id_))

    async def _amend(self, wish: Wish) -> Amended:
        state = self._opened()
        known = state.known()
        amended: Amended = await state.writer.do(
            self._amending, Amend(wish, self._stored_at(), known.offset, known.epoch)
        )
        await state.caught_up_if_possible(amended.position)
        return amended
