"""What the scenarios share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.clients import Crowd
from tests.benchmarks.plan import Plan
from tests.benchmarks.results import Results
from tests.benchmarks.servers import Cores, Kind, Server, running

SETTLE_SECONDS = 1.0
DELIVERY_SECONDS = 60.0
MICRO = 1e6
MILLI = 1e3
UNICAST_TICK = 50
UNICAST_INTERVAL = 0.01
_WARM_UP = 5
_WARM_UP_GAP = 20e-6


@dataclass(frozen=True, slots=True)
class Bench:
    """What the scenarios share.

    ``tokens`` are of distinct users whose ids are their places. ``folder`` is kept until the end of the run.
    """

    plan: Plan
    results: Results
    tokens: Sequence[str]
    cores: Cores
    only: Collection[str]
    folder: Path

    @asynccontextmanager
    async def serving(self, kind: Kind) -> AsyncIterator[tuple[Server, Crowd]]:
        """A fresh server and no clients yet."""
        async with running(kind, self.cores) as server:
            crowd = Crowd(server.url, self.tokens)
            try:
                yield server, crowd
            finally:
                crowd.close()

    def note(self, key: str, kind: Kind, value: float) -> None:
        self.results.add(key, kind.name, value)


def stream(
    sends: int, *, per_tick: int = 1, interval: float = 0.0, users: int = 0, first: int = 0, body_bytes: int = 0
) -> dict[str, object]:
    """A stream of notifications as servers are told it."""
    return {
        "sends": sends,
        "per_tick": per_tick,
        "interval": interval,
        "users": users,
        "first": first,
        "body_bytes": body_bytes,
    }


async def cpu_of(server: Server, crowd: Crowd, notifications: dict[str, object], *, each: int) -> float:
    """The server's CPU seconds from the first emission to the last receipt. Raises Incomplete."""
    before = await server.usage()
    await server.ask("send", streams=[notifications])
    await crowd.expect(each, within=DELIVERY_SECONDS)
    return (await server.usage()).cpu - before.cpu


async def warm_up(server: Server, crowd: Crowd) -> None:
    members = len(crowd.clients)
    await cpu_of(
        server, crowd, stream(members, per_tick=UNICAST_TICK, interval=UNICAST_INTERVAL, users=members), each=1
    )
    await cpu_of(server, crowd, stream(_WARM_UP, interval=members * _WARM_UP_GAP), each=_WARM_UP)


async def held_memory(server: Server) -> float:
    """In KiB, once garbage was collected and freed."""
    await server.ask("collect")
    await asyncio.sleep(SETTLE_SECONDS)
    await server.ask("collect")
    return (await server.usage()).rss_kib
