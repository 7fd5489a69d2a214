"""A client that is an object of this process: what it received, and how it stands."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import count

import msgspec

from domain.errors import ConnectionGone
from domain.model import AckId, ConnectionId, Json, Position, Problem

Event = tuple[str, tuple[object, ...]]
"""The name of an event and its arguments, as a client's handler gets them."""


class Mailbox:
    """What a client received and has not taken, in order; the answers to its requests are taken as they come."""

    def __init__(self) -> None:
        self.size = 0
        self.taken: Callable[[Position], None] | None = None
        """Told the position of each entry that the client takes."""
        self._items: deque[tuple[str, Json, Position | None, bool]] = deque()
        self._changed = asyncio.Event()
        self._answers: dict[AckId, object] = {}

    def put_answer(self, ack: AckId, payload: Json) -> None:
        self._answers[ack] = msgspec.json.decode(payload)
        self.wake()

    def pop_answer(self, ack: AckId) -> object | None:
        """None where there is none yet."""
        return self._answers.pop(ack, None)

    def put(self, name: str, payload: Json, cursor: Position | None = None, *, is_entry: bool = False) -> None:
        self._items.append((name, payload, cursor, is_entry))
        self.size += len(payload)
        self.wake()

    def pop(self) -> Event | None:
        if not self._items:
            return None
        item = self._items.popleft()
        self.size -= len(item[1])
        self.wake()
        name, payload, cursor, is_entry = item
        if cursor is not None and is_entry and self.taken is not None:
            self.taken(cursor)
        return self._decode(name, payload, cursor)

    def peek(self) -> list[Event]:
        return [self._decode(name, payload, cursor) for name, payload, cursor, _ in self._items]

    def wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        await self._changed.wait()

    def _decode(self, name: str, payload: Json, cursor: Position | None) -> Event:
        value: object = msgspec.json.decode(payload)
        return name, (value,) if cursor is None else (value, str(cursor))


class MemoryClient:
    """A client of a MemoryTransport, made by its ``connect`` or ``start``.

    ``connected``: welcomed, and not closed since. ``closed``: it has ended; what it received before can still be
    taken. ``pid``: what it is to bring back. ``refusal``: why it was not let in. ``reconnect``: whether clients come
    back by themselves after this close.
    """

    def __init__(
        self,
        connection: ConnectionId,
        mailbox: Mailbox,
        leave: Callable[[MemoryClient], None],
        request: Callable[[MemoryClient, AckId | None, str, object], None],
    ) -> None:
        self.connection = connection
        self.connected = False
        self.closed = False
        self.refusal: Problem | None = None
        self.reconnect = False
        self.task: asyncio.Task[None] | None = None
        self.mailbox = mailbox
        self._leave = leave
        self._request = request
        self._acks = count(0)
        self.pid: str | None = None

    @property
    def events(self) -> list[Event]:
        """What was received and not taken yet."""
        return self.mailbox.peek()

    async def next_event(self) -> Event:
        """Take one event; waits for it. Raises ConnectionGone when the connection has ended and all was taken."""
        while (event := self.mailbox.pop()) is None:
            if self.closed:
                raise ConnectionGone
            await self.mailbox.change()
        return event

    def send(self, event: str, argument: object = None) -> None:
        """Ask for something, and for no answer. Raises ConnectionGone."""
        self._request(self, None, event, argument)

    async def request(self, event: str, argument: object = None) -> object:
        """Ask for something; the answer, decoded. Raises ConnectionGone."""
        ack = AckId(next(self._acks))
        self._request(self, ack, event, argument)
        while (answer := self.mailbox.pop_answer(ack)) is None:
            if self.closed:
                raise ConnectionGone
            await self.mailbox.change()
        return answer

    async def answered(self) -> None:
        """Wait until it was welcomed, refused or closed. Raises what went wrong unexpectedly."""
        while not self.connected and not self.closed:
            await self.mailbox.change()
        if self.task is not None and self.task.done():
            self.task.result()

    async def opened(self) -> None:
        """Wait until the replay is over. Raises what went wrong unexpectedly."""
        if self.task is not None:
            await asyncio.shield(self.task)

    async def wait_closed(self) -> None:
        while not self.closed:
            await self.mailbox.change()

    def disconnect(self) -> None:
        """Go away, at once and without a word, at any time."""
        self._leave(self)
        self.mailbox.wake()
