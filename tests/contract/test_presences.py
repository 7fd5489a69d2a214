"""Every presence keeps the contract; and what those do in which a database has a part."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import count
from typing import Any, ClassVar

import pytest
from tornado.ioloop import IOLoop

from adapters.store.postgresql import presence as postgresql_presence
from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.presence import PostgresqlPresence
from adapters.store.postgresql.presence_table import Keeping
from adapters.store.postgresql.store import PostgresqlStore
from adapters.store.presence import LocalPresence
from adapters.system.clock import SystemClock
from domain.errors import StoreUnavailable
from domain.model import UserId
from tests.contract.presence import (
    ANN,
    DISPLACED_WITHIN,
    MOST,
    OpenServer,
    PresenceContract,
    Server,
    SharedPresenceContract,
)
from tests.integration.postgresql_harness import Line, line_to
from tests.postgresql import PostgresqlServer, Servers, running_server
from tests.serving import eventually


class TestLocalPresence(PresenceContract):
    @pytest.fixture
    def open_server(self, io_loop: IOLoop) -> Iterator[OpenServer]:
        servers: list[Server] = []

        async def open_server() -> Server:
            servers.append(Server(f"s{len(servers)}", LocalPresence()))
            return servers[-1]

        yield open_server
        for server in servers:
            io_loop.run_sync(server.close)


class Database:
    """A database of servers' own, and their leases."""

    def __init__(self, server: PostgresqlServer, *, has_session: bool = True) -> None:
        self.server = server
        self.has_session = has_session
        self.name = server.new_store()
        self.servers: list[Server] = []
        self.boots: dict[str, str] = {}
        self.line: Line | None = None

    @property
    def url(self) -> str:
        return self.line.url(self.name) if self.line is not None else self.server.url(self.name)

    async def open_server(self) -> Server:
        name = f"s{len(self.servers)}"
        self.boots[name] = name
        self.lease(name)
        presence = PostgresqlPresence(
            Address(self.url, has_session=self.has_session), boot=lambda: self.boots[name], most=MOST
        )
        await presence.open()
        self.servers.append(Server(name, presence))
        return self.servers[-1]

    def lease(self, boot: str) -> None:
        self.execute(f"INSERT INTO synkrone.nodes VALUES ('{boot}', '', '', 0, 0, 0, 0, 0)")  # noqa: S608

    def end_lease(self, boot: str) -> None:
        self.execute(f"DELETE FROM synkrone.nodes WHERE boot = '{boot}'")  # noqa: S608

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        return self.server.execute(statement, self.name)

    @property
    def registered(self) -> list[tuple[object, ...]]:
        """Boots and ids."""
        return self.execute("SELECT boot, id FROM synkrone.connections ORDER BY boot, id")

    async def close(self) -> None:
        for server in self.servers:
            await server.close()


class PostgresqlPresenceContract(SharedPresenceContract):
    version: ClassVar[int]
    has_session: ClassVar[bool] = True

    @pytest.fixture
    def database(self, io_loop: IOLoop, postgresql: Servers) -> Iterator[Database]:
        database = Database(postgresql.of(self.version), has_session=self.has_session)
        yield database
        io_loop.run_sync(database.close)
        database.server.drop_databases([database.name])

    @pytest.fixture
    def open_server(self, database: Database) -> OpenServer:
        return database.open_server


@pytest.mark.check
class TestPostgresqlPresence18(PostgresqlPresenceContract):
    version = 18


@pytest.mark.check
class TestPostgresqlPresence15(PostgresqlPresenceContract):
    """As through a pooler, which may give every transaction another connection."""

    version = 15
    has_session = False


@pytest.fixture
def database(io_loop: IOLoop, postgresql: Servers) -> Iterator[Database]:
    database = Database(postgresql.of(18))
    yield database
    io_loop.run_sync(database.close)
    database.server.drop_databases([database.name])


@pytest.fixture
def own_database(io_loop: IOLoop) -> Iterator[Database]:
    """On a server that a test may end."""
    with running_server(18) as server:
        database = Database(server)
        yield database
        io_loop.run_sync(database.close)


@pytest.mark.check
@pytest.mark.gen_test
async def test_what_a_server_without_a_lease_had_does_not_count_and_is_removed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await database.open_server(), await database.open_server()
    oldest = await other.connect()
    for _ in range(MOST - 1):
        await one.connect()
    # It is as good as dead: it looks no more.
    one._following.cancel()
    database.end_lease(one.name)
    assert await other.elsewhere() == []
    for _ in range(MOST - 1):
        await other.connect()
    assert database.execute("SELECT count(*) FROM synkrone.connections WHERE displaced_by IS NOT NULL") == [(0,)]
    assert len(database.registered) == 2 * MOST - 1
    await other.connect()
    await eventually(lambda: oldest.displaced == ["too_many_connections"], within=DISPLACED_WITHIN)
    monkeypatch.setattr(postgresql_presence, "FORGET_SECONDS", 0.5)
    monkeypatch.setattr(postgresql_presence, "SEEK_GONE_SECONDS", 0.1)
    other.presence._seek_gone_at = 0.0  # type: ignore[attr-defined]
    await eventually(lambda: len(database.registered) == MOST, within=5)


@pytest.mark.check
@pytest.mark.gen_test
async def test_of_two_servers_that_admit_one_user_at_once_the_second_sees_what_the_first_has_done(
    database: Database,
) -> None:
    one = await database.open_server()
    await one.connect()
    database.lease("slow")
    newcomers = [
        {"id": f"slow-{n}", "user_id": ANN, "pid": "", "role": "", "transport": "", "remote_address": "", "since": 0}
        for n in range(MOST)
    ]
    with closing(database.server.connect(database.name)) as slow, slow.transaction():
        slow.execute("SELECT synkrone.admit('slow', %s, %s::json)", (MOST, json.dumps(newcomers)))
        connecting = asyncio.create_task(one.connect())
        async with asyncio.timeout(5):
            while database.execute("SELECT count(*) FROM pg_locks WHERE NOT granted") == [(0,)]:
                assert not connecting.done()
                await asyncio.sleep(0.01)
    await connecting
    counted = "SELECT count(*) FROM synkrone.connections WHERE displaced_by IS NULL"
    assert database.execute(counted) == [(MOST,)]


@pytest.mark.check
@pytest.mark.gen_test
async def test_a_server_that_has_lost_its_lease_lets_nobody_in(database: Database) -> None:
    one, other = await database.open_server(), await database.open_server()
    database.end_lease(one.name)
    with pytest.raises(StoreUnavailable):
        await one.connect()
    assert await other.elsewhere() == []
    # With the next one it has a name of its own.
    database.boots[one.name] = "another"
    database.lease("another")
    client = await one.connect()
    assert await other.elsewhere() == [client.info]


@pytest.mark.check
@pytest.mark.gen_test
async def test_with_a_new_name_everybody_is_registered_anew(database: Database) -> None:
    one, other = await database.open_server(), await database.open_server()
    clients = [await one.connect() for _ in range(2)]
    database.end_lease(one.name)
    database.boots[one.name] = "another"
    database.lease("another")
    await eventually(lambda: [boot for boot, _ in database.registered].count("another") == 2, within=5)
    assert await other.elsewhere() == [client.info for client in clients]
    for _ in range(2):
        await other.connect()
    await eventually(lambda: clients[0].displaced == ["too_many_connections"], within=DISPLACED_WITHIN)
    assert clients[1].displaced == []


@pytest.mark.check
@pytest.mark.parametrize("how", ["in good order", "by a crash"])
@pytest.mark.gen_test(timeout=60)
async def test_once_the_database_was_started_anew_everybody_is_registered_anew(
    own_database: Database, how: str
) -> None:
    one, other = await own_database.open_server(), await own_database.open_server()
    old = [await one.connect(), await other.connect(), await one.connect()]
    left = await other.connect(user=UserId("bob"))
    own_database.server.stop(how=signal.SIGINT if how == "in good order" else signal.SIGQUIT)
    other.leave(left)
    with pytest.raises(StoreUnavailable):
        await other.connect()
    own_database.server.start()
    own_database.execute("DELETE FROM synkrone.nodes")
    for server in (one, other):
        own_database.lease(server.name)
    await eventually(lambda: len(own_database.registered) == MOST, within=10)
    # Nobody who was there had to go, and they are as old as they were.
    assert [client.displaced for client in old] == [[]] * 3
    await other.connect()
    await eventually(lambda: old[0].displaced == ["too_many_connections"], within=DISPLACED_WITHIN)
    await one.connect()
    await eventually(lambda: old[1].displaced == ["too_many_connections"], within=DISPLACED_WITHIN)
    assert old[2].displaced == []


@pytest.mark.check
@pytest.mark.gen_test(timeout=60)
async def test_who_is_in_stays_while_the_database_is_away_and_who_leaves_then_has_left(database: Database) -> None:
    with line_to(database.server) as line:
        other = await database.open_server()
        database.line = line
        one = await database.open_server()
        clients = [await one.connect() for _ in range(MOST)]
        line.sever()
        with pytest.raises(StoreUnavailable):
            await one.connect()
        one.leave(clients[0])
        await asyncio.sleep(1.1)
        assert [client.displaced for client in clients] == [[]] * MOST
        assert len(await other.elsewhere()) == MOST
        line.mend()
        await other.sees(*clients[1:])
        line.cut()
        newest = [await other.connect(), await other.connect()]
        await eventually(lambda: clients[1].displaced == ["too_many_connections"], within=5)
        assert [client.displaced for client in (clients[2], *newest)] == [[]] * 3


@pytest.mark.check
@pytest.mark.gen_test
async def test_a_hint_is_given_only_where_others_have_to_do_something(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints: list[PostgresqlPresence] = []
    hear = PostgresqlPresence.hear

    def heard(presence: PostgresqlPresence) -> None:
        hints.append(presence)
        hear(presence)

    monkeypatch.setattr(PostgresqlPresence, "hear", heard)
    # Too long to be meant by what follows.
    monkeypatch.setattr(postgresql_presence, "LOOK_SECONDS", 60.0)
    store = PostgresqlStore(database.url, clock=SystemClock())
    database.lease("one")
    presence = store.presence(boot=lambda: "one", most=MOST)
    await store.open()
    await presence.open()
    one, other = Server("one", presence), await database.open_server()
    database.servers.append(one)
    try:
        first = await one.connect()
        await asyncio.gather(*(one.connect(user=UserId(f"u-{number}")) for number in range(200)))
        for _ in range(MOST - 1):
            await other.connect()
        await asyncio.sleep(0.3)
        assert hints == []
        await other.connect()
        await eventually(lambda: first.displaced == ["too_many_connections"], within=5)
        assert hints == [presence]
    finally:
        await store.close()


@pytest.mark.check
@pytest.mark.gen_test
async def test_with_nobody_connected_nothing_is_asked(database: Database) -> None:
    server = await database.open_server()
    await asyncio.sleep(1.2)
    assert database.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ) == [(0,)]
    server.leave(await server.connect())
    await eventually(lambda: database.registered == [], within=2)


@pytest.mark.check
@pytest.mark.gen_test
async def test_a_storm_of_clients_is_few_transactions(database: Database) -> None:
    server, other = await database.open_server(), await database.open_server()
    asked = 0
    run = Keeping._admit

    def counted(*arguments: Any) -> int | None:
        nonlocal asked
        asked += 1
        return run(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeping, "_admit", counted)
        await asyncio.gather(*(server.connect(user=UserId(f"u-{number}")) for number in range(2000)))
    assert asked <= 40
    assert len(await other.elsewhere(UserId("u-1999"))) == 1
    assert await other.elsewhere(ANN) == []


@pytest.mark.check
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.gen_test(timeout=120)
async def test_whatever_happens_in_the_end_all_agree_and_nobody_has_too_many(database: Database, seed: int) -> None:
    rng = random.Random(seed)
    with line_to(database.server) as line:
        database.line = line
        servers = [await database.open_server() for _ in range(3)]
        users = [UserId(f"u-{number}") for number in range(4)]
        numbers = count()

        async def come_and_go(server: Server) -> None:
            for _ in range(60):
                if rng.random() < 0.3 and server.clients:
                    server.leave(rng.choice(list(server.clients.values())))
                    continue
                pid = f"p-{rng.randrange(12)}" if rng.random() < 0.4 else f"own-{next(numbers)}"
                with suppress(StoreUnavailable):
                    await server.connect(user=rng.choice(users), pid=pid, continues=pid if pid[0] == "p" else None)
                await asyncio.sleep(rng.random() * 0.02)

        async def trouble() -> None:
            for _ in range(6):
                await asyncio.sleep(rng.random() * 0.3)
                line.sever()
                await asyncio.sleep(rng.choice([0.0, 0.0, 0.5]))
                line.mend()
                if rng.random() < 0.5:
                    server = rng.choice(servers)
                    database.end_lease(database.boots[server.name])
                    database.boots[server.name] = f"{server.name}-{next(numbers)}"
                    database.lease(database.boots[server.name])
                if rng.random() < 0.3:
                    database.execute("TRUNCATE synkrone.connections, synkrone.present")

        await asyncio.gather(trouble(), *(come_and_go(server) for server in servers))

        def here() -> list[tuple[str, str]]:
            return sorted((database.boots[server.name], client) for server in servers for client in server.clients)

        def agree() -> bool:
            living = set(database.boots.values())
            return [row for row in database.registered if row[0] in living] == here()

        def nobody_has_too_many() -> bool:
            present = [client for server in servers for client in server.clients.values()]
            return max(Counter(client.user for client in present).values()) <= MOST

        await eventually(agree, within=20)
        # As far as what was lost with the table does not show before others come.
        for user in users:
            await servers[0].connect(user=user)
        await eventually(nobody_has_too_many, within=10)
        await eventually(agree, within=10)
