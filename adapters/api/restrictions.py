"""``/v1/users/{id}/revoke`` and ``/v1/users/{id}/block``: who may not come in, though their token is good."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from adapters.api.backends import Backend
from adapters.api.handlers import BackendHandler
from adapters.api.queries import query_of
from adapters.api.users import InvalidUser, user_of
from adapters.contract.json_text import timestamp
from adapters.contract.restrictions import blocked_object, read_block, read_revocation, revoked_object
from domain.errors import InvalidArgument, SynkroneError
from domain.model import UserId

SCOPE: Final = "users:write"


class _RestrictionHandler(BackendHandler):
    """Of one user."""

    def initialize(self, *, backend: Backend, max_body: int) -> None:
        super().initialize(backend=backend, max_body=max_body)
        self.scope = SCOPE

    def status_of(self, error: SynkroneError) -> HTTPStatus:
        if isinstance(error, InvalidArgument) and not isinstance(error, InvalidUser):
            return HTTPStatus.UNPROCESSABLE_ENTITY
        return super().status_of(error)

    def _note(self, action: str, user: UserId, detail: str | None = None) -> None:
        self.backend.telemetry.acted(self.caller_name, action, user, detail=detail)

    async def post(self, user: str) -> None:
        await self.handle(user)


class RevokeHandler(_RestrictionHandler):
    async def handle(self, *arguments: str) -> None:
        user = user_of(arguments[0])
        query_of(self, ())
        revoked = await self.backend.access.revoke(user, read_revocation(self.body))
        before = timestamp(revoked.issued_before)
        self._note("revoked", user, f"issued at or before {before}; connections: {revoked.disconnected}")
        self.answer(200, revoked_object(revoked))


class BlockHandler(_RestrictionHandler):
    methods = ("GET", "POST", "DELETE")

    async def get(self, user: str) -> None:
        await self.handle(user)

    async def delete(self, user: str) -> None:
        await self.handle(user)

    async def handle(self, *arguments: str) -> None:
        user, access = user_of(arguments[0]), self.backend.access
        query_of(self, ())
        match self.request.method:
            case "POST":
                until, reason = read_block(self.body)
                blocked = await access.block(user, until, reason)
                ends = timestamp(until) if until is not None else "taken back"
                why = f"; reason: {reason!r}" if reason is not None else ""
                self._note("blocked", user, f"until {ends}{why}; connections: {blocked.disconnected}")
            case "DELETE":
                blocked = await access.unblock(user)
                self._note("unblocked", user)
            case _:
                blocked = await access.block_of(user)
        self.answer(200, blocked_object(blocked))
