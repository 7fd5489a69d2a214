"""``GET`` and ``DELETE /v1/users/{id}/connections``: who is connected, and sending them away."""

from __future__ import annotations

from adapters.api.backends import Backend
from adapters.api.handlers import BackendHandler
from adapters.api.queries import query_of
from adapters.api.users import user_of
from adapters.contract.json_text import timestamp
from domain.errors import InvalidArgument, StoreUnavailable
from domain.model import ConnectionInfo, UserId

_FLAGS = {"true": True, "false": False}


class ConnectionsHandler(BackendHandler):
    """The live connections of one user."""

    methods = ("GET", "DELETE")

    def initialize(self, *, backend: Backend, max_body: int) -> None:
        super().initialize(backend=backend, max_body=max_body)
        self.scope = "connections:write" if self.request.method == "DELETE" else "connections:read"

    async def get(self, user: str) -> None:
        await self.handle(user)

    async def delete(self, user: str) -> None:
        await self.handle(user)

    async def handle(self, *arguments: str) -> None:
        user = user_of(arguments[0])
        if self.request.method != "DELETE":
            query_of(self, ())
            connections = await self.backend.directory.connections_of(user)
            self.answer(200, {"connections": [connection_object(info) for info in connections]})
            return
        reconnect = self._reconnect()
        closed = await self._disconnect(user, reconnect=reconnect)
        # Whoever has a good token may come back.
        self.answer(200, {"disconnected": closed, "tokens_revoked": False})

    async def _disconnect(self, user: UserId, *, reconnect: bool) -> int:
        until = "come back" if reconnect else "stay away"
        try:
            closed = await self.backend.directory.disconnect(user, reconnect=reconnect)
        except StoreUnavailable:
            self._note(user, f"those of this server alone, as the store cannot be reached; clients {until}")
            raise
        self._note(user, f"connections: {closed}; clients {until}")
        return closed

    def _note(self, user: UserId, detail: str) -> None:
        self.backend.telemetry.acted(self.caller_name, "disconnected", user, detail=detail)

    def _reconnect(self) -> bool:
        value = query_of(self, ("reconnect",)).get("reconnect", "false")
        if value not in _FLAGS:
            raise InvalidArgument("reconnect", "must be true or false")
        return _FLAGS[value]


def connection_object(info: ConnectionInfo) -> dict[str, object]:
    return {
        "device": info.device,
        "role": info.role,
        "roles": [*info.roles],
        "transport": info.transport,
        "remote_address": info.remote_address,
        "since": timestamp(info.since),
    }
