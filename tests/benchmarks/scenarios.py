"""What is done to the servers, and what is noted of it."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from tests.benchmarks.clients import Crowd
from tests.benchmarks.results import Results, at
from tests.benchmarks.servers import NODEJS, OURS, STOCK, Cores, Kind, Server, running

SETTLE_SECONDS = 1.0
IDLE_SECONDS = 3.0
DELIVERY_SECONDS = 60.0
RETURN_SECONDS = 120.0
MICRO = 1e6
MILLI = 1e3


@dataclass(frozen=True, slots=True)
class Load:
    """How much is sent to one server.

    ``unicasts`` and ``room_deliveries`` are about how many deliveries a phase has; ``room_gap`` is the pace of a
    room in seconds a delivery, the same for every size of room. ``burst`` notifications are sent at once to the room.
    """

    unicasts: int
    room_deliveries: int
    room_gap: float
    burst: int
    bursts: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a run, in connections, and its load.

    ``stock_rounds`` rounds, and curves up to ``stock_growth``, are enough of the slowest, which is in no ratio.
    """

    members: int
    idle: int
    growth: Sequence[int]
    load: Load
    stock_load: Load
    stock_rounds: int
    stock_growth: int
    slow_sends: int

    @property
    def users(self) -> int:
        """How many users there are, the one who reads slowly among them."""
        return max(self.members, self.idle, *self.growth) + 1

    def load_of(self, kind: Kind) -> Load:
        return self.stock_load if kind is STOCK else self.load

    def growth_of(self, kind: Kind) -> Sequence[int]:
        return [size for size in self.growth if size <= self.stock_growth] if kind is STOCK else self.growth


# 5,000 unicasts a second; a notification every 20 ms to a room of 1,000.
FULL = Plan(
    members=1000,
    idle=5000,
    growth=(100, 300, 1000, 3000, 10_000),
    load=Load(unicasts=10_000, room_deliveries=100_000, room_gap=20e-6, burst=300, bursts=2),
    stock_load=Load(unicasts=10_000, room_deliveries=20_000, room_gap=200e-6, burst=30, bursts=1),
    stock_rounds=3,
    stock_growth=1000,
    slow_sends=80,
)
QUICK = Plan(
    members=100,
    idle=300,
    growth=(30, 100),
    load=Load(unicasts=1000, room_deliveries=5000, room_gap=200e-6, burst=30, bursts=1),
    stock_load=Load(unicasts=500, room_deliveries=2000, room_gap=200e-6, burst=10, bursts=1),
    stock_rounds=1,
    stock_growth=100,
    slow_sends=20,
)

UNICAST_TICK = 50
UNICAST_INTERVAL = 0.01
SLOW_INTERVAL = 0.1
# What the slow reader is sent beside the room: it fills whatever is buffered for it within a second or two.
BULK_BYTES = 16_000
BULK_PER_SEND = 5
WARM_UP = 5
WARM_UP_GAP = 20e-6


@dataclass(frozen=True, slots=True)
class Bench:
    """What the scenarios share. ``tokens`` are of distinct users whose ids are their places."""

    plan: Plan
    results: Results
    tokens: Sequence[str]
    cores: Cores
    only: Collection[str]

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


async def connections(bench: Bench, kind: Kind) -> None:
    """Clients connect, some at once: CPU of each. Then they idle: memory of each, garbage collected, and CPU again.

    The first tenth warms up and does not count.
    """
    warm_up, idle = bench.plan.idle // 10, bench.plan.idle
    async with bench.serving(kind) as (server, crowd):
        await crowd.grow(warm_up)
        held = await _held_memory(server)
        before = await server.usage()
        await crowd.grow(idle)
        after = await server.usage()
        bench.note("connection", kind, (after.cpu - before.cpu) / (idle - warm_up) * MICRO)
        bench.note("memory", kind, (await _held_memory(server) - held) / (idle - warm_up))
        before = await server.usage()
        await asyncio.sleep(IDLE_SECONDS)
        after = await server.usage()
        bench.note("idle", kind, (after.cpu - before.cpu) / IDLE_SECONDS / idle * MICRO)
        await crowd.expect(0, within=0)


async def deliveries(bench: Bench, kind: Kind) -> None:
    """To user rooms in turn, to one room at a pace, and to one room in a burst: CPU per delivery."""
    load, members = bench.plan.load_of(kind), bench.plan.members
    async with bench.serving(kind) as (server, crowd):
        await crowd.grow(members)
        await _warm_up(server, crowd)
        if "unicast" in bench.only:
            await _unicast(bench, kind, server, crowd, "unicast")
        if "room" in bench.only:
            await _room(bench, kind, server, crowd, "room")
        if "burst" in bench.only:
            cpu = 0.0
            for _ in range(load.bursts):
                cpu += await _cpu_of(server, crowd, stream(load.burst, per_tick=load.burst), each=load.burst)
            bench.note("burst", kind, cpu / (load.burst * load.bursts * members) * MICRO)


async def growth(bench: Bench, kind: Kind) -> None:
    """Memory and CPU per delivery by the number of connections: of one server that idles, and one that delivers."""
    sizes = bench.plan.growth_of(kind)
    async with bench.serving(kind) as (server, crowd):
        held = await _held_memory(server)
        for size in sizes:
            await crowd.grow(size)
            bench.note(at("memory", size), kind, (await _held_memory(server) - held) / size)
    async with bench.serving(kind) as (server, crowd):
        for size in sizes:
            await crowd.grow(size)
            await _warm_up(server, crowd)
            await _unicast(bench, kind, server, crowd, at("unicast", size))
            await _room(bench, kind, server, crowd, at("room", size))


async def slow(bench: Bench, kind: Kind) -> None:
    """A room at a slow pace, and much for one user of it, who reads it or does not: delivery times of the others."""
    members, sends = bench.plan.members, bench.plan.slow_sends
    others = range(members)
    streams = (
        stream(sends, interval=SLOW_INTERVAL),
        stream(
            sends * BULK_PER_SEND,
            interval=SLOW_INTERVAL / BULK_PER_SEND,
            users=1,
            first=members,
            body_bytes=BULK_BYTES,
        ),
    )
    for key, is_slow in (("p99", False), ("p99-slow", True)):
        async with bench.serving(kind) as (server, crowd):
            await crowd.grow(members if is_slow else members + 1)
            await _warm_up(server, crowd)
            if is_slow:
                await crowd.add_slow_reader()
            delays = crowd.time_deliveries(others)
            await server.ask("send", streams=streams)
            await crowd.expect(sends, within=DELIVERY_SECONDS, of=others)
            crowd.time_deliveries(None)
            bench.note(key, kind, statistics.quantiles(delays, n=100)[-1] * MILLI)


async def reconnect(bench: Bench, kind: Kind) -> None:
    """All clients are cut at once and return at once."""
    clients = bench.plan.idle
    async with bench.serving(kind) as (server, crowd):
        await crowd.grow(clients)
        await server.ask("watch")
        before = await server.usage()
        bench.note("return", kind, await crowd.cut_and_return(within=RETURN_SECONDS))
        after = await server.usage()
        bench.note("return-stall", kind, (await server.ask("stall"))["seconds"] * MILLI)
        bench.note("return-cpu", kind, (after.cpu - before.cpu) / clients * MICRO)
        await _cpu_of(server, crowd, stream(1), each=1)


async def limit(bench: Bench, kind: Kind) -> None:
    """What nobody can be below: the paced room as a bare loop of ``send()``."""
    members, load = bench.plan.members, bench.plan.load
    cores = [str(-1 if core is None else core) for core in (bench.cores.server, bench.cores.load)]
    sends = max(1, round(load.room_deliveries / members))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.benchmarks.programs.limit",
        *(str(members), str(sends), str(load.room_gap * members), *cores),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), DELIVERY_SECONDS)
    bench.note("limit", kind, float(output))


Run: TypeAlias = Callable[[Bench, Kind], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing done to some servers. It runs where one of its ``parts`` is asked for."""

    parts: Sequence[str]
    kinds: Sequence[Kind]
    run: Run


SCENARIOS = (
    Scenario(("connections",), (OURS, NODEJS, STOCK), connections),
    Scenario(("unicast", "room", "burst"), (OURS, NODEJS, STOCK), deliveries),
    Scenario(("limit",), (OURS,), limit),
    Scenario(("growth",), (OURS, NODEJS, STOCK), growth),
    Scenario(("slow",), (OURS,), slow),
    Scenario(("reconnect",), (OURS, NODEJS), reconnect),
)
PARTS = tuple(part for scenario in SCENARIOS for part in scenario.parts)


async def _unicast(bench: Bench, kind: Kind, server: Server, crowd: Crowd, key: str) -> None:
    members = len(crowd.clients)
    each = max(1, round(bench.plan.load_of(kind).unicasts / members))
    unicasts = stream(each * members, per_tick=UNICAST_TICK, interval=UNICAST_INTERVAL, users=members)
    await _paced(bench, kind, server, crowd, key, unicasts, each=each)


async def _room(bench: Bench, kind: Kind, server: Server, crowd: Crowd, key: str) -> None:
    members, load = len(crowd.clients), bench.plan.load_of(kind)
    each = max(1, round(load.room_deliveries / members))
    await _paced(bench, kind, server, crowd, key, stream(each, interval=members * load.room_gap), each=each)


async def _paced(
    bench: Bench, kind: Kind, server: Server, crowd: Crowd, key: str, notifications: dict[str, object], *, each: int
) -> None:
    """Note the server's CPU per delivery, and the share of its core that the load generator itself took."""
    start, start_cpu = time.monotonic(), time.process_time()
    cpu = await _cpu_of(server, crowd, notifications, each=each)
    bench.note("generator", kind, (time.process_time() - start_cpu) / (time.monotonic() - start))
    bench.note(key, kind, cpu / (each * len(crowd.clients)) * MICRO)


async def _cpu_of(server: Server, crowd: Crowd, notifications: dict[str, object], *, each: int) -> float:
    """The server's CPU seconds from the first emission to the last receipt. Raises Incomplete."""
    before = await server.usage()
    await server.ask("send", streams=[notifications])
    await crowd.expect(each, within=DELIVERY_SECONDS)
    return (await server.usage()).cpu - before.cpu


async def _warm_up(server: Server, crowd: Crowd) -> None:
    members = len(crowd.clients)
    await _cpu_of(
        server, crowd, stream(members, per_tick=UNICAST_TICK, interval=UNICAST_INTERVAL, users=members), each=1
    )
    await _cpu_of(server, crowd, stream(WARM_UP, interval=members * WARM_UP_GAP), each=WARM_UP)


async def _held_memory(server: Server) -> float:
    """In KiB, once garbage was collected and freed."""
    await server.ask("collect")
    await asyncio.sleep(SETTLE_SECONDS)
    await server.ask("collect")
    return (await server.usage()).rss_kib
