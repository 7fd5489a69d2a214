"""What lies between one node and its database: a port that leads to a server's socket, and can fail as networks do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Self

from tests.postgresql import PostgresqlServer

CHUNK = 65_536
CALL_SECONDS = 10.0


class Carrying(Enum):
    """What becomes of octets. SWALLOWED ones vanish; HELD ones arrive late, once the line is mended."""

    ON = "on"
    SWALLOWED = "swallowed"
    HELD = "held"


class _Call:
    """One connection of the node, and the one to the database that belongs to it."""

    def __init__(self, node: asyncio.StreamWriter, database: asyncio.StreamWriter) -> None:
        self._writers = (node, database)
        self.has_lost_octets = False

    def end(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


class DatabaseLine:
    """It runs in a thread of its own, so that a test may block. Everything here returns once it has taken effect.

    ``target`` is the server that new connections lead to.
    """

    def __init__(self, target: PostgresqlServer) -> None:
        self.target = target
        self._calls: set[_Call] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_severed = False
        self._carrying = Carrying.ON
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._loop = asyncio.new_event_loop()
        self._mended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def url(self, database: str, user: str = "owner") -> str:
        return f"postgresql://{user}@127.0.0.1:{self._listening.getsockname()[1]}/{database}"

    def cut(self) -> None:
        """End every connection, at both ends and without a word. New ones are let through."""
        self._call(self._end_all)

    def sever(self) -> None:
        """The same, and nobody gets through until ``mend``."""
        self._call(self._sever)

    def swallow(self) -> None:
        """Until ``mend`` nothing gets through, in either direction, and nobody is told: packets vanish."""
        self._call(self._carry_no_more, Carrying.SWALLOWED)

    def hold(self) -> None:
        """The same, but what was sent meanwhile arrives with ``mend``, also from who has given up waiting."""
        self._call(self._carry_no_more, Carrying.HELD)

    def mend(self) -> None:
        """New connections get through again, and old ones of which nothing was lost go on. The others have ended."""
        self._call(self._mend)

    def lead_to(self, target: PostgresqlServer) -> None:
        """New connections lead there, and the old ones end."""
        self.target = target
        self.cut()

    def close(self) -> None:
        self._call(self._loop.stop)
        self._thread.join(CALL_SECONDS)

    def _call(self, act: Callable[..., None], *arguments: object) -> None:
        done = threading.Event()

        def in_the_loop() -> None:
            try:
                act(*arguments)
            finally:
                done.set()

        self._loop.call_soon_threadsafe(in_the_loop)
        if not done.wait(CALL_SECONDS):
            raise TimeoutError("the line's thread does not answer")

    def _end_all(self) -> None:
        calls, self._calls = self._calls, set()
        for call in calls:
            call.end()

    def _sever(self) -> None:
        self._is_severed = True
        self._end_all()

    def _carry_no_more(self, how: Carrying) -> None:
        self._carrying = how
        self._mended.clear()

    def _mend(self) -> None:
        self._is_severed = False
        self._carrying = Carrying.ON
        for call in [call for call in self._calls if call.has_lost_octets]:
            call.end()
        self._mended.set()

    def _run(self) -> None:
        self._loop.run_until_complete(self._listen())
        self._loop.run_forever()
        self._loop.run_until_complete(self._leave())
        self._loop.close()

    async def _listen(self) -> None:
        self._mended.set()
        self._server = await asyncio.start_server(self._accept, sock=self._listening)

    async def _leave(self) -> None:
        self._server.close()
        self._end_all()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, from_node: asyncio.StreamReader, to_node: asyncio.StreamWriter) -> None:
        try:
            if self._is_severed:
                return
            from_database, to_database = await asyncio.open_unix_connection(self.target.socket)
        except OSError:
            return
        else:
            call = _Call(to_node, to_database)
            self._calls.add(call)
            try:
                await asyncio.gather(
                    self._carry(call, from_node, to_database), self._carry(call, from_database, to_node)
                )
            finally:
                self._calls.discard(call)
                to_database.transport.abort()
        finally:
            to_node.transport.abort()

    async def _carry(self, call: _Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while octets := await reader.read(CHUNK):
                if self._carrying is Carrying.HELD:
                    await self._mended.wait()
                if self._carrying is Carrying.SWALLOWED:
                    call.has_lost_octets = True
                    continue
                writer.write(octets)
                await writer.drain()
        if self._carrying is not Carrying.ON:
            # Of an end nobody is told either.
            await self._mended.wait()
        if call in self._calls and not call.has_lost_octets and not writer.is_closing():
            with contextlib.suppress(OSError):
                writer.write_eof()
        else:
            call.end()
