"""Who reads the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.store.jobs import one_by_one
from adapters.store.postgresql import users
from adapters.store.postgresql.opened import Opened
from adapters.store.postgresql.ports.port import Port
from adapters.store.postgresql.users import REGISTERED_MOST, Acknowledging, Registering
from adapters.store.registration import Registration
from domain.errors import StoreUnavailable
from domain.model import Position, Room, Subscriber, UserId

_ROLES = one_by_one(users.roles)


class PostgresqlSubscribers(Port):
    async def register(self, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        state = self._opened()
        recent = state.registered
        known, dropped = recent.get((user, role)), recent.dropped
        # A start never changes once there is one.
        if known is not None and known.starts.keys() == rooms:
            return known
        subscriber = await self._find(state, Registration(user, role, rooms))
        # Whoever starts where the log ends reads on from there.
        start = max(subscriber.starts.values(), default=0)
        await state.until(lambda: state.tail.head >= start)
        # Whoever was erased meanwhile may have been found as they were before.
        if recent.dropped == dropped:
            recent.put((user, role), subscriber)
        return subscriber

    async def _find(self, state: Opened, registration: Registration) -> Subscriber:
        for _ in range(REGISTERED_MOST):
            found: Subscriber | None = await state.readers.do(users.registered, registration)
            if found is not None:
                return found
            await state.writer.do(Registering, [registration])
        raise StoreUnavailable

    async def roles(self, user: UserId) -> Sequence[str]:
        roles: Sequence[str] = await self._opened().readers.do(_ROLES, user)
        return roles

    async def acknowledge(self, marks: Mapping[tuple[UserId, str], Position]) -> None:
        state = self._opened()
        if marks:
            await state.writer.do(Acknowledging, marks)
