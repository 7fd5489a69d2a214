"""Which files an inbox can be opened in, and what becomes of older ones."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.clock import SystemClock
from adapters.inbox.sqlite import SqliteInbox, StoreUnusable
from adapters.inbox.sqlite_schema import MIGRATIONS
from domain.model import (
    EVERYONE,
    Action,
    Counts,
    Position,
    RecoveryReason,
)
from tests.contract.inbox_harness import (
    ANN,
    COMPANY,
    STORED,
    assert_refused,
    draft,
    enter,
    events_of,
    ids_of,
    items_of,
    offsets_of,
    outcomes,
    pass_time,
    reader,
)
from tests.data import make_inbox_1
from tests.doubles import START, ManualClock
from tests.integration.sqlite_harness import content_of, copy, opened, remove, write
from tests.processes import REPOSITORY, environment

pytestmark = pytest.mark.gen_test


async def unusable(path: Path) -> str:
    with pytest.raises(StoreUnusable) as refused:
        await SqliteInbox(path, clock=SystemClock()).open()
    message = str(refused.value)
    assert "\n" not in message
    assert str(path) in message
    return message


async def test_nothing_happens_to_a_file_before_it_is_opened(path: Path, clock: ManualClock) -> None:
    SqliteInbox(path, clock=clock)
    assert list(path.parent.iterdir()) == []


async def test_a_second_process_is_refused_in_one_line(path: Path, clock: ManualClock) -> None:
    program = (
        "import asyncio, sys\n"
        "from adapters.clock import SystemClock\n"
        "from adapters.inbox.sqlite import SqliteInbox, StoreUnusable\n"
        "try:\n"
        "    asyncio.run(SqliteInbox(sys.argv[1], clock=SystemClock()).open())\n"
        "except StoreUnusable as error:\n"
        "    print(error)\n"
    )

    def second() -> str:
        command = [sys.executable, "-c", program, str(path)]
        return subprocess.run(
            command, cwd=REPOSITORY, env=environment({}), capture_output=True, text=True, timeout=20, check=True
        ).stdout

    async with opened(path, clock) as inbox:
        assert await asyncio.to_thread(second) == f"{path} is in use by another process\n"
        assert "in use" in await unusable(path)
        assert outcomes(await inbox.append([draft("a")])) == [STORED]
    async with opened(path, clock) as inbox:
        assert await ids_of(inbox, reader(ANN)) == ["a"]


async def test_a_file_of_a_newer_version_is_left_alone(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock):
        pass
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = content_of(path)
    assert f"version {len(MIGRATIONS) + 1}" in await unusable(path)
    assert content_of(path) == before


async def test_a_database_of_somebody_else_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = content_of(path)
    assert "another application" in await unusable(path)
    assert content_of(path) == before


@pytest.mark.parametrize(
    "content", [b"something else entirely, and long enough to be looked at", b"SQLite format 3\0" + bytes(200)]
)
async def test_what_is_no_database_is_left_alone(path: Path, content: bytes) -> None:
    write(path, content)
    await unusable(path)
    assert content_of(path) == content


async def test_where_no_file_can_be_it_says_so(tmp_path: Path) -> None:
    assert "No such file" in await unusable(tmp_path / "nowhere" / "inbox.db")
    (tmp_path / "folder.db").mkdir()
    assert "directory" in await unusable(tmp_path / "folder.db")


async def test_a_store_that_was_refused_can_be_opened_later(path: Path, clock: ManualClock) -> None:
    write(path, b"no database, and not empty either")
    inbox = SqliteInbox(path, clock=clock)
    with pytest.raises(StoreUnusable):
        await inbox.open()
    remove(path)
    await inbox.open()
    await inbox.close()


async def test_only_the_owner_can_read_the_file(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock) as inbox:
        await inbox.append([draft("a")])
        assert {file.name: file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {
            f"inbox.db{suffix}": 0 for suffix in ("", "-wal", "-shm", "-lock")
        }


async def test_a_file_of_version_1_becomes_one_of_today(path: Path, clock: ManualClock, tmp_path: Path) -> None:
    made = tmp_path / "made.sqlite"
    make_inbox_1.make(made)
    with closing(sqlite3.connect(made)) as new, closing(sqlite3.connect(make_inbox_1.FILE)) as kept:
        assert list(new.iterdump()) == list(kept.iterdump())
    copy(make_inbox_1.FILE, path)
    async with opened(path, clock) as inbox:
        ann = await enter(inbox)
        assert ann.starts == {ANN: 0, COMPANY: 0, EVERYONE: 0}
        assert await ids_of(inbox, ann) == ["n-6", "n-5", "n-3", "n-2", "n-1"]
        assert (await inbox.count(ann)).counts == Counts(unread=4, unseen=4, total=5)
        assert (await items_of(inbox, ann))[-1]["read_at"] == "2030-01-31T12:00:00.000Z"
        assert await inbox.received(ann) == Position(make_inbox_1.FIRST, 3)
        assert (await inbox.checkpoint("feed"), await inbox.secret()) == ("r-6", make_inbox_1.SECRET)
        for epoch, end in ((make_inbox_1.FIRST, 4), (make_inbox_1.SECOND, 6)):
            assert await offsets_of(inbox, ann, Position(epoch, 2)) == [3, 4, 5, 6]
            await inbox.ensure_readable(ann, Position(epoch, end))
            await assert_refused(inbox, ann, Position(epoch, end + 1), RecoveryReason.INVALID)
        (event, argument) = (await events_of(inbox, ann, Position(make_inbox_1.FIRST, 3)))[0]
        assert (event, argument["ids"]) == ("notification.updated", ["n-1"])
        assert (await inbox.change(ann, Action.READ, ["n-1", "n-2"], START)).changed == 1
        assert (await inbox.read_all(ann, None, START)).counts == Counts(unread=0, unseen=0, total=5)
        await pass_time(inbox, clock, timedelta(days=400))
        await assert_refused(inbox, ann, await inbox.received(ann))
        assert await ids_of(inbox, ann) == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


async def test_a_migration_that_fails_changes_nothing(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy(make_inbox_1.FILE, path)

    def fail(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM entries")
        raise sqlite3.OperationalError("it does not work")

    with monkeypatch.context() as patched:
        patched.setattr("adapters.inbox.sqlite_schema.MIGRATIONS", [MIGRATIONS[0], fail])
        assert "it does not work" in await unusable(path)
    async with opened(path, clock) as inbox:
        assert (await inbox.head()).offset == 6
