"""What the harnesses of transports share that are served over HTTP."""

from __future__ import annotations

import asyncio

from adapters.transport.served import ServedTransport
from tests.listening import Port


class Serving:
    """A transport on a port of its own. It is swept from ``begin`` on, which needs the running loop."""

    def __init__(self, transport: ServedTransport) -> None:
        self._transport = transport
        self._port = Port(transport.routes)
        self.port = self._port.number
        self._sweeping: asyncio.Task[None] | None = None

    def begin(self) -> None:
        if self._sweeping is None:
            self._port.listener.start()
            self._sweeping = asyncio.ensure_future(self._sweep())

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self._port.listener.close()
        await self._transport.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._transport.sweep_seconds)
            self._transport.sweep()
