"""Who lets clients in to a test's own server, and leaves nothing open behind it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from tornado.netutil import add_accept_handler


class Acceptor:
    """Listens on a free port of 127.0.0.1 and runs ``serve`` for each who connects, in a task of its own.

    asyncio's own server tells of a connection some turns after it was accepted. Where it was closed in between, it
    tells nobody, and the connection stays open until it is collected.
    """

    def __init__(self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self._serve = serve
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = add_accept_handler(self._listening, self._accept)

    async def close(self) -> None:
        """End every task, and with it its connection."""
        self._stop()
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(self, client: socket.socket, _address: object) -> None:
        task = asyncio.create_task(self._run(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Also where it is cancelled before it has begun.
        task.add_done_callback(lambda _: client.close())

    async def _run(self, client: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=client)
        try:
            await self._serve(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
