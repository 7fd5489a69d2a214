"""Inboxes as backends look after them."""

from __future__ import annotations

from domain.errors import InvalidArgument, UnknownEvent
from domain.model import EVERYONE, Answer, Room, Subscriber, UserId, roles_in
from domain.policy import ConnectionPolicy
from domain.ports import Subscribers
from domain.requests import Asked, RefreshToken
from domain.services.inboxes import InboxService

ROLES_MOST = 100
"""Of one inbox."""


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
        return await self._inboxes.perform(await self._subscriber(user, role), command)

    async def _subscriber(self, user: UserId, role: str | None) -> Subscriber:
        sets = await self._subscribers.roles(user)
        roles = sorted({one for roles in sets for one in roles_in(roles)})
        if role is not None and role not in roles:
            raise InvalidArgument("role", "is none in which the user has come")
        wanted = [role] if role is not None else roles
        if len(wanted) > ROLES_MOST:
            raise InvalidArgument("role", f"is required: the user has come in more than {ROLES_MOST}")
        own = Room.of_user(user)
        if not wanted:
            # To register somebody who never came would have them start here, in the rooms that they share.
            return Subscriber(user, "", {own: 0})
        # They have a start in each of these.
        known = next(roles for roles in sets if wanted[0] in roles_in(roles))
        return await self._subscribers.register(user, known, frozenset((own, EVERYONE, *map(Room.of_role, wanted))))
