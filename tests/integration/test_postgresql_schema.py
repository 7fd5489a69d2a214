"""The schema of a store in PostgreSQL: made once, by whoever may, and refused where it cannot be used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from adapters.store.postgresql import schema
from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.schema import Migration
from adapters.store.postgresql.store import PostgresqlStore
from adapters.store.served import StoreUnusable
from adapters.system.clock import SystemClock
from domain.model import Action
from tests.contract.inbox_harness import ANN, STORED, draft, items_of, outcomes, reader
from tests.doubles import START
from tests.integration.postgresql_harness import opened
from tests.postgresql import PostgresqlServer, Servers

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=60)]

NEWEST = schema.MIGRATIONS[-1].version
NEXT = NEWEST + 1
VERSIONS = "SELECT version FROM synkrone.schema_versions ORDER BY version"


@pytest.fixture(params=[15, 18])
def server(postgresql: Servers, request: pytest.FixtureRequest) -> PostgresqlServer:
    return postgresql.of(request.param)


@pytest.fixture
def database(server: PostgresqlServer) -> Iterator[str]:
    """With nothing in it."""
    name = server.new_database()
    yield name
    server.drop_databases([name])


async def test_of_several_that_start_at_once_one_makes_the_schema(server: PostgresqlServer, database: str) -> None:
    stores = [PostgresqlStore(server.url(database), clock=SystemClock()) for _ in range(6)]
    try:
        await asyncio.gather(*(store.open() for store in stores))
        assert server.execute(VERSIONS, database) == [(version,) for version in range(1, NEXT)]
        assert len({await store.secret() for store in stores}) == 1
        assert len({await store.head() for store in stores}) == 1
        appended = await asyncio.gather(*(store.append([draft("a")]) for store in stores))
        assert [outcomes(one)[0] for one in appended].count(STORED) == 1
    finally:
        await asyncio.gather(*(store.close() for store in stores))


def test_of_several_that_migrate_at_once_one_does(server: PostgresqlServer, database: str) -> None:
    address = Address(server.url(database))
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: schema.migrate(address), range(8)))
    assert sorted(done) == [(0, NEWEST)] + [(NEWEST, NEWEST)] * 7


async def test_a_server_that_is_told_not_to_migrate_does_not(server: PostgresqlServer, database: str) -> None:
    store = PostgresqlStore(server.url(database), clock=SystemClock(), migrates=False)
    with pytest.raises(StoreUnusable, match=f"is not there yet, and {NEWEST} is needed: run synkrone-socket migrate"):
        await store.open()
    with pytest.raises(StoreUnusable, match="run synkrone-socket migrate"):
        store.check()
    assert server.execute("SELECT to_regnamespace('synkrone')", database) == [(None,)]
    assert store.migrate() == f"the schema is of version {NEWEST}, and was of 0"
    assert store.check() is None
    await store.open()
    await store.close()


async def test_looking_changes_nothing(server: PostgresqlServer, database: str) -> None:
    assert PostgresqlStore(server.url(database), clock=SystemClock()).check() is None
    assert server.execute("SELECT to_regnamespace('synkrone')", database) == [(None,)]


@pytest.mark.parametrize(("usable_from", "is_good"), [(NEWEST, True), (NEXT, False)])
async def test_a_schema_of_a_newer_program_is_used_where_it_may_be_and_else_refused(
    server: PostgresqlServer, database: str, usable_from: int, *, is_good: bool
) -> None:
    url = server.url(database)
    schema.migrate(Address(url))
    server.execute(f"INSERT INTO synkrone.schema_versions VALUES ({NEXT}, {usable_from})", database)  # noqa: S608
    store = PostgresqlStore(url, clock=SystemClock())
    if is_good:
        assert store.check() is None
        async with opened(url) as same:
            assert outcomes(await same.append([draft("a")])) == [STORED]
        return
    for refused in (store.check, store.migrate):
        with pytest.raises(
            StoreUnusable, match=rf"of version {NEXT}, .* knows versions up to {NEWEST}: use the newer program"
        ):
            refused()
    with pytest.raises(StoreUnusable, match="use the newer program"):
        await store.open()


def test_a_migration_is_whole_or_not_at_all(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Migration):
        @property
        def statements(self) -> bytes:
            return b"CREATE TABLE synkrone.more (); SELECT 1 / 0"

    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, Broken(NEXT, usable_from=1)])
    address = Address(server.url(database))
    with pytest.raises(StoreUnusable, match="division by zero"):
        schema.migrate(address)
    assert server.execute("SELECT to_regnamespace('synkrone')", database) == [(None,)]
    monkeypatch.undo()
    assert schema.migrate(address) == (0, NEWEST)


def test_a_role_that_may_not_create_says_what_it_lacks(server: PostgresqlServer, database: str) -> None:
    server.execute("DROP ROLE IF EXISTS reader")
    server.execute("CREATE ROLE reader LOGIN")
    address = Address(server.url(database, "reader"))
    with pytest.raises(StoreUnusable, match=r"permission denied for database .*: grant it, or run synkrone-socket"):
        schema.migrate(address)
    schema.migrate(Address(server.url(database)))
    with pytest.raises(StoreUnusable, match="permission denied for schema synkrone: grant it"):
        schema.check(address, migrates=True)


def test_a_database_that_is_not_in_utf8_is_refused(server: PostgresqlServer) -> None:
    server.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        with pytest.raises(StoreUnusable, match="the database latin is in LATIN1: make one in UTF8"):
            schema.check(Address(server.url("latin")), migrates=True)
    finally:
        server.drop_databases(["latin"])


def test_a_database_that_is_not_there_is_no_passing_fault(server: PostgresqlServer) -> None:
    with pytest.raises(StoreUnusable, match='database "never" does not exist'):
        schema.check(Address(server.url("never")), migrates=True)


async def test_names_are_told_apart_octet_by_octet(server: PostgresqlServer) -> None:
    """Whatever the language of the database."""
    server.execute("CREATE DATABASE other TEMPLATE template0 LOCALE 'C.UTF-8'")
    try:
        schema.migrate(Address(server.url("other")))
        columns = server.execute(
            """
            SELECT count(*), count(*) FILTER (WHERE collation_name = 'C') FROM information_schema.columns
            WHERE table_schema = 'synkrone' AND data_type = 'text'""",
            "other",
        )
        assert columns[0][0] == columns[0][1] > 20
    finally:
        server.drop_databases(["other"])


async def test_appending_in_another_isolation_level_is_refused(server: PostgresqlServer, database: str) -> None:
    schema.migrate(Address(server.url(database)))
    with server.connect(database) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        with pytest.raises(psycopg.errors.RaiseException, match="READ COMMITTED"):
            connection.execute("SELECT synkrone.lock_log(1, 0, NULL, false)")
        connection.execute("ROLLBACK")


async def test_what_is_stored_is_on_the_disk_though_the_database_may_wait(
    server: PostgresqlServer, database: str
) -> None:
    """With synchronous_commit off a crash would lose what was answered."""
    schema.migrate(Address(server.url(database)))
    with server.connect(database) as connection:
        for was, expected in (("off", "local"), ("on", "on"), ("local", "local"), ("remote_apply", "remote_apply")):
            connection.execute(f"SET synchronous_commit = {was}".encode())
            with connection.transaction():
                connection.execute("SELECT synkrone.lock_log(1, 0, NULL, false)")
                assert connection.execute("SHOW synchronous_commit").fetchone() == (expected,)


async def test_whatever_the_database_does_by_default_does_not_matter(server: PostgresqlServer, database: str) -> None:
    for default in (
        "default_transaction_isolation = 'serializable'",
        "search_path = 'nowhere'",
        "lock_timeout = '1ms'",
        "DateStyle = 'German'",
        "TimeZone = 'Asia/Kathmandu'",
        "client_encoding = 'LATIN1'",
        "standard_conforming_strings = off",
    ):
        server.execute(f"ALTER DATABASE {database} SET {default}")
    async with opened(server.url(database)) as store:
        (appended,) = await store.append([draft("a", title="Grüße, \\ 你好")])
        changed = await store.change(reader(ANN), Action.READ, ["a"], START)
        assert (appended.outcome, changed.changed) == (STORED, 1)
        assert (await items_of(store, reader(ANN)))[0]["title"] == "Grüße, \\ 你好"
