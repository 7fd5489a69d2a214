"""The contract of stores, for a PostgreSQL database: of the oldest version that is supported and of the newest."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import ClassVar

import pytest
from tornado.ioloop import IOLoop

from adapters.store.postgresql.store import PostgresqlStore
from tests.contract.inbox_harness import OpenedStore, OpenStore
from tests.contract.store import StoreContract
from tests.doubles import ManualClock
from tests.pgbouncer import Pgbouncer, running_pgbouncer
from tests.postgresql import PostgresqlServer, Servers

pytestmark = pytest.mark.check


class PostgresqlContract(StoreContract):
    version: ClassVar[int]
    tail_entries: ClassVar[int] = 50_000

    @pytest.fixture
    def server(self, postgresql: Servers) -> PostgresqlServer:
        return postgresql.of(self.version)

    def urls(self, server: PostgresqlServer, database: str) -> tuple[str, str | None]:
        """Where it is, and where to listen."""
        return server.url(database), None

    @pytest.fixture
    def open_inbox(self, clock: ManualClock, io_loop: IOLoop, server: PostgresqlServer) -> Iterator[OpenStore]:
        opened: list[PostgresqlStore] = []
        databases: list[str] = []

        async def open_inbox(
            *,
            retention: timedelta = timedelta(days=30),
            inbox_per_user: int = 10_000,
            scheduled_most: int = 1_000_000,
        ) -> OpenedStore:
            databases.append(server.new_store())
            url, listen_url = self.urls(server, databases[-1])
            inbox = PostgresqlStore(
                url,
                listen_url=listen_url,
                clock=clock,
                stamped_by=clock,
                retention_log=retention,
                retention_inbox=retention,
                inbox_per_user=inbox_per_user,
                scheduled_most=scheduled_most,
                tail_entries=self.tail_entries,
            )
            await inbox.open()
            opened.append(inbox)
            return inbox

        yield open_inbox
        for inbox in opened:
            io_loop.run_sync(inbox.close)
        server.drop_databases(databases)


class TestPostgresql18(PostgresqlContract):
    version = 18


class TestPostgresql15BehindItsTail(PostgresqlContract):
    """Nearly everything is read from the database."""

    version = 15
    tail_entries = 1


class TestThroughPgbouncer(PostgresqlContract):
    """Every transaction is another connection's of the server."""

    version = 15
    bouncer: ClassVar[Pgbouncer]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def bounce(cls, postgresql: Servers) -> Iterator[None]:
        with running_pgbouncer(postgresql.of(cls.version)) as bouncer:
            cls.bouncer = bouncer
            yield

    def urls(self, server: PostgresqlServer, database: str) -> tuple[str, str | None]:
        return self.bouncer.url(database), server.url(database)
