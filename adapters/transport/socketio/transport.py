"""The Transport port on python-socketio and Tornado."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import socketio
import tornado.web
from engineio.packet import NOOP
from engineio.packet import Packet as EngineIoPacket

from adapters.session_events import CLOSING, EXPIRING, READY, closing, expiring, ready
from adapters.transport.hold import Hold
from adapters.transport.socketio.handler import make_handler
from adapters.transport.socketio.packet import PacketRefused, StrictPacket, entry_frame, event_frame
from adapters.transport.socketio.peer import PeerPolicy
from adapters.transport.socketio.rate import TokenBucket
from adapters.transport.socketio.session import EngineSession, Frame
from adapters.wire import problem_object
from domain.errors import (
    ConnectionGone,
    InvalidArgument,
    InvalidToken,
    RateLimited,
    SlowConsumer,
    Unavailable,
    UnknownEvent,
)
from domain.model import ConnectionId, Entry, Hello, Position, Refusal, Room, Welcome
from domain.ports import Clock, ConnectionEvents

NAMESPACE = "/"
CLOSE_TIMEOUT = 0.9
CUT_AT_QUEUES = 8
FLOOD_RETRY_AFTER = timedelta(seconds=5)
PATH = r"/socket\.io/?"

_log = logging.getLogger("synkrone.transport")


@dataclass(frozen=True, slots=True)
class SocketIoLimits:
    """Bytes, seconds and counts; the defaults suit a public server.

    A client for which over ``queue_bytes`` wait for ``slow_seconds``, or over eight times that at all, is cut.
    ``unauthenticated`` sessions wait beside the ``connections``; of more of them the oldest go.
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
class _Connection:
    id: ConnectionId
    engine: EngineSession
    hold: Hold[Frame]
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
        self.unhandled_messages = self._limits.events_burst
        self._events: ConnectionEvents | None = None
        self._engines: dict[str, EngineSession] = {}
        # Those that no user is behind yet, the oldest first.
        self._waiting: dict[str, EngineSession] = {}
        self._connection_of: dict[EngineSession, _Connection] = {}
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
        target = self._open_connection(connection)
        if target is None:
            raise ConnectionGone
        for entry in entries:
            self._send(target.engine, entry_frame(entry))
        await target.engine.taken(patience=self._limits.slow_seconds)

    async def release(self, connection: ConnectionId, after: Position) -> bool:
        target = self._open_connection(connection)
        if target is None:
            return True
        frames = target.hold.release(after)
        for frame in frames or ():
            self._send(target.engine, frame)
        return frames is not None

    def broadcast(self, rooms: frozenset[Room], entry: Entry) -> None:
        if not rooms:
            return
        frame = entry_frame(entry)
        for connection, _ in self._server.manager.get_participants(NAMESPACE, list(rooms)):
            target = self._open_connection(connection)
            if target is not None and target.hold.offer(entry.position, frame, frame.size):
                self._send(target.engine, frame)

    def announce_expiry(self, connection: ConnectionId, expires_at: datetime) -> None:
        target = self._open_connection(connection)
        if target is not None and target.welcome is not None:
            self._send(target.engine, event_frame(EXPIRING, expiring(expires_at)))

    def disconnect(self, connection: ConnectionId, why: Refusal) -> None:
        target = self._open_connection(connection)
        if target is not None:
            self._close_connection(target, why)

    # upkeep

    def stop_accepting(self) -> None:
        """Answer new handshakes with 503 from now on, on which the stock client backs off."""
        self._accepting = False

    def sweep(self) -> None:
        """Cut who never connects and who does not read."""
        now = self._clock.monotonic()
        for engine in list(self._engines.values()):
            if engine not in self._connection_of and now - engine.waiting_since > self._limits.connect_timeout:
                self._cut(engine, "never connected")
            elif engine.waiting_bytes <= self._limits.queue_bytes:
                engine.slow_since = None
            elif engine.slow_since is None:
                engine.slow_since = now
            elif now - engine.slow_since > self._limits.slow_seconds:
                self._cut(engine, SlowConsumer.code)

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
        return self._accepting and len(self._engines) - len(self._waiting) < self._limits.connections

    def has_session(self, engine_id: str, *, upgradable: bool) -> bool:
        engine = self._engines.get(engine_id)
        return engine is not None and not engine.ending and not (upgradable and engine.websocket is not None)

    def websocket_opened(self, handler: Any) -> None:
        engine = self._engines.get(handler.engine_id)
        if engine is not None:
            engine.websocket = handler

    def websocket_closed(self, handler: Any) -> None:
        engine = self._engines.get(handler.engine_id)
        if engine is None or engine.websocket is not handler:
            return
        if engine.is_websocket:
            # The driver notices only once the connect handler, which it may be waiting for, is done.
            self._end(engine, "transport close")
        else:
            engine.websocket = None

    def protocol_error(self, handler: Any, what: str) -> None:
        _log.debug("protocol error: %s", what)
        engine = self._engines.get(handler.engine_id)
        if engine is not None:
            self._cut(engine, "protocol error")

    def bytes_queued(self, handler: Any) -> None:
        engine = self._engines.get(handler.engine_id)
        if engine is not None:
            self._cut_if_too_slow(engine)

    # what the library reports

    def _observe_engine(self) -> None:
        """Put us between the Engine.IO server and the Socket.IO server, which handles its events."""
        engine_server = self._server.eio
        connected, received, ended = (engine_server.handlers[name] for name in ("connect", "message", "disconnect"))

        async def on_connect(engine_id: str, environ: dict[str, Any]) -> Any:
            self._admit(engine_id, environ["tornado.handler"])
            return await connected(engine_id, environ)

        async def on_message(engine_id: str, data: object) -> None:
            engine = self._engines.get(engine_id)
            if engine is None or engine.ending or not self._has_leave_to_send(engine):
                return
            try:
                await received(engine_id, data)
            except PacketRefused as error:
                _log.debug("protocol error: %s", error)
                self._cut(engine, "protocol error")

        async def on_disconnect(engine_id: str, reason: str) -> None:
            engine = self._engines.pop(engine_id, None)
            if engine is not None:
                engine.ending = True
                self._end(engine, reason)
                self._waiting.pop(engine_id, None)
                engine.close_websocket()
            await ended(engine_id, reason)
            socket = engine_server.sockets.get(engine_id)
            if socket is not None and not socket.upgraded:
                # The driver leaves a poll that waits without an answer.
                socket.queue.put_nowait(EngineIoPacket(NOOP))

        engine_server.on("connect", on_connect)
        engine_server.on("message", on_message)
        engine_server.on("disconnect", on_disconnect)

    def _admit(self, engine_id: str, handler: Any) -> None:
        bucket = TokenBucket(self._limits.events_per_second, self._limits.events_burst, self._clock)
        engine = EngineSession(self._server, engine_id, handler.request, bucket, self._clock.monotonic())
        if handler.ws_connection is not None:
            handler.engine_id = engine_id
            engine.websocket = handler
        self._engines[engine_id] = self._waiting[engine_id] = engine
        if len(self._waiting) > self._limits.unauthenticated:
            silent = (waiting for waiting in self._waiting.values() if waiting not in self._connection_of)
            self._cut(next(silent, engine), "too many that never connect")

    def _has_leave_to_send(self, engine: EngineSession) -> bool:
        if engine.waiting_replies > self._limits.events_burst:
            self._cut(engine, SlowConsumer.code)
            return False
        if engine.events.take():
            return True
        connection = self._connection_of.get(engine)
        if connection is None or connection.welcome is None:
            self._cut(engine, RateLimited.code)
        elif not connection.closing:
            why = Refusal(RateLimited().problem, reconnect=True, retry_after=FLOOD_RETRY_AFTER)
            self._close_connection(connection, why)
        return False

    async def _on_connect(self, sid: str, _environ: dict[str, Any], auth: object = None) -> None:
        engine_id = self._server.manager.eio_sid_from_sid(sid, NAMESPACE)
        engine = self._engines.get(engine_id)
        if engine is None or engine.ending or self._events is None:
            raise socketio.exceptions.ConnectionRefusedError
        connection = _Connection(ConnectionId(sid), engine, Hold(self._limits.held_bytes))
        self._connection_of[engine] = self._connections[connection.id] = connection
        hello = Hello(auth=auth, remote_address=self.peers.address(engine.request), transport=engine.transport)
        # Whatever it raises, a defect of ours too, has to be answered here: the library would not.
        (outcome,) = await asyncio.gather(self._events.connect(connection.id, hello), return_exceptions=True)
        if isinstance(outcome, (InvalidToken, InvalidArgument)):
            self._abandon(connection)
            self._spawn(self._flush_and_cut(engine, outcome.code))
            raise socketio.exceptions.ConnectionRefusedError(outcome.title, problem_object(outcome.problem))
        if isinstance(outcome, BaseException) and not isinstance(outcome, ConnectionGone):
            if not isinstance(outcome, Unavailable):
                # The library would leave the client without an answer, and in its rooms for ever.
                _log.error("connecting failed by a defect", exc_info=outcome)
            await self._cut_without_a_word(connection)
        if isinstance(outcome, BaseException) or connection.id not in self._connections:
            raise socketio.exceptions.ConnectionRefusedError
        connection.welcome = outcome
        self._waiting.pop(engine.id, None)

    async def _cut_without_a_word(self, connection: _Connection) -> None:
        """After a passing fault: the stock client gives up on a CONNECT_ERROR, and returns at once after a close."""
        if self._events is not None:
            await asyncio.sleep(self._events.reconnect_delay())
        self._abandon(connection)
        self._cut(connection.engine, Unavailable.code)
        await connection.engine.close_driver()

    def connect_sent(self, connection: ConnectionId) -> None:
        target = self._connections.get(connection)
        if target is None or target.welcome is None or self._events is None:
            return
        self._send(target.engine, event_frame(READY, ready(target.welcome), str(target.welcome.cursor)))
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
            self._end(connection.engine, reason)

    async def _on_event(self, *_arguments: object) -> dict[str, object]:
        # An event named "*" comes without its name: this handler is registered under it.
        return {"ok": False, "error": problem_object(UnknownEvent().problem)}

    # ending

    def _close_connection(self, connection: _Connection, why: Refusal) -> None:
        connection.closing = True
        if connection.welcome is not None:
            self._send(connection.engine, event_frame(CLOSING, closing(why)))
        self._spawn(self._say_goodbye(connection, why))

    async def _say_goodbye(self, connection: _Connection, why: Refusal) -> None:
        if not why.reconnect:
            self._end(connection.engine, why.problem.code)
            # The DISCONNECT packet, after which the stock client does not come back.
            await self._server.disconnect(connection.id)
        await self._flush_and_cut(connection.engine, why.problem.code)

    async def _flush_and_cut(self, engine: EngineSession, reason: str) -> None:
        with contextlib.suppress(TimeoutError, ConnectionGone):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await engine.taken(patience=CLOSE_TIMEOUT)
        self._cut(engine, reason)

    def _cut(self, engine: EngineSession, reason: str) -> None:
        """End the session now, with no Socket.IO packet: whoever may come back will."""
        if engine.ending:
            return
        engine.ending = True
        # At once, as a peer may leave the closing handshake unanswered for as long as it likes.
        self._end(engine, reason)
        self._waiting.pop(engine.id, None)
        if engine.is_websocket:
            engine.close_websocket()
        else:
            self._spawn(engine.close_driver())

    def _end(self, engine: EngineSession, reason: str) -> None:
        """End the connection of a session, which may go on to wait for another."""
        connection = self._connection_of.get(engine)
        if connection is not None:
            self._abandon(connection)
            if self._events is not None:
                self._events.disconnected(connection.id, reason)

    def _abandon(self, connection: _Connection) -> None:
        """Forget a connection without telling the domain, which has never welcomed it or forgets it itself."""
        self._connections.pop(connection.id, None)
        engine = connection.engine
        if self._connection_of.pop(engine, None) is not None and not engine.ending:
            engine.waiting_since = self._clock.monotonic()
            self._waiting[engine.id] = engine

    # sending

    def _open_connection(self, connection: ConnectionId) -> _Connection | None:
        target = self._connections.get(connection)
        return target if target is not None and not target.closing else None

    def _send(self, engine: EngineSession, frame: Frame) -> None:
        engine.send(frame)
        self._cut_if_too_slow(engine)

    def _cut_if_too_slow(self, engine: EngineSession) -> None:
        if engine.waiting_bytes > CUT_AT_QUEUES * self._limits.queue_bytes:
            self._cut(engine, SlowConsumer.code)

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


def _quiet(name: str) -> logging.Logger:
    """The library's logger, at ERROR and above: below that it logs tokens and what clients send."""
    logger = logging.getLogger(name)
    logger.setLevel(max(logger.level, logging.ERROR))
    return logger
