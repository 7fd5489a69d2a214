"""Doing something at every await of connecting: the ports as they are, with a point before and after each call."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, cast

from adapters.store.memory import MemoryStore
from adapters.transport.memory.transport import MemoryTransport
from domain.model import (
    AckId,
    Answer,
    ConnectionId,
    Counts,
    Disconnect,
    Entry,
    Identity,
    Position,
    Room,
)
from domain.ports import ConnectionEvents, Store, TokenVerifier, Transport
from tests.doubles import StaticVerifier


class Points:
    """Counts the points that are passed, and does ``action`` at one of them: at the number ``at`` from the start."""

    def __init__(self) -> None:
        self.at: int | None = None
        self.passed: list[str] = []
        self.action: Callable[[], Awaitable[object]] | None = None
        self.answers = 0
        self.when_answered: Callable[[Answer], object] | None = None
        self._name = ""
        self._times = 0

    def at_nth(self, name: str, nth: int, action: Callable[[], Awaitable[object]]) -> None:
        """Do it when the point of this name is passed for the nth time from now on."""
        self._name, self._times, self.action = name, nth, action

    async def __call__(self, name: str) -> None:
        self.passed.append(name)
        if self.action is None:
            return
        self._times -= name == self._name
        if (self._name and self._times == 0) or (not self._name and len(self.passed) - 1 == self.at):
            action, self.action, self._name = self.action, None, ""
            await action()

    def around(
        self, verifier: StaticVerifier, inbox: MemoryStore, transport: MemoryTransport
    ) -> tuple[TokenVerifier, Store, Transport]:
        return _Verifier(verifier, self), cast("Store", _Inbox(inbox, self)), _Transport(transport, self)


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
    def __init__(self, real: Store, point: Points) -> None:
        self._real = real
        self._point = point

    def __getattr__(self, name: str) -> Any:
        """Every asynchronous method of the port, with a point before and one after it."""
        method = getattr(self._real, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def with_points(*arguments: Any, **named: Any) -> Any:
            await self._point(f"before {name}")
            result = await method(*arguments, **named)
            await self._point(f"after {name}")
            return result

        return with_points


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

    async def resume(self, connection: ConnectionId, after: Position) -> bool:
        await self._point("before resume")
        live = await self._real.resume(connection, after)
        await self._point("after resume")
        return live

    async def pause(self, connection: ConnectionId) -> Position:
        await self._point("before pause")
        sent = await self._real.pause(connection)
        await self._point("after pause")
        return sent

    def answer(self, connection: ConnectionId, ack: AckId, answer: Answer) -> None:
        self._point.answers += 1
        if self._point.when_answered is not None:
            self._point.when_answered(answer)
        self._real.answer(connection, ack, answer)

    def announce_counts(self, connection: ConnectionId, counts: Counts) -> None:
        self._real.announce_counts(connection, counts)

    def broadcast(self, rooms: frozenset[Room], entry: Entry) -> None:
        self._real.broadcast(rooms, entry)

    def announce_expiry(self, connection: ConnectionId, expires_at: datetime) -> None:
        self._real.announce_expiry(connection, expires_at)

    def technology(self, connection: ConnectionId) -> str:
        return self._real.technology(connection)

    def disconnect(self, connection: ConnectionId, why: Disconnect) -> None:
        self._real.disconnect(connection, why)


class Gate(asyncio.Event):
    """While it is clear, the followers of an inbox are given nothing."""

    @classmethod
    def of(cls, inbox: MemoryStore) -> Gate:
        gate = cls()
        gate.set()
        follow = inbox.tail

        async def lagging(after: Position) -> AsyncIterator[Sequence[Entry]]:
            async for entries in follow(after):
                await gate.wait()
                yield entries

        inbox.tail = lagging  # type: ignore[method-assign]
        return gate
