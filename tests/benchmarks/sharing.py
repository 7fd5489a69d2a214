"""Nodes that share a PostgreSQL database: how fast they append, deliver to one another, and what they ask when idle."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from array import array
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tests.benchmarks.appender import Appender, ready_batches
from tests.benchmarks.bench import DELIVERY_SECONDS, MICRO, MILLI, TRAILING_SECONDS, Bench
from tests.benchmarks.clients import Crowd
from tests.benchmarks.databases import (
    Statements,
    all_nodes_at,
    commits_after,
    counted_line,
    head,
    held_transaction,
    transactions,
)
from tests.benchmarks.publishing import (
    CONNECTIONS,
    Publisher,
    batch,
    post_at_a_pace,
    post_one_by_one,
    publication,
    publishing,
)
from tests.benchmarks.results import at
from tests.benchmarks.servers import APPENDER, NODES, REPOSITORY, Kind, Server, ServerFailed, running, starting_on
from tests.benchmarks.singly import percentile

BACKENDS = 4
"""So many post batches to each node, each once the one before is answered: what comes at once shares a commit."""

CONNECTIONS_SETTLE_SECONDS = 12.0
"""After that nothing is written of a client that has come."""

LOG_PASSES = 3
LENGTHENED = 1.05


@dataclass(frozen=True, slots=True)
class Node:
    """With clients of its own: every so manieth user, beginning with its own number."""

    server: Server
    crowd: Crowd


class NextNode:
    """Posts each request to the node behind that of whose turn it is: what is for users in turn goes to a node that
    has none of their clients."""

    def __init__(self, publishers: Sequence[Publisher]) -> None:
        self._publishers = publishers
        self._turns = itertools.cycle([*publishers[1:], publishers[0]])

    def post(self, request: bytes) -> None:
        next(self._turns).post(request)

    async def answered(self) -> None:
        await asyncio.gather(*(publisher.answered() for publisher in self._publishers))


@asynccontextmanager
async def _running_nodes(bench: Bench, urls: Sequence[str]) -> AsyncIterator[Sequence[Node]]:
    """One for each URL of the database, on all cores: with the database they are more than there are."""
    async with AsyncExitStack() as stack:
        nodes = []
        for number, url in enumerate(urls):
            server = await stack.enter_async_context(running(NODES, bench.cores, None, {"database": url}))
            crowd = Crowd(server.url, bench.tokens[number :: len(urls)])
            stack.callback(crowd.close)
            nodes.append(Node(server, crowd))
        yield nodes


@asynccontextmanager
async def _publishing_to(urls: Iterable[str], connections: int = CONNECTIONS) -> AsyncIterator[Sequence[Publisher]]:
    """They connect just now, and over no more than they use: who is connected and says nothing for long is cut."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(publishing(url, connections)) for url in urls]


async def append(bench: Bench, kind: Kind) -> None:
    """Batches for users who are not connected, posted to all nodes at once; beside it as many bare clients that call
    the appending function with as much, in a database like it: time of the wall clock a notification."""
    plan = bench.plan.shared
    databases = bench.databases
    for number in plan.nodes:
        total = number * plan.batches * plan.batch
        with databases.new_store() as database:
            async with _running_nodes(bench, [databases.server.url(database)] * number) as nodes:
                bench.note(at("shared-append", number), kind, await _posting(bench, nodes) / total * MICRO)
        with databases.new_store() as database:
            seconds = await _appending(bench, databases.server.url(database), number)
            bench.note(at("shared-append", number), APPENDER, seconds / total * MICRO)


async def _posting(bench: Bench, nodes: Sequence[Node]) -> float:
    """Seconds until all batches are answered."""
    plan = bench.plan.shared
    request = batch([number % plan.members for number in range(plan.batch)])
    async with _publishing_to([node.server.url for node in nodes] * BACKENDS, connections=1) as backends:
        await asyncio.gather(*(post_one_by_one(backend, [request]) for backend in backends))
        start = time.monotonic()
        each = plan.batches // BACKENDS
        await asyncio.gather(*(post_one_by_one(backend, [request] * each) for backend in backends))
        return time.monotonic() - start


async def _appending(bench: Bench, url: str, clients: int) -> float:
    plan = bench.plan.shared
    await asyncio.to_thread(Appender(url, await ready_batches(1, plan.batch, plan.members)).run)
    appenders = [Appender(url, await ready_batches(plan.batches, plan.batch, plan.members)) for _ in range(clients)]
    start = time.monotonic()
    await asyncio.gather(*(asyncio.to_thread(appender.run) for appender in appenders))
    return time.monotonic() - start


async def across(bench: Bench, kind: Kind) -> None:
    """One publish a request, each to a node that the user's client is not on: commits, and time to the socket. Then the
    same after a transaction has been open under that load for a while, and stays open."""
    plan, server = bench.plan.shared, bench.databases.server
    with bench.databases.new_store() as database:
        async with _running_nodes(bench, [server.url(database)] * plan.most) as nodes:
            for node in nodes:
                await node.crowd.grow(plan.members // plan.most)
            await _post_across(bench, nodes, 1)
            await asyncio.sleep(TRAILING_SECONDS)
            await _measure_across(bench, kind, database, nodes, "")
            with held_transaction(server, database):
                await _post_across(bench, nodes, _times(bench, plan.held_seconds))
                await _measure_across(bench, kind, database, nodes, "-held")


def _times(bench: Bench, seconds: float) -> int:
    """How often each user is published to in so many seconds."""
    plan = bench.plan.shared
    return max(1, round(plan.rate.a_second * seconds / plan.members))


async def _measure_across(bench: Bench, kind: Kind, database: str, nodes: Sequence[Node], held: str) -> None:
    plan, server = bench.plan.shared, bench.databases.server
    each = _times(bench, plan.rate.seconds)
    before, begun, spent = head(server, database), transactions(server), await _cpu_of(nodes)
    delays = [node.crowd.time_deliveries(range(len(node.crowd.clients))) for node in nodes]
    lateness = await _post_across(bench, nodes, each)
    for node in nodes:
        node.crowd.time_deliveries(None)
    publishes = each * plan.members
    bench.note(f"shared-cpu{held}", kind, (await _cpu_of(nodes) - spent) / publishes * MICRO)
    all_delays = array("d", itertools.chain.from_iterable(delays))
    bench.note(f"shared-commits{held}", kind, commits_after(server, database, before) / publishes)
    bench.note(f"shared-transactions{held}", kind, (transactions(server) - begun) / publishes)
    bench.note(f"shared-p50{held}", kind, percentile(all_delays, 50) * MILLI)
    bench.note(f"shared-p99{held}", kind, percentile(all_delays, 99) * MILLI)
    bench.note(f"shared-late{held}", kind, percentile(lateness, 99) * MILLI)


async def _cpu_of(nodes: Sequence[Node]) -> float:
    return sum([(await node.server.usage()).cpu for node in nodes])


async def _post_across(bench: Bench, nodes: Sequence[Node], each: int) -> array[float]:
    """So many to each user, at the plan's rate, until all have come; by how many seconds each was posted late."""
    plan = bench.plan.shared
    async with _publishing_to(node.server.url for node in nodes) as publishers:
        lateness = await post_at_a_pace(
            NextNode(publishers),
            each * plan.members,
            plan.rate.interval,
            lambda number: publication(number % plan.members),
        )
    await asyncio.gather(*(node.crowd.expect(each, within=DELIVERY_SECONDS) for node in nodes))
    return lateness


async def idle(bench: Bench, kind: Kind) -> None:
    """Clients are connected and nothing is published: what a node asks of the database."""
    plan, server = bench.plan.shared, bench.databases.server
    with bench.databases.new_store() as database:
        async with _running_nodes(bench, [server.url(database)] * plan.most) as nodes:
            for node in nodes:
                await node.crowd.grow(plan.members // plan.most)
            await asyncio.sleep(CONNECTIONS_SETTLE_SECONDS)
            statements = Statements(server)
            await asyncio.sleep(plan.idle_seconds)
            counted = statements.count()
        for key, number in zip(("statements", "hints", "leases"), counted, strict=True):
            bench.note(f"shared-idle-{key}", kind, number / plan.idle_seconds / plan.most)


async def strangers(bench: Bench, kind: Kind) -> None:
    """Batches are posted to one node, for users whom another one does not have: what that one reads an entry, without
    what it reads in that time anyway."""
    plan, server = bench.plan.shared, bench.databases.server
    with bench.databases.new_store() as database:
        async with (
            counted_line(server) as line,
            _running_nodes(bench, [server.url(database), line.url(database)]) as (node, _),
        ):
            octets, start = line.octets, time.monotonic()
            await asyncio.sleep(plan.idle_seconds)
            a_second = (line.octets - octets) / (time.monotonic() - start)
            octets, start = line.octets, time.monotonic()
            requests = (batch([number % plan.members for number in range(plan.batch)]) for _ in range(plan.batches))
            async with _publishing_to([node.server.url], connections=1) as (publisher,):
                await post_one_by_one(publisher, requests)
            await all_nodes_at(server, database, plan.batches * plan.batch)
            read = line.octets - octets - a_second * (time.monotonic() - start)
            bench.note("shared-strangers", kind, read / (plan.batches * plan.batch))


async def shared_log(bench: Bench, kind: Kind) -> None:
    """A short log and a long one, in turn: appending, and reading what a user missed."""
    server, logs = bench.databases.server, bench.databases.logs
    for entries in bench.plan.shared.log * LOG_PASSES:
        if entries in logs and head(server, logs[entries]) > entries * LENGTHENED:
            server.drop_databases([logs.pop(entries)])
        if entries not in logs:
            logs[entries] = server.new_store()
        for key, value in (await _measured(bench, server.url(logs[entries]), entries)).items():
            bench.note(at(f"shared-{key}", entries), kind, value)


async def _measured(bench: Bench, url: str, entries: int) -> dict[str, float]:
    """Raises ServerFailed."""
    with starting_on(None, bench.cores):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.benchmarks.programs.shared_log",
            *(url, str(entries)),
            cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE,
        )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ServerFailed(f"the program that measures the log ended with {process.returncode}")
    measured: dict[str, float] = json.loads(output)
    return measured
