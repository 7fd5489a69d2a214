"""Backends that post notifications over HTTP, light enough to run beside thousands of clients."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.benchmarks.programs.control import SENT_BASE
from tests.benchmarks.servers import API_KEY, NOTIFICATION

CONNECTIONS = 32
ANSWER_SECONDS = 60.0

ONE = "/v1/notifications"
BATCH = "/v1/notifications/batch"

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "


class Rejected(Exception):
    """A post was not answered with success."""


class Publisher:
    """Posts over a few connections, kept alive as long as the server keeps them; more posts at once wait for one."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        self._address = (address.hostname, address.port)
        self._turn = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[_Connection] = []

    async def post_to(self, user: int) -> None:
        """One notification. Raises Rejected."""
        await self._post(ONE, _publication(user))

    async def post_batch(self, users: Sequence[int]) -> None:
        """A notification for each, in one batch. Raises Rejected."""
        await self._post(BATCH, b"[%b]" % b",".join(map(_publication, users)))

    def close(self) -> None:
        for connection in self._idle:
            connection.close()

    async def _post(self, path: str, body: bytes) -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {API_KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        async with self._turn, asyncio.timeout(ANSWER_SECONDS):
            connection = await self._connection()
            await connection.ask(head.encode() + body)
            self._idle.append(connection)

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, *self._address)
        return connection


@asynccontextmanager
async def publishing(url: str) -> AsyncIterator[Publisher]:
    publisher = Publisher(url)
    try:
        yield publisher
    finally:
        publisher.close()


class _Connection(asyncio.Protocol):
    """HTTP/1.1, one request at a time, answered with a length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._received = b""
        self._answer: asyncio.Future[None] | None = None

    async def ask(self, request: bytes) -> None:
        """Raises Rejected."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._answer

    def close(self) -> None:
        self._transport.close()

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(_HEAD_END)
        if not end:
            return
        length = int((head.lower() + b"\r\n").partition(_LENGTH)[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        status, self._received = head.split(b" ", 2)[1], b""
        self._settle(None if status in (b"200", b"201") else Rejected(f"{status.decode()}: {body.decode()}"))

    def connection_lost(self, _error: Exception | None) -> None:
        self._settle(Rejected("the server closed the connection"))

    def _settle(self, error: Rejected | None) -> None:
        if self._answer is None or self._answer.done():
            return
        if error is None:
            self._answer.set_result(None)
        else:
            self._answer.set_exception(error)


def _publication_template() -> tuple[bytes, bytes]:
    """What comes between the user and the time of sending, and what comes after it."""
    content = {name: NOTIFICATION[name] for name in ("type", "title", "body", "data")}
    text = json.dumps({"to": {"user": ""}, **content}, separators=(",", ":"))
    _, rest = text.split('{"user":"', 1)
    between, after = rest.split(str(SENT_BASE), 1)
    return between.encode(), after.encode()


_BETWEEN, _AFTER = _publication_template()


def _publication(user: int) -> bytes:
    """It carries the time of its making, as every notification of the benchmark."""
    sent = SENT_BASE + time.monotonic_ns() // 1000
    return b'{"to":{"user":"%d%b%d%b' % (user, _BETWEEN, sent, _AFTER)
