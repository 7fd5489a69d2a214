"""Many connected WebSocket clients in the test's own process, each remembering what it was sent."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from tests.processes import ServerProcess, token

AT_ONCE = 50
CONNECT_SECONDS = 30.0


@dataclass
class Member:
    """One client. ``received`` are notification ids in order, ``closing`` what ``session.closing`` said."""

    user: str
    received: list[str] = field(default_factory=list)
    closing: dict[str, Any] | None = None
    after_closing: list[str] = field(default_factory=list)

    async def stay(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Read until the server closes the connection."""
        async for message in socket:
            frame = message.data
            if frame == "2":
                await socket.send_str("3")
            elif self.closing is not None:
                self.after_closing.append(frame)
            elif frame.startswith("42"):
                name, first, *_ = json.loads(frame[2:])
                if name == "notification.new":
                    self.received.append(first["id"])
                elif name == "session.closing":
                    self.closing = first
                elif name != "inbox.counts":
                    raise AssertionError(frame)
            else:
                self.after_closing.append(frame)


class Crowd:
    """``size`` clients, of the users ``"0"`` to ``str(size - 1)``."""

    def __init__(self, server: ServerProcess, size: int) -> None:
        self._server = server
        self.members = [Member(str(number)) for number in range(size)]
        self._session: aiohttp.ClientSession
        self._stays: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        try:
            gate = asyncio.Semaphore(AT_ONCE)
            async with asyncio.timeout(CONNECT_SECONDS), asyncio.TaskGroup() as group:
                for member in self.members:
                    group.create_task(self._connect(member, gate))
        except BaseException:
            await self._session.close()
            raise
        return self

    async def _connect(self, member: Member, gate: asyncio.Semaphore) -> None:
        async with gate:
            socket = await self._session.ws_connect(
                f"{self._server.url}/socket.io/?EIO=4&transport=websocket", compress=0
            )
            assert (await socket.receive_str()).startswith("0{")
            await socket.send_str("40" + json.dumps({"token": token(member.user)}))
            assert (await socket.receive_str()).startswith("40{")
            assert (await socket.receive_str()).startswith('42["session.ready",')
        self._stays.append(asyncio.create_task(member.stay(socket)))

    async def gone(self, within: float) -> None:
        """Wait until the server has closed every connection."""
        async with asyncio.timeout(within):
            await asyncio.gather(*self._stays)

    async def __aexit__(self, *_: object) -> None:
        for stay in self._stays:
            stay.cancel()
        await asyncio.gather(*self._stays, return_exceptions=True)
        await self._session.close()
