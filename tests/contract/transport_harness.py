"""What the Transport contract works with: clients to be provided by a harness, and a domain that does as told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from domain.errors import ConnectionGone, SynkroneError
from domain.model import (
    AckId,
    Answer,
    ConnectionId,
    ConnectReply,
    ConnectRequest,
    Counted,
    Counts,
    Entry,
    Identity,
    Json,
    Position,
    RecoveryReason,
    Room,
    Subscriber,
    UserId,
)
from domain.ports import Transport

Event = tuple[str, tuple[object, ...]]

PATIENCE = 5.0
"""Seconds after which something that should happen is taken not to happen."""

CLOSED_WITHIN = 1.0
"""Seconds a transport may take to close a connection."""

SLACK = 1.0
"""Seconds allowed on top for a busy machine."""

MAX_HELD_BYTES = 4096
"""What a harness has to bound the held entries of its transport to."""

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
    def transport(self) -> Transport: ...

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
        await asyncio.wait_for(self._reached.wait(), PATIENCE)

    def open(self) -> None:
        self._opened.set()


@dataclass
class Script:
    """How ScriptedEvents treats one client."""

    rooms: frozenset[Room]
    reply: ConnectReply
    error: SynkroneError | None = None
    before_join: Gate | None = None
    after_join: Gate | None = None
    in_opened: Gate | None = None
    goes_live: bool = True
    on_request: Callable[[ConnectionId, AckId | None], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What reached the domain of what a client asked for."""

    event: str
    argument: object
    ack: AckId | None


@dataclass
class ScriptedEvents:
    """ConnectionEvents that does as it was told, by the client's token, and records what was called.

    A request is answered with COUNTED, if it is to be answered, unless the script says otherwise.
    """

    transport: Transport
    delay: float = 0.0
    scripts: dict[str, Script] = field(default_factory=dict)
    calls: list[tuple[str, ConnectionId]] = field(default_factory=list)
    connect_requests: list[ConnectRequest] = field(default_factory=list)
    connections: dict[str, ConnectionId] = field(default_factory=dict)
    gone_at_join: set[ConnectionId] = field(default_factory=set)
    reasons: dict[ConnectionId, str] = field(default_factory=dict)
    receipts: dict[ConnectionId, Position] = field(default_factory=dict)
    requests: dict[ConnectionId, list[Request]] = field(default_factory=dict)
    raised_at: float = 0.0

    def script(self, name: str, **changes: object) -> Script:
        script = Script(rooms=frozenset((Room.of_user(name),)), reply=reply(name))
        for attribute, value in changes.items():
            setattr(script, attribute, value)
        self.scripts[name] = script
        return script

    async def connect(self, connection: ConnectionId, request: ConnectRequest) -> ConnectReply:
        self.calls.append(("connect", connection))
        self.connect_requests.append(request)
        token = request.auth.get("token") if isinstance(request.auth, dict) else None
        name = token if isinstance(token, str) else "nobody"
        self.connections[name] = connection
        script = self.scripts.get(name) or self.script(name)
        if script.before_join is not None:
            await script.before_join.wait()
        try:
            await self.transport.join(connection, script.rooms)
        except ConnectionGone:
            self.gone_at_join.add(connection)
            raise
        if script.after_join is not None:
            await script.after_join.wait()
        if script.error is not None:
            self.raised_at = time.monotonic()
            raise script.error
        return script.reply

    async def opened(self, connection: ConnectionId) -> None:
        self.calls.append(("opened", connection))
        script = self._script_of(connection)
        if script.in_opened is not None:
            await script.in_opened.wait()
        if script.goes_live:
            await self.transport.resume(connection, script.reply.cursor)
            self.calls.append(("live", connection))

    async def request(
        self, connection: ConnectionId, subscriber: Subscriber, ack: AckId | None, event: str, argument: object
    ) -> None:
        assert subscriber == self._script_of(connection).reply.subscriber
        self.calls.append(("request", connection))
        self.requests.setdefault(connection, []).append(Request(event, argument, ack))
        on_request = self._script_of(connection).on_request
        if on_request is not None:
            await on_request(connection, ack)
        elif ack is not None:
            self.transport.answer(connection, ack, COUNTED)
        self.calls.append(("handled", connection))

    def received(self, connection: ConnectionId, upto: Position) -> None:
        assert connection in self.connections.values()
        self.receipts[connection] = upto

    def disconnected(self, connection: ConnectionId, reason: str) -> None:
        assert reason
        self.reasons[connection] = reason
        self.calls.append(("disconnected", connection))

    def reconnect_delay(self) -> float:
        return self.delay

    async def until_received(self, connection: ConnectionId, offset: int) -> None:
        await eventually(lambda: self.receipts.get(connection) == Position("e", offset))

    def count(self, call: str, connection: ConnectionId) -> int:
        return self.calls.count((call, connection))

    def calls_for(self, connection: ConnectionId) -> list[str]:
        return [call for call, known in self.calls if known == connection]

    def _script_of(self, connection: ConnectionId) -> Script:
        (script,) = (self.scripts[name] for name, known in self.connections.items() if known == connection)
        return script


def reply(name: str, *, offset: int = 0, recovered: bool = False, reason: RecoveryReason | None = None) -> ConnectReply:
    return ConnectReply(
        identity=Identity(UserId(name), "freelance", "", EXPIRES_AT),
        subscriber=Subscriber(UserId(name), "freelance", {Room.of_user(name): 0}),
        pid=f"pid-of-{name}",
        recovered=recovered,
        reason=reason,
        counts=COUNTS,
        cursor=Position("e", offset),
        server_time=NOW,
    )


def entry(offset: int, *rooms: Room, payload: str = '{"n":1}', event: str = "notification.new") -> Entry:
    return Entry(Position("e", offset), frozenset(rooms), event, Json(payload.encode()))


def received(offset: int, value: object = None) -> Event:
    """What a client sees of ``entry(offset)``."""
    return "notification.new", ({"n": 1} if value is None else value, f"e:{offset}")


async def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.005)
