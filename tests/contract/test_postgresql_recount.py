"""The recount, for a PostgreSQL database."""

from __future__ import annotations

import os
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule

from adapters.store.postgresql.store import PostgresqlStore
from tests.contract.inbox_harness import OpenedStore
from tests.contract.inbox_recount import RETENTION, InboxMachine
from tests.postgresql import Servers

pytestmark = pytest.mark.check


class PostgresqlMachine(InboxMachine):
    """The tail holds next to nothing."""

    version: ClassVar[int] = 18
    servers: ClassVar[Servers]

    def __init__(self) -> None:
        self.server = self.servers.of(self.version)
        self._database = self.server.new_store()
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
    def restart(self) -> None:
        self.run(self.stop())
        self.inbox = self.run(self.open_inbox())
        self.follower = self.inbox.tail(self.run(self.inbox.head()))

    def teardown(self) -> None:
        super().teardown()
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
_NUMBER = 500 if os.environ.get("CAMPAIGN") == "full" else 6
TestPostgresqlStore.settings = TestTrimmedPostgresqlStore.settings = settings(
    max_examples=_NUMBER,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
