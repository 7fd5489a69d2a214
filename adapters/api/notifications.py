"""``GET /v1/notifications/{id}``: what was published, and what became of it."""

from __future__ import annotations

from typing import Final

from adapters.api.handlers import BackendHandler
from adapters.api.queries import query_of
from adapters.contract.recipients import read_place, recipients_object, report_object
from domain.errors import UnknownNotification
from domain.policy import is_identifier

READ_SCOPE: Final = "notifications:read"


class NotificationHandler(BackendHandler):
    """In numbers."""

    methods = ("GET",)
    scope = READ_SCOPE

    async def get(self, id_: str) -> None:
        await self.handle(id_)

    async def handle(self, *arguments: str) -> None:
        report = await self.backend.reports.report_of(_identifier(arguments[0]))
        self.answer(200, report_object(report))


class RecipientsHandler(BackendHandler):
    """By recipients."""

    methods = ("GET",)
    scope = READ_SCOPE

    async def get(self, id_: str) -> None:
        await self.handle(id_)

    async def handle(self, *arguments: str) -> None:
        id_ = _identifier(arguments[0])
        page = query_of(self, ("page",)).get("page")
        after = read_place(page) if page is not None else None
        self.answer(200, recipients_object(await self.backend.reports.recipients_of(id_, after)))


def _identifier(id_: str) -> str:
    """Raises UnknownNotification for what can be none."""
    if not is_identifier(id_):
        raise UnknownNotification
    return id_
