"""Who is in which topic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial

from adapters.store.postgresql.members import Changing, ChangingMembers
from adapters.store.postgresql.ports.port import Port
from domain.model import Position, UserId


class PostgresqlTopics(Port):
    @cached_property
    def _changing_members(self) -> partial[ChangingMembers]:
        return partial(ChangingMembers, sync=self._sync)

    async def change_members(
        self, topic: str, add: Sequence[UserId], remove: Sequence[UserId], *, most: int
    ) -> Position:
        state = self._opened()
        known = state.known()
        wanted = Changing(topic, add, remove, most, self._stored_at(), known.offset, known.epoch)
        at: Position = await state.writer.do(self._changing_members, wanted)
        await state.caught_up_if_possible(at)
        return at
