"""Inboxes as backends look after them."""

from __future__ import annotations

from domain.errors import UnknownEvent
from domain.model import Answer, UserId
from domain.policy import ConnectionPolicy
from domain.ports import Subscribers
from domain.requests import Asked, RefreshToken
from domain.services.inboxes import InboxService
from domain.services.owners import owner


class UserInboxService:
    """The UserInboxes of the domain."""

    def __init__(self, *, subscribers: Subscribers, inboxes: InboxService, policy: ConnectionPolicy) -> None:
        self._subscribers = subscribers
        self._inboxes = inboxes
        self._policy = policy

    async def request_for(self, user: UserId, role: str | None, asked: Asked) -> Answer:
        command = self._policy.command(asked)
        if isinstance(command, RefreshToken):
            # There is no connection whose token it could be.
            raise UnknownEvent
        subscriber = await owner(self._subscribers, user, role, await self._subscribers.roles(user))
        return await self._inboxes.perform(subscriber, command)
