"""Doing something at every await of connecting: the ports as they are, with a point before and after each call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime

from adapters.inbox.memory import MemoryInbox
from adapters.transport.memory import MemoryTransport
from domain.model import (
    Appended,
    Checkpoint,
    ConnectionId,
    Draft,
    Entry,
    Identity,
    Page,
    Position,
    Refusal,
    Room,
)
from domain.ports import ConnectionEvents, Inbox, TokenVerifier, Transport
from tests.doubles import StaticVerifier


class Points:
    """Counts the points that are passed, and does ``action`` at one of them."""

    def __init__(self) -> None:
        self.at: int | None = None
        self.passed: list[str] = []
        self.action: Callable[[], Awaitable[object]] | None = None

    async def __call__(self, name: str) -> None:
        self.passed.append(name)
        if self.action is not None and len(self.passed) - 1 == self.at:
            action, self.action = self.action, None
            await action()

    def around(
        self, verifier: StaticVerifier, inbox: MemoryInbox, transport: MemoryTransport
    ) -> tuple[TokenVerifier, Inbox, Transport]:
        return _Verifier(verifier, self), _Inbox(inbox, self), _Transport(transport, self)


class _Verifier:
    def __init__(self, real: TokenVerifier, point: Points) -> None:
        self._real = real
        self._point = point

    async def verify(self, token: str) -> Identity:
        await self._point("before verify")
        identity = await self._real.verify(token)
        await self._point("after verify")
        return identity


class _Inbox:
    def __init__(self, real: Inbox, point: Points) -> None:
        self._real = real
        self._point = point

    async def since(self, rooms: frozenset[Room], after: Position, *, max_entries: int, max_bytes: int) -> Page:
        await self._point("before since")
        page = await self._real.since(rooms, after, max_entries=max_entries, max_bytes=max_bytes)
        await self._point("after since")
        return page

    async def head(self) -> Position:
        await self._point("before head")
        head = await self._real.head()
        await self._point("after head")
        return head

    async def append(
        self, batch: Sequence[Draft], *, checkpoint: Checkpoint | None = None, all_or_nothing: bool = False
    ) -> Sequence[Appended]:
        return await self._real.append(batch, checkpoint=checkpoint, all_or_nothing=all_or_nothing)

    def follow(self, after: Position) -> AsyncIterator[Sequence[Entry]]:
        return self._real.follow(after)

    async def checkpoint(self, source: str) -> str | None:
        return await self._real.checkpoint(source)


class _Transport:
    def __init__(self, real: Transport, point: Points) -> None:
        self._real = real
        self._point = point

    def bind(self, events: ConnectionEvents) -> None:
        self._real.bind(events)

    async def join(self, connection: ConnectionId, rooms: frozenset[Room]) -> None:
        await self._point("before join")
        await self._real.join(connection, rooms)
        await self._point("after join")

    async def replay(self, connection: ConnectionId, entries: Sequence[Entry]) -> None:
        await self._point("before replay")
        await self._real.replay(connection, entries)
        await self._point("after replay")

    async def release(self, connection: ConnectionId, after: Position) -> bool:
        await self._point("before release")
        live = await self._real.release(connection, after)
        await self._point("after release")
        return live

    def broadcast(self, rooms: frozenset[Room], entry: Entry) -> None:
        self._real.broadcast(rooms, entry)

    def announce_expiry(self, connection: ConnectionId, expires_at: datetime) -> None:
        self._real.announce_expiry(connection, expires_at)

    def disconnect(self, connection: ConnectionId, why: Refusal) -> None:
        self._real.disconnect(connection, why)
