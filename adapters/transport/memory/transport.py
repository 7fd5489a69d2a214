"""The transport inside one process: clients are objects, for applications and tests that want no socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import count
from typing import Any

from adapters.contract import session_events
from adapters.contract.answers import answer_object, counts_object
from adapters.contract.json_text import to_json
from adapters.transport.hold import Hold
from adapters.transport.members import Members
from adapters.transport.memory.client import Mailbox, MemoryClient
from domain.errors import ConnectionGone, InvalidArgument, InvalidToken, SlowConsumer, Unavailable
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
from domain.ports import ConnectionEvents

TECHNOLOGY = "memory"


@dataclass(slots=True, eq=False)
class _Connection:
    client: MemoryClient
    mailbox: Mailbox
    hold: Hold[Entry]
    rooms: frozenset[Room] = frozenset()
    closing: bool = False
    subscriber: Subscriber | None = None
    opened: bool = False
    requests: deque[tuple[AckId | None, str, object]] = field(default_factory=deque)
    handling: bool = False

    def send(self, entry: Entry) -> None:
        self.mailbox.put(entry.event, entry.payload, entry.position, is_entry=True)


class MemoryTransport:
    """A Transport whose clients live in this process.

    A connection holds at most ``max_held_bytes`` of entries while its replay runs. A client may leave at most
    ``max_unread_bytes`` untaken, which must be more: live entries beyond it end the connection, and a replay waits
    for the client, up to ``send_timeout`` seconds without progress.
    """

    def __init__(
        self,
        *,
        max_held_bytes: int = 1_048_576,
        max_unread_bytes: int = 8_388_608,
        send_timeout: float = 5.0,
    ) -> None:
        if max_unread_bytes <= max_held_bytes:
            raise ValueError("max_unread_bytes must be more than max_held_bytes")
        self._max_held_bytes = max_held_bytes
        self._max_unread_bytes = max_unread_bytes
        self._send_timeout = send_timeout
        self._events: ConnectionEvents | None = None
        self._connections: dict[ConnectionId, _Connection] = {}
        self._members: Members[_Connection] = Members()
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = count(1)
        self._broadcast: Position | None = None

    def bind(self, events: ConnectionEvents) -> None:
        self._events = events

    @property
    def rooms(self) -> frozenset[Room]:
        """The rooms that have a member."""
        return self._members.rooms

    async def connect(self, auth: object = None, *, remote_address: str = "127.0.0.1") -> MemoryClient:
        """A client that was welcomed, refused or closed: its attributes say which."""
        client = self.start(auth, remote_address=remote_address)
        try:
            await client.answered()
        except asyncio.CancelledError:
            client.disconnect()
            raise
        return client

    def start(self, auth: object = None, *, remote_address: str = "127.0.0.1") -> MemoryClient:
        """A client that is still connecting. Needs a running event loop."""
        if self._events is None:
            raise RuntimeError("bind() comes before the first client")
        connection = ConnectionId(f"memory-{next(self._numbers)}")
        mailbox = Mailbox(partial(self._received, connection))
        client = MemoryClient(connection, mailbox, self._leave, self._request)
        member = _Connection(client, mailbox, Hold(self._max_held_bytes))
        client.task = self._spawn(self._run(self._events, member, ConnectRequest(auth, remote_address, TECHNOLOGY)))
        return client

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _request(self, client: MemoryClient, ack: AckId | None, event: str, argument: object) -> None:
        member = self._open(client.connection)
        if member is None:
            raise ConnectionGone
        member.requests.append((ack, event, argument))
        self._handle_requests(member)

    def _handle_requests(self, member: _Connection) -> None:
        if self._events is None or member.subscriber is None:
            return
        if member.opened and member.requests and not member.handling:
            member.handling = True
            self._spawn(self._handle(self._events, member, member.subscriber))

    async def _handle(self, events: ConnectionEvents, member: _Connection, subscriber: Subscriber) -> None:
        """One after the other, those too that its client has left behind."""
        try:
            while member.requests:
                await events.request(member.client.connection, subscriber, *member.requests.popleft())
        finally:
            member.handling = False

    def _received(self, connection: ConnectionId, upto: Position) -> None:
        """Only what a client takes while it is connected counts, as nobody else can say that they have it."""
        if connection in self._connections and self._events is not None:
            self._events.received(connection, upto)

    def _leave(self, client: MemoryClient) -> None:
        client.reconnect = False
        self._end(client, DisconnectReason.CLIENT_CLOSE)

    async def close(self) -> None:
        """End every connection and wait for what was under way. Raises a group of what went wrong unexpectedly."""
        running = list(self._tasks)
        for connection in list(self._connections.values()):
            connection.client.reconnect = True
            self._end(connection.client, DisconnectReason.SERVER_CLOSED)
        results = await asyncio.gather(*running, return_exceptions=True)
        errors = [result for result in results if isinstance(result, Exception)]
        if errors:
            raise ExceptionGroup("connections that failed", errors)

    async def join(self, connection: ConnectionId, rooms: frozenset[Room]) -> None:
        member = self._connections.get(connection)
        if member is None or member.closing:
            raise ConnectionGone
        self._members.join(member, rooms)

    async def replay(self, connection: ConnectionId, entries: Sequence[Entry]) -> None:
        member = self._open(connection)
        if member is None:
            raise ConnectionGone
        for entry in entries:
            await self._room_for(member, len(entry.payload))
            member.send(entry)

    async def resume(self, connection: ConnectionId, after: Position) -> bool:
        member = self._open(connection)
        if member is None:
            return True
        held = member.hold.release(after)
        for entry in held or ():
            member.send(entry)
        return held is not None

    async def pause(self, connection: ConnectionId) -> Position:
        member = self._open(connection)
        if member is None:
            raise ConnectionGone
        return member.hold.begin(self._broadcast)

    def answer(self, connection: ConnectionId, ack: AckId, answer: Answer) -> None:
        member = self._open(connection)
        if member is not None:
            member.mailbox.put_answer(ack, to_json(answer_object(answer)))

    def broadcast(self, rooms: frozenset[Room], entry: Entry) -> None:
        self._broadcast = entry.position
        for member in self._members.of(rooms):
            if member.closing or not member.hold.offer(entry.position, entry, len(entry.payload)):
                continue
            member.send(entry)
            if member.mailbox.size > self._max_unread_bytes:
                self._begin_to_end(member, DisconnectReason.SLOW_CONSUMER, reconnect=True)

    def announce_expiry(self, connection: ConnectionId, expires_at: datetime) -> None:
        member = self._open(connection)
        if member is not None:
            member.mailbox.put(session_events.EXPIRING, to_json(session_events.expiring(expires_at)))

    def announce_counts(self, connection: ConnectionId, counts: Counts) -> None:
        member = self._open(connection)
        if member is not None:
            member.mailbox.put(session_events.COUNTS, to_json(counts_object(counts)))

    def technology(self, connection: ConnectionId) -> str:
        return TECHNOLOGY if connection in self._connections else ""

    def disconnect(self, connection: ConnectionId, why: Disconnect) -> None:
        member = self._connections.get(connection)
        if member is None or member.closing:
            return
        if member.client.connected:
            member.mailbox.put(session_events.CLOSING, to_json(session_events.closing(why)))
        elif not why.reconnect:
            member.client.refusal = why.problem
        self._begin_to_end(member, why.reason, reconnect=why.reconnect)

    async def _run(self, events: ConnectionEvents, connection: _Connection, request: ConnectRequest) -> None:
        client = connection.client
        if client.closed:
            return
        self._connections[client.connection] = connection
        with ExitStack() as undo:
            undo.callback(self._remove, client)
            reply = await self._admit(events, client, request)
            if reply is None:
                return
            undo.pop_all()
            if client.closed or connection.closing:
                return
            client.connected, client.pid, connection.subscriber = True, reply.pid, reply.subscriber
            payload = to_json(session_events.ready(reply))
            connection.mailbox.put(session_events.READY, payload, reply.cursor)
            undo.callback(self._end, client, DisconnectReason.DEFECT)
            await events.opened(client.connection)
            undo.pop_all()
        connection.opened = True
        self._handle_requests(connection)

    async def _admit(
        self, events: ConnectionEvents, client: MemoryClient, request: ConnectRequest
    ) -> ConnectReply | None:
        """None where the connection is nobody's."""
        try:
            return await events.connect(client.connection, request)
        except (InvalidToken, InvalidArgument) as error:
            if not client.closed:
                client.refusal = error.problem
        except Unavailable:
            client.reconnect = not client.closed
        except ConnectionGone:
            # It ended meanwhile: there is nobody left to tell.
            return None
        return None

    def _open(self, connection: ConnectionId) -> _Connection | None:
        member = self._connections.get(connection)
        return member if member is not None and member.client.connected and not member.closing else None

    async def _room_for(self, member: _Connection, size: int) -> None:
        """Wait until the client took enough for one more entry, with what is held still to follow."""
        limit = self._max_unread_bytes - self._max_held_bytes
        while member.mailbox.size > 0 and member.mailbox.size + size > limit:
            try:
                await asyncio.wait_for(member.mailbox.change(), self._send_timeout)
            except TimeoutError:
                raise SlowConsumer from None
            if member.closing or member.client.closed:
                raise ConnectionGone

    def _begin_to_end(self, member: _Connection, reason: DisconnectReason, *, reconnect: bool) -> None:
        member.closing = True
        member.client.reconnect = reconnect
        # Not in the caller's stack: to whoever called, a connection ends later, as over a socket.
        asyncio.get_running_loop().call_soon(self._end, member.client, reason)

    def _end(self, client: MemoryClient, reason: DisconnectReason) -> None:
        if self._remove(client) and self._events is not None:
            self._events.disconnected(client.connection, reason)

    def _remove(self, client: MemoryClient) -> bool:
        """Whether it was there to be removed."""
        client.closed, client.connected = True, False
        connection = self._connections.pop(client.connection, None)
        if connection is None:
            return False
        self._members.leave(connection)
        connection.mailbox.wake()
        return True
