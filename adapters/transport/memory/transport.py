"""The transport inside one process: clients are objects, for applications and tests that want no socket."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from adapters.contract.answers import answer_object
from adapters.contract.commands import read_command
from adapters.contract.connect_requests import connect_request
from adapters.contract.json_text import to_json
from adapters.contract.session_events import CLOSING, READY, closing, ready, session_event
from adapters.transport.memory.client import Mailbox, MemoryClient
from domain.errors import ConnectionGone, InvalidArgument, InvalidToken, SlowConsumer, Unavailable, UserBlocked
from domain.model import (
    AckId,
    ConnectionId,
    ConnectReply,
    Disconnect,
    DisconnectReason,
    Entry,
    Json,
    Outgoing,
    Position,
    Reply,
)
from domain.model.value import value
from domain.ports import ConnectionEvents
from domain.requests import ConnectRequest

TECHNOLOGY = "memory"


@value
class MemoryFrame:
    """An event by its ``name``, or the answer to the request ``ack``."""

    payload: Json
    name: str = ""
    cursor: Position | None = None
    ack: AckId | None = None

    @property
    def size(self) -> int:
        return len(self.payload)


@dataclass(slots=True, eq=False)
class MemoryConnection:
    id: ConnectionId
    client: MemoryClient
    mailbox: Mailbox
    is_closing: bool = False

    @property
    def technology(self) -> str:
        return TECHNOLOGY

    @property
    def is_open(self) -> bool:
        return self.client.connected and not self.is_closing


class MemoryTransport:
    """A Transport whose clients live in this process.

    A client may leave at most ``max_unread_bytes`` untaken: live entries beyond it end the connection. A replay goes on
    while it has taken all but half of them, and waits for it up to ``send_timeout`` seconds without progress.
    """

    def __init__(self, *, max_unread_bytes: int = 8_388_608, send_timeout: float = 5.0) -> None:
        self._max_unread_bytes = max_unread_bytes
        self._send_timeout = send_timeout
        self._events: ConnectionEvents | None = None
        self._connections: dict[MemoryClient, MemoryConnection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = count(1)

    # for applications

    @property
    def connections(self) -> Collection[MemoryConnection]:
        """Those that have not ended, those still connecting among them."""
        return self._connections.values()

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
        identifier = ConnectionId(f"memory-{next(self._numbers)}")
        client = MemoryClient(identifier, Mailbox(), self._leave, self._request)
        connection = MemoryConnection(identifier, client, client.mailbox)
        client.mailbox.taken = partial(self._received, connection)
        client.task = self._spawn(
            self._run(
                self._events, connection, connect_request(auth, remote_address=remote_address, transport=TECHNOLOGY)
            )
        )
        return client

    async def close(self) -> None:
        """End every connection and wait for what was under way. Raises a group of what went wrong unexpectedly."""
        running = list(self._tasks)
        for connection in list(self._connections.values()):
            connection.client.reconnect = True
            self._end(connection, DisconnectReason.SERVER_CLOSED)
        results = await asyncio.gather(*running, return_exceptions=True)
        errors = [result for result in results if isinstance(result, Exception)]
        if errors:
            raise ExceptionGroup("connections that failed", errors)

    # Transport

    @property
    def name(self) -> str:
        return "memory"

    def bind(self, events: ConnectionEvents) -> None:
        self._events = events

    def encode(self, event: Outgoing) -> MemoryFrame:
        match event:
            case Entry(position, _, name, payload):
                return MemoryFrame(payload, name, position)
            case Reply(ack, answer):
                return MemoryFrame(to_json(answer_object(answer)), ack=ack)
            case _:
                name, members = session_event(event)
                return MemoryFrame(to_json(members), name)

    def send(self, outlets: Collection[MemoryConnection], frame: MemoryFrame) -> None:
        for connection in outlets:
            if not connection.is_open:
                continue
            if frame.ack is not None:
                connection.mailbox.put_answer(frame.ack, frame.payload)
                continue
            connection.mailbox.put(frame.name, frame.payload, frame.cursor, is_entry=frame.cursor is not None)
            if connection.mailbox.size > self._max_unread_bytes:
                self._begin_to_end(connection, DisconnectReason.SLOW_CONSUMER, reconnect=True)

    async def has_room(self, outlet: MemoryConnection) -> None:
        while outlet.is_open:
            if outlet.mailbox.size <= self._max_unread_bytes // 2:
                return
            try:
                async with asyncio.timeout(self._send_timeout):
                    await outlet.mailbox.change()
            except TimeoutError:
                raise SlowConsumer from None
        raise ConnectionGone

    def disconnect(self, outlet: MemoryConnection, why: Disconnect) -> None:
        if outlet.client.closed or outlet.is_closing:
            return
        if outlet.client.connected:
            outlet.mailbox.put(CLOSING, to_json(closing(why)))
        elif not why.reconnect:
            outlet.client.refusal = why.problem
        self._begin_to_end(outlet, why.reason, reconnect=why.reconnect)

    # what clients do

    def _request(self, client: MemoryClient, ack: AckId | None, event: str, argument: object) -> None:
        connection = self._connections.get(client)
        if connection is None or not connection.is_open or self._events is None:
            raise ConnectionGone
        work = self._events.requested(connection, ack, read_command(event, argument))
        if work is not None:
            self._spawn(self._guarded(connection, work))

    def _received(self, connection: MemoryConnection, upto: Position) -> None:
        """Only what a client takes while it is connected counts, as nobody else can say that they have it."""
        if connection.client in self._connections and self._events is not None:
            self._events.received(connection, upto)

    def _leave(self, client: MemoryClient) -> None:
        client.reconnect = False
        client.closed, client.connected = True, False
        connection = self._connections.get(client)
        if connection is not None:
            self._end(connection, DisconnectReason.CLIENT_CLOSE)

    # from the first word to the last

    async def _run(self, events: ConnectionEvents, connection: MemoryConnection, request: ConnectRequest) -> None:
        client = connection.client
        if client.closed:
            return
        self._connections[client] = connection
        with ExitStack() as undo:
            undo.callback(self._remove, connection)
            reply = await self._ask(events, connection, request)
            if reply is None:
                return
            undo.pop_all()
        if client.closed or connection.is_closing:
            return
        client.connected, client.pid = True, reply.pid
        connection.mailbox.put(READY, to_json(ready(reply)), reply.cursor)
        await self._guarded(connection, events.opened(connection))

    async def _guarded(self, connection: MemoryConnection, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            # A defect of ours: the client comes back with its cursor and is served anew.
            if connection.is_open:
                connection.client.reconnect = True
            self._end(connection, DisconnectReason.DEFECT)
            raise

    async def _ask(
        self, events: ConnectionEvents, connection: MemoryConnection, request: ConnectRequest
    ) -> ConnectReply | None:
        """None where the connection is nobody's."""
        client = connection.client
        try:
            return await events.connect(self, connection, request)
        except (InvalidToken, InvalidArgument, UserBlocked) as error:
            if not client.closed:
                client.refusal = error.problem
        except Unavailable:
            client.reconnect = not client.closed
        except ConnectionGone:
            # It ended meanwhile: there is nobody left to tell.
            return None
        return None

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin_to_end(self, connection: MemoryConnection, reason: DisconnectReason, *, reconnect: bool) -> None:
        connection.is_closing = True
        connection.client.reconnect = reconnect
        # Not in the caller's stack: to whoever called, a connection ends later, as over a socket.
        asyncio.get_running_loop().call_soon(self._end, connection, reason)

    def _end(self, connection: MemoryConnection, reason: DisconnectReason) -> None:
        if self._remove(connection) and self._events is not None:
            self._events.disconnected(connection, reason)

    def _remove(self, connection: MemoryConnection) -> bool:
        """Whether it was there to be removed."""
        client = connection.client
        client.closed, client.connected = True, False
        connection.mailbox.wake()
        return self._connections.pop(client, None) is not None
