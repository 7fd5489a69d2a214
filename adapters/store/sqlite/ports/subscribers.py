"""Who reads the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.store.jobs import one_by_one
from adapters.store.registration import Registration
from adapters.store.sqlite import users
from adapters.store.sqlite.arrivals import register, registered
from adapters.store.sqlite.ports.port import Port
from domain.model import Position, Room, Subscriber, UserId

_ROLES = one_by_one(users.roles)


class SqliteSubscribers(Port):
    async def register(self, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        state = self._opened()
        recent = state.registered
        known, dropped = recent.get((user, role)), recent.dropped
        # A start never changes once there is one.
        if known is not None and known.starts.keys() == rooms:
            return known
        registration = Registration(user, role, rooms)
        subscriber = await state.readers.do(registered, registration)
        if subscriber is None:
            (subscriber,) = await state.writer.do(register, [registration])
        # Whoever was erased meanwhile may have been found as they were before.
        if recent.dropped == dropped:
            recent.put((user, role), subscriber)
        return subscriber

    async def roles(self, user: UserId) -> Sequence[str]:
        return await self._opened().readers.do(_ROLES, user)

    async def acknowledge(self, marks: Mapping[tuple[UserId, str], Position]) -> None:
        state = self._opened()
        good = {
            whose: position.offset
            for whose, position in marks.items()
            if state.generations.fault(position, state.tail.head) is None
        }
        if good:
            await state.writer.do(users.acknowledge, good)
