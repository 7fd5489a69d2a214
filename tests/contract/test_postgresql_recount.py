"""The recount, for a PostgreSQL database."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, rule

from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.database import Database
from adapters.store.postgresql.scrubbing import Scrubber
from adapters.store.postgresql.store import PostgresqlStore
from tests.campaigning import examples
from tests.contract.inbox_harness import OpenedStore
from tests.contract.inbox_recount import RETENTION, InboxMachine
from tests.contract.recount_operations import report
from tests.postgresql import Servers

pytestmark = pytest.mark.check

ENDS = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{}'"


class PostgresqlMachine(InboxMachine):
    """The tail holds next to nothing."""

    version: ClassVar[int] = 18
    servers: ClassVar[Servers]

    def __init__(self) -> None:
        self.server = self.servers.of(self.version)
        self._database = self.server.new_store()
        self._looking = Database(Address(self.server.url(self._database)))
        super().__init__()

    async def open_inbox(self) -> OpenedStore:
        inbox = PostgresqlStore(
            self.server.url(self._database),
            clock=self.clock,
            stamped_by=self.clock,
            retention_log=self.log_retention,
            retention_inbox=RETENTION,
            inbox_per_user=self.per_user,
            tail_entries=5,
        )
        await inbox.open()
        return inbox

    @rule()
    def die(self) -> None:
        """A node, with all of its connections; another one goes on."""
        self.count("node death")
        self._looking.close()
        self.server.execute(ENDS.format(self._database))
        self.run(self.stop())
        self.inbox = self.run(self.open_inbox())
        self.follower = self.inbox.tail(self.run(self.inbox.head()))

    @rule()
    def restart(self) -> None:
        self.count("restart")
        self.run(self.stop())
        self.inbox = self.run(self.open_inbox())
        self.follower = self.inbox.tail(self.run(self.inbox.head()))

    def interrupt(self) -> None:
        self.die()

    @invariant()
    def everything_is_as_the_log_says(self) -> None:
        super().everything_is_as_the_log_says()
        with self._looking.snapshot() as snapshot:
            assert Scrubber().look(snapshot) is None, "what is there is taken for missing"

    def teardown(self) -> None:
        super().teardown()
        self._looking.close()
        self.server.drop_databases([self._database])


class TrimmedPostgresqlMachine(PostgresqlMachine):
    """Entries leave the log long before their items go."""

    version = 15
    log_retention = RETENTION * 0.4


@pytest.fixture(autouse=True, scope="module")
def servers(postgresql: Servers) -> None:
    PostgresqlMachine.servers = postgresql


TestPostgresqlStore = pytest.mark.campaign(PostgresqlMachine.TestCase)
TestTrimmedPostgresqlStore = pytest.mark.campaign(TrimmedPostgresqlMachine.TestCase)
_NUMBER = examples(6, in_full=500)
TestPostgresqlStore.settings = TestTrimmedPostgresqlStore.settings = settings(
    max_examples=_NUMBER,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.campaign
def test_so_much_was_done() -> None:
    report("in PostgreSQL", [PostgresqlMachine, TrimmedPostgresqlMachine], 10_000)
