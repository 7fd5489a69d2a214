"""What is done to the servers, and what is noted of it."""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from tests.benchmarks.bench import (
    DELIVERY_SECONDS,
    MICRO,
    MILLI,
    TRAILING_SECONDS,
    Bench,
    cost_of,
    held_memory,
    post_to_everyone,
    post_to_users,
    warm_up,
)
from tests.benchmarks.clients import Crowd
from tests.benchmarks.durable import log, recover
from tests.benchmarks.plan import Plan
from tests.benchmarks.publishing import Publisher, batch, post_at_a_pace, post_one_by_one, publication, publishing
from tests.benchmarks.results import at
from tests.benchmarks.servers import DURABLE, ECHO, MEMORY, NODEJS, NODES, OURS, STOCK, UNSEEN, Kind, Server
from tests.benchmarks.sharing import across, append, idle, shared_log, strangers
from tests.benchmarks.singly import pauses, publish_singly
from tests.in_time import in_time

SCENARIO_SECONDS = 300.0
LOG_SECONDS = 1800.0
# A transaction may be held open for ten minutes.
ACROSS_SECONDS = 1200.0
IDLE_SECONDS = 3.0
RETURN_SECONDS = 120.0
# Seconds enough at 10,000 members that receipts and counts, one a second each, weigh what they weigh in the long run.
LEAST_ROOM_SENDS = 25
SLOW_INTERVAL = 0.1
# What the slow reader is sent beside the room: it fills whatever is buffered for it within a second or two.
BULK_BYTES = 16_000
BULK_PER_SEND = 5


async def connections(bench: Bench, kind: Kind) -> None:
    """Clients connect, some at once: CPU of each. Then they idle: memory of each, garbage collected, and CPU again.

    Memory is that of those after the first members, as those pay for what all share; and, beside it, by their number.
    """
    members, sizes = bench.plan.members, bench.plan.growth_of(kind)
    async with bench.serving(kind) as (server, crowd):
        empty = await held_memory(server)
        held = {}
        connecting = {}
        spent = 0.0
        for size in sizes:
            before = await server.usage()
            await crowd.grow(size)
            await asyncio.sleep(TRAILING_SECONDS)
            spent += (await server.usage()).cpu - before.cpu
            connecting[size], held[size] = spent, await held_memory(server)
            bench.note(at("memory", size), kind, (held[size] - empty) / size)
        most, later = sizes[-1], sizes[-1] - members
        bench.note("connection", kind, connecting[members] / members * MICRO)
        if later:
            bench.note("connection-later", kind, (connecting[most] - connecting[members]) / later * MICRO)
            bench.note("memory", kind, (held[most] - held[members]) / later)
        before = await server.usage()
        await asyncio.sleep(IDLE_SECONDS)
        after = await server.usage()
        bench.note("idle", kind, (after.cpu - before.cpu) / IDLE_SECONDS / most * MICRO)
        await crowd.expect(0, within=0)


async def deliveries(bench: Bench, kind: Kind) -> None:
    """Batches to user rooms, one room at a pace, and one room in a burst: CPU per delivery."""
    load, members = bench.plan.load_of(kind), bench.plan.members
    async with bench.serving_members(kind, members) as (server, crowd, publisher):
        await warm_up(crowd, publisher)
        if "publish_batches" in bench.only:
            await _batches(bench, kind, server, crowd, publisher)
        if "room" in bench.only:
            await _room(bench, kind, server, crowd, publisher, "room")
        if "burst" in bench.only:
            bursts = [batch([None] * load.burst) for _ in range(load.bursts)]
            each = load.burst * load.bursts
            cost = await cost_of(server, crowd, lambda: post_one_by_one(publisher, bursts), each=each)
            bench.note("burst", kind, cost.cpu / (each * members) * MICRO)
            bench.note("burst-trailing", kind, cost.trailing / (each * members) * MICRO)


async def growth(bench: Bench, kind: Kind) -> None:
    """CPU per delivery by the number of connections, at the same number of deliveries a second."""
    async with bench.serving(kind) as (server, crowd):
        for size in bench.plan.growth_of(kind):
            await crowd.grow(size)
            async with publishing(server.publish_url) as publisher:
                await warm_up(crowd, publisher)
                each = max(1, round(bench.plan.load_of(kind).unicasts / size))
                post = partial(post_to_users, publisher, each * size, size)
                cost = await cost_of(server, crowd, post, each=each)
                bench.note(at("unicast", size), kind, cost.cpu / (each * size) * MICRO)
                await _room(bench, kind, server, crowd, publisher, at("room", size))


async def slow(bench: Bench, kind: Kind) -> None:
    """A room at a slow pace, and much for one user of it, who reads it or does not: delivery times of the others."""
    members, sends = bench.plan.members, bench.plan.slow_sends
    others = range(members)
    for key, is_slow in (("p99", False), ("p99-slow", True)):
        async with bench.serving_members(kind, members if is_slow else members + 1) as (_, crowd, publisher):
            await warm_up(crowd, publisher)
            if is_slow:
                await crowd.add_slow_reader()
            delays = crowd.time_deliveries(others)
            await asyncio.gather(
                post_to_everyone(publisher, sends, SLOW_INTERVAL),
                post_at_a_pace(
                    publisher,
                    sends * BULK_PER_SEND,
                    SLOW_INTERVAL / BULK_PER_SEND,
                    lambda _: publication(members, body_bytes=BULK_BYTES),
                ),
            )
            await crowd.expect(sends, within=DELIVERY_SECONDS, of=others)
            crowd.time_deliveries(None)
            bench.note(key, kind, statistics.quantiles(delays, n=100)[-1] * MILLI)


async def reconnect(bench: Bench, kind: Kind) -> None:
    """All clients are cut at once and return at once."""
    clients = bench.plan.returning
    async with bench.serving(kind) as (server, crowd):
        await crowd.grow(clients)
        await server.ask("watch")
        before = await server.usage()
        bench.note("return", kind, await crowd.cut_and_return(within=RETURN_SECONDS))
        after = await server.usage()
        bench.note("return-stall", kind, (await server.ask("stall"))["seconds"] * MILLI)
        bench.note("return-cpu", kind, (after.cpu - before.cpu) / clients * MICRO)
        async with publishing(server.publish_url) as publisher:
            await post_to_everyone(publisher, 1, 0.0)
            await crowd.expect(1, within=DELIVERY_SECONDS)


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
    output, _ = await in_time(process.communicate(), DELIVERY_SECONDS)
    bench.note("limit", kind, float(output))


Run: TypeAlias = Callable[[Bench, Kind], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing done to some servers. It runs where one of its ``parts`` is asked for.

    Those ``aside`` are in no target of it: a few rounds are enough of them.
    """

    parts: Sequence[str]
    kinds: Sequence[Kind]
    run: Run
    aside: Sequence[Kind] = ()
    within: float = SCENARIO_SECONDS

    def kinds_in(self, round_number: int, plan: Plan) -> Sequence[Kind]:
        return (*self.kinds, *self.aside) if round_number < plan.aside_rounds else self.kinds


SCENARIOS = (
    Scenario(("publish_singly",), (OURS, UNSEEN, MEMORY, DURABLE, NODEJS), publish_singly, aside=(STOCK, ECHO)),
    Scenario(("publish_batches", "room", "burst"), (OURS, UNSEEN, MEMORY, NODEJS), deliveries, aside=(DURABLE, STOCK)),
    Scenario(("limit",), (), limit, aside=(OURS,)),
    Scenario(("connections",), (OURS, MEMORY, NODEJS), connections, aside=(STOCK,)),
    Scenario(("pauses",), (OURS, MEMORY), pauses, aside=(DURABLE, NODEJS, STOCK, ECHO)),
    Scenario(("growth",), (OURS,), growth, aside=(NODEJS, STOCK)),
    Scenario(("slow",), (OURS,), slow),
    Scenario(("reconnect",), (), reconnect, aside=(OURS, NODEJS)),
    Scenario(("recover",), (OURS,), recover),
    Scenario(("log",), (OURS,), log, within=LOG_SECONDS),
    Scenario(("nodes_append",), (NODES,), append),
    Scenario(("nodes_across",), (NODES,), across, within=ACROSS_SECONDS),
    Scenario(("nodes_idle",), (NODES,), idle),
    Scenario(("nodes_strangers",), (NODES,), strangers),
    Scenario(("nodes_log",), (NODES,), shared_log, within=LOG_SECONDS),
)
PARTS = tuple(part for scenario in SCENARIOS for part in scenario.parts)


async def _batches(bench: Bench, kind: Kind, server: Server, crowd: Crowd, publisher: Publisher) -> None:
    """One after the other, each once the one before is answered."""
    load, members = bench.plan.load_of(kind), bench.plan.members
    total = load.batch * load.batches
    starts = range(0, total, load.batch)
    requests = (batch([one % members for one in range(start, start + load.batch)]) for start in starts)
    cost = await cost_of(server, crowd, lambda: post_one_by_one(publisher, requests), each=total // members)
    bench.note("batch", kind, cost.cpu / total * MICRO)
    bench.note("batch-trailing", kind, cost.trailing / total * MICRO)
    bench.note("batch-load", kind, cost.load)


async def _room(bench: Bench, kind: Kind, server: Server, crowd: Crowd, publisher: Publisher, key: str) -> None:
    members, load = len(crowd.clients), bench.plan.load_of(kind)
    each = max(LEAST_ROOM_SENDS, round(load.room_deliveries / members))
    act = partial(post_to_everyone, publisher, each, members * load.room_gap)
    cost = await cost_of(server, crowd, act, each=each)
    bench.note(key, kind, cost.cpu / (each * members) * MICRO)
    bench.note("room-load", kind, cost.load)
