"""What an inbox in a SQLite file does where the disk fails or is full."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import adapters.store.sqlite.ports.inboxes as sqlite_inboxes
import adapters.store.sqlite.store as sqlite_inbox
from adapters.store import jobs
from adapters.store.sqlite import schema
from adapters.store.sqlite.store import SqliteStore
from adapters.store.sqlite.transaction import LogTransaction
from domain.errors import StoreUnavailable, SynkroneError
from domain.model import (
    EVERYONE,
    NOTIFICATION_NEW,
    Action,
    Checkpoint,
    Position,
    Room,
    Subscriber,
    UserId,
)
from tests.contract.inbox_harness import (
    ANN,
    STORED,
    Following,
    arrival,
    at,
    draft,
    entries_of,
    ids_of,
    mark_of,
    offsets_of,
    outcomes,
    reader,
    register,
)
from tests.doubles import START, ManualClock
from tests.integration.sqlite_harness import content_of, fill_up, opened, remove, write
from tests.requirements import require

pytestmark = pytest.mark.gen_test


class Faulty:
    """A connection to a disk that fails as it is told."""

    def __init__(self, db: sqlite3.Connection, faults: dict[str, Exception]) -> None:
        self._db = db
        self._faults = faults

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        for beginning, fault in self._faults.items():
            if sql.strip().startswith(beginning):
                raise fault
        return self._db.execute(sql, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> dict[str, Exception]:
    """What the writer's statements with these beginnings raise from now on."""
    told: dict[str, Exception] = {}
    connect = schema.connect

    def faulty(path: Path, *, read_only: bool = False) -> Any:
        db = connect(path, read_only=read_only)
        return db if read_only else Faulty(db, told)

    monkeypatch.setattr(sqlite_inbox, "connect", faulty)
    return told


async def assert_nothing_is_stored(inbox: SqliteStore, ann: Subscriber, head: Position) -> None:
    """Whatever one tries; and nobody hears of it."""
    counted = await inbox.count(ann)
    received = await mark_of(inbox, ann)
    following = Following(inbox, head)
    waiting = following.start(head.offset + 1)
    for attempt in (
        lambda: inbox.append([draft("x")], checkpoint=Checkpoint("s", "x")),
        lambda: inbox.change(ann, Action.READ, ["a"], START),
        lambda: inbox.read_all(ann, None, START),
        lambda: inbox.register(UserId("new"), "company", frozenset((Room("user:new"), EVERYONE))),
        lambda: inbox.arrive([arrival("new")]),
        lambda: inbox.acknowledge({(UserId("ann"), "company"): head}),
        inbox.tidy,
        inbox.ensure_writable,
    ):
        with pytest.raises(StoreUnavailable):
            await attempt()
    assert await inbox.head() == head
    assert await inbox.count(ann) == counted
    assert await offsets_of(inbox, ann, head) == []
    assert await mark_of(inbox, ann) == received
    assert await inbox.checkpoint("s") is None
    assert not waiting.done()
    waiting.cancel()


async def assert_it_works_again(inbox: SqliteStore, ann: Subscriber, head: Position) -> None:
    await inbox.tidy()
    await inbox.ensure_writable()
    following = Following(inbox, head)
    (appended,) = await inbox.append([draft("x")])
    assert appended.position == at(head, 1)
    assert await following.until(head.offset + 1) == [head.offset + 1]
    assert (await inbox.change(ann, Action.READ, ["a", "x"], START)).changed == 2


@pytest.mark.parametrize(
    "failing",
    [
        ["BEGIN"],
        ["COMMIT"],
        ["COMMIT", "ROLLBACK"],
        ["INSERT", "REPLACE", "UPDATE"],
        ["INSERT", "REPLACE", "UPDATE", "ROLLBACK"],
    ],
    ids=" and ".join,
)
async def test_a_write_that_fails_leaves_no_trace(
    path: Path, clock: ManualClock, faults: dict[str, Exception], failing: list[str]
) -> None:
    async with opened(path, clock) as inbox:
        ann = await register(inbox)
        await inbox.append([draft("a")])
        head = await inbox.head()
        faults.update(dict.fromkeys(failing, sqlite3.OperationalError("disk I/O error")))
        await assert_nothing_is_stored(inbox, ann, head)
        faults.clear()
        await assert_it_works_again(inbox, ann, head)
    async with opened(path, clock) as inbox:
        assert await ids_of(inbox, ann) == ["x", "a"]


async def test_a_failure_is_logged_once_and_the_end_of_it(
    path: Path, clock: ManualClock, faults: dict[str, Exception], caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path, clock) as inbox:
        faults["COMMIT"] = sqlite3.OperationalError("database or disk is full")
        for number in range(3):
            with pytest.raises(StoreUnavailable):
                await inbox.append([draft(f"secret-{number}")])
        faults.clear()
        await inbox.tidy()
        await inbox.append([draft("a")])
    assert [record.getMessage() for record in caplog.records] == [
        "a write to the store failed: database or disk is full",
        "the store can be written again",
    ]


async def test_while_only_little_can_be_written_the_store_is_not_said_to_work_again(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connections: list[sqlite3.Connection] = []
    connect = schema.connect

    def remember(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
        db = connect(path, read_only=read_only)
        if not read_only:
            connections.append(db)
        return db

    monkeypatch.setattr(sqlite_inbox, "connect", remember)
    async with opened(path, clock) as inbox:
        ann = await register(inbox)
        await inbox.append([draft("a")])
        (writer,) = connections
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages + 2}")
        for number in range(5):
            with pytest.raises(StoreUnavailable):
                await inbox.append([draft("big", body="x" * 20_000)])
            # What fits into the last page succeeds, and is of no use to who has more to say.
            assert (await inbox.change(ann, Action.SEEN if number else Action.READ, ["a"], START)).counts.total == 1
            await inbox.acknowledge({(UserId("ann"), f"role-{number}"): await inbox.head()})
            for attempt in (inbox.tidy, inbox.ensure_writable):
                with pytest.raises(StoreUnavailable):
                    await attempt()
        assert [record.getMessage() for record in caplog.records] == [
            "a write to the store failed: database or disk is full"
        ]
        writer.execute("PRAGMA max_page_count = 1000000")
        await inbox.tidy()
        await inbox.ensure_writable()
        assert outcomes(await inbox.append([draft("big", body="x" * 20_000)])) == [STORED]
        assert caplog.records[-1].getMessage() == "the store can be written again"
        assert len(caplog.records) == 2
        # What was written to try it takes no room for good.
        await inbox.tidy()
        (kept,) = writer.execute("SELECT max(length(value)) FROM meta").fetchone()
        assert kept < 100


async def test_one_batch_that_is_too_large_for_the_disk_does_not_keep_the_store_down(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path, clock) as inbox:
        executed = asyncio.Event()

        def full(transaction: LogTransaction, batch: object) -> Any:
            executed.set()
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(inbox, "_append", full)
            with pytest.raises(StoreUnavailable):
                await inbox.append([draft(f"n-{number}", body="x" * 60_000) for number in range(200)])
        assert executed.is_set()
        await inbox.tidy()
        await inbox.ensure_writable()
        assert len(content_of(path)) + len(content_of(path.with_name(f"{path.name}-wal"))) < 4_000_000


async def test_who_is_refused_spoils_nothing_for_the_others(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_transaction: LogTransaction, _argument: object) -> None:
        raise SynkroneError("no")

    monkeypatch.setattr(sqlite_inboxes, "_CHANGE", jobs.one_by_one(refuse))
    async with opened(path, clock) as inbox:
        ann = await register(inbox)
        answers = await asyncio.gather(
            inbox.append([draft("a")]),
            inbox.change(ann, Action.READ, ["a"], START),
            inbox.append([draft("b")]),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [list, SynkroneError, list]
        assert await ids_of(inbox, ann) == ["b", "a"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_defect_ends_the_store_and_leaves_nobody_waiting(
    path: Path, clock: ManualClock, faults: dict[str, Exception]
) -> None:
    async with opened(path, clock) as inbox:
        await inbox.append([draft("a")])
        faults["SELECT json_group_array"] = ValueError("a defect")
        for name in ("b", "c"):
            with pytest.raises(StoreUnavailable):
                await inbox.append([draft(name)])
        with pytest.raises(StoreUnavailable):
            await inbox.ensure_writable()
        # It ends whoever tidies up, and so the server: a supervisor of processes can help where waiting cannot.
        with pytest.raises(RuntimeError, match="nothing can be stored"):
            await inbox.tidy()
        assert await ids_of(inbox, reader(ANN)) == ["a"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    require(shutil.which("mount"), "mount is missing; it comes with util-linux")
    mounted = subprocess.run(mount, capture_output=True, timeout=10, check=False)
    require(not mounted.returncode, f"a file system can only be mounted as root: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], capture_output=True, timeout=10, check=True)


async def is_stored(inbox: SqliteStore, id_: str) -> bool:
    try:
        await inbox.append([draft(id_, body="x" * 10_000)])
    except StoreUnavailable:
        return False
    return True


async def write_until_nothing_fits(inbox: SqliteStore) -> None:
    """With the least there is to write."""
    head = await inbox.head()
    for number in range(1000):
        try:
            await inbox.acknowledge({(UserId("ann"), f"role-{number}"): head})
        except StoreUnavailable:
            return
    pytest.fail("there is always room for more")


async def published(inbox: SqliteStore, subscriber: Subscriber, after: Position) -> list[str]:
    entries = await entries_of(inbox, subscriber, after)
    return [json.loads(entry.payload)["id"] for entry in entries if entry.event == NOTIFICATION_NEW]


async def test_a_full_disk_is_survived(small_disk: Path, clock: ManualClock) -> None:
    ballast = small_disk / "ballast"
    async with opened(small_disk / "inbox.db", clock) as inbox:
        ann = await register(inbox)
        start = await inbox.head()
        await inbox.append([draft("a")])
        write(ballast, bytes(1 << 20))
        stored = ["a"]
        while await is_stored(inbox, f"n-{len(stored)}"):
            stored.append(f"n-{len(stored)}")
        fill_up(ballast)
        await write_until_nothing_fits(inbox)
        head = await inbox.head()
        assert head.offset == len(stored)
        await assert_nothing_is_stored(inbox, ann, head)
        assert await published(inbox, ann, start) == stored
        remove(ballast)
        await assert_it_works_again(inbox, ann, head)
    async with opened(small_disk / "inbox.db", clock) as inbox:
        assert await published(inbox, ann, start) == [*stored, "x"]


async def test_a_store_that_may_not_grow_is_survived(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[sqlite3.Connection] = []
    connect = schema.connect

    def remember(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
        db = connect(path, read_only=read_only)
        if not read_only:
            connections.append(db)
        return db

    monkeypatch.setattr(sqlite_inbox, "connect", remember)
    async with opened(path, clock) as inbox:
        await inbox.append([draft("a")])
        (writer,) = connections
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreUnavailable):
            await inbox.append([draft(f"n-{number}", body="x" * 5000) for number in range(10)])
        with pytest.raises(StoreUnavailable):
            await inbox.ensure_writable()
        assert await ids_of(inbox, reader(ANN)) == ["a"]
        writer.execute("PRAGMA max_page_count = 1000000")
        await inbox.tidy()
        await inbox.ensure_writable()
        assert outcomes(await inbox.append([draft("n-1")])) == [STORED]
