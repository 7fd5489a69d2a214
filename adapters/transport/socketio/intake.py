"""What the sessions of Engine.IO bring: at what pace it is taken, and what is to be handled before the rest."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from adapters.http.tasks import Tasks
from adapters.transport.socketio.client import Client
from adapters.transport.socketio.connections import Connections
from adapters.transport.socketio.engineio.errors import ProtocolError
from adapters.transport.socketio.engineio.served import ServedSession
from adapters.transport.socketio.engineio.server import EngineServer
from adapters.transport.socketio.library import run_through
from adapters.transport.socketio.packet import PacketRefused
from adapters.transport.socketio.rate import TokenBucket
from adapters.transport.socketio.waiting import Waiting
from domain.errors import RateLimited
from domain.model import Disconnect, DisconnectReason, Position
from domain.policy import FLOOD_PAUSE
from domain.ports import Clock

FLOODING = Disconnect(RateLimited().problem, reconnect=True, retry_after=FLOOD_PAUSE)
CONNECT = "0"

_log = logging.getLogger("synkrone.transport")


class Intake:
    """The EngineEvents of this transport.

    A client may send ``events_per_second`` on average and ``events_burst`` at once. ``unauthenticated`` sessions that
    have ended with something unhandled are remembered until it is.
    """

    def __init__(
        self,
        engine: EngineServer,
        connections: Connections,
        waiting: Waiting,
        clock: Clock,
        *,
        events_per_second: float,
        events_burst: int,
        unauthenticated: int,
    ) -> None:
        self._engine = engine
        self._connections = connections
        self._waiting = waiting
        self._clock = clock
        self._events_per_second = events_per_second
        self._events_burst = events_burst
        self._unauthenticated = unauthenticated
        self.name_session: Callable[[], str] = connections.new_sid
        self._handling = Tasks()
        self._ended_unhandled = 0

    def set_limits(self, *, events_per_second: float, events_burst: int, unauthenticated: int) -> None:
        """Who has sent something already keeps the pace that they were given."""
        self._events_per_second = events_per_second
        self._events_burst = events_burst
        self._unauthenticated = unauthenticated

    async def close(self) -> None:
        await self._handling.cancel()

    # EngineEvents

    def new_sid(self) -> str:
        return self.name_session()

    def session_opened(self, session: ServedSession) -> None:
        session.client = client = Client(session, waiting_since=0.0)
        self._waiting.add(client)
        self._connections.library.opened(session.sid, session)
        self._waiting.make_room(client)

    def session_message(self, session: ServedSession, data: str | bytes) -> None:
        client: Client = session.client
        if client.is_deaf or not self._has_leave_to_send(client) or client.cut is not None:
            return
        if client.unhandled is not None:
            # CONNECT may be among them.
            if len(client.unhandled) <= self._events_burst:
                client.unhandled.append(data)
            else:
                self._engine.abort(session, DisconnectReason.RATE_LIMITED)
        elif client.connection is not None:
            self._handle_at_once(client, data)
        else:
            client.unhandled = deque((data,))
            self._handling.spawn(self._handle(client, client.unhandled))

    def session_received(self, session: ServedSession, mark: object) -> None:
        client: Client = session.client
        if client.connection is not None and self._connections.events is not None and isinstance(mark, Position):
            self._connections.events.received(client.connection, mark)

    def session_closed(self, session: ServedSession, reason: str) -> None:
        client: Client = session.client
        why = DisconnectReason(reason)
        client.is_deaf = True
        self._waiting.remove(session)
        if client.cut is not None:
            client.cut.cancel()
        if client.unhandled and client.cut is None and self._ended_unhandled < self._unauthenticated:
            # What came behind CONNECT, before its answer, is carried out where that is one: the end follows it.
            client.ended_for = why
            self._ended_unhandled += 1
        else:
            self._connections.session_ended(client, why)

    # what clients send

    def _has_leave_to_send(self, client: Client) -> bool:
        if client.bucket is None:
            # The first is CONNECT, or ends the session.
            client.bucket = TokenBucket(self._events_per_second, self._events_burst, self._clock)
            return True
        if client.bucket.take():
            return True
        connection = client.connection
        if connection is None or connection.reply is None:
            self._engine.abort(client.session, DisconnectReason.RATE_LIMITED)
        else:
            self._connections.close(connection, FLOODING)
        return False

    def _handle_at_once(self, client: Client, message: str | bytes) -> None:
        """Handle a message of a client that is connected, which waits for nothing."""
        session = client.session
        try:
            run_through(self._connections.library.receive(session.sid, message))
        except ProtocolError as error:
            self._refuse(client, error)
        except Exception:
            # A defect of ours or of the library: the client comes back with its cursor and is served anew.
            client.is_deaf = True
            self._engine.abort(session, DisconnectReason.DEFECT)
            raise

    async def _handle(self, client: Client, messages: deque[str | bytes]) -> None:
        """Handle CONNECT, and what came behind it before its answer."""
        session = client.session
        try:
            while messages and client.cut is None and client.is_served:
                message = messages.popleft()
                if client.connection is None and message[:1] != CONNECT:
                    raise PacketRefused("not connected")
                await self._connections.library.receive(session.sid, message)
                if client.refused is not None:
                    self._engine.close(session, client.refused, for_good=True, at_once=True)
                    break
        except ProtocolError as error:
            self._refuse(client, error)
        except Exception:
            # A defect of ours or of the library: the client comes back with its cursor and is served anew.
            if client.cut is None:
                self._engine.abort(session, DisconnectReason.DEFECT)
            raise
        finally:
            client.unhandled = None
            if client.ended_for is not None:
                self._ended_unhandled -= 1
                self._connections.session_ended(client, client.ended_for)

    def _refuse(self, client: Client, error: ProtocolError) -> None:
        _log.debug("protocol error: %s", error)
        client.is_deaf = True
        self._engine.abort(client.session, error.code)
