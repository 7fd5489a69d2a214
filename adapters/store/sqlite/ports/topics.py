"""Who is in which topic."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.store.jobs import one_by_one
from adapters.store.sqlite.ports.port import Port
from adapters.store.sqlite.topics import Changing, change_members
from domain.model import Position, UserId

_CHANGE_MEMBERS = one_by_one(change_members)


class SqliteTopics(Port):
    async def change_members(
        self, topic: str, add: Sequence[UserId], remove: Sequence[UserId], *, most: int
    ) -> Position:
        return await self._opened().writer.do(_CHANGE_MEMBERS, Changing(topic, add, remove, most))
