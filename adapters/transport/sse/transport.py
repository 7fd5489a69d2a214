"""The Transport port on Server-Sent Events: one HTTP request that hears everything and can ask for nothing."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from adapters.contract.answers import counts_object
from adapters.contract.json_text import to_json
from adapters.contract.session_events import CLOSING, COUNTS, EXPIRING, READY, closing, expiring, ready
from adapters.http.exchange import Route
from adapters.http.peer import PeerPolicy
from adapters.http.tasks import Tasks
from adapters.transport.flusher import Flusher
from adapters.transport.hold import Hold
from adapters.transport.members import Members
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
)
from domain.model import (
    AckId,
    Answer,
    ConnectionId,
    ConnectReply,
    ConnectRequest,
    Counts,
    Disconnect,
    DisconnectReason,
    Entry,
    Position,
    Room,
)
from domain.ports import Clock, ConnectionEvents

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

    held_bytes: int = 1_048_576
    queue_bytes: int = 1_048_576
    slow_seconds: float = 5.0
    connections: int = 10_000
    connecting: int = 2_000
    ping_interval: float = 15.0


@dataclass(slots=True, eq=False)
class _Connection:
    """A client from its request on. It has a stream once it was let in; ``ends_for`` says why it is ended by us."""

    id: ConnectionId
    exchange: StreamRequest | None
    hold: Hold[bytes]
    stream: EventStream | None = None
    rooms: frozenset[Room] = frozenset()
    ends_for: DisconnectReason | None = None


class SseTransport:
    """Serves ``GET /v1/stream`` to whatever reads Server-Sent Events and can send an ``Authorization`` header.

    The id of an event is its cursor; what is no entry of the log has none, so that a client always comes back with the
    cursor of the last entry it got. The protocol has no word for staying away: a client that is closed with
    ``reconnect: false`` has to read that in ``session.closing``; one that does not comes back.
    ``received`` is never called: nothing but the cursor that a client brings back says what it got.

    ``sweep`` is to be called every ``sweep_seconds``.
    """

    def __init__(self, *, clock: Clock, peers: PeerPolicy, limits: SseLimits | None = None) -> None:
        self._limits = limits = limits or SseLimits()
        self._clock = clock
        self._peers = peers
        self._stream_limits = StreamLimits(
            limits.queue_bytes, cut_bytes=CUT_AT_QUEUES * limits.queue_bytes, slow_seconds=limits.slow_seconds
        )
        self._events: ConnectionEvents | None = None
        self._connections: dict[ConnectionId, _Connection] = {}
        self._connecting: set[_Connection] = set()
        self._open: set[EventStream] = set()
        self._members: Members[_Connection] = Members()
        self._last_entry: Position | None = None
        self._flusher: Flusher[EventStream] = Flusher(EventStream.flush, clock)
        self._tasks = Tasks()
        self._accepting = True
        self._ready = True

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

    # Transport

    def bind(self, events: ConnectionEvents) -> None:
        self._events = events

    async def join(self, connection: ConnectionId, rooms: frozenset[Room]) -> None:
        member = self._living(connection)
        if member is None:
            raise ConnectionGone
        self._members.join(member, rooms)

    async def replay(self, connection: ConnectionId, entries: Sequence[Entry]) -> None:
        stream = self._stream(connection)
        if stream is None:
            raise ConnectionGone
        for entry in entries:
            self._send(stream, _entry_frame(entry))
        await stream.taken()

    async def resume(self, connection: ConnectionId, after: Position) -> bool:
        target = self._living(connection)
        if target is None or target.stream is None:
            return True
        frames = target.hold.release(after)
        for frame in frames or ():
            self._send(target.stream, frame)
        return frames is not None

    def broadcast(self, rooms: frozenset[Room], entry: Entry) -> None:
        self._last_entry = entry.position
        members = self._members.of(rooms)
        if not members:
            return
        frame, offset = _entry_frame(entry), entry.position.offset
        for member in members:
            is_live = member.hold.live_after < offset or member.hold.offer(entry.position, frame, len(frame))
            if is_live and member.stream is not None:
                self._send(member.stream, frame)

    async def pause(self, connection: ConnectionId) -> Position:
        target = self._living(connection)
        if target is None:
            raise ConnectionGone
        return target.hold.begin(self._last_entry)

    def answer(self, connection: ConnectionId, ack: AckId, answer: Answer) -> None:
        """Nothing: over a stream that only reads nobody has asked."""

    def announce_expiry(self, connection: ConnectionId, expires_at: datetime) -> None:
        self._tell(connection, EXPIRING, expiring(expires_at))

    def announce_counts(self, connection: ConnectionId, counts: Counts) -> None:
        self._tell(connection, COUNTS, counts_object(counts))

    def technology(self, connection: ConnectionId) -> str:
        return TRANSPORT if connection in self._connections else ""

    def disconnect(self, connection: ConnectionId, why: Disconnect) -> None:
        target = self._living(connection)
        if target is None:
            return
        target.ends_for = why.reason
        self._members.leave(target)
        if target.stream is None:
            self._turn_away(target, why)
            return
        retry_ms = round(why.retry_after.total_seconds() * _MILLISECONDS) if why.reconnect else None
        self._send(target.stream, event_frame(CLOSING, to_json(closing(why)), retry_ms=retry_ms))
        target.stream.close()
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, target.stream.abort)

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
        for connection in self._connections.values():
            stream = connection.stream
            if stream is None:
                continue
            stream.keep_pace(now)
            if stream.written_at <= silent_since and not stream.untaken_bytes:
                self._send(stream, COMMENT)

    async def close(self) -> None:
        """End every connection at once, and the tasks for them."""
        self.stop_accepting()
        for connection in list(self._connections.values()):
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
        identifier = ConnectionId(secrets.token_urlsafe(ID_BYTES))
        connection = _Connection(identifier, exchange, Hold(self._limits.held_bytes))
        self._connections[identifier] = connection
        self._connecting.add(connection)
        exchange.set_close_callback(partial(self._end, connection, DisconnectReason.TRANSPORT_CLOSE))
        self._tasks.spawn(self._serve(connection, exchange, request, self._events))

    # from the request to the end of the replay

    async def _serve(
        self,
        connection: _Connection,
        exchange: StreamRequest,
        request: ConnectRequest,
        events: ConnectionEvents,
    ) -> None:
        reply = await self._ask(connection, request, events)
        self._connecting.discard(connection)
        connection.exchange = None
        if reply is None or self._living(connection.id) is None:
            return
        if exchange.wants_head_only:
            exchange.answer_head()
        if exchange.is_gone:
            self._end(connection, DisconnectReason.TRANSPORT_CLOSE)
            return
        self._open_stream(connection, exchange, reply, events)
        try:
            await events.opened(connection.id)
        except Exception:
            # A defect of ours: the client comes back with its cursor and is served anew.
            self._cut(connection, DisconnectReason.DEFECT)
            raise

    async def _ask(
        self, connection: _Connection, request: ConnectRequest, events: ConnectionEvents
    ) -> ConnectReply | None:
        """None where it is not to be served; it has been answered then."""
        try:
            return await events.connect(connection.id, request)
        except (InvalidToken, InvalidArgument, Unavailable) as error:
            self._refuse(connection, error)
        except ConnectionGone:
            return None
        except Exception:
            self._refuse(connection, Defect())
            raise
        return None

    def _open_stream(
        self, connection: _Connection, exchange: StreamRequest, reply: ConnectReply, events: ConnectionEvents
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

    def _refuse(self, connection: _Connection, error: SynkroneError) -> None:
        """Answer, unless it has been answered, or left. The domain is not told: to it, the connection is nobody's."""
        self._connecting.discard(connection)
        if self._forget(connection) and connection.exchange is not None:
            connection.exchange.refuse(error)

    def _turn_away(self, connection: _Connection, why: Disconnect) -> None:
        if connection.exchange is not None:
            connection.exchange.turn_away(why)
            connection.exchange = None
        # Not in the caller's stack: to whoever called, a connection ends later, as one with a stream does.
        asyncio.get_running_loop().call_soon(self._end, connection, why.reason)

    def _cut(self, connection: _Connection, reason: DisconnectReason) -> None:
        """End it without a word, at once."""
        connection.ends_for = reason
        self._members.leave(connection)
        if connection.stream is not None:
            connection.stream.abort()

    def _stream_ended(self, connection: _Connection) -> None:
        stream, connection.stream = connection.stream, None
        if stream is None:
            return
        self._open.discard(stream)
        self._end(
            connection,
            connection.ends_for
            or (DisconnectReason.SLOW_CONSUMER if stream.was_too_slow else DisconnectReason.TRANSPORT_CLOSE),
        )

    def _end(self, connection: _Connection, reason: DisconnectReason) -> None:
        if self._forget(connection) and self._events is not None:
            self._events.disconnected(connection.id, reason)

    def _forget(self, connection: _Connection) -> bool:
        """Whether it was known."""
        if self._connections.pop(connection.id, None) is None:
            return False
        self._members.leave(connection)
        return True

    # sending

    def _living(self, connection: ConnectionId) -> _Connection | None:
        target = self._connections.get(connection)
        return target if target is not None and target.ends_for is None else None

    def _stream(self, connection: ConnectionId) -> EventStream | None:
        target = self._living(connection)
        return target.stream if target is not None else None

    def _tell(self, connection: ConnectionId, event: str, value: object) -> None:
        stream = self._stream(connection)
        if stream is not None:
            self._send(stream, event_frame(event, to_json(value)))

    def _send(self, stream: EventStream, frame: bytes) -> None:
        """Queue a frame; it leaves at the end of this turn of the loop, with whatever else waits by then."""
        if stream.send(frame):
            self._flusher.add(stream)


def _entry_frame(entry: Entry) -> bytes:
    return event_frame(entry.event, entry.payload, entry.position)
