"""Several transports behind one: the domain sees a single Transport, the server a single thing to run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime

from adapters.http.exchange import Route
from adapters.transport.arrivals import Arrivals
from adapters.transport.served import ServedTransport
from domain.errors import ConnectionGone
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
)
from domain.ports import ConnectionEvents


class TransportGroup:
    """Sends a call for a connection to the member whose it is, and a broadcast to all.

    A member that closed a connection is asked nothing more about it. A path that two members serve is the first one's.
    """

    def __init__(self, members: Sequence[ServedTransport]) -> None:
        if not members:
            raise ValueError("a group has at least one member")
        self._members = tuple(members)
        self._owners: dict[ConnectionId, ServedTransport] = {}

    @property
    def routes(self) -> Mapping[str, Route]:
        return {path: route for member in reversed(self._members) for path, route in member.routes.items()}

    @property
    def sweep_seconds(self) -> float:
        """As often as the member that wants it most often; the others only look more often than they need."""
        return min(member.sweep_seconds for member in self._members)

    @property
    def open_sockets(self) -> int:
        return sum(member.open_sockets for member in self._members)

    # Transport

    def bind(self, events: ConnectionEvents) -> None:
        arrivals = Arrivals()
        for member in self._members:
            member.bind(_MemberEvents(events, member, self._owners, arrivals))

    async def join(self, connection: ConnectionId, rooms: frozenset[Room]) -> None:
        await self._owner(connection).join(connection, rooms)

    async def replay(self, connection: ConnectionId, entries: Sequence[Entry]) -> None:
        await self._owner(connection).replay(connection, entries)

    async def resume(self, connection: ConnectionId, after: Position) -> bool:
        owner = self._owners.get(connection)
        return await owner.resume(connection, after) if owner is not None else True

    def broadcast(self, rooms: frozenset[Room], entry: Entry) -> None:
        for member in self._members:
            member.broadcast(rooms, entry)

    async def pause(self, connection: ConnectionId) -> Position:
        return await self._owner(connection).pause(connection)

    def answer(self, connection: ConnectionId, ack: AckId, answer: Answer) -> None:
        owner = self._owners.get(connection)
        if owner is not None:
            owner.answer(connection, ack, answer)

    def announce_expiry(self, connection: ConnectionId, expires_at: datetime) -> None:
        owner = self._owners.get(connection)
        if owner is not None:
            owner.announce_expiry(connection, expires_at)

    def announce_counts(self, connection: ConnectionId, counts: Counts) -> None:
        owner = self._owners.get(connection)
        if owner is not None:
            owner.announce_counts(connection, counts)

    def technology(self, connection: ConnectionId) -> str:
        owner = self._owners.get(connection)
        return owner.technology(connection) if owner is not None else ""

    def disconnect(self, connection: ConnectionId, why: Disconnect) -> None:
        owner = self._owners.get(connection)
        if owner is not None:
            owner.disconnect(connection, why)

    # upkeep

    def set_ready(self, *, ready: bool) -> None:
        for member in self._members:
            member.set_ready(ready=ready)

    def refuse_at_once(self, head: bytes) -> bytes | None:
        answers = (member.refuse_at_once(head) for member in self._members)
        return next((answer for answer in answers if answer is not None), None)

    def give_up_place(self) -> bool:
        """Of the first member that has one."""
        return any(member.give_up_place() for member in self._members)

    def stop_accepting(self) -> None:
        for member in self._members:
            member.stop_accepting()

    def sweep(self) -> None:
        for member in self._members:
            member.sweep()

    async def close(self) -> None:
        """Close all members, whatever becomes of one. Raises a group of what went wrong unexpectedly."""
        results = await asyncio.gather(*(member.close() for member in self._members), return_exceptions=True)
        errors = [result for result in results if isinstance(result, Exception)]
        if errors:
            raise ExceptionGroup("transports that failed to close", errors)

    def _owner(self, connection: ConnectionId) -> ServedTransport:
        """Raises ConnectionGone."""
        owner = self._owners.get(connection)
        if owner is None:
            raise ConnectionGone
        return owner


class _MemberEvents:
    """The ConnectionEvents of one member: the domain's, with a note of whose each connection is."""

    def __init__(
        self,
        events: ConnectionEvents,
        member: ServedTransport,
        owners: dict[ConnectionId, ServedTransport],
        arrivals: Arrivals,
    ) -> None:
        self._arrivals = arrivals
        self._events = events
        self._member = member
        self._owners = owners
        self.opened = events.opened
        self.request = events.request
        self.received = events.received
        self.reconnect_delay = events.reconnect_delay

    async def connect(self, connection: ConnectionId, request: ConnectRequest) -> ConnectReply:
        if connection in self._owners:
            raise RuntimeError("two members give their connections the same id")
        self._owners[connection] = self._member
        with ExitStack() as undo:
            undo.callback(self._owners.pop, connection, None)
            async with self._arrivals.place():
                if connection not in self._owners:
                    raise ConnectionGone
                reply = await self._events.connect(connection, request)
            undo.pop_all()
        return reply

    def disconnected(self, connection: ConnectionId, reason: DisconnectReason) -> None:
        self._owners.pop(connection, None)
        self._events.disconnected(connection, reason)
