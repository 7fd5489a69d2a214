"""An Engine.IO server that sends every message back: the protocol without Socket.IO above it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

from adapters.http.exchange import Route
from adapters.http.messages import RequestHead
from adapters.system.clock import SystemClock
from adapters.transport.socketio.engineio.packet import EncodedPacket
from adapters.transport.socketio.engineio.routes import EngineRoute
from adapters.transport.socketio.engineio.served import EngineLimits, ServedSession
from adapters.transport.socketio.engineio.server import EngineServer
from adapters.transport.socketio.engineio.session import SessionLimits
from tests.listening import on_port
from tests.protocol.detour import detour, is_taken

PING_INTERVAL = 0.3
PING_TIMEOUT = 1.0
MAX_PAYLOAD = 1_000_000
ALLOWED_ORIGIN = "https://app.example"


class Echo:
    """The events of sessions, and the gate before them. ``closed`` are the reasons of those that ended. With ``marks``
    each message is its own mark, and ``received`` are those that a client is known to have."""

    def __init__(self, limits: EngineLimits) -> None:
        self.engine = EngineServer(clock=SystemClock(), limits=limits)
        self.engine.bind(self)
        self.accepting = True
        self.closed: dict[str, str] = {}
        self.marks = False
        self.received: list[object] = []
        self.url = ""
        self.port = 0
        numbers = count(1)
        self._new_name: Callable[[], str] = lambda: f"session-{next(numbers)}"

    def new_sid(self) -> str:
        return self._new_name()

    def name_sessions(self, new_name: Callable[[], str]) -> None:
        self._new_name = new_name

    def session_opened(self, session: ServedSession) -> None:
        pass

    def session_message(self, session: ServedSession, data: str | bytes) -> None:
        self.engine.send(session, EncodedPacket.message(data, data if self.marks else None))

    def session_received(self, _session: ServedSession, mark: object) -> None:
        self.received.append(mark)

    def session_closed(self, session: ServedSession, reason: str) -> None:
        self.closed[session.sid] = reason

    def allows_origin(self, request: RequestHead) -> bool:
        return request.headers.get("Origin", ALLOWED_ORIGIN) == ALLOWED_ORIGIN

    def address(self, request: RequestHead) -> str:
        return request.remote_ip or ""

    def is_accepting(self) -> bool:
        return self.accepting


@asynccontextmanager
async def echoing(
    *, ping_interval: float = PING_INTERVAL, ping_timeout: float = PING_TIMEOUT, **limits: float
) -> AsyncIterator[Echo]:
    session = SessionLimits(ping_interval=ping_interval, ping_timeout=ping_timeout, **limits)  # type: ignore[arg-type]
    echo = Echo(EngineLimits(message_bytes=MAX_PAYLOAD, session=session))
    async with AsyncExitStack() as stack:
        route: Route = EngineRoute(echo.engine, echo)
        if is_taken():
            route = await stack.enter_async_context(
                detour(EngineRoute(echo.engine, echo), echo, echo.name_sessions, max_body_bytes=MAX_PAYLOAD)
            )
        port = await stack.enter_async_context(on_port(dict.fromkeys(("/engine.io/", "/engine.io"), route)))
        echo.port = port.number
        async with _swept(echo):
            yield echo


@asynccontextmanager
async def _swept(echo: Echo) -> AsyncIterator[None]:
    echo.url = f"http://127.0.0.1:{echo.port}/engine.io/"

    async def sweep() -> None:
        while True:
            await asyncio.sleep(echo.engine.sweep_seconds)
            echo.engine.sweep()

    sweeping = asyncio.create_task(sweep())
    try:
        yield
    finally:
        sweeping.cancel()
        echo.engine.close_all("test_over")
