"""The Transport port on python-socketio, over Engine.IO of our own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from adapters.contract.answers import answer_object
from adapters.contract.session_events import session_event
from adapters.http.exchange import Route
from adapters.http.messages import RequestHead
from adapters.http.peer import PeerPolicy
from adapters.transport.arrivals import Arrivals
from adapters.transport.socketio.client import Connection
from adapters.transport.socketio.connections import Connections
from adapters.transport.socketio.engineio.packet import EncodedPacket
from adapters.transport.socketio.engineio.routes import EngineRoute, not_ready
from adapters.transport.socketio.engineio.served import EngineLimits
from adapters.transport.socketio.engineio.server import EngineServer
from adapters.transport.socketio.engineio.session import SessionLimits
from adapters.transport.socketio.intake import Intake
from adapters.transport.socketio.packet import ack_packet, entry_packet, event_packet
from adapters.transport.socketio.waiting import Waiting
from domain.model import Disconnect, DisconnectReason, Entry, Outgoing, Reply
from domain.ports import Clock, ConnectionEvents

CUT_AT_QUEUES = 8
PATHS = ("/socket.io/", "/socket.io")


@dataclass(frozen=True, slots=True)
class SocketIoLimits:
    """Bytes, seconds and counts; the defaults suit a public server.

    A client for which over ``queue_bytes`` wait for ``slow_seconds``, or over eight times that at all, is cut.
    ``unauthenticated`` sessions wait beside the ``connections``; of more of them the oldest go.
    """

    message_bytes: int = 65_536
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

    def __init__(
        self, *, clock: Clock, peers: PeerPolicy, arrivals: Arrivals, limits: SocketIoLimits | None = None
    ) -> None:
        self._limits = limits = limits or SocketIoLimits()
        self._peers = peers
        self._accepting = True
        self._ready = True
        self._engine = EngineServer(
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
        self._waiting = Waiting(
            self._engine, clock, connect_timeout=limits.connect_timeout, unauthenticated=limits.unauthenticated
        )
        self._connections = Connections(self, self._engine, self._waiting, arrivals)
        self._intake = Intake(
            self._engine,
            self._connections,
            self._waiting,
            clock,
            events_per_second=limits.events_per_second,
            events_burst=limits.events_burst,
            unauthenticated=limits.unauthenticated,
        )
        self.sessions = EngineRoute(self._engine, self)
        """The route of Engine.IO, for who puts something in front of it."""
        self._engine.bind(self._intake)

    def set_limits(self, limits: SocketIoLimits) -> None:
        """Keep these from now on: for how many connect, and how long they may take, and for the events of those who
        come. The others stay as they are: clients were told of them."""
        self._limits = replace(
            self._limits,
            connect_timeout=limits.connect_timeout,
            connections=limits.connections,
            unauthenticated=limits.unauthenticated,
            events_per_second=limits.events_per_second,
            events_burst=limits.events_burst,
        )
        self._waiting.set_limits(connect_timeout=limits.connect_timeout, unauthenticated=limits.unauthenticated)
        self._intake.set_limits(
            events_per_second=limits.events_per_second,
            events_burst=limits.events_burst,
            unauthenticated=limits.unauthenticated,
        )

    def name_sessions(self, new_name: Callable[[], str]) -> None:
        """Have sessions named so from now on: unguessable at each call. To be called before there is any."""
        self._intake.name_session = new_name

    # Transport

    @property
    def name(self) -> str:
        return "socketio"

    def bind(self, events: ConnectionEvents) -> None:
        self._connections.events = events

    def encode(self, event: Outgoing) -> EncodedPacket:
        match event:
            case Entry():
                return entry_packet(event)
            case Reply(ack, answer):
                return ack_packet(ack, answer_object(answer))
            case _:
                return event_packet(*session_event(event))

    def send(self, outlets: Collection[Connection], frame: EncodedPacket) -> None:
        self._engine.send_all([connection.client.session for connection in outlets if connection.is_open], frame)

    async def has_room(self, outlet: Connection) -> None:
        await self._engine.has_room(outlet.session)

    def disconnect(self, outlet: Connection, why: Disconnect) -> None:
        self._connections.close(outlet, why)

    # ServedTransport

    @property
    def routes(self) -> Mapping[str, Route]:
        return dict.fromkeys(PATHS, self.sessions)

    @property
    def sweep_seconds(self) -> float:
        return self._engine.sweep_seconds

    @property
    def open_sockets(self) -> int:
        """WebSockets, which the HTTP server does not count any more."""
        return self._engine.open_sockets

    @property
    def waiting_bytes(self) -> int:
        return sum(session.waiting_bytes for session in self._engine.sessions.values())

    @property
    def connecting(self) -> int:
        return len(self._waiting)

    def set_ready(self, *, ready: bool) -> None:
        """Answer new handshakes with 503 while not ready, on which the stock client backs off."""
        self._ready = ready

    def refuse_at_once(self, head: bytes) -> bytes | None:
        """For new sessions that begin on WebSocket: where one polls first, a browser wants to know of its origin."""
        return not_ready(head) if not self.is_accepting() else None

    def give_up_place(self) -> bool:
        return self._waiting.give_up_place()

    def stop_accepting(self) -> None:
        """Answer new handshakes with 503 from now on."""
        self._accepting = False

    def sweep(self) -> None:
        """Keep all deadlines: pings, receipts, slow readers, and those who never connect."""
        self._engine.sweep()
        self._waiting.sweep()

    async def close(self) -> None:
        """End every session at once, and the tasks for them."""
        self.stop_accepting()
        self._engine.close_all(DisconnectReason.SERVER_CLOSED)
        await self._connections.finish()
        await self._intake.close()

    # Gatekeeper

    def allows_origin(self, request: RequestHead) -> bool:
        return self._peers.allows_origin(request)

    def address(self, request: RequestHead) -> str:
        return self._peers.address(request)

    def is_accepting(self) -> bool:
        in_use = len(self._engine.sessions) - len(self._waiting)
        return self._ready and self._accepting and in_use < self._limits.connections
