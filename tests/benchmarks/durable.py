"""What is done to servers that keep what they are given: recovering, and a log that grows."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from tests.benchmarks.bench import DELIVERY_SECONDS, MICRO, MILLI, SETTLE_SECONDS, Bench
from tests.benchmarks.clients import Crowd
from tests.benchmarks.publishing import batch, post_one_by_one, publishing
from tests.benchmarks.results import at
from tests.benchmarks.servers import REPOSITORY, Kind, Server, ServerFailed, pin

BATCH = 1000
LOG_PASSES = 3
RETURN_SECONDS = 120.0


async def recover(bench: Bench, kind: Kind) -> None:
    """All clients are cut at once and return at once with their cursors: having missed nothing, and then some each."""
    clients = bench.plan.returning
    async with bench.serving(kind) as (server, crowd):
        await crowd.grow(clients)
        bench.note("rejoin-cpu", kind, await _cpu_of_return(bench, kind, server, crowd, missed=0))
        await crowd.cut()
        missed = bench.plan.missed
        starts = range(0, clients * missed, BATCH)
        requests = (batch([one % clients for one in range(start, min(start + BATCH, starts.stop))]) for start in starts)
        async with publishing(server.publish_url) as publisher:
            await post_one_by_one(publisher, requests)
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
    """A short log and a long one: appending, reading what a user missed, counting, opening.

    Each more than once and in turn: a ratio near 1 is judged, and what else the machine does should not hit one alone.
    """
    for entries in bench.plan.log * LOG_PASSES:
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
