"""A server of Server-Sent Events on a port of its own, with a scripted domain."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from adapters.http.origins import Origin
from adapters.http.peer import PeerPolicy
from adapters.system.clock import SystemClock
from adapters.transport.arrivals import Arrivals
from adapters.transport.sse.transport import SseLimits, SseTransport
from domain.errors import SynkroneError
from domain.model import ConnectionId, Disconnect, Room
from domain.ports import Clock
from tests.contract.transport_harness import ScriptedEvents, entry, eventually
from tests.listening import Port, on_port
from tests.sse_client import StreamClient

ANN = Room("user:ann")
ORIGIN = "https://app.test"
BEARER = "Bearer ann"
SEND_BUFFER = 8192


class Wire:
    """An SseTransport behind a real port, with a scripted domain and room for clients."""

    def __init__(
        self, resources: AsyncExitStack, transport: SseTransport, port: Port, tls: ssl.SSLContext | None
    ) -> None:
        self.transport = transport
        self.port = port.number
        self.listener = port.listener
        self.events = ScriptedEvents(transport)
        self._resources = resources
        self._tls = tls
        transport.bind(self.events)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/stream"

    async def client(self, *, buffer_bytes: int = 131_072) -> StreamClient:
        client = await StreamClient.open(self.port, buffer_bytes=buffer_bytes, tls=self._tls)
        self._resources.push_async_callback(client.close)
        return client

    async def ask(self, path: str = "/v1/stream", *, method: str = "GET", **headers: str | None) -> StreamClient:
        """A client that has the head of its answer; with Ann's token unless told otherwise."""
        client = await self.client()
        headers.setdefault("authorization", BEARER)
        client.ask(path, method, **headers)
        await client.answer()
        return client

    async def live(self, token: str = "ann", *, buffer_bytes: int = 131_072) -> tuple[StreamClient, ConnectionId]:
        """A client that has taken its welcome and is live."""
        client = await self.client(buffer_bytes=buffer_bytes)
        client.ask(authorization=f"Bearer {token}")
        assert await client.answer() == 200
        assert (await client.event()).name == "session.ready"
        connection = self.events.connections[token]
        await eventually(lambda: self.events.count("live", connection) == 1)
        return client, connection

    def broadcast(self, offset: int, payload: str = '{"n":1}') -> None:
        """To everybody who is connected."""
        self.events.send(entry(offset, payload=payload), *self.events.connected)


@asynccontextmanager
async def wire(
    *,
    limits: SseLimits | None = None,
    clock: Clock | None = None,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
) -> AsyncIterator[Wire]:
    """``tls`` is the server's side and the clients'."""
    peers = PeerPolicy(origins=[Origin.parse(ORIGIN)])
    transport = SseTransport(clock=clock or SystemClock(), peers=peers, arrivals=Arrivals(), limits=limits)
    async with (
        on_port(
            transport.routes,
            tls=tls[0] if tls is not None else None,
            send_buffer=SEND_BUFFER,
            connections=100,
            taken_over=lambda: transport.open_sockets,
        ) as port,
        AsyncExitStack() as resources,
    ):
        yield Wire(resources, transport, port, tls[1] if tls is not None else None)
        await transport.close()


def refusal(error: SynkroneError, *, reconnect: bool = True) -> Disconnect:
    return Disconnect(error.problem, reconnect, timedelta(milliseconds=1500))
