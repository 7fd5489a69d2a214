"""``DELETE /v1/users/{id}``, ``/v1/erasures/{id}`` and ``/v1/users/{id}/export``: what is stored of a user, taken away
and given out."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import tornado.iostream

from adapters.api.bodies import NDJSON
from adapters.api.handlers import BackendHandler
from adapters.api.queries import query_of
from adapters.api.user_inboxes import InboxHandler, role_in
from adapters.api.users import user_of
from adapters.contract.erasures import erasure_object, export_line, notification_lines
from domain.errors import UnknownErasure
from domain.policy import is_identifier

ERASE_SCOPE: Final = "users:erase"
EXPORT_SCOPE: Final = "users:export"


class UserHandler(BackendHandler):
    methods = ("DELETE",)
    scope = ERASE_SCOPE

    async def delete(self, user: str) -> None:
        await self.handle(user)

    async def handle(self, *arguments: str) -> None:
        user = user_of(arguments[0])
        query_of(self, ())
        erasure = await self.backend.erasing.erase(user)
        # Who was erased stands in the audit log alone, and for as long as operators keep that.
        self.backend.telemetry.acted(self.caller_name, "erased", user, detail=f"erasure: {erasure.id}")
        self.answer(HTTPStatus.ACCEPTED, erasure_object(erasure))


class ErasureHandler(BackendHandler):
    """How far one is."""

    methods = ("GET",)
    scope = ERASE_SCOPE

    async def get(self, id_: str) -> None:
        await self.handle(id_)

    async def handle(self, *arguments: str) -> None:
        (id_,) = arguments
        if not is_identifier(id_):
            raise UnknownErasure
        query_of(self, ())
        self.answer(HTTPStatus.OK, erasure_object(await self.backend.erasing.erasure(id_)))


class ExportHandler(InboxHandler):
    """As lines of JSON, written as they are read: no more than a page of them is held."""

    methods = ("GET",)
    scope = EXPORT_SCOPE

    async def get(self, user: str) -> None:
        await self.handle(user)

    async def handle(self, *arguments: str) -> None:
        user, role = self.paced(arguments[0]), role_in(query_of(self, ("role",)))
        export = await self.backend.exports.begin(user, role)
        self.backend.telemetry.acted(self.caller_name, "exported", user)
        self.set_header("Content-Type", NDJSON)
        self.write(export_line(export))
        if self.request.method == "HEAD":
            return
        try:
            async for part in self.backend.exports.parts(export):
                self.write(notification_lines(part))
                await self.flush()
        except tornado.iostream.StreamClosedError:
            # Whoever asked has gone: nobody is left to be told.
            return
