"""``/v1/topics/{topic}/members``: who is in a topic."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from adapters.api.backends import Backend
from adapters.api.handlers import BackendHandler
from adapters.api.publish import PublishRoute
from adapters.api.queries import query_of
from adapters.api.users import InvalidUser, user_of
from adapters.contract.topics import read_members
from domain.errors import InvalidArgument, SynkroneError, TooManyTopics, summary
from domain.model import FieldError, UserId
from domain.policy import is_name, name_fault

SCOPE: Final = "topics:write"


class _MembersHandler(BackendHandler):
    """Of one topic."""

    scope = SCOPE

    def status_of(self, error: SynkroneError) -> HTTPStatus:
        if isinstance(error, InvalidArgument) and not isinstance(error, InvalidUser):
            return HTTPStatus.UNPROCESSABLE_ENTITY
        return super().status_of(error)

    async def change(self, topic: str, add: Sequence[UserId], remove: Sequence[UserId]) -> None:
        """Raises InvalidUser, InvalidArgument, TooManyTopics and StoreUnavailable."""
        if not is_name(topic):
            raise InvalidUser("topic", name_fault(topic))
        await self.backend.topics.change_members(topic, add, remove)
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


class MemberHandler(_MembersHandler):
    """One user: in it, or not. Said again it changes nothing."""

    methods = ("PUT", "DELETE")

    async def put(self, topic: str, user: str) -> None:
        await self.handle(topic, user)

    async def delete(self, topic: str, user: str) -> None:
        await self.handle(topic, user)

    async def handle(self, *arguments: str) -> None:
        self.backend.pace.take(self.caller, 1)
        topic, users = arguments[0], [user_of(arguments[1])]
        query_of(self, ())
        await self.change(topic, *((users, ()) if self.request.method == "PUT" else ((), users)))


class MembersHandler(_MembersHandler):
    """Many users at once, all or none."""

    methods = ("POST",)

    def initialize(self, *, backend: Backend, max_body: int, batches: PublishRoute | None = None) -> None:
        """``batches`` is the route by which many notifications come: as large may be what names many users."""
        super().initialize(backend=backend, max_body=batches.max_body if batches is not None else max_body)

    async def post(self, topic: str) -> None:
        await self.handle(topic)

    async def handle(self, *arguments: str) -> None:
        self.backend.pace.take(self.caller, 1)
        query_of(self, ())
        add, remove = read_members(self.body)
        try:
            await self.change(arguments[0], add, remove)
        except TooManyTopics as error:
            fault = FieldError(f"add[{add.index(error.user)}]", str(error))
            error.about([fault]).detail = summary([fault])
            raise
