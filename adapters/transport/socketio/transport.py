"""The Transport port on python-socketio and Tornado."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import socketio
import tornado.web
from engineio.packet import NOOP
from engineio.packet import Packet as EngineIoPacket

from adapters.session_events import CLOSING, EXPIRING, READY, closing, expiring, ready
from adapters.transport.hold import Hold
from adapters.transport.socketio.handler import make_handler
from adapters.transport.socketio.packet import PacketRefused, StrictPacket, entry_packet, event_packet
from adapters.transport.socketio.peer import PeerPolicy
from adapters.transport.socketio.rate import TokenBucket
from adapters.wire import problem_object
from domain.errors import (
    ConnectionGone,
    InvalidArgument,
    InvalidToken,
    RateLimited,
    SlowConsumer,
    SynkroneError,
    Unavailable,
    UnknownEvent,
)
from domain.model import ConnectionId, Entry, Hello, Position, Refusal, Room, Welcome
from domain.ports import Clock, ConnectionEvents

NAMESPACE = "/"
FLOOD_RETRY_AFTER = timedelta(seconds=5)
PATH = r"/socket\.io/?"

_log = logging.getLogger("synkrone.transport")


@dataclass(frozen=True, slots=True)
class SocketIoLimits:
    """Bytes, seconds and counts; the defaults suit a public server.

    A client for which over ``queue_bytes`` wait for ``slow_seconds``, or over eight times that at all, is cut.
    """

    message_bytes: int = 65_536
    held_bytes: int = 1_048_576
    queue_bytes: int = 1_048_576
    slow_seconds: float = 5.0
    connect_timeout: float = 10.0
    connections: int = 10_000
    unauthenticated: int = 2_000
    events_per_second: float = 20.0
    events_burst: int = 40
    ping_interval: float = 25.0
    ping_timeout: float = 20.0


@dataclass(slots=True, eq=False)
class _Engine:
    """An Engine.IO session: the client before, while and after it is connected by Socket.IO."""

    id: str
    request: Any
    waiting_since: float
    events: TokenBucket
    websocket: Any = None
    connection: _Connection | None = None
    queued: deque[int] = field(default_factory=deque)
    queued_bytes: int = 0
    slow_since: float | None = None
    ending: bool = False


@dataclass(slots=True, eq=False)
class _Connection:
    id: ConnectionId
    engine: _Engine
    hold: Hold[EngineIoPacket]
    welcome: Welcome | None = None
    closing: bool = False


class _Manager(socketio.AsyncManager):
    """Tells the transport when CONNECT is on its way: the first moment at which events may follow it."""

    transport: SocketIoTransport

    async def connect(self, sid: str, namespace: str) -> Any:
        connected = await super().connect(sid, namespace)
        self.transport.connect_sent(ConnectionId(sid))
        return connected


class SocketIoTransport:
    """Serves the stock Socket.IO clients (protocol v5 over Engine.IO v4), by long-polling, WebSocket and upgrade.

    ``handler`` is to be mounted at ``PATH``; ``sweep`` is to be called about once a second.
    """

    def __init__(self, *, clock: Clock, peers: PeerPolicy, limits: SocketIoLimits | None = None) -> None:
        self._limits = limits or SocketIoLimits()
        self._clock = clock
        self.peers = peers
        self.message_bytes = self._limits.message_bytes
        self._events: ConnectionEvents | None = None
        self._engines: dict[str, _Engine] = {}
        self._connections: dict[ConnectionId, _Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting = True
        manager = _Manager()
        manager.transport = self
        self._server = socketio.AsyncServer(
            async_mode="tornado",
            client_manager=manager,
            serializer=StrictPacket,
            cors_allowed_origins=self._allows_origin,
            logger=_quiet("socketio"),
            engineio_logger=_quiet("engineio"),
            max_http_buffer_size=self._limits.message_bytes,
            ping_interval=self._limits.ping_interval,
            ping_timeout=self._limits.ping_timeout,
            http_compression=False,
        )
        self._server.on("connect", self._on_connect)
        self._server.on("disconnect", self._on_disconnect)
        self._server.on("*", self._on_event)
        self._observe_engine()
        self.handler = make_handler(self._server, self)

    @property
    def routes(self) -> list[tuple[str, type[tornado.web.RequestHandler]]]:
        return [(PATH, self.handler)]

    # Transport

    def bind(self, events: ConnectionEvents) -> None:
        self._events = events

    async def join(self, connection: ConnectionId, rooms: frozenset[Room]) -> None:
        if connection not in self._connections:
            raise ConnectionGone
        for room in rooms:
            await self._server.enter_room(connection, room)

    async def replay(self, connection: ConnectionId, entries: Sequence[Entry]) -> None:
        target = self._live(connection)
        for entry in entries:
            self._send(target.engine, entry_packet(entry))
        try:
            async with asyncio.timeout(self._limits.slow_seconds * 2):
                await self._taken(target.engine)
        except TimeoutError:
            raise SlowConsumer from None
        self._live(connection)

    async def release(self, connection: ConnectionId, after: Position) -> bool:
        target = self._connections.get(connection)
        if target is None or target.closing:
            return True
        packets = target.hold.release(after)
        for packet in packets or ():
            self._send(target.engine, packet)
        return packets is not None

    def broadcast(self, rooms: frozenset[Room], entry: Entry) -> None:
        packet = entry_packet(entry)
        size = len(packet.data)
        for connection, _ in self._server.manager.get_participants(NAMESPACE, list(rooms)):
            target = self._connections.get(connection)
            if target is not None and not target.closing and target.hold.admits(entry.position, packet, size):
                self._send(target.engine, packet)

    def announce_expiry(self, connection: ConnectionId, expires_at: datetime) -> None:
        target = self._connections.get(connection)
        if target is not None and target.welcome is not None and not target.closing:
            self._send(target.engine, event_packet(EXPIRING, expiring(expires_at)))

    def disconnect(self, connection: ConnectionId, why: Refusal) -> None:
        target = self._connections.get(connection)
        if target is None or target.closing:
            return
        target.closing = True
        if target.welcome is not None:
            self._send(target.engine, event_packet(CLOSING, closing(why)))
        self._spawn(self._close(target.engine, leave=None if why.reconnect else connection))

    # upkeep

    def stop_accepting(self) -> None:
        """Answer new handshakes with 503 from now on, on which the stock client backs off."""
        self._accepting = False

    def sweep(self) -> None:
        """Cut who never connects and who does not read."""
        now = self._clock.monotonic()
        for engine in list(self._engines.values()):
            if engine.connection is None and now - engine.waiting_since > self._limits.connect_timeout:
                self._cut(engine, "never connected")
            elif self._waiting_bytes(engine) <= self._limits.queue_bytes:
                engine.slow_since = None
            elif engine.slow_since is None:
                engine.slow_since = now
            elif now - engine.slow_since > self._limits.slow_seconds:
                self._cut(engine, "slow consumer")

    async def close(self) -> None:
        """End every session at once and stop the library's tasks."""
        self.stop_accepting()
        for engine in list(self._engines.values()):
            self._cut(engine, "server closed")
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.shutdown()

    # Gatekeeper

    def is_accepting(self) -> bool:
        return self._accepting and len(self._engines) < self._limits.connections + self._limits.unauthenticated

    def knows(self, engine_id: str, *, upgrade: bool) -> bool:
        engine = self._engines.get(engine_id)
        return engine is not None and not engine.ending and not (upgrade and engine.websocket is not None)

    def websocket_opened(self, handler: Any) -> None:
        engine = self._engines.get(handler.engine_id)
        if engine is not None:
            engine.websocket = handler

    def websocket_closed(self, handler: Any) -> None:
        engine = self._engines.get(handler.engine_id)
        if engine is None or engine.websocket is not handler:
            return
        if self._is_websocket(engine):
            # The driver notices only once the connect handler, which it may be waiting for, is done.
            self._end(engine, "transport close")
        else:
            engine.websocket = None

    def violated(self, handler: Any, what: str) -> None:
        _log.debug("protocol violation: %s", what)
        engine = self._engines.get(handler.engine_id)
        if engine is not None:
            self._cut(engine, "protocol violation")

    def wrote(self, handler: Any) -> None:
        if handler.unsent_bytes > 8 * self._limits.queue_bytes:
            handler.close()

    # what the library reports

    def _observe_engine(self) -> None:
        engine_server = self._server.eio
        connected, received, ended = (engine_server.handlers[name] for name in ("connect", "message", "disconnect"))

        async def on_connect(engine_id: str, environ: dict[str, Any]) -> Any:
            handler = environ["tornado.handler"]
            engine = _Engine(
                id=engine_id,
                request=handler.request,
                waiting_since=self._clock.monotonic(),
                events=TokenBucket(self._limits.events_per_second, self._limits.events_burst, self._clock),
            )
            if handler.ws_connection is not None:
                handler.engine_id = engine_id
                engine.websocket = handler
            self._engines[engine_id] = engine
            return await connected(engine_id, environ)

        async def on_message(engine_id: str, data: object) -> None:
            engine = self._engines.get(engine_id)
            if engine is None or engine.ending:
                return
            if not engine.events.take():
                self._refuse_flood(engine)
                return
            try:
                await received(engine_id, data)
            except PacketRefused as error:
                _log.debug("protocol violation: %s", error)
                self._cut(engine, "protocol violation")

        async def on_disconnect(engine_id: str, reason: str) -> None:
            engine = self._engines.pop(engine_id, None)
            if engine is not None:
                engine.ending = True
                self._end(engine, reason)
                if engine.websocket is not None:
                    engine.websocket.close()
            await ended(engine_id, reason)
            socket = engine_server.sockets.get(engine_id)
            if socket is not None and not socket.upgraded:
                # The driver leaves a poll that waits without an answer.
                socket.queue.put_nowait(EngineIoPacket(NOOP))

        engine_server.on("connect", on_connect)
        engine_server.on("message", on_message)
        engine_server.on("disconnect", on_disconnect)

    async def _on_connect(self, sid: str, _environ: dict[str, Any], auth: object = None) -> None:
        engine_id = self._server.manager.eio_sid_from_sid(sid, NAMESPACE)
        engine = self._engines.get(engine_id)
        if engine is None or engine.ending or self._events is None:
            raise socketio.exceptions.ConnectionRefusedError
        connection = _Connection(ConnectionId(sid), engine, Hold(self._limits.held_bytes))
        engine.connection = self._connections[connection.id] = connection
        hello = Hello(
            auth=auth,
            remote_address=self.peers.address(engine.request),
            transport=self._server.eio.transport(engine_id),
        )
        try:
            connection.welcome = await self._events.connect(connection.id, hello)
        except (InvalidToken, InvalidArgument) as error:
            self._abandon(connection)
            self._spawn(self._close(engine, leave=None))
            raise socketio.exceptions.ConnectionRefusedError(error.title, problem_object(error.problem)) from None
        except Unavailable:
            # Without a word: after a CONNECT_ERROR the stock client would give up.
            await asyncio.sleep(self._events.reconnect_delay())
            self._abandon(connection)
            self._cut(engine, "unavailable")
            await self._close_engine(engine)
            raise socketio.exceptions.ConnectionRefusedError from None
        except ConnectionGone:
            raise socketio.exceptions.ConnectionRefusedError from None
        if connection.id not in self._connections:
            raise socketio.exceptions.ConnectionRefusedError

    def connect_sent(self, connection: ConnectionId) -> None:
        target = self._connections.get(connection)
        if target is None or target.welcome is None or self._events is None:
            return
        self._send(target.engine, event_packet(READY, ready(target.welcome), str(target.welcome.cursor)))
        self._spawn(self._open(target, self._events))

    async def _open(self, connection: _Connection, events: ConnectionEvents) -> None:
        try:
            await events.opened(connection.id)
        except Exception:
            # A defect of ours: the client comes back with its cursor and is served anew.
            self._cut(connection.engine, "defect")
            raise

    async def _on_disconnect(self, sid: str, reason: str) -> None:
        connection = self._connections.get(ConnectionId(sid))
        if connection is not None:
            connection.engine.waiting_since = self._clock.monotonic()
            self._end(connection.engine, reason)

    async def _on_event(self, event: str, _sid: str, *_arguments: object) -> dict[str, object]:
        return _failed(UnknownEvent(f"{event[:64]!r}"))

    # ending

    def _end(self, engine: _Engine, reason: str) -> None:
        connection, engine.connection = engine.connection, None
        if connection is not None:
            self._connections.pop(connection.id, None)
            if self._events is not None:
                self._events.disconnected(connection.id, reason)

    def _abandon(self, connection: _Connection) -> None:
        """Forget a connection that was never welcomed; the domain has forgotten it already."""
        self._connections.pop(connection.id, None)
        if connection.engine.connection is connection:
            connection.engine.connection = None
            connection.engine.waiting_since = self._clock.monotonic()

    def _refuse_flood(self, engine: _Engine) -> None:
        connection = engine.connection
        if connection is None or connection.welcome is None:
            self._cut(engine, "rate limited")
        elif not connection.closing:
            connection.closing = True
            refusal = Refusal(RateLimited().problem, reconnect=True, retry_after=FLOOD_RETRY_AFTER)
            self._send(engine, event_packet(CLOSING, closing(refusal)))
            self._spawn(self._close(engine, leave=None))

    async def _close(self, engine: _Engine, *, leave: ConnectionId | None) -> None:
        """Let the client take what was sent, for a second at most, and end the session."""
        if leave is not None:
            await self._server.disconnect(leave)
        with contextlib.suppress(TimeoutError, ConnectionGone):
            async with asyncio.timeout(0.9):
                await self._taken(engine)
        self._cut(engine, "server closed")

    def _cut(self, engine: _Engine, reason: str) -> None:
        """End the session now, with no Socket.IO packet: whoever may come back will."""
        if engine.ending:
            return
        engine.ending = True
        # At once, as a peer may leave the closing handshake unanswered for as long as it likes.
        self._end(engine, reason)
        if engine.websocket is not None and self._is_websocket(engine):
            engine.websocket.close()
        else:
            self._spawn(self._close_engine(engine))

    async def _close_engine(self, engine: _Engine) -> None:
        socket = self._server.eio.sockets.get(engine.id)
        if socket is not None:
            # Not the server's own disconnect(), which waits for a poll that may never come.
            await socket.close(wait=False, reason=self._server.reason.SERVER_DISCONNECT)

    def _is_websocket(self, engine: _Engine) -> bool:
        socket = self._server.eio.sockets.get(engine.id)
        return socket is not None and socket.upgraded

    # sending

    def _live(self, connection: ConnectionId) -> _Connection:
        target = self._connections.get(connection)
        if target is None or target.closing:
            raise ConnectionGone
        return target

    def _send(self, engine: _Engine, packet: EngineIoPacket) -> None:
        socket = self._server.eio.sockets.get(engine.id)
        if socket is None or socket.closed or engine.ending:
            return
        socket.queue.put_nowait(packet)
        engine.queued.append(len(packet.data))
        engine.queued_bytes += len(packet.data)
        if self._waiting_bytes(engine) > 8 * self._limits.queue_bytes:
            self._cut(engine, "slow consumer")

    def _waiting_bytes(self, engine: _Engine) -> int:
        socket = self._server.eio.sockets.get(engine.id)
        waiting = socket.queue.qsize() if socket is not None else 0
        while len(engine.queued) > waiting:
            engine.queued_bytes -= engine.queued.popleft()
        return engine.queued_bytes + (engine.websocket.unsent_bytes if engine.websocket is not None else 0)

    async def _taken(self, engine: _Engine) -> None:
        """Wait until the client's socket has taken everything that was sent. Raises ConnectionGone."""
        socket = self._server.eio.sockets.get(engine.id)
        if socket is None:
            raise ConnectionGone
        await socket.queue.join()
        if engine.websocket is not None:
            await engine.websocket.drained.wait()

    def _allows_origin(self, _origin: str, environ: dict[str, Any]) -> bool:
        return self.peers.allows_origin(environ["tornado.handler"].request)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a connection ended by a defect", exc_info=error)


def _failed(error: SynkroneError) -> dict[str, object]:
    return {"ok": False, "error": problem_object(error.problem)}


def _quiet(name: str) -> logging.Logger:
    """The library's logger, never below WARNING: at INFO it logs tokens."""
    logger = logging.getLogger(name)
    logger.setLevel(max(logger.level, logging.WARNING))
    return logger
