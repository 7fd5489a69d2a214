"""``GET`` and ``DELETE /v1/users/{id}/connections``: who is connected, and sending them away."""

from __future__ import annotations

from adapters.api.backends import Backend
from adapters.api.handlers import BackendHandler
from adapters.contract.json_text import timestamp
from domain.errors import InvalidArgument
from domain.model import ConnectionInfo, UserId
from domain.policy import is_name, name_fault

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
        (user,) = arguments
        if not is_name(user):
            raise InvalidArgument("id", name_fault(user))
        if self.request.method != "DELETE":
            connections = await self.backend.directory.connections_of(UserId(user))
            self.answer(200, {"connections": [_connection(info) for info in connections]})
            return
        closed = await self.backend.directory.disconnect(UserId(user), reconnect=self._reconnect())
        # Whoever has a good token may come back: only its issuer can revoke that.
        self.answer(200, {"disconnected": closed, "tokens_revoked": False})

    def _reconnect(self) -> bool:
        value = self.get_query_argument("reconnect", "false")
        if value not in _FLAGS:
            raise InvalidArgument("reconnect", "must be true or false")
        return _FLAGS[value]


def _connection(info: ConnectionInfo) -> dict[str, object]:
    return {
        "device": info.device,
        "role": info.role,
        "transport": info.transport,
        "remote_address": info.remote_address,
        "since": timestamp(info.since),
    }
