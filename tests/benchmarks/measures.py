"""What is measured, and what it has to be."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.plan import Plan, SharedPlan
from tests.benchmarks.results import SHARE, Measure, Series, Target, at
from tests.benchmarks.servers import APPENDER, DURABLE, MEMORY, NODEJS, NODES, OURS, UNSEEN, Kind

SEEN_TIMES = 1.05
"""What metrics, logs and the ledger of deliveries may cost together."""

LOG = (
    ("append", "appending an entry alone, CPU", "µs"),
    ("append-batch", "appending in batches of 100, CPU an entry", "µs"),
    ("replay", "reading 10 missed entries from the file", "µs"),
    ("register", "registering in a new role, CPU", "µs"),
    ("count", "counting an inbox of 20", "µs"),
    ("open", "opening the store", "ms"),
)
SHARED_LOG = (
    ("shared-log-append", "appending an entry alone", "µs"),
    ("shared-log-append-batch", "appending in batches of 100, an entry", "µs"),
    ("shared-log-replay", "reading 10 missed entries", "µs"),
)
SHARED_LOG_TIMES = 1.15
GROWTH = (
    ("unicast", "CPU a delivery, batches of 50 to user rooms", "µs"),
    ("room", "CPU a delivery, one room, paced", "µs"),
)


def measures_of(plan: Plan) -> Iterator[Measure]:
    load, members = plan.load, plan.members
    for rate in plan.rates:
        pace = f"one publish a request, {rate.a_second:,}/s"
        yield Measure(at("publish-cpu", rate.a_second), f"{pace}: CPU", "µs")
        yield Measure(at("publish-p50", rate.a_second), f"{pace}: publish to socket, p50", "ms")
        yield Measure(at("publish-p95", rate.a_second), f"{pace}: publish to socket, p95", "ms")
        yield Measure(at("publish-p99", rate.a_second), f"{pace}: publish to socket, p99", "ms")
        yield Measure(at("publish-late", rate.a_second), f"{pace}: load generator late, p99", "ms", is_detail=True)
        yield Measure(at("publish-load", rate.a_second), f"{pace}: load generator", SHARE, is_detail=True)
    yield Measure("batch", f"batches of {load.batch:,} to {members:,} user rooms: CPU a delivery", "µs")
    yield Measure("batch-load", "batches to user rooms: load generator", SHARE, is_detail=True)
    yield Measure("batch-trailing", "batches to user rooms: counts and receipts after them, CPU a delivery", "µs")
    gap = load.room_gap * members * 1000
    yield Measure("room", f"room of {members:,}, one every {gap:.0f} ms: CPU a delivery", "µs")
    yield Measure("room-load", "one room, paced: load generator", SHARE, is_detail=True)
    yield Measure("limit", "the paced room as a bare loop of send(), the kernel's part: CPU a delivery", "µs")
    yield Measure("burst", f"room of {members:,}, burst of {load.burst}: CPU a delivery", "µs")
    yield Measure("burst-trailing", "one room, burst: counts and receipts after it, CPU a delivery", "µs")
    yield Measure("connection", f"an authenticated connection, the first {members:,}: CPU", "µs")
    yield Measure("connection-later", "an authenticated connection, those after them: CPU", "µs")
    yield Measure("memory", "an idle authenticated connection: memory", "KiB")
    yield Measure("idle", "an idle authenticated connection: CPU a second", "µs")
    beside = f"{plan.idle:,} connections, {plan.rate_beside_idle.a_second:,} publishes/s"
    yield Measure("pause", f"{beside}: longest pause of the loop", "ms")
    yield Measure("pause-p99", f"{beside}: publish to socket, p99", "ms")
    yield Measure("return", f"{plan.returning:,} cut at once: until all are back", "s")
    yield Measure("return-cpu", f"{plan.returning:,} cut at once: CPU a client", "µs")
    yield Measure("return-stall", f"{plan.returning:,} cut at once: longest pause of the loop", "ms")
    yield Measure("rejoin-cpu", f"{plan.returning:,} return with a cursor, nothing missed: CPU a client", "µs")
    missed = f"{plan.returning:,} return with a cursor, {plan.missed} missed"
    yield Measure("recover-cpu", f"{missed}: CPU a client", "µs")
    yield Measure("recover", f"{missed}: until all have them", "s")
    yield Measure("recover-stall", f"{missed}: longest pause of the loop", "ms")
    yield Measure("p99", f"room of {members:,}: publish to socket, p99", "ms", is_detail=True)
    yield Measure("p99-slow", f"room of {members:,} with a slow reader: publish to socket, p99", "ms", is_detail=True)
    for key, title, unit in GROWTH:
        for size in plan.growth:
            yield Measure(at(key, size), f"{title}, {size:,} connections", unit, is_detail=True)
    for size in plan.growth:
        yield Measure(at("memory", size), f"memory a connection, {size:,} connections", "KiB", is_detail=True)
    for key, title, unit in LOG:
        for size in plan.log:
            yield Measure(at(key, size), f"{title}, log of {size:,}", unit, is_detail=True)
    yield from _measures_of_nodes(plan.shared)


def _measures_of_nodes(plan: SharedPlan) -> Iterator[Measure]:
    batches = f"batches of {plan.batch:,} at once to"
    for number in plan.nodes:
        yield Measure(at("shared-append", number), f"{batches} {_nodes(number)}: a notification", "µs")
    pace = f"one publish a request, {plan.rate.a_second:,}/s, to {_nodes(plan.most)} in turn"
    held = f"{pace}, a transaction open for {plan.held_seconds:g} s elsewhere"
    for suffix, title in (("", pace), ("-held", held)):
        yield Measure(f"shared-commits{suffix}", f"{title}: commits that append, a publish", "")
        yield Measure(
            f"shared-transactions{suffix}", f"{title}: all that write or give a hint, a publish", "", is_detail=True
        )
        yield Measure(f"shared-cpu{suffix}", f"{title}: CPU of all nodes, a publish", "µs")
        yield Measure(f"shared-p50{suffix}", f"{title}: publish to socket of another node, p50", "ms")
        yield Measure(f"shared-p99{suffix}", f"{title}: publish to socket of another node, p99", "ms")
        yield Measure(f"shared-late{suffix}", f"{title}: load generator late, p99", "ms", is_detail=True)
    idle = f"{_nodes(plan.most)}, {plan.members:,} connections, nothing published"
    yield Measure("shared-idle-statements", f"{idle}: statements a second and node", "")
    yield Measure("shared-idle-hints", f"{idle}: NOTIFY a second and node", "")
    yield Measure("shared-idle-leases", f"{idle}: renewals of the lease a second and node", "")
    yield Measure("shared-strangers", "an entry of which a node has no recipient: read by it", "octets")
    for key, title, unit in SHARED_LOG:
        for size in plan.log:
            yield Measure(at(key, size), f"{title}, log of {size:,}", unit, is_detail=True)


def _nodes(number: int) -> str:
    return "one node" if number == 1 else f"{number} nodes"


def targets_of(plan: Plan) -> Iterator[Target]:
    for rate in plan.rates:
        size = rate.a_second
        pace = f"one publish a request, {size:,}/s"
        yield from _both(f"{pace}: CPU", at("publish-cpu", size), (1, DURABLE), (0.8, NODEJS))
        in_memory = 1.2 if rate is plan.rates[0] else 1
        yield from _seen(f"{pace}: CPU", at("publish-cpu", size))
        yield from _both(f"{pace}: p99", at("publish-p99", size), (1, DURABLE), (in_memory, NODEJS))
    yield from _both("batches to user rooms: CPU", "batch", (1, NODEJS), (0.6, NODEJS))
    yield from _both("one room, paced: CPU", "room", (0.65, NODEJS), (0.65, NODEJS))
    yield from _both("one room, burst: CPU", "burst", (0.05, NODEJS), (0.05, NODEJS))
    yield Target("an authenticated connection: CPU", ("connection", OURS.name), None, 450)
    yield Target("an authenticated connection: CPU, store in memory", ("connection", MEMORY.name), None, 350)
    yield from _seen("batches to user rooms: CPU", "batch")
    yield from _seen("one room, paced: CPU", "room")
    yield from _seen("one room, burst: CPU", "burst")
    yield from _both("an idle connection: memory", "memory", (0.4, NODEJS), (0.3, NODEJS))
    yield Target("longest pause of the loop", ("pause", OURS.name), None, 10)
    yield Target("longest pause of the loop, store in memory", ("pause", MEMORY.name), None, 10)
    yield Target("until all have what they missed", ("recover", OURS.name), None, 30)
    yield Target("longest pause while all recover", ("recover-stall", OURS.name), None, 50)
    yield _beside_itself(
        "a client that recovers 10 missed, against a plain return: CPU", "recover-cpu", "rejoin-cpu", 1.5
    )
    yield _beside_itself("p99 in a room, with a slow reader against none", "p99-slow", "p99", None)
    least, most = plan.growth[0], plan.growth[-1]
    for key, title, _ in GROWTH:
        yield _beside_itself(f"{title}: {most:,} connections against {least:,}", at(key, most), at(key, least), 1.25)
    short, long = plan.log[0], plan.log[-1]
    for key, title, _ in LOG:
        yield _beside_itself(f"{title}: log of {long:,} against {short:,}", at(key, long), at(key, short), 1.1)
    yield from _targets_of_nodes(plan.shared)


def _targets_of_nodes(plan: SharedPlan) -> Iterator[Target]:
    for number in (plan.nodes[0], plan.most):
        key = at("shared-append", number)
        # 0.8 times as many a second.
        yield Target(f"batches to {_nodes(number)}", (key, NODES.name), (key, APPENDER.name), 1.25)
    for suffix, title in (("", ""), ("-held", ", with a transaction held open")):
        yield Target(f"commits a publish{title}", (f"shared-commits{suffix}", NODES.name), None, 0.25)
        yield Target(f"publish to socket of another node, p99{title}", (f"shared-p99{suffix}", NODES.name), None, 25)
    held = "publish to socket of another node, p99: a transaction held open elsewhere against none"
    yield Target(held, ("shared-p99-held", NODES.name), ("shared-p99", NODES.name))
    yield Target("NOTIFY of an idle node", ("shared-idle-hints", NODES.name), None, 0)
    # One every 5 s, and one more at the edge of the time that is looked at.
    most = 1 / 5 + 1 / plan.idle_seconds
    yield Target("leases of an idle node", ("shared-idle-leases", NODES.name), None, most)
    short, long = plan.log[0], plan.log[-1]
    for key, title, _ in SHARED_LOG:
        over, under = (at(key, long), NODES.name), (at(key, short), NODES.name)
        yield Target(f"{title}: log of {long:,} against {short:,}", over, under, SHARED_LOG_TIMES)


def _both(title: str, key: str, stored: tuple[float, Kind], in_memory: tuple[float, Kind]) -> Iterator[Target]:
    """A target of the default store, and one of the store in memory: so many times what that server takes."""
    for name, server, (times, other) in ((title, OURS, stored), (f"{title}, store in memory", MEMORY, in_memory)):
        yield Target(name, (key, server.name), (key, other.name), times)


def _seen(title: str, key: str) -> Iterator[Target]:
    yield Target(f"{title}, with metrics, logs and ledger against none", _ours(key), (key, UNSEEN.name), SEEN_TIMES)


def _beside_itself(title: str, over: str, under: str, at_most: float | None) -> Target:
    return Target(title, _ours(over), _ours(under), at_most)


def _ours(key: str) -> Series:
    return (key, OURS.name)
