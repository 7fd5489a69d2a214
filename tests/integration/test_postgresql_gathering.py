"""Publishers who write at a time share commits; who writes alone never waits for others."""

from __future__ import annotations

import asyncio

import pytest

from adapters.store.postgresql import threads
from tests.contract.inbox_harness import STORED, draft, outcomes
from tests.integration.postgresql_harness import opened
from tests.postgresql import PostgresqlServer, Servers
from tests.serving import eventually

pytestmark = [pytest.mark.check, pytest.mark.gen_test]


@pytest.fixture
def server(postgresql: Servers) -> PostgresqlServer:
    return postgresql.of(18)


async def test_who_publishes_while_others_do_shares_their_commit(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "GATHERING_SECONDS", 3600.0)
    async with opened(server.url(database)) as store:
        queue = store._opened().writer._queue
        with server.connect(database) as outside:
            outside.execute("BEGIN")
            outside.execute("SELECT 1 FROM synkrone.log_lock FOR UPDATE")
            first = asyncio.create_task(store.append([draft("a")]))
            await asyncio.sleep(0)
            # The writer has it, and waits for the lock.
            await eventually(lambda: not queue.has_some)
            two = [asyncio.create_task(store.append([draft(name)])) for name in ("b", "c")]
            await asyncio.sleep(0)
            outside.execute("ROLLBACK")
            assert outcomes(await first) == [STORED]
            others = [asyncio.create_task(store.append([draft(name)])) for name in ("d", "e")]
            await asyncio.gather(*two, *others)
            # What one commit stores is stored at one time.
            times = outside.execute(
                "SELECT string_agg(id, '' ORDER BY id) FROM synkrone.contents GROUP BY stored_at ORDER BY stored_at"
            )
            assert [names for (names,) in times] == ["a", "bcde"]


async def test_a_publisher_who_is_alone_never_waits_for_others(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "GATHERING_SECONDS", 20.0)
    monkeypatch.setattr(threads, "APART_SECONDS", 20.0)
    async with opened(server.url(database)) as store, asyncio.timeout(10):
        for name in ("a", "b", "c"):
            assert outcomes(await store.append([draft(name)])) == [STORED]


async def test_a_store_that_gathers_can_be_closed(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "GATHERING_SECONDS", 3600.0)
    async with asyncio.timeout(10), opened(server.url(database)) as store:
        queue = store._opened().writer._queue
        with server.connect(database) as outside:
            outside.execute("BEGIN")
            outside.execute("SELECT 1 FROM synkrone.log_lock FOR UPDATE")
            first = asyncio.create_task(store.append([draft("a")]))
            await asyncio.sleep(0)
            await eventually(lambda: not queue.has_some)
            waiting = asyncio.create_task(store.append([draft("b")]))
            await asyncio.sleep(0)
            outside.execute("ROLLBACK")
        assert outcomes(await first) == [STORED]
        await store.close()
        assert outcomes(await waiting) == [STORED]
