"""Who reads a log in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.store.memory.held import Held
from domain.model import Position, Room, Subscriber, UserId


class MemorySubscribers(Held):
    async def register(self, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        return self._register(user, role, rooms)

    def _register(self, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        own = Room.of_user(user)
        erased = self._erased.get(self._seals.user(user), 0) if self._erased else 0
        known = self._user(user)
        if known.erased < erased:
            known.erased, known.starts[own] = erased, erased - 1
            known.marks.setdefault(role, max([erased, *known.marks.values()]))
        known.marks.setdefault(role, max(known.marks.values(), default=0))
        starts = known.starts
        return Subscriber(
            user,
            role,
            {room: starts.get(own, 0) if room == own else starts.setdefault(room, self._tail.head) for room in rooms},
        )

    async def roles(self, user: UserId) -> Sequence[str]:
        known = self._users.get(user)
        return sorted(known.marks) if known is not None else ()

    async def acknowledge(self, marks: Mapping[tuple[UserId, str], Position]) -> None:
        for (user, role), position in marks.items():
            if position.offset <= self._erased.get(self._seals.user(user), 0):
                continue
            known = self._user(user).marks
            known[role] = max(position.offset, known.get(role, 0))
