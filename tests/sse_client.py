"""A scripted client of Server-Sent Events: it writes its request as told, and reads what comes as it comes."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from dataclasses import dataclass, field

TIMEOUT = 15.0
BUFFER_BYTES = 131_072


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """The fields of one event as they came, each None where it did not. Of a comment there is only that."""

    name: str | None = None
    data: str | None = None
    id: str | None = None
    retry: str | None = None
    comment: str | None = None


@dataclass
class StreamClient:
    """One HTTP connection. ``status`` and ``headers`` are of the last answer, names in lower case."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    version: str = "HTTP/1.1"
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def open(
        cls, port: int, *, buffer_bytes: int = BUFFER_BYTES, tls: ssl.SSLContext | None = None
    ) -> StreamClient:
        """``buffer_bytes`` is about what it takes without being read."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        name = "127.0.0.1" if tls is not None else None
        return cls(*await asyncio.open_connection(sock=sock, limit=buffer_bytes, ssl=tls, server_hostname=name))

    def ask(self, path: str = "/v1/stream", method: str = "GET", **headers: str | None) -> None:
        """Send a request; ``last_event_id`` becomes ``Last-Event-ID``."""
        given = {"Host": "stream.test"} | {name.replace("_", "-").title(): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value is not None)
        self.writer.write(f"{method} {path} {self.version}\r\n{lines}\r\n".encode("latin-1"))

    async def answer(self) -> int:
        """Read the head of an answer."""
        async with asyncio.timeout(TIMEOUT):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        start, *lines = head.strip().split("\r\n")
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.status = int(start.split()[1])
        return self.status

    async def body(self) -> bytes:
        async with asyncio.timeout(TIMEOUT):
            return await self.reader.readexactly(int(self.headers["content-length"]))

    async def problem(self) -> dict[str, object]:
        assert self.headers["content-type"] == "application/problem+json"
        value: dict[str, object] = json.loads(await self.body())
        assert value["status"] == self.status
        return value

    async def next(self) -> ServerSentEvent | None:
        """The next event or comment; None at the end of the stream."""
        fields: dict[str, str] = {}
        while (line := await self._line()) not in (b"\n", b""):
            name, _, value = line.decode().removesuffix("\n").partition(":")
            known = {"event": "name", "": "comment"}.get(name, name)
            value = value.removeprefix(" ")
            fields[known] = f"{fields[known]}\n{value}" if known in fields else value
        assert line or not fields, "the stream ends inside an event"
        return ServerSentEvent(**fields) if line else None

    async def _line(self) -> bytes:
        """However long; empty at the end of the stream."""
        line = b""
        while not line.endswith(b"\n"):
            try:
                return line + await self.reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                return line + error.partial
            except asyncio.LimitOverrunError as error:
                line += await self.reader.readexactly(error.consumed)
            except ConnectionResetError:
                return line
        return line

    async def event(self) -> ServerSentEvent:
        """The next event, within TIMEOUT; comments are passed over."""
        async with asyncio.timeout(TIMEOUT):
            while (event := await self.next()) is not None:
                if event.name is not None:
                    return event
        raise ConnectionError("the stream has ended")

    async def ended(self) -> bool:
        """Whether the server closes the connection, with nothing more on it, within TIMEOUT."""
        async with asyncio.timeout(TIMEOUT):
            return await self.reader.read(1) == b""

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            # It was reset: closed all the same.
            return
