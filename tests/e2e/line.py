"""The line between a client and a server, which a test can cut: a TCP proxy on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from enum import Enum

from tests.accepting import Acceptor

CHUNK = 65_536
LOST_SECONDS = 1.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_WEBSOCKET_HEADER = 4
"""Octets before the payload of a server's WebSocket frame of 126 to 65,535 (RFC 6455, section 5.2)."""


class Cut(Enum):
    """How a line ends. LOST: the client notices, and the server goes on sending into the void for a while."""

    RESET = "reset"
    CLOSE = "close"
    LOST = "lost"


class _Call:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._client = client
        self._server = server
        self.is_lost = False

    def end(self, how: Cut) -> None:
        if how is Cut.LOST:
            self.is_lost = True
            self._client.transport.abort()
            asyncio.get_running_loop().call_later(LOST_SECONDS, self._server.transport.abort)
            return
        for writer in (self._client, self._server):
            connection = writer.get_extra_info("socket")
            if how is Cut.RESET and connection is not None and connection.fileno() >= 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()

    def hang_up(self) -> None:
        """End it as one whose server has sent its last: what came of it reaches the client."""
        self._client.close()
        self._server.transport.abort()


class Line:
    """``url`` is what its clients connect to. ``upgrading`` is set whenever one of them asks for a WebSocket.

    ``carried`` is set whenever something was sent to the server, ``swallowed`` whenever something was swallowed.
    """

    def __init__(self, port: int) -> None:
        """``port`` is the server's."""
        self._server_port = port
        self._calls: set[_Call] = set()
        self._cut_before: bytes | None = None
        self._is_severed = False
        self._swallows = False
        self._cuts = 0
        self._acceptor: Acceptor
        self._called = asyncio.Event()
        self.upgrading = asyncio.Event()
        self.was_cut = asyncio.Event()
        self.swallowed = asyncio.Event()
        self.carried = asyncio.Event()
        self.url = ""

    async def open(self) -> None:
        self._acceptor = Acceptor(self._serve)
        self.url = f"http://127.0.0.1:{self._acceptor.port}"

    @property
    def port(self) -> int:
        """Its own."""
        return self._acceptor.port

    async def close(self) -> None:
        await self._acceptor.close()

    @property
    def calls(self) -> int:
        return len(self._calls)

    async def in_use(self) -> None:
        """Return when there is something to cut."""
        while not self._calls:
            self._called.clear()
            await self._called.wait()

    def swallow(self) -> None:
        """Take what the server sends, and give nothing of it to its client, until the next cut."""
        self._swallows = True
        self.swallowed.clear()

    def cut(self, how: Cut) -> int:
        """Cut every connection; how many there were."""
        self._cuts += 1
        self._swallows = False
        calls, self._calls = self._calls, set()
        for call in calls:
            call.end(how)
        return len(calls)

    def sever(self, how: Cut) -> None:
        """Cut every connection, and let nobody through until it is mended."""
        self._is_severed = True
        self.cut(how)

    def mend(self) -> None:
        self._is_severed = False

    def cut_before(self, text: bytes) -> None:
        """Cut once, where the server is about to send the WebSocket frame that begins like this, and set ``was_cut``.

        The frame has 126 octets or more. All that came before it still reaches the client.
        """
        self._cut_before = text

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the server. Raises OSError."""
        return await asyncio.open_connection("127.0.0.1", self._server_port)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        cuts = self._cuts
        try:
            server, to_server = await self.dial()
        except OSError:
            return
        call = _Call(to_client, to_server)
        try:
            if self._is_severed or self._cuts > cuts:
                return
            self._calls.add(call)
            self._called.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry_up(call, client, to_server))
                group.create_task(self._carry_down(call, server, to_client))
        finally:
            self._calls.discard(call)
            to_server.transport.abort()
            with contextlib.suppress(OSError):
                await to_server.wait_closed()

    async def _carry_up(self, call: _Call, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while octets := await client.read(CHUNK):
                if b"transport=websocket" in octets:
                    self.upgrading.set()
                server.write(octets)
                await server.drain()
                self.carried.set()
        if not call.is_lost:
            server.close()

    async def _carry_down(self, call: _Call, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while octets := await server.read(CHUNK):
                if self._swallows:
                    self.swallowed.set()
                elif not call.is_lost:
                    client.write(self._until_cut(call, octets))
                    await client.drain()
        client.close()

    def _until_cut(self, call: _Call, octets: bytes) -> bytes:
        if self._cut_before is None or self._cut_before not in octets:
            return octets
        rest = octets[: octets.index(self._cut_before) - _WEBSOCKET_HEADER]
        self._cut_before = None
        asyncio.get_running_loop().call_soon(call.hang_up)
        self.was_cut.set()
        return rest


@contextlib.asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    """An open line to the server on that port."""
    line = Line(port)
    await line.open()
    try:
        yield line
    finally:
        await line.close()
