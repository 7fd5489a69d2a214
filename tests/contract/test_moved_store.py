"""The recount over a move: a file filled at random, moved while it is served from, is the same store as a database."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from adapters.store.moving import moving
from adapters.store.postgresql.store import PostgresqlStore
from adapters.store.sqlite.store import SqliteStore
from tests.contract.inbox_harness import OpenedStore
from tests.contract.inbox_recount import RETENTION, InboxMachine
from tests.contract.moved_rows import rows_of_database, rows_of_file
from tests.folders import folder_in_memory
from tests.moving import RunningMove
from tests.postgresql import Servers

pytestmark = pytest.mark.check


class MovingMachine(InboxMachine):
    """The tail holds next to nothing."""

    version: ClassVar[int] = 18
    servers: ClassVar[Servers]

    def __init__(self) -> None:
        self.server = self.servers.of(self.version)
        self._folder = folder_in_memory()
        self._path = Path(self._folder.name) / "inbox.db"
        self._database = self.server.new_store()
        self._url = self.server.url(self._database)
        self._move: RunningMove | None = None
        self._is_moved = False
        super().__init__()

    async def open_inbox(self) -> OpenedStore:
        if self._is_moved:
            database = PostgresqlStore(
                self._url,
                clock=self.clock,
                stamped_by=self.clock,
                retention_log=self.log_retention,
                retention_inbox=RETENTION,
                inbox_per_user=self.per_user,
                tail_entries=5,
            )
            await database.open()
            return database
        file = SqliteStore(
            self._path,
            clock=self.clock,
            retention_log=self.log_retention,
            retention_inbox=RETENTION,
            inbox_per_user=self.per_user,
            tail_entries=5,
        )
        await file.open()
        return file

    def _open_again(self) -> None:
        self.inbox = self.run(self.open_inbox())
        self.follower = self.inbox.tail(self.run(self.inbox.head()))

    @precondition(lambda self: self._move is None)
    @rule()
    def restart(self) -> None:
        self.run(self.stop())
        self._open_again()

    @precondition(lambda self: self._move is None and not self._is_moved)
    @rule()
    def begin_to_move(self) -> None:
        """From here on it copies what is done meanwhile too."""
        self._move = RunningMove(self._path, self._url)
        self._move.follows()

    @precondition(lambda self: self._move is not None)
    @rule()
    def finish_the_move(self) -> None:
        assert self._move is not None
        self.run(self.stop())
        self._move.ends()
        assert self._move.moved is not None, self._move.error
        assert rows_of_database(self.server, self._database) == rows_of_file(self._path)
        self._move, self._is_moved = None, True
        self._open_again()

    @precondition(lambda self: self._move is None and not self._is_moved)
    @rule(reports=st.integers(1, 6))
    def move_and_break_off(self, reports: int) -> None:
        """In the middle of copying, or of what is done once nobody serves from the file."""
        self.run(self.stop())
        broken_off = RunningMove(self._path, self._url, reports)
        broken_off.ends()
        self._is_moved = broken_off.moved is not None
        self._open_again()

    def interrupt(self) -> None:
        """By a whole move, where there can be one yet."""
        if self._move is None and not self._is_moved:
            self.begin_to_move()
        if self._move is not None:
            self.finish_the_move()
        else:
            self.restart()

    def teardown(self) -> None:
        super().teardown()
        if self._move is not None:
            self._move.ends()
        self.server.drop_databases([self._database])
        self._folder.cleanup()


class TrimmedMovingMachine(MovingMachine):
    """Entries leave the log long before their items go."""

    version = 15
    log_retention = RETENTION * 0.4


@pytest.fixture(autouse=True, scope="module")
def servers(postgresql: Servers) -> None:
    MovingMachine.servers = postgresql


@pytest.fixture(autouse=True)
def fast_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Much is copied while it is followed, and not at the end."""
    monkeypatch.setattr(moving, "ROUND_SECONDS", 0.0)
    monkeypatch.setattr(moving, "ROUND_SHARE", 1)


TestMovedStore = pytest.mark.campaign(MovingMachine.TestCase)
TestTrimmedMovedStore = pytest.mark.campaign(TrimmedMovingMachine.TestCase)
_NUMBER = 300 if os.environ.get("CAMPAIGN") == "full" else 6
TestMovedStore.settings = TestTrimmedMovedStore.settings = settings(
    max_examples=_NUMBER,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
