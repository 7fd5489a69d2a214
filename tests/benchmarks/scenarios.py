"""What is done to the servers, and what is noted of it."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tests.benchmarks.bench import (
    DELIVERY_SECONDS,
    MICRO,
    MILLI,
    UNICAST_INTERVAL,
    UNICAST_TICK,
    Bench,
    cpu_of,
    held_memory,
    stream,
    warm_up,
)
from tests.benchmarks.clients import Crowd
from tests.benchmarks.durable import log, publish, recover
from tests.benchmarks.results import at
from tests.benchmarks.servers import NODEJS, OURS, STOCK, Kind, Server

SCENARIO_SECONDS = 300.0
LOG_SECONDS = 1800.0
IDLE_SECONDS = 3.0
RETURN_SECONDS = 120.0
SLOW_INTERVAL = 0.1
# What the slow reader is sent beside the room: it fills whatever is buffered for it within a second or two.
BULK_BYTES = 16_000
BULK_PER_SEND = 5


async def connections(bench: Bench, kind: Kind) -> None:
    """Clients connect, some at once: CPU of each. Then they idle: memory of each, garbage collected, and CPU again.

    The first tenth warms up and does not count.
    """
    first, idle = bench.plan.idle // 10, bench.plan.idle
    async with bench.serving(kind) as (server, crowd):
        await crowd.grow(first)
        held = await held_memory(server)
        before = await server.usage()
        await crowd.grow(idle)
        after = await server.usage()
        bench.note("connection", kind, (after.cpu - before.cpu) / (idle - first) * MICRO)
        bench.note("memory", kind, (await held_memory(server) - held) / (idle - first))
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
        await warm_up(server, crowd)
        if "unicast" in bench.only:
            await _unicast(bench, kind, server, crowd, "unicast")
        if "room" in bench.only:
            await _room(bench, kind, server, crowd, "room")
        if "burst" in bench.only:
            cpu = 0.0
            for _ in range(load.bursts):
                cpu += await cpu_of(server, crowd, stream(load.burst, per_tick=load.burst), each=load.burst)
            bench.note("burst", kind, cpu / (load.burst * load.bursts * members) * MICRO)


async def growth(bench: Bench, kind: Kind) -> None:
    """Memory and CPU per delivery by the number of connections: of one server that idles, and one that delivers."""
    sizes = bench.plan.growth_of(kind)
    async with bench.serving(kind) as (server, crowd):
        held = await held_memory(server)
        for size in sizes:
            await crowd.grow(size)
            bench.note(at("memory", size), kind, (await held_memory(server) - held) / size)
    async with bench.serving(kind) as (server, crowd):
        for size in sizes:
            await crowd.grow(size)
            await warm_up(server, crowd)
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
            await warm_up(server, crowd)
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
        await cpu_of(server, crowd, stream(1), each=1)


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
    within: float = SCENARIO_SECONDS


SCENARIOS = (
    Scenario(("connections",), (OURS, NODEJS, STOCK), connections),
    Scenario(("unicast", "room", "burst"), (OURS, NODEJS, STOCK), deliveries),
    Scenario(("limit",), (OURS,), limit),
    Scenario(("growth",), (OURS, NODEJS, STOCK), growth),
    Scenario(("slow",), (OURS,), slow),
    Scenario(("reconnect",), (OURS, NODEJS), reconnect),
    Scenario(("publish",), (OURS, NODEJS), publish),
    Scenario(("recover",), (OURS,), recover),
    Scenario(("log",), (OURS,), log, LOG_SECONDS),
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
    cpu = await cpu_of(server, crowd, notifications, each=each)
    bench.note("generator", kind, (time.process_time() - start_cpu) / (time.monotonic() - start))
    bench.note(key, kind, cpu / (each * len(crowd.clients)) * MICRO)
