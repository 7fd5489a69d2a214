"""What is done to servers that keep what they are given: publishing, recovering, and a log that grows."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time

from tests.benchmarks.bench import DELIVERY_SECONDS, MICRO, MILLI, SETTLE_SECONDS, Bench
from tests.benchmarks.clients import Crowd
from tests.benchmarks.publishing import Publisher, publishing
from tests.benchmarks.results import at
from tests.benchmarks.servers import REPOSITORY, Kind, Server, ServerFailed, pin

POST_INTERVAL = 0.001
BATCH_INTERVAL = 0.02
RETURN_SECONDS = 120.0


async def publish(bench: Bench, kind: Kind) -> None:
    """Backends post to user rooms in turn, one by one and then in batches: CPU per delivery, and what it takes."""
    load, members = bench.plan.publish, bench.plan.members
    async with bench.serving(kind) as (server, crowd), publishing(server.url) as publisher:
        await crowd.grow(members)
        await _cpu_of_posts(server, crowd, publisher, each=1)
        delays = crowd.time_deliveries(range(members))
        each = load.posts // members
        bench.note("publish", kind, await _cpu_of_posts(server, crowd, publisher, each=each) / load.posts * MICRO)
        crowd.time_deliveries(None)
        percentiles = statistics.quantiles(delays, n=100)
        bench.note("publish-p50", kind, percentiles[49] * MILLI)
        bench.note("publish-p99", kind, percentiles[98] * MILLI)
        deliveries = load.batches * load.batch
        before = await server.usage()
        await _post_batches(publisher, deliveries, batch=load.batch, users=members, interval=BATCH_INTERVAL)
        await crowd.expect(deliveries // members, within=DELIVERY_SECONDS)
        bench.note("publish-batch", kind, ((await server.usage()).cpu - before.cpu) / deliveries * MICRO)


async def _cpu_of_posts(server: Server, crowd: Crowd, publisher: Publisher, *, each: int) -> float:
    """The server's CPU seconds from the first post to the last receipt. Raises Incomplete or Rejected."""
    users = len(crowd.clients)
    before = await server.usage()
    start = time.monotonic()
    async with asyncio.TaskGroup() as posts:
        for number in range(each * users):
            await asyncio.sleep(max(0.0, start + number * POST_INTERVAL - time.monotonic()))
            posts.create_task(publisher.post_to(number % users))
    await crowd.expect(each, within=DELIVERY_SECONDS)
    return (await server.usage()).cpu - before.cpu


async def _post_batches(publisher: Publisher, number: int, *, batch: int, users: int, interval: float) -> None:
    """So many notifications to users in turn."""
    start = time.monotonic()
    for done, first in enumerate(range(0, number, batch)):
        await asyncio.sleep(max(0.0, start + done * interval - time.monotonic()))
        await publisher.post_batch([one % users for one in range(first, min(first + batch, number))])


async def recover(bench: Bench, kind: Kind) -> None:
    """All clients are cut at once and return at once with their cursors: having missed nothing, and then some each."""
    clients = bench.plan.idle
    async with bench.serving(kind) as (server, crowd), publishing(server.url) as publisher:
        await crowd.grow(clients)
        bench.note("rejoin-cpu", kind, await _cpu_of_return(bench, kind, server, crowd, missed=0))
        await crowd.cut()
        missed = bench.plan.missed
        await _post_batches(publisher, clients * missed, batch=1000, users=clients, interval=0.0)
        bench.note("recover-cpu", kind, await _cpu_of_return(bench, kind, server, crowd, missed=missed))


async def _cpu_of_return(bench: Bench, kind: Kind, server: Server, crowd: Crowd, *, missed: int) -> float:
    """The server's CPU per client in microseconds, of the return alone."""
    await crowd.cut()
    await asyncio.sleep(SETTLE_SECONDS)
    await server.ask("watch")
    before, start = await server.usage(), time.monotonic()
    await crowd.resume(within=RETURN_SECONDS)
    await crowd.expect(missed, within=DELIVERY_SECONDS)
    seconds = time.monotonic() - start
    after, stall = await server.usage(), (await server.ask("stall"))["seconds"]
    if missed:
        bench.note("recover", kind, seconds)
        bench.note("recover-stall", kind, stall * MILLI)
    return (after.cpu - before.cpu) / len(crowd.clients) * MICRO


async def log(bench: Bench, kind: Kind) -> None:
    """A short log and a long one: appending, reading what a user missed, counting, opening."""
    for entries in bench.plan.log:
        pin(bench.cores.server)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.benchmarks.programs.log",
                *(str(bench.folder), str(entries)),
                cwd=REPOSITORY,
                stdout=asyncio.subprocess.PIPE,
            )
        finally:
            pin(bench.cores.load)
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise ServerFailed(f"the program that measures the log ended with {process.returncode}")
        for key, value in json.loads(output).items():
            bench.note(at(key, entries), kind, value)
