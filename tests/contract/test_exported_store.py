"""The recount over exports and imports: a store filled at random is the same one, wherever its file was imported.

From a SQLite file it goes into a PostgreSQL database and from there into another file, and is asked before and after.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from adapters.contract.events import item_json
from domain.errors import CursorRefused
from domain.model import (
    BlockUser,
    Checkpoint,
    DisconnectUser,
    InboxQuery,
    ItemState,
    Position,
    RevokeTokens,
    Subscriber,
    UnblockUser,
    UserId,
)
from tests.contract.inbox_harness import OpenedStore
from tests.contract.inbox_recount import RETENTION, USERS, InboxMachine
from tests.folders import folder_in_memory
from tests.postgresql import Servers
from tests.transfers import InDatabase, InFile, Place, export, import_

pytestmark = pytest.mark.check

users = st.sampled_from(USERS).map(UserId)


class ExportingMachine(InboxMachine):
    """The tail holds next to nothing."""

    version: ClassVar[int] = 18
    servers: ClassVar[Servers]

    def __init__(self) -> None:
        self._folder = folder_in_memory()
        self._place: Place = InFile(Path(self._folder.name) / "inbox-0.db")
        self._databases: list[InDatabase] = []
        self._exports = 0
        self._epochs: set[str] = set()
        super().__init__()

    async def open_inbox(self) -> OpenedStore:
        store = self._place.store(
            self.clock,
            retention_log=self.log_retention,
            retention_inbox=RETENTION,
            inbox_per_user=self.per_user,
            tail_entries=5,
        )
        await store.open()
        self._epochs.add((await store.head()).epoch)
        return store

    @rule(user=users, hours=st.none() | st.integers(1, 30), reconnect=st.booleans())
    def control(self, user: UserId, hours: int | None, reconnect: bool) -> None:  # noqa: FBT001 (drawn)
        if hours is None:
            self.run(self.inbox.append_control(DisconnectUser(user, reconnect)))
        elif hours % 3 == 0:
            self.run(self.inbox.append_control(RevokeTokens(user, self.clock.now())))
        elif hours % 3 == 1:
            self.run(
                self.inbox.append_control(BlockUser(user, self.clock.now() + timedelta(hours=hours), f"{hours} hours"))
            )
        else:
            self.run(self.inbox.append_control(UnblockUser(user)))

    @rule(number=st.integers(0, 9))
    def feed(self, number: int) -> None:
        before = self.run(self.inbox.checkpoint("feed"))
        self.run(self.inbox.append([], checkpoint=Checkpoint("feed", f"r-{number}", before)))

    @rule()
    def restart(self) -> None:
        self.run(self.stop())
        self._open_again()

    @rule(twice=st.booleans())
    def take_it_elsewhere(self, twice: bool) -> None:  # noqa: FBT001 (drawn)
        epochs = sorted(self._epochs)
        before = self.run(self.seen(epochs))
        self.run(self.stop())
        for _ in range(1 + twice):
            self._exports += 1
            file = Path(self._folder.name) / f"export-{self._exports}.ndjson"
            export(self._place, file)
            self._place = self._elsewhere()
            import_(file, self._place)
        self._open_again()
        assert self.run(self.seen(epochs)) == before

    def interrupt(self) -> None:
        self.take_it_elsewhere(twice=False)

    def _elsewhere(self) -> Place:
        if isinstance(self._place, InDatabase):
            return InFile(Path(self._folder.name) / f"inbox-{self._exports}.db")
        database = InDatabase(self.servers.of(self.version))
        self._databases.append(database)
        return database

    def _open_again(self) -> None:
        self.inbox = self.run(self.open_inbox())
        self.follower = self.inbox.tail(self.run(self.inbox.head()))

    async def seen(self, epochs: Sequence[str]) -> dict[str, Any]:
        """All that can be asked for, and from every cursor of these epochs."""
        store = self.inbox
        head = (await store.head()).offset
        restricted = await store.restricted()
        seen: dict[str, Any] = {
            "head": head,
            "secret": await store.secret(),
            "checkpoint": await store.checkpoint("feed"),
            "restricted": sorted(restricted.restrictions, key=lambda one: one.user),
            "roles": [sorted(await store.roles(UserId(user))) for user in USERS],
            "given up": await store.given_up(),
            "waiting": [await store.scheduled(id_) for id_ in self.asked],
            # Where copies are left meanwhile is another place in each store.
            "erasures": [
                replace(found, left_in=()) if (found := await store.erasure(id_)) is not None else None
                for id_ in self.erasures
            ],
        }
        for whom, subscriber in self.subscribers.items():
            assert await store.register(subscriber.user, subscriber.role, frozenset(subscriber.starts)) == subscriber
            counted = await store.count(subscriber)
            seen[f"counts of {whom}"] = (counted.counts, counted.stands_until, counted.as_of.offset)
            for state in ItemState:
                listing = await store.list_items(subscriber, InboxQuery(limit=1000, state=state))
                seen[f"{state} of {whom}"] = [(item.offset, item_json(item)) for item in listing.items]
            seen[f"cursors of {whom}"] = [
                await self._read(subscriber, Position(epoch, offset)) for epoch in epochs for offset in range(head + 2)
            ]
        for draft in self.published:
            notification = await store.published(draft.notification.id)
            if notification is not None:
                page = await store.recipients(notification, None, 1000)
                seen[f"recipients of {notification.id}"] = sorted(page.recipients, key=lambda one: one.user)
        return seen

    async def _read(self, subscriber: Subscriber, after: Position) -> object:
        try:
            page = await self.inbox.read(subscriber, after, max_entries=1000, max_bytes=1 << 30)
        except CursorRefused as refused:
            return refused.reason
        return page.entries

    def teardown(self) -> None:
        super().teardown()
        for database in self._databases:
            database.drop()
        self._folder.cleanup()


class TrimmedExportingMachine(ExportingMachine):
    """Entries leave the log long before their items go."""

    version = 15
    log_retention = RETENTION * 0.4


@pytest.fixture(autouse=True, scope="module")
def servers(postgresql: Servers) -> None:
    ExportingMachine.servers = postgresql


TestExportedStore = pytest.mark.campaign(ExportingMachine.TestCase)
TestTrimmedExportedStore = pytest.mark.campaign(TrimmedExportingMachine.TestCase)
_NUMBER = 300 if os.environ.get("CAMPAIGN") == "full" else 5
TestExportedStore.settings = TestTrimmedExportedStore.settings = settings(
    max_examples=_NUMBER,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
