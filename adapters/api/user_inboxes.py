"""``/v1/users/{id}/inbox``: the inbox of a user as their backend looks after it; the objects of ``/v1/inbox``."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from adapters.api.handlers import BackendHandler
from adapters.api.inbox import LIST_ARGUMENTS, list_members
from adapters.api.queries import query_of
from adapters.api.users import InvalidUser, user_of
from adapters.contract.answers import answer_object
from adapters.contract.commands import read_command
from adapters.contract.json_text import parse_argument
from domain.errors import InvalidArgument, SynkroneError
from domain.model import Answer, Changed, UserId
from domain.policy import is_name, name_fault

READ_SCOPE: Final = "inbox:read"
WRITE_SCOPE: Final = "inbox:write"


def role_in(query: Mapping[str, str]) -> str | None:
    """Raises InvalidArgument."""
    role = query.get("role")
    if role is not None and not is_name(role):
        raise InvalidArgument("role", name_fault(role))
    return role


class InboxHandler(BackendHandler):
    """Of one user. ``?role=`` is one in which they have come; without it there is what they have in any."""

    def status_of(self, error: SynkroneError) -> HTTPStatus:
        if isinstance(error, InvalidArgument) and not isinstance(error, InvalidUser):
            return HTTPStatus.UNPROCESSABLE_ENTITY
        return super().status_of(error)

    def paced(self, id_: str) -> UserId:
        """Whose it is, whatever else is asked for. Raises InvalidUser and RateLimited."""
        user = user_of(id_)
        self.backend.inbox_pace.take(user)
        return user

    async def ask(self, user: UserId, query: Mapping[str, str], event: str, argument: object) -> Answer:
        """Raises InvalidArgument and StoreUnavailable."""
        role = role_in(query)
        answer = await self.backend.inboxes.request_for(user, role, read_command(event, argument))
        self.answer(200, answer_object(answer))
        return answer


class _LookHandler(InboxHandler):
    methods = ("GET",)
    scope = READ_SCOPE

    async def get(self, user: str) -> None:
        await self.handle(user)


class UserListHandler(_LookHandler):
    async def handle(self, *arguments: str) -> None:
        user, query = self.paced(arguments[0]), query_of(self, (*LIST_ARGUMENTS, "role"))
        members = {name: value for name, value in query.items() if name != "role"}
        await self.ask(user, query, "inbox.list", list_members(members))


class UserCountHandler(_LookHandler):
    async def handle(self, *arguments: str) -> None:
        await self.ask(self.paced(arguments[0]), query_of(self, ("role",)), "inbox.count", {})


class UserActionHandler(InboxHandler):
    """With the argument of ``notification.{action}`` as its body; the user's devices hear of it as of their own."""

    methods = ("POST",)
    scope = WRITE_SCOPE

    async def post(self, user: str, action: str) -> None:
        await self.handle(user, action)

    async def handle(self, *arguments: str) -> None:
        user, action = self.paced(arguments[0]), arguments[1]
        argument = parse_argument(self.body) if self.body else {}
        answer = await self.ask(user, query_of(self, ("role",)), f"notification.{action}", argument)
        if isinstance(answer, Changed) and answer.changed:
            detail = f"{action}; notifications: {answer.changed}"
            self.backend.telemetry.acted(self.caller_name, "marked", user, detail=detail)
