"""What the tests of the outbox share: a store that relays, and an application that publishes in its transactions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from adapters.store.postgresql.store import PostgresqlStore
from adapters.system.clock import SystemClock
from adapters.system.ids import SystemRandomness
from domain.delivery.hub import Hub
from domain.errors import StoreUnavailable
from domain.model import Entry, Position
from domain.policy import ConnectionPolicy
from domain.services.due import DueService
from domain.services.publishing import PublishingService
from tests.contract.inbox_harness import Following
from tests.doubles import RecordingTelemetry
from tests.integration.postgresql_harness import opened

USER = '{"user": "ann"}'
PUBLISH = "SELECT synkrone.synkrone_publish(%s, 'test', %s)"
Application = psycopg.Connection[tuple[Any, ...]]


def publish(application: Application, *titles: str) -> None:
    for title in titles:
        application.execute(PUBLISH, (USER, title))


def titles(entries: Sequence[Entry]) -> list[str]:
    return [json.loads(entry.payload)["title"] for entry in entries]


@dataclass(eq=False, slots=True)
class Relay:
    """A store of a server that relays, and all that has come into its log."""

    store: PostgresqlStore
    start: Position
    following: Following
    telemetry: RecordingTelemetry

    async def titles(self, count: int) -> list[str]:
        """Of all that was published, once so many are there."""
        await self.following.until(self.start.offset + count)
        return titles(self.following.entries)


async def relay(store: PostgresqlStore, policy: ConnectionPolicy, telemetry: RecordingTelemetry) -> None:
    """For ever, as a server does."""
    clock = SystemClock()
    service = PublishingService(
        log=store,
        checkpoints=store,
        hub=Hub(log=store, policy=policy, clock=clock, telemetry=telemetry),
        due=DueService(schedule=store, clock=clock, telemetry=telemetry),
        policy=policy,
        clock=clock,
        randomness=SystemRandomness(),
        telemetry=telemetry,
    )
    while True:
        with suppress(StoreUnavailable):
            await service.relay(store.outbox)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def relaying(url: str, policy: ConnectionPolicy | None = None, **options: Any) -> AsyncIterator[Relay]:
    telemetry = RecordingTelemetry()
    async with opened(url, **options) as store:
        start = await store.head()
        task = asyncio.create_task(relay(store, policy or ConnectionPolicy(), telemetry))
        try:
            yield Relay(store, start, Following(store, start), telemetry)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
