"""A line between a store and its database that knows where the messages of the protocol begin and end, and breaks
between any two of them, or in the middle of one."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from tests.postgresql import PostgresqlServer

SILENCE_SECONDS = 0.5
"""Of a machine that is gone the server hears by the keepalives of the network."""

_CHUNK = 65_536
_READY = b"Z"


class Towards(Enum):
    SERVER = "server"
    CLIENT = "client"


class Break(NamedTuple):
    """Where an exchange ends: behind so many messages in one direction, and half of the next one. The line is cut, or
    packets vanish."""

    towards: Towards
    messages: int
    half: bool
    vanishing: bool


@dataclass(eq=False)
class _Exchange:
    """From the request with the octets ``begins`` to the answer that says that the server is ready."""

    begins: bytes
    ends: Break | None
    counts: dict[Towards, int] = field(default_factory=lambda: dict.fromkeys(Towards, 0))
    is_over: threading.Event = field(default_factory=threading.Event)


class _Call:
    """One connection of the store, and the one to the database that belongs to it."""

    def __init__(self, line: MessageLine, client: socket.socket, server: socket.socket) -> None:
        self._line = line
        self._client = client
        self._server = server
        self._lock = threading.Lock()
        self._exchange: _Exchange | None = None
        self._has_vanished = False
        self._threads = [
            threading.Thread(target=self._carry, args=(Towards.SERVER, client, server), daemon=True),
            threading.Thread(target=self._carry, args=(Towards.CLIENT, server, client), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        for one in (self._client, self._server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        self._client.close()
        self._server.close()

    def _carry(self, towards: Towards, source: socket.socket, target: socket.socket) -> None:
        waiting = b""
        # The first message of a client has no type.
        type_octets = 0 if towards is Towards.SERVER else 1
        with contextlib.suppress(OSError):
            while octets := source.recv(_CHUNK):
                waiting += octets
                while len(waiting) >= type_octets + 4:
                    size = type_octets + int.from_bytes(waiting[type_octets : type_octets + 4], "big")
                    if len(waiting) < size:
                        break
                    message, waiting = waiting[:size], waiting[size:]
                    type_octets = 1
                    with self._lock:
                        self._pass_on(towards, message, target)
        if not self._has_vanished:
            self.end()

    def _pass_on(self, towards: Towards, message: bytes, target: socket.socket) -> None:
        if self._has_vanished:
            return
        if towards is Towards.SERVER and self._exchange is None:
            self._exchange = self._line.take(message)
        exchange = self._exchange
        if exchange is None:
            target.sendall(message)
            return
        ends, number = exchange.ends, exchange.counts[towards]
        if ends is not None and ends.towards is towards and ends.messages == number:
            if ends.half:
                target.sendall(message[: len(message) // 2])
            self._break(exchange, ends)
            return
        target.sendall(message)
        exchange.counts[towards] = number + 1
        if ends is not None and ends.towards is towards and ends.messages == number + 1 and not ends.half:
            self._break(exchange, ends)
        elif towards is Towards.CLIENT and message[:1] == _READY:
            self._exchange = None
            exchange.is_over.set()

    def _break(self, exchange: _Exchange, ends: Break) -> None:
        if ends.vanishing:
            self._has_vanished = True
            threading.Timer(SILENCE_SECONDS, self.end).start()
        else:
            self.end()
        exchange.is_over.set()


class MessageLine:
    """A port that leads to a server's socket."""

    def __init__(self, server: PostgresqlServer) -> None:
        self._socket = server.socket
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._calls: list[_Call] = []
        self._expected: _Exchange | None = None
        self._lock = threading.Lock()
        self._is_severed = False
        self._is_severed_by_break = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def url(self, database: str, user: str = "owner") -> str:
        port = self._listening.getsockname()[1]
        return f"postgresql://{user}@127.0.0.1:{port}/{database}?sslmode=disable&gssencmode=disable"

    def expect(self, begins: bytes, ends: Break | None = None, *, severs: bool = False) -> _Exchange:
        """The next exchange that begins with a request with these octets in it; it breaks where it ``ends``, and
        ``severs`` the line until ``mend``."""
        exchange = _Exchange(begins, ends)
        with self._lock:
            self._expected, self._is_severed_by_break = exchange, severs
        return exchange

    def take(self, message: bytes) -> _Exchange | None:
        """The expected exchange, if this is its beginning."""
        with self._lock:
            expected = self._expected
            if expected is None or expected.begins not in message:
                return None
            self._expected = None
            self._is_severed = self._is_severed_by_break
            return expected

    def mend(self) -> None:
        self._is_severed = False

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()
        for call in self._calls:
            call.end()
            call.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._is_severed:
                    client.close()
                    continue
                # Messages go one by one, and would wait for each other.
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._socket)
                self._calls.append(_Call(self, client, server))


@contextmanager
def message_line_to(server: PostgresqlServer) -> Iterator[MessageLine]:
    line = MessageLine(server)
    try:
        yield line
    finally:
        line.close()
