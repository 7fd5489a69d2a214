"""Inboxes as operators look at them."""

from __future__ import annotations

from collections.abc import Sequence

from domain.errors import InvalidArgument
from domain.model import EVERYONE, InboxQuery, Room, Subscriber, UserId, roles_in
from domain.ports import Inboxes, Looked, Subscribers


class LookupService:
    """The InboxLookup of the domain."""

    def __init__(self, *, subscribers: Subscribers, inboxes: Inboxes) -> None:
        self._subscribers = subscribers
        self._inboxes = inboxes

    async def inbox_of(self, user: UserId, role: str | None, query: InboxQuery) -> Looked:
        sets = await self._subscribers.roles(user)
        roles = sorted({one for roles in sets for one in roles_in(roles)})
        if role is not None and role not in roles:
            raise InvalidArgument("role", "is none in which the user has come")
        if role is None:
            role = next(iter(roles), None)
        subscriber = await self._known(user, role, sets)
        return Looked(roles, role, await self._inboxes.list_items(subscriber, query))

    async def _known(self, user: UserId, role: str | None, sets: Sequence[str]) -> Subscriber:
        own = Room.of_user(user)
        if role is None:
            # To register somebody who never came would have them start here, in the rooms that they share.
            return Subscriber(user, "", {own: 0})
        known = next(roles for roles in sets if role in roles_in(roles))
        return await self._subscribers.register(user, known, frozenset((own, Room.of_role(role), EVERYONE)))
