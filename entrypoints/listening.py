"""Accepting connections, by as many descriptors as there are, and serving HTTP on them.

In place of ``tornado.httpserver.HTTPServer``, whose accept loop spins when descriptors run out, and which starts two
timers for every connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import tornado.netutil
from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters, HTTP1ServerConnection
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, SSLIOStream
from tornado.routing import Router

from adapters.pacing import Pacer
from domain.ports import Clock, Randomness

UNIX_PREFIX = "unix:"
UNIX_MODE = 0o660
BACKLOG = 4096
"""Connections that wait to be accepted: a mass return must not wait for SYNs to be sent again."""

ACCEPTS_PER_TURN = 16
"""So few that a mass return does not keep the loop from everything else."""

REQUESTS_PER_TURN = 16

RESERVED_DESCRIPTORS = 64
"""For files, the store, outgoing requests and the loop itself."""

PAUSE_SECONDS = (0.5, 1.5)
GATHER_SECONDS = 0.1
LOG_SECONDS = 60.0
READ_CHUNK = 16_384
MAX_HEAD_BYTES = 16_384

_OF_ONE_CONNECTION = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED", "EPERM", "EPROTO", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH",
        "EOPNOTSUPP", "ENETUNREACH",
    )
    if hasattr(errno, name)
)  # fmt: skip
"""Errors that accept(2) passes on of the connection it would have given; the next one may be good."""

_log = logging.getLogger("synkrone.server")


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bytes and seconds. ``request_timeout`` is for the head of a request, a TLS handshake included, and its body.

    ``send_timeout`` is how long a peer may take nothing of what is sent to it. ``connections`` is how many may be open
    at once, those that became WebSockets included.
    """

    body_bytes: int
    request_timeout: float
    send_timeout: float
    connections: int


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen, on TCP or at ``unix:/path``, where the socket of a server that was killed is replaced.

    Raises OSError.
    """
    if not host.startswith(UNIX_PREFIX):
        return tornado.netutil.bind_sockets(port, host, backlog=BACKLOG)
    path = Path(host.removeprefix(UNIX_PREFIX))
    if _is_in_use(path):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    if path.exists() and not path.is_socket():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    listening = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        listening.bind(str(path))
        path.chmod(UNIX_MODE)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return [listening]


def _is_in_use(path: Path) -> bool:
    """Whether somebody listens there. Raises OSError where that cannot be known, and the file is not ours to remove."""
    with socket.socket(socket.AF_UNIX) as probe:
        # It would wait for a server whose backlog is full.
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:
            return True
    return True


def address_of(sock: socket.socket, *, scheme: str) -> str:
    """The URL of a listening socket, or ``unix:/path``."""
    if sock.family == socket.AF_UNIX:
        return f"{UNIX_PREFIX}{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def raise_descriptor_limit() -> None:
    """As far as the system allows without asking."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems say that there is no limit, and refuse to set that.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def affordable_connections(*, wanted: int) -> int:
    """How many connections the limit of descriptors has room for; warns where they are fewer than wanted."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    affordable = max(1, soft - RESERVED_DESCRIPTORS) if soft != resource.RLIM_INFINITY else sys.maxsize
    if affordable < wanted:
        _log.warning("too few descriptors", extra={"connections": affordable, "wanted": wanted, "limit": soft})
    return affordable


def _close(listening: socket.socket) -> None:
    if listening.family == socket.AF_UNIX:
        # Before it is closed: from then on the next server may put its own there.
        Path(listening.getsockname()).unlink(missing_ok=True)
    listening.close()


class _Notice:
    """A line of the log that is there once in ``LOG_SECONDS`` at most, with how often it was meant since the last."""

    def __init__(self, message: str, clock: Clock) -> None:
        self._message = message
        self._clock = clock
        self._times = 0
        self._logged_at: float | None = None

    def give(self, **details: object) -> None:
        self._times += 1
        now = self._clock.monotonic()
        if self._logged_at is None or now - self._logged_at >= LOG_SECONDS:
            _log.error(self._message, extra={**details, "times": self._times})
            self._times, self._logged_at = 0, now


class Listener(HTTPServerConnectionDelegate):
    """Serves the ``router`` on every connection of some listening sockets.

    ``taken_over`` counts connections that were detached from HTTP and are still open; ``give_up_place`` closes one of
    those that is worth nothing yet, if there is one. ``refuse_at_once`` is asked, while not ready, for the answer to a
    request that begins like this; None is to be served. ``sweep`` is to be called about once a second.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        router: Router,
        *,
        tls: ssl.SSLContext | None,
        limits: HttpLimits,
        taken_over: Callable[[], int],
        give_up_place: Callable[[], bool],
        refuse_at_once: Callable[[bytes], bytes | None],
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self.router = router
        self.pacer = Pacer(REQUESTS_PER_TURN)
        self._sockets = list(sockets)
        self._tls = tls
        self._limits = limits
        self._taken_over = taken_over
        self._give_up_place = give_up_place
        self._refuse_at_once = refuse_at_once
        self._clock = clock
        self._randomness = randomness
        self._parameters = HTTP1ConnectionParameters(
            chunk_size=READ_CHUNK,
            max_header_size=MAX_HEAD_BYTES,
            max_body_size=limits.body_bytes,
            body_timeout=limits.request_timeout,
        )
        self._connections: dict[HTTP1ServerConnection, IOStream] = {}
        # Since when each waits for the head of a request, the longest first.
        self._idle: dict[HTTP1ServerConnection, float] = {}
        # Those of whose request the body is not complete, the longest first.
        self._receiving: dict[HTTP1ServerConnection, None] = {}
        self._paused: dict[socket.socket, asyncio.TimerHandle] = {}
        self._gathers = False
        self._cannot_accept = _Notice("cannot accept connections", clock)
        self._at_limit = _Notice("too many connections", clock)

    def start(self) -> None:
        for listening in self._sockets:
            listening.setblocking(False)
            if listening.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
                # Connections inherit it: whoever takes nothing of what is sent to them is gone after that time.
                milliseconds = round(self._limits.send_timeout * 1000)
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            self._resume(listening)

    async def close(self) -> None:
        """Accept no more, and close what is open in HTTP."""
        for timer in self._paused.values():
            timer.cancel()
        for listening in self._sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
            _close(listening)
        for connection in list(self._connections):
            await connection.close()

    def set_ready(self, *, ready: bool) -> None:
        """While the server cannot serve, those who come are let in bunch by bunch, up to GATHER_SECONDS later, and who
        can be is refused by the first octets: thousands come again every few seconds.

        Measured with 1,000 new WebSockets a second: 0.39 of a core, 0.22 in bunches, 0.05 so.
        """
        self._gathers = not ready

    def sweep(self) -> None:
        """Close who has waited too long with half a head, half a handshake, or nothing."""
        due = self._clock.monotonic() - self._limits.request_timeout
        for connection, since in list(self._idle.items()):
            if since > due:
                break
            self._connections[connection].close()

    # accepting

    def _resume(self, listening: socket.socket) -> None:
        self._paused.pop(listening, None)
        asyncio.get_running_loop().add_reader(listening.fileno(), self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, address = listening.accept()
            except BlockingIOError:
                if self._gathers:
                    self._resume_after(listening, GATHER_SECONDS)
                return
            except OSError as error:
                if error.errno in _OF_ONE_CONNECTION:
                    continue
                self._pause(listening, error)
                return
            if self._gathers and self._tls is None and self._is_refused(sock):
                continue
            if self._has_place():
                self._serve(sock, address)
            else:
                sock.close()

    def _is_refused(self, sock: socket.socket) -> bool:
        """Whether the connection is done with already."""
        try:
            head = sock.recv(READ_CHUNK, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            answer = self._refuse_at_once(head)
            if answer is None:
                return False
            # Closed with something unread, the answer might be lost to a reset.
            sock.recv(len(head))
            sock.send(answer, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            # The client has gone already.
            pass
        sock.close()
        return True

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """The connection that cannot be had stays in the backlog, and would be reported again at once, for ever."""
        self._resume_after(listening, self._randomness.uniform(*PAUSE_SECONDS))
        self._cannot_accept.give(error=error.strerror)

    def _resume_after(self, listening: socket.socket, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening.fileno())
        self._paused[listening] = loop.call_later(seconds, self._resume, listening)

    def _has_place(self) -> bool:
        """Make one where there is none: who has asked for nothing for longest goes, else whose body takes longest."""
        if len(self._connections) + self._taken_over() < self._limits.connections:
            return True
        self._at_limit.give(limit=self._limits.connections)
        for waiting in (self._idle, self._receiving):
            longest = next(iter(waiting), None)
            if longest is not None:
                self._connections[longest].close()
                del waiting[longest]
                return True
        return self._give_up_place()

    def _serve(self, sock: socket.socket, address: Any) -> None:
        if self._tls is not None:
            try:
                # ssl would leave a socket without a peer to the garbage collector.
                sock.getpeername()
                wrapped = tornado.netutil.ssl_wrap_socket(
                    sock, self._tls, server_side=True, do_handshake_on_connect=False
                )
            except OSError:
                # The client has gone already.
                sock.close()
                return
            stream: IOStream = SSLIOStream(wrapped, max_buffer_size=self._buffer_bytes, read_chunk_size=READ_CHUNK)
        else:
            stream = IOStream(sock, max_buffer_size=self._buffer_bytes, read_chunk_size=READ_CHUNK)
        is_unix = sock.family == socket.AF_UNIX
        peer = Peer("unix" if is_unix else address[0], "http" if self._tls is None else "https")
        connection = HTTP1ServerConnection(stream, self._parameters, peer)
        self._connections[connection] = stream
        connection.start_serving(self)

    @property
    def _buffer_bytes(self) -> int:
        return self._limits.body_bytes + READ_CHUNK

    # HTTPServerConnectionDelegate

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        connection = cast("HTTP1ServerConnection", server_conn)
        self._idle[connection] = self._clock.monotonic()
        return _Request(self, connection, request_conn)

    def head_received(self, connection: HTTP1ServerConnection) -> None:
        self._idle.pop(connection, None)

    def body_awaited(self, connection: HTTP1ServerConnection) -> None:
        self._receiving[connection] = None

    def request_received(self, connection: HTTP1ServerConnection) -> None:
        self._receiving.pop(connection, None)

    def on_close(self, server_conn: object) -> None:
        """Also when it was detached."""
        connection = cast("HTTP1ServerConnection", server_conn)
        self._idle.pop(connection, None)
        self._receiving.pop(connection, None)
        del self._connections[connection]


@dataclass(frozen=True, slots=True)
class Peer:
    """What Tornado passes on with each request of a connection: it reads these names."""

    remote_ip: str
    protocol: str

    def __str__(self) -> str:
        return self.remote_ip


class _Request(HTTPMessageDelegate):
    """One request on its way to the router."""

    def __init__(
        self, listener: Listener, server_connection: HTTP1ServerConnection, connection: HTTPConnection
    ) -> None:
        self._listener = listener
        self._server_connection = server_connection
        self._connection = cast("HTTP1Connection", connection)
        self._delegate: HTTPMessageDelegate | None = None

    async def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        self._listener.head_received(self._server_connection)
        await self._listener.pacer.turn()
        if self._connection.stream.closed():
            # Its client left while it waited.
            return
        self._listener.body_awaited(self._server_connection)
        request = HTTPServerRequest(
            connection=self._connection,
            server_connection=self._server_connection,
            start_line=cast("RequestStartLine", start_line),
            headers=headers,
        )
        self._delegate = self._listener.router.find_handler(request)
        if self._delegate is None:
            raise LookupError("the router has no rule for everything else")
        received = self._delegate.headers_received(start_line, headers)
        if received is not None:
            await received

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk) if self._delegate is not None else None

    def finish(self) -> None:
        self._listener.request_received(self._server_connection)
        if self._delegate is not None:
            self._delegate.finish()

    def on_connection_close(self) -> None:
        if self._delegate is not None:
            self._delegate.on_connection_close()
