"""The contract of registries of nodes, for a PostgreSQL database and for the one that stands in for it in tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest
from tornado.ioloop import IOLoop

from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.nodes import PostgresqlRegistry
from adapters.system.nodes import Registry
from tests.contract.registry import LEASE_SECONDS, Registries, RegistryContract, boots, node, settled
from tests.doubles import ManualClock
from tests.postgresql import PostgresqlServer, Servers
from tests.registries import Cluster, MemoryRegistry


class MemoryRegistries(Registries):
    def __init__(self) -> None:
        self._clock = ManualClock()
        self._cluster = Cluster(self._clock, LEASE_SECONDS)

    def new(self) -> Registry:
        return MemoryRegistry(self._cluster)

    async def time_passes(self, seconds: float) -> None:
        self._clock.advance(seconds)

    async def begin_anew(self) -> None:
        self._cluster.begin_anew()

    async def append(self, entries: int) -> None:
        self._cluster.head += entries


class PostgresqlRegistries(Registries):
    """Time passes as what was noted of it grows older."""

    def __init__(self, server: PostgresqlServer, database: str) -> None:
        self._server = server
        self._database = database
        self.opened: list[PostgresqlRegistry] = []

    def new(self) -> Registry:
        self.opened.append(PostgresqlRegistry(Address(self._server.url(self._database))))
        return self.opened[-1]

    def _execute(self, statement: str) -> None:
        self._server.execute(statement, self._database)

    async def time_passes(self, seconds: float) -> None:
        ago = int(seconds * 1_000_000)
        self._execute(f"UPDATE synkrone.nodes SET renewed_at = renewed_at - {ago}")  # noqa: S608
        self._execute(f"UPDATE synkrone.cluster SET steady_from = steady_from - {ago}")  # noqa: S608

    async def begin_anew(self) -> None:
        self._execute("TRUNCATE synkrone.nodes, synkrone.cluster")

    async def append(self, entries: int) -> None:
        self._execute(
            "INSERT INTO synkrone.entries (log_offset, stored_at, event) "  # noqa: S608
            f"SELECT number, 1, 'x' FROM generate_series(1, {entries}) AS given (number)"
        )


class TestMemoryRegistry(RegistryContract):
    @pytest.fixture
    def registries(self) -> Registries:
        return MemoryRegistries()


class PostgresqlRegistryContract(RegistryContract):
    version: ClassVar[int]
    kind: ClassVar[type[PostgresqlRegistries]] = PostgresqlRegistries

    @pytest.fixture
    def registries(self, io_loop: IOLoop, postgresql: Servers) -> Iterator[Registries]:
        server = postgresql.of(self.version)
        database = server.new_store()
        registries = self.kind(server, database)
        yield registries
        for registry in registries.opened:
            io_loop.run_sync(registry.close)
        server.drop_databases([database])

    @pytest.mark.gen_test
    async def test_a_clock_that_is_set_back_keeps_nobody_alive(self, registries: Registries) -> None:
        lively, dead = registries.new(), registries.new()
        one = (lively, node("one-----"))
        await settled(registries, one, (dead, node("two-----", number=1)))
        await registries.time_passes(-1000 * LEASE_SECONDS)
        await settled(registries, one, seconds=2 * LEASE_SECONDS)
        assert boots((await lively.roll()).members) == ["one-----"]


class TestPostgresql18Registry(PostgresqlRegistryContract):
    version = 18


@pytest.mark.check
class TestPostgresql15Registry(PostgresqlRegistryContract):
    version = 15


class AnotherIncarnation(PostgresqlRegistries):
    async def begin_anew(self) -> None:
        """What a promotion or a start anew changes, while rows are still there."""
        self._execute("UPDATE synkrone.cluster SET incarnation = 'of before'")


@pytest.mark.check
class TestPostgresql18AfterAStart(PostgresqlRegistryContract):
    version = 18
    kind = AnotherIncarnation
