"""Accepting connections, by as many descriptors as there are, and what serves them."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import tornado.netutil
from tornado.iostream import SSLIOStream
from tornado.routing import Router

from adapters.contract.json_text import to_json
from adapters.http.binding import close_bound, is_unix
from adapters.http.connection import HttpServerConnection
from adapters.http.exchange import DateField, Exchange, MessageHandler, Route
from adapters.http.messages import BadRequest, RequestHead
from adapters.http.notices import Notice
from adapters.http.problems import MEDIA_TYPE, bare_members
from adapters.http.service import Peer, Stage
from adapters.http.socket_stream import SocketStream
from adapters.http.streams import Stream
from adapters.http.tls_stream import TlsStream
from adapters.http.tornado_routing import TORNADO_SECONDS, TornadoRouting
from adapters.http.turns import Turns
from domain.ports import Clock, Randomness

ACCEPTS_PER_TURN = 16
"""So few that a mass return does not keep the loop from everything else."""

PAUSE_SECONDS = (0.5, 1.5)
GATHER_SECONDS = 0.1
READ_CHUNK = 16_384

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
    """Bytes and seconds. ``head_bytes`` is for the line and the headers of a request; ``body_bytes`` for the bodies of
    those whose routes set no limit of their own.

    ``request_timeout`` is for the head of a request, a TLS handshake included, and its body; ``keepalive_timeout`` for
    the time between two requests. ``send_timeout`` is how long a peer may take nothing of what is sent to it.
    ``connections`` is how many may be open at once, those that became WebSockets included.
    """

    head_bytes: int
    body_bytes: int
    request_timeout: float
    keepalive_timeout: float
    send_timeout: float
    connections: int


class Listener:
    """Serves ``routes``, by their paths, and else the ``router``, on every connection of some listening sockets.

    ``taken_over`` counts connections that were detached from HTTP and are still open; ``give_up_place`` closes one of
    those that is worth nothing yet, if there is one. ``refuse_at_once`` is asked, while not ready, for the answer to a
    request that begins like this; None is to be served. ``sweep`` is to be called about once a second. Sockets that are
    ``inherited`` go on after this process: the path of a Unix socket stays.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        router: Router,
        *,
        routes: Mapping[str, Route],
        tls: ssl.SSLContext | None,
        limits: HttpLimits,
        taken_over: Callable[[], int],
        give_up_place: Callable[[], bool],
        refuse_at_once: Callable[[bytes], bytes | None],
        clock: Clock,
        randomness: Randomness,
        inherited: bool = False,
    ) -> None:
        self.head_bytes = limits.head_bytes
        self.body_bytes = limits.body_bytes
        self.date = DateField(clock)
        self.turns = Turns(clock)
        self.keeps_alive = True
        self._inherited = inherited
        self._routing = TornadoRouting(router)
        self._routes = dict(routes)
        self._sockets = list(sockets)
        self._tls = tls
        self.set_limits(limits)
        self._taken_over = taken_over
        self._give_up_place = give_up_place
        self._refuse_at_once = refuse_at_once
        self._clock = clock
        self._randomness = randomness
        self._stages: dict[HttpServerConnection, Stage] = {}
        # Since when each has waited for what it waits for, the longest first.
        self._waiting: dict[Stage, dict[HttpServerConnection, float]] = {stage: {} for stage in Stage}
        self._sending: dict[HttpServerConnection, float] = {}
        self._paused: dict[socket.socket, asyncio.TimerHandle] = {}
        self._gathers = False
        self._cannot_accept = Notice(_log, "cannot accept connections", clock)
        self._at_limit = Notice(_log, "too many connections", clock)
        self._refused: dict[HTTPStatus, Notice] = {}

    def set_limits(self, limits: HttpLimits) -> None:
        """Keep these from now on, also with the connections that are open."""
        self._limits = limits
        self._seconds = {
            Stage.FIRST_HEAD: limits.request_timeout,
            Stage.NEXT_HEAD: limits.keepalive_timeout,
            Stage.REST_OF_HEAD: limits.request_timeout,
            Stage.BODY: limits.request_timeout,
            Stage.END: limits.send_timeout,
        }

    def prove_by(self, tls: ssl.SSLContext) -> None:
        """Show whoever connects from now on this certificate, where connections are of TLS. Those that are open, or
        shake hands, have theirs."""
        if self._tls is None:
            raise ValueError("a listener without TLS has no certificate")
        self._tls = tls

    @property
    def connections(self) -> Collection[HttpServerConnection]:
        """Those that are open and speak HTTP."""
        return self._stages.keys()

    def start(self) -> None:
        for listening in self._sockets:
            listening.setblocking(False)
            if not is_unix(listening) and hasattr(socket, "TCP_USER_TIMEOUT"):
                # Connections inherit it: whoever takes nothing of what is sent to them is gone after that time.
                milliseconds = round(self._limits.send_timeout * 1000)
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            self._resume(listening)

    async def close(self) -> None:
        """Accept no more, and close what is open in HTTP."""
        self._stop_accepting()
        if self._inherited:
            for listening in self._sockets:
                listening.close()
        else:
            close_bound(self._sockets)
        for connection in list(self._stages):
            connection.close()
        # They are told in the next turn of the loop.
        await asyncio.sleep(0)

    def leave(self) -> None:
        """Accept no more, where others go on with the same sockets: connections close behind their next answers, so
        that who asks on is with those."""
        self._stop_accepting()
        self.keeps_alive = False

    @property
    def is_asked(self) -> bool:
        """Whether a request may be on its way in, on a connection that was accepted for it or holds a part of it."""
        return any(self._waiting[stage] for stage in (Stage.FIRST_HEAD, Stage.REST_OF_HEAD, Stage.BODY))

    def close_idle(self) -> None:
        """Close the connections on which nothing is asked."""
        for stage in (Stage.FIRST_HEAD, Stage.NEXT_HEAD):
            for connection in list(self._waiting[stage]):
                self._close_waiting(connection)

    def _stop_accepting(self) -> None:
        for timer in self._paused.values():
            timer.cancel()
        self._paused.clear()
        for listening in self._sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())

    def set_ready(self, *, ready: bool) -> None:
        """While the server cannot serve, those who come are let in bunch by bunch, up to GATHER_SECONDS later, and who
        can be is refused by the first octets: thousands come again every few seconds.

        Measured with 1,000 new WebSockets a second: 0.39 of a core, 0.22 in bunches, 0.05 so.
        """
        self._gathers = not ready

    def sweep(self) -> None:
        """Close who has waited too long with half a head, half a body, half a handshake, or nothing, and who takes
        nothing of an answer."""
        now = self._clock.monotonic()
        for stage, seconds in self._seconds.items():
            self._close_those_due(self._waiting[stage], now - seconds)
        self._close_those_due(self._sending, now - self._limits.send_timeout)

    def _close_those_due(self, waiting: dict[HttpServerConnection, float], due: float) -> None:
        for connection, since in list(waiting.items()):
            if since > due:
                return
            self._close_waiting(connection)

    def _close_waiting(self, connection: HttpServerConnection) -> None:
        self._sending.pop(connection, None)
        self._waiting[self._stages[connection]].pop(connection, None)
        connection.close()

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
        if len(self._stages) + self._taken_over() < self._limits.connections:
            return True
        self._at_limit.give(limit=self._limits.connections)
        for stages in _WORTH_LEAST_FIRST:
            longest = min(
                (next(iter(waiting.items())) for stage in stages if (waiting := self._waiting[stage])),
                key=lambda item: item[1],
                default=None,
            )
            if longest is not None:
                self._close_waiting(longest[0])
                return True
        return self._give_up_place()

    def _serve(self, sock: socket.socket, address: Any) -> None:
        stream: Stream
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
            secured = SSLIOStream(wrapped, max_buffer_size=_TLS_BUFFER, read_chunk_size=READ_CHUNK)
            secured.set_nodelay(True)
            stream = TlsStream(secured, self.turns)
        else:
            if not is_unix(sock):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = SocketStream(sock, self.turns)
        peer = Peer("unix" if is_unix(sock) else address[0], "http" if self._tls is None else "https")
        HttpServerConnection(stream, self, peer).open()

    # Service

    def open(self, head: RequestHead, exchange: Exchange) -> MessageHandler | Awaitable[MessageHandler]:
        route = self._routes.get(head.path)
        if route is not None:
            return route.open(head, exchange)
        self.turns.charge(TORNADO_SECONDS)
        return self._routing.open(self, head, exchange)

    def connection_waits(self, connection: HttpServerConnection, stage: Stage) -> None:
        now = self._clock.monotonic()
        before = self._stages.get(connection)
        if before is not None:
            self._waiting[before].pop(connection, None)
        self._stages[connection] = stage
        self._waiting[stage][connection] = now
        if self._sending:
            self._sending.pop(connection, None)
        if connection.unsent_bytes:
            self._sending[connection] = now

    def connection_ended(self, connection: HttpServerConnection) -> None:
        self._sending.pop(connection, None)
        stage = self._stages.pop(connection, None)
        if stage is not None:
            self._waiting[stage].pop(connection, None)

    def request_refused(self, connection: HttpServerConnection, error: BadRequest) -> tuple[str, bytes]:
        status = error.status
        notice = self._refused.get(status)
        if notice is None:
            notice = self._refused[status] = Notice(_log, "malformed request", self._clock, logging.WARNING)
        notice.give(status=int(status), reason=error.reason, address=connection.peer.remote_ip)
        return MEDIA_TYPE, to_json(bare_members(status, error.reason))


_WORTH_LEAST_FIRST: Final = (
    (Stage.END,),
    (Stage.FIRST_HEAD, Stage.NEXT_HEAD, Stage.REST_OF_HEAD),
    (Stage.BODY,),
)
_TLS_BUFFER: Final = 4 * READ_CHUNK
"""What Tornado's stream may hold of what was received: it is asked for no more at a time than READ_CHUNK."""
