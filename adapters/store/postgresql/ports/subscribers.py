"""Who reads the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.store.jobs import one_by_one
from adapters.store.postgresql import users
from adapters.store.postgresql.ports.port import Port
from adapters.store.postgresql.users import Acknowledging, Registering
from adapters.store.registration import Registration
from domain.errors import StoreUnavailable
from domain.model import Position, Room, Subscriber, UserId

_ROLES = one_by_one(users.roles)


class PostgresqlSubscribers(Port):
    async def register(self, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        state = self._opened()
        known = state.registered.get((user, role))
        # A start never changes once there is one.
        if known is not None and known.starts.keys() == rooms:
            return known
        registration = Registration(user, role, rooms)
        subscriber = await state.readers.do(users.registered, registration)
        if subscriber is None:
            await state.writer.do(Registering, [registration])
            subscriber = await state.readers.do(users.registered, registration)
        if subscriber is None:
            raise StoreUnavailable
        # Whoever starts where the log ends reads on from there.
        start = max(subscriber.starts.values(), default=0)
        await state.until(lambda: state.tail.head >= start)
        state.registered.put((user, role), subscriber)
        return subscriber

    async def roles(self, user: UserId) -> Sequence[str]:
        roles: Sequence[str] = await self._opened().readers.do(_ROLES, user)
        return roles

    async def acknowledge(self, marks: Mapping[tuple[UserId, str], Position]) -> None:
        state = self._opened()
        if marks:
            await state.writer.do(Acknowledging, marks)
