"""Doing something at every await of connecting: the ports as they are, with a point before and after each call."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any, cast

from adapters.store.memory import MemoryStore
from adapters.transport.memory.transport import MemoryConnection, MemoryFrame, MemoryTransport
from domain.model import Answer, ConnectReply, Entry, Identity, Outgoing, Position, Reply
from domain.ports import ConnectionEvents, Store, TokenVerifier, Transport, Wanted
from domain.requests import ConnectRequest
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
    ) -> tuple[TokenVerifier, Store, Transport[Any, Any]]:
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
        """Every asynchronous method of the port, with a point before and one after it, but for those of publishing."""
        method = getattr(self._real, name)
        if not inspect.iscoroutinefunction(method) or name in ("append", "head"):
            return method

        async def with_points(*arguments: Any, **named: Any) -> Any:
            await self._point(f"before {name}")
            result = await method(*arguments, **named)
            await self._point(f"after {name}")
            return result

        return with_points


class _Transport:
    def __init__(self, real: MemoryTransport, point: Points) -> None:
        self._real = real
        self._point = point
        self.disconnect = real.disconnect
        self.name = real.name

    def bind(self, events: ConnectionEvents) -> None:
        self._real.bind(cast("ConnectionEvents", _Events(events, self)))

    def encode(self, event: Outgoing) -> MemoryFrame:
        if isinstance(event, Reply):
            self._point.answers += 1
            if self._point.when_answered is not None:
                self._point.when_answered(event.answer)
        return self._real.encode(event)

    def send(self, outlets: Collection[MemoryConnection], frame: MemoryFrame) -> None:
        self._real.send(outlets, frame)

    async def has_room(self, outlet: MemoryConnection) -> None:
        await self._point("before has_room")
        await self._real.has_room(outlet)
        await self._point("after has_room")


class _Events:
    """Has the domain talk to the transport that has points."""

    def __init__(self, real: ConnectionEvents, by: _Transport) -> None:
        self._real = real
        self._by = by

    async def connect(self, _by: MemoryTransport, outlet: MemoryConnection, request: ConnectRequest) -> ConnectReply:
        reply: ConnectReply = await self._real.connect(self._by, outlet, request)
        return reply

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Gate(asyncio.Event):
    """While it is clear, the followers of an inbox are given nothing."""

    @classmethod
    def of(cls, inbox: MemoryStore) -> Gate:
        gate = cls()
        gate.set()
        follow = inbox.tail

        async def lagging(after: Position, wanted: Wanted | None = None) -> AsyncIterator[Sequence[Entry]]:
            async for entries in follow(after, wanted):
                await gate.wait()
                yield entries

        inbox.tail = lagging  # type: ignore[method-assign]
        return gate
