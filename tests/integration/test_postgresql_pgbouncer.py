"""A store whose database is reached through PgBouncer, which pools by transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from adapters.store.postgresql import connecting, watching
from domain.errors import StoreUnavailable
from tests.contract.inbox_harness import STORED, Following, draft, outcomes
from tests.integration.postgresql_harness import opened
from tests.pgbouncer import Pgbouncer, running_pgbouncer
from tests.postgresql import PostgresqlServer, Servers

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=60)]


@pytest.fixture
def server(postgresql: Servers) -> PostgresqlServer:
    return postgresql.of(18)


@pytest.fixture
def bouncer(server: PostgresqlServer) -> Iterator[Pgbouncer]:
    with running_pgbouncer(server) as bouncer:
        yield bouncer


@pytest.fixture
def database(server: PostgresqlServer, bouncer: Pgbouncer) -> Iterator[str]:
    name = server.new_store()
    yield name
    server.drop_databases([name])


async def test_the_limits_of_a_statement_hold_and_outlast_no_transaction(
    server: PostgresqlServer, bouncer: Pgbouncer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "LOCK_SECONDS", 1)
    with server.connect(database) as outside:
        async with opened(bouncer.url(database), listen_url=server.url(database)) as store:
            outside.execute("BEGIN")
            outside.execute("SELECT FROM synkrone.log_lock FOR UPDATE")
            with pytest.raises(StoreUnavailable):
                async with asyncio.timeout(4):
                    await store.append([draft("a")])
            outside.execute("ROLLBACK")
            assert outcomes(await store.append([draft("a")])) == [STORED]
    # Others have the same connections of the server's, and their own settings.
    asked = bouncer.url(database)
    for setting, value in (("lock_timeout", "0"), ("enable_seqscan", "on"), ("search_path", '"$user", public')):
        assert ask(asked, f"SHOW {setting}") == value
    assert ask(asked, "SELECT count(*)::text FROM pg_prepared_statements") == "0"


def ask(url: str, query: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        ((value,),) = connection.execute(query.encode()).fetchall()
        return str(value)


async def test_others_are_heard_at_once_around_the_pooler(
    server: PostgresqlServer, bouncer: Pgbouncer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 3600)
    url, direct = bouncer.url(database), server.url(database)
    async with opened(url, listen_url=direct) as one, opened(url, listen_url=direct) as other:
        followed = Following(other, await one.head())
        for number in range(1, 6):
            await one.append([draft(f"n-{number}")])
            await followed.until(number)
