"""The recount, for every store."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule

from adapters.store.memory import MemoryStore
from adapters.store.sqlite.store import SqliteStore
from tests.campaigning import IS_FULL, examples
from tests.contract.inbox_harness import OpenedStore
from tests.contract.inbox_recount import RETENTION, InboxMachine
from tests.contract.recount_operations import report
from tests.folders import folder_in_memory


class MemoryMachine(InboxMachine):
    async def open_inbox(self) -> OpenedStore:
        return MemoryStore(clock=self.clock, retention=RETENTION, inbox_per_user=self.per_user)


class SqliteMachine(InboxMachine):
    """The tail holds next to nothing."""

    def __init__(self) -> None:
        self._folder = folder_in_memory()
        self._kills = 0
        super().__init__()

    async def open_inbox(self) -> OpenedStore:
        inbox = SqliteStore(
            self._path,
            clock=self.clock,
            retention_log=self.log_retention,
            retention_inbox=RETENTION,
            inbox_per_user=self.per_user,
            tail_entries=5,
        )
        await inbox.open()
        return inbox

    @property
    def _path(self) -> Path:
        return Path(self._folder.name) / f"inbox-{self._kills}.db"

    @rule()
    def kill(self) -> None:
        """As it would leave the files."""
        self.count("kill")
        before = self._path
        self._kills += 1
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{before}{suffix}", f"{self._path}{suffix}")
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
        self.kill()

    def teardown(self) -> None:
        super().teardown()
        self._folder.cleanup()


class TrimmedSqliteMachine(SqliteMachine):
    """Entries leave the log long before their items go."""

    log_retention = RETENTION * 0.4


TestMemoryStore = pytest.mark.campaign(MemoryMachine.TestCase)
TestSqliteStore = pytest.mark.campaign(SqliteMachine.TestCase)
TestTrimmedSqliteInbox = pytest.mark.campaign(TrimmedSqliteMachine.TestCase)

# Examples of up to 30 operations: in full, a million in memory and a hundred thousand in files.
_NUMBER = examples(5, in_full=3_000)
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
_SETTINGS = settings(max_examples=_NUMBER, stateful_step_count=30, suppress_health_check=_SLOW)
TestMemoryStore.settings = settings(_SETTINGS, max_examples=20 * _NUMBER if IS_FULL else 3 * _NUMBER)
TestSqliteStore.settings = TestTrimmedSqliteInbox.settings = _SETTINGS


@pytest.mark.campaign
def test_so_much_was_done_in_memory() -> None:
    report("in memory", [MemoryMachine], 1_000_000)


@pytest.mark.campaign
def test_so_much_was_done_in_sqlite() -> None:
    report("in SQLite files", [SqliteMachine, TrimmedSqliteMachine], 100_000)
