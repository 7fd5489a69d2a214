"""The line between one user and the server, which can be cut: a TCP proxy on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Final

CHUNK: Final = 65_536
MAX_CONNECTIONS: Final = 64
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Line:
    """``url`` is what the user's page connects to. While the line is cut every connection to it is reset."""

    def __init__(self, server_port: Callable[[], int | None]) -> None:
        """``server_port`` says where the server is at the moment, or None while it is away."""
        self.url = ""
        self.is_open = True
        self._server_port = server_port
        self._ends: set[asyncio.StreamWriter] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        self._listener.close()
        self.cut()
        if self._calls:
            await asyncio.wait(self._calls)

    def cut(self) -> int:
        """Reset every connection, and all that come until it is mended; how many there were."""
        self.is_open = False
        for end in self._ends:
            _reset(end)
        return len(self._calls)

    def mend(self) -> None:
        self.is_open = True

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        port = self._server_port()
        # A port where nobody listens is not asked: on loopback one can end up connected to oneself.
        if not self.is_open or port is None or len(self._calls) >= MAX_CONNECTIONS:
            _reset(to_client)
            return
        call = asyncio.current_task()
        assert call is not None  # noqa: S101 (every coroutine runs in one)
        self._calls.add(call)
        self._ends.add(to_client)
        to_server: asyncio.StreamWriter | None = None
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", port)
            self._ends.add(to_server)
            if self.is_open:
                await asyncio.gather(_carry(client, to_server), _carry(server, to_client))
        except OSError:
            _reset(to_client)
        finally:
            for end in (to_client, to_server):
                if end is not None:
                    self._ends.discard(end)
                    end.close()
            self._calls.discard(call)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that comes from one end to the other, and then the end of it."""
    with contextlib.suppress(OSError):
        # It may have been closed while the other end was read.
        while (octets := await reader.read(CHUNK)) and not writer.is_closing():
            writer.write(octets)
            await writer.drain()
    writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection so that the other end is told at once, and what was on its way is lost."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
