"""Connections to the namespace ``/``: what python-socketio is told of them, and what it may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import socketio

from adapters.contract.commands import read_command
from adapters.contract.connect_requests import connect_request
from adapters.contract.problems import problem_object
from adapters.contract.session_events import CLOSING, READY, closing, ready
from adapters.http.tasks import Tasks
from adapters.system.random_bytes import random_text
from adapters.transport.arrivals import Arrivals
from adapters.transport.socketio.client import Client, Connection
from adapters.transport.socketio.engineio.packet import EncodedPacket
from adapters.transport.socketio.engineio.served import ServedSession
from adapters.transport.socketio.engineio.server import EngineServer
from adapters.transport.socketio.library import NAMESPACE, SocketIoServer
from adapters.transport.socketio.packet import event_packet
from adapters.transport.socketio.waiting import Waiting
from domain.errors import ConnectionGone, InvalidArgument, InvalidToken, Unavailable, UserBlocked
from domain.model import AckId, ConnectionId, ConnectReply, Disconnect, DisconnectReason
from domain.ports import ConnectionEvents, Transport
from domain.requests import ConnectRequest

FINISH_SECONDS = 1.0
SID_BYTES = 15


class Connections:
    """From a CONNECT packet to the end of what it has asked for.

    ``events`` is to be set before the first client comes.
    """

    def __init__(
        self,
        transport: Transport[Connection, EncodedPacket],
        engine: EngineServer,
        waiting: Waiting,
        arrivals: Arrivals,
    ) -> None:
        self.events: ConnectionEvents | None = None
        self._transport = transport
        self._engine = engine
        self._waiting = waiting
        self._arrivals = arrivals
        self._connections: dict[ConnectionId, Connection] = {}
        self._working = Tasks()
        self.library = SocketIoServer(self)
        self.library.on("connect", self._on_connect, namespace=NAMESPACE)
        self.library.on("disconnect", self._on_disconnect, namespace=NAMESPACE)

    def __len__(self) -> int:
        return len(self._connections)

    def new_sid(self) -> str:
        return random_text(SID_BYTES)

    # connecting

    async def _on_connect(self, sid: str, session: ServedSession, auth: object = None) -> None:
        client: Client = session.client
        if not client.is_served or self.events is None:
            raise socketio.exceptions.ConnectionRefusedError
        if client.has_connected:
            # One connection a session, for ever: a late receipt could otherwise be taken for the next one's.
            client.refused = DisconnectReason.ALREADY_ENDED
            self._engine.abort(session, DisconnectReason.ALREADY_ENDED)
            raise socketio.exceptions.ConnectionRefusedError
        client.has_connected = True
        connection = Connection(ConnectionId(sid), client)
        client.connection = self._connections[connection.id] = connection
        request = connect_request(auth, remote_address=session.address, transport=session.transport)
        reply = await self._ask(connection, request, self.events)
        if reply is None or not connection.is_open:
            raise socketio.exceptions.ConnectionRefusedError
        connection.reply = reply
        self._waiting.remove(session)

    async def _ask(
        self, connection: Connection, request: ConnectRequest, events: ConnectionEvents
    ) -> ConnectReply | None:
        """None where it is not to connect. Raises ConnectionRefusedError with what its client is to be told.

        After a defect of ours the library would leave the client without an answer, and in its rooms for ever.
        """
        try:
            async with self._arrivals.place():
                return await events.connect(self._transport, connection, request) if connection.is_open else None
        except (InvalidToken, InvalidArgument, UserBlocked) as error:
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
            self.library.forget(connection.id)
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

    # what the library asks of the engine

    def send_text(self, engine_sid: str, text: str) -> None:
        session = self._engine.sessions.get(engine_sid)
        # The library answers whoever is to be cut without a word, too.
        if session is not None and session.client.cut is None:
            self._engine.send(session, EncodedPacket.message(text))

    def pid_of(self, sid: str) -> str:
        connection = self._connections.get(ConnectionId(sid))
        return connection.reply.pid if connection is not None and connection.reply is not None else ""

    def connect_sent(self, sid: str) -> None:
        connection = self._connections.get(ConnectionId(sid))
        if connection is None or connection.reply is None or self.events is None:
            return
        packet = event_packet(READY, ready(connection.reply), str(connection.reply.cursor))
        self._engine.send(connection.session, packet)
        self._work(connection, self.events.opened(connection))

    def event_received(self, sid: str, ack: int | None, event: str, arguments: Sequence[object]) -> None:
        connection = self._connections.get(ConnectionId(sid))
        if connection is None or connection.reply is None or not connection.is_open or self.events is None:
            return
        asked = read_command(event, arguments[0] if arguments else None)
        work = self.events.requested(connection, AckId(ack) if ack is not None else None, asked)
        if work is not None:
            self._work(connection, work)

    def _work(self, connection: Connection, work: Coroutine[Any, Any, None]) -> None:
        self._working.begin(self._guarded(connection, work))

    async def _guarded(self, connection: Connection, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            error.add_note(f"of the connection {connection.id}")
            # A defect of ours: the client comes back with its cursor and is served anew.
            self._engine.abort(connection.session, DisconnectReason.DEFECT)
            raise

    # the end

    def close(self, connection: Connection, why: Disconnect) -> None:
        if not connection.is_open:
            return
        connection.is_open = False
        connection.client.is_deaf = connection.client.is_deaf or why.reason is DisconnectReason.RATE_LIMITED
        if connection.reply is not None:
            self._engine.send(connection.session, event_packet(CLOSING, closing(why)))
        if not why.reconnect:
            self._end_connection(connection, why.reason)
            # The DISCONNECT packet, after which the stock client does not come back.
            self.library.end(connection.id)
        self._engine.close(connection.session, why.reason, for_good=not why.reconnect)

    def end(self, client: Client, reason: DisconnectReason) -> None:
        """End the connection of a session, which may live on without one."""
        if client.connection is not None:
            self._end_connection(client.connection, reason)

    def session_ended(self, client: Client, reason: DisconnectReason) -> None:
        self.end(client, reason)
        self.library.closed(client.session.sid, reason)

    async def finish(self) -> None:
        """What clients had asked for has some time to be done."""
        await self._working.wait(FINISH_SECONDS)
        await self._working.cancel()

    async def _on_disconnect(self, sid: str, reason: str) -> None:
        connection = self._connections.get(ConnectionId(sid))
        if connection is not None:
            # What is not ours is the library's own word, for a client that has said DISCONNECT.
            known = reason if isinstance(reason, DisconnectReason) else DisconnectReason.CLIENT_CLOSE
            self._end_connection(connection, known)

    def _end_connection(self, connection: Connection, reason: DisconnectReason) -> None:
        if self._abandon(connection) and self.events is not None:
            self.events.disconnected(connection, reason)

    def _abandon(self, connection: Connection) -> bool:
        """Forget a connection without telling the domain, which has never welcomed it or forgets it itself; whether it
        was known."""
        if self._connections.pop(connection.id, None) is None:
            return False
        connection.is_open = False
        connection.client.connection = None
        if connection.session.is_open:
            self._waiting.add(connection.client)
        return True
