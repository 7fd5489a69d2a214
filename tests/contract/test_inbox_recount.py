"""The recount, for every store."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule

from adapters.store.memory import MemoryStore
from adapters.store.sqlite.store import SqliteStore
from tests.campaigning import examples
from tests.contract.inbox_harness import OpenedStore
from tests.contract.inbox_recount import RETENTION, InboxMachine
from tests.folders import folder_in_memory


class MemoryMachine(InboxMachine):
    async def open_inbox(self) -> OpenedStore:
        return MemoryStore(clock=self.clock, retention=RETENTION, inbox_per_user=self.per_user)


class SqliteMachine(InboxMachine):
    """The tail holds next to nothing."""

    def __init__(self) -> None:
        self._folder = folder_in_memory()
        super().__init__()

    async def open_inbox(self) -> OpenedStore:
        inbox = SqliteStore(
            Path(self._folder.name) / "inbox.db",
            clock=self.clock,
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
        self._folder.cleanup()


class TrimmedSqliteMachine(SqliteMachine):
    """Entries leave the log long before their items go."""

    log_retention = RETENTION * 0.4


TestMemoryStore = pytest.mark.campaign(MemoryMachine.TestCase)
TestSqliteStore = pytest.mark.campaign(SqliteMachine.TestCase)
TestTrimmedSqliteInbox = pytest.mark.campaign(TrimmedSqliteMachine.TestCase)

# Examples: of the log in memory there are as many as of the other two together in the same time.
_NUMBER = examples(5, in_full=1_000)
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
_SETTINGS = settings(max_examples=_NUMBER, stateful_step_count=30, suppress_health_check=_SLOW)
TestMemoryStore.settings = settings(_SETTINGS, max_examples=3 * _NUMBER)
TestSqliteStore.settings = TestTrimmedSqliteInbox.settings = _SETTINGS
