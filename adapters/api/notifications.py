"""``/v1/notifications/{id}``: what was published, what became of it, and what a backend does to it."""

from __future__ import annotations

from typing import Final

from adapters.api.backends import Backend
from adapters.api.handlers import BackendHandler
from adapters.api.publish import JSON, PublishRoute
from adapters.api.queries import query_of
from adapters.contract.amendments import amended_object, read_patch
from adapters.contract.recipients import read_place, recipients_object, report_object
from domain.errors import UnknownNotification
from domain.model import Amended, AmendedSchedule
from domain.policy import is_identifier

READ_SCOPE: Final = "notifications:read"
WRITE_SCOPE: Final = "notifications:write"
MERGE_PATCH: Final = "application/merge-patch+json"


class NotificationHandler(BackendHandler):
    """In numbers; and to be changed, or taken back."""

    methods = ("GET", "PATCH", "DELETE")
    media_types = (MERGE_PATCH, JSON)

    def initialize(self, *, backend: Backend, max_body: int, published: PublishRoute | None = None) -> None:
        """``published`` is the route by which it came: a change of it may be as large."""
        super().initialize(backend=backend, max_body=published.max_body if published is not None else max_body)
        self.scope = WRITE_SCOPE if self.request.method in ("PATCH", "DELETE") else READ_SCOPE

    async def get(self, id_: str) -> None:
        await self.handle(id_)

    async def patch(self, id_: str) -> None:
        await self.handle(id_)

    async def delete(self, id_: str) -> None:
        await self.handle(id_)

    async def handle(self, *arguments: str) -> None:
        if self.scope == WRITE_SCOPE:
            # Each is an entry of the log for all of its recipients, as publishing it was.
            self.backend.pace.take(self.caller, 1)
        id_ = _identifier(arguments[0])
        query_of(self, ())
        match self.request.method:
            case "PATCH":
                patch = read_patch(self.body)
                self._amended("revised", await self.backend.editor.revise(id_, patch.revise, patch.deliver_at))
            case "DELETE":
                self._amended("recalled", await self.backend.editor.recall(id_))
            case _:
                self.answer(200, report_object(await self.backend.reports.report_of(id_)))

    def _amended(self, action: str, amended: Amended | AmendedSchedule) -> None:
        self.backend.telemetry.acted(self.caller_name, action, detail=amended.id)
        self.answer(200, amended_object(amended))


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
