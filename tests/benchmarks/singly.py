"""One publish a request, at a rate that waits for no answer: what it costs and takes, and the loop's pauses."""

from __future__ import annotations

import asyncio
import statistics
from array import array

from tests.benchmarks.bench import DELIVERY_SECONDS, MICRO, MILLI, TRAILING_SECONDS, Bench, cost_of
from tests.benchmarks.clients import Crowd
from tests.benchmarks.plan import Rate
from tests.benchmarks.publishing import Publisher, post_at_a_pace, publication
from tests.benchmarks.results import at
from tests.benchmarks.servers import Kind


async def publish_singly(bench: Bench, kind: Kind) -> None:
    """To the rooms of users in turn: the server's CPU, and the time from the post to the client's socket.

    Timed from when it is posted, also where no connection is free for it yet: a server that is slow is told so. By how
    much the load generator itself was late is none of it, and noted beside it.
    """
    members = bench.plan.members
    async with bench.serving_members(kind, members) as (server, crowd, publisher):
        await _warm_up(crowd, publisher, bench.plan.rates[-1].interval)
        for rate in bench.plan.rates:
            size = rate.a_second
            each = rate.each_of(members)
            lateness: array[float] = array("d")
            delays = crowd.time_deliveries(range(members))

            async def act(rate: Rate = rate, each: int = each, lateness: array[float] = lateness) -> None:
                lateness += await _post_to_each(publisher, members, each, rate.interval)

            cost = await cost_of(server, crowd, act, each=each)
            crowd.time_deliveries(None)
            bench.note(at("publish-cpu", size), kind, cost.cpu / (each * members) * MICRO)
            bench.note(at("publish-load", size), kind, cost.load)
            for percent in (50, 95, 99):
                bench.note(at(f"publish-p{percent}", size), kind, percentile(delays, percent) * MILLI)
            bench.note(at("publish-late", size), kind, percentile(lateness, 99) * MILLI)


async def pauses(bench: Bench, kind: Kind) -> None:
    """The same beside many connections: the longest pause of the server's loop, by a ticker of the program's own in it.

    From inside, as a probe on the load generator's core would see the generator's pauses as well.
    """
    clients, rate = bench.plan.idle, bench.plan.rate_beside_idle
    each = rate.each_of(clients)
    async with bench.serving_members(kind, clients) as (server, crowd, publisher):
        await _warm_up(crowd, publisher, rate.interval)
        delays = crowd.time_deliveries(range(clients))
        await server.ask("watch")
        await _post_to_each(publisher, clients, each, rate.interval)
        await crowd.expect(each, within=DELIVERY_SECONDS)
        bench.note("pause", kind, (await server.ask("stall"))["seconds"] * MILLI)
        bench.note("pause-p99", kind, percentile(delays, 99) * MILLI)


async def _warm_up(crowd: Crowd, publisher: Publisher, interval: float) -> None:
    members = len(crowd.clients)
    await _post_to_each(publisher, members, 1, interval)
    await crowd.expect(1, within=DELIVERY_SECONDS)
    await asyncio.sleep(TRAILING_SECONDS)


async def _post_to_each(publisher: Publisher, users: int, each: int, interval: float) -> array[float]:
    """By how many seconds each post was late."""
    return await post_at_a_pace(publisher, each * users, interval, lambda number: publication(number % users))


def percentile(values: array[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]
