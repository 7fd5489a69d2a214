"""What the scenarios share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.clients import Crowd
from tests.benchmarks.databases import Databases
from tests.benchmarks.plan import Plan
from tests.benchmarks.publishing import Publisher, batch, post_at_a_pace, publication, publishing
from tests.benchmarks.results import Results
from tests.benchmarks.servers import Cores, Kind, Server, running

SETTLE_SECONDS = 1.0
# As long as what a delivery leaves for later may take: the counts, and the ping whose pong is the receipt.
TRAILING_SECONDS = 1.2
DELIVERY_SECONDS = 60.0
MICRO = 1e6
MILLI = 1e3
PERCENT = 100.0
UNICAST_TICK = 50
UNICAST_INTERVAL = 0.01
_WARM_UP = 5
_WARM_UP_GAP = 20e-6


@dataclass(frozen=True, slots=True)
class Bench:
    """What the scenarios share.

    ``tokens`` are of distinct users whose ids are their places. ``folder`` and ``databases`` are kept until the end of
    the run.
    """

    plan: Plan
    results: Results
    tokens: Sequence[str]
    cores: Cores
    only: Collection[str]
    folder: Path
    databases: Databases

    @asynccontextmanager
    async def serving(self, kind: Kind) -> AsyncIterator[tuple[Server, Crowd]]:
        """A fresh server and no clients yet."""
        async with running(kind, self.cores, self.cores.server) as server:
            crowd = Crowd(server.url, self.tokens)
            try:
                yield server, crowd
            finally:
                crowd.close()

    @asynccontextmanager
    async def serving_members(self, kind: Kind, members: int) -> AsyncIterator[tuple[Server, Crowd, Publisher]]:
        """A fresh server, clients of so many users, and a backend."""
        async with self.serving(kind) as (server, crowd):
            await crowd.grow(members)
            async with publishing(server.publish_url) as publisher:
                yield server, crowd, publisher

    def note(self, key: str, kind: Kind, value: float) -> None:
        self.results.add(key, kind.name, value)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of the server until the last client had all, and of what trails that: counts and receipts.

    ``load`` is the percentage of its own core that the load generator took until then.
    """

    cpu: float
    trailing: float
    load: float


async def cost_of(server: Server, crowd: Crowd, act: Callable[[], Awaitable[object]], *, each: int) -> Cost:
    """Of an act that posts ``each`` notifications to every client. Raises Incomplete, or Rejected."""
    before = await server.usage()
    start, start_cpu = time.monotonic(), time.process_time()
    await act()
    await crowd.arrived(each, within=DELIVERY_SECONDS)
    arrived = await server.usage()
    load = (time.process_time() - start_cpu) / (time.monotonic() - start) * PERCENT
    await asyncio.sleep(TRAILING_SECONDS)
    after = await server.usage()
    await crowd.expect(each, within=0.0)
    return Cost(arrived.cpu - before.cpu, after.cpu - arrived.cpu, load)


async def post_to_users(publisher: Publisher, number: int, users: int) -> None:
    """So many notifications to users in turn, 5,000 a second, in small batches. Raises Rejected."""

    def make(tick: int) -> bytes:
        first = tick * UNICAST_TICK
        return batch([one % users for one in range(first, min(first + UNICAST_TICK, number))])

    await post_at_a_pace(publisher, -(-number // UNICAST_TICK), UNICAST_INTERVAL, make)


async def post_to_everyone(publisher: Publisher, number: int, interval: float) -> None:
    """Raises Rejected."""
    await post_at_a_pace(publisher, number, interval, lambda _: publication(None))


async def warm_up(crowd: Crowd, publisher: Publisher) -> None:
    members = len(crowd.clients)
    await post_to_users(publisher, members, members)
    await crowd.expect(1, within=DELIVERY_SECONDS)
    await post_to_everyone(publisher, _WARM_UP, members * _WARM_UP_GAP)
    await crowd.expect(_WARM_UP, within=DELIVERY_SECONDS)
    await asyncio.sleep(TRAILING_SECONDS)


async def held_memory(server: Server) -> float:
    """In KiB, once garbage was collected and freed."""
    await server.ask("collect")
    await asyncio.sleep(SETTLE_SECONDS)
    await server.ask("collect")
    return (await server.usage()).rss_kib
