"""What the harnesses of transports share that are served over HTTP."""

from __future__ import annotations

import asyncio

from tornado.httpserver import HTTPServer
from tornado.routing import RuleRouter
from tornado.testing import bind_unused_port

from adapters.served_transport import ServedTransport


class Serving:
    """A transport on a port of its own. It is swept from ``begin`` on, which needs the running loop."""

    def __init__(self, transport: ServedTransport) -> None:
        self._transport = transport
        self._server = HTTPServer(RuleRouter([*transport.routes]))
        socket, self.port = bind_unused_port()
        self._server.add_socket(socket)
        self._sweeping: asyncio.Task[None] | None = None

    def begin(self) -> None:
        if self._sweeping is None:
            self._sweeping = asyncio.ensure_future(self._sweep())

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._server.stop()
        await self._server.close_all_connections()
        await self._transport.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._transport.sweep_seconds)
            self._transport.sweep()
