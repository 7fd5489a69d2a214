"""The domain with everything around it in this process: real services, a real log, a transport without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

from adapters.store.memory import MemoryStore
from adapters.system.pids import KeyedPids
from adapters.transport.memory.client import Event, MemoryClient
from adapters.transport.memory.transport import MemoryTransport
from domain.model import Appended, Audience, Identity, Json, Publication, UserId
from domain.policy import ConnectionPolicy
from domain.ports import Store, TokenVerifier, Transport
from domain.services.connections import ConnectionService
from domain.services.counts import CountsService
from domain.services.delivery import DeliveryService
from domain.services.inboxes import InboxService
from domain.services.recovery import RecoveryService
from tests.doubles import START, FixedRandomness, ManualClock, RecordingTelemetry, StaticVerifier

T = TypeVar("T")

USERS = ("ann", "bob")
STEPS = 10_000


def run(story: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(story)


def identity(user: str, role: str = "freelance", expires_at: datetime = START + timedelta(hours=1)) -> Identity:
    return Identity(UserId(user), role, "", expires_at)


def publication(to: Audience | None = None, **members: Any) -> Publication:
    members.setdefault("type", "mission.assigned")
    return Publication(to=to if to is not None else Audience.users(["ann"]), **members)


class World:
    """``ann`` and ``bob`` have tokens of their own names. The tail goes to the rooms when ``settle`` is awaited."""

    def __init__(
        self,
        *,
        policy: ConnectionPolicy | None = None,
        transport: MemoryTransport | None = None,
        max_entries: int = 100_000,
        seen_as: Callable[[StaticVerifier, MemoryStore, MemoryTransport], tuple[TokenVerifier, Store, Transport]]
        | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.telemetry = RecordingTelemetry()
        self.policy = policy if policy is not None else ConnectionPolicy()
        self.verifier = StaticVerifier({user: identity(user) for user in USERS})
        self.inbox = MemoryStore(clock=self.clock, max_entries=max_entries, epoch="e")
        self.transport = transport if transport is not None else MemoryTransport()
        real = (self.verifier, self.inbox, self.transport)
        verifier, inbox, seen_transport = seen_as(*real) if seen_as is not None else real
        self.recovery = RecoveryService(log=inbox, subscribers=inbox, pids=KeyedPids(inbox.secret), policy=self.policy)
        self.inboxes = InboxService(
            verifier=verifier, subscribers=inbox, inboxes=inbox, policy=self.policy, clock=self.clock
        )
        self.counts = CountsService(inboxes=inbox, transport=seen_transport, clock=self.clock)
        self.connections = ConnectionService(
            verifier=verifier,
            subscribers=inbox,
            inboxes=inbox,
            transport=seen_transport,
            recovery=self.recovery,
            requests=self.inboxes,
            counts=self.counts,
            policy=self.policy,
            clock=self.clock,
            telemetry=self.telemetry,
        )
        self.delivery = DeliveryService(
            log=self.inbox,
            checkpoints=self.inbox,
            transport=self.transport,
            counts=self.counts,
            policy=self.policy,
            clock=self.clock,
            randomness=FixedRandomness(),
            telemetry=self.telemetry,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        """With the tail being taken to the rooms."""
        tail = asyncio.create_task(self.delivery.deliver())
        await self.settle()
        try:
            yield self
        finally:
            await self.transport.close()
            tail.cancel()
            with suppress(asyncio.CancelledError):
                await tail

    async def settle(self) -> None:
        """Until everything in the log has been taken to the rooms."""
        await until(self.delivery.is_up_to_date)

    async def connect(self, token: str = "ann", **auth: object) -> MemoryClient:
        """A client with its replay, if it got in, over."""
        client = await self.transport.connect({"token": token, **auth})
        await client.opened()
        return client

    async def publish(self, *identifiers: str, to: Audience | None = None) -> list[Appended]:
        return list(await self.delivery.publish([publication(to, id=identifier) for identifier in identifiers]))


def is_empty(world: World) -> bool:
    """No sessions, rooms, pids or tallies."""
    service, counts = world.connections, world.counts
    return not (
        service.open_connections
        or world.transport.rooms
        or service._by_user
        or service._by_pid
        or service._admitted
        or counts._tallies
        or counts._by_connection
        or counts._news
        or len(counts._until)
        or len(counts._given_up_at)
    )


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(STEPS):
        if await condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not happen")


async def closed(client: MemoryClient) -> None:
    async def is_closed() -> bool:
        return client.closed

    await until(is_closed)


def ids(client: MemoryClient) -> list[str]:
    """The ids of the notifications a client received, in order."""
    return [
        str(arguments[0]["id"])
        for name, arguments in client.events
        if name == "notification.new" and isinstance(arguments[0], dict)
    ]


def cursor(event: Event) -> str:
    """The last argument of an event."""
    return str(event[1][-1])


def names(client: MemoryClient) -> list[str]:
    return [name for name, _ in client.events]


def first(client: MemoryClient, name: str) -> dict[str, Any]:
    """The first argument of the first event of this name."""
    return next(
        argument for event, arguments in client.events if event == name and isinstance(argument := arguments[0], dict)
    )


def data(text: str) -> Json:
    return Json(text.encode())
