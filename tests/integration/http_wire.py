"""A client of bytes and routes that tell what they saw, for tests of HTTP at the wire, on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

import pytest

from adapters.http.exchange import Exchange, MessageHandler
from adapters.http.messages import RequestHead
from tests.e2e.certificates import make_certificate
from tests.in_time import in_time
from tests.listening import Port
from tests.requirements import require

WITHIN = 10.0
TEST_SECONDS = 40.0


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test of asyncio's on its own loop and on uvloop."""

    def run(loop: str, **arguments: Any) -> None:
        with asyncio.Runner(loop_factory=_factory(loop)) as runner:
            try:
                runner.run(in_time(test(**arguments), TEST_SECONDS))
            finally:
                runner.run(Wire.close_all())

    signature = inspect.signature(test)
    loop = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = signature.replace(parameters=[loop, *signature.parameters.values()])  # type: ignore[attr-defined]
    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    run.pytestmark = getattr(test, "pytestmark", [])  # type: ignore[attr-defined]
    both: Callable[..., None] = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])(run)
    return both


def _factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if loop == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop  # noqa: PLC0415 (it may not be there)
    except ImportError:
        require(False, "uvloop is not installed")
        raise
    return uvloop.new_event_loop


class Certified(NamedTuple):
    """Both sides of TLS."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def certified(folder: Path) -> Certified:
    certificate = make_certificate(folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.cert, certificate.key)
    return Certified(server, ssl.create_default_context(cafile=certificate.cert))


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A connection of which every octet is the test's own."""

    _opened: ClassVar[list[Wire]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.is_secured = writer.get_extra_info("sslcontext") is not None
        self._opened.append(self)

    @classmethod
    async def close_all(cls) -> None:
        for wire in cls._opened:
            transport = wire.writer.transport
            # In Python 3.11.2, Debian's, one over TLS that was closed twice has forgotten all that could be aborted.
            if not (wire.is_secured and transport.is_closing()):
                transport.abort()
        cls._opened.clear()
        await asyncio.sleep(0.01)

    @classmethod
    async def open(cls, port: Port, tls: ssl.SSLContext | None = None, *, receive_buffer: int | None = None) -> Wire:
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port.number))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = "127.0.0.1" if tls is not None else None
        return cls(*await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=name))

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def send_pieces(self, *pieces: bytes) -> None:
        """Each in a segment of its own, which the server reads before the next is sent."""
        for piece in pieces:
            self.writer.write(piece)
            await asyncio.sleep(0.005)

    async def answer(self, method: str = "GET") -> Answer:
        """The next one, with its body's framing read as RFC 9112, section 6.3, says."""
        async with asyncio.timeout(WITHIN):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.split("\r\n")[:-2]
            version, status, _ = line.split(" ", 2)
            assert version == "HTTP/1.1"
            pairs = [field.split(": ", 1) for field in fields]
            headers = {name.lower(): value for name, value in pairs}
            assert len(headers) == len(pairs)
            return Answer(int(status), headers, await self._body(method, int(status), headers))

    async def _body(self, method: str, status: int, headers: dict[str, str]) -> bytes:
        if method == "HEAD" or status in (100, 101, 204, 304):
            return b""
        if headers.get("transfer-encoding") == "chunked":
            chunks = []
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                chunks.append(await self.reader.readexactly(size))
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
            return b"".join(chunks)
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        return await self.reader.read()

    async def rest(self) -> bytes:
        """What comes until the server has closed its side."""
        async with asyncio.timeout(WITHIN):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b"(reset)"

    async def closes(self) -> bool:
        """Whether nothing more comes but the end."""
        return await self.rest() == b""

    async def says_nothing(self, seconds: float = 0.15) -> bool:
        """Whether it stays open and silent for so long."""
        try:
            await in_time(self.reader.read(1), seconds)
        except TimeoutError:
            return True
        return False

    def pause(self) -> None:
        """Read nothing."""
        self._transport.pause_reading()

    def go_on(self) -> None:
        self._transport.resume_reading()

    @property
    def _transport(self) -> asyncio.Transport:
        return cast("asyncio.Transport", self.writer.transport)

    def finish(self) -> None:
        """Close this side: FIN."""
        self.writer.write_eof()

    async def reset(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()
        sock = self.writer.get_extra_info("socket")
        if self.writer.is_closing():
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


class Seen:
    """One request as a handler saw it, and how it was told of its end."""

    def __init__(self, head: RequestHead, exchange: Exchange) -> None:
        self.head = head
        self.exchange = exchange
        self.body = b""
        self.endings: list[str] = []
        self.left = 0

    @property
    def line(self) -> str:
        return f"{self.head.method} {self.head.target}"


Behaviour = Callable[[Seen], None]
Begin = Callable[[Seen], Awaitable[None] | None]


def echo(seen: Seen) -> None:
    body = json.dumps(
        {
            "method": seen.head.method,
            "target": seen.head.target,
            "version": seen.head.version,
            "host": seen.head.host,
            "body": seen.body.decode("latin-1"),
            "headers": list(seen.head.headers.get_all()),
        }
    ).encode()
    seen.exchange.respond(200, [("Content-Type", "application/json")], body)


def say_nothing(_seen: Seen) -> None:
    """It is answered by the test, or never."""


class Recorder:
    """A route that keeps what it saw. ``finish`` answers; ``begin`` is asked first, and ``take`` with every piece of a
    body."""

    def __init__(
        self,
        finish: Behaviour = echo,
        *,
        begin: Begin = lambda _: None,
        take: Begin = lambda _: None,
        max_body: int | None = None,
    ) -> None:
        self.requests: list[Seen] = []
        self._finish = finish
        self._begin = begin
        self._take = take
        self._max_body = max_body

    @property
    def lines(self) -> list[str]:
        return [seen.line for seen in self.requests]

    def open(self, head: RequestHead, exchange: Exchange) -> MessageHandler | Awaitable[MessageHandler]:
        seen = Seen(head, exchange)
        self.requests.append(seen)
        if self._max_body is not None:
            exchange.set_max_body_size(self._max_body)
        handler = _Handler(seen, self._finish, self._take)
        begun = self._begin(seen)
        return handler if begun is None else _after(begun, handler)

    def assert_each_ended_once(self) -> None:
        assert [len(seen.endings) for seen in self.requests] == [1] * len(self.requests)


async def _after(begun: Awaitable[None], handler: MessageHandler) -> MessageHandler:
    await begun
    return handler


class _Handler:
    def __init__(self, seen: Seen, finish: Behaviour, take: Begin) -> None:
        self._seen = seen
        self._finish = finish
        self._take = take

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        assert self._seen.endings == []
        assert chunk
        self._seen.body += chunk
        return self._take(self._seen)

    def finish(self) -> None:
        self._seen.endings.append("finished")
        self._finish(self._seen)

    def body_too_large(self) -> None:
        """The connection is to answer."""

    def on_connection_close(self) -> None:
        self._seen.endings.append("closed")
