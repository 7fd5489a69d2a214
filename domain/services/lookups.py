"""Inboxes as operators look at them."""

from __future__ import annotations

from domain.model import InboxQuery, UserId
from domain.ports import Inboxes, Looked, Subscribers
from domain.rules.role_sets import roles_of
from domain.services.owners import owner


class LookupService:
    """The InboxLookup of the domain."""

    def __init__(self, *, subscribers: Subscribers, inboxes: Inboxes) -> None:
        self._subscribers = subscribers
        self._inboxes = inboxes

    async def inbox_of(self, user: UserId, role: str | None, query: InboxQuery) -> Looked:
        came_in = await self._subscribers.roles(user)
        roles = roles_of(came_in)
        if role is None:
            role = next(iter(roles), None)
        subscriber = await owner(self._subscribers, user, role, came_in)
        return Looked(roles, role, await self._inboxes.list_items(subscriber, query))
