"""What the tests of a store in PostgreSQL share: opening it, and a line to the database that can be cut."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from adapters.store.postgresql.store import PostgresqlStore
from adapters.system.clock import SystemClock
from domain.ports import Clock
from tests.postgresql import PostgresqlServer

CHUNK = 65_536


@asynccontextmanager
async def opened(url: str, clock: Clock | None = None, **options: Any) -> AsyncIterator[PostgresqlStore]:
    store = PostgresqlStore(url, clock=clock or SystemClock(), stamped_by=clock, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


class Line:
    """What lies between a store and its database: a port that leads to the server's socket."""

    def __init__(self, server: PostgresqlServer) -> None:
        self._socket = server.socket
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._to_the_store: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._over = False
        self._is_severed = False
        self._holding: list[tuple[bytes, threading.Event]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    def url(self, database: str, user: str = "owner") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def hold_answers_to(self, request: bytes) -> threading.Event:
        """The server gets everything, and from the next request with these octets in it on its answers to whoever sent
        it stay here. The event is set once the first of them has come. A cut ends that, whether one has come or not."""
        came = threading.Event()
        with self._lock:
            self._holding.append((request, came))
        return came

    def cut(self) -> None:
        """All connections, at once and without a word. New ones are let through."""
        with self._lock:
            self._holding.clear()
            while self._pairs:
                self._end(next(iter(self._pairs)))

    def sever(self) -> None:
        """The same, and nobody gets through until ``mend``."""
        self._is_severed = True
        self.cut()

    def mend(self) -> None:
        self._is_severed = False

    def close(self) -> None:
        self._over = True
        self._wake.send(b"!")
        self._thread.join()
        self.cut()
        for one in (self._listening, self._wake, self._woken):
            one.close()
        self._selector.close()

    def _run(self) -> None:
        held: dict[socket.socket, threading.Event] = {}
        while not self._over:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    continue
                with self._lock:
                    if key.fileobj is self._listening:
                        self._accept()
                    elif isinstance(key.fileobj, socket.socket):
                        self._carry(key.fileobj, held)

    def _accept(self) -> None:
        store, _ = self._listening.accept()
        if self._is_severed:
            store.close()
            return
        database = socket.socket(socket.AF_UNIX)
        try:
            database.connect(self._socket)
        except OSError:
            database.close()
            store.close()
            return
        self._pairs |= {store: database, database: store}
        self._to_the_store.add(database)
        for one in (store, database):
            self._selector.register(one, selectors.EVENT_READ)

    def _carry(self, one: socket.socket, held: dict[socket.socket, threading.Event]) -> None:
        other = self._pairs.get(one)
        if other is None:
            return
        try:
            octets = one.recv(CHUNK)
        except OSError:
            octets = b""
        if not octets:
            self._end(one)
            return
        if one in held:
            held[one].set()
            return
        if one not in self._to_the_store:
            for holding in [each for each in self._holding if each[0] in octets]:
                self._holding.remove(holding)
                held[other] = holding[1]
        with contextlib.suppress(OSError):
            other.sendall(octets)

    def _end(self, one: socket.socket) -> None:
        other = self._pairs.pop(one, None)
        if other is None:
            return
        del self._pairs[other]
        for each in (one, other):
            self._to_the_store.discard(each)
            self._selector.unregister(each)
            each.close()


@contextmanager
def line_to(server: PostgresqlServer) -> Iterator[Line]:
    line = Line(server)
    try:
        yield line
    finally:
        line.close()
