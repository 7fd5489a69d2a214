"""Many at a database at once, and somebody who keeps a transaction open in it."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from contextlib import AsyncExitStack

import pytest

from adapters.store.postgresql.store import PostgresqlStore
from domain.model import EVERYONE, Action, Position, UserId
from tests.contract.inbox_harness import ANN, draft, register
from tests.doubles import START
from tests.integration.postgresql_harness import opened
from tests.postgresql import PostgresqlServer, Servers

pytestmark = [pytest.mark.check, pytest.mark.campaign]

IS_FULL = os.environ.get("CAMPAIGN") == "full"
OPEN_SECONDS = 60.0 if IS_FULL else 4.0
ROUNDS = 50 if IS_FULL else 5
READERS = 120


@pytest.fixture(params=[15, 18])
def server(postgresql: Servers, request: pytest.FixtureRequest) -> PostgresqlServer:
    return postgresql.of(request.param)


async def latencies(store: PostgresqlStore, seconds: float) -> list[float]:
    """Of appends, one after the other, in milliseconds."""
    taken: list[float] = []
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        began = time.monotonic()
        await store.append([draft("made", own_id=False)])
        taken.append(1000 * (time.monotonic() - began))
    return taken


def shown(name: str, some: list[float]) -> str:
    p99 = statistics.quantiles(some, n=100)[98]
    return f"{name}: {len(some)} appends, p50 {statistics.median(some):.2f} ms, p99 {p99:.2f} ms"


@pytest.mark.gen_test(timeout=300)
async def test_a_transaction_that_an_application_keeps_open_delays_nobody(
    server: PostgresqlServer, database: str
) -> None:
    async with opened(server.url(database)) as store:
        before = await latencies(store, OPEN_SECONDS / 4)
        with server.connect(database) as application:
            application.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            application.execute("CREATE TEMPORARY TABLE own AS SELECT count(*) FROM synkrone.entries")
            during = [await latencies(store, OPEN_SECONDS / 4) for _ in range(4)]
            application.execute("ROLLBACK")
        after = await latencies(store, OPEN_SECONDS / 4)
    for number, some in enumerate((before, *during, after)):
        print(shown(("before", *(["open"] * 4), "after")[number], some))
    # Where each append leaves something behind to be looked at, it is many times as much before long. Others are at
    # work on the machine too: not in every quarter.
    quietest = min(statistics.median(some) for some in during[2:])
    assert quietest < 2 * max(statistics.median(before), statistics.median(after)) + 2


@pytest.mark.gen_test(timeout=300)
async def test_many_who_mark_and_change_at_once_never_wait_for_each_other_in_a_circle(
    server: PostgresqlServer, database: str
) -> None:
    users = [f"u-{number}" for number in range(12)]
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(server.url(database))) for _ in range(3)]
        subscribers = [await register(stores[0], user) for user in users]
        ids = [f"n-{number}" for number in range(40)]
        await stores[0].append([draft(id_, EVERYONE, ANN) for id_ in ids])
        start = await stores[0].head()

        async def reader(number: int) -> None:
            store, chance = stores[number % 3], random.Random(number)
            for _ in range(ROUNDS):
                some = chance.sample(subscribers, 6)
                await store.acknowledge(
                    {(one.user, one.role): Position(start.epoch, chance.randint(1, start.offset)) for one in some}
                )
                await store.change(some[0], chance.choice(list(Action)), chance.sample(ids, 10), START)
                await store.count(some[1])
                await store.register(UserId(f"new-{chance.randrange(50)}"), "member", frozenset((EVERYONE,)))
                if chance.random() < 0.2:
                    await store.read_all(some[2], None, START)

        await asyncio.gather(*(reader(number) for number in range(READERS)))
    deadlocks = server.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()", database)
    assert deadlocks == [(0,)]
