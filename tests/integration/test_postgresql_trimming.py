"""What several servers that share a database do not trim for one another."""

from __future__ import annotations

import pytest

from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.nodes import PostgresqlRegistry
from tests.contract.inbox_harness import HOUR, draft
from tests.contract.registry import node
from tests.doubles import ManualClock
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
