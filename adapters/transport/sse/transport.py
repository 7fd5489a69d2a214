"""The Transport port on Server-Sent Events: one HTTP request that hears everything and can ask for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial

from adapters.contract.json_text import to_json
from adapters.contract.session_events import CLOSING, READY, closing, ready, session_event
from adapters.http.exchange import Route
from adapters.http.peer import PeerPolicy
from adapters.http.tasks import Tasks
from adapters.system.random_bytes import random_text
from adapters.transport.arrivals import Arrivals
from adapters.transport.flusher import Flusher
from adapters.transport.sse.request import TRANSPORT, Defect, StreamRequest, StreamRoute
from adapters.transport.sse.stream import COMMENT, EventStream, StreamLimits, event_frame
from domain.errors import (
    AtCapacity,
    ConnectionGone,
    InvalidArgument,
    InvalidToken,
    ShuttingDown,
    SynkroneError,
    Unavailable,
    UserBlocked,
)
from domain.model import (
    ConnectionId,
    ConnectReply,
    Disconnect,
    DisconnectReason,
    Entry,
    Outgoing,
    Reply,
)
from domain.model.value import value
from domain.ports import Clock, ConnectionEvents
from domain.requests import ConnectRequest

PATH = "/v1/stream"
CUT_AT_QUEUES = 8
CLOSE_SECONDS = 1.0
SWEEP_SECONDS = 0.5
ID_BYTES = 15

_MILLISECONDS = 1000


@dataclass(frozen=True, slots=True)
class SseLimits:
    """Bytes, seconds and counts; the defaults suit a public server.

    A client for which over ``queue_bytes`` wait for ``slow_seconds``, or over eight times that at all, is cut.
    ``connecting`` of the ``connections`` may be those whose token is still being verified. A stream on which nothing
    was sent for ``ping_interval`` gets a comment.
    """

    queue_bytes: int = 1_048_576
    slow_seconds: float = 5.0
    connections: int = 10_000
    connecting: int = 2_000
    ping_interval: float = 15.0


@value
class EventFrame:
    octets: bytes

    @property
    def size(self) -> int:
        return len(self.octets)


@dataclass(slots=True, eq=False)
class SseConnection:
    """A client from its request on: the Outlet of this transport. It has a stream once it was let in; ``ends_for`` says
    why it is ended by us."""

    id: ConnectionId
    exchange: StreamRequest | None
    stream: EventStream | None = None
    ends_for: DisconnectReason | None = None

    @property
    def technology(self) -> str:
        return TRANSPORT


class SseTransport:
    """Serves ``GET /v1/stream`` to whatever reads Server-Sent Events and can send an ``Authorization`` header.

    The id of an event is its cursor; what is no entry of the log has none, so that a client always comes back with the
    cursor of the last entry it got. The protocol has no word for staying away: a client that is closed with
    ``reconnect: false`` has to read that in ``session.closing``; one that does not comes back.
    ``received`` is never called: nothing but the cursor that a client brings back says what it got.

    ``sweep`` is to be called every ``sweep_seconds``.
    """

    def __init__(self, *, clock: Clock, peers: PeerPolicy, arrivals: Arrivals, limits: SseLimits | None = None) -> None:
        self._limits = limits = limits or SseLimits()
        self._arrivals = arrivals
        self._clock = clock
        self._peers = peers
        self._stream_limits = StreamLimits(
            limits.queue_bytes, cut_bytes=CUT_AT_QUEUES * limits.queue_bytes, slow_seconds=limits.slow_seconds
        )
        self._events: ConnectionEvents | None = None
        self._connections: dict[SseConnection, None] = {}
        self._connecting: set[SseConnection] = set()
        self._open: set[EventStream] = set()
        self._flusher: Flusher[EventStream] = Flusher(EventStream.flush, clock)
        self._tasks = Tasks()
        self._accepting = True
        self._ready = True

    def set_limits(self, limits: SseLimits) -> None:
        """Keep these from now on, of ``connections`` and of those ``connecting``. The others stay as they are."""
        self._limits = replace(self._limits, connections=limits.connections, connecting=limits.connecting)

    @property
    def routes(self) -> Mapping[str, Route]:
        return {PATH: StreamRoute(self, self._peers)}

    @property
    def sweep_seconds(self) -> float:
        return min(SWEEP_SECONDS, self._limits.ping_interval / 4)

    @property
    def open_sockets(self) -> int:
        """Streams, which the HTTP server does not count any more."""
        return len(self._open)

    @property
    def waiting_bytes(self) -> int:
        return sum(stream.untaken_bytes for stream in self._open)

    @property
    def connecting(self) -> int:
        return len(self._connecting)

    # Transport

    @property
    def name(self) -> str:
        return "sse"

    def bind(self, events: ConnectionEvents) -> None:
        self._events = events

    def encode(self, event: Outgoing) -> EventFrame:
        match event:
            case Entry(position, _, name, payload):
                return EventFrame(event_frame(name, payload, position))
            case Reply():
                raise NotImplementedError("nobody can ask over a stream that only reads")
            case _:
                name, members = session_event(event)
                return EventFrame(event_frame(name, to_json(members)))

    def send(self, outlets: Collection[SseConnection], frame: EventFrame) -> None:
        for connection in outlets:
            if connection.stream is not None and connection.ends_for is None:
                self._send(connection.stream, frame.octets)

    async def has_room(self, outlet: SseConnection) -> None:
        if outlet.stream is None or outlet.ends_for is not None:
            raise ConnectionGone
        await outlet.stream.has_room()

    def disconnect(self, outlet: SseConnection, why: Disconnect) -> None:
        if not self._is_open(outlet):
            return
        outlet.ends_for = why.reason
        if outlet.stream is None:
            self._turn_away(outlet, why)
            return
        retry_ms = round(why.retry_after.total_seconds() * _MILLISECONDS) if why.reconnect else None
        self._send(outlet.stream, event_frame(CLOSING, to_json(closing(why)), retry_ms=retry_ms))
        outlet.stream.close()
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, outlet.stream.abort)

    # upkeep

    def set_ready(self, *, ready: bool) -> None:
        """Answer new requests with 503 while not ready, on which clients come back later."""
        self._ready = ready

    def refuse_at_once(self, head: bytes) -> bytes | None:  # noqa: ARG002 (of the port)
        """None: its answers depend on who asks from where."""
        return None

    def give_up_place(self) -> bool:
        """False: behind every socket taken from HTTP there is a user."""
        return False

    def stop_accepting(self) -> None:
        """Answer new requests with 503 from now on."""
        self._accepting = False

    def sweep(self) -> None:
        """Cut slow readers, and send a comment where nothing else was sent for long. Idle streams cost a look."""
        now = self._clock.monotonic()
        silent_since = now - self._limits.ping_interval
        for connection in self._connections:
            stream = connection.stream
            if stream is None:
                continue
            stream.keep_pace(now)
            if stream.written_at <= silent_since and not stream.untaken_bytes:
                self._send(stream, COMMENT)

    async def close(self) -> None:
        """End every connection at once, and the tasks for them."""
        self.stop_accepting()
        for connection in list(self._connections):
            if connection.exchange is not None:
                connection.exchange.refuse(ShuttingDown())
            self._end(connection, DisconnectReason.SERVER_CLOSED)
        for stream in list(self._open):
            stream.abort()
        await self._tasks.cancel()

    # Desk

    def why_closed(self) -> SynkroneError | None:
        if not self._accepting:
            return ShuttingDown()
        if not self._ready or self._events is None:
            return Unavailable()
        limits = self._limits
        if len(self._connections) >= limits.connections or len(self._connecting) >= limits.connecting:
            return AtCapacity()
        return None

    def reconnect_delay(self) -> float:
        return self._events.reconnect_delay() if self._events is not None else 1.0

    def requested(self, exchange: StreamRequest, request: ConnectRequest) -> None:
        if self._events is None:
            raise RuntimeError("bind() comes before the first client")
        connection = SseConnection(ConnectionId(random_text(ID_BYTES)), exchange)
        self._connections[connection] = None
        self._connecting.add(connection)
        exchange.set_close_callback(partial(self._end, connection, DisconnectReason.TRANSPORT_CLOSE))
        self._tasks.spawn(self._serve(connection, exchange, request, self._events))

    # from the request to the end of the replay

    async def _serve(
        self,
        connection: SseConnection,
        exchange: StreamRequest,
        request: ConnectRequest,
        events: ConnectionEvents,
    ) -> None:
        reply = await self._ask(connection, request, events)
        self._connecting.discard(connection)
        connection.exchange = None
        if reply is None or not self._is_open(connection):
            return
        if exchange.wants_head_only:
            exchange.answer_head()
        if exchange.is_gone:
            self._end(connection, DisconnectReason.TRANSPORT_CLOSE)
            return
        self._open_stream(connection, exchange, reply, events)
        try:
            await events.opened(connection)
        except Exception:
            # A defect of ours: the client comes back with its cursor and is served anew.
            self._cut(connection, DisconnectReason.DEFECT)
            raise

    async def _ask(
        self, connection: SseConnection, request: ConnectRequest, events: ConnectionEvents
    ) -> ConnectReply | None:
        """None where it is not to be served; it has been answered then."""
        try:
            async with self._arrivals.place():
                return await events.connect(self, connection, request) if self._is_open(connection) else None
        except (InvalidToken, InvalidArgument, UserBlocked, Unavailable) as error:
            self._refuse(connection, error)
        except ConnectionGone:
            return None
        except Exception:
            self._refuse(connection, Defect())
            raise
        return None

    def _open_stream(
        self, connection: SseConnection, exchange: StreamRequest, reply: ConnectReply, events: ConnectionEvents
    ) -> None:
        socket, head = exchange.take_over()
        connection.stream = stream = EventStream(
            socket,
            clock=self._clock,
            limits=self._stream_limits,
            ended=partial(self._stream_ended, connection),
        )
        self._open.add(stream)
        retry_ms = round(events.reconnect_delay() * _MILLISECONDS)
        frame = event_frame(READY, to_json(ready(reply)), reply.cursor, retry_ms=retry_ms)
        self._send(stream, head + frame)

    # ending

    def _refuse(self, connection: SseConnection, error: SynkroneError) -> None:
        """Answer, unless it has been answered, or left. The domain is not told: to it, the connection is nobody's."""
        self._connecting.discard(connection)
        if self._forget(connection) and connection.exchange is not None:
            connection.exchange.refuse(error)

    def _turn_away(self, connection: SseConnection, why: Disconnect) -> None:
        if connection.exchange is not None:
            connection.exchange.turn_away(why)
            connection.exchange = None
        # Not in the caller's stack: to whoever called, a connection ends later, as one with a stream does.
        asyncio.get_running_loop().call_soon(self._end, connection, why.reason)

    def _cut(self, connection: SseConnection, reason: DisconnectReason) -> None:
        """End it without a word, at once."""
        connection.ends_for = reason
        if connection.stream is not None:
            connection.stream.abort()

    def _stream_ended(self, connection: SseConnection) -> None:
        stream, connection.stream = connection.stream, None
        if stream is None:
            return
        self._open.discard(stream)
        self._end(
            connection,
            connection.ends_for
            or (DisconnectReason.SLOW_CONSUMER if stream.was_too_slow else DisconnectReason.TRANSPORT_CLOSE),
        )

    def _end(self, connection: SseConnection, reason: DisconnectReason) -> None:
        if self._forget(connection) and self._events is not None:
            self._events.disconnected(connection, reason)

    def _forget(self, connection: SseConnection) -> bool:
        """Whether it was known."""
        is_known = connection in self._connections
        self._connections.pop(connection, None)
        return is_known

    # sending

    def _is_open(self, connection: SseConnection) -> bool:
        return connection in self._connections and connection.ends_for is None

    def _send(self, stream: EventStream, frame: bytes) -> None:
        """Queue a frame; it leaves at the end of this turn of the loop, with whatever else waits by then."""
        if stream.send(frame):
            self._flusher.add(stream)
