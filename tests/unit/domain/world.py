"""The domain with everything around it in this process: real services, a real log, a transport without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

from adapters.contract.commands import read_command
from adapters.store.memory import MemoryStore
from adapters.store.presence import LocalPresence
from adapters.system.pids import KeyedPids
from adapters.transport.memory.client import Event, MemoryClient
from adapters.transport.memory.transport import MemoryTransport
from domain.application import Application
from domain.delivery.hub import WINDOW_BYTES
from domain.model import Answer, Appended, Audience, Identity, Json, Publication, UserId
from domain.policy import ConnectionPolicy
from domain.ports import InboxAccess, Store, TokenVerifier, Transport
from tests.doubles import START, FixedRandomness, ManualClock, RecordingTelemetry, StaticVerifier

T = TypeVar("T")

Seen = tuple[TokenVerifier, Store, Transport[Any, Any]]

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
        window_bytes: int = WINDOW_BYTES,
        most_restrictions: int = 100_000,
        seen_as: Callable[[StaticVerifier, MemoryStore, MemoryTransport], Seen] | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.telemetry = RecordingTelemetry()
        self.policy = policy if policy is not None else ConnectionPolicy()
        self.verifier = StaticVerifier({user: identity(user) for user in USERS})
        self.inbox = MemoryStore(clock=self.clock, max_entries=max_entries, epoch="e")
        self.transport = transport if transport is not None else MemoryTransport()
        real = (self.verifier, self.inbox, self.transport)
        verifier, store, seen_transport = seen_as(*real) if seen_as is not None else real
        self.application = Application(
            verifier=verifier,
            store=store,
            presence=LocalPresence(),
            transports=[seen_transport],
            pids=KeyedPids(store.secret),
            clock=self.clock,
            randomness=FixedRandomness(),
            telemetry=self.telemetry,
            policy=self.policy,
            window_bytes=window_bytes,
            most_restrictions=most_restrictions,
        )
        self.hub = self.application.hub
        self.connections = self.application.connections
        self.directory = self.application.directory
        self.access = self.application.access
        self.admission = self.application.admission
        self.recovery = self.application.recovery
        self.ledger = self.application.ledger
        self.inboxes = self.application.inboxes
        self.counts = self.application.counts
        self.expiry = self.application.expiry
        self.connecting = self.application.connecting
        self.publishing = self.application.publishing

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        """With the tail being taken to the rooms."""
        tail = asyncio.create_task(self.hub.deliver())
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
        await until(self.publishing.is_up_to_date)

    async def connect(self, token: str = "ann", **auth: object) -> MemoryClient:
        """A client with its replay, if it got in, over."""
        client = await self.transport.connect({"token": token, **auth})
        await client.opened()
        return client

    async def publish(self, *identifiers: str, to: Audience | None = None) -> list[Appended]:
        return list(await self.publishing.publish([publication(to, id=identifier) for identifier in identifiers]))


def is_empty(world: World) -> bool:
    """No connections, rooms, pids or tallies."""
    connections, counts = world.connections, world.counts
    return not (
        connections.open_connections
        or world.hub.rooms
        or len(world.hub._ahead)
        or connections._by_user
        or connections._by_pid
        or connections._verified
        or connections._leaving_of
        or counts._tallies
        or counts._by_subscription
        or counts._news
        or len(counts._until)
        or len(counts._given_up_at)
    )


async def answer_to(inboxes: InboxAccess, token: str, event: str, argument: object) -> Answer:
    """What a user is answered who asks without a connection."""
    return await inboxes.request(await inboxes.authenticate(token), read_command(event, argument))


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
