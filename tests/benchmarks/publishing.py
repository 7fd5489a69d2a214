"""Backends that post notifications over HTTP, light enough to run beside thousands of clients."""

from __future__ import annotations

import asyncio
import json
import re
import time
from array import array
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import cache
from typing import Protocol, TypeAlias, cast
from urllib.parse import urlsplit

from tests.benchmarks.programs.control import SENT_BASE
from tests.benchmarks.servers import API_KEY, NOTIFICATION
from tests.in_time import in_time

CONNECTIONS = 32
ANSWER_SECONDS = 60.0

ONE = "/v1/notifications"
BATCH = "/v1/notifications/batch"

Recipient: TypeAlias = int | None
"""The number of a user; None is everyone."""

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STATUS = slice(len("HTTP/1.1 "), len("HTTP/1.1 200"))
_SENT = str(SENT_BASE).encode()


class Rejected(Exception):
    """A post was not answered with success."""


class Poster(Protocol):
    """Where requests are posted to. Both raise Rejected."""

    def post(self, request: bytes) -> None: ...

    async def answered(self) -> None: ...


class Publisher:
    """Posts over a few connections, kept alive and used in turn.

    What is posted while all of them wait for an answer waits for one itself, in order.
    """

    def __init__(self, url: str, connections: int = CONNECTIONS) -> None:
        self._number = connections
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        self._address = (address.hostname, address.port)
        self._connections: list[_Connection] = []
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[bytes] = deque()
        self._unanswered = 0
        self._error: Rejected | None = None
        self._all_answered: asyncio.Future[None] | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self._number):
            _, connection = await loop.create_connection(lambda: _Connection(self._answered), *self._address)
            self._connections.append(connection)
            self._idle.append(connection)

    def post(self, request: bytes) -> None:
        """Raises Rejected where no connection is left."""
        self._unanswered += 1
        while self._idle:
            connection = self._idle.popleft()
            if connection.is_open:
                connection.ask(request)
                return
        if not any(connection.is_open for connection in self._connections):
            raise Rejected("the server closed all connections")
        self._waiting.append(request)

    async def answered(self) -> None:
        """Wait until all that was posted is answered. Raises Rejected."""
        if self._unanswered:
            self._all_answered = asyncio.get_running_loop().create_future()
            try:
                await in_time(self._all_answered, ANSWER_SECONDS)
            except TimeoutError:
                raise Rejected(f"{self._unanswered} posts have no answer after {ANSWER_SECONDS} s") from None
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def _answered(self, connection: _Connection, error: Rejected | None) -> None:
        self._error = self._error or error
        self._unanswered -= 1
        if self._waiting and connection.is_open:
            connection.ask(self._waiting.popleft())
        else:
            self._idle.append(connection)
        if not self._unanswered and self._all_answered is not None:
            self._all_answered.set_result(None)
            self._all_answered = None


@asynccontextmanager
async def publishing(url: str, connections: int = CONNECTIONS) -> AsyncIterator[Publisher]:
    publisher = Publisher(url, connections)
    try:
        await publisher.open()
        yield publisher
    finally:
        publisher.close()


async def post_at_a_pace(publisher: Poster, number: int, interval: float, make: Callable[[int], bytes]) -> array[float]:
    """Post what ``make`` makes of 0, 1, 2, ..., ``interval`` seconds apart, whatever the answers: an open loop.

    Returns by how many seconds each was late. Waits for the answers. Raises Rejected.
    """
    lateness = array("d")
    start = time.monotonic()
    for place in range(number):
        due = start + place * interval
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        lateness.append(max(0.0, time.monotonic() - due))
        publisher.post(make(place))
    await publisher.answered()
    return lateness


async def post_one_by_one(publisher: Publisher, requests: Iterable[bytes]) -> None:
    """Each once the one before is answered. Raises Rejected."""
    for request in requests:
        publisher.post(request)
        await publisher.answered()


def publication(to: Recipient, *, body_bytes: int = 0) -> bytes:
    """A request that publishes one notification. ``body_bytes`` other than 0 replaces the body by one of that length.

    It carries the time of its making, as every notification of the benchmark.
    """
    before, after = _request_around_sent(to, body_bytes)
    return b"%b%d%b" % (before, _now(), after)


def batch(to: Iterable[Recipient]) -> bytes:
    """A request that publishes a notification to each."""
    sent = _now()
    body = b"[%b]" % b",".join([b"%b%d%b" % (before, sent, after) for before, after in map(_item_around_sent, to)])
    return _head(BATCH, len(body)) + body


class _Connection(asyncio.Protocol):
    """HTTP/1.1, one request at a time, answered with a length."""

    def __init__(self, answered: Callable[[_Connection, Rejected | None], None]) -> None:
        self._transport: asyncio.Transport
        self._answered = answered
        self._received = b""
        self._is_asking = False
        self.is_open = False

    def ask(self, request: bytes) -> None:
        self._is_asking = True
        self._transport.write(request)

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(_HEAD_END)
        if end < 0:
            return
        length = _LENGTH.search(self._received, 0, end)
        assert length is not None
        if len(self._received) < end + len(_HEAD_END) + int(length[1]):
            return
        answer, self._received = self._received, b""
        is_success = answer[_STATUS] in (b"200", b"201")
        self._settle(None if is_success else Rejected(answer.decode()))

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_open = False
        self._settle(Rejected("the server closed the connection"))

    def _settle(self, error: Rejected | None) -> None:
        if self._is_asking:
            self._is_asking = False
            self._answered(self, error)


def _now() -> int:
    return SENT_BASE + time.monotonic_ns() // 1000


@cache
def _request_around_sent(to: Recipient, body_bytes: int) -> tuple[bytes, bytes]:
    before, after = _item_around_sent(to, body_bytes)
    return _head(ONE, len(before) + len(_SENT) + len(after)) + before, after


@cache
def _item_around_sent(to: Recipient, body_bytes: int = 0) -> tuple[bytes, bytes]:
    """What comes before the time of sending, and what comes after it."""
    content = {name: NOTIFICATION[name] for name in ("type", "title", "body", "data")}
    if body_bytes:
        content["body"] = "x" * body_bytes
    whom = {"everyone": True} if to is None else {"user": str(to)}
    before, _, after = json.dumps({"to": whom, **content}, separators=(",", ":")).encode().partition(_SENT)
    return before, after


def _head(path: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {API_KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()
