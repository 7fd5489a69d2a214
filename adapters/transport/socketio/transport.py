"""The Transport port on python-socketio, over Engine.IO of our own on Tornado."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import socketio

from adapters.contract.answers import answer_object, counts_object
from adapters.contract.problems import problem_object
from adapters.contract.session_events import CLOSING, COUNTS, EXPIRING, READY, closing, expiring, ready
from adapters.http.exchange import Route
from adapters.http.messages import RequestHead
from adapters.http.peer import PeerPolicy
from adapters.http.tasks import Tasks
from adapters.transport.hold import Hold
from adapters.transport.members import Members
from adapters.transport.socketio.client import Client, Connection, Request
from adapters.transport.socketio.engineio.errors import ProtocolError
from adapters.transport.socketio.engineio.packet import EncodedPacket
from adapters.transport.socketio.engineio.routes import EngineRoute, not_ready
from adapters.transport.socketio.engineio.server import EngineLimits, EngineServer, ServedSession
from adapters.transport.socketio.engineio.session import SessionLimits
from adapters.transport.socketio.leaving import Leaving
from adapters.transport.socketio.library import NAMESPACE, SocketIoServer, run_through
from adapters.transport.socketio.packet import PacketRefused, ack_packet, entry_packet, event_packet
from adapters.transport.socketio.rate import TokenBucket
from domain.errors import (
    ConnectionGone,
    InvalidArgument,
    InvalidToken,
    RateLimited,
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
    Subscriber,
)
from domain.ports import Clock, ConnectionEvents

CUT_AT_QUEUES = 8
FINISH_SECONDS = 1.0
FLOODING = Disconnect(RateLimited().problem, reconnect=True, retry_after=timedelta(seconds=5))
CONNECT = "0"
PATHS = ("/socket.io/", "/socket.io")
SID_BYTES = 15

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
    upgrade_timeout: float = 10.0
    connections: int = 10_000
    unauthenticated: int = 2_000
    events_per_second: float = 20.0
    events_burst: int = 40
    ping_interval: float = 25.0
    ping_timeout: float = 20.0


class SocketIoTransport:
    """Serves the stock Socket.IO clients (protocol v5 over Engine.IO v4), by long-polling, WebSocket and upgrade.

    ``sweep`` is to be called every ``sweep_seconds``.
    """

    def __init__(self, *, clock: Clock, peers: PeerPolicy, limits: SocketIoLimits | None = None) -> None:
        self._limits = limits = limits or SocketIoLimits()
        self._clock = clock
        self._peers = peers
        self._events: ConnectionEvents | None = None
        # Those that no user is behind yet, the oldest first.
        self._waiting: dict[ServedSession, Client] = {}
        self._connections: dict[ConnectionId, Connection] = {}
        self._members: Members[Connection] = Members()
        self._tasks = Tasks()
        self._leaving = Leaving(limits.connections)
        self._ending_unhandled = 0
        self._broadcast: Position | None = None
        self._accepting = True
        self._ready = True
        self._engine = EngineServer(
            self,
            clock=clock,
            limits=EngineLimits(
                message_bytes=limits.message_bytes,
                session=SessionLimits(
                    ping_interval=limits.ping_interval,
                    ping_timeout=limits.ping_timeout,
                    upgrade_timeout=limits.upgrade_timeout,
                    queue_bytes=limits.queue_bytes,
                    cut_bytes=CUT_AT_QUEUES * limits.queue_bytes,
                    slow_seconds=limits.slow_seconds,
                ),
            ),
        )
        self._library = SocketIoServer(self)
        self._library.on("connect", self._on_connect, namespace=NAMESPACE)
        self._library.on("disconnect", self._on_disconnect, namespace=NAMESPACE)

    @property
    def routes(self) -> Mapping[str, Route]:
        return dict.fromkeys(PATHS, EngineRoute(self._engine, self))

    @property
    def sweep_seconds(self) -> float:
        return self._engine.sweep_seconds

    @property
    def open_sockets(self) -> int:
        """WebSockets, which the HTTP server does not count any more."""
        return self._engine.open_sockets

    # Transport

    def bind(self, events: ConnectionEvents) -> None:
        self._events = events

    async def join(self, connection: ConnectionId, rooms: frozenset[Room]) -> None:
        member = self._open_connection(connection)
        if member is None:
            raise ConnectionGone
        for room in rooms:
            await self._library.enter_room(connection, room)
        self._members.join(member, rooms)

    async def replay(self, connection: ConnectionId, entries: Sequence[Entry]) -> None:
        target = self._open_connection(connection)
        if target is None:
            raise ConnectionGone
        if not entries:
            return
        for entry in entries:
            self._engine.send(target.session, entry_packet(entry))
        await self._engine.taken(target.session, patience=self._limits.slow_seconds)

    async def resume(self, connection: ConnectionId, after: Position) -> bool:
        target = self._open_connection(connection)
        if target is None:
            return True
        packets = target.hold.release(after)
        for packet in packets or ():
            self._engine.send(target.session, packet)
        return packets is not None

    async def pause(self, connection: ConnectionId) -> Position:
        target = self._open_connection(connection)
        if target is None:
            raise ConnectionGone
        return target.hold.begin(self._broadcast)

    def answer(self, connection: ConnectionId, ack: AckId, answer: Answer) -> None:
        target = self._open_connection(connection)
        if target is not None:
            self._engine.send(target.session, ack_packet(ack, answer_object(answer)))

    def broadcast(self, rooms: frozenset[Room], entry: Entry) -> None:
        self._broadcast = entry.position
        members = self._members.of(rooms)
        if not members:
            return
        packet, offset = entry_packet(entry), entry.position.offset
        live = [member.client.session for member in members if member.hold.live_after < offset]
        self._engine.send_all(live, packet)
        if len(live) == len(members):
            return
        for member in members:
            if member.hold.live_after >= offset and member.hold.offer(entry.position, packet, packet.size):
                self._engine.send(member.session, packet)

    def announce_expiry(self, connection: ConnectionId, expires_at: datetime) -> None:
        target = self._open_connection(connection)
        if target is not None and target.reply is not None:
            self._engine.send(target.session, event_packet(EXPIRING, expiring(expires_at)))

    def announce_counts(self, connection: ConnectionId, counts: Counts) -> None:
        target = self._open_connection(connection)
        if target is not None and target.reply is not None:
            self._engine.send(target.session, event_packet(COUNTS, counts_object(counts)))

    def technology(self, connection: ConnectionId) -> str:
        target = self._connections.get(connection)
        return target.session.transport if target is not None else ""

    def disconnect(self, connection: ConnectionId, why: Disconnect) -> None:
        target = self._open_connection(connection)
        if target is not None:
            self._close_connection(target, why)

    # upkeep

    def set_ready(self, *, ready: bool) -> None:
        """Answer new handshakes with 503 while not ready, on which the stock client backs off."""
        self._ready = ready

    def refuse_at_once(self, head: bytes) -> bytes | None:
        """For new sessions that begin on WebSocket: where one polls first, a browser wants to know of its origin."""
        return not_ready(head) if not self.is_accepting() else None

    def give_up_place(self) -> bool:
        """Close the oldest socket behind which no user is, at once; False where there is none."""
        for session, client in self._waiting.items():
            if client.connection is None and session.channel is not None:
                session.channel.abort()
                self._engine.abort(session, DisconnectReason.NEVER_CONNECTED)
                return True
        return False

    def stop_accepting(self) -> None:
        """Answer new handshakes with 503 from now on."""
        self._accepting = False

    def sweep(self) -> None:
        """Keep all deadlines: pings, receipts, slow readers, and those who never connect."""
        self._engine.sweep()
        due = self._clock.monotonic() - self._limits.connect_timeout
        for session, client in list(self._waiting.items()):
            if client.waiting_since > due:
                break
            if client.connection is None:
                self._engine.abort(session, DisconnectReason.NEVER_CONNECTED)

    async def close(self) -> None:
        """End every session at once, and the tasks for them: what clients had asked for has some time to be done."""
        self.stop_accepting()
        self._engine.close_all(DisconnectReason.SERVER_CLOSED)
        await self._leaving.wait(FINISH_SECONDS)
        await self._tasks.cancel()

    # Gatekeeper

    def allows_origin(self, request: RequestHead) -> bool:
        return self._peers.allows_origin(request)

    def address(self, request: RequestHead) -> str:
        return self._peers.address(request)

    def is_accepting(self) -> bool:
        in_use = len(self._engine.sessions) - len(self._waiting) + len(self._leaving)
        return self._ready and self._accepting and in_use < self._limits.connections

    # EngineEvents

    def new_sid(self) -> str:
        return secrets.token_urlsafe(SID_BYTES)

    def session_opened(self, session: ServedSession) -> None:
        session.client = client = Client(session, waiting_since=self._clock.monotonic())
        self._waiting[session] = client
        self._library.opened(session.sid, session)
        if len(self._waiting) > self._limits.unauthenticated:
            silent = (waiting for waiting in self._waiting.values() if waiting.connection is None)
            self._engine.abort(next(silent, client).session, DisconnectReason.NEVER_CONNECTED)

    def session_message(self, session: ServedSession, data: str | bytes) -> None:
        client: Client = session.client
        if client.is_deaf or not self._has_leave_to_send(client) or client.cut is not None:
            return
        if client.unhandled is not None:
            # CONNECT may be among them.
            if len(client.unhandled) <= self._limits.events_burst:
                client.unhandled.append(data)
            else:
                self._engine.abort(session, DisconnectReason.RATE_LIMITED)
        elif client.connection is not None:
            self._handle_at_once(client, data)
        else:
            client.unhandled = deque((data,))
            self._tasks.spawn(self._handle(client, client.unhandled))

    def session_received(self, session: ServedSession, mark: object) -> None:
        connection = session.client.connection
        if connection is not None and self._events is not None and isinstance(mark, Position):
            self._events.received(connection.id, mark)

    def session_closed(self, session: ServedSession, reason: str) -> None:
        client: Client = session.client
        why = DisconnectReason(reason)
        client.is_deaf = True
        self._waiting.pop(session, None)
        if client.cut is not None:
            client.cut.cancel()
        if client.unhandled and client.cut is None and self._ending_unhandled < self._limits.unauthenticated:
            # What came behind CONNECT, before its answer, is carried out where that is one: the end follows it.
            client.ended_for = why
            self._ending_unhandled += 1
        else:
            self._end_session(client, why)

    def _end_session(self, client: Client, reason: DisconnectReason) -> None:
        self._end(client, reason)
        self._library.closed(client.session.sid, reason)

    # Engine, for the library

    def send_text(self, engine_sid: str, text: str) -> None:
        session = self._engine.sessions.get(engine_sid)
        # The library answers whoever is to be cut without a word, too.
        if session is not None and session.client.cut is None:
            self._engine.send(session, EncodedPacket.message(text))

    def pid_of(self, sid: str) -> str:
        target = self._connections.get(ConnectionId(sid))
        return target.reply.pid if target is not None and target.reply is not None else ""

    def connect_sent(self, sid: str) -> None:
        target = self._connections.get(ConnectionId(sid))
        if target is None or target.reply is None or self._events is None:
            return
        packet = event_packet(READY, ready(target.reply), str(target.reply.cursor))
        self._engine.send(target.session, packet)
        target.working = self._tasks.spawn(self._open(target, target.reply.subscriber, self._events))

    async def _open(self, connection: Connection, subscriber: Subscriber, events: ConnectionEvents) -> None:
        try:
            await events.opened(connection.id)
        except Exception:
            # A defect of ours: the client comes back with its cursor and is served anew.
            self._engine.abort(connection.session, DisconnectReason.DEFECT)
            self._leaving.end(connection)
            raise
        connection.opened = True
        if connection.requests:
            await self._handle_requests(connection, subscriber, events)

    def event_received(self, sid: str, ack: int | None, event: str, arguments: Sequence[object]) -> None:
        connection = self._open_connection(ConnectionId(sid))
        if connection is None or connection.reply is None or self._events is None:
            return
        if len(connection.requests) >= self._limits.events_burst:
            self._refuse_flood(connection)
            return
        argument = arguments[0] if arguments else None
        connection.requests.append(Request(AckId(ack) if ack is not None else None, event, argument))
        if connection.opened and len(connection.requests) == 1:
            subscriber = connection.reply.subscriber
            connection.working = self._tasks.spawn(self._handle_requests(connection, subscriber, self._events))

    async def _handle_requests(self, connection: Connection, subscriber: Subscriber, events: ConnectionEvents) -> None:
        """One after the other; each stays in the queue until it is handled. The end of the connection stops none."""
        try:
            while connection.requests:
                await events.request(connection.id, subscriber, *connection.requests[0])
                connection.requests.popleft()
        except Exception:
            # A defect of ours: the client comes back with its cursor and is served anew.
            connection.requests.clear()
            self._engine.abort(connection.session, DisconnectReason.DEFECT)
            raise
        finally:
            connection.working = None
            self._leaving.end(connection)

    # what clients send

    def _has_leave_to_send(self, client: Client) -> bool:
        if client.bucket is None:
            # The first is CONNECT, or ends the session.
            client.bucket = TokenBucket(self._limits.events_per_second, self._limits.events_burst, self._clock)
            return True
        if client.bucket.take():
            return True
        connection = client.connection
        if connection is None or connection.reply is None:
            self._engine.abort(client.session, DisconnectReason.RATE_LIMITED)
        elif not connection.closing:
            self._refuse_flood(connection)
        return False

    def _refuse_flood(self, connection: Connection) -> None:
        connection.client.is_deaf = True
        self._close_connection(connection, FLOODING)

    def _handle_at_once(self, client: Client, message: str | bytes) -> None:
        """Handle a message of a client that is connected, which waits for nothing."""
        session = client.session
        try:
            run_through(self._library.receive(session.sid, message))
        except ProtocolError as error:
            self._refuse_message(client, error)
        except Exception:
            # A defect of ours or of the library: the client comes back with its cursor and is served anew.
            client.is_deaf = True
            self._engine.abort(session, DisconnectReason.DEFECT)
            raise

    def _refuse_message(self, client: Client, error: ProtocolError) -> None:
        _log.debug("protocol error: %s", error)
        client.is_deaf = True
        self._engine.abort(client.session, error.code)

    async def _handle(self, client: Client, messages: deque[str | bytes]) -> None:
        """Handle CONNECT, and what came behind it before its answer."""
        session = client.session
        try:
            while messages and client.cut is None and (session.is_open or client.ended_for is not None):
                message = messages.popleft()
                if client.connection is None and message[:1] != CONNECT:
                    raise PacketRefused("not connected")
                await self._library.receive(session.sid, message)
                if client.refused is not None:
                    self._engine.close(session, client.refused, for_good=True, at_once=True)
                    break
        except ProtocolError as error:
            self._refuse_message(client, error)
        except Exception:
            # A defect of ours or of the library: the client comes back with its cursor and is served anew.
            if client.cut is None:
                self._engine.abort(session, DisconnectReason.DEFECT)
            raise
        finally:
            client.unhandled = None
            if client.ended_for is not None:
                self._ending_unhandled -= 1
                self._end_session(client, client.ended_for)

    async def _on_connect(self, sid: str, session: ServedSession, auth: object = None) -> None:
        client: Client = session.client
        if not (session.is_open or client.ended_for is not None) or self._events is None:
            raise socketio.exceptions.ConnectionRefusedError
        if client.has_connected:
            # One connection a session, for ever: a late receipt could otherwise be taken for the next one's.
            client.refused = DisconnectReason.ALREADY_ENDED
            self._engine.abort(session, DisconnectReason.ALREADY_ENDED)
            raise socketio.exceptions.ConnectionRefusedError
        client.has_connected = True
        connection = Connection(ConnectionId(sid), client, Hold(self._limits.held_bytes))
        client.connection = self._connections[connection.id] = connection
        request = ConnectRequest(auth=auth, remote_address=session.address, transport=session.transport)
        reply = await self._ask(connection, request, self._events)
        if reply is None or self._open_connection(connection.id) is None:
            raise socketio.exceptions.ConnectionRefusedError
        connection.reply = reply
        self._waiting.pop(session, None)

    async def _ask(
        self, connection: Connection, request: ConnectRequest, events: ConnectionEvents
    ) -> ConnectReply | None:
        """None where it is not to connect. Raises ConnectionRefusedError with what its client is to be told.

        After a defect of ours the library would leave the client without an answer, and in its rooms for ever.
        """
        try:
            return await events.connect(connection.id, request)
        except (InvalidToken, InvalidArgument) as error:
            self._abandon(connection)
            connection.client.refused = DisconnectReason(error.code)
            raise socketio.exceptions.ConnectionRefusedError(error.title, problem_object(error.problem)) from None
        except ConnectionGone:
            return None
        except Unavailable as error:
            self._cut_without_a_word(connection, DisconnectReason(error.code), events)
            return None
        except Exception:
            self._cut_without_a_word(connection, DisconnectReason.DEFECT, events)
            self._library.forget(connection.id)
            raise

    def _cut_without_a_word(self, connection: Connection, reason: DisconnectReason, events: ConnectionEvents) -> None:
        """After a fault of ours: the stock client gives up on a CONNECT_ERROR, and returns at once after a close.

        Until then nothing is kept of what it sent, and its session is one of those behind which no user is: however
        many these are, they keep nobody out.
        """
        self._abandon(connection)
        connection.client.cut = asyncio.get_running_loop().call_later(
            events.reconnect_delay(), self._engine.abort, connection.session, reason
        )

    async def _on_disconnect(self, sid: str, reason: DisconnectReason) -> None:
        connection = self._connections.get(ConnectionId(sid))
        if connection is not None:
            self._end(connection.client, reason)

    # ending

    def _close_connection(self, connection: Connection, why: Disconnect) -> None:
        connection.closing = True
        self._members.leave(connection)
        if connection.reply is not None:
            self._engine.send(connection.session, event_packet(CLOSING, closing(why)))
        if not why.reconnect:
            self._end(connection.client, why.reason)
            # The DISCONNECT packet, after which the stock client does not come back.
            self._library.end(connection.id)
        self._engine.close(connection.session, why.reason, for_good=not why.reconnect)

    def _end(self, client: Client, reason: DisconnectReason) -> None:
        """End the connection of a session, which may live on without one."""
        connection = client.connection
        if connection is not None:
            self._abandon(connection)
            self._leaving.begin(connection)
            if self._events is not None:
                self._events.disconnected(connection.id, reason)

    def _abandon(self, connection: Connection) -> None:
        """Forget a connection without telling the domain, which has never welcomed it or forgets it itself."""
        client = connection.client
        if self._connections.pop(connection.id, None) is None:
            return
        self._members.leave(connection)
        client.connection = None
        if client.session.is_open:
            # At the end of those that wait, who are kept in the order of their time.
            self._waiting.pop(client.session, None)
            client.waiting_since = self._clock.monotonic()
            self._waiting[client.session] = client

    # sending

    def _open_connection(self, connection: ConnectionId) -> Connection | None:
        target = self._connections.get(connection)
        return target if target is not None and not target.closing else None
