"""What the Transport contract works with: clients to be provided by a harness, and a domain that does as told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from domain.errors import SynkroneError
from domain.model import (
    EVERYONE,
    AckId,
    Answer,
    ConnectionId,
    ConnectReply,
    Counted,
    Counts,
    Disconnect,
    Entry,
    Identity,
    Json,
    Outgoing,
    Position,
    RecoveryReason,
    Reply,
    UserId,
)
from domain.ports import Outlet, Transport
from domain.requests import Asked, ConnectRequest, Credentials
from tests.in_time import in_time

Event = tuple[str, tuple[object, ...]]

PATIENCE = 15.0
"""Seconds after which something that should happen is taken not to happen."""

CLOSED_WITHIN = 1.0
"""Seconds a transport may take to close a connection."""

SLACK = 4.0
"""Seconds allowed on top for a busy machine."""

QUEUE_BYTES = 200_000
"""What a harness has to let wait for a client of its transport, and no more for long."""

EXPIRES_AT = datetime(2030, 1, 31, 13, 0, 0, tzinfo=UTC)
NOW = datetime(2030, 1, 31, 12, 0, 0, tzinfo=UTC)

COUNTS = Counts(unread=1, unseen=2, total=3)
COUNTED: Answer = Counted(COUNTS, as_of=Position("e", 0), room=0, stands_until=None)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended, as its client saw it.

    ``refusal`` is the problem object of one that was not let in. ``reconnect``: whether a stock client would come
    back by itself.
    """

    refusal: object
    reconnect: bool


class Client(Protocol):
    """The other end of a connection. Everything it waits for is bounded."""

    async def next_event(self) -> Event:
        """The next event the server sent, within PATIENCE: its name and its arguments, decoded from JSON."""

    async def expect_closed(self, within: float) -> Ending:
        """The connection ends within so many seconds, with no event left that was not taken."""

    async def close(self) -> None:
        """Go away without a word."""

    def stop_reading(self) -> None:
        """Take nothing any more, and stay."""


class AskingClient(Client, Protocol):
    """A client of a transport over which requests can be made."""

    async def request(self, event: str, argument: object) -> object:
        """Ask for something; the answer, decoded from JSON, within PATIENCE."""

    async def send(self, event: str, argument: object) -> None:
        """Ask for something, and for no answer."""

    def events_waiting(self) -> int:
        """How many events have come that were not taken."""


class Harness(Protocol):
    """A transport that has been started, with room for clients; the ``harness`` fixture ends it."""

    @property
    def transport(self) -> Transport[Any, Any]: ...

    async def connect(self, auth: object) -> Client:
        """A client that has asked to connect. Returns without waiting for the answer."""


class AskingHarness(Harness, Protocol):
    async def connect(self, auth: object) -> AskingClient: ...


class Gate:
    """A place where a call waits until it is let through."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._opened = asyncio.Event()

    async def wait(self) -> None:
        self._reached.set()
        await self._opened.wait()

    async def reached(self) -> None:
        await in_time(self._reached.wait(), PATIENCE)

    def open(self) -> None:
        self._opened.set()


@dataclass
class Script:
    """How ScriptedEvents treats one client."""

    reply: ConnectReply
    error: SynkroneError | None = None
    before_reply: Gate | None = None
    in_opened: Gate | None = None
    on_request: Callable[[ConnectionId, AckId | None], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What reached the domain of what a client asked for."""

    asked: Asked
    ack: AckId | None


@dataclass
class ScriptedEvents:
    """ConnectionEvents that does as it was told, by the client's token, and records what was called.

    A request is answered with COUNTED, if it is to be answered, unless the script says otherwise.
    """

    transport: Transport[Any, Any]
    delay: float = 0.0
    scripts: dict[str, Script] = field(default_factory=dict)
    calls: list[tuple[str, ConnectionId]] = field(default_factory=list)
    connect_requests: list[ConnectRequest] = field(default_factory=list)
    connections: dict[str, ConnectionId] = field(default_factory=dict)
    outlets: dict[ConnectionId, Outlet] = field(default_factory=dict)
    reasons: dict[ConnectionId, str] = field(default_factory=dict)
    receipts: dict[ConnectionId, Position] = field(default_factory=dict)
    requests: dict[ConnectionId, list[Request]] = field(default_factory=dict)
    raised_at: float = 0.0

    def script(self, name: str, **changes: object) -> Script:
        script = Script(reply=reply(name))
        for attribute, value in changes.items():
            setattr(script, attribute, value)
        self.scripts[name] = script
        return script

    # what is sent

    def send(self, event: Outgoing, *to: ConnectionId) -> None:
        """Encoded once, and sent to all of them at once."""
        self.transport.send([self.outlets[connection] for connection in to], self.transport.encode(event))

    async def has_room(self, connection: ConnectionId) -> None:
        await self.transport.has_room(self.outlets[connection])

    def disconnect(self, connection: ConnectionId, why: Disconnect) -> None:
        self.transport.disconnect(self.outlets[connection], why)

    # ConnectionEvents

    async def connect(self, by: Transport[Any, Any], outlet: Outlet, request: ConnectRequest) -> ConnectReply:
        assert by is self.transport
        assert outlet.id not in self.outlets
        self.calls.append(("connect", outlet.id))
        self.connect_requests.append(request)
        name = request.credentials.token if isinstance(request.credentials, Credentials) else "nobody"
        self.connections[name] = outlet.id
        self.outlets[outlet.id] = outlet
        script = self.scripts.get(name) or self.script(name)
        if script.before_reply is not None:
            await script.before_reply.wait()
        if script.error is not None:
            self.raised_at = time.monotonic()
            raise script.error
        return script.reply

    async def opened(self, outlet: Outlet) -> None:
        self.calls.append(("opened", outlet.id))
        script = self._script_of(outlet)
        if script.in_opened is not None:
            await script.in_opened.wait()
        self.calls.append(("live", outlet.id))

    def requested(self, outlet: Outlet, ack: AckId | None, asked: Asked) -> Coroutine[Any, Any, None] | None:
        assert self.outlets[outlet.id] is outlet
        self.calls.append(("request", outlet.id))
        self.requests.setdefault(outlet.id, []).append(Request(asked, ack))
        on_request = self._script_of(outlet).on_request
        if on_request is None and ack is None:
            return None
        return self._handle(outlet, ack, on_request)

    async def _handle(
        self,
        outlet: Outlet,
        ack: AckId | None,
        on_request: Callable[[ConnectionId, AckId | None], Awaitable[None]] | None,
    ) -> None:
        if on_request is not None:
            await on_request(outlet.id, ack)
        elif ack is not None:
            self.send(Reply(ack, COUNTED), outlet.id)
        self.calls.append(("handled", outlet.id))

    def received(self, outlet: Outlet, upto: Position) -> None:
        assert self.outlets[outlet.id] is outlet
        self.receipts[outlet.id] = upto

    def disconnected(self, outlet: Outlet, reason: str) -> None:
        assert reason
        assert self.outlets[outlet.id] is outlet
        self.reasons[outlet.id] = reason
        self.calls.append(("disconnected", outlet.id))

    def reconnect_delay(self) -> float:
        return self.delay

    @property
    def connected(self) -> list[ConnectionId]:
        """Those that were opened and have not ended."""
        opened = [connection for call, connection in self.calls if call == "opened"]
        return [connection for connection in opened if connection not in self.reasons]

    # what is waited for

    async def until_received(self, connection: ConnectionId, offset: int) -> None:
        await eventually(lambda: self.receipts.get(connection) == Position("e", offset))

    def count(self, call: str, connection: ConnectionId) -> int:
        return self.calls.count((call, connection))

    def calls_for(self, connection: ConnectionId) -> list[str]:
        return [call for call, known in self.calls if known == connection]

    def _script_of(self, outlet: Outlet) -> Script:
        (script,) = (self.scripts[name] for name, known in self.connections.items() if known == outlet.id)
        return script


def reply(name: str, *, offset: int = 0, recovered: bool = False, reason: RecoveryReason | None = None) -> ConnectReply:
    return ConnectReply(
        identity=Identity(UserId(name), "freelance", "", EXPIRES_AT),
        pid=f"pid-of-{name}",
        recovered=recovered,
        reason=reason,
        counts=COUNTS,
        cursor=Position("e", offset),
        server_time=NOW,
    )


def entry(offset: int, *, payload: str = '{"n":1}', event: str = "notification.new") -> Entry:
    return Entry(Position("e", offset), frozenset((EVERYONE,)), event, Json(payload.encode()))


def refusal(error: SynkroneError, *, reconnect: bool) -> Disconnect:
    return Disconnect(error.problem, reconnect, timedelta(milliseconds=1500))


def received(offset: int, value: object = None) -> Event:
    """What a client sees of ``entry(offset)``."""
    return "notification.new", ({"n": 1} if value is None else value, f"e:{offset}")


async def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.005)
