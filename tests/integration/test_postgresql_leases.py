"""What several servers that share a database do not do to one another."""

from __future__ import annotations

import asyncio

import pytest

from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.nodes import CLOSE_SECONDS, PostgresqlRegistry
from adapters.system.nodes import LeaseLost
from domain.errors import StoreUnavailable
from domain.model import Action
from tests.contract.inbox_harness import ANN, HOUR, draft, reader
from tests.contract.registry import node
from tests.database_line import DatabaseLine
from tests.doubles import START, ManualClock
from tests.integration.postgresql_harness import opened
from tests.postgresql import Servers

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=30)]


@pytest.mark.parametrize("version", [15, 18])
async def test_what_a_node_has_not_read_stays_in_the_log(postgresql: Servers, clock: ManualClock, version: int) -> None:
    server = postgresql.of(version)
    database = server.new_store()
    url = server.url(database)
    registry = PostgresqlRegistry(Address(url))

    async def floor() -> int:
        while await store.tidy():
            pass
        ((floor,),) = server.execute("SELECT floor FROM synkrone.log", database)
        return int(floor)

    async with opened(url, clock, retention_log=HOUR, retention_inbox=2 * HOUR) as store:
        await store.append([draft(f"n-{number}") for number in range(5)])
        clock.advance(3601)
        await registry.renew(node("slow----", offset=2))
        await registry.renew(node("quick---", offset=5))
        assert await floor() == 2
        await registry.renew(node("slow----", offset=4))
        assert await floor() == 4
        await registry.leave("slow----")
        assert await floor() == 5
    await registry.close()
    server.drop_databases([database])


@pytest.mark.parametrize("version", [15, 18])
async def test_a_node_whose_lease_is_lost_changes_nothing_for_its_clients(postgresql: Servers, version: int) -> None:
    """They are elsewhere by then, and may have done more there."""
    server = postgresql.of(version)
    database = server.new_store()
    others = PostgresqlRegistry(Address(server.url(database)))
    own = node("paused--")
    ann = reader(ANN)

    def time_passes(seconds: float) -> None:
        ago = int(seconds * 1_000_000)
        server.execute(f"UPDATE synkrone.nodes SET renewed_at = renewed_at - {ago}", database)  # noqa: S608
        server.execute(f"UPDATE synkrone.cluster SET steady_from = steady_from - {ago}", database)  # noqa: S608

    async def acts() -> bool:
        """Whether the node may do something for a client."""
        before = (await store.count(ann)).counts.unread
        action = Action.READ if before else Action.UNREAD
        try:
            changed = await store.change(ann, action, ["a"], START)
        except StoreUnavailable:
            assert (await store.count(ann)).counts.unread == before
            return False
        assert changed.changed == 1
        return True

    async with opened(server.url(database)) as store:
        registry = store.registry()
        await store.append([draft("a")])
        # One server alone, which has never taken a lease.
        assert await acts()
        await registry.renew(own)
        await others.renew(node("lively--"))
        assert await acts()
        # After an outage there is time to renew it.
        time_passes(100)
        await others.renew(node("lively--"))
        assert await acts()
        for _ in range(4):
            time_passes(5)
            await others.renew(node("lively--"))
        assert not await acts()
        with pytest.raises(LeaseLost):
            await registry.renew(own)
        assert not await acts()
        await registry.renew(node("another-"))
        assert await acts()
        # What was not renewed in time is lost, whether or not somebody has removed it.
        for _ in range(3):
            time_passes(5)
            await others.renew(node("lively--"))
        time_passes(0.5)
        assert not await acts()
        await registry.renew(node("third---"))
        # Of a database that begins anew all leases are void, and nodes come over with theirs.
        server.execute("TRUNCATE synkrone.nodes, synkrone.cluster", database)
        assert await acts()
        await others.renew(node("lively--"))
        assert await acts()
        for _ in range(4):
            time_passes(5)
            await others.renew(node("lively--"))
        assert not await acts()
    await registry.close()
    await others.close()
    server.drop_databases([database])


async def test_a_registry_whose_database_says_nothing_is_let_go_of(postgresql: Servers) -> None:
    server = postgresql.of(18)
    database = server.new_store()
    with DatabaseLine(server) as line:
        registry = PostgresqlRegistry(Address(line.url(database)))
        await registry.renew(node("one-----"))
        line.swallow()
        renewing = asyncio.create_task(registry.renew(node("one-----")))
        await asyncio.sleep(0)
        async with asyncio.timeout(CLOSE_SECONDS + 2):
            await registry.close()
        with pytest.raises(StoreUnavailable):
            await renewing
        with pytest.raises(StoreUnavailable):
            await registry.renew(node("one-----"))
    server.drop_databases([database])
